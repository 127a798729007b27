//! `placet check`: what is wrong with a release, and what its author should know.

mod excerpts;
mod sarif;

use std::{fmt::Write as _, path::PathBuf};

use clap::{Args, ValueEnum};
use placet_json::{Value, object};
use placet_policy::{Finding, Release, Severity, Tree, check};

use crate::{
    failure::{Failure, OrFail},
    output::{Answer, Colour, paint, pretty, print},
};

/// Parse, type-check and lint a release
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  placet check release/\n  placet check release/ --format sarif > check.sarif\n  placet check release/ --schema cedar"
)]
pub(crate) struct Check {
    /// The release's directory
    dir: PathBuf,
    /// Take warnings as errors
    #[arg(long)]
    strict: bool,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Print a schema that the release makes, and nothing else
    #[arg(long, value_enum, value_name = "SCHEMA", conflicts_with_all = ["strict", "format"])]
    schema: Option<Schema>,
}

/// How findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people, with excerpts
    Text,
    /// One JSON document, stable
    Json,
    /// SARIF 2.1.0, for code scanning and editors
    Sarif,
}

/// A schema of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Schema {
    /// The schema that Cedar policies are validated against, in Cedar's own writing
    Cedar,
    /// The JSON Schema of the policy input
    Input,
}

/// How many findings there are of which sort.
struct Count {
    errors: u64,
    warnings: u64,
    advice: u64,
    silenced: u64,
}

impl Count {
    fn of(findings: &[Finding]) -> Self {
        let count = |fits: &dyn Fn(&Finding) -> bool| {
            u64::try_from(findings.iter().filter(|finding| fits(finding)).count()).unwrap_or(u64::MAX)
        };
        let loud = |severity| {
            count(&move |finding: &Finding| finding.silenced.is_none() && finding.severity == severity)
        };
        Self {
            errors: loud(Severity::Error),
            warnings: loud(Severity::Warning),
            advice: loud(Severity::Advice),
            silenced: count(&|finding| finding.silenced.is_some()),
        }
    }
}

impl Check {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let tree = placet_server::tree::read(&self.dir)
            .or_fail(format_args!("can't read `{}`", self.dir.display()))?;
        if tree.is_empty() {
            return Err(Failure::new(format!("`{}` is empty", self.dir.display()))
                .remedy("name a release's directory; `placet init DIR` makes one"));
        }
        if let Some(schema) = self.schema {
            return print_schema(&tree, schema);
        }
        let findings = check(&tree);
        let count = Count::of(&findings);
        let fine = count.errors == 0 && (count.warnings == 0 || !self.strict);
        match self.format {
            Format::Text => print(&text(&tree, &findings, &count, fine))?,
            Format::Json => print(&pretty(&Value::from(object! {
                "ok" => fine, "errors" => count.errors, "warnings" => count.warnings, "advice" => count.advice,
                "silenced" => count.silenced,
                "findings" => findings.iter().map(Finding::to_value).collect::<Vec<_>>(),
            })))?,
            Format::Sarif => print(&pretty(&sarif::log(&self.dir, &tree, &findings)))?,
        }
        Ok(Answer::of(fine))
    }
}

fn print_schema(tree: &Tree, schema: Schema) -> Result<Answer, Failure> {
    let release = Release::build(tree)
        .map_err(|refused| Failure::new(refused.to_string()).remedy("mend the release first"))?;
    match schema {
        Schema::Input => print(&pretty(&release.input_schema()))?,
        Schema::Cedar => print(release.cedar_schema().ok_or_else(|| {
            Failure::new("the release has no Cedar policies, and so no schema for them")
                .remedy("add an empty table `[cedar]` to `release.toml`")
        })?)?,
    }
    Ok(Answer::Yes)
}

fn text(tree: &Tree, findings: &[Finding], count: &Count, fine: bool) -> String {
    let mut text = String::new();
    for finding in findings.iter().filter(|finding| finding.silenced.is_none()) {
        text.push_str(&excerpts::shown(finding, tree));
        text.push('\n');
    }
    for finding in findings {
        if let Some(reason) = &finding.silenced {
            let _infallible =
                writeln!(text, "silenced: {} at {}:{}: {reason}", finding.code, finding.file, finding.line);
        }
    }
    let verdict = match (fine, count.warnings) {
        (true, 0) => paint("fine", Colour::Green),
        (true, _) => paint("fine", Colour::Yellow),
        (false, _) => paint("not fine", Colour::Red),
    };
    let Count { errors, warnings, advice, silenced } = count;
    let silenced = if *silenced == 0 { String::new() } else { format!(", {silenced} silenced") };
    let _infallible = writeln!(
        text,
        "{verdict}: {errors} errors, {warnings} warnings, {advice} pieces of advice{silenced} in {} files",
        tree.len()
    );
    text
}
