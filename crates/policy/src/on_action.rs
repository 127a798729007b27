//! Transitions that come on an action: the effect of a permitted call moves its workflow.
//!
//! Which ways a call opens stands in its record, so that the journal alone says what its effect does.

use std::collections::BTreeMap;

use placet_catalog::Catalog;
use placet_core::{Call, Code, FactsView, Name, Reason, Reasons, StateMove, WorkflowId};

use crate::{
    Release, WorkflowType,
    finding::{Finding, nearest},
    manifest::line_of,
    states::{MovedBy, Problem, Transition},
};

impl WorkflowType {
    /// How the effect of a call of `action` moves a workflow of this type: one way at most from each state.
    #[must_use]
    pub fn moves_on(&self, action: &Name) -> Vec<StateMove> {
        let Some(states) = &self.states else { return Vec::new() };
        let on = |way: &&Transition| matches!(&way.by, MovedBy::Action(actions) if actions.contains(action));
        let ways = states.transitions.iter().filter(on);
        let moves = ways.flat_map(|way| {
            way.from.iter().map(|from| StateMove {
                from: from.clone(),
                to: way.to.clone(),
                initial: *from == states.initial,
                closes: states.all.get(&way.to).copied().unwrap_or(false),
            })
        });
        moves.collect()
    }
}

impl Release {
    /// How the effect of a call of `action` moves the workflow. Nothing of a workflow that isn't known.
    #[must_use]
    pub fn moves_on(&self, workflow: &WorkflowId, action: &Name, facts: &dyn FactsView) -> Vec<StateMove> {
        let kind = facts.workflow(workflow).and_then(|workflow| self.workflow_types().get(&workflow.kind));
        kind.map(|kind| kind.moves_on(action)).unwrap_or_default()
    }
}

/// Whether a call holds what its workflow's type says: whoever makes one mustn't forget it.
pub(crate) fn hold(call: &Call, kind: &WorkflowType) -> Result<(), Reasons> {
    if call.moves == kind.moves_on(&call.action) {
        return Ok(());
    }
    Err(Reason::platform(
        Code::ReleaseChanged,
        "the rules changed meanwhile; try again",
        format!("the call doesn't say how `{}` moves a `{}`", call.action, kind.name),
    )
    .into())
}

/// From one state an action leads to one other.
pub(crate) fn one_way_each(transitions: &[Transition]) -> Result<(), Problem> {
    let mut to: BTreeMap<(&Name, &Name), &Name> = BTreeMap::new();
    for way in transitions {
        let MovedBy::Action(actions) = &way.by else { continue };
        for key in actions.iter().flat_map(|action| way.from.iter().map(move |from| (action, from))) {
            if let Some(other) = to.insert(key, &way.to) {
                let (action, from) = key;
                return Err((
                    action.to_string(),
                    format!("`{action}` leads from `{from}` to `{other}` and to `{}`", way.to),
                    "remove one of both: an effect has one consequence",
                ));
            }
        }
    }
    Ok(())
}

/// Actions that no tool has: such a way is never taken.
pub(crate) fn unknown_actions(
    file: &str,
    text: &str,
    kind: &WorkflowType,
    catalog: &Catalog,
) -> Vec<Finding> {
    let ways = kind.states.iter().flat_map(|states| &states.transitions);
    let actions = ways.filter_map(|way| match &way.by {
        MovedBy::Action(actions) => Some(actions),
        MovedBy::Person { .. } | MovedBy::Approval(_) => None,
    });
    let unknown =
        actions.flatten().filter(|action| !catalog.entries().any(|entry| entry.action() == *action));
    let found = unknown.map(|action| {
        let near = nearest(action.as_str(), catalog.entries().map(|entry| entry.action().as_str()));
        let near = near.map(|near| format!("did you mean `{near}`?")).unwrap_or_default();
        let message = format!("no tool has the action `{action}`, so nothing comes of it");
        Finding::error(file, line_of(text, action.as_str()), message, &near)
    });
    found.collect()
}
