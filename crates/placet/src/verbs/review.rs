//! `placet review`: what a release changes, what it still lacks, and a person's yes or no to it.

use std::{fmt::Write as _, path::PathBuf};

use clap::Args;
use placet_json::{Object, Value};

use super::common::{Remote, Why, cell};
use crate::{
    admin::{block_on, segment},
    failure::Failure,
    output::{Answer, Colour, paint, show},
};

/// Show what a release changes and what it lacks to come into force; approve it or refuse it
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  placet review sha256:…\n  placet review sha256:… --approve --why 'limit as agreed' --as omar --key omar.pem"
)]
pub(crate) struct Review {
    /// The digest of a release that the server keeps, or its directory or archive
    release: String,
    /// Approve it, as the person of `--as`
    #[arg(long, conflicts_with = "refuse")]
    approve: bool,
    /// Refuse it, as the person of `--as`
    #[arg(long)]
    refuse: bool,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    remote: Remote,
}

impl Review {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let format = self.remote.format;
        let digest = if self.release.starts_with("sha256:") {
            self.release.clone()
        } else {
            let Ok(release) = super::release::open(&PathBuf::from(&self.release), format)? else {
                return Ok(Answer::No);
            };
            release.digest().to_string()
        };
        let admin = self.remote.server.open()?;
        let path = format!("/v1/releases/{}", segment(&digest));
        if self.approve || self.refuse {
            let mut body = Object::new();
            body.insert("approve", self.approve);
            let answer = block_on(admin.post(&format!("{path}/review"), &self.why.onto(body)))?;
            show(format, &answer, |answer| {
                let verb = if self.approve { "approved" } else { "refused" };
                format!("{verb}: {digest}\n{}", gates(answer))
            })?;
            return Ok(Answer::Yes);
        }
        let answer = block_on(admin.get(&path))?;
        show(format, &answer, told)?;
        Ok(Answer::of(answer.get("open").and_then(Value::as_bool) == Some(true)))
    }
}

/// The gates as lines.
fn gates(answer: &Value) -> String {
    let gates = answer.get("gates").and_then(Value::as_array).unwrap_or_default();
    gates.iter().fold(String::new(), |text, gate| {
        let mark = if gate.get("open").and_then(Value::as_bool) == Some(true) {
            paint("open", Colour::Green)
        } else {
            paint("shut", Colour::Red)
        };
        text + &format!("{mark} {}: {}\n", cell(gate, "gate"), cell(gate, "says"))
    })
}

fn told(answer: &Value) -> String {
    let against = cell(answer, "against");
    let mut text = format!(
        "{} {}\nagainst  {}\n",
        cell(answer, "name"),
        cell(answer, "digest"),
        if against.is_empty() { "nothing: no release is in force" } else { &against }
    );
    for part in answer.get("changes").and_then(Value::as_array).unwrap_or_default() {
        let name = cell(part, "part");
        let name = if name.is_empty() { "what no part owns" } else { &name };
        let _infallible = writeln!(
            text,
            "\n{name}: {} files, {} approvals of {}",
            cell(part, "changed"),
            cell(part, "approvals"),
            cell(part, "reviewers")
        );
        for file in part.get("files").and_then(Value::as_array).unwrap_or_default() {
            let _infallible = writeln!(text, "{} {}", cell(file, "change"), cell(file, "path"));
            text.push_str(&difference(&cell(file, "before"), &cell(file, "after")));
        }
    }
    text + "\n" + &gates(answer)
}

/// The lines that differ between what both texts begin and end with alike.
fn difference(before: &str, after: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let begin = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let left = old.len().min(new.len()).saturating_sub(begin);
    let end = old.iter().rev().zip(new.iter().rev()).take(left).take_while(|(a, b)| a == b).count();
    let middle = |lines: &[&str], mark: &str, colour: Colour| {
        let until = lines.len().saturating_sub(end);
        let lines = lines.get(begin..until).unwrap_or_default();
        lines
            .iter()
            .fold(String::new(), |text, line| text + &paint(&format!("    {mark} {line}"), colour) + "\n")
    };
    middle(&old, "-", Colour::Red) + &middle(&new, "+", Colour::Green)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_lines_that_differ_are_shown() {
        let plain =
            |text: String| text.replace("\u{1b}[31m", "").replace("\u{1b}[32m", "").replace("\u{1b}[0m", "");
        assert_eq!(plain(difference("a\nb\nc\n", "a\nx\nc\n")), "    - b\n    + x\n");
        assert_eq!(plain(difference("a\na\n", "a\na\na\n")), "    + a\n");
        assert_eq!(plain(difference("", "a\n")), "    + a\n");
        assert_eq!(difference("a\n", "a\n"), "");
    }
}
