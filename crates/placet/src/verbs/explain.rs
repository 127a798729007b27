//! `placet explain`: why a decision came out so, and what would permit it.

use std::{fmt::Write as _, path::PathBuf, sync::Arc};

use clap::Args;
use placet_core::{DecisionId, FactsView, Timestamp};
use placet_json::{Object, Value};
use placet_policy::FactEdit;

use super::{common::Remote, decide::document, release::open};
use crate::{
    admin::{block_on, segment},
    clock,
    failure::{Failure, OrFail},
    output::{Answer, Colour, paint, show},
};

/// Why a decision came out so: rules, conditions with the values seen, facts read, and what would permit it
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  placet explain release/ --input refund.json --facts facts.json --at 2026-03-01T09:30:00Z\n  placet explain dc_4f0q2m8r6k1t5v9x3z7b2d6h0j\n  placet explain dc_4f0q2m8r6k1t5v9x3z7b2d6h0j --data data"
)]
pub(crate) struct Explain {
    /// A release (its directory, or an archive) for `--input`; or a decision's id, from the ledger
    #[arg(value_name = "RELEASE|DECISION")]
    what: String,
    /// The policy input document; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Facts for `data.facts` and relationships
    #[arg(long, value_name = "FILE", requires = "input")]
    facts: Option<PathBuf>,
    /// The moment to decide for; by default the input's `time`, else now
    #[arg(long, value_name = "MOMENT", requires = "input")]
    at: Option<Timestamp>,
    /// Read the decision from the ledger of this data directory instead of asking a server; one may be using it
    #[arg(long, value_name = "DIR", conflicts_with = "input")]
    data: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

impl Explain {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        match &self.input {
            Some(input) => self.document(&document(input)?),
            None => self.decision(),
        }
    }

    fn document(&self, input: &Value) -> Result<Answer, Failure> {
        let path = PathBuf::from(&self.what);
        let Ok(release) = open(&path, self.remote.format)? else {
            return Err(Failure::new(format!("`{}` is no release", path.display()))
                .remedy("run `placet check` on it"));
        };
        let file = self.facts.as_deref().map(document).transpose()?;
        let facts = match (&file, &self.facts) {
            (Some(file), Some(path)) => {
                Some(super::test::facts(file).or_fail(format_args!("`{}`", path.display()))?)
            }
            _ => None,
        };
        let now = Timestamp::from_millis(clock::millis());
        let at = self.at.or_else(|| if input.get("time").is_none() { Some(now) } else { None });
        let alter = |edits: &[FactEdit]| altered(file.as_ref(), edits);
        let explanation = release.explain(input, facts.as_deref(), at, Some(&alter));
        show(self.remote.format, &explanation.to_value(), told)?;
        Ok(Answer::of(explanation.decision.permits()))
    }

    fn decision(&self) -> Result<Answer, Failure> {
        let id = DecisionId::new(&self.what).ok().filter(|_| self.what.starts_with("dc_"));
        let Some(id) = id else {
            return Err(Failure::new(format!("`{}` is no decision's id", self.what))
                .remedy("explain a release's decision on a document with `--input FILE`"));
        };
        let document = match &self.data {
            Some(dir) => {
                let data = super::audit::open_data(dir)?;
                let found = placet_audit::explain(&data, &id).or_fail("can't read the ledger")?;
                found.map_err(|why| Failure::new(why).no())?.to_value()
            }
            None => {
                let path = format!("/v1/decisions/{}/explanation", segment(id.as_str()));
                block_on(self.remote.server.open()?.get(&path))?
            }
        };
        let permits = document.pointer("/decision/decision").and_then(Value::as_str) == Some("permit");
        show(self.remote.format, &document, told)?;
        Ok(Answer::of(permits))
    }
}

/// The facts of a file after changes of them.
fn altered(file: Option<&Value>, edits: &[FactEdit]) -> Result<Arc<dyn FactsView>, String> {
    let mut file = file.cloned().ok_or("there are no facts")?;
    let object = file.as_object_mut().ok_or("the facts are no object")?;
    let tuples = object.get("tuples").and_then(Value::as_array).unwrap_or_default();
    let mut tuples: Vec<Value> = tuples.to_vec();
    for edit in edits {
        match edit {
            FactEdit::TupleAdded(tuple) => tuples.push(Value::from(tuple.as_str())),
            FactEdit::TupleRemoved(tuple) => {
                let before = tuples.len();
                tuples.retain(|other| other.as_str() != Some(tuple));
                if tuples.len() == before {
                    return Err(format!("there is no `{tuple}`"));
                }
            }
        }
    }
    object.insert("tuples", tuples);
    super::test::facts(&file)
}

/// The explanation for people: the decision, a tree of rules, facts read, what would permit it.
pub(crate) fn told(document: &Value) -> String {
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_array).unwrap_or_default().to_vec();
    let mut out = document.get("decision").map(super::decide::told).unwrap_or_default();
    for rule in list(document, "rules").into_iter().filter(|rule| text(rule, "outcome") != "not for this") {
        let outcome = text(&rule, "outcome");
        let lacks = rule.get("lacks").and_then(Value::as_u64).unwrap_or(0);
        let says = match outcome.as_str() {
            "permits" => paint("permits", Colour::Green),
            "denies" => paint("denies", Colour::Red),
            _ => format!("lacks {lacks}"),
        };
        let _infallible = writeln!(out, "\n{} [{}] {says}", text(&rule, "policy"), text(&rule, "at"));
        let message = text(&rule, "message");
        if !message.is_empty() {
            let _infallible = writeln!(out, "  {message}");
        }
        conditions(&list(&rule, "conditions"), 1, &mut out);
    }
    let elsewhere =
        list(document, "rules").iter().filter(|rule| text(rule, "outcome") == "not for this").count();
    if elsewhere > 0 {
        let _infallible = writeln!(out, "\n{elsewhere} other rules aren't for this action");
    }
    let relations = document.pointer("/facts/relations").and_then(Value::as_array).unwrap_or_default();
    let resources = document.pointer("/facts/resources").and_then(Value::as_array).unwrap_or_default();
    if !relations.is_empty()
        || resources.iter().any(|resource| resource.get("known") == Some(&Value::Bool(true)))
    {
        out.push_str("\nfacts read\n");
        for relation in relations {
            let _infallible = writeln!(out, "  {} {}", mark(relation.get("holds")), text(relation, "tuple"));
        }
        for resource in
            resources.iter().filter(|resource| !matches!(resource.get("known"), None | Some(Value::Null)))
        {
            let _infallible =
                writeln!(out, "  {} {}", mark(resource.get("known")), text(resource, "resource"));
        }
    }
    let changes = list(document, "changes");
    if !changes.is_empty() {
        out.push_str("\nwould permit it (each was decided again)\n");
        for (number, change) in (1_u32..).zip(&changes) {
            for (index, edit) in list(change, "edits").iter().enumerate() {
                let head = if index == 0 { format!("{number}.") } else { "and".to_owned() };
                let _infallible = writeln!(out, "  {head} {}", text(edit, "text"));
            }
        }
    } else if document.pointer("/decision/decision").and_then(Value::as_str) == Some("deny") {
        let complete = document.get("complete") == Some(&Value::Bool(true));
        let end = if complete { "" } else { " within the bound of the search" };
        let _infallible = writeln!(out, "\nno change was found that would permit it{end}");
    }
    let note = text(document, "note");
    if !note.is_empty() {
        let _infallible = writeln!(out, "{note}");
    }
    let _infallible = writeln!(out, "\nthe agent is told: {}", text(document, "agent"));
    out
}

fn conditions(all: &[Value], depth: usize, out: &mut String) {
    for condition in all {
        let text = condition.get("text").and_then(Value::as_str).unwrap_or_default();
        let seen = condition.get("seen").and_then(Value::as_object).map(Object::iter).into_iter().flatten();
        let seen: Vec<String> = seen
            .map(|(path, value)| {
                let value = if value.is_null() { "missing".to_owned() } else { value.to_string() };
                format!("{path} is {}", value.chars().take(80).collect::<String>())
            })
            .collect();
        let seen = if seen.is_empty() { String::new() } else { format!("   ({})", seen.join(", ")) };
        let _infallible =
            writeln!(out, "{}{} {text}{seen}", "  ".repeat(depth), mark(condition.get("holds")));
        let inner = condition.get("conditions").and_then(Value::as_array).unwrap_or_default();
        conditions(inner, depth.saturating_add(1), out);
    }
}

/// Whether something holds, in one character.
fn mark(holds: Option<&Value>) -> String {
    match holds {
        Some(Value::Bool(true)) => paint("✓", Colour::Green),
        Some(Value::Bool(false)) => paint("✗", Colour::Red),
        _ => "·".to_owned(),
    }
}
