//! What Placet is measured beside: a tool that answers at once, and a proxy that does nothing but parse and rewrite.
//! Each has a thread of its own, so that its processor time is known.

use std::{convert::Infallible, future::Future, net::SocketAddr, sync::mpsc};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use placet_core::Digest;
use placet_json::{Limits, Object, Value, object};
use tokio::net::TcpListener;

use super::cost::Payer;
use crate::failure::{Failure, OrFail};

/// What the tool answers; every answer that a client gets must hold it.
pub(super) const ANSWER: &str = "the case is about a broken lamp; 80.00 were refunded";

/// A server on a thread of its own, until the process ends.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) address: SocketAddr,
    pub(super) payer: Payer,
}

/// The tools that the stub offers, by name: their definitions.
pub(super) fn tools() -> Vec<(&'static str, Value)> {
    let text = |names: &[&str]| -> Object {
        let one = |name: &&str| ((*name).to_owned(), Value::Object(object! { "type" => "string" }));
        names.iter().map(one).collect()
    };
    let tool = |name: &'static str, description: &str, properties: Object| {
        let schema = object! { "type" => "object", "properties" => properties };
        (name, object! { "name" => name, "description" => description, "inputSchema" => schema }.into())
    };
    let mut refund = text(&["case_id", "customer"]);
    refund.insert("amount", object! { "type" => "number" });
    vec![
        tool("get_case", "Tells what a case is about", text(&["case_id"])),
        tool("refund", "Pays money back", refund),
    ]
}

/// The digest by which a catalog accepts a definition.
pub(super) fn digest(definition: &Value) -> Result<String, Failure> {
    let canonical = definition.canonical().or_fail("a tool's definition")?;
    Ok(Digest::of(canonical.as_bytes()).to_string())
}

/// Starts the tool: MCP 2026-07-28 over HTTP.
pub(super) fn stub() -> Result<Part, Failure> {
    let definitions: Vec<Value> = tools().into_iter().map(|(_, definition)| definition).collect();
    start(move |listener| {
        serve(listener, move |request: Request<Incoming>| {
            let definitions = definitions.clone();
            async move { answer(&definitions, &collect(request).await) }
        })
    })
}

fn answer(definitions: &[Value], body: &Bytes) -> Response<Full<Bytes>> {
    let Ok(message) = placet_json::parse(body, &Limits::MESSAGE) else {
        return json(StatusCode::BAD_REQUEST, b"{}".to_vec());
    };
    let Some(id) = message.get("id") else { return json(StatusCode::ACCEPTED, Vec::new()) };
    let result = match message.get("method").and_then(Value::as_str) {
        Some("tools/call") => {
            let content: Value = object! { "type" => "text", "text" => ANSWER }.into();
            object! { "resultType" => "complete", "content" => vec![content], "isError" => false }
        }
        Some("server/discover") => object! {
            "resultType" => "complete", "supportedVersions" => vec![Value::from("2026-07-28")],
            "capabilities" => object! { "tools" => Object::new() },
        },
        Some("tools/list") => object! { "resultType" => "complete", "tools" => definitions.to_vec() },
        _ => Object::new(),
    };
    let answer: Value = object! { "jsonrpc" => "2.0", "id" => id.clone(), "result" => result }.into();
    json(StatusCode::OK, answer.to_bytes())
}

/// Starts a proxy in front of an address: parses and rewrites the message both ways, as any gateway must.
pub(super) fn proxy(upstream: SocketAddr) -> Result<Part, Failure> {
    start(move |listener| {
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(http);
        serve(listener, move |request: Request<Incoming>| {
            let client = client.clone();
            async move {
                forward(&client, upstream, request)
                    .await
                    .unwrap_or_else(|| json(StatusCode::BAD_GATEWAY, b"{}".to_vec()))
            }
        })
    })
}

async fn forward(
    client: &Client<HttpConnector, Full<Bytes>>,
    upstream: SocketAddr,
    request: Request<Incoming>,
) -> Option<Response<Full<Bytes>>> {
    let mut message = placet_json::parse(&collect(request).await, &Limits::MESSAGE).ok()?;
    let Value::Object(members) = &mut message else { return None };
    let id = members.insert("id", 1_u64)?;
    let request = Request::post(format!("http://{upstream}/mcp"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(message.to_bytes().into()))
        .ok()?;
    let response = client.request(request).await.ok()?;
    let status = response.status();
    let body = response.into_body().collect().await.ok()?.to_bytes();
    let mut message = placet_json::parse(&body, &Limits::MESSAGE).ok()?;
    let Value::Object(members) = &mut message else { return None };
    members.insert("id", id);
    Some(json(status, message.to_bytes()))
}

async fn collect(request: Request<Incoming>) -> Bytes {
    request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default()
}

fn json(status: StatusCode, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

/// Runs a server on a new thread and says where.
fn start<F, S>(server: F) -> Result<Part, Failure>
where
    F: FnOnce(TcpListener) -> S + Send + 'static,
    S: Future<Output = ()>,
{
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let began = || -> Result<_, Failure> {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().or_fail("can't start")?;
            let listener =
                runtime.block_on(TcpListener::bind("127.0.0.1:0")).or_fail("can't listen on loopback")?;
            let address = listener.local_addr().or_fail("can't listen on loopback")?;
            let payer =
                Payer::this_thread().ok_or_else(|| Failure::new("this system has no /proc/thread-self"))?;
            Ok((runtime, listener, Part { address, payer }))
        };
        match began() {
            Ok((runtime, listener, part)) => {
                if tell.send(Ok(part)).is_ok() {
                    runtime.block_on(server(listener));
                }
            }
            Err(failure) => drop(tell.send(Err(failure))),
        }
    });
    told.recv().or_fail("a thread stopped")?
}

/// Serves HTTP/1.1 for ever.
async fn serve<H, A>(listener: TcpListener, handler: H)
where
    H: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    while let Ok((stream, _)) = listener.accept().await {
        drop(stream.set_nodelay(true));
        let handler = handler.clone();
        let service = service_fn(move |request| {
            let answer = handler(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        tokio::spawn(async move {
            // A client that goes away is no news.
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tool_answers_and_the_proxy_gives_the_id_back() {
        let body = object! { "jsonrpc" => "2.0", "id" => "x-7", "method" => "tools/call" };
        let stub = stub().unwrap();
        let proxy = proxy(stub.address).unwrap();
        for part in [stub, proxy] {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let answer = runtime.block_on(async {
                let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
                let request = Request::post(format!("http://{}/mcp", part.address))
                    .body(Full::new(Value::from(body.clone()).to_bytes().into()))
                    .unwrap();
                client.request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes()
            });
            let answer = placet_json::parse(&answer, &Limits::MESSAGE).unwrap();
            assert_eq!(answer.get("id").and_then(Value::as_str), Some("x-7"));
            assert_eq!(answer.pointer("/result/content/0/text").and_then(Value::as_str), Some(ANSWER));
            assert!(part.payer.spent().is_some());
        }
    }
}
