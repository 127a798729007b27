//! A registry of one agent with one delegation.

use std::cell::Cell;

use placet_jose::dpop::prove;
use placet_jose::htu::Htu;
use placet_jose::tokens::{Actor, ActorChain, ClientAssertion, WorkflowDetail};
use placet_jose::{Algorithm, KeySet, SigningKey, Stamp, mint};
use placet_json::Object;
use placet_oauth::registry::{Asked, Grant, GrantError, Registry};
use placet_oauth::token::{ASSERTION_TYPE, Nonces, TokenEndpoint};

pub(crate) const NOW: u64 = 1_790_000_000;
pub(crate) const ISSUER: &str = "https://gw.example";
pub(crate) const RESOURCE: &str = "https://gw.example/mcp";
pub(crate) const TOKEN_URL: &str = "https://gw.example/oauth/token";

pub(crate) fn url(text: &str) -> Htu {
    Htu::parse(text).unwrap()
}

pub(crate) struct Scene {
    pub(crate) endpoint: TokenEndpoint,
    pub(crate) agent: SigningKey,
    pub(crate) suspended: Cell<bool>,
    pub(crate) ends_at: Cell<u64>,
    pub(crate) error: Cell<Option<GrantError>>,
}

pub(crate) fn scene() -> Scene {
    Scene {
        endpoint: TokenEndpoint {
            issuer: ISSUER.to_owned(),
            resource: RESOURCE.to_owned(),
            url: url(TOKEN_URL),
            key: SigningKey::generate(Algorithm::EdDsa).unwrap(),
            nonces: Nonces::NotAsked,
        },
        agent: SigningKey::generate(Algorithm::Es256).unwrap(),
        suspended: Cell::new(false),
        ends_at: Cell::new(NOW + 3600),
        error: Cell::new(None),
    }
}

impl Registry for Scene {
    fn agent_keys(&self, client_id: &str) -> Option<KeySet> {
        (client_id == "agent-7" && !self.suspended.get()).then(|| KeySet::of(self.agent.public()))
    }

    fn grant(&self, client_id: &str, asked: &Asked) -> Result<Grant, GrantError> {
        assert_eq!(client_id, "agent-7");
        if let Some(error) = self.error.get() {
            return Err(error);
        }
        let fits = |asked: &Option<String>, is: &str| asked.as_deref().is_none_or(|asked| asked == is);
        if !fits(&asked.tenant, "acme") || !fits(&asked.workflow, "wf-9") || !fits(&asked.delegation, "dl_42")
        {
            return Err(GrantError::None);
        }
        let actor = Actor { sub: "agent-7".to_owned(), sub_profile: Some("ai_agent".to_owned()) };
        Ok(Grant {
            human: "maya".to_owned(),
            act: ActorChain::new(vec![actor]).unwrap(),
            detail: WorkflowDetail {
                tenant: "acme".to_owned(),
                delegation: "dl_42".to_owned(),
                authority_hash: "sha-256:abc".to_owned(),
                workflow: "wf-9".to_owned(),
                workflow_type: "support_case".to_owned(),
                intents: vec!["support_case_resolution".to_owned()],
                actions: vec!["issue_refund".to_owned()],
                resource: None,
                constraints: Object::new(),
                max_depth: 0,
            },
            ends_at: self.ends_at.get(),
        })
    }
}

pub(crate) fn assertion(client: &str, key: &SigningKey, jti: &str) -> String {
    let stamp = Stamp { issuer: client, audience: ISSUER, issued_at: NOW, expires_at: NOW + 60 };
    mint(key, &stamp, &ClientAssertion { sub: client.to_owned(), jti: jti.to_owned() }).unwrap()
}

impl Scene {
    pub(crate) fn proof(&self, jti: &str, nonce: Option<&str>) -> String {
        prove(&self.agent, jti, "POST", &url(TOKEN_URL), NOW, None, nonce).unwrap()
    }

    /// A request's parameters, which a case may change before they are encoded.
    pub(crate) fn parameters(&self, jti: &str) -> Vec<(&'static str, String)> {
        vec![
            ("grant_type", "client_credentials".to_owned()),
            ("client_assertion_type", ASSERTION_TYPE.to_owned()),
            ("client_assertion", assertion("agent-7", &self.agent, jti)),
            ("resource", RESOURCE.to_owned()),
        ]
    }
}

pub(crate) fn encode(parameters: &[(&'static str, String)]) -> Vec<u8> {
    let escape = |text: &str| -> String {
        text.bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
                _ => format!("%{byte:02X}"),
            })
            .collect()
    };
    let pairs: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
    pairs.join("&").into_bytes()
}
