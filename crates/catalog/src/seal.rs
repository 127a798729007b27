//! What is sealed before it is recorded: personal and sensitive arguments, results, and attributes of resources.
//!
//! `personal = "customer:$args.customer_id"` names whose it is, so that erasing that subject erases it;
//! `sensitive = true` is nobody's in particular, and is erased with its workflow.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use placet_core::Name;
use placet_json::{Object, Value, object};

/// The kind of subjects that are people of the organisation, in every tenant the same.
pub const HUMAN: &str = "human";
/// The kind of subjects that are workflows.
pub const WORKFLOW: &str = "workflow";

/// Whose something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seal {
    /// `sensitive = true`: the workflow's.
    Sensitive,
    /// `personal = "KIND:SOURCE"`
    Personal(Subject),
}

/// `KIND:SOURCE`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// What kind of subject it is, for instance `customer`; `human` is a person of the organisation.
    pub kind: Name,
    /// Where its id stands.
    pub id: SubjectId,
}

/// Where a subject's id stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubjectId {
    /// `$human`: the delegating person.
    Human,
    /// `$args.NAME`
    Argument(String),
    /// `$resource.id`, of the call's first resource.
    ResourceId,
    /// `$resource.NAME`, of the call's first resource.
    ResourceAttribute(Name),
}

/// What a tool's entry marks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seals {
    /// Arguments.
    pub arguments: BTreeMap<String, Seal>,
    /// What is kept of the result.
    pub result: Option<Seal>,
}

/// `[personal.TYPE]`: which attributes of resources of a type are personal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonalType {
    /// The attributes.
    pub attributes: BTreeSet<Name>,
    /// Kind of the subject, and the attribute that has its id. None: the resource itself is the subject.
    pub subject: Option<(Name, Name)>,
}

impl Seals {
    /// Whether nothing is marked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.arguments.is_empty() && self.result.is_none()
    }
}

impl Subject {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` names no subject; write `KIND:$args.NAME`, `KIND:$resource.NAME`, `KIND:$resource.id` or `human:$human`"
            )
        };
        let (kind, source) = text.split_once(':').ok_or_else(wrong)?;
        let kind = self::kind(kind)?;
        let id = match source {
            "$human" => SubjectId::Human,
            "$resource.id" => SubjectId::ResourceId,
            _ => match (source.strip_prefix("$args."), source.strip_prefix("$resource.")) {
                (Some(name), _) if !name.is_empty() => SubjectId::Argument(name.to_owned()),
                (None, Some(name)) => {
                    SubjectId::ResourceAttribute(Name::new(name).map_err(|error| error.to_string())?)
                }
                _ => return Err(wrong()),
            },
        };
        if (id == SubjectId::Human) != (kind.as_str() == HUMAN) && id == SubjectId::Human {
            return Err(format!("`$human` is a person of the organisation: write `{HUMAN}:$human`"));
        }
        Ok(Self { kind, id })
    }
}

/// A kind is one word, so that `KIND:ID` has one reading.
pub(crate) fn kind(text: &str) -> Result<Name, String> {
    let kind = Name::new(text).map_err(|error| error.to_string())?;
    if text.contains([':', '/', '@', '|']) {
        return Err(format!("the kind `{text}` contains `:`, `/`, `@` or `|`"));
    }
    Ok(kind)
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = &self.kind;
        match &self.id {
            SubjectId::Human => write!(f, "{kind}:$human"),
            SubjectId::Argument(name) => write!(f, "{kind}:$args.{name}"),
            SubjectId::ResourceId => write!(f, "{kind}:$resource.id"),
            SubjectId::ResourceAttribute(name) => write!(f, "{kind}:$resource.{name}"),
        }
    }
}

impl Seal {
    pub(crate) fn write(&self, out: &mut Object) {
        match self {
            Self::Sensitive => out.insert("sensitive", true),
            Self::Personal(subject) => out.insert("personal", subject.to_string()),
        };
    }
}

impl PersonalType {
    pub(crate) fn to_value(&self) -> Value {
        let names = self.attributes.iter().map(|name| Value::from(name.as_str()));
        let mut out = object! { "attributes" => Value::Array(names.collect()) };
        if let Some((kind, attribute)) = &self.subject {
            out.insert("subject", format!("{kind}:${attribute}"));
        }
        Value::Object(out)
    }
}
