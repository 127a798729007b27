//! The nouns' JSON forms. Inside a tenant's transaction an id is written without its tenant: no text can name another
//! tenant's.

use std::collections::{BTreeMap, BTreeSet};

use placet_core::{
    Agent, AgentId, Approval, ApprovalId, Assignment, Decimal, Delegation, DelegationId, DelegationState,
    Digest, Freeze, Grantor, Human, HumanId, Known, Name, Resource, ResourceRef, Retention, Scope, Standing,
    TenantId, Timestamp, Until, Workflow, WorkflowId, WorkflowState,
};
use placet_json::{Object, Value, object};

use crate::{
    ChangeError,
    read::{Fields, attribute, elements, members, name_of, named, text},
};

/// Members of a resource's document that are set by the reader, never by a fact.
const RESOURCE_RESERVED: &[&str] = &["type", "id", "tenant_id", "relations"];
/// Members of `input.workflow` that are set by the reader, never by a fact.
const WORKFLOW_RESERVED: &[&str] =
    &["id", "type", "state", "tenant_id", "expires_at", "owner", "intents", "totals"];

pub(crate) fn names_value(names: &BTreeSet<Name>) -> Value {
    Value::Array(names.iter().map(|name| Value::from(name.as_str())).collect())
}
fn attributes_value(attributes: &BTreeMap<Name, Value>) -> Value {
    Value::Object(attributes.iter().map(|(name, value)| (name.as_str().to_owned(), value.clone())).collect())
}
fn attributes(value: &Value, path: &str, reserved: &[&str]) -> Result<BTreeMap<Name, Value>, ChangeError> {
    let attributes = named(value, path, attribute)?;
    match reserved.iter().find(|name| attributes.contains_key(**name)) {
        Some(name) => Err(ChangeError::malformed(
            &format!("{path}/{name}"),
            "is set by Placet itself",
            "choose another name",
        )),
        None => Ok(attributes),
    }
}

pub(crate) fn standing(text: &str) -> Result<Standing, &'static str> {
    match text {
        "active" => Ok(Standing::Active),
        "suspended" => Ok(Standing::Suspended),
        "deactivated" => Ok(Standing::Deactivated),
        _ => Err("is none of `active`, `suspended`, `deactivated`"),
    }
}

pub(crate) fn thumbprint(text: &str) -> Result<String, &'static str> {
    let base64url = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if text.len() == 43 && text.bytes().all(base64url) {
        Ok(text.to_owned())
    } else {
        Err("is not an RFC 7638 SHA-256 thumbprint (43 characters of base64url)")
    }
}

/// A public key as a JWK (RFC 7517). Whether it is one of a kind that we accept is checked where it is used; what
/// must never become a fact is the private half.
pub(crate) fn public_key(value: &Value, path: &str) -> Result<Value, ChangeError> {
    let key = members(value, path)?;
    if key.get("kty").and_then(Value::as_str).is_none() {
        return Err(ChangeError::malformed(
            path,
            "is not a JWK: `kty` is missing",
            "give the public key as a JWK",
        ));
    }
    match ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().find(|name| key.contains_key(name)) {
        Some(name) => Err(ChangeError::malformed(
            path,
            format!("holds the private member `{name}`"),
            "give the public key only, and replace this one",
        )),
        None => Ok(value.clone()),
    }
}

pub(crate) fn human(value: &Value, path: &str) -> Result<Human, ChangeError> {
    let mut fields = Fields::open(value, path)?;
    let human = Human {
        id: fields.parsed("id", HumanId::new)?,
        standing: fields.parsed("standing", standing)?,
        home: fields.parsed("home", TenantId::new)?,
        keys: match fields.optional("keys") {
            None => BTreeSet::new(),
            Some(keys) => {
                let path = fields.at("keys");
                elements(keys, &path)?
                    .iter()
                    .enumerate()
                    .map(|(i, key)| {
                        let path = format!("{path}/{i}");
                        thumbprint(text(key, &path)?)
                            .map_err(|message| ChangeError::malformed(&path, message, ""))
                    })
                    .collect::<Result<_, _>>()?
            }
        },
    };
    fields.unexpected()?;
    Ok(human)
}
pub(crate) fn human_value(human: &Human) -> Value {
    let Human { id, standing, home, keys } = human;
    Value::Object(object! {
        "id" => id.as_str(), "standing" => standing.as_str(), "home" => home.as_str(),
        "keys" => Value::Array(keys.iter().map(Value::from).collect()),
    })
}

pub(crate) fn agent(value: &Value, path: &str) -> Result<Agent, ChangeError> {
    let mut fields = Fields::open(value, path)?;
    let agent = Agent {
        id: fields.parsed("id", AgentId::new)?,
        kind: fields.name("type")?,
        owner: fields.parsed("owner", HumanId::new)?,
        standing: fields.parsed("standing", standing)?,
        keys: match fields.optional("keys") {
            None => BTreeMap::new(),
            Some(keys) => {
                let path = fields.at("keys");
                members(keys, &path)?
                    .iter()
                    .map(|(print, key)| {
                        let path = format!("{path}/{print}");
                        let print = thumbprint(print)
                            .map_err(|message| ChangeError::malformed(&path, message, ""))?;
                        Ok((print, public_key(key, &path)?))
                    })
                    .collect::<Result<_, _>>()?
            }
        },
    };
    fields.unexpected()?;
    Ok(agent)
}
pub(crate) fn agent_value(agent: &Agent) -> Value {
    let Agent { id, kind, owner, standing, keys } = agent;
    Value::Object(object! {
        "id" => id.as_str(), "type" => kind.as_str(), "owner" => owner.as_str(), "standing" => standing.as_str(),
        "keys" => keys.iter().map(|(print, key)| (print.clone(), key.clone())).collect::<Object>(),
    })
}

pub(crate) fn assignment(value: &Value, path: &str) -> Result<Assignment, ChangeError> {
    let mut fields = Fields::open(value, path)?;
    let assignment = Assignment {
        human: fields.parsed("human", HumanId::new)?,
        roles: fields.names("roles")?,
        until: fields.parsed("until", until)?,
    };
    fields.unexpected()?;
    Ok(assignment)
}
fn until(text: &str) -> Result<Until, String> {
    match text {
        "ended" => Ok(Until::Ended),
        moment => Timestamp::parse(moment)
            .map(Until::At)
            .map_err(|error| format!("{error}, nor `ended` for until somebody ends it")),
    }
}
pub(crate) fn assignment_value(assignment: &Assignment) -> Value {
    let Assignment { human, roles, until } = assignment;
    let until = match until {
        Until::Ended => "ended".to_owned(),
        Until::At(moment) => moment.to_string(),
    };
    Value::Object(object! { "human" => human.as_str(), "roles" => names_value(roles), "until" => until })
}

/// With `state` only where a file describes workflows that are over.
pub(crate) fn workflow(
    value: &Value,
    path: &str,
    tenant: &TenantId,
    stated: bool,
) -> Result<Workflow, ChangeError> {
    let mut fields = Fields::open(value, path)?;
    let state = match if stated { fields.optional("state") } else { None } {
        None => WorkflowState::Open,
        Some(state) => match state.as_str() {
            Some("open") => WorkflowState::Open,
            Some("closed") => WorkflowState::Closed,
            _ => {
                return Err(ChangeError::malformed(
                    &fields.at("state"),
                    "is neither `open` nor `closed`",
                    "",
                ));
            }
        },
    };
    let workflow = Workflow {
        id: WorkflowId::new(tenant.clone(), fields.name("id")?),
        kind: fields.name("type")?,
        state,
        stage: if fields.optional("stage").is_some() { Some(fields.name("stage")?) } else { None },
        opened: if fields.optional("opened").is_some() { Some(fields.moment("opened")?) } else { None },
        owner: fields.parsed("owner", HumanId::new)?,
        intents: fields.names("intents")?,
        ends: fields.moment("ends")?,
        bindings: match fields.optional("bindings") {
            None => BTreeMap::new(),
            Some(bindings) => named(bindings, &fields.at("bindings"), name_of)?,
        },
        attributes: match fields.optional("attributes") {
            None => BTreeMap::new(),
            Some(value) => attributes(value, &fields.at("attributes"), WORKFLOW_RESERVED)?,
        },
    };
    fields.unexpected()?;
    Ok(workflow)
}
/// Without the state: a workflow is opened, then closed.
pub(crate) fn workflow_value(workflow: &Workflow) -> Value {
    let Workflow { id, kind, state: _, stage, opened, owner, intents, ends, bindings, attributes } = workflow;
    let mut value = object! {
        "id" => id.local().as_str(), "type" => kind.as_str(), "owner" => owner.as_str(),
        "intents" => names_value(intents), "ends" => ends.to_string(),
        "bindings" => bindings.iter().map(|(kind, id)| (kind.as_str().to_owned(), Value::from(id.as_str()))).collect::<Object>(),
        "attributes" => attributes_value(attributes),
    };
    if let Some(stage) = stage {
        value.insert("stage", stage.as_str());
    }
    if let Some(opened) = opened {
        value.insert("opened", opened.to_string());
    }
    Value::Object(value)
}

pub(crate) fn delegation(
    value: &Value,
    path: &str,
    tenant: &TenantId,
    stated: bool,
) -> Result<Delegation, ChangeError> {
    let mut fields = Fields::open(value, path)?;
    let state = match if stated { fields.optional("state") } else { None } {
        None => DelegationState::Live,
        Some(state) => match state.as_str() {
            Some("live") => DelegationState::Live,
            Some("revoked") => DelegationState::Revoked,
            _ => {
                return Err(ChangeError::malformed(
                    &fields.at("state"),
                    "is neither `live` nor `revoked`",
                    "",
                ));
            }
        },
    };
    let grantor = grantor(fields.required("grantor")?, &fields.at("grantor"), tenant)?;
    let delegation = Delegation {
        id: DelegationId::new(tenant.clone(), fields.name("id")?),
        human: fields.parsed("human", HumanId::new)?,
        agent: fields.parsed("agent", AgentId::new)?,
        workflow: WorkflowId::new(tenant.clone(), fields.name("workflow")?),
        grantor,
        scope: scope(fields.required("scope")?, &fields.at("scope"))?,
        state,
    };
    fields.unexpected()?;
    Ok(delegation)
}
fn grantor(value: &Value, path: &str, tenant: &TenantId) -> Result<Grantor, ChangeError> {
    if value.as_str() == Some("human") {
        return Ok(Grantor::Human);
    }
    let mut fields = Fields::open(value, path).map_err(|error| ChangeError {
        message: "is neither `\"human\"` nor `{\"parent\": ID}`".into(),
        remedy: "say who grants".into(),
        ..error
    })?;
    let id = fields.name("parent")?;
    fields.unexpected()?;
    Ok(Grantor::Parent(DelegationId::new(tenant.clone(), id)))
}
pub(crate) fn scope(value: &Value, path: &str) -> Result<Scope, ChangeError> {
    let mut fields = Fields::open(value, path)?;
    let depth = fields.required("depth")?.as_u64().and_then(|depth| u8::try_from(depth).ok());
    let scope = Scope {
        actions: fields.names("actions")?,
        intents: fields.names("intents")?,
        limits: named(fields.required("limits")?, &fields.at("limits"), limit)?,
        ends: fields.moment("ends")?,
        depth: depth.ok_or_else(|| {
            ChangeError::malformed(
                &fields.at("depth"),
                "is not a whole number from 0 to 255",
                "0 allows no further delegation",
            )
        })?,
    };
    fields.unexpected()?;
    Ok(scope)
}
fn limit(value: &Value, path: &str) -> Result<Decimal, ChangeError> {
    match value {
        Value::Number(number) => Decimal::from_number(number).map_err(|error| error.to_string()),
        Value::String(text) => Decimal::parse(text).map_err(|error| error.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Err("is not a number".to_owned())
        }
    }
    .map_err(|message| ChangeError::malformed(path, message, ""))
}
/// Without the state: a delegation is granted, then revoked.
pub(crate) fn delegation_value(delegation: &Delegation) -> Value {
    let Delegation { id, human, agent, workflow, grantor, scope, state: _ } = delegation;
    let grantor = match grantor {
        Grantor::Human => Value::from("human"),
        Grantor::Parent(id) => Value::Object(object! { "parent" => id.local().as_str() }),
    };
    Value::Object(object! {
        "id" => id.local().as_str(), "human" => human.as_str(), "agent" => agent.as_str(), "workflow" => workflow.local().as_str(),
        "grantor" => grantor, "scope" => scope_value(scope),
    })
}
pub(crate) fn scope_value(scope: &Scope) -> Value {
    let Scope { actions, intents, limits, ends, depth } = scope;
    Value::Object(object! {
        "actions" => names_value(actions), "intents" => names_value(intents),
        "limits" => limits.iter().map(|(name, max)| (name.as_str().to_owned(), max.to_value())).collect::<Object>(),
        "ends" => ends.to_string(), "depth" => u64::from(*depth),
    })
}

pub(crate) fn approval(value: &Value, path: &str, tenant: &TenantId) -> Result<Approval, ChangeError> {
    let mut fields = Fields::open(value, path)?;
    let approval = Approval {
        id: ApprovalId::new(tenant.clone(), fields.name("id")?),
        name: fields.name("name")?,
        workflow: WorkflowId::new(tenant.clone(), fields.name("workflow")?),
        approver: fields.parsed("approver", HumanId::new)?,
        role: fields.name("role")?,
        covers: fields.parsed("covers", |text| {
            Digest::parse(text).ok_or("is not `sha256:` and 64 lower-case hex digits")
        })?,
        ends: fields.moment("ends")?,
        follows: if fields.optional("follows").is_some() {
            Some(ApprovalId::new(tenant.clone(), fields.name("follows")?))
        } else {
            None
        },
    };
    fields.unexpected()?;
    Ok(approval)
}
pub(crate) fn approval_value(approval: &Approval) -> Value {
    let Approval { id, name, workflow, approver, role, covers, ends, follows } = approval;
    let mut value = object! {
        "id" => id.local().as_str(), "name" => name.as_str(), "workflow" => workflow.local().as_str(), "approver" => approver.as_str(),
        "role" => role.as_str(), "covers" => covers.to_string(), "ends" => ends.to_string(),
    };
    if let Some(follows) = follows {
        value.insert("follows", follows.local().as_str());
    }
    Value::Object(value)
}

pub(crate) fn resource(value: &Value, path: &str) -> Result<Resource, ChangeError> {
    let mut fields = Fields::open(value, path)?;
    let resource = Resource {
        at: ResourceRef { kind: fields.name("type")?, id: fields.name("id")? },
        attributes: match fields.optional("attributes") {
            None => BTreeMap::new(),
            Some(value) => attributes(value, &fields.at("attributes"), RESOURCE_RESERVED)?,
        },
        known: match fields.optional("observed") {
            None => Known::Told,
            Some(value) => observed(value, &fields.at("observed"))?,
        },
    };
    fields.unexpected()?;
    Ok(resource)
}
pub(crate) fn resource_value(resource: &Resource) -> Value {
    let Resource { at, attributes, known } = resource;
    let mut value = object! { "type" => at.kind.as_str(), "id" => at.id.as_str(), "attributes" => attributes_value(attributes) };
    if let Known::Observed { source, at, retention } = known {
        let mut observed = object! { "source" => source.as_str(), "at" => at.to_string() };
        if let Some(Retention { of_type, of_tenant, millis }) = retention {
            observed.insert(
                "keep",
                object! {
                    "of_type" => u64::from(*of_type), "of_tenant" => u64::from(*of_tenant), "ms" => *millis,
                },
            );
        }
        value.insert("observed", observed);
    }
    Value::Object(value)
}
fn observed(value: &Value, path: &str) -> Result<Known, ChangeError> {
    let mut fields = Fields::open(value, path)?;
    let (source, at) = (fields.name("source")?, fields.moment("at")?);
    let keep = fields.at("keep");
    let retention = fields.optional("keep").map(|value| retention(value, &keep)).transpose()?;
    fields.unexpected()?;
    Ok(Known::Observed { source, at, retention })
}
fn retention(value: &Value, path: &str) -> Result<Retention, ChangeError> {
    let mut fields = Fields::open(value, path)?;
    let mut number = |name: &'static str| {
        let at = fields.at(name);
        let number = fields.required(name)?.as_u64();
        number
            .filter(|number| *number > 0)
            .ok_or_else(|| ChangeError::malformed(&at, "is no whole number from 1", ""))
    };
    let (of_type, of_tenant, millis) = (number("of_type")?, number("of_tenant")?, number("ms")?);
    fields.unexpected()?;
    let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Ok(Retention { of_type: count(of_type), of_tenant: count(of_tenant), millis })
}
pub(crate) fn resource_ref(value: &Value, path: &str) -> Result<ResourceRef, ChangeError> {
    let mut fields = Fields::open(value, path)?;
    let at = ResourceRef { kind: fields.name("type")?, id: fields.name("id")? };
    fields.unexpected()?;
    Ok(at)
}
pub(crate) fn resource_ref_value(at: &ResourceRef) -> Value {
    Value::Object(object! { "type" => at.kind.as_str(), "id" => at.id.as_str() })
}

pub(crate) fn freeze(value: &Value, path: &str) -> Result<Freeze, ChangeError> {
    if value.as_str() == Some("all") {
        return Ok(Freeze::All);
    }
    let wrong = || {
        ChangeError::malformed(
            path,
            "is not what can be frozen",
            "write `\"all\"` or one of `tenant`, `agent`, `tool`, `upstream` with its name",
        )
    };
    let object = value.as_object().filter(|object| object.len() == 1).ok_or_else(wrong)?;
    let (kind, name) = object.iter().next().ok_or_else(wrong)?;
    let name = name_of(name, &format!("{path}/{kind}"));
    match kind {
        "tenant" => Ok(Freeze::Tenant(name?.into())),
        "agent" => Ok(Freeze::Agent(name?.into())),
        "tool" => Ok(Freeze::Tool(name?)),
        "upstream" => Ok(Freeze::Upstream(name?)),
        _ => Err(wrong()),
    }
}
pub(crate) fn freeze_value(freeze: &Freeze) -> Value {
    let (kind, name) = match freeze {
        Freeze::All => return Value::from("all"),
        Freeze::Tenant(id) => ("tenant", id.as_str()),
        Freeze::Agent(id) => ("agent", id.as_str()),
        Freeze::Tool(name) => ("tool", name.as_str()),
        Freeze::Upstream(name) => ("upstream", name.as_str()),
    };
    Value::Object(object! { kind => name })
}

/// The same demands on a noun that was made in memory instead of read: what is kept must have a form that reads back.
pub(crate) fn resource_is_plain(resource: &Resource) -> Result<(), ChangeError> {
    resource_at_is_plain(&resource.at)?;
    attributes(&attributes_value(&resource.attributes), "/attributes", RESOURCE_RESERVED).map(drop)
}
pub(crate) fn resource_at_is_plain(at: &ResourceRef) -> Result<(), ChangeError> {
    if at.kind.as_str().contains([':', '@']) {
        return Err(ChangeError::malformed("/type", "contains `:` or `@`", "name the type without these"));
    }
    Ok(())
}
pub(crate) fn workflow_is_plain(workflow: &Workflow) -> Result<(), ChangeError> {
    attributes(&attributes_value(&workflow.attributes), "/attributes", WORKFLOW_RESERVED).map(drop)
}
