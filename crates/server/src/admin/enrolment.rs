//! Agents and the codes by which they enrol: each works once, for a while, and only its hash is kept.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use bytes::Bytes;
use futures::executor::block_on;
use http::StatusCode;
use placet_core::{AgentId, Name, Timestamp};
use placet_facts::{Change, EnrolmentOffer, OrgFacts, Place};
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
/// Codes in a database that are handed out and not used, at most.
const MAX_SHARED: u64 = 10_000;

/// Codes that were handed out. They are facts of the organisation, so a restart forgets none, and one is used up in the
/// entry that adds the key. Those of several gateways are in their database, since one that was just handed out works at
/// all of them at once.
#[derive(Debug, Default)]
pub struct Codes {
    shared: Option<Commons>,
}

impl Codes {
    /// Codes in the gateways' database, if there is one.
    #[must_use]
    pub fn of(shared: Option<Commons>) -> Self {
        Self { shared }
    }
    /// What is known of a code. Blocks where it is in a database.
    #[must_use]
    pub fn pending(&self, code: &CodeHash, facts: &OrgFacts) -> Option<PendingCode> {
        if let Some(commons) = &self.shared {
            let known = told(block_on(commons.code(code.to_text().as_bytes()))).flatten();
            return known.map(|(agent, expires_at)| PendingCode { agent, expires_at });
        }
        let offer = facts.enrolment(&fact(code)?)?;
        Some(PendingCode { agent: offer.agent.to_string(), expires_at: offer.until.secs() })
    }
    /// Uses a code up for `agent`: the change that does, beside the one that adds the key. None of one that is in a
    /// database: it is used up by now. An error where somebody else was faster. Blocks likewise.
    pub fn spend(&self, code: &CodeHash, agent: &AgentId) -> Result<Option<Change>, Spent> {
        if let Some(commons) = &self.shared {
            let spent = told(block_on(commons.spend_code(code.to_text().as_bytes()))).unwrap_or(false);
            return if spent { Ok(None) } else { Err(Spent) };
        }
        let code = fact(code).ok_or(Spent)?;
        Ok(Some(Change::EnrolmentTaken { code, agent: agent.clone() }))
    }
    /// Hands a code out: the change that does. None of one in a database, where it is by now.
    fn offer(
        &self,
        code: &CodeHash,
        agent: &AgentId,
        (now, until): (Timestamp, Timestamp),
    ) -> Result<Option<Change>, ApiError> {
        if let Some(commons) = &self.shared {
            let hash = code.to_text();
            let put = commons.put_code(hash.as_bytes(), agent.as_str(), until.secs(), now.secs(), MAX_SHARED);
            return match told(block_on(put)) {
                Some(true) => Ok(None),
                Some(false) | None => {
                    Err(ApiError::conflict("too many enrolment codes are waiting", "wait until some expire"))
                }
            };
        }
        let code = fact(code).ok_or_else(|| ApiError::down("a code has no name"))?;
        Ok(Some(Change::EnrolmentOffered(EnrolmentOffer { code, agent: agent.clone(), at: now, until })))
    }
}

/// A code was used before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent;

/// How facts name a code: by its hash.
fn fact(code: &CodeHash) -> Option<Name> {
    Name::new(&code.to_text()).ok()
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
    // The agent has to be there before a code in a database names it.
    let (mut changes, shared) = (vec![change], admin.codes.shared.is_some());
    let first = if shared {
        Some(commit(&admin, &by, Place::Organisation, std::mem::take(&mut changes), why.clone(), None).await?)
    } else {
        None
    };
    let (mut answer, offered) = hand_out(&admin, &id, life)?;
    changes.extend(offered);
    let revision = match first {
        Some(revision) => revision,
        None => commit(&admin, &by, Place::Organisation, changes, why, None).await?,
    };
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
    let (answer, offered) = hand_out(&admin, &id, life)?;
    match offered {
        Some(offered) => {
            commit(&admin, &by, Place::Organisation, vec![offered], why, None).await?;
        }
        None => {
            let (by, verb) = (by.name()?, format!("enrolment code for {id}"));
            admin.books.deed(Deed { by, verb, refused: false, why, tenant: None }).await?;
        }
    }
    Ok(json(StatusCode::CREATED, &answer.into()))
}

/// The code is in this answer and nowhere else.
fn hand_out(
    admin: &Admin,
    agent: &AgentId,
    life: u64,
) -> Result<(placet_json::Object, Option<Change>), ApiError> {
    let now = admin.books.now();
    let (code, hash) = new_code().map_err(|_| ApiError::down("there is no randomness"))?;
    let until = Timestamp::from_secs(now.secs().saturating_add(life));
    let offered = admin.codes.offer(&hash, agent, (now, until))?;
    let answer = object! {
        "agent" => agent.as_str(), "code" => code.expose(), "expires" => until.to_string(),
        "gateway" => admin.public_url.as_str(),
    };
    Ok((answer, offered))
}

fn life(body: &mut Body) -> Result<u64, ApiError> {
    match body.optional("life_s") {
        None => Ok(LIFE),
        Some(value) => Value::as_u64(&value).filter(|life| (1..=MAX_LIFE).contains(life)).ok_or_else(|| {
            ApiError::malformed("`life_s` is out of range", format!("give seconds from 1 to {MAX_LIFE}"))
        }),
    }
}
