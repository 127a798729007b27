//! Tokens of clients: who they are, and the topics and scopes that they may see. What isn't named is denied.

use placet_core::TenantId;
use placet_jose::{
    Expect, MintError, Refused, Stamp, Verified,
    claims::{Claims, Members},
    keys::random_id,
    mint,
};
use placet_json::{Object, Value};

use super::Fleet;

/// The longest life of a token, in seconds: 90 days. OPAL's own default is a year.
pub const MAX_LIFE: u64 = 90 * 24 * 60 * 60;
/// The most topics and scopes of a token.
const MAX_TOPICS: usize = 64;
/// Where a tenant's facts are published.
const DATA: &str = "policy_data";

/// What a token's bearer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerType {
    /// Subscribes and fetches.
    Client,
    /// Publishes.
    Datasource,
    /// Only subscribes.
    Listener,
}

impl PeerType {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Datasource => "datasource",
            Self::Listener => "listener",
        }
    }
    /// Reads it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Client, Self::Datasource, Self::Listener].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A token's claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetToken {
    /// Whose it is.
    pub sub: String,
    /// What its bearer is.
    pub peer_type: PeerType,
    /// What it may see.
    pub allowed: Scopes,
}

/// Topics and scopes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scopes {
    /// `permitted_topics`: each stands for itself and for what lies below it.
    pub topics: Vec<String>,
    /// `allowed_scopes`: tenants, each with its data and with policy.
    pub scopes: Vec<String>,
}

impl Scopes {
    /// Whether a topic may be subscribed to, or published on.
    #[must_use]
    pub fn allows(&self, topic: &str) -> bool {
        if self.topics.iter().any(|permitted| below(permitted, topic)) {
            return true;
        }
        self.scopes.iter().any(|scope| {
            let rest = topic.strip_prefix(scope.as_str()).and_then(|rest| rest.strip_prefix(':'));
            rest.is_some_and(|rest| {
                rest.starts_with("policy:")
                    || rest.strip_prefix("data:").is_some_and(|rest| below(DATA, rest))
            })
        })
    }
    /// Whether policy may be read.
    #[must_use]
    pub fn policy(&self) -> bool {
        !self.scopes.is_empty() || self.topics.iter().any(|topic| topic.starts_with("policy:"))
    }
    /// Whether a tenant's facts may be read.
    #[must_use]
    pub fn tenant(&self, tenant: &TenantId) -> bool {
        self.scopes.iter().any(|scope| scope == tenant.as_str()) || self.allows(&format!("{DATA}/{tenant}"))
    }
}

fn below(permitted: &str, topic: &str) -> bool {
    topic.strip_prefix(permitted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Claims for FleetToken {
    const TYP: &'static str = "placet-opal+jwt";
    const MAX_LIFE: u64 = MAX_LIFE;

    fn read(members: &mut Members) -> Result<Self, Refused> {
        let list = |members: &mut Members, name: &'static str| {
            if members.has(name) { members.texts(name, MAX_TOPICS) } else { Ok(Vec::new()) }
        };
        let sub = members.text("sub")?;
        let peer_type = PeerType::parse(&members.text("peer_type")?).ok_or(Refused::Claim("peer_type"))?;
        let allowed =
            Scopes { topics: list(members, "permitted_topics")?, scopes: list(members, "allowed_scopes")? };
        Ok(Self { sub, peer_type, allowed })
    }
    fn write(&self, payload: &mut Object) {
        payload.insert("sub", self.sub.as_str());
        payload.insert("peer_type", self.peer_type.as_str());
        let list = |texts: &[String]| Value::Array(texts.iter().map(|text| text.as_str().into()).collect());
        for (name, texts) in
            [("permitted_topics", &self.allowed.topics), ("allowed_scopes", &self.allowed.scopes)]
        {
            if !texts.is_empty() {
                payload.insert(name, list(texts));
            }
        }
    }
}

impl Fleet {
    /// Makes a token that lives `life` seconds, at most [`MAX_LIFE`].
    pub fn mint(&self, peer_type: PeerType, allowed: Scopes, life: u64) -> Result<String, MintError> {
        let claims = FleetToken { sub: random_id().map_err(MintError::Key)?, peer_type, allowed };
        let now = self.host.now();
        let stamp = Stamp {
            issuer: &self.settings.url,
            audience: &self.settings.url,
            issued_at: now,
            expires_at: now.saturating_add(life),
        };
        mint(&self.key, &stamp, &claims)
    }

    /// Checks a token.
    pub(super) fn open(&self, token: &str) -> Result<FleetToken, Refused> {
        self.open_until(token).map(|(token, _)| token)
    }
    /// The same, with its end in Unix seconds.
    pub(super) fn open_until(&self, token: &str) -> Result<(FleetToken, u64), Refused> {
        let expect = Expect { issuer: &self.settings.url, audience: &self.settings.url, keys: &self.keys };
        let verified: Verified<FleetToken> = Verified::open(token, &expect, self.host.now())?;
        let ends = verified.expires_at();
        Ok((verified.into_claims(), ends))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_denied_by_default() {
        let none = Scopes::default();
        for topic in ["policy_data", "policy:.", "acme:data:policy_data", "", "__opal_stats_add"] {
            assert!(!none.allows(topic), "{topic}");
        }
        assert!(!none.policy());
        let some = Scopes {
            topics: vec!["policy_data/acme".into(), "policy:.".into()],
            scopes: vec!["globex".into()],
        };
        for (topic, allowed) in [
            ("policy_data/acme", true),
            ("policy_data/acme/users", true),
            ("policy_data/acmee", false),
            ("policy_data", false),
            ("policy_data/globex", false),
            ("policy:.", true),
            ("policy:other", false),
            ("globex:data:policy_data/users", true),
            ("globex:data:other", false),
            ("globex:policy:.", true),
            ("acme:data:policy_data", false),
            ("globex:webhook", false),
        ] {
            assert_eq!(some.allows(topic), allowed, "{topic}");
        }
        let tenant = |id: &str| TenantId::new(id).unwrap();
        assert!(
            some.tenant(&tenant("acme"))
                && some.tenant(&tenant("globex"))
                && !some.tenant(&tenant("initech"))
        );
    }
}
