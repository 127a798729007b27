//! Acts that are changes of facts. Bodies are the facts' own JSON forms, with defaults where only one value makes sense.

use std::{collections::BTreeSet, sync::Arc};

use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use placet_core::{DelegationId, Grantor, HumanId, Name, Revision, TenantId, WorkflowId};
use placet_facts::{Change, Place, Transaction, World, parse_file};
use placet_jose::{PublicKey, keys::random_id};
use placet_json::{Object, Value, object};

use super::{
    Admin, Caller,
    body::{Body, named},
    door::Principal,
    error::{ApiError, json},
    fits, rights,
};

type Answer = Result<Response, ApiError>;
type Shared = State<Arc<Admin>>;

/// `POST /v1/tenants {id}`
pub(super) async fn create_tenant(State(admin): Shared, Caller(by): Caller, body: Bytes) -> Answer {
    rights::operator(&by)?;
    let body = Body::parse(&body)?;
    // The ledger's own tree has this name; a tenant's tree has the tenant's.
    if body.get("id").and_then(Value::as_str) == Some(placet_gateway::ORGANISATION) {
        return Err(ApiError::conflict("this name is taken by the organisation itself", "choose another"));
    }
    simple(&admin, &by, Place::Organisation, "tenant_created", body).await
}

/// `POST /v1/humans {id, standing, home, keys}`
pub(super) async fn set_human(State(admin): Shared, Caller(by): Caller, body: Bytes) -> Answer {
    rights::operator(&by)?;
    let mut body = Body::parse(&body)?;
    body.default("standing", "active");
    simple(&admin, &by, Place::Organisation, "human_set", body).await
}

/// `POST /v1/humans/{human}/standing {standing}`
pub(super) async fn human_standing(
    State(admin): Shared,
    Caller(by): Caller,
    Path(human): Path<String>,
    body: Bytes,
) -> Answer {
    rights::operator(&by)?;
    let mut body = Body::parse(&body)?;
    body.default("human", human);
    simple(&admin, &by, Place::Organisation, "human_standing", body).await
}

/// `POST /v1/humans/{human}/keys {jwk}`: the key with which a person signs from now on, beside those they have.
pub(super) async fn register_key(
    State(admin): Shared,
    Caller(by): Caller,
    Path(human): Path<String>,
    body: Bytes,
) -> Answer {
    // A key gives all that its person may do: who registers it must be above them.
    rights::operator(&by)?;
    let mut body = Body::parse(&body)?;
    let (jwk, why) = (body.required("jwk")?, body.why()?);
    body.finish()?;
    let key = PublicKey::from_jwk(&jwk).map_err(|error| {
        ApiError::malformed(format!("`jwk`: {error}"), "send the public key, as `placet key show` prints it")
    })?;
    let id = HumanId::from(named(&human, "human")?);
    let world = admin.books.live().world();
    let mut person = world
        .organisation()
        .human(&id)
        .cloned()
        .ok_or_else(|| ApiError::missing(format_args!("person `{id}`")))?;
    let thumbprint = key.thumbprint().to_string();
    person.keys.insert(thumbprint.clone());
    let revision =
        commit(&admin, &by, Place::Organisation, vec![Change::HumanSet(person)], why, None).await?;
    Ok(json(
        StatusCode::CREATED,
        &object! { "human" => id.as_str(), "thumbprint" => thumbprint, "revision" => revision.0 }.into(),
    ))
}

/// `POST /v1/agents/{agent}/standing {standing}`: an owner may stop their agent, only an operator lets it go on.
pub(super) async fn agent_standing(
    State(admin): Shared,
    Caller(by): Caller,
    Path(agent): Path<String>,
    body: Bytes,
) -> Answer {
    let mut body = Body::parse(&body)?;
    let stops = body.get("standing").and_then(Value::as_str).is_some_and(|standing| standing != "active");
    if !stops || !owns(&admin, &by, &agent) {
        rights::operator(&by)?;
    }
    body.default("agent", agent);
    simple(&admin, &by, Place::Organisation, "agent_standing", body).await
}

/// `POST /v1/tenants/{tenant}/assignments {human, roles, until}`
pub(super) async fn assign(
    State(admin): Shared,
    Caller(by): Caller,
    Path(tenant): Path<String>,
    body: Bytes,
) -> Answer {
    rights::operator(&by)?;
    let mut body = Body::parse(&body)?;
    body.default("until", "ended");
    simple(&admin, &by, Place::Tenant(named(&tenant, "tenant")?.into()), "assignment_set", body).await
}

/// `POST /v1/tenants/{tenant}/workflows`
pub(super) async fn open_workflow(
    State(admin): Shared,
    Caller(by): Caller,
    Path(tenant): Path<String>,
    body: Bytes,
) -> Answer {
    let (tenant, world, now) =
        (TenantId::from(named(&tenant, "tenant")?), admin.books.live().world(), admin.books.now());
    rights::inside(&by, &world, &tenant, now)?;
    let mut body = Body::parse(&body)?;
    body.default("id", fresh("wf_")?);
    if let Principal::Human(id) = &by {
        body.default("owner", id.as_str());
    }
    let why = body.why()?;
    let place = Place::Tenant(tenant);
    let Change::WorkflowOpened(mut workflow) = change("workflow_opened", body.rest(), &place)? else {
        return Err(ApiError::down("a change changed its kind"));
    };
    rights::for_oneself(&by, &workflow.owner)?;
    if workflow.ends <= now {
        return Err(ApiError::malformed("`ends` has passed", "give a moment to come"));
    }
    fits::workflow(&admin, &mut workflow, now)?;
    let mut answer = object! { "id" => workflow.id.local().as_str() };
    if let Some(stage) = &workflow.stage {
        answer.insert("stage", stage.as_str());
    }
    let revision = commit(&admin, &by, place, vec![Change::WorkflowOpened(workflow)], why, None).await?;
    answer.insert("revision", revision.0);
    Ok(json(StatusCode::CREATED, &answer.into()))
}

/// `POST /v1/tenants/{tenant}/workflows/{workflow}/close`
pub(super) async fn close_workflow(
    State(admin): Shared,
    Caller(by): Caller,
    Path((tenant, workflow)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let (tenant, world) = (TenantId::from(named(&tenant, "tenant")?), admin.books.live().world());
    let facts = rights::inside(&by, &world, &tenant, admin.books.now())?;
    let id = WorkflowId::new(tenant.clone(), named(&workflow, "workflow")?);
    let known = facts
        .workflow(&id)
        .ok_or_else(|| ApiError::missing(format_args!("workflow `{id}` in `{tenant}`")))?;
    rights::for_oneself(&by, &known.owner)?;
    let mut body = Body::parse(&body)?;
    let why = body.why()?;
    body.finish()?;
    let revision =
        commit(&admin, &by, Place::Tenant(tenant), vec![Change::WorkflowClosed(id)], why, None).await?;
    Ok(done(revision))
}

/// `POST /v1/tenants/{tenant}/delegations`: by default all intents of the workflow, its end, no further delegation. A
/// delegation below another takes person and workflow from it.
pub(super) async fn delegate(
    State(admin): Shared,
    Caller(by): Caller,
    Path(tenant): Path<String>,
    body: Bytes,
) -> Answer {
    let (tenant, world) = (TenantId::from(named(&tenant, "tenant")?), admin.books.live().world());
    let facts = rights::inside(&by, &world, &tenant, admin.books.now())?;
    let mut body = Body::parse(&body)?;
    let why = body.why()?;
    body.default("id", fresh("dg_")?);
    body.default("grantor", "human");
    let parent = body
        .get("grantor")
        .and_then(|grantor| grantor.get("parent"))
        .and_then(Value::as_str)
        .map(|id| named(id, "grantor"));
    if let Some(parent) = parent {
        let id = DelegationId::new(tenant.clone(), parent?);
        let parent = facts
            .delegation(&id)
            .ok_or_else(|| ApiError::missing(format_args!("delegation `{id}` in `{tenant}`")))?;
        body.default("human", parent.human.as_str());
        body.default("workflow", parent.workflow.local().as_str());
    } else if let Principal::Human(id) = &by {
        body.default("human", id.as_str());
    }
    let workflow = body.get("workflow").and_then(Value::as_str).unwrap_or_default();
    let workflow = WorkflowId::new(tenant.clone(), named(workflow, "workflow")?);
    let known = facts
        .workflow(&workflow)
        .ok_or_else(|| ApiError::missing(format_args!("workflow `{workflow}` in `{tenant}`")))?;
    let scope = body.optional("scope").map(|scope| {
        scope
            .into_object()
            .ok_or_else(|| ApiError::malformed("`scope` is not an object", "send `{\"actions\": […]}`"))
    });
    let mut scope = scope.transpose()?.unwrap_or_default();
    let mut default = |name: &str, value: Value| {
        if !scope.contains_key(name) {
            scope.insert(name, value);
        }
    };
    default("intents", names(&known.intents));
    default("limits", Object::new().into());
    default("ends", known.ends.to_string().into());
    default("depth", 0_u64.into());
    body.default("scope", scope);
    let place = Place::Tenant(tenant);
    let change = change("delegation_granted", body.rest(), &place)?;
    let Change::DelegationGranted(delegation) = &change else {
        return Err(ApiError::down("a change changed its kind"));
    };
    rights::for_oneself(&by, &delegation.human)?;
    fits::delegation(&admin, delegation, known, &world)?;
    let answer = object! {
        "id" => delegation.id.local().as_str(), "human" => delegation.human.as_str(), "agent" => delegation.agent.as_str(),
        "workflow" => delegation.workflow.local().as_str(), "grantor" => match &delegation.grantor {
            Grantor::Human => "human".to_owned(),
            Grantor::Parent(parent) => parent.local().to_string(),
        },
    };
    let revision = commit(&admin, &by, place, vec![change], why, None).await?;
    let mut answer = answer;
    answer.insert("revision", revision.0);
    Ok(json(StatusCode::CREATED, &answer.into()))
}

/// `POST /v1/tenants/{tenant}/delegations/{delegation}/revoke`
pub(super) async fn revoke(
    State(admin): Shared,
    Caller(by): Caller,
    Path((tenant, delegation)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let (tenant, world) = (TenantId::from(named(&tenant, "tenant")?), admin.books.live().world());
    let facts = rights::inside(&by, &world, &tenant, admin.books.now())?;
    let id = DelegationId::new(tenant.clone(), named(&delegation, "delegation")?);
    let known = facts
        .delegation(&id)
        .ok_or_else(|| ApiError::missing(format_args!("delegation `{id}` in `{tenant}`")))?;
    rights::for_oneself(&by, &known.human)?;
    let mut body = Body::parse(&body)?;
    let why = body.why()?;
    body.finish()?;
    let revision =
        commit(&admin, &by, Place::Tenant(tenant), vec![Change::DelegationRevoked(id)], why, None).await?;
    Ok(done(revision))
}

/// `POST /v1/facts`: a transaction (`place`, `changes`) or a facts file. Whoever signed is the author, whatever it says.
pub(super) async fn apply(State(admin): Shared, Caller(by): Caller, body: Bytes) -> Answer {
    rights::operator(&by)?;
    let author = by.name()?;
    let mut body = Body::parse(&body)?;
    let transactions = if body.get("place").is_some() {
        body.default("author", author.as_str());
        body.default("source", "api");
        body.default("why", "");
        vec![Transaction::from_value(&body.rest().into())?]
    } else {
        let key =
            body.optional_text("idempotency_key")?.map(|key| named(&key, "idempotency_key")).transpose()?;
        let file = parse_file(&body.rest().into())?;
        file.into_iter().map(|it| Transaction { idempotency_key: key.clone(), ..it }).collect()
    };
    // Each part is applied whole or not at all; a file's organisation comes before its tenant, whose facts lean on it.
    let mut world: World = (*admin.books.live().world()).clone();
    let base = world.revision().0;
    for (i, transaction) in (1..).zip(&transactions) {
        // What was applied under its key already isn't applied again; the answer is the first one.
        let sent = Transaction { author: author.clone(), ..transaction.clone() };
        if admin.books.repeated(&sent)?.is_none() {
            world = world.apply(base.saturating_add(i), transaction)?;
            fits::transaction(&admin, transaction, &world, admin.books.now())?;
        }
    }
    let mut last = Revision(base);
    let mut changes = 0_u64;
    for transaction in transactions {
        changes = changes.saturating_add(u64::try_from(transaction.changes.len()).unwrap_or(u64::MAX));
        last = admin.books.transact(Transaction { author: author.clone(), ..transaction }).await?;
    }
    Ok(json(StatusCode::OK, &object! { "revision" => last.0, "changes" => changes }.into()))
}

/// One change whose body is the change's own.
async fn simple(admin: &Admin, by: &Principal, place: Place, kind: &str, mut body: Body) -> Answer {
    let why = body.why()?;
    let change = change(kind, body.rest(), &place)?;
    commit(admin, by, place, vec![change], why, None).await.map(done)
}

pub(super) fn change(kind: &str, body: Object, place: &Place) -> Result<Change, ApiError> {
    Ok(Change::from_value(&object! { kind => body }.into(), place)?)
}

/// Applies changes in the principal's name.
pub(super) async fn commit(
    admin: &Admin,
    by: &Principal,
    place: Place,
    changes: Vec<Change>,
    why: String,
    key: Option<Name>,
) -> Result<Revision, ApiError> {
    let source = named("api", "source")?;
    let transaction = Transaction { place, changes, author: by.name()?, source, why, idempotency_key: key };
    Ok(admin.books.transact(transaction).await?)
}

/// A fresh identifier with a readable prefix.
pub(super) fn fresh(prefix: &str) -> Result<String, ApiError> {
    let random = random_id().map_err(|_| ApiError::down("there is no randomness"))?;
    Ok(format!("{prefix}{}", random.replace('_', ".")))
}

fn owns(admin: &Admin, by: &Principal, agent: &str) -> bool {
    let Principal::Human(id) = by else { return false };
    let world = admin.books.live().world();
    named(agent, "agent")
        .is_ok_and(|agent| world.organisation().agent(&agent.into()).is_some_and(|agent| agent.owner == *id))
}

fn names(names: &BTreeSet<Name>) -> Value {
    Value::Array(names.iter().map(|name| Value::from(name.as_str())).collect())
}

pub(super) fn done(revision: Revision) -> Response {
    json(StatusCode::OK, &object! { "revision" => revision.0 }.into())
}
