//! Users: a record of the feed, and the person whom it is about.

use std::collections::BTreeSet;

use placet_core::{Human, Standing};
use placet_facts::{Change, DirectoryRecord, Ending, RecordKind};
use placet_json::{Object, Value};

use super::{Affected, Outcome, Scim, ScimError, show::Wanted};

/// The longest `userName`, in bytes.
const MAX_NAME: usize = 256;

/// `userName` is compared in any case (RFC 7643 §4.1.1).
pub(super) fn key(user_name: &str) -> String {
    user_name.to_lowercase()
}

impl Scim<'_> {
    pub(super) fn user_created(&self, mut document: Object, wanted: &Wanted) -> Result<Outcome, ScimError> {
        let org = self.world.organisation();
        let active = document.get("active").and_then(Value::as_bool).unwrap_or(true);
        document.insert("active", active);
        let name = user_name(&document)?;
        let external = document.get("externalId").and_then(Value::as_str);
        let human = self.feed.human_id(&name, external, self.fresh.as_str()).map_err(ScimError::value)?;
        self.free(&name, None)?;
        let mut changes = Vec::new();
        match org.human(&human) {
            None => changes.push(Change::HumanSet(Human {
                id: human.clone(),
                standing: Standing::Active,
                home: self.feed.home.clone(),
                keys: BTreeSet::new(),
            })),
            // Somebody whom the organisation knows already: theirs only if the feed may speak for them.
            Some(known) if self.feed.may_adopt(&known.home) && org.record_of_human(&human).is_none() => {
                if active {
                    changes.push(Change::HumanReturned(human.clone()));
                }
            }
            Some(_) => return Err(ScimError::uniqueness(format!("`{human}` is taken"))),
        }
        let mut record = self.record(RecordKind::User, document);
        record.human = Some(human.clone());
        record.active = active;
        record.key = key(&name);
        changes.push(Change::DirectorySet(record.clone()));
        if !active {
            changes.push(Change::HumanEnded { human: human.clone(), ending: Ending::Deactivated });
        }
        self.done(201, changes, &record, Affected::One(human), wanted)
    }

    /// PUT or PATCH. A PUT that doesn't say whether the person is active leaves that as it is.
    pub(super) fn user_changed(
        &self,
        former: &DirectoryRecord,
        mut document: Object,
        whole: bool,
        wanted: &Wanted,
    ) -> Result<Outcome, ScimError> {
        let active = match document.get("active").and_then(Value::as_bool) {
            Some(active) => active,
            None if whole => {
                if let Some(had) = former.document.get("active") {
                    document.insert("active", had.clone());
                }
                former.active
            }
            // The attribute was removed: nobody says any more that the person may act.
            None => false,
        };
        let document: Value = document.into();
        if document == former.document && active == former.active {
            let reply = self.shown(200, self.world, former, wanted);
            return Ok(Outcome { reply, transaction: None, affected: Self::person(former) });
        }
        let name = user_name(document.as_object().unwrap_or(&Object::new()))?;
        self.free(&name, Some(former))?;
        let record = DirectoryRecord {
            active,
            key: key(&name),
            version: former.version.saturating_add(1),
            modified: self.now,
            document,
            ..former.clone()
        };
        let mut changes = Vec::new();
        if let Some(human) = record.human.as_ref().filter(|_| active && !former.active) {
            changes.push(Change::HumanReturned(human.clone()));
        }
        changes.push(Change::DirectorySet(record.clone()));
        if let Some(human) = record.human.as_ref().filter(|_| !active && former.active) {
            changes.push(Change::HumanEnded { human: human.clone(), ending: Ending::Deactivated });
        }
        self.done(200, changes, &record, Self::person(former), wanted)
    }

    /// The record goes, and out of every group; the person stays known, and may not act.
    pub(super) fn user_deleted(&self, record: &DirectoryRecord) -> Result<Outcome, ScimError> {
        let org = self.world.organisation();
        let mut changes = Vec::new();
        if let Some(human) = record.human.as_ref().filter(|_| record.active) {
            let inactive = DirectoryRecord {
                active: false,
                version: record.version.saturating_add(1),
                modified: self.now,
                ..record.clone()
            };
            changes.push(Change::DirectorySet(inactive));
            changes.push(Change::HumanEnded { human: human.clone(), ending: Ending::Deactivated });
        }
        for group in org.groups_of(&self.feed.name, record.id.as_str()) {
            let mut left = DirectoryRecord::clone(group);
            left.version = left.version.saturating_add(1);
            left.modified = self.now;
            if let Some(document) = left.document.as_object_mut()
                && let Some(Value::Array(mut members)) = document.remove("members")
            {
                members
                    .retain(|member| member.get("value").and_then(Value::as_str) != Some(record.id.as_str()));
                if !members.is_empty() {
                    document.insert("members", Value::Array(members));
                }
            }
            changes.push(Change::DirectorySet(left));
        }
        changes.push(Change::DirectoryRemoved {
            feed: record.feed.clone(),
            kind: RecordKind::User,
            id: record.id.clone(),
        });
        self.done(204, changes, record, Self::person(record), &Wanted::default())
    }

    fn person(record: &DirectoryRecord) -> Affected {
        record.human.clone().map_or(Affected::Nobody, Affected::One)
    }

    /// Nobody else of the feed has this name.
    fn free(&self, name: &str, own: Option<&DirectoryRecord>) -> Result<(), ScimError> {
        let other = self.world.organisation().record_of_key(&self.feed.name, &key(name));
        if other.is_some_and(|other| own.is_none_or(|own| own.id != other.id)) {
            return Err(ScimError::uniqueness("another user has this `userName`"));
        }
        Ok(())
    }
}

fn user_name(document: &Object) -> Result<String, ScimError> {
    let name = document.get("userName").and_then(Value::as_str).unwrap_or_default();
    if name.trim().is_empty() || name.len() > MAX_NAME {
        return Err(ScimError::value(format!("`userName` is empty or longer than {MAX_NAME} bytes")));
    }
    Ok(name.to_owned())
}
