//! The authorization code flow as functions: what an agent pushes (RFC 9126) and the code that it redeems (RFC 6749 §4.1.3,
//! RFC 7636).
//!
//! Only pushed requests are taken, from agents that have proved who they are by their own key: what a person is shown
//! can't be changed on its way through their browser, and a redirect URI is as good as the key that signed for it.

use placet_jose::Refused;
use placet_jose::Thumbprint;
use placet_jose::dpop::{self, Expected, Nonce, Presented};
use placet_jose::headers::{Headers, dpop_proof};
use placet_jose::htu::Htu;
use placet_jose::replay::{ReplayKey, ReplayWindow};
use placet_json::{Limits, Object, Value, parse};

use crate::error::{Code, OAuthError, Why};
use crate::form::Form;
use crate::registry::Registry;
use crate::token::{TokenEndpoint, is_authorization, parameter, spend};

/// How long a pushed request waits for its person, in seconds.
pub const REQUEST_LIFE: u64 = 600;
/// How long a code works, in seconds.
pub const CODE_LIFE: u64 = 60;
/// What stands before the secret part of a `request_uri` (RFC 9126 §2.2).
pub const REQUEST_URI: &str = "urn:ietf:params:oauth:request_uri:";
/// The longest `state`, redirect URI and note of a client, in bytes.
const MAX_TEXT: usize = 512;
/// A base64url SHA-256, and a PKCE verifier (RFC 7636 §4.1).
const CHALLENGE: usize = 43;
const MAX_VERIFIER: usize = 128;
/// `authorization_details` of a question: names, limits and a note.
const DETAILS: Limits = Limits { bytes: 16 * 1024, depth: 4, members: 512 };
/// The most actions, and intents, that are asked for.
const MAX_NAMES: usize = 64;

/// What an agent asks a person for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The authenticated agent.
    pub client_id: String,
    /// The key that the code is bound to.
    pub key: Thumbprint,
    /// Where the answer goes.
    pub redirect_uri: String,
    /// Handed back with it.
    pub state: Option<String>,
    /// The PKCE challenge.
    pub challenge: String,
    /// For what.
    pub wants: Wants,
}

/// The one member of `authorization_details`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wants {
    /// The tenant.
    pub tenant: String,
    /// The workflow.
    pub workflow: String,
    /// The actions.
    pub actions: Vec<String>,
    /// The intents; none: all of the workflow's.
    pub intents: Option<Vec<String>>,
    /// `constraints`: upper bounds, `max_amount` and the like.
    pub constraints: Object,
    /// Until when, RFC 3339; none: until the workflow ends.
    pub ends: Option<String>,
    /// How often it may be passed on.
    pub max_depth: u64,
    /// The client's own words.
    pub note: Option<String>,
}

/// A pushed request whose proofs aren't spent yet.
#[derive(Debug)]
#[must_use = "a request counts only once its proofs are known not to have been used before"]
pub struct Pushing {
    pushed: Pushed,
    uses: Vec<(ReplayKey, u64, &'static str, Code)>,
}

/// A code, as a client brings it to the token endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redeemed {
    /// The code.
    pub code: String,
    /// The PKCE verifier.
    pub verifier: String,
    /// The redirect URI, if the client repeats it.
    pub redirect_uri: Option<String>,
}

impl TokenEndpoint {
    /// Checks a pushed authorization request. `url` is that endpoint's own; `now` in seconds since the Unix epoch.
    pub fn pushed(
        &self,
        body: &[u8],
        headers: Headers<'_>,
        url: &Htu,
        registry: &dyn Registry,
        now: u64,
    ) -> Result<Pushing, OAuthError> {
        let form = Form::parse(body).map_err(|_| parameter("body"))?;
        if form.get("client_secret").is_some() || headers.iter().any(|(name, _)| is_authorization(name)) {
            return Err(parameter("client_secret"));
        }
        let (client_id, (key, until)) = self.client(&form, registry, now)?;
        let mut uses = vec![(key, until, "client_assertion", Code::InvalidClient)];
        let named = match form.get("dpop_jkt") {
            None => None,
            Some(text) => Some(Thumbprint::parse(text).map_err(|_| parameter("dpop_jkt"))?),
        };
        let wrong = |refused| OAuthError::new(Code::InvalidDpopProof, Why::Token { part: "dpop", refused });
        let proof = if headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("dpop")) {
            let expected = Expected { method: "POST", url, token: Presented::None, nonce: Nonce::NotAsked };
            let proof = dpop_proof(headers).and_then(|proof| dpop::verify(proof, &expected, now));
            let proof = proof.map_err(wrong)?;
            uses.push((proof.replay_key(), proof.forget_at(), "dpop", Code::InvalidDpopProof));
            Some(proof.key())
        } else {
            None
        };
        // A code that is bound to no key is whoever's who finds it (RFC 9449 §10).
        let key = match (proof, named) {
            (Some(proof), Some(named)) if proof != named => return Err(wrong(Refused::Binding)),
            (Some(key), _) | (None, Some(key)) => key,
            (None, None) => return Err(parameter("dpop_jkt")),
        };
        if form.get("request_uri").is_some() || form.get("request").is_some() {
            return Err(parameter("request_uri"));
        }
        if form.get("response_type") != Some("code") {
            return Err(OAuthError::new(Code::UnsupportedResponseType, Why::Parameter("response_type")));
        }
        if form.get("response_mode").is_some_and(|mode| mode != "query") {
            return Err(parameter("response_mode"));
        }
        // Without PKCE, or with its `plain`, an overheard code is as good as one's own.
        if form.get("code_challenge_method") != Some("S256") {
            return Err(parameter("code_challenge_method"));
        }
        let challenge = form.get("code_challenge").filter(|text| is_challenge(text));
        let challenge = challenge.ok_or_else(|| parameter("code_challenge"))?;
        let redirect_uri = form.get("redirect_uri").filter(|uri| redirect_origin(uri).is_some());
        let redirect_uri = redirect_uri.ok_or_else(|| parameter("redirect_uri"))?;
        let state = form.get("state");
        if state.is_some_and(|state| state.len() > MAX_TEXT) {
            return Err(parameter("state"));
        }
        if form.get("resource") != Some(self.resource.as_str()) {
            return Err(OAuthError::new(Code::InvalidTarget, Why::Parameter("resource")));
        }
        let wants = form.get("authorization_details").and_then(read_wants).ok_or(OAuthError::new(
            Code::InvalidAuthorizationDetails,
            Why::Parameter("authorization_details"),
        ))?;
        let pushed = Pushed {
            client_id,
            key,
            redirect_uri: redirect_uri.to_owned(),
            state: state.map(str::to_owned),
            challenge: challenge.to_owned(),
            wants,
        };
        Ok(Pushing { pushed, uses })
    }
}

impl Pushing {
    /// Spends assertion and proof. The window's memory must outlast a restart.
    pub fn admit(self, window: &mut dyn ReplayWindow, now: u64) -> Result<Pushed, OAuthError> {
        for (key, forget_at, part, code) in self.uses {
            spend(window, (key, forget_at), (part, code), now)?;
        }
        Ok(self.pushed)
    }
}

impl Redeemed {
    pub(crate) fn read(form: &Form) -> Result<Self, OAuthError> {
        let verifier = form.get("code_verifier").filter(|text| {
            (CHALLENGE..=MAX_VERIFIER).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
        });
        Ok(Self {
            code: form.get("code").ok_or_else(|| parameter("code"))?.to_owned(),
            verifier: verifier.ok_or_else(|| parameter("code_verifier"))?.to_owned(),
            redirect_uri: form.get("redirect_uri").map(str::to_owned),
        })
    }
}

/// The origin of a redirect URI that may be used: `https`, or `http` on this machine's own loopback (RFC 8252 §7.3),
/// without a fragment or a user. None: it may not.
#[must_use]
pub fn redirect_origin(uri: &str) -> Option<String> {
    if uri.len() > MAX_TEXT || uri.contains('#') {
        return None;
    }
    let base = uri.split_once('?').map_or(uri, |(base, _)| base);
    let parsed = Htu::parse(base).ok()?;
    let (scheme, authority) = parsed.origin().split_once("://")?;
    let host = authority.rsplit_once(':').map_or(authority, |(host, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) { host } else { authority }
    });
    let loopback = matches!(host, "127.0.0.1" | "[::1]" | "localhost");
    let graphic = uri.bytes().all(|byte| byte.is_ascii_graphic());
    (graphic && (scheme == "https" || loopback)).then(|| parsed.origin().to_owned())
}

/// The address that an answer goes to: the redirect URI with these parameters behind its own.
#[must_use]
pub fn answer_url(redirect_uri: &str, parameters: &[(&str, &str)]) -> String {
    let mut url = redirect_uri.to_owned();
    for (at, (name, value)) in parameters.iter().enumerate() {
        url.push(if at == 0 && !redirect_uri.contains('?') { '?' } else { '&' });
        url.push_str(name);
        url.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                url.push(char::from(byte));
            } else {
                url.extend(format!("%{byte:02X}").chars());
            }
        }
    }
    url
}

fn is_challenge(text: &str) -> bool {
    text.len() == CHALLENGE && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

fn read_wants(text: &str) -> Option<Wants> {
    let details = parse(text.as_bytes(), &DETAILS).ok()?;
    let [detail] = details.as_array()? else { return None };
    let mut wants = Wants::default();
    let mut kind = None;
    let names = |value: &Value| {
        let names = value.as_array()?;
        if names.is_empty() || names.len() > MAX_NAMES {
            return None;
        }
        names.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
    };
    for (name, value) in detail.as_object()? {
        let text = || value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        match name {
            "type" => kind = Some(text()?),
            "tenant" => wants.tenant = text()?,
            "workflow" => wants.workflow = text()?,
            "actions" => wants.actions = names(value)?,
            "intents" => wants.intents = Some(names(value)?),
            "constraints" => wants.constraints = value.as_object()?.clone(),
            "ends" => wants.ends = Some(text()?),
            "max_depth" => wants.max_depth = value.as_u64()?,
            "note" => wants.note = Some(text().filter(|note| note.len() <= MAX_TEXT)?),
            _ => return None,
        }
    }
    let whole = kind.as_deref() == Some("placet_workflow")
        && !wants.tenant.is_empty()
        && !wants.workflow.is_empty()
        && !wants.actions.is_empty();
    whole.then_some(wants)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_uri_is_https_or_this_machine() {
        for (uri, origin) in [
            ("https://app.example/cb", Some("https://app.example")),
            ("https://app.example/cb?x=1", Some("https://app.example")),
            ("http://127.0.0.1:3000/cb", Some("http://127.0.0.1:3000")),
            ("http://[::1]:3000/cb", Some("http://[::1]:3000")),
            ("http://localhost/cb", Some("http://localhost")),
            ("http://app.example/cb", None),
            ("http://127.0.0.1.evil.example/cb", None),
            ("https://user@app.example/cb", None),
            ("https://app.example/cb#x", None),
            ("javascript:alert(1)", None),
            ("data:text/html,x", None),
            ("app://cb", None),
            ("https://app.example/a b", None),
            ("/cb", None),
        ] {
            assert_eq!(redirect_origin(uri).as_deref(), origin, "{uri}");
        }
    }

    #[test]
    fn an_answer_stands_behind_what_was_there() {
        assert_eq!(
            answer_url("https://a/cb", &[("code", "x y"), ("state", "&=")]),
            "https://a/cb?code=x%20y&state=%26%3D"
        );
        assert_eq!(
            answer_url("https://a/cb?k=v", &[("iss", "https://b")]),
            "https://a/cb?k=v&iss=https%3A%2F%2Fb"
        );
    }

    #[test]
    fn details_are_read_whole_or_not_at_all() {
        let whole = r#"[{"type":"placet_workflow","tenant":"acme","workflow":"wf-9","actions":["a"],"constraints":{"max_amount":5},"note":"hi"}]"#;
        let wants = read_wants(whole).unwrap();
        assert_eq!((wants.tenant.as_str(), wants.intents, wants.max_depth), ("acme", None, 0));
        for (from, to) in [
            ("placet_workflow", "other"),
            (r#""tenant":"acme","#, ""),
            (r#"["a"]"#, "[]"),
            (r#"["a"]"#, "[7]"),
            (r#""note""#, r#""unknown""#),
            ("[{", "[{},{"),
        ] {
            assert_eq!(read_wants(&whole.replacen(from, to, 1)), None, "{from} → {to}");
        }
    }
}
