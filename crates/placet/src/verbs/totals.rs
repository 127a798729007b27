//! `placet totals`: what was permitted today, and what is under way.

use clap::Args;
use placet_json::Value;

use super::common::{Remote, listing};
use crate::{
    admin::{block_on, segment},
    failure::Failure,
    output::{Answer, show},
};

/// Show what was permitted today by person, agent, tool and tenant, and what is under way
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  placet totals acme")]
pub(crate) struct Totals {
    /// The tenant
    tenant: String,
    #[command(flatten)]
    remote: Remote,
}

impl Totals {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let Self { tenant, remote } = self;
        let path = format!("/v1/tenants/{}/totals", segment(&tenant));
        let answer = block_on(remote.server.open()?.get(&path))?;
        show(remote.format, &answer, text)?;
        Ok(Answer::Yes)
    }
}

fn text(answer: &Value) -> String {
    let totals =
        [("PER", "per"), ("OF", "of"), ("ACTION", "action"), ("COUNT", "count"), ("AMOUNT", "amount")];
    let under_way = [("AGENT", "agent"), ("TOOL", "tool"), ("UNDER WAY", "calls")];
    let mut text = listing(answer, "totals", &totals);
    if answer.get("under_way").and_then(Value::as_array).is_some_and(|calls| !calls.is_empty()) {
        text.push_str("\n\n");
        text.push_str(&listing(answer, "under_way", &under_way));
    }
    text
}
