//! Whom an event is about (RFC 9493, and the complex subjects of SSF §3.2).

use std::collections::BTreeSet;

use placet_core::{HumanId, TenantId};
use placet_facts::{RecordKind, World};
use placet_json::Value;

use super::Source;

/// The most identifiers of one subject.
const MAX_ALIASES: usize = 16;

/// The people that a subject names, of those whom the source may speak of. Empty where nobody is known by it.
pub(super) fn people(world: &World, source: &Source, subject: &Value) -> BTreeSet<HumanId> {
    let text = |name: &str| subject.get(name).and_then(Value::as_str);
    match text("format") {
        Some("iss_sub") if text("iss") == Some(source.subject_issuer.as_str()) => {
            text("sub").map(|sub| named(world, source, sub)).unwrap_or_default()
        }
        Some("opaque") => text("id").map(|id| named(world, source, id)).unwrap_or_default(),
        Some("email") => text("email").map(|email| mailed(world, source, email)).unwrap_or_default(),
        Some("aliases") => {
            let aliases = subject.get("identifiers").and_then(Value::as_array).unwrap_or_default();
            // Not nested (RFC 9493 §3.2.8).
            let plain = aliases.iter().filter(|one| {
                !matches!(one.get("format").and_then(Value::as_str), Some("aliases" | "complex"))
            });
            plain.take(MAX_ALIASES).flat_map(|one| people(world, source, one)).collect()
        }
        // The parts narrow each other; no session or device of the provider's is known here, so the person is meant.
        Some("complex") => match subject.get("user") {
            Some(user) if user.get("format").and_then(Value::as_str) != Some("complex") => {
                people(world, source, user)
            }
            _ => BTreeSet::new(),
        },
        _ => BTreeSet::new(),
    }
}

/// By the id here, or by what the provider's own SCIM feed calls them.
fn named(world: &World, source: &Source, id: &str) -> BTreeSet<HumanId> {
    let org = world.organisation();
    let own = HumanId::new(id).ok().filter(|id| org.human(id).is_some());
    let records = source.feed.iter().flat_map(|feed| org.records(feed, RecordKind::User));
    let external = records
        .filter(|record| {
            record.document.get("externalId").and_then(Value::as_str) == Some(id) || record.id.as_str() == id
        })
        .filter_map(|record| record.human.clone());
    within(world, source, own.into_iter().chain(external))
}

/// By a mail address, in any case.
fn mailed(world: &World, source: &Source, email: &str) -> BTreeSet<HumanId> {
    let org = world.organisation();
    let is = |value: &str| value.eq_ignore_ascii_case(email);
    let own = org.humans().filter(|human| is(human.id.as_str())).map(|human| human.id.clone());
    let records = source.feed.iter().flat_map(|feed| org.records(feed, RecordKind::User));
    let kept = records
        .filter(|record| {
            let mails = record.document.get("emails").and_then(Value::as_array).unwrap_or_default();
            record.document.get("userName").and_then(Value::as_str).is_some_and(is)
                || mails.iter().any(|mail| mail.get("value").and_then(Value::as_str).is_some_and(is))
        })
        .filter_map(|record| record.human.clone());
    within(world, source, own.chain(kept))
}

/// A tenant's provider speaks of that tenant's people only.
fn within(world: &World, source: &Source, people: impl Iterator<Item = HumanId>) -> BTreeSet<HumanId> {
    let home = |human: &HumanId, tenant: &TenantId| {
        world.organisation().human(human).is_some_and(|human| human.home == *tenant)
    };
    people.filter(|human| source.tenant.as_ref().is_none_or(|tenant| home(human, tenant))).collect()
}
