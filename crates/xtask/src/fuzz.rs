//! Fuzzing: every target of `fuzz/` for some time, beginning with its committed corpus.

use std::{fs, path::Path, process::Command};

use crate::Outcome;

const USAGE: &str = "usage: xtask fuzz [--seconds N] [TARGET…]";
/// Long enough to run the corpora and to find what is shallow.
const SECONDS: u32 = 20;
/// In MiB; the strict reader's own bound on a message is one.
const MEMORY: u32 = 2048;

/// Runs all targets, or those named.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let (seconds, named) = match words {
        ["--seconds", seconds, named @ ..] => match seconds.parse::<u32>() {
            Ok(seconds) if seconds > 0 => (seconds, named),
            _ => return Err(vec![USAGE.to_owned()]),
        },
        named => (SECONDS, named),
    };
    let known = targets()?;
    if let Some(unknown) = named.iter().find(|name| !known.iter().any(|target| target == *name)) {
        return Err(vec![format!("there is no target `{unknown}`; there are {}. {USAGE}", known.join(", "))]);
    }
    installed()?;
    let mut problems = Vec::new();
    for target in known.iter().filter(|target| named.is_empty() || named.contains(&target.as_str())) {
        println!("fuzz: {target}, {seconds} s");
        // The first directory takes what is found, so that the committed corpus changes by a person's hand only.
        let found = format!("fuzz/target/corpus/{target}");
        if let Err(error) = fs::create_dir_all(&found) {
            problems.push(format!("{found}: {error}"));
            continue;
        }
        let mut command = Command::new("cargo");
        command.args(["+nightly", "fuzz", "run", target, &found, &format!("fuzz/corpus/{target}"), "--"]);
        command.args([format!("-max_total_time={seconds}"), format!("-rss_limit_mb={MEMORY}")]);
        match command.status() {
            Ok(status) if status.success() => {}
            Ok(status) => problems
                .push(format!("`{target}` failed ({status}); the input is in fuzz/artifacts/{target}")),
            Err(error) => problems.push(format!("cargo fuzz: {error}")),
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// The targets that have sources; one without a corpus is a mistake.
fn targets() -> Result<Vec<String>, Vec<String>> {
    let entries =
        fs::read_dir("fuzz/fuzz_targets").map_err(|error| vec![format!("fuzz/fuzz_targets: {error}")])?;
    let mut targets: Vec<String> =
        entries.flatten().filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned())).collect();
    targets.sort();
    let bare: Vec<String> = targets
        .iter()
        .filter(|target| !Path::new("fuzz/corpus").join(target).is_dir())
        .map(|target| format!("the target `{target}` has no corpus; put inputs into fuzz/corpus/{target}"))
        .collect();
    if bare.is_empty() { Ok(targets) } else { Err(bare) }
}

fn installed() -> Outcome {
    let works = |arguments: &[&str]| {
        Command::new("cargo").args(arguments).output().is_ok_and(|output| output.status.success())
    };
    let mut missing = Vec::new();
    if !works(&["+nightly", "--version"]) {
        missing.push("a nightly compiler is missing: rustup toolchain install nightly".to_owned());
    }
    if !works(&["fuzz", "--version"]) {
        missing.push("cargo-fuzz is missing: cargo install --locked cargo-fuzz".to_owned());
    }
    if missing.is_empty() { Ok(()) } else { Err(missing) }
}
