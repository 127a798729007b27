//! A store that speaks the part of OPA's REST API which `opal-client` uses, and remembers what it was told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    response::IntoResponse,
    routing::{get, put},
};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;

#[derive(Clone, Default)]
pub(crate) struct Opa {
    pub(crate) data: Arc<Mutex<Value>>,
    pub(crate) policies: Arc<Mutex<BTreeMap<String, String>>>,
    pub(crate) puts: Arc<Mutex<Vec<(String, Value)>>>,
    pub(crate) port: u16,
}

impl Opa {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let opa = Self {
            port: listener.local_addr().unwrap().port(),
            data: Arc::new(Mutex::new(json!({}))),
            ..Self::default()
        };
        let app = Router::new()
            .route("/v1/data", put(put_root).get(root))
            .route("/v1/data/{*path}", put(put_data))
            .route("/v1/policies", get(list))
            .route("/v1/policies/{*id}", put(put_policy).delete(delete_policy).get(get_policy))
            .route("/health", get(|| async { "{}" }))
            .with_state(opa.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        opa
    }
    pub(crate) fn at(&self, pointer: &str) -> Option<Value> {
        self.data.lock().unwrap().pointer(pointer).cloned()
    }
    pub(crate) fn modules(&self) -> Vec<String> {
        self.policies.lock().unwrap().keys().cloned().collect()
    }
}

async fn root(State(opa): State<Opa>) -> Json<Value> {
    Json(json!({"result": *opa.data.lock().unwrap()}))
}
async fn put_root(State(opa): State<Opa>, body: String) -> StatusCode {
    // The client doesn't say what it sends.
    let value: Value = serde_json::from_str(&body).unwrap();
    *opa.data.lock().unwrap() = value;
    StatusCode::NO_CONTENT
}
async fn put_data(State(opa): State<Opa>, Path(path): Path<String>, body: String) -> StatusCode {
    // The client doesn't say what it sends.
    let value: Value = serde_json::from_str(&body).unwrap();
    opa.puts.lock().unwrap().push((path.clone(), value.clone()));
    let mut data = opa.data.lock().unwrap();
    let mut at = &mut *data;
    for part in path.split('/') {
        if !at.is_object() {
            *at = json!({});
        }
        at = at.as_object_mut().unwrap().entry(part.to_owned()).or_insert(json!({}));
    }
    *at = value;
    StatusCode::NO_CONTENT
}
async fn list(State(opa): State<Opa>) -> Json<Value> {
    let policies = opa.policies.lock().unwrap();
    Json(
        json!({"result": policies.iter().map(|(id, raw)| json!({"id": id, "raw": raw})).collect::<Vec<_>>()}),
    )
}
async fn get_policy(State(opa): State<Opa>, Path(id): Path<String>) -> impl IntoResponse {
    match opa.policies.lock().unwrap().get(&id) {
        Some(raw) => (StatusCode::OK, Json(json!({"result": {"id": id, "raw": raw}}))),
        None => (StatusCode::NOT_FOUND, Json(json!({}))),
    }
}
async fn put_policy(State(opa): State<Opa>, Path(id): Path<String>, body: String) -> Json<Value> {
    opa.policies.lock().unwrap().insert(id, body);
    Json(json!({}))
}
async fn delete_policy(State(opa): State<Opa>, Path(id): Path<String>) -> Json<Value> {
    opa.policies.lock().unwrap().remove(&id);
    Json(json!({}))
}
