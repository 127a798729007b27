//! A fourth tool that is no MCP server: the case desk, an HTTP API with JSON bodies and an API key.
//!
//! It is as trusting as the others: whoever has the key reads every tenant's cases and pays what they like. It keeps
//! its cases in memory, and every request that it was sent, so that a demonstration can be compared with them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;

/// What the API says of itself, in OpenAPI 3.1.
pub const DESCRIPTION: &str = include_str!("../desk.openapi.yaml");

/// The most cases that a search answers.
const MAX_FOUND: usize = 50;

/// The desk. Cheap to clone; every clone is the same.
#[derive(Debug, Clone, Default)]
pub struct Desk {
    cases: Arc<Mutex<BTreeMap<String, Case>>>,
    /// Answers by idempotency key.
    done: Arc<Mutex<BTreeMap<String, Value>>>,
    requests: Arc<Mutex<Vec<String>>>,
}

#[derive(Debug, Clone, Serialize)]
struct Case {
    #[serde(rename = "case_id")]
    number: String,
    tenant_id: String,
    customer_id: String,
    status: &'static str,
    summary: String,
    refunded: f64,
    notes: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Search {
    status: Option<String>,
    tenant: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    text: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refund {
    amount: f64,
    reason: Option<String>,
}

impl Desk {
    /// The desk with its first cases, of two tenants.
    #[must_use]
    pub fn new() -> Self {
        let case = |number: &str, tenant_id: &str, customer_id: &str, summary: &str| Case {
            number: number.to_owned(),
            tenant_id: tenant_id.to_owned(),
            customer_id: customer_id.to_owned(),
            status: "open",
            summary: summary.to_owned(),
            refunded: 0.0,
            notes: Vec::new(),
        };
        let cases = [
            case("CASE-1837", "acme", "C-1", "Charged twice for the annual plan."),
            case("CASE-2001", "acme", "C-2", "Asks for an invoice."),
            case("CASE-9001", "globex", "C-9", "Wants to cancel."),
        ];
        let cases = cases.into_iter().map(|case| (case.number.clone(), case)).collect();
        Self { cases: Arc::new(Mutex::new(cases)), ..Self::default() }
    }

    /// Method and target of every request that came with the right key, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves below `/v1` until the task is dropped. With a key, `X-Api-Key` must be it.
    pub async fn serve(self, listener: TcpListener, key: Option<String>) -> std::io::Result<()> {
        let door = Door { key: key.map(Into::into), desk: self.clone() };
        let app = Router::new()
            .route("/v1/cases", get(search))
            .route("/v1/cases/{case_id}", get(one))
            .route("/v1/cases/{case_id}/notes", post(note))
            .route("/v1/cases/{case_id}/refunds", post(refund))
            .route("/v1/cases/{case_id}/close", post(close))
            .with_state(self)
            .layer(middleware::from_fn_with_state(door, check));
        axum::serve(listener, app).await
    }

    fn cases(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Case>> {
        self.cases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a case, once for each idempotency key.
    fn change(
        &self,
        headers: &HeaderMap,
        case_id: &str,
        change: impl FnOnce(&mut Case) -> Value,
    ) -> Response {
        let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = key.as_ref().and_then(|key| done.get(key)) {
            return Json(before.clone()).into_response();
        }
        let mut cases = self.cases();
        let Some(case) = cases.get_mut(case_id) else { return missing() };
        let answer = change(case);
        if let Some(key) = key {
            done.insert(key, answer.clone());
        }
        (StatusCode::CREATED, Json(answer)).into_response()
    }
}

#[derive(Debug, Clone)]
struct Door {
    key: Option<Arc<str>>,
    desk: Desk,
}

async fn check(State(Door { key, desk }): State<Door>, request: Request, next: Next) -> Response {
    let given = request.headers().get("x-api-key").map(axum::http::HeaderValue::as_bytes).unwrap_or_default();
    if let Some(key) = key
        && !bool::from(key.as_bytes().ct_eq(given))
    {
        return (StatusCode::UNAUTHORIZED, Json(json!({ "error": "unauthorized" }))).into_response();
    }
    let line = format!("{} {}", request.method(), request.uri());
    desk.requests.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    next.run(request).await
}

fn missing() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({ "error": "no such case" }))).into_response()
}

async fn search(State(desk): State<Desk>, Query(search): Query<Search>) -> Response {
    let Search { status, tenant, limit } = search;
    let cases = desk.cases();
    let found: Vec<&Case> = cases
        .values()
        .filter(|case| status.as_ref().is_none_or(|status| status == case.status))
        .filter(|case| tenant.as_ref().is_none_or(|tenant| *tenant == case.tenant_id))
        .take(limit.unwrap_or(MAX_FOUND).min(MAX_FOUND))
        .collect();
    Json(json!({ "cases": found })).into_response()
}

async fn one(State(desk): State<Desk>, Path(case_id): Path<String>) -> Response {
    desk.cases().get(&case_id).map_or_else(missing, |case| Json(case).into_response())
}

async fn note(
    State(desk): State<Desk>,
    Path(case_id): Path<String>,
    headers: HeaderMap,
    Json(Note { text }): Json<Note>,
) -> Response {
    desk.change(&headers, &case_id, |case| {
        case.notes.push(text);
        json!({ "case_id": case.number, "tenant_id": case.tenant_id, "notes": case.notes.len() })
    })
}

async fn refund(
    State(desk): State<Desk>,
    Path(case_id): Path<String>,
    headers: HeaderMap,
    Json(Refund { amount, reason }): Json<Refund>,
) -> Response {
    desk.change(&headers, &case_id, |case| {
        case.refunded += amount;
        json!({ "case_id": case.number, "tenant_id": case.tenant_id, "refunded": case.refunded, "reason": reason })
    })
}

async fn close(State(desk): State<Desk>, Path(case_id): Path<String>, headers: HeaderMap) -> Response {
    desk.change(&headers, &case_id, |case| {
        case.status = "closed";
        json!({ "case_id": case.number, "tenant_id": case.tenant_id, "status": case.status })
    })
}
