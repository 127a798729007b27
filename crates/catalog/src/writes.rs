//! The relationships that a call adds once its effect happened: `writes = ["vendor:{args.id}#creator@{human}"]`.
//!
//! A template is a tuple in which an id may be one placeholder, and nothing is put together of parts: so what an agent
//! gives can become an id, and never a type, a relation or two tuples.

use std::{collections::BTreeMap, fmt};

use placet_core::{
    Allowed, Call, Code, Envelope, FactsView, Name, Reason, Reasons, ResourceRef, Subject, Tuple,
};
use placet_json::{Object, Value};

use crate::{Argument, Entry, Source, Type};

/// The most relationships that one call adds.
pub const MAX_WRITES: usize = 16;

/// A relationship that a call adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    text: String,
    object: (Name, Id),
    relation: Name,
    subject: Who,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Who {
    Object(Name, Id),
    Everyone(Name),
    Userset(Name, Id, Name),
}

/// Where an id comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Id {
    Literal(Name),
    Argument(String),
    Source(Source),
}

type Wrong = (String, &'static str);

impl Write {
    /// Parses a template; its arguments must be declared, and always there.
    pub(crate) fn parse(text: &str, arguments: &BTreeMap<String, Argument>) -> Result<Self, Wrong> {
        let form = || {
            let message = format!("`{text}` is no template of a relationship");
            (
                message,
                "write `type:{args.NAME}#relation@{human}`, `…@type:{args.NAME}` or `…@type:{args.NAME}#relation`",
            )
        };
        let (object, rest) = text.split_once('#').ok_or_else(form)?;
        let (relation, subject) = rest.split_once('@').ok_or_else(form)?;
        let object = reference(object, arguments)?.ok_or_else(form)?;
        let alone = |kind: &str, source| Ok(Who::Object(word(kind)?, Id::Source(source)));
        let subject = match (subject, subject.split_once('#')) {
            ("{human}", _) => alone("user", Source::Human),
            ("{agent}", _) => alone("agent", Source::Agent),
            ("{workflow}", _) => alone("workflow", Source::WorkflowId),
            (_, Some((group, of))) => {
                let (kind, id) = reference(group, arguments)?.ok_or_else(form)?;
                Ok(Who::Userset(kind, id, word(of)?))
            }
            (one, None) => match one.strip_suffix(":*") {
                Some(kind) => word(kind).map(Who::Everyone),
                None => {
                    let (kind, id) = reference(one, arguments)?.ok_or_else(form)?;
                    Ok(Who::Object(kind, id))
                }
            },
        }?;
        Ok(Self { text: text.to_owned(), object, relation: word(relation)?, subject })
    }

    /// The type of the object.
    #[must_use]
    pub fn kind(&self) -> &Name {
        &self.object.0
    }
    /// The relation.
    #[must_use]
    pub fn relation(&self) -> &Name {
        &self.relation
    }
    /// The sort of the subject, for the model to allow it.
    #[must_use]
    pub fn sort(&self) -> Allowed {
        match &self.subject {
            Who::Object(kind, _) => Allowed::Type(kind.clone()),
            Who::Everyone(kind) => Allowed::Everyone(kind.clone()),
            Who::Userset(kind, _, relation) => Allowed::Userset(kind.clone(), relation.clone()),
        }
    }

    fn resolve(&self, from: &Given<'_>) -> Result<Tuple, Reason> {
        let at = |(kind, id): (&Name, &Id)| {
            Ok::<_, Reason>(ResourceRef { kind: kind.clone(), id: from.id(id, &self.text)? })
        };
        Ok(Tuple {
            object: at((&self.object.0, &self.object.1))?,
            relation: self.relation.clone(),
            subject: match &self.subject {
                Who::Object(kind, id) => Subject::Object(at((kind, id))?),
                Who::Everyone(kind) => Subject::Everyone(kind.clone()),
                Who::Userset(kind, id, relation) => Subject::Userset(at((kind, id))?, relation.clone()),
            },
        })
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What placeholders are filled from.
struct Given<'a> {
    envelope: &'a Envelope,
    facts: &'a dyn FactsView,
    resource: Option<&'a ResourceRef>,
    arguments: &'a Object,
}

impl Given<'_> {
    fn id(&self, id: &Id, template: &str) -> Result<Name, Reason> {
        let (value, what) = match id {
            Id::Literal(name) => return Ok(name.clone()),
            Id::Argument(name) => {
                (self.arguments.get(name).cloned().unwrap_or(Value::Null), format!("the argument `{name}`"))
            }
            Id::Source(source) => {
                (source.resolve(self.envelope, self.facts, self.resource)?, format!("`{source}`"))
            }
        };
        value.as_str().and_then(|text| Name::new(text).ok()).ok_or_else(|| {
            let text = format!("{what} is no identifier");
            Reason::platform(
                Code::ArgumentInvalid,
                text.clone(),
                format!("{text}, and `{template}` needs one"),
            )
        })
    }
}

/// The relationships that a call of `entry` adds, with complete arguments.
pub(crate) fn resolved(
    entry: &Entry,
    envelope: &Envelope,
    facts: &dyn FactsView,
    resource: Option<&ResourceRef>,
    arguments: &Object,
) -> Result<Vec<Tuple>, Reasons> {
    let given = Given { envelope, facts, resource, arguments };
    Ok(entry.writes.iter().map(|write| write.resolve(&given)).collect::<Result<_, _>>()?)
}

/// Whether the relationships of a call are still those that its arguments and these facts give.
pub(crate) fn hold(
    entry: &Entry,
    envelope: &Envelope,
    call: &Call,
    facts: &dyn FactsView,
) -> Result<(), Reasons> {
    if entry.writes.is_empty() && call.writes.is_empty() {
        return Ok(());
    }
    let arguments = call.arguments.to_value().into_object().unwrap_or_default();
    let now = resolved(entry, envelope, facts, call.resources.first(), &arguments)?;
    if now == call.writes {
        return Ok(());
    }
    let operator = format!("the relationships that `{}` adds were others", call.entry);
    let public = "what the call leaves behind has changed; try again";
    Err(Reason::platform(Code::BindingChanged, public, operator).into())
}

/// `type:ID`; none if it isn't of that form.
fn reference(text: &str, arguments: &BTreeMap<String, Argument>) -> Result<Option<(Name, Id)>, Wrong> {
    let Some((kind, id)) = text.split_once(':') else { return Ok(None) };
    let kind = word(kind)?;
    let Some(inside) = id.strip_prefix('{').and_then(|id| id.strip_suffix('}')) else {
        let id = Name::new(id).map_err(|error| {
            (format!("`{text}`: {error}"), "an id is a placeholder as a whole, or a name")
        })?;
        return Ok(Some((kind, Id::Literal(id))));
    };
    let id = match inside {
        "human" => Id::Source(Source::Human),
        "agent" => Id::Source(Source::Agent),
        "workflow" => Id::Source(Source::WorkflowId),
        "resource.id" => Id::Source(Source::ResourceId),
        _ => match (inside.strip_prefix("args."), inside.strip_prefix("resource.")) {
            (Some(name), _) => Id::Argument(argument(name, arguments)?),
            (None, Some(attribute)) => Id::Source(Source::ResourceAttribute(word(attribute)?)),
            (None, None) => {
                return Err((
                    format!("`{{{inside}}}` is no placeholder"),
                    "use `{args.NAME}`, `{resource.id}`, `{resource.NAME}`, `{human}`, `{agent}` or `{workflow}`",
                ));
            }
        },
    };
    Ok(Some((kind, id)))
}

fn argument(name: &str, arguments: &BTreeMap<String, Argument>) -> Result<String, Wrong> {
    match arguments.get(name) {
        None => Err((format!("there is no argument `{name}`"), "declare it under `args`")),
        Some(Argument::Given { required: false, .. }) => Err((
            format!("the argument `{name}` may be missing, and with it the relationship"),
            "make it required",
        )),
        Some(
            Argument::Given { ty: Type::Id { .. } | Type::Text { .. } | Type::Enum { .. }, .. }
            | Argument::Bound(_),
        ) => Ok(name.to_owned()),
        Some(Argument::Given { ty, .. }) => {
            Err((format!("a {} can't name anything", ty.name()), "use an argument of type `id`"))
        }
    }
}

/// A type or a relation.
fn word(text: &str) -> Result<Name, Wrong> {
    let help = "types and relations are names without `:` and `@`";
    let name = Name::new(text).map_err(|error| (format!("`{text}`: {error}"), help))?;
    if name.as_str().contains([':', '@']) {
        return Err((format!("`{text}` names no type and no relation"), help));
    }
    Ok(name)
}
