//! Security event tokens (RFC 8417), as the Shared Signals Framework 1.0 narrows them: one event, about `sub_id`, without
//! `exp` and `sub`, so that none can pass for a token that gives access.

use placet_json::{Object, Value};

use crate::claims::{Claims, Members};
use crate::refused::Refused;
use crate::replay::ReplayKey;

/// Something that happened to somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityEvent {
    /// Fresh for each event of an issuer.
    pub jti: String,
    /// Which event: a URI.
    pub kind: String,
    /// What the event says of itself.
    pub event: Object,
    /// Whom it is about (RFC 9493); a stream's own events may leave it out.
    pub subject: Option<Value>,
}

impl SecurityEvent {
    /// Under what an event is remembered, so that it counts once.
    #[must_use]
    pub fn replay_key(&self, issuer: &str) -> ReplayKey {
        ReplayKey::new("secevent", &[issuer, &self.jti])
    }
}

impl Claims for SecurityEvent {
    const TYP: &'static str = "secevent+jwt";
    /// 30 days: transmitters keep what isn't acknowledged, and nobody keeps it longer.
    const MAX_LIFE: u64 = 30 * 24 * 3600;
    const EXPIRES: bool = false;

    fn read(members: &mut Members) -> Result<Self, Refused> {
        if members.has("sub") {
            return Err(Refused::Claim("sub"));
        }
        let jti = members.jti()?;
        let Value::Object(events) = members.value("events")? else { return Err(Refused::Claim("events")) };
        let mut events = events.into_iter();
        let (Some((kind, Value::Object(event))), None) = (events.next(), events.next()) else {
            return Err(Refused::Claim("events"));
        };
        let subject = match members.optional("sub_id") {
            None => None,
            Some(subject @ Value::Object(_)) => Some(subject),
            Some(_) => return Err(Refused::Claim("sub_id")),
        };
        // `txn`, `toe` and what else there may be decide nothing (RFC 8417 §2.2).
        members.ignore_others();
        Ok(Self { jti, kind, event, subject })
    }

    fn write(&self, payload: &mut Object) {
        let Self { jti, kind, event, subject } = self;
        payload.insert("jti", jti.as_str());
        let mut events = Object::new();
        events.insert(kind.as_str(), event.clone());
        payload.insert("events", events);
        if let Some(subject) = subject {
            payload.insert("sub_id", subject.clone());
        }
    }
}
