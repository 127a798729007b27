//! `placet risk`: how risky an agent, a person or a workflow is held to be.

use clap::{Args, Subcommand, ValueEnum};
use placet_json::{Limits, Value, object};

use super::common::{Remote, Why, in_tenant, listing};
use crate::{
    admin::block_on,
    failure::Failure,
    output::{Answer, show},
};

/// Set and list risks, which policies read at `input.risk`
///
/// A risk is a count or a score from 0, whatever the policies of the release take it for. It is 0 until somebody sets it.
#[derive(Debug, Args)]
pub(crate) struct Risk {
    #[command(subcommand)]
    verb: RiskVerb,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Of {
    Agent,
    Human,
    Workflow,
}

#[derive(Debug, Subcommand)]
enum RiskVerb {
    /// Set the risk of an agent, a person or a workflow
    #[command(
        after_help = "Example:\n  placet risk set agent agent-7 0.8 --why 'odd hours'\n  placet risk set workflow acme/wf-9 3"
    )]
    Set {
        /// Whose kind
        of: Of,
        /// Its id; of a workflow, TENANT/WORKFLOW
        id: String,
        /// How much: a number from 0, at most 4 digits behind the point
        risk: String,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        remote: Remote,
    },
    /// List risks that aren't 0
    #[command(after_help = "Example:\n  placet risk list")]
    List {
        #[command(flatten)]
        remote: Remote,
    },
}

impl Risk {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        match self.verb {
            RiskVerb::Set { of, id, risk, why, remote } => {
                let number = placet_json::parse(risk.as_bytes(), &Limits::MESSAGE).ok();
                let number = number.filter(|value| matches!(value, Value::Number(_))).ok_or_else(|| {
                    Failure::new(format!("`{risk}` is no number")).remedy("write it as `3` or `0.8`")
                })?;
                let mut body = object! { "risk" => number };
                match of {
                    Of::Agent => drop(body.insert("agent", id.as_str())),
                    Of::Human => drop(body.insert("human", id.as_str())),
                    Of::Workflow => {
                        let (tenant, workflow) = in_tenant(&id, "workflow")?;
                        body.insert("tenant", tenant);
                        body.insert("workflow", workflow);
                    }
                }
                let answer = block_on(remote.server.open()?.post("/v1/risks", &why.onto(body)))?;
                show(remote.format, &answer, |_| format!("the risk of {id} is {risk}"))?;
            }
            RiskVerb::List { remote } => {
                let answer = block_on(remote.server.open()?.get("/v1/risks"))?;
                let columns = [
                    ("AGENT", "agent"),
                    ("HUMAN", "human"),
                    ("TENANT", "tenant"),
                    ("WORKFLOW", "workflow"),
                    ("RISK", "risk"),
                ];
                show(remote.format, &answer, |answer| listing(answer, "risks", &columns))?;
            }
        }
        Ok(Answer::Yes)
    }
}
