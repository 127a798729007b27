//! `placet check`: what is wrong with a release, and what its author should know.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use placet_json::{Value, object};
use placet_policy::{Finding, Severity, check};

use crate::{
    failure::{Failure, OrFail},
    output::{Answer, Colour, Format, paint, show},
};

/// Parse, type-check and lint a release
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  placet check release/")]
pub(crate) struct Check {
    /// The release's directory
    dir: PathBuf,
    /// Take warnings as errors
    #[arg(long)]
    strict: bool,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Check {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let tree = placet_server::tree::read(&self.dir)
            .or_fail(format_args!("can't read `{}`", self.dir.display()))?;
        if tree.is_empty() {
            return Err(Failure::new(format!("`{}` is empty", self.dir.display()))
                .remedy("name a release's directory; `placet init DIR` makes one"));
        }
        let findings = check(&tree);
        let count = |severity| {
            u64::try_from(findings.iter().filter(|finding| finding.severity == severity).count())
                .unwrap_or(u64::MAX)
        };
        let (errors, warnings, advice) =
            (count(Severity::Error), count(Severity::Warning), count(Severity::Advice));
        let fine = errors == 0 && (warnings == 0 || !self.strict);
        let document = Value::from(object! {
            "ok" => fine, "errors" => errors, "warnings" => warnings, "advice" => advice,
            "findings" => findings.iter().map(Finding::to_value).collect::<Vec<_>>(),
        });
        show(self.format, &document, |_| {
            let mut text: String = findings.iter().map(line).collect();
            let verdict = if fine { paint("fine", Colour::Green) } else { paint("not fine", Colour::Red) };
            let _infallible = writeln!(
                text,
                "{verdict}: {errors} errors, {warnings} warnings, {advice} pieces of advice in {} files",
                tree.len()
            );
            text
        })?;
        Ok(Answer::of(fine))
    }
}

fn line(finding: &Finding) -> String {
    let colour = match finding.severity {
        Severity::Error => Colour::Red,
        Severity::Warning | Severity::Advice => Colour::Yellow,
    };
    let text = finding.to_string();
    match text.split_once(&format!(": {}: ", finding.severity.as_str())) {
        Some((place, rest)) => format!("{place}: {}: {rest}\n", paint(finding.severity.as_str(), colour)),
        None => format!("{text}\n"),
    }
}
