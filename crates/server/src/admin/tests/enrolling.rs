//! Enrolment codes.

use placet_core::AgentId;

use super::*;

#[tokio::test]
async fn an_enrolment_code_is_shown_once_and_kept_as_a_hash() {
    let fixture = fixture();
    let (status, body) = fixture
        .ask(
            "operator",
            "POST",
            "/v1/agents",
            r#"{"id":"agent-8","type":"support_agent","owner":"maya","life_s":60}"#,
        )
        .await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    let hash = placet_oauth::enrol::CodeHash::of(text(&body, "/code"));
    let world = fixture.admin.books.live().world();
    let pending = fixture.admin.codes.pending(&hash, world.organisation()).unwrap();
    assert_eq!((pending.agent.as_str(), pending.expires_at), ("agent-8", NOW + 60));
    assert!(
        !format!("{:?} {:?}", fixture.admin.codes, fixture.shelf.log.lock().unwrap())
            .contains(text(&body, "/code"))
    );
    let agent = AgentId::new("agent-8").unwrap();
    let taken = fixture.admin.codes.spend(&hash, &agent).unwrap().unwrap();
    for works in [true, false] {
        let once = Transaction {
            place: Place::Organisation,
            changes: vec![taken.clone()],
            author: Name::new("agent-8").unwrap(),
            source: Name::new("enrolment").unwrap(),
            why: String::new(),
            idempotency_key: None,
        };
        assert_eq!(fixture.admin.books.transact(once).await.is_ok(), works);
    }
    // Nobody writes a code's fact by hand.
    let body = object! {
        "place" => "organisation",
        "changes" => Value::Array(vec![
            object! { "enrolment_offered" => object! {
                "code" => "chosen", "agent" => "agent-8", "at" => "2026-03-01T09:00:00Z", "until" => "2027-03-01T09:00:00Z",
            } }.into()
        ]),
    };
    let (status, answer) = fixture.ask("operator", "POST", "/v1/facts", &Value::from(body).to_string()).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
}
