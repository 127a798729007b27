//! Legal holds and the archive's settings, through a whole server.

use placet_json::Value;
use placet_testing::{Stage, StageBuilder};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_not_erased_until_the_hold_ends() {
    let mut stage = Stage::start().await;
    let hold = r#"{"tenant":"acme","workflow":"wf-9","why":"case 12"}"#;
    let set = stage.admin.act("/v1/holds", hold).await;
    assert!(set.get("sequence").and_then(Value::as_u64).is_some(), "{set}");
    assert_eq!(stage.admin.ask("/v1/holds", hold).await.status, 409, "once");
    let erase = r#"{"kind":"customer","id":"cust-101","tenant":"acme","why":"GDPR Art. 17"}"#;
    for held in [erase, r#"{"kind":"human","id":"maya","why":"GDPR Art. 17"}"#] {
        let refused = stage.admin.ask("/v1/erasures", held).await;
        assert_eq!(refused.status, 409);
        assert!(
            refused.text().contains("legal hold") && refused.text().contains("case 12"),
            "{}",
            refused.text()
        );
    }
    let other = r#"{"kind":"customer","id":"cust-9","tenant":"globex","why":"GDPR Art. 17"}"#;
    assert_eq!(stage.admin.ask("/v1/erasures", other).await.status, 200, "another tenant's");

    // It is in the ledger, so a restart forgets nothing.
    stage.restart(|_| {}).await;
    let held = stage.admin.get("/v1/holds").await;
    assert_eq!(held.pointer("/holds/0/workflow").and_then(Value::as_str), Some("wf-9"), "{held}");
    assert_eq!(stage.admin.ask("/v1/erasures", erase).await.status, 409);
    for wrong in
        [r#"{"tenant":"acme","why":"over"}"#, r#"{"tenant":"nobody","workflow":"wf-9","why":"over"}"#]
    {
        assert_eq!(stage.admin.ask("/v1/holds/end", wrong).await.status, 404, "{wrong}");
    }
    assert_eq!(stage.admin.ask("/v1/holds", r#"{"tenant":"acme","why":" "}"#).await.status, 400);
    stage.admin.act("/v1/holds/end", r#"{"tenant":"acme","workflow":"wf-9","why":"settled"}"#).await;
    assert_eq!(stage.admin.get("/v1/holds").await.to_string(), r#"{"holds":[]}"#);
    assert_eq!(stage.admin.ask("/v1/erasures", erase).await.status, 200);
    let person = stage.admin.person("maya").await;
    assert_eq!(person.ask("/v1/holds", hold).await.status, 403, "an operator's act");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_not_there_refuses_the_start_and_one_that_is_works_beside_it() {
    assert!(StageBuilder::default().settings("[retention]\narchive = \"nowhere\"\n").fails().await);
    assert!(StageBuilder::default().settings("[retention]\narchive = \"s3://ledger\"\n").fails().await);
    assert!(StageBuilder::default().settings("[retention]\ndays = 40000\n").fails().await);
    let place = tempfile::tempdir().unwrap();
    let settings = format!(
        "[retention]\ndays = 0\nevery_ms = 100\narchive = \"{}\"\n[[retention.tenant]]\ntenant = \"acme\"\ndays = 30\n",
        place.path().display()
    );
    let stage = StageBuilder::default().settings(&settings).start().await;
    let began = std::time::Instant::now();
    loop {
        let page = stage.admin.request("GET", "/metrics", "").send(stage.admin.address()).await.text();
        if page.contains("placet_ledger_archived_records 0") {
            assert!(page.contains("placet_ledger_archive_failing 0"), "{page}");
            break;
        }
        assert!(began.elapsed().as_secs() < 20, "{page}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
