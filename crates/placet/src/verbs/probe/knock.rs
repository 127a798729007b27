//! One knock: harmless requests, and what their answers say.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use placet_json::{Limits, Value, object};
use url::Url;

use super::roads::{Headers, Presented};
use crate::{
    failure::{Failure, OrFail},
    http::Client,
};

/// How long a head, and then a body, may take.
const PATIENCE: Duration = Duration::from_secs(8);
const BODY: Duration = Duration::from_secs(3);
/// As much of an answer as is looked at, in bytes.
const MOST: usize = 256 * 1024;

/// What came of a road.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// 401, 403 or 407: it asks for something else.
    Refused(u16),
    /// The tool answered.
    Answered(String),
    /// Neither.
    Unclear(String),
    /// No answer: no address, no connection, or none in time.
    Unreachable(String),
    /// There was nothing to show.
    NotTried(&'static str),
}

/// A door, and with which requests it is knocked at.
pub(super) struct Knock<'a> {
    http: Client,
    url: &'a Url,
    mcp: bool,
    get: Vec<Url>,
    message: Option<&'a [u8]>,
}

/// An answer, as far as it matters.
struct Heard {
    status: StatusCode,
    session: Option<String>,
    /// The JSON-RPC answer in it.
    rpc: Option<Value>,
}

impl<'a> Knock<'a> {
    pub(super) fn new(
        url: &'a Url,
        mcp: bool,
        get: &[String],
        message: Option<&'a [u8]>,
    ) -> Result<Self, Failure> {
        let get = get
            .iter()
            .map(|path| {
                let base = url.as_str().trim_end_matches('/');
                let place = format!("{base}/{}", path.trim_start_matches('/'));
                Url::parse(&place).or_fail(format_args!("`{place}`"))
            })
            .collect::<Result<_, Failure>>()?;
        Ok(Self { http: Client::new(url.as_str())?, url, mcp, get, message })
    }

    /// Knocks with this in hand. Of several ways to show it the most open one counts.
    pub(super) async fn with(&self, presented: &Presented<'_>) -> Result<Outcome, Failure> {
        let mut worst = None;
        if let Some(body) = presented.body() {
            let headers = presented.headers("POST", self.url, body)?;
            for headers in &headers {
                keep(&mut worst, self.once("POST", self.url, headers, body).await);
            }
        } else if self.mcp {
            for way in 0..presented.headers("POST", self.url, b"")?.len() {
                keep(&mut worst, self.mcp(presented, way).await?);
            }
        } else {
            let requests =
                std::iter::once(("OPTIONS", self.url)).chain(self.get.iter().map(|url| ("GET", url)));
            for (method, url) in requests {
                for headers in &presented.headers(method, url, b"")? {
                    keep(&mut worst, self.once(method, url, headers, b"").await);
                }
            }
        }
        Ok(worst.unwrap_or(Outcome::NotTried("nothing to send")))
    }

    /// `initialize`, then `tools/list` in the era that it understood.
    async fn mcp(&self, presented: &Presented<'_>, way: usize) -> Result<Outcome, Failure> {
        let headers = |body: &[u8]| -> Result<Headers, Failure> {
            Ok(presented.headers("POST", self.url, body)?.into_iter().nth(way).unwrap_or_default())
        };
        let hello = initialize();
        let first = match self.send("POST", self.url, &headers(&hello)?, &hello).await {
            Ok(heard) => heard,
            Err(why) => return Ok(Outcome::Unreachable(why)),
        };
        if let Some(refused) = refused(first.status) {
            return Ok(refused);
        }
        let legacy = first.rpc.as_ref().is_some_and(|rpc| rpc.get("result").is_some());
        let list = list(legacy);
        let mut more = headers(&list)?;
        more.push(("mcp-protocol-version".to_owned(), if legacy { LEGACY } else { MODERN }.to_owned()));
        if !legacy {
            more.push(("mcp-method".to_owned(), "tools/list".to_owned()));
        }
        more.extend(first.session.iter().map(|session| ("mcp-session-id".to_owned(), session.clone())));
        let second = self.send("POST", self.url, &more, &list).await;
        let mut outcome = match second {
            Err(why) => Outcome::Unclear(format!("it answered `initialize`, then nothing: {why}")),
            Ok(heard) => match (refused(heard.status), tools(heard.rpc.as_ref())) {
                (Some(refused), _) => refused,
                (None, Some(tools)) => Outcome::Answered(format!("lists {tools} tools")),
                (None, None) if legacy => Outcome::Answered("answers `initialize`".to_owned()),
                (None, None) => judged(&heard),
            },
        };
        if let Some(message) = self.message {
            let mut told = headers(message)?;
            told.extend(first.session.iter().map(|session| ("mcp-session-id".to_owned(), session.clone())));
            let mut worst = Some(outcome);
            keep(&mut worst, self.once("POST", self.url, &told, message).await);
            outcome = worst.unwrap_or(Outcome::NotTried("nothing to send"));
        }
        if let Some(session) = first.session {
            let mut bye = headers(b"")?;
            bye.push(("mcp-session-id".to_owned(), session));
            // The session ends by itself as well.
            drop(self.send("DELETE", self.url, &bye, b"").await);
        }
        Ok(outcome)
    }

    async fn once(&self, method: &str, url: &Url, headers: &Headers, body: &[u8]) -> Outcome {
        match self.send(method, url, headers, body).await {
            Err(why) => Outcome::Unreachable(why),
            Ok(heard) => refused(heard.status).unwrap_or_else(|| match (method, heard.rpc.is_some()) {
                // Many servers tell anybody which methods there are.
                ("OPTIONS", _) => {
                    Outcome::Unclear(format!("{} to OPTIONS, which needs no right", heard.status.as_u16()))
                }
                (_, true) => Outcome::Answered("answers the message".to_owned()),
                ("GET", false) if heard.status.is_success() => {
                    Outcome::Answered(format!("{} to GET {}", heard.status.as_u16(), url.path()))
                }
                _ => judged(&heard),
            }),
        }
    }

    async fn send(&self, method: &str, url: &Url, headers: &Headers, body: &[u8]) -> Result<Heard, String> {
        let mut request = Request::builder()
            .method(method)
            .uri(url.as_str())
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header(header::USER_AGENT, concat!("placet-probe/", env!("CARGO_PKG_VERSION")));
        let has = |name: &str| headers.iter().any(|(other, _)| other == name);
        if method == "POST" && !has("content-type") {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers.iter().filter(|(name, _)| name != "accept") {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(Bytes::copy_from_slice(body)))
            .map_err(|_| "a header can't be sent".to_owned())?;
        let answer = match tokio::time::timeout(PATIENCE, self.http.send(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err("no answer in time".to_owned()),
        };
        let (head, mut body) = answer.into_parts();
        let session = head.headers.get("mcp-session-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        let mut bytes = Vec::new();
        let read = async {
            while let Some(Ok(frame)) = body.frame().await {
                if let Some(data) = frame.data_ref() {
                    bytes.extend_from_slice(data);
                }
                // A stream that stays open has said enough with its first message.
                if bytes.len() > MOST || answer_in(&bytes).is_some() {
                    break;
                }
            }
        };
        // What has come until then counts.
        let _in_time = tokio::time::timeout(BODY, read).await.is_ok();
        Ok(Heard { status: head.status, session, rpc: answer_in(&bytes) })
    }
}

const LEGACY: &str = "2025-06-18";
const MODERN: &str = "2026-07-28";

fn initialize() -> Vec<u8> {
    let client = object! { "name" => "placet-probe", "version" => env!("CARGO_PKG_VERSION") };
    let params =
        object! { "protocolVersion" => LEGACY, "capabilities" => object! {}, "clientInfo" => client };
    rpc("initialize", Value::from(params))
}

fn list(legacy: bool) -> Vec<u8> {
    let mut params = object! {};
    if !legacy {
        let client = object! { "name" => "placet-probe", "version" => env!("CARGO_PKG_VERSION") };
        params.insert(
            "_meta",
            object! {
                "io.modelcontextprotocol/protocolVersion" => MODERN,
                "io.modelcontextprotocol/clientInfo" => client,
                "io.modelcontextprotocol/clientCapabilities" => object! {},
            },
        );
    }
    rpc("tools/list", Value::from(params))
}

fn rpc(method: &str, params: Value) -> Vec<u8> {
    let message = object! { "jsonrpc" => "2.0", "id" => 1_u64, "method" => method, "params" => params };
    Value::from(message).to_bytes()
}

/// The JSON-RPC answer in a body, alone or in a stream of events.
fn answer_in(bytes: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(bytes).ok()?;
    let one = |text: &str| {
        let value = placet_json::parse(text.trim().as_bytes(), &Limits::RESULT).ok()?;
        let answer =
            value.get("jsonrpc").is_some() && (value.get("result").is_some() || value.get("error").is_some());
        answer.then_some(value)
    };
    one(text).or_else(|| text.lines().filter_map(|line| line.strip_prefix("data:")).find_map(one))
}

fn tools(rpc: Option<&Value>) -> Option<usize> {
    Some(rpc?.pointer("/result/tools")?.as_array()?.len())
}

fn refused(status: StatusCode) -> Option<Outcome> {
    matches!(status.as_u16(), 401 | 403 | 407).then(|| Outcome::Refused(status.as_u16()))
}

/// What is neither a refusal nor what was asked for.
fn judged(heard: &Heard) -> Outcome {
    let status = heard.status.as_u16();
    match &heard.rpc {
        // Whoever says what is wrong with a message has read it.
        Some(_) if heard.status.is_success() || heard.status == StatusCode::BAD_REQUEST => {
            Outcome::Answered(format!("{status}: it read the message, and asked for no token"))
        }
        _ => Outcome::Unclear(format!("{status}")),
    }
}

fn keep(worst: &mut Option<Outcome>, next: Outcome) {
    let weight = |outcome: &Outcome| match outcome {
        Outcome::Answered(_) => 4,
        Outcome::Unclear(_) => 3,
        Outcome::Refused(_) => 2,
        Outcome::Unreachable(_) => 1,
        Outcome::NotTried(_) => 0,
    };
    // `OPTIONS` says nothing where a real request was refused or answered.
    let options = |outcome: &Outcome| matches!(outcome, Outcome::Unclear(why) if why.contains("OPTIONS"));
    let replace = match worst.as_ref() {
        None => true,
        Some(old) if options(old) && matches!(next, Outcome::Refused(_)) => true,
        Some(old) => weight(&next) > weight(old),
    };
    if replace {
        *worst = Some(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_found_in_either_form() {
        assert!(answer_in(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#).is_some());
        assert!(
            answer_in(b"event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{}}\n\n").is_some()
        );
        assert!(answer_in(b"<html>log in</html>").is_none());
        assert!(answer_in(b"data: {\"jsonrpc\":\"2.0\",\"id\":1,\"res").is_none(), "half of it");
    }

    #[test]
    fn the_most_open_answer_counts() {
        let mut worst = None;
        keep(&mut worst, Outcome::Refused(401));
        keep(&mut worst, Outcome::Answered("x".into()));
        keep(&mut worst, Outcome::Refused(401));
        assert_eq!(worst, Some(Outcome::Answered("x".into())));
    }
}
