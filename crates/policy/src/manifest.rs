//! The TOML files of a release: `release.toml`, `reasons.toml` and the workflow types.

use std::collections::{BTreeMap, BTreeSet};

use placet_core::{Budget, Decimal, Name, Per, window_of};
use serde::Deserialize;

use crate::{
    acts::Acts,
    contract::Shape,
    finding::{Finding, position},
    packages::{PartFile, ReviewFile},
    states::{self, ApprovalFile, Chain, StateFile, States, TransitionFile},
};

/// An engine that may grant actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineName {
    /// Regorus.
    Rego,
    /// Cedar.
    Cedar,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) name: Name,
    /// The input's schema version.
    #[serde(default)]
    pub(crate) input: InputVersion,
    pub(crate) rego: Option<Rego>,
    pub(crate) cedar: Option<Cedar>,
    #[serde(default)]
    pub(crate) grants: BTreeMap<Name, EngineName>,
    #[serde(default)]
    pub(crate) limits: LimitsFile,
    /// Parts with owners of their own, by name.
    #[serde(default)]
    pub(crate) packages: BTreeMap<Name, Package>,
    /// The part that only denies.
    pub(crate) baseline: Option<PartFile>,
    /// Parts in directories of their own, by name.
    #[serde(default)]
    pub(crate) package: BTreeMap<Name, PartFile>,
    /// Who reviews what no part owns.
    pub(crate) review: Option<ReviewFile>,
    /// Which people may stop things.
    #[serde(default)]
    pub(crate) acts: Acts,
    /// Findings that its owners live with.
    #[serde(default)]
    pub(crate) silence: Vec<crate::lints::Silence>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum InputVersion {
    #[default]
    #[serde(rename = "v1")]
    V1,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RegoVersion {
    V0,
    V1,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rego {
    pub(crate) version: RegoVersion,
    pub(crate) entrypoints: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cedar {}

/// What holds for all tools that don't say otherwise.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitsFile {
    /// How long the same call again is refused, where it changes something.
    #[serde(default)]
    pub(crate) duplicates: Window,
}

/// A window of a limit in milliseconds; 0: none.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Window(pub(crate) u64);

impl TryFrom<String> for Window {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        window_of(&text).map(Self)
    }
}

/// Who owns which policies.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// The people who answer for it.
    pub owners: BTreeSet<Name>,
    /// Its policy files.
    pub policies: BTreeSet<String>,
}

/// `reasons.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReasonsFile {
    #[serde(default)]
    pub(crate) reason: Vec<ReasonEntry>,
}

/// A reason for people. It belongs to a condition (`when`, of a `rule` if one is named), to the message of a Rego deny,
/// or to a Cedar policy by its id.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReasonEntry {
    pub(crate) rule: Option<String>,
    pub(crate) when: Option<String>,
    pub(crate) deny: Option<String>,
    pub(crate) policy: Option<String>,
    pub(crate) code: Name,
    pub(crate) text: String,
    pub(crate) remedy: Option<Name>,
    /// The directory of the part whose rules it speaks of; none: of all rules.
    #[serde(skip)]
    pub(crate) scope: Option<String>,
}

impl ReasonEntry {
    /// Whether it may speak of what stands at `file:line`.
    pub(crate) fn is_of(&self, at: &str) -> bool {
        self.scope.as_ref().is_none_or(|scope| at.starts_with(scope.as_str()))
    }
}

/// `workflow_types/*.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkflowTypeFile {
    name: Name,
    intents: BTreeSet<Name>,
    agents: BTreeSet<Name>,
    longest_life: String,
    #[serde(default)]
    attributes: BTreeMap<Name, AttributeType>,
    #[serde(default)]
    binds: BTreeMap<Name, Name>,
    #[serde(default)]
    approval: BTreeMap<Name, ApprovalFile>,
    initial: Option<Name>,
    #[serde(default)]
    state: BTreeMap<Name, StateFile>,
    #[serde(default)]
    transition: Vec<TransitionFile>,
    #[serde(default)]
    budgets: BTreeMap<Name, BudgetFile>,
    consent: Option<ConsentFile>,
}

/// `[consent]`: how a person must have shown who they are.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConsentFile {
    #[serde(default)]
    acr: Vec<String>,
    max_age: Option<String>,
}

/// Bounds of one action: in the workflow itself, and of days.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BudgetFile {
    count: Option<u64>,
    amount: Option<Decimal>,
    approval: Option<Name>,
    human_day: Option<BoundsFile>,
    agent_day: Option<BoundsFile>,
    tool_day: Option<BoundsFile>,
    tenant_day: Option<BoundsFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BoundsFile {
    count: Option<u64>,
    amount: Option<Decimal>,
    approval: Option<Name>,
}

impl BudgetFile {
    /// The error names what is wrong.
    fn budgets(self) -> Result<Vec<Budget>, String> {
        let Self { count, amount, approval, human_day, agent_day, tool_day, tenant_day } = self;
        let own = (count.is_some() || amount.is_some() || approval.is_some()).then_some(BoundsFile {
            count,
            amount,
            approval,
        });
        let all = [
            (Per::Workflow, own),
            (Per::HumanDay, human_day),
            (Per::AgentDay, agent_day),
            (Per::ToolDay, tool_day),
            (Per::TenantDay, tenant_day),
        ];
        let budgets: Vec<Budget> = all
            .into_iter()
            .filter_map(|(per, bounds)| {
                let BoundsFile { count, amount, approval } = bounds?;
                Some(Budget { per, count, amount, approval })
            })
            .collect();
        if budgets.is_empty() || budgets.iter().any(|it| it.count.is_none() && it.amount.is_none()) {
            return Err("bounds neither `count` nor `amount`".to_owned());
        }
        if budgets.iter().any(|it| it.amount.is_some_and(Decimal::is_negative)) {
            return Err("is below zero".to_owned());
        }
        Ok(budgets)
    }
}

/// The type of an attribute of a workflow or a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttributeType {
    /// A text.
    Text,
    /// A name in the alphabet of identifiers.
    Id,
    /// An exact decimal.
    Decimal,
    /// A truth value.
    Boolean,
    /// A moment.
    Time,
    /// A list of names.
    Ids,
}

impl AttributeType {
    pub(crate) fn shape(self) -> Shape {
        match self {
            Self::Text => Shape::Text,
            Self::Id => Shape::Id,
            Self::Decimal => Shape::Decimal(false),
            Self::Boolean => Shape::Bool,
            Self::Time => Shape::Time,
            Self::Ids => Shape::List(Box::new(Shape::Id)),
        }
    }
}

/// A type of workflows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowType {
    /// Its name.
    pub name: Name,
    /// The purposes that such a workflow may declare.
    pub intents: BTreeSet<Name>,
    /// The types of agents that may act in one.
    pub agents: BTreeSet<Name>,
    /// The longest life of one in milliseconds.
    pub longest_life: u64,
    /// Its attributes, as policy reads them.
    pub attributes: BTreeMap<Name, AttributeType>,
    /// By resource type, the attribute that holds the one resource of that type that the workflow is about.
    pub binds: BTreeMap<Name, Name>,
    /// The approvals that may be given in one, with the roles that give them.
    pub approvals: BTreeMap<Name, Chain>,
    /// Its named states. None: a workflow is open, then closed.
    pub states: Option<States>,
    /// The budgets of actions.
    pub budgets: BTreeMap<Name, Vec<Budget>>,
    /// How a person must have shown who they are before they consent to a delegation in one. None: any sign-in will do.
    pub consent: Option<Strength>,
}

/// How strongly and how lately somebody must have shown who they are (RFC 9470).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strength {
    /// Classes of authentication, one of which must have been used; none: any.
    pub acr: Vec<String>,
    /// The longest time since, in milliseconds; none: any.
    pub max_age: Option<u64>,
}

/// Parses a TOML file; an unknown key or a wrong type is an error with its line.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(file: &str, text: &str) -> Result<T, Finding> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or((0, 0), |span| position(text, span.start));
        Finding::error(file, at, error.message().trim().to_owned(), "")
    })
}

/// The line of the first occurrence of a word.
pub(crate) fn line_of(text: &str, word: &str) -> (u32, u32) {
    text.find(word).map_or((0, 0), |offset| position(text, offset))
}

pub(crate) fn workflow_type(file: &str, text: &str) -> Result<WorkflowType, Finding> {
    let parsed: WorkflowTypeFile = parse(file, text)?;
    let longest_life = duration(&parsed.longest_life).ok_or_else(|| {
        Finding::error(
            file,
            line_of(text, "longest_life"),
            format!("`{}` is no length of time", parsed.longest_life),
            "write it as `30m`, `8h` or `14d`",
        )
    })?;
    for (kind, attribute) in &parsed.binds {
        if !parsed.attributes.contains_key(attribute) {
            return Err(Finding::error(
                file,
                line_of(text, "binds"),
                format!("`{kind}` is bound to `{attribute}`, which is no attribute of this type"),
                "add it to `attributes`",
            ));
        }
    }
    let reserved = ["id", "type", "state", "tenant_id", "owner", "expires_at", "totals"];
    if let Some(name) =
        parsed.attributes.keys().chain(parsed.approval.keys()).find(|name| reserved.contains(&name.as_str()))
    {
        return Err(Finding::error(
            file,
            line_of(text, name.as_str()),
            format!("`{name}` is a name of the policy input itself"),
            "choose another name",
        ));
    }
    if let Some(name) = parsed.approval.keys().find(|name| parsed.attributes.contains_key(*name)) {
        return Err(Finding::error(
            file,
            line_of(text, name.as_str()),
            format!("`{name}` is an attribute and an approval"),
            "choose another name for one of them",
        ));
    }
    let problem =
        |(word, message, help): states::Problem| Finding::error(file, line_of(text, &word), message, help);
    let mut approvals = BTreeMap::new();
    for (name, approval) in parsed.approval {
        let chain = states::chain(&name, approval).map_err(problem)?;
        approvals.insert(name, chain);
    }
    let states = states::states(parsed.initial, parsed.state, parsed.transition, &approvals, &parsed.binds)
        .map_err(problem)?;
    let mut budgets = BTreeMap::new();
    for (action, budget) in parsed.budgets {
        let budget = budget.budgets().map_err(|why| {
            let at = line_of(text, action.as_str());
            Finding::error(
                file,
                at,
                format!("the budget of `{action}` {why}"),
                "name `count`, `amount` or both",
            )
        })?;
        budgets.insert(action, budget);
    }
    let consent = match parsed.consent {
        None => None,
        Some(ConsentFile { acr, max_age }) => {
            let max_age = max_age.map(|age| duration(&age).ok_or(age)).transpose().map_err(|age| {
                let message = format!("`{age}` is no length of time");
                Finding::error(file, line_of(text, "max_age"), message, "write it as `5m`")
            })?;
            Some(Strength { acr, max_age })
        }
    };
    Ok(WorkflowType {
        consent,
        budgets,
        name: parsed.name,
        intents: parsed.intents,
        agents: parsed.agents,
        longest_life,
        attributes: parsed.attributes,
        binds: parsed.binds,
        approvals,
        states,
    })
}

fn duration(text: &str) -> Option<u64> {
    let unit = text.chars().last()?;
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    let millis: u64 = match unit {
        's' => 1000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).filter(|length| *length > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_an_error_with_its_line() {
        let error = parse::<Manifest>(
            "release.toml",
            "name = \"a\"\n[rego]\nversion = \"v0\"\nentrypoints = []\nstrict = false\n",
        )
        .unwrap_err();
        assert_eq!((error.file.as_str(), error.line), ("release.toml", 5));
        assert!(
            parse::<Manifest>("release.toml", "name = \"a\"\n[rego]\nversion = \"v2\"\nentrypoints = []\n")
                .is_err()
        );
    }

    #[test]
    fn a_workflow_type_says_all_that_it_admits() {
        let text = "name = \"case\"\nintents = [\"help\"]\nagents = [\"bot\"]\nlongest_life = \"8h\"\nattributes = { case_id = \"id\" }\nbinds = { ticket = \"case_id\" }\n[approval.boss]\nrole = \"manager\"\n";
        let parsed = workflow_type("w.toml", text).unwrap();
        assert_eq!(parsed.longest_life, 28_800_000);
        assert_eq!(parsed.approvals.len(), 1);
        for (from, to) in [
            ("\"8h\"", "\"8\""),
            ("\"8h\"", "\"0h\""),
            ("approval.boss", "approval.state"),
            ("ticket = \"case_id\"", "ticket = \"other\""),
        ] {
            assert!(workflow_type("w.toml", &text.replace(from, to)).is_err(), "{to}");
        }
    }
}
