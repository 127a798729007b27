//! The kinds of token. Each has its own `typ`, its own longest life, and accepts no claim that it doesn't know.

mod call;
mod client_assertion;
mod operator;
mod security_event;
mod workflow;

use placet_json::{Object, Value};

pub use call::{CallDetail, CallToken, SignedRequest};
pub use client_assertion::ClientAssertion;
pub use operator::{OperatorAssertion, OperatorRequest};
pub use security_event::SecurityEvent;
pub use workflow::{WorkflowDetail, WorkflowToken};

use crate::claims::Members;
use crate::keys::Thumbprint;
use crate::refused::Refused;

/// Longest chain of actors in a token.
pub const MAX_CHAIN: usize = 8;

/// Who acts, through whom: the claim `act` (RFC 8693 §4.1), the current actor first. It attributes, and never widens
/// what the token allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActorChain {
    actors: Vec<Actor>,
}

/// One actor of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The agent.
    pub sub: String,
    /// What kind of actor it is: `ai_agent`. Left out of call tokens.
    pub sub_profile: Option<String>,
}

/// A resource by type and identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceRef {
    /// Its type.
    pub kind: String,
    /// Its identifier within the type.
    pub id: String,
}

// === impl ActorChain ===

impl ActorChain {
    /// A chain, current actor first; refused when empty or longer than [`MAX_CHAIN`].
    pub fn new(actors: Vec<Actor>) -> Result<Self, Refused> {
        if actors.is_empty() || actors.len() > MAX_CHAIN {
            Err(Refused::Claim("act"))
        } else {
            Ok(Self { actors })
        }
    }

    /// The actors, current one first.
    #[must_use]
    pub fn actors(&self) -> &[Actor] {
        &self.actors
    }

    /// Their names in the order of delegation: the first agent first, the current one last.
    pub fn by_delegation(&self) -> impl Iterator<Item = &str> {
        self.actors.iter().rev().map(|actor| actor.sub.as_str())
    }

    /// The current actor.
    #[must_use]
    pub fn current(&self) -> &str {
        self.actors.first().map_or("", |actor| actor.sub.as_str())
    }

    fn read(members: &mut Members) -> Result<Self, Refused> {
        let mut actors = Vec::new();
        let mut next = Some(members.value("act")?);
        while let Some(value) = next {
            if actors.len() >= MAX_CHAIN {
                return Err(Refused::Claim("act"));
            }
            let mut actor = Members::of(value, "act")?;
            actors.push(Actor { sub: actor.text("sub")?, sub_profile: actor.optional_text("sub_profile")? });
            next = actor.optional("act");
            actor.finish()?;
        }
        Self::new(actors)
    }

    fn write(&self) -> Value {
        let mut inner: Option<Object> = None;
        for actor in self.actors.iter().rev() {
            let mut object = Object::new();
            object.insert("sub", actor.sub.as_str());
            if let Some(profile) = &actor.sub_profile {
                object.insert("sub_profile", profile.as_str());
            }
            if let Some(inner) = inner {
                object.insert("act", Value::Object(inner));
            }
            inner = Some(object);
        }
        Value::Object(inner.unwrap_or_default())
    }
}

// === impl ResourceRef ===

impl ResourceRef {
    fn read(value: Value) -> Result<Self, Refused> {
        let mut members = Members::of(value, "resource")?;
        let resource = Self { kind: members.text("type")?, id: members.text("id")? };
        members.finish()?;
        Ok(resource)
    }

    fn write(&self) -> Value {
        let mut object = Object::new();
        object.insert("type", self.kind.as_str());
        object.insert("id", self.id.as_str());
        Value::Object(object)
    }
}

// === helpers ===

/// The one member of `authorization_details` (RFC 9396), which must be of the given type.
fn one_detail(members: &mut Members, kind: &str) -> Result<Members, Refused> {
    const CLAIM: &str = "authorization_details";
    let Value::Array(details) = members.value(CLAIM)? else { return Err(Refused::Claim(CLAIM)) };
    let [detail] = <[Value; 1]>::try_from(details).map_err(|_| Refused::Claim(CLAIM))?;
    let mut detail = Members::of(detail, CLAIM)?;
    if detail.text("type")? == kind { Ok(detail) } else { Err(Refused::Claim(CLAIM)) }
}

fn cnf(key: &Thumbprint) -> Value {
    let mut object = Object::new();
    object.insert("jkt", key.to_string());
    Value::Object(object)
}

fn strings(texts: &[String]) -> Value {
    Value::Array(texts.iter().map(|text| Value::from(text.as_str())).collect())
}
