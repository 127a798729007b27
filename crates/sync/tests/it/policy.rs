//! Policy of a real `opal-server`'s git repository.

use placet_sync::opal::State;

use crate::{
    data::Data,
    host::{Memory, follow},
    peer::{Peer, Repo},
};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs peers/install.sh"]
async fn bundles_full_delta_and_deletion() {
    let data = Data::start().await;
    let repo =
        Repo::new(&[("a.rego", "package a\n\nallow = false\n"), ("sub/b.rego", "package b\n\nx = 1\n")]);
    let mut server = Peer::server(&[
        ("OPAL_POLICY_REPO_URL", &repo.url()),
        ("OPAL_POLICY_REPO_POLLING_INTERVAL", "1"),
        ("OPAL_POLICY_REPO_MAIN_BRANCH", "master"),
        ("OPAL_DATA_CONFIG_SOURCES", r#"{"config":{"entries":[]}}"#),
    ]);
    server.start();
    let following = follow(&server.url(), "", true, &data.origin(), Memory::new());
    let host = &following.host;
    host.until("the full bundle", 40, |host| host.policies.lock().unwrap().len() == 1).await;
    host.until("live", 20, |host| host.state() == Some(State::Live)).await;
    let first = host.policies.lock().unwrap()[0].clone();
    assert_eq!(first.modules.len(), 2);
    assert!(first.modules["a.rego"].contains("allow = false"));
    let hash = repo.commit(&[("a.rego", "package a\n\nallow = true\n")], &["sub/b.rego"]);
    host.until("the delta", 40, |host| host.policies.lock().unwrap().last().unwrap().hash == hash).await;
    let last = host.policies.lock().unwrap().last().unwrap().clone();
    assert_eq!(last.modules.keys().collect::<Vec<_>>(), ["a.rego"]);
    assert!(last.modules["a.rego"].contains("allow = true"));
}
