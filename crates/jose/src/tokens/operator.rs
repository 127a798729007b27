//! The operator's assertion: authenticates one request to the administration API, and nothing else.

use placet_json::Object;

use crate::LEEWAY;
use crate::claims::{Claims, Members};
use crate::digest::ContentDigest;
use crate::htu::Htu;
use crate::keyset::KeySet;
use crate::refused::Refused;
use crate::replay::ReplayKey;
use crate::verified::{Expect, Verified};

/// `iss` and `sub` are the operator, `aud` the base URL of the administration API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorAssertion {
    /// The operator.
    pub sub: String,
    /// Fresh for each request.
    pub jti: String,
    /// The method.
    pub htm: String,
    /// The URL, in normal form.
    pub htu: Htu,
    /// The query as sent, without `?`; a request without one has none.
    pub query: Option<String>,
    /// SHA-256 of the body's bytes; of no bytes if there is no body.
    pub digest: ContentDigest,
}

/// The request that an assertion must be for.
#[derive(Debug, Clone, Copy)]
pub struct OperatorRequest<'a> {
    /// The method.
    pub method: &'a str,
    /// The URL: the configured base with the path of the request.
    pub url: &'a Htu,
    /// The query of the request, without `?`.
    pub query: Option<&'a str>,
    /// The body as received.
    pub body: &'a [u8],
}

impl OperatorAssertion {
    /// Checks an assertion by the keys of the operator whom it claims to be from
    /// ([`claimed_issuer`](crate::claimed_issuer)). That it counts once is for the caller, by
    /// [`replay_key`](Self::replay_key) until [`forget_at`](Self::forget_at).
    pub fn open(
        token: &str,
        operator: &str,
        keys: &KeySet,
        audience: &str,
        request: &OperatorRequest<'_>,
        now: u64,
    ) -> Result<Verified<Self>, Refused> {
        let assertion: Verified<Self> =
            Verified::open(token, &Expect { issuer: operator, audience, keys }, now)?;
        let Self { sub, jti: _, htm, htu, query, digest } = assertion.claims();
        if sub != operator {
            return Err(Refused::Claim("sub"));
        }
        if htm != request.method {
            return Err(Refused::Method);
        }
        if htu != request.url || query.as_deref() != request.query {
            return Err(Refused::Url);
        }
        if !digest.matches(request.body) {
            return Err(Refused::Digest);
        }
        Ok(assertion)
    }

    /// Under what the use of an assertion is remembered.
    #[must_use]
    pub fn replay_key(assertion: &Verified<Self>) -> ReplayKey {
        ReplayKey::new("operator", &[&assertion.claims().sub, &assertion.claims().jti])
    }

    /// The first second at which the assertion is refused for its age.
    #[must_use]
    pub fn forget_at(assertion: &Verified<Self>) -> u64 {
        assertion.expires_at().saturating_add(LEEWAY)
    }
}

impl Claims for OperatorAssertion {
    const TYP: &'static str = "placet-admin+jwt";
    const MAX_LIFE: u64 = 60;

    fn read(members: &mut Members) -> Result<Self, Refused> {
        Ok(Self {
            sub: members.text("sub")?,
            jti: members.jti()?,
            htm: members.text("htm")?,
            htu: Htu::parse(&members.text("htu")?).map_err(|_| Refused::Claim("htu"))?,
            query: members.optional_text("htq")?,
            digest: ContentDigest::parse(&members.text("digest")?).map_err(|_| Refused::Claim("digest"))?,
        })
    }

    fn write(&self, payload: &mut Object) {
        let Self { sub, jti, htm, htu, query, digest } = self;
        payload.insert("sub", sub.as_str());
        payload.insert("jti", jti.as_str());
        payload.insert("htm", htm.as_str());
        payload.insert("htu", htu.as_str());
        if let Some(query) = query {
            payload.insert("htq", query.as_str());
        }
        payload.insert("digest", digest.to_string());
    }
}
