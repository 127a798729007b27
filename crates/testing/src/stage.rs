//! A server with people, agents and cases of two tenants, and three tools that record.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use placet_jose::SigningKey;
use placet_json::Value;
use placet_server::{
    run::{Running, serve},
    settings::Settings,
};
use tempfile::TempDir;

use crate::{Admin, Agent, Files, Ledger, Recorder, Speaks, definitions, files, millis};

/// The secret of billing that is only in the vault.
const SECRET: &str = "bk_live_5b0c7e1f94d2a6835b0c";

/// How a stage is to be.
#[derive(Debug)]
pub struct StageBuilder {
    files: Files,
    settings: String,
    /// Further lines of upstreams' sections.
    upstreams: BTreeMap<&'static str, &'static str>,
    billing: Speaks,
}

/// A server at work.
#[derive(Debug)]
pub struct Stage {
    /// Billing, by a secret of the vault.
    pub billing: Recorder,
    /// The CRM, by call tokens.
    pub crm: Recorder,
    /// The desk, without credentials.
    pub desk: Recorder,
    /// The operator.
    pub admin: Admin,
    /// The gateway's public URL.
    pub gateway: String,
    /// Where agents are served.
    pub address: SocketAddr,
    dir: TempDir,
    agents: BTreeMap<&'static str, SigningKey>,
    running: Option<Running>,
    damaged: bool,
}

impl Default for StageBuilder {
    fn default() -> Self {
        Self {
            files: files::release(),
            settings: String::new(),
            upstreams: BTreeMap::new(),
            billing: Speaks::Modern,
        }
    }
}

impl StageBuilder {
    /// Changes a text of the release; it must be there.
    #[must_use]
    pub fn change(mut self, path: &str, from: &str, to: &str) -> Self {
        let text = self.files.get_mut(path).unwrap();
        assert!(text.contains(from), "{path} has no `{from}`");
        *text = text.replace(from, to);
        self
    }
    /// A further file of the release.
    #[must_use]
    pub fn file(mut self, path: &str, text: &str) -> Self {
        assert!(self.files.insert(path.to_owned(), text.to_owned()).is_none(), "{path} is there");
        self
    }
    /// Further settings.
    #[must_use]
    pub fn settings(mut self, text: &str) -> Self {
        self.settings.push_str(text);
        self
    }
    /// Further settings of one upstream.
    #[must_use]
    pub fn upstream(mut self, name: &'static str, text: &'static str) -> Self {
        self.upstreams.insert(name, text);
        self
    }
    /// The era of billing.
    #[must_use]
    pub fn billing(mut self, speaks: Speaks) -> Self {
        self.billing = speaks;
        self
    }
    /// Tries to start with this release only; why it isn't put in force.
    pub async fn refused(self) -> String {
        let dir = tempfile::tempdir().unwrap();
        self.write_release(dir.path());
        let text = "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndata = \"data\"\n\n[release]\ndir = \"release\"\n";
        std::fs::write(dir.path().join("placet.toml"), text).unwrap();
        match serve(settings_of(dir.path()), &|_| None).await {
            Ok(running) => {
                running.stop().await;
                panic!("the release was put in force")
            }
            Err(error) => error.to_string(),
        }
    }
    fn write_release(&self, dir: &Path) {
        for (path, text) in &self.files {
            let path = dir.join("release").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }
    /// Whether this release comes into force.
    pub async fn stands(self) -> bool {
        let dir = tempfile::tempdir().unwrap();
        self.write_release(dir.path());
        let text = "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndata = \"data\"\n\n[release]\ndir = \"release\"\n";
        std::fs::write(dir.path().join("placet.toml"), text).unwrap();
        let Ok(running) = serve(settings_of(dir.path()), &|_| None).await else { return false };
        running.stop().await;
        true
    }
    /// Whether a server with these settings doesn't start.
    pub async fn fails(self) -> bool {
        let dir = tempfile::tempdir().unwrap();
        let more = &self.settings;
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndata = \"data\"\n\n{more}"
        );
        let file = dir.path().join("placet.toml");
        std::fs::write(&file, text).unwrap();
        let Ok(settings) = Settings::load(&file, &|_| None) else { return true };
        match serve(settings, &|_| None).await {
            Ok(running) => {
                running.stop().await;
                false
            }
            Err(_) => true,
        }
    }
    /// Starts everything.
    pub async fn start(self) -> Stage {
        let dir = tempfile::tempdir().unwrap();
        let billing = Recorder::start(self.billing, definitions("billing")).await;
        let crm = Recorder::start(Speaks::Modern, definitions("crm")).await;
        let desk = Recorder::start(Speaks::Modern, definitions("desk")).await;
        self.write_release(dir.path());
        let more = (&*self.settings, &self.upstreams);
        write_settings(dir.path(), "127.0.0.1:0", "127.0.0.1:0", [&billing, &crm, &desk], more);
        let running = serve(settings_of(dir.path()), &|_| None).await.unwrap();
        let admin = Admin::operator(&running.admin_url, running.admin_addr, &dir.path().join("data"));
        let (gateway, address) = (running.public_url.clone(), running.agent_addr);
        // A restart is at the same addresses, so that tokens and proofs name the same server.
        write_settings(
            dir.path(),
            &running.agent_addr.to_string(),
            &running.admin_addr.to_string(),
            [&billing, &crm, &desk],
            more,
        );
        let mut stage = Stage {
            billing,
            crm,
            desk,
            admin,
            gateway,
            address,
            dir,
            agents: BTreeMap::new(),
            running: Some(running),
            damaged: false,
        };
        stage.people().await;
        stage.listed().await;
        stage
    }
}

impl Stage {
    /// The usual stage.
    pub async fn start() -> Self {
        StageBuilder::default().start().await
    }

    /// Stops the server, does something to its data, and starts it again at the same addresses.
    pub async fn restart(&mut self, meanwhile: impl FnOnce(&Path)) {
        self.stop().await;
        meanwhile(self.dir.path());
        self.start_again().await;
    }
    /// Whether a stopped server doesn't start on its data.
    pub async fn refuses_to_start(&self) -> bool {
        match serve(settings_of(self.dir.path()), &|_| None).await {
            Ok(running) => {
                running.stop().await;
                false
            }
            Err(_) => true,
        }
    }
    /// Starts a stopped server at its addresses.
    pub async fn start_again(&mut self) {
        self.running = Some(serve(settings_of(self.dir.path()), &|_| None).await.unwrap());
        self.listed().await;
    }
    /// Stops the server in good order.
    pub async fn stop(&mut self) {
        self.running.take().unwrap().stop().await;
    }
    /// The directory with settings, release and data.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
    /// The data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
    /// The test spoils the ledger on purpose: nobody needs to believe it.
    pub fn damaged(&mut self) {
        self.damaged = true;
    }
    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        Ledger::of(&self.data())
    }
    /// Billing's secret.
    #[must_use]
    pub fn secret(&self) -> &'static str {
        SECRET
    }
    /// What rides the next commit is on disk after this.
    pub async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(25)).await;
    }

    /// An agent of the stage, with its key, at work in this workflow by this delegation.
    pub async fn agent(&self, id: &str, tenant: &str, workflow: &str, delegation: &str) -> Agent {
        let mut agent = self.idle(id);
        agent.join(tenant, workflow, delegation).await;
        agent
    }
    /// An agent of the stage without a token.
    #[must_use]
    pub fn idle(&self, id: &str) -> Agent {
        Agent::new(id, &self.agents[id], &self.gateway, self.address)
    }
    /// The agent that works for Maya of acme on CASE-1837.
    pub async fn seven(&self) -> Agent {
        self.agent("agent-7", "acme", "wf-9", "dg-1").await
    }

    async fn people(&mut self) {
        let mut agents = Vec::new();
        for id in ["agent-7", "agent-8", "planner-1"] {
            let (key, keys) = Agent::fresh_key();
            self.agents.insert(id, key);
            agents.push(format!(
                r#"{{"id":"{id}","type":"support_agent","owner":"maya","standing":"active","keys":{keys}}}"#
            ));
        }
        let acme = ACME.replace("@agents@", &agents.join(",")).replace("@end@", &self.end_in(3_600_000));
        self.admin.act("/v1/facts", &acme).await;
        let globex = GLOBEX.replace("@end@", &self.end_in(3_600_000));
        self.admin.act("/v1/facts", &globex).await;
        for tenant in ["acme", "globex", "organisation"] {
            let body =
                format!(r#"{{"tenant":"{tenant}","upstream":"billing","secret":"{SECRET}","why":"a test"}}"#);
            self.admin.act("/v1/vault", &body).await;
        }
    }

    /// A moment that many milliseconds from now, as facts name it.
    #[must_use]
    pub fn end_in(&self, life: u64) -> String {
        placet_core::Timestamp::from_millis(millis() + life).to_string()
    }

    /// Waits until every tool was read with the definition that the release accepts.
    pub async fn listed(&self) {
        for _ in 0..200 {
            let mut all = true;
            for upstream in ["billing", "crm", "desk"] {
                let answer = self
                    .admin
                    .request("GET", &format!("/v1/upstreams/{upstream}/tools"), "")
                    .send(self.admin.address())
                    .await;
                all &= answer.status == 200
                    && answer
                        .message()
                        .get("tools")
                        .and_then(Value::as_array)
                        .is_some_and(|tools| !tools.is_empty());
            }
            if all {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the tools weren't listed");
    }
}

impl Drop for Stage {
    /// Whatever the test was about, its ledger is one that an outsider believes.
    fn drop(&mut self) {
        if !self.damaged && !std::thread::panicking() {
            crate::outsider::holds(&self.data());
            crate::outsider::conforms(&self.data());
        }
    }
}

/// The settings of a stage's directory.
#[must_use]
pub fn settings_of(dir: &Path) -> Settings {
    Settings::load(&dir.join("placet.toml"), &|_| None).unwrap_or_else(|problems| panic!("{problems}"))
}

fn write_settings(
    dir: &Path,
    agents: &str,
    admins: &str,
    tools: [&Recorder; 3],
    (more, own): (&str, &BTreeMap<&str, &str>),
) {
    let [billing, crm, desk] = tools.map(Recorder::url);
    let [of_billing, of_crm, of_desk] =
        ["billing", "crm", "desk"].map(|name| own.get(name).copied().unwrap_or_default());
    let text = format!(
        "[server]\norganisation = \"hostile\"\nlisten = \"{agents}\"\nadmin_listen = \"{admins}\"\ndata = \"data\"\n\n[release]\ndir = \"release\"\n\n{more}\n\n\
         [[upstream]]\nname = \"billing\"\nurl = \"{billing}\"\nallow_private = true\nlist_with = \"vault:billing\"\n{of_billing}\n\
         [[upstream]]\nname = \"crm\"\nurl = \"{crm}\"\nallow_private = true\nlist_with = \"call-token\"\n{of_crm}\n\
         [[upstream]]\nname = \"desk\"\nurl = \"{desk}\"\nallow_private = true\n{of_desk}\n"
    );
    std::fs::write(dir.join("placet.toml"), text).unwrap();
}

const ACME: &str = r#"{
  "tenant": "acme",
  "tenants": ["acme", "globex"],
  "humans": [
    {"id": "maya", "standing": "active", "home": "acme"},
    {"id": "bob", "standing": "active", "home": "acme"},
    {"id": "omar", "standing": "active", "home": "acme"},
    {"id": "lena", "standing": "active", "home": "globex"}
  ],
  "agents": [@agents@],
  "assignments": [
    {"human": "maya", "roles": ["support"], "until": "ended"},
    {"human": "bob", "roles": ["support"], "until": "ended"},
    {"human": "omar", "roles": ["support_manager"], "until": "ended"}
  ],
  "resources": [
    {"type": "support_case", "id": "CASE-1837", "attributes": {"case_id": "CASE-1837", "customer_id": "cust-101"}},
    {"type": "support_case", "id": "CASE-2001", "attributes": {"case_id": "CASE-2001", "customer_id": "cust-102"}}
  ],
  "workflows": [
    {"id": "wf-9", "type": "support_case", "owner": "maya", "intents": ["support_case_resolution"], "ends": "@end@", "bindings": {"support_case": "CASE-1837"}},
    {"id": "wf-10", "type": "support_case", "owner": "bob", "intents": ["support_case_resolution"], "ends": "@end@", "bindings": {"support_case": "CASE-2001"}}
  ],
  "delegations": [
    {"id": "dg-1", "human": "maya", "agent": "agent-7", "workflow": "wf-9", "grantor": "human",
     "scope": {"actions": ["summarize_case", "issue_refund", "search_customers", "take_note"], "intents": ["support_case_resolution"], "limits": {"amount": 500}, "ends": "@end@", "depth": 0}},
    {"id": "dg-8", "human": "maya", "agent": "agent-8", "workflow": "wf-9", "grantor": "human",
     "scope": {"actions": ["summarize_case", "issue_refund", "search_customers", "take_note"], "intents": ["support_case_resolution"], "limits": {"amount": 500}, "ends": "@end@", "depth": 0}},
    {"id": "dg-2", "human": "bob", "agent": "agent-7", "workflow": "wf-10", "grantor": "human",
     "scope": {"actions": ["take_note"], "intents": ["support_case_resolution"], "limits": {}, "ends": "@end@", "depth": 0}},
    {"id": "dg-p", "human": "maya", "agent": "planner-1", "workflow": "wf-9", "grantor": "human",
     "scope": {"actions": ["issue_refund", "take_note"], "intents": ["support_case_resolution"], "limits": {"amount": 50}, "ends": "@end@", "depth": 2}}
  ],
  "why": "the support desk of acme"
}"#;

const GLOBEX: &str = r#"{
  "tenant": "globex",
  "assignments": [{"human": "lena", "roles": ["support"], "until": "ended"}],
  "resources": [{"type": "support_case", "id": "CASE-9001", "attributes": {"case_id": "CASE-9001", "customer_id": "cust-901"}}],
  "workflows": [
    {"id": "wf-g", "type": "support_case", "owner": "lena", "intents": ["support_case_resolution"], "ends": "@end@", "bindings": {"support_case": "CASE-9001"}}
  ],
  "delegations": [
    {"id": "dg-g", "human": "lena", "agent": "agent-7", "workflow": "wf-g", "grantor": "human",
     "scope": {"actions": ["summarize_case", "issue_refund", "search_customers", "take_note"], "intents": ["support_case_resolution"], "limits": {"amount": 500}, "ends": "@end@", "depth": 0}}
  ],
  "why": "the support desk of globex"
}"#;
