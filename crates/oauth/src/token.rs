//! The token endpoint (RFC 6749 §4.4): an agent proves who it is and that it holds a key, names a workflow, and gets
//! a token of minutes bound to that key.
//!
//! Two steps, so that no proof is used up by a request that fails and none counts twice: [`TokenEndpoint::authenticate`]
//! yields a [`Claimant`]; [`Claimant::admit`] spends assertion and proof in the window and yields the [`Client`] that
//! [`TokenEndpoint::issue`] needs.

use placet_jose::dpop::{self, Expected, Nonce, Presented, Proof};
use placet_jose::headers::{Headers, dpop_proof};
use placet_jose::htu::Htu;
use placet_jose::replay::{Admission, ReplayKey, ReplayWindow};
use placet_jose::tokens::{ClientAssertion, WorkflowToken};
use placet_jose::{LEEWAY, Refused, SigningKey, Stamp, Thumbprint, claimed_issuer, mint};
use placet_json::{Limits, Object, Value, parse};

use crate::code::Redeemed;
use crate::error::{Code, OAuthError, Why, no_store};
use crate::form::Form;
use crate::nonce::NonceKey;
use crate::registry::{Asked, GrantError, Registry};

/// `client_assertion_type` of `private_key_jwt` (RFC 7523 §2.2).
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The longest life of a workflow token, in seconds.
const TOKEN_LIFE: u64 = 300;

/// `authorization_details` name a workflow and little else.
const DETAILS: Limits = Limits { bytes: 4096, depth: 4, members: 8 };

/// The endpoint. Fixed when the server starts.
#[derive(Debug)]
pub struct TokenEndpoint {
    /// Our issuer: `iss` of tokens, `aud` of client assertions.
    pub issuer: String,
    /// The gateway's URL exactly as clients have it: the only `resource`, the `aud` of tokens.
    pub resource: String,
    /// The URL of this endpoint, as configured.
    pub url: Htu,
    /// The key that signs tokens.
    pub key: SigningKey,
    /// Whether proofs must carry a nonce.
    pub nonces: Nonces,
}

/// Whether proofs must carry a nonce of ours.
#[derive(Debug, Clone)]
pub enum Nonces {
    /// No: `iat` and the window bound a proof's use.
    NotAsked,
    /// Yes: proofs can't be made ahead of time.
    Required(NonceKey),
}

/// A client that is who it says it is and holds the key it shows, if assertion and proof are not used already.
#[derive(Debug)]
#[must_use = "a claimant counts only once its proofs are known not to have been used before"]
pub struct Claimant {
    client: Client,
    uses: [(ReplayKey, u64); 2],
}

/// A client whose assertion and proof are spent. Made only by [`Claimant::admit`].
#[derive(Debug)]
pub struct Client {
    id: String,
    key: Thumbprint,
    asked: Asked,
    code: Option<Redeemed>,
}

/// The answer of the token endpoint (RFC 6749 §5.1, RFC 9449 §5, RFC 9396 §7).
#[derive(Debug)]
pub struct TokenResponse {
    token: String,
    claims: WorkflowToken,
    expires_in: u64,
    nonce: Option<String>,
}

impl TokenEndpoint {
    /// Checks a request's form, client assertion and proof. `now` is in seconds since the Unix epoch.
    pub fn authenticate(
        &self,
        body: &[u8],
        headers: Headers<'_>,
        registry: &dyn Registry,
        now: u64,
    ) -> Result<Claimant, OAuthError> {
        let form = Form::parse(body).map_err(|_| parameter("body"))?;
        // A second way to authenticate (RFC 6749 §2.3) is refused, and so is a shared secret.
        if form.get("client_secret").is_some() || headers.iter().any(|(name, _)| is_authorization(name)) {
            return Err(parameter("client_secret"));
        }
        let (client_id, assertion_use) = self.client(&form, registry, now)?;
        let proof = self.proof(headers, now)?;
        match form.get("grant_type") {
            Some("client_credentials" | "authorization_code") => {}
            Some(_) => return Err(OAuthError::new(Code::UnsupportedGrantType, Why::Parameter("grant_type"))),
            None => return Err(parameter("grant_type")),
        }
        // Byte for byte: a resource that is nearly ours is another one.
        if form.get("resource") != Some(self.resource.as_str()) {
            return Err(OAuthError::new(Code::InvalidTarget, Why::Parameter("resource")));
        }
        let code = match form.get("grant_type") {
            Some("authorization_code") => Some(Redeemed::read(&form)?),
            _ => None,
        };
        let asked = match form.get("authorization_details") {
            None => Asked::default(),
            Some(text) => read_details(text).ok_or(OAuthError::new(
                Code::InvalidAuthorizationDetails,
                Why::Parameter("authorization_details"),
            ))?,
        };
        let proof_use = (proof.replay_key(), proof.forget_at());
        let client = Client { id: client_id, key: proof.key(), asked, code };
        Ok(Claimant { client, uses: [assertion_use, proof_use] })
    }

    /// Makes the token, if the facts grant it now. `jti` is the new token's identifier.
    pub fn issue(
        &self,
        client: &Client,
        registry: &dyn Registry,
        jti: &str,
        now: u64,
    ) -> Result<TokenResponse, OAuthError> {
        // A code is worth what its person agreed to, which is for whoever redeems it to say.
        if client.code.is_some() {
            return Err(no_grant());
        }
        let grant = registry.grant(&client.id, &client.asked).map_err(|error| {
            let code = match error {
                GrantError::None => Code::InvalidGrant,
                GrantError::Several => Code::InvalidAuthorizationDetails,
                GrantError::Unavailable => Code::TemporarilyUnavailable,
            };
            OAuthError::new(code, Why::Grant(error))
        })?;
        if grant.ends_at <= now {
            return Err(OAuthError::new(Code::InvalidGrant, Why::Ended));
        }
        let expires_at = grant.ends_at.min(now.saturating_add(TOKEN_LIFE));
        let claims = WorkflowToken {
            sub: grant.human,
            client_id: client.id.clone(),
            jti: jti.to_owned(),
            key: client.key,
            act: grant.act,
            detail: grant.detail,
        };
        let stamp = Stamp { issuer: &self.issuer, audience: &self.resource, issued_at: now, expires_at };
        let token = mint(&self.key, &stamp, &claims)
            .map_err(|_| OAuthError::new(Code::TemporarilyUnavailable, Why::Internal))?;
        let nonce = match &self.nonces {
            Nonces::NotAsked => None,
            Nonces::Required(key) => Some(key.current(now)),
        };
        Ok(TokenResponse { token, claims, expires_in: expires_at.saturating_sub(now), nonce })
    }

    /// Who the client is: by its own key, or not at all. All failures look alike.
    pub(crate) fn client(
        &self,
        form: &Form,
        registry: &dyn Registry,
        now: u64,
    ) -> Result<(String, (ReplayKey, u64)), OAuthError> {
        let wrong =
            |refused| OAuthError::new(Code::InvalidClient, Why::Token { part: "client_assertion", refused });
        if form.get("client_assertion_type") != Some(ASSERTION_TYPE) {
            return Err(wrong(Refused::Missing("client_assertion_type")));
        }
        let assertion = form.get("client_assertion").ok_or(wrong(Refused::Missing("client_assertion")))?;
        let client_id = claimed_issuer(assertion).map_err(wrong)?;
        if form.get("client_id").is_some_and(|named| named != client_id) {
            return Err(wrong(Refused::Issuer));
        }
        let keys =
            registry.agent_keys(&client_id).ok_or(OAuthError::new(Code::InvalidClient, Why::NoSuchClient))?;
        let assertion =
            ClientAssertion::open(assertion, &client_id, &keys, &self.issuer, now).map_err(wrong)?;
        let key = ReplayKey::new("client_assertion", &[&client_id, &assertion.claims().jti]);
        Ok((client_id, (key, assertion.expires_at().saturating_add(LEEWAY))))
    }

    fn proof(&self, headers: Headers<'_>, now: u64) -> Result<Proof, OAuthError> {
        let accepted;
        let nonce = match &self.nonces {
            Nonces::NotAsked => Nonce::NotAsked,
            Nonces::Required(key) => {
                accepted = key.accepted(now);
                Nonce::OneOf(&accepted)
            }
        };
        let expected = Expected { method: "POST", url: &self.url, token: Presented::None, nonce };
        dpop_proof(headers).and_then(|proof| dpop::verify(proof, &expected, now)).map_err(|refused| {
            match (&self.nonces, refused) {
                (Nonces::Required(key), Refused::Nonce) => OAuthError::use_nonce(key.current(now)),
                _ => OAuthError::new(Code::InvalidDpopProof, Why::Token { part: "dpop", refused }),
            }
        })
    }
}

impl Claimant {
    /// Who claims, for a log of refusals; nothing may rest on it before [`admit`](Self::admit).
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client.id
    }

    /// Spends assertion and proof. The window's memory must outlast a restart.
    pub fn admit(self, window: &mut dyn ReplayWindow, now: u64) -> Result<Client, OAuthError> {
        let parts = [("client_assertion", Code::InvalidClient), ("dpop", Code::InvalidDpopProof)];
        for (used, part) in self.uses.into_iter().zip(parts) {
            spend(window, used, part, now)?;
        }
        Ok(self.client)
    }
}

/// Spends what counts once.
pub(crate) fn spend(
    window: &mut dyn ReplayWindow,
    (key, forget_at): (ReplayKey, u64),
    (part, code): (&'static str, Code),
    now: u64,
) -> Result<(), OAuthError> {
    let (code, refused) = match window.admit(key, forget_at, now) {
        Admission::New => return Ok(()),
        Admission::Seen => (code, Refused::Replayed),
        Admission::Full => (Code::TemporarilyUnavailable, Refused::WindowFull),
    };
    Err(OAuthError::new(code, Why::Token { part, refused }))
}

/// Nothing is granted.
#[must_use]
pub fn no_grant() -> OAuthError {
    OAuthError::new(Code::InvalidGrant, Why::Grant(GrantError::None))
}

/// The key that was shown isn't one of the client's own.
#[must_use]
pub fn foreign_key() -> OAuthError {
    OAuthError::new(Code::InvalidDpopProof, Why::Token { part: "dpop", refused: Refused::Binding })
}

/// The server can't answer now.
#[must_use]
pub fn unavailable() -> OAuthError {
    OAuthError::new(Code::TemporarilyUnavailable, Why::Internal)
}

/// What is asked for isn't there to be asked for.
#[must_use]
pub fn no_such_details() -> OAuthError {
    OAuthError::new(Code::InvalidAuthorizationDetails, Why::Parameter("authorization_details"))
}

impl Client {
    /// The authenticated agent.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.id
    }
    /// The key that it showed.
    #[must_use]
    pub fn key(&self) -> Thumbprint {
        self.key
    }
    /// The code that it brings, if it brings one.
    #[must_use]
    pub fn code(&self) -> Option<&Redeemed> {
        self.code.as_ref()
    }
    /// The same client, asking for what its code was redeemed for.
    #[must_use]
    pub fn redeemed(self, asked: Asked) -> Self {
        Self { asked, code: None, ..self }
    }
}

impl TokenResponse {
    /// What was issued, for the record; the token itself is in [`document`](Self::document) only.
    #[must_use]
    pub fn claims(&self) -> &WorkflowToken {
        &self.claims
    }

    /// The JSON document to send.
    #[must_use]
    pub fn document(&self) -> Value {
        let mut document = Object::new();
        document.insert("access_token", self.token.as_str());
        document.insert("token_type", "DPoP");
        document.insert("expires_in", self.expires_in);
        document.insert("authorization_details", Value::Array(vec![self.claims.detail.to_value()]));
        Value::Object(document)
    }

    /// Headers to send with the document.
    #[must_use]
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = no_store();
        if let Some(nonce) = &self.nonce {
            headers.push(("DPoP-Nonce", nonce.clone()));
        }
        headers
    }
}

pub(crate) fn parameter(name: &'static str) -> OAuthError {
    OAuthError::new(Code::InvalidRequest, Why::Parameter(name))
}

pub(crate) fn is_authorization(name: &str) -> bool {
    name.eq_ignore_ascii_case("authorization")
}

/// `[{"type":"placet_workflow","workflow":…,"delegation":…,"tenant":…}]`: one member, nothing unknown.
fn read_details(text: &str) -> Option<Asked> {
    let details = parse(text.as_bytes(), &DETAILS).ok()?;
    let [detail] = details.as_array()? else { return None };
    let mut asked = Asked::default();
    let mut kind = None;
    for (name, value) in detail.as_object()? {
        let value = value.as_str().filter(|value| !value.is_empty())?.to_owned();
        match name {
            "type" => kind = Some(value),
            "tenant" => asked.tenant = Some(value),
            "workflow" => asked.workflow = Some(value),
            "delegation" => asked.delegation = Some(value),
            _ => return None,
        }
    }
    (kind.as_deref() == Some("placet_workflow")).then_some(asked)
}
