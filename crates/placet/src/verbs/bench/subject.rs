//! The subjects of the measurement: the tool itself, the bare proxy, and Placet as agents use it.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use placet_core::Timestamp;
use placet_jose::{
    Algorithm, SigningKey, Stamp, dpop, htu::Htu, keys::random_id, mint, tokens::ClientAssertion,
};
use placet_json::{Limits, Object, Value, object};

use super::{
    cost::Payer,
    load::Requests,
    release::{self, Tool},
    rig::{self, Part},
};
use crate::{
    admin::{Admin, ServerArgs, block_on},
    clock,
    failure::{Failure, OrFail},
    http::Client,
};

/// How long a server may take to be ready.
const READY: Duration = Duration::from_secs(30);
/// How long the gateway's own endpoints may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// A token with less than this left is renewed, in seconds.
const RENEW: u64 = 100;
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const REVISION: &str = "2026-07-28";

/// A call without any credential.
fn request(url: &str, id: u64, name: &str, arguments: Object) -> Result<Request<Full<Bytes>>, Failure> {
    let meta = object! {
        "io.modelcontextprotocol/protocolVersion" => REVISION,
        "io.modelcontextprotocol/clientCapabilities" => Object::new(),
    };
    let params = object! { "name" => name, "arguments" => arguments, "_meta" => meta };
    let message: Value =
        object! { "jsonrpc" => "2.0", "id" => id, "method" => "tools/call", "params" => params }.into();
    let host = url.split('/').nth(2).unwrap_or_default();
    Request::post(url.get(url.find(host).unwrap_or(0).saturating_add(host.len())..).unwrap_or("/"))
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream")
        .header("mcp-protocol-version", REVISION)
        .header("mcp-method", "tools/call")
        .header("mcp-name", name)
        .body(Full::new(message.to_bytes().into()))
        .or_fail("a request")
}

/// A part of the rig, called without credentials.
pub(super) struct Plain {
    address: String,
    part: Part,
    tool: Tool,
    next: u64,
}

impl Plain {
    pub(super) fn new(part: &Part, tool: Tool) -> Self {
        Self { address: part.address.to_string(), part: part.clone(), tool, next: 1 }
    }
}

impl Requests for Plain {
    fn prepare(&mut self, count: usize) -> Result<Vec<Request<Full<Bytes>>>, Failure> {
        let url = format!("http://{}/mcp", self.address);
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            self.next = self.next.saturating_add(1);
            all.push(request(&url, self.next, self.tool.name(), self.tool.arguments())?);
        }
        Ok(all)
    }
    fn expected(&self) -> &[u8] {
        rig::ANSWER.as_bytes()
    }
    fn address(&self) -> &str {
        &self.address
    }
    fn payer(&self) -> &Payer {
        &self.part.payer
    }
}

/// A whole server in a process of its own, and an enrolled agent.
pub(super) struct Placet {
    child: Child,
    address: String,
    base: String,
    admin: String,
    operator: PathBuf,
    key: SigningKey,
    token: Option<(String, u64)>,
    endpoint: Htu,
    token_url: Htu,
    payer: Payer,
    /// Which tool is called.
    pub(super) tool: Tool,
    next: u64,
    /// From the start of the process until it said that it is ready.
    pub(super) ready: Duration,
}

impl Placet {
    /// Starts it on a new directory below `data`, tells it who there is, and gets the agent a token.
    pub(super) fn start(data: &Path, stub: &Part, algorithm: Algorithm) -> Result<Self, Failure> {
        let dir = data.join("placet");
        release::write(&dir.join("release"))?;
        let (gateway, admin) = (port()?, port()?);
        let (base, admin) = (format!("http://127.0.0.1:{gateway}"), format!("http://127.0.0.1:{admin}"));
        let config = dir.join("placet.toml");
        std::fs::write(&config, settings(&base, &admin, stub)).or_fail("can't write the settings")?;
        let exe = std::env::current_exe().or_fail("can't find this program")?;
        let log = std::fs::File::create(dir.join("serve.log")).or_fail("can't write a log")?;
        let began = Instant::now();
        let child = Command::new(exe)
            .args(["serve".as_ref(), "--config".as_ref(), config.as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .or_fail("can't start `placet serve`")?;
        let key = SigningKey::generate(algorithm).or_fail("can't make a key")?;
        let mut placet = Self {
            payer: Payer::Process(child.id()),
            child,
            address: format!("127.0.0.1:{gateway}"),
            key,
            token: None,
            endpoint: Htu::parse(&format!("{base}/mcp")).or_fail("the gateway's URL")?,
            token_url: Htu::parse(&format!("{base}/oauth/token")).or_fail("the gateway's URL")?,
            base,
            operator: dir.join("data/keys/operator.pem"),
            admin,
            tool: Tool::Read,
            next: 1,
            ready: Duration::ZERO,
        };
        block_on(placet.prepare_stage(began))?;
        Ok(placet)
    }

    async fn prepare_stage(&mut self, began: Instant) -> Result<(), Failure> {
        let http = Client::new(&self.admin)?;
        let url = format!("{}/readyz", self.admin);
        loop {
            let probe = Request::get(&url).body(Full::default()).or_fail("a probe")?;
            if http.fetch(probe, 1 << 16, PATIENCE).await.is_ok_and(|answer| answer.status().is_success()) {
                break;
            }
            if began.elapsed() > READY {
                return Err(Failure::new("the server doesn't become ready")
                    .remedy("see serve.log; `--keep` leaves it"));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.ready = began.elapsed();
        let operator = self.operator()?;
        let ends = Timestamp::from_secs(clock::secs()).plus_millis(7 * 3_600_000);
        operator.post("/v1/facts", &release::facts(self.key.public(), ends, 0)?).await?;
        let secret = object! { "tenant" => "acme", "upstream" => "billing", "secret" => "sk_bench", "why" => "a measurement" };
        operator.post("/v1/vault", &secret.into()).await?;
        reviewed(&operator, began).await?;
        self.renew().await
    }

    /// The operator of this server.
    pub(super) fn operator(&self) -> Result<Admin, Failure> {
        ServerArgs { server: self.admin.clone(), key: self.operator.clone(), human: None }.open()
    }
    /// The process, for its memory.
    pub(super) fn process(&self) -> u32 {
        self.child.id()
    }

    async fn renew(&mut self) -> Result<(), Failure> {
        let now = clock::secs();
        if self.token.as_ref().is_some_and(|(_, ends)| now.saturating_add(RENEW) < *ends) {
            return Ok(());
        }
        let id = || random_id().or_fail("no randomness");
        let claims = ClientAssertion { sub: "agent-7".to_owned(), jti: id()? };
        let stamp = Stamp {
            issuer: "agent-7",
            audience: &self.base,
            issued_at: now,
            expires_at: now.saturating_add(30),
        };
        let assertion = mint(&self.key, &stamp, &claims).or_fail("can't sign")?;
        let body = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", "agent-7")
            .append_pair("client_assertion_type", ASSERTION_TYPE)
            .append_pair("client_assertion", &assertion)
            .append_pair("resource", self.endpoint.as_str())
            .finish();
        let proof =
            dpop::prove(&self.key, &id()?, "POST", &self.token_url, now, None, None).or_fail("can't sign")?;
        let request = Request::post(self.token_url.as_str())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("dpop", proof)
            .body(Full::new(body.into()))
            .or_fail("can't ask for a token")?;
        let answer = Client::new(&self.base)?.fetch(request, 1 << 16, PATIENCE).await?;
        let document = placet_json::parse(answer.body(), &Limits::MESSAGE).or_fail("the token's answer")?;
        let token = document.get("access_token").and_then(Value::as_str);
        let life = document.get("expires_in").and_then(Value::as_u64);
        let (Some(token), Some(life)) = (token, life) else {
            return Err(Failure::new(format!("the gateway gives no token: {document}")));
        };
        self.token = Some((token.to_owned(), now.saturating_add(life)));
        Ok(())
    }
}

impl Drop for Placet {
    fn drop(&mut self) {
        // Already gone is gone.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Requests for Placet {
    fn prepare(&mut self, count: usize) -> Result<Vec<Request<Full<Bytes>>>, Failure> {
        // The load's runtime is waiting for this; a token is asked for on a thread and runtime of its own.
        std::thread::scope(|scope| {
            scope.spawn(|| block_on(self.renew())).join().map_err(|_| Failure::new("a thread stopped"))?
        })?;
        let Some((token, _)) = &self.token else { return Err(Failure::new("there is no token")) };
        let name = format!("{}__{}", self.tool.upstream(), self.tool.name());
        let authorization = http::HeaderValue::from_str(&format!("DPoP {token}")).or_fail("a token")?;
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            self.next = self.next.saturating_add(1);
            let mut request = request(self.endpoint.as_str(), self.next, &name, self.tool.arguments())?;
            let jti = random_id().or_fail("no randomness")?;
            let now = clock::secs();
            let proof = dpop::prove(&self.key, &jti, "POST", &self.endpoint, now, Some(token), None)
                .or_fail("can't sign")?;
            request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
            request.headers_mut().insert("dpop", http::HeaderValue::from_str(&proof).or_fail("a proof")?);
            all.push(request);
        }
        Ok(all)
    }
    fn expected(&self) -> &[u8] {
        rig::ANSWER.as_bytes()
    }
    fn address(&self) -> &str {
        &self.address
    }
    fn payer(&self) -> &Payer {
        &self.payer
    }
}

/// Waits until the gateway has read the tools.
async fn reviewed(operator: &Admin, began: Instant) -> Result<(), Failure> {
    for upstream in ["crm", "billing"] {
        loop {
            let answer = operator.get(&format!("/v1/upstreams/{upstream}/tools")).await;
            let read = answer.ok().and_then(|answer| Some(!answer.get("tools")?.as_array()?.is_empty()));
            if read == Some(true) {
                break;
            }
            if began.elapsed() > READY {
                return Err(Failure::new(format!("the tools of `{upstream}` aren't read")));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    Ok(())
}

fn port() -> Result<u16, Failure> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").or_fail("can't listen on loopback")?;
    Ok(listener.local_addr().or_fail("can't listen on loopback")?.port())
}

fn settings(base: &str, admin: &str, stub: &Part) -> String {
    let listen = |url: &str| url.trim_start_matches("http://").to_owned();
    let stub = stub.address;
    format!(
        "[server]\norganisation = \"bench\"\nlisten = \"{}\"\nadmin_listen = \"{}\"\npublic_url = \"{base}\"\nadmin_url = \"{admin}\"\n\
         data = \"data\"\n\n[release]\ndir = \"release\"\n\n[log]\nlevel = \"warn\"\n\n[limits]\nstreams = 1000\n\n\
         [[upstream]]\nname = \"crm\"\nurl = \"http://{stub}/mcp\"\nallow_private = true\n\n\
         [[upstream]]\nname = \"billing\"\nurl = \"http://{stub}/mcp\"\nallow_private = true\n",
        listen(base),
        listen(admin)
    )
}
