//! What a provider may do, and what follows from it.

use placet_core::Standing;
use placet_facts::{Change, Ending, Place, Transaction};
use placet_json::Value;

use crate::desk::{Desk, feed, json, name, tenant};

fn made(desk: &mut Desk, user: &str) -> String {
    let body = format!(r#"{{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"{user}"}}"#);
    let reply = desk.ask("POST", "/Users", &body, None);
    assert_eq!(reply.status, 201, "{:?}", reply.body);
    reply.body.unwrap().get("id").and_then(Value::as_str).unwrap().to_owned()
}

fn active(desk: &mut Desk, id: &str, active: bool) {
    let body = format!(
        r#"{{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{{"op":"replace","value":{{"active":{active}}}}}]}}"#
    );
    assert_eq!(desk.ask("PATCH", &format!("/Users/{id}"), &body, None).status, 200);
}

fn organisation(change: &str) -> Transaction {
    Transaction {
        place: Place::Organisation,
        changes: vec![Change::from_value(&json(change), &Place::Organisation).unwrap()],
        author: name("operator"),
        source: name("api"),
        why: String::new(),
        idempotency_key: None,
    }
}

/// Maya works in two tenants, owns an agent, and has said yes to somebody's call.
fn at_work(desk: &mut Desk) {
    desk.facts(
        r#"{"tenant":"acme","humans":[{"id":"omar","standing":"active","home":"acme"}],
        "agents":[{"id":"agent-7","type":"t","owner":"maya","standing":"active"},{"id":"agent-8","type":"t","owner":"omar","standing":"active"}],
        "assignments":[{"human":"maya","roles":["manager"],"until":"ended"}],
        "workflows":[{"id":"wf-1","type":"case","owner":"maya","intents":["i"],"ends":"2026-03-02T00:00:00Z"},
                     {"id":"wf-2","type":"case","owner":"omar","intents":["i"],"ends":"2026-03-02T00:00:00Z"}],
        "delegations":[{"id":"dg-1","human":"maya","agent":"agent-7","workflow":"wf-1","grantor":"human","scope":{"actions":["a"],"intents":["i"],"limits":{},"ends":"2026-03-02T00:00:00Z","depth":1}},
                       {"id":"dg-2","human":"maya","agent":"agent-8","workflow":"wf-1","grantor":{"parent":"dg-1"},"scope":{"actions":["a"],"intents":["i"],"limits":{},"ends":"2026-03-02T00:00:00Z","depth":0}},
                       {"id":"dg-3","human":"omar","agent":"agent-8","workflow":"wf-2","grantor":"human","scope":{"actions":["a"],"intents":["i"],"limits":{},"ends":"2026-03-02T00:00:00Z","depth":0}}],
        "approvals":[{"id":"ap-1","name":"manager_approval","workflow":"wf-2","approver":"maya","role":"manager","covers":"sha256:0000000000000000000000000000000000000000000000000000000000000000","ends":"2026-03-02T00:00:00Z"}]}"#,
    );
    desk.facts(
        r#"{"tenant":"globex",
        "workflows":[{"id":"wf-1","type":"case","owner":"lena","intents":["i"],"ends":"2026-03-02T00:00:00Z"}],
        "delegations":[{"id":"dg-1","human":"maya","agent":"agent-7","workflow":"wf-1","grantor":"human","scope":{"actions":["a"],"intents":["i"],"limits":{},"ends":"2026-03-02T00:00:00Z","depth":0}}]}"#,
    );
}

/// Everything that still counts, as one line each.
fn counts(desk: &Desk) -> Vec<String> {
    let mut all: Vec<String> = desk
        .world
        .organisation()
        .agents()
        .filter(|agent| agent.standing == Standing::Active)
        .map(|agent| agent.id.to_string())
        .collect();
    for facts in desk.world.tenants() {
        let id = facts.id();
        all.extend(
            facts
                .delegations()
                .filter(|one| one.state == placet_core::DelegationState::Live)
                .map(|one| format!("{id} {}", one.id.local())),
        );
        all.extend(
            facts
                .workflows()
                .filter(|one| one.state == placet_core::WorkflowState::Open)
                .map(|one| format!("{id} {}", one.id.local())),
        );
        all.extend(
            facts
                .workflows()
                .flat_map(|one| facts.unspent(&one.id))
                .map(|one| format!("{id} {}", one.id.local())),
        );
    }
    all
}

#[test]
fn del_2_a_leaver_leaves_nothing_behind_in_any_tenant_by_one_transaction() {
    let mut desk = Desk::new();
    let id = made(&mut desk, "maya");
    at_work(&mut desk);
    active(&mut desk, &id, false);
    assert_eq!(desk.last.len(), 1, "one transaction: {:?}", desk.last);
    assert_eq!(desk.standing("maya"), Standing::Deactivated);
    assert_eq!(counts(&desk), ["agent-8", "acme dg-3", "acme wf-2", "globex wf-1"], "only what is others'");
    // Back again: they may act, and have to begin anew.
    active(&mut desk, &id, true);
    assert_eq!(desk.standing("maya"), Standing::Active);
    assert_eq!(counts(&desk), ["agent-8", "acme dg-3", "acme wf-2", "globex wf-1"]);
}

#[test]
fn what_a_session_and_a_suspension_end() {
    for (ending, left) in [
        (Ending::Sessions, vec!["agent-7", "agent-8", "acme dg-3", "acme wf-1", "acme wf-2", "globex wf-1"]),
        (Ending::Suspended, vec!["agent-8", "acme dg-3", "acme wf-1", "acme wf-2", "globex wf-1"]),
    ] {
        let mut desk = Desk::new();
        made(&mut desk, "maya");
        at_work(&mut desk);
        desk.apply(organisation(&format!(
            r#"{{"human_ended":{{"human":"maya","ending":"{}"}}}}"#,
            ending.as_str()
        )));
        assert_eq!(counts(&desk), left, "{ending:?}");
        assert_eq!(desk.standing("maya"), ending.standing(Standing::Active));
    }
}

#[test]
fn a_feed_gives_back_no_more_than_it_took() {
    let suspend = r#"{"human_standing":{"human":"maya","standing":"suspended"}}"#;
    let signal = r#"{"human_ended":{"human":"maya","ending":"suspended"}}"#;
    // Suspended by the operator before, in between, and by a signal in between.
    for (before, between) in [(Some(suspend), None), (None, Some(suspend)), (None, Some(signal))] {
        let mut desk = Desk::new();
        let id = made(&mut desk, "maya");
        if let Some(change) = before {
            desk.apply(organisation(change));
        }
        active(&mut desk, &id, false);
        if let Some(change) = between {
            desk.apply(organisation(change));
        }
        active(&mut desk, &id, true);
        assert_eq!(desk.standing("maya"), Standing::Suspended, "{before:?} {between:?}");
    }
    // Who was never inactive for the feed isn't the feed's to lift, however often it says `active`.
    let mut desk = Desk::new();
    let id = made(&mut desk, "maya");
    desk.apply(organisation(r#"{"human_standing":{"human":"maya","standing":"deactivated"}}"#));
    active(&mut desk, &id, true);
    let body = r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"maya","title":"x","active":true}"#;
    assert_eq!(desk.ask("PUT", &format!("/Users/{id}"), body, None).status, 200);
    assert_eq!(desk.standing("maya"), Standing::Deactivated);
    // Nor is making them anew.
    assert_eq!(desk.ask("DELETE", &format!("/Users/{id}"), "", None).status, 204);
    made(&mut desk, "maya");
    assert_eq!(desk.standing("maya"), Standing::Deactivated);
}

#[test]
fn who_was_deleted_can_come_back() {
    let mut desk = Desk::new();
    let id = made(&mut desk, "maya");
    let group = format!(
        r#"{{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"Support","members":[{{"value":"{id}"}}]}}"#
    );
    let group = desk.ask("POST", "/Groups", &group, None).body.unwrap();
    let group = group.get("id").and_then(Value::as_str).unwrap();
    assert_eq!(desk.roles("maya"), ["support"]);
    assert_eq!(desk.ask("DELETE", &format!("/Users/{id}"), "", None).status, 204);
    assert_eq!(desk.standing("maya"), Standing::Deactivated);
    assert!(desk.roles("maya").is_empty());
    let shown = desk.ask("GET", &format!("/Groups/{group}"), "", None).body.unwrap();
    assert!(shown.get("members").is_none(), "no group keeps them: {shown}");
    let again = made(&mut desk, "maya");
    assert_ne!(id, again);
    assert_eq!(desk.standing("maya"), Standing::Active);
    assert!(desk.roles("maya").is_empty());
}

#[test]
fn ten_another_feed_sees_and_changes_nothing() {
    let mut desk = Desk::new();
    let id = made(&mut desk, "maya");
    desk.feed = feed("globex-okta", "globex");
    for (method, body) in [("GET", ""), ("PUT", r#"{"userName":"maya","active":false}"#), ("DELETE", "")] {
        assert_eq!(desk.ask(method, &format!("/Users/{id}"), body, None).status, 404, "{method}");
    }
    let list = desk.ask("GET", "/Users", "", None).body.unwrap();
    assert_eq!(list.get("totalResults").and_then(Value::as_u64), Some(0));
    // Neither by taking over a person of acme's,
    let body = r#"{"userName":"maya","active":false}"#;
    assert_eq!(desk.ask("POST", "/Users", body, None).status, 409);
    // nor by a group of its own that names acme's record.
    let body = format!(r#"{{"displayName":"Support","members":[{{"value":"{id}"}}]}}"#);
    assert_eq!(desk.ask("POST", "/Groups", &body, None).status, 400);
    assert_eq!(desk.standing("maya"), Standing::Active);
    // A person whom nobody's feed has brought is taken by their own tenant's feed only.
    assert_eq!(desk.ask("POST", "/Users", r#"{"userName":"lena"}"#, None).status, 201);
    let lena = desk.world.organisation().human(&"lena".parse::<placet_core::Name>().unwrap().into()).unwrap();
    assert_eq!(lena.home, tenant("globex"));
}

#[test]
fn versions_keep_writers_from_overwriting_each_other() {
    let mut desk = Desk::new();
    let id = made(&mut desk, "maya");
    let path = format!("/Users/{id}");
    let body =
        r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"maya","title":"one"}"#;
    let reply = desk.ask("PUT", &path, body, Some("W/\"1\""));
    assert_eq!((reply.status, reply.etag.as_deref()), (200, Some("W/\"2\"")));
    assert_eq!(desk.ask("PUT", &path, body, Some("W/\"1\"")).status, 412);
    assert_eq!(desk.ask("DELETE", &path, "", Some("W/\"1\"")).status, 412);
    let same = desk.ask("PUT", &path, body, Some("*"));
    assert_eq!(same.etag.as_deref(), Some("W/\"2\""), "the same again is no change");
    assert!(desk.last.is_empty());
}

#[test]
fn lists_have_pages_and_only_the_attributes_asked_for() {
    let mut desk = Desk::new();
    for i in 0..5 {
        made(&mut desk, &format!("user-{i}"));
    }
    let page = desk
        .ask("GET", "/Users?startIndex=2&count=2&attributes=userName,name.givenName", "", None)
        .body
        .unwrap();
    let at = |pointer: &str| page.pointer(pointer).cloned();
    assert_eq!(at("/totalResults"), Some(5_u64.into()));
    assert_eq!((at("/startIndex"), at("/itemsPerPage")), (Some(2_u64.into()), Some(2_u64.into())));
    let first: Vec<&str> = page.pointer("/Resources/0").unwrap().as_object().unwrap().keys().collect();
    assert_eq!(first, ["schemas", "id", "userName"]);
    let page = desk.ask("GET", "/Users?count=0", "", None).body.unwrap();
    assert_eq!(page.get("itemsPerPage").and_then(Value::as_u64), Some(0));
    let search = r#"{"schemas":["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],"filter":"userName sw \"user-\"","excludedAttributes":["active"]}"#;
    let page = desk.ask("POST", "/.search", search, None).body.unwrap();
    assert_eq!(page.get("totalResults").and_then(Value::as_u64), Some(5));
    assert!(page.pointer("/Resources/0/active").is_none());
}

#[test]
fn bad_requests_are_refused_and_change_nothing() {
    let mut desk = Desk::new();
    let id = made(&mut desk, "maya");
    let user = format!("/Users/{id}");
    let huge = format!(r#"{{"userName":"x","title":"{}"}}"#, "a".repeat(3 << 20));
    let long = format!(r#"{{"userName":"x","title":"{}"}}"#, "a".repeat(2000));
    let deep = format!(r#"{{"userName":"x","name":{}1{}}}"#, "[".repeat(40), "]".repeat(40));
    for (method, path, body, status) in [
        ("POST", "/Users", "", 400),
        ("POST", "/Users", "[]", 400),
        ("POST", "/Users", "{}", 400),
        ("POST", "/Users", r#"{"userName":""}"#, 400),
        ("POST", "/Users", r#"{"userName":"x","userName":"y"}"#, 400),
        ("POST", "/Users", r#"{"userName":"x","USERNAME":"y"}"#, 400),
        ("POST", "/Users", r#"{"userName":"x","active":"no"}"#, 400),
        (
            "POST",
            "/Users",
            r#"{"userName":"x","emails":[{"primary":true,"value":"a"},{"primary":true,"value":"b"}]}"#,
            400,
        ),
        ("POST", "/Users", huge.as_str(), 413),
        ("POST", "/Users", long.as_str(), 400),
        ("POST", "/Users", deep.as_str(), 400),
        ("PATCH", user.as_str(), r#"{"Operations":[]}"#, 400),
        ("PATCH", user.as_str(), r#"{"Operations":[{"op":"move","path":"title","value":"x"}]}"#, 400),
        ("PATCH", user.as_str(), r#"{"Operations":[{"op":"remove"}]}"#, 400),
        (
            "PATCH",
            user.as_str(),
            r#"{"Operations":[{"op":"add","path":"name[givenName eq \"x\"].familyName","value":"x"}]}"#,
            400,
        ),
        ("DELETE", "/Users", "", 405),
        ("POST", user.as_str(), "{}", 405),
        ("POST", "/Schemas", "{}", 405),
        ("GET", "/Nothing", "", 404),
        ("GET", "/Users/no/such", "", 404),
        ("GET", "/Users?startIndex=x", "", 400),
    ] {
        let reply = desk.ask(method, path, body, None);
        let shown = reply.body.unwrap();
        assert_eq!(reply.status, status, "{method} {path}: {shown}");
        assert_eq!(shown.get("status").and_then(Value::as_str), Some(status.to_string().as_str()));
        assert!(desk.last.is_empty(), "{method} {path}");
    }
}
