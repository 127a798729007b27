//! Our client and a real `opal-server`.

use std::time::Duration;

use placet_core::{HumanId, Standing};
use placet_sync::opal::{Host as _, State};
use serde_json::json;

use crate::{
    data::Data,
    host::{Following, Memory, follow, publish, tenant},
    peer::Peer,
};

const BASE: &str =
    r#"{"maya":{"active":true,"roles":["support"]},"lee":{"active":true,"roles":["support"]}}"#;

async fn stage() -> (Data, Peer, Following) {
    let data = Data::start().await;
    let users = data.set("users", BASE);
    let config = json!({"config":{"entries":[{"url":users,"topics":["policy_data"],"dst_path":"/users"}]}});
    let mut server = Peer::server(&[
        ("OPAL_DATA_CONFIG_SOURCES", &config.to_string()),
        ("OPAL_REPO_WATCHER_ENABLED", "false"),
    ]);
    server.start();
    let following = follow(&server.url(), "", false, &data.origin(), Memory::new());
    following.host.until("the base is in force", 30, |host| host.state() == Some(State::Live)).await;
    (data, server, following)
}

fn standing(host: &Memory, id: &str) -> Option<Standing> {
    host.world().organisation().human(&HumanId::new(id).unwrap()).map(|human| human.standing)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs peers/install.sh"]
async fn updates_inline_and_by_url_are_facts_and_a_revocation_is_one_transaction() {
    let (data, server, following) = stage().await;
    let host = &following.host;
    assert_eq!(standing(host, "maya"), Some(Standing::Active));
    let steps = host.transactions.lock().unwrap().len();
    let roles = |id: &str| {
        host.world().tenant(&tenant()).unwrap().assignment(&HumanId::new(id).unwrap()).map(|a| a.roles.len())
    };
    assert_eq!(roles("maya"), Some(1));
    // Inline.
    let update = json!({"id":"rev-1","reason":"left the team","entries":[{"url":"","topics":["policy_data"],"dst_path":"/users/maya","data":{"active":true,"roles":[]}}],
        "callback":{"callbacks":[format!("{}/report", data.origin())]}});
    assert_eq!(publish(server.port, update).await, 200);
    host.until("the revocation is a fact", 10, |_| roles("maya").is_none()).await;
    {
        let transactions = host.transactions.lock().unwrap();
        assert_eq!(transactions.len(), steps + 1);
        let last = &transactions.last().unwrap().1;
        assert_eq!(last.source.as_str(), "opal:hr");
        assert!(last.why.starts_with("rev-1: left"), "{}", last.why);
        assert!(last.idempotency_key.is_some());
    }
    // By URL.
    let case = data.set("case", r#"{"v":7,"owner":"lee"}"#);
    publish(server.port, json!({"entries":[{"url":case,"topics":["policy_data/x"],"dst_path":"cases/C-1"}]}))
        .await;
    host.until("fetched", 10, |host| host.attribute("case", "C-1", "v").as_deref() == Some("7")).await;
    // RFC 6902.
    let patch = json!({"entries":[{"url":"","topics":["policy_data"],"dst_path":"/cases","save_method":"PATCH","data":[{"op":"replace","path":"/C-1/v","value":8},{"op":"add","path":"/C-2","value":{"v":1}}]}]});
    assert_eq!(publish(server.port, patch).await, 200);
    host.until("patched", 10, |host| host.attribute("case", "C-2", "v").is_some()).await;
    assert_eq!(host.attribute("case", "C-1", "v").as_deref(), Some("8"));
    // What no rule is for is refused, and said.
    publish(
        server.port,
        json!({"entries":[{"url":"","topics":["policy_data"],"dst_path":"/secret","data":{"a":1}}]}),
    )
    .await;
    host.until("reported", 10, |host| {
        host.status.lock().unwrap().as_ref().is_some_and(|shown| shown.unmapped.count > 0)
    })
    .await;
    let reports = data.reports.lock().unwrap().clone();
    assert!(
        reports.iter().any(|report| report.contains("rev-1") && report.contains("\"saved\":true")),
        "{reports:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs peers/install.sh"]
async fn syn_2_ord2_and_its_alias_with_falling_delays_end_in_the_newest() {
    let (data, server, following) = stage().await;
    let host = &following.host;
    for round in 0_u64..3 {
        for i in 1_u64..=10 {
            let n = round * 10 + i;
            let url = data.set_to(
                &format!("o{n}"),
                &format!("{{\"v\":{n}}}"),
                200,
                Duration::from_millis((10 - i) * 30),
            );
            let path = if i % 2 == 0 { "ord2" } else { "/ord2" };
            assert_eq!(
                publish(
                    server.port,
                    json!({"entries":[{"url":url,"topics":["policy_data"],"dst_path":path}]})
                )
                .await,
                200
            );
        }
        let last = (round * 10 + 10).to_string();
        host.until("the newest", 10, |host| host.attribute("counter", "ord2", "v").as_deref() == Some(&last))
            .await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(
            host.attribute("counter", "ord2", "v").as_deref(),
            Some(last.as_str()),
            "nothing late wins"
        );
    }
    let seen: Vec<u64> = host
        .transactions
        .lock()
        .unwrap()
        .iter()
        .flat_map(|(_, transaction)| transaction.changes.iter())
        .filter_map(|change| change.to_value().get("resource_set")?.get("attributes")?.get("v")?.as_u64())
        .collect();
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "no value goes back: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs peers/install.sh"]
async fn syn_2_a_dead_url_at_the_root_delays_no_revocation_and_is_a_gap_until_it_answers() {
    let (data, server, following) = stage().await;
    let host = &following.host;
    let dead = data.set_to("dead", "", 500, Duration::ZERO);
    publish(server.port, json!({"entries":[{"url":dead,"topics":["policy_data"],"dst_path":"/"}]})).await;
    host.until("the gap is seen", 5, |host| host.state() == Some(State::Gap)).await;
    publish(server.port, json!({"entries":[{"url":"","topics":["policy_data"],"dst_path":"/users/lee","data":{"active":false}}]})).await;
    let took = host
        .until("the revocation is a fact", 2, |host| standing(host, "lee") == Some(Standing::Suspended))
        .await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    // Once it answers, it counts as older than the revocation.
    data.set("dead", r#"{"users":{"lee":{"active":true,"roles":["support"]},"new":{"active":true}}}"#);
    host.until("the gap is closed", 30, |host| host.state() == Some(State::Live)).await;
    assert_eq!(standing(host, "new"), Some(Standing::Active));
    assert_eq!(standing(host, "lee"), Some(Standing::Suspended));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs peers/install.sh"]
async fn a_killed_server_is_followed_again_and_everything_is_fetched() {
    let (data, mut server, following) = stage().await;
    let host = &following.host;
    server.kill();
    host.until("the loss is seen", 10, |host| host.state() == Some(State::Connecting)).await;
    data.set("users", r#"{"lee":{"active":true,"roles":["support"]}}"#);
    server.start();
    host.until("maya is gone", 40, |host| standing(host, "maya") == Some(Standing::Deactivated)).await;
    host.until("live", 10, |host| host.state() == Some(State::Live)).await;
    assert_eq!(standing(host, "lee"), Some(Standing::Active));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs peers/install.sh"]
async fn a_refused_token_stops_the_source_and_says_what_to_do() {
    let data = Data::start().await;
    let mut server =
        Peer::server(&[("OPAL_REPO_WATCHER_ENABLED", "false"), ("OPAL_AUTH_MASTER_TOKEN", "master")]);
    let (private, public) = crate::peer::rsa();
    server.set("OPAL_AUTH_PRIVATE_KEY", &private);
    server.set("OPAL_AUTH_PUBLIC_KEY", &public);
    server.start();
    let following = follow(&server.url(), "not-a-token", false, &data.origin(), Memory::new());
    following.host.until("refused", 20, |host| host.state() == Some(State::Refused)).await;
    let why = following.host.status.lock().unwrap().as_ref().unwrap().why.clone().unwrap();
    assert!(why.contains("refuses the token") && why.contains("restart"), "{why}");
    assert!(!why.contains("not-a-token"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs peers/install.sh"]
async fn syn_2_whoever_takes_a_source_over_doesnt_undo_what_was_pushed_before() {
    let data = Data::start().await;
    let users = data.set("users", BASE);
    let config = json!({"config":{"entries":[{"url":users,"topics":["policy_data"],"dst_path":"/users"}]}});
    let mut server = Peer::server(&[
        ("OPAL_DATA_CONFIG_SOURCES", &config.to_string()),
        ("OPAL_REPO_WATCHER_ENABLED", "false"),
    ]);
    server.start();
    let host = Memory::of_several();
    let roles = |id: &str| {
        host.world().tenant(&tenant()).unwrap().assignment(&HumanId::new(id).unwrap()).map(|a| a.roles.len())
    };
    let first = follow(&server.url(), "", false, &data.origin(), host.clone());
    host.until("the base is in force", 30, |host| host.state() == Some(State::Live)).await;
    // What was pushed inline, no fetch tells; the case is in no entry of the base at all.
    let pushed = json!({"entries":[
        {"url":"","topics":["policy_data"],"dst_path":"/cases/C-9","data":{"v":7,"owner":"lee"}},
    ]});
    assert_eq!(publish(server.port, pushed).await, 200);
    host.until("pushed", 10, |host| host.attribute("case", "C-9", "v").is_some()).await;

    // Another one takes it over, from its own empty directory.
    drop(first);
    *host.status.lock().unwrap() = None;
    let second = follow(&server.url(), "", false, &data.origin(), host.clone());
    host.until("the other one follows", 30, |host| host.state() == Some(State::Live)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(host.attribute("case", "C-9", "v").as_deref(), Some("7"), "what was pushed is still there");
    assert_eq!(roles("maya"), Some(1));

    // Whoever loses it changes nothing any more, and takes it up again when it may.
    host.elsewhere.store(true, std::sync::atomic::Ordering::SeqCst);
    host.until("it was left", 10, |host| host.left.load(std::sync::atomic::Ordering::SeqCst) == 1).await;
    let steps = host.transactions.lock().unwrap().len();
    let update = json!({"entries":[{"url":"","topics":["policy_data"],"dst_path":"/cases/C-9","data":{"v":8,"owner":"lee"}}]});
    assert_eq!(publish(server.port, update.clone()).await, 200);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(host.transactions.lock().unwrap().len(), steps);
    host.elsewhere.store(false, std::sync::atomic::Ordering::SeqCst);
    *host.status.lock().unwrap() = None;
    host.until("it follows again", 30, |host| host.state() == Some(State::Live)).await;
    assert_eq!(publish(server.port, update).await, 200);
    host.until("and hears", 10, |host| host.attribute("case", "C-9", "v").as_deref() == Some("8")).await;
    drop(second);
}
