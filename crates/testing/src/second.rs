//! A further gateway on a stage's database: the same public URL, the same keys, its own directory and sockets.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use placet_json::Value;
use placet_server::run::{Running, serve};
use tempfile::TempDir;

use crate::{Admin, Http, Ledger, Stage, settings_of};

/// A further gateway, running in this process or to be run in another.
#[derive(Debug)]
pub struct Second {
    dir: TempDir,
    running: Option<Running>,
}

/// The settings of a stage whose journal is in this database. `lease_ms`: how long a gateway is believed to live.
#[must_use]
pub fn on_postgres(url_file: &Path, gateway: &str, lease_ms: u64) -> String {
    format!(
        "[journal]\npostgres = {{ file = \"{}\" }}\ngateway = \"{gateway}\"\nlease_ms = {lease_ms}\n",
        url_file.display()
    )
}

/// A file of its owner alone that holds a database's URL.
#[must_use]
pub fn url_file(dir: &Path, url: &str) -> PathBuf {
    let path = dir.join("postgres.url");
    std::fs::write(&path, url).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path
}

impl Second {
    /// Writes its settings.
    #[must_use]
    pub fn of(stage: &Stage) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(stage.dir().join("placet.toml")).unwrap();
        let lines = text.lines().map(|line| {
            let key = line.split(" = ").next().unwrap_or_default();
            match key {
                "listen" => format!("listen = \"127.0.0.1:0\"\npublic_url = \"{}\"", stage.gateway),
                "admin_listen" => "admin_listen = \"127.0.0.1:0\"".to_owned(),
                "dir" => format!("dir = \"{}\"", stage.dir().join("release").display()),
                "gateway" => "gateway = \"second\"".to_owned(),
                _ => line.to_owned(),
            }
        });
        let keys = stage.data().join("keys");
        let file = |name: &str| format!("{{ file = \"{}\" }}", keys.join(name).display());
        let settings = format!(
            "{}\n\n[keys]\ntoken = {}\nsender = {}\ncheckpoint = {}\nsession = {}\noperators = \"{}\"\n\n[vault]\nmaster_key = {}\n",
            lines.collect::<Vec<_>>().join("\n"),
            file("token.pem"),
            file("sender.pem"),
            file("checkpoint.key"),
            file("session.key"),
            keys.join("operators.jwks").display(),
            file("master.key"),
        );
        std::fs::write(dir.path().join("placet.toml"), settings).unwrap();
        Self { dir, running: None }
    }
    /// The same, with this in its settings instead of that.
    #[must_use]
    pub fn change(self, from: &str, to: &str) -> Self {
        let path = self.dir.path().join("placet.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "no `{from}` in {text}");
        std::fs::write(path, text.replace(from, to)).unwrap();
        self
    }
    /// Starts it here; why it doesn't.
    pub async fn start(mut self, stage: &Stage) -> Result<Self, String> {
        let running =
            serve(settings_of(self.dir.path()), &|_| None).await.map_err(|error| error.to_string())?;
        self.running = Some(running);
        // Its own reading of the tools takes a moment, too.
        let admin = self.admin(stage);
        for _ in 0..500 {
            let mut all = true;
            for upstream in ["billing", "crm", "desk"] {
                let path = format!("/v1/upstreams/{upstream}/tools");
                let answer = admin.request("GET", &path, "").send(admin.address()).await;
                all &= answer.status == 200
                    && answer
                        .message()
                        .get("tools")
                        .and_then(Value::as_array)
                        .is_some_and(|all| !all.is_empty());
            }
            if all {
                return Ok(self);
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        Err("its tools weren't listed".to_owned())
    }
    /// Stops it in good order.
    pub async fn stop(&mut self) {
        self.running.take().unwrap().stop().await;
    }
    /// Where agents are served.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.running.as_ref().unwrap().agent_addr
    }
    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
    /// Its copy of the ledger.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        Ledger::of(&self.dir.path().join("data"))
    }
    /// The operator at its administrators' listener.
    #[must_use]
    pub fn admin(&self, stage: &Stage) -> Admin {
        let running = self.running.as_ref().unwrap();
        Admin::operator(&running.admin_url, running.admin_addr, &stage.data())
    }
    /// Its readiness: the status, and what it says.
    pub async fn ready(&self) -> (u16, String) {
        ready(self.running.as_ref().unwrap().admin_addr).await
    }
}

/// A server's readiness: the status, and what it says.
pub async fn ready(admin: SocketAddr) -> (u16, String) {
    let request = Http {
        method: "GET".to_owned(),
        target: "/readyz".to_owned(),
        headers: vec![("host".to_owned(), admin.to_string())],
        body: Vec::new(),
    };
    let answer = request.send(admin).await;
    (answer.status, answer.text())
}
