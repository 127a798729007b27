//! Events that others signed, what they mean, and what we say ourselves.

use std::collections::{BTreeMap, BTreeSet};

use placet_core::{HumanId, Standing};
use placet_facts::{Change, DirectoryRecord, Ending, Place, RecordKind, Transaction};
use placet_feeds::ssf::{
    Effect, Known, Outgoing, Received, Source, Stream, Unmeant, events, issued, receive, refusal,
};
use placet_jose::{Algorithm, Expect, KeySet, SigningKey, Verified, tokens::SecurityEvent};
use placet_json::Value;

use crate::desk::{Desk, json, name, tenant};

const IDP: &str = "https://idp.example";

fn source() -> Source {
    Source {
        name: name("idp"),
        issuer: IDP.into(),
        audience: "https://placet.example/ssf/push/idp".into(),
        subject_issuer: IDP.into(),
        tenant: None,
        feed: Some(name("okta")),
        effects: BTreeMap::new(),
    }
}

/// Maya by acme's feed, Lena of globex, whom no feed brings.
fn desk() -> Desk {
    let mut desk = Desk::new();
    let body = r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"maya","externalId":"00umaya",
        "emails":[{"value":"Maya.O@acme.example","type":"work"}]}"#;
    assert_eq!(desk.ask("POST", "/Users", body, None).status, 201);
    desk
}

fn event(kind: &str, details: &str, subject: &str) -> SecurityEvent {
    SecurityEvent {
        jti: "j-1".into(),
        kind: kind.into(),
        event: json(details).into_object().unwrap(),
        subject: Some(json(subject)),
    }
}

fn people(desk: &Desk, source: &Source, subject: &str) -> Vec<String> {
    let event = event(&Known::AccountDisabled.uri(), "{}", subject);
    match receive(&desk.world, source, &event, &name("set:1")) {
        Received::Changes(transaction) => transaction
            .changes
            .iter()
            .map(|change| match change {
                Change::HumanEnded { human, ending: Ending::Suspended } => human.to_string(),
                other => panic!("{other:?}"),
            })
            .collect(),
        Received::Unmeant(Unmeant::Subject) => Vec::new(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tokens_of_another_library_are_judged_by_the_book() {
    let file = json(include_str!("../data/joserfc.json"));
    let text = |name: &str| file.get(name).and_then(Value::as_str).unwrap();
    let keys = KeySet::of_transmitter(&file.get("jwks").unwrap().to_bytes()).unwrap();
    let now = file.get("now").and_then(Value::as_u64).unwrap();
    let expect = Expect { issuer: text("issuer"), audience: text("audience"), keys: &keys };
    let vectors = file.get("vectors").and_then(Value::as_array).unwrap();
    assert!(vectors.len() > 25);
    for vector in vectors {
        let text = |name: &str| vector.get(name).and_then(Value::as_str).unwrap();
        let said = match Verified::<SecurityEvent>::open(text("set"), &expect, now) {
            Ok(_) => "ok",
            Err(refused) => refusal(refused),
        };
        assert_eq!(said, text("want"), "{}", text("what"));
    }
    // RSA keys are for events only: no other set of keys has them.
    let others = KeySet::from_jwks(&file.get("jwks").unwrap().to_bytes()).unwrap();
    assert_eq!(others.iter().map(|(kid, _)| kid).collect::<Vec<_>>(), ["ec"]);
}

#[test]
fn subjects_are_found_in_every_format_and_nobody_else() {
    let desk = desk();
    let source = source();
    for (subject, found) in [
        (r#"{"format":"iss_sub","iss":"https://idp.example","sub":"maya"}"#, vec!["maya"]),
        (r#"{"format":"iss_sub","iss":"https://idp.example","sub":"00umaya"}"#, vec!["maya"]),
        (r#"{"format":"iss_sub","iss":"https://other.example","sub":"maya"}"#, vec![]),
        (r#"{"format":"iss_sub","sub":"maya"}"#, vec![]),
        (r#"{"format":"email","email":"maya.o@ACME.example"}"#, vec!["maya"]),
        (r#"{"format":"email","email":"other@acme.example"}"#, vec![]),
        (r#"{"format":"opaque","id":"lena"}"#, vec!["lena"]),
        (r#"{"format":"opaque","id":"nobody"}"#, vec![]),
        (
            r#"{"format":"complex","user":{"format":"opaque","id":"maya"},"session":{"format":"opaque","id":"s"}}"#,
            vec!["maya"],
        ),
        (r#"{"format":"complex","session":{"format":"opaque","id":"maya"}}"#, vec![]),
        (
            r#"{"format":"complex","user":{"format":"complex","user":{"format":"opaque","id":"maya"}}}"#,
            vec![],
        ),
        (
            r#"{"format":"aliases","identifiers":[{"format":"email","email":"x@x"},{"format":"opaque","id":"maya"},{"format":"opaque","id":"lena"}]}"#,
            vec!["lena", "maya"],
        ),
        (
            r#"{"format":"aliases","identifiers":[{"format":"aliases","identifiers":[{"format":"opaque","id":"maya"}]}]}"#,
            vec![],
        ),
        (r#"{"format":"phone_number","phone_number":"+1"}"#, vec![]),
        (r#"{"id":"maya"}"#, vec![]),
    ] {
        assert_eq!(people(&desk, &source, subject), found, "{subject}");
    }
    // A tenant's provider speaks of that tenant's people only.
    let acme = Source { tenant: Some(tenant("acme")), ..source };
    assert_eq!(people(&desk, &acme, r#"{"format":"opaque","id":"maya"}"#), ["maya"]);
    assert!(people(&desk, &acme, r#"{"format":"opaque","id":"lena"}"#).is_empty());
}

#[test]
fn every_event_has_its_effect_and_none_enables() {
    let mut desk = desk();
    let subject = r#"{"format":"opaque","id":"maya"}"#;
    let end = Effect::End;
    for (known, details, effect) in [
        (Known::SessionRevoked, "{}", end(Ending::Sessions)),
        (Known::TokenClaimsChange, r#"{"claims":{"role":"ro-admin"}}"#, end(Ending::Sessions)),
        (
            Known::CredentialChange,
            r#"{"credential_type":"password","change_type":"revoke"}"#,
            end(Ending::Sessions),
        ),
        (Known::CredentialChange, r#"{"credential_type":"password","change_type":"update"}"#, Effect::Note),
        (Known::CredentialChange, "{}", end(Ending::Sessions)),
        (Known::AssuranceLevelChange, r#"{"change_direction":"decrease"}"#, end(Ending::Sessions)),
        (Known::AssuranceLevelChange, r#"{"change_direction":"increase"}"#, Effect::Note),
        (Known::DeviceComplianceChange, r#"{"current_status":"not-compliant"}"#, end(Ending::Sessions)),
        (Known::DeviceComplianceChange, r#"{"current_status":"compliant"}"#, Effect::Note),
        (Known::RiskLevelChange, "{}", end(Ending::Sessions)),
        (Known::AccountDisabled, r#"{"reason":"hijacking"}"#, end(Ending::Suspended)),
        (Known::AccountPurged, "{}", end(Ending::Deactivated)),
        (Known::AccountCredentialChangeRequired, "{}", end(Ending::Sessions)),
        (Known::CredentialCompromise, r#"{"credential_type":"password"}"#, end(Ending::Suspended)),
        (Known::IdentifierRecycled, "{}", end(Ending::Suspended)),
        (Known::IdentifierChanged, r#"{"new-value":"m@x"}"#, Effect::Note),
        (Known::AccountEnabled, "{}", Effect::Note),
    ] {
        let event = event(&known.uri(), details, subject);
        match (receive(&desk.world, &source(), &event, &name("set:1")), effect) {
            (Received::Changes(transaction), Effect::End(ending)) => {
                let human = HumanId::new("maya").unwrap();
                assert_eq!(
                    transaction.changes,
                    [Change::HumanEnded { human, ending }],
                    "{known:?} {details}"
                );
                assert_eq!(transaction.idempotency_key, Some(name("set:1")));
            }
            (Received::Noted(noted, people), Effect::Note) => {
                assert_eq!((noted, people.len()), (known, 1));
            }
            (received, _) => panic!("{known:?} {details}: {received:?}"),
        }
    }
    // Nothing lifts what another event has ended.
    let disabled = event(&Known::AccountDisabled.uri(), "{}", subject);
    for (event, standing) in [
        (event(&Known::AccountPurged.uri(), "{}", subject), Standing::Deactivated),
        (disabled, Standing::Deactivated),
        (event(&Known::SessionRevoked.uri(), "{}", subject), Standing::Deactivated),
    ] {
        let Received::Changes(transaction) = receive(&desk.world, &source(), &event, &name("set:1")) else {
            panic!()
        };
        desk.apply(transaction);
        assert_eq!(desk.standing("maya"), standing);
    }
    // The settings may say otherwise.
    let mut strict = source();
    strict.effects.insert(Known::SessionRevoked, Effect::End(Ending::Suspended));
    let session = event(&Known::SessionRevoked.uri(), "{}", subject);
    let Received::Changes(transaction) = receive(&desk.world, &strict, &session, &name("set:1")) else {
        panic!()
    };
    assert!(matches!(transaction.changes[..], [Change::HumanEnded { ending: Ending::Suspended, .. }]));
}

#[test]
fn a_level_of_risk_becomes_the_persons_risk_beside_what_else_it_means() {
    let desk = desk();
    let subject = r#"{"format":"opaque","id":"maya"}"#;
    let changes = |source: &Source, level: &str| {
        let event =
            event(&Known::RiskLevelChange.uri(), &format!(r#"{{"current_level":"{level}"}}"#), subject);
        match receive(&desk.world, source, &event, &name("set:1")) {
            Received::Changes(transaction) => {
                desk.world.apply(desk.world.revision().0 + 1, &transaction).unwrap();
                transaction.changes.iter().map(|change| change.to_value().to_string()).collect()
            }
            Received::Noted(..) => Vec::new(),
            other => panic!("{other:?}"),
        }
    };
    let ended = r#"{"human_ended":{"human":"maya","ending":"sessions"}}"#;
    let risk = |risk: u32| format!(r#"{{"risk_set":{{"human":"maya","risk":{risk}}}}}"#);
    assert_eq!(changes(&source(), "HIGH"), [ended.to_owned(), risk(100)]);
    assert_eq!(changes(&source(), "medium"), [risk(50)]);
    assert_eq!(changes(&source(), "LOW"), [risk(0)]);
    assert_eq!(changes(&source(), "ODD"), [ended]);
    let mut lax = source();
    lax.effects.insert(Known::RiskLevelChange, Effect::Note);
    assert!(changes(&lax, "HIGH").is_empty(), "the settings let it only be noted");
}

#[test]
fn what_isnt_known_is_counted_only() {
    let desk = desk();
    let subject = r#"{"format":"opaque","id":"maya"}"#;
    for kind in [
        "https://schemas.openid.net/secevent/risc/event-type/session-revoked",
        "https://schemas.openid.net/secevent/caep/event-type/",
        "https://evil.example/session-revoked",
        "",
    ] {
        let got = receive(&desk.world, &source(), &event(kind, "{}", subject), &name("set:1"));
        assert_eq!(got, Received::Unmeant(Unmeant::Type), "{kind}");
    }
    let alive =
        event("https://schemas.openid.net/secevent/ssf/event-type/verification", r#"{"state":"s"}"#, subject);
    let got = receive(&desk.world, &source(), &alive, &name("set:1"));
    assert_eq!(got, Received::Verification(Some("s".into())));
}

fn told(desk: &Desk, of: Option<&str>, transaction: &Transaction) -> Vec<Outgoing> {
    let stream = Stream { id: name("siem"), audience: "https://siem.example".into(), tenant: of.map(tenant) };
    events(&desk.world, "https://placet.example", &stream, (7, 1_772_355_600), transaction)
}

fn gist(told: &[Outgoing]) -> Vec<String> {
    told.iter()
        .map(|one| {
            let subject = one.event.subject.as_ref().unwrap();
            let who = subject.get("sub").or_else(|| subject.pointer("/session/id")).and_then(Value::as_str);
            format!("{} {}", one.event.kind.rsplit('/').next().unwrap(), who.unwrap())
        })
        .collect()
}

#[test]
fn what_we_revoke_is_told_to_those_whom_it_concerns_and_always_under_the_same_name() {
    let mut desk = desk();
    desk.facts(
        r#"{"tenant":"acme","agents":[{"id":"agent-7","type":"t","owner":"maya","standing":"active"}],
        "workflows":[{"id":"wf-1","type":"case","owner":"maya","intents":["i"],"ends":"2026-03-02T00:00:00Z"}],
        "delegations":[{"id":"dg-1","human":"maya","agent":"agent-7","workflow":"wf-1","grantor":"human","scope":{"actions":["a"],"intents":["i"],"limits":{},"ends":"2026-03-02T00:00:00Z","depth":1}}]}"#,
    );
    let transaction = |place: Place, change: &str| Transaction {
        changes: vec![Change::from_value(&json(change), &place).unwrap()],
        place,
        author: name("operator"),
        source: name("api"),
        why: String::new(),
        idempotency_key: None,
    };
    let acme = Place::Tenant(tenant("acme"));
    let revoked = transaction(acme, r#"{"delegation_revoked":{"id":"dg-1"}}"#);
    let left = transaction(Place::Organisation, r#"{"human_ended":{"human":"maya","ending":"deactivated"}}"#);
    let stopped =
        transaction(Place::Organisation, r#"{"agent_standing":{"agent":"agent-7","standing":"suspended"}}"#);
    let resumed =
        transaction(Place::Organisation, r#"{"agent_standing":{"agent":"agent-7","standing":"active"}}"#);
    let session = transaction(Place::Organisation, r#"{"human_ended":{"human":"maya","ending":"sessions"}}"#);
    for (transaction, all) in [
        (&revoked, vec!["session-revoked dg-1"]),
        (&left, vec!["account-disabled maya", "session-revoked maya", "account-disabled agent-7"]),
        (&stopped, vec!["account-disabled agent-7"]),
        (&session, vec!["session-revoked maya"]),
        (&resumed, vec![]),
    ] {
        assert_eq!(gist(&told(&desk, None, transaction)), all);
        assert_eq!(gist(&told(&desk, Some("acme"), transaction)), all, "acme's own");
        assert!(told(&desk, Some("globex"), transaction).is_empty(), "not globex' business");
    }
    let first = told(&desk, None, &left);
    desk.facts(
        r#"{"tenant":"acme","agents":[{"id":"agent-1","type":"t","owner":"maya","standing":"active"}]}"#,
    );
    let ids = |told: &[Outgoing]| told.iter().map(|one| one.event.jti.clone()).collect::<BTreeSet<_>>();
    assert!(ids(&told(&desk, None, &left)).is_superset(&ids(&first)), "whatever else there is by now");
    // They are tokens that a receiver takes.
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let stream = Stream { id: name("siem"), audience: "https://siem.example".into(), tenant: None };
    let token = issued(&key, "https://placet.example", &stream, &first[0]).unwrap();
    let keys = KeySet::of(key.public());
    let expect = Expect { issuer: "https://placet.example", audience: "https://siem.example", keys: &keys };
    let open = Verified::<SecurityEvent>::open(&token, &expect, 1_772_355_700).unwrap();
    assert_eq!(open.claims(), &first[0].event);
}

#[test]
fn records_read_back_as_they_were_written() {
    let desk = desk();
    let org = desk.world.organisation();
    let record: DirectoryRecord =
        org.records(&name("okta"), RecordKind::User).next().unwrap().as_ref().clone();
    let change = Change::DirectorySet(record);
    assert_eq!(Change::from_value(&change.to_value(), &Place::Organisation).unwrap(), change);
}
