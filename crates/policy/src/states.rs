//! The named states of a type of workflows, the moves between them, and chains of approvals: read from
//! `workflow_types/*.toml` and checked for what can't be meant.

use std::collections::{BTreeMap, BTreeSet};

use placet_core::{MAX_APPROVAL_STEPS, Name, RelationModel};
use serde::Deserialize;

use crate::{
    finding::{Finding, Severity},
    manifest::{WorkflowType, line_of},
};

/// The states that workflows of a type can be in, and the ways between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct States {
    /// The state of a workflow that was just opened.
    pub initial: Name,
    /// Every state, and whether reaching it closes the workflow.
    pub all: BTreeMap<Name, bool>,
    /// The ways, in the order of the file.
    pub transitions: Vec<Transition>,
}

/// One way from some states to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// From any of these.
    pub from: BTreeSet<Name>,
    /// To this one.
    pub to: Name,
    /// By whom.
    pub by: MovedBy,
}

/// Who may move a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MovedBy {
    /// Whoever holds one of the roles, if any is named, and the relation, if one is named. At least one of both is.
    Person {
        /// Roles in the workflow's tenant.
        roles: BTreeSet<Name>,
        /// A relation on the workflow's resource of this type.
        relation: Option<(Name, Name)>,
    },
    /// The people of this approval's chain, each in their turn; the last yes moves it.
    Approval(Name),
    /// A call of one of these actions that was permitted and had its effect.
    Action(BTreeSet<Name>),
}

/// An approval: who says yes, in which order. Never the same person twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The roles, in their order; from one to [`MAX_APPROVAL_STEPS`].
    pub steps: Vec<Name>,
    /// Whether the delegating person (for a move, the workflow's owner) may be among those who say yes.
    pub delegating_user: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApprovalFile {
    role: Option<Name>,
    steps: Option<Vec<Name>>,
    #[serde(default)]
    delegating_user: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StateFile {
    #[serde(default)]
    closes: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TransitionFile {
    from: OneOrMore,
    to: Name,
    #[serde(default)]
    roles: BTreeSet<Name>,
    relation: Option<String>,
    approval: Option<Name>,
    on: Option<OneOrMore>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(Name),
    More(BTreeSet<Name>),
}

impl OneOrMore {
    fn all(self) -> BTreeSet<Name> {
        match self {
            Self::One(name) => BTreeSet::from([name]),
            Self::More(names) => names,
        }
    }
}

/// A word to look for in the file, what is wrong, and what to do.
pub(crate) type Problem = (String, String, &'static str);

pub(crate) fn chain(name: &Name, file: ApprovalFile) -> Result<Chain, Problem> {
    let wrong =
        |message: String, help| Err((name.to_string(), format!("approval `{name}`: {message}"), help));
    let steps = match (file.role, file.steps) {
        (Some(role), None) => vec![role],
        (None, Some(steps)) => steps,
        (Some(_), Some(_)) | (None, None) => {
            return wrong(
                "exactly one of `role` and `steps` says who gives it".to_owned(),
                "write `role = \"manager\"`, or `steps = [\"team_lead\", \"finance\"]` for one after the other",
            );
        }
    };
    if steps.is_empty() || steps.len() > MAX_APPROVAL_STEPS {
        return wrong(
            format!("it has {} steps, not 1 to {MAX_APPROVAL_STEPS}", steps.len()),
            "name a role for each step",
        );
    }
    Ok(Chain { steps, delegating_user: file.delegating_user })
}

pub(crate) fn states(
    initial: Option<Name>,
    files: BTreeMap<Name, StateFile>,
    transitions: Vec<TransitionFile>,
    approvals: &BTreeMap<Name, Chain>,
    binds: &BTreeMap<Name, Name>,
) -> Result<Option<States>, Problem> {
    let Some(initial) = initial else {
        return if files.is_empty() && transitions.is_empty() {
            Ok(None)
        } else {
            let word = if files.is_empty() { "transition" } else { "state" };
            Err((word.to_owned(), "no state is the `initial` one".to_owned(), "add `initial = \"…\"`"))
        };
    };
    let all: BTreeMap<Name, bool> = files.into_iter().map(|(name, state)| (name, state.closes)).collect();
    let known = |state: &Name| match all.get(state) {
        Some(closes) => Ok(*closes),
        None => Err((
            state.to_string(),
            format!("there is no state `{state}`"),
            "describe it with `[state.…]`, an empty table where nothing is to be said",
        )),
    };
    if known(&initial)? {
        return Err((
            initial.to_string(),
            format!("`{initial}` is the first state and closes the workflow"),
            "let it begin in a state that doesn't",
        ));
    }
    let mut read = Vec::with_capacity(transitions.len());
    for TransitionFile { from, to, roles, relation, approval, on } in transitions {
        let from = from.all();
        let wrong = |message: &str, help| Err((to.to_string(), format!("the way to `{to}` {message}"), help));
        if from.is_empty() {
            return wrong("comes from no state", "name at least one in `from`");
        }
        known(&to)?;
        for state in &from {
            if known(state)? {
                return wrong(
                    "leaves a state that closes the workflow",
                    "a closed workflow never moves again: remove one of both",
                );
            }
        }
        if from.contains(&to) {
            return wrong("comes from itself", "remove it from `from`");
        }
        if let Some(on) = on {
            if !roles.is_empty() || relation.is_some() || approval.is_some() {
                return wrong(
                    "names an action and people",
                    "who may call the action is the policies' to say; write another `[[transition]]` for another way",
                );
            }
            let on = on.all();
            if on.is_empty() {
                return wrong("is nobody's", "name at least one action in `on`");
            }
            read.push(Transition { from, to, by: MovedBy::Action(on) });
            continue;
        }
        let by = match (roles.is_empty(), relation, approval) {
            (true, None, Some(approval)) => {
                if !approvals.contains_key(&approval) {
                    return Err((
                        approval.to_string(),
                        format!("there is no approval `{approval}`"),
                        "add `[approval.…]` with its `role` or `steps`",
                    ));
                }
                MovedBy::Approval(approval)
            }
            (true, None, None) => {
                return wrong(
                    "is nobody's",
                    "name `roles`, a `relation`, an `approval` or the action that it comes `on`",
                );
            }
            (_, _, Some(_)) => {
                return wrong(
                    "names an approval and more",
                    "an approval's own roles say who gives it; write another `[[transition]]` for another way",
                );
            }
            (_, relation, None) => {
                let relation = relation.map(|text| related(&text, binds)).transpose()?;
                MovedBy::Person { roles, relation }
            }
        };
        read.push(Transition { from, to, by });
    }
    crate::on_action::one_way_each(&read)?;
    Ok(Some(States { initial, all, transitions: read }))
}

/// `support_case#assignee`: a relation on what the workflow is about.
fn related(text: &str, binds: &BTreeMap<Name, Name>) -> Result<(Name, Name), Problem> {
    let wrong = |message: String, help| Err((text.to_owned(), format!("`{text}` {message}"), help));
    let parts = text.split_once('#');
    let parts = parts.and_then(|(kind, relation)| Some((Name::new(kind).ok()?, Name::new(relation).ok()?)));
    match parts {
        None => wrong("is no relation".to_owned(), "write it as `TYPE#RELATION`"),
        Some((kind, _)) if !binds.contains_key(&kind) => wrong(
            format!("is about a `{kind}`, and such a workflow is about none"),
            "add the type to `binds`, so that each workflow names its one",
        ),
        Some(parts) => Ok(parts),
    }
}

/// Relations that a way demands must be in the release's model.
pub(crate) fn unknown_relations(
    kind: &WorkflowType,
    model: &RelationModel,
    file: &str,
    text: &str,
) -> Option<Finding> {
    let unknown =
        kind.states.iter().flat_map(|states| &states.transitions).find_map(|way| match &way.by {
            MovedBy::Person { relation: Some((of, relation)), .. }
                if model.rewrite(of, relation).is_none() =>
            {
                Some(format!("{of}#{relation}"))
            }
            MovedBy::Person { .. } | MovedBy::Approval(_) | MovedBy::Action(_) => None,
        })?;
    Some(Finding::error(
        file,
        line_of(text, &unknown),
        format!("`relations.toml` has no relation `{unknown}`"),
        "add it there, or name another",
    ))
}

/// A life that is longer than this in milliseconds is worth a thought: 31 days.
const LONG: u64 = 31 * 86_400_000;

/// What is hardly meant, of a type that can be used all the same.
pub(crate) fn lints(kind: &WorkflowType, file: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut say = |code, severity, word: &str, message: String, help: &str| {
        findings.push(Finding::new(severity, file, line_of(text, word), message, help).coded(code));
    };
    if kind.longest_life > LONG {
        say(
            "long-life",
            Severity::Advice,
            "longest_life",
            format!(
                "a `{}` may live for {} days, and delegations in it as long",
                kind.name,
                kind.longest_life / 86_400_000
            ),
            "shorten `longest_life`; a new workflow is quickly opened",
        );
    }
    if kind.agents.is_empty() {
        say(
            "no-agent",
            Severity::Warning,
            "agents",
            format!("no agent may act in a `{}`", kind.name),
            "name types of agents",
        );
    }
    if kind.intents.is_empty() {
        say(
            "no-intent",
            Severity::Warning,
            "intents",
            format!("a `{}` serves no intent", kind.name),
            "name its intents",
        );
    }
    let Some(states) = &kind.states else { return findings };
    let mut reached = BTreeSet::from([&states.initial]);
    loop {
        let before = reached.len();
        for way in &states.transitions {
            if way.from.iter().any(|state| reached.contains(state)) {
                reached.insert(&way.to);
            }
        }
        if reached.len() == before {
            break;
        }
    }
    for (state, closes) in &states.all {
        if !reached.contains(state) {
            say(
                "unreachable-state",
                Severity::Warning,
                state.as_str(),
                format!("no way leads to the state `{state}`"),
                "add a `[[transition]]` to it, or remove it",
            );
        } else if !closes && !states.transitions.iter().any(|way| way.from.contains(state)) {
            say(
                "state-without-exit",
                Severity::Warning,
                state.as_str(),
                format!("no way leads out of the state `{state}`, and it doesn't close the workflow"),
                "add `closes = true`, or a `[[transition]]` from it",
            );
        }
    }
    findings
}
