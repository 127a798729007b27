//! Live facts over the API: bad input, the change feed, history, sources.

use placet_facts::{Mode, Source};

use super::*;

fn apply(place: &str, change: &str) -> String {
    format!(r#"{{"place":{place},"changes":[{change}]}}"#)
}
const ACME: &str = r#"{"tenant":"acme"}"#;
const GLOBEX: &str = r#"{"tenant":"globex"}"#;
fn resource(id: &str) -> String {
    format!(r#"{{"resource_set":{{"type":"support_case","id":"{id}"}}}}"#)
}

impl Fixture {
    /// What is refused, with its code; nothing may be applied.
    async fn refused(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let before = self.revision();
        let (status, answer) = self.ask("operator", method, path, body).await;
        assert!(status.is_client_error(), "{path} {body}: {answer}");
        assert_eq!(self.revision(), before, "{body}: something was applied");
        assert!(!text(&answer, "/error/message").is_empty(), "{answer}");
        (status.as_u16(), text(&answer, "/error/code").to_owned())
    }
    async fn apply(&self, place: &str, change: &str) -> u64 {
        let (status, answer) = self.ask("operator", "POST", "/v1/facts", &apply(place, change)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer.get("revision").and_then(Value::as_u64).unwrap()
    }
    fn declare(&self, name: &str, mode: Mode) {
        let source = Source {
            name: Name::new(name).unwrap(),
            place: Place::Tenant(TenantId::new("acme").unwrap()),
            mode,
        };
        self.shelf.live.sources().declare(source, Timestamp::from_secs(NOW)).unwrap();
    }
    async fn probe(&self, path: &str) -> (StatusCode, String) {
        let request =
            Request::builder().uri(path).header("host", "127.0.0.1:8718").body(Body::empty()).unwrap();
        let response = TowerToHyperService::new(routes(Arc::clone(&self.admin))).call(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}

fn revisions(answer: &Value, list: &str) -> Vec<u64> {
    let entries = answer.get(list).and_then(Value::as_array).unwrap();
    entries.iter().map(|entry| entry.get("revision").and_then(Value::as_u64).unwrap()).collect()
}

#[tokio::test]
async fn bad_input_unknown_types_and_forms_apply_nothing() {
    let fixture = fixture();
    let attribute = |value: &str| {
        format!(r#"{{"resource_set":{{"type":"support_case","id":"C-1","attributes":{{"value":{value}}}}}}}"#)
    };
    for (place, change, status, code) in [
        (ACME, r#"{"widget_set":{"id":"w"}}"#.to_owned(), 400, "malformed"),
        // A change of the organisation in a tenant, and the other way about.
        (ACME, r#"{"tenant_created":{"id":"initech"}}"#.to_owned(), 400, "malformed"),
        (r#""organisation""#, resource("C-1"), 400, "malformed"),
        (
            ACME,
            r#"{"resource_set":{"type":"support_case","id":"C-1","colour":"red"}}"#.to_owned(),
            400,
            "malformed",
        ),
        (ACME, r#"{"tuple_added":{"tuple":"support_case:C-1 assignee maya"}}"#.to_owned(), 400, "malformed"),
        // Numbers that no engine would read as they are written.
        (ACME, attribute("0.123456"), 400, "malformed"),
        (ACME, attribute("12345678901234567890"), 400, "malformed"),
        (ACME, attribute("1e400"), 400, "malformed"),
        (ACME, attribute("null"), 400, "malformed"),
        // Identifiers outside the alphabet.
        (ACME, resource("C 1"), 400, "malformed"),
        (ACME, resource("C-1\\u0000"), 400, "malformed"),
        (ACME, resource(&"x".repeat(129)), 400, "malformed"),
        (ACME, resource("Ñ-1"), 400, "malformed"),
        (r#"{"tenant":"a b"}"#, resource("C-1"), 400, "malformed"),
        // Tenants and people that aren't there.
        (r#"{"tenant":"nowhere"}"#, resource("C-1"), 422, "unknown"),
        (
            ACME,
            r#"{"assignment_set":{"human":"nobody","roles":["x"],"until":"ended"}}"#.to_owned(),
            422,
            "unknown",
        ),
        (ACME, r#"{"workflow_closed":{"id":"globex/wf-9"}}"#.to_owned(), 422, "unknown"),
    ] {
        let body = apply(place, &change);
        assert_eq!(fixture.refused("POST", "/v1/facts", &body).await, (status, code.to_owned()), "{body}");
        // Nor does it take a good change before it along.
        let both = apply(place, &format!("{},{change}", resource("C-good")));
        fixture.refused("POST", "/v1/facts", &both).await;
    }
    let large = apply(ACME, &attribute(&format!("\"{}\"", "x".repeat(70 * 1024))));
    assert_eq!(fixture.refused("POST", "/v1/facts", &large).await, (413, "too_large".to_owned()));
}

#[tokio::test]
async fn bad_input_what_is_still_to_come_is_refused() {
    let fixture = fixture();
    for path in [
        "/v1/facts?tenant=acme&at=99",
        "/v1/facts?tenant=acme&at=2126-01-01T00:00:00Z",
        "/v1/facts/history?tenant=acme&at=99",
        "/v1/facts/changes?from=99",
    ] {
        assert_eq!(fixture.refused("GET", path, "").await, (422, "to_come".to_owned()), "{path}");
    }
    for path in [
        "/v1/facts?tenant=acme&at=yesterday",
        "/v1/facts?tenant=acme&kind=widgets",
        "/v1/facts?kind=resources",
        "/v1/facts/changes?from=-1",
        "/v1/facts/changes?wait_ms=60000",
        "/v1/facts/history?resource=C-1",
        "/v1/facts/history?colour=red",
    ] {
        assert_eq!(fixture.refused("GET", path, "").await, (400, "malformed".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn syn_2_a_key_answers_the_first_again_and_refuses_another_content() {
    let fixture = fixture();
    let keyed = |key: &str, id: &str| {
        format!(r#"{{"place":{ACME},"idempotency_key":"{key}","changes":[{}]}}"#, resource(id))
    };
    let (status, first) = fixture.ask("operator", "POST", "/v1/facts", &keyed("k-1", "C-1")).await;
    assert_eq!(status, StatusCode::OK, "{first}");
    let revision = fixture.revision();
    let (status, again) = fixture.ask("operator", "POST", "/v1/facts", &keyed("k-1", "C-1")).await;
    assert_eq!((status, &again, fixture.revision()), (StatusCode::OK, &first, revision));
    let other = fixture.refused("POST", "/v1/facts", &keyed("k-1", "C-2")).await;
    assert_eq!(other, (409, "conflict".to_owned()));
    // What could be applied once only is told again as well, of a file too.
    let file = r#"{"tenant":"acme","idempotency_key":"k-2","agents":[{"id":"agent-9","type":"support_agent","owner":"maya","standing":"active"}]}"#;
    let (status, first) = fixture.ask("operator", "POST", "/v1/facts", file).await;
    assert_eq!(status, StatusCode::OK, "{first}");
    let revision = fixture.revision();
    assert_eq!(fixture.ask("operator", "POST", "/v1/facts", file).await, (StatusCode::OK, first));
    assert_eq!(fixture.revision(), revision);
}

#[tokio::test]
async fn the_change_feed_is_in_order_without_gaps_and_goes_on_from_anywhere() {
    let fixture = fixture();
    let from = fixture.revision();
    let mut made = Vec::new();
    for i in 0..7 {
        made.push(fixture.apply(if i % 3 == 2 { GLOBEX } else { ACME }, &resource(&format!("C-{i}"))).await);
    }
    let (mut seen, mut next) = (Vec::new(), from);
    loop {
        let path = format!("/v1/facts/changes?from={next}&limit=2");
        let (status, page) = fixture.ask("operator", "GET", &path, "").await;
        assert_eq!(status, StatusCode::OK, "{page}");
        seen.extend(revisions(&page, "changes"));
        next = page.get("next").and_then(Value::as_u64).unwrap();
        if page.get("more").and_then(Value::as_bool) != Some(true) {
            break;
        }
    }
    assert_eq!(seen, made);
    for (i, at) in made.iter().enumerate() {
        let (_, page) = fixture.ask("operator", "GET", &format!("/v1/facts/changes?from={at}"), "").await;
        assert_eq!(revisions(&page, "changes"), made[i + 1..], "from {at}");
    }
}

#[tokio::test]
async fn ten_1_a_feed_of_one_tenant_shows_nothing_of_another() {
    let fixture = fixture();
    let from = fixture.revision();
    let organisation = fixture.apply(r#""organisation""#, r#"{"tenant_created":{"id":"initech"}}"#).await;
    fixture.apply(GLOBEX, &resource("C-secret")).await;
    let acme = fixture.apply(ACME, &resource("C-1")).await;
    let path = |tenant: &str| format!("/v1/facts/changes?tenant={tenant}&from={from}");
    let (_, page) = fixture.ask("operator", "GET", &path("acme"), "").await;
    assert_eq!(revisions(&page, "changes"), [organisation, acme], "the organisation's and the tenant's");
    assert!(!page.to_string().contains("C-secret"));
    let (_, page) = fixture.ask("maya", "GET", &path("acme"), "").await;
    assert_eq!(revisions(&page, "changes"), [acme], "to a person, their tenant's");
    assert_eq!(fixture.ask("maya", "GET", &path("globex"), "").await.0, StatusCode::NOT_FOUND);
    assert_eq!(fixture.ask("maya", "GET", &path("nowhere"), "").await.0, StatusCode::NOT_FOUND);
    assert_eq!(fixture.ask("maya", "GET", "/v1/facts/changes", "").await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_reader_waits_for_a_change_and_gets_it_at_once() {
    let fixture = fixture();
    let from = fixture.revision();
    let path = format!("/v1/facts/changes?tenant=acme&from={from}&wait_ms=20000");
    let began = std::time::Instant::now();
    let asked = fixture.ask("operator", "GET", &path, "");
    let change = async {
        // A neighbour's change wakes the reader, who finds nothing in it.
        fixture.apply(GLOBEX, &resource("C-0")).await;
        fixture.apply(ACME, &resource("C-1")).await
    };
    let ((status, page), made) = tokio::join!(asked, change);
    assert_eq!((status, revisions(&page, "changes")), (StatusCode::OK, vec![made]));
    assert!(began.elapsed() < Duration::from_secs(15));
    let path = format!("/v1/facts/changes?tenant=acme&from={made}&wait_ms=50");
    let (status, page) = fixture.ask("operator", "GET", &path, "").await;
    assert_eq!((status, revisions(&page, "changes").len()), (StatusCode::OK, 0), "nothing came");
}

#[tokio::test]
async fn history_tells_who_changed_what_and_what_was_known_then() {
    let fixture = fixture();
    let first = fixture.apply(ACME, &resource("C-1")).await;
    let suspended = r#"{"human_standing":{"human":"mo","standing":"suspended"}}"#;
    let second = fixture.apply(r#""organisation""#, suspended).await;
    let third = fixture.apply(ACME, r#"{"resource_removed":{"type":"support_case","id":"C-1"}}"#).await;
    let ask = async |path: &str| {
        let (status, answer) = fixture.ask("operator", "GET", path, "").await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        answer
    };
    let about = ask("/v1/facts/history?tenant=acme&resource=support_case:C-1").await;
    assert_eq!(revisions(&about, "history"), [third, first]);
    assert_eq!(text(&about, "/history/0/transaction/author"), "operator");
    assert_eq!(text(&about, "/history/0/transaction/source"), "api");
    let then = ask(&format!("/v1/facts/history?tenant=acme&resource=support_case:C-1&at={second}")).await;
    assert_eq!(revisions(&then, "history"), [first]);
    assert_eq!(revisions(&ask("/v1/facts/history?human=mo").await, "history")[0], second);
    let everywhere = ask("/v1/facts/history?human=maya&everywhere=true").await;
    assert!(everywhere.to_string().contains("delegation_granted"), "{everywhere}");
    let of = |at: u64| format!("/v1/facts?tenant=acme&kind=resources&id=support_case:C-1&at={at}");
    let known = ask(&of(second)).await;
    assert_eq!(known.get("resources").and_then(Value::as_array).unwrap().len(), 1);
    assert_eq!(fixture.ask("operator", "GET", &of(third), "").await.0, StatusCode::NOT_FOUND);
    let mo = ask(&format!("/v1/facts?kind=humans&id=mo&at={first}")).await;
    assert_eq!(text(&mo, "/humans/0/standing"), "active");
}

#[tokio::test]
async fn del_4_a_source_that_is_silent_broken_or_has_a_gap_turns_readiness_red_and_is_named() {
    let fixture = fixture();
    fixture.declare("crm", Mode::Polled { bound_ms: 5_000 });
    fixture.declare("opal", Mode::PushOnly);
    let red = async |source: &str| {
        let (status, page) = fixture.probe("/readyz").await;
        status == StatusCode::SERVICE_UNAVAILABLE && page.contains(&format!("the source `{source}` is stale"))
    };
    let report = async |source: &str, body: &str| {
        fixture.ask("operator", "POST", &format!("/v1/facts/sources/{source}"), body).await
    };
    assert!(red("crm").await, "nothing was heard of it since the start");
    assert!(fixture.probe("/metrics").await.1.contains("placet_facts_stale{source=\"crm\"} 1"));
    let past = Timestamp::from_millis(NOW * 1000 - 1_500).to_string();
    let (status, answer) = report("crm", &format!(r#"{{"state":"seen","at":"{past}"}}"#)).await;
    assert_eq!((status, text(&answer, "/seen")), (StatusCode::OK, past.as_str()));
    assert!(!red("crm").await);
    let metrics = fixture.probe("/metrics").await.1;
    assert!(metrics.contains("placet_facts_age_seconds{source=\"crm\"} 1.500\n"), "{metrics}");
    assert!(metrics.contains("placet_facts_age_seconds{source=\"opal\"} 0.000\n"), "{metrics}");
    report("opal", r#"{"state":"gap","why":"a secret path"}"#).await;
    assert!(red("opal").await);
    assert!(!fixture.probe("/readyz").await.1.contains("secret path"), "not to those without a signature");
    let (_, list) = fixture.ask("operator", "GET", "/v1/facts/sources", "").await;
    assert!(list.to_string().contains("has a gap: a secret path"), "{list}");
    report("opal", r#"{"state":"closed"}"#).await;
    assert!(!red("opal").await);
    let verbs: Vec<String> =
        fixture.shelf.deeds.lock().unwrap().iter().map(|deed| deed.verb.clone()).collect();
    assert_eq!(verbs, ["source gap: opal", "source closed: opal"], "who said so is on record");
    for (body, status) in [
        (r#"{"state":"well"}"#, 400),
        (r#"{"state":"seen","at":"2126-01-01T00:00:00Z"}"#, 400),
        (r#"{"state":"seen","at":"soon"}"#, 400),
    ] {
        assert_eq!(report("crm", body).await.0.as_u16(), status, "{body}");
    }
    assert_eq!(report("nobody", r#"{"state":"seen"}"#).await.0, StatusCode::NOT_FOUND);
    let theirs = fixture.ask("maya", "POST", "/v1/facts/sources/crm", r#"{"state":"seen"}"#).await;
    assert_eq!(theirs.0, StatusCode::FORBIDDEN);
}
