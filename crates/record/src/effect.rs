//! The record of how a warrant ended.

use placet_core::{
    DecisionId, Digest, Envelope, Name, Timestamp,
    authority::{Answer, CredentialNote, Ending, Outcome, Permit, Position},
};
use placet_json::{Limits, Value};

use crate::{
    read::{BadRecord, bad, name, number, object, text},
    writer::Writer,
};

/// The record of an ending, in canonical form.
#[must_use]
pub fn ended(
    permit: &Permit,
    at: Position,
    credential: &CredentialNote,
    outcome: &Outcome,
    now: Timestamp,
) -> String {
    let mut w = Writer::new(768);
    let call = permit.call();
    match &outcome.digest {
        Some(digest) => w.shown("answer_sha256", digest),
        None => w.null("answer_sha256"),
    };
    w.number("at", at.0)
        .part("credential", &note(credential))
        .text("decision", call.id.as_str())
        .text("detail", &outcome.detail);
    w.part(
        "downstream",
        &downstream(call.upstream.as_str(), &call.tool, Digest::from_bytes(call.arguments.digest())),
    );
    w.text("ending", outcome.ending.as_str());
    if says_failed(outcome) {
        w.truth("error", true);
    }
    w.list("labels", outcome.labels.iter().map(Name::as_str));
    if returns(outcome) {
        w.truth("returned", true);
    }
    w.number("sent", outcome.sent);
    tail(&mut w, permit.envelope(), now)
}

/// Whether the call provably never left, so that what it had reserved comes back. A sent byte that isn't known of can't
/// be among them: 0 is the sender's promise.
#[must_use]
pub fn returns(outcome: &Outcome) -> bool {
    outcome.sent == 0 && matches!(outcome.ending, Ending::Revoked | Ending::Failed)
}

/// Whether the tool answered, and its answer says that it failed (`isError`).
#[must_use]
pub fn says_failed(outcome: &Outcome) -> bool {
    match &outcome.answer {
        Answer::Result(result) => result.get("isError").and_then(Value::as_bool) == Some(true),
        Answer::Error(_) | Answer::Nothing => false,
    }
}

/// The record of a warrant of which nothing more is known: it was dropped, or the process ended.
#[must_use]
pub fn orphaned(
    decision: &DecisionId,
    at: Position,
    tenant: &str,
    workflow: &str,
    now: Timestamp,
    detail: &str,
) -> String {
    let mut w = Writer::new(256);
    w.null("answer_sha256")
        .number("at", at.0)
        .part("credential", &note(&CredentialNote::None))
        .text("decision", decision.as_str())
        .text("detail", detail);
    w.null("downstream").text("ending", "unknown").list("labels", []).null("sent");
    w.text("tenant", tenant).shown("time", &now).number("v", 1).text("workflow", workflow).end()
}

fn tail(w: &mut Writer, envelope: &Envelope, now: Timestamp) -> String {
    w.text("tenant", envelope.tenant().as_str())
        .shown("time", &now)
        .number("v", 1)
        .text("workflow", envelope.workflow().local().as_str())
        .end()
}

fn downstream(upstream: &str, tool: &str, arguments: Digest) -> String {
    Writer::new(128).shown("arguments_sha256", &arguments).text("tool", tool).text("upstream", upstream).end()
}

fn note(credential: &CredentialNote) -> String {
    let mut w = Writer::new(128);
    match credential {
        CredentialNote::None => w.text("kind", "none"),
        CredentialNote::CallToken { jti, audience, expires } => {
            w.text("audience", audience).shown("expires", expires).text("jti", jti).text("kind", "call-token")
        }
        CredentialNote::Vault { name, version } => {
            w.text("kind", "vault").text("name", name.as_str()).number("version", *version)
        }
        CredentialNote::Process => w.text("kind", "process"),
        CredentialNote::Unneeded => w.text("kind", "unneeded"),
    };
    w.end()
}

/// An ending read back from its record.
#[derive(Debug)]
pub struct EffectRecord {
    /// The decision whose warrant it ended.
    pub decision: DecisionId,
    /// The decision's journal position.
    pub at: u64,
    /// How it ended.
    pub ending: String,
    /// Whether what it had reserved came back: the call provably never left.
    pub returned: bool,
    /// The record as a whole.
    pub document: Value,
}

impl EffectRecord {
    /// Whether nobody knows how it ended.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.ending == Ending::Unknown.as_str()
    }
    /// Reads a record's bytes.
    pub fn read(bytes: &[u8]) -> Result<Self, BadRecord> {
        let document = placet_json::parse(bytes, &Limits::RESULT).map_err(|error| bad("", error))?;
        let record = object(&document, "")?;
        let (decision, at, ending) =
            (name(record, "decision")?.into(), number(record, "at")?, text(record, "ending")?.to_owned());
        let returned = match record.get("returned") {
            None => false,
            Some(value) => value.as_bool().ok_or_else(|| bad("returned", "isn't a truth value"))?,
        };
        Ok(Self { decision, at, ending, returned, document })
    }
}
