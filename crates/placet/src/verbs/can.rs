//! `placet can`: what an agent may do now and by what right; all agents, for a periodic review with its sign-off.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use clap::Args;
use placet_audit::{Present, Uses, digest_of};
use placet_core::{AgentId, Name, TenantId, Timestamp, WorkflowId};
use placet_json::{Value, object};

use super::{
    common::{Remote, Why, cell, in_tenant},
    decide::document,
};
use crate::{
    admin::{block_on, segment},
    clock,
    failure::{Failure, OrFail},
    output::{Answer, Colour, paint, pretty, show, table},
};

/// What an agent may do now, and by what right; with `--all`, the report for a review of everybody's access
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  placet can agent-7\n  placet can agent-7 --workflow acme/wf-9 --data data\n  placet can --all --report access.html\n  placet can --sign access.json --as mo --key mo.pem --why 'quarterly review'"
)]
pub(crate) struct Can {
    /// The agent
    #[arg(required_unless_present_any = ["all", "sign"], conflicts_with_all = ["all", "sign"])]
    agent: Option<AgentId>,
    /// Only in this workflow
    #[arg(long, value_name = "TENANT/WORKFLOW", requires = "agent")]
    workflow: Option<String>,
    /// Every agent: whose it is, what it was granted, what of that it used
    #[arg(long, conflicts_with = "sign")]
    all: bool,
    /// Also write the report of all agents: as a page, a document or a table by the file's ending, .html, .json or .csv
    #[arg(long, value_name = "FILE", requires = "all")]
    report: Option<PathBuf>,
    /// Sign off the review of a report in JSON, as the person of `--as`: recorded in the ledger
    #[arg(long, value_name = "FILE")]
    sign: Option<PathBuf>,
    /// Read this data directory instead of asking a server; one may be using it
    #[arg(long, value_name = "DIR", conflicts_with = "sign")]
    data: Option<PathBuf>,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    remote: Remote,
}

impl Can {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        if let Some(report) = &self.sign {
            return self.signed(report);
        }
        match &self.agent {
            Some(agent) => self.one(agent),
            None => self.everybody(),
        }
    }

    fn one(&self, agent: &AgentId) -> Result<Answer, Failure> {
        let workflow = self.workflow.as_deref().map(|text| in_tenant(text, "workflow")).transpose()?;
        let answer = match &self.data {
            Some(dir) => {
                let workflow = workflow
                    .map(|(tenant, id)| {
                        let tenant = TenantId::new(tenant).or_fail(format_args!("`{tenant}`"))?;
                        Ok::<_, Failure>(WorkflowId::new(
                            tenant,
                            Name::new(id).or_fail(format_args!("`{id}`"))?,
                        ))
                    })
                    .transpose()?;
                offline(dir, |present, _| Ok(present.can(agent, workflow.as_ref())))?
                    .ok_or_else(|| Failure::new(format!("there is no agent `{agent}`")).no())?
            }
            None => {
                let query =
                    workflow.map(|(tenant, id)| format!("?workflow={}%2F{}", segment(tenant), segment(id)));
                let path = format!("/v1/agents/{}/can{}", segment(agent.as_str()), query.unwrap_or_default());
                block_on(self.remote.server.open()?.get(&path))?
            }
        };
        let usable =
            list(&answer, "grants").iter().any(|grant| grant.get("usable") == Some(&Value::Bool(true)));
        show(self.remote.format, &answer, told)?;
        Ok(Answer::of(usable))
    }

    fn everybody(&self) -> Result<Answer, Failure> {
        let report = match &self.data {
            Some(dir) => offline(dir, |present, data| {
                let uses = Uses::read(data.reader()).or_fail("can't read the ledger")?;
                Ok(present.access(&uses))
            })?,
            None => block_on(self.remote.server.open()?.get("/v1/access"))?,
        };
        if let Some(path) = &self.report {
            let text = match path.extension().and_then(std::ffi::OsStr::to_str) {
                Some("html") => super::access::page(&report),
                Some("json") => format!("{}\n", pretty(&report)),
                Some("csv") => super::access::csv(&report),
                _ => {
                    return Err(Failure::new(format!("`{}` is of no known kind", path.display()))
                        .remedy("end its name in .html, .json or .csv"));
                }
            };
            std::fs::write(path, text).or_fail(format_args!("can't write `{}`", path.display()))?;
        }
        show(self.remote.format, &report, overview)?;
        Ok(Answer::Yes)
    }

    fn signed(&self, path: &Path) -> Result<Answer, Failure> {
        let report = document(path)?;
        let agents = report.get("agents").and_then(Value::as_array).unwrap_or_default();
        let digest = digest_of(agents).map(|digest| digest.to_string());
        // What is signed is what the file says, not what it says that it says.
        if digest.is_none() || digest.as_deref() != report.get("digest").and_then(Value::as_str) {
            return Err(Failure::new(format!("`{}` is no report, or was altered", path.display()))
                .remedy("make it with `placet can --all --report FILE.json`"));
        }
        let body = self.why.onto(object! { "digest" => digest.unwrap_or_default() });
        let answer = block_on(self.remote.server.open()?.post("/v1/access/sign", &body))?;
        show(self.remote.format, &answer, |answer| {
            format!(
                "{} reviewed the access of {} agents: record {}\n{}",
                cell(answer, "reviewer"),
                cell(answer, "agents"),
                cell(answer, "sequence"),
                cell(answer, "digest")
            )
        })?;
        Ok(Answer::Yes)
    }
}

/// Reads facts and release of a data directory as they are now.
fn offline<T>(
    dir: &Path,
    look: impl FnOnce(&Present<'_>, &placet_audit::Data) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let data = super::audit::open_data(dir)?;
    let (world, release) =
        placet_audit::present(&data).or_fail("can't read the ledger")?.map_err(Failure::new)?;
    let release = release
        .map(|digest| data.release(digest).map_err(|why| Failure::new(why.to_string())))
        .transpose()?;
    let now = Timestamp::from_millis(clock::millis());
    look(&Present { world: &world, release: release.as_deref(), now }, &data)
}

pub(super) fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).unwrap_or_default()
}

/// One agent: each grant with its chain, its actions and what bounds them.
fn told(answer: &Value) -> String {
    let mut out = format!(
        "{} is a {} of {}, {}\n",
        cell(answer, "agent"),
        cell(answer, "type"),
        cell(answer, "owner"),
        cell(answer, "standing")
    );
    let grants = list(answer, "grants");
    if grants.is_empty() {
        out.push_str("nothing is delegated to it: it may do nothing\n");
    }
    for grant in grants {
        let workflow = grant.get("workflow").cloned().unwrap_or(Value::Null);
        let usable = grant.get("usable") == Some(&Value::Bool(true));
        let verdict = if usable { paint("usable", Colour::Green) } else { paint("not usable", Colour::Red) };
        let _infallible = writeln!(
            out,
            "\n{}/{} in workflow {} ({}), until {}: {verdict}",
            cell(grant, "tenant"),
            cell(grant, "delegation"),
            cell(&workflow, "id"),
            cell(&workflow, "type"),
            cell(grant, "ends")
        );
        for why in list(grant, "why_not") {
            let _infallible = writeln!(out, "  but {}", why.as_str().unwrap_or_default());
        }
        let chain: Vec<String> = list(grant, "by").iter().rev().map(|link| cell(link, "agent")).collect();
        let _infallible = writeln!(out, "  by right of {} > {}", cell(grant, "human"), chain.join(" > "));
        for (name, of) in [("intents", grant), ("resources", &workflow)] {
            let texts = cell(of, name);
            if !texts.is_empty() {
                let _infallible = writeln!(out, "  {name}: {texts}");
            }
        }
        let limits = grant.get("limits").and_then(Value::as_object);
        for (name, limit) in limits.into_iter().flatten() {
            let _infallible = writeln!(out, "  {name} up to {limit}");
        }
        for approval in list(grant, "approvals") {
            let _infallible = writeln!(
                out,
                "  a policy may ask for `{}`, given by {}",
                cell(approval, "name"),
                cell(approval, "roles")
            );
        }
        let rows: Vec<Vec<String>> = list(grant, "actions")
            .iter()
            .map(|action| {
                let tools: Vec<String> = list(action, "tools")
                    .iter()
                    .map(|tool| {
                        let frozen =
                            if tool.get("frozen") == Some(&Value::Bool(true)) { ", stopped" } else { "" };
                        format!("{} ({}{frozen})", cell(tool, "name"), cell(tool, "effect"))
                    })
                    .collect();
                let rule = if action.get("rule") == Some(&Value::Bool(true)) {
                    "policy decides"
                } else {
                    "no rule permits it"
                };
                vec![format!("  {}", cell(action, "action")), rule.to_owned(), tools.join(", ")]
            })
            .collect();
        if !rows.is_empty() {
            out.push_str(&table(&["  ACTION", "RULE", "TOOLS"], &rows));
        }
    }
    out
}

/// All agents, a line each, and what a reviewer should look at.
fn overview(report: &Value) -> String {
    let agents = list(report, "agents");
    let rows: Vec<Vec<String>> = agents
        .iter()
        .map(|agent| {
            let grants = list(agent, "grants");
            let unused =
                grants.iter().map(|grant| list(grant, "unused").len()).fold(0_usize, usize::saturating_add);
            let last = cell(agent, "last_use");
            vec![
                cell(agent, "agent"),
                cell(agent, "type"),
                cell(agent, "owner"),
                cell(agent, "standing"),
                grants.len().to_string(),
                unused.to_string(),
                if last.is_empty() { "never".to_owned() } else { last },
            ]
        })
        .collect();
    let mut out = table(&["AGENT", "TYPE", "OWNER", "STANDING", "GRANTS", "UNUSED", "LAST USE"], &rows);
    for agent in agents {
        for finding in list(agent, "findings") {
            let _infallible = writeln!(
                out,
                "{}: {}",
                cell(agent, "agent"),
                paint(finding.as_str().unwrap_or_default(), Colour::Yellow)
            );
        }
    }
    let _infallible = writeln!(
        out,
        "{} agents at revision {}, {}",
        agents.len(),
        cell(report, "revision"),
        cell(report, "digest")
    );
    out
}
