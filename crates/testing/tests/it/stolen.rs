//! What a thief has of a thing that lay about: each test is a row of `docs/reference/credentials.md`.

use std::path::Path;

use placet_json::Value;
use placet_oauth::vault::MasterKey;
use placet_server::vault::VaultFile;
use placet_testing::{Agent, Stage, StageBuilder};

const REFUND: &str = r#"{"case_id":"CASE-1837","amount":40}"#;

/// Every file below a directory, or a folder that is left out.
fn files(dir: &Path, without: &str) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with(without) {
            found.extend(files(&path, without));
        } else if path.is_file() {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    found
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|it| it == text.as_bytes())
}

/// Private keys as they are kept: the longest line of each file of keys.
fn private(data: &Path) -> Vec<String> {
    let keys = files(&data.join("keys"), "-");
    let keys = keys.iter().filter(|(name, _)| Path::new(name).extension().is_none_or(|it| it != "jwks"));
    let longest = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        text.lines().max_by_key(|line| line.len()).unwrap_or_default().to_owned()
    };
    keys.map(|(_, bytes)| longest(bytes)).collect()
}

/// A stage at which an agent worked: what it held is told.
async fn worked() -> (Stage, Agent, Vec<String>) {
    let stage = StageBuilder::default().start().await;
    let agent = stage.seven().await;
    assert_eq!(agent.call("billing__refund", REFUND).await.code(), "");
    let code = stage.admin.act("/v1/agents/agent-7/codes", "{}").await;
    let code = code.get("code").and_then(Value::as_str).unwrap().to_owned();
    stage.settle().await;
    let seen = stage.billing.calls();
    let shown = seen.iter().filter_map(|call| call.header("authorization")).map(str::to_owned);
    let held = [stage.secret().to_owned(), agent.token.clone(), code].into_iter().chain(shown).collect();
    (stage, agent, held)
}

#[tokio::test(flavor = "multi_thread")]
async fn ops_1_a_stolen_journal_holds_nothing_that_works() {
    let (stage, _, held) = worked().await;
    assert!(held.len() >= 4, "a secret, a token, a code, and what the tool was shown");
    for (file, bytes) in files(&stage.data(), "keys") {
        for secret in held.iter().chain(&private(&stage.data())) {
            assert!(!holds(&bytes, secret), "{file} holds {secret}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ops_1_a_stolen_vault_file_is_nothing_without_the_master_key() {
    let (stage, _, _) = worked().await;
    let vault = stage.data().join("vault");
    let bytes = std::fs::read(&vault).unwrap();
    assert!(!bytes.is_empty() && !holds(&bytes, stage.secret()));
    let another = MasterKey::new(MasterKey::generate().unwrap()).unwrap();
    assert!(VaultFile::open(&vault, another).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn ops_1_a_stolen_backup_has_no_key_unless_it_was_asked_for() {
    let (stage, _, held) = worked().await;
    let keys = private(&stage.data());
    assert!(keys.len() >= 5, "token, sender, checkpoint, session, operator: {}", keys.len());
    let archive = |name: &str, with_keys| {
        let to = stage.dir().join(name);
        placet_audit::backup(&stage.data(), &to, with_keys).unwrap();
        std::fs::read(to).unwrap()
    };
    let plain = archive("plain.tar", false);
    for secret in held.iter().chain(&keys) {
        assert!(!holds(&plain, secret), "the backup holds {secret}");
    }
    let whole = archive("whole.tar", true);
    assert!(keys.iter().all(|key| holds(&whole, key)), "with its keys it is the server");
    assert!(held.iter().all(|secret| !holds(&whole, secret)), "and yet holds no secret in plain");
}

#[tokio::test(flavor = "multi_thread")]
async fn del_2_a_stolen_agent_s_key_is_that_agent_and_no_other() {
    let stage = StageBuilder::default().start().await;
    // The key, on another machine.
    let mut thief = stage.idle("agent-7");
    thief.join("acme", "wf-9", "dg-1").await;
    assert_eq!(thief.call("billing__refund", REFUND).await.code(), "", "what its agent may, and on record");
    let stranger = Agent::new("agent-8", &thief.key, &stage.gateway, stage.address);
    assert_eq!(stranger.ask_for_token("acme", "wf-9", "dg-1").await.status, 401, "no other agent");
    assert!(thief.ask_for_token("acme", "wf-none", "dg-none").await.status >= 400, "no other delegation");
}

#[tokio::test(flavor = "multi_thread")]
async fn del_2_a_stolen_person_s_key_ends_with_the_person() {
    let stage = StageBuilder::default().start().await;
    let thief = stage.admin.person("omar").await;
    let seen = |status: u16| (200..300).contains(&status);
    let freeze = r#"{"what":"all","why":"a test"}"#;
    assert_eq!(thief.ask("/v1/freezes", freeze).await.status, 403, "no administration");
    assert!(seen(thief.request("GET", "/v1/status", "").send(thief.address()).await.status));
    stage.admin.act("/v1/humans/omar/standing", r#"{"standing":"suspended","why":"stolen"}"#).await;
    let answer = thief.request("GET", "/v1/status", "").send(thief.address()).await;
    assert!(matches!(answer.status, 401 | 403), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn rac_2_a_stolen_operator_s_key_approves_only_by_an_act_that_is_on_record() {
    let stage = StageBuilder::default().start().await;
    let agent = stage.seven().await;
    let refused = agent.call("billing__refund", r#"{"case_id":"CASE-1837","amount":250}"#).await;
    assert_eq!(refused.code(), "manager_approval_missing");
    let id = refused.message().pointer("/result/structuredContent/placet/decision_id").unwrap().clone();
    let approve = format!(r#"{{"decision":{id},"why":"a test"}}"#);
    let answer = stage.admin.ask("/v1/approvals", &approve).await;
    assert!(answer.status >= 400, "not itself: {}", answer.text());
    // A key of the thief's own, in the name of somebody who may.
    let omar = stage.admin.person("omar").await;
    assert!((200..300).contains(&omar.ask("/v1/approvals", &approve).await.status));
    stage.settle().await;
    let entries = stage.ledger().after(0);
    let text = |at: usize| entries.get(at).unwrap().record.to_string();
    let approval = (0..entries.len()).find(|at| text(*at).contains("approval_given")).unwrap();
    let key = (0..approval).rfind(|at| text(*at).contains("human_set")).unwrap();
    let key = text(key);
    assert!(key.contains("omar") && key.contains("operator"), "whose key, and who gave it: {key}");
}
