//! What groups give: roles and relations in tenants, brought in line with the feed's records.
//!
//! Declarative: what a feed's rules name is compared with what its people have, so that doing it again changes nothing
//! and a crash between two transactions is made good by the next one. Roles that no rule names are left alone.

use std::collections::{BTreeMap, BTreeSet};

use placet_core::{Assignment, HumanId, Name, ResourceRef, Subject, TenantId, Timestamp, Tuple, Until};
use placet_facts::{
    Change, DirectoryRecord, MAX_CHANGES, Place, RecordKind, TenantFacts, Transaction, World,
};

use crate::Feed;

/// Whose authority a request may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Affected {
    /// Nobody's.
    Nobody,
    /// One person's.
    One(HumanId),
    /// Anybody's of the feed.
    Everybody,
}

/// The transactions that bring roles and relations in line, one a tenant.
#[must_use]
pub fn align(world: &World, feed: &Feed, affected: &Affected, now: Timestamp) -> Vec<Transaction> {
    let (Some(author), Ok(source)) = (feed.author(), Name::new("scim")) else { return Vec::new() };
    let org = world.organisation();
    let people: BTreeMap<HumanId, Option<&DirectoryRecord>> = match affected {
        Affected::Nobody => return Vec::new(),
        Affected::One(human) => {
            let record = org.record_of_human(human).filter(|record| record.feed == feed.name);
            BTreeMap::from([(human.clone(), record.map(AsRef::as_ref))])
        }
        Affected::Everybody => org
            .records(&feed.name, RecordKind::User)
            .filter_map(|record| Some((record.human.clone()?, Some(record.as_ref()))))
            .collect(),
    };
    let tenants: BTreeSet<&TenantId> = feed.groups.iter().map(|rule| &rule.tenant).collect();
    tenants
        .into_iter()
        .filter_map(|id| {
            let facts = world.tenant(id)?;
            let mut changes: Vec<Change> = people
                .iter()
                .flat_map(|(human, record)| {
                    let names: BTreeSet<&str> = record
                        .filter(|record| record.active)
                        .into_iter()
                        .flat_map(|record| org.groups_of(&feed.name, record.id.as_str()))
                        .filter_map(|group| group.document.get("displayName")?.as_str())
                        .collect();
                    one(facts, feed, human, &names, now)
                })
                .collect();
            // What is left over is done by the next call: the caller asks until nothing is to do.
            changes.truncate(MAX_CHANGES);
            (!changes.is_empty()).then(|| Transaction {
                place: Place::Tenant(id.clone()),
                changes,
                author: author.clone(),
                source: source.clone(),
                why: format!("the groups of `{}`", feed.name),
                idempotency_key: None,
            })
        })
        .collect()
}

fn one(
    facts: &TenantFacts,
    feed: &Feed,
    human: &HumanId,
    groups: &BTreeSet<&str>,
    now: Timestamp,
) -> Vec<Change> {
    let own = || feed.groups.iter().filter(|rule| rule.tenant == *facts.id());
    let meant = |rule: &&crate::GroupRule| groups.contains(rule.name.as_str());
    let governed: BTreeSet<&Name> = own().filter_map(|rule| rule.role.as_ref()).collect();
    let wanted: BTreeSet<&Name> = own().filter(meant).filter_map(|rule| rule.role.as_ref()).collect();
    let mut changes = Vec::new();
    let had = facts.assignment(human);
    let lives = had.filter(|had| had.until.lives(now));
    let has: BTreeSet<&Name> = lives.into_iter().flat_map(|had| &had.roles).collect();
    if has.intersection(&governed).copied().collect::<BTreeSet<_>>() != wanted {
        let roles: BTreeSet<Name> =
            has.difference(&governed).copied().chain(wanted.iter().copied()).cloned().collect();
        if roles.is_empty() {
            changes.push(Change::AssignmentRemoved(human.clone()));
        } else {
            let until = lives.map_or(Until::Ended, |lives| lives.until);
            changes.push(Change::AssignmentSet(Assignment { human: human.clone(), roles, until }));
        }
    }
    let Some(subject) =
        Name::new("user").ok().map(|kind| Subject::Object(ResourceRef { kind, id: human.name().clone() }))
    else {
        return changes;
    };
    let relations: BTreeSet<&(ResourceRef, Name)> = own().filter_map(|rule| rule.tuple.as_ref()).collect();
    for relation in relations {
        let tuple =
            Tuple { object: relation.0.clone(), relation: relation.1.clone(), subject: subject.clone() };
        let wanted = own().filter(meant).any(|rule| rule.tuple.as_ref() == Some(relation));
        match (facts.has_tuple(&tuple), wanted) {
            (false, true) => changes.push(Change::TupleAdded(tuple)),
            (true, false) => changes.push(Change::TupleRemoved(tuple)),
            (true, true) | (false, false) => {}
        }
    }
    changes
}
