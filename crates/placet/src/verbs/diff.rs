//! `placet diff`: which decisions change from one release to another.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use clap::Args;
use placet_audit::{LedgerDiff, Scope};
use placet_core::{TenantId, Timestamp};
use placet_json::{Value, object};
use placet_policy::{CasesDiff, Release, Tree, diff_cases};

use super::{
    release::open,
    symbolic::{self, Proof},
};
use crate::{
    admin::{Admin, ServerArgs, block_on, refused, segment},
    failure::{Failure, OrFail},
    output::{Answer, Colour, Format, paint, show, table},
};

/// Examples of changed decisions that are told to people.
const SHOWN: usize = 10;

/// Which decisions change from release A to release B: on cases, and on what was really asked
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  placet diff release/ draft/\n  placet diff release/ draft/ --ledger .. --data data\n  placet diff release/ draft/ --ledger 2026-03-01T00:00:00Z.. --server https://admin.example --key operator.pem\n  placet diff release/ draft/ --ledger 2026-03-01T00:00:00Z.. --tenant acme\n  placet diff release/ draft/ --symbolic"
)]
pub(crate) struct Diff {
    /// The release of before: its directory, or an archive
    a: PathBuf,
    /// The release that may follow it
    b: PathBuf,
    /// Cases to decide by both: a directory of YAML files with the facts that they name; by default those of both releases
    #[arg(long, value_name = "DIR")]
    tests: Option<PathBuf>,
    /// Decisions of the ledger to make again by both: FROM..TO, each a position, a moment, or left out
    #[arg(long, value_name = "RANGE", value_parser = range)]
    ledger: Option<Range>,
    /// The data directory with the ledger; a server may be using it
    #[arg(long, env = "PLACET_DATA", default_value = "data", value_name = "DIR")]
    data: PathBuf,
    /// The administrators' listener of a running server, whose ledger is asked in place of `--data`
    #[arg(long, requires = "ledger", conflicts_with = "data", value_name = "URL")]
    server: Option<String>,
    /// The operator's private key, with `--server`
    #[arg(long, env = "PLACET_KEY", default_value = "data/keys/operator.pem", value_name = "FILE")]
    key: PathBuf,
    /// Only decisions of this tenant
    #[arg(long, requires = "ledger")]
    tenant: Option<TenantId>,
    /// Prove for Cedar that B permits nothing that A doesn't, or show a counterexample; needs the solver cvc5
    #[arg(long)]
    symbolic: bool,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Which decisions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Range {
    from: Option<u64>,
    to: Option<u64>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

fn range(text: &str) -> Result<Range, String> {
    let (from, to) = text.split_once("..").ok_or("write it as FROM..TO; `..` is everything")?;
    let mut range = Range::default();
    let end = |text: &str| -> Result<(Option<u64>, Option<Timestamp>), String> {
        if text.is_empty() {
            return Ok((None, None));
        }
        match text.parse::<u64>() {
            Ok(position) => Ok((Some(position), None)),
            Err(_) => Timestamp::parse(text)
                .map(|moment| (None, Some(moment)))
                .map_err(|_| format!("`{text}` is neither a position nor a moment (2026-03-01T00:00:00Z)")),
        }
    };
    (range.from, range.since) = end(from)?;
    (range.to, range.until) = end(to)?;
    Ok(range)
}

impl Diff {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let (a, b) = (self.release(&self.a)?, self.release(&self.b)?);
        let cases = match (&self.tests, &self.ledger) {
            (Some(dir), _) => Some(diff_cases(&a, &b, &tests_of(dir)?, &super::test::facts)),
            (None, None) if self.symbolic => None,
            (None, None) => Some(diff_cases(&a, &b, &both(&a, &b), &super::test::facts)),
            (None, Some(_)) => None,
        };
        let ledger = self.ledger.as_ref().map(|range| self.past(range, &a, &b)).transpose()?;
        let proof = if self.symbolic { Some(symbolic::prove(&a, &b)?) } else { None };
        let same = proof.as_ref().is_none_or(Proof::holds)
            && cases.as_ref().is_none_or(CasesDiff::is_same)
            && ledger.as_ref().is_none_or(LedgerDiff::is_same);
        let mut document = object! {
            "a" => digest(&a), "b" => digest(&b), "same" => same,
        };
        if let Some(cases) = &cases {
            document.insert("cases", cases.to_value());
        }
        if let Some(ledger) = &ledger {
            document.insert("ledger", ledger.to_value());
        }
        if let Some(proof) = &proof {
            document.insert("symbolic", proof.to_value());
        }
        show(self.format, &Value::Object(document), |_| {
            let mut text = String::new();
            if let Some(cases) = &cases {
                text.push_str(&told_cases(cases));
            }
            if let Some(ledger) = &ledger {
                text.push_str(&told_ledger(ledger));
            }
            if let Some(proof) = &proof {
                text.push_str(&proof.told());
            }
            text
        })?;
        Ok(Answer::of(same))
    }

    fn release(&self, path: &Path) -> Result<Release, Failure> {
        open(path, self.format)?.map_err(|()| {
            Failure::new(format!("`{}` is no release", path.display())).remedy("run `placet check` on it")
        })
    }

    fn past(&self, range: &Range, a: &Release, b: &Release) -> Result<LedgerDiff, Failure> {
        let scope = Scope {
            from: range.from,
            to: range.to,
            since_ms: range.since.map(Timestamp::millis),
            until_ms: range.until.map(Timestamp::millis),
            tenant: self.tenant.clone(),
            decision: None,
        };
        let mut progress = super::audit::Progress::default();
        if let Some(server) = &self.server {
            let server = ServerArgs { server: server.clone(), key: self.key.clone(), human: None };
            return block_on(of_server(&server.open()?, &scope, a, b, &mut progress));
        }
        let data = super::audit::open_data(&self.data)?;
        placet_audit::diff(&data, &scope, a, b, &mut |at, last| progress.tell(at, last))
            .or_fail("can't read the ledger")
    }
}

/// The same of a running server's ledger: it reads, and tells how far it is.
async fn of_server(
    admin: &Admin,
    scope: &Scope,
    a: &Release,
    b: &Release,
    progress: &mut super::audit::Progress,
) -> Result<LedgerDiff, Failure> {
    let mut path = format!("/v1/releases/diff?a_bytes={}", a.archive().len());
    for (name, number) in
        [("from", scope.from), ("to", scope.to), ("since_ms", scope.since_ms), ("until_ms", scope.until_ms)]
    {
        if let Some(number) = number {
            let _infallible = write!(path, "&{name}={number}");
        }
    }
    if let Some(tenant) = &scope.tenant {
        let _infallible = write!(path, "&tenant={}", segment(tenant.as_str()));
    }
    let both = [a, b].map(|release| release.archive().as_ref()).concat();
    admin
        .lines(&path, both.into(), |line| {
            if let Some(told) = line.get("ledger") {
                let diff = LedgerDiff::from_value(told);
                return diff.map(Some).ok_or_else(|| {
                    Failure::new("the server tells its comparison in a form that isn't known here")
                        .remedy("use the same version of placet as the server")
                });
            }
            if line.get("error").is_some() {
                return Err(refused(&line, http::StatusCode::SERVICE_UNAVAILABLE));
            }
            let number = |name: &str| line.get(name).and_then(Value::as_u64).unwrap_or_default();
            progress.tell(number("at"), number("of"));
            Ok(None)
        })
        .await
}

fn digest(release: &Release) -> String {
    release.digest().to_string()
}

/// The cases of both releases; of the same file the second's.
fn both(a: &Release, b: &Release) -> Tree {
    let own = |release: &Release| {
        let tree = release.tree().iter().filter(|(path, _)| path.starts_with("tests/"));
        tree.map(|(path, bytes)| (path.clone(), bytes.clone())).collect::<Tree>()
    };
    let mut all = own(a);
    all.append(&mut own(b));
    all
}

/// A directory of cases, or of a release with its cases in `tests/`.
fn tests_of(dir: &Path) -> Result<Tree, Failure> {
    let what = || format!("can't read `{}`", dir.display());
    if !dir.is_dir() {
        return Err(
            Failure::new(format!("`{}` is no directory", dir.display())).remedy("name one with cases")
        );
    }
    let inner = dir.join("tests");
    let dir = if inner.is_dir() { &inner } else { dir };
    let mut tree = Tree::new();
    let mut open = vec![(dir.to_owned(), "tests".to_owned())];
    while let Some((dir, below)) = open.pop() {
        for entry in std::fs::read_dir(&dir).or_fail(what())? {
            let entry = entry.or_fail(what())?;
            let name = format!("{below}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                open.push((entry.path(), name));
            } else {
                tree.insert(name, std::fs::read(entry.path()).or_fail(what())?);
            }
        }
    }
    if !tree.keys().any(|path| path.strip_suffix(".yaml").is_some()) {
        return Err(
            Failure::new(format!("`{}` has no cases", dir.display())).remedy("cases are files in YAML")
        );
    }
    Ok(tree)
}

fn told_cases(diff: &CasesDiff) -> String {
    let mut text = String::new();
    for change in &diff.changes {
        let _infallible = writeln!(
            text,
            "{}: {}\n  A {}\n  B {}",
            change.file,
            change.name,
            change.a.replace('\n', "\n    "),
            change.b.replace('\n', "\n    ")
        );
    }
    let changed = diff.changes.len();
    let verdict = if changed == 0 {
        paint("no decision changes", Colour::Green)
    } else {
        paint(&format!("{changed} cases change"), Colour::Yellow)
    };
    let _infallible = writeln!(text, "cases: {verdict} of {} compared", diff.compared);
    if diff.other_reasons > 0 {
        let _infallible = writeln!(text, "  {} are denied for other reasons", diff.other_reasons);
    }
    text
}

fn told_ledger(diff: &LedgerDiff) -> String {
    let mut text = String::new();
    for changed in diff.examples.iter().take(SHOWN) {
        let side = |side: &placet_audit::Side| {
            if side.permits {
                format!("permit by {}", side.rule)
            } else {
                format!("deny {} by {}", side.code, side.rule)
            }
        };
        let _infallible = writeln!(
            text,
            "record {} ({}) {}: {} for {} asks {}\n  A {}\n  B {}",
            changed.sequence,
            changed.tenant,
            changed.id,
            changed.agent,
            changed.human,
            changed.tool,
            side(&changed.was),
            side(&changed.now)
        );
    }
    if diff.examples.len() > SHOWN {
        let _infallible = writeln!(
            text,
            "… and {} more (`--format json` tells up to 1000)",
            diff.examples.len().saturating_sub(SHOWN)
        );
    }
    for (title, groups) in [("RULE", &diff.by_rule), ("AGENT", &diff.by_agent), ("TOOL", &diff.by_tool)] {
        let mut rows: Vec<(u64, Vec<String>)> = groups
            .iter()
            .map(|(name, count)| {
                let sum = count.denied.saturating_add(count.permitted);
                (sum, vec![name.clone(), count.denied.to_string(), count.permitted.to_string()])
            })
            .collect();
        rows.sort_by(|(a, of_a), (b, of_b)| b.cmp(a).then_with(|| of_a.cmp(of_b)));
        if !rows.is_empty() {
            let rows: Vec<Vec<String>> = rows.into_iter().map(|(_, row)| row).collect();
            let _infallible = write!(text, "\n{}", table(&[title, "NEWLY DENIED", "NEWLY PERMITTED"], &rows));
        }
    }
    if !diff.by_rule.is_empty() {
        text.push('\n');
    }
    let changes = diff.changes;
    let verdict = if diff.is_same() {
        paint("no decision changes", Colour::Green)
    } else {
        paint(
            &format!(
                "{} permits become denials, {} denials become permits",
                changes.denied, changes.permitted
            ),
            Colour::Yellow,
        )
    };
    let _infallible = writeln!(text, "ledger: {verdict} of {} decisions compared", diff.compared);
    if diff.other_reasons > 0 {
        let _infallible = writeln!(text, "  {} are denied for other reasons", diff.other_reasons);
    }
    for (why, count) in &diff.not_compared {
        let _infallible = writeln!(text, "  {count} couldn't be compared: {why}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_of_positions_or_of_moments() {
        assert_eq!(range("..").unwrap(), Range::default());
        assert_eq!(range("7..90").unwrap(), Range { from: Some(7), to: Some(90), ..Range::default() });
        let since = Timestamp::parse("2026-03-01T00:00:00Z").unwrap();
        assert_eq!(
            range("2026-03-01T00:00:00Z..").unwrap(),
            Range { since: Some(since), ..Range::default() }
        );
        assert!(range("7").is_err() && range("yesterday..").is_err());
    }
}
