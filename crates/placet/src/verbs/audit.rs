//! `placet audit`: the ledger of a data directory, read without a server.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use placet_audit::{Data, Entry, Query, Scope};
use placet_core::{DecisionId, TenantId, Timestamp};
use placet_json::{Value, object};
use placet_ledger::checkpoint::VerifyingKey;
use placet_record::Kind;
use placet_store::{Archive, Manifest, Postgres, Row};

use super::{common::cell, release::open};
use crate::{
    failure::{Failure, OrFail},
    output::{Answer, Colour, Format, paint, show, table},
};

/// Verify, search, explain and replay the ledger
#[derive(Debug, Args)]
pub(crate) struct Audit {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check journal, trees and signed checkpoints, and that every effect follows its permit
    #[command(
        after_help = "Examples:\n  placet audit verify --data data --key checkpoint.pub\n  placet audit verify --record 4711\n  placet audit verify --from 1000 --to 2000\n  placet audit verify --checkpoint yesterday.checkpoint\n  placet audit verify acme-2026.tar --key checkpoint.pub"
    )]
    Verify(super::verify::Verify),
    /// Tell one decision whole: for whom, why, on which facts, what came of it, with its proof
    #[command(
        after_help = "Examples:\n  placet audit show dc_4f0q2m8r6k1t5v9x3z7b2d6h0j --data data\n  placet audit show dc_4f0q2m8r6k1t5v9x3z7b2d6h0j --tree\n  placet audit show dc_4f0q2m8r6k1t5v9x3z7b2d6h0j --diff dc_0c41hz1sj7dnbkf8srgpvv1ena"
    )]
    Show(Show),
    /// Find decisions, the newest first
    #[command(
        after_help = "Example:\n  placet audit search --agent agent-7 --decision deny --since 2026-03-01T00:00:00Z"
    )]
    Search(Search),
    /// Decide again from record, release and facts of that time, and tell what differs
    #[command(
        after_help = "Example:\n  placet audit replay --data data\n  placet audit replay --release release/"
    )]
    Replay(Replay),
    /// Write an evidence pack: a tenant's records with the proof that they are all there, and a report that prints well
    #[command(
        after_help = "Examples:\n  placet audit export --tenant acme --since 2026-01-01T00:00:00Z --until 2026-04-01T00:00:00Z --out acme-q1.tar\n  placet audit export --tenant acme --workflow wf-9 --out wf-9.tar"
    )]
    Export(super::export::Export),
    /// Compare an upstream's own log with ours: what never came through the gateway, what it doesn't know
    #[command(
        after_help = "Example:\n  placet audit reconcile billing billing-log.csv --time at --tool operation --match case=case_id --match amount=amount"
    )]
    Reconcile(super::reconcile::Reconcile),
    /// Print the key of the checkpoints as witnesses and verifiers take it
    #[command(after_help = "Example:\n  placet audit vkey --data data >> logs.txt")]
    Vkey(super::rotate::Vkey),
    /// Hand the signing of checkpoints over to a new key
    #[command(
        name = "rotate-key",
        after_help = "Examples:\n  placet audit rotate-key --data data --new checkpoint-2027.key --why \"a year\"\n  placet audit rotate-key --data data --new checkpoint-2027.key --lost --old checkpoint.pub --why \"the old one is lost\""
    )]
    RotateKey(super::rotate::RotateKey),
    Witness(super::witness::Witness),
    /// Move segments that are older than what is promised to be replayed here into an archive
    #[command(
        after_help = "Examples:\n  placet audit archive --to /mnt/archive --keep 400 --dry-run\n  placet audit archive --to 's3://ledger/placet?region=eu-central-1' --keep 400 --keep-tenant acme=3650"
    )]
    Archive(super::archive::Archive),
    /// Hold what belongs to a tenant or a workflow, for a court or an auditor: it stays here, and isn't erased
    #[command(
        after_help = "Examples:\n  placet audit hold acme --why 'case 12 O 345/26'\n  placet audit hold acme --workflow wf-9 --why 'claim of 2026-03-01'\n  placet audit hold acme --end --why 'settled'"
    )]
    Hold(super::archive::Hold),
    /// List the holds in force
    #[command(after_help = "Example:\n  placet audit holds")]
    Holds(super::archive::HoldsVerb),
}

/// Where the ledger is.
#[derive(Debug, Args)]
pub(super) struct Directory {
    /// The data directory; a server may be using it
    #[arg(long, env = "PLACET_DATA", default_value = "data", value_name = "DIR")]
    pub(super) data: PathBuf,
    /// Read the journal from the database that several gateways share, instead of the data directory's; the directory's
    /// key and checkpoints are what it is held against
    #[arg(long, env = "PLACET_POSTGRES", hide_env_values = true, value_name = "URL")]
    postgres: Option<String>,
    /// The master key of `[vault]`, 32 bytes in base64, to open what is sealed; by default the data directory's own, if it
    /// has one. Without it what is personal stays shut
    #[arg(long, value_name = "FILE")]
    master_key: Option<PathBuf>,
    /// Read what is archived, too, and where; without a place, where it was archived to
    #[arg(long, env = "PLACET_ARCHIVE", num_args = 0..=1, require_equals = true, default_missing_value = "", value_name = "WHERE")]
    archive: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    pub(super) format: Format,
}

/// Whose checkpoints are believed.
#[derive(Debug, Default, Args)]
pub(super) struct Signer {
    /// The key that signs the checkpoints: a C2SP verifier key, PEM, or a server's own key file; by default the data
    /// directory's
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The organisation that the checkpoints must name; by default the one that they do
    #[arg(long, value_name = "NAME")]
    organisation: Option<String>,
}

#[derive(Debug, Args)]
struct Show {
    /// The decision
    decision: DecisionId,
    /// As a tree, from the delegation down to the effect, and what followed in the workflow
    #[arg(long, conflicts_with = "diff")]
    tree: bool,
    /// What differs between it and this other decision
    #[arg(long, value_name = "DECISION")]
    diff: Option<DecisionId>,
    #[command(flatten)]
    directory: Directory,
    #[command(flatten)]
    signer: Signer,
}

/// A kind of records.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Records {
    Facts,
    Decision,
    Effect,
    Release,
    Act,
    Refusals,
    Amendment,
    Gap,
}

#[derive(Debug, Args)]
struct Search {
    /// The tenant
    #[arg(long)]
    tenant: Option<TenantId>,
    /// The agent that acted
    #[arg(long)]
    agent: Option<String>,
    /// The person for whom
    #[arg(long)]
    human: Option<String>,
    /// The workflow
    #[arg(long)]
    workflow: Option<String>,
    /// The declared purpose
    #[arg(long)]
    intent: Option<String>,
    /// The action
    #[arg(long)]
    action: Option<String>,
    /// The resource, as TYPE:ID
    #[arg(long)]
    resource: Option<String>,
    /// `permit` or `deny`
    #[arg(long, value_parser = ["permit", "deny"])]
    decision: Option<String>,
    /// The first reason's code
    #[arg(long)]
    reason: Option<String>,
    /// The release that decided
    #[arg(long)]
    release: Option<String>,
    /// Which records
    #[arg(long, value_enum, default_value = "decision")]
    kind: Records,
    /// Recorded at this moment or later
    #[arg(long, value_name = "MOMENT")]
    since: Option<Timestamp>,
    /// Recorded before this moment
    #[arg(long, value_name = "MOMENT")]
    until: Option<Timestamp>,
    /// Positions below this one: the last of the page before
    #[arg(long, value_name = "POSITION")]
    below: Option<u64>,
    /// Records at most
    #[arg(long, default_value = "100", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    #[command(flatten)]
    directory: Directory,
}

#[derive(Debug, Args)]
struct Replay {
    /// Only this decision
    #[arg(long, value_name = "ID")]
    decision: Option<DecisionId>,
    /// Only of this tenant
    #[arg(long)]
    tenant: Option<TenantId>,
    /// From this position of the journal on
    #[arg(long, value_name = "POSITION")]
    from: Option<u64>,
    /// Up to this position of the journal
    #[arg(long, value_name = "POSITION")]
    to: Option<u64>,
    /// Recorded at this moment or later
    #[arg(long, value_name = "MOMENT")]
    since: Option<Timestamp>,
    /// Recorded before this moment
    #[arg(long, value_name = "MOMENT")]
    until: Option<Timestamp>,
    /// Ask this release instead of the recorded ones: its directory, or an archive
    #[arg(long, value_name = "RELEASE")]
    release: Option<PathBuf>,
    /// Don't count decisions whose bodies were erased against the exit status
    #[arg(long)]
    allow_erased: bool,
    /// Decide again what is in this evidence pack, which takes nothing else
    #[arg(long, value_name = "PACK", conflicts_with_all = ["data", "postgres"])]
    pack: Option<PathBuf>,
    #[command(flatten)]
    directory: Directory,
    #[command(flatten)]
    signer: Signer,
}

impl Audit {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        match self.verb {
            Verb::Verify(verb) => verb.run(),
            Verb::Show(verb) => verb.run(),
            Verb::Search(verb) => verb.run(),
            Verb::Replay(verb) => verb.run(),
            Verb::Export(verb) => verb.run(),
            Verb::Reconcile(verb) => verb.run(),
            Verb::Vkey(verb) => verb.run(),
            Verb::RotateKey(verb) => verb.run(),
            Verb::Witness(verb) => verb.run(),
            Verb::Archive(verb) => verb.run(),
            Verb::Hold(verb) => verb.run(),
            Verb::Holds(verb) => verb.run(),
        }
    }
}

impl Show {
    fn run(self) -> Result<Answer, Failure> {
        let format = self.directory.format;
        let copy = self.directory.copy()?;
        let (dir, data) = (self.directory.data.clone(), self.directory.open(copy.dir())?);
        let index = placet_audit::index(&data).or_fail("can't search the ledger")?;
        // Without a key the story is told, and says that it isn't proven.
        let signer = match &self.signer.key {
            Some(_) => Some(self.signer.of(&dir)?),
            None => self.signer.of(&dir).ok(),
        };
        let signer = signer.as_ref().map(|(organisation, key)| (organisation.as_str(), key));
        let tell = |id: &DecisionId| {
            placet_audit::story(&data, &index, id, signer).map_err(|error| {
                let failure = Failure::new(error.to_string());
                if matches!(error, placet_audit::StoryError::Unknown(_)) { failure.no() } else { failure }
            })
        };
        let story = tell(&self.decision)?;
        if let Some(other) = &self.diff {
            let differences = placet_audit::contrast(&story, &tell(other)?);
            let all = differences.iter().map(placet_audit::Contrast::to_value).collect::<Vec<_>>();
            let document =
                object! { "one" => self.decision.as_str(), "other" => other.as_str(), "differs" => all };
            show(format, &document.into(), |_| placet_audit::contrasted(&differences))?;
            return Ok(Answer::Yes);
        }
        let after = placet_audit::after(&index, &story).or_fail("can't search the ledger")?;
        let mut document = story.to_value();
        if let Some(document) = document.as_object_mut() {
            document.insert("followed", after.iter().map(Entry::to_value).collect::<Vec<_>>());
        }
        show(format, &document, |_| {
            if self.tree { placet_audit::tree(&story, &after) } else { story.to_string() }
        })?;
        Ok(Answer::Yes)
    }
}

impl Search {
    fn run(self) -> Result<Answer, Failure> {
        let Self { tenant, agent, human, workflow, intent, action, resource, .. } = self;
        let Self { decision, reason, release, kind, since, until, below, limit, directory, .. } = self;
        let kind = match kind {
            Records::Facts => Kind::Facts,
            Records::Decision => Kind::Decision,
            Records::Effect => Kind::Effect,
            Records::Release => Kind::Release,
            Records::Act => Kind::Act,
            Records::Refusals => Kind::Refusals,
            Records::Amendment => Kind::Amendment,
            Records::Gap => Kind::Gap,
        };
        let row = Row {
            human,
            agent,
            workflow,
            intent,
            action,
            resource,
            decision,
            reason,
            release,
            decision_id: None,
        };
        let tenant = tenant.map(|tenant| tenant.as_str().to_owned());
        let query = Query { tenant, kinds: vec![kind], row, since, until, below, limit: Some(limit) };
        let copy = directory.copy()?;
        let data = directory.open(copy.dir())?;
        let index = placet_audit::index(&data).or_fail("can't search the ledger")?;
        let found = placet_audit::search(&index, &query).or_fail("can't search the ledger")?;
        let records: Vec<Value> = found.iter().map(Entry::to_value).collect();
        show(directory.format, &Value::from(object! { "records" => records.clone() }), |_| listed(&records))?;
        Ok(Answer::Yes)
    }
}

impl Replay {
    fn run(self) -> Result<Answer, Failure> {
        let Self { decision, tenant, from, to, since, until, release, allow_erased, pack, directory, signer } =
            self;
        let other = match &release {
            None => None,
            Some(path) => match open(path, directory.format)? {
                Ok(release) => Some(release),
                Err(()) => {
                    return Err(Failure::new(format!("`{}` is no release", path.display()))
                        .remedy("run `placet check` on it"));
                }
            },
        };
        let copy;
        let data = match &pack {
            None => {
                copy = directory.copy()?;
                let data = directory.open(copy.dir())?;
                // Needed only where the beginning is archived, and asked for then.
                match signer.of(&directory.data) {
                    Ok((organisation, key)) => data.trusting(organisation, key),
                    Err(failure) if signer.is_named() => return Err(failure),
                    Err(_) => data,
                }
            }
            Some(pack) => {
                let pack = super::verify::open_pack(pack)?;
                if !pack.has_history() {
                    return Err(Failure::new(
                        "the pack lacks what came before: nothing in it can be decided again",
                    )
                    .remedy("export it without `--without-history`"));
                }
                Data::of_pack(pack).or_fail("can't read the pack")?
            }
        };
        let scope = Scope {
            from,
            to,
            since_ms: since.map(Timestamp::millis),
            until_ms: until.map(Timestamp::millis),
            tenant,
            decision: decision.clone(),
        };
        let mut progress = Progress::default();
        let report =
            placet_audit::replay(&data, &scope, other.as_ref(), &mut |at, last| progress.tell(at, last))
                .or_fail("can't read the ledger")?;
        if let Some(decision) = decision.filter(|_| report.total() == 0) {
            return Err(Failure::new(format!("the ledger has no decision `{decision}` there")).no());
        }
        let same = if allow_erased { report.is_same_but_erased() } else { report.is_same() };
        show(directory.format, &report.to_value(), |_| coloured(&report.to_string(), same))?;
        Ok(Answer::of(same))
    }
}

/// Where the ledger lies that is looked at.
pub(super) enum Place {
    Here(PathBuf),
    Copied(tempfile::TempDir),
}

impl Place {
    pub(super) fn dir(&self) -> &Path {
        match self {
            Self::Here(dir) => dir,
            Self::Copied(dir) => dir.path(),
        }
    }
}

impl Directory {
    /// The data directory, or a copy of the database's journal that goes when this does, with the directory's checkpoints.
    pub(super) fn copy(&self) -> Result<Place, Failure> {
        let Some(url) = &self.postgres else { return Ok(Place::Here(self.data.clone())) };
        let database = Postgres::new(url, "audit", None, true).or_fail("can't read the journal")?;
        let copy = tempfile::tempdir().or_fail("can't make a directory")?;
        // Before the journal: it has whatever they sign.
        for tree in placet_store::trees(&self.data).or_fail("can't read the checkpoints")? {
            placet_store::copy_tree(&self.data, &tree, copy.path()).or_fail("can't read the checkpoints")?;
        }
        placet_store::fetch(&database, copy.path()).or_fail("can't read the journal")?;
        Ok(Place::Copied(copy))
    }
}

impl Signer {
    /// The key, if one is named.
    pub(super) fn told(&self) -> Result<Option<VerifyingKey>, Failure> {
        let key = self.key.as_ref().map(|path| placet_audit::read_key(path));
        key.transpose().map_err(|error| Failure::new(error.to_string()))
    }
    /// Whether anything was named.
    pub(super) const fn is_named(&self) -> bool {
        self.key.is_some() || self.organisation.is_some()
    }
    /// The organisation, if one is named.
    pub(super) fn organisation(&self) -> Option<&str> {
        self.organisation.as_deref()
    }
    pub(super) fn of(&self, data: &Path) -> Result<(String, VerifyingKey), Failure> {
        let key = match &self.key {
            Some(path) => placet_audit::read_key(path),
            None => placet_audit::checkpoint_key(data),
        };
        let key =
            key.map_err(|error| Failure::new(error.to_string()).remedy("name the key's file with `--key`"))?;
        let named = match &self.organisation {
            Some(organisation) => Some(organisation.clone()),
            None => placet_audit::organisation(data).or_fail("can't read the checkpoints")?,
        };
        // Where nothing is signed yet, no name is compared either.
        Ok((named.unwrap_or_default(), key))
    }
}

impl Directory {
    /// The archive, if what is in it is to be read.
    pub(super) fn archive(&self, dir: &Path) -> Result<Option<Archive>, Failure> {
        let named = match self.archive.as_deref() {
            Some("") => {
                Manifest::read(dir).or_fail("can't read what is archived")?.map(|found| found.location)
            }
            named => named.map(str::to_owned),
        };
        named.map(|location| super::archive::open(&location)).transpose()
    }

    /// Opens the directory, or the copy of it, with the master key.
    pub(super) fn open(&self, dir: &Path) -> Result<Data, Failure> {
        if !dir.join("journal").is_dir() {
            return Err(no_data(dir));
        }
        let own = self.data.join("keys").join("master.key");
        let path = self.master_key.clone().or_else(|| own.exists().then_some(own));
        let master = match &path {
            None => None,
            Some(path) => {
                let wrong = |why: String| Failure::new(format!("the master key `{}`: {why}", path.display()));
                let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
                Some(placet_audit::master_key(&text).map_err(wrong)?)
            }
        };
        let archive = self.archive(dir)?;
        let data = Data::open_with(dir, master.as_ref()).map(|data| data.with_archive(archive));
        data.map_err(|error| {
            Failure::new(error.to_string())
                .remedy("`placet audit verify` tells the first place that is wrong")
        })
    }
}

pub(super) fn open_data(dir: &Path) -> Result<Data, Failure> {
    if !dir.join("journal").is_dir() {
        return Err(no_data(dir));
    }
    let data = Data::open(dir).map_err(|error| {
        Failure::new(error.to_string()).remedy("`placet audit verify` tells the first place that is wrong")
    })?;
    // Where the beginning is archived, a look back begins at a kept state that the directory's own key signed.
    Ok(match Signer::default().of(dir) {
        Ok((organisation, key)) => data.trusting(organisation, key),
        Err(_) => data,
    })
}

pub(super) fn no_data(dir: &Path) -> Failure {
    Failure::new(format!("`{}` is no data directory: it has no `journal`", dir.display()))
        .remedy("name it with `--data`")
}

/// Paints the last line, the verdict.
pub(super) fn coloured(text: &str, good: bool) -> String {
    let text = text.trim_end();
    let (before, verdict) = text.rsplit_once('\n').unwrap_or(("", text));
    let newline = if before.is_empty() { "" } else { "\n" };
    format!("{before}{newline}{}", paint(verdict, if good { Colour::Green } else { Colour::Red }))
}

fn listed(records: &[Value]) -> String {
    if records.is_empty() {
        return "nothing found".to_owned();
    }
    let columns =
        ["sequence", "time", "id", "decision", "human", "agent", "workflow", "action", "resource", "reason"];
    let rows: Vec<Vec<String>> =
        records.iter().map(|record| columns.iter().map(|name| cell(record, name)).collect()).collect();
    table(&columns.map(str::to_uppercase).each_ref().map(String::as_str), &rows)
}

/// Tells on standard error how far a reading is that takes over a second.
#[derive(Debug, Default)]
pub(super) struct Progress {
    began: u64,
    told: u64,
}

impl Progress {
    pub(super) fn tell(&mut self, at: u64, last: u64) {
        let now = crate::clock::millis();
        if self.began == 0 {
            (self.began, self.told) = (now, now);
        }
        if now.saturating_sub(self.told) >= 1000 && at < last {
            self.told = now;
            // How long a pack is isn't known before its end.
            let of = if last == u64::MAX { String::new() } else { format!(" of {last}") };
            eprintln!("placet: {at}{of} records");
        }
    }
}
