//! Arguments and their types.

use std::collections::{BTreeMap, BTreeSet};

use placet_core::{Decimal, MAX_SCALE, Name};
use placet_json::Value;
use toml::de::DeValue;

use crate::{
    Argument, DEFAULT_MAX_ITEMS, DEFAULT_MAX_LENGTH, Field, Pattern, Seal, Source, Type,
    read::{Item, Reader, Table},
};

/// How deep argument types may nest.
const MAX_NESTING: usize = 8;
/// The longest pattern, in bytes.
const MAX_PATTERN: usize = 1024;
/// The most arguments of a tool.
const MAX_ARGUMENTS: usize = 200;
/// Names at the top of the policy input that no attribute may take.
const RESERVED: &[&str] = &[
    "action",
    "intent",
    "tool",
    "args",
    "agent",
    "delegating_user",
    "chain",
    "workflow",
    "totals",
    "risk",
    "resource",
    "resources",
    "flow",
    "environment",
    "time",
];

pub(super) fn arguments(
    reader: &mut Reader<'_>,
    item: Item<'_, '_>,
    full: &str,
    seals: &mut BTreeMap<String, Seal>,
) -> BTreeMap<String, Argument> {
    let Some(table) = reader.table(item, format!("the arguments of `{full}`")) else {
        return BTreeMap::new();
    };
    let mut arguments = BTreeMap::new();
    let mut attributes = BTreeSet::new();
    for (name, at, item) in table.all() {
        if name.is_empty() || name.len() > 128 || name.chars().any(char::is_control) {
            reader.problem(at, "an argument's name has 1 to 128 bytes and no control characters", "");
            continue;
        }
        if let Some((argument, seal)) = argument(reader, name, item) {
            seals.extend(seal.map(|seal| (name.to_owned(), seal)));
            if let Argument::Given { attribute: Some(attribute), .. } = &argument
                && !attributes.insert(attribute.clone())
            {
                reader.problem(at, format!("two arguments are the attribute `{attribute}`"), "keep one");
            }
            arguments.insert(name.to_owned(), argument);
        }
    }
    if arguments.len() > MAX_ARGUMENTS {
        reader.problem(item.span().start, format!("`{full}` has more than {MAX_ARGUMENTS} arguments"), "");
    }
    arguments
}

fn argument(reader: &mut Reader<'_>, name: &str, item: Item<'_, '_>) -> Option<(Argument, Option<Seal>)> {
    let mut table = reader.table(item, format!("the argument `{name}`"))?;
    let seal = super::seal::seal(reader, &mut table);
    kind_of(reader, table).map(|argument| (argument, seal))
}

fn kind_of(reader: &mut Reader<'_>, mut table: Table<'_, '_>) -> Option<Argument> {
    let (bind, constant) = (table.get("bind"), table.get("const"));
    match (bind, constant) {
        (Some(item), Some(_)) => {
            reader.problem(
                item.span().start,
                format!("{} has both `bind` and `const`", table.what),
                "keep one",
            );
            None
        }
        (Some(item), None) => {
            reader.finish(&table);
            reader.parsed(item, "`bind`", Source::parse).map(Argument::Bound)
        }
        (None, Some(item)) => {
            reader.finish(&table);
            constant_value(reader, item).map(|value| Argument::Bound(Source::Constant(value)))
        }
        (None, None) => {
            let required = table.get("required").map_or(Some(true), |item| reader.truth(item, "`required`"));
            let attribute =
                table.get("attribute").map(|item| (item, reader.parsed(item, "`attribute`", Name::new)));
            let ty = ty(reader, &mut table, 0);
            reader.finish(&table);
            let ty = ty?;
            if let Some((item, Some(attribute))) = &attribute {
                if RESERVED.contains(&attribute.as_str()) {
                    reader.problem(
                        item.span().start,
                        format!("`{attribute}` is a name of the policy input itself"),
                        "choose another",
                    );
                }
                if matches!(ty, Type::List { .. } | Type::Object { .. }) {
                    reader.problem(
                        item.span().start,
                        "a list or an object can't be an attribute",
                        "policy reads it at `input.args`",
                    );
                }
            }
            Some(Argument::Given { ty, required: required?, attribute: attribute.and_then(|(_, name)| name) })
        }
    }
}

pub(super) fn constant_value(reader: &mut Reader<'_>, item: Item<'_, '_>) -> Option<Value> {
    let value = match item.get_ref() {
        DeValue::String(text) => Some(Value::from(text.as_ref())),
        DeValue::Boolean(truth) => Some(Value::from(*truth)),
        DeValue::Integer(number) => {
            Decimal::parse(number.as_str()).ok().filter(|_| number.radix() == 10).map(Decimal::to_value)
        }
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    };
    if value.is_none() {
        reader.problem(
            item.span().start,
            "`const` is neither a string nor a whole decimal number nor a truth value",
            "",
        );
    }
    value
}

pub(super) fn ty(reader: &mut Reader<'_>, table: &mut Table<'_, '_>, depth: usize) -> Option<Type> {
    if depth > MAX_NESTING {
        reader.problem(table.at.start, format!("types nest deeper than {MAX_NESTING}"), "");
        return None;
    }
    let kinds = "say `id`, `text`, `decimal`, `integer`, `boolean`, `enum`, `list` or `object`, or fill it by `bind` or `const`";
    let item = reader.required(table, "type", kinds)?;
    match reader.text(item, "`type`")? {
        "id" => Some(Type::Id { pattern: pattern(reader, table)? }),
        "text" => Some(Type::Text {
            pattern: pattern(reader, table)?,
            max_length: table
                .get("max_length")
                .map_or(Some(DEFAULT_MAX_LENGTH), |item| reader.count(item, "`max_length`"))?,
        }),
        "decimal" => {
            let (min, max) = range(reader, table)?;
            let scale = match table.get("scale") {
                None => None,
                Some(item) => {
                    match reader.count(item, "`scale`").and_then(|scale| u8::try_from(scale).ok()) {
                        Some(scale) if scale <= MAX_SCALE => Some(scale),
                        _ => {
                            reader.problem(item.span().start, format!("`scale` is at most {MAX_SCALE}"), "");
                            return None;
                        }
                    }
                }
            };
            Some(Type::Decimal { min, max, scale })
        }
        "integer" => {
            let (min, max) = range(reader, table)?;
            Some(Type::Integer { min, max })
        }
        "boolean" => Some(Type::Boolean),
        "enum" => {
            let item = reader.required(table, "values", "list the values")?;
            let values: BTreeSet<String> = reader
                .list(item, "`values`")
                .into_iter()
                .filter_map(|item| reader.text(item, "`values`"))
                .map(str::to_owned)
                .collect();
            if values.is_empty() {
                reader.problem(item.span().start, "`values` is empty", "list the values");
                return None;
            }
            Some(Type::Enum { values })
        }
        "list" => {
            let item = reader.required(
                table,
                "items",
                "say what each element is, as in `items = { type = \"id\" }`",
            )?;
            let mut items = reader.table(item, "`items`")?;
            let inner = ty(reader, &mut items, depth.saturating_add(1));
            reader.finish(&items);
            Some(Type::List {
                items: Box::new(inner?),
                max_items: table
                    .get("max_items")
                    .map_or(Some(DEFAULT_MAX_ITEMS), |item| reader.count(item, "`max_items`"))?,
            })
        }
        "object" => {
            let item = reader.required(table, "fields", "name its members")?;
            let fields = reader.table(item, "`fields`")?;
            let mut members = BTreeMap::new();
            for (name, _, item) in fields.all() {
                let mut member = reader.table(item, format!("the member `{name}`"))?;
                let required =
                    member.get("required").map_or(Some(true), |item| reader.truth(item, "`required`"));
                let inner = ty(reader, &mut member, depth.saturating_add(1));
                reader.finish(&member);
                members.insert(name.to_owned(), Field { ty: inner?, required: required? });
            }
            Some(Type::Object { fields: members })
        }
        other => {
            reader.problem(item.span().start, format!("there is no type `{other}`"), kinds);
            None
        }
    }
}

#[expect(clippy::option_option, reason = "outside: whether it could be read; inside: whether there is one")]
fn pattern(reader: &mut Reader<'_>, table: &mut Table<'_, '_>) -> Option<Option<Pattern>> {
    let Some(item) = table.get("pattern") else { return Some(None) };
    let compile = |text: &str| {
        if text.len() > MAX_PATTERN {
            Err(format!("longer than {MAX_PATTERN} bytes"))
        } else {
            Pattern::new(text)
        }
    };
    reader.parsed(item, "`pattern`", compile).map(Some)
}

fn range(reader: &mut Reader<'_>, table: &mut Table<'_, '_>) -> Option<(Option<Decimal>, Option<Decimal>)> {
    let mut bound = |name: &'static str| match table.get(name) {
        None => Some(None),
        Some(item) => match item.get_ref() {
            DeValue::Integer(number) => Decimal::parse(number.as_str()).ok().filter(|_| number.radix() == 10),
            DeValue::String(text) => Decimal::parse(text).ok(),
            DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => None,
        }
        .map_or_else(
            || {
                reader.problem(
                    item.span().start,
                    format!("`{name}` is not an exact number"),
                    "write it as a string, as in `\"0.01\"`",
                );
                None
            },
            |number| Some(Some(number)),
        ),
    };
    let (min, max) = (bound("min"), bound("max"));
    let (min, max) = (min?, max?);
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        reader.problem(table.at.start, format!("`min` {min} is above `max` {max}"), "nothing would fit");
        return None;
    }
    Some((min, max))
}
