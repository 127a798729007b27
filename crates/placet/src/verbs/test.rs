//! `placet test`: the release's own cases and `_test.rego` rules.

use std::{fmt::Write as _, path::PathBuf, sync::Arc};

use clap::Args;
use placet_core::FactsView;
use placet_facts::{World, tenant_of};
use placet_json::Value;

use super::release::open;
use crate::{
    failure::{Failure, OrFail},
    output::{Answer, Colour, Format, paint, show},
};

/// Run all cases of a release
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  placet test release/ --junit report.xml")]
pub(crate) struct Test {
    /// The release: its directory, or an archive
    release: PathBuf,
    /// Only cases whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Also write the results as JUnit's XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Test {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let Ok(release) = open(&self.release, self.format)? else { return Ok(Answer::No) };
        let mut report = release.test(&facts);
        if let Some(only) = &self.only {
            report.results.retain(|result| result.name.contains(only.as_str()));
        }
        if let Some(path) = &self.junit {
            std::fs::write(path, report.to_junit())
                .or_fail(format_args!("can't write `{}`", path.display()))?;
        }
        let failed = report.results.iter().filter(|result| !result.passed).count();
        show(self.format, &report.to_value(), |_| {
            let mut text = String::new();
            for result in report.results.iter().filter(|result| !result.passed) {
                let _infallible = writeln!(
                    text,
                    "{} {}: {}\n  expected {}\n  got      {}",
                    paint("failed", Colour::Red),
                    result.file,
                    result.name,
                    result.expected,
                    result.got
                );
            }
            let verdict =
                if report.passed() { paint("passed", Colour::Green) } else { paint("failed", Colour::Red) };
            let _infallible = writeln!(
                text,
                "{verdict}: {} of {} cases",
                report.results.len().saturating_sub(failed),
                report.results.len()
            );
            text
        })?;
        Ok(Answer::of(report.passed()))
    }
}

/// The facts that a file describes, as its one tenant's decisions see them.
pub(crate) fn facts(file: &Value) -> Result<Arc<dyn FactsView>, String> {
    let tenant = tenant_of(file).map_err(|error| error.to_string())?.ok_or("the facts name no `tenant`")?;
    let world = World::from_file(file).map_err(|error| error.to_string())?;
    let snapshot = world.snapshot(&tenant).ok_or_else(|| format!("the facts know no tenant `{tenant}`"))?;
    Ok(Arc::new(snapshot))
}
