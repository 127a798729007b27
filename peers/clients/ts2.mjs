// The TypeScript client 2.x: modern and legacy revisions, negotiated as the scenario's mode says.
import { Client, ProtocolError, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { signedIn } from './dpop.mjs';
import { fail, readArguments, run, versionOf } from './scenario.mjs';

const MODES = { auto: 'auto', legacy: 'legacy', modern: { pin: '2026-07-28' } };

const { scenario, url, command } = readArguments();
const mode = MODES[scenario.mode] ?? fail(`scenario: unknown mode ${scenario.mode}`);

const client = new Client({ name: 'peer-ts2', version: '1.0.0' }, { capabilities: {}, versionNegotiation: { mode } });
const transport = url
  ? new StreamableHTTPClientTransport(url, {
      requestInit: { headers: scenario.headers },
      fetch: scenario.agent ? await signedIn(scenario.agent).catch((error) => fail(`sign-in: ${error.message}`)) : fetch,
    })
  : new StdioClientTransport({ command: command[0], args: command.slice(1), env: process.env, stderr: 'inherit' });

await client.connect(transport, { timeout: scenario.timeout_ms }).catch((error) => fail(`connect: ${error.message}`));
await run(`@modelcontextprotocol/client ${versionOf('@modelcontextprotocol/client')}`, client, scenario, {
  protocolVersion: () => client.getNegotiatedProtocolVersion(),
  isProtocolError: (error) => ProtocolError.isInstance(error),
  callTool: (connected, params, options) => connected.callTool(params, options),
});
