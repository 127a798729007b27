//! What is personal through a whole server: it is sealed before it is recorded, erased for good, and the ledger holds.

use std::path::Path;

use placet_audit::{Data, ReplayReport, Scope, replay};
use placet_json::Value;
use placet_testing::{Cluster, Second, StageBuilder, on_postgres, url_file};

const MAIL: &str = "zora.quandt@canary.example";
const NAME: &str = "Zora Quandt-Canary";
const NOTE: &str = r#"{"text":"write to zora.quandt@canary.example","weight":3}"#;

/// The stage, whose release marks the note's text, what is kept of the case's result, and who reported a case.
fn builder() -> StageBuilder {
    StageBuilder::default()
        .change(
            "catalog/desk.toml",
            "text = { type = \"text\", max_length = 4000 }",
            "text = { type = \"text\", max_length = 4000, personal = \"customer:$resource.customer_id\" }",
        )
        .change("relations.toml", "customer_id = \"id\"", "customer_id = \"id\", reporter = \"text\"")
        .change(
            "catalog/crm.toml",
            "[tool.\"crm.get_case\".result]\n",
            "[tool.\"crm.get_case\".result]\nsensitive = true\n",
        )
        .change(
            "catalog/desk.toml",
            "[tool.\"desk.place\"]",
            "[personal.support_case]\nattributes = [\"reporter\"]\nsubject = \"customer:$customer_id\"\n\n[tool.\"desk.place\"]",
        )
}

fn case(id: &str, customer: &str) -> String {
    format!(
        r#"{{"place":{{"tenant":"acme"}},"changes":[{{"resource_set":{{"type":"support_case","id":"{id}","attributes":{{"case_id":"{id}","customer_id":"{customer}","reporter":"{NAME}"}}}}}}],"why":"import"}}"#
    )
}

/// The files below a directory that hold what is personal, in any of its forms.
fn holding(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        if [MAIL, NAME].iter().any(|secret| bytes.windows(secret.len()).any(|it| it == secret.as_bytes())) {
            found.push(path.display().to_string());
        }
    }
    found
}

fn replayed(data: &Path) -> ReplayReport {
    replay(&Data::open(data).unwrap(), &Scope::default(), None, &mut |_, _| {}).unwrap()
}

async fn reporter(admin: &placet_testing::Admin, at: Option<u64>) -> (Option<String>, Option<String>) {
    let at = at.map(|at| format!("&at={at}")).unwrap_or_default();
    let path = format!("/v1/facts?tenant=acme&kind=resources&id=support_case:CASE-1837{at}");
    let facts = admin.get(&path).await;
    let text = |pointer: &str| facts.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    (text("/resources/0/attributes/reporter"), text("/resources/0/erased/0"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_customer_is_nowhere_and_the_ledger_holds() {
    let mut stage = builder().start().await;
    let revision = stage.admin.act("/v1/facts", &case("CASE-1837", "cust-101")).await;
    let revision = revision.get("revision").and_then(Value::as_u64).unwrap();
    let agent = stage.seven().await;
    let note = agent.call("desk__note", NOTE).await;
    assert_eq!(note.code(), "", "{}", note.text());
    // What the tool got is what was asked.
    assert!(stage.desk.calls().iter().any(|call| format!("{call:?}").contains(MAIL)));
    // A refused call's arguments, and a denial's, are sealed just so.
    assert_ne!(
        agent.call("desk__note", r#"{"text":"zora.quandt@canary.example","nothing":1}"#).await.code(),
        ""
    );
    assert_eq!(agent.call("crm__get_case", r#"{"case_id":"CASE-1837"}"#).await.code(), "");
    // Another customer's, of another tenant, and a call without anything personal.
    let other = stage.agent("agent-7", "globex", "wf-g", "dg-g").await;
    assert_eq!(other.call("desk__note", NOTE).await.code(), "");
    assert_eq!(other.call("billing__refund", r#"{"case_id":"CASE-9001","amount":40}"#).await.code(), "");
    // What is added up isn't sealed, though its case has a reporter.
    assert_eq!(agent.call("billing__refund", r#"{"case_id":"CASE-1837","amount":40}"#).await.code(), "");
    stage.settle().await;
    assert_eq!(holding(&stage.data()), [""; 0], "nothing personal is on disk in plain");
    assert_eq!(reporter(&stage.admin, None).await, (Some(NAME.to_owned()), None));
    let entries = stage.ledger().after(0);
    let permit = entries.iter().find(|it| it.text("/call/entry") == "desk.note").unwrap();
    let id = permit.text("/id").to_owned();
    assert_eq!(permit.record.pointer("/call/arguments/weight").and_then(Value::as_u64), Some(3));
    let shown = stage.admin.get(&format!("/v1/decisions/{id}")).await.to_string();
    assert!(shown.contains(MAIL) && shown.contains(NAME), "{shown}");
    let whole = replayed(&stage.data());
    assert!(whole.is_same() && whole.same >= 4, "{whole}");

    let body = r#"{"kind":"customer","id":"cust-101","tenant":"acme","why":"GDPR Art. 17"}"#;
    let erased = stage.admin.act("/v1/erasures", body).await;
    assert_eq!(erased.get("keys").and_then(Value::as_u64), Some(1), "{erased}");
    assert_eq!(reporter(&stage.admin, None).await, (None, Some("reporter".to_owned())));
    assert_eq!(reporter(&stage.admin, Some(revision)).await, (None, Some("reporter".to_owned())));
    let shown = stage.admin.get(&format!("/v1/decisions/{id}")).await.to_string();
    assert!(!shown.contains(MAIL) && !shown.contains(NAME) && shown.contains(r#""why":"erased""#), "{shown}");
    let page = stage.admin.request("GET", "/metrics", "").send(stage.admin.address()).await.text();
    assert!(page.contains("placet_subject_keys_erased 1"), "{page}");
    // Work goes on, under a key of its own where something comes again.
    assert_eq!(agent.call("desk__note", r#"{"text":"another text"}"#).await.code(), "");

    stage.restart(|_| {}).await;
    assert_eq!(holding(&stage.data()), [""; 0]);
    assert_eq!(reporter(&stage.admin, None).await, (None, Some("reporter".to_owned())));
    stage.stop().await;
    assert_eq!(holding(&stage.data()), [""; 0]);
    let key = placet_audit::read_key(&stage.data().join("keys/checkpoint.key")).unwrap();
    let verified = placet_audit::verify(&stage.data(), "hostile", key);
    assert!(verified.is_sound(), "{verified}");
    let report = replayed(&stage.data());
    assert_eq!((report.differs, report.cannot_tell), (0, 0), "{report}");
    assert!(report.is_same_but_erased() && !report.is_same(), "{report}");
    // The two notes, and the case that was read: their input was what is erased. The others are the same.
    assert!(report.erased >= 3 && report.same >= 3, "{report}");
    assert!(report.to_string().contains("body erased"), "{report}");
    assert!(report.to_value().to_string().contains(r#""verdict":"erased""#));
    // Without the master key nothing opens, and what is erased is still told from what is only shut.
    let shut =
        replay(&Data::open_with(&stage.data(), None).unwrap(), &Scope::default(), None, &mut |_, _| {})
            .unwrap();
    assert_eq!((shut.differs, shut.erased), (0, report.erased), "{shut}");
    assert!(shut.cannot_tell > 0, "{shut}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sensitive_goes_with_its_workflow() {
    let mut stage = builder()
        .change(
            "catalog/desk.toml",
            "items = { type = \"text\", max_length = 40 }, required = false }",
            "items = { type = \"text\", max_length = 40 }, required = false, sensitive = true }",
        )
        .start()
        .await;
    let agent = stage.seven().await;
    let note = format!(r#"{{"text":"hello","tags":["x","{NAME}"]}}"#);
    assert_eq!(agent.call("desk__note", &note).await.code(), "");
    stage.settle().await;
    assert_eq!(holding(&stage.data()), [""; 0]);
    assert!(replayed(&stage.data()).is_same());
    let body = r#"{"kind":"workflow","id":"wf-9","tenant":"acme","why":"the case is closed"}"#;
    assert_eq!(stage.admin.act("/v1/erasures", body).await.get("keys").and_then(Value::as_u64), Some(1));
    stage.stop().await;
    let report = replayed(&stage.data());
    assert_eq!((report.differs, report.erased), (0, 1), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_erasure_is_refused_with_its_remedy() {
    let stage = builder().start().await;
    for (body, status, what) in [
        (r#"{"kind":"human","id":"maya"}"#, 400, "`why` is missing"),
        (r#"{"kind":"human","id":"maya","why":" "}"#, 400, "`why` is missing"),
        (r#"{"kind":"human","id":"maya","tenant":"acme","why":"x"}"#, 400, "leave `tenant` out"),
        (r#"{"kind":"customer","id":"cust-101","why":"x"}"#, 400, "`tenant` is missing"),
        (r#"{"kind":"customer","id":"cust-101","tenant":"nowhere","why":"x"}"#, 404, "nowhere"),
        (r#"{"kind":"a:b","id":"cust-101","tenant":"acme","why":"x"}"#, 400, "no kind"),
        (r#"{"kind":"customer","id":"cust~101","tenant":"acme","why":"x"}"#, 400, "`id`"),
        (r#"{"kind":"human","id":"maya","why":"x","all":true}"#, 400, "`all` is not known"),
    ] {
        let answer = stage.admin.ask("/v1/erasures", body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        assert!(answer.text().contains(what), "{body}: {}", answer.text());
    }
    // Whoever nothing is sealed for: recorded all the same.
    let answer = stage.admin.act("/v1/erasures", r#"{"kind":"human","id":"nobody","why":"x"}"#).await;
    assert_eq!(answer.get("keys").and_then(Value::as_u64), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_that_would_lose_what_the_ledger_needs_is_refused() {
    for (from, to, why) in [
        (
            "case_id = { type = \"id\", pattern = \"CASE-[0-9]+\" }\namount",
            "case_id = { type = \"id\", pattern = \"CASE-[0-9]+\", sensitive = true }\namount",
            "is an id",
        ),
        ("scale = 2, attribute", "scale = 2, personal = \"human:$human\", attribute", "is added up"),
        ("scale = 2, attribute", "scale = 2, personal = \"nobody\", attribute", "names no subject"),
        (
            "scale = 2, attribute",
            "scale = 2, personal = \"customer:$args.none\", attribute",
            "no argument `none`",
        ),
    ] {
        let refused = StageBuilder::default().change("catalog/billing.toml", from, to).refused().await;
        assert!(refused.contains(why), "{why}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_on_one_database_erase_the_same() {
    let cluster = Cluster::start();
    let secret = tempfile::tempdir().unwrap();
    let url = url_file(secret.path(), &cluster.database("privacy"));
    let stage = builder().settings(&on_postgres(&url, "first", 10_000)).start().await;
    let second = Second::of(&stage).start(&stage).await.unwrap();
    stage.admin.act("/v1/facts", &case("CASE-1837", "cust-101")).await;
    let mut agent = stage.seven().await;
    agent.address = second.address();
    assert_eq!(agent.call("desk__note", NOTE).await.code(), "");
    let there = second.admin(&stage);
    let mut seen = reporter(&there, None).await;
    for _ in 0..200 {
        if seen.0.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        seen = reporter(&there, None).await;
    }
    assert_eq!(seen, (Some(NAME.to_owned()), None), "the other gateway opens it");
    // A gateway that hadn't heard of a subject's key yet makes one of its own.
    let kept = cluster.sql("privacy", "SELECT count(*) FROM placet_subject WHERE wrapped IS NOT NULL");
    assert!(["1", "2"].contains(&kept.as_str()), "{kept}");

    let body = r#"{"kind":"customer","id":"cust-101","tenant":"acme","why":"GDPR Art. 17"}"#;
    let erased = stage.admin.act("/v1/erasures", body).await;
    assert_eq!(erased.get("keys").and_then(Value::as_u64).map(|keys| keys.to_string()), Some(kept));
    assert_eq!(cluster.sql("privacy", "SELECT count(*) FROM placet_subject WHERE wrapped IS NOT NULL"), "0");
    assert_eq!(cluster.sql("privacy", "SELECT count(*) FROM placet_subject WHERE subject IS NOT NULL"), "0");
    let mut seen = reporter(&there, None).await;
    for _ in 0..200 {
        if seen.0.is_none() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        seen = reporter(&there, None).await;
    }
    assert_eq!(seen, (None, Some("reporter".to_owned())), "the other gateway drops it");
    for data in [stage.data(), second.dir().join("data")] {
        assert_eq!(holding(&data), [""; 0]);
    }
    // Whoever starts later finds the same.
    let third = Second::of(&stage).start(&stage).await.unwrap();
    assert_eq!(reporter(&third.admin(&stage), None).await, (None, Some("reporter".to_owned())));
    let dump = cluster.sql("privacy", "SELECT encode(frames, 'escape') FROM placet_journal");
    assert!(!dump.contains(MAIL) && !dump.contains(NAME));
}
