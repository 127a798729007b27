//! Running the binary.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use placet_json::{Limits, Value};

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        placet_json::parse(self.out.as_bytes(), &Limits::RESULT)
            .unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
    pub(crate) fn text(&self, pointer: &str) -> String {
        self.json().pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    }
    /// The run must have come to this.
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

/// The binary, without the developer's own environment.
pub(crate) fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_placet"));
    for name in [
        "SERVER",
        "KEY",
        "AS",
        "CONFIG",
        "GATEWAY",
        "AGENT",
        "AGENT_KEY",
        "ENROL",
        "WORKFLOW",
        "DELEGATION",
        "INTENT",
    ] {
        command.env_remove(format!("PLACET_{name}"));
    }
    command.current_dir(dir);
    command
}

pub(crate) fn placet(dir: &Path, arguments: &[&str]) -> Ran {
    piped(dir, arguments, "")
}

/// Runs with this on standard input.
pub(crate) fn piped(dir: &Path, arguments: &[&str], input: &str) -> Ran {
    let mut child = command(dir)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

/// A process that serves until it is dropped.
pub(crate) struct Serving {
    child: Child,
    pub(crate) said: String,
}

impl Serving {
    /// Starts the binary and waits for a line of standard error that contains `ready`.
    pub(crate) fn start(dir: &Path, arguments: &[&str], ready: &str) -> Self {
        Self::start_with(dir, arguments, &[], ready)
    }
    /// Starts it with these variables besides.
    pub(crate) fn start_with(
        dir: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
        ready: &str,
    ) -> Self {
        let mut child = command(dir)
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        loop {
            let line = lines.next().unwrap_or_else(|| panic!("it ended: {said}")).unwrap();
            said.push_str(&line);
            said.push('\n');
            if line.contains(ready) {
                break;
            }
        }
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, said }
    }
    /// Whether the process has ended, or does within this time.
    pub(crate) fn is_gone_within(&mut self, time: Duration) -> bool {
        let until = std::time::Instant::now() + time;
        while self.child.try_wait().unwrap().is_none() {
            if std::time::Instant::now() > until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }
    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
    /// Asks it to end, and waits until it has.
    pub(crate) fn end(mut self) -> Option<i32> {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(asked.success());
        self.child.wait().unwrap().code()
    }
    /// The most memory that it ever held, in MiB.
    pub(crate) fn peak_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() / 1024
    }
    /// The word after `before` in what it said.
    pub(crate) fn word(&self, before: &str) -> String {
        self.said
            .split(before)
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next())
            .unwrap_or_else(|| panic!("{}", self.said))
            .to_owned()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An address that nobody listens on.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Sends bytes to an address and reads the answer to its end.
pub(crate) fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status of an HTTP answer.
pub(crate) fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// A release of the repository.
pub(crate) fn policies(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies").join(name)
}
