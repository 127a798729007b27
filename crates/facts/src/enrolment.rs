//! Enrolment codes: facts, so that none is forgotten by a restart, and a code is used up in the entry that adds the key.

use std::sync::Arc;

use placet_core::{AgentId, Name, Timestamp};
use placet_json::{Value, object};

use crate::{
    ChangeError, OrgFacts,
    apply::{known_agent, no},
    read::Fields,
};

/// Codes that are handed out and neither taken nor past, at most.
pub const MAX_CODES: usize = 10_000;

/// A code by which an agent may bring a key, once. Only its hash is kept: a code has 256 random bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolmentOffer {
    /// The code's SHA-256, in base64url.
    pub code: Name,
    /// Whose key it brings.
    pub agent: AgentId,
    /// When it was handed out: codes that were past by then are forgotten.
    pub at: Timestamp,
    /// Until when it works.
    pub until: Timestamp,
}

impl EnrolmentOffer {
    pub(crate) fn read(value: &Value, path: &str) -> Result<Self, ChangeError> {
        let mut fields = Fields::open(value, path)?;
        let offer = Self {
            code: fields.name("code")?,
            agent: fields.parsed("agent", AgentId::new)?,
            at: fields.moment("at")?,
            until: fields.moment("until")?,
        };
        fields.unexpected()?;
        Ok(offer)
    }

    pub(crate) fn to_value(&self) -> Value {
        let Self { code, agent, at, until } = self;
        Value::Object(object! {
            "code" => code.as_str(), "agent" => agent.as_str(), "at" => at.to_string(), "until" => until.to_string(),
        })
    }
}

impl OrgFacts {
    /// What is known of a code that was handed out and not taken, by its hash. Whether it still works is for the clock.
    #[must_use]
    pub fn enrolment(&self, code: &Name) -> Option<&EnrolmentOffer> {
        self.codes.get(code).map(AsRef::as_ref)
    }
    /// All codes that were handed out and not taken, by hash; past ones among them.
    pub fn enrolments(&self) -> impl Iterator<Item = &EnrolmentOffer> {
        self.codes.values().map(AsRef::as_ref)
    }
}

pub(crate) fn offer(org: &mut OrgFacts, offer: &EnrolmentOffer) -> Result<(), ChangeError> {
    known_agent(org, &offer.agent)?;
    let past: Vec<Name> =
        org.enrolments().filter(|other| other.until <= offer.at).map(|other| other.code.clone()).collect();
    for code in &past {
        org.codes.remove(code);
    }
    if org.codes.contains_key(&offer.code) {
        return Err(ChangeError::conflict("this code was handed out already", "ask for another"));
    }
    if org.codes.len() >= MAX_CODES {
        return Err(ChangeError::conflict("too many enrolment codes are waiting", "wait until some expire"));
    }
    org.codes.insert(offer.code.clone(), Arc::new(offer.clone()));
    Ok(())
}

pub(crate) fn take(org: &mut OrgFacts, code: &Name, agent: &AgentId) -> Result<(), ChangeError> {
    if org.enrolment(code).is_none_or(|offer| offer.agent != *agent) {
        return Err(no("enrolment code", "of this agent", "ask for another"));
    }
    org.codes.remove(code);
    Ok(())
}
