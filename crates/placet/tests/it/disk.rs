//! A whole server on a disk that fails: nothing is decided that isn't on record, and the tool hears nothing.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use placet_json::{Value, object};

use crate::{
    connect::{Client, INITIALIZE, Road, connect, road_with},
    support::{Serving, exchange, status},
};

const CALL: &[u8] = b"tools/call";

/// A server whose journal fails while [`Faulty::switch`] says so.
struct Faulty {
    road: Road,
    faults: tempfile::TempDir,
}

fn faulty() -> Faulty {
    let faults = tempfile::tempdir().unwrap();
    let library = shim(faults.path());
    let variables =
        [("LD_PRELOAD", library.to_str().unwrap()), ("PLACET_TEST_FAULTS", faults.path().to_str().unwrap())];
    Faulty { road: road_with("", &variables), faults }
}

/// The linker that Rust needs anyhow makes the failing disk.
fn shim(dir: &Path) -> PathBuf {
    let library = dir.join("faulty.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/faulty.c");
    let made =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    assert!(made.unwrap().success());
    library
}

impl Faulty {
    fn switch(&self, fault: &str, on: bool) {
        let flag = self.faults.path().join(fault);
        if on {
            std::fs::write(flag, "").unwrap();
        } else {
            std::fs::remove_file(flag).unwrap();
        }
    }
    fn ready(&self) -> (u16, String) {
        let host = self.road.server.admin.strip_prefix("http://").unwrap();
        let request = format!("GET /readyz HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = exchange(host.parse().unwrap(), request.as_bytes());
        (status(&answer), answer)
    }
    /// Calls that were sent to the tool. The gateway asks it by itself for its list of tools now and then, which may be
    /// just now, and is none.
    fn sent(&self) -> usize {
        let sent = self.road.sent.lock().unwrap();
        sent.windows(CALL.len()).filter(|window| *window == CALL).count()
    }
    /// Facts of nearly a megabyte; whether they were taken.
    fn fill(&self) -> (bool, String) {
        let text = "x".repeat(2_000);
        let resources: Vec<Value> = (0..400)
            .map(|n| {
                Value::from(object! { "type" => "note", "id" => format!("N-{n}"), "attributes" => object! { "text" => text.as_str() } })
            })
            .collect();
        let facts = Value::from(object! { "tenant" => "acme", "resources" => resources });
        std::fs::write(self.road.server.dir().join("more.json"), facts.to_string()).unwrap();
        let ran = self.road.server.run(&["facts", "apply", "more.json"]);
        (ran.code == 0, ran.err)
    }
}

fn call(client: &mut Client, id: u64) -> Value {
    client.ask(id, "tools/call", r#"{"name":"crm__get_case","arguments":{"case_id":"CASE-1837"}}"#)
}

fn case(answer: &Value) -> Option<&str> {
    answer.pointer("/result/structuredContent/case_id").and_then(Value::as_str)
}

#[test]
fn led_2_a_failing_sync_stops_every_call_before_the_tool_and_readiness_says_so() {
    let faulty = faulty();
    let mut client = Client::start(connect(&faulty.road.server, &[]));
    client.ask(1, "initialize", INITIALIZE);
    assert_eq!(case(&call(&mut client, 2)), Some("CASE-1837"));
    assert_eq!(faulty.ready().0, 200);
    let (calls, sent) = (faulty.road.sample.calls(), faulty.sent());
    assert!(sent >= usize::try_from(calls).unwrap() && calls > 0, "{sent} of {calls}");

    faulty.switch("eio", true);
    let answer = call(&mut client, 3);
    assert_eq!(case(&answer), None, "{answer}");
    let (status, text) = faulty.ready();
    assert_eq!(status, 503, "{text}");
    assert!(text.contains("the journal has stopped") && text.contains("restart"), "{text}");

    // A sync that failed says nothing about what is on the disk: only a restart finds out.
    faulty.switch("eio", false);
    let answer = call(&mut client, 4);
    assert_eq!(case(&answer), None, "{answer}");
    assert!(!faulty.road.server.run(&["facts", "apply", "facts.json"]).err.is_empty());
    assert_eq!((faulty.road.sample.calls(), faulty.sent()), (calls, sent), "the tool heard nothing");
    client.end();
    let data = faulty.road.server.dir().join("data");
    drop(faulty.road.server.serving);
    let verified = crate::support::placet(
        faulty.road.server.dir.path(),
        &["audit", "verify", "--data", data.to_str().unwrap()],
    );
    assert_eq!(verified.code, 0, "{verified:?}");
}

#[test]
fn led_1_killed_at_any_step_from_the_decision_to_the_answer_nothing_is_sent_that_is_not_recorded() {
    let mut faulty = faulty();
    let dir = faulty.road.server.dir().to_owned();
    let data = dir.join("data");
    let verified = || {
        let arguments = ["audit", "verify", "--format", "json", "--data", data.to_str().unwrap()];
        let report = crate::support::placet(&dir, &arguments).expect(0).json();
        let number = |name: &str| report.get(name).and_then(Value::as_u64).unwrap();
        (number("permits"), number("effects"))
    };
    let (library, asked) = (faulty.faults.path().join("faulty.so"), faulty.faults.path().to_owned());
    let variables =
        [("LD_PRELOAD", library.to_str().unwrap()), ("PLACET_TEST_FAULTS", asked.to_str().unwrap())];
    let (mut killed, mut unsent, mut sent) = (0, 0, 0);
    for step in 1..40 {
        let mut client = Client::start(connect(&faulty.road.server, &[]));
        client.ask(1, "initialize", INITIALIZE);
        let (before, calls) = (verified().0, faulty.road.sample.calls());
        std::fs::write(asked.join("kill"), step.to_string()).unwrap();
        let answer = call(&mut client, 2);
        let is_gone = faulty.road.server.serving.is_gone_within(Duration::from_millis(500));
        std::fs::remove_file(asked.join("kill")).unwrap();
        client.end();
        if !is_gone {
            assert_eq!(case(&answer), Some("CASE-1837"), "step {step}");
            break;
        }
        killed = step;
        let called = faulty.road.sample.calls() - calls;
        faulty.road.server.serving = Serving::start_with(&dir, &["serve"], &variables, "serves agents at");
        // Whatever the tool heard was recorded before, and every permit has an end.
        let (permits, effects) = verified();
        let recorded = permits - before;
        assert!(called <= recorded && recorded <= 1, "step {step}: {called} {recorded}");
        assert_eq!(permits, effects, "step {step}");
        if called == 0 { unsent += 1 } else { sent += 1 }
    }
    assert!((8..39).contains(&killed) && unsent >= 4 && sent >= 2, "{killed} {unsent} {sent}");
}

#[test]
fn led_2_a_full_disk_stops_every_call_before_the_tool_and_passes_by_itself() {
    let faulty = faulty();
    let mut client = Client::start(connect(&faulty.road.server, &[]));
    client.ask(1, "initialize", INITIALIZE);
    assert_eq!(case(&call(&mut client, 2)), Some("CASE-1837"));

    // Two segments are there already; then there is room for no other.
    faulty.switch("enospc", true);
    let refused = (0..100).map(|_| faulty.fill()).find(|(taken, _)| !taken).unwrap().1;
    assert!(refused.contains("full"), "{refused}");
    let (calls, sent) = (faulty.road.sample.calls(), faulty.sent());
    let answer = call(&mut client, 3);
    assert_eq!(case(&answer), None, "{answer}");
    let (status, text) = faulty.ready();
    assert_eq!(status, 503, "{text}");
    assert!(text.contains("the disk is full"), "{text}");
    assert_eq!((faulty.road.sample.calls(), faulty.sent()), (calls, sent), "the tool heard nothing");

    faulty.switch("enospc", false);
    let until = Instant::now() + Duration::from_secs(20);
    let mut id = 4;
    while case(&call(&mut client, id)).is_none() {
        assert!(Instant::now() < until, "recovers");
        id += 1;
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(faulty.ready().0, 200);
    assert_eq!(faulty.road.sample.calls(), calls + 1);
    client.end();
}
