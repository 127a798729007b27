//! Enrolment codes over restarts: none is forgotten, none works twice.

use placet_jose::{Algorithm, SigningKey, dpop, htu::Htu, keys::random_id};
use placet_json::{Value, object};
use placet_testing::{Answer, Http, Stage, StageBuilder, now};

fn asked(stage: &Stage, key: &SigningKey, code: &str) -> Http {
    let url = Htu::parse(&format!("{}/oauth/enrol", stage.gateway)).unwrap();
    let proof = dpop::prove(key, &random_id().unwrap(), "POST", &url, now(), Some(code), None).unwrap();
    let body = Value::from(object! { "code" => code, "jwk" => key.public().to_jwk() });
    let request = Http {
        method: "POST".to_owned(),
        target: "/oauth/enrol".to_owned(),
        headers: Vec::new(),
        body: body.to_string().into_bytes(),
    };
    request
        .set("host", stage.gateway.trim_start_matches("http://"))
        .set("content-type", "application/json")
        .set("dpop", &proof)
}

async fn enrol(stage: &Stage, key: &SigningKey, code: &str) -> Answer {
    asked(stage, key, code).send(stage.address).await
}

fn key() -> SigningKey {
    SigningKey::generate(Algorithm::EdDsa).unwrap()
}

async fn code(stage: &Stage, body: &str) -> String {
    let answer = stage.admin.act("/v1/agents/agent-7/codes", body).await;
    answer.get("code").and_then(Value::as_str).unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_forgets_no_code_and_brings_none_back() {
    let mut stage = StageBuilder::default().start().await;
    let created =
        stage.admin.act("/v1/agents", r#"{"id":"agent-9","type":"support_agent","owner":"maya"}"#).await;
    let first = created.get("code").and_then(Value::as_str).unwrap().to_owned();
    let second = code(&stage, "{}").await;
    let brief = code(&stage, r#"{"life_s":1}"#).await;
    assert!(
        !stage.ledger().after(0).iter().any(|entry| entry.record.to_string().contains(&first)),
        "a hash only"
    );
    stage.restart(|_| {}).await;
    let answer = enrol(&stage, &key(), &first).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.message().get("agent").and_then(Value::as_str), Some("agent-9"));
    // The code and the key are one entry.
    let entries = stage.ledger().after(0);
    let used = entries.iter().rfind(|entry| entry.text("/transaction/source") == "enrolment").unwrap();
    for (at, change) in [(0, "enrolment_taken"), (1, "agent_key_added")] {
        assert!(used.record.pointer(&format!("/transaction/changes/{at}/{change}")).is_some(), "{change}");
    }
    assert_eq!(enrol(&stage, &key(), &first).await.status, 400, "once");
    stage.restart(|_| {}).await;
    assert_eq!(enrol(&stage, &key(), &first).await.status, 400, "also after a restart");
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    assert_eq!(enrol(&stage, &key(), &brief).await.status, 400, "past");
    assert_eq!(enrol(&stage, &key(), &second).await.status, 201);
    assert_eq!(enrol(&stage, &key(), "placet_enrol_none").await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn rac_1_of_many_who_come_with_one_code_one_is_enrolled() {
    let stage = StageBuilder::default().start().await;
    let code = code(&stage, "{}").await;
    let running: Vec<_> = (0..8)
        .map(|_| {
            let (request, address) = (asked(&stage, &key(), &code), stage.address);
            tokio::spawn(async move { request.send(address).await.status })
        })
        .collect();
    let mut answers = Vec::new();
    for one in running {
        answers.push(one.await.unwrap());
    }
    assert_eq!(answers.iter().filter(|status| **status == 201).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|status| **status == 400).count(), 7, "{answers:?}");
    let agents = stage.admin.get("/v1/agents").await;
    let agents = agents.get("agents").and_then(Value::as_array).unwrap();
    let seven =
        agents.iter().find(|agent| agent.get("id").and_then(Value::as_str) == Some("agent-7")).unwrap();
    assert_eq!(seven.get("keys").and_then(Value::as_object).unwrap().len(), 2, "its own and one more");
}
