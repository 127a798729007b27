//! What the tools' own databases and the ledger say, and whether that is what was told.

use std::{collections::BTreeMap, path::Path};

use placet_json::{Limits, Value};
use placet_record::{DecisionRecord, EffectRecord, Kind};
use placet_samples::state;
use placet_store::Reader;

use crate::failure::{Failure, OrFail};

/// Everything that the verdict rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Evidence {
    /// Refunds that billing paid: case, customer, cents.
    refunds: Vec<(String, String, i64)>,
    /// What stands in #general.
    general: Vec<String>,
    /// Balance of cust-101, in cents.
    balance: Option<i64>,
    decisions: Vec<Decided>,
    /// Endings by decision.
    endings: BTreeMap<String, Vec<String>>,
}

/// A decision of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decided {
    pub(super) id: String,
    pub(super) permit: bool,
    pub(super) action: String,
    pub(super) code: String,
    pub(super) chain: Vec<String>,
}

/// Which story was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// The four scenes.
    Four,
    /// All of them.
    All,
}

impl Evidence {
    /// Reads the tools' databases in `dir` and the ledger in `data`.
    pub(super) fn gather(dir: &Path, data: &Path) -> Result<Self, Failure> {
        let (billing, chat) = (dir.join("billing.sqlite"), dir.join("chat.sqlite"));
        let refunds = state::refunds(&billing).or_fail("billing's data")?;
        let mut evidence = Self {
            refunds: refunds
                .into_iter()
                .map(|refund| (refund.case_id, refund.customer_id, refund.amount_cents))
                .collect(),
            general: state::messages(&chat, "#general").or_fail("chat's data")?,
            balance: state::balance(&billing, "cust-101").or_fail("billing's data")?,
            decisions: Vec::new(),
            endings: BTreeMap::new(),
        };
        let reader = Reader::open(data).or_fail("the ledger")?;
        for record in reader.range(1, reader.last()) {
            let record = record.or_fail("the ledger")?;
            match Kind::from_tag(record.kind) {
                Some(Kind::Decision) => evidence.decisions.push(Decided::read(&record.payload)?),
                Some(Kind::Effect) => {
                    let effect = EffectRecord::read(&record.payload).or_fail("the ledger")?;
                    evidence
                        .endings
                        .entry(effect.decision.as_str().to_owned())
                        .or_default()
                        .push(effect.ending);
                }
                _ => {}
            }
        }
        Ok(evidence)
    }

    pub(super) fn decisions(&self) -> &[Decided] {
        &self.decisions
    }

    /// The first decision on an action with this outcome: `permit`, or a denial's code.
    pub(super) fn decision(&self, action: &str, outcome: &str) -> Option<&Decided> {
        self.decisions.iter().find(|decision| decision.is(action, outcome))
    }

    /// One line about it.
    pub(super) fn summary(&self) -> String {
        let permits = self.decisions.iter().filter(|decision| decision.permit).count();
        let paid: i64 = self.refunds.iter().map(|(_, _, cents)| cents).sum();
        format!(
            "{} decisions on record ({permits} permits, {} denials); billing paid {}.{:02} in {} refunds; {} messages in #general",
            self.decisions.len(),
            self.decisions.len().saturating_sub(permits),
            paid / 100,
            paid % 100,
            self.refunds.len(),
            self.general.len()
        )
    }

    /// What isn't as it was told; nothing, if all is.
    pub(super) fn judge(&self, told: Told) -> Vec<String> {
        let mut problems = Vec::new();
        let mut expect = |holds: bool, what: &str| {
            if !holds {
                problems.push(what.to_owned());
            }
        };
        let paid: Vec<i64> = self.refunds.iter().map(|(_, _, cents)| *cents).collect();
        let expected: &[i64] = match told {
            Told::Four => &[8_000, 25_000],
            // The last of the chain refunds 20.
            Told::All => &[8_000, 25_000, 2_000],
        };
        expect(
            paid == expected,
            &format!("billing's database says that it paid {paid:?} cents, not {expected:?}"),
        );
        expect(
            self.refunds.iter().all(|(case, customer, _)| {
                matches!((case.as_str(), customer.as_str()), ("CASE-1837", "cust-101"))
            }),
            "billing's database has a refund for another case or customer",
        );
        let left = 100_000_i64.saturating_sub(expected.iter().sum());
        expect(
            self.balance == Some(left),
            &format!("billing's database says that the balance is {:?}, not {left}", self.balance),
        );
        expect(self.general.is_empty(), "chat's database has a message in #general");
        expect(
            self.count("issue_refund", "permit") == expected.len(),
            "the ledger doesn't have one permit for each refund that was paid",
        );
        for (action, outcome, at_least) in FOUR {
            expect(
                self.count(action, outcome) >= *at_least,
                &format!("the ledger lacks `{outcome}` on `{action}`"),
            );
        }
        if told == Told::All {
            for (action, outcome, at_least) in ALL {
                expect(
                    self.count(action, outcome) >= *at_least,
                    &format!("the ledger lacks `{outcome}` on `{action}`"),
                );
            }
            let chain = ["planner-1", "retriever-1", "agent-7"];
            expect(
                self.decisions.iter().any(|decision| {
                    decision.permit && decision.action == "issue_refund" && decision.chain == chain
                }),
                "no permit of the ledger has the whole chain of agents",
            );
            expect(
                self.endings.values().flatten().any(|ending| ending == "filtered"),
                "the ledger has no withheld answer",
            );
        }
        for decision in &self.decisions {
            let endings = self.endings.get(&decision.id).map_or(0, Vec::len);
            expect(
                endings == usize::from(decision.permit),
                &format!("the decision {} has {endings} endings in the ledger", decision.id),
            );
        }
        let known = |id: &str| self.decisions.iter().any(|decision| decision.id == id && decision.permit);
        expect(self.endings.keys().all(|id| known(id)), "the ledger has an effect without a permit");
        problems
    }

    fn count(&self, action: &str, outcome: &str) -> usize {
        self.decisions.iter().filter(|decision| decision.is(action, outcome)).count()
    }
}

/// What the four scenes leave in the ledger: action, outcome, how often at least.
const FOUR: &[(&str, &str, usize)] = &[
    ("summarize_case", "permit", 1),
    ("issue_refund", "manager_approval_missing", 4),
    ("post_message", "label_not_accepted", 1),
    ("read_balance", "permit", 2),
    ("read_balance", "delegating_user_inactive", 1),
    ("read_balance", "frozen", 1),
];

/// And what the others leave.
const ALL: &[(&str, &str, usize)] = &[
    ("summarize_case", "resource_outside_workflow", 1),
    ("summarize_case", "resource_unknown", 2),
    ("search_customers", "permit", 2),
    ("export_customer_data", "export_forbidden", 1),
    ("read_balance", "intent_not_declared", 1),
    ("read_balance", "delegation_revoked", 1),
    ("summarize_case", "tool_unknown", 1),
    ("issue_refund", "argument_invalid", 3),
];

impl Decided {
    fn read(payload: &[u8]) -> Result<Self, Failure> {
        let record = DecisionRecord::read(payload).or_fail("the ledger")?;
        let document = &record.document;
        let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let chain = document.get("chain").and_then(Value::as_array).unwrap_or_default();
        Ok(Self {
            id: record.id.as_str().to_owned(),
            permit: record.permit,
            action: text("/call/action").or_else(|| text("/attempt/action")).unwrap_or_default(),
            code: text("/reasons/0/code").unwrap_or_default(),
            chain: chain.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        })
    }
    fn is(&self, action: &str, outcome: &str) -> bool {
        self.action == action && if self.permit { outcome == "permit" } else { self.code == outcome }
    }
}

/// Reads a JSON document that a verb printed.
pub(super) fn document(text: &str) -> Option<Value> {
    placet_json::parse(text.trim().as_bytes(), &Limits::RESULT).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(told: Told) -> Evidence {
        let mut evidence = Evidence {
            refunds: Vec::new(),
            general: Vec::new(),
            balance: None,
            decisions: Vec::new(),
            endings: BTreeMap::new(),
        };
        let rows: &[i64] = if told == Told::All { &[8_000, 25_000, 2_000] } else { &[8_000, 25_000] };
        evidence.refunds =
            rows.iter().map(|cents| ("CASE-1837".to_owned(), "cust-101".to_owned(), *cents)).collect();
        evidence.balance = Some(100_000_i64.saturating_sub(rows.iter().sum()));
        let mut add = |action: &str, outcome: &str, ending: &str, chain: &[&str]| {
            let id = format!("dc_{}", evidence.decisions.len());
            let permit = outcome == "permit";
            if permit {
                evidence.endings.insert(id.clone(), vec![ending.to_owned()]);
            }
            let code = if permit { String::new() } else { outcome.to_owned() };
            let chain = chain.iter().map(|agent| (*agent).to_owned()).collect();
            evidence.decisions.push(Decided { id, permit, action: action.to_owned(), code, chain });
        };
        let outcomes = FOUR.iter().chain(if told == Told::All { ALL } else { &[] });
        for (action, outcome, times) in outcomes {
            for _ in 0..*times {
                add(
                    action,
                    outcome,
                    if *action == "search_customers" { "filtered" } else { "done" },
                    &["agent-7"],
                );
            }
        }
        for _ in 0..rows.len() {
            add("issue_refund", "permit", "done", &["planner-1", "retriever-1", "agent-7"]);
        }
        evidence
    }

    #[test]
    fn what_was_told_is_judged_right() {
        assert_eq!(told(Told::Four).judge(Told::Four), Vec::<String>::new());
        assert_eq!(told(Told::All).judge(Told::All), Vec::<String>::new());
        assert!(!told(Told::Four).judge(Told::All).is_empty());
    }

    /// One fact at a time is changed, in the databases and in the ledger: the verdict flips each time.
    #[test]
    fn the_verdict_flips_when_one_fact_is_changed() {
        for kind in [Told::Four, Told::All] {
            let right = told(kind);
            let mut changed: Vec<Evidence> = Vec::new();
            for i in 0..right.refunds.len() {
                let mut other = right.clone();
                other.refunds[i].2 = 1;
                changed.push(other);
                let mut other = right.clone();
                other.refunds[i].1 = "cust-102".to_owned();
                changed.push(other);
                let mut other = right.clone();
                other.refunds.remove(i);
                changed.push(other);
            }
            let mut other = right.clone();
            other.refunds.push(other.refunds[0].clone());
            changed.push(other);
            let mut other = right.clone();
            other.general.push("hello".to_owned());
            changed.push(other);
            let mut other = right.clone();
            other.balance = Some(1);
            changed.push(other);
            for i in 0..right.decisions.len() {
                let mut other = right.clone();
                other.decisions[i].permit = !other.decisions[i].permit;
                changed.push(other);
                let mut other = right.clone();
                other.decisions.remove(i);
                changed.push(other);
            }
            for id in right.endings.keys() {
                let mut other = right.clone();
                other.endings.remove(id);
                changed.push(other);
                let mut other = right.clone();
                other.endings.get_mut(id).unwrap().push("done".to_owned());
                changed.push(other);
            }
            for (i, other) in changed.iter().enumerate() {
                assert!(!other.judge(kind).is_empty(), "change {i} of {kind:?} went unseen");
            }
        }
    }
}
