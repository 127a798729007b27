//! Idempotency keys: a transaction that is sent twice under one key is kept once.
//!
//! A key counts for its author, source and place. It is a fold of the log, so that a restart forgets none.

use imbl::OrdMap;
use placet_core::{Digest, Name, Revision};
use placet_json::{Value, object};

use crate::{
    ChangeError, Place, Transaction,
    read::Fields,
    transaction::{place, place_value},
};

/// How many keys are remembered: those of the last so many transactions that had one. With ≈ 200 bytes each, some 13 MiB.
pub const MAX_KEYS: usize = 65_536;

/// The keys of the last [`MAX_KEYS`] transactions that had one. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    known: OrdMap<Scope, Known>,
    /// Oldest first.
    order: OrdMap<u64, Scope>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Scope {
    author: Name,
    source: Name,
    place: Place,
    key: Name,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    revision: u64,
    content: Digest,
}

impl Keys {
    /// The revision of the same transaction, if it was applied under this key already; a conflict if the key was used
    /// for another. Without a key nothing is known.
    pub fn repeated(&self, transaction: &Transaction) -> Result<Option<Revision>, ChangeError> {
        let Some(known) = Scope::of(transaction).and_then(|scope| self.known.get(&scope)) else {
            return Ok(None);
        };
        if known.content == content(transaction)? {
            return Ok(Some(Revision(known.revision)));
        }
        Err(ChangeError {
            path: "/idempotency_key".to_owned(),
            ..ChangeError::conflict(
                format!("was used for another transaction, at revision {}", known.revision),
                "send exactly what was sent before, or choose another key",
            )
        })
    }

    /// Remembers a transaction's key, if it has one, and forgets the oldest beyond the bound.
    pub fn remember(&mut self, revision: u64, transaction: &Transaction) -> Result<(), ChangeError> {
        if let Some(scope) = Scope::of(transaction) {
            self.insert(scope, Known { revision, content: content(transaction)? });
        }
        Ok(())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Each key as a JSON document, oldest first; [`Keys::read`] takes them back.
    pub fn documents(&self) -> impl Iterator<Item = Value> + '_ {
        self.order.values().filter_map(|scope| {
            let Known { revision, content } = self.known.get(scope)?;
            let Scope { author, source, place, key } = scope;
            Some(Value::from(object! {
                "author" => author.as_str(), "source" => source.as_str(), "place" => place_value(place), "key" => key.as_str(),
                "revision" => *revision, "content" => content.to_string(),
            }))
        })
    }
    /// Takes back one of [`Keys::documents`].
    pub fn read(&mut self, document: &Value) -> Result<(), ChangeError> {
        let mut fields = Fields::open(document, "")?;
        let scope = Scope {
            author: fields.name("author")?,
            source: fields.name("source")?,
            place: place(fields.required("place")?)?,
            key: fields.name("key")?,
        };
        let revision = fields
            .required("revision")?
            .as_u64()
            .ok_or_else(|| ChangeError::malformed("/revision", "is no revision", ""))?;
        let content = fields.parsed("content", |text| Digest::parse(text).ok_or("is no digest"))?;
        fields.unexpected()?;
        self.insert(scope, Known { revision, content });
        Ok(())
    }

    fn insert(&mut self, scope: Scope, known: Known) {
        self.order.insert(known.revision, scope.clone());
        if let Some(former) = self.known.insert(scope, known) {
            self.order.remove(&former.revision);
        }
        while self.known.len() > MAX_KEYS {
            let Some((oldest, scope)) = self.order.get_min().cloned() else { break };
            self.order.remove(&oldest);
            self.known.remove(&scope);
        }
    }
}

impl Scope {
    fn of(transaction: &Transaction) -> Option<Self> {
        let Transaction { place, author, source, idempotency_key, changes: _, why: _ } = transaction;
        let key = idempotency_key.clone()?;
        Some(Self { author: author.clone(), source: source.clone(), place: place.clone(), key })
    }
}

fn content(transaction: &Transaction) -> Result<Digest, ChangeError> {
    // What the journal adds isn't the sender's: read back, a transaction is the one that was sent.
    let canonical = transaction.unstamped().to_value().canonical().map_err(|error| {
        ChangeError::malformed("", format!("has no canonical form: {error}"), "see the reference of facts")
    })?;
    Ok(Digest::of(canonical.as_bytes()))
}

#[cfg(test)]
mod tests {
    use placet_core::TenantId;

    use super::*;
    use crate::{Change, Kind};

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }
    fn keyed(key: &str, tenant: &str, why: &str) -> Transaction {
        Transaction {
            place: Place::Organisation,
            changes: vec![Change::TenantCreated(TenantId::new(tenant).unwrap())],
            author: name("operator"),
            source: name("api"),
            why: why.to_owned(),
            idempotency_key: Some(name(key)),
        }
    }

    #[test]
    fn the_same_again_is_the_first_and_another_under_its_key_is_a_conflict() {
        let mut keys = Keys::default();
        let first = keyed("k-1", "acme", "");
        assert_eq!(keys.repeated(&first), Ok(None));
        keys.remember(7, &first).unwrap();
        assert_eq!(keys.repeated(&first), Ok(Some(Revision(7))));
        for other in [keyed("k-1", "globex", ""), keyed("k-1", "acme", "because")] {
            let error = keys.repeated(&other).unwrap_err();
            assert_eq!((error.kind, error.path.as_str()), (Kind::Conflict, "/idempotency_key"));
        }
        for elsewhere in [
            Transaction { author: name("maya"), ..first.clone() },
            Transaction { source: name("scim"), ..first.clone() },
            Transaction { place: Place::Tenant(TenantId::new("acme").unwrap()), ..first.clone() },
            Transaction { idempotency_key: None, ..first.clone() },
        ] {
            assert_eq!(keys.repeated(&elsewhere), Ok(None), "nobody else's key");
        }
    }

    #[test]
    fn the_oldest_keys_are_forgotten_and_the_rest_read_back() {
        let mut keys = Keys::default();
        for at in 1..=u64::try_from(MAX_KEYS).unwrap() + 3 {
            keys.remember(at, &keyed(&format!("k-{at}"), "acme", "")).unwrap();
        }
        assert_eq!(keys.len(), MAX_KEYS);
        assert_eq!(keys.repeated(&keyed("k-3", "acme", "")), Ok(None));
        assert_eq!(keys.repeated(&keyed("k-4", "acme", "")), Ok(Some(Revision(4))));
        let mut back = Keys::default();
        for document in keys.documents() {
            back.read(&document).unwrap();
        }
        assert_eq!(back.len(), MAX_KEYS);
        assert_eq!(back.repeated(&keyed("k-4", "acme", "")), Ok(Some(Revision(4))));
        assert!(back.repeated(&keyed("k-4", "globex", "")).is_err());
    }
}
