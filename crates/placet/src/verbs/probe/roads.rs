//! What is shown at the door: nothing, and everything that a thief or a careless agent could have.

use std::path::Path;

use placet_jose::{
    Algorithm, SigningKey, Stamp,
    digest::ContentDigest,
    dpop,
    htu::Htu,
    keys::random_id,
    mint,
    tokens::{Actor, ActorChain, CallDetail, CallToken, SignedRequest},
};
use url::Url;

use crate::{
    clock,
    failure::{Failure, OrFail},
    verbs::connect::Held,
};

/// Headers of a request.
pub(super) type Headers = Vec<(String, String)>;

/// What is known to knock with.
pub(super) struct Roads {
    issuer: String,
    token_key: Option<SigningKey>,
    /// Made on the spot.
    ours: SigningKey,
    sender: SigningKey,
    agent: Option<Held>,
    old: Option<String>,
    captured: Option<Captured>,
}

/// A request that was sent before.
pub(super) struct Captured {
    headers: Headers,
    body: Vec<u8>,
}

/// One road: what it is called, and what is shown.
pub(super) struct Road<'a> {
    pub(super) what: What,
    pub(super) presented: Presented<'a>,
}

/// The roads, in the order in which they are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Nothing,
    Forged,
    Expired,
    OtherAudience,
    Replayed,
    Workflow,
    Old,
}

/// What a road shows with each request.
pub(super) enum Presented<'a> {
    /// The same headers with each.
    Fixed(Headers),
    /// A call token that is made for each.
    Call(Call<'a>),
    /// A token bound to a key, with a proof for each request, and the same as a Bearer.
    Bound(&'a Held),
    /// One request, as it was.
    Again(&'a Captured),
    /// There is nothing to show, and why.
    Missing(&'static str),
}

/// How a call token that opens nothing is made.
pub(super) struct Call<'a> {
    roads: &'a Roads,
    key: &'a SigningKey,
    audience: String,
    /// How long ago it was issued, in seconds.
    age: u64,
}

impl What {
    /// The stable name.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Nothing => "no-token",
            Self::Forged => "forged",
            Self::Expired => "expired",
            Self::OtherAudience => "other-audience",
            Self::Replayed => "replayed",
            Self::Workflow => "workflow-token",
            Self::Old => "old-credential",
        }
    }

    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "without a token",
            Self::Forged => "a call token that another key signed",
            Self::Expired => "an expired call token",
            Self::OtherAudience => "a call token for another tool",
            Self::Replayed => "a call that was made before",
            Self::Workflow => "the agent's own workflow token",
            Self::Old => "the old standing credential",
        }
    }

    /// What to do if it is open.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::Nothing => {
                "put `placet tool-proxy` before it and let it listen where only the proxy reaches it; see docs/guides/protect-a-tool.md"
            }
            Self::Forged => {
                "whatever stands before it doesn't check the token's signature: pin the gateway's keys (`placet tool-proxy --issuer-key`)"
            }
            Self::Expired => {
                "whatever stands before it doesn't check `exp`: use `placet tool-proxy` or a complete verifier"
            }
            Self::OtherAudience => {
                "it takes tokens that are for other tools: check that `aud` is this tool alone (`placet tool-proxy --audience`)"
            }
            Self::Replayed => {
                "it takes a call twice: remember each `jti` until `exp`, over restarts too (`placet tool-proxy --state`)"
            }
            Self::Workflow => {
                "it takes tokens that are for the gateway: check `typ` (placet-call+jwt) and `aud`, as `placet tool-proxy` does"
            }
            Self::Old => {
                "revoke the old credential where it was issued; the gateway has its own in the vault (`placet vault put`)"
            }
        }
    }
}

impl Roads {
    pub(super) fn new(
        issuer: String,
        token_key: Option<SigningKey>,
        agent: Option<Held>,
        old: Option<String>,
        captured: Option<Captured>,
    ) -> Result<Self, Failure> {
        let fresh = || SigningKey::generate(Algorithm::EdDsa).or_fail("can't make a key");
        Ok(Self { issuer, token_key, ours: fresh()?, sender: fresh()?, agent, old, captured })
    }

    /// Every road to one tool.
    pub(super) fn all(&self, url: &Url, audience: &str, header: &str, prefix: &str) -> Vec<Road<'_>> {
        let call = |key, audience: &str, age| {
            Presented::Call(Call { roads: self, key, audience: audience.to_owned(), age })
        };
        let key = self.token_key.as_ref().unwrap_or(&self.ours);
        let elsewhere = format!("https://nobody.invalid/not/{}", url.host_str().unwrap_or("it"));
        let missing = Presented::Missing;
        vec![
            Road { what: What::Nothing, presented: Presented::Fixed(Vec::new()) },
            Road { what: What::Forged, presented: call(&self.ours, audience, 0) },
            Road { what: What::Expired, presented: call(key, audience, 3600) },
            Road { what: What::OtherAudience, presented: call(key, &elsewhere, 0) },
            Road {
                what: What::Replayed,
                presented: self.captured.as_ref().map_or(missing("no `--captured`"), Presented::Again),
            },
            Road {
                what: What::Workflow,
                presented: self.agent.as_ref().map_or(missing("no `--agent-key`"), Presented::Bound),
            },
            Road {
                what: What::Old,
                presented: self.old.as_ref().map_or(missing("no `--old-credential-file`"), |old| {
                    Presented::Fixed(vec![(header.to_owned(), format!("{prefix}{old}"))])
                }),
            },
        ]
    }
}

impl Presented<'_> {
    /// The ways to show it with a request of these bytes: each is a request of its own.
    pub(super) fn headers(&self, method: &str, url: &Url, body: &[u8]) -> Result<Vec<Headers>, Failure> {
        match self {
            Self::Fixed(headers) => Ok(vec![headers.clone()]),
            Self::Call(call) => Ok(vec![call.headers(method, url, body)?]),
            Self::Bound(held) => {
                let proof = prove(&held.key, method, url, &held.token)?;
                let bearer = vec![("authorization".to_owned(), format!("Bearer {}", held.token))];
                let bound = vec![
                    ("authorization".to_owned(), format!("DPoP {}", held.token)),
                    ("dpop".to_owned(), proof),
                ];
                Ok(vec![bearer, bound])
            }
            Self::Again(captured) => Ok(vec![captured.headers.clone()]),
            Self::Missing(_) => Ok(Vec::new()),
        }
    }

    /// The body that belongs to it, where it is one whole request.
    pub(super) fn body(&self) -> Option<&[u8]> {
        match self {
            Self::Again(captured) => Some(&captured.body),
            Self::Fixed(_) | Self::Call(_) | Self::Bound(_) | Self::Missing(_) => None,
        }
    }
}

impl Call<'_> {
    fn headers(&self, method: &str, url: &Url, body: &[u8]) -> Result<Headers, Failure> {
        let htu = htu(url)?;
        let issued_at = clock::secs().saturating_sub(self.age);
        let digest = ContentDigest::of(body);
        let claims = CallToken {
            sub: "placet-probe".into(),
            act: ActorChain::new(vec![Actor { sub: "placet-probe".into(), sub_profile: None }])
                .map_err(|refused| Failure::new(refused.to_string()))?,
            jti: random_id().or_fail("no randomness")?,
            txn: "probe".into(),
            key: self.roads.sender.public().thumbprint(),
            req: SignedRequest {
                htm: method.to_owned(),
                htu,
                query: url.query().map(|query| ContentDigest::of(query.as_bytes())),
                digest,
            },
            detail: CallDetail {
                tenant: "probe".into(),
                action: "probe".into(),
                resource: None,
                amount: None,
            },
        };
        let stamp = Stamp {
            issuer: &self.roads.issuer,
            audience: &self.audience,
            issued_at,
            expires_at: issued_at.saturating_add(30),
        };
        let token = mint(self.key, &stamp, &claims).or_fail("can't make a token to show")?;
        let proof = prove(&self.roads.sender, method, url, &token)?;
        Ok(vec![
            ("authorization".to_owned(), format!("DPoP {token}")),
            ("dpop".to_owned(), proof),
            ("content-digest".to_owned(), digest.to_string()),
        ])
    }
}

fn htu(url: &Url) -> Result<Htu, Failure> {
    let mut plain = url.clone();
    plain.set_query(None);
    Htu::parse(plain.as_str()).or_fail(format_args!("`{plain}` is not the URL of a tool"))
}

fn prove(key: &SigningKey, method: &str, url: &Url, token: &str) -> Result<String, Failure> {
    let jti = random_id().or_fail("no randomness")?;
    dpop::prove(key, &jti, method, &htu(url)?, clock::secs(), Some(token), None).or_fail("can't sign")
}

/// The connection's own headers are made anew.
const OURS: [&str; 5] = ["host", "content-length", "connection", "transfer-encoding", "accept-encoding"];

/// Reads a request that was captured: headers, an empty line, the body.
pub(super) fn captured(path: &Path) -> Result<Captured, Failure> {
    let text = std::fs::read_to_string(path).or_fail(format_args!("can't read `{}`", path.display()))?;
    let wrong = || {
        Failure::new(format!("`{}` is no captured request", path.display()))
            .remedy("write its headers as `name: value`, an empty line, and the body as it was")
    };
    let (head, body) = text.split_once("\r\n\r\n").or_else(|| text.split_once("\n\n")).ok_or_else(wrong)?;
    let mut headers = Vec::new();
    for line in head.lines().filter(|line| !line.starts_with("POST ") && !line.starts_with("GET ")) {
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name = name.trim().to_ascii_lowercase();
        if !OURS.contains(&name.as_str()) {
            headers.push((name, value.trim().to_owned()));
        }
    }
    Ok(Captured { headers, body: body.as_bytes().to_vec() })
}
