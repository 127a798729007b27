//! Readings of the gateway's own: a read tool's call, or a document by HTTP GET, with one tenant's credential.
//!
//! Nothing of an agent's is in them, nothing of them goes to an agent, and they are bounded in time and size. What came
//! back is looked through for the credential like any answer.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{HeaderValue, Method as Verb, Request, Uri};
use http_body_util::Full;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use placet_core::{Digest, Name, TenantId};
use placet_json::{Canonical, Limits, Value, object, parse};
use placet_mcp::{Era, Method, meta};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;
use url::{Position, Url};

use crate::breaker::Way;
use crate::config::{Bounds, Config, Http, Timeouts};
use crate::credential::{Caller, Who};
use crate::dial::Dialer;
use crate::egress::Resolve;
use crate::http::{HttpUpstream, mirrored, secret_value};
use crate::pool::Pool;
use crate::post::{self, Broken};
use crate::scan::Scanner;
use crate::stdio::StdioUpstream;
use crate::upstreams::{Upstreams, Wire};
use crate::{Made, Partition, Purpose, Target, UpstreamError, wire};

/// All but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What is read, in whose name.
#[derive(Debug, Clone)]
pub struct Errand {
    /// The upstream.
    pub upstream: Name,
    /// Whose data.
    pub tenant: TenantId,
    /// What it is shown.
    pub pays: Pays,
    /// What it is for, as a call token says it: `lookup` or `resolve`.
    pub action: &'static str,
    /// Whose connections are used.
    pub partition: Partition,
    /// How long it may take in all.
    pub limit: Duration,
    /// The longest answer, in bytes.
    pub bound: usize,
}

/// What an upstream is shown for a reading of the gateway's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pays {
    /// A secret of the tenant's vault.
    Vault(Name),
    /// A token for this reading.
    CallToken,
    /// What its process has.
    Process,
    /// Nothing.
    Nothing,
}

/// What a GET came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// A document.
    Found(Value),
    /// Status 404 or 410.
    NotFound,
}

/// An upstream that isn't MCP: documents and operations below one address.
pub(crate) struct RestUpstream {
    pub(crate) name: Name,
    pub(crate) timeouts: Timeouts,
    pub(crate) bounds: Bounds,
    url: Url,
    /// The path of the address, without a slash at its end.
    base: String,
    host: HeaderValue,
    pub(crate) pool: Arc<Pool>,
}

impl RestUpstream {
    pub(crate) fn new(
        config: &Config,
        http: &Http,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Self, UpstreamError> {
        let dialer = Dialer::new(http, resolver, config.timeouts.connect)?;
        if http.url.query().is_some() {
            return Err(UpstreamError::protocol("the address of documents has no query"));
        }
        let host = &http.url[Position::BeforeHost..Position::AfterPort];
        let (idle, connect) = (config.timeouts.idle, config.timeouts.connect);
        Ok(Self {
            name: config.name.clone(),
            timeouts: config.timeouts,
            bounds: config.bounds,
            url: http.url.clone(),
            base: http.url.path().trim_end_matches('/').to_owned(),
            host: HeaderValue::from_str(host)
                .map_err(|_| UpstreamError::protocol("the URL can't be put into a request"))?,
            pool: Arc::new(Pool::new(dialer, config.bounds.connections, idle, connect)),
        })
    }

    /// `path` begins with a slash and is percent-encoded; it stays below the address.
    async fn get(&self, caller: Caller<'_>, errand: &Errand, path: &str) -> Result<Document, UpstreamError> {
        let (target, url) = self.place(path)?;
        let aim = Target::Http { purpose: Purpose::Call, method: "GET", url: &url, body: b"" };
        let made = caller.make(&aim)?;
        let request = self.request(target, &made)?;
        let scanner = Scanner::new(&made.scan, &made.spent);
        let mut lane = self.pool.take(&errand.partition).await?;
        let broken = |broken: Broken| UpstreamError::protocol(broken.to_string());
        let mut reply = post::send(&mut lane.line, request, errand.bound).await.map_err(broken)?;
        let status = reply.status.as_u16();
        let leaked = reply.header_texts().any(|text| scanner.finds_in(text));
        let body = reply.whole(errand.bound).await.map_err(broken)?;
        reply.end(lane, &self.pool);
        if leaked || scanner.finds_in(&String::from_utf8_lossy(&body)) {
            return Err(UpstreamError::Leaked);
        }
        match status {
            200 => {}
            404 | 410 => return Ok(Document::NotFound),
            other => return Err(UpstreamError::Status(other)),
        }
        let value = parse(&body, &limits(errand.bound))
            .map_err(|error| UpstreamError::protocol(format!("the answer is no JSON: {error}")))?;
        if scanner.finds(&value) { Err(UpstreamError::Leaked) } else { Ok(Document::Found(value)) }
    }

    /// A path with its query as the target of a request, and the URL that it is: what is signed and what is sent name
    /// the same place, and no step leads out of it.
    pub(crate) fn place(&self, path: &str) -> Result<(Uri, Url), UpstreamError> {
        let unusable = || UpstreamError::protocol("the path can't be put into a request");
        let target: Uri = format!("{}{path}", self.base).parse().map_err(|_| unusable())?;
        let mut url = self.url.clone();
        url.set_path(target.path());
        url.set_query(target.query());
        if url.path() != target.path() || url.query() != target.query() {
            return Err(unusable());
        }
        Ok((target, url))
    }

    /// A request without a body, to a place and with a credential.
    pub(crate) fn request(
        &self,
        target: Uri,
        made: &Made,
    ) -> Result<Request<Full<bytes::Bytes>>, UpstreamError> {
        let mut request = Request::new(Full::default());
        *request.method_mut() = Verb::GET;
        *request.uri_mut() = match &made.query {
            Some((name, secret)) => with_secret(&target, name, secret)?,
            None => target,
        };
        let all = request.headers_mut();
        all.insert(HOST, self.host.clone());
        all.insert(USER_AGENT, HeaderValue::from_static(concat!("placet/", env!("CARGO_PKG_VERSION"))));
        all.insert(ACCEPT, HeaderValue::from_static("application/json"));
        for (name, secret) in &made.headers {
            if crate::http::OURS.contains(&name.as_str()) {
                return Err(UpstreamError::protocol(format!("a credential can't set the header `{name}`")));
            }
            all.append(name.clone(), secret_value(secret)?);
        }
        Ok(request)
    }
}

/// The target with a secret in its query. Whatever goes wrong, the error doesn't hold it.
fn with_secret(target: &Uri, name: &str, secret: &SecretString) -> Result<Uri, UpstreamError> {
    let query = target.query().unwrap_or_default();
    if url::form_urlencoded::parse(query.as_bytes()).any(|(other, _)| other == name) {
        return Err(UpstreamError::protocol(format!("an argument can't set the query parameter `{name}`")));
    }
    let encoded = |text: &str| utf8_percent_encode(text, RESERVED).to_string();
    let joint = if query.is_empty() { "" } else { "&" };
    let whole =
        format!("{}?{query}{joint}{}={}", target.path(), encoded(name), encoded(secret.expose_secret()));
    whole.parse().map_err(|_| UpstreamError::protocol("the credential can't be put into a query"))
}

impl Upstreams {
    /// Calls a read tool on the gateway's own account; its `CallToolResult`.
    pub async fn read_tool(
        &self,
        errand: &Errand,
        tool: &str,
        arguments: &Canonical,
    ) -> Result<Value, UpstreamError> {
        let upstream = self.get(&errand.upstream)?;
        let caller =
            Caller { credentials: &*self.credentials, upstream: &errand.upstream, who: Who::Errand(errand) };
        let tools = upstream.tools();
        let mirrors = tools.as_deref().filter(|tools| tools.mirrors(tool));
        let schema = mirrors.and_then(|tools| tools.get(tool)).and_then(|tool| tool.input_schema());
        let call = ReadCall { tool, arguments, schema };
        let read = async {
            match &upstream.wire {
                Wire::Http(http) => match tool_over_http(http, caller, errand, call).await {
                    Err(UpstreamError::Status(404)) => tool_over_http(http, caller, errand, call).await,
                    read => read,
                },
                Wire::Stdio(stdio) => tool_over_stdio(stdio, caller, errand, call).await,
                Wire::Rest(_) => Err(UpstreamError::protocol("it has documents, no tools")),
            }
        };
        self.noted(errand, read).await
    }

    /// Gets a document on the gateway's own account.
    pub async fn read_document(&self, errand: &Errand, path: &str) -> Result<Document, UpstreamError> {
        let upstream = self.get(&errand.upstream)?;
        let Wire::Rest(rest) = &upstream.wire else {
            return Err(UpstreamError::protocol("it isn't `protocol = \"rest\"`"));
        };
        let caller =
            Caller { credentials: &*self.credentials, upstream: &rest.name, who: Who::Errand(errand) };
        self.noted(errand, rest.get(caller, errand, path)).await
    }

    /// Within its time, through the breaker, and noted there.
    async fn noted<T>(
        &self,
        errand: &Errand,
        read: impl Future<Output = Result<T, UpstreamError>>,
    ) -> Result<T, UpstreamError> {
        let upstream = self.get(&errand.upstream)?;
        let _pass = upstream.breaker.pass()?;
        let read = timeout(errand.limit, read).await.unwrap_or(Err(UpstreamError::Timeout("a reading")));
        if let Some(way) = way(read.as_ref().err()) {
            upstream.breaker.note(way);
            upstream.note(read.as_ref().err().filter(|_| way == Way::Failed), (self.now)());
        }
        read
    }
}

/// What an error says about the way to an upstream; nothing where it says nothing.
pub(crate) fn way(error: Option<&UpstreamError>) -> Option<Way> {
    match error {
        None | Some(UpstreamError::Leaked | UpstreamError::Refused(_) | UpstreamError::Status(..500)) => {
            Some(Way::Answered)
        }
        Some(
            UpstreamError::Io(_)
            | UpstreamError::Timeout(_)
            | UpstreamError::Protocol(_)
            | UpstreamError::Status(_),
        ) => Some(Way::Failed),
        Some(
            UpstreamError::Unknown(_)
            | UpstreamError::Config { .. }
            | UpstreamError::Forbidden(_)
            | UpstreamError::Busy(_)
            | UpstreamError::Credential(_)
            | UpstreamError::Resting(_),
        ) => None,
    }
}

/// A read tool's call.
#[derive(Clone, Copy)]
struct ReadCall<'a> {
    tool: &'a str,
    arguments: &'a Canonical,
    /// Where arguments are repeated in headers: the schema that says which.
    schema: Option<&'a Value>,
}

async fn tool_over_http(
    http: &Arc<HttpUpstream>,
    caller: Caller<'_>,
    errand: &Errand,
    ReadCall { tool, arguments, schema }: ReadCall<'_>,
) -> Result<Value, UpstreamError> {
    let manner = http.manner(caller, &errand.partition).await?;
    let (id, era) = (http.id(), manner.era());
    let mut params = object! { "name" => tool };
    if era == Era::Modern {
        params.insert("_meta", object! { meta::PROTOCOL_VERSION => era.newest().as_str() });
    }
    let schema = schema.filter(|_| era == Era::Modern);
    if schema.is_some() {
        params.insert("arguments", arguments.to_value());
    }
    let mirrored = mirrored(&manner, Method::ToolsCall, &params, schema)?;
    let body = wire::call(id, tool, arguments, wire::meta(era, id, None));
    let made = caller.make(&http.aim(Purpose::Call, &body))?;
    let scanner = Scanner::new(&made.scan, &made.spent);
    let request = http.request(&manner, mirrored, &made, body.into())?;
    let lane = http.pool.take(&errand.partition).await?;
    let told = http.talk(lane, request, id, errand.bound.min(http.bounds.answer)).await?;
    if told.status == 404 && http.lose(&errand.partition, &manner).await {
        return Err(UpstreamError::Status(404));
    }
    http.note_era(&manner, told.status, told.answer.as_ref());
    match told.answer {
        Some(Ok(result)) if told.status < 300 => clean(&scanner, result.into()),
        Some(Ok(_)) | None => Err(UpstreamError::Status(told.status)),
        Some(Err(error)) => Err(UpstreamError::Refused(error.code)),
    }
}

async fn tool_over_stdio(
    stdio: &StdioUpstream,
    caller: Caller<'_>,
    errand: &Errand,
    ReadCall { tool, arguments, schema: _ }: ReadCall<'_>,
) -> Result<Value, UpstreamError> {
    let running = stdio.running(&errand.partition, None).await?;
    let made = caller.make(&Target::Stdio { arguments: Digest::of(arguments.as_bytes()) })?;
    let scanner = Scanner::new(&made.scan, &made.spent);
    let body = |id| {
        let mut fields = wire::meta(running.era, id, None);
        fields.extend(made.meta.iter().cloned());
        wire::call(id, tool, arguments, fields)
    };
    let answered = running.process.ask(errand.limit, body).await?;
    match answered.and_then(|answered| (answered.raw.len() <= errand.bound).then_some(answered.answer)?) {
        Some(Ok(result)) => clean(&scanner, result.into()),
        Some(Err(error)) => Err(UpstreamError::Refused(error.code)),
        None => Err(UpstreamError::protocol("the reading was not answered within its bounds")),
    }
}

fn clean(scanner: &Scanner, result: Value) -> Result<Value, UpstreamError> {
    if scanner.finds(&result) { Err(UpstreamError::Leaked) } else { Ok(result) }
}

fn limits(bytes: usize) -> Limits {
    Limits { bytes, ..Limits::RESULT }
}
