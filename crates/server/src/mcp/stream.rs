//! One answer: plain JSON where nothing comes before it, else a stream of this request alone.

use std::{future::Future, pin::pin, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use futures::{StreamExt as _, future::Either, stream};
use placet_json::Value;
use placet_mcp::{Era, Message, sse, translate};
use tokio::sync::mpsc;

use super::message;

/// A stream without news says that it lives, before proxies give it up.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Waits for whichever comes first: the answer, or something to say before it.
pub(super) async fn respond<F>(era: Era, answer: F, mut items: mpsc::Receiver<Value>) -> Response
where
    F: Future<Output = Message> + Send + 'static,
{
    let mut answer = Box::pin(answer);
    let first = tokio::select! {
        biased;
        answer = &mut answer => return message(StatusCode::OK, answer),
        // Whoever could say something may be gone a moment before the answer is here: that is no news.
        Some(item) = items.recv() => Some(item),
        () = tokio::time::sleep(KEEP_ALIVE) => None,
    };
    let first = first.map_or_else(|| Bytes::from_static(b": \n\n"), |item| event(era, item));
    let state = State::Open { answer, items };
    let rest = stream::unfold(state, move |state| step(era, state));
    let body = stream::once(async { first }).chain(rest).map(Ok::<_, std::convert::Infallible>);
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

enum State<F> {
    Open { answer: std::pin::Pin<Box<F>>, items: mpsc::Receiver<Value> },
    Over,
}

async fn step<F: Future<Output = Message> + Send>(era: Era, state: State<F>) -> Option<(Bytes, State<F>)> {
    let State::Open { mut answer, mut items } = state else { return None };
    let next = {
        let item = pin!(items.recv());
        tokio::select! {
            biased;
            Some(item) = item => Either::Left(Some(item)),
            answer = &mut answer => Either::Right(answer),
            () = tokio::time::sleep(KEEP_ALIVE) => Either::Left(None),
        }
    };
    match next {
        Either::Left(Some(item)) => Some((event(era, item), State::Open { answer, items })),
        Either::Left(None) => Some((Bytes::from_static(b": \n\n"), State::Open { answer, items })),
        Either::Right(answer) => {
            Some((Bytes::from(sse::encode(&answer.into_value().to_string(), None)), State::Over))
        }
    }
}

fn event(era: Era, item: Value) -> Bytes {
    let item = match Message::from_value(item) {
        Ok(Message::Notification { method, params }) => {
            let params = params.map(|params| translate::notification_for(era, params, None));
            Message::Notification { method, params }.into_value().to_string()
        }
        // Upstream adapters hand over notifications only.
        Ok(Message::Request { .. } | Message::Response { .. }) | Err(_) => {
            return Bytes::from_static(b": \n\n");
        }
    };
    Bytes::from(sse::encode(&item, None))
}
