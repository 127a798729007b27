// An agent without Placet's connector: signs in at a gateway with its own key and proves it with each request
// (private_key_jwt, RFC 7523; DPoP, RFC 9449). Written from the RFCs with nothing of Placet's, on Node alone.
import { createHash, createPrivateKey, createPublicKey, randomUUID, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';

const base64 = (bytes) => Buffer.from(bytes).toString('base64url');
const sha256 = (text) => base64(createHash('sha256').update(text).digest());
const now = () => Math.floor(Date.now() / 1000);

/**
 * A `fetch` that does everything in the agent's name.
 * @param {{server: string, key: string, id: string, workflow: string}} agent the gateway's public URL, the file of the
 *   enrolled Ed25519 key (PKCS#8 PEM), the agent's id, and TENANT/WORKFLOW
 */
export async function signedIn(agent) {
  const key = createPrivateKey(readFileSync(agent.key));
  const { kty, crv, x } = createPublicKey(key).export({ format: 'jwk' });
  const jwk = { crv, kty, x };
  const token = (header, claims) => {
    const input = `${base64(JSON.stringify(header))}.${base64(JSON.stringify(claims))}`;
    return `${input}.${base64(sign(null, Buffer.from(input), key))}`;
  };
  const proof = (htm, htu, more) =>
    token({ typ: 'dpop+jwt', alg: 'EdDSA', jwk }, { jti: randomUUID(), htm, htu, iat: now(), ...more });

  // What RFC 9728 and RFC 8414 say about the gateway.
  const document = async (path) => (await fetch(`${agent.server}/.well-known/${path}`)).json();
  const { resource, authorization_servers: [issuer] } = await document('oauth-protected-resource/mcp');
  const { token_endpoint: endpoint } = await document('oauth-authorization-server');

  const ask = (nonce) => {
    const [tenant, workflow] = agent.workflow.split('/');
    const assertion = token(
      { typ: 'client-authentication+jwt', alg: 'EdDSA', kid: sha256(JSON.stringify(jwk)) },
      { iss: agent.id, sub: agent.id, aud: issuer, iat: now(), exp: now() + 30, jti: randomUUID() },
    );
    return fetch(endpoint, {
      method: 'POST',
      headers: { DPoP: proof('POST', endpoint, nonce) },
      body: new URLSearchParams({
        grant_type: 'client_credentials',
        client_id: agent.id,
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: assertion,
        resource,
        authorization_details: JSON.stringify([{ type: 'placet_workflow', tenant, workflow }]),
      }),
    });
  };
  let response = await ask();
  const nonce = response.headers.get('dpop-nonce');
  if (!response.ok && nonce) response = await ask({ nonce });
  const answer = await response.json();
  if (!response.ok) throw new Error(`no token: ${JSON.stringify(answer)}`);
  const access = answer.access_token;

  return (url, init = {}) => {
    const headers = new Headers(init.headers);
    headers.set('Authorization', `DPoP ${access}`);
    headers.set('DPoP', proof(init.method ?? 'GET', String(url), { ath: sha256(access) }));
    return fetch(url, { ...init, headers });
  };
}
