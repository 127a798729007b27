//! `placet observe`, `placet exception`, `placet enforce`: what goes out for a while although policy refuses it.

use clap::{Args, Subcommand, ValueEnum};
use placet_json::{Object, Value};

use super::{
    common::{Remote, Why, cell, listing},
    envelope::length,
};
use crate::{
    admin::{block_on, segment},
    failure::Failure,
    output::{Answer, show},
};

/// Let what policy alone would refuse to an agent go out for a while, recorded as observed
#[derive(Debug, Args)]
pub(crate) struct Observe {
    #[command(subcommand)]
    verb: ObserveVerb,
}

#[derive(Debug, Subcommand)]
enum ObserveVerb {
    /// Ask for it, as the agent's owner; it holds once somebody who reviews policy confirms it
    #[command(
        after_help = "Example:\n  placet observe ask agent-7 --upstream crm --effect read --for 14d --why 'before rules are written' --as maya --key maya.pem"
    )]
    Ask {
        /// The agent
        agent: String,
        /// The upstream whose tools it uses
        #[arg(long)]
        upstream: String,
        /// The effect that is let out; destructive never is
        #[arg(long, value_enum)]
        effect: Observable,
        /// How long: 14 days at most
        #[arg(long = "for", value_name = "LENGTH", value_parser = length)]
        life: u64,
        /// Only in this tenant
        #[arg(long)]
        tenant: Option<String>,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        remote: Remote,
    },
    /// Confirm one, as somebody who reviews policy
    #[command(after_help = "Example:\n  placet observe confirm wv_… --as omar --key omar.pem")]
    Confirm(One),
    /// List permissions to observe, and exceptions
    #[command(after_help = "Example:\n  placet observe list")]
    List {
        #[command(flatten)]
        remote: Remote,
    },
}

/// Let one tool be used for a while that policy doesn't allow
#[derive(Debug, Args)]
pub(crate) struct Exception {
    #[command(subcommand)]
    verb: ExceptionVerb,
}

#[derive(Debug, Subcommand)]
enum ExceptionVerb {
    /// Ask for one, as the agent's owner; it holds once somebody who reviews policy confirms it
    #[command(
        after_help = "Example:\n  placet exception ask agent-7 --tool billing.refund --effect destructive --for 2d --why 'the refunds of ticket 4711' --as maya --key maya.pem"
    )]
    Ask {
        /// The agent
        agent: String,
        /// The tool, by its catalog name
        #[arg(long)]
        tool: String,
        /// The tool's effect, as its catalog says it
        #[arg(long, value_enum)]
        effect: Effect,
        /// How long: 30 days at most
        #[arg(long = "for", value_name = "LENGTH", value_parser = length)]
        life: u64,
        /// Only in this tenant
        #[arg(long)]
        tenant: Option<String>,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        remote: Remote,
    },
    /// Confirm one, as somebody who reviews policy
    #[command(after_help = "Example:\n  placet exception confirm wv_… --as omar --key omar.pem")]
    Confirm(One),
    /// End one before its time
    #[command(after_help = "Example:\n  placet exception end wv_… --why 'done'")]
    End(One),
    /// List permissions to observe, and exceptions
    #[command(after_help = "Example:\n  placet exception list")]
    List {
        #[command(flatten)]
        remote: Remote,
    },
}

/// End permissions to observe an agent: from the next call on policy is enforced on it
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  placet enforce agent-7\n  placet enforce agent-7 --effect write --why 'its rules are in force'"
)]
pub(crate) struct Enforce {
    /// The agent
    agent: String,
    /// Only of this effect
    #[arg(long, value_enum)]
    effect: Option<Observable>,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    remote: Remote,
}

/// A waiver that is there.
#[derive(Debug, Args)]
struct One {
    /// Its identifier
    id: String,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Observable {
    Read,
    Write,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Effect {
    Read,
    Write,
    Destructive,
}

impl Observable {
    fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

impl Effect {
    fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Destructive => "destructive",
        }
    }
}

impl Observe {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        match self.verb {
            ObserveVerb::Ask { agent, upstream, effect, life, tenant, why, remote } => {
                let of = asked("observe", &agent, &upstream, effect.as_str(), life, tenant.as_deref());
                ask(&remote, &why.onto(of))
            }
            ObserveVerb::Confirm(one) => one.act("confirm"),
            ObserveVerb::List { remote } => list(&remote),
        }
    }
}

impl Exception {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        match self.verb {
            ExceptionVerb::Ask { agent, tool, effect, life, tenant, why, remote } => {
                let upstream = tool.split('.').next().unwrap_or_default();
                let mut of = asked("exception", &agent, upstream, effect.as_str(), life, tenant.as_deref());
                of.insert("tool", tool.as_str());
                ask(&remote, &why.onto(of))
            }
            ExceptionVerb::Confirm(one) => one.act("confirm"),
            ExceptionVerb::End(one) => one.act("end"),
            ExceptionVerb::List { remote } => list(&remote),
        }
    }
}

impl Enforce {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let admin = self.remote.server.open()?;
        let mut body = Object::new();
        if let Some(effect) = self.effect {
            body.insert("effect", effect.as_str());
        }
        let path = format!("/v1/agents/{}/enforce", segment(&self.agent));
        let answer = block_on(admin.post(&path, &self.why.onto(body)))?;
        show(self.remote.format, &answer, |answer| {
            format!("policy is enforced on {}; ended: {}", cell(answer, "agent"), cell(answer, "ended"))
        })?;
        Ok(Answer::Yes)
    }
}

impl One {
    fn act(self, verb: &str) -> Result<Answer, Failure> {
        let admin = self.remote.server.open()?;
        let path = format!("/v1/waivers/{}/{verb}", segment(&self.id));
        let answer = block_on(admin.post(&path, &self.why.onto(Object::new())))?;
        show(self.remote.format, &answer, |_| {
            let done = if verb == "confirm" { "holds from now on" } else { "is over" };
            format!("{} {done}", self.id)
        })?;
        Ok(Answer::Yes)
    }
}

fn asked(kind: &str, agent: &str, upstream: &str, effect: &str, life: u64, tenant: Option<&str>) -> Object {
    let mut body = Object::new();
    for (name, text) in [("kind", kind), ("agent", agent), ("upstream", upstream), ("effect", effect)] {
        body.insert(name, text);
    }
    body.insert("life_ms", life);
    if let Some(tenant) = tenant {
        body.insert("tenant", tenant);
    }
    body
}

fn ask(remote: &Remote, body: &Value) -> Result<Answer, Failure> {
    let admin = remote.server.open()?;
    let answer = block_on(admin.post("/v1/waivers", body))?;
    show(remote.format, &answer, |answer| {
        let (id, kind) = (cell(answer, "id"), cell(answer, "kind"));
        format!(
            "{id} waits for a second person until {}\nnext: placet {kind} confirm {id} --as SOMEBODY",
            cell(answer, "ends")
        )
    })?;
    Ok(Answer::Yes)
}

fn list(remote: &Remote) -> Result<Answer, Failure> {
    let admin = remote.server.open()?;
    let answer = block_on(admin.get("/v1/waivers"))?;
    show(remote.format, &answer, |answer| {
        listing(
            answer,
            "waivers",
            &[
                ("ID", "id"),
                ("STATE", "state"),
                ("KIND", "kind"),
                ("AGENT", "agent"),
                ("UPSTREAM", "upstream"),
                ("TOOL", "tool"),
                ("EFFECT", "effect"),
                ("OWNER", "owner"),
                ("CONFIRMED BY", "second"),
                ("ENDS", "ends"),
            ],
        )
    })?;
    Ok(Answer::Yes)
}
