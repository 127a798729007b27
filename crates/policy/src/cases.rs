//! `placet test`: cases in YAML and rules in `_test.rego`.
//!
//! A case decides on a policy input (`input`), on a call (`envelope` and `call`), or on calls in order in one workflow,
//! with labels and totals carried from one to the next (`workflow` and `path`).

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use placet_core::{
    Agent, AgentId, Approval, Assignment, CheckError, Decimal, DecisionId, Delegation, DelegationId,
    Engine as _, Envelope, FactsView, FlowState, Freeze, Freshness, Grant, Human, HumanId, Keep, Name, Per,
    Reasons, RelationModel, Reserved, Resource, ResourceRef, Revision, Spending, StateMove, Tallies,
    TenantId, Timestamp, Total, Verdict, Workflow, WorkflowId, WorkflowState,
};
use placet_json::{Limits, Value, object, parse as parse_json};
use serde::Deserialize;

use crate::{
    Release,
    finding::{Finding, Severity},
    rego::{ast, lint},
    release,
    yaml::Yaml,
};

/// Makes facts of the JSON document that a case names or holds.
pub type LoadFacts<'a> = &'a dyn Fn(&Value) -> Result<Arc<dyn FactsView>, String>;

/// How the cases of a release came out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order of their files.
    pub results: Vec<CaseResult>,
}

/// How one case came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseResult {
    /// The case's file.
    pub file: String,
    /// Its name.
    pub name: String,
    /// Whether it came out as it says.
    pub passed: bool,
    /// What was expected.
    pub expected: String,
    /// What came out: the decision and its reasons.
    pub got: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    name: String,
    at: Option<String>,
    /// Which environment the server says that it is; without it none.
    environment: Option<String>,
    facts: Option<Yaml>,
    input: Option<Yaml>,
    envelope: Option<EnvelopeCase>,
    call: Option<CallCase>,
    workflow: Option<EnvelopeCase>,
    path: Option<Vec<Step>>,
    /// What was permitted before: by what it is added up over and action.
    #[serde(default)]
    totals: TotalsCase,
    expect: Option<Expect>,
    #[serde(default)]
    because: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeCase {
    human: String,
    agent: String,
    delegation: String,
    workflow: String,
    intent: String,
    /// The thumbprint of the key that signed; without it, one of the agent's.
    key: Option<String>,
}

/// What was permitted before a case begins, by action.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TotalsCase {
    #[serde(default)]
    workflow: BTreeMap<Name, TotalCase>,
    #[serde(default)]
    human_day: BTreeMap<Name, TotalCase>,
    #[serde(default)]
    agent_day: BTreeMap<Name, TotalCase>,
    #[serde(default)]
    tool_day: BTreeMap<Name, TotalCase>,
    #[serde(default)]
    tenant_day: BTreeMap<Name, TotalCase>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TotalCase {
    count: u64,
    amount: Option<Yaml>,
}

impl TotalsCase {
    fn of(&self, per: Per) -> &BTreeMap<Name, TotalCase> {
        match per {
            Per::Workflow => &self.workflow,
            Per::HumanDay => &self.human_day,
            Per::AgentDay => &self.agent_day,
            Per::ToolDay => &self.tool_day,
            Per::TenantDay => &self.tenant_day,
        }
    }
    fn is_empty(&self) -> bool {
        Per::ALL.iter().all(|per| self.of(*per).is_empty())
    }
}

impl TotalCase {
    fn total(&self) -> Result<Total, String> {
        let amount = match self.amount.as_ref().map(|amount| &amount.0) {
            None => Ok(Decimal::ZERO),
            Some(Value::Number(number)) => Decimal::from_number(number),
            Some(other) => Decimal::parse(other.as_str().unwrap_or_default()),
        };
        Ok(Total { count: self.count, amount: amount.map_err(|error| format!("`totals`: {error}"))? })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CallCase {
    tool: String,
    args: Yaml,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    tool: String,
    args: Yaml,
    /// What the tool answers, checked by the catalog's result guard.
    returns: Option<Yaml>,
    expect: Expect,
    #[serde(default)]
    because: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expect {
    Permit,
    Deny,
}

/// What came out of one decision.
struct Outcome {
    permits: bool,
    codes: Vec<String>,
    told: String,
}

impl Outcome {
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

/// Whether a file of a release holds cases.
pub(crate) fn is_cases(path: &str) -> bool {
    path.starts_with("tests/") && path.strip_suffix(".yaml").is_some()
}

/// Reads a file of cases. A key that isn't known, or a case of no kind or of two, is an error.
pub(crate) fn parse(file: &str, text: &str) -> Result<Vec<Case>, Finding> {
    let cases: Vec<Case> = serde_saphyr::from_str(text).map_err(|error| {
        let at = error.location().map_or((0, 0), |location| {
            (u32::try_from(location.line()).unwrap_or(0), u32::try_from(location.column()).unwrap_or(0))
        });
        Finding::error(file, at, error.to_string().lines().next().unwrap_or_default().to_owned(), "")
    })?;
    for case in &cases {
        let kinds = [
            case.input.is_some(),
            case.envelope.is_some() && case.call.is_some(),
            case.workflow.is_some() && case.path.is_some(),
        ];
        let stray =
            case.envelope.is_some() != case.call.is_some() || case.workflow.is_some() != case.path.is_some();
        if kinds.iter().filter(|kind| **kind).count() != 1 || stray {
            return Err(Finding::error(
                file,
                (0, 0),
                format!(
                    "the case `{}` needs exactly one of `input`, `envelope` with `call`, `workflow` with `path`",
                    case.name
                ),
                "",
            ));
        }
        if case.path.is_some() == case.expect.is_some() || (case.path.is_some() && !case.because.is_empty()) {
            return Err(Finding::error(
                file,
                (0, 0),
                format!("the case `{}` says `expect` in the wrong place", case.name),
                "a path says it at each step, any other case once",
            ));
        }
        if case.input.is_some() && !case.totals.is_empty() {
            return Err(Finding::error(
                file,
                (0, 0),
                format!("the case `{}` decides on an input, and says `totals` beside it", case.name),
                "write them in the input: `workflow.totals` and `totals`",
            ));
        }
        if case.path.as_ref().is_some_and(Vec::is_empty) {
            return Err(Finding::error(
                file,
                (0, 0),
                format!("the case `{}` has a path without a step", case.name),
                "",
            ));
        }
    }
    Ok(cases)
}

impl Release {
    /// Runs all cases in `tests/` and all rules `test_…` in `policies/**_test.rego`.
    ///
    /// In the latter `time.now_ns` answers 0 unless a test mocks it.
    #[must_use]
    pub fn test(&self, load: LoadFacts<'_>) -> Report {
        let mut report = Report::default();
        for (path, bytes) in self.tree() {
            if is_cases(path) {
                let text = String::from_utf8_lossy(bytes);
                match parse(path, &text) {
                    Ok(cases) => report.results.extend(cases.iter().map(|case| self.run(path, case, load))),
                    Err(finding) => report.results.push(broken(path, path, &finding.to_string())),
                }
            }
        }
        report.results.extend(self.rules());
        report
    }

    fn run(&self, file: &str, case: &Case, load: LoadFacts<'_>) -> CaseResult {
        match self.outcomes(file, case, load) {
            Ok((passed, expected, got)) => {
                CaseResult { file: file.to_owned(), name: case.name.clone(), passed, expected, got }
            }
            Err(message) => broken(file, &case.name, &message),
        }
    }

    fn outcomes(
        &self,
        file: &str,
        case: &Case,
        load: LoadFacts<'_>,
    ) -> Result<(bool, String, String), String> {
        let at = case.at.as_deref().map(Timestamp::parse).transpose().map_err(|error| error.to_string())?;
        let facts = case.facts.as_ref().map(|facts| self.facts(file, &facts.0, load)).transpose()?;
        let expect = case.expect.unwrap_or(Expect::Deny);
        if let Some(input) = &case.input {
            let document = self.decide_document(&input.0, facts.as_deref(), at);
            let outcome = document.denied.as_ref().map_or_else(Outcome::permit, Outcome::denied);
            return Ok((outcome.is(expect, &case.because), expected(expect, &case.because), outcome.told));
        }
        let facts = facts.ok_or("a case with an envelope needs `facts`")?;
        let now = at.ok_or("a case with an envelope needs `at`")?;
        let envelope = case.envelope.as_ref().or(case.workflow.as_ref()).ok_or("the case has no envelope")?;
        let mut view = View::new(facts.as_ref(), envelope)?;
        view.environment.clone_from(&case.environment);
        let envelope = view.open(envelope, now)?;
        if let Some(workflow) = view.workflow(envelope.workflow())
            && let Some(kind) = self.workflow_types().get(&workflow.kind)
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
            return Ok((outcome.is(expect, &case.because), expected(expect, &case.because), outcome.told));
        }
        let (mut passed, mut wanted, mut got) = (true, String::new(), String::new());
        for (number, step) in case.path.iter().flatten().enumerate() {
            let position = u64::try_from(number).unwrap_or(u64::MAX).saturating_add(1);
            let (mut outcome, call) = self.call(&envelope, &step.tool, &step.args.0, &view, now)?;
            if let Some((call, keep)) = call.filter(|_| outcome.permits) {
                view.permitted(position, &envelope, &call, keep, now);
                if let (Some(returns), Some(entry)) =
                    (&step.returns, self.catalog().entry(call.entry.as_str()))
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
            passed &= outcome.is(step.expect, &step.because);
            let _infallible = writeln!(wanted, "{position}. {}", expected(step.expect, &step.because));
            let _infallible = writeln!(got, "{position}. {}", outcome.told);
        }
        Ok((passed, wanted.trim_end().to_owned(), got.trim_end().to_owned()))
    }

    /// A path names a file beside the case's, or below `tests/`; anything else is the document itself.
    fn facts(&self, file: &str, facts: &Value, load: LoadFacts<'_>) -> Result<Arc<dyn FactsView>, String> {
        let Some(name) = facts.as_str() else { return load(facts) };
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        let bytes = self
            .tree()
            .get(&format!("{folder}/{name}"))
            .ok_or_else(|| format!("there is no file `{folder}/{name}`"))?;
        load(&parse_json(bytes, &Limits::RESULT).map_err(|error| format!("{name}: {error}"))?)
    }

    fn call(
        &self,
        envelope: &Envelope,
        tool: &str,
        args: &Value,
        facts: &dyn FactsView,
        now: Timestamp,
    ) -> Result<(Outcome, Option<(placet_core::Call, Keep)>), String> {
        let entry = self.catalog().entry(tool).ok_or_else(|| format!("the catalog has no tool `{tool}`"))?;
        let id = DecisionId::new("dc_test").map_err(|error| error.to_string())?;
        let call = match placet_catalog::classify(entry, envelope, facts, self.digest(), id, args) {
            Ok(call) => {
                let moves = self.moves_on(envelope.workflow(), &call.action, facts);
                placet_core::Call { moves, ..call }
            }
            Err(refused) => return Ok((Outcome::denied(&refused.reasons), None)),
        };
        let mut keep = Keep::NOTHING;
        let outcome = match self.evaluate(envelope, &call, facts, now) {
            Ok(evaluation) => match evaluation.verdict {
                Verdict::Allow { .. } => {
                    keep = evaluation.claims.keep;
                    Outcome::permit()
                }
                Verdict::Deny { reasons, .. } => Outcome::denied(&reasons),
            },
            Err(fault) => Outcome {
                permits: false,
                codes: vec![fault.code.as_str().to_owned()],
                told: format!("deny: {fault}"),
            },
        };
        Ok((outcome, Some((call, keep))))
    }

    /// The rules `test_…`.
    fn rules(&self) -> Vec<CaseResult> {
        let mut results = Vec::new();
        let mut tests = Vec::new();
        for (path, bytes) in self
            .tree()
            .iter()
            .filter(|(path, _)| path.starts_with("policies/") && path.ends_with("_test.rego"))
        {
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
                },
                Err(message) => broken(&file, &name, &message),
            }
        }));
        results
    }
}

fn broken(file: &str, name: &str, message: &str) -> CaseResult {
    CaseResult {
        file: file.to_owned(),
        name: name.to_owned(),
        passed: false,
        expected: "a case that can be run".to_owned(),
        got: message.to_owned(),
    }
}

impl Report {
    /// Whether all came out as they say. A release without a case doesn't pass.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.results.is_empty() && self.results.iter().all(|result| result.passed)
    }

    /// As JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let failed = self.results.iter().filter(|result| !result.passed).count();
        let cases = self.results.iter().map(|result| {
            Value::Object(object! {
                "file" => result.file.as_str(), "name" => result.name.as_str(), "passed" => result.passed,
                "expected" => result.expected.as_str(), "got" => result.got.as_str(),
            })
        });
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Value::Object(object! {
            "passed" => self.passed(), "total" => count(self.results.len()), "failed" => count(failed), "cases" => cases.collect::<Vec<_>>(),
        })
    }

    /// As JUnit's XML, which continuous integration reads.
    #[must_use]
    pub fn to_junit(&self) -> String {
        let failed = self.results.iter().filter(|result| !result.passed).count();
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"placet\" tests=\"{}\" failures=\"{failed}\">\n",
            self.results.len()
        );
        for result in &self.results {
            let _infallible = write!(
                xml,
                "  <testcase classname=\"{}\" name=\"{}\"",
                escaped(&result.file),
                escaped(&result.name)
            );
            if result.passed {
                xml.push_str("/>\n");
            } else {
                let message = escaped(&format!("expected {}, got {}", result.expected, result.got));
                let _infallible = write!(xml, ">\n    <failure message=\"{message}\"/>\n  </testcase>\n");
            }
        }
        xml.push_str("</testsuite>\n");
        xml
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            // XML 1.0 §2.2 has no other control character.
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A case's facts, with the agent's key where the case names none, and the workflow's flow as it goes on.
struct View<'a> {
    facts: &'a dyn FactsView,
    agent: Option<Agent>,
    flow: Arc<FlowState>,
    tallies: Tallies,
    /// The workflow, once a step's effect moved it.
    moved: Option<Workflow>,
    environment: Option<String>,
}

/// The key of an agent whose case names none.
const KEY: &str = "the key of this case";

impl<'a> View<'a> {
    fn new(facts: &'a dyn FactsView, envelope: &EnvelopeCase) -> Result<Self, String> {
        let tenant = facts.tenant().clone();
        let id = |text: &str| Name::new(text).map_err(|error| format!("`{text}`: {error}"));
        let agent = facts.agent(&AgentId::from(id(&envelope.agent)?)).cloned().map(|mut agent| {
            if envelope.key.is_none() {
                agent.keys.insert(KEY.to_owned(), Value::Object(object! {}));
            }
            agent
        });
        let flow = facts.flow(&WorkflowId::new(tenant, id(&envelope.workflow)?));
        Ok(Self { facts, agent, flow, tallies: Tallies::default(), moved: None, environment: None })
    }

    fn open(&self, envelope: &EnvelopeCase, now: Timestamp) -> Result<Envelope, String> {
        let id = |text: &str| Name::new(text).map_err(|error| format!("`{text}`: {error}"));
        let tenant = self.facts.tenant().clone();
        let grant = Grant {
            human: HumanId::from(id(&envelope.human)?),
            agent: AgentId::from(id(&envelope.agent)?),
            delegation: DelegationId::new(tenant.clone(), id(&envelope.delegation)?),
            workflow: WorkflowId::new(tenant, id(&envelope.workflow)?),
            intent: id(&envelope.intent)?,
            token: "test".to_owned(),
            expires: now.plus_millis(60_000),
            key: envelope.key.clone().unwrap_or_else(|| KEY.to_owned()),
            proof: "test".to_owned(),
        };
        Envelope::open(grant, now).map_err(|error| error.to_string())
    }

    /// What was permitted before: the workflow's, and of the day the person's, the agent's, each tool's, the tenant's.
    fn begin_with(
        &mut self,
        totals: &TotalsCase,
        envelope: &Envelope,
        tools: &[&str],
        now: Timestamp,
    ) -> Result<(), String> {
        let mut flow = FlowState::clone(&self.flow);
        for (action, total) in totals.of(Per::Workflow) {
            flow.totals.insert(action.clone(), total.total()?);
        }
        self.flow = Arc::new(flow);
        let grant = envelope.grant();
        for tool in tools {
            let spending = Spending {
                at: now,
                workflow: grant.workflow.clone(),
                human: grant.human.clone(),
                agent: grant.agent.clone(),
                above: Vec::new(),
                entry: Name::new(tool).map_err(|error| format!("`{tool}`: {error}"))?,
                action: grant.intent.clone(),
                amount: None,
                effect: placet_core::EffectClass::Read,
                same: placet_core::Digest::of(b""),
            };
            for per in Per::DAYS {
                for (action, total) in totals.of(*per) {
                    self.tallies.begin_with(*per, &spending, action.clone(), total.total()?);
                }
            }
        }
        Ok(())
    }

    /// Labels and totals as the journal would write them with the permit, whose call has ended before the next.
    fn permitted(
        &mut self,
        position: u64,
        envelope: &Envelope,
        call: &placet_core::Call,
        keep: Keep,
        now: Timestamp,
    ) {
        let mut flow = FlowState::clone(&self.flow);
        flow.totals_at = position;
        if !call.labels.is_empty() {
            flow.sources.insert(call.entry.clone());
            if !call.labels.is_subset(&flow.labels) {
                flow.labels_at = position;
                flow.labels.extend(call.labels.iter().cloned());
            }
        }
        let total = flow.totals.entry(call.action.clone()).or_insert(Total::ZERO);
        *total = total.and(call.amount().unwrap_or(Decimal::ZERO));
        self.flow = Arc::new(flow);
        let chain = placet_core::authority::chain(self.facts, envelope);
        let spending = Spending::of(envelope.grant(), call, &chain, now);
        self.tallies.permitted(position, Reserved { spending, spends: Vec::new() }, keep);
        self.tallies.ended(position, position, false);
        // What its effect does to the workflow, as the journal would write it.
        let workflow = self.workflow(envelope.workflow()).filter(|it| it.state == WorkflowState::Open);
        let moved = workflow.and_then(|workflow| {
            let way = StateMove::from_stage(&call.moves, workflow.stage.as_ref())?;
            let state = if way.closes { WorkflowState::Closed } else { WorkflowState::Open };
            Some(Workflow { stage: Some(way.to.clone()), state, ..workflow.clone() })
        });
        self.moved = moved.or(self.moved.take());
    }
}

impl FactsView for View<'_> {
    fn tenant(&self) -> &TenantId {
        self.facts.tenant()
    }
    fn revision(&self) -> Revision {
        self.facts.revision()
    }
    fn freshness(&self, now: Timestamp) -> Freshness {
        self.facts.freshness(now)
    }
    fn human(&self, id: &HumanId) -> Option<&Human> {
        self.facts.human(id)
    }
    fn agent(&self, id: &AgentId) -> Option<&Agent> {
        self.agent.as_ref().filter(|agent| &agent.id == id).or_else(|| self.facts.agent(id))
    }
    fn assignment(&self, human: &HumanId) -> Option<&Assignment> {
        self.facts.assignment(human)
    }
    fn workflow(&self, id: &WorkflowId) -> Option<&Workflow> {
        self.moved.as_ref().filter(|moved| moved.id == *id).or_else(|| self.facts.workflow(id))
    }
    fn delegation(&self, id: &DelegationId) -> Option<&Delegation> {
        self.facts.delegation(id)
    }
    fn approvals(&self, workflow: &WorkflowId) -> Vec<&Approval> {
        self.facts.approvals(workflow)
    }
    fn resource(&self, at: &ResourceRef) -> Option<&Resource> {
        self.facts.resource(at)
    }
    fn frozen(&self, what: &Freeze) -> bool {
        self.facts.frozen(what)
    }
    fn flow(&self, _workflow: &WorkflowId) -> Arc<FlowState> {
        Arc::clone(&self.flow)
    }
    fn tallies(&self) -> Option<Arc<Tallies>> {
        Some(Arc::new(self.tallies.clone()))
    }
    fn check(
        &self,
        model: &RelationModel,
        object: &ResourceRef,
        relation: &Name,
        subject: &ResourceRef,
    ) -> Result<bool, CheckError> {
        self.facts.check(model, object, relation, subject)
    }
    fn risk(&self, of: &placet_core::Risky) -> Option<Decimal> {
        self.facts.risk(of)
    }
    fn environment(&self) -> Option<&str> {
        self.environment.as_deref().or_else(|| self.facts.environment())
    }
    fn slice(&self, at: &ResourceRef) -> Value {
        self.facts.slice(at)
    }
}
