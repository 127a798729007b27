//! From arguments as they came to a call as it is decided and sent.

use std::collections::BTreeSet;

use placet_core::{
    Attribute, Bound, Call, Code, Decimal, DecisionId, Digest, Envelope, FactsView, Name, Reason, Reasons,
    ResourceRef, Tuple,
};
use placet_json::{Object, Value};

use crate::{
    Argument, Entry, IdFrom, Source, Type,
    argument::{Misfit, shown},
    operation::{HttpRequest, Unfit},
    writes,
};

/// The protocol's method of every call that a catalog classifies.
const METHOD: &str = "tools/call";

/// The most reasons of one refusal.
pub const MAX_REASONS: usize = 16;

/// Arguments that make no call.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Why.
    pub reasons: Reasons,
    /// What it would have been, for the record.
    pub attempted: Attempted,
}

/// What is known of a call that wasn't one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempted {
    /// The tool's catalog name.
    pub entry: Name,
    /// The action.
    pub action: Name,
    /// The resources, where all of them could be read.
    pub resources: Vec<ResourceRef>,
}

/// Classifies a call of `entry`: checks each argument, fills what the gateway fills, names resources and attributes.
/// The call's arguments are canonical and complete; nothing else is ever sent.
pub fn classify(
    entry: &Entry,
    envelope: &Envelope,
    facts: &dyn FactsView,
    release: Digest,
    id: DecisionId,
    arguments: &Value,
) -> Result<Call, Box<Refused>> {
    let made = match Classified::of(entry, envelope, facts, arguments) {
        Ok(made) => made,
        Err(reasons) => {
            return Err(Box::new(Refused {
                reasons,
                attempted: attempted(entry, envelope, facts, arguments),
            }));
        }
    };
    Ok(Call {
        id,
        release,
        method: METHOD,
        upstream: entry.upstream.clone(),
        tool: entry.tool.clone(),
        entry: entry.name.clone(),
        action: entry.action.clone(),
        effect: entry.effect,
        resources: made.resources,
        attributes: made.attributes,
        bound: made.bound,
        arguments: made.arguments,
        labels: entry.labels.clone(),
        writes: made.writes,
        moves: Vec::new(),
        lookups: Vec::new(),
    })
}

/// What a call would be, before the facts of its resources are looked at: its arguments are checked, its resources and
/// attributes named, and nothing is filled in that comes from a resource. It is for asking what has to be known first;
/// what is decided is always a call of [`classify`].
pub fn preview(
    entry: &Entry,
    envelope: &Envelope,
    facts: &dyn FactsView,
    release: Digest,
    id: DecisionId,
    arguments: &Value,
) -> Result<Call, Reasons> {
    same_tenant(envelope, facts)?;
    let given = arguments.as_object().ok_or_else(|| invalid("the arguments must be an object".to_owned()))?;
    check_given(entry, given)?;
    let (mut complete, mut bound) = (given.clone(), Vec::new());
    fill(
        entry,
        |source| !source.needs_resource(),
        &mut complete,
        &mut bound,
        |source| source.resolve(envelope, facts, None),
    )?;
    let resources = resources(entry, envelope, facts, &complete)?;
    let attributes = attributes(entry, &complete)?;
    let arguments = Value::Object(complete)
        .canonical()
        .map_err(|error| invalid(format!("the arguments have no canonical form: {error}")))?;
    Ok(Call {
        id,
        release,
        method: METHOD,
        upstream: entry.upstream.clone(),
        tool: entry.tool.clone(),
        entry: entry.name.clone(),
        action: entry.action.clone(),
        effect: entry.effect,
        resources,
        attributes,
        bound,
        arguments,
        labels: entry.labels.clone(),
        writes: Vec::new(),
        moves: Vec::new(),
        lookups: Vec::new(),
    })
}

/// What the record keeps of a call that wasn't one: the resources as far as its arguments name them.
fn attempted(entry: &Entry, envelope: &Envelope, facts: &dyn FactsView, arguments: &Value) -> Attempted {
    let own = facts.tenant() == envelope.tenant();
    let named = arguments.as_object().filter(|_| own);
    Attempted {
        entry: entry.name.clone(),
        action: entry.action.clone(),
        resources: named.and_then(|named| resources(entry, envelope, facts, named).ok()).unwrap_or_default(),
    }
}

/// The request that a classified call is, where its tool is an operation of an HTTP API: made of the canonical arguments
/// and of nothing else, so what was decided is what is sent.
#[must_use]
pub fn http_request(entry: &Entry, call: &Call) -> Option<Result<HttpRequest, String>> {
    let http = entry.http()?;
    let arguments = call.arguments.to_value().into_object().unwrap_or_default();
    Some(
        http.request(&entry.arguments, &arguments)
            .map_err(|Unfit { argument, demand }| format!("the argument `{}` {demand}", shown(&argument))),
    )
}

/// Whether what the gateway filled is still what it would fill on these, newer facts, and whether the resources that
/// no argument names are still those.
pub fn holds(entry: &Entry, envelope: &Envelope, call: &Call, facts: &dyn FactsView) -> Result<(), Reasons> {
    let changed = |operator: String| {
        Reasons::from(Reason::platform(
            Code::BindingChanged,
            "what the gateway filled in has changed; try again",
            operator,
        ))
    };
    same_tenant(envelope, facts)?;
    if call.entry != entry.name
        || call.bound.len() != entry.hidden_arguments().len()
        || call.resources.len() != entry.resources.len()
    {
        return Err(changed(format!("the call was classified by another `{}`", call.entry)));
    }
    for (from, resource) in entry.resources.iter().zip(&call.resources) {
        if let IdFrom::Source(source) = &from.id {
            let now = source.resolve(envelope, facts, None)?;
            if now.as_str() != Some(resource.id.as_str()) {
                return Err(changed(format!("`{source}` was `{}` and is `{now}`", resource.id)));
            }
        }
    }
    for bound in &call.bound {
        let Some(Argument::Bound(source)) = entry.arguments.get(&bound.argument) else {
            return Err(changed(format!("`{}` isn't filled by the gateway", bound.argument)));
        };
        let now = source.resolve(envelope, facts, call.resources.first())?;
        if now != bound.value {
            return Err(changed(format!(
                "`{}` from `{source}` was `{}` and is `{now}`",
                bound.argument, bound.value
            )));
        }
    }
    writes::hold(entry, envelope, call, facts)
}

/// Whether the definition that an upstream offers now is one that was reviewed.
pub fn definition_accepted(entry: &Entry, definition: &Digest) -> Result<(), Reasons> {
    if entry.accepts(definition) {
        return Ok(());
    }
    let operator = format!(
        "the definition of `{}` is {definition}, and none of the {} reviewed ones",
        entry.name,
        entry.accepts.len()
    );
    Err(Reason::platform(Code::ToolChanged, "this tool has changed and waits for review", operator).into())
}

struct Classified {
    resources: Vec<ResourceRef>,
    attributes: Vec<(Name, Attribute)>,
    bound: Vec<Bound>,
    arguments: placet_json::Canonical,
    writes: Vec<Tuple>,
}

impl Classified {
    fn of(
        entry: &Entry,
        envelope: &Envelope,
        facts: &dyn FactsView,
        arguments: &Value,
    ) -> Result<Self, Reasons> {
        same_tenant(envelope, facts)?;
        let given =
            arguments.as_object().ok_or_else(|| invalid("the arguments must be an object".to_owned()))?;
        check_given(entry, given)?;

        let mut complete = given.clone();
        let mut bound = Vec::new();
        fill(
            entry,
            |source| !source.needs_resource(),
            &mut complete,
            &mut bound,
            |source| source.resolve(envelope, facts, None),
        )?;
        let resources = resources(entry, envelope, facts, &complete)?;
        fill(entry, Source::needs_resource, &mut complete, &mut bound, |source| {
            source.resolve(envelope, facts, resources.first())
        })?;

        let attributes = attributes(entry, &complete)?;
        if let Some(http) = entry.http() {
            http.request(&entry.arguments, &complete).map_err(|Unfit { argument, demand }| {
                invalid(format!("the argument `{}` {demand}", shown(&argument)))
            })?;
        }
        let writes = writes::resolved(entry, envelope, facts, resources.first(), &complete)?;
        let arguments = Value::Object(complete)
            .canonical()
            .map_err(|error| invalid(format!("the arguments have no canonical form: {error}")))?;
        Ok(Self { resources, attributes, bound, arguments, writes })
    }
}

/// The snapshot must be of the envelope's own tenant: with another's, every look-up would be another's too.
fn same_tenant(envelope: &Envelope, facts: &dyn FactsView) -> Result<(), Reasons> {
    if facts.tenant() == envelope.tenant() {
        return Ok(());
    }
    let operator =
        format!("the envelope is of tenant `{}`, the facts are of `{}`", envelope.tenant(), facts.tenant());
    Err(Reason::platform(Code::TenantMismatch, "denied", operator).into())
}

fn check_given(entry: &Entry, given: &Object) -> Result<(), Reasons> {
    let unknown_or_misfit = given.iter().filter_map(|(name, value)| match entry.arguments.get(name) {
        Some(Argument::Given { ty, .. }) => ty
            .fits(value)
            .err()
            .map(|Misfit { below, demand }| format!("the argument `{name}{below}` {demand}")),
        // An argument that the gateway fills doesn't exist for agents.
        Some(Argument::Bound(_)) | None => {
            Some(format!("the argument `{}` isn't known to this tool", shown(name)))
        }
    });
    let missing = entry.arguments.iter().filter_map(|(name, argument)| match argument {
        Argument::Given { required: true, .. } if !given.contains_key(name) => {
            Some(format!("the argument `{name}` is missing"))
        }
        Argument::Given { .. } | Argument::Bound(_) => None,
    });
    let mut reasons = unknown_or_misfit
        .chain(missing)
        .take(MAX_REASONS)
        .map(|text| Reason::platform(Code::ArgumentInvalid, text.clone(), text));
    match reasons.next() {
        Some(first) => Err(Reasons::new(first, reasons.collect())),
        None => Ok(()),
    }
}

fn fill(
    entry: &Entry,
    which: impl Fn(&Source) -> bool,
    complete: &mut Object,
    bound: &mut Vec<Bound>,
    resolve: impl Fn(&Source) -> Result<Value, Reason>,
) -> Result<(), Reasons> {
    for (name, argument) in &entry.arguments {
        let Argument::Bound(source) = argument else { continue };
        if !which(source) {
            continue;
        }
        let value = resolve(source)?;
        complete.insert(name.as_str(), value.clone());
        bound.push(Bound { argument: name.clone(), from: source.to_string(), value });
    }
    Ok(())
}

fn resources(
    entry: &Entry,
    envelope: &Envelope,
    facts: &dyn FactsView,
    complete: &Object,
) -> Result<Vec<ResourceRef>, Reasons> {
    entry
        .resources
        .iter()
        .map(|from| {
            let resolved;
            let id = match &from.id {
                IdFrom::Argument(name) => complete.get(name),
                IdFrom::Source(source) => {
                    resolved = source.resolve(envelope, facts, None)?;
                    Some(&resolved)
                }
            };
            let id = id.and_then(Value::as_str).and_then(|text| Name::new(text).ok());
            // Worded as if the resource didn't exist: nothing of another alphabet does.
            let id = id.ok_or_else(|| {
                Reason::platform(
                    Code::ResourceUnknown,
                    "there is no such resource",
                    format!("the id of a `{}` is not an identifier", from.kind),
                )
            })?;
            Ok(ResourceRef { kind: from.kind.clone(), id })
        })
        .collect()
}

fn attributes(entry: &Entry, complete: &Object) -> Result<Vec<(Name, Attribute)>, Reasons> {
    let mut attributes = Vec::new();
    for (name, argument) in &entry.arguments {
        let Argument::Given { ty, attribute: Some(attribute), .. } = argument else { continue };
        let Some(value) = complete.get(name) else { continue };
        attributes.push((
            attribute.clone(),
            attribute_of(ty, value)
                .ok_or_else(|| invalid(format!("the argument `{name}` can't be an attribute")))?,
        ));
    }
    Ok(attributes)
}

fn attribute_of(ty: &Type, value: &Value) -> Option<Attribute> {
    match ty {
        Type::Decimal { .. } | Type::Integer { .. } => {
            Decimal::from_number(value.as_number()?).ok().map(Attribute::Decimal)
        }
        Type::Id { .. } | Type::Text { .. } | Type::Enum { .. } => {
            value.as_str().map(|text| Attribute::Text(text.to_owned()))
        }
        Type::Boolean => value.as_bool().map(Attribute::Bool),
        Type::List { .. } | Type::Object { .. } => None,
    }
}

fn invalid(text: String) -> Reasons {
    Reason::platform(Code::ArgumentInvalid, text.clone(), text).into()
}

impl Refused {
    /// The codes of its reasons, each once.
    #[must_use]
    pub fn codes(&self) -> BTreeSet<&str> {
        self.reasons.all().iter().map(|reason| reason.code.as_str()).collect()
    }
}
