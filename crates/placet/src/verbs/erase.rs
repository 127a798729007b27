//! `placet erase`: a subject's data, for good.

use clap::Args;
use placet_json::{Value, object};

use super::common::Remote;
use crate::{
    admin::block_on,
    failure::Failure,
    output::{Answer, show},
};

/// Erase what is recorded about somebody, for good; the ledger stays provable
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  placet erase human maya --why 'GDPR Art. 17, ticket 4711'\n  placet erase customer cust-101 --tenant acme --why 'GDPR Art. 17, ticket 4712'"
)]
pub(crate) struct Erase {
    /// What it is: `human`, `workflow`, or a kind that the catalog's `personal` names
    kind: String,
    /// Its id
    id: String,
    /// The tenant; a `human` is of none
    #[arg(long)]
    tenant: Option<String>,
    /// On whose demand and by which right; kept in the ledger, so name nobody
    #[arg(long, value_name = "TEXT")]
    why: String,
    #[command(flatten)]
    remote: Remote,
}

impl Erase {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let Self { kind, id, tenant, why, remote } = self;
        let mut body = object! { "kind" => kind.as_str(), "id" => id.as_str(), "why" => why };
        if let Some(tenant) = &tenant {
            body.insert("tenant", tenant.as_str());
        }
        let answer = block_on(remote.server.open()?.post("/v1/erasures", &body.into()))?;
        show(remote.format, &answer, |answer| {
            let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or_default();
            match number("keys") {
                0 => format!("nothing is sealed for {kind} {id}; the act is record {}", number("sequence")),
                keys => {
                    format!("{kind} {id} is erased: {keys} of {keys} keys; record {}", number("sequence"))
                }
            }
        })?;
        Ok(Answer::Yes)
    }
}
