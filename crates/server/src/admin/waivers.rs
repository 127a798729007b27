//! Waivers: permissions to observe, and exceptions. One person asks, one who reviews policy confirms; both sign.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    extract::{Path, State},
    response::Response,
};
use bytes::Bytes;
use http::StatusCode;
use placet_core::{AgentId, EffectClass, HumanId, Name, TenantId, Timestamp, Waiver, WaiverKind};
use placet_facts::{Change, Place, waiver_value};
use placet_json::{Value, object};

use super::{
    Admin, Caller,
    acts::{commit, done, fresh},
    body::{Body, named},
    door::Principal,
    error::{ApiError, json},
};

type Answer = Result<Response, ApiError>;
type Shared = State<Arc<Admin>>;

/// `GET /v1/waivers`: all of them, with whether they hold now.
pub(super) async fn list(State(admin): Shared, Caller(_): Caller) -> Answer {
    let (world, now) = (admin.books.live().world(), admin.books.now());
    let waivers = world.organisation().waivers().map(|waiver| told(waiver, now));
    Ok(json(StatusCode::OK, &object! { "waivers" => Value::Array(waivers.collect()) }.into()))
}

fn told(waiver: &Waiver, now: Timestamp) -> Value {
    let state = match (&waiver.second, waiver.holds(now)) {
        (_, true) => "holds",
        (None, false) if now < waiver.ends => "waits",
        (Some(_) | None, false) => "over",
    };
    let mut value = waiver_value(waiver);
    if let Some(object) = value.as_object_mut() {
        object.insert("state", state);
    }
    value
}

/// `POST /v1/waivers {kind, agent, upstream, tool, effect, tenant, life_ms, why}`
pub(super) async fn ask(State(admin): Shared, Caller(by): Caller, body: Bytes) -> Answer {
    let human = person(&by)?;
    let mut body = Body::parse(&body)?;
    let kind = body.text("kind")?;
    let kind = WaiverKind::parse(&kind).ok_or_else(|| {
        ApiError::malformed("`kind` is no kind of waiver", "write `observe` or `exception`")
    })?;
    let effect = match body.text("effect")?.as_str() {
        "read" => EffectClass::Read,
        "write" => EffectClass::Write,
        "destructive" => EffectClass::Destructive,
        _ => {
            return Err(ApiError::malformed(
                "`effect` is no class of effects",
                "write `read`, `write` or `destructive`",
            ));
        }
    };
    let life = body.required("life_ms")?.as_u64();
    let life =
        life.ok_or_else(|| ApiError::malformed("`life_ms` is no whole number", "write milliseconds"))?;
    let (agent, upstream) = (AgentId::from(body.name("agent")?), body.name("upstream")?);
    let tool = body.optional_text("tool")?.map(|tool| named(&tool, "tool")).transpose()?;
    let tenant = body.optional_text("tenant")?.map(|tenant| named(&tenant, "tenant")).transpose()?;
    let reason = body.why()?;
    body.finish()?;
    let now = admin.books.now();
    let owns = |agent: &AgentId| {
        let world = admin.books.live().world();
        world.organisation().agent(agent).is_some_and(|agent| agent.owner == *human)
    };
    if !owns(&agent) && !reviewers(&admin).contains(human.name()) {
        return Err(ApiError::forbidden(
            "a waiver is asked for by the agent's owner, or by somebody who reviews policy",
            "ask the agent's owner",
        ));
    }
    if let Some(tool) = &tool {
        let release = admin.books.release();
        let entry = release.as_ref().and_then(|release| release.catalog().entry(tool.as_str()));
        let entry =
            entry.ok_or_else(|| ApiError::missing(format_args!("tool `{tool}` in the release in force")))?;
        if entry.effect() != effect || *entry.upstream() != upstream {
            let (effect, upstream) = (entry.effect().as_str(), entry.upstream());
            return Err(ApiError::conflict(
                format!("`{tool}` is of `{upstream}`, and its effect is {effect}"),
                "",
            ));
        }
    }
    let waiver = Waiver {
        id: named(&fresh("wv_")?, "id")?,
        kind,
        agent,
        upstream,
        tool,
        effect,
        tenant: tenant.map(TenantId::from),
        owner: human.clone(),
        second: None,
        since: now,
        ends: now.plus_millis(life),
        reason: reason.clone(),
    };
    waiver.check().map_err(|(what, why)| {
        let what = if what == "reason" { "why" } else { what };
        ApiError::malformed(format!("`{what}` {why}"), "")
    })?;
    let mut answer = told(&waiver, now);
    let revision =
        commit(&admin, &by, Place::Organisation, vec![Change::WaiverAsked(waiver)], reason, None).await?;
    if let Some(object) = answer.as_object_mut() {
        object.insert("revision", revision.0);
    }
    Ok(json(StatusCode::CREATED, &answer))
}

/// `POST /v1/waivers/{waiver}/confirm {why}`
pub(super) async fn confirm(
    State(admin): Shared,
    Caller(by): Caller,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer {
    let human = person(&by)?.clone();
    let id = named(&id, "waiver")?;
    let mut body = Body::parse(&body)?;
    let why = body.why()?;
    body.finish()?;
    known(&admin, &id)?;
    if !reviewers(&admin).contains(human.name()) {
        return Err(ApiError::forbidden(
            "a waiver is confirmed by somebody who reviews policy",
            "`[review] reviewers` of the release, or `release.reviewers` of the settings, names them",
        ));
    }
    let change = Change::WaiverConfirmed { id, by: human };
    commit(&admin, &by, Place::Organisation, vec![change], why, None).await.map(done)
}

/// `POST /v1/waivers/{waiver}/end {why}`: by its two people, by whoever reviews policy, by an operator.
pub(super) async fn end(
    State(admin): Shared,
    Caller(by): Caller,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer {
    let id = named(&id, "waiver")?;
    let mut body = Body::parse(&body)?;
    let why = body.why()?;
    body.finish()?;
    let waiver = known(&admin, &id)?;
    may_end(&admin, &by, &waiver)?;
    commit(&admin, &by, Place::Organisation, vec![Change::WaiverEnded(id)], why, None).await.map(done)
}

/// `POST /v1/agents/{agent}/enforce {effect, why}`: ends all permissions to observe the agent, or those of one effect.
pub(super) async fn enforce(
    State(admin): Shared,
    Caller(by): Caller,
    Path(agent): Path<String>,
    body: Bytes,
) -> Answer {
    let agent = AgentId::from(named(&agent, "agent")?);
    let mut body = Body::parse(&body)?;
    let (effect, why) = (body.optional_text("effect")?, body.why()?);
    body.finish()?;
    let world = admin.books.live().world();
    let of = |waiver: &&Waiver| {
        waiver.kind == WaiverKind::Observe
            && waiver.agent == agent
            && effect.as_ref().is_none_or(|effect| waiver.effect.as_str() == effect)
    };
    let ended: Vec<Waiver> = world.organisation().waivers().filter(of).cloned().collect();
    if ended.is_empty() {
        return Err(ApiError::missing(format_args!("permission to observe `{agent}`")));
    }
    ended.iter().try_for_each(|waiver| may_end(&admin, &by, waiver))?;
    let changes = ended.iter().map(|waiver| Change::WaiverEnded(waiver.id.clone())).collect();
    let revision = commit(&admin, &by, Place::Organisation, changes, why, None).await?;
    let ended = ended.iter().map(|waiver| Value::from(waiver.id.as_str()));
    let answer = object! { "agent" => agent.as_str(), "ended" => Value::Array(ended.collect()), "revision" => revision.0 };
    Ok(json(StatusCode::OK, &answer.into()))
}

fn known(admin: &Admin, id: &Name) -> Result<Waiver, ApiError> {
    let world = admin.books.live().world();
    let found = world.organisation().waivers().find(|waiver| waiver.id == *id).cloned();
    found.ok_or_else(|| ApiError::missing(format_args!("waiver `{id}`")))
}

fn may_end(admin: &Admin, by: &Principal, waiver: &Waiver) -> Result<(), ApiError> {
    let Principal::Human(human) = by else { return Ok(()) };
    let world = admin.books.live().world();
    let owner = world.organisation().agent(&waiver.agent).is_some_and(|agent| agent.owner == *human);
    if owner
        || waiver.owner == *human
        || waiver.second.as_ref() == Some(human)
        || reviewers(admin).contains(human.name())
    {
        return Ok(());
    }
    Err(ApiError::forbidden("this person may not end it", "ask its owner, or an operator"))
}

fn person(by: &Principal) -> Result<&HumanId, ApiError> {
    match by {
        Principal::Human(human) => Ok(human),
        Principal::Operator => Err(ApiError::forbidden(
            "a waiver takes two people, and an operator's key is nobody's",
            "act as a person: `--as HUMAN --key THEIR-KEY`",
        )),
    }
}

/// Who reviews policy: as the release in force says, else the settings.
fn reviewers(admin: &Admin) -> BTreeSet<Name> {
    let of_release = admin.books.release().and_then(|release| release.reviewers().cloned());
    of_release
        .or_else(|| admin.lifecycle.as_ref().map(|lifecycle| lifecycle.rules().reviewers.clone()))
        .unwrap_or_default()
}

/// How many hold now, by kind, for `/metrics`.
pub(super) fn count(admin: &Admin, kind: WaiverKind) -> u64 {
    let (world, now) = (admin.books.live().world(), admin.books.now());
    let holding =
        world.organisation().waivers().filter(|waiver| waiver.kind == kind && waiver.holds(now)).count();
    u64::try_from(holding).unwrap_or(u64::MAX)
}
