//! The stage: three tools with their data, two tool-proxies, one server, and the people's keys.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use placet_jose::Algorithm;
use placet_json::{Value, object};
use placet_samples::{Control, Kind, Sample, scenario::Mode, seed};
use tokio::{
    net::TcpListener,
    process::{Child, Command},
};

use super::{
    agent::{Agent, text},
    evidence::Evidence,
    files,
};
use crate::{
    admin::{Admin, ServerArgs},
    failure::{Failure, OrFail},
    http::Client,
    keyfile,
};

/// How long a process may take to be ready.
const READY: Duration = Duration::from_secs(30);
/// How long a process may take to end by itself.
const ORDERLY: Duration = Duration::from_secs(10);
/// The key that billing accepts: from here on only the vault has it.
const BILLING_KEY: &str = "bk_live_5b0c7e1f94d2a6835b0c";

/// Where everything runs.
pub(super) struct Stage {
    dir: PathBuf,
    /// Removes the directory at the end, unless it was named.
    _temporary: Option<tempfile::TempDir>,
    data: PathBuf,
    pub(super) gateway: String,
    pub(super) admin_url: String,
    /// What is published of each tool: proxies for CRM and chat, billing itself.
    pub(super) tools: [String; 3],
    pub(super) controls: [Control; 3],
    children: Vec<Child>,
    pub(super) operator: Admin,
    pub(super) ready_in: Duration,
}

/// A tool of the sample desk, running in this process.
pub(super) struct Tool {
    pub(super) url: String,
    pub(super) control: Control,
}

/// Starts a sample tool on fresh data.
pub(super) async fn tool(kind: Kind, database: &Path, key: Option<&str>) -> Result<Tool, Failure> {
    seed(kind, database).or_fail("can't make the tools' data")?;
    let sample = Sample::open(kind, database).or_fail("can't open the tools' data")?;
    let control = sample.control();
    let listener = TcpListener::bind("127.0.0.1:0").await.or_fail("can't listen on loopback")?;
    let url = format!("http://{}/mcp", listener.local_addr().or_fail("can't listen on loopback")?);
    let key = key.map(str::to_owned);
    tokio::spawn(async move {
        if let Err(error) = sample.serve_http(listener, key).await {
            eprintln!("placet demo: a sample tool stopped: {error}");
        }
    });
    Ok(Tool { url, control })
}

/// A port that was free a moment ago.
async fn port() -> Result<u16, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await.or_fail("can't listen on loopback")?;
    Ok(listener.local_addr().or_fail("can't listen on loopback")?.port())
}

impl Stage {
    /// Builds it: release, settings, processes, people, agents, the case.
    pub(super) async fn build(named: Option<PathBuf>) -> Result<Self, Failure> {
        let (dir, temporary) = match named {
            Some(dir) => {
                std::fs::create_dir_all(&dir).or_fail(format_args!("can't make `{}`", dir.display()))?;
                let mut entries =
                    std::fs::read_dir(&dir).or_fail(format_args!("can't read `{}`", dir.display()))?;
                if entries.next().is_some() {
                    return Err(Failure::new(format!("`{}` isn't empty", dir.display()))
                        .remedy("name a directory that is empty or isn't there yet"));
                }
                (dir.canonicalize().or_fail("can't name the directory")?, None)
            }
            None => {
                let temporary = tempfile::Builder::new()
                    .prefix("placet-demo-")
                    .tempdir()
                    .or_fail("can't make a directory")?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let crm = tool(Kind::Crm, &dir.join("crm.sqlite"), None).await?;
        let billing = tool(Kind::Billing, &dir.join("billing.sqlite"), Some(BILLING_KEY)).await?;
        let chat = tool(Kind::Chat, &dir.join("chat.sqlite"), None).await?;
        files::write(&dir.join("release"))?;
        let (gateway, admin) = (port().await?, port().await?);
        let (crm_proxy, chat_proxy) = (port().await?, port().await?);
        let published = |port: u16| format!("http://127.0.0.1:{port}/mcp");
        let tools = [published(crm_proxy), billing.url.clone(), published(chat_proxy)];
        let settings = settings(gateway, admin, &tools);
        let config = dir.join("placet.toml");
        std::fs::write(&config, settings).or_fail("can't write the settings")?;

        let began = Instant::now();
        let mut children = vec![spawn(&dir, "serve", &["serve", "--config", &text(&config)])?];
        let (gateway, admin_url) =
            (format!("http://127.0.0.1:{gateway}"), format!("http://127.0.0.1:{admin}"));
        until(&format!("{admin_url}/healthz")).await?;
        let ready_in = began.elapsed();
        for (name, port, upstream) in [("crm", crm_proxy, &crm.url), ("chat", chat_proxy, &chat.url)] {
            let (listen, audience) = (format!("127.0.0.1:{port}"), published(port));
            let (keys, state) = (format!("{gateway}/oauth/jwks"), text(&dir.join(format!("proxy-{name}"))));
            let arguments = [
                "tool-proxy",
                "--listen",
                &listen,
                "--upstream",
                upstream,
                "--audience",
                &audience,
                "--issuer",
                &gateway,
                "--issuer-key",
                &keys,
                "--state",
                &state,
            ];
            children.push(spawn(&dir, &format!("tool-proxy-{name}"), &arguments)?);
        }
        let operator =
            ServerArgs { server: admin_url.clone(), key: dir.join("data/keys/operator.pem"), human: None }
                .open()?;
        let stage = Self {
            data: dir.join("data"),
            dir,
            _temporary: temporary,
            gateway,
            admin_url,
            tools,
            controls: [crm.control, billing.control, chat.control],
            children,
            operator,
            ready_in,
        };
        stage.people().await?;
        stage.reviewed().await?;
        Ok(stage)
    }

    /// The facts: people, their roles, the cases, who works on what. Billing's key goes into the vault.
    async fn people(&self) -> Result<(), Failure> {
        for (tenant, secret) in
            [("acme", BILLING_KEY), ("globex", BILLING_KEY), ("organisation", BILLING_KEY)]
        {
            let body = object! { "tenant" => tenant, "upstream" => "billing", "human" => Value::Null, "secret" => secret, "why" => "moved from the agents' configuration" };
            self.operator.post("/v1/vault", &drop_null(body)).await?;
        }
        let parse = |text: &str| {
            placet_json::parse(text.as_bytes(), &placet_json::Limits::MESSAGE)
                .or_fail("the demonstration's facts")
        };
        self.operator.post("/v1/facts", &parse(ORGANISATION)?).await?;
        self.operator.post("/v1/facts", &parse(GLOBEX)?).await?;
        let omar = keyfile::generate(&self.key("omar"), Algorithm::EdDsa)?;
        let body = object! { "jwk" => omar.public().to_jwk(), "why" => "the support manager's own key" };
        self.operator.post("/v1/humans/omar/keys", &body.into()).await?;
        Ok(())
    }

    /// Waits until the gateway has read all tools, with definitions that the release accepts.
    async fn reviewed(&self) -> Result<(), Failure> {
        let began = Instant::now();
        loop {
            let mut wrong = None;
            for upstream in ["crm", "billing", "chat"] {
                match self.operator.get(&format!("/v1/upstreams/{upstream}/tools")).await {
                    Ok(tools) => {
                        let tools = tools.get("tools").and_then(Value::as_array).unwrap_or_default();
                        let name = |tool: &Value| {
                            tool.get("name").and_then(Value::as_str).unwrap_or_default().to_owned()
                        };
                        let changed = tools
                            .iter()
                            .find(|tool| tool.get("accepted").and_then(Value::as_bool) == Some(false));
                        if let Some(changed) = changed {
                            let digest = changed.get("digest").and_then(Value::as_str).unwrap_or_default();
                            return Err(Failure::new(format!(
                                "`{upstream}.{}` has the definition {digest}, which the release doesn't accept",
                                name(changed)
                            )));
                        }
                        if tools.is_empty() {
                            wrong = Some(Failure::new(format!("`{upstream}` offers no tools")));
                        }
                    }
                    Err(error) => wrong = Some(error),
                }
            }
            match wrong {
                None => return Ok(()),
                Some(error) if began.elapsed() > READY => return Err(error),
                Some(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Opens a workflow about a case for a person; its end in milliseconds from now.
    pub(super) async fn open(
        &self,
        tenant: &str,
        workflow: &str,
        human: &str,
        case: &str,
        life_ms: u64,
    ) -> Result<(), Failure> {
        let now = crate::clock::secs();
        let ends = placet_core::Timestamp::from_secs(now).plus_millis(life_ms).to_string();
        let body = object! {
            "id" => workflow, "type" => "support_case", "owner" => human, "intents" => vec![Value::from("support_case_resolution")],
            "ends" => ends, "bindings" => object! { "support_case" => case }, "why" => format!("{human} works on {case}"),
        };
        self.operator.post(&format!("/v1/tenants/{tenant}/workflows"), &body.into()).await.map(drop)
    }

    /// Delegates in a workflow: from a person, or from another delegation.
    pub(super) async fn delegate(
        &self,
        tenant: &str,
        id: &str,
        from: From<'_>,
        agent: &str,
        workflow: &str,
        depth: u64,
    ) -> Result<(), Failure> {
        let grantor = match from {
            From::Human(_) => Value::from("human"),
            From::Delegation(parent) => object! { "parent" => parent }.into(),
        };
        let actions = [
            "summarize_case",
            "issue_refund",
            "export_customer_data",
            "search_customers",
            "post_message",
            "read_balance",
        ];
        let scope = object! { "actions" => actions.into_iter().map(Value::from).collect::<Vec<_>>(), "depth" => depth, "limits" => object! { "amount" => 500_u64 } };
        let mut body = object! { "id" => id, "agent" => agent, "workflow" => workflow, "grantor" => grantor, "scope" => scope, "why" => "for this case" };
        if let From::Human(human) = from {
            body.insert("human", human);
        }
        self.operator.post(&format!("/v1/tenants/{tenant}/delegations"), &body.into()).await.map(drop)
    }

    /// Enrols an agent, with a key that only its connector has, and connects it.
    pub(super) async fn agent(&self, id: &str, workflow: &str, delegation: &str) -> Result<Agent, Failure> {
        self.agent_in(id, workflow, delegation, Mode::Auto).await
    }

    pub(super) async fn agent_in(
        &self,
        id: &str,
        workflow: &str,
        delegation: &str,
        mode: Mode,
    ) -> Result<Agent, Failure> {
        let key = self.key(id);
        let mut arguments = vec![
            "--server".to_owned(),
            self.gateway.clone(),
            "--key".to_owned(),
            text(&key),
            "--workflow".to_owned(),
            workflow.to_owned(),
        ];
        arguments.extend(["--delegation".to_owned(), delegation.to_owned()]);
        if !key.exists() {
            let code = self
                .operator
                .post(&format!("/v1/agents/{id}/codes"), &object! { "why" => "the demonstration" }.into())
                .await?;
            let code =
                code.get("code").and_then(Value::as_str).ok_or_else(|| Failure::new("no enrolment code"))?;
            arguments.extend(["--enrol".to_owned(), code.to_owned()]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Agent::start(&arguments, mode).await
    }

    /// Where somebody's private key is.
    pub(super) fn key(&self, who: &str) -> PathBuf {
        self.dir.join("keys").join(format!("{who}.pem"))
    }

    /// Acts as a person, with their own key.
    pub(super) fn as_person(&self, human: &str) -> Result<Admin, Failure> {
        ServerArgs { server: self.admin_url.clone(), key: self.key(human), human: Some(human.to_owned()) }
            .open()
    }

    pub(super) fn data(&self) -> &Path {
        &self.data
    }
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Waits until the ledger's tree of a tenant has a signed head, which a follower makes about once a second.
    pub(super) async fn signed(&self, tenant: &str) {
        for _ in 0..60 {
            if self.data.join("tree").join(tenant).join("checkpoint").exists() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What the tools' databases and the ledger say.
    pub(super) async fn evidence(&self) -> Result<Evidence, Failure> {
        // Denials ride the next commit, at most some milliseconds later.
        tokio::time::sleep(Duration::from_millis(100)).await;
        Evidence::gather(&self.dir, &self.data)
    }

    /// Runs a verb of this program and returns what it printed, and whether it said yes.
    pub(super) async fn verb(&self, arguments: &[&str]) -> Result<(bool, String), Failure> {
        let exe = std::env::current_exe().or_fail("can't find this program")?;
        let output = Command::new(exe).args(arguments).output().await.or_fail("can't run a verb")?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Ok((output.status.success(), text))
    }

    pub(super) fn addresses(&self) -> String {
        let [crm, billing, chat] = &self.tools;
        format!(
            "  agents        {}/mcp\n  administrators {}\n  operator's key {}\n  CRM {crm}, billing {billing}, chat {chat}",
            self.gateway,
            self.admin_url,
            text(&self.data.join("keys/operator.pem"))
        )
    }

    /// Ends everything that was started: in order where it can, so that what was recorded last is signed as well.
    pub(super) async fn end(mut self) {
        for child in &self.children {
            if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) {
                // Already gone is gone.
                let _gone = kill(Pid::from_raw(id), Signal::SIGTERM);
            }
        }
        for child in &mut self.children {
            if tokio::time::timeout(ORDERLY, child.wait()).await.is_err() {
                let _gone = child.kill().await;
            }
        }
        for control in &self.controls {
            control.stop();
        }
    }
}

/// From whom a delegation comes.
#[derive(Debug, Clone, Copy)]
pub(super) enum From<'a> {
    Human(&'a str),
    Delegation(&'a str),
}

fn drop_null(mut body: placet_json::Object) -> Value {
    body.retain(|_, value| !value.is_null());
    body.into()
}

fn settings(gateway: u16, admin: u16, tools: &[String; 3]) -> String {
    let [crm, billing, chat] = tools;
    format!(
        "[server]\norganisation = \"demo\"\nlisten = \"127.0.0.1:{gateway}\"\nadmin_listen = \"127.0.0.1:{admin}\"\n\
         public_url = \"http://127.0.0.1:{gateway}\"\nadmin_url = \"http://127.0.0.1:{admin}\"\ndata = \"data\"\n\n[release]\ndir = \"release\"\n\n\
         [log]\nlevel = \"warn\"\n\n\
         [[upstream]]\nname = \"crm\"\nurl = \"{crm}\"\nallow_private = true\nlist_with = \"call-token\"\n\n\
         [[upstream]]\nname = \"billing\"\nurl = \"{billing}\"\nallow_private = true\nlist_with = \"vault:billing\"\n\n\
         [[upstream]]\nname = \"chat\"\nurl = \"{chat}\"\nallow_private = true\nlist_with = \"call-token\"\n"
    )
}

fn spawn(dir: &Path, name: &str, arguments: &[&str]) -> Result<Child, Failure> {
    let exe = std::env::current_exe().or_fail("can't find this program")?;
    let log = std::fs::File::create(dir.join(format!("{name}.log"))).or_fail("can't write a log")?;
    let errors = log.try_clone().or_fail("can't write a log")?;
    let mut command = Command::new(exe);
    command.args(arguments).stdin(Stdio::null()).stdout(log).stderr(errors).kill_on_drop(true);
    command.spawn().or_fail(format_args!("can't start `placet {name}`"))
}

/// Waits until a probe answers 200.
async fn until(url: &str) -> Result<(), Failure> {
    let client = Client::new(url)?;
    let began = Instant::now();
    loop {
        let request = Request::get(url).body(Full::new(Bytes::new())).or_fail(url)?;
        let answered = client.fetch(request, 1 << 16, Duration::from_secs(2)).await;
        if answered.is_ok_and(|response| response.status().is_success()) {
            return Ok(());
        }
        if began.elapsed() > READY {
            return Err(Failure::new(format!("{url} doesn't become ready"))
                .remedy("look at serve.log in the demonstration's directory (`--data DIR` keeps it)"));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const ORGANISATION: &str = r#"{
  "tenant": "acme",
  "tenants": ["acme", "globex"],
  "humans": [
    {"id": "maya", "standing": "active", "home": "acme"},
    {"id": "omar", "standing": "active", "home": "acme"},
    {"id": "lena", "standing": "active", "home": "globex"}
  ],
  "agents": [
    {"id": "agent-7", "type": "support_agent", "owner": "maya", "standing": "active"},
    {"id": "planner-1", "type": "planner_agent", "owner": "maya", "standing": "active"},
    {"id": "retriever-1", "type": "retrieval_agent", "owner": "maya", "standing": "active"}
  ],
  "assignments": [
    {"human": "maya", "roles": ["support"], "until": "ended"},
    {"human": "omar", "roles": ["support_manager"], "until": "ended"}
  ],
  "resources": [
    {"type": "support_case", "id": "CASE-1837", "attributes": {"case_id": "CASE-1837", "customer_id": "cust-101"}},
    {"type": "support_case", "id": "CASE-2001", "attributes": {"case_id": "CASE-2001", "customer_id": "cust-102"}},
    {"type": "support_case", "id": "CASE-2002", "attributes": {"case_id": "CASE-2002", "customer_id": "cust-103"}}
  ],
  "tuples": ["support_case:CASE-1837#assignee@team:desk#member", "support_case:CASE-2002#assignee@team:desk#member", "team:desk#member@user:maya"],
  "why": "the support desk of acme"
}"#;

const GLOBEX: &str = r#"{
  "tenant": "globex",
  "assignments": [{"human": "lena", "roles": ["support"], "until": "ended"}],
  "resources": [{"type": "support_case", "id": "CASE-9001", "attributes": {"case_id": "CASE-9001", "customer_id": "cust-901"}}],
  "why": "the support desk of globex"
}"#;
