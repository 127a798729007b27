// Judges Placet's tokens with nothing of Placet's: the guide's own verifier on jose, and oauth4webapi's resource server.
//
//   node peers/tokens/check.mjs MODULE CASES     exit status 0: all as expected
//
// MODULE is the TypeScript block of docs/guides/protect-a-tool.md; CASES what crates/verify/tests/it/peers.rs wrote.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import * as oauth from "oauth4webapi";

const { Calls } = await import(pathToFileURL(process.argv[2]));
const cases = JSON.parse(readFileSync(process.argv[3], "utf8"));
const failed = [];
const check = (what, ok) => ok || failed.push(what);

const verifier = () => {
  const used = new Set();
  const firstUse = (jti) => !used.has(jti) && !!used.add(jti);
  return new Calls({ keys: cases.keys, issuer: cases.issuer, audience: cases.audience, url: cases.url, firstUse });
};
const letIn = (calls, it) => calls.check(it.method, it.headers, Buffer.from(it.body)).catch(() => undefined);

for (const it of cases.calls) {
  const calls = verifier();
  const claims = await letIn(calls, it);
  check(it.why, (claims !== undefined) === it.good);
  if (it.good) {
    check("the person", claims.sub === "maya");
    check("the agent", claims.act.sub === "agent-7");
    check("used twice", (await letIn(calls, it)) === undefined);
  }
}

const as = { issuer: cases.issuer, jwks_uri: `${cases.issuer}/oauth/jwks` };
const keys = async () => new Response(JSON.stringify(cases.keys), { headers: { "content-type": "application/json" } });
for (const it of cases.workflow) {
  const headers = { authorization: `DPoP ${it.token}`, dpop: it.proof };
  const request = new Request(cases.gateway, { method: "POST", headers });
  const options = { requireDPoP: true, [oauth.customFetch]: keys };
  const claims = await oauth.validateJwtAccessToken(as, request, cases.gateway, options).catch(() => undefined);
  check(`oauth4webapi: ${it.why}`, (claims !== undefined) === it.good);
}

console.log(`${cases.calls.length} calls, ${cases.workflow.length} workflow tokens`);
for (const what of failed) console.log("FAIL", what);
process.exit(failed.length ? 1 : 0);
