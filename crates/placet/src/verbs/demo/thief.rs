//! Somebody who has stolen what an agent sends: raw requests, without the key or with another one.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use placet_jose::{
    Algorithm, SigningKey, Stamp, dpop, htu::Htu, keys::random_id, mint, tokens::ClientAssertion,
};
use placet_json::{Limits, Value, object};

use crate::{
    clock,
    failure::{Failure, OrFail},
    http::Client,
    keyfile,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// What an agent's requests look like on the wire.
pub(super) struct Loot {
    http: Client,
    gateway: String,
    key: SigningKey,
    pub(super) token: String,
}

impl Loot {
    /// A token of the agent, as it would be seen in a proxy's log; and the agent's key, to make genuine proofs with.
    pub(super) async fn of(
        gateway: &str,
        key: &std::path::Path,
        agent: &str,
        tenant: &str,
        workflow: &str,
        delegation: &str,
    ) -> Result<Self, Failure> {
        let (http, key) = (Client::new(gateway)?, keyfile::load(key)?);
        let url = Htu::parse(&format!("{gateway}/oauth/token")).or_fail("the gateway's URL")?;
        let now = clock::secs();
        let claims = ClientAssertion { sub: agent.to_owned(), jti: random_id().or_fail("no randomness")? };
        let stamp =
            Stamp { issuer: agent, audience: gateway, issued_at: now, expires_at: now.saturating_add(30) };
        let assertion = mint(&key, &stamp, &claims).or_fail("can't sign")?;
        let details = Value::Array(vec![object! { "type" => "placet_workflow", "tenant" => tenant, "workflow" => workflow, "delegation" => delegation }.into()]);
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials")
            .append_pair("client_id", agent)
            .append_pair("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
            .append_pair("client_assertion", &assertion)
            .append_pair("resource", &format!("{gateway}/mcp"))
            .append_pair("authorization_details", &details.to_string());
        let form = form.finish();
        let mut nonce: Option<String> = None;
        for _ in 0..2 {
            let proof = dpop::prove(
                &key,
                &random_id().or_fail("no randomness")?,
                "POST",
                &url,
                clock::secs(),
                None,
                nonce.as_deref(),
            )
            .or_fail("can't sign")?;
            let request = Request::post(url.as_str())
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .header("dpop", proof)
                .body(Full::new(Bytes::from(form.clone())))
                .or_fail("can't ask for a token")?;
            let response = http.fetch(request, 1 << 20, PATIENCE).await?;
            let document =
                placet_json::parse(response.body(), &Limits::MESSAGE).or_fail("the token's answer")?;
            if let Some(token) = document.get("access_token").and_then(Value::as_str) {
                return Ok(Self { http, gateway: gateway.to_owned(), key, token: token.to_owned() });
            }
            nonce =
                response.headers().get("dpop-nonce").and_then(|value| value.to_str().ok()).map(str::to_owned);
        }
        Err(Failure::new("no token for the thief's scenes"))
    }

    /// A genuine proof for one request to the gateway.
    pub(super) fn proof(&self) -> Result<String, Failure> {
        self.proof_by(&self.key)
    }
    /// A proof by a key that isn't the agent's.
    pub(super) fn forged(&self) -> Result<String, Failure> {
        self.proof_by(&SigningKey::generate(Algorithm::EdDsa).or_fail("no key")?)
    }
    fn proof_by(&self, key: &SigningKey) -> Result<String, Failure> {
        let url = Htu::parse(&format!("{}/mcp", self.gateway)).or_fail("the gateway's URL")?;
        dpop::prove(
            key,
            &random_id().or_fail("no randomness")?,
            "POST",
            &url,
            clock::secs(),
            Some(&self.token),
            None,
        )
        .or_fail("can't sign")
    }

    /// Sends a call to the gateway and returns the status.
    pub(super) async fn call(&self, authorization: &str, proof: Option<&str>) -> Result<u16, Failure> {
        self.send(&format!("{}/mcp", self.gateway), Some(authorization), proof).await
    }

    /// Sends a call straight to a tool.
    pub(super) async fn direct(&self, tool: &str, authorization: Option<&str>) -> Result<u16, Failure> {
        self.send(tool, authorization, None).await
    }

    /// A genuine call of the agent with an amount spelled as no client would, and the code that it was refused with.
    pub(super) async fn refund_of(&self, amount: &str) -> Result<String, Failure> {
        let request = Self::request(
            &format!("{}/mcp", self.gateway),
            amount,
            Some(&format!("DPoP {}", self.token)),
            Some(&self.proof()?),
        )?;
        let response = self.http.fetch(request, 1 << 20, PATIENCE).await?;
        let answer = placet_json::parse(response.body(), &Limits::RESULT).or_fail("the gateway's answer")?;
        let code = answer
            .pointer("/result/structuredContent/placet/code")
            .or_else(|| answer.pointer("/error/data/placet/code"));
        Ok(code.and_then(Value::as_str).map_or_else(|| answer.to_string(), str::to_owned))
    }

    async fn send(
        &self,
        url: &str,
        authorization: Option<&str>,
        proof: Option<&str>,
    ) -> Result<u16, Failure> {
        let request = Self::request(url, "99", authorization, proof)?;
        Ok(self.http.fetch(request, 1 << 20, PATIENCE).await?.status().as_u16())
    }

    fn request(
        url: &str,
        amount: &str,
        authorization: Option<&str>,
        proof: Option<&str>,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"billing__refund","arguments":{{"case_id":"CASE-1837","amount":{amount}}},"_meta":{META}}}}}"#
        );
        let mut request = Request::post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", "billing__refund");
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if let Some(proof) = proof {
            request = request.header("dpop", proof);
        }
        request.body(Full::new(body.into())).or_fail(url)
    }

    /// Lists the tools with this proof: 200 shows that the token is good in the right hands.
    pub(super) async fn listing(&self, proof: &str) -> Result<u16, Failure> {
        let url = format!("{}/mcp", self.gateway);
        let request = Request::post(&url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/list")
            .header(header::AUTHORIZATION, format!("DPoP {}", self.token))
            .header("dpop", proof)
            .body(Full::new(
                format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{META}}}}}"#)
                    .into(),
            ))
            .or_fail(&url)?;
        Ok(self.http.fetch(request, 1 << 20, PATIENCE).await?.status().as_u16())
    }
}

/// What a modern request says of itself.
const META: &str = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
