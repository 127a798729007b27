//! Releases that change while calls come, candidates beside them, and what goes out although policy refuses it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use placet_audit::{Data, Scope, replay};
use placet_json::{Value, object};
use placet_policy::{Release, Tree};
use placet_testing::{Admin, Answer, Entry, Stage, StageBuilder, Want, Watch};

const NOTE: &str = r#"{"text":"hello"}"#;
const READ: &str = r#"{"case_id":"CASE-1837"}"#;

/// The stage's release with one file changed.
fn changed(stage: &Stage, path: &str, from: &str, to: &str) -> Release {
    fn read(dir: &Path, below: &str, tree: &mut Tree) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            if entry.file_type().unwrap().is_dir() {
                read(&entry.path(), &path, tree);
            } else {
                tree.insert(path, std::fs::read(entry.path()).unwrap());
            }
        }
    }
    let mut tree = Tree::new();
    read(&stage.dir().join("release"), "", &mut tree);
    let text = String::from_utf8(tree.remove(path).unwrap()).unwrap();
    assert!(text.contains(from), "{path} has no `{from}`");
    tree.insert(path.to_owned(), text.replace(from, to).into_bytes());
    Release::build(&tree).unwrap_or_else(|refused| panic!("{refused}"))
}

async fn keep(stage: &Stage, release: &Release) -> String {
    let answer = stage.admin.upload("/v1/releases", release.archive()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    release.digest().to_string()
}

async fn promote(stage: &Stage, digest: &str) -> Answer {
    stage.admin.ask(&format!("/v1/releases/{digest}/promote"), r#"{"why":"a test"}"#).await
}

async fn in_force(stage: &Stage) -> String {
    stage.admin.get("/v1/status").await.get("release").and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_decision_names_one_digest_while_releases_change_under_load() {
    let mut stage = Stage::start().await;
    let first = in_force(&stage).await;
    // The other one refuses notes.
    let other = changed(&stage, "policies/desk.rego", "\"take_note\", ", "");
    let second = keep(&stage, &other).await;
    let agent = stage.seven().await;
    let mut running = tokio::task::JoinSet::new();
    // Fewer than are recorded one by one if all are refused.
    for _ in 0..4 {
        let requests: Vec<_> = (0..30).map(|_| agent.modern("desk__note", NOTE)).collect();
        let address = stage.address;
        running.spawn(async move {
            for request in requests {
                request.send(address).await;
                tokio::time::sleep(Duration::from_millis(8)).await;
            }
        });
    }
    for round in 0..6 {
        tokio::time::sleep(Duration::from_millis(40)).await;
        if round % 2 == 0 {
            assert_eq!(promote(&stage, &second).await.status, 200);
        } else {
            let back = stage.admin.ask("/v1/releases/rollback", r#"{"why":"a test"}"#).await;
            assert_eq!(back.status, 200, "{}", back.text());
        }
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
    stage.settle().await;
    let mut current = String::new();
    let mut decided: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let (mut permits, mut moves) = (0, 0);
    for entry in stage.ledger().after(0) {
        let release = entry.text("/release").to_owned();
        if entry.record.get("decision").is_some() {
            decided.entry(entry.text("/id").to_owned()).or_default().insert(release.clone());
            if entry.text("/decision") == "permit" {
                assert_eq!(
                    (&release, &release),
                    (&current, &first),
                    "no permit of a release that isn't in force"
                );
                permits += 1;
            }
        } else if entry.record.get("name").is_some() && !release.is_empty() {
            current = release;
            moves += 1;
        }
    }
    assert!(
        decided.len() >= 120 && decided.values().all(|releases| releases.len() == 1),
        "{}",
        decided.len()
    );
    assert!(permits > 0 && moves == 7, "{permits} {moves}");
    assert_eq!(
        stage.desk.calls().len(),
        stage.ledger().after(0).iter().filter(|entry| entry.gist() == "done").count()
    );
    stage.stop().await;
    let report =
        replay(&Data::open(&stage.data()).unwrap(), &Scope::default(), None, &mut |_, _| {}).unwrap();
    assert!(report.is_same() && report.same > 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_beside_the_one_in_force_sees_the_calls_and_decides_none() {
    let stage = Stage::start().await;
    let first = in_force(&stage).await;
    let other = changed(&stage, "policies/desk.rego", "\"take_note\", ", "");
    let second = keep(&stage, &other).await;
    let agent = stage.seven().await;
    stage.admin.act(&format!("/v1/releases/{second}/shadow"), "{}").await;
    for _ in 0..5 {
        assert_eq!(agent.call("desk__note", NOTE).await.code(), "");
    }
    assert_eq!(agent.call("crm__get_case", READ).await.code(), "");
    assert_eq!(in_force(&stage).await, first);
    let began = std::time::Instant::now();
    let report = loop {
        let report = stage.admin.get("/v1/releases/shadow").await;
        let count = |name: &str| report.pointer(&format!("/shadow/{name}")).and_then(Value::as_u64).unwrap();
        if count("compared") + count("dropped") == 6 {
            break report;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{report}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(report.pointer("/shadow/differing").and_then(Value::as_u64), Some(5), "{report}");
    let difference = report.pointer("/shadow/differences/0").unwrap();
    let text = |name: &str| difference.get(name).and_then(Value::as_str).unwrap_or_default();
    assert_eq!((text("agent"), text("tool"), text("was")), ("agent-7", "desk.note", "permit"));
    assert!(text("would").starts_with("deny ") && text("rule") == "hostile.desk", "{difference}");
    let watch = Watch::on(&stage).await;
    stage.admin.act("/v1/releases/shadow", r#"{"why":"seen"}"#).await;
    let ended = format!("act end of the shadow of release {second}");
    let entries = watch.assert(&stage, "shadow", Want { ledger: &[&ended], ..Want::default() }).await;
    assert!(entries[0].text("/why").starts_with("5 of 6 calls differ"), "{}", entries[0].text("/why"));
    assert_eq!(stage.admin.ask("/v1/releases/shadow", "{}").await.status, 404);
}

/// Notes and reading are what no rule allows; the baseline denies what is urgent to everybody.
async fn strict() -> (Stage, Admin, Admin) {
    let stage = StageBuilder::default()
        .change("release.toml", "name = \"hostile\"\n", "name = \"hostile\"\n\n[review]\nreviewers = [\"omar\"]\n\n[baseline]\npath = \"baseline\"\nowners = [\"omar\"]\nentrypoints = [\"baseline.denies\"]\n")
        .file("baseline/policies/denies.rego", "package baseline.denies\n\nimport rego.v1\n\ndeny contains \"nothing urgent\" if input.args.urgent\n")
        .change("policies/desk.rego", "\"take_note\", ", "")
        .start()
        .await;
    let (maya, omar) = (stage.admin.person("maya").await, stage.admin.person("omar").await);
    (stage, maya, omar)
}

fn asked(kind: &str, effect: &str, more: &str) -> String {
    format!(
        r#"{{"kind":"{kind}","agent":"agent-7","upstream":"desk","effect":"{effect}","life_ms":3600000,"why":"a test"{more}}}"#
    )
}

async fn ask(person: &Admin, body: &str) -> String {
    person.act("/v1/waivers", body).await.get("id").and_then(Value::as_str).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observed_call_goes_out_says_so_everywhere_and_replay_finds_the_same() {
    let (mut stage, maya, omar) = strict().await;
    let agent = stage.seven().await;
    let hidden = agent.call("desk__note", NOTE).await;
    assert_ne!(hidden.code(), "", "{}", hidden.text());
    let id = ask(&maya, &asked("observe", "write", "")).await;
    // Nobody confirms their own, nor does a person who doesn't review policy, nor an operator.
    let confirm = format!("/v1/waivers/{id}/confirm");
    for (who, status) in [(&maya, 403), (&stage.admin, 403)] {
        assert_eq!(who.ask(&confirm, "{}").await.status, status);
    }
    assert_ne!(agent.call("desk__note", NOTE).await.code(), "", "it doesn't hold yet");
    omar.act(&confirm, "{}").await;
    stage.settle().await;
    let before = stage.ledger().last();
    let answer = agent.call("desk__note", NOTE).await;
    let mark = answer.message().pointer("/result/_meta/dev.placet~1waived").cloned();
    let mark = mark.unwrap_or_else(|| panic!("{}", answer.text()));
    assert_eq!(mark.get("as").and_then(Value::as_str), Some("observed"));
    stage.settle().await;
    let entries = stage.ledger().after(before);
    let gists: Vec<String> = entries.iter().map(Entry::gist).collect();
    assert_eq!((gists, stage.desk.calls().len()), (vec!["permit".to_owned(), "done".to_owned()], 1));
    let permit = entries.iter().find(|entry| entry.gist() == "permit").unwrap();
    assert_eq!(permit.text("/obligations/0"), "observed");
    assert_eq!(permit.text("/determining/0/policy"), format!("observe:{id}"));
    assert_eq!(permit.text("/reasons/0/code"), mark.get("code").and_then(Value::as_str).unwrap());
    let page = stage.admin.request("GET", "/metrics", "").send(stage.admin.address()).await.text();
    assert!(
        page.contains("placet_waived_total{as=\"observed\",code=\"no_rule_allows\"} 1")
            && page.contains("placet_observe_permissions 1"),
        "{page}"
    );
    // The baseline's denies stand, and so does what the platform refuses.
    let urgent = agent.call("desk__note", r#"{"text":"now","urgent":true}"#).await;
    assert_eq!(urgent.code(), "policy_denies", "{}", urgent.text());
    let purge = agent.call("desk__purge", "{}").await;
    assert_ne!(purge.code(), "", "the delegation doesn't cover it, and it destroys");
    // Another agent's call isn't covered.
    let other = stage.agent("agent-8", "acme", "wf-9", "dg-8").await;
    assert_ne!(other.call("desk__note", NOTE).await.code(), "");
    // Enforced, it is refused as before.
    omar.act("/v1/agents/agent-7/enforce", r#"{"effect":"write","why":"rules are in force"}"#).await;
    assert_ne!(agent.call("desk__note", NOTE).await.code(), "");
    stage.settle().await;
    stage.stop().await;
    let report =
        replay(&Data::open(&stage.data()).unwrap(), &Scope::default(), None, &mut |_, _| {}).unwrap();
    assert!(report.is_same() && report.same >= 5, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_is_of_one_tool_ends_by_itself_and_survives_a_restart() {
    let (mut stage, maya, omar) = strict().await;
    let short = asked("exception", "write", r#","tool":"desk.note""#).replace("3600000", "2500");
    let id = ask(&maya, &short).await;
    omar.act(&format!("/v1/waivers/{id}/confirm"), "{}").await;
    let agent = stage.seven().await;
    assert_eq!(agent.call("desk__note", NOTE).await.code(), "");
    agent.call("desk__place", r#"{"region":"eu"}"#).await;
    assert_eq!(stage.desk.calls().len(), 1, "another tool of the upstream isn't covered");
    stage.restart(|_| {}).await;
    tokio::time::sleep(Duration::from_millis(2_600)).await;
    assert_ne!(agent.call("desk__note", NOTE).await.code(), "", "it is over");
    let listed = stage.admin.get("/v1/waivers").await;
    assert_eq!(listed.pointer("/waivers/0/state").and_then(Value::as_str), Some("over"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_waived_is_refused_when_it_is_asked_for() {
    let (stage, maya, omar) = strict().await;
    let watch = Watch::on(&stage).await;
    for (body, why) in [
        (asked("observe", "destructive", ""), "destructive"),
        (asked("observe", "write", r#","tool":"desk.note""#), "tool"),
        (asked("exception", "write", ""), "tool"),
        (asked("exception", "read", r#","tool":"desk.note""#), "its effect is write"),
        (asked("exception", "write", r#","tool":"desk.none""#), "desk.none"),
        (asked("observe", "write", "").replace("3600000", "1209600001"), "too far away"),
        (asked("observe", "write", "").replace("a test", ""), "why"),
        (asked("forever", "write", ""), "kind"),
    ] {
        let answer = maya.ask("/v1/waivers", &body).await;
        assert!(
            (400..500).contains(&answer.status) && answer.text().contains(why),
            "{body}: {}",
            answer.text()
        );
    }
    assert_eq!(stage.admin.ask("/v1/waivers", &asked("observe", "write", "")).await.status, 403);
    let bob = stage.admin.person("bob").await;
    assert_eq!(bob.ask("/v1/waivers", &asked("observe", "write", "")).await.status, 403);
    // Not by the facts' own door either, where an operator might speak in others' names.
    let forged = object! { "waiver_asked" => object! {
        "id" => "w1", "kind" => "observe", "agent" => "agent-7", "upstream" => "desk", "effect" => "write", "owner" => "maya",
        "since" => stage.end_in(0), "ends" => stage.end_in(1000), "reason" => "forged",
    } };
    for author in ["operator", "human:maya"] {
        let body = format!(
            r#"{{"place":"organisation","author":"{author}","changes":[{}]}}"#,
            Value::from(forged.clone())
        );
        let answer = stage.admin.ask("/v1/facts", &body).await;
        assert!((400..500).contains(&answer.status), "{author}: {}", answer.text());
    }
    let id = ask(&maya, &asked("observe", "read", "")).await;
    omar.act(&format!("/v1/waivers/{id}/confirm"), "{}").await;
    assert_eq!(omar.ask(&format!("/v1/waivers/{id}/confirm"), "{}").await.status, 409);
    let waivers = stage.admin.get("/v1/waivers").await;
    assert_eq!(waivers.get("waivers").and_then(Value::as_array).unwrap().len(), 1);
    drop(watch);
}
