//! Separation of duties: who made something doesn't pay for it, whichever agent they send.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_audit::{Data, Scope, replay};
use placet_record::Kind;
use placet_testing::{Agent, Http, Reply, Stage, StageBuilder, Want, Watch};

const RULES: &str = r#"allow if {
	input.action in {"create_vendor", "pay_vendor"}
	input.intent == "support_case_resolution"
}

deny contains "who created a vendor doesn't pay it" if {
	input.action == "pay_vendor"
	placet.check(sprintf("user:%s", [input.delegating_user.id]), "creator", sprintf("vendor:%s", [input.args.text]))
}
"#;

/// The desk's tools as those of a purchasing desk: `place` creates a vendor, `note` pays one.
fn desk() -> StageBuilder {
    StageBuilder::default()
        .change(
            "catalog/desk.toml",
            "[tool.\"desk.place\"]\naction = \"take_note\"",
            "[tool.\"desk.place\"]\naction = \"create_vendor\"\nwrites = [\"vendor:{args.region}#creator@{human}\", \"vendor:{args.region}#made_by@{agent}\", \"vendor:{args.region}#made_in@{workflow}\"]",
        )
        .change(
            "catalog/desk.toml",
            "[tool.\"desk.note\"]\naction = \"take_note\"",
            "[tool.\"desk.note\"]\naction = \"pay_vendor\"",
        )
        .change("policies/desk.rego", "default allow := false\n", &format!("default allow := false\n\n{RULES}"))
        .change("release.toml", "purge_all = \"rego\"", "purge_all = \"rego\"\ncreate_vendor = \"rego\"\npay_vendor = \"rego\"")
        .change(
            "relations.toml",
            "[type.team.relations]",
            "[type.agent]\n\n[type.workflow]\n\n[type.vendor.relations]\ncreator = { direct = [\"user\"] }\nmade_by = { direct = [\"agent\"] }\nmade_in = { direct = [\"workflow\"] }\n\n[type.team.relations]",
        )
}

async fn delegate(stage: &Stage, tenant: &str, id: &str, human: &str, agent: &str, workflow: &str) {
    let body = format!(
        r#"{{"id":"{id}","human":"{human}","agent":"{agent}","workflow":"{workflow}","grantor":"human","scope":{{"actions":["create_vendor","pay_vendor"],"intents":["support_case_resolution"],"limits":{{}},"ends":"{}","depth":0}},"why":"a test"}}"#,
        stage.end_in(600_000)
    );
    stage.admin.act(&format!("/v1/tenants/{tenant}/delegations"), &body).await;
}

async fn creator(stage: &Stage, tenant: &str, human: &str, vendor: &str) -> bool {
    let body = format!(r#"{{"subject":"user:{human}","relation":"creator","object":"vendor:{vendor}"}}"#);
    let answer = stage.admin.act(&format!("/v1/tenants/{tenant}/relations/check"), &body).await;
    answer.get("allowed").and_then(placet_json::Value::as_bool).unwrap()
}

/// A call that creates a vendor; the tool mirrors its argument in a header.
fn create(agent: &Agent, vendor: &str) -> Http {
    let mirrored = format!("=?base64?{}?=", STANDARD.encode(vendor));
    agent.modern("desk__place", &format!(r#"{{"region":"{vendor}"}}"#)).add("mcp-param-region", &mirrored)
}
fn pay(vendor: &str) -> String {
    format!(r#"{{"text":"{vendor}"}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_created_a_vendor_does_not_pay_it_through_another_agent_either() {
    let mut stage = desk().start().await;
    delegate(&stage, "acme", "dg-a", "maya", "agent-7", "wf-9").await;
    delegate(&stage, "acme", "dg-b", "maya", "agent-8", "wf-9").await;
    delegate(&stage, "acme", "dg-c", "bob", "agent-7", "wf-10").await;
    delegate(&stage, "globex", "dg-d", "lena", "agent-7", "wf-g").await;
    let seven = stage.agent("agent-7", "acme", "wf-9", "dg-a").await;
    let eight = stage.agent("agent-8", "acme", "wf-9", "dg-b").await;
    let of_bob = stage.agent("agent-7", "acme", "wf-10", "dg-c").await;
    let of_lena = stage.agent("agent-7", "globex", "wf-g", "dg-d").await;

    // Nobody made V-1 yet, so Maya's agent may pay it: afterwards, not.
    assert_eq!(seven.call("desk__note", &pay("V-1")).await.code(), "");
    let watch = Watch::on(&stage).await;
    let before = stage.ledger().last();
    assert_eq!(create(&seven, "V-1").send(stage.address).await.code(), "");
    watch.assert(&stage, "a vendor", Want { ledger: &["permit", "done"], calls: 1, ..Want::default() }).await;
    // Decision, effect and what it left behind: the last two are neighbours, of one entry.
    let entries = stage.ledger().after(before);
    let kinds: Vec<Kind> = entries.iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [Kind::Decision, Kind::Effect, Kind::Facts]);
    assert_eq!(
        entries[0].record.pointer("/call/writes").unwrap().to_string(),
        r#"["vendor:V-1#creator@user:maya","vendor:V-1#made_by@agent:agent-7","vendor:V-1#made_in@workflow:wf-9"]"#
    );
    let transaction = entries[2].record.get("transaction").unwrap();
    assert_eq!(transaction.get("author").unwrap().as_str(), Some("agent-7"));
    assert_eq!(transaction.get("source").unwrap().as_str(), Some("effect"));
    assert_eq!(
        transaction.get("why").unwrap().as_str().unwrap(),
        format!("effect of decision {}", entries[0].text("/id"))
    );

    for (who, agent) in [("the same agent", &seven), ("another agent of hers", &eight)] {
        let watch = Watch::on(&stage).await;
        let answer = agent.call("desk__note", &pay("V-1")).await;
        assert!(answer.text().contains("who created a vendor"), "{who}: {}", answer.text());
        let gist = format!("deny {}", answer.code());
        watch.assert(&stage, who, Want { ledger: &[&gist], ..Want::default() }).await;
    }
    assert_eq!(of_bob.call("desk__note", &pay("V-1")).await.code(), "", "a colleague pays");
    assert_eq!(seven.call("desk__note", &pay("V-2")).await.code(), "", "another vendor is paid");

    // Another tenant's vendor of the same name is another vendor.
    assert_eq!(of_lena.call("desk__note", &pay("V-1")).await.code(), "");
    assert_eq!(create(&of_lena, "V-9").send(stage.address).await.code(), "");
    assert!(creator(&stage, "globex", "lena", "V-9").await && !creator(&stage, "acme", "lena", "V-9").await);
    assert!(creator(&stage, "acme", "maya", "V-1").await && !creator(&stage, "globex", "maya", "V-1").await);

    // What is no identifier makes no relationship: the call is denied before it leaves.
    for hostile in ["V 1", "V-1#creator@user:bob", "*", "{human}", "v\u{0456}"] {
        let watch = Watch::on(&stage).await;
        let answer = create(&seven, hostile).send(stage.address).await;
        assert_eq!(answer.code(), "argument_invalid", "{hostile:?}: {}", answer.text());
        let want = Want { ledger: &["deny argument_invalid"], ..Want::default() };
        watch.assert(&stage, hostile, want).await;
    }

    // It is on disk, not in memory: after a restart it still holds, and all of it is decided the same again.
    stage.restart(|_| ()).await;
    assert!(eight.call("desk__note", &pay("V-1")).await.text().contains("who created a vendor"));
    stage.stop().await;
    let report =
        replay(&Data::open(&stage.data()).unwrap(), &Scope::default(), None, &mut |_, _| {}).unwrap();
    assert!(report.is_same() && report.same >= 14, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn led_1_what_may_have_happened_leaves_its_relationships_and_what_failed_none() {
    let mut stage = desk().start().await;
    delegate(&stage, "acme", "dg-a", "maya", "agent-7", "wf-9").await;
    let seven = stage.agent("agent-7", "acme", "wf-9", "dg-a").await;
    for (vendor, reply, ending, left) in [
        ("V-failed", Reply::Error(r#"{"code":-32000,"message":"no"}"#.to_owned()), "failed", false),
        ("V-gone", Reply::Gone, "unknown", true),
    ] {
        let reply = std::sync::Mutex::new(Some(reply));
        stage.desk.answer(move |_| reply.lock().unwrap().take().unwrap_or(Reply::Gone));
        let watch = Watch::on(&stage).await;
        create(&seven, vendor).send(stage.address).await;
        watch.assert(&stage, vendor, Want { ledger: &["permit", ending], calls: 1, ..Want::default() }).await;
        assert_eq!(creator(&stage, "acme", "maya", vendor).await, left, "{vendor}");
    }
    // A gateway that stops in mid-call knows nothing of the effect: it may have happened.
    stage.desk.answer(|_| Reply::Silence);
    let before = stage.desk.calls().len();
    let running = {
        let (request, address) = (create(&seven, "V-stopped"), stage.address);
        tokio::spawn(async move { request.send(address).await })
    };
    stage.desk.beyond("tools/call", before).await;
    running.abort();
    let _aborted = running.await;
    stage.stop().await;
    stage.desk.answer(|_| Reply::Result(r#"{"content":[]}"#.to_owned()));
    stage.start_again().await;
    assert!(creator(&stage, "acme", "maya", "V-stopped").await);
    assert!(!creator(&stage, "acme", "maya", "V-failed").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_writes_what_the_model_does_not_allow_is_no_release() {
    for (from, to, says) in [
        ("#creator@{human}", "#owner@{human}", "there is no such relation"),
        ("#creator@{human}", "#creator@{agent}", "doesn't take such a subject"),
        ("vendor:{args.region}#creator", "vendr:{args.region}#creator", "there is no such relation"),
        ("{args.region}#creator", "{args.city}#creator", "there is no argument `city`"),
        ("#creator@{human}", "#creator@user:{approver}", "is no placeholder"),
    ] {
        let refused = desk().change("catalog/desk.toml", from, to).refused().await;
        assert!(refused.contains(says) && refused.contains("desk.toml:"), "{to}: {refused}");
    }
    let read = desk().change(
        "catalog/desk.toml",
        "\"vendor:{args.region}#made_in@{workflow}\"]\neffect = \"write\"",
        "\"vendor:{args.region}#made_in@{workflow}\"]\neffect = \"read\"",
    );
    assert!(read.refused().await.contains("a read leaves nothing behind"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tuple_that_the_model_does_not_allow_is_a_4xx_and_nothing_is_applied() {
    let stage = desk().start().await;
    let facts = |tuple: &str| {
        format!(
            r#"{{"place":{{"tenant":"acme"}},"changes":[{{"tuple_added":{{"tuple":"vendor:V-3#creator@user:bob"}}}},{{"tuple_added":{{"tuple":"{tuple}"}}}}],"why":"a test"}}"#
        )
    };
    for (tuple, status, path) in [
        ("vendor:V-1#owner@user:maya", 422, "/changes/1"),
        ("vendr:V-1#creator@user:maya", 422, "/changes/1"),
        ("vendor:V-1#creator@agent:agent-7", 409, "/changes/1"),
        ("vendor:V-1#creator@user:*", 409, "/changes/1"),
        ("vendor:V-1#creator@us er:x", 400, "/changes/1"),
    ] {
        let answer = stage.admin.ask("/v1/facts", &facts(tuple)).await;
        assert_eq!(answer.status, status, "{tuple}: {}", answer.text());
        assert!(answer.text().contains(path), "{tuple}: {}", answer.text());
        assert!(!creator(&stage, "acme", "bob", "V-3").await, "{tuple}: half of it was applied");
    }
    let ask = |body: &'static str| stage.admin.ask("/v1/tenants/acme/relations/check", body);
    for (body, status, says) in [
        (r#"{"subject":"user:maya","relation":"owner","object":"vendor:V-1"}"#, 422, "no relation `owner`"),
        (r#"{"subject":"maya","relation":"creator","object":"vendor:V-1"}"#, 400, "`subject`"),
        (r#"{"subject":"user:*","relation":"creator","object":"vendor:V-1"}"#, 400, "`subject`"),
        (r#"{"subject":"user:maya","relation":"creator"}"#, 400, "`object` is missing"),
        (r#"{"subject":"user:maya","relation":"creator","object":"vendor:V-1","at":"now"}"#, 400, "`at`"),
    ] {
        let answer = ask(body).await;
        assert!(answer.status == status && answer.text().contains(says), "{body}: {}", answer.text());
    }
    let missing = stage.admin.ask(
        "/v1/tenants/initech/relations/check",
        r#"{"subject":"user:maya","relation":"creator","object":"vendor:V-1"}"#,
    );
    assert_eq!(missing.await.status, 404);
}
