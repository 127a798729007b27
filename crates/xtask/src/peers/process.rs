//! Processes that end when they should.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long a process may take until it listens.
const READY: Duration = Duration::from_mins(1);

/// What a process left.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// A process that goes when this does.
#[derive(Debug)]
pub(super) struct Process(pub(super) Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone is gone.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Runs a command to its end, with `input` on its standard input, and ends it itself after `patience`.
pub(super) fn finish(
    command: &mut Command,
    input: Option<&str>,
    patience: Duration,
) -> Result<Output, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{name}: {error}"))?;
    let mut process = Process(child);
    let writer = process.0.stdin.take().zip(input.map(str::to_owned)).map(|(mut stdin, input)| {
        // A process that doesn't read its input says so by its status.
        thread::spawn(move || drop(stdin.write_all(input.as_bytes())))
    });
    let stdout = reader(process.0.stdout.take());
    let stderr = reader(process.0.stderr.take());
    let began = Instant::now();
    let status = loop {
        match process.0.try_wait().map_err(|error| format!("{name}: {error}"))? {
            Some(status) => break Some(status),
            None if began.elapsed() > patience => break None,
            None => thread::sleep(Duration::from_millis(20)),
        }
    };
    let Some(status) = status else {
        drop(process);
        return Err(format!("{name} took over {} s; it said: {}", patience.as_secs(), tail(&joined(stderr))));
    };
    if let Some(writer) = writer {
        drop(writer.join());
    }
    Ok(Output { status, stdout: joined(stdout), stderr: joined(stderr) })
}

/// Asks a process to end, and waits for it.
pub(super) fn terminate(mut process: Process, patience: Duration) -> Result<ExitStatus, String> {
    let asked = Command::new("kill").args(["-TERM", &process.0.id().to_string()]).status();
    asked.map_err(|error| format!("kill: {error}"))?;
    let began = Instant::now();
    while began.elapsed() < patience {
        if let Some(status) = process.0.try_wait().map_err(|error| error.to_string())? {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(20));
    }
    Err(format!("it didn't end within {} s of SIGTERM", patience.as_secs()))
}

fn reader(stream: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What was read before an error is told.
            drop(stream.read_to_end(&mut bytes));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn joined(reader: thread::JoinHandle<String>) -> String {
    reader.join().unwrap_or_default()
}

/// The end of a text, on one line.
pub(super) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.iter().skip(lines.len().saturating_sub(4)).copied().collect::<Vec<_>>().join(" | ")
}

/// A command line as the tables have it.
pub(super) fn command(words: &[String]) -> Command {
    let mut command = Command::new(words.first().map_or("", String::as_str));
    command.args(words.iter().skip(1));
    command
}

/// A port that was free a moment ago.
pub(super) fn port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| format!("loopback: {error}"))?;
    Ok(listener.local_addr().map_err(|error| format!("loopback: {error}"))?.port())
}

/// Waits until somebody listens.
pub(super) fn reachable(port: u16) -> Result<(), String> {
    let began = Instant::now();
    while began.elapsed() < READY {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Err(format!("nobody listens on port {port} after {} s", READY.as_secs()))
}
