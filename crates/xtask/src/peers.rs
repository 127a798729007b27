//! Real MCP clients and servers, with a real gateway between them, and what its ledger then says.
//!
//! `peers/check.py` shows that they work with each other directly; what passes there and fails here is Placet's.

mod feeds;
mod ledger;
mod methods;
mod process;
mod release;
mod scenario;
mod stage;
mod table;

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    path::Path,
    process::Command,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use self::{
    process::finish,
    scenario::{Cell, Scenario},
    stage::Stage,
};
use crate::Outcome;

const USAGE: &str = "usage: xtask peers [--built] [NAME…]   names of clients and upstreams, or `feeds`; --built: don't run cargo";
/// How long one client may take with all upstreams; the slowest needs about fifteen seconds by itself.
const PATIENCE: Duration = Duration::from_mins(2);
/// Clients at once.
const LANES: usize = 3;

/// A client of `peers/clients.json`.
#[derive(Debug, Clone)]
struct Client {
    name: String,
    command: Vec<String>,
    revisions: Vec<String>,
    modes: Vec<String>,
    /// Whether it can be an agent by itself.
    signs_in: bool,
}

/// How a client reaches the gateway.
#[derive(Debug, Clone)]
enum Way {
    /// `placet connect`, all upstreams on the common path.
    Connector,
    /// `placet connect`, one upstream on its own path.
    ConnectorTo(String),
    /// Straight to `/mcp`, with a token and proofs of its own.
    Http,
}

impl Way {
    fn only(&self) -> Option<&str> {
        match self {
            Self::ConnectorTo(upstream) => Some(upstream),
            Self::Connector | Self::Http => None,
        }
    }
    fn shown(&self) -> String {
        match self {
            Self::Connector => "connect".to_owned(),
            Self::ConnectorTo(upstream) => format!("connect {upstream}"),
            Self::Http => "http, dpop".to_owned(),
        }
    }
}

/// One client in one mode on one way.
#[derive(Debug)]
struct Run {
    client: String,
    mode: String,
    way: Way,
    cells: BTreeMap<String, Cell>,
    /// How many calls the gateway must have decided, and permitted.
    calls: u64,
    permits: u64,
    cancelled: u64,
    took: Duration,
}

/// Runs all pairs, or those named.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let began = Instant::now();
    let built = words.contains(&"--built");
    let names: Vec<&str> = words.iter().copied().filter(|word| *word != "--built").collect();
    let outcome = all(&names, built);
    match outcome {
        Err(problem) => Err(vec![problem]),
        Ok(tally) => {
            for problem in &tally.problems {
                println!("FAIL {problem}");
            }
            println!("{} s", began.elapsed().as_secs());
            println!("{} passed, {} failed", tally.passed, tally.problems.len());
            // All is said; the status remains.
            if tally.problems.is_empty() { Ok(()) } else { Err(Vec::new()) }
        }
    }
}

/// What was checked.
#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    problems: Vec<String>,
}

impl Tally {
    fn check(&mut self, what: &str, problem: Option<String>) {
        match problem {
            None => self.passed = self.passed.saturating_add(1),
            Some(problem) => self.problems.push(format!("{what}: {problem}")),
        }
    }
}

fn all(names: &[&str], built: bool) -> Result<Tally, String> {
    let repository = std::env::current_dir().map_err(|error| format!("where are we: {error}"))?;
    let target = target(&repository)?;
    if !repository.join(".peers/mcp2.stamp").exists() {
        return Err("the peers aren't installed; run peers/install.sh".to_owned());
    }
    if !built {
        let status = Command::new("cargo")
            .args(["build", "--quiet", "--bin", "placet", "--bin", "placet-sample"])
            .status()
            .map_err(|error| format!("cargo: {error}"))?;
        if !status.success() {
            return Err("the programs don't build".to_owned());
        }
    }
    if names == ["feeds"] {
        let mut tally = Tally::default();
        tally.check("identity feeds", feeds::check(&repository, &target).err());
        return Ok(tally);
    }
    let clients = clients(&repository, &target)?;
    let table = read(&repository.join("peers/upstreams.json"))?;
    let known = |name: &str| clients.iter().any(|client| client.name == name) || table.get(name).is_some();
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        return Err(format!("there is no peer `{unknown}`. {USAGE}"));
    }
    let named_clients: Vec<Client> =
        clients.iter().filter(|client| names.contains(&client.name.as_str())).cloned().collect();
    let clients = if named_clients.is_empty() { clients } else { named_clients };
    let upstreams: Vec<&str> = names.iter().copied().filter(|name| table.get(*name).is_some()).collect();

    let mut tally = Tally::default();
    tally.check("every method is classified", methods::check(&repository).err());
    if names.is_empty() {
        tally.check("identity feeds", feeds::check(&repository, &target).err());
    }
    let mut stage = Stage::build(&repository, &target, &table, &upstreams)?;
    stage.people(clients.iter().map(|client| client.name.as_str()))?;
    let runs = drive(&stage, &clients);
    table_of(&stage, &runs);
    for run in &runs {
        for (column, cell) in &run.cells {
            let run = format!("{} {}, {}", run.client, run.mode, run.way.shown());
            tally.check(&format!("{run}, {column}"), cell.problem());
        }
    }
    stage.stop()?;
    for client in &clients {
        let of =
            |count: fn(&Run) -> u64| runs.iter().filter(|run| run.client == client.name).map(count).sum();
        let wanted = ledger::Wanted {
            calls: of(|run| run.calls),
            permits: of(|run| run.permits),
            cancelled: of(|run| run.cancelled),
        };
        tally.check(
            &format!("the ledger of {}", client.name),
            ledger::decided(&stage, &client.name, wanted).err(),
        );
    }
    tally.check("one ending for each permit", ledger::ended(&stage).err());
    tally.check("an upstream's secret stays in its file", stage.leaked().err());
    for verb in ["verify", "replay"] {
        tally.check(&format!("placet audit {verb}"), ledger::audit(&stage, verb).err());
    }
    if !tally.problems.is_empty() {
        println!("what is left for a look: {}", stage.keep().display());
    }
    Ok(tally)
}

/// Where Cargo builds.
fn target(repository: &Path) -> Result<std::path::PathBuf, String> {
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().current_dir(repository).exec();
    metadata
        .map(|metadata| metadata.target_directory.into_std_path_buf())
        .map_err(|error| format!("cargo metadata: {error}"))
}

fn read(path: &Path) -> Result<Value, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn clients(repository: &Path, target: &Path) -> Result<Vec<Client>, String> {
    let names = table::places(repository, target);
    let table = table::filled(&read(&repository.join("peers/clients.json"))?, &names);
    let clients = table.as_object().into_iter().flatten().map(|(name, client)| Client {
        name: name.clone(),
        command: table::texts(client, "command"),
        revisions: table::texts(client, "revisions"),
        modes: table::texts(client, "modes"),
        signs_in: client.get("signs_in") == Some(&Value::Bool(true)),
    });
    Ok(clients.collect())
}

/// Runs all clients, some at a time; one client's runs follow each other, since they share an agent.
fn drive(stage: &Stage, clients: &[Client]) -> Vec<Run> {
    let queue: Mutex<VecDeque<&Client>> = Mutex::new(clients.iter().collect());
    let runs: Mutex<Vec<Run>> = Mutex::default();
    let next = || queue.lock().ok()?.pop_front();
    thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                while let Some(client) = next() {
                    for (mode, way) in plan(stage, client) {
                        let run = one(stage, client, mode, way);
                        if let Ok(mut runs) = runs.lock() {
                            runs.push(run);
                        }
                    }
                }
            });
        }
    });
    let mut runs = runs.into_inner().unwrap_or_default();
    runs.sort_by_key(|run| clients.iter().position(|client| client.name == run.client));
    runs
}

/// Each mode on each way to all upstreams, and one upstream on its own path.
fn plan<'a>(stage: &Stage, client: &'a Client) -> Vec<(&'a str, Way)> {
    let mut plan: Vec<(&str, Way)> =
        client.modes.iter().map(|mode| (mode.as_str(), Way::Connector)).collect();
    plan.extend(stage.upstreams.first().map(|upstream| ("auto", Way::ConnectorTo(upstream.name.clone()))));
    if client.signs_in {
        // Last, since the connector enrols the key.
        plan.extend(client.modes.iter().map(|mode| (mode.as_str(), Way::Http)));
    }
    plan
}

fn one(stage: &Stage, client: &Client, mode: &str, way: Way) -> Run {
    let scenario = Scenario::of(&stage.upstreams, way.only());
    let began = Instant::now();
    let mut command = Command::new(client.command.first().map_or("", String::as_str));
    command.args(client.command.iter().skip(1));
    let input = match &way {
        Way::Http => {
            let (url, agent) = stage.door(&client.name);
            command.arg(url);
            json!({ "mode": mode, "agent": agent, "steps": scenario.steps() })
        }
        Way::Connector | Way::ConnectorTo(_) => {
            command.arg("--").args(stage.connector(&client.name, way.only()));
            json!({ "mode": mode, "steps": scenario.steps() })
        }
    };
    let report = finish(&mut command, Some(&input.to_string()), PATIENCE).and_then(|output| {
        serde_json::from_str::<Value>(output.stdout.trim())
            .map_err(|_| format!("no report, {}: {}", output.status, process::tail(&output.stderr)))
    });
    let wanted = match mode {
        "legacy" => Some("2025-11-25".to_owned()),
        "modern" => Some("2026-07-28".to_owned()),
        _ => client.revisions.iter().max().cloned(),
    };
    let cells = scenario.judge(&report, wanted.as_deref().unwrap_or_default());
    Run {
        client: client.name.clone(),
        mode: mode.to_owned(),
        way,
        cells,
        calls: scenario.calls(),
        permits: scenario.permits(),
        cancelled: scenario.cancelled(),
        took: began.elapsed(),
    }
}

/// Client by upstream.
fn table_of(stage: &Stage, runs: &[Run]) {
    let names = stage.upstreams.iter().map(|one| one.name.as_str());
    let columns: Vec<&str> = [scenario::GATEWAY].into_iter().chain(names).collect();
    let row = |cells: &mut dyn Iterator<Item = &str>| {
        let cells = columns
            .iter()
            .zip(cells)
            .map(|(column, cell)| format!("{cell:<width$}", width = column.len().max(4)));
        cells.collect::<Vec<_>>().join(" ")
    };
    println!("{:<8} {:<7} {:<18} {}     s", "client", "mode", "way", row(&mut columns.iter().copied()));
    for run in runs {
        let mut cells = columns.iter().map(|column| match run.cells.get(*column) {
            None => "–",
            Some(cell) if cell.problem().is_some() => "FAIL",
            Some(_) => "ok",
        });
        let (way, took) = (run.way.shown(), run.took.as_secs_f32());
        println!("{:<8} {:<7} {way:<18} {} {took:5.1}", run.client, run.mode, row(&mut cells));
    }
}
