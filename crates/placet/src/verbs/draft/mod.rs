//! `placet draft`: from what agents really did to a release that permits that and no more, for review.
//!
//! Four things come of it: a catalog with arguments as wide as they were seen, widened by a stated rule; the types of
//! work narrowed to the intents and agents that were seen; a policy of one rule for each combination of action, agent,
//! intent, work and resource; and each distinct call as a case. Nothing of it is put in force.

mod cases;
mod catalog;
mod policy;
mod seen;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use clap::Args;
use placet_audit::{Data, Scope, Skipped, TrafficOf, Would};
use placet_core::{AgentId, TenantId, Timestamp};
use placet_json::{Value, object};
use placet_policy::{Release, Tree};

use self::seen::Seen;
use crate::{
    failure::{Failure, OrFail},
    output::{Answer, Format, show, table},
};

/// Draft catalog, types of work, policy and tests from what agents really did, for review
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  placet draft draft/ --agent agent-7\n  placet draft draft/ --data data --since 2026-03-01T00:00:00Z --tenant acme\n\nNothing is put in force: look at it, then `placet diff release draft`, merge what is right, review and promote."
)]
pub(crate) struct Draft {
    /// The directory to write the draft into; it must be empty or not there
    dir: PathBuf,
    /// The data directory with the ledger; a server may be using it
    #[arg(long, env = "PLACET_DATA", default_value = "data", value_name = "DIR")]
    data: PathBuf,
    /// Only this agent's calls
    #[arg(long)]
    agent: Option<AgentId>,
    /// Only this tenant's
    #[arg(long)]
    tenant: Option<TenantId>,
    /// Only calls decided at this moment or later
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    since: Option<Timestamp>,
    /// Only calls decided before this moment
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    until: Option<Timestamp>,
    /// Also calls that were denied for want of a rule alone
    #[arg(long)]
    denied: bool,
    /// Leave out combinations of action, agent, work and resource that were seen less often than this
    #[arg(long, default_value_t = 1, value_name = "CALLS")]
    at_least: u64,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

fn moment(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).map_err(|_| format!("`{text}` is no moment (2026-03-01T00:00:00Z)"))
}

impl Draft {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let dir = &self.dir;
        let what = || format!("can't read `{}`", dir.display());
        if dir.exists() && std::fs::read_dir(dir).or_fail(what())?.next().is_some() {
            return Err(Failure::new(format!("`{}` is not empty", dir.display()))
                .remedy("nothing was written; name another directory"));
        }
        let data = super::audit::open_data(&self.data)?;
        let of = TrafficOf {
            scope: Scope {
                since_ms: self.since.map(Timestamp::millis),
                until_ms: self.until.map(Timestamp::millis),
                tenant: self.tenant.clone(),
                ..Scope::default()
            },
            agent: self.agent.clone(),
            denied: self.denied,
        };
        let mut seen = Seen::default();
        let mut progress = super::audit::Progress::default();
        let skipped =
            placet_audit::traffic(&data, &of, &mut |at, last| progress.tell(at, last), &mut |went| {
                seen.add(went);
            })
            .or_fail("can't read the ledger")?;
        seen.at_least(self.at_least);
        if seen.rules.is_empty() {
            return Err(Failure::new("no call went out that a draft could be made of".to_owned()).remedy(
                "look at `placet audit search`; `--denied` takes calls that lacked nothing but a rule",
            ));
        }
        let (tree, release) = Self::made(&seen, &data)?;
        let would = placet_audit::would(&data, &of, &release, &mut |at, last| progress.tell(at, last))
            .or_fail("can't read the ledger")?;
        let tested = release.test(&super::test::facts);
        let failed = tested.results.iter().filter(|result| !result.passed).count();
        for (path, bytes) in &tree {
            let path = dir.join(path);
            let what = || format!("can't write `{}`", path.display());
            if let Some(dir) = path.parent() {
                std::fs::create_dir_all(dir).or_fail(what())?;
            }
            std::fs::write(&path, bytes).or_fail(what())?;
        }
        let told =
            Told { dir, seen: &seen, would: &would, skipped: &skipped, cases: tested.results.len(), failed };
        show(self.format, &told.document(), |_| told.text())?;
        Ok(Answer::Yes)
    }

    /// The draft's files, and the release that they are.
    fn made(seen: &Seen, data: &Data) -> Result<(Tree, Release), Failure> {
        let mut past: BTreeMap<_, std::sync::Arc<Release>> = BTreeMap::new();
        for digest in seen.releases() {
            let release = data
                .release(digest)
                .map_err(|why| Failure::new(format!("the release {digest} can't be read: {why}")))?;
            past.insert(digest, release);
        }
        let mut tree = catalog::files(seen, &past).map_err(Failure::new)?;
        tree.insert("release.toml".to_owned(), policy::MANIFEST.into());
        tree.insert("policies/draft.rego".to_owned(), policy::rules(seen).into_bytes());
        tree.insert("policies/draft_test.rego".to_owned(), policy::TESTS.into());
        tree.insert("tests/recorded.yaml".to_owned(), cases::cases(seen).into_bytes());
        let release = Release::build(&tree).map_err(|refused| {
            Failure::new(format!("the draft doesn't load\n{refused}"))
                .remedy("its traffic was decided by releases that say things differently; draft from one of them with `--since`")
        })?;
        Ok((tree, release))
    }
}

/// What is said in the end.
struct Told<'t> {
    dir: &'t Path,
    seen: &'t Seen,
    would: &'t Would,
    skipped: &'t Skipped,
    cases: usize,
    failed: usize,
}

impl Told<'_> {
    fn document(&self) -> Value {
        let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let by = self.would.by.iter().map(|((tool, code), count)| {
            Value::from(object! { "tool" => tool.as_str(), "code" => code.as_str(), "count" => *count })
        });
        let skipped = self
            .skipped
            .iter()
            .chain(&self.would.skipped)
            .map(|(why, count)| Value::from(object! { "why" => why.as_str(), "count" => *count }));
        object! {
            "dir" => self.dir.display().to_string(), "calls" => self.seen.calls, "waived" => self.seen.waived,
            "tools" => number(self.seen.tools.len()), "rules" => number(self.seen.rules.len()),
            "cases" => number(self.cases), "failed" => number(self.failed),
            "asked" => self.would.asked, "denied" => self.would.denied, "by" => Value::Array(by.collect()),
            "records" => Value::Array(self.would.told.iter().map(|at| (*at).into()).collect()),
            "skipped" => Value::Array(skipped.collect()),
        }
        .into()
    }

    fn text(&self) -> String {
        let (seen, would) = (self.seen, self.would);
        let mut text = format!(
            "drafted from {} calls, {} of them observed or excepted: {} tools, {} rules, {} cases\n",
            grouped(seen.calls),
            grouped(seen.waived),
            seen.tools.len(),
            seen.rules.len(),
            self.cases
        );
        let _infallible =
            writeln!(text, "would have denied {} of {}", grouped(would.denied), grouped(would.asked));
        let rows: Vec<Vec<String>> = would
            .by
            .iter()
            .map(|((tool, code), count)| vec![format!("  {tool}"), code.clone(), count.to_string()])
            .collect();
        if !rows.is_empty() {
            text.push_str(&table(&["  TOOL", "CODE", "CALLS"], &rows));
        }
        for (why, count) in self.skipped.iter().chain(&would.skipped) {
            let _infallible = writeln!(text, "  {count} left out: {why}");
        }
        if self.failed > 0 {
            let _infallible =
                writeln!(text, "{} of its cases fail: see `placet test {}`", self.failed, self.dir.display());
        }
        let dir = self.dir.display();
        let _infallible = write!(
            text,
            "\nnothing is in force; next:\n  placet check {dir}\n  placet test {dir}\n  placet diff release {dir} --ledger ..\n"
        );
        text
    }
}

/// 8 312: a thousand apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && digits.len().saturating_sub(at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([grouped(14), grouped(8312), grouped(1_000_000)], ["14", "8 312", "1 000 000"]);
    }
}
