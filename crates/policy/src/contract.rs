//! The policy input: one description that its schema, its checks, the policies' paths and Cedar's schema come from.

use std::collections::{BTreeMap, BTreeSet};

use placet_core::{Decimal, Name, Per, Timestamp};
use placet_json::{Object, Value, object};

use crate::finding::nearest;

/// What a value of the input may be.
#[derive(Debug, Clone)]
pub(crate) enum Shape {
    /// Any text.
    Text,
    /// A name in the alphabet of identifiers.
    Id,
    /// A moment, RFC 3339 in upper case.
    Time,
    /// An exact decimal; `true`: not below zero.
    Decimal(bool),
    /// A whole number from 0.
    Count,
    /// `true` or `false`.
    Bool,
    /// One of these words.
    OneOf(Vec<String>),
    /// A list.
    List(Box<Shape>),
    /// An object whose members all look alike.
    Map(Box<Shape>),
    /// An object with these members.
    Record(Record),
    /// Anything without null, and without a number that isn't an exact decimal.
    Any,
}

/// An object's members.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    pub(crate) fields: BTreeMap<String, Field>,
    /// Whether other members may stand beside these.
    pub(crate) open: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) need: Need,
    pub(crate) shape: Shape,
}

/// When a member is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// In every document.
    Must,
    /// Whenever the gateway builds it; Cedar relies on it, so a document for Cedar needs it too.
    Built,
    /// Sometimes.
    May,
}

/// The step of a policy's path that is computed: `input.args[name]`.
pub(crate) const COMPUTED: &str = "[";

/// What a release adds to the input.
#[derive(Debug, Clone, Default)]
pub(crate) struct Additions {
    /// Attributes that the catalog puts at the top level.
    pub(crate) attributes: BTreeMap<String, Shape>,
    /// Attributes of workflows; none means that the release describes no workflow type.
    pub(crate) workflow: Option<BTreeMap<String, Shape>>,
    /// Names of approvals.
    pub(crate) approvals: BTreeSet<Name>,
    /// The states that a workflow may be in; none means `open` and `closed`.
    pub(crate) states: BTreeSet<String>,
    /// Actions, where Cedar reads totals by their names.
    pub(crate) actions: BTreeSet<Name>,
    /// Attributes of resources; none means that they aren't described.
    pub(crate) resource: Option<BTreeMap<String, Shape>>,
}

/// The input that a release's policies read.
#[derive(Debug, Clone)]
pub(crate) struct Contract {
    pub(crate) root: Record,
}

impl Record {
    fn of(open: bool, fields: Vec<(&str, Need, Shape)>) -> Self {
        Self {
            open,
            fields: fields
                .into_iter()
                .map(|(name, need, shape)| (name.to_owned(), Field { need, shape }))
                .collect(),
        }
    }
}

fn list(shape: Shape) -> Shape {
    Shape::List(Box::new(shape))
}

impl Contract {
    /// The public contract and what a release adds to it. Names of the contract can't be changed by an addition.
    #[expect(clippy::too_many_lines, reason = "one table")]
    pub(crate) fn new(additions: &Additions) -> Self {
        use Need::{Built, May, Must};
        let total = || {
            Shape::Record(Record::of(
                false,
                vec![("count", Must, Shape::Count), ("amount", Built, Shape::Decimal(false))],
            ))
        };
        let step = || {
            let fields = vec![("approver", Must, Shape::Id), ("role", Must, Shape::Id)];
            Shape::Record(Record::of(false, fields))
        };
        // Totals by action. Cedar reads a member by its name only, and an action of an older release may be among them.
        let totals = || {
            if additions.actions.is_empty() {
                return Shape::Map(Box::new(total()));
            }
            let members = additions.actions.iter().map(|action| (action.as_str(), May, total()));
            Shape::Record(Record::of(true, members.collect()))
        };
        let approval = || {
            Shape::Record(Record::of(
                false,
                vec![
                    ("status", Must, Shape::Text),
                    ("approver", May, Shape::Id),
                    ("approver_role", May, Shape::Id),
                    ("expires_at", May, Shape::Time),
                    ("steps", May, list(step())),
                ],
            ))
        };
        let words = |words: &[&str]| Shape::OneOf(words.iter().map(|word| (*word).to_owned()).collect());
        let states = if additions.states.is_empty() {
            words(&["open", "closed"])
        } else {
            Shape::OneOf(additions.states.iter().cloned().collect())
        };
        let mut workflow = Record::of(
            additions.workflow.is_none(),
            vec![
                ("id", Built, Shape::Id),
                ("type", Built, Shape::Id),
                ("state", Built, states),
                ("tenant_id", Built, Shape::Id),
                ("owner", May, Shape::Id),
                ("expires_at", Built, Shape::Time),
                ("totals", May, totals()),
            ],
        );
        for (name, shape) in additions.workflow.iter().flatten() {
            workflow.fields.entry(name.clone()).or_insert(Field { need: May, shape: shape.clone() });
        }
        for name in &additions.approvals {
            workflow.fields.entry(name.as_str().to_owned()).or_insert(Field { need: May, shape: approval() });
        }
        let mut resource = Record::of(
            additions.resource.is_none(),
            vec![("type", Built, Shape::Id), ("id", Built, Shape::Id), ("tenant_id", Built, Shape::Id)],
        );
        for (name, shape) in additions.resource.iter().flatten() {
            resource.fields.entry(name.clone()).or_insert(Field { need: May, shape: shape.clone() });
        }
        let resource = Shape::Record(resource);
        let mut root = Record::of(
            false,
            vec![
                ("action", Must, Shape::Id),
                ("intent", Must, Shape::Id),
                ("amount", May, Shape::Decimal(true)),
                (
                    "tool",
                    May,
                    Shape::Record(Record::of(
                        false,
                        vec![
                            ("name", Built, Shape::Id),
                            ("upstream", Built, Shape::Id),
                            ("effect", Built, words(&["read", "write", "destructive"])),
                        ],
                    )),
                ),
                ("args", May, Shape::Map(Box::new(Shape::Any))),
                (
                    "agent",
                    Must,
                    Shape::Record(Record::of(
                        false,
                        vec![("id", Built, Shape::Id), ("type", Built, Shape::Id), ("owner", May, Shape::Id)],
                    )),
                ),
                (
                    "delegating_user",
                    Must,
                    Shape::Record(Record::of(
                        false,
                        vec![
                            ("id", Built, Shape::Id),
                            ("kind", May, Shape::Text),
                            ("status", Built, Shape::Text),
                            ("tenant_id", Built, Shape::Id),
                            ("roles", Built, list(Shape::Id)),
                            (
                                "signed_in",
                                May,
                                Shape::Record(Record::of(
                                    false,
                                    vec![
                                        ("provider", Built, Shape::Id),
                                        ("authenticated", Built, Shape::Time),
                                        ("acr", May, Shape::Text),
                                        ("amr", May, list(Shape::Text)),
                                    ],
                                )),
                            ),
                        ],
                    )),
                ),
                (
                    "chain",
                    May,
                    list(Shape::Record(Record::of(
                        false,
                        vec![("agent", Built, Shape::Id), ("scope", Built, list(Shape::Id))],
                    ))),
                ),
                ("workflow", Must, Shape::Record(workflow)),
                (
                    "totals",
                    May,
                    Shape::Record(Record::of(
                        false,
                        Per::DAYS.iter().map(|per| (per.as_str(), May, totals())).collect(),
                    )),
                ),
                (
                    "risk",
                    May,
                    Shape::Record(Record::of(
                        true,
                        vec![
                            ("agent", Built, Shape::Decimal(true)),
                            ("human", May, Shape::Decimal(true)),
                            ("workflow", Built, Shape::Decimal(true)),
                        ],
                    )),
                ),
                ("resource", Must, resource.clone()),
                ("resources", May, list(resource)),
                (
                    "flow",
                    May,
                    Shape::Record(Record::of(
                        true,
                        vec![("labels", Built, list(Shape::Id)), ("sources", Built, list(Shape::Id))],
                    )),
                ),
                ("environment", May, Shape::Text),
                ("time", May, Shape::Time),
            ],
        );
        for (name, shape) in &additions.attributes {
            root.fields.entry(name.clone()).or_insert(Field { need: May, shape: shape.clone() });
        }
        Self { root }
    }

    /// Checks a document; the error is the first offending path and what is wrong there.
    pub(crate) fn check(&self, document: &Value) -> Result<(), (String, String)> {
        let mut path = String::from("input");
        check_record(&self.root, document, &mut path).map_err(|message| (path, message))
    }

    /// Whether a path that a policy reads can be in a document. The error suggests another.
    pub(crate) fn knows(&self, path: &[&str]) -> Result<(), Option<String>> {
        let mut record = &self.root;
        let mut sofar = String::from("input");
        let mut steps = path.iter();
        while let Some(step) = steps.next() {
            let Some(field) = record.fields.get(*step) else {
                if record.open || *step == COMPUTED {
                    return Ok(());
                }
                let near = nearest(step, record.fields.keys().map(String::as_str));
                return Err(near.map(|near| format!("{sofar}.{near}")));
            };
            sofar.push('.');
            sofar.push_str(step);
            let mut shape = &field.shape;
            // A list's element and a map's member are read by a computed step, which takes one name of the path.
            while let Shape::List(inner) | Shape::Map(inner) = shape {
                if steps.next().is_none() {
                    return Ok(());
                }
                sofar.push_str("[_]");
                shape = inner;
            }
            match shape {
                Shape::Record(next) => record = next,
                Shape::Any => return Ok(()),
                Shape::Text
                | Shape::Id
                | Shape::Time
                | Shape::Decimal(_)
                | Shape::Count
                | Shape::Bool
                | Shape::OneOf(_)
                | Shape::List(_)
                | Shape::Map(_) => {
                    return if steps.next().is_none() { Ok(()) } else { Err(Some(sofar)) };
                }
            }
        }
        Ok(())
    }

    /// The paths whose value is a number by the contract, so that nothing else ever reaches a comparison.
    pub(crate) fn decimals(&self) -> BTreeSet<String> {
        self.paths(&|shape| matches!(shape, Shape::Decimal(true) | Shape::Count))
    }

    /// The paths whose value is a moment by the contract.
    pub(crate) fn times(&self) -> BTreeSet<String> {
        self.paths(&|shape| matches!(shape, Shape::Time))
    }

    /// The paths of the values of a shape, through records.
    fn paths(&self, of: &dyn Fn(&Shape) -> bool) -> BTreeSet<String> {
        fn collect(record: &Record, path: &str, of: &dyn Fn(&Shape) -> bool, found: &mut BTreeSet<String>) {
            for (name, field) in &record.fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                if of(&field.shape) {
                    found.insert(path);
                } else if let Shape::Record(record) = &field.shape {
                    collect(record, &path, of, found);
                }
            }
        }
        let mut found = BTreeSet::new();
        collect(&self.root, "", of, &mut found);
        found
    }

    /// What Cedar needs and the document lacks, by path.
    pub(crate) fn missing_built(&self, document: &Value) -> Option<String> {
        missing_built(&self.root, document).map(|path| format!("input.{path}"))
    }

    /// The JSON Schema (draft 2020-12) of the document.
    pub(crate) fn schema(&self) -> Value {
        let mut schema = object! {
            "$schema" => "https://json-schema.org/draft/2020-12/schema",
            "title" => "The policy input of Placet",
        };
        if let Value::Object(root) = schema_of_record(&self.root) {
            for (name, value) in root {
                schema.insert(name, value);
            }
        }
        Value::Object(schema)
    }
}

/// The JSON Schema of the policy input as every release shares it.
#[must_use]
pub fn input_schema() -> Value {
    Contract::new(&Additions::default()).schema()
}

fn check_record(record: &Record, value: &Value, path: &mut String) -> Result<(), String> {
    let Value::Object(object) = value else {
        return Err(wrong("an object", value));
    };
    for (name, member) in object {
        let Some(field) = record.fields.get(name) else {
            push(path, name);
            if !record.open {
                let known = record.fields.keys().map(String::as_str);
                let near =
                    nearest(name, known).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                return Err(format!("there is no such member{near}"));
            }
            check_shape(&Shape::Any, member, path)?;
            pop(path);
            continue;
        };
        push(path, name);
        check_shape(&field.shape, member, path)?;
        pop(path);
    }
    for (name, field) in &record.fields {
        if field.need == Need::Must && !object.contains_key(name) {
            push(path, name);
            return Err("it is missing".to_owned());
        }
    }
    Ok(())
}

/// Checks one value; the error says what is wrong, and below the value where.
pub(crate) fn check_value(shape: &Shape, value: &Value) -> Result<(), String> {
    let mut path = String::new();
    check_shape(shape, value, &mut path)
        .map_err(|message| if path.is_empty() { message } else { format!("{message} at {path}") })
}

/// An error leaves the path at the offending place.
fn check_shape(shape: &Shape, value: &Value, path: &mut String) -> Result<(), String> {
    match shape {
        Shape::Record(record) => check_record(record, value, path),
        Shape::List(inner) => {
            let items = value.as_array().ok_or_else(|| wrong("a list", value))?;
            for (index, item) in items.iter().enumerate() {
                push(path, &index.to_string());
                check_shape(inner, item, path)?;
                pop(path);
            }
            Ok(())
        }
        Shape::Map(inner) => {
            let object = value.as_object().ok_or_else(|| wrong("an object", value))?;
            for (name, member) in object {
                push(path, name);
                check_shape(inner, member, path)?;
                pop(path);
            }
            Ok(())
        }
        Shape::Any => match value {
            Value::Null => Err("null can't decide anything".to_owned()),
            Value::Number(_) => check_shape(&Shape::Decimal(false), value, path),
            Value::Array(_) => check_shape(&list(Shape::Any), value, path),
            Value::Object(_) => check_shape(&Shape::Map(Box::new(Shape::Any)), value, path),
            Value::Bool(_) | Value::String(_) => Ok(()),
        },
        Shape::Text => value.as_str().map(drop).ok_or_else(|| wrong("a text", value)),
        Shape::Id => {
            let text = value.as_str().ok_or_else(|| wrong("a name", value))?;
            Name::new(text).map(drop).map_err(|error| error.to_string())
        }
        Shape::Time => {
            let text = value.as_str().ok_or_else(|| wrong("a moment", value))?;
            Timestamp::parse(text).map(drop).map_err(|error| error.to_string())
        }
        Shape::Decimal(positive) => {
            let Value::Number(number) = value else {
                return Err(wrong("a number", value));
            };
            match Decimal::from_number(number) {
                Ok(decimal) if *positive && decimal.is_negative() => Err("it is below zero".to_owned()),
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            }
        }
        Shape::Count => value.as_u64().map(drop).ok_or_else(|| wrong("a whole number from 0", value)),
        Shape::Bool => value.as_bool().map(drop).ok_or_else(|| wrong("true or false", value)),
        Shape::OneOf(words) => match value.as_str() {
            Some(word) if words.iter().any(|known| known == word) => Ok(()),
            Some(_) | None => Err(format!("expected one of {}", words.join(", "))),
        },
    }
}

fn wrong(expected: &str, value: &Value) -> String {
    let got = match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    format!("expected {expected}, found {got}")
}

fn push(path: &mut String, name: &str) {
    path.push('.');
    // A hostile name must not make a message unreadable.
    path.extend(name.chars().filter(|c| !c.is_control() && *c != '.').take(64));
}

fn pop(path: &mut String) {
    if let Some(dot) = path.rfind('.') {
        path.truncate(dot);
    }
}

fn missing_built(record: &Record, value: &Value) -> Option<String> {
    record.fields.iter().find_map(|(name, field)| match (value.get(name), &field.shape) {
        (None, _) if field.need != Need::May => Some(name.clone()),
        (Some(member), Shape::Record(inner)) => {
            missing_built(inner, member).map(|path| format!("{name}.{path}"))
        }
        (None | Some(_), _) => None,
    })
}

fn schema_of_record(record: &Record) -> Value {
    let properties: Object =
        record.fields.iter().map(|(name, field)| (name.clone(), schema_of(&field.shape))).collect();
    let required: Vec<Value> = record
        .fields
        .iter()
        .filter(|(_, field)| field.need == Need::Must)
        .map(|(name, _)| Value::from(name.as_str()))
        .collect();
    let mut schema = object! { "type" => "object", "properties" => properties };
    if !required.is_empty() {
        schema.insert("required", required);
    }
    if record.open {
        schema.insert("additionalProperties", schema_of(&Shape::Any));
    } else {
        schema.insert("additionalProperties", false);
    }
    Value::Object(schema)
}

fn schema_of(shape: &Shape) -> Value {
    Value::Object(match shape {
        Shape::Text => object! { "type" => "string" },
        Shape::Id => object! { "type" => "string", "pattern" => "^[A-Za-z0-9._:@|/-]{1,128}$" },
        Shape::Time => {
            object! { "type" => "string", "format" => "date-time", "pattern" => "^[0-9-]{10}T[0-9:.]{8,}(Z|[+-][0-9]{2}:[0-9]{2})$" }
        }
        Shape::Decimal(positive) => {
            let mut schema = object! { "type" => "number", "description" => "an exact decimal: at most 15 digits, 4 of them after the point" };
            if *positive {
                schema.insert("minimum", 0_i64);
            }
            schema
        }
        Shape::Count => object! { "type" => "integer", "minimum" => 0_i64 },
        Shape::Bool => object! { "type" => "boolean" },
        Shape::OneOf(words) => {
            object! { "enum" => words.iter().map(|word| Value::from(word.as_str())).collect::<Vec<_>>() }
        }
        Shape::List(inner) => object! { "type" => "array", "items" => schema_of(inner) },
        Shape::Map(inner) => object! { "type" => "object", "additionalProperties" => schema_of(inner) },
        Shape::Record(record) => return schema_of_record(record),
        Shape::Any => {
            object! { "type" => vec![Value::from("string"), Value::from("number"), Value::from("boolean"), Value::from("array"), Value::from("object")] }
        }
    })
}

#[cfg(test)]
mod tests {
    use placet_json::{Limits, parse};

    use super::*;

    fn check(text: &str) -> Result<(), (String, String)> {
        Contract::new(&Additions::default()).check(&parse(text.as_bytes(), &Limits::MESSAGE).unwrap())
    }
    fn with_amount(amount: &str) -> String {
        format!(
            r#"{{"action":"a","intent":"i","agent":{{}},"delegating_user":{{}},"workflow":{{}},"resource":{{}},"amount":{amount}}}"#
        )
    }

    #[test]
    fn arg_3_an_amount_is_a_non_negative_exact_decimal_or_nothing() {
        for good in ["0", "-0", "80", "100.0000", "1e2", "99.99"] {
            assert_eq!(check(&with_amount(good)), Ok(()), "{good}");
        }
        for bad in [
            "null",
            "false",
            "true",
            "-5",
            "-0.01",
            "\"80\"",
            "[80]",
            "9007199254740993",
            "100.00000000000000001",
        ] {
            let (path, _) = check(&with_amount(bad)).expect_err(bad);
            assert_eq!(path, "input.amount", "{bad}");
        }
    }

    #[test]
    fn the_error_names_the_path() {
        let of = |text: &str| check(text).unwrap_err().0;
        assert_eq!(of("[]"), "input");
        assert_eq!(of(r#"{"action":"a"}"#), "input.agent");
        assert_eq!(
            of(&with_amount("1")
                .replace(r#""workflow":{}"#, r#""workflow":{"expires_at":"2026-01-01 00:00:00Z"}"#)),
            "input.workflow.expires_at"
        );
        assert_eq!(
            of(&with_amount("1").replace(r#""resource":{}"#, r#""resource":{"case":{"x":[1,null]}}"#)),
            "input.resource.case.x.1"
        );
        assert_eq!(of(&with_amount("1").replace(r#""amount""#, r#""amuont""#)), "input.amuont");
    }

    #[test]
    fn paths_that_no_document_can_hold_are_known_with_a_suggestion() {
        let contract = Contract::new(&Additions { workflow: Some(BTreeMap::new()), ..Additions::default() });
        assert_eq!(contract.knows(&["workflow", "expires_at"]), Ok(()));
        assert_eq!(
            contract.knows(&["workflow", "expired_at"]),
            Err(Some("input.workflow.expires_at".to_owned()))
        );
        assert_eq!(contract.knows(&["args", "anything", "at", "all"]), Ok(()));
        assert_eq!(contract.knows(&["chain", "0", "agnet"]), Err(Some("input.chain[_].agent".to_owned())));
        assert_eq!(contract.knows(&["action", "name"]), Err(Some("input.action".to_owned())));
        assert_eq!(contract.knows(&["zzzzzzzzz"]), Err(None));
    }
}
