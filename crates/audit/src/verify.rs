//! Whether the ledger holds: its bytes, its trees, and that calls and effects follow each other.

use std::{collections::BTreeMap, fmt, path::Path};

use placet_core::{Timestamp, authority::Ending};
use placet_json::{Value, object};
use placet_ledger::checkpoint::VerifyingKey;
use placet_ledger::note;
use placet_record::{Amendment, DecisionRecord, EffectRecord, Gap, Kind, Refusals};
use placet_store::{Archive, Reader, Record};

use crate::{
    handover::{self, Handover, Keys},
    report::MAX_DETAILS,
};

/// A permit whose effect isn't recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenWarrant {
    /// Its position.
    pub sequence: u64,
    /// When it was recorded.
    pub time: Timestamp,
    /// The decision.
    pub decision: String,
    /// Its tenant.
    pub tenant: String,
    /// Its workflow.
    pub workflow: String,
}

/// A record that can't stand where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// Its position.
    pub sequence: u64,
    /// What is wrong with it.
    pub what: String,
}

/// What a verification saw.
#[derive(Debug)]
pub struct VerifyReport {
    /// Bytes, chain, trees and checkpoints.
    pub ledger: placet_store::VerifyReport,
    /// Whether all records that check out were followed: not where damage hides the journal's end. Then no permit is
    /// called open.
    pub followed: bool,
    /// Permits.
    pub permits: u64,
    /// Denials.
    pub denials: u64,
    /// Denials that stand in the ledger as counts only.
    pub counted: u64,
    /// Effects.
    pub effects: u64,
    /// Permits without an effect: on their way right now, or left by a crash until the next start.
    pub open: Vec<OpenWarrant>,
    /// Records that can't stand where they stand, at most [`MAX_DETAILS`].
    pub misfits: Vec<Misfit>,
    /// Restored backups, each with its position, signed by a key of the ledger.
    pub gaps: Vec<(u64, Gap)>,
    /// Keys that took over from one that was lost.
    pub unvouched: Vec<Handover>,
}

impl VerifyReport {
    /// Whether everything holds. Open permits don't count against it.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.ledger.is_sound() && self.followed && self.misfits.is_empty()
    }

    /// As JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let Self { ledger, followed, permits, denials, counted, effects, open, misfits, gaps, unvouched } =
            self;
        let trees = ledger.trees.iter().map(|tree| {
            Value::from(object! { "tree" => tree.tree.as_str(), "records" => tree.records, "signed" => tree.signed.map_or(Value::Null, Value::from) })
        });
        let open = open.iter().map(|it| {
            Value::from(object! { "sequence" => it.sequence, "time" => it.time.to_string(), "decision" => it.decision.as_str(), "tenant" => it.tenant.as_str(), "workflow" => it.workflow.as_str() })
        });
        let misfits = misfits
            .iter()
            .map(|it| Value::from(object! { "sequence" => it.sequence, "what" => it.what.as_str() }));
        Value::from(object! {
            "verdict" => if self.is_sound() { "sound" } else { "differs" },
            "finding" => ledger.finding.as_ref().map_or(Value::Null, |finding| Value::from(finding.to_string())),
            "records" => ledger.records,
            "segments" => u64::try_from(ledger.segments).unwrap_or(u64::MAX),
            "trees" => trees.collect::<Vec<_>>(),
            "torn" => ledger.torn.map_or(Value::Null, |torn| Value::from(object! { "segment" => torn.segment, "offset" => torn.offset, "sequence" => torn.sequence })),
            "archived" => ledger.archived.as_ref().map_or(Value::Null, |it| Value::from(object! { "last" => it.last, "segments" => u64::try_from(it.segments).unwrap_or(u64::MAX), "at" => it.location.as_str(), "verified" => it.read })),
            "followed" => *followed, "permits" => *permits, "denials" => *denials, "counted" => *counted, "effects" => *effects,
            "open" => open.collect::<Vec<_>>(),
            "misfits" => misfits.collect::<Vec<_>>(),
            "gaps" => gaps.iter().map(|(sequence, gap)| gap_value(*sequence, gap)).collect::<Vec<_>>(),
            "unvouched_keys" => unvouched.iter().map(|it| Value::from(object! { "time" => it.time.to_string(), "key" => it.new.vkey("placet"), "why" => it.why.as_str() })).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for VerifyReport {
    /// For people: what is wrong first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ledger, followed, permits, denials, counted, effects, open, misfits, gaps, unvouched } =
            self;
        if let Some(finding) = &ledger.finding {
            writeln!(f, "wrong: {finding}")?;
        }
        for Misfit { sequence, what } in misfits {
            writeln!(f, "wrong: record {sequence}: {what}")?;
        }
        if let Some(torn) = ledger.torn {
            writeln!(
                f,
                "torn write at the end, of which nothing was acknowledged: segment {}, offset {}, before record {}",
                torn.segment, torn.offset, torn.sequence
            )?;
        }
        if let Some(archived) = &ledger.archived {
            let (last, segments, at) = (archived.last, archived.segments, &archived.location);
            let told = if archived.read { "verified there" } else { "not read; `--archive` does" };
            writeln!(f, "archived: records 1 to {last}, {segments} segments, at `{at}`: {told}")?;
        }
        for warrant in open {
            writeln!(
                f,
                "open: record {} of {}: {} in workflow {}/{} has no recorded effect yet",
                warrant.sequence, warrant.time, warrant.decision, warrant.tenant, warrant.workflow
            )?;
        }
        for (sequence, gap) in gaps {
            writeln!(f, "{}", gap_text(*sequence, gap))?;
        }
        for handover in unvouched {
            writeln!(
                f,
                "key: at {} a new key took over from a lost one, which vouches for nothing: {} ({})",
                handover.time,
                handover.new.vkey("placet"),
                handover.why
            )?;
        }
        for tree in &ledger.trees {
            let signed = match tree.signed {
                Some(signed) if signed == tree.records => "all of them signed".to_owned(),
                Some(signed) => format!("{signed} of them signed"),
                None => "none of them signed yet".to_owned(),
            };
            writeln!(f, "tree {}: {} records, {signed}", tree.tree, tree.records)?;
        }
        if *followed {
            writeln!(
                f,
                "{} records in {} segments: {permits} permits, {denials} denials, {effects} effects, {} open",
                ledger.records,
                ledger.segments,
                open.len()
            )?;
            if *counted > 0 {
                writeln!(f, "{counted} more refusals are there as counts only")?;
            }
        } else {
            writeln!(
                f,
                "{} records check out; whether effects follow their permits wasn't looked at",
                ledger.records
            )?;
        }
        writeln!(f, "{}", if self.is_sound() { "the ledger holds" } else { "the ledger does not hold" })
    }
}

/// Verifies a directory against checkpoints of `organisation` signed by `key`. The records are followed as far as they
/// check out.
#[must_use]
pub fn verify(data: &Path, organisation: &str, key: VerifyingKey) -> VerifyReport {
    verify_with(data, organisation, key, None)
}

/// The same; what is archived is read and followed there, if an archive is given.
#[must_use]
pub fn verify_with(
    data: &Path,
    organisation: &str,
    key: VerifyingKey,
    archive: Option<&Archive>,
) -> VerifyReport {
    let keys = handover::keys(data, organisation, key).unwrap_or_else(|_| Keys {
        newest: key,
        all: vec![key],
        unvouched: Vec::new(),
    });
    let ledger = placet_store::verify_with(data, organisation, keys.newest, archive);
    let (sound, unvouched) = (ledger.records, keys.unvouched.clone());
    // Permits of the archived part may have ended here.
    let unread =
        ledger.archived.as_ref().filter(|archived| !archived.read).map_or(0, |archived| archived.last);
    let (mut all, mut seen) = (Followed { unread, ..Followed::new(organisation, keys) }, unread);
    // A record that can't be read is the ledger's finding already, and nothing behind it is believed.
    let reader = Reader::open(data).map(|reader| reader.with_archive(archive.cloned()));
    for record in
        reader.iter().flat_map(|reader| reader.range(unread.saturating_add(1), sound)).map_while(Result::ok)
    {
        seen = record.sequence;
        all.record(&record);
    }
    let followed = reader.is_ok() && seen == sound;
    let Followed { permits, denials, counted, effects, open, misfits, gaps, .. } = all;
    VerifyReport {
        ledger,
        followed,
        permits,
        denials,
        counted,
        effects,
        open: if followed { open.into_values().collect() } else { Vec::new() },
        misfits,
        gaps,
        unvouched,
    }
}

/// What follows from records, one after the other.
#[derive(Debug)]
pub(crate) struct Followed {
    permits: u64,
    denials: u64,
    counted: u64,
    effects: u64,
    open: BTreeMap<u64, OpenWarrant>,
    unknown: BTreeMap<u64, OpenWarrant>,
    pub(crate) misfits: Vec<Misfit>,
    pub(crate) gaps: Vec<(u64, Gap)>,
    organisation: String,
    keys: Keys,
    /// Records up to here weren't seen.
    unread: u64,
}

impl Followed {
    pub(crate) fn new(organisation: &str, keys: Keys) -> Self {
        Self {
            permits: 0,
            denials: 0,
            counted: 0,
            effects: 0,
            open: BTreeMap::new(),
            unknown: BTreeMap::new(),
            misfits: Vec::new(),
            gaps: Vec::new(),
            organisation: organisation.to_owned(),
            keys,
            unread: 0,
        }
    }

    /// The next record; of misfits the first ones are kept.
    pub(crate) fn record(&mut self, record: &Record) {
        let followed = if Kind::from_tag(record.kind) == Some(Kind::Gap) {
            gap(record, &self.organisation, &self.keys).map(|gap| self.gaps.push((record.sequence, gap)))
        } else {
            follow(self, record)
        };
        if let Err(what) = followed
            && self.misfits.len() < MAX_DETAILS
        {
            self.misfits.push(Misfit { sequence: record.sequence, what });
        }
    }
}

/// A gap that a key of the ledger signed.
fn gap(record: &Record, organisation: &str, keys: &Keys) -> Result<Gap, String> {
    let gap = Gap::read(&record.payload).map_err(|error| error.to_string())?;
    let (name, text) = (Gap::signer(organisation), gap.text(organisation));
    let signed = keys.all.iter().any(|key| note::open(&gap.note, &name, key) == Ok(text.as_str()));
    if !signed {
        return Err("a gap that no key of the ledger signed".to_owned());
    }
    if gap.last.saturating_add(1) != record.sequence {
        return Err(format!("a gap after record {}, which isn't the one before it", gap.last));
    }
    Ok(gap)
}

pub(crate) fn gap_text(sequence: u64, gap: &Gap) -> String {
    format!(
        "gap: record {sequence}: {} restored a backup at {} ({}): whatever was recorded after record {}, of {}, isn't here",
        gap.by, gap.restored, gap.why, gap.last, gap.since
    )
}

fn gap_value(sequence: u64, gap: &Gap) -> Value {
    let trees = gap.trees.iter().map(|tree| {
        Value::from(
            object! { "tree" => tree.tree.as_str(), "size" => tree.size, "root" => tree.root.as_str() },
        )
    });
    object! {
        "sequence" => sequence, "by" => gap.by.as_str(), "why" => gap.why.as_str(), "backup" => gap.backup.to_string(), "last" => gap.last,
        "since" => gap.since.to_string(), "restored" => gap.restored.to_string(), "trees" => trees.collect::<Vec<_>>(),
    }
    .into()
}

fn follow(report: &mut Followed, record: &Record) -> Result<(), String> {
    match Kind::from_tag(record.kind) {
        Some(Kind::Decision) => {
            let decision = DecisionRecord::read(&record.payload).map_err(|error| error.to_string())?;
            let workflow = &decision.grant.workflow;
            if decision.permit {
                report.permits = report.permits.saturating_add(1);
                let warrant = OpenWarrant {
                    sequence: record.sequence,
                    time: Timestamp::from_millis(record.time_ms),
                    decision: decision.id.as_str().to_owned(),
                    tenant: record.tree.clone(),
                    workflow: workflow.local().as_str().to_owned(),
                };
                report.open.insert(record.sequence, warrant);
            } else {
                report.denials = report.denials.saturating_add(1);
            }
            if workflow.tenant().as_str() != record.tree {
                return Err(format!(
                    "a decision of tenant `{}` in the tree `{}`",
                    workflow.tenant(),
                    record.tree
                ));
            }
        }
        Some(Kind::Effect) => {
            report.effects = report.effects.saturating_add(1);
            let effect = EffectRecord::read(&record.payload).map_err(|error| error.to_string())?;
            if effect.at <= report.unread {
                return Ok(());
            }
            let warrant = report.open.remove(&effect.at).ok_or_else(|| {
                format!(
                    "the effect of a permit at {} that isn't there before it, or has ended already",
                    effect.at
                )
            })?;
            if warrant.decision != effect.decision.as_str() || warrant.tenant != record.tree {
                return Err(format!(
                    "the effect of {} ends the permit of {} in `{}`",
                    effect.decision, warrant.decision, warrant.tenant
                ));
            }
            if effect.ending == Ending::Unknown.as_str() {
                report.unknown.insert(effect.at, warrant);
            }
        }
        Some(Kind::Amendment) => {
            let found = Amendment::read(&record.payload).map_err(|error| error.to_string())?;
            if found.at <= report.unread {
                return Ok(());
            }
            let fits = report.unknown.remove(&found.at).is_some_and(|warrant| {
                warrant.decision == found.decision.as_str() && warrant.tenant == record.tree
            });
            if !fits {
                return Err(format!(
                    "a finding about {}, whose effect isn't unknown before it, or was found out already",
                    found.decision
                ));
            }
        }
        Some(Kind::Refusals) => {
            let refusals = Refusals::read(&record.payload).map_err(|error| error.to_string())?;
            report.counted = report.counted.saturating_add(refusals.count());
            if refusals.tenant.as_ref().is_some_and(|tenant| tenant.as_str() != record.tree) {
                return Err(format!("counted refusals of another tenant in the tree `{}`", record.tree));
            }
        }
        Some(Kind::Facts | Kind::Release | Kind::Act | Kind::Gap) => {}
        None => return Err(format!("its kind {} is unknown to this version", record.kind)),
    }
    Ok(())
}
