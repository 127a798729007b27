//! The agent towards the gateway: enrolment, tokens, proofs.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use placet_jose::{
    Algorithm, SigningKey, Stamp, dpop, htu::Htu, keys::random_id, mint, tokens::ClientAssertion,
};
use placet_json::{Limits, Value, object};
use tokio::sync::Mutex;

use super::Connect;
use crate::{
    clock,
    failure::{Failure, OrFail},
    http::Client,
    keyfile,
};

/// How long the gateway's own endpoints may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest document of theirs.
const MAX_DOCUMENT: usize = 1 << 20;
/// A token with less than this left is renewed, in seconds.
const RENEW: u64 = 45;
/// The life of a client assertion, in seconds.
const ASSERTION_LIFE: u64 = 30;
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// An enrolled agent at one gateway.
pub(super) struct Agent {
    http: Client,
    key: SigningKey,
    id: String,
    issuer: String,
    resource: String,
    token_url: Htu,
    /// Where messages go.
    endpoint: Htu,
    details: Option<Value>,
    /// The intent of every call, if one was set.
    pub(super) intent: Option<String>,
    token: Mutex<Option<Token>>,
}

struct Token {
    text: String,
    /// In seconds since the Unix epoch.
    expires: u64,
}

/// The workflow token that an enrolled agent gets now, and the key that it is bound to.
pub(crate) async fn workflow_token(
    server: &str,
    key: &Path,
    workflow: Option<&str>,
) -> Result<Held, Failure> {
    let options = Connect {
        server: server.to_owned(),
        key: key.to_owned(),
        agent: None,
        enrol: None,
        workflow: workflow.map(str::to_owned),
        delegation: None,
        intent: None,
        upstream: None,
        http: None,
    };
    let agent = Agent::open(&options).await?;
    let token = agent.token(None).await.map_err(|unanswered| match unanswered {
        Unanswered::Unreachable(why)
        | Unanswered::Broken(why)
        | Unanswered::Unauthorised(why)
        | Unanswered::Unavailable(why) => Failure::new(why),
    })?;
    Ok(Held { token, key: agent.key })
}

/// A token, and the key that it is bound to.
pub(crate) struct Held {
    /// The token.
    pub(crate) token: String,
    /// Its key.
    pub(crate) key: SigningKey,
}

/// Why no answer of the gateway came.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The gateway can't be reached; nothing was sent.
    Unreachable(String),
    /// The connection broke after the request was sent.
    Broken(String),
    /// There is no token: the workflow or the delegation ended, or the agent may not act any more.
    Unauthorised(String),
    /// The gateway is there but can't give tokens now.
    Unavailable(String),
}

impl Agent {
    /// Finds the gateway, and enrols the key where that was asked for.
    pub(super) async fn open(options: &Connect) -> Result<Self, Failure> {
        let server = options.server.trim_end_matches('/');
        let base = Htu::parse(server).or_fail(format_args!("`{}`", options.server))?;
        let http = Client::new(server)?;
        let gateway = discover(&http, server, &base).await?;
        let identity = Identity::beside(&options.key);
        let (key, id) = match (identity.read(&gateway.issuer)?, &options.enrol) {
            (Some(id), _) => (keyfile::load(&options.key)?, id),
            (None, Some(code)) => {
                let key = if options.key.exists() {
                    keyfile::load(&options.key)?
                } else {
                    keyfile::generate(&options.key, Algorithm::EdDsa)?
                };
                let id = enrol(&http, &base, &key, code).await?;
                identity.write(&gateway.issuer, &id)?;
                (key, id)
            }
            (None, None) => {
                let id = options.agent.clone().ok_or_else(|| {
                    Failure::new(format!("the key `{}` isn't enrolled at {server}", options.key.display()))
                        .remedy("get a code from `placet agent enrol` and give it as `--enrol CODE`")
                })?;
                (keyfile::load(&options.key)?, id)
            }
        };
        let id = options.agent.clone().unwrap_or(id);
        let endpoint = match &options.upstream {
            None => gateway.resource.clone(),
            Some(name) => format!("{}/{}", gateway.resource, crate::admin::segment(name)),
        };
        Ok(Self {
            http,
            key,
            id,
            issuer: gateway.issuer,
            token_url: Htu::parse(&gateway.token_endpoint).or_fail("the gateway's token endpoint")?,
            endpoint: Htu::parse(&endpoint).or_fail("the gateway's resource")?,
            resource: gateway.resource,
            details: details(options)?,
            intent: options.intent.clone(),
            token: Mutex::new(None),
        })
    }

    /// Sends one request with a fresh proof; a token that is refused is renewed once.
    pub(super) async fn send(
        &self,
        method: &str,
        headers: &[(String, String)],
        body: &Bytes,
    ) -> Result<Response<Incoming>, Unanswered> {
        let accept =
            if method == "GET" { "text/event-stream" } else { "application/json, text/event-stream" };
        let mut all = vec![(header::ACCEPT.to_string(), accept.to_owned())];
        if method == "POST" {
            all.push((header::CONTENT_TYPE.to_string(), "application/json".to_owned()));
        }
        all.extend(self.intent.iter().map(|intent| ("placet-intent".to_owned(), intent.clone())));
        all.extend(headers.iter().cloned());
        self.send_to(method, &self.endpoint, self.endpoint.as_str(), &all, body).await
    }

    /// Where the paths of HTTP APIs are, without a slash at the end.
    pub(super) fn proxy(&self) -> String {
        format!("{}/proxy", self.resource.strip_suffix("/mcp").unwrap_or(&self.resource))
    }

    /// The same to another place of the gateway: its URL, and the URI with a query if it has one.
    pub(super) async fn send_to(
        &self,
        method: &str,
        url: &Htu,
        uri: &str,
        headers: &[(String, String)],
        body: &Bytes,
    ) -> Result<Response<Incoming>, Unanswered> {
        let (response, token) = self.attempt(method, (url, uri), headers, body, None).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        // 401 means that nothing happened: the request may be repeated, once, with a token of now.
        Ok(self.attempt(method, (url, uri), headers, body, Some(&token)).await?.0)
    }

    async fn attempt(
        &self,
        method: &str,
        (url, uri): (&Htu, &str),
        headers: &[(String, String)],
        body: &Bytes,
        refused: Option<&str>,
    ) -> Result<(Response<Incoming>, String), Unanswered> {
        let token = self.token(refused).await?;
        let proof = self
            .proof(method, url, Some(&token), None)
            .map_err(|failure| Unanswered::Unavailable(failure.to_string()))?;
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header(header::AUTHORIZATION, format!("DPoP {token}"))
            .header("dpop", proof);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(body.clone()))
            .map_err(|error| Unanswered::Unavailable(error.to_string()))?;
        match self.http.send(request).await {
            Ok(response) => Ok((response, token)),
            Err(error) if error.is_connect() => Err(Unanswered::Unreachable(error.to_string())),
            Err(error) => Err(Unanswered::Broken(error.to_string())),
        }
    }

    /// The token in hand, or a new one; one request at a time asks for it. `refused` is one that must not come again.
    async fn token(&self, refused: Option<&str>) -> Result<String, Unanswered> {
        let mut held = self.token.lock().await;
        if let Some(token) = held.as_ref()
            && clock::secs().saturating_add(RENEW) < token.expires
            && refused != Some(token.text.as_str())
        {
            return Ok(token.text.clone());
        }
        let token = match self.fetch_token(None).await? {
            Fetched::Token(token) => token,
            Fetched::Nonce(nonce) => match self.fetch_token(Some(&nonce)).await? {
                Fetched::Token(token) => token,
                Fetched::Nonce(_) => {
                    return Err(Unanswered::Unavailable(
                        "the gateway accepts no nonce of its own".to_owned(),
                    ));
                }
            },
        };
        let text = token.text.clone();
        *held = Some(token);
        Ok(text)
    }

    async fn fetch_token(&self, nonce: Option<&str>) -> Result<Fetched, Unanswered> {
        let request =
            self.token_request(nonce).map_err(|failure| Unanswered::Unavailable(failure.to_string()))?;
        let asked = clock::secs();
        let response = self
            .http
            .fetch(request, MAX_DOCUMENT, PATIENCE)
            .await
            .map_err(|failure| Unanswered::Unreachable(failure.to_string()))?;
        let document = placet_json::parse(response.body(), &Limits::MESSAGE).ok();
        let text =
            |name: &str| document.as_ref().and_then(|document| document.get(name)).and_then(Value::as_str);
        if response.status().is_success() {
            let life =
                document.as_ref().and_then(|document| document.get("expires_in")).and_then(Value::as_u64);
            return match (text("access_token"), life) {
                (Some(token), Some(life)) => {
                    Ok(Fetched::Token(Token { text: token.to_owned(), expires: asked.saturating_add(life) }))
                }
                _ => Err(Unanswered::Unavailable("the gateway's token answer is malformed".to_owned())),
            };
        }
        let nonce_offered = response.headers().get("dpop-nonce").and_then(|nonce| nonce.to_str().ok());
        match (text("error"), nonce_offered) {
            (Some("use_dpop_nonce"), Some(offered)) if nonce.is_none() => Ok(Fetched::Nonce(offered.to_owned())),
            (Some("invalid_grant"), _) => Err(Unanswered::Unauthorised("there is no live delegation to this agent here: the workflow has ended, or the delegation was revoked".to_owned())),
            (Some("invalid_authorization_details"), _) => Err(Unanswered::Unauthorised("several delegations fit; name one with `--workflow` or `--delegation`".to_owned())),
            (Some("invalid_client"), _) => Err(Unanswered::Unauthorised(format!("the gateway doesn't know `{}` with this key, or it may not act", self.id))),
            (Some(error), _) => Err(Unanswered::Unavailable(format!("the gateway gives no token: {error}"))),
            (None, _) => Err(Unanswered::Unavailable(format!("the gateway gives no token: {}", response.status()))),
        }
    }

    fn token_request(&self, nonce: Option<&str>) -> Result<Request<Full<Bytes>>, Failure> {
        let now = clock::secs();
        let claims = ClientAssertion { sub: self.id.clone(), jti: random_id().or_fail("no randomness")? };
        let stamp = Stamp {
            issuer: &self.id,
            audience: &self.issuer,
            issued_at: now,
            expires_at: now.saturating_add(ASSERTION_LIFE),
        };
        let assertion = mint(&self.key, &stamp, &claims).or_fail("can't sign")?;
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &self.id)
            .append_pair("client_assertion_type", ASSERTION_TYPE)
            .append_pair("client_assertion", &assertion)
            .append_pair("resource", &self.resource);
        if let Some(details) = &self.details {
            form.append_pair("authorization_details", &details.to_string());
        }
        Request::post(self.token_url.as_str())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("dpop", self.proof("POST", &self.token_url, None, nonce)?)
            .body(Full::new(form.finish().into()))
            .or_fail("can't ask for a token")
    }

    fn proof(
        &self,
        method: &str,
        url: &Htu,
        token: Option<&str>,
        nonce: Option<&str>,
    ) -> Result<String, Failure> {
        let jti = random_id().or_fail("no randomness")?;
        dpop::prove(&self.key, &jti, method, url, clock::secs(), token, nonce).or_fail("can't sign")
    }
}

enum Fetched {
    Token(Token),
    Nonce(String),
}

/// What an agent needs to know of a gateway (RFC 9728, RFC 8414).
struct Gateway {
    issuer: String,
    resource: String,
    token_endpoint: String,
}

/// All of it must lie at the origin that the user named: a document can't lead the key elsewhere.
async fn discover(http: &Client, server: &str, base: &Htu) -> Result<Gateway, Failure> {
    let resource = document(http, &format!("{server}/.well-known/oauth-protected-resource/mcp")).await?;
    let metadata = document(http, &format!("{server}/.well-known/oauth-authorization-server")).await?;
    let here = |document: &Value, name: &str| {
        let url = document.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        match Htu::parse(&url) {
            Ok(parsed) if parsed.origin() == base.origin() => Ok(url),
            _ => Err(Failure::new(format!("the gateway at {server} names {url:?} as its `{name}`"))
                .remedy("give the gateway's public URL as `--server`, exactly as its `server.public_url`")),
        }
    };
    Ok(Gateway {
        issuer: here(&metadata, "issuer")?,
        resource: here(&resource, "resource")?,
        token_endpoint: here(&metadata, "token_endpoint")?,
    })
}

async fn document(http: &Client, url: &str) -> Result<Value, Failure> {
    let request =
        Request::get(url).header(header::ACCEPT, "application/json").body(Full::default()).or_fail(url)?;
    let response = http
        .fetch(request, MAX_DOCUMENT, PATIENCE)
        .await
        .map_err(|failure| failure.remedy("is the gateway running? `--server` names its public URL"))?;
    if !response.status().is_success() {
        return Err(Failure::new(format!("{url} answers {}", response.status()))
            .remedy("is this a gateway's public URL?"));
    }
    placet_json::parse(response.body(), &Limits::MESSAGE).or_fail(url)
}

/// Brings code, key and a proof of the key that is bound to the code; the answer names the agent.
async fn enrol(http: &Client, base: &Htu, key: &SigningKey, code: &str) -> Result<String, Failure> {
    let url = base.with_path("/oauth/enrol").or_fail("the gateway's URL")?;
    let jti = random_id().or_fail("no randomness")?;
    let proof =
        dpop::prove(key, &jti, "POST", &url, clock::secs(), Some(code), None).or_fail("can't sign")?;
    let body = Value::from(object! { "code" => code, "jwk" => key.public().to_jwk() });
    let request = Request::post(url.as_str())
        .header(header::CONTENT_TYPE, "application/json")
        .header("dpop", proof)
        .body(Full::new(body.to_bytes().into()))
        .or_fail("can't enrol")?;
    let response = http.fetch(request, MAX_DOCUMENT, PATIENCE).await?;
    let answer = placet_json::parse(response.body(), &Limits::MESSAGE).ok();
    let agent = answer.as_ref().and_then(|answer| answer.get("agent")).and_then(Value::as_str);
    match agent.filter(|_| response.status().is_success()) {
        Some(agent) => Ok(agent.to_owned()),
        None => Err(Failure::new("the gateway doesn't take the enrolment code")
            .remedy("a code works once and for a short time; get a new one from `placet agent enrol`")),
    }
}

/// What was enrolled, kept beside the key: no secret.
struct Identity {
    path: PathBuf,
}

impl Identity {
    fn beside(key: &Path) -> Self {
        let mut name = key.as_os_str().to_owned();
        name.push(".json");
        Self { path: PathBuf::from(name) }
    }
    fn read(&self, issuer: &str) -> Result<Option<String>, Failure> {
        let what = || format!("`{}`", self.path.display());
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::new(format!("{}: {error}", what()))),
        };
        let identity = placet_json::parse(&bytes, &Limits::MESSAGE).or_fail(what())?;
        let text = |name: &str| identity.get(name).and_then(Value::as_str);
        // Enrolled somewhere else is not enrolled here.
        Ok(text("agent").filter(|_| text("issuer") == Some(issuer)).map(str::to_owned))
    }
    fn write(&self, issuer: &str, agent: &str) -> Result<(), Failure> {
        let identity = Value::from(object! { "agent" => agent, "issuer" => issuer });
        std::fs::write(&self.path, identity.to_bytes())
            .or_fail(format_args!("can't write `{}`", self.path.display()))
    }
}

fn details(options: &Connect) -> Result<Option<Value>, Failure> {
    if options.workflow.is_none() && options.delegation.is_none() {
        return Ok(None);
    }
    let mut detail = object! { "type" => "placet_workflow" };
    if let Some(workflow) = &options.workflow {
        let (tenant, workflow) = workflow
            .split_once('/')
            .ok_or_else(|| Failure::new("`--workflow` is written TENANT/WORKFLOW"))?;
        detail.insert("tenant", tenant);
        detail.insert("workflow", workflow);
    }
    if let Some(delegation) = &options.delegation {
        detail.insert("delegation", delegation.as_str());
    }
    Ok(Some(Value::Array(vec![detail.into()])))
}
