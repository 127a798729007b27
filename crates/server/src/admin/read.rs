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
    about::About,
    body::named,
    door::Principal,
    error::{ApiError, json},
    rights, slice,
};
use crate::books::{Books, Whose};

type Answer = Result<Response, ApiError>;
type Shared = State<Arc<Admin>>;

/// The longest page of a history.
const PAGE: usize = 1000;
/// Transactions that one answer about somebody or something looks at.
const LOOK: usize = 20_000;

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

/// `GET /v1/facts?tenant=&at=&kind=&id=`: the organisation's facts, or one tenant's, or those of one kind; as of now, a
/// revision or a moment.
pub(super) async fn facts(State(admin): Shared, Caller(by): Caller, RawQuery(query): RawQuery) -> Answer {
    let mut query = Query::parse(query.as_deref())?;
    let (tenant, at) = (query.take("tenant"), query.take("at"));
    let (kind, id) = (query.take("kind"), query.take("id"));
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
    let facts = match &tenant {
        None => None,
        Some(tenant) => Some(
            world
                .tenant(tenant)
                .ok_or_else(|| ApiError::missing(format_args!("tenant `{tenant}` at that moment")))?,
        ),
    };
    let document = match (facts, kind) {
        (None, None) => organisation(&world),
        (Some(facts), None) => of_tenant(facts),
        (facts, Some(kind)) => slice::of_kind(&world, facts.map(AsRef::as_ref), &kind, id.as_deref())?,
    };
    Ok(json(StatusCode::OK, &document.into()))
}

/// `GET /v1/facts/history?tenant=&everywhere=&at=&below=&limit=&human=&…`: transactions, the newest first; of these, those
/// about somebody or something. `below` of the answer begins the next page.
pub(super) async fn history(State(admin): Shared, Caller(by): Caller, RawQuery(query): RawQuery) -> Answer {
    let mut query = Query::parse(query.as_deref())?;
    let tenant = query.take("tenant").map(|tenant| named(&tenant, "tenant")).transpose()?.map(TenantId::from);
    let everywhere = query.take("everywhere").is_some();
    let (at, below, limit) = (query.take("at"), query.number("below")?, query.number("limit")?);
    let about = About::take(&mut query)?;
    query.finish()?;
    let whose = match tenant {
        Some(tenant) => {
            rights::inside(&by, &admin.books.live().world(), &tenant, admin.books.now())?;
            Whose::Tenant(tenant)
        }
        None => {
            rights::operator(&by)?;
            if everywhere { Whose::Everybody } else { Whose::Organisation }
        }
    };
    let until = match at {
        Some(at) => Some(position(&admin, &at).await?.0.saturating_add(1)),
        None => None,
    };
    let below = match (below, until) {
        (Some(below), Some(until)) => Some(below.min(until)),
        (one, other) => one.or(other),
    };
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(50).clamp(1, PAGE);
    let books = Arc::clone(&admin.books);
    let found = tokio::task::spawn_blocking(move || search(&*books, &whose, below, limit, &about)).await;
    let (entries, next) =
        found.map_err(|_| ApiError::down("the history could not be read"))?.map_err(ApiError::down)?;
    let entries = array(entries.into_iter().map(entry));
    Ok(json(
        StatusCode::OK,
        &object! { "history" => entries, "below" => next.map_or(Value::Null, Value::from) }.into(),
    ))
}

type Entries = Vec<(u64, u64, Value)>;

/// Goes back until there are enough, or so many were looked at; and where to go on.
fn search(
    books: &dyn Books,
    whose: &Whose,
    mut below: Option<u64>,
    limit: usize,
    about: &About,
) -> Result<(Entries, Option<u64>), String> {
    let (mut found, mut looked) = (Vec::new(), 0_usize);
    let page = if about.is_everything() { limit } else { PAGE };
    loop {
        let entries = books.history(whose, below, page)?;
        let full = entries.len() >= page;
        for (at, time_ms, transaction) in entries {
            below = Some(at);
            looked = looked.saturating_add(1);
            if about.is_in(&transaction) {
                found.push((at, time_ms, transaction));
                if found.len() >= limit {
                    return Ok((found, below));
                }
            }
        }
        if !full {
            return Ok((found, None));
        }
        if looked >= LOOK {
            return Ok((found, below));
        }
    }
}

/// A transaction as the history and the change feed show it.
pub(super) fn entry((revision, time_ms, transaction): (u64, u64, Value)) -> Value {
    let time = Timestamp::from_millis(time_ms).to_string();
    object! { "revision" => revision, "time" => time, "transaction" => transaction }.into()
}

/// A revision, or the last one before a moment. What is still to come is refused.
async fn position(admin: &Arc<Admin>, at: &str) -> Result<Revision, ApiError> {
    if let Ok(revision) = at.parse::<u64>() {
        let last = admin.books.last();
        return if revision > last { Err(to_come(revision, last)) } else { Ok(Revision(revision)) };
    }
    let moment = Timestamp::parse(at).map_err(|error| {
        ApiError::malformed(
            format!("`at`: {error}"),
            "give a revision, or a moment as in `2026-03-01T09:30:00Z`",
        )
    })?;
    if moment > admin.books.now() {
        return Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "to_come",
            format!("`at`: {moment} is still to come"),
            "give a moment that has passed",
        ));
    }
    let books = Arc::clone(&admin.books);
    let found = tokio::task::spawn_blocking(move || books.revision_at(moment)).await;
    found.map_err(|_| ApiError::down("the history could not be read"))?.map_err(ApiError::down)
}

/// A revision that isn't there yet.
pub(super) fn to_come(revision: u64, last: u64) -> ApiError {
    ApiError::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "to_come",
        format!("revision {revision} is still to come; the last one is {last}"),
        format!("give a revision up to {last}"),
    )
}

/// The organisation's facts as a facts file.
fn organisation(world: &World) -> Object {
    let facts = world.organisation();
    let risks = facts.risks().map(|(of, risk)| Change::RiskSet { of: of.clone(), risk });
    let document = object! {
        "revision" => facts.revision().0,
        "tenants" => array(world.tenants().map(|tenant| tenant.id().as_str().into())),
        "humans" => array(facts.humans().map(|human| form(&Change::HumanSet(human.clone())))),
        "agents" => array(facts.agents().map(|agent| form(&Change::AgentSet(agent.clone())))),
        "frozen" => array(facts.frozen().map(|what| form(&Change::Frozen(what.clone())).get("what").cloned().unwrap_or(Value::Null))),
    };
    with_changes(document, risks)
}

/// What has no list of its own in a facts file stands there as changes.
fn with_changes(mut document: Object, changes: impl Iterator<Item = Change>) -> Object {
    let changes: Vec<Value> = changes.map(|change| change.to_value()).collect();
    if !changes.is_empty() {
        document.insert("changes", changes);
    }
    document
}

/// One tenant's facts as a facts file.
fn of_tenant(facts: &TenantFacts) -> Object {
    let document = object! {
        "tenant" => facts.id().as_str(),
        "revision" => facts.revision().0,
        "assignments" => array(assignments_of(facts)),
        "workflows" => array(workflows_of(facts, None)),
        "delegations" => array(delegations_of(facts)),
        "approvals" => array(approvals_of(facts)),
        "resources" => array(facts.resources().map(|resource| slice::resource(facts, resource))),
        "tuples" => array(facts.tuples().map(|tuple| tuple_text(&tuple).into())),
    };
    with_changes(document, facts.risks().map(|(of, risk)| Change::RiskSet { of, risk }))
}

pub(super) fn assignments_of(facts: &TenantFacts) -> impl Iterator<Item = Value> + '_ {
    facts.assignments().map(|assignment| form(&Change::AssignmentSet(assignment.clone())))
}

/// With `now`, a workflow whose time is over is `expired`.
pub(super) fn workflows_of(facts: &TenantFacts, now: Option<Timestamp>) -> impl Iterator<Item = Value> + '_ {
    facts.workflows().map(move |workflow| {
        let state = match workflow.state {
            WorkflowState::Closed => "closed",
            WorkflowState::Open if now.is_some_and(|now| workflow.ends <= now) => "expired",
            WorkflowState::Open => "open",
        };
        with(form(&Change::WorkflowOpened(workflow.clone())), "state", state)
    })
}

pub(super) fn delegations_of(facts: &TenantFacts) -> impl Iterator<Item = Value> + '_ {
    facts.delegations().map(|delegation| {
        let state = match delegation.state {
            DelegationState::Live => "live",
            DelegationState::Revoked => "revoked",
        };
        with(form(&Change::DelegationGranted(delegation.clone())), "state", state)
    })
}

pub(super) fn approvals_of(facts: &TenantFacts) -> impl Iterator<Item = Value> + '_ {
    facts.approvals().map(|approval| {
        let spent = facts.spent_at(&approval.id).map_or(Value::Null, Value::from);
        with(form(&Change::ApprovalGiven(approval.clone())), "spent_at", spent)
    })
}

/// A noun's JSON form: what stands behind its change's name.
pub(super) fn form(change: &Change) -> Value {
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

pub(super) fn in_tenant(
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
pub(super) struct Query(std::collections::BTreeMap<String, String>);

impl Query {
    pub(super) fn parse(query: Option<&str>) -> Result<Self, ApiError> {
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
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }
    pub(super) fn number(&mut self, name: &str) -> Result<Option<u64>, ApiError> {
        self.take(name)
            .map(|text| {
                text.parse().map_err(|_| ApiError::malformed(format!("`{name}` is no whole number"), ""))
            })
            .transpose()
    }
    pub(super) fn finish(self) -> Result<(), ApiError> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(ApiError::malformed(
                format!("the query's `{name}` is not known here"),
                "see `/v1/openapi.json`",
            )),
        }
    }
}
