//! What of a record is sealed, and under whose keys: the marks of the release's catalog, and what identity feeds keep.
//!
//! A plan is made of the record as it would be written in plain, so that every copy of a marked value in it is found:
//! the argument itself, the attribute that it is, the input that policy read, a reason that quotes it, and digests of
//! any of these, by which a guess could be confirmed. A record without marks costs a look at the catalog.

use std::collections::{BTreeMap, BTreeSet};

use placet_catalog::{Argument, Catalog, Entry, HUMAN, Seal, Source, Subject, SubjectId, WORKFLOW};
use placet_core::{HumanId, Name, ResourceRef};
use placet_facts::{Change, DirectoryRecord, OrgFacts, Place, RecordKind, Transaction, sealed_key};
use placet_json::{Limits, Object, Value};
use placet_record::{
    BadRecord,
    sealed::{Found, Hole, Opened, Part, SALT, Sealing, Shut, Unsealed, open, seal, step},
};
use placet_store::{Opening, SubjectKeyId, Subjects, SubjectsError, is_subject};

/// A text of fewer characters is looked for as a whole value only: it would be found in others by chance.
const SHORTEST: usize = 3;
/// What is added up, and stays.
const AMOUNT: &str = "amount";

/// Why something can't be sealed, so isn't recorded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    /// The keys.
    #[error(transparent)]
    Keys(#[from] SubjectsError),
    /// The record.
    #[error(transparent)]
    Record(#[from] BadRecord),
}

/// A record with what was taken out of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) record: String,
    pub(crate) attachment: Vec<u8>,
}

impl Sealed {
    /// A record in which nothing is sealed.
    pub(crate) fn plain(record: String) -> Self {
        Self { record, attachment: Vec::new() }
    }
}

/// Whose a plan's parts are.
pub(crate) fn subjects_of(parts: &[Part]) -> BTreeSet<String> {
    parts.iter().flat_map(|part| &part.subjects).cloned().collect()
}

/// Seals the parts of a record; each subject has a key.
pub(crate) fn seal_parts(record: Value, parts: &[Part], keys: &Subjects) -> Result<Sealed, SealError> {
    take_out(record, parts, &|subjects, text| {
        let (ids, body) = keys.seal(subjects, text)?;
        Ok((ids.iter().map(ToString::to_string).collect(), body))
    })
}

/// Takes the parts out of a record and keeps no body: it reads as if they were erased.
pub(crate) fn discard_parts(record: Value, parts: &[Part]) -> Result<Sealed, SealError> {
    take_out(record, parts, &|_, _| Ok((Vec::new(), Vec::new())))
}

fn take_out(mut record: Value, parts: &[Part], sealing: Sealing<'_, SealError>) -> Result<Sealed, SealError> {
    let mut salt = || {
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt).map_err(|_| SubjectsError::Seal)?;
        Ok(salt)
    };
    let attachment = seal::<SealError>(&mut record, parts, &mut salt, sealing)?;
    let record = record.canonical().map_err(|error| BadRecord {
        member: String::new(),
        what: format!("has no canonical form: {error}"),
    })?;
    Ok(Sealed { record: record.as_str().to_owned(), attachment })
}

/// Opens a record's bodies, as far as there are keys.
pub(crate) fn open_with<'a>(
    payload: &'a [u8],
    attachment: &[u8],
    keys: &Subjects,
) -> Result<Opened<'a>, BadRecord> {
    open(payload, attachment, &|names, body| {
        let ids: Option<Vec<SubjectKeyId>> = names.iter().map(|name| SubjectKeyId::parse(name)).collect();
        let Some(ids) = ids else { return Unsealed::Shut(Shut::Altered) };
        match keys.unseal(&ids, body) {
            Opening::Open(text) => Unsealed::Text(text),
            Opening::Erased => Unsealed::Shut(Shut::Erased),
            Opening::NoKey => Unsealed::Shut(Shut::NoKey),
            Opening::Altered => Unsealed::Shut(Shut::Altered),
        }
    })
}

/// The subjects of a found part, as far as they are known.
pub(crate) fn names_of(part: &Found, keys: &Subjects) -> Vec<std::sync::Arc<str>> {
    part.keys.iter().filter_map(|id| keys.subject(SubjectKeyId::parse(id)?)).collect()
}

/// A subject of a tenant, or a person of the organisation.
pub(crate) fn subject_name(tenant: &str, kind: &str, id: &str) -> Option<String> {
    // No id has `~` in it, and no kind `:`: nothing that an agent gives can name another's subject.
    let name = if kind == HUMAN { person(id) } else { format!("{tenant}~{kind}:{id}") };
    (is_subject(&name) && !id.is_empty() && !id.contains('~')).then_some(name)
}

// === facts ===

/// What of a transaction is sealed. `catalog`: of the release in force; `feeds`: also what identity feeds keep.
pub(crate) fn of_facts(
    transaction: &Transaction,
    catalog: Option<&Catalog>,
    org: &OrgFacts,
    feeds: bool,
) -> Vec<Part> {
    let mut plan = Plan::default();
    for (i, change) in transaction.changes.iter().enumerate() {
        let at = format!("/transaction/changes/{i}");
        match (change, &transaction.place) {
            (Change::ResourceSet(resource), Place::Tenant(tenant)) => {
                let Some(personal) = catalog.and_then(|it| it.personal().get(&resource.at.kind)) else {
                    continue;
                };
                let text = |name: &Name| resource.attributes.get(name).and_then(as_id);
                let subject = owner(tenant.as_str(), &resource.at, personal.subject.as_ref(), text);
                for name in personal.attributes.iter().filter(|name| resource.attributes.contains_key(*name))
                {
                    let at = format!("{at}/resource_set/attributes/{}", step(name.as_str()));
                    plan.add([subject.clone()], at, None);
                }
            }
            (Change::DirectorySet(record), Place::Organisation) if feeds => {
                directory(&mut plan, &at, record, org);
            }
            _ => {}
        }
    }
    plan.finish()
}

/// Whose the personal attributes of a resource are: a named subject's, or its own.
fn owner(
    tenant: &str,
    at: &ResourceRef,
    named: Option<&(Name, Name)>,
    text: impl Fn(&Name) -> Option<String>,
) -> String {
    named
        .and_then(|(kind, attribute)| subject_name(tenant, kind.as_str(), &text(attribute)?))
        .unwrap_or_else(|| format!("{tenant}~{at}"))
}

fn directory(plan: &mut Plan, at: &str, record: &DirectoryRecord, org: &OrgFacts) {
    let whose =
        |record: &DirectoryRecord| person(record.human.as_ref().map_or(record.id.as_str(), HumanId::as_str));
    let at = format!("{at}/directory_set");
    match record.kind {
        RecordKind::User => {
            plan.add([whose(record)], format!("{at}/key"), Some(sealed_key(&record.id).into()));
            plan.add([whose(record)], format!("{at}/document"), Some(Value::Object(Object::new())));
        }
        RecordKind::Group => {
            let members = record.document.get("members").and_then(Value::as_array).unwrap_or_default();
            for (i, member) in members.iter().enumerate() {
                let Some(id) = member.get("value").and_then(Value::as_str) else { continue };
                let user = Name::new(id).ok().and_then(|id| org.record(&record.feed, RecordKind::User, &id));
                if member.get("display").is_some()
                    && let Some(user) = user
                {
                    plan.add([whose(user)], format!("{at}/document/members/{i}/display"), None);
                }
            }
        }
    }
}

/// A person of the organisation.
pub(crate) fn person(id: &str) -> String {
    format!("{HUMAN}:{id}")
}

// === decisions and effects ===

/// What a record is about, to find subjects by.
struct About<'a> {
    tenant: &'a str,
    human: &'a str,
    workflow: &'a str,
    arguments: Option<&'a Value>,
    resource: Option<(&'a str, &'a str)>,
    input: Option<&'a Value>,
}

impl About<'_> {
    fn workflow(&self) -> String {
        format!("{}~{WORKFLOW}:{}", self.tenant, self.workflow)
    }
    /// Whose it is; what names nobody is its workflow's.
    fn of(&self, seal: &Seal) -> String {
        let Seal::Personal(Subject { kind, id }) = seal else { return self.workflow() };
        let id = match id {
            SubjectId::Human => return person(self.human),
            SubjectId::Argument(name) => self.arguments.and_then(|it| it.get(name)).and_then(as_id),
            SubjectId::ResourceId => self.resource.map(|(_, id)| id.to_owned()),
            SubjectId::ResourceAttribute(name) => self
                .input
                .and_then(|it| it.get("resource"))
                .and_then(|it| it.get(name.as_str()))
                .and_then(as_id),
        };
        id.and_then(|id| subject_name(self.tenant, kind.as_str(), &id)).unwrap_or_else(|| self.workflow())
    }
}

/// Whether a decision on this entry and these resources may hold something that is marked.
pub(crate) fn concerns<'a>(
    catalog: &Catalog,
    entry: Option<&Entry>,
    mut resources: impl Iterator<Item = &'a ResourceRef>,
) -> bool {
    entry.is_some_and(|entry| !entry.seals().is_empty())
        || (!catalog.personal().is_empty() && resources.any(|it| catalog.personal().contains_key(&it.kind)))
}

/// What of a decision's record is sealed.
pub(crate) fn of_decision(record: &Value, catalog: &Catalog, entry: Option<&Entry>) -> Vec<Part> {
    let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let asked = if record.get("call").is_some() { "/call" } else { "/attempt" };
    let raw = record.pointer("/attempt/evidence/arguments").and_then(Value::as_str);
    let parsed = raw.and_then(|raw| placet_json::parse(raw.as_bytes(), &Limits::RESULT).ok());
    let resource = record.pointer(&format!("{asked}/resources/0"));
    let input = record.get("input").filter(|input| !input.is_null());
    let about = About {
        tenant: text("/tenant"),
        human: text("/human"),
        workflow: text("/workflow"),
        arguments: record.pointer("/call/arguments").or(parsed.as_ref()),
        resource: resource.and_then(|it| Some((it.get("type")?.as_str()?, it.get("id")?.as_str()?))),
        input,
    };
    let mut plan = Plan::default();
    let mut secrets = Secrets::default();
    let marked = marked(catalog, entry, &about);
    resources(catalog, &about, &mut secrets);
    for (name, subject) in &marked {
        if let Some(value) = about.arguments.and_then(|arguments| arguments.get(name)) {
            secrets.add(value, subject);
        }
    }
    if let Some(arguments) = record.pointer("/call/arguments").and_then(Value::as_object) {
        for (name, value) in arguments.iter().filter(|(name, _)| !is_added_up(entry, name)) {
            let whose = marked.get(name).map(|it| [it.clone()].into()).or_else(|| secrets.in_value(value));
            if let Some(whose) = whose {
                plan.add(whose, format!("/call/arguments/{}", step(name)), None);
            }
        }
    }
    called(record, entry, &marked, &secrets, &mut plan);
    let whole = whole_of(&secrets, &marked);
    if raw.is_some() && !marked.is_empty() {
        // What was refused may be anything: all of it is sealed.
        plan.add(whole.clone(), "/attempt/evidence/arguments".to_owned(), Some(Value::Null));
    }
    texts(record, &secrets, &mut plan);
    if !whole.is_empty() {
        // The input as one, and whatever is a digest of a marked value.
        if input.is_some() {
            plan.add(whole.clone(), "/input".to_owned(), Some(Value::Null));
            plan.add(whole.clone(), "/input_sha256".to_owned(), Some(Value::Null));
        }
        plan.add(whole.clone(), "/call/arguments_sha256".to_owned(), None);
        plan.add(whole, "/remedy/covers".to_owned(), None);
    }
    plan.finish()
}

/// The marked arguments with their subjects; an argument that is filled with a personal attribute is marked by that.
fn marked(catalog: &Catalog, entry: Option<&Entry>, about: &About<'_>) -> BTreeMap<String, String> {
    let Some(entry) = entry else { return BTreeMap::new() };
    let seals = entry.seals().arguments.iter().map(|(name, seal)| (name.clone(), about.of(seal)));
    let filled = entry.arguments().iter().filter_map(|(name, argument)| {
        let Argument::Bound(Source::ResourceAttribute(attribute)) = argument else { return None };
        let (kind, id) = about.resource?;
        let (kind, id) = (Name::new(kind).ok()?, Name::new(id).ok()?);
        let personal = catalog.personal().get(&kind).filter(|it| it.attributes.contains(attribute))?;
        let text = |name: &Name| about.input?.get("resource")?.get(name.as_str()).and_then(as_id);
        let at = ResourceRef { kind, id };
        Some((name.clone(), owner(about.tenant, &at, personal.subject.as_ref(), text)))
    });
    filled.chain(seals).collect()
}

/// The personal attributes of the resources that policy saw.
fn resources(catalog: &Catalog, about: &About<'_>, secrets: &mut Secrets) {
    let Some(input) = about.input.filter(|_| !catalog.personal().is_empty()) else { return };
    let all = input.get("resources").and_then(Value::as_array).unwrap_or_default();
    for resource in all.iter().chain(input.get("resource")) {
        let name = |member: &str| Name::new(resource.get(member)?.as_str()?).ok();
        let (Some(kind), Some(id)) = (name("type"), name("id")) else { continue };
        let Some(personal) = catalog.personal().get(&kind) else { continue };
        let text = |name: &Name| resource.get(name.as_str()).and_then(as_id);
        let at = ResourceRef { kind, id };
        let subject = owner(about.tenant, &at, personal.subject.as_ref(), text);
        for value in personal.attributes.iter().filter_map(|name| resource.get(name.as_str())) {
            secrets.add(value, &subject);
        }
    }
}

/// Whether an argument is what totals add up: the fold needs it, whatever else has the same value.
fn is_added_up(entry: Option<&Entry>, argument: &str) -> bool {
    matches!(
        entry.and_then(|entry| entry.arguments().get(argument)),
        Some(Argument::Given { attribute: Some(attribute), .. }) if attribute.as_str() == AMOUNT
    )
}

/// Copies of marked values beside the arguments.
fn called(
    record: &Value,
    entry: Option<&Entry>,
    marked: &BTreeMap<String, String>,
    secrets: &Secrets,
    plan: &mut Plan,
) {
    let list = |pointer: &str| record.pointer(pointer).and_then(Value::as_array).unwrap_or_default();
    let argument_of = |attribute: &str| {
        entry.into_iter().flat_map(Entry::arguments).find_map(|(name, argument)| match argument {
            Argument::Given { attribute: Some(it), .. } if it.as_str() == attribute => Some(name.as_str()),
            Argument::Given { .. } | Argument::Bound(_) => None,
        })
    };
    for (i, attribute) in list("/call/attributes").iter().enumerate() {
        let name = attribute.get("name").and_then(Value::as_str).unwrap_or_default();
        if name == AMOUNT {
            continue;
        }
        let name = argument_of(name);
        for kind in ["decimal", "bool", "text"] {
            let Some(value) = attribute.get(kind) else { continue };
            let whose = name.and_then(|name| marked.get(name)).map(|it| [it.clone()].into());
            if let Some(whose) = whose.or_else(|| secrets.in_value(value)) {
                plan.add(whose, format!("/call/attributes/{i}/{kind}"), None);
            }
        }
    }
    for (i, bound) in list("/call/bound").iter().enumerate() {
        let name = bound.get("argument").and_then(Value::as_str).unwrap_or_default();
        let whose = marked.get(name).map(|it| [it.clone()].into());
        let whose = whose.or_else(|| bound.get("value").and_then(|value| secrets.in_value(value)));
        if let Some(whose) = whose {
            plan.add(whose, format!("/call/bound/{i}/value"), None);
        }
    }
}

/// Texts that quote a marked value.
fn texts(record: &Value, secrets: &Secrets, plan: &mut Plan) {
    let reasons = record.get("reasons").and_then(Value::as_array).unwrap_or_default();
    let places = (0..reasons.len())
        .flat_map(|i| [format!("/reasons/{i}/message"), format!("/reasons/{i}/operator")])
        .chain(["/attempt/target".to_owned()]);
    let asked = ["/call/lookups", "/attempt/evidence/lookups"];
    let lookups = asked.into_iter().flat_map(|list| {
        let looked = record.pointer(list).and_then(Value::as_array).unwrap_or_default().len();
        (0..looked).map(move |i| format!("{list}/{i}/why"))
    });
    for at in places.chain(lookups) {
        if let Some(whose) = record.pointer(&at).and_then(|text| secrets.in_value(text)) {
            plan.add(whose, at, Some("".into()));
        }
    }
}

fn whole_of(secrets: &Secrets, marked: &BTreeMap<String, String>) -> BTreeSet<String> {
    secrets.of.iter().map(|(_, subject)| subject).chain(marked.values()).cloned().collect()
}

/// What of an effect's record is sealed. `arguments`, `input`: of the permit that it ends.
pub(crate) fn of_effect(
    record: &Value,
    catalog: &Catalog,
    entry: &Entry,
    human: &str,
    resource: Option<&ResourceRef>,
    arguments: &Value,
    input: Option<&Value>,
) -> Vec<Part> {
    let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
    let about = About {
        tenant: text("tenant"),
        human,
        workflow: text("workflow"),
        arguments: Some(arguments),
        resource: resource.map(|it| (it.kind.as_str(), it.id.as_str())),
        input,
    };
    let mut plan = Plan::default();
    let (mut secrets, marked) = (Secrets::default(), marked(catalog, Some(entry), &about));
    for (name, subject) in &marked {
        if let Some(value) = arguments.get(name) {
            secrets.add(value, subject);
        }
    }
    let whole = whole_of(&secrets, &marked);
    if !whole.is_empty() {
        plan.add(whole, "/downstream/arguments_sha256".to_owned(), Some(Value::Null));
    }
    if let Some(seal) = &entry.seals().result {
        let subject = about.of(seal);
        plan.add([subject.clone()], "/answer_sha256".to_owned(), Some(Value::Null));
        plan.add([subject], "/detail".to_owned(), Some("".into()));
    } else if let Some(whose) = record.get("detail").and_then(|detail| secrets.in_value(detail)) {
        plan.add(whose, "/detail".to_owned(), Some("".into()));
    }
    plan.finish()
}

// === helpers ===

/// Places by their subjects, each place once.
#[derive(Default)]
struct Plan {
    parts: BTreeMap<BTreeSet<String>, Vec<Hole>>,
    places: BTreeSet<String>,
}

impl Plan {
    fn add(&mut self, subjects: impl IntoIterator<Item = String>, at: String, stand_in: Option<Value>) {
        let subjects: BTreeSet<String> = subjects.into_iter().collect();
        if !subjects.is_empty() && self.places.insert(at.clone()) {
            self.parts.entry(subjects).or_default().push(Hole { at, stand_in });
        }
    }
    fn finish(self) -> Vec<Part> {
        self.parts.into_iter().map(|(subjects, holes)| Part { subjects, holes }).collect()
    }
}

/// The texts of marked values, and whose they are.
#[derive(Default)]
struct Secrets {
    of: Vec<(String, String)>,
}

impl Secrets {
    fn add(&mut self, value: &Value, subject: &str) {
        match value {
            Value::String(text) => self.of.push((text.clone(), subject.to_owned())),
            Value::Number(number) => self.of.push((number.to_string(), subject.to_owned())),
            Value::Array(items) => items.iter().for_each(|item| self.add(item, subject)),
            Value::Object(object) => object.values().for_each(|item| self.add(item, subject)),
            Value::Null | Value::Bool(_) => {}
        }
    }
    /// Whose marked values a value is, or contains in a text.
    fn in_value(&self, value: &Value) -> Option<BTreeSet<String>> {
        let mut whose = BTreeSet::new();
        self.find(value, &mut whose);
        (!whose.is_empty()).then_some(whose)
    }
    fn find(&self, value: &Value, whose: &mut BTreeSet<String>) {
        match value {
            Value::String(text) => {
                let quotes = |secret: &str| {
                    text == secret || (secret.chars().count() >= SHORTEST && text.contains(secret))
                };
                whose.extend(self.of.iter().filter(|(it, _)| quotes(it)).map(|(_, of)| of.clone()));
            }
            Value::Number(number) => {
                let number = number.to_string();
                whose.extend(self.of.iter().filter(|(it, _)| *it == number).map(|(_, of)| of.clone()));
            }
            Value::Array(items) => items.iter().for_each(|item| self.find(item, whose)),
            Value::Object(object) => object.values().for_each(|item| self.find(item, whose)),
            Value::Null | Value::Bool(_) => {}
        }
    }
}

/// A text or a number as an id.
fn as_id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
