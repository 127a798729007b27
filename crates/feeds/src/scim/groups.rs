//! Groups: records of the feed whose members are its users.

use std::collections::BTreeSet;

use placet_core::Name;
use placet_facts::{Change, DirectoryRecord, RecordKind};
use placet_json::{Object, Value};

use super::{Affected, Outcome, Scim, ScimError, show::Wanted};

impl Scim<'_> {
    pub(super) fn group_created(&self, mut document: Object, wanted: &Wanted) -> Result<Outcome, ScimError> {
        self.members(&mut document)?;
        let mut record = self.record(RecordKind::Group, document);
        record.key = key(&record);
        self.done(201, vec![Change::DirectorySet(record.clone())], &record, Affected::Everybody, wanted)
    }

    pub(super) fn group_changed(
        &self,
        former: &DirectoryRecord,
        mut document: Object,
        wanted: &Wanted,
    ) -> Result<Outcome, ScimError> {
        self.members(&mut document)?;
        let document: Value = document.into();
        if document == former.document {
            let reply = self.shown(200, self.world, former, wanted);
            // A request that is sent again makes good what a crash has left undone.
            return Ok(Outcome { reply, transaction: None, affected: Affected::Everybody });
        }
        let mut record = DirectoryRecord {
            version: former.version.saturating_add(1),
            modified: self.now,
            document,
            ..former.clone()
        };
        record.key = key(&record);
        self.done(200, vec![Change::DirectorySet(record.clone())], &record, Affected::Everybody, wanted)
    }

    pub(super) fn group_deleted(&self, record: &DirectoryRecord) -> Result<Outcome, ScimError> {
        let gone = Change::DirectoryRemoved {
            feed: record.feed.clone(),
            kind: RecordKind::Group,
            id: record.id.clone(),
        };
        self.done(204, vec![gone], record, Affected::Everybody, &Wanted::default())
    }

    /// Members are users of this feed, each once; where they are found and what they are is the server's to say.
    fn members(&self, document: &mut Object) -> Result<(), ScimError> {
        let org = self.world.organisation();
        let Some(members) = document.get_mut("members").and_then(Value::as_array_mut) else { return Ok(()) };
        let mut known = BTreeSet::new();
        let mut all = Vec::with_capacity(members.len());
        for member in members.drain(..) {
            let mut member = member.into_object().unwrap_or_default();
            let id = member.get("value").and_then(Value::as_str).unwrap_or_default().to_owned();
            let user =
                Name::new(&id).ok().filter(|id| org.record(&self.feed.name, RecordKind::User, id).is_some());
            let Some(user) = user else {
                let shown: String = id.chars().take(64).collect();
                return Err(ScimError::value(format!(
                    "there is no user `{shown}`; groups in groups aren't supported"
                )));
            };
            member.remove("$ref");
            member.remove("type");
            if known.insert(user) {
                all.push(Value::Object(member));
            }
        }
        if all.is_empty() {
            document.remove("members");
        } else {
            document.insert("members", Value::Array(all));
        }
        Ok(())
    }
}

fn key(record: &DirectoryRecord) -> String {
    record.document.get("displayName").and_then(Value::as_str).unwrap_or_default().to_lowercase()
}
