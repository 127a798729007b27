//! One decision told whole: for whom, through whom, why, by which rule, on which facts, what came of it, and the proof
//! that the ledger has it.

use std::io;

use placet_core::{DecisionId, Timestamp};
use placet_json::{Limits, Object, Value, object};
use placet_ledger::{
    Hash,
    checkpoint::{Checkpoint, VerifyingKey, origin},
    proof::{inclusion, verify_inclusion},
};
use placet_record::{Amendment, BadRecord, DecisionRecord, EffectRecord, Kind};
use placet_store::{Filter, Found, Projection, ProjectionError, ReadError, Record, Row, TreeReader};

use crate::{Data, bodies::opened};

/// The most records of facts that are looked through for an approval.
const MAX_LOOK: u32 = 10_000;

/// Why there is no story.
#[derive(Debug, thiserror::Error)]
pub enum StoryError {
    /// No such decision.
    #[error(
        "the ledger has no decision `{0}`; of a flood of refusals it keeps counts (`placet audit search --kind refusals`)"
    )]
    Unknown(DecisionId),
    /// The index.
    #[error(transparent)]
    Index(#[from] ProjectionError),
    /// The journal.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The record.
    #[error(transparent)]
    Record(#[from] BadRecord),
}

/// A decision with all that belongs to it.
#[derive(Debug)]
pub struct Story {
    /// Its position in the journal.
    pub sequence: u64,
    /// When it was recorded.
    pub recorded: Timestamp,
    /// Its record.
    pub decision: DecisionRecord,
    /// How it ended: position, moment, record. None for a denial, or where nothing is recorded yet.
    pub effect: Option<(u64, Timestamp, EffectRecord)>,
    /// What was found out later about an ending that nobody knew: position, moment, finding.
    pub amendment: Option<(u64, Timestamp, Amendment)>,
    /// The approvals that it spent, each with the record that gave it.
    pub approvals: Vec<Given>,
    /// That a signed tree head covers it; else why that can't be shown.
    pub proof: Result<Proof, String>,
}

/// An approval, and where it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The position of its record.
    pub sequence: u64,
    /// When it was recorded.
    pub time: Timestamp,
    /// The approval as it was given.
    pub approval: Value,
}

/// An inclusion proof (RFC 6962 §2.1.1) against a signed checkpoint, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Number of the leaf, from 0.
    pub leaf: u64,
    /// The leaf's hash.
    pub hash: Hash,
    /// The audit path.
    pub path: Vec<Hash>,
    /// The tree head.
    pub checkpoint: Checkpoint,
    /// The signed note, as it was written.
    pub note: String,
}

/// Tells the decision `id`. `signer` is whose checkpoints are believed: organisation and key.
pub fn story(
    data: &Data,
    index: &Projection,
    id: &DecisionId,
    signer: Option<(&str, &VerifyingKey)>,
) -> Result<Story, StoryError> {
    let find = |kind: Kind| {
        let row = Row { decision_id: Some(id.as_str().to_owned()), ..Row::default() };
        index
            .search(&Filter { kinds: vec![kind.tag()], row, limit: Some(1), ..Filter::default() })
            .map(|found| found.into_iter().next())
    };
    let unknown = || StoryError::Unknown(id.clone());
    let found = find(Kind::Decision)?.ok_or_else(unknown)?;
    let record = data.reader().get(found.sequence)?.ok_or_else(unknown)?;
    let decision = DecisionRecord::read(&opened(&record, data.subjects())?.payload)?;
    let effect = match find(Kind::Effect)? {
        Some(found) => match data.reader().get(found.sequence)? {
            Some(record) => Some((
                record.sequence,
                Timestamp::from_millis(record.time_ms),
                EffectRecord::read(&opened(&record, data.subjects())?.payload)?,
            )),
            None => None,
        },
        None => None,
    };
    let amendment = match find(Kind::Amendment)? {
        Some(found) => match data.reader().get(found.sequence)? {
            Some(record) => {
                let time = Timestamp::from_millis(record.time_ms);
                Some((record.sequence, time, Amendment::read(&record.payload)?))
            }
            None => None,
        },
        None => None,
    };
    let approvals = approvals(data, index, &record, &decision)?;
    let proof = match signer {
        Some((organisation, key)) => prove(data, &found, &record, organisation, key),
        None => Err("no key to check the checkpoint with".to_owned()),
    };
    Ok(Story {
        sequence: record.sequence,
        recorded: Timestamp::from_millis(record.time_ms),
        decision,
        effect,
        amendment,
        approvals,
        proof,
    })
}

/// The records that gave the approvals which a decision spent, looked for backwards from it.
fn approvals(
    data: &Data,
    index: &Projection,
    record: &Record,
    decision: &DecisionRecord,
) -> Result<Vec<Given>, StoryError> {
    let mut wanted: Vec<&str> = decision.spends.iter().map(placet_core::Name::as_str).collect();
    let mut given = Vec::new();
    if wanted.is_empty() {
        return Ok(given);
    }
    let filter = Filter {
        tree: Some(record.tree.clone()),
        kinds: vec![Kind::Facts.tag()],
        below: Some(record.sequence),
        limit: Some(MAX_LOOK),
        ..Filter::default()
    };
    for found in index.search(&filter)? {
        let Some(facts) = data.reader().get(found.sequence)? else { continue };
        let Ok(document) = placet_json::parse(&facts.payload, &Limits::RESULT) else { continue };
        let changes = document.pointer("/transaction/changes").and_then(Value::as_array).unwrap_or_default();
        for approval in changes.iter().filter_map(|change| change.get("approval_given")) {
            let id = approval.get("id").and_then(Value::as_str).unwrap_or_default();
            if let Some(at) = wanted.iter().position(|wanted| *wanted == id) {
                wanted.swap_remove(at);
                given.push(Given {
                    sequence: facts.sequence,
                    time: Timestamp::from_millis(facts.time_ms),
                    approval: approval.clone(),
                });
            }
        }
        if wanted.is_empty() {
            break;
        }
    }
    Ok(given)
}

fn prove(
    data: &Data,
    found: &Found,
    record: &Record,
    organisation: &str,
    key: &VerifyingKey,
) -> Result<Proof, String> {
    let unreadable = |error: io::Error| format!("the tree can't be read: {error}");
    let tree = match TreeReader::open(data.dir(), &record.tree) {
        Ok(tree) => tree,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err("no checkpoint is signed yet".to_owned());
        }
        Err(error) => return Err(unreadable(error)),
    };
    let note = tree.checkpoint().map_err(unreadable)?.ok_or("no checkpoint is signed yet")?;
    let checkpoint = Checkpoint::open(&note, &origin(organisation, &record.tree), key)
        .map_err(|error| error.to_string())?;
    let path = inclusion(&tree, found.leaf, checkpoint.size).map_err(unreadable)?;
    let path = path.ok_or_else(|| {
        format!(
            "the newest checkpoint signs {} records, and not yet this one, the leaf {}",
            checkpoint.size, found.leaf
        )
    })?;
    verify_inclusion(&record.leaf, found.leaf, checkpoint.size, &path, &checkpoint.root)
        .map_err(|error| format!("it isn't in the tree that was signed: {error}"))?;
    Ok(Proof {
        leaf: found.leaf,
        hash: record.leaf,
        path,
        checkpoint,
        note: String::from_utf8_lossy(&note).into_owned(),
    })
}

impl Story {
    /// As JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let Self { sequence, recorded, decision, effect, amendment, approvals, proof } = self;
        let get = |name: &str| decision.document.get(name).cloned().unwrap_or(Value::Null);
        let mut story = Object::new();
        story.insert("sequence", *sequence);
        story.insert("recorded", recorded.to_string());
        for name in
            ["id", "tenant", "human", "agent", "chain", "delegation", "workflow", "intent", "call", "attempt"]
        {
            if decision.document.get(name).is_some() {
                story.insert(name, get(name));
            }
        }
        story.insert("document", placet_record::document(&decision.document));
        for name in ["input", "input_sha256", "token", "spends"] {
            story.insert(name, get(name));
        }
        let approvals = approvals.iter().map(|given| Value::from(object! { "sequence" => given.sequence, "time" => given.time.to_string(), "approval" => given.approval.clone() }));
        story.insert("approvals", approvals.collect::<Vec<_>>());
        story.insert("effect", match effect {
            Some((sequence, time, effect)) => Value::from(object! { "sequence" => *sequence, "recorded" => time.to_string(), "record" => effect.document.clone() }),
            None => Value::Null,
        });
        if let Some((sequence, time, found)) = amendment {
            let finding = if found.happened { "happened" } else { "did_not_happen" };
            story.insert("amendment", object! { "sequence" => *sequence, "recorded" => time.to_string(), "finding" => finding, "by" => found.by.as_str(), "how" => found.how.as_str(), "why" => found.why.as_str(), "returned" => found.returned });
        }
        match proof {
            Ok(proof) => {
                let Proof { leaf, hash, path, checkpoint, note } = proof;
                let path = path.iter().map(|hash| Value::from(hash.to_string())).collect::<Vec<_>>();
                let proof = object! {
                    "leaf" => *leaf, "leaf_hash" => hash.to_string(), "path" => path, "origin" => checkpoint.origin.as_str(), "size" => checkpoint.size,
                    "root" => checkpoint.root.to_string(), "checkpoint" => note.as_str(),
                };
                story.insert("proof", proof);
            }
            Err(why) => {
                story.insert("proof", Value::Null);
                story.insert("proof_missing", why.as_str());
            }
        }
        Value::Object(story)
    }
}
