//! Agents and the codes by which they enrol: each works once, for a while, and only its hash is kept.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    extract::{Path, State},
    response::Response,
};
use bytes::Bytes;
use futures::executor::block_on;
use http::StatusCode;
use placet_core::{AgentId, Name};
use placet_facts::{Change, Place};
use placet_json::{Value, object};
use placet_oauth::enrol::{CodeHash, PendingCode, new_code};
use placet_store::{Commons, DatabaseError};

use super::{
    Admin, Caller,
    acts::{change, commit},
    body::{Body, named},
    error::{ApiError, json},
    rights,
};
use crate::books::Deed;

/// How long a code works unless asked otherwise, and at most, in seconds.
const LIFE: u64 = 3600;
const MAX_LIFE: u64 = 7 * 24 * 3600;
/// Codes that are handed out and not used, at most.
const MAX_CODES: usize = 10_000;
const MAX_SHARED: u64 = 10_000;

/// Codes that were handed out. A restart forgets them: new ones are a command away, and none comes back to life. Those
/// of several gateways are in their database, and any of them takes one.
#[derive(Debug, Default)]
pub struct Codes {
    here: Mutex<HashMap<CodeHash, PendingCode>>,
    shared: Option<Commons>,
}

impl Codes {
    /// Codes in the gateways' database, if there is one.
    #[must_use]
    pub fn of(shared: Option<Commons>) -> Self {
        Self { shared, ..Self::default() }
    }
    /// What is known of a code. Blocks.
    #[must_use]
    pub fn pending(&self, code: &CodeHash) -> Option<PendingCode> {
        if let Some(commons) = &self.shared {
            let known = told(block_on(commons.code(code.to_text().as_bytes()))).flatten();
            return known.map(|(agent, expires_at)| PendingCode { agent, expires_at });
        }
        self.here.lock().unwrap_or_else(PoisonError::into_inner).get(code).cloned()
    }
    /// Uses a code up; false where somebody else was faster. Blocks.
    #[must_use]
    pub fn spend(&self, code: &CodeHash) -> bool {
        if let Some(commons) = &self.shared {
            return told(block_on(commons.spend_code(code.to_text().as_bytes()))).unwrap_or(false);
        }
        self.here.lock().unwrap_or_else(PoisonError::into_inner).remove(code).is_some()
    }
    fn add(&self, code: CodeHash, pending: PendingCode, now: u64) -> bool {
        if let Some(commons) = &self.shared {
            let PendingCode { agent, expires_at } = &pending;
            let hash = code.to_text();
            let put = commons.put_code(hash.as_bytes(), agent, *expires_at, now, MAX_SHARED);
            return told(block_on(put)).unwrap_or(false);
        }
        let mut codes = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        codes.retain(|_, pending| pending.expires_at > now);
        if codes.len() >= MAX_CODES {
            return false;
        }
        codes.insert(code, pending);
        true
    }
}

/// A database that can't be reached knows no code.
fn told<T>(answer: Result<T, DatabaseError>) -> Option<T> {
    answer.map_err(|error| tracing::error!(%error, "enrolment codes can't be looked up")).ok()
}

/// `POST /v1/agents {id, type, owner}`: a new agent without a key, and the code by which it brings one.
pub(super) async fn create(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
    body: Bytes,
) -> Result<Response, ApiError> {
    rights::operator(&by)?;
    let mut body = Body::parse(&body)?;
    let (why, life) = (body.why()?, life(&mut body)?);
    body.default("standing", "active");
    let change = change("agent_enrolled", body.rest(), &Place::Organisation)?;
    let Change::AgentEnrolled(agent) = &change else {
        return Err(ApiError::down("a change changed its kind"));
    };
    let id = agent.id.clone();
    let revision = commit(&admin, &by, Place::Organisation, vec![change], why, None).await?;
    let mut answer = hand_out(&admin, &id, life)?;
    answer.insert("revision", revision.0);
    Ok(json(StatusCode::CREATED, &answer.into()))
}

/// `POST /v1/agents/{agent}/codes`: a further code, for another key of the same agent.
pub(super) async fn code(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
    Path(agent): Path<String>,
    body: Bytes,
) -> Result<Response, ApiError> {
    rights::operator(&by)?;
    let id = AgentId::from(named(&agent, "agent")?);
    let mut body = Body::parse(&body)?;
    let (why, life) = (body.why()?, life(&mut body)?);
    body.finish()?;
    if admin.books.live().world().organisation().agent(&id).is_none() {
        return Err(ApiError::missing(format_args!("agent `{id}`")));
    }
    let by: Name = by.name()?;
    admin
        .books
        .deed(Deed { by, verb: format!("enrolment code for {id}"), refused: false, why, tenant: None })
        .await?;
    Ok(json(StatusCode::CREATED, &hand_out(&admin, &id, life)?.into()))
}

/// The code is in this answer and nowhere else.
fn hand_out(admin: &Admin, agent: &AgentId, life: u64) -> Result<placet_json::Object, ApiError> {
    let now = admin.books.now();
    let (code, hash) = new_code().map_err(|_| ApiError::down("there is no randomness"))?;
    let expires_at = now.secs().saturating_add(life);
    if !admin.codes.add(hash, PendingCode { agent: agent.to_string(), expires_at }, now.secs()) {
        return Err(ApiError::conflict("too many enrolment codes are waiting", "wait until some expire"));
    }
    let expires = placet_core::Timestamp::from_secs(expires_at).to_string();
    Ok(
        object! { "agent" => agent.as_str(), "code" => code.expose(), "expires" => expires, "gateway" => admin.public_url.as_str() },
    )
}

fn life(body: &mut Body) -> Result<u64, ApiError> {
    match body.optional("life_s") {
        None => Ok(LIFE),
        Some(value) => Value::as_u64(&value).filter(|life| (1..=MAX_LIFE).contains(life)).ok_or_else(|| {
            ApiError::malformed("`life_s` is out of range", format!("give seconds from 1 to {MAX_LIFE}"))
        }),
    }
}
