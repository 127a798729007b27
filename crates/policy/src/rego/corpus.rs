//! The corpus of `tests/corpus/rego`: modules with their answers, judged by our interpreter as releases configure it
//! and by OPA itself.

use std::path::Path;

use placet_core::Timestamp;
use placet_json::{Limits, Value, object, parse};
use serde::Deserialize;

use super::{builtins, lint, program::Program, rewrite};
use crate::{
    contract::{Additions, Contract},
    finding::Severity,
    peers,
    yaml::Yaml,
};

/// One module, or one expression, and what it comes to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// The built-in function or the trap that it is about.
    about: String,
    /// An expression, in place of a module.
    expr: Option<String>,
    /// A module of the package `corpus`; its rule `result` is asked.
    module: Option<String>,
    input: Option<Yaml>,
    /// A value, as JSON; sets are sorted lists.
    is: Option<String>,
    /// No value.
    #[serde(default)]
    undefined: bool,
    /// No evaluation came to an end: the release is refused, or the evaluation is a fault. A denial, either way.
    #[serde(default)]
    denied: bool,
    /// The release is refused, with these words.
    refused: Option<String>,
    /// What OPA says, where it isn't the same.
    opa: Option<Says>,
    /// Why it isn't the same; a refusal says so itself.
    why: Option<String>,
}

/// An outcome: exactly one of these.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Says {
    is: Option<String>,
    #[serde(default)]
    undefined: bool,
    #[serde(default)]
    denied: bool,
    #[serde(skip)]
    refused: Option<String>,
}

/// What an engine came to.
#[derive(Debug, Clone, PartialEq)]
enum Outcome {
    Is(String),
    Undefined,
    Denied(String),
    Refused(String),
}

impl Says {
    fn fits(&self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Is(value) => self.is.as_deref().map(canonical) == Some(canonical(value)),
            Outcome::Undefined => self.undefined,
            Outcome::Denied(_) => self.denied,
            Outcome::Refused(message) => {
                self.denied || self.refused.as_ref().is_some_and(|words| message.contains(words.as_str()))
            }
        }
    }
}

/// Numbers in their plain form, members sorted. What isn't JSON is itself.
fn canonical(text: &str) -> String {
    fn sorted(value: &Value) -> String {
        match value {
            Value::Number(number) => number.canonical().unwrap_or_else(|_| number.to_string()),
            Value::Array(items) => {
                format!("[{}]", items.iter().map(sorted).collect::<Vec<_>>().join(","))
            }
            Value::Object(object) => {
                let mut members: Vec<String> =
                    object.iter().map(|(name, value)| format!("{name:?}:{}", sorted(value))).collect();
                members.sort();
                format!("{{{}}}", members.join(","))
            }
            Value::Null | Value::Bool(_) | Value::String(_) => value.to_string(),
        }
    }
    parse(text.as_bytes(), &Limits::MESSAGE).map_or_else(|_| text.to_owned(), |value| sorted(&value))
}

impl Case {
    /// What Placet says.
    fn says(&self) -> Says {
        Says {
            is: self.is.clone(),
            undefined: self.undefined,
            denied: self.denied,
            refused: self.refused.clone(),
        }
    }
    fn source(&self) -> String {
        match (&self.expr, &self.module) {
            (Some(expr), None) => format!("package corpus\nresult := {expr}\n"),
            (None, Some(module)) => module.clone(),
            (Some(_), Some(_)) | (None, None) => panic!("{}: one of `expr` and `module`", self.about),
        }
    }
    fn input(&self) -> Value {
        self.input
            .as_ref()
            .map_or_else(|| parse(b"{}", &Limits::MESSAGE).unwrap(), |Yaml(value)| value.clone())
    }
    fn title(&self) -> String {
        format!("{}: {}", self.about, self.source().trim())
    }
}

fn corpus() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/rego");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let cases: Vec<Case> = files
        .iter()
        .flat_map(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            serde_saphyr::from_str::<Vec<Case>>(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
        })
        .collect();
    cases
}

/// The moment of every evaluation.
fn now() -> Timestamp {
    Timestamp::parse("2026-03-01T09:30:00Z").unwrap()
}

/// As a release is built and asked.
fn ours(case: &Case) -> Outcome {
    let contract = Contract::new(&Additions::default());
    let parsed = match rewrite::rewrite("corpus.rego", &case.source(), true) {
        Ok((parsed, _)) => parsed,
        Err(finding) => return Outcome::Refused(finding.to_string()),
    };
    let modules = [parsed];
    let mut findings = lint::lint(&modules, &contract);
    if let Some(error) = findings.iter().find(|finding| finding.severity == Severity::Error) {
        return Outcome::Refused(error.to_string());
    }
    let program = match Program::new(&modules, &["corpus".to_owned()], true, &mut findings) {
        Ok(program) => program,
        Err(finding) => return Outcome::Refused(finding.to_string()),
    };
    match program.value("data.corpus.result", &case.input(), now()) {
        Ok(regorus::Value::Undefined) => Outcome::Undefined,
        Ok(value) => Outcome::Is(value.to_json_str().unwrap()),
        Err(error) => Outcome::Denied(error),
    }
}

/// The cases whose outcome isn't the expected one, told.
fn wrong(outcomes: impl Iterator<Item = (String, Says, Outcome)>) -> Vec<String> {
    outcomes
        .filter(|(_, says, outcome)| !says.fits(outcome))
        .map(|(title, says, outcome)| format!("{title}\n  expected {says:?}\n  came to  {outcome:?}"))
        .collect()
}

#[test]
fn what_a_policy_may_say_comes_to_what_the_corpus_says() {
    let cases = corpus();
    assert!(cases.len() >= 300, "{}", cases.len());
    let wrong = wrong(cases.iter().map(|case| (case.title(), case.says(), ours(case))));
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn every_admitted_function_has_cases_and_every_difference_a_reason() {
    let cases = corpus();
    let texts: Vec<String> = cases.iter().map(Case::source).collect();
    for name in builtins::names().filter(|name| *name != super::CHECK) {
        assert!(texts.iter().any(|text| text.contains(&format!("{name}("))), "no case calls {name}");
    }
    for case in &cases {
        let told = case.refused.is_some() || case.why.is_some();
        assert_eq!(case.opa.is_some(), told, "{}: `opa` and `why` belong together", case.title());
    }
}

#[test]
#[ignore = "needs OPA, which peers/install.sh installs; `make peers` runs it"]
fn opa_says_what_the_corpus_says() {
    let cases = corpus();
    let questions: Vec<Value> = cases
        .iter()
        .map(|case| {
            let nanos = i64::try_from(now().millis()).unwrap() * 1_000_000;
            Value::from(object! { "module" => case.source(), "input" => case.input(), "now" => nanos })
        })
        .collect();
    let answers = peers::judged("rego", &Value::Array(questions));
    assert_eq!(answers.len(), cases.len());
    let wrong = wrong(cases.iter().zip(answers).map(|(case, answer)| {
        let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
        let outcome = match (text("is"), text("denied")) {
            (Some(value), _) => Outcome::Is(value),
            (None, Some(message)) => Outcome::Denied(message),
            (None, None) => Outcome::Undefined,
        };
        (case.title(), case.opa.clone().unwrap_or_else(|| case.says()), outcome)
    }));
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
