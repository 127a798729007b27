//! Risks that operators set.

use super::*;

#[tokio::test]
async fn risks_are_set_listed_and_part_of_the_facts() {
    let fixture = fixture();
    for (body, status) in [
        (r#"{"agent":"agent-7","risk":0.8,"why":"odd hours"}"#, StatusCode::OK),
        (r#"{"human":"maya","risk":50}"#, StatusCode::OK),
        (r#"{"workflow":"wf-9","tenant":"acme","risk":3}"#, StatusCode::OK),
        (r#"{"agent":"agent-none","risk":1}"#, StatusCode::UNPROCESSABLE_ENTITY),
        (r#"{"workflow":"wf-9","risk":1}"#, StatusCode::BAD_REQUEST),
        (r#"{"agent":"agent-7","human":"maya","risk":1}"#, StatusCode::BAD_REQUEST),
        (r#"{"agent":"agent-7","risk":-1}"#, StatusCode::BAD_REQUEST),
        (r#"{"agent":"agent-7","risk":"high"}"#, StatusCode::BAD_REQUEST),
        (r#"{"agent":"agent-7"}"#, StatusCode::BAD_REQUEST),
    ] {
        let (got, answer) = fixture.ask("operator", "POST", "/v1/risks", body).await;
        assert_eq!(got, status, "{body}: {answer}");
    }
    let (_, listed) = fixture.ask("operator", "GET", "/v1/risks", "").await;
    assert_eq!(
        listed.to_string(),
        r#"{"risks":[{"agent":"agent-7","risk":0.8},{"human":"maya","risk":50},{"workflow":"wf-9","risk":3,"tenant":"acme"}]}"#
    );
    // As a facts file has them.
    for (path, of) in [("/v1/facts", "agent"), ("/v1/facts?tenant=acme", "workflow")] {
        let (_, facts) = fixture.ask("operator", "GET", path, "").await;
        assert!(facts.pointer(&format!("/changes/0/risk_set/{of}")).is_some(), "{facts}");
    }
}
