//! What a call leaves behind: relationships, and its workflow in another state. Facts in the same journal entry as its
//! effect.

use placet_core::{AgentId, DecisionId, TenantId, Timestamp, WorkflowId, authority::Ending};
use placet_facts::{Change, Place, Transaction, World};
use placet_json::{Value, object};
use placet_ledger::frame::FrameError;
use placet_record::Kind;
use placet_store::FrameSink;

use crate::{
    UnknownEffect,
    fold::{Ended, Open, Refusal},
};

/// Whether an effect that ended so happened, or may have: only then does it leave relationships behind.
pub(crate) fn happened(ending: Ending) -> bool {
    match ending {
        Ending::Done | Ending::Filtered | Ending::Unknown => true,
        Ending::Failed | Ending::Revoked => false,
    }
}

/// Whether it is known that it happened: only then does its workflow move. An answer that was withheld is one, and a tool
/// that says that it failed none.
fn done(Ended { ending, returned: _, error }: Ended) -> bool {
    match ending {
        Ending::Done | Ending::Filtered => !error,
        Ending::Unknown | Ending::Failed | Ending::Revoked => false,
    }
}

/// Frames what an effect leaves behind as a change of facts, authored by the agent; the world after it. None if it
/// leaves nothing.
pub(crate) fn leave(
    world: &World,
    open: &Open,
    ended: Ended,
    time_ms: u64,
    out: &mut FrameSink<'_>,
) -> Result<Option<World>, Refusal> {
    let Open { tenant, workflow, decision, effect: _, agent, writes, moves } = open;
    let mut changes = Vec::new();
    if happened(ended.ending) {
        changes.extend(writes.iter().cloned().map(Change::TupleAdded));
    }
    if done(ended) && !moves.is_empty() {
        let workflow = WorkflowId::new(tenant.clone(), workflow.clone());
        changes.extend(world.tenant(tenant).iter().flat_map(|facts| facts.moved_by(&workflow, moves)));
    }
    frame(world, (tenant, agent, decision), changes, time_ms, out)
}

/// As [`leave`], of an effect of which it was found out later that it happened. Its relationships are there since its
/// unknown end.
pub(crate) fn leave_late(
    world: &World,
    effect: &UnknownEffect,
    time_ms: u64,
    out: &mut FrameSink<'_>,
) -> Result<Option<World>, Refusal> {
    let UnknownEffect { tenant, workflow, decision, since: _, agent, moves } = effect;
    let workflow = WorkflowId::new(tenant.clone(), workflow.clone());
    let changes = world.tenant(tenant).map(|facts| facts.moved_by(&workflow, moves)).unwrap_or_default();
    frame(world, (tenant, agent, decision), changes, time_ms, out)
}

fn frame(
    world: &World,
    (tenant, agent, decision): (&TenantId, &AgentId, &DecisionId),
    changes: Vec<Change>,
    time_ms: u64,
    out: &mut FrameSink<'_>,
) -> Result<Option<World>, Refusal> {
    if changes.is_empty() {
        return Ok(None);
    }
    let transaction = Transaction {
        place: Place::Tenant(tenant.clone()),
        changes,
        author: agent.name().clone(),
        source: "effect".parse().map_err(|_| Refusal::Ended)?,
        why: format!("effect of decision {decision}"),
        idempotency_key: None,
    };
    let record = Value::from(
        object! { "time" => Timestamp::from_millis(time_ms).to_string(), "transaction" => transaction.to_value(), "v" => 1_u64 },
    );
    let record = record.canonical().map_err(|_| Refusal::Frame(FrameError::TooLarge { limit: 0 }))?;
    let written = out.push(tenant.as_str(), Kind::Facts.tag(), record.as_bytes())?;
    // The model allowed these when the call was decided; a release that came since changes nothing of what happened.
    world.apply(written.sequence, &transaction).map(Some).map_err(Refusal::Change)
}
