//! Whatever is shown as a change that would permit does permit, for policies and inputs that nobody chose.

use std::{fmt::Write as _, sync::Arc};

use placet_core::FactsView;
use placet_json::{Object, Value};
use placet_policy::{Explanation, FactEdit, Release, Tree};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};

use crate::common::{build, built, files, json, load, now, tree};

/// Applies a JSON Patch (RFC 6902) of `add`, `replace` and `remove` literally: what isn't there can't be replaced.
fn patched(mut document: Value, patch: &Value) -> Value {
    for operation in patch.as_array().unwrap() {
        let text = |name: &str| operation.get(name).and_then(Value::as_str).unwrap();
        let pointer = text("path").to_owned();
        let (parent, last) = pointer.rsplit_once('/').unwrap();
        let mut at = &mut document;
        for step in parent.split('/').skip(1) {
            at = match at {
                Value::Array(items) => &mut items[step.parse::<usize>().unwrap()],
                other @ (Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Object(_)) => other.get_mut(step).unwrap(),
            };
        }
        let value = operation.get("value").cloned();
        match (at, text("op")) {
            (Value::Object(object), "add") => drop(object.insert(last, value.unwrap())),
            (Value::Object(object), "replace") => assert!(object.insert(last, value.unwrap()).is_some()),
            (Value::Object(object), "remove") => assert!(object.remove(last).is_some()),
            (Value::Array(items), "add") if last == "-" => items.push(value.unwrap()),
            (Value::Array(items), "replace") => items[last.parse::<usize>().unwrap()] = value.unwrap(),
            (Value::Array(items), "remove") => drop(items.remove(last.parse().unwrap())),
            (_, other) => panic!("{other} at {pointer}"),
        }
    }
    document
}

/// Each change applied by whoever reads the JSON, and decided again.
fn all_permit(release: &Release, document: &Value, explanation: &Explanation) -> Result<usize, String> {
    let told = explanation.to_value();
    let changes = told.get("changes").and_then(Value::as_array).unwrap();
    for change in changes {
        let edits = change.get("edits").and_then(Value::as_array).unwrap();
        let next = edits.iter().fold(document.clone(), |document, edit| match edit.get("patch") {
            Some(patch) => patched(document, patch),
            None => document,
        });
        let decided = release.decide_document(&next, None, Some(now()));
        if !decided.permits() {
            return Err(format!("{change}\n{next}\n{:?}", decided.denied));
        }
    }
    Ok(changes.len())
}

fn document(amount: &str, more: &str) -> Value {
    json(&format!(
        r#"{{"action":"issue_refund","intent":"support_case_resolution","amount":{amount},"args":{{"amount":{amount}}},
            "agent":{{"id":"agent-7","type":"support_agent"}},
            "delegating_user":{{"id":"maya","status":"active","tenant_id":"acme","roles":["support"]}},
            "workflow":{{"id":"wf-9","type":"support_case","state":"open","tenant_id":"acme","case_id":"CASE-1837","expires_at":"2026-03-01T12:00:00Z"{more}}},
            "resource":{{"type":"support_case","id":"CASE-1837","tenant_id":"acme","case_id":"CASE-1837"}}}}"#
    ))
}

fn told(explanation: &Explanation) -> Vec<Vec<String>> {
    explanation
        .changes
        .iter()
        .map(|change| change.edits.iter().map(placet_policy::Edit::told).collect())
        .collect()
}

#[test]
fn a_large_refund_wants_a_smaller_amount_or_a_managers_yes_by_either_engine() {
    for name in ["support", "support-cedar"] {
        let release = built(name);
        let document = document("250", "");
        let explanation = release.explain(&document, None, Some(now()), None);
        assert!(
            all_permit(&release, &document, &explanation).unwrap() >= 2,
            "{name}: {:?}",
            told(&explanation)
        );
        let told = told(&explanation);
        assert!(told.contains(&vec!["set `input.amount` to 100 (it is 250)".to_owned()]), "{name}: {told:?}");
        let approval = "give the approval `manager_approval` by somebody with the role `support_manager`";
        assert!(
            told.iter().any(|edits| edits.len() == 1 && edits[0].starts_with(approval)),
            "{name}: {told:?}"
        );
        assert!(explanation.agent().contains("manager_approval"), "{}", explanation.agent());
        assert!(!explanation.agent().contains("support.rego"), "{}", explanation.agent());
        // The argument and the attribute that the catalog takes from it stay the same.
        let value = explanation.to_value();
        assert!(value.to_string().contains("/args/amount"), "{value}");
    }
}

#[test]
fn a_permit_shows_the_rule_whose_conditions_hold() {
    let release = built("support");
    let explanation = release.explain(&document("80", ""), None, Some(now()), None);
    assert!(explanation.changes.is_empty());
    let value = explanation.to_value();
    let rule = value.pointer("/rules/0").unwrap();
    assert_eq!(rule.get("outcome").and_then(Value::as_str), Some("permits"));
    let conditions = rule.get("conditions").and_then(Value::as_array).unwrap();
    assert!(conditions.iter().all(|condition| condition.get("holds") == Some(&Value::Bool(true))));
    let amount = conditions
        .iter()
        .find(|c| c.get("text").and_then(Value::as_str) == Some("input.amount <= 100"))
        .unwrap();
    assert_eq!(amount.pointer("/seen/input.amount").and_then(Value::as_i64), Some(80));
    // A rule that is named is followed.
    let named =
        conditions.iter().find(|c| c.get("text").and_then(Value::as_str) == Some("same_tenant")).unwrap();
    assert_eq!(named.get("conditions").and_then(Value::as_array).map(<[_]>::len), Some(2));
}

#[test]
fn an_expired_workflow_an_inactive_person_and_a_foreign_tenant_are_each_put_right() {
    for name in ["support", "support-cedar"] {
        let release = built(name);
        for (from, to, kind) in [
            ("2026-03-01T12:00:00Z", "2026-03-01T09:00:00Z", "workflow_extended"),
            (r#""status":"active""#, r#""status":"suspended""#, "attribute"),
            (
                r#""status":"active","tenant_id":"acme""#,
                r#""status":"active","tenant_id":"globex""#,
                "attribute",
            ),
        ] {
            let text = document("80", "").to_string();
            assert!(text.contains(from), "{text}");
            let document = json(&text.replace(from, to));
            let explanation = release.explain(&document, None, Some(now()), None);
            assert!(all_permit(&release, &document, &explanation).unwrap() > 0, "{name} {to}");
            assert_eq!(explanation.changes[0].edits[0].kind(), kind, "{name}: {:?}", told(&explanation));
        }
    }
}

#[test]
fn what_no_rule_is_for_has_no_change_and_says_so() {
    let release = built("support");
    let text = document("80", "").to_string().replace("issue_refund", "delete_case");
    let explanation = release.explain(&json(&text), None, Some(now()), None);
    assert!(explanation.changes.is_empty() && explanation.complete && !explanation.decision.permits());
}

const RELATIONS: &str = "[support_case.relations]\nassignee = [\"user\"]\nviewer = \"assignee\"\n";

#[test]
fn a_missing_relationship_is_a_tuple_that_is_added() {
    let policy = "package p\nallow if {\n input.action == \"read\"\n placet.check(sprintf(\"user:%s\", [input.delegating_user.id]), \"assignee\", sprintf(\"support_case:%s\", [input.resource.id]))\n}\n";
    let model = tree("demo").remove("relations.toml").unwrap();
    let mut release = files(&[
        ("release.toml", "name = \"t\"\n[rego]\nversion = \"v1\"\nentrypoints = [\"p\"]\n"),
        ("policies/p.rego", policy),
    ]);
    let with_model = |text: &[u8], release: &mut Tree| {
        release.insert("relations.toml".to_owned(), text.to_vec());
        Release::build(release)
    };
    let release = with_model(RELATIONS.as_bytes(), &mut release)
        .or_else(|_| with_model(&model, &mut release))
        .unwrap_or_else(|refused| panic!("{refused}"));
    let facts = r#"{"tenant":"acme","tenants":["acme"],"humans":[{"id":"maya","standing":"active","home":"acme"}],
        "resources":[{"type":"support_case","id":"CASE-1837","attributes":{}}],"tuples":[TUPLES]}"#;
    let with = |tuples: &[String]| -> Arc<dyn FactsView> {
        let tuples: Vec<String> = tuples.iter().map(|tuple| format!("\"{tuple}\"")).collect();
        load(&json(&facts.replace("TUPLES", &tuples.join(",")))).unwrap()
    };
    let alter = |edits: &[FactEdit]| -> Result<Arc<dyn FactsView>, String> {
        let added = edits.iter().map(|edit| match edit {
            FactEdit::TupleAdded(tuple) => Ok(tuple.clone()),
            FactEdit::TupleRemoved(tuple) => Err(format!("there is no `{tuple}`")),
        });
        Ok(with(&added.collect::<Result<Vec<_>, _>>()?))
    };
    let document = json(&document("1", "").to_string().replace("issue_refund", "read"));
    let before = with(&[]);
    let explanation = release.explain(&document, Some(&*before), Some(now()), Some(&alter));
    let told = told(&explanation);
    assert_eq!(
        told,
        [["add the tuple `support_case:CASE-1837#assignee@user:maya`"]],
        "{:?}",
        explanation.operator()
    );
    let related = with(&["support_case:CASE-1837#assignee@user:maya".to_owned()]);
    assert!(release.decide_document(&document, Some(&*related), Some(now())).permits());
    // Without a way to change facts none is shown.
    assert!(release.explain(&document, Some(&*before), Some(now()), None).changes.is_empty());
}

fn pick<T: Clone + std::fmt::Debug + 'static>(of: &[T]) -> impl Strategy<Value = T> + use<T> {
    prop::sample::select(of.to_vec())
}

/// A condition of Rego.
fn rego_condition() -> impl Strategy<Value = String> {
    prop_oneof![
        (pick(&["<=", "<", ">=", ">", "=="]), 0..500_u32)
            .prop_map(|(op, n)| format!("input.amount {op} {n}")),
        (0..300_u32).prop_map(|n| format!("cheap(input.amount, {n})")),
        pick(&["alpha", "beta", "support_case_resolution"]).prop_map(|w| format!("input.intent == \"{w}\"")),
        pick(&["manager", "lead", "support"]).prop_map(|w| format!("\"{w}\" in input.delegating_user.roles")),
        pick(&["manager", "support"]).prop_map(|w| format!("not \"{w}\" in input.delegating_user.roles")),
        pick(&["active", "trusted"]).prop_map(|w| format!("input.delegating_user.status == \"{w}\"")),
        pick(&["coding_agent", "support_agent"]).prop_map(|w| format!("input.agent.type == \"{w}\"")),
        pick(&["coding_agent", "support_agent"]).prop_map(|w| format!("input.agent.type != \"{w}\"")),
        Just("time.parse_rfc3339_ns(input.workflow.expires_at) > time.now_ns()".to_owned()),
        Just("input.resource.case_id == input.workflow.case_id".to_owned()),
        Just("input.workflow.manager_approval.status == \"approved\"".to_owned()),
        pick(&["support_manager", "cfo"])
            .prop_map(|w| format!("input.workflow.manager_approval.approver_role == \"{w}\"")),
        Just("startswith(input.workflow.case_id, \"CASE-\")".to_owned()),
        Just("chosen".to_owned()),
        Just("either".to_owned()),
    ]
}

const HELPERS: &str = "
chosen if {
  input.delegating_user.status == \"active\"
  input.workflow.state == \"open\"
}
either if input.intent == \"gamma\"
either if input.amount < limit
limit := 42
cheap(amount, n) if amount <= n
";

fn rego_policy() -> impl Strategy<Value = String> {
    let rules = prop::collection::vec(prop::collection::vec(rego_condition(), 1..5), 1..4);
    let denies = prop::collection::vec(prop::collection::vec(rego_condition(), 1..3), 0..3);
    (rules, denies).prop_map(|(rules, denies)| {
        let mut text = format!("package p\n{HELPERS}");
        for rule in rules {
            let _infallible = write!(
                text,
                "allow if {{\n  input.action == \"issue_refund\"\n  {}\n}}\n",
                rule.join("\n  ")
            );
        }
        for (number, deny) in denies.iter().enumerate() {
            let _infallible =
                write!(text, "deny contains \"no {number}\" if {{\n  {}\n}}\n", deny.join("\n  "));
        }
        text
    })
}

fn cedar_condition() -> impl Strategy<Value = String> {
    prop_oneof![
        (pick(&["lessThanOrEqual", "lessThan", "greaterThan", "greaterThanOrEqual"]), 0..500_u32)
            .prop_map(|(op, n)| format!("context has amount && context.amount.{op}(decimal(\"{n}.0\"))")),
        pick(&["alpha", "support_case_resolution"]).prop_map(|w| format!("context.intent == \"{w}\"")),
        pick(&["manager", "support"]).prop_map(|w| format!("context.delegating_user.roles.contains(\"{w}\")")),
        pick(&["manager", "support"]).prop_map(|w| format!("!context.delegating_user.roles.contains(\"{w}\")")),
        pick(&["active", "trusted"]).prop_map(|w| format!("context.delegating_user.status == \"{w}\"")),
        pick(&["coding_agent", "support_agent"]).prop_map(|w| format!("principal.type == \"{w}\"")),
        Just("context.now < context.workflow.expires_at".to_owned()),
        Just("context.workflow has manager_approval && context.workflow.manager_approval.status == \"approved\"".to_owned()),
        pick(&["open", "closed"]).prop_map(|w| format!("(context.workflow.state == \"{w}\" || context.intent == \"delta\")")),
    ]
}

fn cedar_policy() -> impl Strategy<Value = String> {
    let rules = prop::collection::vec(prop::collection::vec(cedar_condition(), 1..5), 1..4);
    let denies = prop::collection::vec(prop::collection::vec(cedar_condition(), 1..3), 0..3);
    (rules, denies).prop_map(|(rules, denies)| {
        let mut text = String::new();
        for (effect, all) in [("permit", rules), ("forbid", denies)] {
            for (number, conditions) in all.iter().enumerate() {
                let _infallible = write!(
                    text,
                    "@id(\"{effect}-{number}\")\n{effect}(principal, action == Action::\"issue_refund\", resource) when {{ {} }};\n",
                    conditions.join(" && ")
                );
            }
        }
        text
    })
}

fn input() -> impl Strategy<Value = Value> {
    (
        prop::option::of(0..600_u32),
        pick(&["support_case_resolution", "alpha", "other"]),
        pick(&["support", "manager", "none"]),
        (pick(&["active", "suspended"]), pick(&["support_agent", "coding_agent"]), pick(&["open", "closed"])),
        pick(&["2026-03-01T09:00:00Z", "2026-03-01T12:00:00Z"]),
    )
        .prop_map(|(amount, intent, role, (status, agent, state), ends)| {
            let mut value = document("1", "");
            let set = |value: &mut Value, pointer: &[&str], to: &str| {
                let (last, parents) = pointer.split_last().unwrap();
                let at = parents.iter().fold(value, |value, step| value.get_mut(step).unwrap());
                at.as_object_mut().unwrap().insert(*last, to);
            };
            let object: &mut Object = value.as_object_mut().unwrap();
            object.remove("args");
            object.remove("amount");
            if let Some(amount) = amount {
                object.insert("amount", i64::from(amount));
            }
            set(&mut value, &["intent"], intent);
            set(&mut value, &["delegating_user", "status"], status);
            set(&mut value, &["agent", "type"], agent);
            set(&mut value, &["workflow", "state"], state);
            set(&mut value, &["workflow", "expires_at"], ends);
            let user = value.get_mut("delegating_user").unwrap().as_object_mut().unwrap();
            user.insert("roles", vec![Value::from(role)]);
            value
        })
}

/// Runs `policies` on inputs; every change that is shown permits. The share of denials for which one was found.
fn every_change_permits(base: &str, file: &str, policies: &BoxedStrategy<String>, cases: u32) -> (u32, u32) {
    let mut runner = TestRunner::deterministic();
    let (mut denied, mut found) = (0, 0);
    for _ in 0..cases {
        let policy = policies.new_tree(&mut runner).unwrap().current();
        let mut files = tree(base);
        files.retain(|path, _| {
            !path.starts_with("policies/") && !path.starts_with("tests/") && path != "reasons.toml"
        });
        if base == "support" {
            files.insert(
                "release.toml".to_owned(),
                b"name = \"t\"\n[rego]\nversion = \"v1\"\nentrypoints = [\"p\"]\n".to_vec(),
            );
        }
        files.insert(file.to_owned(), policy.clone().into_bytes());
        let release = build(&files);
        for _ in 0..3 {
            let document = input().new_tree(&mut runner).unwrap().current();
            let explanation = release.explain(&document, None, Some(now()), None);
            let permits = release.decide_document(&document, None, Some(now())).permits();
            assert_eq!(explanation.decision.permits(), permits);
            if permits {
                assert!(explanation.changes.is_empty());
                continue;
            }
            denied += 1;
            let shown = all_permit(&release, &document, &explanation)
                .unwrap_or_else(|wrong| panic!("{policy}\n{document}\n{wrong}"));
            found += u32::from(shown > 0);
        }
    }
    (denied, found)
}

#[test]
fn pol_any_rego_change_that_is_shown_permits() {
    let (denied, found) = every_change_permits("support", "policies/p.rego", &rego_policy().boxed(), 40);
    // Some of these policies contradict themselves, and nothing permits.
    assert!(denied > 40 && found * 100 >= denied * 70, "{found} of {denied}");
}

#[test]
fn pol_any_cedar_change_that_is_shown_permits() {
    let (denied, found) =
        every_change_permits("support-cedar", "policies/p.cedar", &cedar_policy().boxed(), 6);
    assert!(denied > 5 && found * 100 >= denied * 50, "{found} of {denied}");
}
