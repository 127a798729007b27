//! An agent with its key and a workflow token, which sends whatever a test wants.

use std::net::SocketAddr;

use placet_jose::{
    Algorithm, SigningKey, Stamp, dpop, htu::Htu, keys::random_id, mint, tokens::ClientAssertion,
};
use placet_json::Value;

use crate::{Answer, Http, json, now};

/// What a modern request says of itself.
pub(crate) const META: &str = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

/// An agent at work in one workflow.
#[derive(Debug)]
pub struct Agent {
    /// The gateway's public URL.
    pub gateway: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// The agent's key.
    pub key: SigningKey,
    /// Its workflow token.
    pub token: String,
    id: String,
}

impl Agent {
    /// An agent with this key, without a token yet.
    #[must_use]
    pub fn new(id: &str, key: &SigningKey, gateway: &str, address: SocketAddr) -> Self {
        let key = SigningKey::from_pkcs8_pem(&key.to_pkcs8_pem().unwrap()).unwrap();
        Self { gateway: gateway.to_owned(), address, key, token: String::new(), id: id.to_owned() }
    }
    /// A new key, as facts know it: an entry of an agent's `keys`.
    #[must_use]
    pub fn fresh_key() -> (SigningKey, String) {
        let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
        let entry = format!(r#"{{"{}":{}}}"#, key.public().thumbprint(), key.public().to_jwk());
        (key, entry)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
    /// A request to an endpoint of the authorization server, with an assertion of its own and a proof by this key.
    #[must_use]
    pub fn oauth(&self, path: &str, key: &SigningKey, parameters: &[(&str, &str)]) -> Http {
        let url = Htu::parse(&format!("{}{path}", self.gateway)).unwrap();
        let claims = ClientAssertion { sub: self.id.clone(), jti: random_id().unwrap() };
        let stamp =
            Stamp { issuer: &self.id, audience: &self.gateway, issued_at: now(), expires_at: now() + 30 };
        let assertion = mint(&self.key, &stamp, &claims).unwrap();
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("client_id", &self.id)
            .append_pair("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
            .append_pair("client_assertion", &assertion)
            .extend_pairs(parameters);
        let proof = dpop::prove(key, &random_id().unwrap(), "POST", &url, now(), None, None).unwrap();
        let request = Http {
            method: "POST".to_owned(),
            target: path.to_owned(),
            headers: Vec::new(),
            body: form.finish().into_bytes(),
        };
        request
            .set("host", self.gateway.trim_start_matches("http://"))
            .set("content-type", "application/x-www-form-urlencoded")
            .set("dpop", &proof)
    }
    /// Asks for a workflow token.
    pub async fn ask_for_token(&self, tenant: &str, workflow: &str, delegation: &str) -> Answer {
        let url = Htu::parse(&format!("{}/oauth/token", self.gateway)).unwrap();
        let claims = ClientAssertion { sub: self.id.clone(), jti: random_id().unwrap() };
        let stamp =
            Stamp { issuer: &self.id, audience: &self.gateway, issued_at: now(), expires_at: now() + 30 };
        let assertion = mint(&self.key, &stamp, &claims).unwrap();
        let details = format!(
            r#"[{{"type":"placet_workflow","tenant":"{tenant}","workflow":"{workflow}","delegation":"{delegation}"}}]"#
        );
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &self.id)
            .append_pair("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
            .append_pair("client_assertion", &assertion)
            .append_pair("resource", &format!("{}/mcp", self.gateway))
            .append_pair("authorization_details", &details);
        let proof = dpop::prove(&self.key, &random_id().unwrap(), "POST", &url, now(), None, None).unwrap();
        let request = Http {
            method: "POST".to_owned(),
            target: "/oauth/token".to_owned(),
            headers: Vec::new(),
            body: form.finish().into_bytes(),
        };
        let host = self.gateway.trim_start_matches("http://");
        let request = request
            .set("host", host)
            .set("content-type", "application/x-www-form-urlencoded")
            .set("dpop", &proof);
        request.send(self.address).await
    }
    /// Works in this workflow from now on.
    pub async fn join(&mut self, tenant: &str, workflow: &str, delegation: &str) {
        let answer = self.ask_for_token(tenant, workflow, delegation).await;
        let document = json(&answer.body);
        let token = document.get("access_token").and_then(Value::as_str);
        token.unwrap_or_else(|| panic!("no token: {}", answer.text())).clone_into(&mut self.token);
    }

    /// A fresh proof for this method and URL.
    #[must_use]
    pub fn proof(&self, method: &str, url: &str) -> String {
        self.proof_of(&self.key, method, url, now())
    }
    /// A proof by any key at any time.
    #[must_use]
    pub fn proof_of(&self, key: &SigningKey, method: &str, url: &str, at: u64) -> String {
        let url = Htu::parse(url).unwrap();
        dpop::prove(key, &random_id().unwrap(), method, &url, at, Some(&self.token), None).unwrap()
    }
    /// A request to the gateway with token and proof, and nothing of MCP yet.
    #[must_use]
    pub fn http(&self, method: &str, path: &str) -> Http {
        let url = format!("{}{path}", self.gateway);
        let proof = self.proof(method, &url);
        let request = Http {
            method: method.to_owned(),
            target: path.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        };
        request
            .set("host", self.gateway.trim_start_matches("http://"))
            .set("content-type", "application/json")
            .set("accept", "application/json, text/event-stream")
            .set("authorization", &format!("DPoP {}", self.token))
            .set("dpop", &proof)
    }
    /// A modern call of a tool, with these arguments as they stand here.
    #[must_use]
    pub fn modern(&self, tool: &str, arguments: &str) -> Http {
        self.modern_with(0, tool, arguments)
    }
    /// The same with an id.
    #[must_use]
    pub fn modern_with(&self, id: u64, tool: &str, arguments: &str) -> Http {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments},"_meta":{META}}}}}"#
        );
        self.http("POST", "/mcp")
            .set("mcp-protocol-version", "2026-07-28")
            .set("mcp-method", "tools/call")
            .set("mcp-name", tool)
            .body(body)
    }
    /// A modern listing.
    #[must_use]
    pub fn listing(&self) -> Http {
        let body = format!(r#"{{"jsonrpc":"2.0","id":0,"method":"tools/list","params":{{"_meta":{META}}}}}"#);
        self.http("POST", "/mcp")
            .set("mcp-protocol-version", "2026-07-28")
            .set("mcp-method", "tools/list")
            .body(body)
    }
    /// The names of the tools that are listed.
    pub async fn tools(&self) -> Vec<String> {
        let answer = self.listing().send(self.address).await;
        let message = answer.message();
        let tools = message.pointer("/result/tools").and_then(Value::as_array).unwrap_or_default();
        tools.iter().filter_map(|tool| tool.get("name")?.as_str().map(str::to_owned)).collect()
    }
    /// Calls a tool.
    pub async fn call(&self, tool: &str, arguments: &str) -> Answer {
        self.modern(tool, arguments).send(self.address).await
    }
    /// Opens a legacy session.
    pub async fn initialize(&self) -> String {
        let body = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}"#;
        let answer = self.http("POST", "/mcp").body(body).send(self.address).await;
        answer.header("mcp-session-id").unwrap_or_else(|| panic!("no session: {}", answer.text())).to_owned()
    }
    /// A legacy message in a session.
    #[must_use]
    pub fn legacy(&self, session: &str, body: &str) -> Http {
        self.http("POST", "/mcp")
            .set("mcp-session-id", session)
            .set("mcp-protocol-version", "2025-11-25")
            .body(body)
    }
}
