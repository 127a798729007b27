//! `placet audit archive`, `placet audit hold` and `placet audit holds`: what stays in the data directory, and where the
//! rest goes.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use placet_audit::{Data, Holds, Retention, WINDOW};
use placet_json::{Value, object};
use placet_store::{Archive as Place, KeptStates, Manifest, Notary, Shelving, shelve_alone};

use super::{
    audit::Directory,
    common::{Remote, listing},
};
use crate::{
    admin::block_on,
    clock,
    failure::{Failure, OrFail},
    keyfile::read_checkpoint_key,
    output::{Answer, show},
};

/// Opens an archive, with the credentials of this process' environment.
pub(super) fn open(location: &str) -> Result<Place, Failure> {
    Place::open(location, &super::serve::variable).map_err(|error| Failure::new(error.to_string()))
}

#[derive(Debug, Args)]
pub(super) struct Archive {
    /// Where to: a directory, or `s3://BUCKET/PREFIX?region=REGION&endpoint=URL` with credentials in `AWS_ACCESS_KEY_ID`
    /// and `AWS_SECRET_ACCESS_KEY`; by default where the last ones went
    #[arg(long, value_name = "WHERE")]
    to: Option<String>,
    /// How many days decisions can still be replayed from the data directory
    #[arg(long, value_name = "DAYS", default_value = "365", value_parser = clap::value_parser!(u64).range(0..=36_500))]
    keep: u64,
    /// Days of one tenant, as TENANT=DAYS; may be repeated
    #[arg(long, value_name = "TENANT=DAYS", value_parser = tenant_days)]
    keep_tenant: Vec<(String, u64)>,
    /// Only tell what would go
    #[arg(long)]
    dry_run: bool,
    /// The private key that signs the checkpoints; by default the data directory's
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    directory: Directory,
}

fn tenant_days(text: &str) -> Result<(String, u64), String> {
    let (tenant, days) = text.split_once('=').ok_or("write TENANT=DAYS")?;
    Ok((tenant.to_owned(), days.parse().map_err(|_| format!("`{days}` is no number of days"))?))
}

impl Archive {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        let Self { to, keep, keep_tenant, dry_run, key, directory } = self;
        let data = &directory.data;
        let opened: Data = directory.open(data)?;
        let before = Manifest::read(data).or_fail("can't read what is archived")?;
        let to = to.or_else(|| before.map(|manifest| manifest.location));
        let to = to.ok_or_else(|| {
            Failure::new("nothing is archived yet, so the place isn't known").remedy("name it with `--to`")
        })?;
        let archive = open(&to)?;
        let organisation = placet_audit::organisation(data).or_fail("can't read the checkpoints")?;
        let organisation = organisation
            .ok_or_else(|| Failure::new("nothing is signed yet, and what isn't signed isn't archived"))?;
        let key = read_checkpoint_key(&key.unwrap_or_else(|| data.join("keys/checkpoint.key")))
            .map_err(|failure| failure.remedy("name the checkpoint key with `--key`"))?;
        let states = KeptStates::of_any(data, &organisation, key.public());
        let notary = Notary { organisation, key: Arc::new(key), every: Duration::from_secs(1) };
        let holds = Holds::read(&opened).or_fail("can't read the holds")?;
        let tenants: BTreeMap<_, _> = keep_tenant.into_iter().collect();
        let (retention, now) = (Retention { days: keep, tenants }, clock::millis());
        let shelving = Shelving {
            notary: &notary,
            archive: &archive,
            states: &states,
            margin: WINDOW,
            dry_run,
            faults: placet_store::Faults::none(),
        };
        let goes = |candidate: &placet_store::Candidate| retention.lets_go(candidate, &holds, now);
        let shelved = shelve_alone(data, &shelving, goes, placet_audit::mark)
            .map_err(|error| Failure::new(error.to_string()).remedy("nothing is lost: run it again"))?;
        let segments: Vec<Value> = shelved
            .moved
            .iter()
            .map(|it| {
                object! { "first" => it.first, "last" => it.last, "bytes" => it.bytes, "name" => it.name(), "sha256" => it.digest.to_string() }
                    .into()
            })
            .collect();
        let document = object! {
            "dry_run" => dry_run, "archive" => archive.location(), "segments" => segments, "first_here" => shelved.base,
            "because" => shelved.because.as_str(),
        };
        show(directory.format, &document.into(), |_| {
            let mut text = String::new();
            let verb = if dry_run { "would go" } else { "archived and read back" };
            for it in &shelved.moved {
                let line = format!(
                    "{verb}: records {} to {}, {} bytes, {}\n",
                    it.first,
                    it.last,
                    it.bytes,
                    it.name()
                );
                text.push_str(&line);
            }
            let count = shelved.moved.len();
            format!(
                "{text}{count} segments to `{}`; record {} is the first one here: {}",
                archive.location(),
                shelved.base,
                shelved.because.as_str()
            )
        })?;
        Ok(Answer::Yes)
    }
}

#[derive(Debug, Args)]
pub(super) struct Hold {
    /// The tenant
    tenant: String,
    /// Only for the sake of this workflow; its tenant's records stay together all the same
    #[arg(long)]
    workflow: Option<String>,
    /// On whose demand, or why it ends; kept in the ledger
    #[arg(long, value_name = "TEXT")]
    why: String,
    /// End the hold
    #[arg(long)]
    end: bool,
    #[command(flatten)]
    remote: Remote,
}

impl Hold {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        let Self { tenant, workflow, why, end, remote } = self;
        let mut body = object! { "tenant" => tenant, "why" => why };
        if let Some(workflow) = workflow {
            body.insert("workflow", workflow);
        }
        let path = if end { "/v1/holds/end" } else { "/v1/holds" };
        let answer = block_on(remote.server.open()?.post(path, &body.into()))?;
        show(remote.format, &answer, |answer| {
            let what = answer.get("what").and_then(Value::as_str).unwrap_or_default();
            let at = answer.get("sequence").and_then(Value::as_u64).unwrap_or_default();
            let done = if end {
                "isn't held any more"
            } else {
                "is held: its records stay here, and nothing of its tenant is erased"
            };
            format!("the {what} {done}; record {at}")
        })?;
        Ok(Answer::Yes)
    }
}

#[derive(Debug, Args)]
pub(super) struct HoldsVerb {
    #[command(flatten)]
    remote: Remote,
}

impl HoldsVerb {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        let answer = block_on(self.remote.server.open()?.get("/v1/holds"))?;
        show(self.remote.format, &answer, |answer| {
            listing(
                answer,
                "holds",
                &[("TENANT", "tenant"), ("WORKFLOW", "workflow"), ("RECORD", "at"), ("WHY", "why")],
            )
        })?;
        Ok(Answer::Yes)
    }
}
