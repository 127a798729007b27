//! A source of data over HTTP that answers as it is told.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use tokio::net::TcpListener;

#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) body: String,
    pub(crate) status: u16,
    pub(crate) delay: Duration,
}

#[derive(Clone, Default)]
pub(crate) struct Data {
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    pub(crate) reports: Arc<Mutex<Vec<String>>>,
    pub(crate) port: u16,
}

impl Data {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let data = Self { port: listener.local_addr().unwrap().port(), ..Self::default() };
        let app = Router::new()
            .route("/d/{name}", axum::routing::get(serve))
            .route("/report", axum::routing::post(report))
            .with_state(data.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        data
    }
    pub(crate) fn set(&self, name: &str, body: &str) -> String {
        self.set_to(name, body, 200, Duration::ZERO)
    }
    pub(crate) fn set_to(&self, name: &str, body: &str, status: u16, delay: Duration) -> String {
        let answer = Answer { body: body.to_owned(), status, delay };
        self.answers.lock().unwrap().insert(name.to_owned(), answer);
        format!("http://127.0.0.1:{}/d/{name}", self.port)
    }
    pub(crate) fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

async fn serve(State(data): State<Data>, Path(name): Path<String>) -> Response {
    let answer = data.answers.lock().unwrap().get(&name).cloned();
    let Some(answer) = answer else { return StatusCode::NOT_FOUND.into_response() };
    tokio::time::sleep(answer.delay).await;
    (StatusCode::from_u16(answer.status).unwrap(), [("content-type", "application/json")], answer.body)
        .into_response()
}

async fn report(State(data): State<Data>, body: String) -> StatusCode {
    data.reports.lock().unwrap().push(body);
    StatusCode::OK
}
