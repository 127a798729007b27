//! `placet decide`: one decision, pure, without a server.

use std::{
    fmt::Write as _,
    io::Read,
    path::{Path, PathBuf},
};

use clap::Args;
use placet_core::Timestamp;
use placet_json::{Limits, Value};

use super::release::open;
use crate::{
    clock,
    failure::{Failure, OrFail},
    output::{Answer, Colour, Format, paint, show},
};

/// Decide once, without a server, and print the decision document
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  placet decide release/ --input refund.json --facts facts.json --at 2026-03-01T09:30:00Z"
)]
pub(crate) struct Decide {
    /// The release: its directory, or an archive
    release: PathBuf,
    /// The policy input document; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Facts for `data.facts` and relationships
    #[arg(long, value_name = "FILE")]
    facts: Option<PathBuf>,
    /// The moment to decide for; by default the input's `time`, else now
    #[arg(long, value_name = "MOMENT")]
    at: Option<Timestamp>,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Decide {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let Ok(release) = open(&self.release, self.format)? else {
            return Err(Failure::new(format!("`{}` is no release", self.release.display()))
                .remedy("run `placet check` on it"));
        };
        let input = document(&self.input)?;
        let facts = match &self.facts {
            None => None,
            Some(path) => {
                Some(super::test::facts(&document(path)?).or_fail(format_args!("`{}`", path.display()))?)
            }
        };
        let now = Timestamp::from_millis(clock::millis());
        let at = self.at.or_else(|| if input.get("time").is_none() { Some(now) } else { None });
        let decision = release.decide_document(&input, facts.as_deref(), at);
        show(self.format, &decision.to_value(), told)?;
        Ok(Answer::of(decision.permits()))
    }
}

/// Not JSON, duplicate members, over a limit: it can't be done. Valid JSON that breaks the schema is a denial.
pub(crate) fn document(path: &Path) -> Result<Value, Failure> {
    let what = || format!("`{}`", path.display());
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        std::io::stdin()
            .take(u64::try_from(Limits::RESULT.bytes).unwrap_or(u64::MAX).saturating_add(1))
            .read_to_end(&mut bytes)
            .or_fail("can't read standard input")?;
    } else {
        bytes = std::fs::read(path).or_fail(format_args!("can't read {}", what()))?;
    }
    placet_json::parse(&bytes, &Limits::RESULT).or_fail(what())
}

/// The decision for people: the word, the reasons, the remedy.
pub(crate) fn told(document: &Value) -> String {
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |name: &str| document.get(name).and_then(Value::as_array).unwrap_or_default();
    let permit = text(document, "decision") == "permit";
    let mut out = if permit { paint("permit", Colour::Green) } else { paint("deny", Colour::Red) };
    out.push('\n');
    for reason in list("reasons") {
        let at = text(reason, "at");
        let place = if at.is_empty() { String::new() } else { format!(" [{at}]") };
        let _infallible = writeln!(out, "  {}: {}{place}", text(reason, "code"), text(reason, "message"));
    }
    for rule in list("determining") {
        let _infallible = writeln!(out, "  by {} [{}]", text(rule, "policy"), text(rule, "at"));
    }
    if let Some(remedy) = document.get("remedy").filter(|remedy| !remedy.is_null()) {
        let _infallible = writeln!(
            out,
            "  would be permitted with `{}`, given by the role `{}`",
            text(remedy, "approval"),
            text(remedy, "role")
        );
    }
    let _infallible = writeln!(out, "  release {} at {}", text(document, "release"), text(document, "time"));
    out
}
