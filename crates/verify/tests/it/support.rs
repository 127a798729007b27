//! A gateway's side: keys, tokens, proofs.

use placet_jose::{
    Algorithm, KeySet, SigningKey, Stamp,
    digest::ContentDigest,
    dpop,
    htu::Htu,
    keys::random_id,
    mint,
    tokens::{Actor, ActorChain, CallDetail, CallToken, ResourceRef, SignedRequest},
};
use placet_verify::{Reach, ReplayStore, Request, Trust, Verifier};

pub(crate) const ISSUER: &str = "https://gw.example";
pub(crate) const TOOL: &str = "https://billing.example/mcp";
pub(crate) const BODY: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#;
pub(crate) const NOW: u64 = 1_772_000_000;

/// A gateway that signs.
pub(crate) struct Gateway {
    pub(crate) token: SigningKey,
    pub(crate) sender: SigningKey,
}

/// A request as sent.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Gateway {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        Self {
            token: SigningKey::generate(algorithm).unwrap(),
            sender: SigningKey::generate(algorithm).unwrap(),
        }
    }

    pub(crate) fn keys(&self) -> KeySet {
        KeySet::of(self.token.public())
    }

    /// A permitted call, issued at `at`.
    pub(crate) fn call(&self, at: u64) -> Sent {
        self.call_for(at, TOOL)
    }

    /// The same for another audience; the URL stays.
    pub(crate) fn call_for(&self, at: u64, audience: &str) -> Sent {
        let url = Htu::parse(TOOL).unwrap();
        let digest = ContentDigest::of(BODY.as_bytes());
        let actor = |name: &str| Actor { sub: name.into(), sub_profile: None };
        let claims = CallToken {
            sub: "maya".into(),
            act: ActorChain::new(vec![actor("agent-7"), actor("planner-1")]).unwrap(),
            jti: random_id().unwrap(),
            txn: "dc_1".into(),
            key: self.sender.public().thumbprint(),
            req: SignedRequest { htm: "POST".into(), htu: url.clone(), query: None, digest },
            detail: CallDetail {
                tenant: "acme".into(),
                action: "issue_refund".into(),
                resource: Some(ResourceRef { kind: "support_case".into(), id: "CASE-1837".into() }),
                amount: Some("80".into()),
            },
        };
        let stamp = Stamp { issuer: ISSUER, audience, issued_at: at, expires_at: at + 30 };
        let token = mint(&self.token, &stamp, &claims).unwrap();
        let proof =
            dpop::prove(&self.sender, &random_id().unwrap(), "POST", &url, at, Some(&token), None).unwrap();
        let header = |name: &str, value: String| (name.to_owned(), value);
        Sent {
            method: "POST".into(),
            target: "/mcp".into(),
            headers: vec![
                header("authorization", format!("DPoP {token}")),
                header("dpop", proof),
                header("content-digest", digest.to_string()),
            ],
            body: BODY.into(),
        }
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust {
            issuer: ISSUER.into(),
            keys: self.keys(),
            audience: TOOL.into(),
            url: TOOL.into(),
            reach: Reach::Endpoint,
        }
    }

    pub(crate) fn verifier<S: ReplayStore>(&self, store: S) -> Verifier<S> {
        Verifier::new(self.trust(), store).unwrap()
    }
}

impl Sent {
    pub(crate) fn check<S: ReplayStore>(
        &self,
        verifier: &Verifier<S>,
        now: u64,
    ) -> Result<placet_verify::Call, placet_verify::Refused> {
        let headers: Vec<(&str, &[u8])> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let request = Request {
            method: &self.method,
            target: &self.target,
            headers: &headers,
            body: self.body.as_bytes(),
        };
        verifier.verify(&request, now)
    }

    /// With a header changed.
    pub(crate) fn with(mut self, name: &str, change: impl Fn(&str) -> String) -> Self {
        for (other, value) in &mut self.headers {
            if other == name {
                *value = change(value);
            }
        }
        self
    }
}
