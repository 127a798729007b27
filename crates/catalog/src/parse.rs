//! From `catalog/*.toml` to a [`Catalog`].

mod argument;
mod limits;
mod lookup;
mod operation;
mod seal;

use std::collections::{BTreeMap, BTreeSet};

use placet_core::{Digest, EffectClass, Name};
use placet_json::Value;
use toml::de::DeTable;

use crate::{
    Argument, Catalog, Credential, Entry, Guard, IdFrom, MAX_WRITES, Owner, Path, Problem, Reading,
    ResourceFrom, Seal, Seals, Source, Type, Write,
    operation::ambiguous,
    read::{Item, Reader, Table},
};
use argument::arguments;
pub(crate) use limits::adds_up;
use limits::limits;
use operation::{Beside, operation};

pub(crate) fn catalog(files: &[(String, String)]) -> Result<Catalog, Vec<Problem>> {
    let mut catalog = Catalog::default();
    let (mut problems, mut readings, mut operations) = (Vec::new(), Vec::new(), Vec::new());
    for (file, text) in files {
        let mut reader = Reader::new(file, text);
        one_file(&mut reader, text, &mut catalog, &mut readings, &mut operations);
        problems.append(&mut reader.problems);
    }
    // What is read by a tool can be held against it once every file is read.
    for Pending { file, line, reading } in readings {
        if let Err((message, remedy)) = reading.check(&catalog) {
            problems.push(Problem { file, line: Some(line), message, remedy: remedy.to_owned() });
        }
    }
    problems.extend(several_meanings(&catalog, &operations));
    if problems.is_empty() { Ok(catalog) } else { Err(problems) }
}

/// Operations of one upstream that one request could be, each with the first that stands before it.
fn several_meanings(catalog: &Catalog, operations: &[(String, usize, Name)]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (i, (file, line, name)) in operations.iter().enumerate() {
        let Some(entry) = catalog.entry(name.as_str()) else { continue };
        let before = operations.iter().take(i).filter_map(|(_, _, name)| catalog.entry(name.as_str()));
        let other =
            before.filter(|other| other.upstream() == entry.upstream()).find(|other| ambiguous(other, entry));
        if let (Some(other), Some(http)) = (other, entry.http()) {
            problems.push(Problem {
                file: file.clone(),
                line: Some(*line),
                message: format!(
                    "`{} {}` of `{name}` and the operation of `{}` can be one request",
                    http.method().as_str(),
                    http.path(),
                    other.name()
                ),
                remedy:
                    "keep one of them, or give the argument a `pattern` that the other's path doesn't fit"
                        .to_owned(),
            });
        }
    }
    problems
}

/// A reading by a tool, and where it stands.
struct Pending {
    file: String,
    line: usize,
    reading: Reading,
}

fn one_file(
    reader: &mut Reader<'_>,
    text: &str,
    catalog: &mut Catalog,
    readings: &mut Vec<Pending>,
    operations: &mut Vec<(String, usize, Name)>,
) {
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
            let Some(entry) = entry(reader, name, at, item) else { continue };
            readings.extend(entry.resolver.as_ref().map(|resolver| reader.pending(at, &resolver.reading)));
            if entry.http.is_some() {
                operations.push((reader.file().to_owned(), reader.line(at), entry.name.clone()));
            }
            if !catalog.insert(entry) {
                reader.problem(at, format!("`{name}` stands in another file already"), "keep one of them");
            }
        }
    }
    if let Some(lookups) = root.get("lookup").and_then(|item| reader.table(item, "`lookup`")) {
        for (name, at, item) in lookups.all() {
            let Some(lookup) = lookup::lookup(reader, name, at, item) else { continue };
            readings.push(reader.pending(at, &lookup.reading));
            if !catalog.insert_lookup(lookup) {
                let message =
                    format!("`{name}`, or another lookup of its type of resource, stands here already");
                reader.problem(at, message, "one lookup for a type of resource: keep one of them");
            }
        }
    }
    if let Some(types) = root.get("personal").and_then(|item| reader.table(item, "`personal`")) {
        for (name, at, item) in types.all() {
            let Some((of, personal)) = seal::personal(reader, name, at, item) else { continue };
            if !catalog.insert_personal(of, personal) {
                reader.problem(
                    at,
                    format!("`personal.{name}` stands in another file already"),
                    "keep one of them",
                );
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

    let action = reader
        .required(&mut table, "action", "name the action that policy decides on")
        .and_then(|item| reader.parsed(item, "`action`", Name::new));
    let effect = reader
        .required(&mut table, "effect", "say `read`, `write` or `destructive`")
        .and_then(|item| reader.parsed(item, "`effect`", effect));
    let credential = reader
        .required(&mut table, "credential", "say `vault:NAME`, `call-token`, `process` or `none`")
        .and_then(|item| reader.parsed(item, "`credential`", credential));
    let accepts = match table.get("accepts") {
        None => BTreeSet::new(),
        Some(item) => {
            let digest = |text: &str| Digest::parse(text).ok_or("not `sha256:` and 64 lower-case hex digits");
            reader
                .list(item, "`accepts`")
                .into_iter()
                .filter_map(|item| reader.parsed(item, "`accepts`", digest))
                .collect()
        }
    };
    let mut seals = Seals::default();
    let arguments = match table.get("args") {
        None => BTreeMap::new(),
        Some(item) => arguments(reader, item, full, &mut seals.arguments),
    };
    let mut resources = Vec::new();
    if let Some(item) = reader.required(
        &mut table,
        "resource",
        "name what the call is about, as in `{ type = \"support_case\", id = \"$args.case_id\" }`",
    ) {
        resources.extend(resource(reader, item, &arguments));
    }
    if let Some(item) = table.get("resources") {
        for item in reader.list(item, "`resources`") {
            resources.extend(resource(reader, item, &arguments));
        }
    }
    let writes = match table.get("writes") {
        None => Vec::new(),
        Some(item) => writes(reader, item, effect, &arguments),
    };
    let (guard, whole, fields) = match table.get("result") {
        None => (None, BTreeSet::new(), BTreeMap::new()),
        Some(item) => result(reader, item, full, &mut seals.result),
    };
    seal::check(reader, at, &seals, &arguments, &resources, &writes);
    let resolver = table.get("resolver").map(|item| (item, lookup::resolver(reader, item)));
    if let (Some((item, _)), Some(EffectClass::Read)) = (&resolver, effect) {
        reader.problem(item.span().start, "a read has no effect to be resolved", "remove `resolver`");
    }
    let limits = limits(reader, &mut table, &arguments);
    let beside = Beside { full, effect, credential: credential.as_ref(), arguments: &arguments };
    let http = operation(reader, &mut table, &beside);
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
        resolver: resolver.and_then(|(_, resolver)| resolver),
        whole,
        fields,
        labels,
        writes,
        limits,
        seals,
        http,
    })
}

fn writes(
    reader: &mut Reader<'_>,
    item: Item<'_, '_>,
    effect: Option<EffectClass>,
    arguments: &BTreeMap<String, Argument>,
) -> Vec<Write> {
    let items = reader.list(item, "`writes`");
    if effect == Some(EffectClass::Read) {
        reader.problem(
            item.span().start,
            "a read leaves nothing behind, so it can't have `writes`",
            "say `effect = \"write\"`, or remove `writes`",
        );
    }
    if items.len() > MAX_WRITES {
        reader.problem(
            item.span().start,
            format!("`writes` has more than {MAX_WRITES} relationships"),
            "leave some out",
        );
    }
    let mut writes = Vec::new();
    for item in items {
        let Some(text) = reader.text(item, "`writes`") else { continue };
        match Write::parse(text, arguments) {
            Ok(write) => writes.push(write),
            Err((message, remedy)) => reader.problem(item.span().start, message, remedy),
        }
    }
    writes
}

/// `upstream.tool`; the upstream is what stands before the first point, so a name has one reading.
fn tool_name(reader: &mut Reader<'_>, full: &str, at: usize) -> Option<(Name, Name, String)> {
    let Some((upstream, tool)) =
        full.split_once('.').filter(|(upstream, tool)| !upstream.is_empty() && !tool.is_empty())
    else {
        reader.problem(
            at,
            format!("`{full}` doesn't name upstream and tool"),
            "write `[tool.\"upstream.tool\"]`, in quotation marks",
        );
        return None;
    };
    if !upstream.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        reader.problem(
            at,
            format!("the upstream `{upstream}` has other characters than `a-z 0-9 -`"),
            "rename the upstream",
        );
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

impl Reader<'_> {
    fn pending(&self, at: usize, reading: &Reading) -> Pending {
        Pending { file: self.file().to_owned(), line: self.line(at), reading: reading.clone() }
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

fn resource(
    reader: &mut Reader<'_>,
    item: Item<'_, '_>,
    arguments: &BTreeMap<String, Argument>,
) -> Option<ResourceFrom> {
    let mut table = reader.table(item, "`resource`")?;
    let kind = reader
        .required(&mut table, "type", "name its type")
        .and_then(|item| reader.parsed(item, "`type`", Name::new));
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
            Some(Argument::Given { required: false, .. }) => Err((
                format!("the argument `{name}` may be missing, and with it the resource"),
                "make it required",
            )),
            Some(Argument::Given { ty: Type::Id { .. } | Type::Text { .. } | Type::Enum { .. }, .. }) => {
                Ok(IdFrom::Argument(name.to_owned()))
            }
            Some(Argument::Given { ty, .. }) => {
                Err((format!("a {} can't name a resource", ty.name()), "use an argument of type `id`"))
            }
            Some(Argument::Bound(source)) if source.needs_resource() => Err((
                format!("the argument `{name}` comes from the resource that it would name"),
                "bind it to the workflow or let the agent give it",
            )),
            Some(Argument::Bound(_)) => Ok(IdFrom::Argument(name.to_owned())),
        };
    }
    if text.starts_with('$') {
        let source = Source::parse(text).map_err(|error| (error, ""))?;
        if source.needs_resource() {
            return Err((
                "a resource can't be named by itself".to_owned(),
                "name an argument or the workflow",
            ));
        }
        return Ok(IdFrom::Source(source));
    }
    match Name::new(text) {
        Ok(name) => Ok(IdFrom::Source(Source::Constant(Value::from(name.as_str())))),
        Err(error) => Err((format!("`{text}`: {error}"), "")),
    }
}

type ResultParts = (Option<Guard>, BTreeSet<Name>, BTreeMap<Path, BTreeSet<Name>>);

fn result(reader: &mut Reader<'_>, item: Item<'_, '_>, full: &str, sealed: &mut Option<Seal>) -> ResultParts {
    let Some(mut table) = reader.table(item, format!("the result of `{full}`")) else {
        return (None, BTreeSet::new(), BTreeMap::new());
    };
    *sealed = seal::seal(reader, &mut table);
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
    reader
        .list(item, "`labels`")
        .into_iter()
        .filter_map(|item| reader.parsed(item, "`labels`", Name::new))
        .collect()
}
fn labels_of(reader: &mut Reader<'_>, item: Item<'_, '_>) -> BTreeSet<Name> {
    let labels = labels(reader, item);
    if labels.is_empty() {
        reader.problem(
            item.span().start,
            "a field without labels says nothing",
            "leave it out or name its labels",
        );
    }
    labels
}

fn guard(reader: &mut Reader<'_>, item: Item<'_, '_>) -> Option<Guard> {
    let mut table = reader.table(item, "`guard`")?;
    let items = reader
        .required(&mut table, "items", "say where the items are, as in `$.cases[*]`")
        .and_then(|item| reader.parsed(item, "`items`", str::parse::<Path>));
    let single = |text: &str| match text.parse::<Path>() {
        Ok(path) if path.is_single() => Ok(path),
        Ok(_) => Err("an item has one owner; `[*]` can't stand here".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    let owner = match (table.get("tenant"), table.get("resource")) {
        (Some(item), None) => reader.parsed(item, "`tenant`", single).map(Owner::Tenant),
        (None, Some(item)) => reader.parsed(item, "`resource`", single).map(Owner::Resource),
        (Some(_), Some(_)) | (None, None) => {
            reader.problem(
                table.at.start,
                "`guard` says neither or both of `tenant` and `resource`",
                "say where an item names its tenant or its resource",
            );
            None
        }
    };
    reader.finish(&table);
    Some(Guard { items: items?, owner: owner? })
}
