//! One decision told whole: for whom, through whom, why, by which rule, on which facts, what came of it, and the proof
//! that the ledger has it.

use std::{fmt, io};

use placet_core::{DecisionId, Digest, Timestamp};
use placet_json::{Limits, Object, Value, object};
use placet_ledger::{
    Hash,
    checkpoint::{Checkpoint, VerifyingKey, origin},
    proof::{inclusion, verify_inclusion},
};
use placet_record::{BadRecord, DecisionRecord, EffectRecord, Kind};
use placet_store::{Filter, Found, Projection, ProjectionError, ReadError, Record, Row, TreeReader};

use crate::Data;

/// The most records of facts that are looked through for an approval.
const MAX_LOOK: u32 = 10_000;

/// Why there is no story.
#[derive(Debug, thiserror::Error)]
pub enum StoryError {
    /// No such decision.
    #[error("the ledger has no decision `{0}`")]
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
    let decision = DecisionRecord::read(&record.payload)?;
    let effect = match find(Kind::Effect)? {
        Some(found) => match data.reader().get(found.sequence)? {
            Some(record) => Some((
                record.sequence,
                Timestamp::from_millis(record.time_ms),
                EffectRecord::read(&record.payload)?,
            )),
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
        let Self { sequence, recorded, decision, effect, approvals, proof } = self;
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

    fn text(&self, pointer: &str) -> &str {
        self.decision.document.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }
    fn list(&self, pointer: &str) -> &[Value] {
        self.decision.document.pointer(pointer).and_then(Value::as_array).unwrap_or_default()
    }
    /// Where the record has what was asked.
    fn of(&self) -> &'static str {
        if self.decision.document.get("call").is_some() { "/call" } else { "/attempt" }
    }

    fn headline(&self) -> String {
        let of = self.of();
        let resources: Vec<String> = self.list(&format!("{of}/resources")).iter().map(resource).collect();
        let on = if resources.is_empty() { String::new() } else { format!(" on {}", resources.join(", ")) };
        let verdict = if self.decision.permit { "Permitted" } else { "Denied" };
        format!(
            "{verdict}: {} by {}{on}, for {}",
            self.text(&format!("{of}/action")),
            self.text("/agent"),
            self.text("/human")
        )
    }

    fn person(&self) -> String {
        let roles = self
            .list("/input/delegating_user/roles")
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        let status = self.text("/input/delegating_user/status");
        let known = if status.is_empty() { String::new() } else { format!(" ({status}, as {roles})") };
        format!("{}{known}, by delegation {}", self.text("/human"), self.text("/delegation"))
    }

    fn chain(&self) -> String {
        let agents = self.list("/chain").iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" → ");
        let of = self.text("/input/agent/type");
        if of.is_empty() {
            format!("{} → {agents}", self.text("/human"))
        } else {
            format!("{} → {agents} ({of})", self.text("/human"))
        }
    }

    fn asked(&self) -> String {
        if let placet_record::AskedRecord::Call(call) = &self.decision.asked {
            let filled = call
                .bound
                .iter()
                .map(|bound| format!("{} from {}", bound.argument, bound.from))
                .collect::<Vec<_>>()
                .join(", ");
            let filled = if filled.is_empty() { filled } else { format!(" (filled in: {filled})") };
            return format!("{}.{} {}{filled}", call.upstream, call.tool, call.arguments.as_str());
        }
        format!("{} {}", self.text("/attempt/method"), self.text("/attempt/target"))
    }

    fn because(&self) -> Vec<String> {
        let place = |policy: &str, at: &str| {
            [policy, at].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" at ")
        };
        let get = |value: &Value, name: &str| {
            value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let reasons = self.list("/reasons").iter().map(|reason| {
            let by = place(&get(reason, "policy"), &get(reason, "at"));
            let by = if by.is_empty() { "the platform's own rule".to_owned() } else { by };
            format!("{} ({}; {by})", get(reason, "operator"), get(reason, "code"))
        });
        let rules = self
            .list("/determining")
            .iter()
            .map(|rule| format!("rule {}", place(&get(rule, "policy"), &get(rule, "at"))));
        if self.decision.permit { rules.collect() } else { reasons.collect() }
    }

    /// The attributes of the input that the call and its resource brought, and the labels.
    fn input(&self) -> Option<String> {
        let input = self.decision.input.as_ref()?;
        let names = self
            .list("/call/attributes")
            .iter()
            .filter_map(|attribute| attribute.get("name").and_then(Value::as_str));
        let mut shown: Vec<String> =
            names.filter_map(|name| Some(format!("{name} = {}", plain(input.get(name)?)))).collect();
        let resource = input.get("resource").and_then(Value::as_object).into_iter().flat_map(Object::iter);
        shown.extend(
            resource
                .filter(|(name, _)| !matches!(*name, "type" | "id"))
                .map(|(name, value)| format!("resource.{name} = {}", plain(value))),
        );
        if let Some(labels) = input
            .pointer("/flow/labels")
            .filter(|labels| labels.as_array().is_some_and(|labels| !labels.is_empty()))
        {
            shown.push(format!("flow.labels = {labels}"));
        }
        Some(shown.join("; "))
    }

    fn credential(&self) -> Option<String> {
        let (_, _, effect) = self.effect.as_ref()?;
        let text = |name: &str| {
            effect
                .document
                .pointer(&format!("/credential/{name}"))
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        Some(match text("kind") {
            "call-token" => format!(
                "a token for this call, {}, for {}, until {}",
                text("jti"),
                text("audience"),
                text("expires")
            ),
            "vault" => format!(
                "the secret `{}` of the vault, version {}",
                text("name"),
                effect.document.pointer("/credential/version").map(plain).unwrap_or_default()
            ),
            "process" => "the tool's own process has what it needs".to_owned(),
            "unneeded" => "the tool takes none".to_owned(),
            "none" => "none was made".to_owned(),
            other => other.to_owned(),
        })
    }

    fn ending(&self) -> String {
        let Some((sequence, time, effect)) = &self.effect else {
            return if self.decision.permit {
                "not recorded yet".to_owned()
            } else {
                "none: nothing was sent".to_owned()
            };
        };
        let sent = effect
            .document
            .get("sent")
            .and_then(Value::as_u64)
            .map_or_else(|| "an unknown number of".to_owned(), |sent| sent.to_string());
        let detail = effect
            .document
            .get("detail")
            .and_then(Value::as_str)
            .filter(|detail| !detail.is_empty())
            .map(|detail| format!(": {detail}"))
            .unwrap_or_default();
        let answer = effect
            .document
            .get("answer_sha256")
            .and_then(Value::as_str)
            .map(|digest| format!(", answer {digest}"))
            .unwrap_or_default();
        format!("{} at {time}, {sent} bytes sent{answer}{detail} (record {sequence})", effect.ending)
    }
}

impl fmt::Display for Story {
    /// For a manager or an auditor: about fifteen lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequence, recorded: _, decision, effect, approvals, proof } = self;
        let mut lines = Vec::new();
        lines.push((
            "decision",
            format!(
                "{} at {}, record {sequence} of tenant {}",
                decision.id,
                decision.time,
                decision.grant.workflow.tenant()
            ),
        ));
        lines.push(("for", self.person()));
        lines.push(("chain", self.chain()));
        let kind = Some(self.text("/input/workflow/type"))
            .filter(|kind| !kind.is_empty())
            .map(|kind| format!(" ({kind})"))
            .unwrap_or_default();
        lines
            .push(("workflow", format!("{}{kind}, intent {}", self.text("/workflow"), self.text("/intent"))));
        lines.push(("asked", self.asked()));
        lines.extend(self.because().into_iter().map(|why| ("because", why)));
        for Given { sequence, time, approval } in approvals {
            let get = |name: &str| approval.get(name).and_then(Value::as_str).unwrap_or_default();
            lines.push((
                "approved",
                format!(
                    "{} by {} as {} at {time}, for this call only (record {sequence})",
                    get("name"),
                    get("approver"),
                    get("role")
                ),
            ));
        }
        if !self.text("/remedy/approval").is_empty() {
            lines.push((
                "remedy",
                format!(
                    "{} by somebody with the role {}",
                    self.text("/remedy/approval"),
                    self.text("/remedy/role")
                ),
            ));
        }
        lines.push(("input", self.input().unwrap_or_default()));
        match &decision.basis {
            Some(basis) => {
                lines.push((
                    "facts",
                    format!(
                        "revision {}, {} ms old; input {}",
                        basis.revision,
                        basis.age,
                        shown_input(&basis.input)
                    ),
                ));
                lines.push(("release", basis.release.to_string()));
            }
            None => {
                lines.push(("facts", "none: it was refused before facts and policy were asked".to_owned()))
            }
        }
        lines.push(("credential", self.credential().unwrap_or_default()));
        if let Some(downstream) = effect
            .as_ref()
            .and_then(|(_, _, effect)| effect.document.get("downstream"))
            .filter(|downstream| !downstream.is_null())
        {
            let get = |name: &str| downstream.get(name).and_then(Value::as_str).unwrap_or_default();
            lines.push((
                "downstream",
                format!("{}.{}, arguments {}", get("upstream"), get("tool"), get("arguments_sha256")),
            ));
        }
        lines.push(("effect", self.ending()));
        lines.push((
            "proof",
            match proof {
                Ok(proof) => format!(
                    "leaf {} of the {} that {} signs, root {}",
                    proof.leaf, proof.checkpoint.size, proof.checkpoint.origin, proof.checkpoint.root
                ),
                Err(why) => format!("none: {why}"),
            },
        ));
        writeln!(f, "{}", self.headline())?;
        for (title, text) in lines.iter().filter(|(_, text)| !text.is_empty()) {
            writeln!(f, "  {title:<11}{text}")?;
        }
        Ok(())
    }
}

fn shown_input(digest: &Digest) -> String {
    if *digest == Digest::of(b"") {
        "none, refused before policy was asked".to_owned()
    } else {
        digest.to_string()
    }
}

fn resource(value: &Value) -> String {
    let get = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    format!("{}:{}", get("type"), get("id"))
}

/// A value without the quotes of a text.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
