//! What a type of workflows demands of a workflow and of a delegation in it, before they become facts.

use placet_core::{Agent, Delegation, Timestamp, Workflow};

use crate::{Release, WorkflowType, contract};

/// Why something doesn't fit the release in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// Where, as a JSON pointer into the workflow or the delegation.
    pub path: String,
    /// What is wrong there.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` {}", self.path, self.message)
    }
}

fn unfit<T>(path: impl Into<String>, message: String, remedy: impl Into<String>) -> Result<T, Unfit> {
    Err(Unfit { path: path.into(), message, remedy: remedy.into() })
}

/// The state of workflows whose type names none.
pub(crate) const OPEN: &str = "open";

impl WorkflowType {
    /// When a workflow of this type is over: at its own end, and no later than its type lets it live.
    #[must_use]
    pub fn ends(&self, workflow: &Workflow) -> Timestamp {
        workflow
            .opened
            .map_or(workflow.ends, |opened| opened.plus_millis(self.longest_life).min(workflow.ends))
    }

    /// The state of an open workflow as policy reads it; none where its type doesn't know it, or where it closes.
    #[must_use]
    pub fn state<'a>(&'a self, workflow: &'a Workflow) -> Option<&'a str> {
        let Some(states) = &self.states else { return Some(OPEN) };
        let state = workflow.stage.as_ref().unwrap_or(&states.initial);
        states.all.get(state).filter(|closes| !**closes).map(|_| state.as_str())
    }

    /// Whether its time from `now` on is one that a workflow of this type may have left.
    pub fn admits_life(&self, workflow: &Workflow, now: Timestamp) -> Result<(), Unfit> {
        let longest = workflow.opened.unwrap_or(now).min(now).plus_millis(self.longest_life);
        if workflow.ends <= longest {
            return Ok(());
        }
        unfit(
            "/ends",
            format!("is later than a workflow of type `{}` may live", self.name),
            format!("end it at {longest} at the latest"),
        )
    }

    /// Whether this workflow may be opened at `now`.
    pub fn admits(&self, workflow: &Workflow, now: Timestamp) -> Result<(), Unfit> {
        let of = &self.name;
        if let Some(intent) = workflow.intents.difference(&self.intents).next() {
            return unfit(
                "/intents",
                format!("has `{intent}`, which workflows of type `{of}` don't serve"),
                format!("choose from {}", quoted(self.intents.iter())),
            );
        }
        if workflow.intents.is_empty() {
            return unfit(
                "/intents",
                "is empty".to_owned(),
                format!("choose from {}", quoted(self.intents.iter())),
            );
        }
        self.admits_life(workflow, now)?;
        if let Some(kind) = self.binds.keys().find(|kind| !workflow.bindings.contains_key(*kind)) {
            return unfit(
                "/bindings",
                format!("names no `{kind}`, and a workflow of type `{of}` is about one"),
                format!("add `\"{kind}\": \"…\"`"),
            );
        }
        for (name, value) in &workflow.attributes {
            let path = format!("/attributes/{name}");
            let Some(attribute) = self.attributes.get(name) else {
                let help = format!("choose from {}", quoted(self.attributes.keys()));
                return unfit(path, format!("is no attribute of workflows of type `{of}`"), help);
            };
            if let Err(message) = contract::check_value(&attribute.shape(), value) {
                return unfit(path, format!("is of another type: {message}"), "see the workflow type");
            }
            let bound = self.binds.iter().find(|(_, attribute)| *attribute == name);
            if let Some((kind, _)) = bound
                && workflow.bindings.get(kind).map(placet_core::Name::as_str) != value.as_str()
            {
                return unfit(
                    path,
                    format!("isn't the `{kind}` that the workflow is bound to"),
                    "leave it out",
                );
            }
        }
        match (&self.states, &workflow.stage) {
            (_, None) => Ok(()),
            (None, Some(_)) => {
                unfit("/stage", format!("is named, and the type `{of}` names no states"), "leave it out")
            }
            (Some(_), Some(_)) if self.state(workflow).is_some() => Ok(()),
            (Some(states), Some(stage)) => unfit(
                "/stage",
                format!("is `{stage}`, which is no state of `{of}` that a workflow can be open in"),
                format!("leave it out: it begins as `{}`", states.initial),
            ),
        }
    }
}

impl Release {
    /// Whether a workflow may be opened at `now`: of a known type, within what the type says.
    pub fn admits_workflow(&self, workflow: &Workflow, now: Timestamp) -> Result<(), Unfit> {
        self.kind_of(workflow)?.admits(workflow, now)
    }

    /// Whether a delegation in this workflow may be granted to this agent: of a type that acts in such workflows, for
    /// intents that it has.
    pub fn admits_delegation(
        &self,
        delegation: &Delegation,
        workflow: &Workflow,
        agent: &Agent,
    ) -> Result<(), Unfit> {
        let kind = self.kind_of(workflow)?;
        if !kind.agents.contains(&agent.kind) {
            return unfit(
                "/agent",
                format!(
                    "`{}` is a `{}`, and workflows of type `{}` don't admit such agents",
                    agent.id, agent.kind, kind.name
                ),
                format!("choose an agent of type {}", quoted(kind.agents.iter())),
            );
        }
        let intents = &delegation.scope.intents;
        match intents
            .iter()
            .find(|intent| !workflow.intents.contains(*intent) || !kind.intents.contains(*intent))
        {
            Some(intent) => unfit(
                "/scope/intents",
                format!("has `{intent}`, which the workflow doesn't serve"),
                format!("choose from {}", quoted(workflow.intents.iter())),
            ),
            None => Ok(()),
        }
    }

    fn kind_of(&self, workflow: &Workflow) -> Result<&WorkflowType, Unfit> {
        match self.workflow_types().get(&workflow.kind) {
            Some(kind) => Ok(kind),
            None => unfit(
                "/type",
                format!("is `{}`, which the release in force doesn't know", workflow.kind),
                format!("choose from {}", quoted(self.workflow_types().keys())),
            ),
        }
    }
}

pub(crate) fn quoted<'a>(names: impl Iterator<Item = &'a placet_core::Name>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    if names.is_empty() { "none: there are none".to_owned() } else { names.join(", ") }
}
