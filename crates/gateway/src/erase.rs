//! Erasing a subject: an act in the journal that names the keys which are no more, and what follows from it.
//!
//! The act comes first, so that whoever folds the journal, this gateway after a crash or another one, erases the same;
//! then the keys go where they are kept, what is live loses what was the subject's, and states that hold it are removed.

use std::{
    error::Error,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::executor::block_on;
use placet_catalog::{Catalog, HUMAN};
use placet_core::{HumanId, Name, ResourceRef, TenantId, Timestamp};
use placet_facts::{SealedFact, Transaction, World, attribute_at};
use placet_json::{Limits, Value, object};
use placet_ledger::frame::Frame;
use placet_record::sealed::{Opened, Part, Shut};
use placet_store::{KeptStates, SubjectKeyId, Subjects};

use crate::{
    fold::Seen,
    sealing::{names_of, of_facts, open_with, person, subject_name},
};

type Failure = Box<dyn Error + Send + Sync>;

/// An attribute of a resource, and whose it is.
type SealedPlace = (ResourceRef, Name, SealedFact);

/// The verb of the act.
pub(crate) const VERB: &str = "erase";

/// Whose everything is erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Erasable {
    /// A person of the organisation.
    Human(HumanId),
    /// A subject of a tenant, as the catalog's marks name it: its kind and its id.
    Subject(TenantId, Name, Name),
}

impl Erasable {
    /// Its name, as keys have it; none where there can't be such a subject.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        match self {
            Self::Human(human) => Some(person(human.as_str())),
            Self::Subject(tenant, kind, id) if kind.as_str() != HUMAN && !kind.as_str().contains(':') => {
                subject_name(tenant.as_str(), kind.as_str(), id.as_str())
            }
            Self::Subject(..) => None,
        }
    }
}

/// What was erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erased {
    /// Where the act stands in the journal.
    pub at: u64,
    /// How many keys were erased; without one nothing of the subject was sealed.
    pub keys: usize,
}

/// The act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Erasure {
    pub(crate) by: Name,
    pub(crate) why: String,
    pub(crate) subject: String,
    /// None: a person of the organisation.
    pub(crate) tenant: Option<TenantId>,
    pub(crate) keys: Vec<SubjectKeyId>,
}

impl Erasure {
    pub(crate) fn record(&self, now: Timestamp) -> Value {
        let Self { by, why, subject, tenant, keys } = self;
        let keys: Vec<Value> = keys.iter().map(|id| id.to_string().into()).collect();
        let tenant = tenant.as_ref().map_or(Value::Null, |tenant| tenant.as_str().into());
        object! {
            "by" => by.as_str(),
            "erased" => object! { "keys" => keys, "subject" => subject, "tenant" => tenant },
            "refused" => false, "time" => now.to_string(), "v" => 1_u64, "verb" => VERB, "why" => why,
        }
        .into()
    }

    /// Reads an act; none that erases nothing.
    pub(crate) fn read(payload: &[u8]) -> Result<Option<Self>, Failure> {
        let act = placet_json::parse(payload, &Limits::RESULT)?;
        let Some(erased) =
            act.get("erased").filter(|_| act.get("verb").and_then(Value::as_str) == Some(VERB))
        else {
            return Ok(None);
        };
        let wrong = || "an erasure that doesn't say of what";
        let text = |of: &Value, name: &str| of.get(name).and_then(Value::as_str).map(str::to_owned);
        let keys = erased.get("keys").and_then(Value::as_array).ok_or_else(wrong)?;
        let key = |key: &Value| key.as_str().and_then(SubjectKeyId::parse).ok_or_else(wrong);
        Ok(Some(Self {
            by: Name::new(&text(&act, "by").ok_or_else(wrong)?)?,
            why: text(&act, "why").unwrap_or_default(),
            subject: text(erased, "subject").ok_or_else(wrong)?,
            tenant: text(erased, "tenant").map(|tenant| TenantId::new(&tenant)).transpose()?,
            keys: keys.iter().map(key).collect::<Result<_, _>>()?,
        }))
    }

    /// The world without what was the subject's.
    pub(crate) fn world(&self, world: &World) -> World {
        let human = self.subject.strip_prefix(HUMAN).and_then(|rest| rest.strip_prefix(':'));
        let human = human.filter(|_| self.tenant.is_none()).and_then(|human| HumanId::new(human).ok());
        world.erase(&self.subject, self.tenant.as_ref(), human.as_ref())
    }
}

/// What a record's bodies come to; one that is neither open nor erased can't be folded.
pub(crate) fn opened<'a>(
    payload: &'a [u8],
    attachment: &[u8],
    subjects: &Subjects,
) -> Result<Opened<'a>, Failure> {
    let opened = open_with(payload, attachment, subjects)?;
    match opened.shut() {
        None | Some(Shut::Erased) => Ok(opened),
        Some(Shut::NoKey) => Err("a key of a sealed body is neither here nor erased: restore the keys of subjects (`subjects` in the data directory, or `placet_subject` in the database) from a backup, and give the same `[vault] master_key`".into()),
        Some(Shut::Altered) => Err("a sealed body isn't what was sealed".into()),
    }
}

/// The transaction of a record of facts, and which of its attributes are sealed.
pub(crate) fn read_facts(
    frame: &Frame<'_>,
    subjects: &Subjects,
) -> Result<(Transaction, Vec<SealedPlace>), Failure> {
    let opened = opened(frame.payload, frame.sealed, subjects)?;
    let document = placet_json::parse(&opened.payload, &Limits::RESULT)?;
    let transaction = document.get("transaction").ok_or("a record of facts without its `transaction`")?;
    let transaction = Transaction::from_value(transaction)?;
    let mut places = Vec::new();
    for part in &opened.parts {
        let sealed = match part.shut {
            None => SealedFact::Of(names_of(part, subjects)),
            Some(_) => SealedFact::Erased,
        };
        places.extend(
            part.at
                .iter()
                .filter_map(|at| attribute_at(&transaction, at))
                .map(|(at, name)| (at, name, sealed.clone())),
        );
    }
    Ok((transaction, places))
}

/// What of a transaction is sealed. Without a master key what feeds bring stays as it is; what the catalog marks isn't
/// recorded at all then.
pub(crate) fn plan(
    transaction: &Transaction,
    catalog: Option<&Catalog>,
    world: &World,
    subjects: &Subjects,
) -> Vec<Part> {
    of_facts(transaction, catalog, world.organisation(), subjects.is_open())
}

/// The attributes that a plan seals.
pub(crate) fn places(transaction: &Transaction, parts: &[Part]) -> Vec<SealedPlace> {
    let mut places = Vec::new();
    for part in parts {
        let of: Vec<_> = part.subjects.iter().map(|subject| subject.as_str().into()).collect();
        places.extend(
            part.holes
                .iter()
                .filter_map(|hole| attribute_at(transaction, &hole.at))
                .map(|(at, name)| (at, name, SealedFact::Of(of.clone()))),
        );
    }
    places
}

/// What is to be done beside the fold once something is erased.
#[derive(Debug, Default)]
pub(crate) struct Erasing {
    at: AtomicU64,
    states: OnceLock<KeptStates>,
}

impl Erasing {
    /// The journal is open: these are its kept states.
    pub(crate) fn keeps(&self, states: KeptStates) {
        if self.states.set(states).is_err() {
            tracing::error!("kept states were told twice");
        }
        self.remove();
    }

    fn remove(&self) {
        let (at, Some(states)) = (self.at.load(Ordering::Acquire), self.states.get()) else { return };
        if at > 0
            && let Err(error) = states.forget(at)
        {
            tracing::error!(%error, at, "kept states hold what is erased; remove the directory `state`");
        }
    }
}

impl Seen {
    /// An erasure stands at this position: what was held or kept before goes, and so do the forgotten keys. On the
    /// writer's thread, so that nobody is answered before.
    pub(crate) fn forget(&self, at: u64, subjects: &Subjects) {
        if at > 0 {
            self.moments.forget();
            self.erasing.at.fetch_max(at, Ordering::AcqRel);
            self.erasing.remove();
        }
        if let Err(error) = block_on(subjects.settle()) {
            tracing::error!(%error, at, "the keys of an erased subject are still kept; it is tried again at the next start or erasure");
        }
    }
}
