//! Requests to the administration API, each signed for itself.

use std::{fmt::Write as _, path::PathBuf, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use clap::Args;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use placet_jose::{
    SigningKey, Stamp, digest::ContentDigest, htu::Htu, keys::random_id, mint, tokens::OperatorAssertion,
};
use placet_json::{Limits, Value};

use crate::{
    clock,
    failure::{Failure, OrFail},
    http::Client,
    keyfile,
};

/// The longest answer: a facts export, a release's archive.
const MAX_ANSWER: usize = 64 << 20;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long an assertion lives, in seconds.
const LIFE: u64 = 30;

/// Where a server in dev listens for administrators.
pub(crate) const DEFAULT_SERVER: &str = "http://127.0.0.1:8718";

/// Which server, and as whom.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerArgs {
    /// The administrators' listener of the server, exactly as its `server.admin_url`
    #[arg(long, env = "PLACET_SERVER", default_value = DEFAULT_SERVER, value_name = "URL")]
    pub(crate) server: String,
    /// The private key that signs: the operator's, or with `--as` that person's
    #[arg(long, env = "PLACET_KEY", default_value = "data/keys/operator.pem", value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// Act as this person instead of the operator; their key is registered by `placet key register`
    #[arg(long = "as", id = "acting_as", env = "PLACET_AS", value_name = "HUMAN")]
    pub(crate) human: Option<String>,
}

/// A client of the administration API.
pub(crate) struct Admin {
    http: Client,
    base: Htu,
    audience: String,
    principal: String,
    human: bool,
    key: SigningKey,
}

impl ServerArgs {
    /// Reads the key.
    pub(crate) fn open(&self) -> Result<Admin, Failure> {
        let audience = self.server.trim_end_matches('/').to_owned();
        let base = Htu::parse(&audience).or_fail(format_args!("`{}`", self.server))?;
        if !self.key.exists() {
            return Err(Failure::new(format!("there is no key `{}`", self.key.display()))
                .remedy("name it with `--key` or PLACET_KEY; a server in dev makes `keys/operator.pem` in its data directory at its first start"));
        }
        let key = keyfile::load(&self.key)?;
        let principal =
            self.human.as_ref().map_or_else(|| "operator".to_owned(), |human| format!("human:{human}"));
        Ok(Admin {
            http: Client::new(&audience)?,
            base,
            audience,
            principal,
            human: self.human.is_some(),
            key,
        })
    }
}

impl Admin {
    /// Reads.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.send("GET", path, Bytes::new(), "application/json").await
    }
    /// Acts.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.send("POST", path, body.to_bytes().into(), "application/json").await
    }
    /// Sends bytes that aren't JSON.
    pub(crate) async fn upload(&self, path: &str, bytes: Bytes) -> Result<Value, Failure> {
        self.send("POST", path, bytes, "application/octet-stream").await
    }

    /// `path` may have a query, already encoded.
    fn signed(
        &self,
        method: &str,
        path: &str,
        body: Bytes,
        kind: &str,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let (route, query) = path.split_once('?').map_or((path, None), |(route, query)| (route, Some(query)));
        let url = self.base.with_path(route).or_fail(format_args!("`{path}`"))?;
        let now = clock::secs();
        let claims = OperatorAssertion {
            sub: self.principal.clone(),
            jti: random_id().or_fail("no randomness")?,
            htm: method.to_owned(),
            htu: url.clone(),
            query: query.map(str::to_owned),
            digest: ContentDigest::of(&body),
        };
        let stamp = Stamp {
            issuer: &self.principal,
            audience: &self.audience,
            issued_at: now,
            expires_at: now.saturating_add(LIFE),
        };
        let assertion = mint(&self.key, &stamp, &claims).or_fail("can't sign the request")?;
        let target = query.map_or_else(|| url.to_string(), |query| format!("{url}?{query}"));
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::AUTHORIZATION, format!("Placet {assertion}"))
            .header(header::CONTENT_TYPE, kind)
            .header(header::ACCEPT, "application/json");
        if self.human {
            // The server knows a person's key by its thumbprint only.
            request =
                request.header("placet-key", URL_SAFE_NO_PAD.encode(self.key.public().to_jwk().to_bytes()));
        }
        request.body(Full::new(body)).or_fail(format_args!("`{path}`"))
    }

    async fn send(&self, method: &str, path: &str, body: Bytes, kind: &str) -> Result<Value, Failure> {
        let request = self.signed(method, path, body, kind)?;
        let response = self
            .http
            .fetch(request, MAX_ANSWER, PATIENCE)
            .await
            .map_err(|failure| failure.remedy("is `placet serve` running there?"))?;
        let status = response.status();
        let answer = self.read(status, response.body())?;
        if status.is_success() { Ok(answer) } else { Err(refused(&answer, status)) }
    }

    fn read(&self, status: http::StatusCode, body: &[u8]) -> Result<Value, Failure> {
        let limits = Limits { bytes: MAX_ANSWER, ..Limits::RESULT };
        placet_json::parse(body, &limits).map_err(|_| {
            Failure::new(format!(
                "{} answered {status} without JSON; is it the administrators' listener?",
                self.audience
            ))
        })
    }

    /// Sends bytes and reads lines of JSON as they come; `line` says when it has what it wants.
    pub(crate) async fn lines<T>(
        &self,
        path: &str,
        bytes: Bytes,
        mut line: impl FnMut(Value) -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        let request = self.signed("POST", path, bytes, "application/octet-stream")?;
        let silent = || Failure::new(format!("{} doesn't answer", self.audience));
        let sent = tokio::time::timeout(PATIENCE, self.http.send(request)).await.map_err(|_| silent())?;
        let response = sent
            .map_err(|error| Failure::new(format!("can't reach {}: {error}", self.audience)))
            .map_err(|failure| failure.remedy("is `placet serve` running there?"))?;
        let (status, mut body) = (response.status(), response.into_body());
        let mut unread = Vec::new();
        loop {
            let frame = tokio::time::timeout(PATIENCE, body.frame()).await.map_err(|_| silent())?;
            let Some(frame) = frame else { break };
            let frame = frame.or_fail(format_args!("the answer of {} broke off", self.audience))?;
            unread.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data.as_ref()));
            if unread.len() > MAX_ANSWER {
                return Err(Failure::new(format!("the answer of {} is too long", self.audience)));
            }
            while status.is_success()
                && let Some(end) = unread.iter().position(|byte| *byte == b'\n')
            {
                let rest = unread.split_off(end.saturating_add(1));
                let whole = std::mem::replace(&mut unread, rest);
                if let Some(found) = line(self.read(status, whole.trim_ascii())?)? {
                    return Ok(found);
                }
            }
        }
        if !status.is_success() {
            return Err(refused(&self.read(status, &unread)?, status));
        }
        Err(Failure::new(format!("the answer of {} broke off", self.audience)))
    }
}

/// The server's own words.
pub(crate) fn refused(answer: &Value, status: http::StatusCode) -> Failure {
    let text = |name: &str| answer.pointer(&format!("/error/{name}")).and_then(Value::as_str);
    let failure = Failure::new(match (text("message"), text("code")) {
        (Some(message), Some(code)) => format!("{message} ({code})"),
        _ => format!("the server answered {status}"),
    });
    let failure = match text("remedy").filter(|remedy| !remedy.is_empty()) {
        Some(remedy) => failure.remedy(remedy),
        None => failure,
    };
    if matches!(status.as_u16(), 403 | 404 | 409 | 422) { failure.no() } else { failure }
}

/// A path segment: what isn't plain is percent-encoded.
pub(crate) fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            let _infallible = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// Runs a verb's asynchronous part.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().or_fail("can't start")?;
    runtime.block_on(future)
}
