//! What holds for every input that fits: inputs are generated from the schema, and a counterexample is made small.

use std::collections::BTreeMap;

use placet_core::{Decimal, FactsView, Reasons, Timestamp};
use placet_json::{Object, Value};
use serde::Deserialize;

use crate::{
    Release,
    contract::{Need, Record, Shape, check_value},
    explain::{
        hints::Index,
        look::Lens,
        pool::{look as value_at, put},
        search::Search,
    },
    yaml::Yaml,
};

/// Inputs that are generated unless the case says how many.
const RUNS: u32 = 200;
/// The most that a case may ask for.
const MAX_RUNS: u32 = 100_000;
/// Of so many inputs one is brought to a permit first, and then made to fit: there a rule that is too wide shows.
const GUIDED: u64 = 4;
/// Evaluations of one such search.
const MAX_LOOKS: u32 = 300;
/// Evaluations in making a counterexample small.
const MAX_SHRINKS: u32 = 2_000;

/// A property as it is written: a sentence, or what is given.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum PropertyCase {
    /// `for every PATH other than PATH`, `above N`, `below N`, `in A, B`; several joined by ` and `.
    Sentence(String),
    /// By path.
    Given(GivenFile),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GivenFile {
    given: BTreeMap<String, Yaml>,
    runs: Option<u32>,
}

/// What a generated input has at a path.
#[derive(Debug, Clone)]
enum Wants {
    In(Vec<Value>),
    OtherThan(Value),
    OtherThanAt(Vec<String>),
    Above(Decimal),
    Below(Decimal),
    Missing,
}

struct Given {
    path: Vec<String>,
    wants: Wants,
}

/// A property of a release.
pub(super) struct Property<'a> {
    pub(super) release: &'a Release,
    pub(super) case: &'a PropertyCase,
    pub(super) facts: Option<&'a dyn FactsView>,
    pub(super) at: Option<Timestamp>,
}

/// Whether a decision is as the case expects, and the decision in words.
type Judge<'j> = &'j dyn Fn(Option<&Reasons>) -> (bool, String);

impl Property<'_> {
    /// The number of inputs for which it held, or in words the smallest input for which it doesn't.
    pub(super) fn holds(&self, seed: u64, judge: Judge<'_>) -> Result<Result<u32, String>, String> {
        let now = self.at.ok_or("a property needs `at`")?;
        let (given, runs) = self.given()?;
        let index = Index::of(self.release);
        let maker = Maker { release: self.release, index: &index, now };
        let mut ran = 0_u32;
        for run in 0..runs {
            let mut random = Random(seed ^ u64::from(run).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut document = Value::Object(maker.record(&self.release.contract.root, &[], &mut random));
            maker.agree(&mut document, &mut random);
            if random.below(GUIDED) == 0 {
                self.guide(&maker, &mut document);
            }
            let made = given.iter().all(|given| maker.make(&mut document, given, &mut random));
            if !made || self.release.contract.check(&document).is_err() || !fits(&document, &given) {
                continue;
            }
            ran = ran.saturating_add(1);
            let (good, _) = self.judged(&document, now, judge);
            if !good {
                let small = self.shrunk(&maker, document, &given, now, judge);
                let (_, told) = self.judged(&small, now, judge);
                return Ok(Err(format!("{told}, with seed {seed} for {small}")));
            }
        }
        if ran == 0 {
            return Err("no input fits what is given".to_owned());
        }
        Ok(Ok(ran))
    }

    fn judged(&self, document: &Value, now: Timestamp, judge: Judge<'_>) -> (bool, String) {
        judge(self.release.decide_document(document, self.facts, Some(now)).denied.as_ref())
    }

    /// Brings an input to a permit, if that is near.
    fn guide(&self, maker: &Maker<'_>, document: &mut Value) {
        let lens = Lens { release: self.release, now: maker.now, index: maker.index };
        let look = lens.look(document, self.facts);
        if look.permits {
            return;
        }
        let start = document.clone();
        let mut search = Search::new(&lens, &start, self.facts, None);
        (search.bound, search.enough) = (MAX_LOOKS, 1);
        let (found, _) = search.run(look);
        for edit in found.first().into_iter().flat_map(|found| &found.edits) {
            let _done = edit.apply(document);
        }
    }

    /// Leaves out and simplifies what the failure doesn't need.
    fn shrunk(
        &self,
        maker: &Maker<'_>,
        document: Value,
        given: &[Given],
        now: Timestamp,
        judge: Judge<'_>,
    ) -> Value {
        let mut best = document;
        let mut tries = 0_u32;
        let mut smaller = true;
        while smaller && tries < MAX_SHRINKS {
            smaller = false;
            for next in maker.simpler(&best) {
                tries = tries.saturating_add(1);
                if tries >= MAX_SHRINKS {
                    break;
                }
                if self.release.contract.check(&next).is_ok()
                    && fits(&next, given)
                    && !self.judged(&next, now, judge).0
                {
                    best = next;
                    smaller = true;
                    break;
                }
            }
        }
        best
    }

    fn given(&self) -> Result<(Vec<Given>, u32), String> {
        match self.case {
            PropertyCase::Sentence(text) => Ok((sentence(text)?, RUNS)),
            PropertyCase::Given(file) => {
                let runs = file.runs.unwrap_or(RUNS);
                if runs == 0 || runs > MAX_RUNS {
                    return Err(format!("`runs` is between 1 and {MAX_RUNS}"));
                }
                let given = file.given.iter().map(|(path, wants)| {
                    let wants = wants_of(&wants.0).map_err(|why| format!("`given.{path}`: {why}"))?;
                    Ok(Given { path: steps(path), wants })
                });
                Ok((given.collect::<Result<Vec<_>, String>>()?, runs))
            }
        }
        .and_then(|(given, runs)| {
            for one in &given {
                let path: Vec<&str> = one.path.iter().map(String::as_str).collect();
                self.release.contract.knows(&path).map_err(|near| {
                    let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                    format!("the input has no `{}`{near}", one.path.join("."))
                })?;
            }
            Ok((given, runs))
        })
    }
}

fn steps(path: &str) -> Vec<String> {
    path.strip_prefix("input.").unwrap_or(path).split('.').map(str::to_owned).collect()
}

fn number(value: &Value) -> Result<Decimal, String> {
    value
        .as_number()
        .and_then(|number| Decimal::from_number(number).ok())
        .ok_or_else(|| format!("{value} is no exact decimal"))
}

fn wants_of(value: &Value) -> Result<Wants, String> {
    match value {
        Value::Array(items) if !items.is_empty() => Ok(Wants::In(items.clone())),
        Value::Object(object) => {
            let mut members = object.iter();
            match (members.next(), members.next()) {
                (Some(("other_than", value)), None) => Ok(other_than(value)),
                (Some(("above", value)), None) => number(value).map(Wants::Above),
                (Some(("below", value)), None) => number(value).map(Wants::Below),
                (Some(("missing", Value::Bool(true))), None) => Ok(Wants::Missing),
                _ => Err("say a value, a list of values, or one of `other_than`, `above`, `below`, `missing: true`".to_owned()),
            }
        }
        Value::Null | Value::Array(_) => Err("it can't be nothing".to_owned()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(Wants::In(vec![value.clone()])),
    }
}

/// A text with a dot is another path of the input.
fn other_than(value: &Value) -> Wants {
    match value.as_str().filter(|text| text.contains('.')) {
        Some(path) => Wants::OtherThanAt(steps(path)),
        None => Wants::OtherThan(value.clone()),
    }
}

/// `for every tenant other than the workflow's`.
fn sentence(text: &str) -> Result<Vec<Given>, String> {
    let bad = || {
        format!(
            "`{text}` isn't understood: write `for every PATH other than PATH`, `above N`, `below N` or `in A, B`"
        )
    };
    let rest = text.trim().strip_prefix("for every ").ok_or_else(bad)?;
    let mut all = Vec::new();
    for part in rest.split(" and ") {
        let part = part.trim().trim_start_matches("every ");
        let subject = |name: &str| {
            if name == "tenant" { steps("resource.tenant_id") } else { steps(name) }
        };
        let scalar = |text: &str| {
            placet_json::parse(text.as_bytes(), &placet_json::Limits::MESSAGE)
                .unwrap_or_else(|_| Value::from(text))
        };
        let given = if let Some((path, than)) = part.split_once(" other than ") {
            let path = subject(path.trim());
            let wants = match than.trim() {
                "the workflow's" => {
                    Wants::OtherThanAt(vec!["workflow".to_owned(), path.last().cloned().unwrap_or_default()])
                }
                other => other_than(&scalar(other)),
            };
            Given { path, wants }
        } else if let Some((path, than)) = part.split_once(" above ") {
            Given { path: subject(path.trim()), wants: Wants::Above(number(&scalar(than.trim()))?) }
        } else if let Some((path, than)) = part.split_once(" below ") {
            Given { path: subject(path.trim()), wants: Wants::Below(number(&scalar(than.trim()))?) }
        } else if let Some((path, of)) = part.split_once(" in ") {
            let values = of.split(',').map(|word| scalar(word.trim())).collect();
            Given { path: subject(path.trim()), wants: Wants::In(values) }
        } else {
            return Err(bad());
        };
        all.push(given);
    }
    Ok(all)
}

fn fits(document: &Value, given: &[Given]) -> bool {
    given.iter().all(|given| {
        let value = value_at(document, &given.path);
        let decimal = value.and_then(|value| number(value).ok());
        match &given.wants {
            Wants::In(values) => value.is_some_and(|value| values.iter().any(|one| same(one, value))),
            Wants::OtherThan(other) => value.is_some_and(|value| !same(value, other)),
            Wants::OtherThanAt(path) => match (value, value_at(document, path)) {
                (Some(value), Some(other)) => !same(value, other),
                (_, _) => false,
            },
            Wants::Above(bound) => decimal.is_some_and(|decimal| decimal > *bound),
            Wants::Below(bound) => decimal.is_some_and(|decimal| decimal < *bound),
            Wants::Missing => value.is_none(),
        }
    })
}

fn same(a: &Value, b: &Value) -> bool {
    match (number(a), number(b)) {
        (Ok(a), Ok(b)) => a == b,
        (_, _) => a == b,
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }
    fn pick<'t, T>(&mut self, of: &'t [T]) -> Option<&'t T> {
        let at = self.below(u64::try_from(of.len()).unwrap_or(1));
        of.get(usize::try_from(at).unwrap_or(0))
    }
}

/// Makes inputs.
struct Maker<'a> {
    release: &'a Release,
    index: &'a Index,
    now: Timestamp,
}

impl Maker<'_> {
    /// What must be there and what the gateway builds; of the rest what policies name, every other time.
    fn record(&self, record: &Record, path: &[&str], random: &mut Random) -> Object {
        let mut object = Object::new();
        for (name, field) in &record.fields {
            let there = match field.need {
                Need::Must | Need::Built => true,
                Need::May => self.index.all.names(name) && random.below(2) == 0,
            };
            // The moment is the case's; the second list of resources follows the first resource.
            if !there
                || (path.is_empty()
                    && matches!(name.as_str(), "time" | "resources" | "args" | "tool" | "chain"))
            {
                continue;
            }
            let path: Vec<&str> = path.iter().copied().chain([name.as_str()]).collect();
            if let Some(value) = self.value(&field.shape, &path, random) {
                object.insert(name.as_str(), value);
            }
        }
        object
    }

    fn value(&self, shape: &Shape, path: &[&str], random: &mut Random) -> Option<Value> {
        match shape {
            Shape::Record(record) => Some(Value::Object(self.record(record, path, random))),
            Shape::List(inner) => {
                let mut items = Vec::new();
                for _ in 0..random.below(3) {
                    items.extend(self.value(inner, path, random).filter(|item| !items.contains(item)));
                }
                Some(Value::Array(items))
            }
            Shape::Map(_) => Some(Value::Object(Object::new())),
            Shape::Text
            | Shape::Id
            | Shape::Time
            | Shape::Decimal(_)
            | Shape::Count
            | Shape::Bool
            | Shape::OneOf(_)
            | Shape::Any => random.pick(&self.values(shape, path)).cloned(),
        }
    }

    /// Values to draw from, the simplest first.
    fn values(&self, shape: &Shape, path: &[&str]) -> Vec<Value> {
        let texts = |of: &mut dyn Iterator<Item = String>| of.map(Value::from).collect::<Vec<_>>();
        let types = self.release.workflow_types().values();
        let catalog = self.release.catalog();
        let mut found = match (path, shape) {
            (["action"], _) => texts(&mut catalog.entries().map(|entry| entry.action().as_str().to_owned())),
            (["intent"], _) => {
                texts(&mut types.flat_map(|kind| kind.intents.iter().map(ToString::to_string)))
            }
            (["agent", "type"], _) => {
                texts(&mut types.flat_map(|kind| kind.agents.iter().map(ToString::to_string)))
            }
            (["workflow", "type"], _) => texts(&mut types.map(|kind| kind.name.to_string())),
            (["resource", "type"], _) => {
                texts(&mut types.flat_map(|kind| kind.binds.keys().map(ToString::to_string)))
            }
            (["delegating_user", "status"], _) => ["active", "active", "suspended"].map(Value::from).to_vec(),
            ([.., "status"], _) => ["approved", "pending"].map(Value::from).to_vec(),
            ([.., "tenant_id"], _) => ["acme", "acme", "acme", "globex"].map(Value::from).to_vec(),
            (_, Shape::OneOf(words)) => texts(&mut words.iter().cloned()),
            (_, Shape::Bool) => [false, true].map(Value::from).to_vec(),
            (_, Shape::Time) => {
                let later = [3_600_000, 86_400_000].map(|by| self.now.plus_millis(by));
                let earlier = Timestamp::from_millis(self.now.millis().saturating_sub(3_600_000));
                [later[0], later[1], earlier].map(|moment| Value::from(moment.to_string())).to_vec()
            }
            (_, Shape::Decimal(_) | Shape::Count) => {
                let one = Decimal::parse("1").unwrap_or(Decimal::ZERO);
                let around = self.index.all.numbers.iter().flat_map(|number| {
                    [number.checked_sub(one), Some(*number), number.checked_add(one)].into_iter().flatten()
                });
                let large = Decimal::parse("1000000").ok();
                let mut all: Vec<Decimal> = [Decimal::ZERO, one]
                    .into_iter()
                    .chain(around)
                    .chain(large)
                    .filter(|number| !number.is_negative())
                    .collect();
                all.sort_unstable();
                all.dedup();
                all.into_iter().map(Decimal::to_value).collect()
            }
            (_, Shape::Text | Shape::Id | Shape::Any) => {
                let known = self.index.all.texts.iter().map(|text| Value::from(text.as_str()));
                ["a", "b"].map(Value::from).into_iter().chain(known).collect()
            }
            (_, Shape::List(_) | Shape::Map(_) | Shape::Record(_)) => Vec::new(),
        };
        found.retain(|value| check_value(shape, value).is_ok());
        if found.is_empty() && check_value(shape, &Value::from("a")).is_ok() {
            found.push(Value::from("a"));
        }
        found
    }

    /// Mostly the resource is the one that the workflow is about.
    fn agree(&self, document: &mut Value, random: &mut Random) {
        if random.below(4) == 0 {
            return;
        }
        let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let (kind, resource, id) = (text("/workflow/type"), text("/resource/type"), text("/resource/id"));
        let (Some(resource), Some(id)) = (resource, id) else { return };
        if let Some(attribute) = self.release.binding(kind.as_deref(), &resource) {
            let attribute = attribute.as_str().to_owned();
            for of in ["workflow", "resource"] {
                if let Some(object) = document.get_mut(of).and_then(Value::as_object_mut)
                    && (of == "workflow"
                        || object.contains_key(&attribute)
                        || self.index.all.names(&attribute))
                {
                    object.insert(attribute.as_str(), id.as_str());
                }
            }
        }
    }

    /// Makes an input fit.
    fn make(&self, document: &mut Value, given: &Given, random: &mut Random) -> bool {
        let values = |than: Option<&Value>| {
            let mut shape = &Shape::Any;
            let mut record = Some(&self.release.contract.root);
            for step in &given.path {
                let Some(field) = record.and_then(|record| record.fields.get(step)) else { break };
                shape = &field.shape;
                record = if let Shape::Record(next) = shape { Some(next) } else { None };
            }
            let path: Vec<&str> = given.path.iter().map(String::as_str).collect();
            let mut all = self.values(shape, &path);
            all.extend(
                ["another", "others"]
                    .map(Value::from)
                    .into_iter()
                    .filter(|value| check_value(shape, value).is_ok()),
            );
            all.retain(|value| than.is_none_or(|than| !same(value, than)));
            all
        };
        let by = |bound: Decimal, signs: &[&str], add: bool| {
            let steps = signs.iter().filter_map(|step| Decimal::parse(step).ok());
            let moved =
                steps.filter_map(|step| if add { bound.checked_add(step) } else { bound.checked_sub(step) });
            moved.map(Decimal::to_value).collect::<Vec<_>>()
        };
        let options = match &given.wants {
            Wants::In(values) => values.clone(),
            Wants::OtherThan(than) => values(Some(than)),
            Wants::OtherThanAt(path) => values(value_at(document, path)),
            Wants::Above(bound) => by(*bound, &["0.01", "1", "50", "1000000"], true),
            Wants::Below(bound) => by(*bound, &["0.01", "1", "50"], false),
            Wants::Missing => {
                let Some((last, parents)) = given.path.split_last() else { return false };
                let parent = parents.iter().try_fold(document, |value, step| value.get_mut(step));
                if let Some(object) = parent.and_then(Value::as_object_mut) {
                    let _gone = object.remove(last);
                }
                return true;
            }
        };
        let value = random.pick(&options).cloned();
        value
            .and_then(|value| put(document, given.path.clone(), value))
            .is_some_and(|edit| edit.apply(document))
    }

    /// Inputs that are a step simpler: a member less, an element less, a value that comes earlier.
    fn simpler(&self, document: &Value) -> Vec<Value> {
        let mut all = Vec::new();
        self.simpler_at(&self.release.contract.root, document, &mut Vec::new(), &mut |path, value| {
            let mut next = document.clone();
            let done = match value {
                Some(value) => put(&next, path.to_vec(), value).is_some_and(|edit| edit.apply(&mut next)),
                None => {
                    let edit = value_at(&next, path)
                        .cloned()
                        .map(|was| crate::explain::Edit::Remove { path: path.to_vec(), was });
                    edit.is_some_and(|edit| edit.apply(&mut next))
                }
            };
            if done {
                all.push(next);
            }
        });
        all
    }

    fn simpler_at(
        &self,
        record: &Record,
        value: &Value,
        path: &mut Vec<String>,
        found: &mut dyn FnMut(&[String], Option<Value>),
    ) {
        for (name, member) in value.as_object().into_iter().flatten() {
            let Some(field) = record.fields.get(name) else { continue };
            path.push(name.to_owned());
            if field.need == Need::May || (field.need == Need::Built && self.release.cedar.is_none()) {
                found(path, None);
            }
            match (&field.shape, member) {
                (Shape::Record(inner), _) => self.simpler_at(inner, member, path, found),
                (Shape::List(_), Value::Array(items)) => {
                    for index in 0..items.len() {
                        path.push(index.to_string());
                        found(path, None);
                        path.pop();
                    }
                }
                (shape, member) => {
                    let steps: Vec<&str> = path.iter().map(String::as_str).collect();
                    let values = self.values(shape, &steps);
                    for value in values.into_iter().take_while(|value| !same(value, member)).take(3) {
                        found(path, Some(value));
                    }
                }
            }
            path.pop();
        }
    }
}
