//! From `catalog/*.toml` to a [`Catalog`].

use std::collections::{BTreeMap, BTreeSet};

use placet_core::{Decimal, Digest, EffectClass, MAX_SCALE, Name};
use placet_json::Value;
use toml::de::{DeTable, DeValue};

use crate::{
    Argument, Catalog, Credential, DEFAULT_MAX_ITEMS, DEFAULT_MAX_LENGTH, Entry, Field, Guard, IdFrom, Owner, Path, Pattern, Problem, ResourceFrom, Source, Type,
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
    "action", "intent", "tool", "args", "agent", "delegating_user", "chain", "workflow", "totals", "risk", "resource", "resources", "flow", "environment", "time",
];

pub(crate) fn catalog(files: &[(String, String)]) -> Result<Catalog, Vec<Problem>> {
    let mut catalog = Catalog::default();
    let mut problems = Vec::new();
    for (file, text) in files {
        let mut reader = Reader::new(file, text);
        one_file(&mut reader, text, &mut catalog);
        problems.append(&mut reader.problems);
    }
    if problems.is_empty() { Ok(catalog) } else { Err(problems) }
}

fn one_file(reader: &mut Reader<'_>, text: &str, catalog: &mut Catalog) {
    let root = match DeTable::parse(text) {
        Ok(root) => root,
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            return reader.problem(at, format!("not TOML: {}", error.message().replace('\n', ", ")), "");
        }
    };
    let mut root = Table::root(&root);
    if let Some(tools) = root.get("tool").and_then(|item| reader.table(item, "`tool`")) {
        for (name, at, item) in tools.all() {
            if let Some(entry) = entry(reader, name, at, item)
                && !catalog.insert(entry)
            {
                reader.problem(at, format!("`{name}` stands in another file already"), "keep one of them");
            }
        }
    }
    reader.finish(&root);
}

fn entry(reader: &mut Reader<'_>, full: &str, at: usize, item: Item<'_, '_>) -> Option<Entry> {
    let names = tool_name(reader, full, at);
    let mut table = reader.table(item, format!("`{full}`"))?;
    let names = names?;
    let before = reader.problems.len();

    let action = reader.required(&mut table, "action", "name the action that policy decides on").and_then(|item| reader.parsed(item, "`action`", Name::new));
    let effect = reader.required(&mut table, "effect", "say `read`, `write` or `destructive`").and_then(|item| reader.parsed(item, "`effect`", effect));
    let credential = reader
        .required(&mut table, "credential", "say `vault:NAME`, `call-token`, `process` or `none`")
        .and_then(|item| reader.parsed(item, "`credential`", credential));
    let accepts = match table.get("accepts") {
        None => BTreeSet::new(),
        Some(item) => {
            let digest = |text: &str| Digest::parse(text).ok_or("not `sha256:` and 64 lower-case hex digits");
            reader.list(item, "`accepts`").into_iter().filter_map(|item| reader.parsed(item, "`accepts`", digest)).collect()
        }
    };
    let arguments = match table.get("args") {
        None => BTreeMap::new(),
        Some(item) => arguments(reader, item, full),
    };
    let mut resources = Vec::new();
    if let Some(item) = reader.required(&mut table, "resource", "name what the call is about, as in `{ type = \"support_case\", id = \"$args.case_id\" }`") {
        resources.extend(resource(reader, item, &arguments));
    }
    if let Some(item) = table.get("resources") {
        for item in reader.list(item, "`resources`") {
            resources.extend(resource(reader, item, &arguments));
        }
    }
    let (guard, whole, fields) = match table.get("result") {
        None => (None, BTreeSet::new(), BTreeMap::new()),
        Some(item) => result(reader, item, full),
    };
    reader.finish(&table);
    if reader.problems.len() > before {
        return None;
    }
    let labels = whole.iter().chain(fields.values().flatten()).cloned().collect();
    let (name, upstream, tool) = names;
    Some(Entry {
        name,
        upstream,
        tool,
        action: action?,
        effect: effect?,
        resources,
        credential: credential?,
        accepts,
        arguments,
        guard,
        whole,
        fields,
        labels,
    })
}

/// `upstream.tool`; the upstream is what stands before the first point, so a name has one reading.
fn tool_name(reader: &mut Reader<'_>, full: &str, at: usize) -> Option<(Name, Name, String)> {
    let Some((upstream, tool)) = full.split_once('.').filter(|(upstream, tool)| !upstream.is_empty() && !tool.is_empty()) else {
        reader.problem(at, format!("`{full}` doesn't name upstream and tool"), "write `[tool.\"upstream.tool\"]`, in quotation marks");
        return None;
    };
    if !upstream.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        reader.problem(at, format!("the upstream `{upstream}` has other characters than `a-z 0-9 -`"), "rename the upstream");
        return None;
    }
    match (Name::new(full), Name::new(upstream)) {
        (Ok(name), Ok(upstream)) => Some((name, upstream, tool.to_owned())),
        (Err(error), _) | (_, Err(error)) => {
            reader.problem(at, format!("`{full}`: {error}"), "each tool is named; there is no wildcard");
            None
        }
    }
}

fn effect(text: &str) -> Result<EffectClass, &'static str> {
    match text {
        "read" => Ok(EffectClass::Read),
        "write" => Ok(EffectClass::Write),
        "destructive" => Ok(EffectClass::Destructive),
        _ => Err("none of `read`, `write`, `destructive`"),
    }
}

fn credential(text: &str) -> Result<Credential, String> {
    match text {
        "call-token" => Ok(Credential::CallToken),
        "process" => Ok(Credential::Process),
        "none" => Ok(Credential::None),
        other => match other.strip_prefix("vault:") {
            Some(name) => Name::new(name).map(Credential::Vault).map_err(|error| error.to_string()),
            None => Err(format!("`{other}` is none of `vault:NAME`, `call-token`, `process`, `none`")),
        },
    }
}

fn arguments(reader: &mut Reader<'_>, item: Item<'_, '_>, full: &str) -> BTreeMap<String, Argument> {
    let Some(table) = reader.table(item, format!("the arguments of `{full}`")) else { return BTreeMap::new() };
    let mut arguments = BTreeMap::new();
    let mut attributes = BTreeSet::new();
    for (name, at, item) in table.all() {
        if name.is_empty() || name.len() > 128 || name.chars().any(char::is_control) {
            reader.problem(at, "an argument's name has 1 to 128 bytes and no control characters", "");
            continue;
        }
        if let Some(argument) = argument(reader, name, item) {
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

fn argument(reader: &mut Reader<'_>, name: &str, item: Item<'_, '_>) -> Option<Argument> {
    let mut table = reader.table(item, format!("the argument `{name}`"))?;
    let (bind, constant) = (table.get("bind"), table.get("const"));
    match (bind, constant) {
        (Some(item), Some(_)) => {
            reader.problem(item.span().start, format!("{} has both `bind` and `const`", table.what), "keep one");
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
            let attribute = table.get("attribute").map(|item| (item, reader.parsed(item, "`attribute`", Name::new)));
            let ty = ty(reader, &mut table, 0);
            reader.finish(&table);
            let ty = ty?;
            if let Some((item, Some(attribute))) = &attribute {
                if RESERVED.contains(&attribute.as_str()) {
                    reader.problem(item.span().start, format!("`{attribute}` is a name of the policy input itself"), "choose another");
                }
                if matches!(ty, Type::List { .. } | Type::Object { .. }) {
                    reader.problem(item.span().start, "a list or an object can't be an attribute", "policy reads it at `input.args`");
                }
            }
            Some(Argument::Given { ty, required: required?, attribute: attribute.and_then(|(_, name)| name) })
        }
    }
}

fn constant_value(reader: &mut Reader<'_>, item: Item<'_, '_>) -> Option<Value> {
    let value = match item.get_ref() {
        DeValue::String(text) => Some(Value::from(text.as_ref())),
        DeValue::Boolean(truth) => Some(Value::from(*truth)),
        DeValue::Integer(number) => Decimal::parse(number.as_str()).ok().filter(|_| number.radix() == 10).map(Decimal::to_value),
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    };
    if value.is_none() {
        reader.problem(item.span().start, "`const` is neither a string nor a whole decimal number nor a truth value", "");
    }
    value
}

fn ty(reader: &mut Reader<'_>, table: &mut Table<'_, '_>, depth: usize) -> Option<Type> {
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
            max_length: table.get("max_length").map_or(Some(DEFAULT_MAX_LENGTH), |item| reader.count(item, "`max_length`"))?,
        }),
        "decimal" => {
            let (min, max) = range(reader, table)?;
            let scale = match table.get("scale") {
                None => None,
                Some(item) => match reader.count(item, "`scale`").and_then(|scale| u8::try_from(scale).ok()) {
                    Some(scale) if scale <= MAX_SCALE => Some(scale),
                    _ => {
                        reader.problem(item.span().start, format!("`scale` is at most {MAX_SCALE}"), "");
                        return None;
                    }
                },
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
            let values: BTreeSet<String> =
                reader.list(item, "`values`").into_iter().filter_map(|item| reader.text(item, "`values`")).map(str::to_owned).collect();
            if values.is_empty() {
                reader.problem(item.span().start, "`values` is empty", "list the values");
                return None;
            }
            Some(Type::Enum { values })
        }
        "list" => {
            let item = reader.required(table, "items", "say what each element is, as in `items = { type = \"id\" }`")?;
            let mut items = reader.table(item, "`items`")?;
            let inner = ty(reader, &mut items, depth.saturating_add(1));
            reader.finish(&items);
            Some(Type::List {
                items: Box::new(inner?),
                max_items: table.get("max_items").map_or(Some(DEFAULT_MAX_ITEMS), |item| reader.count(item, "`max_items`"))?,
            })
        }
        "object" => {
            let item = reader.required(table, "fields", "name its members")?;
            let fields = reader.table(item, "`fields`")?;
            let mut members = BTreeMap::new();
            for (name, _, item) in fields.all() {
                let mut member = reader.table(item, format!("the member `{name}`"))?;
                let required = member.get("required").map_or(Some(true), |item| reader.truth(item, "`required`"));
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
    let compile = |text: &str| if text.len() > MAX_PATTERN { Err(format!("longer than {MAX_PATTERN} bytes")) } else { Pattern::new(text) };
    reader.parsed(item, "`pattern`", compile).map(Some)
}

fn range(reader: &mut Reader<'_>, table: &mut Table<'_, '_>) -> Option<(Option<Decimal>, Option<Decimal>)> {
    let mut bound = |name: &'static str| match table.get(name) {
        None => Some(None),
        Some(item) => match item.get_ref() {
            DeValue::Integer(number) => Decimal::parse(number.as_str()).ok().filter(|_| number.radix() == 10),
            DeValue::String(text) => Decimal::parse(text).ok(),
            DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
        }
        .map_or_else(
            || {
                reader.problem(item.span().start, format!("`{name}` is not an exact number"), "write it as a string, as in `\"0.01\"`");
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

fn resource(reader: &mut Reader<'_>, item: Item<'_, '_>, arguments: &BTreeMap<String, Argument>) -> Option<ResourceFrom> {
    let mut table = reader.table(item, "`resource`")?;
    let kind = reader.required(&mut table, "type", "name its type").and_then(|item| reader.parsed(item, "`type`", Name::new));
    let id = reader.required(&mut table, "id", "say which, as in `$args.case_id`").and_then(|item| {
        let text = reader.text(item, "`id`")?;
        match id_from(text, arguments) {
            Ok(id) => Some(id),
            Err((message, remedy)) => {
                reader.problem(item.span().start, message, remedy);
                None
            }
        }
    });
    reader.finish(&table);
    Some(ResourceFrom { kind: kind?, id: id? })
}

fn id_from(text: &str, arguments: &BTreeMap<String, Argument>) -> Result<IdFrom, (String, &'static str)> {
    if let Some(name) = text.strip_prefix("$args.") {
        return match arguments.get(name) {
            None => Err((format!("there is no argument `{name}`"), "declare it under `args`")),
            Some(Argument::Given { required: false, .. }) => Err((format!("the argument `{name}` may be missing, and with it the resource"), "make it required")),
            Some(Argument::Given { ty: Type::Id { .. } | Type::Text { .. } | Type::Enum { .. }, .. }) => Ok(IdFrom::Argument(name.to_owned())),
            Some(Argument::Given { ty, .. }) => Err((format!("a {} can't name a resource", ty.name()), "use an argument of type `id`")),
            Some(Argument::Bound(source)) if source.needs_resource() => {
                Err((format!("the argument `{name}` comes from the resource that it would name"), "bind it to the workflow or let the agent give it"))
            }
            Some(Argument::Bound(_)) => Ok(IdFrom::Argument(name.to_owned())),
        };
    }
    if text.starts_with('$') {
        let source = Source::parse(text).map_err(|error| (error, ""))?;
        if source.needs_resource() {
            return Err(("a resource can't be named by itself".to_owned(), "name an argument or the workflow"));
        }
        return Ok(IdFrom::Source(source));
    }
    match Name::new(text) {
        Ok(name) => Ok(IdFrom::Source(Source::Constant(Value::from(name.as_str())))),
        Err(error) => Err((format!("`{text}`: {error}"), "")),
    }
}

type ResultParts = (Option<Guard>, BTreeSet<Name>, BTreeMap<Path, BTreeSet<Name>>);

fn result(reader: &mut Reader<'_>, item: Item<'_, '_>, full: &str) -> ResultParts {
    let Some(mut table) = reader.table(item, format!("the result of `{full}`")) else { return (None, BTreeSet::new(), BTreeMap::new()) };
    let labels = table.get("labels").map_or_else(BTreeSet::new, |item| labels(reader, item));
    let mut fields = BTreeMap::new();
    if let Some(of) = table.get("fields").and_then(|item| reader.table(item, "`fields`")) {
        for (path, at, item) in of.all() {
            match path.parse::<Path>() {
                Ok(path) => {
                    fields.insert(path, labels_of(reader, item));
                }
                Err(error) => reader.problem(at, error.to_string(), ""),
            }
        }
    }
    let guard = table.get("guard").and_then(|item| guard(reader, item));
    reader.finish(&table);
    (guard, labels, fields)
}

fn labels(reader: &mut Reader<'_>, item: Item<'_, '_>) -> BTreeSet<Name> {
    reader.list(item, "`labels`").into_iter().filter_map(|item| reader.parsed(item, "`labels`", Name::new)).collect()
}
fn labels_of(reader: &mut Reader<'_>, item: Item<'_, '_>) -> BTreeSet<Name> {
    let labels = labels(reader, item);
    if labels.is_empty() {
        reader.problem(item.span().start, "a field without labels says nothing", "leave it out or name its labels");
    }
    labels
}

fn guard(reader: &mut Reader<'_>, item: Item<'_, '_>) -> Option<Guard> {
    let mut table = reader.table(item, "`guard`")?;
    let items = reader.required(&mut table, "items", "say where the items are, as in `$.cases[*]`").and_then(|item| reader.parsed(item, "`items`", str::parse::<Path>));
    let single = |text: &str| match text.parse::<Path>() {
        Ok(path) if path.is_single() => Ok(path),
        Ok(_) => Err("an item has one owner; `[*]` can't stand here".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    let owner = match (table.get("tenant"), table.get("resource")) {
        (Some(item), None) => reader.parsed(item, "`tenant`", single).map(Owner::Tenant),
        (None, Some(item)) => reader.parsed(item, "`resource`", single).map(Owner::Resource),
        (Some(_), Some(_)) | (None, None) => {
            reader.problem(table.at.start, "`guard` says neither or both of `tenant` and `resource`", "say where an item names its tenant or its resource");
            None
        }
    };
    reader.finish(&table);
    Some(Guard { items: items?, owner: owner? })
}
