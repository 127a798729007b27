//! Transitions that come on an action.

use placet_core::{Call, HumanId, StateMove, Verdict, WorkflowId};
use placet_policy::{Release, Severity, Tree, Unmoved, check};

use crate::common::{
    SMALL, acme, build, change, classify, codes, decide, grant, load, name, now, open, snapshot, tree, world,
};
use placet_core::{Engine as _, FactsView as _};

const TYPE: &str = "workflow_types/support_case.toml";

const STATES: &str = r#"
[state.open]
[state.refunded]
[state.review]
[state.settled]
closes = true

[[transition]]
from = ["open", "review"]
to = "refunded"
on = "issue_refund"

[[transition]]
from = "refunded"
to = "settled"
on = ["issue_refund", "summarize_case"]

[[transition]]
from = "open"
to = "review"
roles = ["support"]
"#;

fn staged(states: &str) -> Tree {
    let mut tree = tree("demo");
    let kind = String::from_utf8(tree[TYPE].clone()).unwrap();
    let (plain, approvals) = kind.split_once("[approval.").unwrap();
    let text = format!("{plain}initial = \"open\"\n\n[approval.{approvals}{states}");
    tree.insert(TYPE.to_owned(), text.into_bytes());
    tree
}

fn way(from: &str, to: &str, initial: bool, closes: bool) -> StateMove {
    StateMove { from: name(from), to: name(to), initial, closes }
}

#[test]
fn a_call_says_which_ways_its_effect_opens_and_one_that_does_not_is_refused() {
    let release = build(&staged(STATES));
    let (world, envelope) = (world(), open(grant()));
    let call = classify(&release, &envelope, &snapshot(&world), SMALL.0, SMALL.1).unwrap();
    let expected = [
        way("open", "refunded", true, false),
        way("review", "refunded", false, false),
        way("refunded", "settled", false, true),
    ];
    assert_eq!(call.moves, expected);
    assert!(codes(&decide(&release, &envelope, &snapshot(&world), SMALL)).is_empty());
    let silent = Call { moves: Vec::new(), ..call };
    let verdict = release.evaluate(&envelope, &silent, &snapshot(&world), now()).unwrap().verdict;
    let Verdict::Deny { reasons, .. } = verdict else { panic!("a call that forgets its moves is permitted") };
    assert_eq!(reasons.first().code, "release_changed");
    // A type without states, and an action of no transition.
    let plain = build(&tree("demo"));
    assert!(classify(&plain, &envelope, &snapshot(&world), SMALL.0, SMALL.1).unwrap().moves.is_empty());
    assert!(release.moves_on(envelope.workflow(), &name("post_message"), &snapshot(&world)).is_empty());
    let nowhere = WorkflowId::new(acme(), name("wf-none"));
    assert!(release.moves_on(&nowhere, &name("issue_refund"), &snapshot(&world)).is_empty());
}

#[test]
fn nobody_takes_a_way_that_comes_on_an_action() {
    let release = build(&staged(STATES));
    let world = world();
    let facts = snapshot(&world);
    let workflow = facts.workflow(&grant().workflow).unwrap().clone();
    for by in [None, Some(HumanId::new("maya").unwrap())] {
        match release.moves(&workflow, &name("refunded"), by.as_ref(), &facts, now()) {
            Err(Unmoved::Forbidden(_, remedy)) => assert!(remedy.contains("issue_refund"), "{remedy}"),
            other => panic!("{by:?}: {other:?}"),
        }
    }
}

#[test]
fn what_cannot_be_meant_is_refused_at_load() {
    let told = |states: &str| match Release::build(&staged(states)) {
        Ok(_) => String::new(),
        Err(refused) => refused.to_string(),
    };
    assert_eq!(told(STATES), "");
    let both = STATES.replace("on = \"issue_refund\"", "on = \"issue_refund\"\nroles = [\"support\"]");
    assert!(told(&both).contains("names an action and people"), "{}", told(&both));
    let none = STATES.replace("on = \"issue_refund\"", "on = []");
    assert!(told(&none).contains("name at least one action"), "{}", told(&none));
    let typo = STATES.replace("on = \"issue_refund\"", "on = \"issue_refnud\"");
    let typo = told(&typo);
    assert!(
        typo.contains("no tool has the action `issue_refnud`") && typo.contains("issue_refund"),
        "{typo}"
    );
    let twice = STATES.replace("from = \"refunded\"", "from = [\"refunded\", \"open\"]");
    let twice = told(&twice);
    assert!(twice.contains("leads from `open` to `refunded` and to `settled`"), "{twice}");
    // Reachable, and with a way out.
    let warned: Vec<_> =
        check(&staged(STATES)).into_iter().filter(|finding| finding.severity == Severity::Warning).collect();
    assert!(!warned.iter().any(|finding| finding.file == TYPE), "{warned:?}");
}

#[test]
fn a_path_of_a_test_moves_as_the_journal_would() {
    let mut tree = staged(STATES);
    change(
        &mut tree,
        "policies/support.rego",
        "workflow_active {\ntime",
        "workflow_active {\ninput.workflow.state == \"open\"\ntime",
    );
    tree.retain(|path, _| !path.starts_with("tests/") || path.contains("/facts/"));
    let step = |amount: u32, expect: &str, because: &str| {
        format!(
            "    - {{ tool: billing.refund, args: {{ case_id: CASE-1837, amount: {amount} }}, expect: {expect}, because: [{because}] }}\n"
        )
    };
    let case = format!(
        "- name: once\n  at: 2026-03-01T09:30:00Z\n  facts: facts/demo.json\n  workflow: {{ human: maya, agent: agent-7, delegation: dg-1, workflow: wf-9, intent: support_case_resolution }}\n  path:\n{}{}",
        step(40, "permit", ""),
        step(41, "deny", ""),
    );
    tree.insert("tests/on.yaml".to_owned(), case.into_bytes());
    let report = build(&tree).test(&load);
    assert!(report.passed(), "{report:?}");
}
