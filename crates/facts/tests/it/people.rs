//! Sessions and consents: facts that the server writes when people act in their browsers.

use placet_core::{DelegationId, Digest, Timestamp};
use placet_facts::{
    Authentication, Change, ChangeError, ConsentAnswer, ConsentChange, Kind, Place, Rebuilding, World,
};

use crate::{acme, apply, human, name, of, organisation, support, tenant};

fn began(id: &str, who: &str) -> String {
    format!(
        r#"{{"session_began":{{"id":"{id}","human":"{who}","by":{{"provider":"corp","acr":"phr","amr":["hwk","user"],"authenticated":"2026-03-01T09:00:00Z"}},"subject":"s-{who}","at_provider":"p-{id}","began":"2026-03-01T09:00:01Z","until":"2026-03-01T17:00:00Z"}}}}"#
    )
}
fn organise(world: &World, change: &str) -> Result<World, ChangeError> {
    world.apply(world.revision().0 + 1, &organisation(change))
}
/// The same world, written down and read back.
fn kept(world: &World) -> World {
    let mut again = Rebuilding::default();
    for document in world.documents() {
        assert!(again.take(&document).unwrap(), "{document}");
    }
    again.finish()
}

#[test]
fn del_2_a_session_ends_with_its_person_s_authority() {
    let world = organise(&support(), &began("one", "maya")).unwrap();
    let world = kept(&organise(&world, &began("two", "noor")).unwrap());
    let session = world.organisation().session(&name("one")).unwrap();
    assert_eq!((session.human.clone(), session.by.methods.len()), (human("maya"), 2));
    assert_eq!(organise(&world, &began("one", "maya")).unwrap_err().kind, Kind::Conflict);
    assert_eq!(organise(&world, &began("three", "gone")).unwrap_err().kind, Kind::Conflict);
    assert_eq!(organise(&world, &began("three", "nobody")).unwrap_err().kind, Kind::Unknown);
    for ending in ["sessions", "suspended", "deactivated"] {
        let ended = organise(&world, &format!(r#"{{"human_ended":{{"human":"maya","ending":"{ending}"}}}}"#));
        let left: Vec<String> =
            ended.unwrap().organisation().sessions().map(|session| session.id.to_string()).collect();
        assert_eq!(left, ["two"], "{ending}");
    }
    let out = r#"{"session_ended":{"id":"one"}}"#;
    let world = organise(&world, out).unwrap();
    assert_eq!(organise(&world, out).unwrap_err().kind, Kind::Unknown);
}

const ASKED: &str = r#"{"consent_asked":{"id":"q-1","agent":"agent-8","workflow":"wf-9","scope":{"actions":["issue_refund"],"intents":["support_case_resolution"],"limits":{"amount":100},"ends":"2026-03-01T12:00:00Z","depth":0},"note":"please","redirect_uri":"https://a.example/cb","challenge":"c","key":"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs","at":"2026-03-01T09:00:00Z","until":"2026-03-01T09:10:00Z"}}"#;
const GRANTED: &str = r#"{"delegation_granted":{"id":"dg-q","human":"maya","agent":"agent-8","workflow":"wf-9","grantor":"human","scope":{"actions":["issue_refund"],"intents":["support_case_resolution"],"limits":{"amount":100},"ends":"2026-03-01T12:00:00Z","depth":0}}}"#;

/// A yes to the question, by this delegation.
fn yes(world: &World, granted: &str) -> Result<World, ChangeError> {
    let at = Timestamp::parse("2026-03-01T09:00:00Z").unwrap();
    let given = ConsentAnswer {
        request: name("q-1"),
        delegation: DelegationId::new(tenant("acme"), name("dg-q")),
        human: human("maya"),
        by: Authentication { provider: name("corp"), class: None, methods: Vec::new(), at },
        authority: Digest::of(b"what was agreed to"),
        code: name("code-hash"),
        code_until: at,
    };
    let granted = acme(granted).changes.remove(0);
    let changes = vec![granted, Change::Consent(ConsentChange::Given(given))];
    world.apply(world.revision().0 + 1, &of(Place::Tenant(tenant("acme")), changes))
}

#[test]
fn del_1_a_consent_is_to_what_was_asked_or_less_and_once() {
    let world = kept(&apply(&support(), &[ASKED]).unwrap());
    for (from, to) in [
        (r#""agent":"agent-8""#, r#""agent":"agent-7""#),
        (r#""human":"maya""#, r#""human":"noor""#),
        (r#"["issue_refund"]"#, r#"["issue_refund","export"]"#),
        (r#"{"amount":100}"#, r#"{"amount":101}"#),
        (r#"{"amount":100}"#, "{}"),
        ("12:00:00", "12:00:01"),
        (r#""depth":0"#, r#""depth":1"#),
    ] {
        let error = yes(&world, &GRANTED.replace(from, to)).unwrap_err();
        assert_eq!(error.kind, Kind::Conflict, "{to}");
    }
    for granted in [GRANTED.to_owned(), GRANTED.replace(":100", ":99.5").replace("12:00:00", "11:00:00")] {
        let world = kept(&yes(&world, &granted).unwrap());
        let facts = world.tenant(&tenant("acme")).unwrap();
        let delegation = DelegationId::new(tenant("acme"), name("dg-q"));
        assert!(facts.asked(&name("q-1")).is_none() && !facts.consent(&delegation).unwrap().redeemed);
        assert_eq!(facts.consent_of_code(&name("code-hash")).unwrap().given.delegation, delegation);
        assert!(facts.consent(&DelegationId::new(tenant("globex"), name("dg-q"))).is_none());
        let again = yes(&world, &GRANTED.replace("dg-q", "dg-r")).unwrap_err();
        assert_eq!(again.kind, Kind::Unknown, "answered once: {again}");
        let redeemed = r#"{"consent_redeemed":{"delegation":"dg-q"}}"#;
        let world = kept(&apply(&world, &[redeemed]).unwrap());
        assert_eq!(apply(&world, &[redeemed]).unwrap_err().kind, Kind::Conflict, "redeemed once");
    }
    let declined = r#"{"consent_declined":{"id":"q-1"}}"#;
    let world = apply(&world, &[declined]).unwrap();
    assert_eq!(yes(&world, GRANTED).unwrap_err().kind, Kind::Unknown);
    assert_eq!(apply(&world, &[declined]).unwrap_err().kind, Kind::Unknown);
}

#[test]
fn questions_that_wait_are_bounded_and_past_ones_make_room() {
    let question = |at: usize, hour: &str| {
        ASKED
            .replace("q-1", &format!("q-{at}"))
            .replace("09:00:00Z", &format!("{hour}:00:00Z"))
            .replace("09:10:00Z", &format!("{hour}:10:00Z"))
    };
    let mut world = support();
    for at in 0..placet_facts::MAX_ASKED_BY_ONE {
        world = apply(&world, &[&question(at, "09")]).unwrap();
    }
    assert_eq!(apply(&world, &[&question(99, "09")]).unwrap_err().kind, Kind::Conflict);
    assert!(apply(&world, &[&question(99, "10")]).is_ok());
}
