//! `placet test`: cases in YAML and rules in `_test.rego`.
//!
//! A case decides on a policy input (`input`), on a call (`envelope` and `call`), on calls in order in one workflow,
//! with labels and totals carried from one to the next (`workflow` and `path`), or on every input that fits, generated
//! from the schema (`property`).

mod cover;
mod property;
mod read;
mod report;
mod view;

use std::{cell::RefCell, collections::BTreeMap, fmt::Write as _, sync::Arc};

use placet_core::{DecisionId, Engine as _, Envelope, FactsView, Keep, Reasons, Timestamp, Verdict};
use placet_json::{Limits, Value, object, parse as parse_json};

pub use cover::{ConditionCoverage, Coverage, RuleCoverage};
pub(crate) use read::{is_cases, parse};
pub use report::{CaseResult, Decided, Report};

use self::{
    cover::Meter,
    property::Property,
    read::{Case, Expect},
    report::broken,
    view::View,
};
use crate::{
    Release, Tree,
    finding::{Finding, Severity},
    rego::{ast, lint},
    release,
};

/// Makes facts of the JSON document that a case names or holds.
pub type LoadFacts<'a> = &'a dyn Fn(&Value) -> Result<Arc<dyn FactsView>, String>;

/// How cases are run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TestOptions {
    /// Only cases whose name contains this.
    pub filter: Option<String>,
    /// Whether the rules and conditions that the cases meet are counted.
    pub coverage: bool,
    /// What generated inputs begin with: the same seed, the same inputs.
    pub seed: u64,
}

impl TestOptions {
    fn takes(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()))
    }
}

/// What came out of one decision.
struct Outcome {
    permits: bool,
    codes: Vec<String>,
    told: String,
}

impl Outcome {
    fn decided(&self) -> Decided {
        Decided { permits: self.permits, codes: self.codes.clone() }
    }
    fn denied(reasons: &Reasons) -> Self {
        let codes = reasons.all().iter().map(|reason| reason.code.clone()).collect();
        let told: Vec<String> =
            reasons.all().iter().map(|reason| format!("{} ({})", reason.code, reason.operator)).collect();
        Self { permits: false, codes, told: format!("deny: {}", told.join("; ")) }
    }
    fn permit() -> Self {
        Self { permits: true, codes: Vec::new(), told: "permit".to_owned() }
    }
    /// As expected: the decision, and each code among those given.
    fn is(&self, expect: Expect, because: &[String]) -> bool {
        self.permits == (expect == Expect::Permit) && because.iter().all(|code| self.codes.contains(code))
    }
}

fn expected(expect: Expect, because: &[String]) -> String {
    match (expect, because) {
        (Expect::Permit, _) => "permit".to_owned(),
        (Expect::Deny, []) => "deny".to_owned(),
        (Expect::Deny, codes) => format!("deny because of {}", codes.join(", ")),
    }
}

impl Release {
    /// Runs all cases in `tests/` and all rules `test_…` in `policies/**_test.rego`.
    ///
    /// In the latter `time.now_ns` answers 0 unless a test mocks it.
    #[must_use]
    pub fn test(&self, load: LoadFacts<'_>) -> Report {
        self.test_with(load, &TestOptions::default())
    }

    /// As [`Release::test`], with a choice of cases, a seed, and what the cases met of the rules.
    #[must_use]
    pub fn test_with(&self, load: LoadFacts<'_>, options: &TestOptions) -> Report {
        let mut report = Report { seed: options.seed, ..Report::default() };
        let runs = Runs {
            release: self,
            tests: self.tree(),
            load,
            options,
            files: RefCell::default(),
            meter: self.meter(options),
        };
        for (path, bytes) in self.tree() {
            if is_cases(self.layout().inner(path)) {
                let text = String::from_utf8_lossy(bytes);
                match parse(path, &text) {
                    Ok(cases) => report.results.extend(
                        cases
                            .iter()
                            .filter(|case| options.takes(&case.name))
                            .map(|case| runs.run(path, case)),
                    ),
                    Err(finding) => report.results.push(broken(path, path, &finding.to_string())),
                }
            }
        }
        report.results.extend(self.rules().into_iter().filter(|result| options.takes(&result.name)));
        report.coverage = runs.meter.map(|meter| meter.into_inner().coverage());
        report
    }

    /// Runs the cases of other files than its own: paths as a release has them, `tests/….yaml` and the facts beside.
    #[must_use]
    pub fn test_cases(&self, tests: &Tree, load: LoadFacts<'_>) -> Report {
        let options = TestOptions::default();
        let runs =
            Runs { release: self, tests, load, options: &options, files: RefCell::default(), meter: None };
        let mut report = Report::default();
        for (path, bytes) in tests.iter().filter(|(path, _)| is_cases(path)) {
            match parse(path, &String::from_utf8_lossy(bytes)) {
                Ok(cases) => report.results.extend(cases.iter().map(|case| runs.run(path, case))),
                Err(finding) => report.results.push(broken(path, path, &finding.to_string())),
            }
        }
        report
    }

    fn meter(&self, options: &TestOptions) -> Option<RefCell<Meter<'_>>> {
        options.coverage.then(|| RefCell::new(Meter::new(self)))
    }

    /// The rules `test_…`.
    fn rules(&self) -> Vec<CaseResult> {
        let mut results = Vec::new();
        let mut tests = Vec::new();
        for (path, bytes) in self.tree().iter().filter(|(path, _)| {
            self.layout().inner(path).starts_with("policies/") && path.ends_with("_test.rego")
        }) {
            match ast::parse(path, &String::from_utf8_lossy(bytes), self.rego_v1) {
                Ok(parsed) => tests.push(parsed),
                Err(finding) => results.push(broken(path, path, &finding.to_string())),
            }
        }
        if tests.is_empty() {
            return results;
        }
        let mut all = release::read(self.tree(), None).modules;
        let count = all.len();
        all.extend(tests);
        let refused: Vec<Finding> = lint::lint(&all, &self.contract)
            .into_iter()
            .filter(|finding| finding.severity == Severity::Error)
            .collect();
        if !refused.is_empty() {
            results.extend(refused.iter().map(|finding| broken(&finding.file, "lint", &finding.to_string())));
            return results;
        }
        let tests = all.split_off(count);
        let Some(program) = &self.rego else { return results };
        results.extend(program.test(&tests, self.rego_v1).into_iter().map(|(file, name, outcome)| {
            match outcome {
                Ok(passed) => CaseResult {
                    file,
                    name,
                    passed,
                    expected: "true".to_owned(),
                    got: if passed { "true" } else { "false or undefined" }.to_owned(),
                    decisions: Vec::new(),
                },
                Err(message) => broken(&file, &name, &message),
            }
        }));
        results
    }
}

/// Whether it came out as it says, what was expected, what came out, and the decisions.
type Came = (bool, String, String, Vec<Decided>);

/// One run over the cases.
struct Runs<'a> {
    release: &'a Release,
    /// The files of the cases.
    tests: &'a Tree,
    load: LoadFacts<'a>,
    options: &'a TestOptions,
    /// Facts by their file: many cases share one.
    files: RefCell<BTreeMap<String, Arc<dyn FactsView>>>,
    meter: Option<RefCell<Meter<'a>>>,
}

impl Runs<'_> {
    fn run(&self, file: &str, case: &Case) -> CaseResult {
        match self.outcomes(file, case) {
            Ok((passed, expected, got, decisions)) => CaseResult {
                file: file.to_owned(),
                name: case.name.clone(),
                passed,
                expected,
                got,
                decisions,
            },
            Err(message) => broken(file, &case.name, &message),
        }
    }

    fn outcomes(&self, file: &str, case: &Case) -> Result<Came, String> {
        let at = case.at.as_deref().map(Timestamp::parse).transpose().map_err(|error| error.to_string())?;
        let facts = case.facts.as_ref().map(|facts| self.facts(file, &facts.0)).transpose()?;
        let expect = case.expect.unwrap_or(Expect::Deny);
        if let Some(input) = &case.input {
            let document = self.release.decide_document(&input.0, facts.as_deref(), at);
            if let (Some(meter), Some(now)) = (&self.meter, document.time) {
                meter.borrow_mut().meet(&input.0, facts.as_deref(), now);
            }
            let outcome = document.denied.as_ref().map_or_else(Outcome::permit, Outcome::denied);
            let decisions = vec![outcome.decided()];
            return Ok((
                outcome.is(expect, &case.because),
                expected(expect, &case.because),
                outcome.told,
                decisions,
            ));
        }
        if let Some(property) = &case.property {
            let property = Property { release: self.release, case: property, facts: facts.as_deref(), at };
            return Ok(property
                .holds(self.options.seed, &|denied| {
                    let outcome = denied.map_or_else(Outcome::permit, Outcome::denied);
                    (outcome.is(expect, &case.because), outcome.told)
                })?
                .map_or_else(
                    |wrong| (false, expected(expect, &case.because), wrong, Vec::new()),
                    |runs| {
                        (
                            true,
                            expected(expect, &case.because),
                            format!("as expected {runs} times"),
                            Vec::new(),
                        )
                    },
                ));
        }
        let facts = facts.ok_or("a case with an envelope needs `facts`")?;
        let now = at.ok_or("a case with an envelope needs `at`")?;
        let envelope = case.envelope.as_ref().or(case.workflow.as_ref()).ok_or("the case has no envelope")?;
        let mut view = View::new(facts.as_ref(), envelope)?.in_environment(case.environment.clone());
        let envelope = view.open(envelope, now)?;
        if let Some(workflow) = view.workflow(envelope.workflow())
            && let Some(kind) = self.release.workflow_types().get(&workflow.kind)
        {
            // A case on a workflow that nobody could have opened would prove nothing.
            kind.admits_life(workflow, now)
                .map_err(|unfit| format!("the workflow `{}`: {unfit}; {}", workflow.id, unfit.remedy))?;
        }
        let tools: Vec<&str> = match (&case.call, &case.path) {
            (Some(call), _) => vec![call.tool.as_str()],
            (None, Some(path)) => path.iter().map(|step| step.tool.as_str()).collect(),
            (None, None) => Vec::new(),
        };
        view.begin_with(&case.totals, &envelope, &tools, now)?;
        if let Some(call) = &case.call {
            let (outcome, _) = self.call(&envelope, &call.tool, &call.args.0, &view, now)?;
            let decisions = vec![outcome.decided()];
            return Ok((
                outcome.is(expect, &case.because),
                expected(expect, &case.because),
                outcome.told,
                decisions,
            ));
        }
        let (mut passed, mut wanted, mut got) = (true, String::new(), String::new());
        let mut decisions = Vec::new();
        for (number, step) in case.path.iter().flatten().enumerate() {
            let position = u64::try_from(number).unwrap_or(u64::MAX).saturating_add(1);
            let (mut outcome, call) = self.call(&envelope, &step.tool, &step.args.0, &view, now)?;
            if let Some((call, keep)) = call.filter(|_| outcome.permits) {
                view.permitted(position, &envelope, &call, keep, now);
                if let (Some(returns), Some(entry)) =
                    (&step.returns, self.release.catalog().entry(call.entry.as_str()))
                {
                    let result = Value::Object(
                        object! { "content" => Vec::<Value>::new(), "structuredContent" => returns.0.clone() },
                    );
                    if let placet_catalog::Guarded::Foreign { path, .. } =
                        placet_catalog::inspect(entry, envelope.tenant(), &call, &result)
                    {
                        outcome = Outcome {
                            permits: false,
                            codes: vec!["result_withheld".to_owned()],
                            told: format!("withheld: a foreign item at {path}"),
                        };
                    }
                }
            }
            decisions.push(outcome.decided());
            passed &= outcome.is(step.expect, &step.because);
            let _infallible = writeln!(wanted, "{position}. {}", expected(step.expect, &step.because));
            let _infallible = writeln!(got, "{position}. {}", outcome.told);
        }
        Ok((passed, wanted.trim_end().to_owned(), got.trim_end().to_owned(), decisions))
    }

    /// A path names a file beside the case's, or below `tests/`; anything else is the document itself.
    fn facts(&self, file: &str, facts: &Value) -> Result<Arc<dyn FactsView>, String> {
        let Some(name) = facts.as_str() else { return (self.load)(facts) };
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        let path = format!("{folder}/{name}");
        if let Some(known) = self.files.borrow().get(&path) {
            return Ok(Arc::clone(known));
        }
        let bytes = self.tests.get(&path).ok_or_else(|| format!("there is no file `{path}`"))?;
        let read =
            (self.load)(&parse_json(bytes, &Limits::RESULT).map_err(|error| format!("{name}: {error}"))?)?;
        self.files.borrow_mut().insert(path, Arc::clone(&read));
        Ok(read)
    }

    fn call(
        &self,
        envelope: &Envelope,
        tool: &str,
        args: &Value,
        facts: &dyn FactsView,
        now: Timestamp,
    ) -> Result<(Outcome, Option<(placet_core::Call, Keep)>), String> {
        let entry =
            self.release.catalog().entry(tool).ok_or_else(|| format!("the catalog has no tool `{tool}`"))?;
        let id = DecisionId::new("dc_test").map_err(|error| error.to_string())?;
        let call = match placet_catalog::classify(entry, envelope, facts, self.release.digest(), id, args) {
            Ok(call) => {
                let moves = self.release.moves_on(envelope.workflow(), &call.action, facts);
                placet_core::Call { moves, ..call }
            }
            Err(refused) => return Ok((Outcome::denied(&refused.reasons), None)),
        };
        let mut keep = Keep::NOTHING;
        let outcome = match self.release.evaluate(envelope, &call, facts, now) {
            Ok(evaluation) => {
                if let (Some(meter), Some(input)) = (&self.meter, &evaluation.input) {
                    meter.borrow_mut().meet(&input.to_value(), Some(facts), now);
                }
                match evaluation.verdict {
                    Verdict::Allow { .. } => {
                        keep = evaluation.claims.keep;
                        Outcome::permit()
                    }
                    Verdict::Deny { reasons, .. } => Outcome::denied(&reasons),
                }
            }
            Err(fault) => Outcome {
                permits: false,
                codes: vec![fault.code.as_str().to_owned()],
                told: format!("deny: {fault}"),
            },
        };
        Ok((outcome, Some((call, keep))))
    }
}
