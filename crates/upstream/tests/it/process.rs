//! Processes: handshakes of both eras, sharing, dying, cancellation.

use std::time::Duration;

use placet_core::authority::{Answer, Ending, Outcome};
use placet_json::Value;
use placet_mcp::logging::LogLevel;
use placet_upstream::UpstreamError;

use crate::world::{Asked, Wish, World, call, json, name, played};

fn structured(outcome: &Outcome) -> &Value {
    let Answer::Result(result) = &outcome.answer else { panic!("{outcome:?}") };
    result.get("structuredContent").unwrap()
}

fn act(what: &str) -> placet_core::Call {
    call("files", "act", &format!(r#"{{"do":"{what}"}}"#))
}

#[tokio::test]
async fn a_process_of_each_era_answers_what_was_decided() {
    for (role, modern) in [("modern", true), ("legacy", false), ("moody", false)] {
        let world = World::new(vec![played("files", role)]);
        let outcome = world.run(call("files", "act", r#"{"n":1.50}"#)).await.unwrap();
        assert_eq!(outcome.ending, Ending::Done, "{role}: {}", outcome.detail);
        assert!(outcome.sent > 0 && outcome.digest.is_some());
        let structured = structured(&outcome);
        assert_eq!(structured.get("role"), Some(&Value::from(role)));
        assert_eq!(structured.get("echo").unwrap().to_string(), r#"{"n":1.5}"#);
        let meta = structured.get("meta").unwrap();
        assert_eq!(meta.get("io.modelcontextprotocol/protocolVersion").is_some(), modern, "{role}");
        assert!(meta.get("dev.placet/token").is_some(), "the credential goes into _meta");
        assert_eq!(world.asked(), [Asked::Stdio]);
    }
}

#[tokio::test]
async fn a_process_that_says_nothing_to_a_modern_question_is_legacy() {
    let mut config = played("files", "silent");
    config.timeouts.handshake = Duration::from_secs(4);
    let world = World::new(vec![config]);
    assert_eq!(world.run(act("")).await.unwrap().ending, Ending::Done);
}

#[tokio::test]
async fn a_process_gets_the_environment_of_the_settings_and_nothing_of_ours() {
    let world = World::new(vec![played("files", "modern")]);
    let outcome = world.run(act("env")).await.unwrap();
    let names: Vec<&str> =
        structured(&outcome).as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(names.contains(&"PLACET_TEST_ROLE"));
    assert!(!names.contains(&"PATH") && !names.contains(&"HOME"), "{names:?}");
}

#[tokio::test]
async fn ten_3_processes_are_shared_within_a_partition_and_never_across() {
    let world = World::new(vec![played("files", "modern")]);
    let pid = async |tenant, credential| {
        let wish = Wish { tenant, credential, ..Wish::default() };
        let (outcome, _) = world.run_with(act("pid"), wish).await.unwrap();
        structured(&outcome).as_u64().unwrap()
    };
    let first = pid("acme", "a").await;
    assert_eq!(pid("acme", "a").await, first);
    let (other_credential, other_tenant) = (pid("acme", "b").await, pid("globex", "a").await);
    assert!(other_credential != first && other_tenant != first && other_tenant != other_credential);
}

#[tokio::test]
async fn ten_3_many_calls_at_once_each_get_their_own_answer() {
    let world = World::new(vec![played("files", "modern")]);
    let one = async |tenant: &'static str, n: usize| {
        let arguments = format!(r#"{{"n":"{tenant}-{n}"}}"#);
        let wish = Wish { tenant, progress: Some(Value::from(0_i64)), ..Wish::default() };
        let (outcome, _) = world.run_with(call("files", "act", &arguments), wish).await.unwrap();
        assert_eq!(structured(&outcome).pointer("/echo/n"), Some(&Value::from(format!("{tenant}-{n}"))));
    };
    let pairs = (0..1000).map(|n| async move { futures::join!(one("acme", n), one("globex", n)) });
    futures::stream::StreamExt::for_each_concurrent(futures::stream::iter(pairs), 50, |pair| async {
        Box::pin(pair).await;
    })
    .await;
}

#[tokio::test]
async fn a_process_that_dies_in_mid_call_leaves_it_unknown_and_is_started_again() {
    let world = World::new(vec![played("files", "modern")]);
    let outcome = world.run(act("die")).await.unwrap();
    assert_eq!((outcome.ending, &outcome.answer), (Ending::Unknown, &Answer::Nothing));
    assert!(outcome.sent > 0);
    assert_eq!(world.run(act("")).await.unwrap().ending, Ending::Done);
}

#[tokio::test]
async fn a_process_that_can_t_be_started_is_down() {
    let mut config = played("files", "modern");
    let placet_upstream::Transport::Stdio(stdio) = &mut config.transport else { panic!() };
    stdio.command = vec!["/nonexistent/server".to_owned()];
    let world = World::new(vec![config]);
    assert!(matches!(world.run(act("")).await, Err(UpstreamError::Io(_))));
    assert!(matches!(&*world.upstreams.health(), [(_, placet_upstream::Health::Down { .. })]));
}

#[tokio::test]
async fn garbage_is_no_answer_and_noise_is_passed_over() {
    let world = World::new(vec![played("files", "modern")]);
    let outcome = world.run(act("garbage")).await.unwrap();
    assert_eq!((outcome.ending, &outcome.answer), (Ending::Unknown, &Answer::Nothing), "{outcome:?}");
    let wish = Wish { progress: Some(Value::from("p")), log_level: Some(LogLevel::Info), ..Wish::default() };
    let (outcome, items) = world.run_with(act("noise"), wish).await.unwrap();
    assert_eq!(outcome.ending, Ending::Done);
    let methods: Vec<&str> = items.iter().filter_map(|item| item.get("method")?.as_str()).collect();
    assert_eq!(methods, ["notifications/message", "notifications/progress"]);
    assert_eq!(items[1].pointer("/params/progressToken"), Some(&Value::from("p")));
    assert!(world.upstreams.is_stale(&name("files")), "a change was announced");
}

#[tokio::test]
async fn a_line_over_the_bound_ends_the_process() {
    let world = World::new(vec![played("files", "modern")]);
    let outcome = world.run(act("long")).await.unwrap();
    assert_eq!((outcome.ending, &outcome.answer), (Ending::Unknown, &Answer::Nothing), "{}", outcome.detail);
    assert_eq!(world.run(act("")).await.unwrap().ending, Ending::Done);
}

#[tokio::test]
async fn mcp_5_a_question_of_a_process_is_refused() {
    let world = World::new(vec![played("files", "legacy")]);
    let outcome = world.run(act("ask")).await.unwrap();
    let expected = json(r#"{"jsonrpc":"2.0","id":"q","error":{"code":-32601,"message":"method not found"}}"#);
    assert_eq!(structured(&outcome), &expected);
}

#[tokio::test]
async fn a_slow_call_is_cancelled_and_the_process_lives_on() {
    let mut config = played("files", "modern");
    config.timeouts.call = Duration::from_millis(300);
    let world = World::new(vec![config]);
    let pid = structured(&world.run(act("pid")).await.unwrap()).as_u64().unwrap();
    let outcome = world.run(act("hang")).await.unwrap();
    assert_eq!((outcome.ending, &outcome.answer), (Ending::Unknown, &Answer::Nothing));
    // The cancellation came before the next call did.
    let cancelled = world.run(act("cancelled")).await.unwrap();
    assert!(structured(&cancelled).as_u64().is_some(), "{cancelled:?}");
    assert_eq!(structured(&world.run(act("pid")).await.unwrap()).as_u64(), Some(pid));
}

#[tokio::test]
async fn dropping_the_upstreams_ends_their_processes() {
    let world = World::new(vec![played("files", "modern")]);
    let pid = structured(&world.run(act("pid")).await.unwrap()).as_u64().unwrap();
    let alive = || std::path::Path::new(&format!("/proc/{pid}/exe")).exists();
    assert!(alive());
    drop(world);
    for _ in 0..500 {
        if !alive() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the process lives on");
}

#[tokio::test]
async fn too_many_processes_are_refused_unless_one_rests() {
    let mut config = played("files", "modern");
    config.bounds.processes = 1;
    config.timeouts.call = Duration::from_secs(2);
    let world = World::new(vec![config]);
    let wish = |tenant| Wish { tenant, ..Wish::default() };
    let hanging = world.run_with(act("hang"), wish("acme"));
    let crowded = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let refused = world.run_with(act(""), wish("globex")).await;
        assert!(matches!(refused, Err(UpstreamError::Busy(_))), "a second process was started");
    };
    let (hung, ()) = futures::join!(hanging, crowded);
    assert_eq!(hung.unwrap().0.ending, Ending::Unknown);
    // Now the first rests, and makes room.
    let (outcome, _) = world.run_with(act(""), wish("globex")).await.unwrap();
    assert_eq!(outcome.ending, Ending::Done);
}

#[tokio::test]
async fn a_process_that_crashes_again_and_again_is_left_alone_for_a_while() {
    let mut config = played("files", "modern");
    let placet_upstream::Transport::Stdio(stdio) = &mut config.transport else { panic!() };
    stdio.command = vec!["/bin/false".to_owned()];
    config.timeouts.connect = Duration::from_millis(150);
    let world = World::new(vec![config]);
    for _ in 0..2 {
        let failed = world.run(act("")).await.unwrap_err();
        assert!(!failed.to_string().contains("again and again"), "{failed}");
    }
    let refused = world.run(act("")).await.unwrap_err();
    assert!(refused.to_string().contains("again and again"), "{refused}");
}

#[tokio::test]
async fn cre_3_the_secret_never_comes_back_from_a_process() {
    let world = World::with_secret(vec![played("files", "modern")], "s3cr3t-of-files");
    let outcome = world.run(call("files", "act", r#"{"n":"x s3cr3t-of-files y"}"#)).await.unwrap();
    assert_eq!((outcome.ending, outcome.answer), (Ending::Filtered, Answer::Nothing));
    assert!(outcome.digest.is_some());
}
