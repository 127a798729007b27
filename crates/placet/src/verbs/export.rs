//! `placet audit export`: what an auditor takes home.

use std::path::PathBuf;

use clap::Args;
use placet_audit::{ExportError, Selection};
use placet_core::{TenantId, Timestamp};
use placet_json::{Value, object};

use super::audit::{Directory, Signer};
use crate::{
    clock,
    failure::{Failure, OrFail},
    output::{Answer, show},
};

#[derive(Debug, Args)]
pub(super) struct Export {
    /// The tenant
    #[arg(long)]
    tenant: TenantId,
    /// The pack; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Recorded at this moment or later
    #[arg(long, value_name = "MOMENT")]
    since: Option<Timestamp>,
    /// Recorded before this moment
    #[arg(long, value_name = "MOMENT")]
    until: Option<Timestamp>,
    /// About this workflow
    #[arg(long)]
    workflow: Option<String>,
    /// About what was decided for this person
    #[arg(long)]
    human: Option<String>,
    /// Leave out what was recorded before, and the organisation's records: then nothing can be decided again
    #[arg(long, conflicts_with_all = ["workflow", "human"])]
    without_history: bool,
    #[command(flatten)]
    directory: Directory,
    #[command(flatten)]
    signer: Signer,
}

impl Export {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        let copy = self.directory.copy()?;
        let (organisation, key) = self.signer.of(&self.directory.data)?;
        let data = self.directory.open(copy.dir())?;
        let keys = placet_audit::keys(copy.dir(), &organisation, key).or_fail("can't read the handovers")?;
        let selection = Selection {
            tenant: self.tenant.as_str().to_owned(),
            since: self.since,
            until: self.until,
            workflow: self.workflow,
            human: self.human,
            history: !self.without_history,
        };
        let now = Timestamp::from_millis(clock::millis());
        let exported = placet_audit::export(&data, &organisation, &keys, &selection, now, &self.out);
        let exported = exported.map_err(|error| {
            let failure = Failure::new(format!("there is no pack: {error}"));
            if matches!(error, ExportError::NoTenant(_) | ExportError::Nothing(_)) {
                failure.no()
            } else {
                failure
            }
        })?;
        let document = Value::from(object! {
            "pack" => self.out.display().to_string(), "records" => exported.records, "decisions" => exported.decisions,
            "bytes" => exported.bytes, "manifest" => exported.manifest.to_string(),
        });
        show(self.directory.format, &document, |_| {
            format!(
                "`{}`: {} records, {} decisions that were asked about, {} bytes; its manifest is {}",
                self.out.display(),
                exported.records,
                exported.decisions,
                exported.bytes,
                exported.manifest
            )
        })?;
        Ok(Answer::Yes)
    }
}
