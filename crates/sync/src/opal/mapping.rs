//! `sync/opal.toml`: which places of a document are which facts.
//!
//! ```toml
//! ignore = ["/static"]
//!
//! [[map]]
//! path = "/users/{id}"
//! person = { id = "{id}", standing = "/active" }
//! assignment = { human = "{id}", roles = "/roles", until = "/until" }
//! tuples = ["team:{/team}#member@human:{id}"]
//!
//! [[map]]
//! path = "/cases/{id}"
//! resource = { type = "support_case", id = "{id}", attributes = { customer_id = "/customer" } }
//! ```
//! A part `{name}` of a path stands for any member or index, and can be used below. `/…` is a JSON Pointer into what is
//! found at the path; in a text, `{/…}` is what it points to, and `{}` is the whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use placet_core::{Assignment, HumanId, Name, ResourceRef, Standing, Timestamp, Tuple, Until};
use placet_facts::parse_tuple;
use placet_json::Value;
use serde::Deserialize;

/// The most rules.
const MAX_RULES: usize = 256;
/// The most places that are named where something is wrong; the rest is counted.
const MAX_TOLD: usize = 32;
/// The most tuples that one text gives at one place.
const MAX_EXPANDED: usize = 10_000;

/// Why a mapping file can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MappingError(String);

/// A mapping that was read.
#[derive(Debug, Clone)]
pub struct Mapping {
    rules: Vec<Rule>,
    ignore: Vec<Vec<Part>>,
}

/// The facts that a document says, and what it says that isn't mapped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapped {
    /// Resources and their attributes.
    pub resources: BTreeMap<ResourceRef, BTreeMap<Name, Value>>,
    /// Relationships.
    pub tuples: BTreeSet<Tuple>,
    /// People.
    pub people: BTreeMap<HumanId, Standing>,
    /// Roles.
    pub assignments: BTreeMap<HumanId, Assignment>,
    /// Places that no rule is for: how many, and some of them.
    pub unmapped: Told,
    /// Places that a rule is for, but that don't hold what it needs: how many, and some of them with the reason.
    pub wrong: Told,
}

/// Some of many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// How many there are.
    pub count: usize,
    /// The first of them.
    pub some: Vec<String>,
}

impl Told {
    pub(crate) fn add(&mut self, text: impl FnOnce() -> String) {
        self.count = self.count.saturating_add(1);
        if self.some.len() < MAX_TOLD {
            self.some.push(text());
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Fixed(String),
    Any(String),
}

#[derive(Debug, Clone)]
pub(crate) struct Rule {
    path: Vec<Part>,
    resource: Option<ResourceRule>,
    tuples: Vec<Template>,
    person: Option<PersonRule>,
    assignment: Option<AssignmentRule>,
}

#[derive(Debug, Clone)]
struct ResourceRule {
    kind: Name,
    id: Template,
    attributes: BTreeMap<Name, String>,
}

#[derive(Debug, Clone)]
struct PersonRule {
    id: Template,
    standing: Option<String>,
}

#[derive(Debug, Clone)]
struct AssignmentRule {
    human: Template,
    roles: Roles,
    until: Option<String>,
}

#[derive(Debug, Clone)]
enum Roles {
    At(String),
    Always(BTreeSet<Name>),
}

/// Texts and what stands between them.
#[derive(Debug, Clone)]
struct Template(Vec<Piece>);

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    /// A part of the path.
    Captured(String),
    /// A JSON Pointer into the value; empty for the whole.
    At(String),
}

// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    ignore: Vec<String>,
    #[serde(default)]
    map: Vec<RuleFile>,
}
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    path: String,
    resource: Option<ResourceFile>,
    #[serde(default)]
    tuples: Vec<String>,
    person: Option<PersonFile>,
    assignment: Option<AssignmentFile>,
}
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResourceFile {
    r#type: String,
    id: String,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PersonFile {
    id: String,
    standing: Option<String>,
}
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AssignmentFile {
    human: String,
    roles: RolesFile,
    until: Option<String>,
}
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum RolesFile {
    At(String),
    Always(Vec<String>),
}

impl MappingError {
    pub(crate) fn new(why: String) -> Self {
        Self(why)
    }
}

impl Mapping {
    /// Reads a mapping file.
    pub fn parse(text: &str) -> Result<Self, MappingError> {
        let file: File = toml::from_str(text).map_err(|error| MappingError(error.to_string()))?;
        if file.map.is_empty() {
            return Err(MappingError(
                "there is no `[[map]]`, so no place of the document would be a fact".to_owned(),
            ));
        }
        if file.map.len() > MAX_RULES {
            return Err(MappingError(format!("there are more than {MAX_RULES} `[[map]]`")));
        }
        let rule = |rule: &RuleFile| {
            Rule::read(rule)
                .map_err(|error| MappingError(format!("`[[map]] path = {:?}`: {error}", rule.path)))
        };
        Ok(Self {
            rules: file.map.iter().map(rule).collect::<Result<_, _>>()?,
            ignore: file
                .ignore
                .iter()
                .map(|path| pattern(path).map_err(|error| MappingError(format!("`ignore`: {error}"))))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Whether a write at `path` could be a fact, or is left out on purpose.
    #[must_use]
    pub fn concerns(&self, path: &super::Path) -> bool {
        let patterns = self.rules.iter().map(|rule| &rule.path).chain(&self.ignore);
        let meets = |pattern: &Vec<Part>| {
            pattern.iter().zip(path.parts()).all(|(part, name)| match part {
                Part::Fixed(fixed) => fixed == name,
                Part::Any(_) => true,
            })
        };
        { patterns }.any(meets)
    }

    /// The facts of a document.
    #[must_use]
    pub fn facts(&self, document: &Value) -> Mapped {
        let mut mapped = Mapped::default();
        let mut path = Vec::new();
        self.walk(document, &mut path, &mut mapped);
        mapped
    }

    fn walk(&self, value: &Value, path: &mut Vec<String>, mapped: &mut Mapped) {
        if self.ignore.iter().any(|pattern| matches(pattern, path) == Some(true)) {
            return;
        }
        let mut here = false;
        for rule in &self.rules {
            if matches(&rule.path, path) == Some(true) {
                here = true;
                let captured: BTreeMap<&str, &str> = rule
                    .path
                    .iter()
                    .zip(path.iter())
                    .filter_map(|(part, name)| match part {
                        Part::Any(variable) => Some((variable.as_str(), name.as_str())),
                        Part::Fixed(_) => None,
                    })
                    .collect();
                rule.apply(value, &captured, path, mapped);
            }
        }
        // Rules for places further down, or things left out there.
        let below = self
            .rules
            .iter()
            .map(|rule| &rule.path)
            .chain(&self.ignore)
            .any(|pattern| matches(pattern, path) == Some(false));
        let mut down = |name: String, value: &Value, mapped: &mut Mapped| {
            path.push(name);
            self.walk(value, path, mapped);
            path.pop();
        };
        match (below, value) {
            (true, Value::Object(object)) => {
                for (name, value) in object {
                    down(name.to_owned(), value, mapped);
                }
            }
            (true, Value::Array(values)) => {
                for (i, value) in values.iter().enumerate() {
                    down(i.to_string(), value, mapped);
                }
            }
            (true, Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | (false, _) => {
                // Below a place that a rule has read, only what other rules expect is missing, and that is no harm.
                if !here && !value.is_null() {
                    mapped.unmapped.add(|| shown(path));
                }
            }
        }
    }
}

impl Rule {
    /// A rule for a value by itself: its path is its root.
    pub(crate) fn of_value(
        resource: Option<ResourceFile>,
        tuples: Vec<String>,
        person: Option<PersonFile>,
        assignment: Option<AssignmentFile>,
    ) -> Result<Self, String> {
        Self::read(&RuleFile { path: "/".to_owned(), resource, tuples, person, assignment })
    }

    /// The facts of a value that a rule is for by itself.
    pub(crate) fn facts(&self, value: &Value) -> Mapped {
        let mut mapped = Mapped::default();
        self.apply(value, &BTreeMap::new(), &[], &mut mapped);
        mapped
    }

    /// Every place of the value that it reads.
    pub(crate) fn pointers(&self) -> Vec<&str> {
        let Self { path: _, resource, tuples, person, assignment } = self;
        let mut templates: Vec<&Template> = tuples.iter().collect();
        let mut all: Vec<&str> = Vec::new();
        if let Some(ResourceRule { kind: _, id, attributes }) = resource {
            templates.push(id);
            all.extend(attributes.values().map(String::as_str));
        }
        if let Some(PersonRule { id, standing }) = person {
            templates.push(id);
            all.extend(standing.as_deref());
        }
        if let Some(AssignmentRule { human, roles, until }) = assignment {
            templates.push(human);
            all.extend(until.as_deref());
            if let Roles::At(at) = roles {
                all.push(at);
            }
        }
        for piece in templates.into_iter().flat_map(|template| &template.0) {
            if let Piece::At(at) = piece {
                all.push(at);
            }
        }
        all
    }

    fn read(file: &RuleFile) -> Result<Self, String> {
        let path = pattern(&file.path)?;
        let captured: BTreeSet<&str> = path
            .iter()
            .filter_map(|part| match part {
                Part::Any(name) => Some(name.as_str()),
                Part::Fixed(_) => None,
            })
            .collect();
        let template = |text: &str| Template::read(text, &captured);
        let resource = file.resource.as_ref().map(|resource| {
            let attributes = resource
                .attributes
                .iter()
                .map(|(name, at)| Ok((Name::new(name).map_err(|error| error.to_string())?, pointer(at)?)));
            Ok::<_, String>(ResourceRule {
                kind: Name::new(&resource.r#type).map_err(|error| format!("`type`: {error}"))?,
                id: template(&resource.id)?,
                attributes: attributes.collect::<Result<_, String>>()?,
            })
        });
        let person = file.person.as_ref().map(|person| {
            Ok::<_, String>(PersonRule {
                id: template(&person.id)?,
                standing: person.standing.as_deref().map(pointer).transpose()?,
            })
        });
        let assignment = file.assignment.as_ref().map(|assignment| {
            let roles = match &assignment.roles {
                RolesFile::At(at) => Roles::At(pointer(at)?),
                RolesFile::Always(names) => Roles::Always(
                    names
                        .iter()
                        .map(|name| Name::new(name).map_err(|error| format!("`roles`: {error}")))
                        .collect::<Result<_, _>>()?,
                ),
            };
            Ok::<_, String>(AssignmentRule {
                human: template(&assignment.human)?,
                roles,
                until: assignment.until.as_deref().map(pointer).transpose()?,
            })
        });
        let rule = Self {
            resource: resource.transpose()?,
            tuples: file.tuples.iter().map(|text| template(text)).collect::<Result<_, _>>()?,
            person: person.transpose()?,
            assignment: assignment.transpose()?,
            path,
        };
        if rule.resource.is_none()
            && rule.tuples.is_empty()
            && rule.person.is_none()
            && rule.assignment.is_none()
        {
            return Err("gives no facts: add `resource`, `tuples`, `person` or `assignment`, or put the path into `ignore`".to_owned());
        }
        Ok(rule)
    }

    fn apply(&self, value: &Value, captured: &BTreeMap<&str, &str>, path: &[String], mapped: &mut Mapped) {
        if value.is_null() {
            return;
        }
        let outcomes = [
            self.resource.as_ref().map(|rule| rule.apply(value, captured, mapped)),
            self.person.as_ref().map(|rule| rule.apply(value, captured, mapped)),
            self.assignment.as_ref().map(|rule| rule.apply(value, captured, mapped)),
        ];
        for error in outcomes.into_iter().flatten().filter_map(Result::err) {
            mapped.wrong.add(|| format!("{}: {error}", shown(path)));
        }
        for template in &self.tuples {
            let tuples = template.expand(value, captured).and_then(|texts| {
                texts
                    .iter()
                    .map(|text| parse_tuple(text).map_err(|error| error.to_string()))
                    .collect::<Result<Vec<_>, _>>()
            });
            match tuples {
                Ok(tuples) => mapped.tuples.extend(tuples),
                Err(error) => mapped.wrong.add(|| format!("{}: {error}", shown(path))),
            }
        }
    }
}

impl ResourceRule {
    fn apply(
        &self,
        value: &Value,
        captured: &BTreeMap<&str, &str>,
        mapped: &mut Mapped,
    ) -> Result<(), String> {
        let id = Name::new(&self.id.one(value, captured)?).map_err(|error| error.to_string())?;
        let at = ResourceRef { kind: self.kind.clone(), id };
        let attributes = self
            .attributes
            .iter()
            .filter_map(|(name, pointer)| {
                let found = value.pointer(pointer).filter(|found| !found.is_null())?;
                Some((name.clone(), found.clone()))
            })
            .collect();
        match mapped.resources.insert(at.clone(), attributes) {
            None => Ok(()),
            Some(_) => Err(format!("`{at}` stands in the document twice; the last one counts")),
        }
    }
}

impl PersonRule {
    fn apply(
        &self,
        value: &Value,
        captured: &BTreeMap<&str, &str>,
        mapped: &mut Mapped,
    ) -> Result<(), String> {
        let id = HumanId::new(&self.id.one(value, captured)?).map_err(|error| error.to_string())?;
        let standing = match &self.standing {
            None => Ok(Standing::Active),
            Some(pointer) => match value.pointer(pointer) {
                Some(Value::Bool(true)) => Ok(Standing::Active),
                Some(Value::Bool(false)) => Ok(Standing::Suspended),
                Some(Value::String(text)) => match text.as_str() {
                    "active" => Ok(Standing::Active),
                    "suspended" => Ok(Standing::Suspended),
                    "deactivated" => Ok(Standing::Deactivated),
                    _ => Err(format!("`{pointer}` is none of `active`, `suspended`, `deactivated`")),
                },
                Some(_) | None => Err(format!("`{pointer}` doesn't say whether the person may act")),
            },
        };
        // Whoever might be active but isn't said to be may not act.
        mapped.people.insert(id, standing.clone().unwrap_or(Standing::Suspended));
        standing.map(drop)
    }
}

impl AssignmentRule {
    fn apply(
        &self,
        value: &Value,
        captured: &BTreeMap<&str, &str>,
        mapped: &mut Mapped,
    ) -> Result<(), String> {
        let human = HumanId::new(&self.human.one(value, captured)?).map_err(|error| error.to_string())?;
        let roles: BTreeSet<Name> = match &self.roles {
            Roles::Always(roles) => roles.clone(),
            Roles::At(pointer) => texts(value.pointer(pointer))
                .map_err(|error| format!("`{pointer}` {error}"))?
                .iter()
                .map(|text| Name::new(text).map_err(|error| error.to_string()))
                .collect::<Result<_, _>>()?,
        };
        let until = match self.until.as_ref().and_then(|pointer| value.pointer(pointer)) {
            None | Some(Value::Null) => Until::Ended,
            Some(Value::String(text)) => {
                Until::At(Timestamp::parse(text).map_err(|error| error.to_string())?)
            }
            Some(_) => return Err("`until` is no moment (RFC 3339)".to_owned()),
        };
        if roles.is_empty() {
            return Ok(());
        }
        match mapped.assignments.entry(human.clone()) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(Assignment { human, roles, until });
            }
            std::collections::btree_map::Entry::Occupied(mut entry) if entry.get().until == until => {
                entry.get_mut().roles.extend(roles);
            }
            std::collections::btree_map::Entry::Occupied(_) => {
                return Err(format!("`{human}` has roles until two different moments"));
            }
        }
        Ok(())
    }
}

impl Template {
    fn read(text: &str, captured: &BTreeSet<&str>) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            let (inner, after) =
                after.split_once('}').ok_or_else(|| format!("`{text}`: a `{{` has no `}}`"))?;
            if inner.is_empty() || inner.starts_with('/') {
                pieces.push(Piece::At(inner.to_owned()));
            } else if captured.contains(inner) {
                pieces.push(Piece::Captured(inner.to_owned()));
            } else {
                return Err(format!(
                    "`{text}`: `{{{inner}}}` is no part of the path; a place in the value begins with `/`"
                ));
            }
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self(pieces))
    }

    /// All texts: a list in the value gives one for each of its elements, nothing there gives none.
    fn expand(&self, value: &Value, captured: &BTreeMap<&str, &str>) -> Result<Vec<String>, String> {
        let mut all = vec![String::new()];
        for piece in &self.0 {
            let choices = match piece {
                Piece::Text(text) => vec![text.clone()],
                Piece::Captured(name) => vec![(*captured.get(name.as_str()).unwrap_or(&"")).to_owned()],
                Piece::At(pointer) => {
                    texts(value.pointer(pointer)).map_err(|error| format!("`{pointer}` {error}"))?
                }
            };
            if all.len().saturating_mul(choices.len()) > MAX_EXPANDED {
                return Err(format!("gives more than {MAX_EXPANDED} relationships"));
            }
            all = all
                .iter()
                .flat_map(|before| choices.iter().map(move |choice| format!("{before}{choice}")))
                .collect();
        }
        Ok(all)
    }
    fn one(&self, value: &Value, captured: &BTreeMap<&str, &str>) -> Result<String, String> {
        let mut texts = self.expand(value, captured)?;
        match (texts.pop(), texts.is_empty()) {
            (Some(text), true) => Ok(text),
            (_, _) => Err("has no single id".to_owned()),
        }
    }
}

/// What a place gives as texts: a text or whole number, a list of these; nothing and null give none.
fn texts(value: Option<&Value>) -> Result<Vec<String>, String> {
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => {
            number.as_i64().map(|n| n.to_string()).ok_or_else(|| "is no whole number".to_owned())
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Err("is neither a text nor a list of texts".to_owned())
        }
    };
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(values)) => values.iter().map(one).collect(),
        Some(value) => one(value).map(|text| vec![text]),
    }
}

fn pattern(text: &str) -> Result<Vec<Part>, String> {
    if !text.starts_with('/') {
        return Err(format!("`{text}` doesn't begin with `/`"));
    }
    text.split('/')
        .filter(|part| !part.is_empty())
        .map(|part| match part.strip_prefix('{').map(|inner| inner.strip_suffix('}')) {
            None => Ok(Part::Fixed(part.to_owned())),
            Some(Some(name))
                if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') =>
            {
                Ok(Part::Any(name.to_owned()))
            }
            Some(_) => Err(format!("`{part}` is no `{{name}}`")),
        })
        .collect()
}

fn pointer(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with('/') {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is no JSON Pointer: it begins with `/`"))
    }
}

/// `Some(true)`: the pattern is for this place; `Some(false)`: for places below it.
fn matches(pattern: &[Part], path: &[String]) -> Option<bool> {
    if pattern.len() < path.len() {
        return None;
    }
    let fits = pattern.iter().zip(path).all(|(part, name)| match part {
        Part::Fixed(fixed) => fixed == name,
        Part::Any(_) => true,
    });
    fits.then_some(pattern.len() == path.len())
}

fn shown(path: &[String]) -> String {
    let mut text = String::new();
    for part in path.iter().take(16) {
        let _infallible = write!(text, "/{}", part.chars().take(64).collect::<String>().escape_debug());
    }
    if text.is_empty() { "/".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
ignore = ["/static"]
[[map]]
path = "/users/{id}"
person = { id = "{id}", standing = "/active" }
assignment = { human = "{id}", roles = "/roles", until = "/until" }
tuples = ["team:{/teams}#member@human:{id}"]
[[map]]
path = "/cases/{id}"
resource = { type = "case", id = "{id}", attributes = { limit = "/limit", customer = "/customer/id" } }
[[map]]
path = "/owners/{case}/{i}"
tuples = ["case:{case}#owner@human:{}"]
"#;

    fn facts(text: &str) -> Mapped {
        let value = placet_json::parse(text.as_bytes(), &super::super::wire::LIMITS).unwrap();
        Mapping::parse(FILE).unwrap().facts(&value)
    }

    #[test]
    fn a_document_says_people_roles_resources_and_relationships() {
        let mapped = facts(
            r#"{"users":{"maya":{"active":true,"roles":["support","lead"],"teams":["a","b"],"until":"2026-12-01T00:00:00Z"},"lee":{"active":false}},
               "cases":{"C-1":{"limit":250.5,"customer":{"id":"cu-1"},"other":1}},
               "owners":{"C-1":["maya"]},"static":{"x":[1]}}"#,
        );
        assert_eq!((mapped.unmapped.count, mapped.wrong.count), (0, 0), "{mapped:?}");
        assert_eq!(mapped.people[&HumanId::new("lee").unwrap()], Standing::Suspended);
        let maya = HumanId::new("maya").unwrap();
        assert_eq!(mapped.assignments[&maya].roles.len(), 2);
        assert!(matches!(mapped.assignments[&maya].until, Until::At(_)));
        let texts: Vec<String> = mapped.tuples.iter().map(placet_facts::tuple_text).collect();
        assert_eq!(
            texts,
            ["case:C-1#owner@human:maya", "team:a#member@human:maya", "team:b#member@human:maya"]
        );
        let case = mapped.resources.values().next().unwrap();
        assert_eq!(case.len(), 2);
    }

    #[test]
    fn what_isnt_mapped_is_told_and_what_is_wrong_grants_nothing() {
        let mapped = facts(
            r#"{"users":{"ma ya":{"active":true,"roles":["x"]},"lee":{"active":"maybe","roles":["support"]}},"groups":{"g":1},"cases":7,"owners":{"C-1":[{"a":1}]}}"#,
        );
        assert_eq!(mapped.unmapped.some, ["/groups", "/cases"]);
        assert_eq!(mapped.people[&HumanId::new("lee").unwrap()], Standing::Suspended);
        assert!(mapped.tuples.is_empty() && mapped.resources.is_empty());
        assert!(mapped.wrong.count >= 3, "{:?}", mapped.wrong);
        assert!(mapped.wrong.some.iter().any(|text| text.starts_with("/owners/C-1/0: ")));
    }

    #[test]
    fn a_file_that_says_nothing_or_nonsense_is_refused() {
        for (file, says) in [
            ("", "[[map]]"),
            ("[[map]]\npath = \"/a\"\n", "gives no facts"),
            ("[[map]]\npath = \"a\"\ntuples = [\"a:b#c@d:e\"]\n", "begin with `/`"),
            ("[[map]]\npath = \"/a\"\ntuples = [\"a:{id}#c@d:e\"]\n", "is no part of the path"),
            ("[[map]]\npath = \"/a\"\nresource = { type = \"a b\", id = \"x\" }\n", "type"),
            ("[[map]]\npath = \"/a\"\nbogus = 1\n", "bogus"),
        ] {
            let error = Mapping::parse(file).unwrap_err().to_string();
            assert!(error.contains(says), "{file}: {error}");
        }
    }
}
