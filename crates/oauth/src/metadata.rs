//! Metadata documents: of the protected resource (RFC 9728) and of the authorization server (RFC 8414). They announce
//! what there is, and nothing that isn't built.

use placet_jose::htu::{Htu, HtuError};
use placet_json::{Object, Value};

/// The algorithms of keys that agents may have, preferred one first.
pub const ALGORITHMS: [&str; 2] = ["ES256", "EdDSA"];

/// What the documents are made of. Every URL stands as clients must compare it: byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Our issuer.
    pub issuer: String,
    /// The gateway's URL exactly as clients have it, without a slash at the end.
    pub resource: String,
    /// The token endpoint.
    pub token_endpoint: String,
    /// Our public token keys.
    pub jwks_uri: String,
    /// The authorization endpoint and the one where requests are pushed to, where people can answer.
    pub consent: Option<(String, String)>,
    /// The least scope of a useful token.
    pub scopes: Vec<String>,
}

impl Metadata {
    /// The document for [`resource_paths`](Self::resource_paths).
    #[must_use]
    pub fn protected_resource(&self) -> Value {
        let mut document = Object::new();
        document.insert("resource", self.resource.as_str());
        document.insert("authorization_servers", list(&[&self.issuer]));
        document.insert("scopes_supported", list(&self.scopes));
        document.insert("bearer_methods_supported", list(&["header"]));
        document.insert("dpop_bound_access_tokens_required", true);
        document.insert("dpop_signing_alg_values_supported", list(&ALGORITHMS));
        Value::Object(document)
    }

    /// The document for [`server_paths`](Self::server_paths).
    #[must_use]
    pub fn authorization_server(&self) -> Value {
        let mut document = Object::new();
        document.insert("issuer", self.issuer.as_str());
        document.insert("token_endpoint", self.token_endpoint.as_str());
        document.insert("jwks_uri", self.jwks_uri.as_str());
        document.insert("scopes_supported", list(&self.scopes));
        // Required by RFC 8414 §2. None where there is no authorization endpoint.
        let (mut responses, mut grants) = (Vec::new(), vec!["client_credentials"]);
        if let Some((authorization, pushed)) = &self.consent {
            responses.push("code");
            grants.insert(0, "authorization_code");
            document.insert("authorization_endpoint", authorization.as_str());
            document.insert("pushed_authorization_request_endpoint", pushed.as_str());
            document.insert("require_pushed_authorization_requests", true);
            document.insert("response_modes_supported", list(&["query"]));
            document.insert("code_challenge_methods_supported", list(&["S256"]));
            document.insert("authorization_response_iss_parameter_supported", true);
        }
        document.insert("response_types_supported", list(&responses));
        document.insert("grant_types_supported", list(&grants));
        document.insert("token_endpoint_auth_methods_supported", list(&["private_key_jwt"]));
        document.insert("token_endpoint_auth_signing_alg_values_supported", list(&ALGORITHMS));
        document.insert("dpop_signing_alg_values_supported", list(&ALGORITHMS));
        document.insert("authorization_details_types_supported", list(&["placet_workflow"]));
        Value::Object(document)
    }

    /// Where clients look for the resource's document: with the endpoint's path, and at the root (RFC 9728 §3.1).
    pub fn resource_paths(&self) -> Result<Vec<String>, HtuError> {
        well_known("oauth-protected-resource", &self.resource)
    }

    /// The URL of the resource's document, as a challenge names it.
    pub fn resource_url(&self) -> Result<String, HtuError> {
        let resource = Htu::parse(&self.resource)?;
        let path = self.resource_paths()?.into_iter().next().unwrap_or_default();
        Ok(format!("{}{path}", resource.origin()))
    }

    /// Where clients look for the server's document (RFC 8414 §3.1, §5).
    pub fn server_paths(&self) -> Result<Vec<String>, HtuError> {
        well_known("oauth-authorization-server", &self.issuer)
    }
}

/// The well-known name stands between host and path.
fn well_known(name: &str, url: &str) -> Result<Vec<String>, HtuError> {
    let root = format!("/.well-known/{name}");
    let url = Htu::parse(url)?;
    match url.path() {
        "/" => Ok(vec![root]),
        path => Ok(vec![format!("{root}{}", path.trim_end_matches('/')), root]),
    }
}

fn list<T: AsRef<str>>(texts: &[T]) -> Value {
    Value::Array(texts.iter().map(|text| Value::from(text.as_ref())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> Metadata {
        Metadata {
            issuer: "https://gw.example".to_owned(),
            resource: "https://gw.example/mcp".to_owned(),
            token_endpoint: "https://gw.example/oauth/token".to_owned(),
            jwks_uri: "https://gw.example/oauth/jwks".to_owned(),
            consent: None,
            scopes: vec!["mcp".to_owned()],
        }
    }

    #[test]
    fn the_documents() {
        assert_eq!(
            metadata().protected_resource().to_string(),
            concat!(
                r#"{"resource":"https://gw.example/mcp","authorization_servers":["https://gw.example"],"#,
                r#""scopes_supported":["mcp"],"bearer_methods_supported":["header"],"#,
                r#""dpop_bound_access_tokens_required":true,"dpop_signing_alg_values_supported":["ES256","EdDSA"]}"#
            )
        );
        let server = metadata().authorization_server();
        assert_eq!(server.get("issuer").and_then(Value::as_str), Some("https://gw.example"));
        let announced = server.to_string();
        for absent in ["authorization_code", "none", "client_secret", "offline_access", "HS256"] {
            assert!(!announced.contains(&format!("\"{absent}")), "{absent}");
        }
    }

    #[test]
    fn where_they_are() {
        let metadata = metadata();
        assert_eq!(
            metadata.resource_paths().unwrap(),
            ["/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource"]
        );
        assert_eq!(
            metadata.resource_url().unwrap(),
            "https://gw.example/.well-known/oauth-protected-resource/mcp"
        );
        assert_eq!(metadata.server_paths().unwrap(), ["/.well-known/oauth-authorization-server"]);
    }
}
