//! `xtask opal-bench`: opal-server and opal-client 0.9.9 beside Placet, by one driver, into `docs/benchmarks-opal.md`.

use std::{path::Path, process::Command};

use crate::Outcome;

const USAGE: &str =
    "usage: xtask opal-bench [--release]   measures target/debug/placet, or target/release/placet";

/// Runs the driver of `peers/opal/bench.py` on a binary that is built.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let profile = match words {
        [] => "debug",
        ["--release"] => "release",
        _ => return Err(vec![USAGE.to_owned()]),
    };
    let wrong = |problem: String| vec![problem];
    let root = std::env::current_dir().map_err(|error| wrong(error.to_string()))?;
    let binary = root.join("target").join(profile).join("placet");
    let python = root.join(".peers/opal/bin/python");
    for (path, remedy) in [(&binary, "build it first"), (&python, "run peers/install.sh first")] {
        if !path.exists() {
            return Err(wrong(format!("{} is missing: {remedy}", path.display())));
        }
    }
    let note = format!(
        "Measured {} with a {profile} build of Placet, {} of load before the start.",
        told("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        std::fs::read_to_string("/proc/loadavg")
            .ok()
            .and_then(|text| text.split(' ').next().map(str::to_owned))
            .unwrap_or_else(|| "an unknown amount".to_owned()),
    );
    let status = Command::new(python)
        .arg(root.join("peers/opal/bench.py"))
        .arg(binary)
        .arg(Path::new("docs/benchmarks-opal.md"))
        .arg(note)
        .status()
        .map_err(|error| wrong(error.to_string()))?;
    if status.success() { Ok(()) } else { Err(wrong("the driver failed".to_owned())) }
}

fn told(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output();
    output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
