//! What a service gets of it.

use std::sync::Arc;

use placet_jose::{Algorithm, KeySet};
use placet_verify::{
    Admission, FileStore, LEEWAY, MemoryStore, Refused, ReplayKey, ReplayStore, Trust, Unusable, Verifier,
};

use crate::support::{Gateway, NOW, Sent, TOOL};

/// Long enough ago that a store in memory takes tokens of [`NOW`].
const START: u64 = NOW - 60;

#[test]
fn cre_1_a_call_is_told_whole_and_counts_once() {
    let gateway = Gateway::new(Algorithm::EdDsa);
    let verifier = gateway.verifier(MemoryStore::started(START, 8));
    let sent = gateway.call(NOW);
    let call = sent.check(&verifier, NOW).unwrap();
    assert_eq!(
        (call.human(), call.agent(), call.tenant(), call.action()),
        ("maya", "agent-7", "acme", "issue_refund")
    );
    assert_eq!(call.agents().collect::<Vec<_>>(), ["planner-1", "agent-7"]);
    assert_eq!(call.resource(), Some(("support_case", "CASE-1837")));
    assert_eq!((call.amount(), call.decision(), call.expires_at()), (Some("80"), "dc_1", NOW + 30));
    assert_eq!(call.id(), call.token().jti);
    assert_eq!(sent.check(&verifier, NOW).unwrap_err(), Refused::Replayed);
}

#[test]
fn cre_2_what_was_changed_is_refused_and_doesn_t_use_the_token_up() {
    let gateway = Gateway::new(Algorithm::Es256);
    let verifier = gateway.verifier(MemoryStore::started(START, 8));
    let sent = gateway.call(NOW);
    let other = gateway.call(NOW);
    let refused = |sent: Sent| sent.check(&verifier, NOW).unwrap_err();
    assert_eq!(refused(Sent { body: sent.body.replace('1', "2"), ..sent.clone() }), Refused::Digest);
    assert_eq!(refused(Sent { method: "PUT".into(), ..sent.clone() }), Refused::Method);
    assert_eq!(refused(Sent { target: "/mcp?x=1".into(), ..sent.clone() }), Refused::Url);
    assert_eq!(
        refused(sent.clone().with("authorization", |value| value.replace("DPoP", "Bearer"))),
        Refused::Scheme
    );
    let foreign_proof = other.headers.iter().find(|(name, _)| name == "dpop").unwrap().1.clone();
    assert_eq!(refused(sent.clone().with("dpop", |_| foreign_proof.clone())), Refused::TokenHash);
    assert_eq!(refused(gateway.call_for(NOW, "https://crm.example/mcp")), Refused::Audience);
    assert_eq!(sent.check(&verifier, NOW + 30 + LEEWAY).unwrap_err(), Refused::Expired);
    let twice = Sent { headers: [sent.headers.clone(), sent.headers.clone()].concat(), ..sent.clone() };
    assert_eq!(refused(twice), Refused::Header("authorization"));
    assert!(sent.check(&verifier, NOW).is_ok());
}

#[test]
fn cre_1_memory_refuses_all_that_may_have_been_used_before_its_start() {
    let gateway = Gateway::new(Algorithm::EdDsa);
    // Issued by a clock that is ahead by all that is tolerated, and used at once.
    let sent = gateway.call(NOW + LEEWAY);
    assert!(sent.check(&gateway.verifier(MemoryStore::started(START, 8)), NOW).is_ok());
    for start in [NOW, NOW + 1, NOW + LEEWAY] {
        let restarted = gateway.verifier(MemoryStore::started(start, 8));
        assert_eq!(sent.check(&restarted, start).unwrap_err(), Refused::BeforeStart, "{start}");
        assert!(gateway.call(start + LEEWAY + 1).check(&restarted, start + LEEWAY + 1).is_ok());
    }
}

#[test]
fn cre_1_a_file_remembers_over_a_restart() {
    let gateway = Gateway::new(Algorithm::EdDsa);
    let dir = tempfile::tempdir().unwrap();
    let open = || gateway.verifier(FileStore::open(&dir.path().join("used"), 8, NOW).unwrap());
    let sent = gateway.call(NOW);
    let verifier = open();
    assert!(sent.check(&verifier, NOW).is_ok());
    drop(verifier);
    let verifier = open();
    assert_eq!(sent.check(&verifier, NOW + 1).unwrap_err(), Refused::Replayed);
    assert!(
        gateway.call(NOW - 1).check(&verifier, NOW + 1).is_ok(),
        "older ones that weren't used still work"
    );
}

#[test]
fn cre_1_replicas_that_share_a_store_let_a_call_in_at_one_of_them() {
    let gateway = Gateway::new(Algorithm::EdDsa);
    let store = Arc::new(MemoryStore::started(START, 64));
    let replicas: Vec<_> = (0..4).map(|_| gateway.verifier(Arc::clone(&store))).collect();
    let sent = gateway.call(NOW);
    let let_in: usize = std::thread::scope(|scope| {
        let threads: Vec<_> =
            replicas.iter().map(|replica| scope.spawn(|| sent.check(replica, NOW).is_ok())).collect();
        threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
    });
    assert_eq!(let_in, 1);
}

/// A database that is down.
struct Down;

impl ReplayStore for Down {
    fn first_use(&self, _: ReplayKey, _: u64, _: u64) -> Admission {
        Admission::Full
    }
    fn remembers_since(&self) -> u64 {
        0
    }
}

#[test]
fn a_store_that_can_t_remember_lets_nobody_in() {
    let gateway = Gateway::new(Algorithm::EdDsa);
    assert_eq!(gateway.call(NOW).check(&gateway.verifier(Down), NOW).unwrap_err(), Refused::WindowFull);
}

#[test]
fn keys_rotate_without_an_outage_and_a_flood_fetches_once() {
    let (old, new) = (Gateway::new(Algorithm::EdDsa), Gateway::new(Algorithm::Es256));
    let verifier = old.verifier(MemoryStore::started(START, 8));
    assert_eq!(new.call(NOW).check(&verifier, NOW).unwrap_err(), Refused::UnknownKey);
    assert!(verifier.refresh_due(NOW) && !verifier.refresh_due(NOW) && !verifier.refresh_due(NOW + 29));
    assert!(!verifier.replace_keys(KeySet::new()), "an empty answer changes nothing");
    assert!(old.call(NOW).check(&verifier, NOW).is_ok());
    let mut both = old.keys();
    both.add(new.token.public()).unwrap();
    assert!(verifier.replace_keys(both));
    assert!(new.call(NOW).check(&verifier, NOW).is_ok() && old.call(NOW).check(&verifier, NOW).is_ok());
    assert!(verifier.refresh_due(NOW + 30));
}

#[test]
fn what_would_believe_nobody_or_anybody_isn_t_made() {
    let trust = || Gateway::new(Algorithm::EdDsa).trust();
    let store = || MemoryStore::started(START, 8);
    let unusable = |trust: Trust| Verifier::new(trust, store()).map(drop).unwrap_err();
    assert_eq!(unusable(Trust { keys: KeySet::new(), ..trust() }), Unusable::NoKeys);
    assert_eq!(unusable(Trust { issuer: String::new(), ..trust() }), Unusable::Empty("issuer"));
    assert_eq!(unusable(Trust { audience: String::new(), ..trust() }), Unusable::Empty("audience"));
    assert_eq!(unusable(Trust { url: "mcp".into(), ..trust() }), Unusable::Url("mcp".into()));
    assert_eq!(gateway_path(), "/mcp");
}

fn gateway_path() -> String {
    let gateway = Gateway::new(Algorithm::EdDsa);
    let verifier = gateway.verifier(MemoryStore::started(START, 8));
    assert!(TOOL.ends_with(&verifier.path()));
    verifier.path()
}
