//! What an identity feed keeps of the people and groups that it brings: the feed's own records, beside the facts that
//! decide. Nothing here is read by policy.

use std::sync::Arc;

use placet_core::{Human, HumanId, Name, Standing, Timestamp};
use placet_json::{Value, object};

use crate::{ChangeError, Ending, OrgFacts, noun, read::Fields};

/// The longest record, in bytes of JSON: a group of 10 000 members takes about 1 MB.
pub const MAX_RECORD: usize = 2 << 20;

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordKind {
    /// A person.
    User,
    /// A group of people.
    Group,
}

impl RecordKind {
    /// Its name in the JSON form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
        }
    }
}

/// One record of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryRecord {
    /// The feed that keeps it; no other feed sees it.
    pub feed: Name,
    /// About a person or a group.
    pub kind: RecordKind,
    /// Its id there.
    pub id: Name,
    /// The person that a user's record is about. One record about one person, of all feeds.
    pub human: Option<HumanId>,
    /// Whether the feed says that the person may act; `true` for groups.
    pub active: bool,
    /// The name under which the feed finds it, in lower case: one user's in a feed.
    pub key: String,
    /// Counts its changes from 1. A change that isn't the next one is refused, so that nobody overwrites unseen.
    pub version: u64,
    /// When it was made.
    pub created: Timestamp,
    /// When it was changed last.
    pub modified: Timestamp,
    /// The feed's own document. A group's `members` are objects whose `value` is a user's id.
    pub document: Value,
}

impl DirectoryRecord {
    /// The ids of a group's members.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        let members = self.document.get("members").and_then(Value::as_array).unwrap_or_default();
        members.iter().filter_map(|member| member.get("value").and_then(Value::as_str))
    }
    fn place(&self) -> Place {
        (self.feed.clone(), self.kind, self.id.clone())
    }
}

type Place = (Name, RecordKind, Name);

/// The records of all feeds, and the ways to find them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Directory {
    records: imbl::OrdMap<Place, Arc<DirectoryRecord>>,
    /// The standing that inactive people had before their feed took it.
    before: imbl::OrdMap<HumanId, Standing>,
    /// Users by feed and key.
    keys: imbl::OrdMap<(Name, String), Name>,
    /// Whose record a person's is.
    humans: imbl::OrdMap<HumanId, (Name, Name)>,
    /// Feed, user, group: which groups a user is in.
    memberships: imbl::OrdSet<(Name, String, Name)>,
}

impl OrgFacts {
    /// A record of a feed.
    #[must_use]
    pub fn record(&self, feed: &Name, kind: RecordKind, id: &Name) -> Option<&Arc<DirectoryRecord>> {
        self.directory.records.get(&(feed.clone(), kind, id.clone()))
    }
    /// A user's record by its key.
    #[must_use]
    pub fn record_of_key(&self, feed: &Name, key: &str) -> Option<&Arc<DirectoryRecord>> {
        let id = self.directory.keys.get(&(feed.clone(), key.to_owned()))?;
        self.record(feed, RecordKind::User, id)
    }
    /// The record about a person, of whichever feed.
    #[must_use]
    pub fn record_of_human(&self, human: &HumanId) -> Option<&Arc<DirectoryRecord>> {
        let (feed, id) = self.directory.humans.get(human)?;
        self.record(feed, RecordKind::User, id)
    }
    /// A feed's records of one kind, by id.
    pub fn records<'a>(
        &'a self,
        feed: &'a Name,
        kind: RecordKind,
    ) -> impl Iterator<Item = &'a Arc<DirectoryRecord>> + 'a {
        let least = (feed.clone(), kind, crate::state::MIN.clone());
        self.directory
            .records
            .range(least..)
            .take_while(move |((of, at, _), _)| of == feed && *at == kind)
            .map(|(_, record)| record)
    }
    /// The groups of a feed that a user is in, by id.
    pub fn groups_of<'a>(
        &'a self,
        feed: &'a Name,
        user: &'a str,
    ) -> impl Iterator<Item = &'a Arc<DirectoryRecord>> + 'a {
        let least = (feed.clone(), user.to_owned(), crate::state::MIN.clone());
        self.directory
            .memberships
            .range(least..)
            .take_while(move |(of, member, _)| of == feed && member == user)
            .filter_map(move |(_, _, group)| self.record(feed, RecordKind::Group, group))
    }
}

/// Puts a record, new or in place of its last version.
pub(crate) fn set(org: &mut OrgFacts, record: &DirectoryRecord) -> Result<(), ChangeError> {
    let former = org.record(&record.feed, record.kind, &record.id).cloned();
    let next = former.as_ref().map_or(1, |former| former.version.saturating_add(1));
    if record.version != next {
        return Err(ChangeError::conflict(
            format!("the record was changed meanwhile: its next version is {next}"),
            "read it again",
        ));
    }
    if let Some(human) = &record.human {
        if org.human(human).is_none() {
            return Err(ChangeError::unknown(format!("there is no person `{human}`"), "add them first"));
        }
        let others = org.directory.humans.get(human);
        if others.is_some_and(|(feed, id)| *feed != record.feed || *id != record.id) {
            return Err(ChangeError::conflict(
                format!("`{human}` is another record's"),
                "one record is about one person",
            ));
        }
    }
    let key = (record.feed.clone(), record.key.clone());
    if record.kind == RecordKind::User && org.directory.keys.get(&key).is_some_and(|id| *id != record.id) {
        return Err(ChangeError::conflict("another record has this name", "choose another"));
    }
    if let Some(former) = &former {
        forget(&mut org.directory, former);
    }
    if let Some(human) = &record.human {
        if record.active {
            org.directory.before.remove(human);
        } else if former.is_none_or(|former| former.active)
            && let Some(standing) = org.human(human).map(|known| known.standing)
        {
            org.directory.before.insert(human.clone(), standing);
        }
    }
    insert(&mut org.directory, record);
    Ok(())
}

/// Puts a record in place of the same one, whatever its version.
pub(crate) fn put(org: &mut OrgFacts, record: &DirectoryRecord) {
    if let Some(former) = org.record(&record.feed, record.kind, &record.id).cloned() {
        forget(&mut org.directory, &former);
    }
    insert(&mut org.directory, record);
}

fn insert(directory: &mut Directory, record: &DirectoryRecord) {
    match record.kind {
        RecordKind::User => {
            directory.keys.insert((record.feed.clone(), record.key.clone()), record.id.clone());
            if let Some(human) = &record.human {
                directory.humans.insert(human.clone(), (record.feed.clone(), record.id.clone()));
            }
        }
        RecordKind::Group => {
            for user in record.members() {
                directory.memberships.insert((record.feed.clone(), user.to_owned(), record.id.clone()));
            }
        }
    }
    directory.records.insert(record.place(), Arc::new(record.clone()));
}

/// The records as documents, and the standings that feeds have taken; [`take`] and [`take_before`] read them back.
pub(crate) fn kept(directory: &Directory) -> impl Iterator<Item = (&'static str, Value)> + '_ {
    // The indexes are those of the records.
    let Directory { records, before, keys: _, humans: _, memberships: _ } = directory;
    let before = before.iter().map(|(human, standing)| {
        ("before", object! { "human" => human.as_str(), "standing" => standing.as_str() }.into())
    });
    records.values().map(|record| ("record", value(record))).chain(before)
}

pub(crate) fn take(org: &mut OrgFacts, body: &Value, path: &str) -> Result<(), ChangeError> {
    insert(&mut org.directory, &read(body, path)?);
    Ok(())
}

pub(crate) fn take_before(org: &mut OrgFacts, body: &Value, path: &str) -> Result<(), ChangeError> {
    let mut fields = Fields::open(body, path)?;
    let human = fields.parsed("human", HumanId::new)?;
    org.directory.before.insert(human, fields.parsed("standing", noun::standing)?);
    Ok(())
}

/// Removes a record.
pub(crate) fn remove(
    org: &mut OrgFacts,
    feed: &Name,
    kind: RecordKind,
    id: &Name,
) -> Result<(), ChangeError> {
    let Some(former) = org.record(feed, kind, id).cloned() else {
        return Err(ChangeError::unknown(format!("`{feed}` keeps no such {}", kind.as_str()), "list them"));
    };
    forget(&mut org.directory, &former);
    org.directory.records.remove(&former.place());
    Ok(())
}

fn forget(directory: &mut Directory, record: &DirectoryRecord) {
    match record.kind {
        RecordKind::User => {
            directory.keys.remove(&(record.feed.clone(), record.key.clone()));
            if let Some(human) = &record.human {
                directory.humans.remove(human);
            }
        }
        RecordKind::Group => {
            for user in record.members() {
                directory.memberships.remove(&(record.feed.clone(), user.to_owned(), record.id.clone()));
            }
        }
    }
}

/// Gives a person their standing back, if a feed has taken it: no more than it took.
pub(crate) fn give_back(org: &mut OrgFacts, human: &HumanId) -> Result<(), ChangeError> {
    let now = org.human(human).map(|known| known.standing);
    match (now, org.directory.before.get(human).copied()) {
        (Some(Standing::Deactivated), Some(before)) => stand(org, human, before),
        // Somebody else has spoken since, or had before: it is theirs to lift.
        (Some(_), _) => Ok(()),
        (None, _) => Err(ChangeError::unknown(format!("there is no person `{human}`"), "add them first")),
    }
}

/// What is suspended while a feed has taken the standing stays so when the feed gives it back.
pub(crate) fn remember(org: &mut OrgFacts, human: &HumanId, ending: Ending) {
    if let Some(before) = org.directory.before.get(human).copied()
        && ending == Ending::Suspended
    {
        org.directory.before.insert(human.clone(), ending.standing(before));
    }
}

/// Gives a person a standing, if they are known.
pub(crate) fn stand(org: &mut OrgFacts, human: &HumanId, standing: Standing) -> Result<(), ChangeError> {
    let known = org
        .human(human)
        .ok_or_else(|| ChangeError::unknown(format!("there is no person `{human}`"), "add them first"))?
        .clone();
    org.humans.insert(human.clone(), Arc::new(Human { standing, ..known }));
    Ok(())
}

pub(crate) fn value(record: &DirectoryRecord) -> Value {
    let DirectoryRecord { feed, kind, id, human, active, key, version, created, modified, document } = record;
    let mut object = object! {
        "feed" => feed.as_str(), "kind" => kind.as_str(), "id" => id.as_str(), "active" => *active,
        "key" => key, "version" => *version, "created" => created.to_string(),
        "modified" => modified.to_string(), "document" => document.clone(),
    };
    if let Some(human) = human {
        object.insert("human", human.as_str());
    }
    Value::Object(object)
}

pub(crate) fn read(value: &Value, path: &str) -> Result<DirectoryRecord, ChangeError> {
    let mut fields = Fields::open(value, path)?;
    let wrong = |path: String, message: &str| ChangeError::malformed(&path, message, "");
    let record = DirectoryRecord {
        feed: fields.name("feed")?,
        kind: fields.parsed("kind", kind)?,
        id: fields.name("id")?,
        human: match fields.optional("human") {
            None => None,
            Some(_) => Some(fields.parsed("human", HumanId::new)?),
        },
        active: fields
            .required("active")?
            .as_bool()
            .ok_or_else(|| wrong(fields.at("active"), "is no boolean"))?,
        key: fields.text("key")?.to_owned(),
        version: fields
            .required("version")?
            .as_u64()
            .filter(|version| *version > 0)
            .ok_or_else(|| wrong(fields.at("version"), "is no whole number from 1"))?,
        created: fields.moment("created")?,
        modified: fields.moment("modified")?,
        document: fields.required("document")?.clone(),
    };
    fields.unexpected()?;
    if record.document.as_object().is_none() {
        return Err(wrong(format!("{path}/document"), "is not an object"));
    }
    let form =
        record.document.canonical().map_err(|error| wrong(format!("{path}/document"), &error.to_string()))?;
    if form.as_str().len() > MAX_RECORD {
        return Err(wrong(format!("{path}/document"), "is longer than a record may be"));
    }
    Ok(record)
}

pub(crate) fn kind(text: &str) -> Result<RecordKind, &'static str> {
    match text {
        "user" => Ok(RecordKind::User),
        "group" => Ok(RecordKind::Group),
        _ => Err("is neither `user` nor `group`"),
    }
}
