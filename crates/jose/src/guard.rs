//! The guard in front of a tool: accepts one call that a gateway permitted, once, and nothing else.

use crate::LEEWAY;
use crate::digest::ContentDigest;
use crate::dpop::{self, Expected, Nonce, Presented, TokenHash};
use crate::headers::{Headers, at_most_once, dpop_proof, dpop_token};
use crate::htu::Htu;
use crate::keyset::KeySet;
use crate::refused::Refused;
use crate::replay::{Admission, ReplayKey, ReplayWindow};
use crate::tokens::{CallToken, SignedRequest};
use crate::verified::{Expect, Verified};

/// A request as received: nothing decoded, nothing joined.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a str,
    /// The request target in origin-form, with its query if it has one.
    pub target: &'a str,
    /// All headers.
    pub headers: Headers<'a>,
    /// The body's bytes.
    pub body: &'a [u8],
}

/// Whom this guard believes, and who it is. Fixed at its start.
#[derive(Debug, Clone)]
pub struct Guard {
    /// The gateway's issuer.
    pub issuer: String,
    /// The gateway's token keys, pinned.
    pub keys: KeySet,
    /// The one `aud`: this tool.
    pub audience: String,
    /// The URL under which the gateway calls this tool. `Host` and forwarding headers don't count.
    pub url: Htu,
    /// What of it is the tool's.
    pub reach: Reach,
    /// The earliest `iat` that is accepted, in seconds since the Unix epoch. With a replay window in memory: after
    /// the start (plus [`LEEWAY`] if the gateway has another clock), since what was used before isn't remembered.
    /// With a durable window: 0.
    pub not_before: u64,
}

/// How much of a URL is the tool's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The URL alone, without a query: an MCP endpoint.
    Endpoint,
    /// Every path below it, with queries: an HTTP API. The token says which.
    Below,
}

impl Reach {
    /// Whether a request's target is, byte for byte, what the token says, and lies where the tool is.
    fn covers(self, url: &Htu, claimed: &SignedRequest, target: &str) -> bool {
        match self {
            Self::Endpoint => claimed.query.is_none() && claimed.htu == *url && url.is_target(target),
            Self::Below => {
                let (path, query) = match target.split_once('?') {
                    Some((path, query)) => (path, Some(query)),
                    None => (target, None),
                };
                let base = url.path().trim_end_matches('/');
                let below = |path: &str| path.strip_prefix(base).is_some_and(|rest| rest.starts_with('/'));
                claimed.htu.origin() == url.origin()
                    && claimed.htu.path() == path
                    && (below(path) || path == url.path())
                    && match (&claimed.query, query) {
                        (Some(signed), Some(query)) => signed.matches(query.as_bytes()),
                        (None, None) => true,
                        (Some(_), None) | (None, Some(_)) => false,
                    }
            }
        }
    }
}

/// Checks a call, in this order: header form, size, `typ`, algorithm, pinned key, signature, issuer, the one audience,
/// times, what the token says about the request, proof, the bytes, and last the single use. A call that fails any
/// check doesn't use up its token.
pub fn verify_call(
    request: &Request<'_>,
    guard: &Guard,
    seen: &mut dyn ReplayWindow,
    now: u64,
) -> Result<Verified<CallToken>, Refused> {
    let text = dpop_token(request.headers)?;
    let proof = dpop_proof(request.headers)?;
    let expect = Expect { issuer: &guard.issuer, audience: &guard.audience, keys: &guard.keys };
    let token: Verified<CallToken> = Verified::open(text, &expect, now)?;
    if token.issued_at() < guard.not_before {
        return Err(Refused::BeforeStart);
    }
    let claims = token.claims();
    if claims.req.htm != request.method {
        return Err(Refused::Method);
    }
    if !guard.reach.covers(&guard.url, &claims.req, request.target) {
        return Err(Refused::Url);
    }
    let presented = Presented::Bound { token: TokenHash::of(text), key: &claims.key };
    let expected =
        Expected { method: request.method, url: &claims.req.htu, token: presented, nonce: Nonce::NotAsked };
    // Not remembered itself: it goes with this token only, and the token counts once.
    drop(dpop::verify(proof, &expected, now)?);
    check_body(request, &claims.req.digest)?;

    let key = ReplayKey::new("call", &[&guard.issuer, &claims.jti]);
    match seen.admit(key, token.expires_at().saturating_add(LEEWAY), now) {
        Admission::New => Ok(token),
        Admission::Seen => Err(Refused::Replayed),
        Admission::Full => Err(Refused::WindowFull),
    }
}

/// The bytes are those that were signed, and what stands in the header doesn't say otherwise.
fn check_body(request: &Request<'_>, signed: &ContentDigest) -> Result<(), Refused> {
    let coding = at_most_once(request.headers, "content-encoding")?;
    if coding.is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err(Refused::Digest);
    }
    let field = at_most_once(request.headers, "content-digest")?.ok_or(Refused::Missing("content-digest"))?;
    let declared = ContentDigest::parse(field).map_err(|_| Refused::Digest)?;
    if declared == *signed && signed.matches(request.body) { Ok(()) } else { Err(Refused::Digest) }
}
