//! What facts say, now or at a revision, in the facts' own JSON forms.

use std::sync::Arc;

use axum::{
    extract::{Path, RawQuery, State},
    response::Response,
};
use http::StatusCode;
use placet_core::{DelegationState, Revision, TenantId, Timestamp, WorkflowState};
use placet_facts::{Change, TenantFacts, World, tuple_text};
use placet_json::{Object, Value, object};

use super::{
    Admin, Caller,
    body::named,
    door::Principal,
    error::{ApiError, json},
    rights,
};

type Answer = Result<Response, ApiError>;
type Shared = State<Arc<Admin>>;

/// The longest page of a history.
const PAGE: usize = 1000;

/// `GET /v1/status`
pub(super) async fn status(State(admin): Shared, Caller(_): Caller) -> Answer {
    let world = admin.books.live().world();
    let (release, name) = match admin.books.in_force() {
        Some(release) => (Value::from(release.digest.to_string()), Value::from(release.name)),
        None => (Value::Null, Value::Null),
    };
    let ready = admin.books.ready();
    let answer = object! {
        "version" => env!("CARGO_PKG_VERSION"), "environment" => admin.environment, "gateway" => admin.public_url.as_str(),
        "time" => admin.books.now().to_string(), "uptime_s" => admin.started.elapsed().as_secs(), "ready" => ready.is_ok(),
        "why" => ready.err().map_or(Value::Null, Value::from), "release" => release, "release_name" => name, "revision" => world.revision().0,
    };
    Ok(json(StatusCode::OK, &answer.into()))
}

/// `GET /v1/tenants`: to a person, those where they have a live assignment.
pub(super) async fn tenants(State(admin): Shared, Caller(by): Caller) -> Answer {
    let (world, now) = (admin.books.live().world(), admin.books.now());
    let tenants =
        world.tenants().map(|facts| facts.id()).filter(|id| rights::inside(&by, &world, id, now).is_ok());
    let tenants = tenants.map(|id| Value::from(object! { "id" => id.as_str() }));
    Ok(list("tenants", tenants))
}

/// `GET /v1/humans`
pub(super) async fn humans(State(admin): Shared, Caller(by): Caller) -> Answer {
    rights::operator(&by)?;
    let world = admin.books.live().world();
    Ok(list("humans", world.organisation().humans().map(|human| form(&Change::HumanSet(human.clone())))))
}

/// `GET /v1/agents`: to a person, their own.
pub(super) async fn agents(State(admin): Shared, Caller(by): Caller) -> Answer {
    let world = admin.books.live().world();
    let agents = world.organisation().agents().filter(|agent| match &by {
        Principal::Operator => true,
        Principal::Human(id) => agent.owner == *id,
    });
    Ok(list("agents", agents.map(|agent| form(&Change::AgentSet(agent.clone())))))
}

/// `GET /v1/freezes`
pub(super) async fn freezes(State(admin): Shared, Caller(by): Caller) -> Answer {
    rights::operator(&by)?;
    let world = admin.books.live().world();
    Ok(list("freezes", world.organisation().frozen().map(|what| form(&Change::Frozen(what.clone())))))
}

/// `GET /v1/tenants/{tenant}/assignments`
pub(super) async fn assignments(
    State(admin): Shared,
    Caller(by): Caller,
    Path(tenant): Path<String>,
) -> Answer {
    in_tenant(&admin, &by, &tenant, |facts| list("assignments", assignments_of(facts)))
}

/// `GET /v1/tenants/{tenant}/workflows`
pub(super) async fn workflows(
    State(admin): Shared,
    Caller(by): Caller,
    Path(tenant): Path<String>,
) -> Answer {
    let now = admin.books.now();
    in_tenant(&admin, &by, &tenant, |facts| list("workflows", workflows_of(facts, Some(now))))
}

/// `GET /v1/tenants/{tenant}/delegations`
pub(super) async fn delegations(
    State(admin): Shared,
    Caller(by): Caller,
    Path(tenant): Path<String>,
) -> Answer {
    in_tenant(&admin, &by, &tenant, |facts| list("delegations", delegations_of(facts)))
}

/// `GET /v1/tenants/{tenant}/approvals`
pub(super) async fn approvals(
    State(admin): Shared,
    Caller(by): Caller,
    Path(tenant): Path<String>,
) -> Answer {
    in_tenant(&admin, &by, &tenant, |facts| list("approvals", approvals_of(facts)))
}

/// `GET /v1/facts?tenant=&at=`: the organisation's facts, or one tenant's; as of now, a revision or a moment.
pub(super) async fn facts(State(admin): Shared, Caller(by): Caller, RawQuery(query): RawQuery) -> Answer {
    let mut query = Query::parse(query.as_deref())?;
    let (tenant, at) = (query.take("tenant"), query.take("at"));
    query.finish()?;
    let now = admin.books.live().world();
    let tenant = tenant.map(|tenant| named(&tenant, "tenant")).transpose()?.map(TenantId::from);
    match &tenant {
        // Rights are today's, whatever moment is read.
        Some(tenant) => drop(rights::inside(&by, &now, tenant, admin.books.now())?),
        None => rights::operator(&by)?,
    }
    let world = match at {
        None => now,
        Some(at) => {
            let at = position(&admin, &at).await?;
            let books = Arc::clone(&admin.books);
            let world = tokio::task::spawn_blocking(move || books.as_of(at))
                .await
                .map_err(|_| ApiError::down("the facts could not be read"))?;
            Arc::new(world.map_err(ApiError::down)?)
        }
    };
    let document = match &tenant {
        None => organisation(&world),
        Some(tenant) => world
            .tenant(tenant)
            .map(|facts| of_tenant(facts))
            .ok_or_else(|| ApiError::missing(format_args!("tenant `{tenant}` at that moment")))?,
    };
    Ok(json(StatusCode::OK, &document.into()))
}

/// `GET /v1/facts/history?tenant=&below=&limit=`: transactions, the newest first.
pub(super) async fn history(State(admin): Shared, Caller(by): Caller, RawQuery(query): RawQuery) -> Answer {
    let mut query = Query::parse(query.as_deref())?;
    let tenant = query.take("tenant").map(|tenant| named(&tenant, "tenant")).transpose()?.map(TenantId::from);
    let (below, limit) = (query.number("below")?, query.number("limit")?);
    query.finish()?;
    match &tenant {
        Some(tenant) => drop(rights::inside(&by, &admin.books.live().world(), tenant, admin.books.now())?),
        None => rights::operator(&by)?,
    }
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(50).min(PAGE);
    let books = Arc::clone(&admin.books);
    let entries = tokio::task::spawn_blocking(move || books.history(tenant.as_ref(), below, limit)).await;
    let entries =
        entries.map_err(|_| ApiError::down("the history could not be read"))?.map_err(ApiError::down)?;
    let entries = entries.into_iter().map(|(revision, time_ms, transaction)| {
        let time = Timestamp::from_millis(time_ms).to_string();
        Value::from(object! { "revision" => revision, "time" => time, "transaction" => transaction })
    });
    Ok(list("history", entries))
}

/// A revision, or the last one before a moment.
async fn position(admin: &Arc<Admin>, at: &str) -> Result<Revision, ApiError> {
    if let Ok(revision) = at.parse::<u64>() {
        return Ok(Revision(revision));
    }
    let moment = Timestamp::parse(at).map_err(|error| {
        ApiError::malformed(
            format!("`at`: {error}"),
            "give a revision, or a moment as in `2026-03-01T09:30:00Z`",
        )
    })?;
    let books = Arc::clone(&admin.books);
    let found = tokio::task::spawn_blocking(move || books.revision_at(moment)).await;
    found.map_err(|_| ApiError::down("the history could not be read"))?.map_err(ApiError::down)
}

/// The organisation's facts as a facts file.
fn organisation(world: &World) -> Object {
    let facts = world.organisation();
    object! {
        "revision" => facts.revision().0,
        "tenants" => array(world.tenants().map(|tenant| tenant.id().as_str().into())),
        "humans" => array(facts.humans().map(|human| form(&Change::HumanSet(human.clone())))),
        "agents" => array(facts.agents().map(|agent| form(&Change::AgentSet(agent.clone())))),
        "frozen" => array(facts.frozen().map(|what| form(&Change::Frozen(what.clone())).get("what").cloned().unwrap_or(Value::Null))),
    }
}

/// One tenant's facts as a facts file.
fn of_tenant(facts: &TenantFacts) -> Object {
    object! {
        "tenant" => facts.id().as_str(),
        "revision" => facts.revision().0,
        "assignments" => array(assignments_of(facts)),
        "workflows" => array(workflows_of(facts, None)),
        "delegations" => array(delegations_of(facts)),
        "approvals" => array(approvals_of(facts)),
        "resources" => array(facts.resources().map(|resource| form(&Change::ResourceSet(resource.clone())))),
        "tuples" => array(facts.tuples().map(|tuple| tuple_text(&tuple).into())),
    }
}

fn assignments_of(facts: &TenantFacts) -> impl Iterator<Item = Value> + '_ {
    facts.assignments().map(|assignment| form(&Change::AssignmentSet(assignment.clone())))
}

/// With `now`, a workflow whose time is over is `expired`.
fn workflows_of(facts: &TenantFacts, now: Option<Timestamp>) -> impl Iterator<Item = Value> + '_ {
    facts.workflows().map(move |workflow| {
        let state = match workflow.state {
            WorkflowState::Closed => "closed",
            WorkflowState::Open if now.is_some_and(|now| workflow.ends <= now) => "expired",
            WorkflowState::Open => "open",
        };
        with(form(&Change::WorkflowOpened(workflow.clone())), "state", state)
    })
}

fn delegations_of(facts: &TenantFacts) -> impl Iterator<Item = Value> + '_ {
    facts.delegations().map(|delegation| {
        let state = match delegation.state {
            DelegationState::Live => "live",
            DelegationState::Revoked => "revoked",
        };
        with(form(&Change::DelegationGranted(delegation.clone())), "state", state)
    })
}

fn approvals_of(facts: &TenantFacts) -> impl Iterator<Item = Value> + '_ {
    facts.approvals().map(|approval| {
        let spent = facts.spent_at(&approval.id).map_or(Value::Null, Value::from);
        with(form(&Change::ApprovalGiven(approval.clone())), "spent_at", spent)
    })
}

/// A noun's JSON form: what stands behind its change's name.
fn form(change: &Change) -> Value {
    change.to_value().get(change.kind()).cloned().unwrap_or(Value::Null)
}

fn with(mut value: Value, name: &str, member: impl Into<Value>) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.insert(name, member);
    }
    value
}

fn array(values: impl Iterator<Item = Value>) -> Value {
    Value::Array(values.collect())
}

fn list(name: &str, values: impl Iterator<Item = Value>) -> Response {
    json(StatusCode::OK, &object! { name => array(values) }.into())
}

fn in_tenant(
    admin: &Admin,
    by: &Principal,
    tenant: &str,
    answer: impl FnOnce(&TenantFacts) -> Response,
) -> Answer {
    let world = admin.books.live().world();
    let facts = rights::inside(by, &world, &named(tenant, "tenant")?.into(), admin.books.now())?;
    Ok(answer(facts))
}

/// The parameters of a query, each once.
struct Query(std::collections::BTreeMap<String, String>);

impl Query {
    fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let mut parameters = std::collections::BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if parameters.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                return Err(ApiError::malformed(
                    format!("`{name}` stands twice in the query"),
                    "give it once",
                ));
            }
        }
        Ok(Self(parameters))
    }
    fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }
    fn number(&mut self, name: &str) -> Result<Option<u64>, ApiError> {
        self.take(name)
            .map(|text| {
                text.parse().map_err(|_| ApiError::malformed(format!("`{name}` is no whole number"), ""))
            })
            .transpose()
    }
    fn finish(self) -> Result<(), ApiError> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(ApiError::malformed(
                format!("the query's `{name}` is not known here"),
                "see `/v1/openapi.json`",
            )),
        }
    }
}
