//! The smallest changes after which it is a permit: a search, cheapest first, in which every step is evaluated.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    sync::Arc,
};

use placet_core::{Allowed, FactsView, Name, ResourceRef};
use placet_json::Value;

use super::{
    AlterFacts, Alternative,
    edit::{Edit, FactEdit},
    hints::Hints,
    look::{Lens, Look},
    pool::{Pool, look as value_at},
};

/// Evaluations of one search.
pub(crate) const MAX_LOOKS: u32 = 1_500;
/// Changes that are shown.
pub(crate) const MAX_SHOWN: usize = 5;
/// Single changes in one of them.
const MAX_EDITS: usize = 6;
/// Rules that are followed from one document.
const MAX_RULES: usize = 3;
/// Changes of one path that are followed.
const MAX_STEPS: usize = 2;
/// What a condition that isn't met counts against a change's cost.
const PER_LACK: u32 = 10;

pub(crate) struct Search<'a> {
    pub(crate) lens: &'a Lens<'a>,
    pub(crate) facts: Option<&'a dyn FactsView>,
    pub(crate) alter: Option<AlterFacts<'a>>,
    pub(crate) document: &'a Value,
    /// Evaluations at most.
    pub(crate) bound: u32,
    /// So many are enough.
    pub(crate) enough: usize,
    looks: u32,
}

/// A document on the way.
struct State {
    edits: Vec<Edit>,
    cost: u32,
    look: Look,
    document: Value,
}

/// What stands in the way.
struct Target {
    id: Way,
    paths: BTreeSet<Vec<String>>,
    hints: Hints,
    /// Whether relationships may matter.
    relations: bool,
}

enum Way {
    Blocked(String),
    Deny(String),
    Condition(String),
}

impl Target {
    /// Whether it is out of the way now.
    fn gone(&self, look: &Look) -> bool {
        if !look.faults.is_empty() {
            return false;
        }
        match (&self.id, &look.blocked) {
            (Way::Blocked(message), Some(blocked)) => *message != blocked.message,
            (Way::Blocked(_), None) => true,
            (_, Some(_)) => false,
            (Way::Deny(at), None) => look.denies.iter().all(|fired| fired.at != *at),
            (Way::Condition(key), None) => {
                look.condition(key).is_some_and(|condition| condition.holds == Some(true))
            }
        }
    }
}

impl<'a> Search<'a> {
    pub(crate) fn new(
        lens: &'a Lens<'a>,
        document: &'a Value,
        facts: Option<&'a dyn FactsView>,
        alter: Option<AlterFacts<'a>>,
    ) -> Self {
        Self { lens, facts, alter, document, bound: MAX_LOOKS, enough: MAX_SHOWN, looks: 0 }
    }

    /// What was found, the cheapest first, and whether nothing was left untried.
    pub(crate) fn run(&mut self, first: Look) -> (Vec<Alternative>, bool) {
        let mut states: BTreeMap<usize, State> = BTreeMap::new();
        let mut queue: BinaryHeap<Reverse<(u32, usize)>> = BinaryHeap::new();
        let mut known: BTreeSet<String> = BTreeSet::new();
        let mut found: Vec<Alternative> = Vec::new();
        let mut next = 0_usize;
        let start = State { edits: Vec::new(), cost: 0, look: first, document: self.document.clone() };
        states.insert(next, start);
        queue.push(Reverse((0, next)));
        while let Some(Reverse((_, id))) = queue.pop() {
            let Some(state) = states.remove(&id) else { continue };
            if state.look.permits {
                if let Some(alternative) = self.smallest(state.edits) {
                    let covers =
                        |other: &Alternative| other.edits.iter().all(|edit| alternative.edits.contains(edit));
                    if !found.iter().any(covers) {
                        found.push(alternative);
                    }
                }
                if found.len() >= self.enough {
                    break;
                }
                continue;
            }
            if state.edits.len() >= MAX_EDITS {
                continue;
            }
            for child in self.children(&state) {
                if !known.insert(key(&child)) {
                    continue;
                }
                let Some(distance) = child.look.distance() else { continue };
                let ahead = u32::try_from(distance).unwrap_or(u32::MAX).saturating_mul(PER_LACK);
                next = next.saturating_add(1);
                queue.push(Reverse((child.cost.saturating_add(ahead), next)));
                states.insert(next, child);
            }
            if self.looks >= self.bound {
                // What permits already is still shown.
                states.retain(|_, state| state.look.permits);
            }
        }
        found.sort_by_key(|alternative| (alternative.cost, alternative.edits.len()));
        (found, self.looks < self.bound)
    }

    fn children(&mut self, state: &State) -> Vec<State> {
        let mut children = Vec::new();
        for target in self.targets(&state.look) {
            let mut made = self.tries(state, &target, &target.hints.clone());
            if made.is_empty() {
                // Whatever else the policies name.
                made = self.tries(state, &target, &self.lens.index.all.clone());
            }
            children.append(&mut made);
        }
        children
    }

    fn tries(&mut self, state: &State, target: &Target, hints: &Hints) -> Vec<State> {
        let pool = Pool { release: self.lens.release, now: self.lens.now };
        let mut children = Vec::new();
        let mut options: Vec<Vec<(u32, Edit)>> = Vec::new();
        for path in &target.paths {
            let others: Vec<Value> = target
                .paths
                .iter()
                .filter(|other| *other != path)
                .filter_map(|other| value_at(&state.document, other))
                .filter(|value| value.as_object().is_none() && value.as_array().is_none())
                .cloned()
                .collect();
            options.push(pool.edits(&state.document, path, hints, &others));
        }
        if target.relations {
            options.extend(self.tuples(state).into_iter().map(|edit| vec![(11, edit)]));
        }
        for edits in options {
            let mut steps = 0_usize;
            for (cost, edit) in edits {
                if self.looks >= self.bound || steps >= MAX_STEPS {
                    break;
                }
                let Some(child) = self.with(state, edit, cost) else { continue };
                if target.gone(&child.look) {
                    steps = steps.saturating_add(1);
                    children.push(child);
                }
            }
        }
        children
    }

    fn with(&mut self, state: &State, edit: Edit, cost: u32) -> Option<State> {
        let mut document = state.document.clone();
        if !edit.apply(&mut document) {
            return None;
        }
        let edits: Vec<Edit> = state.edits.iter().cloned().chain([edit]).collect();
        let look = self.evaluate(&document, &edits)?;
        Some(State { edits, cost: state.cost.saturating_add(cost), look, document })
    }

    fn evaluate(&mut self, document: &Value, edits: &[Edit]) -> Option<Look> {
        self.looks = self.looks.saturating_add(1);
        let altered = self.altered(edits).ok()?;
        Some(self.lens.look(document, altered.as_deref().or(self.facts)))
    }

    /// The facts with the changes of facts among these; none inside where there are none.
    fn altered(&self, edits: &[Edit]) -> Result<Option<Arc<dyn FactsView>>, ()> {
        let changes: Vec<FactEdit> = edits
            .iter()
            .filter_map(|edit| match edit {
                Edit::Fact(fact) => Some(fact.clone()),
                Edit::Set { .. } | Edit::Remove { .. } => None,
            })
            .collect();
        if changes.is_empty() {
            return Ok(None);
        }
        let alter = self.alter.ok_or(())?;
        alter(&changes).map(Some).map_err(drop)
    }

    fn targets(&self, look: &Look) -> Vec<Target> {
        let index = self.lens.index;
        if let Some(blocked) = &look.blocked {
            let paths = blocked.paths.iter().cloned().collect();
            let id = Way::Blocked(blocked.message.clone());
            return vec![Target { id, paths, hints: Hints::default(), relations: false }];
        }
        let relations = !look.relations.is_empty() && self.alter.is_some();
        let mut targets = Vec::new();
        for fired in &look.denies {
            let known = index.denies.get(&fired.at);
            let (mut paths, mut hints) = known
                .map(|deny| {
                    let texts: Vec<&str> =
                        deny.statements.iter().map(|statement| statement.text.as_str()).collect();
                    let inputs: Vec<Vec<String>> = deny.paths.iter().cloned().collect();
                    index.reach(&texts.join("\n"), &inputs)
                })
                .unwrap_or_default();
            if let Some(deny) = known {
                hints.join(&deny.hints);
            } else {
                paths.extend(index.denies.values().flat_map(|deny| deny.paths.iter().cloned()));
            }
            targets.push(Target { id: Way::Deny(fired.at.clone()), paths, hints, relations });
        }
        let mut seen = BTreeSet::new();
        for rule in look.nearest().into_iter().take(MAX_RULES) {
            for condition in rule.unmet() {
                if seen.insert(condition.key.clone()) {
                    let (paths, hints) = index.reach(&condition.text, &condition.inputs);
                    targets.push(Target {
                        id: Way::Condition(condition.key.clone()),
                        paths,
                        hints,
                        relations,
                    });
                }
            }
        }
        targets
    }

    /// Tuples that may matter: of relations that were asked for, and of the others on the same object.
    fn tuples(&self, state: &State) -> Vec<Edit> {
        let mut found = Vec::new();
        for ([subject, relation, object], holds) in &state.look.relations {
            if *holds {
                found.push(Edit::Fact(FactEdit::TupleRemoved(format!("{object}#{relation}@{subject}"))));
                continue;
            }
            let (Some(subject_ref), Some(object_ref)) = (reference(subject), reference(object)) else {
                continue;
            };
            let model = &self.lens.release.relations;
            let takes = Allowed::Type(subject_ref.kind);
            let mut names: Vec<&Name> = model
                .types
                .get(&object_ref.kind)
                .into_iter()
                .flatten()
                .filter(|(_, rewrite)| rewrite.takes(&takes))
                .map(|(name, _)| name)
                .collect();
            names.sort_by_key(|name| (name.as_str() != relation, name.as_str().to_owned()));
            found.extend(
                names
                    .into_iter()
                    .map(|name| Edit::Fact(FactEdit::TupleAdded(format!("{object}#{name}@{subject}")))),
            );
        }
        found.retain(|edit| !state.edits.contains(edit));
        found
    }

    /// Without what isn't needed, and decided again as `placet decide` does.
    fn smallest(&mut self, mut edits: Vec<Edit>) -> Option<Alternative> {
        let mut at = 0;
        while at < edits.len() && edits.len() > 1 {
            let mut fewer = edits.clone();
            fewer.remove(at);
            if self.permits(&fewer) {
                edits = fewer;
            } else {
                at = at.saturating_add(1);
            }
        }
        if !self.permits(&edits) {
            return None;
        }
        // Without an edit that was dropped, others may find another value before them.
        let mut document = self.document.clone();
        for edit in &mut edits {
            if let Edit::Set { path, was, .. } = edit {
                *was = value_at(&document, path).cloned();
            }
            let _done = edit.apply(&mut document);
        }
        let pool = Pool { release: self.lens.release, now: self.lens.now };
        let cost = edits.iter().fold(0_u32, |sum, edit| sum.saturating_add(pool.cost(edit)));
        Some(Alternative { edits, cost })
    }

    fn permits(&self, edits: &[Edit]) -> bool {
        let mut document = self.document.clone();
        if !edits.iter().all(|edit| edit.apply(&mut document)) {
            return false;
        }
        let Ok(altered) = self.altered(edits) else { return false };
        let facts = altered.as_deref().or(self.facts);
        self.lens.release.decide_document(&document, facts, Some(self.lens.now)).permits()
    }
}

fn reference(text: &str) -> Option<ResourceRef> {
    let (kind, id) = text.split_once(':')?;
    Some(ResourceRef { kind: Name::new(kind).ok()?, id: Name::new(id).ok()? })
}

/// What makes two states the same.
fn key(state: &State) -> String {
    let facts = state.edits.iter().filter(|edit| matches!(edit, Edit::Fact(_)));
    let mut facts: Vec<String> = facts.map(Edit::told).collect();
    facts.sort();
    format!("{}\n{}", state.document, facts.join("\n"))
}
