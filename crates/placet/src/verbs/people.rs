//! `placet tenant`, `placet agent`: who there is.

use clap::{Args, Subcommand};
use placet_json::{Value, object};

use super::common::{Remote, Why, cell, listing};
use crate::{
    admin::{block_on, segment},
    failure::Failure,
    output::{Answer, show},
};

/// Create and list tenants
#[derive(Debug, Args)]
pub(crate) struct Tenant {
    #[command(subcommand)]
    verb: TenantVerb,
}

#[derive(Debug, Subcommand)]
enum TenantVerb {
    /// Create a tenant
    #[command(after_help = "Example:\n  placet tenant create acme")]
    Create {
        /// Its id
        id: String,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        remote: Remote,
    },
    /// List tenants
    #[command(after_help = "Example:\n  placet tenant list")]
    List {
        #[command(flatten)]
        remote: Remote,
    },
}

impl Tenant {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        match self.verb {
            TenantVerb::Create { id, why, remote } => {
                let admin = remote.server.open()?;
                let answer = block_on(admin.post("/v1/tenants", &why.onto(object! { "id" => id.as_str() })))?;
                show(remote.format, &answer, |_| format!("there is a tenant `{id}`"))?;
            }
            TenantVerb::List { remote } => {
                let answer = block_on(remote.server.open()?.get("/v1/tenants"))?;
                show(remote.format, &answer, |answer| listing(answer, "tenants", &[("TENANT", "id")]))?;
            }
        }
        Ok(Answer::Yes)
    }
}

/// Enrol, list, suspend and resume agents
#[derive(Debug, Args)]
pub(crate) struct Agent {
    #[command(subcommand)]
    verb: AgentVerb,
}

#[derive(Debug, Subcommand)]
enum AgentVerb {
    /// Create an agent, or give a known one another key: prints a code that works once
    #[command(after_help = "Example:\n  placet agent enrol agent-7 --type support_agent --owner maya")]
    Enrol {
        /// Its id
        id: String,
        /// Its type, as policies and workflow types name it; for a new agent
        #[arg(long = "type", value_name = "NAME")]
        kind: Option<String>,
        /// The accountable person; for a new agent
        #[arg(long, value_name = "HUMAN")]
        owner: Option<String>,
        /// How long the code works, in minutes
        #[arg(long, default_value_t = 60, value_name = "MINUTES")]
        minutes: u64,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        remote: Remote,
    },
    /// List agents
    #[command(after_help = "Example:\n  placet agent list")]
    List {
        #[command(flatten)]
        remote: Remote,
    },
    /// Stop an agent for now: the next call is denied
    #[command(after_help = "Example:\n  placet agent suspend agent-7 --why 'odd refunds'")]
    Suspend {
        /// Its id
        id: String,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        remote: Remote,
    },
    /// Let a suspended agent go on
    #[command(after_help = "Example:\n  placet agent resume agent-7")]
    Resume {
        /// Its id
        id: String,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        remote: Remote,
    },
}

impl Agent {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        match self.verb {
            AgentVerb::Enrol { id, kind, owner, minutes, why, remote } => {
                let admin = remote.server.open()?;
                let mut body = object! { "life_s" => minutes.saturating_mul(60) };
                let path = match (kind, owner) {
                    (Some(kind), Some(owner)) => {
                        body.insert("id", id.as_str());
                        body.insert("type", kind);
                        body.insert("owner", owner);
                        "/v1/agents".to_owned()
                    }
                    (None, None) => format!("/v1/agents/{}/codes", segment(&id)),
                    _ => {
                        return Err(Failure::new("a new agent has both a type and an owner")
                            .remedy("give `--type` and `--owner`, or neither for a further key"));
                    }
                };
                let answer = block_on(admin.post(&path, &why.onto(body)))?;
                show(remote.format, &answer, |answer| {
                    let (code, gateway) = (cell(answer, "code"), cell(answer, "gateway"));
                    format!(
                        "{id} enrols with this code, once, until {}:\n  {code}\n\nFor instance:\n  placet connect --server {gateway} --key {id}.pem --enrol {code}",
                        cell(answer, "expires")
                    )
                })?;
            }
            AgentVerb::List { remote } => {
                let answer = block_on(remote.server.open()?.get("/v1/agents"))?;
                show(remote.format, &answer, |answer| {
                    listing(
                        answer,
                        "agents",
                        &[("AGENT", "id"), ("TYPE", "type"), ("OWNER", "owner"), ("STANDING", "standing")],
                    )
                })?;
            }
            AgentVerb::Suspend { id, why, remote } => standing(&id, "suspended", &why, &remote)?,
            AgentVerb::Resume { id, why, remote } => standing(&id, "active", &why, &remote)?,
        }
        Ok(Answer::Yes)
    }
}

fn standing(id: &str, standing: &str, why: &Why, remote: &Remote) -> Result<(), Failure> {
    let admin = remote.server.open()?;
    let path = format!("/v1/agents/{}/standing", segment(id));
    let answer: Value = block_on(admin.post(&path, &why.onto(object! { "standing" => standing })))?;
    show(remote.format, &answer, |_| format!("{id} is {standing}"))
}
