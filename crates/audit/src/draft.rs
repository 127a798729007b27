//! What went out, for whoever writes rules for it; and what a draft of such rules would have said to it.

use std::collections::BTreeMap;

use placet_core::{AgentId, Code, Digest, Name, Timestamp};
use placet_json::Value;
use placet_policy::Release;
use placet_record::{AskedRecord, DecisionRecord};

use crate::{
    Data, DataError,
    again::{Case, by},
    replay::{Found, Scope, walk},
};

/// The most denials of a draft that are told one by one.
const MAX_TOLD: usize = 1000;

/// Which decisions are traffic.
#[derive(Debug, Clone, Default)]
pub struct TrafficOf {
    /// Where and when, and of which tenant.
    pub scope: Scope,
    /// Only this agent's.
    pub agent: Option<AgentId>,
    /// Also calls that were denied for want of a rule alone.
    pub denied: bool,
}

/// A call that went out, or would have with a rule for it.
#[derive(Debug)]
pub struct Went<'a> {
    /// Its catalog name.
    pub tool: &'a Name,
    /// Its action.
    pub action: &'a Name,
    /// The agent.
    pub agent: &'a AgentId,
    /// The release that classified it.
    pub release: Digest,
    /// The arguments that the agent gave, without those that the gateway filled.
    pub arguments: Value,
    /// What policy read.
    pub input: &'a Value,
    /// When it was decided.
    pub at: Timestamp,
    /// Whether it went out under a permission to observe, or an exception.
    pub waived: bool,
}

/// How many decisions were no traffic that can be drafted from, and why.
pub type Skipped = BTreeMap<String, u64>;

/// What a draft would have said to the traffic.
#[derive(Debug, Default)]
pub struct Would {
    /// Calls that it was asked about.
    pub asked: u64,
    /// Those that it would have denied.
    pub denied: u64,
    /// By tool and reason.
    pub by: BTreeMap<(String, String), u64>,
    /// Their positions in the journal, the first [`MAX_TOLD`].
    pub told: Vec<u64>,
    /// Calls that it couldn't be asked about, and why.
    pub skipped: Skipped,
}

/// Reads the traffic, each call once, in the journal's order.
///
/// # Errors
///
/// The journal can't be read.
pub fn traffic(
    data: &Data,
    of: &TrafficOf,
    progress: &mut dyn FnMut(u64, u64),
    each: &mut dyn FnMut(&Went<'_>),
) -> Result<Skipped, DataError> {
    let mut skipped = Skipped::new();
    walk(data, &of.scope, false, progress, |found| match found {
        Found::Case(case) => match of.went(&case.record) {
            Ok(Some(went)) => each(&went),
            Ok(None) => {}
            Err(why) => count(&mut skipped, why),
        },
        Found::Unreadable(_, why) => count(&mut skipped, &why),
    })?;
    Ok(skipped)
}

/// Asks a draft about the same traffic, on each call's own facts. A permission to observe doesn't help it: what it
/// would deny without one counts as denied.
///
/// # Errors
///
/// The journal can't be read.
pub fn would(
    data: &Data,
    of: &TrafficOf,
    draft: &Release,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Would, DataError> {
    let mut would = Would::default();
    walk(data, &of.scope, true, progress, |found| match found {
        Found::Case(case) if matches!(of.went(&case.record), Ok(Some(_))) => would.ask(&case, draft),
        Found::Case(_) | Found::Unreadable(..) => {}
    })?;
    Ok(would)
}

impl Would {
    fn ask(&mut self, case: &Case, draft: &Release) {
        let now = match by(case, draft) {
            Ok(now) => now,
            Err(why) => return count(&mut self.skipped, &why),
        };
        self.asked = self.asked.saturating_add(1);
        // A permit that passes something over has the reasons of the denial that it would have been.
        let Some(reason) = now.reasons.first() else { return };
        self.denied = self.denied.saturating_add(1);
        let tool = match &case.record.asked {
            AskedRecord::Call(call) => call.entry.to_string(),
            AskedRecord::Attempt(_) => String::new(),
        };
        let counted = self.by.entry((tool, reason.code.clone())).or_default();
        *counted = counted.saturating_add(1);
        if self.told.len() < MAX_TOLD {
            self.told.push(case.sequence);
        }
    }
}

impl TrafficOf {
    /// The call of a record, if it is traffic; else why it can't be told.
    fn went<'a>(&self, record: &'a DecisionRecord) -> Result<Option<Went<'a>>, &'static str> {
        if self.agent.as_ref().is_some_and(|agent| *agent != record.grant.agent) {
            return Ok(None);
        }
        let reasons = record.document.get("reasons").and_then(Value::as_array).unwrap_or_default();
        let traffic = record.permit || (self.denied && lacked_a_rule(record, reasons));
        if !traffic {
            return Ok(None);
        }
        if !record.missing.is_empty() {
            return Err("something in it is sealed, or erased");
        }
        let (AskedRecord::Call(call), Some(basis)) = (&record.asked, &record.basis) else { return Ok(None) };
        let input = record.input.as_ref().ok_or("its record keeps no policy input")?;
        let mut arguments = call.arguments.to_value();
        if let Some(arguments) = arguments.as_object_mut() {
            for bound in &call.bound {
                arguments.remove(&bound.argument);
            }
        }
        Ok(Some(Went {
            tool: &call.entry,
            action: &call.action,
            agent: &record.grant.agent,
            release: basis.release,
            arguments,
            input,
            at: basis.now,
            waived: record.permit && !reasons.is_empty(),
        }))
    }
}

/// Whether a denial came from no `deny` and no check of the platform, but from rules that didn't hold.
fn lacked_a_rule(record: &DecisionRecord, reasons: &[Value]) -> bool {
    let text = |reason: &Value, name: &str| reason.get(name).and_then(Value::as_str).map(str::to_owned);
    let fired = record.document.get("determining").and_then(Value::as_array).unwrap_or_default();
    fired.is_empty()
        && !reasons.is_empty()
        && reasons.iter().all(|reason| {
            text(reason, "code").as_deref() == Some(Code::NoRuleAllows.as_str())
                || text(reason, "policy").is_some_and(|policy| !policy.is_empty())
        })
}

fn count(skipped: &mut Skipped, why: &str) {
    let counted = skipped.entry(why.to_owned()).or_default();
    *counted = counted.saturating_add(1);
}
