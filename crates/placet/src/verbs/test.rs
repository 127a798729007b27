//! `placet test`: the release's own cases and `_test.rego` rules.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use clap::{Args, ValueEnum};
use placet_core::FactsView;
use placet_facts::{World, tenant_of};
use placet_json::Value;
use placet_policy::{Coverage, Report, TestOptions};

use super::release::open;
use crate::{
    failure::{Failure, OrFail},
    output::{Answer, Colour, Format, paint, print, show, table},
};

/// How often a watched release is looked at.
const LOOK: Duration = Duration::from_millis(400);
/// The most files of a watched release.
const MAX_FILES: usize = 10_000;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Results {
    /// For people.
    Text,
    /// One JSON document, stable.
    Json,
    /// JUnit's XML, for continuous integration.
    Junit,
}

/// Run all cases of a release
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  placet test release/ --junit report.xml\n  placet test release/ --coverage --min-coverage 80\n  placet test release/ --filter refund --watch"
)]
pub(crate) struct Test {
    /// The release: its directory, or an archive
    release: PathBuf,
    /// Only cases whose name contains this
    #[arg(long, value_name = "TEXT", visible_alias = "only")]
    filter: Option<String>,
    /// Also write the results as JUnit's XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Show which rules and conditions the cases meet
    #[arg(long)]
    coverage: bool,
    /// Fail below this share of rules and conditions, in percent
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(0..=100))]
    min_coverage: Option<u64>,
    /// What generated inputs begin with: the same seed, the same inputs
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,
    /// Run again whenever a file of the release changes, until interrupted
    #[arg(long)]
    watch: bool,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Results,
}

impl Test {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        if !self.watch {
            return self.once();
        }
        if !self.release.is_dir() {
            return Err(Failure::new(format!("`{}` is no directory", self.release.display()))
                .remedy("only a release's directory can be watched"));
        }
        let mut seen = stamps(&self.release)?;
        loop {
            self.once()?;
            eprintln!("placet: watching `{}`", self.release.display());
            loop {
                thread::sleep(LOOK);
                let now = stamps(&self.release)?;
                if now != seen {
                    seen = now;
                    break;
                }
            }
        }
    }

    fn once(&self) -> Result<Answer, Failure> {
        let format = if self.format == Results::Json { Format::Json } else { Format::Text };
        let Ok(release) = open(&self.release, format)? else { return Ok(Answer::No) };
        let options = TestOptions {
            filter: self.filter.clone(),
            coverage: self.coverage || self.min_coverage.is_some(),
            seed: self.seed,
        };
        let report = release.test_with(&facts, &options);
        if let Some(path) = &self.junit {
            std::fs::write(path, report.to_junit())
                .or_fail(format_args!("can't write `{}`", path.display()))?;
        }
        let short = match (&report.coverage, self.min_coverage) {
            (Some(coverage), Some(least)) => coverage.percent() < least,
            (Some(_) | None, _) => false,
        };
        match self.format {
            Results::Junit => print(&report.to_junit())?,
            Results::Text | Results::Json => show(format, &report.to_value(), |_| self.told(&report, short))?,
        }
        Ok(Answer::of(report.passed() && !short))
    }

    fn told(&self, report: &Report, short: bool) -> String {
        let mut text = String::new();
        let failed = report.results.iter().filter(|result| !result.passed).count();
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
        if self.coverage
            && let Some(coverage) = &report.coverage
        {
            text.push_str(&covered(coverage));
        }
        let verdict =
            if report.passed() { paint("passed", Colour::Green) } else { paint("failed", Colour::Red) };
        let _infallible = writeln!(
            text,
            "{verdict}: {} of {} cases",
            report.results.len().saturating_sub(failed),
            report.results.len()
        );
        if let Some(coverage) = &report.coverage {
            let (all, met) = coverage.points();
            let least = self.min_coverage.filter(|_| short);
            let least = least.map(|least| format!(", less than {least} %")).unwrap_or_default();
            let line = format!("coverage: {} % ({met} of {all}){least}", coverage.percent());
            let _infallible = writeln!(text, "{}", if short { paint(&line, Colour::Red) } else { line });
        }
        text
    }
}

/// Rules as a table, and below the conditions of which one side was never seen.
fn covered(coverage: &Coverage) -> String {
    let rows: Vec<Vec<String>> = coverage
        .rules
        .iter()
        .map(|rule| {
            let sides =
                rule.conditions.iter().map(|c| u32::from(c.held > 0).saturating_add(u32::from(c.failed > 0)));
            let sides = sides.fold(0_u32, u32::saturating_add);
            let all = rule.conditions.len().saturating_mul(2);
            let conditions = if all == 0 { String::new() } else { format!("{sides} of {all}") };
            vec![
                rule.at.clone(),
                rule.effect.to_owned(),
                rule.policy.clone(),
                rule.met.to_string(),
                conditions,
            ]
        })
        .collect();
    let mut text = table(&["RULE", "EFFECT", "POLICY", "MET", "CONDITIONS"], &rows);
    for rule in &coverage.rules {
        for condition in &rule.conditions {
            let never = match (condition.held > 0, condition.failed > 0) {
                (true, true) => continue,
                (true, false) => "always held",
                (false, true) => "never held",
                (false, false) => "was never reached",
            };
            let _infallible = writeln!(text, "  {} `{}` {never}", condition.at, condition.text);
        }
    }
    text.push('\n');
    text
}

/// The times at which the files below a directory changed last.
fn stamps(dir: &Path) -> Result<BTreeMap<PathBuf, SystemTime>, Failure> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        let what = || format!("can't read `{}`", dir.display());
        for entry in std::fs::read_dir(&dir).or_fail(what())? {
            let entry = entry.or_fail(what())?;
            // A file that goes away while it is looked at is a change that the next look sees.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                open.push(entry.path());
            } else if let Ok(modified) = metadata.modified() {
                found.insert(entry.path(), modified);
            }
            if found.len() > MAX_FILES {
                return Err(Failure::new(format!("there are more than {MAX_FILES} files to watch")));
            }
        }
    }
    Ok(found)
}

/// The facts that a file describes, as its one tenant's decisions see them.
pub(crate) fn facts(file: &Value) -> Result<Arc<dyn FactsView>, String> {
    let tenant = tenant_of(file).map_err(|error| error.to_string())?.ok_or("the facts name no `tenant`")?;
    let world = World::from_file(file).map_err(|error| error.to_string())?;
    let snapshot = world.snapshot(&tenant).ok_or_else(|| format!("the facts know no tenant `{tenant}`"))?;
    Ok(Arc::new(snapshot))
}
