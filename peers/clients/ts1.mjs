// The TypeScript SDK 1.x as a client: 2025-11-25 and older.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { ErrorCode, McpError } from '@modelcontextprotocol/sdk/types.js';
import { signedIn } from './dpop.mjs';
import { fail, readArguments, run, versionOf } from './scenario.mjs';

const { scenario, url, command } = readArguments();
if (scenario.mode === 'modern') fail('the SDK 1.x speaks no modern revision');

const client = new Client({ name: 'peer-ts1', version: '1.0.0' }, { capabilities: {} });
const transport = url
  ? new StreamableHTTPClientTransport(url, {
      requestInit: { headers: scenario.headers },
      fetch: scenario.agent ? await signedIn(scenario.agent).catch((error) => fail(`sign-in: ${error.message}`)) : fetch,
    })
  : new StdioClientTransport({ command: command[0], args: command.slice(1), env: process.env, stderr: 'inherit' });

// The negotiated version reaches the transport only.
let negotiated;
const setProtocolVersion = transport.setProtocolVersion?.bind(transport);
transport.setProtocolVersion = (version) => {
  negotiated = version;
  setProtocolVersion?.(version);
};

await client.connect(transport, { timeout: scenario.timeout_ms }).catch((error) => fail(`connect: ${error.message}`));
await run(`@modelcontextprotocol/sdk ${versionOf('@modelcontextprotocol/sdk')}`, client, scenario, {
  protocolVersion: () => negotiated,
  // The SDK reports its own time-out and closed connection with codes of the protocol.
  isProtocolError: (error) =>
    error instanceof McpError && error.code !== ErrorCode.RequestTimeout && error.code !== ErrorCode.ConnectionClosed,
  callTool: (connected, params, options) => connected.callTool(params, undefined, options),
});
