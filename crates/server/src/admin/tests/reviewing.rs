//! What an agent may do, and the review of access.

use super::*;

#[tokio::test]
async fn a_review_of_access_is_signed_by_a_person_who_sees_all_of_it_and_for_what_holds_now() {
    let fixture = fixture();
    let get = |who| fixture.ask(who, "GET", "/v1/access", "");
    assert_eq!(get("mo").await.0, StatusCode::FORBIDDEN, "of globex he sees nothing");
    let (status, report) = get("operator").await;
    assert_eq!(status, StatusCode::OK, "{report}");
    assert_eq!((text(&report, "/agents/0/agent"), text(&report, "/agents/0/owner")), ("agent-7", "maya"));
    let digest = text(&report, "/digest");
    let body = format!(r#"{{"digest":"{digest}","why":"quarterly"}}"#);
    let sign = |who, body| fixture.ask(who, "POST", "/v1/access/sign", body);
    assert_eq!(sign("operator", &body).await.0, StatusCode::FORBIDDEN, "an operator's key is nobody's");
    assert_eq!(sign("mo", &body).await.0, StatusCode::FORBIDDEN);
    let everywhere = r#"{"human":"mo","roles":["auditor"]}"#;
    assert_eq!(
        fixture.ask("operator", "POST", "/v1/tenants/globex/assignments", everywhere).await.0,
        StatusCode::OK
    );
    assert_eq!(get("mo").await.0, StatusCode::OK);
    let (status, signed) = sign("mo", &body).await;
    assert_eq!(status, StatusCode::CREATED, "{signed}");
    assert_eq!(text(&signed, "/reviewer"), "mo");
    let deed = fixture.shelf.deeds.lock().unwrap().last().cloned().unwrap();
    assert_eq!((deed.by.as_str(), deed.verb.as_str(), deed.refused), ("human:mo", "access_reviewed", false));
    assert!(deed.why.starts_with(digest) && deed.why.ends_with(": quarterly"), "{}", deed.why);
    // A grant less, and the report that was reviewed isn't true any more.
    let revoke = "/v1/tenants/acme/delegations/dg-1/revoke";
    assert_eq!(fixture.ask("maya", "POST", revoke, "").await.0, StatusCode::OK);
    assert_eq!(sign("mo", &body).await.0, StatusCode::CONFLICT);
    assert_eq!(sign("mo", r#"{"digest":"none"}"#).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_an_agent_may_do_is_told_to_its_owner_and_to_nobody_else() {
    let fixture = fixture();
    let ask = |who, path| fixture.ask(who, "GET", path, "");
    let (status, can) = ask("maya", "/v1/agents/agent-7/can").await;
    assert_eq!(status, StatusCode::OK, "{can}");
    assert_eq!(
        (text(&can, "/grants/0/delegation"), text(&can, "/grants/0/actions/0/action")),
        ("dg-1", "issue_refund")
    );
    // It has no key in this fixture, so it can't call.
    assert!(text(&can, "/grants/0/why_not/0").contains("no key"), "{can}");
    assert_eq!(ask("operator", "/v1/agents/agent-7/can?workflow=acme%2Fwf-9").await.0, StatusCode::OK);
    let (_, other) = ask("operator", "/v1/agents/agent-7/can?workflow=acme%2Fwf-1").await;
    assert!(other.get("grants").and_then(Value::as_array).unwrap().is_empty());
    assert_eq!(ask("operator", "/v1/agents/agent-7/can?workflow=wf-9").await.0, StatusCode::BAD_REQUEST);
    // Another's agent and none look alike.
    let (status, refused) = ask("gil", "/v1/agents/agent-7/can").await;
    let (none, unknown) = ask("gil", "/v1/agents/agent-8/can").await;
    assert_eq!((status, none), (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND));
    assert_eq!(
        text(&refused, "/error/message").replace("agent-7", "agent-8"),
        text(&unknown, "/error/message")
    );
}
