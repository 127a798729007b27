//! What a report tells, collected from records in their order.

use std::collections::{BTreeMap, BTreeSet};

use placet_core::Timestamp;
use placet_json::{Limits, Object, Value, object};
use placet_record::{DecisionRecord, Gap, Kind, Refusals};
use placet_store::Record;

use super::{Selection, decision};

/// Rows of one table at most; how many more there are is told.
pub(crate) const MAX_ROWS: usize = 1000;
/// Permits whose endings are waited for at most.
const MAX_OPEN: usize = 1_000_000;

/// An agent of the register.
#[derive(Debug, Default)]
pub(crate) struct Agent {
    pub(crate) kind: String,
    pub(crate) owner: String,
    pub(crate) standing: String,
    pub(crate) permits: u64,
    pub(crate) denials: u64,
}

/// Something that isn't the usual.
#[derive(Debug)]
pub(crate) struct Exception {
    pub(crate) sequence: u64,
    pub(crate) time: Timestamp,
    pub(crate) what: String,
    pub(crate) who: String,
    pub(crate) why: String,
}

/// An approval, and what spent it.
#[derive(Debug, Default)]
pub(crate) struct Approval {
    pub(crate) time: String,
    pub(crate) name: String,
    pub(crate) approver: String,
    pub(crate) role: String,
    pub(crate) workflow: String,
    pub(crate) withdrawn: bool,
    pub(crate) spent_by: Vec<String>,
}

/// A delegation, and whether anything rested on it.
#[derive(Debug, Default)]
pub(crate) struct Grant {
    pub(crate) time: String,
    pub(crate) human: String,
    pub(crate) agent: String,
    pub(crate) workflow: String,
    pub(crate) revoked: bool,
    pub(crate) used: u64,
}

/// A release that came into force.
#[derive(Debug)]
pub(crate) struct InForce {
    pub(crate) time: Timestamp,
    pub(crate) release: String,
    pub(crate) by: String,
    pub(crate) why: String,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub(crate) permits: u64,
    pub(crate) denials: u64,
    pub(crate) counted: u64,
    pub(crate) endings: BTreeMap<String, u64>,
    pub(crate) actions: BTreeMap<String, (u64, u64)>,
    pub(crate) codes: BTreeMap<String, u64>,
    pub(crate) humans: BTreeSet<String>,
    pub(crate) workflows: BTreeSet<String>,
    pub(crate) agents: BTreeMap<String, Agent>,
    pub(crate) approvals: BTreeMap<String, Approval>,
    pub(crate) grants: BTreeMap<String, Grant>,
    pub(crate) releases: Vec<InForce>,
    pub(crate) decided_by: BTreeSet<String>,
    pub(crate) exceptions: Vec<Exception>,
    pub(crate) more_exceptions: u64,
    pub(crate) gaps: Vec<(u64, Gap)>,
    pub(crate) first: Option<Timestamp>,
    pub(crate) last: Option<Timestamp>,
    open: BTreeMap<u64, bool>,
}

impl Collected {
    /// Goes on by one record of the tenant or of the organisation.
    pub(crate) fn add(&mut self, selection: &Selection, record: &Record) {
        let time = Timestamp::from_millis(record.time_ms);
        let document = placet_json::parse(&record.payload, &Limits::RESULT).unwrap_or(Value::Null);
        let text =
            |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let in_time = selection.is_in_time(record);
        match Kind::from_tag(record.kind) {
            Some(Kind::Decision) => {
                if let Some(decision) = decision(record) {
                    self.decision(selection, record, &decision, time);
                }
            }
            Some(Kind::Effect) => {
                let at = document.get("at").and_then(Value::as_u64).unwrap_or_default();
                if self.open.remove(&at) == Some(true) {
                    let ending = text("/ending");
                    if ending != "done" {
                        let who = format!("decision {}", text("/decision"));
                        self.exception(
                            record,
                            time,
                            format!("the effect ended `{ending}`"),
                            who,
                            text("/detail"),
                        );
                    }
                    let count = self.endings.entry(ending).or_default();
                    *count = count.saturating_add(1);
                }
            }
            Some(Kind::Amendment) if in_time => {
                let what = format!("found out later: {}", text("/finding"));
                self.exception(record, time, what, text("/by"), text("/why"));
            }
            Some(Kind::Refusals) if in_time => {
                if let Ok(refusals) = Refusals::read(&record.payload) {
                    self.counted = self.counted.saturating_add(refusals.count());
                    let what = format!("{} refusals in a flood, counted only", refusals.count());
                    self.exception(record, time, what, refusals.agent.to_string(), String::new());
                }
            }
            Some(Kind::Act) if in_time => {
                let refused = document.get("refused").and_then(Value::as_bool).unwrap_or_default();
                let what = if refused { "refused: " } else { "administrative act: " };
                self.exception(record, time, format!("{what}{}", text("/verb")), text("/by"), text("/why"));
            }
            Some(Kind::Release) => {
                let (release, by, why) = (text("/release"), text("/by"), text("/why"));
                if self.releases.len() < MAX_ROWS {
                    self.releases.push(InForce { time, release, by, why });
                }
            }
            Some(Kind::Gap) => {
                if let Ok(gap) = Gap::read(&record.payload) {
                    self.gaps.push((record.sequence, gap));
                }
            }
            Some(Kind::Facts) => {
                let (author, why) = (text("/transaction/author"), text("/transaction/why"));
                let changes =
                    document.pointer("/transaction/changes").and_then(Value::as_array).unwrap_or_default();
                for (name, body) in changes.iter().filter_map(Value::as_object).filter_map(only) {
                    self.change(name, body, &time.to_string());
                    if in_time && matches!(name, "frozen" | "unfrozen") {
                        let what = format!("{name}: {}", body.get("what").unwrap_or(&Value::Null));
                        self.exception(record, time, what, author.clone(), why.clone());
                    }
                }
            }
            Some(Kind::Amendment | Kind::Refusals | Kind::Act) | None => {}
        }
    }

    fn decision(
        &mut self,
        selection: &Selection,
        record: &Record,
        decision: &DecisionRecord,
        time: Timestamp,
    ) {
        let grant = &decision.grant;
        let chosen = selection.holds(record, decision);
        if decision.permit && self.open.len() < MAX_OPEN {
            self.open.insert(record.sequence, chosen);
        }
        for spent in &decision.spends {
            let approval = self.approvals.entry(spent.as_str().to_owned()).or_default();
            approval.spent_by.push(decision.id.as_str().to_owned());
        }
        if decision.permit {
            let used = &mut self.grants.entry(grant.delegation.local().as_str().to_owned()).or_default().used;
            *used = used.saturating_add(1);
        }
        if !chosen {
            return;
        }
        self.first.get_or_insert(time);
        self.last = Some(time);
        self.humans.insert(grant.human.as_str().to_owned());
        self.workflows.insert(grant.workflow.local().as_str().to_owned());
        if let Some(basis) = &decision.basis {
            self.decided_by.insert(basis.release.to_string());
        }
        let text =
            |pointer: &str| decision.document.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let action = [text("/call/action"), text("/attempt/action"), text("/attempt/method")];
        let action = action.into_iter().find(|action| !action.is_empty()).unwrap_or_default().to_owned();
        let (permits, denials) = self.actions.entry(action.clone()).or_default();
        let agent = self.agents.entry(grant.agent.as_str().to_owned()).or_default();
        if decision.permit {
            self.permits = self.permits.saturating_add(1);
            (*permits, agent.permits) = (permits.saturating_add(1), agent.permits.saturating_add(1));
            return;
        }
        self.denials = self.denials.saturating_add(1);
        (*denials, agent.denials) = (denials.saturating_add(1), agent.denials.saturating_add(1));
        let code = text("/reasons/0/code").to_owned();
        let why = format!("{code}: {}", text("/reasons/0/message"));
        let count = self.codes.entry(code).or_default();
        *count = count.saturating_add(1);
        let who = format!("{} for {} in {}", grant.agent, grant.human, grant.workflow.local());
        self.exception(record, time, format!("denied: {action}"), who, why);
    }

    fn change(&mut self, name: &str, body: &Object, time: &str) {
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        match name {
            "agent_enrolled" | "agent_set" => {
                let agent = self.agents.entry(text("id")).or_default();
                (agent.kind, agent.owner, agent.standing) = (text("type"), text("owner"), text("standing"));
            }
            "agent_standing" => self.agents.entry(text("agent")).or_default().standing = text("standing"),
            "approval_given" => {
                let approval = self.approvals.entry(text("id")).or_default();
                time.clone_into(&mut approval.time);
                (approval.name, approval.approver) = (text("name"), text("approver"));
                (approval.role, approval.workflow) = (text("role"), text("workflow"));
            }
            "approval_withdrawn" => {
                self.approvals.entry(text("id")).or_default().withdrawn = true;
            }
            "delegation_granted" => {
                let grant = self.grants.entry(text("id")).or_default();
                time.clone_into(&mut grant.time);
                (grant.human, grant.agent, grant.workflow) = (text("human"), text("agent"), text("workflow"));
            }
            "delegation_revoked" => self.grants.entry(text("id")).or_default().revoked = true,
            _ => {}
        }
    }

    fn exception(&mut self, record: &Record, time: Timestamp, what: String, who: String, why: String) {
        if self.exceptions.len() < MAX_ROWS {
            self.exceptions.push(Exception { sequence: record.sequence, time, what, who, why });
        } else {
            self.more_exceptions = self.more_exceptions.saturating_add(1);
        }
    }

    /// The counts, as a manifest names them.
    pub(crate) fn population(&self) -> Value {
        let endings = self.endings.iter().map(|(ending, count)| (ending.clone(), Value::from(*count)));
        object! {
            "agents" => u64::try_from(self.agents.len()).unwrap_or(u64::MAX), "counted" => self.counted,
            "decisions" => self.permits.saturating_add(self.denials), "denials" => self.denials,
            "endings" => endings.collect::<Object>(), "gaps" => u64::try_from(self.gaps.len()).unwrap_or(u64::MAX), "permits" => self.permits,
        }
        .into()
    }
}

/// The one member of a change.
fn only(change: &Object) -> Option<(&str, &Object)> {
    let (name, body) = change.iter().next()?;
    Some((name, body.as_object()?))
}
