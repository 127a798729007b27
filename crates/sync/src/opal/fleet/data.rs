//! A tenant's facts as a document for OPA, and the entries that bring a client from one revision to the next.

use placet_core::{TenantId, Until};
use placet_facts::{World, tuple_text};
use placet_json::{Object, Value, object};

/// Members that are put one by one in one update; more than these, and their whole section is put instead.
const MAX_ENTRIES: usize = 64;

/// `/placet/TENANT`: where a tenant's document goes.
pub(super) fn path(tenant: &TenantId) -> String {
    format!("/placet/{tenant}")
}

/// A tenant's facts: people who belong to it or have roles in it, assignments, workflows, delegations, resources by type
/// and id, relationships by `object#relation`.
pub(super) fn document(world: &World, tenant: &TenantId) -> Option<Value> {
    let facts = world.tenant(tenant)?;
    let organisation = world.organisation();
    let names = |names: &mut dyn Iterator<Item = &str>| Value::Array(names.map(Value::from).collect());
    let mut people = Object::new();
    for human in organisation.humans() {
        if human.home == *tenant || facts.assignment(&human.id).is_some() {
            let person = object! { "standing" => human.standing.as_str(), "home" => human.home.as_str() };
            people.insert(human.id.as_str(), Value::Object(person));
        }
    }
    let assignments: Object = facts
        .assignments()
        .map(|assignment| {
            let until = match assignment.until {
                Until::Ended => "ended".to_owned(),
                Until::At(moment) => moment.to_string(),
            };
            let roles = names(&mut assignment.roles.iter().map(placet_core::Name::as_str));
            (assignment.human.as_str(), Value::Object(object! { "roles" => roles, "until" => until }))
        })
        .collect();
    let workflows: Object = facts
        .workflows()
        .map(|workflow| {
            let open = workflow.state == placet_core::WorkflowState::Open;
            let told = object! {
                "type" => workflow.kind.as_str(), "state" => if open { "open" } else { "closed" },
                "owner" => workflow.owner.as_str(), "ends" => workflow.ends.to_string(),
                "intents" => names(&mut workflow.intents.iter().map(placet_core::Name::as_str)),
            };
            (workflow.id.local().as_str(), Value::Object(told))
        })
        .collect();
    let delegations: Object = facts
        .delegations()
        .map(|delegation| {
            let live = delegation.state == placet_core::DelegationState::Live;
            let told = object! {
                "human" => delegation.human.as_str(), "agent" => delegation.agent.as_str(),
                "workflow" => delegation.workflow.local().as_str(), "state" => if live { "live" } else { "revoked" },
                "actions" => names(&mut delegation.scope.actions.iter().map(placet_core::Name::as_str)),
                "intents" => names(&mut delegation.scope.intents.iter().map(placet_core::Name::as_str)),
                "ends" => delegation.scope.ends.to_string(),
            };
            (delegation.id.local().as_str(), Value::Object(told))
        })
        .collect();
    let mut resources = Object::new();
    for resource in facts.resources() {
        let kind = resource.at.kind.as_str();
        if !resources.contains_key(kind) {
            resources.insert(kind, Value::Object(Object::new()));
        }
        if let Some(of_kind) = resources.get_mut(kind).and_then(Value::as_object_mut) {
            let attributes: Object =
                resource.attributes.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
            of_kind.insert(resource.at.id.as_str(), Value::Object(attributes));
        }
    }
    let mut relations = Object::new();
    for tuple in facts.tuples() {
        let text = tuple_text(&tuple);
        // Types and relations have no `@`, nothing has a `#`: each text has one reading.
        let parts = text.split_once('#').and_then(|(object, rest)| Some((object, rest.split_once('@')?)));
        let Some((object, (relation, subject))) = parts else { continue };
        let key = &format!("{object}#{relation}");
        if !relations.contains_key(key) {
            relations.insert(key.as_str(), Value::Array(Vec::new()));
        }
        if let Some(subjects) = relations.get_mut(key).and_then(Value::as_array_mut) {
            subjects.push(subject.into());
        }
    }
    let revision = facts.revision().max(organisation.revision()).0;
    Some(
        object! {
            "meta" => object! { "revision" => revision, "tenant" => tenant.as_str() },
            "people" => people, "assignments" => assignments, "workflows" => workflows,
            "delegations" => delegations, "resources" => resources, "relations" => relations,
        }
        .into(),
    )
}

/// What to put where, so that a client with `before` has `after`: only puts, since a put is right whatever the client
/// fetched meanwhile. A member that is gone is gone by putting what it was in.
pub(super) fn puts(before: &Value, after: &Value) -> Vec<(Vec<String>, Value)> {
    let mut all = Vec::new();
    differ(before, after, &mut Vec::new(), 3, &mut all);
    all
}

fn differ(
    before: &Value,
    after: &Value,
    path: &mut Vec<String>,
    depth: usize,
    all: &mut Vec<(Vec<String>, Value)>,
) {
    if before == after {
        return;
    }
    let whole =
        |all: &mut Vec<(Vec<String>, Value)>, path: &[String]| all.push((path.to_vec(), after.clone()));
    let (Some(old), Some(new)) = (before.as_object(), after.as_object()) else { return whole(all, path) };
    // A name with a slash would be another path in OPA.
    let one_by_one = depth > 0
        && old.keys().all(|name| new.contains_key(name))
        && new.keys().all(|name| !name.contains(['/', '%', '?', '#', '\\']));
    if !one_by_one {
        return whole(all, path);
    }
    let changed: Vec<&str> = new.keys().filter(|name| old.get(name) != new.get(name)).collect();
    // OPAL's schema takes objects and lists only.
    let puttable = |name: &&str| matches!(new.get(name), Some(Value::Object(_) | Value::Array(_)));
    if changed.len() > MAX_ENTRIES || !changed.iter().all(puttable) {
        return whole(all, path);
    }
    for name in changed {
        let Some(value) = new.get(name) else { continue };
        path.push(name.to_owned());
        match old.get(name) {
            Some(before) => differ(before, value, path, depth.saturating_sub(1), all),
            None => all.push((path.clone(), value.clone())),
        }
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        placet_json::parse(text.as_bytes(), &placet_json::Limits::RESULT).unwrap()
    }

    #[test]
    fn puts_bring_one_revision_to_the_next() {
        let before = json(
            r#"{"meta":{"revision":1},"people":{"a":{"s":1},"b":{"s":1}},"resources":{"case":{"1":{"v":1},"2":{}}}}"#,
        );
        let after = json(
            r#"{"meta":{"revision":2},"people":{"a":{"s":2}},"resources":{"case":{"1":{"v":2},"2":{},"3":{}}}}"#,
        );
        let mut document = before.clone();
        let puts = puts(&before, &after);
        let paths: Vec<String> = puts.iter().map(|(path, _)| path.join("/")).collect();
        assert_eq!(paths, ["meta", "people", "resources/case/1", "resources/case/3"]);
        for (path, value) in puts {
            let path = super::super::super::Path::parse(&path.join("/")).unwrap();
            super::super::super::document::put(&mut document, &path, value).unwrap();
        }
        assert_eq!(document, after);
    }

    #[test]
    fn a_tenants_document_holds_nothing_of_another() {
        let world = World::from_file(&json(
            r#"{"tenant":"acme","humans":[{"id":"maya","standing":"active","home":"acme"},{"id":"zoe","standing":"active","home":"globex"}],
               "resources":[{"type":"case","id":"C-1","attributes":{"v":1}}],"tuples":["case:C-1#owner@human:maya","case:C-1#viewer@team:t#member"]}"#,
        ))
        .unwrap();
        let acme = document(&world, &TenantId::new("acme").unwrap()).unwrap();
        let text = super::super::super::wire::text(&acme);
        assert!(text.contains("maya") && !text.contains("zoe"), "{text}");
        assert_eq!(
            acme.pointer("/relations/case:C-1#viewer/0").and_then(Value::as_str),
            Some("team:t#member")
        );
        let globex =
            super::super::super::wire::text(&document(&world, &TenantId::new("globex").unwrap()).unwrap());
        assert!(globex.contains("zoe") && !globex.contains("C-1") && !globex.contains("maya"), "{globex}");
    }
}
