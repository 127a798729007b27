//! An administrator: each request signed for itself.

use std::{net::SocketAddr, path::Path};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use placet_jose::{
    Algorithm, SigningKey, Stamp, digest::ContentDigest, htu::Htu, keys::random_id, mint,
    tokens::OperatorAssertion,
};
use placet_json::Value;

use crate::{Answer, Http, json, now};

/// The operator, or a person with their own key.
#[derive(Debug)]
pub struct Admin {
    url: String,
    address: SocketAddr,
    principal: String,
    key: SigningKey,
}

impl Admin {
    /// The operator, by the key that the server made at its first start.
    #[must_use]
    pub fn operator(url: &str, address: SocketAddr, data: &Path) -> Self {
        let pem = std::fs::read_to_string(data.join("keys/operator.pem")).unwrap();
        let key = SigningKey::from_pkcs8_pem(&pem).unwrap();
        Self { url: url.to_owned(), address, principal: "operator".to_owned(), key }
    }
    /// A person with a new key, which the operator registers.
    pub async fn person(&self, human: &str) -> Self {
        let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
        let body = format!(r#"{{"jwk":{},"why":"a test"}}"#, key.public().to_jwk());
        self.act(&format!("/v1/humans/{human}/keys"), &body).await;
        Self { url: self.url.clone(), address: self.address, principal: format!("human:{human}"), key }
    }
    /// Where it sends.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
    /// Reads.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.request("GET", path, "").send(self.address).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        json(&answer.body)
    }
    /// Acts; it must succeed.
    pub async fn act(&self, path: &str, body: &str) -> Value {
        let answer = self.ask(path, body).await;
        assert!((200..300).contains(&answer.status), "{path}: {} {}", answer.status, answer.text());
        json(&answer.body)
    }
    /// Tries to act.
    pub async fn ask(&self, path: &str, body: &str) -> Answer {
        self.request("POST", path, body).send(self.address).await
    }
    /// The signed request.
    #[must_use]
    pub fn request(&self, method: &str, path: &str, body: &str) -> Http {
        self.signed(method, path, body.as_bytes())
    }
    /// Sends bytes, as a release's archive.
    pub async fn upload(&self, path: &str, body: &[u8]) -> Answer {
        self.signed("POST", path, body).send(self.address).await
    }
    fn signed(&self, method: &str, path: &str, body: &[u8]) -> Http {
        let (route, query) = path.split_once('?').map_or((path, None), |(route, query)| (route, Some(query)));
        let claims = OperatorAssertion {
            sub: self.principal.clone(),
            jti: random_id().unwrap(),
            htm: method.to_owned(),
            htu: Htu::parse(&format!("{}{route}", self.url)).unwrap(),
            query: query.map(str::to_owned),
            digest: ContentDigest::of(body),
        };
        let stamp =
            Stamp { issuer: &self.principal, audience: &self.url, issued_at: now(), expires_at: now() + 30 };
        let assertion = mint(&self.key, &stamp, &claims).unwrap();
        let shown = URL_SAFE_NO_PAD.encode(self.key.public().to_jwk().to_bytes());
        Http {
            method: method.to_owned(),
            target: path.to_owned(),
            headers: [
                ("host", self.address.to_string()),
                ("authorization", format!("Placet {assertion}")),
                ("content-type", "application/json".to_owned()),
                ("placet-key", shown),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
            body: body.to_vec(),
        }
    }
}
