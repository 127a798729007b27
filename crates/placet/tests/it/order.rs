//! What the system sees of a call: the decision is synced before the tool hears the first byte of it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{
    connect::{Client, INITIALIZE, connect, road_with},
    support::placet,
};

/// The system calls of a process, until it ends.
fn traced(pid: u32, to: &std::path::Path) -> std::process::Child {
    let calls = "trace=fdatasync,pwrite64,write,writev,sendto,sendmsg";
    let mut child = Command::new("strace")
        .args(["-f", "-y", "-s", "65536", "-e", calls, "-o"])
        .arg(to)
        .args(["-p", &pid.to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .expect("run peers/install.sh first: strace is missing");
    let (began, stderr) = (Instant::now(), child.stderr.take().unwrap());
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stderr));
    assert!(lines.next().unwrap().unwrap().contains("attached"), "strace may not trace");
    std::thread::spawn(move || lines.for_each(drop));
    assert!(began.elapsed() < Duration::from_secs(20));
    child
}

#[test]
#[ignore = "needs peers/install.sh"]
fn led_1_the_decision_is_synced_before_the_tool_gets_its_first_byte() {
    let road = road_with("", &[]);
    let mut client = Client::start(connect(&road.server, &[]));
    client.ask(1, "initialize", INITIALIZE);
    let log = road.server.dir().join("trace");
    let mut strace = traced(road.server.serving.id(), &log);
    let calls = road.sample.calls();
    client.ask(2, "tools/call", r#"{"name":"crm__get_case","arguments":{"case_id":"CASE-1837"}}"#);
    assert_eq!(road.sample.calls(), calls + 1);
    client.end();
    let (dir, data) = (road.server.dir().to_owned(), road.server.dir().join("data"));
    assert_eq!(road.server.serving.end(), Some(0));
    strace.wait().unwrap();
    placet(&dir, &["audit", "verify", "--data", data.to_str().unwrap()]).expect(0);

    let log = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
    let lines: Vec<&str> = log.lines().collect();
    let position = |what: &str, from: usize, test: &dyn Fn(&str) -> bool| {
        let found = lines.iter().skip(from).position(|line| test(line));
        from + found.unwrap_or_else(|| panic!("no {what} after line {from}"))
    };
    let written = position("decision in the journal", 0, &|line| {
        line.contains("pwrite64(") && line.contains(".seg>") && line.contains(r#"\"decision\":\"permit\""#)
    });
    // Whoever syncs says so in the same line, or in a later one of its own if others came between.
    let synced =
        position("sync", written, &|line| line.contains("fdatasync") && line.trim_end().ends_with("= 0"));
    let sent = position("call to the tool", 0, &|line| {
        line.contains("socket:[") && line.contains("tools/call") && line.contains("CASE-1837")
    });
    assert!(written < synced && synced < sent, "{written} {synced} {sent}");
    let effect = position("effect in the journal", sent, &|line| {
        line.contains("pwrite64(") && line.contains(r#"\"ending\":\"done\""#)
    });
    assert!(sent < effect);
}
