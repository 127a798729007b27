//! The changes that are worth trying at a path: values that the contract admits there, the nearest first.

use std::collections::BTreeSet;

use placet_core::{Decimal, Timestamp};
use placet_json::{Object, Value, object};

use super::{
    edit::Edit,
    hints::{Hints, is_computed},
};
use crate::{
    Release,
    contract::{Need, Record, Shape, check_value},
};

/// Values tried at one path.
const MAX_VALUES: usize = 24;
/// Elements of a list, members of a map, that a computed step stands for.
const MAX_STEPS: usize = 6;
/// An hour and more, in milliseconds: what a time is moved by.
const MOVES: [u64; 4] = [3_600_000, 86_400_000, 2_592_000_000, 31_536_000_000];

/// What changes are made of.
pub(crate) struct Pool<'a> {
    pub(crate) release: &'a Release,
    pub(crate) now: Timestamp,
}

/// A place in a document where a value may stand.
struct Place<'s> {
    path: Vec<String>,
    shape: &'s Shape,
    need: Need,
}

impl Pool<'_> {
    /// The changes at a policy's path, each with what it costs. `others` are values that it may be compared with.
    pub(crate) fn edits(
        &self,
        document: &Value,
        path: &[String],
        hints: &Hints,
        others: &[Value],
    ) -> Vec<(u32, Edit)> {
        let root = &self.release.contract.root;
        let Some(first) = path.first().filter(|first| !matches!(first.as_str(), "action" | "time" | "tool"))
        else {
            return Vec::new();
        };
        let mut places = Vec::new();
        if let Some(field) = root.fields.get(first) {
            let place = Place { path: vec![first.clone()], shape: &field.shape, need: field.need };
            expand(document, place, path.get(1..).unwrap_or_default(), &mut places);
        }
        let mut edits = Vec::new();
        for place in &places {
            let base = cost(&place.path, self);
            let found = self.at(document, place, hints, others);
            edits.extend(found.into_iter().zip(0_u32..).map(|(edit, index)| {
                let removal = u32::from(matches!(edit, Edit::Remove { .. }));
                (base.saturating_add(index.min(5)).saturating_add(removal.saturating_mul(6)), edit)
            }));
        }
        edits
    }

    /// What a change costs that stands in the end.
    pub(crate) fn cost(&self, edit: &Edit) -> u32 {
        match edit {
            Edit::Set { path, .. } => cost(path, self),
            Edit::Remove { path, .. } => cost(path, self).saturating_add(6),
            Edit::Fact(_) => 11,
        }
    }

    fn at(&self, document: &Value, place: &Place<'_>, hints: &Hints, others: &[Value]) -> Vec<Edit> {
        let current = look(document, &place.path);
        let mut edits = Vec::new();
        if let [workflow, name, ..] = place.path.as_slice()
            && workflow == "workflow"
            && self.is_approval(name)
            && look(document, &[workflow.clone(), name.clone()]).is_none()
        {
            return self.approvals(document, place, hints, others);
        }
        match (place.shape, current) {
            (Shape::List(inner), Some(Value::Array(items))) => {
                for value in self.values(inner, None, hints, others) {
                    if !items.contains(&value) {
                        edits.extend(put(document, with(&place.path, "-"), value));
                    }
                }
                for (index, item) in items.iter().enumerate().take(MAX_STEPS) {
                    edits.push(Edit::Remove {
                        path: with(&place.path, &index.to_string()),
                        was: item.clone(),
                    });
                }
            }
            (shape, current) => {
                for value in self.values(shape, current, hints, others) {
                    edits.extend(put(document, place.path.clone(), value));
                }
            }
        }
        if let (Some(current), Need::May | Need::Built) = (current, place.need)
            && place.path.len() > 1
        {
            edits.push(Edit::Remove { path: place.path.clone(), was: current.clone() });
        }
        edits
    }

    fn is_approval(&self, name: &str) -> bool {
        let mut types = self.release.workflow_types().values();
        types.any(|kind| kind.approvals.keys().any(|approval| approval.as_str() == name))
    }

    /// A whole approval, given by each role that may; with a member of it as the policy wants it.
    fn approvals(&self, document: &Value, place: &Place<'_>, hints: &Hints, others: &[Value]) -> Vec<Edit> {
        let (Some(name), leaf) = (place.path.get(1), place.path.get(2)) else { return Vec::new() };
        let mut edits = Vec::new();
        for kind in self.release.workflow_types().values() {
            let Some((_, chain)) = kind.approvals.iter().find(|(approval, _)| approval.as_str() == name)
            else {
                continue;
            };
            let step = |(number, role): (usize, &placet_core::Name)| {
                Value::Object(
                    object! { "approver" => format!("approver-{}", number.saturating_add(1)), "role" => role.as_str() },
                )
            };
            let mut approval = object! {
                "status" => "approved",
                "approver" => "approver-1",
                "approver_role" => chain.steps.last().map_or("approver", |role| role.as_str()),
                "expires_at" => self.now.plus_millis(3_600_000).to_string(),
            };
            if chain.steps.len() > 1 {
                approval.insert("steps", chain.steps.iter().enumerate().map(step).collect::<Vec<_>>());
            }
            let path = vec!["workflow".to_owned(), name.clone()];
            edits.extend(put(document, path.clone(), Value::Object(approval.clone())));
            if let Some(leaf) = leaf {
                for value in self.values(place.shape, None, hints, others) {
                    let mut other = approval.clone();
                    other.insert(leaf.as_str(), value);
                    edits.extend(put(document, path.clone(), Value::Object(other)));
                }
            }
        }
        edits
    }

    /// Values of a shape, the nearest to the present one first.
    fn values(&self, shape: &Shape, current: Option<&Value>, hints: &Hints, others: &[Value]) -> Vec<Value> {
        let mut found: Vec<Value> = Vec::new();
        match shape {
            Shape::Decimal(_) | Shape::Count => found.extend(numbers(current, hints, others)),
            Shape::Bool => found.extend([true, false].map(Value::from)),
            Shape::OneOf(words) => found.extend(words.iter().map(|word| Value::from(word.as_str()))),
            Shape::Time => found.extend(self.times(hints, others)),
            Shape::Text | Shape::Id => {
                found.extend(others.iter().filter(|value| value.as_str().is_some()).cloned());
                found.extend(hints.texts.iter().map(|text| Value::from(text.as_str())));
            }
            Shape::List(inner) => {
                found.extend(
                    self.values(inner, None, hints, others)
                        .into_iter()
                        .map(|value| Value::Array(vec![value])),
                );
                found.push(Value::Array(Vec::new()));
            }
            Shape::Record(record) => {
                if current.is_none() {
                    found.push(Value::Object(self.filled(record, None)));
                }
            }
            Shape::Map(_) => {
                if current.is_none() {
                    found.push(Value::Object(Object::new()));
                }
            }
            Shape::Any => {
                found.extend(others.iter().cloned());
                found.extend(numbers(current, hints, others));
                found.extend(hints.texts.iter().map(|text| Value::from(text.as_str())));
                found.extend([true, false].map(Value::from));
            }
        }
        let mut seen: BTreeSet<String> = current.map(Value::to_string).into_iter().collect();
        found.retain(|value| check_value(shape, value).is_ok() && seen.insert(value.to_string()));
        found.truncate(MAX_VALUES);
        found
    }

    fn times(&self, hints: &Hints, others: &[Value]) -> Vec<Value> {
        let mut moments: Vec<Timestamp> = MOVES.iter().map(|by| self.now.plus_millis(*by)).collect();
        let texts = hints.texts.iter().map(String::as_str).chain(others.iter().filter_map(Value::as_str));
        for moment in texts.filter_map(|text| Timestamp::parse(text).ok()) {
            moments.extend([
                moment,
                moment.plus_millis(1000),
                Timestamp::from_millis(moment.millis().saturating_sub(1000)),
            ]);
        }
        moments.extend(
            MOVES.iter().take(2).map(|by| Timestamp::from_millis(self.now.millis().saturating_sub(*by))),
        );
        moments.into_iter().map(|moment| Value::from(moment.to_string())).collect()
    }

    /// An object with what the contract demands of it, and what the gateway always builds.
    fn filled(&self, record: &Record, depth: Option<u8>) -> Object {
        let Some(depth) = depth.unwrap_or(3).checked_sub(1) else { return Object::new() };
        let needed = record.fields.iter().filter(|(_, field)| field.need != Need::May);
        needed.map(|(name, field)| (name.clone(), self.default(&field.shape, depth))).collect()
    }

    fn default(&self, shape: &Shape, depth: u8) -> Value {
        match shape {
            Shape::Text | Shape::Id | Shape::Any => Value::from("some"),
            Shape::Time => Value::from(self.now.plus_millis(3_600_000).to_string()),
            Shape::Decimal(_) | Shape::Count => Value::from(0_i64),
            Shape::Bool => Value::from(false),
            Shape::OneOf(words) => Value::from(words.first().map_or("some", String::as_str)),
            Shape::List(_) => Value::Array(Vec::new()),
            Shape::Map(_) => Value::Object(Object::new()),
            Shape::Record(record) => Value::Object(self.filled(record, Some(depth))),
        }
    }
}

/// The places that a policy's path stands for in a document.
fn expand<'s>(document: &Value, place: Place<'s>, rest: &[String], found: &mut Vec<Place<'s>>) {
    let Some((step, rest)) = rest.split_first() else {
        found.push(place);
        return;
    };
    match place.shape {
        Shape::Record(record) => {
            if let Some(field) = record.fields.get(step) {
                let next = Place { path: with(&place.path, step), shape: &field.shape, need: field.need };
                expand(document, next, rest, found);
            } else if record.open && !is_computed(step) {
                found.push(Place { path: with(&place.path, step), shape: &Shape::Any, need: Need::May });
            }
        }
        // An element of a list: what is there, and one more.
        Shape::List(inner) => {
            if rest.is_empty() {
                found.push(place);
                return;
            }
            let items = look(document, &place.path).and_then(Value::as_array).unwrap_or_default();
            for index in 0..items.len().min(MAX_STEPS) {
                let next =
                    Place { path: with(&place.path, &index.to_string()), shape: inner, need: Need::Must };
                expand(document, next, rest, found);
            }
        }
        Shape::Map(inner) => {
            if is_computed(step) {
                let members = look(document, &place.path).and_then(Value::as_object);
                for name in members.into_iter().flat_map(Object::keys).take(MAX_STEPS) {
                    let next = Place { path: with(&place.path, name), shape: inner, need: Need::May };
                    expand(document, next, rest, found);
                }
            } else {
                let next = Place { path: with(&place.path, step), shape: inner, need: Need::May };
                expand(document, next, rest, found);
            }
        }
        Shape::Any => {
            if !is_computed(step) {
                let next = Place { path: with(&place.path, step), shape: &Shape::Any, need: Need::May };
                expand(document, next, rest, found);
            }
        }
        Shape::Text
        | Shape::Id
        | Shape::Time
        | Shape::Decimal(_)
        | Shape::Count
        | Shape::Bool
        | Shape::OneOf(_) => {}
    }
}

/// A value at a path, where what is above it may be missing: then that is added whole.
pub(crate) fn put(document: &Value, path: Vec<String>, mut value: Value) -> Option<Edit> {
    let mut path = path;
    while path.len() > 1 {
        let (last, parents) = path.split_last()?;
        if look(document, parents).is_some() {
            break;
        }
        if last == "-" || last.parse::<usize>().is_ok() {
            return None;
        }
        value = Value::Object(object! { last.as_str() => value });
        path.pop();
    }
    let was = look(document, &path).cloned();
    let mut mirrors = Vec::new();
    if let (Some(was), [name]) = (&was, path.as_slice())
        && document.get("args").and_then(|args| args.get(name)) == Some(was)
    {
        mirrors.push(vec!["args".to_owned(), name.clone()]);
    }
    if let Some((first, rest)) = path.split_first()
        && first == "resource"
        && document.get("resources").and_then(Value::as_array).and_then(<[Value]>::first)
            == document.get("resource")
    {
        let same = ["resources", "0"].into_iter().map(str::to_owned);
        mirrors.push(same.chain(rest.iter().cloned()).collect());
    }
    Some(Edit::Set { path, was, value, mirrors })
}

/// Numbers around those that are known, the nearest to the present one first.
fn numbers(current: Option<&Value>, hints: &Hints, others: &[Value]) -> Vec<Value> {
    let of = |value: &Value| value.as_number().and_then(|number| Decimal::from_number(number).ok());
    let known = others.iter().filter_map(of).chain(hints.numbers.iter().copied());
    let (one, cent) =
        (Decimal::parse("1").unwrap_or(Decimal::ZERO), Decimal::parse("0.01").unwrap_or(Decimal::ZERO));
    let mut all: BTreeSet<Decimal> = BTreeSet::new();
    for number in known {
        all.insert(number);
        for by in [one, cent] {
            all.extend(number.checked_add(by));
            all.extend(number.checked_sub(by));
        }
    }
    all.insert(Decimal::ZERO);
    all.insert(one);
    let mut all: Vec<Decimal> = all.into_iter().filter(|number| !number.is_negative()).collect();
    if let Some(current) = current.and_then(of) {
        let distance = |number: &Decimal| {
            let apart =
                if *number > current { number.checked_sub(current) } else { current.checked_sub(*number) };
            // Of the same distance the one with fewer digits.
            (apart.unwrap_or(Decimal::MAX), number.scale())
        };
        all.sort_by_key(distance);
    }
    all.into_iter().map(Decimal::to_value).collect()
}

/// What it means to people to make a change here: less for what the call itself says, more for who somebody is.
fn cost(path: &[String], pool: &Pool<'_>) -> u32 {
    let steps: Vec<&str> = path.iter().map(String::as_str).collect();
    match steps.as_slice() {
        ["workflow", name, ..] if pool.is_approval(name) => 10,
        ["workflow", "expires_at"] => 12,
        ["workflow", "tenant_id" | "id" | "owner", ..] => 40,
        ["delegating_user", "roles", ..] => 14,
        ["delegating_user", "status"] | ["workflow", ..] | ["intent"] => 20,
        ["resource" | "resources", ..] => 26,
        ["delegating_user" | "agent" | "flow" | "totals" | "chain", ..] => 40,
        ["args", ..] | [_] => 10,
        _ => 30,
    }
}

fn with(path: &[String], step: &str) -> Vec<String> {
    path.iter().cloned().chain([step.to_owned()]).collect()
}

/// The value at a path without computed steps.
pub(crate) fn look<'v>(document: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(document, |value, step| match value {
        Value::Object(object) => object.get(step),
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}
