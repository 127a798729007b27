//! What was seen: tools with the values of their arguments, combinations that a rule is made of, distinct calls.

use std::collections::{BTreeMap, BTreeSet};

use placet_audit::Went;
use placet_core::{Digest, Name, Timestamp};
use placet_json::{Number, Value};

/// Distinct values of one argument that are remembered, as long as it may be a choice of a few.
pub(super) const FEW: usize = 8;
/// Distinct calls that become cases.
pub(super) const MAX_CASES: usize = 2000;
/// Members of an input that differ from call to call, and mean nothing for a rule.
const VOLATILE: [&str; 9] = [
    "/time",
    "/workflow/id",
    "/workflow/expires_at",
    "/workflow/opened_at",
    "/workflow/totals",
    "/totals",
    "/agent/id",
    "/delegating_user/id",
    "/chain",
];

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) calls: u64,
    pub(super) waived: u64,
    pub(super) tools: BTreeMap<Name, Tool>,
    pub(super) rules: BTreeMap<Rule, Roles>,
    /// By what distinguishes them: the call's tool, its moment, its input.
    pub(super) distinct: BTreeMap<String, Call>,
    /// Distinct calls beyond the bound.
    pub(super) more: u64,
    /// By type of work: the intents and the types of agents.
    pub(super) work: BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)>,
}

/// A distinct call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) tool: Name,
    pub(super) rule: Rule,
    pub(super) at: Timestamp,
    pub(super) input: Value,
}

/// A tool, as it was used.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) calls: u64,
    /// The release that classified its last call.
    pub(super) release: Digest,
    pub(super) arguments: BTreeMap<String, Values>,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
}

/// The values of an argument.
#[derive(Debug, Default)]
pub(super) struct Values {
    pub(super) times: u64,
    /// Distinct texts, until there are too many.
    pub(super) texts: Option<BTreeSet<String>>,
    pub(super) longest: usize,
    pub(super) least: Option<Number>,
    pub(super) most: Option<Number>,
    pub(super) items: usize,
}

/// What one rule is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rule {
    pub(super) action: String,
    pub(super) agent: String,
    pub(super) intent: String,
    pub(super) work: String,
    pub(super) resource: String,
}

/// The delegating people's roles over all calls of a rule.
#[derive(Debug, Default)]
pub(super) struct Roles {
    pub(super) calls: u64,
    /// Those that all of them had.
    pub(super) common: Option<BTreeSet<String>>,
    /// Those that any of them had.
    pub(super) any: BTreeSet<String>,
    /// Whether somebody had none.
    pub(super) none: bool,
    pub(super) tools: BTreeSet<Name>,
}

impl Seen {
    pub(super) fn add(&mut self, went: &Went<'_>) {
        self.calls = self.calls.saturating_add(1);
        if went.waived {
            self.waived = self.waived.saturating_add(1);
        }
        let text =
            |path: &str| went.input.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let tool = self.tools.entry(went.tool.clone()).or_insert_with(|| Tool {
            calls: 0,
            release: went.release,
            arguments: BTreeMap::new(),
            first: went.at,
            last: went.at,
        });
        tool.calls = tool.calls.saturating_add(1);
        (tool.release, tool.last) = (went.release, went.at);
        for (name, value) in went.arguments.as_object().into_iter().flatten() {
            tool.arguments.entry(name.to_owned()).or_default().add(value);
        }
        let rule = Rule {
            action: went.action.to_string(),
            agent: text("/agent/type"),
            intent: text("/intent"),
            work: text("/workflow/type"),
            resource: text("/resource/type"),
        };
        let (intents, agents) = self.work.entry(rule.work.clone()).or_default();
        intents.insert(rule.intent.clone());
        agents.insert(rule.agent.clone());
        for agent in went.input.pointer("/chain").and_then(Value::as_array).unwrap_or_default() {
            agents.extend(agent.get("type").and_then(Value::as_str).map(str::to_owned));
        }
        let roles =
            went.input.pointer("/delegating_user/roles").and_then(Value::as_array).unwrap_or_default();
        let roles: BTreeSet<String> = roles.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        self.rules.entry(rule.clone()).or_default().add(roles, went.tool);
        self.distinguish(went, rule);
    }

    /// Leaves out what was seen too rarely to be a habit: combinations, tools that only these used, their calls.
    pub(super) fn at_least(&mut self, calls: u64) {
        self.rules.retain(|_, roles| roles.calls >= calls);
        let Self { rules, tools, distinct, work, .. } = self;
        tools.retain(|name, _| rules.values().any(|roles| roles.tools.contains(name)));
        distinct.retain(|_, call| rules.contains_key(&call.rule));
        work.retain(|name, _| rules.keys().any(|rule| rule.work == *name));
    }

    fn distinguish(&mut self, went: &Went<'_>, rule: Rule) {
        let mut plain = went.input.clone();
        for path in VOLATILE {
            let (parent, name) = path.rsplit_once('/').unwrap_or_default();
            if let Some(members) = at(&mut plain, parent).and_then(Value::as_object_mut) {
                members.remove(name);
            }
        }
        let key = format!("{} {plain}", went.tool);
        if self.distinct.contains_key(&key) {
            return;
        }
        if self.distinct.len() >= MAX_CASES {
            self.more = self.more.saturating_add(1);
            return;
        }
        let call = Call { tool: went.tool.clone(), rule, at: went.at, input: went.input.clone() };
        self.distinct.insert(key, call);
    }

    /// The releases whose catalogs the draft is made of.
    pub(super) fn releases(&self) -> BTreeSet<Digest> {
        self.tools.values().map(|tool| tool.release).collect()
    }
}

fn at<'v>(value: &'v mut Value, path: &str) -> Option<&'v mut Value> {
    path.split('/')
        .filter(|step| !step.is_empty())
        .try_fold(value, |value, step| value.as_object_mut()?.get_mut(step))
}

impl Roles {
    fn add(&mut self, roles: BTreeSet<String>, tool: &Name) {
        self.calls = self.calls.saturating_add(1);
        self.tools.insert(tool.clone());
        self.none |= roles.is_empty();
        self.common = Some(match self.common.take() {
            Some(common) => common.intersection(&roles).cloned().collect(),
            None => roles.clone(),
        });
        self.any.extend(roles);
    }

    /// One of these the delegating person has to have; none where somebody had no role at all.
    pub(super) fn wanted(&self) -> Option<&BTreeSet<String>> {
        if self.none {
            return None;
        }
        self.common.as_ref().filter(|common| !common.is_empty()).or(Some(&self.any))
    }
}

impl Values {
    fn add(&mut self, value: &Value) {
        self.times = self.times.saturating_add(1);
        match value {
            Value::String(text) => {
                self.longest = self.longest.max(text.chars().count());
                let texts = self.texts.get_or_insert_default();
                // One more than a few says that they aren't.
                if texts.len() <= FEW {
                    texts.insert(text.clone());
                }
            }
            Value::Number(number) => {
                if self.least.as_ref().is_none_or(|least| less(number, least)) {
                    self.least = Some(number.clone());
                }
                if self.most.as_ref().is_none_or(|most| less(most, number)) {
                    self.most = Some(number.clone());
                }
            }
            Value::Array(items) => self.items = self.items.max(items.len()),
            Value::Null | Value::Bool(_) | Value::Object(_) => {}
        }
    }
}

/// By value, exactly: the catalog's decimals have at most 15 digits.
fn less(a: &Number, b: &Number) -> bool {
    scaled(&a.to_string()) < scaled(&b.to_string())
}

/// A decimal in ten-thousandths.
pub(super) fn scaled(text: &str) -> i128 {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let part: String = part.chars().chain("0000".chars()).take(4).collect();
    let value = format!("{whole}{part}").parse::<i128>().unwrap_or(0);
    value.saturating_mul(sign)
}
