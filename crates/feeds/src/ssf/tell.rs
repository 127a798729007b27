//! What is told to others: events that follow from the ledger's entries, each with the same `jti` whenever it is derived,
//! so that a stream goes on where it stood and a receiver knows what it has seen.

use placet_core::{AgentId, DelegationId, HumanId, Name, Standing, TenantId};
use placet_facts::{Change, Ending, Place, Transaction, World};
use placet_jose::{
    MintError, SigningKey, Stamp, claims::Claims as _, mint, replay::ReplayKey, tokens::SecurityEvent,
};
use placet_json::{Object, Value, object};

use super::event::Known;

/// A receiver's stream, as the settings describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Its id.
    pub id: Name,
    /// `aud` of its events.
    pub audience: String,
    /// The one tenant of which it is told; none for the organisation's own.
    pub tenant: Option<TenantId>,
}

/// An event on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The position in the journal that it follows from.
    pub position: u64,
    /// When that was, in seconds since the Unix epoch.
    pub at: u64,
    /// The event.
    pub event: SecurityEvent,
}

/// The event types that are told.
#[must_use]
pub fn supported() -> [String; 2] {
    [Known::SessionRevoked.uri(), Known::AccountDisabled.uri()]
}

enum Subject<'a> {
    Human(&'a HumanId),
    Agent(&'a AgentId),
    Delegation(&'a DelegationId),
}

/// The events of one entry for a stream: in a fixed order, with fixed names.
#[must_use]
pub fn events(
    world: &World,
    issuer: &str,
    stream: &Stream,
    (position, at): (u64, u64),
    transaction: &Transaction,
) -> Vec<Outgoing> {
    let mut told: Vec<(Known, Subject<'_>)> = Vec::new();
    let org = world.organisation();
    for change in &transaction.changes {
        if let Change::HumanStanding { human, standing: Standing::Suspended | Standing::Deactivated }
        | Change::HumanEnded { human, ending: Ending::Suspended | Ending::Deactivated } = change
        {
            told.push((Known::AccountDisabled, Subject::Human(human)));
            told.push((Known::SessionRevoked, Subject::Human(human)));
        }
        if let Change::HumanEnded { human, ending } = change {
            if *ending == Ending::Sessions {
                told.push((Known::SessionRevoked, Subject::Human(human)));
            } else {
                // Whoever owns an agent answers for it; without them it stands still.
                let theirs = org.agents().filter(|agent| agent.owner == *human);
                told.extend(theirs.map(|agent| (Known::AccountDisabled, Subject::Agent(&agent.id))));
            }
        }
        if let Change::AgentStanding { agent, standing: Standing::Suspended | Standing::Deactivated } = change
        {
            told.push((Known::AccountDisabled, Subject::Agent(agent)));
        }
        if let Change::DelegationRevoked(delegation) = change {
            told.push((Known::SessionRevoked, Subject::Delegation(delegation)));
        }
    }
    let of = match &transaction.place {
        Place::Organisation => None,
        Place::Tenant(tenant) => Some(tenant),
    };
    told.into_iter()
        .filter(|(_, subject)| concerns(world, stream, of, subject))
        .filter_map(|(known, subject)| Some((known, shown(world, issuer, &subject)?)))
        .map(|(known, subject)| Outgoing {
            position,
            at,
            event: SecurityEvent {
                jti: jti(&stream.id, position, known, &subject),
                kind: known.uri(),
                event: details(at),
                subject: Some(subject),
            },
        })
        .collect()
}

/// The token of an event.
pub fn issued(
    key: &SigningKey,
    issuer: &str,
    stream: &Stream,
    outgoing: &Outgoing,
) -> Result<String, MintError> {
    let stamp = Stamp {
        issuer,
        audience: &stream.audience,
        issued_at: outgoing.at,
        expires_at: outgoing.at.saturating_add(SecurityEvent::MAX_LIFE),
    };
    mint(key, &stamp, &outgoing.event)
}

/// The same for the same event, whatever else the facts say when it is derived again.
fn jti(stream: &Name, position: u64, known: Known, subject: &Value) -> String {
    let parts = [stream.as_str(), &position.to_string(), known.name(), &subject.to_string()];
    let digest = ReplayKey::new("placet-event", &parts);
    digest.as_bytes().iter().take(16).fold(String::with_capacity(32), |mut text, byte| {
        for half in [byte.wrapping_shr(4), byte & 15] {
            text.push(char::from_digit(half.into(), 16).unwrap_or('0'));
        }
        text
    })
}

fn details(at: u64) -> Object {
    object! { "event_timestamp" => at, "initiating_entity" => "policy" }
}

/// A tenant's receiver hears of that tenant's people, of the agents at work there, and of what was granted there.
fn concerns(world: &World, stream: &Stream, of: Option<&TenantId>, subject: &Subject<'_>) -> bool {
    let Some(tenant) = &stream.tenant else { return true };
    let Some(facts) = world.tenant(tenant) else { return false };
    match subject {
        Subject::Human(human) => {
            facts.assignment(human).is_some()
                || world.organisation().human(human).is_some_and(|known| known.home == *tenant)
        }
        Subject::Agent(agent) => facts.delegations().any(|delegation| delegation.agent == **agent),
        Subject::Delegation(_) => of == Some(tenant),
    }
}

fn shown(world: &World, issuer: &str, subject: &Subject<'_>) -> Option<Value> {
    let person = |sub: &str| object! { "format" => "iss_sub", "iss" => issuer, "sub" => sub };
    let opaque = |id: &str| object! { "format" => "opaque", "id" => id };
    Some(match subject {
        Subject::Human(human) => person(human.as_str()).into(),
        Subject::Agent(agent) => person(agent.as_str()).into(),
        Subject::Delegation(id) => {
            let delegation = world.tenant(id.tenant())?.delegation(id)?;
            object! {
                "format" => "complex", "user" => person(delegation.human.as_str()),
                "session" => opaque(id.local().as_str()), "tenant" => opaque(id.tenant().as_str()),
            }
            .into()
        }
    })
}
