//! A transaction: changes of one place that are applied together or not at all.

use std::{borrow::Cow, fmt};

use placet_core::{Name, TenantId, Timestamp};
use placet_json::{Value, object};

use crate::{
    Change, ChangeError,
    read::{Fields, elements},
};

/// The most changes in one transaction.
pub const MAX_CHANGES: usize = 100_000;
/// The longest `why`, in bytes.
pub const MAX_TEXT: usize = 2048;

/// Whose facts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The organisation's: people, agents, tenants, stops.
    Organisation,
    /// One tenant's.
    Tenant(TenantId),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Organisation => f.write_str("the organisation"),
            Self::Tenant(id) => write!(f, "tenant `{id}`"),
        }
    }
}

/// Changes of one place, with who made them and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Whose facts change.
    pub place: Place,
    /// The changes, in this order.
    pub changes: Vec<Change>,
    /// Who made it: a person, an agent, a feed.
    pub author: Name,
    /// By which way it came: `cli`, `api`, `file`, `scim`.
    pub source: Name,
    /// Why, for people; at most [`MAX_TEXT`] bytes.
    pub why: String,
    /// Told by the sender so that the same transaction, sent twice, is kept once.
    pub idempotency_key: Option<Name>,
}

impl Transaction {
    /// As JSON. [`Transaction::from_value`] reads it back to an equal one.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let Self { place, changes, author, source, why, idempotency_key } = self;
        let mut object = object! {
            "place" => place_value(place),
            "changes" => Value::Array(changes.iter().map(Change::to_value).collect()),
            "author" => author.as_str(),
            "source" => source.as_str(),
            "why" => why,
        };
        if let Some(key) = idempotency_key {
            object.insert("idempotency_key", key.as_str());
        }
        Value::Object(object)
    }

    /// Reads the JSON form; unknown members are refused.
    pub fn from_value(value: &Value) -> Result<Self, ChangeError> {
        let mut fields = Fields::open(value, "")?;
        let place = place(fields.required("place")?)?;
        let changes = changes(fields.required("changes")?, "/changes", &place)?;
        let transaction = Self {
            place,
            changes,
            author: fields.name("author")?,
            source: fields.name("source")?,
            why: fields.text("why")?.to_owned(),
            idempotency_key: if fields.optional("idempotency_key").is_some() {
                Some(fields.name("idempotency_key")?)
            } else {
                None
            },
        };
        fields.unexpected()?;
        transaction.check_text()?;
        Ok(transaction)
    }

    /// Says of every workflow that it opens when that is: at `now`, unless it names an earlier moment.
    pub fn stamp(&mut self, now: Timestamp) {
        for change in &mut self.changes {
            if let Change::WorkflowOpened(workflow) = change {
                workflow.opened = Some(workflow.opened.map_or(now, |opened| opened.min(now)));
            }
        }
    }

    /// As it was sent, whatever the journal added by [`Transaction::stamp`].
    pub(crate) fn unstamped(&self) -> Cow<'_, Self> {
        let opens = |change: &Change| matches!(change, Change::WorkflowOpened(_));
        if !self.changes.iter().any(opens) {
            return Cow::Borrowed(self);
        }
        let mut sent = self.clone();
        for change in &mut sent.changes {
            if let Change::WorkflowOpened(workflow) = change {
                workflow.opened = None;
            }
        }
        Cow::Owned(sent)
    }

    pub(crate) fn check_text(&self) -> Result<(), ChangeError> {
        if self.why.len() > MAX_TEXT {
            return Err(ChangeError::malformed(
                "/why",
                format!("is longer than {MAX_TEXT} bytes"),
                "shorten it",
            ));
        }
        if self.changes.is_empty() {
            return Err(ChangeError::malformed("/changes", "is empty", "a transaction changes something"));
        }
        if self.changes.len() > MAX_CHANGES {
            return Err(ChangeError::malformed(
                "/changes",
                format!("holds more than {MAX_CHANGES} changes"),
                "split it",
            ));
        }
        Ok(())
    }
}

pub(crate) fn place_value(place: &Place) -> Value {
    match place {
        Place::Organisation => Value::from("organisation"),
        Place::Tenant(id) => Value::Object(object! { "tenant" => id.as_str() }),
    }
}

pub(crate) fn place(value: &Value) -> Result<Place, ChangeError> {
    if value.as_str() == Some("organisation") {
        return Ok(Place::Organisation);
    }
    let mut fields = Fields::open(value, "/place").map_err(|error| ChangeError {
        message: "is neither `\"organisation\"` nor `{\"tenant\": ID}`".into(),
        remedy: "say whose facts change".into(),
        ..error
    })?;
    let id = fields.parsed("tenant", TenantId::new)?;
    fields.unexpected()?;
    Ok(Place::Tenant(id))
}

pub(crate) fn changes(value: &Value, path: &str, place: &Place) -> Result<Vec<Change>, ChangeError> {
    elements(value, path)?
        .iter()
        .enumerate()
        .map(|(i, change)| {
            Change::from_value(change, place).map_err(|error| error.under(&format!("{path}/{i}")))
        })
        .collect()
}
