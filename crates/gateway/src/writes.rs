//! The relationships that a call leaves behind: facts in the same journal entry as its effect.

use placet_core::{Timestamp, authority::Ending};
use placet_facts::{Change, Place, Transaction, World};
use placet_json::{Value, object};
use placet_ledger::frame::FrameError;
use placet_record::Kind;
use placet_store::FrameSink;

use crate::fold::{Open, Refusal};

/// Whether an effect that ended so happened, or may have: only then does it leave relationships behind.
pub(crate) fn happened(ending: Ending) -> bool {
    match ending {
        Ending::Done | Ending::Filtered | Ending::Unknown => true,
        Ending::Failed | Ending::Revoked => false,
    }
}

/// Frames what an effect leaves behind as a change of facts, authored by the agent; the world after it. None if it
/// leaves nothing.
pub(crate) fn leave(
    world: &World,
    open: &Open,
    ending: Ending,
    time_ms: u64,
    out: &mut FrameSink<'_>,
) -> Result<Option<World>, Refusal> {
    if open.writes.is_empty() || !happened(ending) {
        return Ok(None);
    }
    let transaction = transaction(open)?;
    let record = Value::from(
        object! { "time" => Timestamp::from_millis(time_ms).to_string(), "transaction" => transaction.to_value(), "v" => 1_u64 },
    );
    let record = record.canonical().map_err(|_| Refusal::Frame(FrameError::TooLarge { limit: 0 }))?;
    let written = out.push(open.tenant.as_str(), Kind::Facts.tag(), record.as_bytes())?;
    // The model allowed these tuples when the call was decided; a release that came since changes nothing of what happened.
    world.apply(written.sequence, &transaction).map(Some).map_err(Refusal::Change)
}

fn transaction(open: &Open) -> Result<Transaction, Refusal> {
    let source = "effect".parse().map_err(|_| Refusal::Ended)?;
    Ok(Transaction {
        place: Place::Tenant(open.tenant.clone()),
        changes: open.writes.iter().cloned().map(Change::TupleAdded).collect(),
        author: open.agent.name().clone(),
        source,
        why: format!("effect of decision {}", open.decision),
        idempotency_key: None,
    })
}
