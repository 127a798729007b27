// A person's way from an agent's question to a governed call, with nothing of Placet's on any side: oidc-provider knows
// the person, Chromium (without JavaScript) is their browser, openid-client and oauth4webapi are the agent.
//
//   people.mjs < {"provider_port", "gateway", "agent": {"id", "key"}, "chromium", "pictures"}
//
// Prints one line of JSON with what came of each step; exit status 1 if one failed.
import { createHash, createPrivateKey, createPublicKey } from 'node:crypto';
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';
import * as client from 'openid-client';
import * as oauth from 'oauth4webapi';
import { chromium } from 'playwright-core';

const input = JSON.parse(await new Promise((done) => {
  let text = '';
  process.stdin.on('data', (part) => { text += part; }).on('end', () => done(text));
}));
const { gateway, agent } = input;
const results = {};

// === the people's provider ===

const issuer = `http://127.0.0.1:${input.provider_port}`;
const provider = new Provider(issuer, {
  clients: [{
    client_id: 'placet',
    client_secret: 'a:secret with+signs',
    redirect_uris: [`${gateway}/sign-in/corp/callback`],
    post_logout_redirect_uris: [],
    backchannel_logout_uri: `${gateway}/sign-in/corp/logout`,
    backchannel_logout_session_required: true,
    response_types: ['code'],
    grant_types: ['authorization_code'],
  }],
  cookies: { keys: ['only a test'] },
  claims: { openid: ['sub', 'acr', 'amr'], profile: ['preferred_username'] },
  conformIdTokenClaims: false,
  // Its guard against addresses of this machine, which a test is on.
  fetch: (url, { dispatcher: _, ...options }) => fetch(url, options),
  features: { devInteractions: { enabled: true }, backchannelLogout: { enabled: true } },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, preferred_username: id }) }),
  pkce: { required: () => true },
});
provider.on('backchannel.error', (_, error) => { results.logout_error = `${error} ${error.cause ?? ''}`; });
provider.on('server_error', (_, error) => { results.provider_error = String(error.stack); });
const listening = provider.listen(input.provider_port, '127.0.0.1');

// === the agent ===

const pem = createPrivateKey(agent.key);
const { kty, crv, x } = createPublicKey(pem).export({ format: 'jwk' });
const kid = createHash('sha256').update(JSON.stringify({ crv, kty, x })).digest('base64url');
const algorithm = { name: 'Ed25519' };
const key = await crypto.subtle.importKey('pkcs8', pem.export({ type: 'pkcs8', format: 'der' }), algorithm, true, ['sign']);
const asAgent = client.PrivateKeyJwt({ key, kid }, {
  [client.modifyAssertion]: (header) => { header.typ = 'client-authentication+jwt'; },
});
const config = await client.discovery(new URL(gateway), agent.id, undefined, asAgent, {
  algorithm: 'oauth2',
  execute: [client.allowInsecureRequests],
});
results.metadata = config.serverMetadata().require_pushed_authorization_requests === true
  && config.serverMetadata().supportsPKCE();
const jwk = { kty, crv, x };
const pair = { privateKey: key, publicKey: await crypto.subtle.importKey('jwk', jwk, algorithm, true, ['verify']) };
const dpop = client.getDPoPHandle(config, pair);

let arrived;
const answer = new Promise((done) => { arrived = done; });
const callback = createServer((request, response) => {
  response.end('You may close this page.');
  if (request.url.startsWith('/cb')) arrived(new URL(request.url, redirect));
});
await new Promise((done) => callback.listen(0, '127.0.0.1', done));
const redirect = `http://127.0.0.1:${callback.address().port}/cb`;
const verifier = client.randomPKCECodeVerifier();
const state = client.randomState();
const url = await client.buildAuthorizationUrlWithPAR(config, {
  redirect_uri: redirect,
  state,
  code_challenge: await client.calculatePKCECodeChallenge(verifier),
  code_challenge_method: 'S256',
  resource: `${gateway}/mcp`,
  authorization_details: JSON.stringify([{
    type: 'placet_workflow', tenant: 'acme', workflow: 'wf-9', actions: ['take_note', 'issue_refund'],
    constraints: { max_amount: 200 }, note: '<script>alert(1)</script> only this once',
  }]),
}, { DPoP: dpop });

// === the person ===

const browser = await chromium.launch({ executablePath: input.chromium, args: ['--no-sandbox'] });
const context = await browser.newContext({ javaScriptEnabled: false });
const page = await context.newPage();
const complaints = [];
page.on('console', (message) => { if (message.type() === 'error' && message.location().url.startsWith(gateway)) complaints.push(`${message.location().url}: ${message.text()}`);
});
await page.goto(url.href);
await page.fill('input[name=login]', 'maya');
await page.fill('input[name=password]', 'any');
await page.click('button[type=submit]');
await page.click('button[type=submit]');
await page.waitForURL(`${gateway}/oauth/authorize**`);
const text = await page.textContent('main');
results.shows = ['agent-8', 'wf-9', 'CASE-1837', 'take_note', 'issue_refund', '<script>alert(1)</script>']
  .filter((part) => !text.includes(part));
results.cookies = (await context.cookies(gateway)).filter(({ name }) => name.startsWith('placet')).map(({ httpOnly, sameSite }) => httpOnly && sameSite === 'Lax');
if (input.pictures) await page.screenshot({ path: `${input.pictures}/consent.png`, fullPage: true });
await page.uncheck('input[name="action:issue_refund"]');
await page.fill('input[name="limit:amount"]', '40');
await page.click('button[value=yes]');

// === the agent again ===

const back = await answer;
const tokens = await client.authorizationCodeGrant(config, back, { pkceCodeVerifier: verifier, expectedState: state },
  { resource: `${gateway}/mcp` }, { DPoP: dpop });
results.token = {
  type: tokens.token_type,
  actions: tokens.authorization_details[0].actions,
  max_amount: tokens.authorization_details[0].constraints.max_amount,
};
const meta = { 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientCapabilities': {} };
const call = async () => {
  const response = await client.fetchProtectedResource(config, tokens.access_token, new URL(`${gateway}/mcp`), 'POST',
    JSON.stringify({
      jsonrpc: '2.0', id: 1, method: 'tools/call',
      params: { name: 'desk__note', arguments: { text: 'hello' }, _meta: meta },
    }),
    new Headers({
      'content-type': 'application/json', accept: 'application/json, text/event-stream',
      'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': 'desk__note',
    }), { DPoP: dpop });
  const body = await response.text();
  const line = body.startsWith('{') ? body : body.split('\n').findLast((one) => one.startsWith('data: ')).slice(6);
  return JSON.parse(line).result?.structuredContent?.placet?.code ?? 'permitted';
};
results.before = await call();

// Our token as a stranger judges it: RFC 9068 with the proof of RFC 9449.
const server = { issuer: gateway, jwks_uri: `${gateway}/oauth/jwks` };
const judge = async (keys, htu) => {
  let request;
  await oauth.protectedResourceRequest(tokens.access_token, 'POST', new URL(htu), undefined, '{}', {
    DPoP: oauth.DPoP({ client_id: agent.id }, keys),
    [oauth.allowInsecureRequests]: true,
    [oauth.customFetch]: (url, init) => {
      request = new Request(url, init);
      return new Response('{}');
    },
  });
  // Taken to the gateway, whatever it was made for.
  const taken = new Request(`${gateway}/mcp`, { method: 'POST', headers: request.headers });
  return oauth.validateJwtAccessToken(server, taken, `${gateway}/mcp`, { requireDPoP: true, [oauth.allowInsecureRequests]: true })
    .then(({ sub, client_id: id }) => `${id} for ${sub}`, () => 'refused');
};
results.judged = {
  own: await judge(pair, `${gateway}/mcp`),
  other_key: await judge(await oauth.generateKeyPair('Ed25519'), `${gateway}/mcp`),
  other_url: await judge(pair, `${gateway}/other`),
};

// === the person again ===

await page.goto(`${gateway}/me`);
const card = page.locator('section', { hasText: 'agent-8' }).filter({ hasText: 'take_note' }).filter({ hasNotText: 'issue_refund' });
results.listed = await card.count();
if (input.pictures) await page.screenshot({ path: `${input.pictures}/me.png`, fullPage: true });
await card.locator('button').click();
await page.waitForURL(`${gateway}/me`);
results.after = await call();

// The provider ends the session.
await page.goto(`${issuer}/session/end?client_id=placet`);
await page.click('button[value=yes]');
await page.waitForLoadState();
await new Promise((done) => setTimeout(done, 500));
await page.goto(`${gateway}/me`);
results.signed_out = !page.url().startsWith(`${gateway}/me`);
results.complaints = complaints;

await browser.close();
callback.close();
listening.close();
console.log(JSON.stringify(results));
process.exit(0);
