//! `[lookup.NAME]` and a tool's `resolver`.

use std::{collections::BTreeMap, time::Duration};

use placet_core::Name;

use super::{
    argument::{constant_value, ty},
    credential,
};
use crate::{
    Credential, Lookup, LookupField, Path, Reading, Resolver, Sign, Slot,
    lookup::{
        DEFAULT_KEEP, DEFAULT_KEEP_FOR, DEFAULT_MAX_AGE, DEFAULT_TIMEOUT, DidNot, LONGEST_KEEP_FOR,
        LONGEST_MAX_AGE, LONGEST_TIMEOUT, MOST_KEPT,
    },
    read::{Item, Reader, Table},
    reading::PathTemplate,
};

/// Members of a resource that are set by the reader, never by a fact.
const RESERVED: &[&str] = &["type", "id", "tenant_id", "relations"];
/// The most attributes of a lookup.
const MAX_ATTRIBUTES: usize = 64;

pub(super) fn lookup(reader: &mut Reader<'_>, name: &str, at: usize, item: Item<'_, '_>) -> Option<Lookup> {
    let mut table = reader.table(item, format!("the lookup `{name}`"))?;
    let before = reader.problems.len();
    // A source of facts is named after it, within the bound of names.
    let name = match Name::new(name) {
        Ok(name) if name.as_str().len() <= 100 => Some(name),
        Ok(_) | Err(_) => {
            reader.problem(at, format!("`{name}` is no name of at most 100 characters"), "rename it");
            None
        }
    };
    let resource = reader
        .required(&mut table, "resource", "name the type of resources that it reads")
        .and_then(|item| reader.parsed(item, "`resource`", Name::new));
    let reading = reading(reader, &mut table, |slot| {
        slot.is_of_resource()
            .then_some(())
            .ok_or("before the decision there is only `$resource.id` and `$tenant`")
    });
    let tenant = reader
        .required(&mut table, "tenant", "say where the answer names its tenant, as in `$.tenant_id`")
        .and_then(|item| reader.parsed(item, "`tenant`", single));
    let id = table.get("id").map(|item| reader.parsed(item, "`id`", single));
    let max_age = duration(reader, &mut table, "max_age", DEFAULT_MAX_AGE, LONGEST_MAX_AGE);
    let timeout = duration(reader, &mut table, "timeout", DEFAULT_TIMEOUT, LONGEST_TIMEOUT);
    if let (Some(max_age), Some(timeout)) = (max_age, timeout)
        && timeout > max_age
    {
        // Its age counts from the beginning of the reading.
        reader.problem(
            table.at.start,
            "`timeout` is longer than `max_age`: a slow reading would be too old when it comes",
            "shorten `timeout`",
        );
    }
    let keep = match table.get("keep") {
        None => Some(DEFAULT_KEEP),
        Some(item) => {
            let at = item.span().start;
            let keep = reader.count(item, "`keep`").and_then(|keep| u32::try_from(keep).ok());
            let keep = keep.filter(|keep| (1..=MOST_KEPT).contains(keep));
            if keep.is_none() {
                reader.problem(at, format!("`keep` is not from 1 to {MOST_KEPT}"), "");
            }
            keep
        }
    };
    let keep_for = duration(reader, &mut table, "keep_for", DEFAULT_KEEP_FOR, LONGEST_KEEP_FOR);
    if let (Some(max_age), Some(keep_for)) = (max_age, keep_for)
        && max_age > keep_for
    {
        reader.problem(
            table.at.start,
            "`keep_for` is shorter than `max_age`: a reading would be forgotten while it holds",
            "keep it longer",
        );
    }
    let mut attributes = BTreeMap::new();
    if let Some(of) = table.get("attributes").and_then(|item| reader.table(item, "`attributes`")) {
        for (name, at, item) in of.all() {
            match Name::new(name) {
                Ok(known) if !RESERVED.contains(&name) => {
                    if let Some(field) = field(reader, name, item) {
                        attributes.insert(known, field);
                    }
                }
                Ok(_) => {
                    reader.problem(at, format!("`{name}` is set by Placet itself"), "choose another name");
                }
                Err(error) => reader.problem(at, format!("`{name}`: {error}"), ""),
            }
        }
        if attributes.len() > MAX_ATTRIBUTES {
            reader.problem(
                of.at.start,
                format!("more than {MAX_ATTRIBUTES} attributes"),
                "read what decides",
            );
        }
    }
    reader.finish(&table);
    if reader.problems.len() > before {
        return None;
    }
    Some(Lookup {
        name: name?,
        resource: resource?,
        reading: reading?,
        tenant: tenant?,
        id: id.flatten(),
        max_age: max_age?,
        timeout: timeout?,
        keep: keep?,
        keep_for: keep_for?,
        attributes,
    })
}

pub(super) fn resolver(reader: &mut Reader<'_>, item: Item<'_, '_>) -> Option<Resolver> {
    let mut table = reader.table(item, "`resolver`")?;
    let reading = reading(reader, &mut table, |_| Ok(()));
    let happened = reader
        .required(
            &mut table,
            "happened",
            "say what an answer shows if it happened, as in `{ path = \"$.status\", equals = \"paid\" }`",
        )
        .and_then(|item| sign(reader, item));
    let did_not = match table.get("did_not_happen") {
        None => Some(DidNot::Never),
        Some(item) if item.get_ref().as_str() == Some("not_found") => Some(DidNot::NotFound),
        Some(item) => sign(reader, item).map(DidNot::Says),
    };
    if let (Some(DidNot::NotFound), Some(Reading::Tool { .. })) = (&did_not, &reading) {
        reader.problem(
            table.at.start,
            "a tool doesn't answer `not_found`",
            "say which answer means it, as in `{ path = \"$.found\", equals = false }`",
        );
    }
    reader.finish(&table);
    Some(Resolver { reading: reading?, happened: happened?, did_not: did_not? })
}

fn sign(reader: &mut Reader<'_>, item: Item<'_, '_>) -> Option<Sign> {
    let mut table = reader.table(item, "what an answer shows")?;
    let path = reader
        .required(&mut table, "path", "say where, as in `$.status`")
        .and_then(|item| reader.parsed(item, "`path`", single));
    let equals = reader
        .required(&mut table, "equals", "say what stands there")
        .and_then(|item| constant_value(reader, item));
    reader.finish(&table);
    Some(Sign { path: path?, equals: equals? })
}

fn reading(
    reader: &mut Reader<'_>,
    table: &mut Table<'_, '_>,
    may: impl Fn(&Slot) -> Result<(), &'static str>,
) -> Option<Reading> {
    let (tool, get) = (table.get("tool"), table.get("get"));
    let (args, upstream, paid) = (table.get("args"), table.get("upstream"), table.get("credential"));
    let mut misplaced = |item: Option<Item<'_, '_>>, message: &str| {
        if let Some(item) = item {
            reader.problem(item.span().start, message, "remove it");
        }
    };
    let (reading, at) = match (tool, get) {
        (Some(item), None) => {
            misplaced(upstream, "`upstream` stands in the tool's name");
            misplaced(paid, "`credential` is the tool's own");
            let entry = reader.parsed(item, "`tool`", Name::new);
            let arguments = match args {
                None => BTreeMap::new(),
                Some(item) => slots(reader, item)?,
            };
            (Reading::Tool { entry: entry?, arguments }, item.span().start)
        }
        (None, Some(item)) => {
            misplaced(args, "`args` are a tool's");
            let path = reader.parsed(item, "`get`", PathTemplate::parse);
            let upstream = reader
                .required(table, "upstream", "name an upstream of `protocol = \"rest\"`")
                .and_then(|item| reader.parsed(item, "`upstream`", Name::new));
            let credential = reader
                .required(table, "credential", "say `vault:NAME`, `call-token` or `none`")
                .and_then(|item| {
                    reader.parsed(item, "`credential`", |text| match credential(text)? {
                        Credential::Process => Err("an address has no process".to_owned()),
                        other @ (Credential::Vault(_) | Credential::CallToken | Credential::None) => {
                            Ok(other)
                        }
                    })
                });
            (Reading::Get { upstream: upstream?, path: path?, credential: credential? }, item.span().start)
        }
        (Some(_), Some(_)) | (None, None) => {
            reader.problem(
                table.at.start,
                format!("{} says neither or both of `tool` and `get`", table.what),
                "say how it is read: by a read tool, or by the path of a document",
            );
            return None;
        }
    };
    for slot in reading.slots() {
        if let Err(why) = may(slot) {
            reader.problem(at, why, "");
            return None;
        }
    }
    Some(reading)
}

fn slots(reader: &mut Reader<'_>, item: Item<'_, '_>) -> Option<BTreeMap<String, Slot>> {
    let table = reader.table(item, "`args`")?;
    let mut slots = BTreeMap::new();
    for (name, _, item) in table.all() {
        let slot = if item.get_ref().as_str().is_some() {
            reader.parsed(item, "an argument", Slot::parse)
        } else {
            constant_value(reader, item).map(Slot::Constant)
        };
        slots.insert(name.to_owned(), slot?);
    }
    Some(slots)
}

fn field(reader: &mut Reader<'_>, name: &str, item: Item<'_, '_>) -> Option<LookupField> {
    let mut table = reader.table(item, format!("the attribute `{name}`"))?;
    let path = reader
        .required(&mut table, "path", "say where in the answer it stands, as in `$.owner`")
        .and_then(|item| reader.parsed(item, "`path`", single));
    let required = table.get("required").map_or(Some(true), |item| reader.truth(item, "`required`"));
    let kind = ty(reader, &mut table, 0);
    reader.finish(&table);
    Some(LookupField { path: path?, ty: kind?, required: required? })
}

fn single(text: &str) -> Result<Path, String> {
    match text.parse::<Path>() {
        Ok(path) if path.is_single() => Ok(path),
        Ok(_) => Err("one value is meant; `[*]` can't stand here".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// `250ms`, `5s`, `2m`, `1h`.
fn duration(
    reader: &mut Reader<'_>,
    table: &mut Table<'_, '_>,
    key: &'static str,
    default: Duration,
    longest: Duration,
) -> Option<Duration> {
    let Some(item) = table.get(key) else { return Some(default) };
    reader.parsed(item, &format!("`{key}`"), |text| {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at_checked(end).unwrap_or_default();
        let unit = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err("write it as in `250ms`, `5s`, `2m` or `1h`".to_owned()),
        };
        let number: u64 = number.parse().map_err(|_| "write it as in `250ms` or `5s`".to_owned())?;
        let duration = Duration::from_millis(number.saturating_mul(unit));
        if duration.is_zero() || duration > longest {
            return Err(format!("must be more than nothing and at most {} s", longest.as_secs()));
        }
        Ok(duration)
    })
}
