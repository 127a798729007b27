//! Budgets and limits: on counts as the journal folds them, in what policies read, in cases and in what `check` says.

use placet_core::{
    AgentId, Claims, Engine as _, Evaluation, FactsView, Keep, Limits, Per, Spending, Timestamp, Verdict,
};
use placet_facts::World;
use placet_policy::{Release, Severity, Tree, check};

use crate::common::{
    acme, after, at, build, change, classify, codes, files, grant, load, now, open, snapshot, tree, world,
};

const TYPE: &str = "workflow_types/support_case.toml";
const BILLING: &str = "catalog/billing.toml";
const REFUND: &str = r#"{"case_id":"CASE-1837","amount":40}"#;

/// The demonstration with these budgets in its workflow type, and these lines in the refund's catalog entry.
fn bounded(budgets: &str, entry: &str) -> Tree {
    let mut tree = tree("demo");
    let text = String::from_utf8(tree[TYPE].clone()).unwrap();
    tree.insert(TYPE.to_owned(), format!("{text}\n{budgets}\n").into_bytes());
    change(&mut tree, BILLING, "action = \"issue_refund\"", &format!("action = \"issue_refund\"\n{entry}"));
    tree
}

/// A run of refunds, each recorded where it is permitted.
struct Run<'a> {
    release: &'a Release,
    world: World,
    position: u64,
}

impl<'a> Run<'a> {
    fn new(release: &'a Release) -> Self {
        let world = world();
        let position = world.revision().0 + 1;
        Self { release, world, position }
    }
    fn evaluate(&self, arguments: &str, now: Timestamp) -> (Evaluation, placet_core::Call) {
        let (facts, envelope) = (snapshot(&self.world), open(grant()));
        let call = classify(self.release, &envelope, &facts, "billing.refund", arguments).unwrap();
        (self.release.evaluate(&envelope, &call, &facts, now).unwrap(), call)
    }
    /// The code of a denial; empty for a permit, which is recorded and, unless it stays open, ended.
    fn refund(&mut self, arguments: &str, now: Timestamp, open: bool) -> String {
        let (evaluation, call) = self.evaluate(arguments, now);
        let Verdict::Allow { spends, .. } = &evaluation.verdict else { return codes(&evaluation).join(" ") };
        let spending = Spending::of(&grant(), &call, &[grant().agent], now);
        let tenant = snapshot(&self.world).facts().clone();
        assert!(evaluation.claims.hold(&spending, tenant.tallies(), &tenant.flow(&grant().workflow)));
        let at = self.position;
        self.position += 2;
        self.world = self.world.spend(at, spends).unwrap();
        self.world = self
            .world
            .permitted(at, &grant().workflow, &call.labels, &call.entry, &call.action, call.amount().unwrap())
            .and_then(|world| world.counted(at, spending, spends.clone(), evaluation.claims.keep))
            .unwrap();
        if !open {
            self.world = self.world.ended(at + 1, &acme(), at, false);
        }
        String::new()
    }
    fn refunds(&mut self, times: usize, now: Timestamp) -> Vec<String> {
        (0..times).map(|_| self.refund(REFUND, now, false)).collect()
    }
}

#[test]
fn rac_1_a_budget_is_kept_that_no_policy_reads() {
    for (budgets, permits) in [
        ("[budgets]\nissue_refund = { amount = \"100\" }", 2),
        ("[budgets]\nissue_refund = { amount = \"120\" }", 3),
        ("[budgets]\nissue_refund = { count = 1 }", 1),
        ("[budgets]\nissue_refund = { amount = \"1000\", count = 3 }", 3),
        ("[budgets.issue_refund]\nhuman_day = { amount = \"100\" }", 2),
        ("[budgets.issue_refund]\nagent_day = { count = 3 }", 3),
        ("[budgets.issue_refund]\ntool_day = { amount = \"40\" }", 1),
        ("[budgets.issue_refund]\ntenant_day = { amount = \"79.99\" }", 1),
    ] {
        let release = build(&bounded(budgets, ""));
        let got = Run::new(&release).refunds(5, now());
        assert_eq!(got.iter().filter(|code| code.is_empty()).count(), permits, "{budgets}: {got:?}");
        assert!(got.iter().skip(permits).all(|code| code == "budget_exceeded"), "{budgets}: {got:?}");
    }
    for per in Per::ALL.iter().filter(|per| **per != Per::Workflow) {
        let entry = format!("budget = {{ {} = {{ count = 2 }} }}", per.as_str());
        let release = build(&bounded("", &entry));
        let got = Run::new(&release).refunds(4, now());
        assert_eq!(got, ["", "", "budget_exceeded", "budget_exceeded"], "{entry}");
    }
}

#[test]
fn rac_1_a_day_ends_at_midnight_utc_and_a_workflow_doesnt() {
    let (evening, morning) = (at("2026-03-01T09:30:00Z"), at("2026-03-01T11:00:00Z"));
    let release = build(&bounded("[budgets.issue_refund]\nhuman_day = { count = 1 }\ncount = 2", ""));
    let mut run = Run::new(&release);
    assert_eq!(run.refund(REFUND, evening, false), "");
    assert_eq!(run.refund(REFUND, morning, false), "budget_exceeded", "the same day");
    let spending = |moment: &str| Spending { at: at(moment), ..spending_of(&run, evening) };
    let tallies = snapshot(&run.world).tallies().unwrap();
    let total = |moment: &str| tallies.total(Per::HumanDay, &spending(moment)).count;
    assert_eq!((total("2026-03-01T23:59:59.999Z"), total("2026-03-02T00:00:00Z")), (1, 0));
    // What was decided before midnight may be recorded after what was decided after it.
    let limits = Limits { rate: None, ..Limits::NONE };
    let claims = Claims { limits, keep: Keep::NOTHING, reads: Vec::new() };
    let flow = snapshot(&run.world).flow(&grant().workflow);
    assert!(claims.hold(&spending("2026-02-28T23:59:59Z"), &tallies, &flow), "yesterday is still counted");
    assert!(!claims.hold(&spending("2026-02-27T23:59:59Z"), &tallies, &flow), "and the day before isn't");
}

fn spending_of(run: &Run<'_>, now: Timestamp) -> Spending {
    let (_, call) = run.evaluate(REFUND, now);
    Spending::of(&grant(), &call, &[grant().agent], now)
}

#[test]
fn rac_1_an_agent_below_counts_for_those_above() {
    let release = build(&bounded("[budgets.issue_refund]\nagent_day = { count = 2 }", ""));
    let mut run = Run::new(&release);
    let mut spending = spending_of(&run, now());
    // Two of another agent, to whom agent-7 had delegated.
    spending.above = vec![spending.agent.clone()];
    spending.agent = AgentId::new("agent-9").unwrap();
    for _ in 0..2 {
        run.world = run.world.counted(run.position, spending.clone(), Vec::new(), Keep::NOTHING).unwrap();
        run.position += 1;
    }
    assert_eq!(run.refund(REFUND, now(), false), "budget_exceeded");
}

#[test]
fn a_rate_admits_so_many_in_any_window() {
    let release = build(&bounded("", "rate = \"3/10s\""));
    let mut run = Run::new(&release);
    let at = |millis: u64| now().plus_millis(millis);
    let got: Vec<String> = [0, 4_000, 8_000, 9_999, 10_000, 10_001, 13_999, 14_000]
        .into_iter()
        .map(|millis| run.refund(REFUND, at(millis), false))
        .collect();
    assert_eq!(got, ["", "", "", "rate_limited", "", "rate_limited", "rate_limited", ""]);
    let (evaluation, _) = run.evaluate(REFUND, at(14_000));
    let Verdict::Deny { reasons, .. } = evaluation.verdict else { panic!("permitted") };
    assert_eq!(reasons.first().public, "this tool takes 3/10s of one agent; try again in 4 s");
}

#[test]
fn as_many_as_may_be_at_once() {
    let release = build(&bounded("", "concurrency = 2"));
    let mut run = Run::new(&release);
    let first = run.position;
    assert_eq!(run.refund(REFUND, now(), true), "");
    assert_eq!(run.refund(REFUND, now(), true), "");
    assert_eq!(run.refund(REFUND, now(), true), "concurrency_limit");
    run.world = run.world.ended(run.position, &acme(), first, false);
    run.position += 1;
    assert_eq!(run.refund(REFUND, now(), true), "", "one has ended");
    assert_eq!(run.refund(REFUND, now(), true), "concurrency_limit");
}

#[test]
fn the_same_call_again_is_a_repetition_for_a_while() {
    let release = build(&bounded("", "duplicates = \"30s\""));
    let mut run = Run::new(&release);
    let at = |millis: u64| now().plus_millis(millis);
    assert_eq!(run.refund(REFUND, at(0), false), "");
    // The same, however it is spelt; another amount is another call.
    assert_eq!(
        run.refund(r#"{"amount":40.00,"case_id":"CASE-1837"}"#, at(29_999), false),
        "duplicate_effect"
    );
    assert_eq!(run.refund(r#"{"case_id":"CASE-1837","amount":41}"#, at(29_999), false), "");
    assert_eq!(run.refund(REFUND, at(30_000), false), "");
    // A call that never left may be asked again.
    let position = run.position;
    let other = r#"{"case_id":"CASE-1837","amount":42}"#;
    assert_eq!(run.refund(other, at(30_000), true), "");
    assert_eq!(run.refund(other, at(30_001), false), "duplicate_effect");
    run.world = run.world.ended(run.position, &acme(), position, true);
    run.position += 1;
    assert_eq!(run.refund(other, at(30_001), false), "");

    // By the release, for all tools that don't say otherwise.
    let mut tree = bounded("", "");
    change(
        &mut tree,
        "release.toml",
        "name = \"demo\"",
        "name = \"demo\"\n\n[limits]\nduplicates = \"30s\"\n",
    );
    let got = Run::new(&build(&tree)).refunds(2, now());
    assert_eq!(got, ["", "duplicate_effect"]);
    for entry in ["idempotent = true", "duplicates = \"0s\""] {
        let mut tree = bounded("", entry);
        change(
            &mut tree,
            "release.toml",
            "name = \"demo\"",
            "name = \"demo\"\n\n[limits]\nduplicates = \"30s\"\n",
        );
        assert_eq!(Run::new(&build(&tree)).refunds(2, now()), ["", ""], "{entry}");
    }
}

#[test]
fn what_never_left_gives_back_all_that_it_took() {
    let budgets = "[budgets.issue_refund]\namount = \"100\"\nhuman_day = { count = 2 }";
    let release = build(&bounded(budgets, ""));
    let mut run = Run::new(&release);
    let first = run.position;
    assert_eq!(run.refund(r#"{"case_id":"CASE-1837","amount":90}"#, now(), true), "");
    assert_eq!(run.refund(REFUND, now(), false), "budget_exceeded");
    run.world = run.world.ended(run.position, &acme(), first, true);
    run.position += 1;
    assert_eq!(run.refunds(3, now()), ["", "", "budget_exceeded budget_exceeded"], "amount and count");
}

#[test]
fn rac_2_an_approval_lifts_a_budget_once() {
    let budgets = "[budgets]\nissue_refund = { amount = \"100\", approval = \"manager_approval\" }";
    let release = build(&bounded(budgets, ""));
    let mut run = Run::new(&release);
    assert_eq!(run.refunds(3, now()), ["", "", "budget_exceeded"]);
    let (evaluation, call) = run.evaluate(REFUND, now());
    let Verdict::Deny { remedy: Some(remedy), .. } = evaluation.verdict else { panic!("no remedy") };
    assert_eq!((remedy.approval.as_str(), remedy.role.as_str()), ("manager_approval", "support_manager"));
    assert_eq!(remedy.covers, call.approval_digest(&grant().workflow, &grant().delegation));
    let approval = format!(
        r#"{{"approval_given":{{"id":"ap-1","name":"manager_approval","workflow":"wf-9","approver":"omar","role":"support_manager","covers":"{}","ends":"2026-03-01T11:00:00Z"}}}}"#,
        remedy.covers
    );
    run.world = after(&run.world, &approval);
    run.position = run.world.revision().0 + 100;
    let (evaluation, _) = run.evaluate(REFUND, now());
    assert!(matches!(&evaluation.verdict, Verdict::Allow { spends, .. } if spends.len() == 1));
    assert_eq!(run.refunds(2, now()), ["", "budget_exceeded"], "it is spent with the call that it lifted");
}

/// A package that bounds the day itself, in Rego or in Cedar.
const REGO: &str = r#"package ai.support_agent.authz

import rego.v1

allow if {
	input.action == "issue_refund"
	input.totals.human_day.issue_refund.amount + input.amount <= 100
	input.totals.agent_day[input.action].count < 5
}
"#;
const CEDAR: &str = r#"@id("day")
permit (principal, action == Action::"issue_refund", resource)
when {
    context has totals && context.totals has human_day && context.totals.human_day has issue_refund &&
    context.totals.human_day.issue_refund.amount.lessThan(decimal("80.0")) &&
    context.totals.human_day.issue_refund.count < 5
};
"#;

fn of_its_own(manifest: &str, path: &str, policy: &str) -> Release {
    let demo = tree("demo");
    let mut tree = files(&[("release.toml", manifest), (path, policy)]);
    for path in [TYPE, BILLING, "relations.toml"] {
        tree.insert(path.to_owned(), demo[path].clone());
    }
    build(&tree)
}

#[test]
fn policies_read_the_totals_of_the_day() {
    let rego = of_its_own(
        "name = \"a\"\n[rego]\nversion = \"v1\"\nentrypoints = [\"ai.support_agent.authz\"]\n",
        "policies/a.rego",
        REGO,
    );
    let cedar = of_its_own("name = \"a\"\n[cedar]\n", "policies/a.cedar", CEDAR);
    for release in [&rego, &cedar] {
        let mut run = Run::new(release);
        let got = run.refunds(4, now());
        assert_eq!(got.iter().filter(|code| code.is_empty()).count(), 2, "{got:?}");
        let (evaluation, call) = run.evaluate(REFUND, now());
        let input = evaluation.input.unwrap().to_value();
        let day = input.pointer("/totals/human_day/issue_refund").unwrap();
        assert_eq!(day.to_string(), r#"{"amount":80,"count":2}"#);
        assert!(input.pointer("/totals/tenant_day").is_none(), "nobody reads it, so no record holds it");
        // What was read must still hold when the entry is written.
        let spending = Spending::of(&grant(), &call, &[grant().agent], now());
        let facts = snapshot(&run.world);
        let flow = facts.flow(&grant().workflow);
        assert!(evaluation.claims.hold(&spending, &facts.tallies().unwrap(), &flow));
        let moved = run.world.counted(run.position, spending.clone(), Vec::new(), Keep::NOTHING).unwrap();
        assert!(!evaluation.claims.hold(&spending, &snapshot(&moved).tallies().unwrap(), &flow));
    }
    // A release that reads none of it is asked on the input that it was always asked on.
    let demo = build(&tree("demo"));
    let (evaluation, _) = Run::new(&demo).evaluate(REFUND, now());
    assert!(evaluation.input.unwrap().to_value().get("totals").is_none());
    assert_eq!(evaluation.claims, Claims::NONE);
}

#[test]
fn facts_that_count_nothing_are_within_no_limit() {
    let release = build(&bounded("[budgets]\nissue_refund = { count = 100 }", ""));
    let run = Run::new(&release);
    let facts = snapshot(&run.world).uncounted();
    let envelope = open(grant());
    let call = classify(&release, &envelope, &facts, "billing.refund", REFUND).unwrap();
    assert_eq!(codes(&release.evaluate(&envelope, &call, &facts, now()).unwrap()), ["facts_stale"]);
}

#[test]
fn a_limit_that_bounds_nothing_is_an_error_with_its_line() {
    let said = |tree: &Tree| -> Vec<String> {
        check(tree)
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
            .map(ToString::to_string)
            .collect()
    };
    let kind = String::from_utf8(tree("demo")[TYPE].clone()).unwrap();
    let line = kind.lines().count() + 3;
    for (budgets, line, text) in [
        ("[budgets]\nisue_refund = { count = 1 }", line, "no tool has the action `isue_refund`"),
        ("[budgets]\nissue_refund = { cuont = 1 }", line, "unknown field `cuont`"),
        (
            "[budgets]\nissue_refund = { count = 1, human_week = { count = 1 } }",
            line,
            "unknown field `human_week`",
        ),
        ("[budgets]\nissue_refund = { amount = 100 }", line, "invalid type: integer `100`"),
        ("[budgets]\nissue_refund = { amount = \"-1\" }", 0, "is below zero"),
        ("[budgets]\nissue_refund = {}", 0, "bounds neither `count` nor `amount`"),
        ("[budgets]\nissue_refund = { tool_day = {} }", 0, "bounds neither `count` nor `amount`"),
        ("[budgets]\nissue_refund = { count = 1, approval = \"boss\" }", line, "no approval `boss`"),
        (
            "[budgets]\nsummarize_case = { amount = \"1\" }",
            line,
            "can't be bounded with the tool `crm.get_case`",
        ),
    ] {
        let findings = said(&bounded(budgets, ""));
        let found = findings.iter().find(|finding| finding.contains(text));
        let found = found.unwrap_or_else(|| panic!("{budgets}: {findings:?}"));
        let place = if line == 0 { TYPE.to_owned() } else { format!("{TYPE}:{line}:") };
        assert!(found.starts_with(&place), "{found} isn't at {place}");
    }
    for (entry, text) in [
        ("rate = \"10\"", "no rate"),
        ("rate = 10", "not a string"),
        ("concurrency = 0", "from 1"),
        ("duplicates = \"2h\"", "no window"),
        ("duplicates = \"2s\"\nidempotent = true", "keep one of them"),
        ("budget = { tool_day = { count = 1, sum = 3 } }", "unknown key `sum`"),
        ("budget = { year = { count = 1 } }", "unknown key `year`"),
        ("budget = { tool_day = {} }", "`count`, `amount` or both"),
    ] {
        let findings = said(&bounded("", entry));
        assert!(findings.iter().any(|finding| finding.contains(text)), "{entry}: {findings:?}");
        assert!(findings.iter().any(|finding| finding.starts_with("catalog/billing.toml:")), "{findings:?}");
    }
    let optional = ("max = \"10000\"", "max = \"10000\", required = false");
    let negative = ("min = \"0.01\"", "min = \"-5\"");
    for ((from, to), text) in [(optional, "may be missing"), (negative, "may be below zero")] {
        for (budgets, entry) in [
            ("[budgets]\nissue_refund = { amount = \"100\" }", ""),
            ("", "budget = { tool_day = { amount = \"100\" } }"),
        ] {
            let mut tree = bounded(budgets, entry);
            change(&mut tree, BILLING, from, to);
            let findings = said(&tree);
            assert!(findings.iter().any(|finding| finding.contains(text)), "{to}: {findings:?}");
        }
    }
}

#[test]
fn cases_begin_in_the_middle_of_a_day_and_carry_what_they_spend() {
    const CASES: &str = r#"
- name: over the person's day
  at: 2026-03-01T09:30:00Z
  facts: facts/demo.json
  envelope: { human: maya, agent: agent-7, delegation: dg-1, workflow: wf-9, intent: support_case_resolution }
  call: { tool: billing.refund, args: { case_id: CASE-1837, amount: 40 } }
  totals: { human_day: { issue_refund: { count: 3, amount: "160.01" } } }
  expect: deny
  because: [budget_exceeded]
- name: just within it
  at: 2026-03-01T09:30:00Z
  facts: facts/demo.json
  envelope: { human: maya, agent: agent-7, delegation: dg-1, workflow: wf-9, intent: support_case_resolution }
  call: { tool: billing.refund, args: { case_id: CASE-1837, amount: 40 } }
  totals: { human_day: { issue_refund: { count: 3, amount: 160 } } }
  expect: permit
- name: a workflow's own budget, and a repetition
  at: 2026-03-01T09:30:00Z
  facts: facts/demo.json
  workflow: { human: maya, agent: agent-7, delegation: dg-1, workflow: wf-9, intent: support_case_resolution }
  totals: { workflow: { issue_refund: { count: 1, amount: 20 } } }
  path:
    - { tool: billing.refund, args: { case_id: CASE-1837, amount: 40 }, expect: permit }
    - { tool: billing.refund, args: { case_id: CASE-1837, amount: 40 }, expect: deny, because: [duplicate_effect] }
    - { tool: billing.refund, args: { case_id: CASE-1837, amount: 41 }, expect: deny, because: [budget_exceeded] }
    - { tool: billing.refund, args: { case_id: CASE-1837, amount: 39 }, expect: permit }
"#;
    let budgets = "[budgets.issue_refund]\namount = \"100\"\nhuman_day = { amount = \"200\" }";
    let mut tree = bounded(budgets, "duplicates = \"10s\"");
    tree.retain(|path, _| !(path.starts_with("tests/") && path.contains(".yaml")));
    tree.insert("tests/limits.yaml".to_owned(), CASES.as_bytes().to_vec());
    let report = build(&tree).test(&load);
    let cases: Vec<_> = report.results.iter().filter(|result| result.file == "tests/limits.yaml").collect();
    assert_eq!(cases.len(), 3, "{:?}", report.results);
    assert!(cases.iter().all(|case| case.passed), "{cases:?}");
    let stray = CASES
        .replace("human_day: { issue_refund: { count: 3, amount: 160 }", "human_week: { a: { count: 3 }");
    tree.insert("tests/limits.yaml".to_owned(), stray.into_bytes());
    assert!(check(&tree).iter().any(|finding| finding.message.contains("human_week")));
}
