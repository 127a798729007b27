//! RAC-3 and DEL-2 on a whole server: stops of each kind, before a call, before its first byte and in the middle of it;
//! and everything whose end ends what hangs below.

use placet_json::Value;
use placet_record::Kind;
use placet_testing::{Agent, Answer, Reply, Speaks, Stage, StageBuilder, Want, Watch};
use tokio::task::JoinHandle;

const REFUND: &str = r#"{"case_id":"CASE-1837","amount":80}"#;
const SMALL: &str = r#"{"case_id":"CASE-1837","amount":5}"#;
const DONE: &str = r#"{"resultType":"complete","content":[{"type":"text","text":"done"}]}"#;

/// Each kind of stop that hits a refund of agent-7 in acme.
const KINDS: [&str; 5] = [
    r#""all""#,
    r#"{"tenant":"acme"}"#,
    r#"{"agent":"agent-7"}"#,
    r#"{"tool":"billing.refund"}"#,
    r#"{"upstream":"billing"}"#,
];

fn what(kind: &str) -> String {
    format!(r#"{{"what":{kind},"why":"a test"}}"#)
}

/// A call whose answer is waited for meanwhile.
fn begin(stage: &Stage, agent: &Agent, arguments: &str) -> JoinHandle<Answer> {
    let (request, address) = (agent.modern("billing__refund", arguments), stage.address);
    tokio::spawn(async move { request.send(address).await })
}

/// Begins a call that the tool keeps waiting.
async fn hanging(stage: &Stage, agent: &Agent, arguments: &str) -> JoinHandle<Answer> {
    stage.billing.answer(|_| Reply::Silence);
    let before = stage.billing.calls().len();
    let running = begin(stage, agent, arguments);
    stage.billing.beyond("tools/call", before).await;
    running
}

#[tokio::test(flavor = "multi_thread")]
async fn rac_3_a_stop_of_each_kind_cancels_the_call_that_is_on_its_way() {
    let stage = Stage::start().await;
    let agent = stage.seven().await;
    for (round, kind) in KINDS.into_iter().enumerate() {
        let watch = Watch::on(&stage).await;
        let running = hanging(&stage, &agent, REFUND).await;
        let told = stage.admin.act("/v1/freezes", &what(kind)).await;
        let hit = told.get("in_flight").and_then(Value::as_array).unwrap();
        assert_eq!(hit.len(), 1, "{kind}: {told}");
        let text = |name: &str| hit[0].get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        assert_eq!(
            (
                text("tenant").as_str(),
                text("workflow").as_str(),
                text("tool").as_str(),
                text("human").as_str()
            ),
            ("acme", "wf-9", "billing.refund", "maya")
        );
        let answer = running.await.unwrap();
        assert_eq!(answer.ending(), "unknown", "{kind}: {}", answer.text());
        stage.billing.given_up(round + 1).await;
        let entries = watch
            .assert(&stage, kind, Want { ledger: &["permit", "unknown"], calls: 1, ..Want::default() })
            .await;
        let permit = entries.iter().find(|entry| entry.kind == Kind::Decision).unwrap();
        assert_eq!(permit.text("/id"), text("decision"), "the list names the call that it hit");
        let ended = entries.iter().find(|entry| entry.kind == Kind::Effect).unwrap();
        assert!(ended.text("/detail").starts_with("cancelled in mid-call: frozen"), "{}", ended.record);
        stage.admin.act("/v1/freezes/end", &what(kind)).await;
    }
    stage.billing.answer(|_| Reply::Result(DONE.to_owned()));
    assert_eq!(agent.call("billing__refund", REFUND).await.code(), "", "every stop has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn rac_3_a_stop_of_each_kind_denies_the_next_call_and_hides_what_it_stops() {
    let stage = Stage::start().await;
    let agent = stage.seven().await;
    for kind in KINDS {
        let told = stage.admin.act("/v1/freezes", &what(kind)).await;
        assert_eq!(told.get("in_flight").and_then(Value::as_array).map(<[_]>::len), Some(0), "{told}");
        let watch = Watch::on(&stage).await;
        assert_eq!(agent.call("billing__refund", REFUND).await.code(), "frozen", "{kind}");
        watch.assert(&stage, kind, Want { ledger: &["deny frozen"], ..Want::default() }).await;
        let tools = agent.tools().await;
        assert!(!tools.contains(&"billing__refund".to_owned()), "{kind}: {tools:?}");
        let others = kind.contains("tool") || kind.contains("upstream");
        assert_eq!(tools.contains(&"desk__note".to_owned()), others, "{kind}: {tools:?}");
        stage.admin.act("/v1/freezes/end", &what(kind)).await;
        assert_eq!(agent.call("billing__refund", REFUND).await.code(), "", "{kind}: it has ended");
    }
    // What another stop names goes on.
    for kind in [
        r#"{"tenant":"globex"}"#,
        r#"{"agent":"agent-8"}"#,
        r#"{"tool":"desk.note"}"#,
        r#"{"upstream":"crm"}"#,
    ] {
        stage.admin.act("/v1/freezes", &what(kind)).await;
    }
    assert_eq!(agent.call("billing__refund", REFUND).await.code(), "");
    let again = stage.admin.ask("/v1/freezes/end", &what(r#""all""#)).await;
    assert_eq!(again.status, 422, "what isn't stopped can't go on: {}", again.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn rac_3_a_stop_of_each_kind_between_decision_and_first_byte_sends_nothing() {
    for kind in KINDS {
        let stage = StageBuilder::default().billing(Speaks::Legacy).start().await;
        let agent = stage.seven().await;
        // A session is opened for this tenant's own credential before anything of the call is sent.
        let held = stage.billing.hold("initialize");
        let before = stage.billing.of("initialize").len();
        let watch = Watch::on(&stage).await;
        let running = begin(&stage, &agent, REFUND);
        stage.billing.beyond("initialize", before).await;
        let told = stage.admin.act("/v1/freezes", &what(kind)).await;
        assert_eq!(
            told.get("in_flight").and_then(Value::as_array).map(<[_]>::len),
            Some(1),
            "{kind}: {told}"
        );
        held.send_replace(true);
        assert_eq!(running.await.unwrap().ending(), "revoked", "{kind}");
        let entries =
            watch.assert(&stage, kind, Want { ledger: &["permit", "revoked"], ..Want::default() }).await;
        let ended = entries.iter().find(|entry| entry.kind == Kind::Effect).unwrap();
        assert_eq!(ended.record.get("sent").and_then(Value::as_u64), Some(0), "{}", ended.record);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rac_3_an_open_stream_ends_with_what_it_is_about() {
    let stage = Stage::start().await;
    let agent = stage.seven().await;
    // The tool says that it is at work, and then nothing more.
    stage.billing.answer(|seen| {
        let token = seen.json.pointer("/params/_meta/progressToken").cloned().unwrap_or(Value::Null);
        let event = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
        );
        Reply::Raw(
            format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {event}\n\n").into_bytes(),
        )
    });
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"tools/call","params":{{"name":"billing__refund","arguments":{REFUND},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}},"progressToken":"p-1"}}}}}}"#
    );
    let request = agent.modern("billing__refund", REFUND).body(body);
    let address = stage.address;
    let before = stage.billing.calls().len();
    let running = tokio::spawn(async move { request.send(address).await });
    stage.billing.beyond("tools/call", before).await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(!running.is_finished(), "the stream is open");
    stage.admin.act("/v1/freezes", &what(r#"{"tool":"billing.refund"}"#)).await;
    // It is read to its end, so it has one.
    let answer = running.await.unwrap();
    assert_eq!(answer.header("content-type"), Some("text/event-stream"), "{}", answer.all());
    assert!(answer.text().contains("notifications/progress"), "{}", answer.text());
    assert_eq!(answer.ending(), "unknown", "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn rac_3_a_legacy_upstream_is_told_that_its_call_is_cancelled() {
    let stage = StageBuilder::default().billing(Speaks::Legacy).start().await;
    let agent = stage.seven().await;
    let running = hanging(&stage, &agent, REFUND).await;
    stage.admin.act("/v1/freezes", &what(r#"{"agent":"agent-7"}"#)).await;
    assert_eq!(running.await.unwrap().ending(), "unknown");
    stage.billing.beyond("notifications/cancelled", 0).await;
    let call = stage.billing.calls().pop().unwrap();
    let cancelled = stage.billing.of("notifications/cancelled").pop().unwrap();
    assert_eq!(cancelled.json.pointer("/params/requestId"), call.json.get("id"));
}

/// One thing on which the call of a child agent stands: how it ends, the code of the denial, how it is there again.
struct Ground {
    path: &'static str,
    body: &'static str,
    code: &'static str,
    again: Option<(&'static str, &'static str)>,
}

const STANDING: &str = r#"{"standing":"active","why":"a test"}"#;

const GROUNDS: [Ground; 9] = [
    Ground {
        path: "/v1/humans/maya/standing",
        body: r#"{"standing":"suspended","why":"a test"}"#,
        code: "delegating_user_inactive",
        again: Some(("/v1/humans/maya/standing", STANDING)),
    },
    Ground {
        path: "/v1/humans/maya/standing",
        body: r#"{"standing":"deactivated","why":"a test"}"#,
        code: "delegating_user_inactive",
        again: Some(("/v1/humans/maya/standing", STANDING)),
    },
    Ground {
        path: "/v1/agents/agent-8/standing",
        body: r#"{"standing":"suspended","why":"a test"}"#,
        code: "agent_inactive",
        again: Some(("/v1/agents/agent-8/standing", STANDING)),
    },
    // The agent above it in the chain, not the one that calls.
    Ground {
        path: "/v1/agents/planner-1/standing",
        body: r#"{"standing":"deactivated","why":"a test"}"#,
        code: "agent_inactive",
        again: Some(("/v1/agents/planner-1/standing", STANDING)),
    },
    Ground {
        path: "/v1/freezes",
        body: r#"{"what":{"agent":"planner-1"},"why":"a test"}"#,
        code: "frozen",
        again: Some(("/v1/freezes/end", r#"{"what":{"agent":"planner-1"},"why":"a test"}"#)),
    },
    Ground {
        path: "/v1/facts",
        body: r#"{"place":{"tenant":"acme"},"changes":[{"assignment_removed":{"human":"maya"}}],"why":"a test"}"#,
        code: "tenant_mismatch",
        again: Some((
            "/v1/tenants/acme/assignments",
            r#"{"human":"maya","roles":["support"],"why":"a test"}"#,
        )),
    },
    Ground {
        path: "/v1/facts",
        body: r#"{"place":{"tenant":"acme"},"changes":[{"resource_removed":{"type":"support_case","id":"CASE-1837"}}],"why":"a test"}"#,
        code: "resource_unknown",
        again: Some((
            "/v1/facts",
            r#"{"tenant":"acme","resources":[{"type":"support_case","id":"CASE-1837","attributes":{"case_id":"CASE-1837","customer_id":"cust-101"}}]}"#,
        )),
    },
    Ground {
        path: "/v1/tenants/acme/delegations/dg-p/revoke",
        body: r#"{"why":"a test"}"#,
        code: "delegation_revoked",
        again: None,
    },
    Ground {
        path: "/v1/tenants/acme/workflows/wf-9/close",
        body: r#"{"why":"a test"}"#,
        code: "workflow_closed",
        again: None,
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn del_2_what_hangs_below_ends_with_what_it_hangs_on_also_in_mid_call() {
    for last in ["delegation_revoked", "workflow_closed"] {
        let stage = Stage::start().await;
        stage
            .admin
            .act(
                "/v1/tenants/acme/delegations",
                r#"{"id":"dg-c","agent":"agent-8","grantor":{"parent":"dg-p"},"scope":{"actions":["issue_refund"],"limits":{"amount":50},"depth":1},"why":"a test"}"#,
            )
            .await;
        let child = stage.agent("agent-8", "acme", "wf-9", "dg-c").await;
        for ground in GROUNDS {
            if ground.again.is_none() && ground.code != last {
                continue;
            }
            let watch = Watch::on(&stage).await;
            let running = hanging(&stage, &child, SMALL).await;
            stage.admin.act(ground.path, ground.body).await;
            let answer = running.await.unwrap();
            assert_eq!(answer.ending(), "unknown", "{} {}: {}", ground.path, ground.body, answer.text());
            let code = child.call("billing__refund", SMALL).await.code();
            assert_eq!(code, ground.code, "{} {}", ground.path, ground.body);
            let ledger = ["permit", "unknown", &format!("deny {code}")];
            watch.assert(&stage, ground.body, Want { ledger: &ledger, calls: 1, ..Want::default() }).await;
            match ground.again {
                Some((path, body)) => {
                    stage.admin.act(path, body).await;
                    stage.billing.answer(|_| Reply::Result(DONE.to_owned()));
                    assert_eq!(child.call("billing__refund", SMALL).await.code(), "", "{path}");
                }
                None => break,
            }
        }
        let token = child.ask_for_token("acme", "wf-9", "dg-c").await;
        assert_eq!(token.status, 400, "no new token either: {}", token.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn del_2_nobody_s_right_ends_by_another_s() {
    let stage = Stage::start().await;
    let other = stage.agent("agent-7", "acme", "wf-10", "dg-2").await;
    let globex = stage.agent("agent-7", "globex", "wf-g", "dg-g").await;
    for (path, body) in [
        ("/v1/humans/maya/standing", r#"{"standing":"suspended","why":"a test"}"#),
        ("/v1/tenants/acme/workflows/wf-9/close", r#"{"why":"a test"}"#),
        ("/v1/tenants/acme/delegations/dg-1/revoke", r#"{"why":"a test"}"#),
        ("/v1/freezes", r#"{"what":{"agent":"planner-1"},"why":"a test"}"#),
    ] {
        stage.admin.act(path, body).await;
    }
    for agent in [&other, &globex] {
        assert_eq!(agent.call("desk__note", r#"{"text":"hello"}"#).await.code(), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn con_3_who_may_stop_and_let_go_on_is_named_in_the_release() {
    let acts = "[acts.freeze]\ntool = [{ role = \"support_manager\", tenant = \"acme\" }]\ntenant = [{ role = \"support_manager\" }]\n\n[acts.unfreeze]\ntenant = [{ role = \"support_manager\" }]\n\n[grants]";
    let stage = StageBuilder::default().change("release.toml", "[grants]", acts).start().await;
    let (omar, bob, lena) =
        (stage.admin.person("omar").await, stage.admin.person("bob").await, stage.admin.person("lena").await);
    let running = hanging(&stage, &stage.seven().await, REFUND).await;
    for who in [&bob, &lena] {
        for kind in [r#"{"tool":"billing.refund"}"#, r#"{"tenant":"acme"}"#, r#""all""#] {
            let answer = who.ask("/v1/freezes", &what(kind)).await;
            assert_eq!(answer.status, 403, "{kind}: {}", answer.text());
        }
    }
    assert!(!running.is_finished());
    let told = omar.act("/v1/freezes", &what(r#"{"tool":"billing.refund"}"#)).await;
    assert_eq!(told.get("in_flight").and_then(Value::as_array).map(<[_]>::len), Some(1), "{told}");
    assert_eq!(running.await.unwrap().ending(), "unknown");
    // To stop a tool is his, to let it go on isn't.
    assert_eq!(omar.ask("/v1/freezes/end", &what(r#"{"tool":"billing.refund"}"#)).await.status, 403);
    omar.act("/v1/freezes", &what(r#"{"tenant":"acme"}"#)).await;
    assert_eq!(omar.ask("/v1/freezes", &what(r#"{"tenant":"globex"}"#)).await.status, 403, "his tenant only");
    omar.act("/v1/freezes/end", &what(r#"{"tenant":"acme"}"#)).await;
    // The role is asked for each time.
    stage
        .admin
        .act("/v1/tenants/acme/assignments", r#"{"human":"omar","roles":["support"],"why":"a test"}"#)
        .await;
    assert_eq!(omar.ask("/v1/freezes", &what(r#"{"tenant":"acme"}"#)).await.status, 403);
    let history = stage.admin.get("/v1/facts/history").await;
    let authors: Vec<&str> = history
        .get("history")
        .and_then(Value::as_array)
        .unwrap()
        .iter()
        .filter(|entry| entry.to_string().contains("frozen"))
        .filter_map(|entry| entry.pointer("/transaction/author")?.as_str())
        .collect();
    assert_eq!(authors, ["human:omar"; 3], "acts stand under the name of who signed");
}
