//! `personal` and `sensitive` of arguments and results, and `[personal.TYPE]`.

use std::collections::{BTreeMap, BTreeSet};

use placet_core::Name;

use crate::{
    Argument, IdFrom, PersonalType, ResourceFrom, Seal, Seals, Subject, SubjectId, Write,
    read::{Item, Reader, Table},
    seal::{HUMAN, kind},
};

/// Attributes that the reader of a resource sets, and which are no facts.
const RESERVED: &[&str] = &["type", "id", "tenant_id", "relations"];
/// The attribute that is added up in totals.
const AMOUNT: &str = "amount";

/// What a table says of whose it is.
pub(super) fn seal(reader: &mut Reader<'_>, table: &mut Table<'_, '_>) -> Option<Seal> {
    match (table.get("personal"), table.get("sensitive")) {
        (Some(item), None) => reader.parsed(item, "`personal`", Subject::parse).map(Seal::Personal),
        (None, Some(item)) => reader.truth(item, "`sensitive`")?.then_some(Seal::Sensitive),
        (None, None) => None,
        (Some(item), Some(_)) => {
            reader.problem(
                item.span().start,
                format!("{} is both `personal` and `sensitive`", table.what),
                "keep `personal`: it says whose it is",
            );
            None
        }
    }
}

/// What is sealed must not be what the ledger is found and folded by: ids, relationships and amounts stay.
pub(super) fn check(
    reader: &mut Reader<'_>,
    at: usize,
    seals: &Seals,
    arguments: &BTreeMap<String, Argument>,
    resources: &[ResourceFrom],
    writes: &[Write],
) {
    for name in seals.arguments.keys() {
        let is_id = resources.iter().any(|it| matches!(&it.id, IdFrom::Argument(id) if id == name));
        if is_id || writes.iter().any(|write| write.to_string().contains(&format!("{{args.{name}}}"))) {
            reader.problem(
                at,
                format!("the argument `{name}` is an id, which stays in the ledger, and can't be sealed"),
                "let the id be an opaque one, and don't mark it",
            );
        }
        if let Some(Argument::Given { attribute: Some(attribute), .. }) = arguments.get(name)
            && attribute.as_str() == AMOUNT
        {
            reader.problem(
                at,
                format!("the argument `{name}` is added up, and can't be sealed"),
                "totals must fold the same after an erasure: don't mark it",
            );
        }
    }
    for seal in seals.arguments.values().chain(&seals.result) {
        let Seal::Personal(Subject { id: SubjectId::Argument(name), .. }) = seal else { continue };
        if !arguments.contains_key(name) {
            reader.problem(at, format!("there is no argument `{name}`"), "declare it under `args`");
        } else if seals.arguments.contains_key(name) {
            reader.problem(
                at,
                format!("the argument `{name}` names a subject, and is sealed itself"),
                "let an id that may stay name the subject",
            );
        }
    }
}

/// `[personal.TYPE]`
pub(super) fn personal(
    reader: &mut Reader<'_>,
    name: &str,
    at: usize,
    item: Item<'_, '_>,
) -> Option<(Name, PersonalType)> {
    let of = match kind(name) {
        Ok(of) if of.as_str() != HUMAN => Some(of),
        Ok(_) => {
            reader.problem(at, "what is known of people is always sealed", "name a type of resources");
            None
        }
        Err(error) => {
            reader.problem(at, error, "name a type of resources");
            None
        }
    };
    let mut table = reader.table(item, format!("`personal.{name}`"))?;
    let list = reader.required(&mut table, "attributes", "name the attributes that are personal")?;
    let mut attributes = BTreeSet::new();
    for item in reader.list(list, "`attributes`") {
        let Some(attribute) = reader.parsed(item, "`attributes`", Name::new) else { continue };
        if RESERVED.contains(&attribute.as_str()) {
            reader.problem(item.span().start, format!("`{attribute}` stays in the ledger"), "leave it out");
        }
        attributes.insert(attribute);
    }
    let subject = table.get("subject").and_then(|item| {
        let subject = reader.parsed(item, "`subject`", |text| {
            let (of, attribute) = text.split_once(":$").ok_or_else(|| {
                format!("`{text}` is not `KIND:$ATTRIBUTE`, an attribute of the same resource")
            })?;
            Ok::<_, String>((kind(of)?, Name::new(attribute).map_err(|error| error.to_string())?))
        })?;
        if attributes.contains(&subject.1) {
            reader.problem(
                item.span().start,
                format!("`{}` names the subject, and is personal itself", subject.1),
                "let an id that may stay name the subject",
            );
        }
        Some(subject)
    });
    reader.finish(&table);
    if attributes.is_empty() {
        reader.problem(list.span().start, "no attribute is named", "name one, or leave the table out");
    }
    Some((of?, PersonalType { attributes, subject }))
}
