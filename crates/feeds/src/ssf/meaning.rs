//! What an event means here: how much of a person's authority ends, or nothing. No event gives any.

use std::collections::{BTreeMap, BTreeSet};

use placet_core::{Decimal, HumanId, Name, Risky, TenantId};
use placet_facts::{Change, Ending, Place, Transaction, World};
use placet_jose::{Refused, tokens::SecurityEvent};
use placet_json::{Object, Value};

use super::{
    event::{Known, SSF, kind_of},
    subject,
};

/// A transmitter whose events are taken, as the settings describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub name: Name,
    /// `iss` of its events, byte for byte.
    pub issuer: String,
    /// `aud` of its events: this receiver, byte for byte.
    pub audience: String,
    /// Whose `sub` is meant in subjects of format `iss_sub`: mostly the issuer itself.
    pub subject_issuer: String,
    /// The one tenant of whose people it may speak; none for the organisation's own provider.
    pub tenant: Option<TenantId>,
    /// The SCIM feed whose names for people it uses.
    pub feed: Option<Name>,
    /// What the settings say otherwise.
    pub effects: BTreeMap<Known, Effect>,
}

/// What an event leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It is noted in the ledger, and nothing else.
    Note,
    /// A person's authority ends this far.
    End(Ending),
}

/// Why an event changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmeant {
    /// Its type isn't known here.
    Type,
    /// Its subject is nobody of whom the source may speak. What the sender is told is the same as ever.
    Subject,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// The stream is alive; the state that was asked for.
    Verification(Option<String>),
    /// The stream was paused, disabled or enabled again by its transmitter.
    Stream {
        /// The new status: `enabled`, `paused`, `disabled`.
        status: String,
    },
    /// To be recorded before it is acknowledged.
    Changes(Transaction),
    /// To be noted: the type, and whom it is about.
    Noted(Known, BTreeSet<HumanId>),
    /// Counted, and nothing else.
    Unmeant(Unmeant),
}

/// What a verified event means. `key` names it among the source's transactions, so that it counts once.
#[must_use]
pub fn receive(world: &World, source: &Source, event: &SecurityEvent, key: &Name) -> Received {
    let text = |name: &str| event.event.get(name).and_then(Value::as_str).map(str::to_owned);
    if let Some(own) = event.kind.strip_prefix(SSF) {
        return match own {
            "verification" => Received::Verification(text("state")),
            "stream-updated" => Received::Stream { status: text("status").unwrap_or_default() },
            _ => Received::Unmeant(Unmeant::Type),
        };
    }
    let Some(known) = kind_of(&event.kind) else { return Received::Unmeant(Unmeant::Type) };
    let people =
        event.subject.as_ref().map(|subject| subject::people(world, source, subject)).unwrap_or_default();
    if people.is_empty() {
        return Received::Unmeant(Unmeant::Subject);
    }
    let effect = source.effects.get(&known).copied().unwrap_or_else(|| usual(known, &event.event));
    let ending = match effect {
        Effect::End(ending) => Some(ending),
        Effect::Note => None,
    };
    // What the settings only let be noted sets nothing either.
    let risk = level(known, &event.event).filter(|_| source.effects.get(&known) != Some(&Effect::Note));
    let (true, Ok(author), Ok(by)) =
        (ending.is_some() || risk.is_some(), Name::new(&format!("ssf:{}", source.name)), Name::new("ssf"))
    else {
        return Received::Noted(known, people);
    };
    let changes = people.into_iter().flat_map(|human| {
        let risk = risk.map(|risk| Change::RiskSet { of: Risky::Human(human.clone()), risk });
        ending.map(|ending| Change::HumanEnded { human, ending }).into_iter().chain(risk)
    });
    let changes = changes.collect();
    Received::Changes(Transaction {
        place: Place::Organisation,
        changes,
        author,
        source: by,
        why: format!("{} of {}", known.name(), source.name),
        idempotency_key: Some(key.clone()),
    })
}

/// The risk that a `risk-level-change` says a person has: `LOW` 0, `MEDIUM` 50, `HIGH` 100 (CAEP 1.0).
fn level(known: Known, event: &Object) -> Option<Decimal> {
    if known != Known::RiskLevelChange {
        return None;
    }
    let level = event.get("current_level").and_then(Value::as_str)?.to_ascii_uppercase();
    let risk = match level.as_str() {
        "LOW" => "0",
        "MEDIUM" => "50",
        "HIGH" => "100",
        _ => return None,
    };
    Decimal::parse(risk).ok()
}

/// The usual effects. What only says that something got better is noted: no event gives authority back.
fn usual(known: Known, event: &Object) -> Effect {
    let is = |name: &str, value: &str| {
        event.get(name).and_then(Value::as_str).is_some_and(|text| text.eq_ignore_ascii_case(value))
    };
    let unless = |harmless: bool| if harmless { Effect::Note } else { Effect::End(Ending::Sessions) };
    match known {
        Known::AccountDisabled | Known::CredentialCompromise | Known::IdentifierRecycled => {
            Effect::End(Ending::Suspended)
        }
        Known::AccountPurged => Effect::End(Ending::Deactivated),
        Known::SessionRevoked | Known::TokenClaimsChange | Known::AccountCredentialChangeRequired => {
            Effect::End(Ending::Sessions)
        }
        Known::CredentialChange => unless(is("change_type", "create") || is("change_type", "update")),
        Known::AssuranceLevelChange => unless(is("change_direction", "increase")),
        Known::DeviceComplianceChange => unless(is("current_status", "compliant")),
        Known::RiskLevelChange => unless(is("current_level", "LOW") || is("current_level", "MEDIUM")),
        Known::AccountEnabled | Known::IdentifierChanged => Effect::Note,
    }
}

/// The error of RFC 8935 §2.4 for a token that was refused.
#[must_use]
#[expect(clippy::wildcard_enum_match_arm, reason = "whatever else is wrong is a wrong request")]
pub fn refusal(refused: Refused) -> &'static str {
    match refused {
        Refused::UnknownKey
        | Refused::Algorithm
        | Refused::Key
        | Refused::ForeignKey
        | Refused::Signature
        | Refused::Binding => "invalid_key",
        Refused::Issuer => "invalid_issuer",
        Refused::Audience => "invalid_audience",
        _ => "invalid_request",
    }
}
