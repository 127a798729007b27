//! The stage: upstreams, one server, a release for their tools, an agent for each client.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    process::{Output, Process, command, finish, port, reachable, tail, terminate},
    release::{self, Tool, quoted},
    table::{filled, places, texts},
};

/// How long the server, or an upstream, may take to be ready.
const READY: Duration = Duration::from_mins(1);
/// How long a verb of the command line may take.
const VERB: Duration = Duration::from_mins(1);
/// What the fake Jira insists on.
const TOKEN: &str = "peer-token-5b0c7e1f94d2";

/// An upstream as the gateway knows it.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) name: String,
    /// Of `peers/upstreams.json`, filled in.
    spec: Value,
    /// At an address rather than a command.
    http: bool,
    /// Those that the scenario needs; no others get into the catalog.
    pub(super) tools: Vec<Tool>,
}

impl Upstream {
    #[cfg(test)]
    pub(super) fn new<'a>(name: &str, spec: Value, offered: impl IntoIterator<Item = &'a Value>) -> Self {
        let tools = offered.into_iter().filter_map(Tool::read).collect();
        Self { name: name.to_owned(), spec, http: false, tools }
    }
    /// The scenario's calls.
    pub(super) fn calls(&self) -> impl Iterator<Item = &Value> {
        let steps = self.spec.get("steps").and_then(Value::as_array);
        steps.into_iter().flatten().filter(|step| step.get("tool").is_some())
    }
    pub(super) fn tool(&self, name: &str) -> Option<&Tool> {
        self.tools.iter().find(|tool| tool.name == name)
    }
    /// As the catalog writes it.
    pub(super) fn credential(&self) -> &'static str {
        if self.http { "none" } else { "process" }
    }
    fn needs(&self, tool: &str) -> bool {
        self.calls().any(|step| step.get("tool").and_then(Value::as_str) == Some(tool))
    }
}

/// Everything that runs.
#[derive(Debug)]
pub(super) struct Stage {
    placet: PathBuf,
    gateway: String,
    admin: String,
    pub(super) upstreams: Vec<Upstream>,
    codes: BTreeMap<String, String>,
    server: Option<Process>,
    // Fields are dropped in this order: the server's tools go after it, and what all of them write to last.
    beside: Vec<Process>,
    dir: tempfile::TempDir,
}

impl Stage {
    /// Starts upstreams and server, reads the tools' definitions through it, and brings a release for them into force.
    pub(super) fn build(
        repository: &Path,
        target: &Path,
        table: &Value,
        named: &[&str],
    ) -> Result<Self, String> {
        let dir =
            tempfile::Builder::new().prefix("placet-peers-").tempdir().map_err(|error| error.to_string())?;
        let (listen, admin) = (port()?, port()?);
        let mut stage = Self {
            dir,
            placet: target.join("debug/placet"),
            gateway: format!("http://127.0.0.1:{listen}"),
            admin: format!("http://127.0.0.1:{admin}"),
            upstreams: Vec::new(),
            codes: BTreeMap::new(),
            server: None,
            beside: Vec::new(),
        };
        let mut settings = format!(
            "[server]\norganisation = \"peers\"\nlisten = \"127.0.0.1:{listen}\"\nadmin_listen = \"127.0.0.1:{admin}\"\n\
             public_url = \"{}\"\nadmin_url = \"{}\"\ndata = \"data\"\n\n[log]\nlevel = \"info\"\n",
            stage.gateway, stage.admin
        );
        for (name, spec) in table.as_object().into_iter().flatten() {
            if !named.is_empty() && !named.contains(&name.as_str()) && name != release::EVERYTHING {
                continue;
            }
            let ways: &[bool] = if spec.get("http").is_some() { &[false, true] } else { &[false] };
            for http in ways {
                settings.push_str(&stage.upstream(name, spec, *http, places(repository, target))?);
            }
        }
        fs::write(stage.path("placet.toml"), settings).map_err(|error| format!("placet.toml: {error}"))?;
        stage.serve()?;
        stage.pull()?;
        release::write(&stage.path("release"), &stage.upstreams)?;
        stage.json(&["promote", &stage.text("release"), "--why", "the peers' tools, as they are"])?;
        Ok(stage)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }
    pub(super) fn data(&self) -> String {
        self.text("data")
    }

    /// Prepares an upstream in a directory of its own, starts what runs beside it, and gives its section of the settings.
    fn upstream(
        &mut self,
        base: &str,
        spec: &Value,
        http: bool,
        mut names: BTreeMap<String, String>,
    ) -> Result<String, String> {
        let name = if http { format!("{base}-http") } else { base.to_owned() };
        let work = self.path(&name);
        let failed = |error: std::io::Error| format!("{name}: {error}");
        fs::create_dir_all(&work).map_err(failed)?;
        names.insert("work".to_owned(), work.to_string_lossy().into_owned());
        names.insert("token".to_owned(), TOKEN.to_owned());
        let port = port()?;
        names.insert("port".to_owned(), port.to_string());
        for (file, text) in spec.get("files").and_then(Value::as_object).into_iter().flatten() {
            let path = work.join(file);
            path.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
            fs::write(path, text.as_str().unwrap_or_default()).map_err(failed)?;
        }
        let filled_in = filled(spec, &names);
        for setup in filled_in.get("setup").and_then(Value::as_array).into_iter().flatten() {
            let words = texts(&json!({ "words": setup }), "words");
            let output = finish(&mut command(&words), None, VERB)?;
            if !output.status.success() {
                return Err(format!("{name}: {} failed: {}", words.join(" "), tail(&output.stderr)));
            }
        }
        if let Some(beside) = filled_in.get("beside") {
            let mut helper = command(&texts(beside, "command"));
            let child = helper
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .map_err(failed)?;
            let mut process = Process(child);
            let mut line = String::new();
            if let Some(stdout) = process.0.stdout.take() {
                BufReader::new(stdout).read_line(&mut line).map_err(failed)?;
            }
            self.beside.push(process);
            let called = beside.get("url_as").and_then(Value::as_str).unwrap_or_default();
            names.insert(called.to_owned(), line.trim().to_owned());
        }
        let spec = filled(spec, &names);
        let mut section = format!("\n[[upstream]]\nname = {}\n", quoted(&name));
        if http {
            let server = spec.get("http").cloned().unwrap_or_default();
            let log = File::create(work.join("server.log")).map_err(failed)?;
            let mut command = command(&texts(&server, "command"));
            for (variable, value) in server.get("env").and_then(Value::as_object).into_iter().flatten() {
                command.env(variable, value.as_str().unwrap_or_default());
            }
            let child =
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().map_err(failed)?;
            self.beside.push(Process(child));
            reachable(port).map_err(|error| format!("{name}: {error}"))?;
            let url = server.get("url").and_then(Value::as_str).unwrap_or_default();
            section = section + "url = " + &quoted(url) + "\nallow_private = true\n";
        } else {
            let command = Value::from(texts(&spec, "command")).to_string();
            section = section + "command = " + &command + "\n";
            section.push_str(&variables(&spec, &work).map_err(failed)?);
        }
        self.upstreams.push(Upstream { name, spec, http, tools: Vec::new() });
        Ok(section)
    }

    fn serve(&mut self) -> Result<(), String> {
        let log = File::create(self.path("serve.log")).map_err(|error| format!("serve.log: {error}"))?;
        let errors = log.try_clone().map_err(|error| format!("serve.log: {error}"))?;
        let mut command = self.verb(&["serve", "--config", &self.text("placet.toml")]);
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        self.server = Some(Process(child.map_err(|error| format!("{}: {error}", self.placet.display()))?));
        let port = self.admin.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_default();
        reachable(port).map_err(|error| {
            let log = fs::read_to_string(self.path("serve.log")).unwrap_or_default();
            format!("placet serve: {error}: {}", tail(&log))
        })
    }

    /// Waits until the gateway has read every upstream's definitions, and keeps those that the scenario needs.
    fn pull(&mut self) -> Result<(), String> {
        let began = Instant::now();
        let mut read = Vec::new();
        for upstream in &self.upstreams {
            read.push(loop {
                match self.offered(upstream) {
                    Ok(tools) => break tools,
                    Err(error) if began.elapsed() > READY => {
                        let log = fs::read_to_string(self.path("serve.log")).unwrap_or_default();
                        return Err(format!("{error}; serve.log: {}", tail(&log)));
                    }
                    Err(_) => thread::sleep(Duration::from_millis(200)),
                }
            });
        }
        for (upstream, tools) in self.upstreams.iter_mut().zip(read) {
            upstream.tools = tools;
        }
        Ok(())
    }

    /// The tools of an upstream that the scenario needs, all of them.
    fn offered(&self, upstream: &Upstream) -> Result<Vec<Tool>, String> {
        let answer = self.json(&["catalog", "pull", &upstream.name])?;
        let all = answer.get("tools").and_then(Value::as_array).into_iter().flatten().filter_map(Tool::read);
        let tools: Vec<Tool> = all.filter(|tool| upstream.needs(&tool.name)).collect();
        let mut needed = upstream.calls().filter_map(|step| step.get("tool").and_then(Value::as_str));
        match needed.find(|name| tools.iter().all(|tool| tool.name != *name)) {
            None => Ok(tools),
            Some(missing) => Err(format!("`{}` doesn't offer `{missing}`", upstream.name)),
        }
    }

    /// A person, and for each client an agent, a workflow and a delegation.
    pub(super) fn people<'a>(&mut self, clients: impl Iterator<Item = &'a str>) -> Result<(), String> {
        let facts = json!({
            "tenant": "acme", "tenants": ["acme"],
            "humans": [{ "id": "maya", "standing": "active", "home": "acme" }],
            "assignments": [{ "human": "maya", "roles": ["tester"], "until": "ended" }],
            "resources": [{
                "type": release::RESOURCE, "id": release::RESOURCE_ID,
                "attributes": { (format!("{}_id", release::RESOURCE)): release::RESOURCE_ID },
            }],
            "why": "who tries the peers, and on what",
        });
        fs::write(self.path("facts.json"), facts.to_string())
            .map_err(|error| format!("facts.json: {error}"))?;
        self.json(&["facts", "apply", &self.text("facts.json")])?;
        let bind = format!("{}={}", release::RESOURCE, release::RESOURCE_ID);
        for client in clients {
            let workflow = format!("acme/wf-{client}");
            let enrolled =
                self.json(&["agent", "enrol", client, "--type", release::AGENT_TYPE, "--owner", "maya"])?;
            let code = enrolled
                .get("code")
                .and_then(Value::as_str)
                .ok_or_else(|| format!("no code for {client}: {enrolled}"))?;
            self.codes.insert(client.to_owned(), code.to_owned());
            let kind = release::WORKFLOW_TYPE;
            self.json(&[
                "workflow",
                "open",
                &workflow,
                "--type",
                kind,
                "--owner",
                "maya",
                "--intent",
                release::INTENT,
                "--bind",
                &bind,
            ])?;
            let [read, change] = release::ACTIONS;
            self.json(&[
                "delegate", &workflow, "--agent", client, "--human", "maya", "--action", read, "--action",
                change,
            ])?;
        }
        Ok(())
    }

    /// The command line that a client starts as its server.
    pub(super) fn connector(&self, client: &str, only: Option<&str>) -> Vec<String> {
        let (key, workflow) = (self.text(&format!("{client}.pem")), format!("acme/wf-{client}"));
        let placet = self.placet.to_string_lossy().into_owned();
        let mut words = vec![placet, "connect".to_owned(), "--server".to_owned(), self.gateway.clone()];
        words.extend(["--key".to_owned(), key, "--workflow".to_owned(), workflow]);
        // Does nothing where the key is enrolled already.
        words
            .extend(self.codes.get(client).into_iter().flat_map(|code| ["--enrol".to_owned(), code.clone()]));
        words.extend(only.into_iter().flat_map(|only| ["--upstream".to_owned(), only.to_owned()]));
        words
    }

    /// Where an agent without the connector goes, and as whom.
    pub(super) fn door(&self, client: &str) -> (String, Value) {
        let agent = json!({
            "server": self.gateway, "key": self.text(&format!("{client}.pem")), "id": client,
            "workflow": format!("acme/wf-{client}"),
        });
        (format!("{}/mcp", self.gateway), agent)
    }

    /// Whether a secret of an upstream stands where it shouldn't: in the server's log, or anywhere in its data.
    pub(super) fn leaked(&self) -> Result<(), String> {
        let mut places = vec![self.path("serve.log"), self.path("data")];
        let mut read = 0_u32;
        while let Some(place) = places.pop() {
            if place.is_dir() {
                let entries =
                    fs::read_dir(&place).map_err(|error| format!("{}: {error}", place.display()))?;
                places.extend(entries.flatten().map(|entry| entry.path()));
                continue;
            }
            let bytes = fs::read(&place).map_err(|error| format!("{}: {error}", place.display()))?;
            read = read.saturating_add(1);
            if String::from_utf8_lossy(&bytes).contains(TOKEN) {
                return Err(format!("{} has it", place.display()));
            }
        }
        if read > 5 { Ok(()) } else { Err(format!("only {read} files were there to look at")) }
    }

    fn verb(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.placet);
        command.args(arguments).current_dir(self.dir.path());
        command.env("PLACET_SERVER", &self.admin).env("PLACET_KEY", self.path("data/keys/operator.pem"));
        command
    }

    /// Runs a verb.
    pub(super) fn placet(&self, arguments: &[&str], input: Option<&str>) -> Result<Output, String> {
        finish(&mut self.verb(arguments), input, VERB)
    }

    /// Runs a verb that must say yes, and reads the document that it prints.
    pub(super) fn json(&self, arguments: &[&str]) -> Result<Value, String> {
        let mut arguments = arguments.to_vec();
        if !arguments.contains(&"--format") {
            arguments.extend(["--format", "json"]);
        }
        let output = self.placet(&arguments, None)?;
        let what = || format!("placet {}", arguments.join(" "));
        if !output.status.success() {
            return Err(format!("{}: {} {}", what(), tail(&output.stderr), tail(&output.stdout)));
        }
        serde_json::from_str(&output.stdout).map_err(|error| format!("{}: {error}", what()))
    }

    /// Ends the server as an operator would, so that everything is in the ledger.
    pub(super) fn stop(&mut self) -> Result<(), String> {
        let Some(server) = self.server.take() else { return Ok(()) };
        let status =
            terminate(server, Duration::from_secs(20)).map_err(|error| format!("placet serve: {error}"))?;
        self.beside.clear();
        if status.success() { Ok(()) } else { Err(format!("placet serve ended with {status}")) }
    }

    /// Leaves the directory, for a look at its logs and ledger.
    pub(super) fn keep(mut self) -> PathBuf {
        self.dir.disable_cleanup(true);
        self.dir.path().to_owned()
    }
}

/// The variables of a command: all of them as secrets in files, since one of them is.
fn variables(spec: &Value, work: &Path) -> Result<String, std::io::Error> {
    let mut entries = Vec::new();
    for (variable, value) in spec.get("env").and_then(Value::as_object).into_iter().flatten() {
        let path = work.join(format!("{variable}.secret"));
        fs::write(&path, value.as_str().unwrap_or_default())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        entries.push(format!("{variable} = {{ file = {} }}", quoted(&path.to_string_lossy())));
    }
    Ok(if entries.is_empty() { String::new() } else { format!("env = {{ {} }}\n", entries.join(", ")) })
}
