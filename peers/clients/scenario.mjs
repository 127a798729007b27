// What the JavaScript clients have in common: reading a scenario, judging its results, printing the report.
// The format is described in ../README.md; scenario.py and crates/samples/src/scenario.rs read the same one.
import { readFileSync } from 'node:fs';

const USAGE = 'usage: CLIENT [--scenario FILE] (URL | -- COMMAND ARGS…)      the scenario comes from stdin otherwise';

/** @returns {{scenario: object, url?: URL, command?: string[]}} */
export function readArguments(argv = process.argv.slice(2)) {
  const rest = [...argv];
  let file = 0;
  if (rest[0] === '--scenario') {
    file = rest[1];
    rest.splice(0, 2);
  }
  const target =
    rest[0] === '--' && rest.length > 1 ? { command: rest.slice(1) }
    : rest.length === 1 && /^https?:/.test(rest[0]) ? { url: new URL(rest[0]) }
    : null;
  if (!target) fail(USAGE);
  try {
    const scenario = { mode: 'auto', headers: {}, timeout_ms: 20_000, steps: [], ...JSON.parse(readFileSync(file, 'utf8')) };
    return { scenario, ...target };
  } catch (error) {
    return fail(`scenario: ${error.message}`);
  }
}

/** The installed version of a package, which its `exports` need not reveal. */
export function versionOf(name) {
  return JSON.parse(readFileSync(new URL(`../node_modules/${name}/package.json`, import.meta.url), 'utf8')).version;
}

export function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(2);
}

/**
 * Runs the steps one after the other on a connected client and prints the report.
 * `isProtocolError` tells an answer of the server from a failure of the way there.
 */
export async function run(name, client, scenario, { protocolVersion, isProtocolError, callTool }) {
  const report = { client: name, protocol_version: protocolVersion(), server: client.getServerVersion() ?? null, tools: [], results: [], as_expected: true };
  for (const step of scenario.steps) {
    const started = performance.now();
    const result = await perform(step, report, client, scenario, { protocolVersion, isProtocolError, callTool });
    result.ms = Math.round(performance.now() - started);
    const unexpected = judge(step, result);
    if (unexpected) result.unexpected = unexpected;
    result.as_expected = !unexpected;
    report.as_expected &&= result.as_expected;
    report.results.push(result);
  }
  await client.close();
  process.stdout.write(`${JSON.stringify(report)}\n`);
  process.exitCode = report.as_expected ? 0 : 1;
}

async function perform(step, report, client, scenario, { protocolVersion, isProtocolError, callTool }) {
  const result = { op: step.op };
  const options = { timeout: scenario.timeout_ms };
  const cancel = new AbortController();
  let timer;
  try {
    switch (step.op) {
      case 'list_tools': {
        const tools = [];
        let cursor;
        do {
          const page = await client.listTools(cursor ? { cursor } : {}, options);
          tools.push(...page.tools);
          cursor = page.nextCursor;
        } while (cursor);
        report.tools = tools.map((tool) => tool.name);
        result.tools = report.tools;
        result.outcome = 'ok';
        break;
      }
      case 'ping':
        // The modern revision has no ping.
        if (protocolVersion() >= '2026-07-28') {
          result.outcome = 'skipped';
        } else {
          await client.ping(options);
          result.outcome = 'ok';
        }
        break;
      case 'call': {
        result.tool = step.tool;
        const params = { name: step.tool, arguments: step.args ?? {} };
        if (step.meta) params._meta = step.meta;
        if (step.progress) {
          result.progress = [];
          options.onprogress = ({ progress, total, message }) => result.progress.push({ progress, total, message });
          options.resetTimeoutOnProgress = true;
        }
        if (step.cancel_after_ms !== undefined) {
          options.signal = cancel.signal;
          timer = setTimeout(() => cancel.abort('no longer needed'), step.cancel_after_ms);
        }
        const answer = await callTool(client, params, options);
        result.outcome = answer.isError ? 'tool_error' : 'ok';
        result.text = (answer.content ?? []).filter((block) => block.type === 'text').map((block) => block.text).join('\n');
        result.structured = answer.structuredContent ?? null;
        break;
      }
      default:
        fail(`scenario: unknown op ${step.op}`);
    }
  } catch (error) {
    const { code, message, data } = error;
    result.error = { code: code ?? null, message: message ?? String(error), data: data ?? null };
    result.outcome = cancel.signal.aborted ? 'cancelled' : isProtocolError(error) ? 'protocol_error' : 'failed';
  } finally {
    clearTimeout(timer);
  }
  return result;
}

/** Why the result is not what the step expects, or null. */
function judge(step, result) {
  if (result.outcome === 'skipped') return null;
  const expect = step.expect ?? 'ok';
  if (expect !== 'any' && result.outcome !== expect) return `outcome ${result.outcome}, not ${expect}`;
  const missing = (step.contains ?? []).filter((name) => !result.tools?.includes(name));
  if (missing.length) return `not listed: ${missing.join(', ')}`;
  const shown = (step.lacks ?? []).filter((name) => result.tools?.includes(name));
  if (shown.length) return `listed: ${shown.join(', ')}`;
  if (step.code !== undefined) {
    const code = result.structured?.placet?.code ?? result.error?.code;
    if (code !== step.code) return `code ${code}, not ${step.code}`;
  }
  if (step.text !== undefined && !(result.text ?? result.error?.message ?? '').includes(step.text)) {
    return `text lacks ${JSON.stringify(step.text)}`;
  }
  if (step.structured !== undefined && !within(step.structured, result.structured)) return 'structured content differs';
  if ((step.progress_at_least ?? 0) > (result.progress?.length ?? 0)) return `progress only ${result.progress?.length ?? 0} times`;
  return null;
}

/** Is every member of `part` also in `whole`, equal? Arrays as a whole. */
function within(part, whole) {
  if (Array.isArray(part)) {
    return Array.isArray(whole) && part.length === whole.length && part.every((value, at) => within(value, whole[at]));
  }
  if (part === null || typeof part !== 'object') return part === whole;
  return whole !== null && typeof whole === 'object' && Object.entries(part).every(([name, value]) => within(value, whole[name]));
}
