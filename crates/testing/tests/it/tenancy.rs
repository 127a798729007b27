//! TEN and DEL: tenants apart, and rights that end.

use placet_json::Value;
use placet_testing::{Agent, Reply, Stage, Want, Watch};

use crate::support::{server_key, workflow_token};

const NOTE: &str = r#"{"text":"hello"}"#;

/// The agent with a token that the server's own key signed, for whatever is said here.
fn forged(stage: &Stage, agent: &Agent, human: &str, place: (&str, &str, &str)) -> Agent {
    let mut other = stage.idle("agent-7");
    other.token = workflow_token(
        &server_key(stage),
        agent,
        &stage.gateway,
        &format!("{}/mcp", stage.gateway),
        human,
        place,
    );
    other
}

async fn denied(stage: &Stage, agent: &Agent, what: &str) -> String {
    let watch = Watch::on(stage).await;
    let answer = agent.call("desk__note", NOTE).await;
    let code = answer.code();
    assert!(!code.is_empty(), "{what}: {}", answer.text());
    watch.assert(stage, what, Want { ledger: &[&format!("deny {code}")], ..Want::default() }).await;
    code
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_1_a_human_of_one_tenant_in_a_workflow_of_another() {
    let stage = Stage::start().await;
    let agent = stage.seven().await;
    for (human, place) in [
        ("maya", ("globex", "wf-g", "dg-g")),
        ("maya", ("globex", "wf-g", "dg-1")),
        ("maya", ("globex", "wf-9", "dg-1")),
        ("lena", ("acme", "wf-9", "dg-1")),
        ("lena", ("acme", "wf-g", "dg-g")),
        ("maya", ("acme", "wf-g", "dg-1")),
        ("maya", ("organisation", "wf-9", "dg-1")),
        ("maya", ("nobody", "wf-9", "dg-1")),
    ] {
        denied(&stage, &forged(&stage, &agent, human, place), &format!("{human} {place:?}")).await;
    }
    // The token endpoint itself hands out none of these.
    for place in [
        ("globex", "wf-g", "dg-1"),
        ("globex", "wf-9", "dg-1"),
        ("acme", "wf-g", "dg-g"),
        ("acme", "wf-10", "dg-1"),
    ] {
        let answer = agent.ask_for_token(place.0, place.1, place.2).await;
        assert_eq!(answer.status, 400, "{place:?}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_2_another_tenant_s_record_is_no_record() {
    let stage = Stage::start().await;
    let agent = stage.seven().await;
    let mut answers = Vec::new();
    for case in ["CASE-9001", "CASE-7777"] {
        for (tool, arguments) in [
            ("billing__refund", format!(r#"{{"case_id":"{case}","amount":80}}"#)),
            ("crm__get_case", format!(r#"{{"case_id":"{case}"}}"#)),
        ] {
            let watch = Watch::on(&stage).await;
            let answer = agent.call(tool, &arguments).await;
            assert_eq!(answer.code(), "resource_unknown", "{}", answer.text());
            let entries = watch
                .assert(&stage, case, Want { ledger: &["deny resource_unknown"], ..Want::default() })
                .await;
            assert_eq!(entries[0].tree, "acme", "the record stands with the caller's tenant");
            let plain = |line: &&str| !line.starts_with("date:");
            let head: Vec<_> = answer.head.lines().filter(plain).collect();
            answers.push(
                format!("{head:?}{}", answer.text())
                    .replace(entries[0].text("/id"), "ID")
                    .replace(case, "CASE"),
            );
        }
    }
    assert_eq!(answers[0], answers[2]);
    assert_eq!(answers[1], answers[3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_3_each_gets_its_own_answer() {
    const PAIRS: usize = 1000;
    const AT_ONCE: usize = 32;
    let stage = Stage::start().await;
    stage.desk.answer(|seen| {
        let text = seen.json.pointer("/params/arguments/text").unwrap();
        Reply::Result(format!(r#"{{"resultType":"complete","content":[{{"type":"text","text":{text}}}]}}"#))
    });
    let (acme, globex) = (stage.seven().await, stage.agent("agent-7", "globex", "wf-g", "dg-g").await);
    let mark = stage.ledger().last();
    for batch in 0..PAIRS.div_ceil(AT_ONCE) {
        let mut running = Vec::new();
        for at in batch * AT_ONCE..((batch + 1) * AT_ONCE).min(PAIRS) {
            for (tenant, agent) in [("acme", &acme), ("globex", &globex)] {
                let text = format!("{tenant}-{at}");
                let request = agent.modern("desk__note", &format!(r#"{{"text":"{text}"}}"#));
                let address = stage.address;
                running.push((text, tokio::spawn(async move { request.send(address).await })));
            }
        }
        for (text, answer) in running {
            let answer = answer.await.unwrap();
            let message = answer.message();
            assert_eq!(
                message.pointer("/result/content/0/text").and_then(Value::as_str),
                Some(text.as_str()),
                "{}",
                answer.text()
            );
            assert_eq!(message.get("id").and_then(Value::as_i64), Some(0));
        }
    }
    stage.settle().await;
    let entries = stage.ledger().after(mark);
    for tenant in ["acme", "globex"] {
        for gist in ["permit", "done"] {
            let count = entries.iter().filter(|entry| entry.tree == tenant && entry.gist() == gist).count();
            assert_eq!(count, PAIRS, "{tenant} {gist}");
        }
    }
    assert_eq!(stage.desk.calls().len(), 2 * PAIRS);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_4_a_list_is_for_one_caller() {
    let stage = Stage::start().await;
    let (wide, narrow) = (stage.seven().await, stage.agent("agent-7", "acme", "wf-10", "dg-2").await);
    let answer = wide.listing().send(stage.address).await;
    assert_eq!(
        answer.message().pointer("/result/cacheScope").and_then(Value::as_str),
        Some("private"),
        "the tools say `public`"
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let (all, few) = (wide.tools().await, narrow.tools().await);
    assert!(all.contains(&"billing__refund".to_owned()));
    assert_eq!(few, ["desk__note", "desk__place"], "one agent, one key, another delegation");
    assert_eq!(wide.tools().await, all);
    // A cached list is no right: what was listed is decided anew.
    stage.admin.act("/v1/tenants/acme/delegations/dg-1/revoke", r#"{"why":"a test"}"#).await;
    assert_eq!(denied(&stage, &wide, "after the revocation").await, "delegation_revoked");
    assert_eq!(narrow.call("desk__note", NOTE).await.code(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn del_1_a_child_is_never_wider() {
    let stage = Stage::start().await;
    let grant = |id: &str, scope: &str| {
        format!(
            r#"{{"id":"{id}","agent":"agent-8","workflow":"wf-9","grantor":{{"parent":"dg-p"}},"scope":{scope},"why":"a test"}}"#
        )
    };
    let later = stage.end_in(8_000_000);
    for scope in [
        r#"{"actions":["issue_refund","summarize_case"],"depth":1,"limits":{"amount":50}}"#.to_owned(),
        r#"{"actions":["issue_refund"],"depth":1,"limits":{"amount":50.01}}"#.to_owned(),
        r#"{"actions":["issue_refund"],"depth":1,"limits":{}}"#.to_owned(),
        r#"{"actions":["issue_refund"],"depth":2,"limits":{"amount":50}}"#.to_owned(),
        format!(r#"{{"actions":["issue_refund"],"depth":1,"limits":{{"amount":50}},"ends":"{later}"}}"#),
        r#"{"actions":["issue_refund"],"depth":1,"limits":{"amount":50},"intents":["support_case_resolution","other"]}"#.to_owned(),
    ] {
        let before = stage.admin.get("/v1/status").await.pointer("/revision").map(Value::to_string);
        let answer = stage.admin.ask("/v1/tenants/acme/delegations", &grant("dg-w", &scope)).await;
        if scope.contains("\"limits\":{}") && answer.status == 201 {
            // Left out means the parent's: it isn't wider.
            let facts = answer.text();
            assert!(!facts.is_empty());
            continue;
        }
        assert!((400..500).contains(&answer.status), "{scope}: {} {}", answer.status, answer.text());
        assert_eq!(stage.admin.get("/v1/status").await.pointer("/revision").map(Value::to_string), before, "{scope}");
    }
    let other = grant("dg-t", r#"{"actions":["issue_refund"],"depth":1,"limits":{"amount":50}}"#);
    let answer = stage.admin.ask("/v1/tenants/globex/delegations", &other).await;
    assert!((400..500).contains(&answer.status), "a parent of another tenant: {}", answer.text());

    // A narrower one holds at the call, also against what a forged token says of its chain.
    stage
        .admin
        .act(
            "/v1/tenants/acme/delegations",
            &grant("dg-c", r#"{"actions":["issue_refund"],"depth":1,"limits":{"amount":50}}"#),
        )
        .await;
    let child = stage.agent("agent-8", "acme", "wf-9", "dg-c").await;
    let watch = Watch::on(&stage).await;
    let answer = child.call("billing__refund", r#"{"case_id":"CASE-1837","amount":51}"#).await;
    assert!(!answer.code().is_empty(), "{}", answer.text());
    watch
        .assert(
            &stage,
            "over the child's limit",
            Want { ledger: &[&format!("deny {}", answer.code())], ..Want::default() },
        )
        .await;
    let seven = stage.seven().await;
    for delegation in ["dg-c", "dg-p", "dg-8", "dg-2"] {
        denied(&stage, &forged(&stage, &seven, "maya", ("acme", "wf-9", delegation)), delegation).await;
    }
    // The parent's end is the child's.
    stage.admin.act("/v1/tenants/acme/delegations/dg-p/revoke", r#"{"why":"a test"}"#).await;
    let watch = Watch::on(&stage).await;
    let answer = child.call("billing__refund", r#"{"case_id":"CASE-1837","amount":5}"#).await;
    assert!(!answer.code().is_empty(), "{}", answer.text());
    watch
        .assert(
            &stage,
            "after the parent's end",
            Want { ledger: &[&format!("deny {}", answer.code())], ..Want::default() },
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn del_2_a_suspension_holds_for_the_next_call() {
    let stage = Stage::start().await;
    let agent = stage.seven().await;
    for round in 0..10 {
        assert!(agent.tools().await.contains(&"desk__note".to_owned()));
        assert_eq!(agent.call("desk__note", NOTE).await.code(), "", "round {round}");
        stage.admin.act("/v1/humans/maya/standing", r#"{"standing":"suspended","why":"a test"}"#).await;
        // The very next call is denied, and there is nothing to be seen any more.
        assert_eq!(denied(&stage, &agent, "suspended").await, "delegating_user_inactive");
        assert_eq!(agent.tools().await, Vec::<String>::new());
        stage.admin.act("/v1/humans/maya/standing", r#"{"standing":"active","why":"a test"}"#).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn del_3_never_the_union_of_two_people_s_rights() {
    let stage = Stage::start().await;
    let for_maya = stage.seven().await;
    let for_bob = stage.agent("agent-7", "acme", "wf-10", "dg-2").await;
    assert_eq!(for_maya.call("billing__refund", r#"{"case_id":"CASE-1837","amount":5}"#).await.code(), "");
    for case in ["CASE-1837", "CASE-2001"] {
        let watch = Watch::on(&stage).await;
        let answer = for_bob.call("billing__refund", &format!(r#"{{"case_id":"{case}","amount":5}}"#)).await;
        assert_eq!(answer.code(), "tool_unknown", "{}", answer.text());
        watch.assert(&stage, case, Want { ledger: &["deny tool_unknown"], ..Want::default() }).await;
    }
    // Maya's token with Bob's workflow, or Bob's with Maya's delegation.
    for (human, place) in [
        ("maya", ("acme", "wf-10", "dg-1")),
        ("bob", ("acme", "wf-9", "dg-1")),
        ("maya", ("acme", "wf-10", "dg-2")),
        ("bob", ("acme", "wf-10", "dg-1")),
    ] {
        denied(&stage, &forged(&stage, &for_maya, human, place), &format!("{human} {place:?}")).await;
    }
}
