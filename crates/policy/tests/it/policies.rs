//! Policies that nobody here wrote: renamed, broken, hostile, empty.

use std::time::{Duration, Instant};

use placet_policy::{DecisionDocument, Release, Severity, Tree, check};

use crate::common::{build, built, change, files, json, now, tree};

const HEAD: &str = "name = \"t\"\n[rego]\nversion = \"v1\"\nentrypoints = [\"p\"]\n";

fn rego(policy: &str) -> Tree {
    files(&[("release.toml", HEAD), ("policies/p.rego", policy)])
}

fn document(action: &str, amount: &str) -> placet_json::Value {
    json(&format!(
        r#"{{"action":"{action}","intent":"support_case_resolution","amount":{amount},"agent":{{"id":"agent-7","type":"support_agent"}},
            "delegating_user":{{"id":"maya","status":"active","tenant_id":"acme","roles":["support"]}},
            "workflow":{{"id":"wf-9","type":"support_case","state":"open","tenant_id":"acme","case_id":"CASE-1837","expires_at":"2026-03-01T12:00:00Z"}},
            "resource":{{"type":"support_case","id":"CASE-1837","tenant_id":"acme","case_id":"CASE-1837"}}}}"#
    ))
}

fn decide(release: &Release, action: &str, amount: &str) -> DecisionDocument {
    release.decide_document(&document(action, amount), None, Some(now()))
}

fn codes(document: &DecisionDocument) -> Vec<&str> {
    document.denied.iter().flat_map(placet_core::Reasons::all).map(|reason| reason.code.as_str()).collect()
}

#[test]
fn the_essays_policy_is_kept_byte_for_byte() {
    const ESSAY: &str = "sha256:e861f8c37222aadbe6f1c0d7d171170952096a87b21d922042a42d15c41526eb";
    for name in ["support", "demo"] {
        let text = tree(name).remove("policies/support.rego").unwrap();
        assert_eq!(placet_core::Digest::of(&text).to_string(), ESSAY);
        assert_eq!(text, include_bytes!("../../testdata/essay-policy.rego"));
    }
}

#[test]
fn what_is_rewritten_is_named_and_archived_in_both_forms() {
    let release = built("support");
    assert_eq!(release.rewrites().len(), 3);
    assert!(release.rewrites().iter().all(|r| r.from == "not deny[_]"
        && r.to == "count([1 | deny[_]]) == 0"
        && r.file == "policies/support.rego"));
    assert_eq!(release.rewrites().iter().map(|r| r.line).collect::<Vec<_>>(), [21, 33, 44]);
    assert_eq!(release.report().get("rewrites").and_then(|r| r.as_array()).map(<[_]>::len), Some(3));
    let archive = String::from_utf8_lossy(release.archive()).into_owned();
    assert!(
        archive.contains("rewritten/policies/support.rego")
            && archive.contains("not deny[_]")
            && archive.contains("count([1 | deny[_]]) == 0")
    );
}

#[test]
fn a_renamed_package_another_limit_a_second_deny_and_version_1_decide_the_same_way() {
    let mut renamed = tree("support");
    for (from, to) in
        [("ai.support_agent.authz", "com.example.desk"), ("100", "70.5"), ("deny", "forbidden_things")]
    {
        change(&mut renamed, "policies/support.rego", from, to);
    }
    change(&mut renamed, "policies/support.rego", "forbidden_things[\"", "deny[\"");
    change(&mut renamed, "policies/support.rego", "not forbidden_things[_]", "not deny[_]");
    let text = String::from_utf8(renamed.get("policies/support.rego").unwrap().clone()).unwrap();
    renamed.insert(
        "policies/support.rego".to_owned(),
        format!("{text}\ndeny[message] {{\n  input.amount == 13\n  message := \"unlucky\"\n}}\n")
            .into_bytes(),
    );
    change(&mut renamed, "release.toml", "ai.support_agent.authz", "com.example.desk");
    renamed.remove("reasons.toml");
    renamed.retain(|path, _| !path.starts_with("tests/"));
    let release = build(&renamed);
    assert_eq!(decide(&release, "issue_refund", "70.5").denied, None);
    assert_eq!(codes(&decide(&release, "issue_refund", "70.51")), ["condition_failed"]);
    let unlucky = decide(&release, "issue_refund", "13");
    assert_eq!(codes(&unlucky), ["policy_denies"]);
    let first = unlucky.denied.as_ref().unwrap().first();
    assert_eq!((first.public.as_str(), first.policy.as_str()), ("unlucky", "com.example.desk"));
    assert!(unlucky.determining.first().unwrap().at.starts_with("policies/support.rego:"));
    let permit = decide(&release, "issue_refund", "70");
    assert_eq!(permit.determining.len(), 1);
    assert_eq!(permit.determining.first().unwrap().at, "policies/support.rego:32");

    let v1 = build(&rego(
        "package p\n\ndefault allow := false\n\ndeny contains msg if {\n\tinput.action == \"export\"\n\tmsg := \"no\"\n}\n\nallow if {\n\tnot deny[_]\n\tinput.action == \"issue_refund\"\n\tinput.amount < 100\n}\n",
    ));
    assert_eq!(decide(&v1, "issue_refund", "99.99").denied, None);
    assert_eq!(codes(&decide(&v1, "issue_refund", "100")), ["condition_failed"]);
    assert_eq!(decide(&v1, "issue_refund", "100").denied.unwrap().first().at, "policies/p.rego:13");
    assert_eq!(codes(&decide(&v1, "export", "1")), ["policy_denies"]);
    assert_eq!(codes(&decide(&v1, "other", "1")), ["no_rule_allows"]);
}

#[test]
fn pol_1_a_release_that_says_nothing_permits_nothing() {
    for policy in [
        "package p\n",
        "package p\nallow := \"yes\"\n",
        "package p\nallow := 1\n",
        "package p\nallow := {\"ok\": true}\n",
        "package p\nallow if input.risk.agent == 0\n",
        "package p\nallowed := true\n",
        "package p\nallow contains true\n",
    ] {
        let release = build(&rego(policy));
        let decided = decide(&release, "issue_refund", "1");
        assert!(decided.denied.is_some(), "{policy}");
        assert!(!codes(&decided).is_empty());
    }
    assert_eq!(decide(&build(&rego("package p\nallow := true\n")), "issue_refund", "1").denied, None);
    let findings = check(&rego("package p\n"));
    assert!(
        findings.iter().any(|f| f.severity == Severity::Warning && f.message.contains("permits nothing")),
        "{findings:?}"
    );
    // A typo in an entry point would silence that package's denies: refused, naming what there is.
    let refused = Release::build(&rego("package q\nallow := true\n")).unwrap_err().to_string();
    assert!(
        refused.contains("no module has the package `p`") && refused.contains("name one of these: q"),
        "{refused}"
    );
    let empty = build(&files(&[("release.toml", HEAD)]));
    assert!(empty.findings().iter().any(|f| f.message.contains("permits nothing")));
    assert_eq!(codes(&decide(&empty, "issue_refund", "1")), ["no_rule_allows"]);
    assert!(Release::build(&Tree::new()).is_err());
    let neither = build(&files(&[("release.toml", "name = \"t\"\n")]));
    assert_eq!(codes(&decide(&neither, "issue_refund", "1")), ["no_rule_allows"]);
}

#[test]
fn pol_2_a_deny_that_errs_and_a_forbid_that_errs_deny() {
    let release = build(&rego(
        "package p\nallow := true\ndeny contains \"x\" if time.parse_rfc3339_ns(input.intent) > 0\n",
    ));
    assert_eq!(codes(&decide(&release, "a", "1")), ["engine_fault"]);
    let release = build(&rego("package p\nallow := true\ndeny := \"a text\"\n"));
    assert_eq!(codes(&decide(&release, "a", "1")), ["engine_fault"]);
    let release = build(&rego("package p\nallow := true\nallow := false if input.amount == 7\n"));
    assert_eq!(decide(&release, "a", "1").denied, None);
    assert_eq!(codes(&decide(&release, "a", "7")), ["engine_fault"]);
    let mut cedar = tree("support-cedar");
    let policies = String::from_utf8(cedar.remove("policies/support.cedar").unwrap()).unwrap();
    // An overflow is an error that no validation can rule out.
    let erring = "@id(\"errs\") forbid (principal, action, resource) when { 9223372036854775807 + context.agent.id.like_count > 0 };";
    let broken = [("policies/support.cedar", format!("{policies}\n{erring}\n"))];
    cedar.extend(broken.map(|(path, text)| (path.to_owned(), text.into_bytes())));
    assert!(Release::build(&cedar).is_err(), "strict validation refuses what isn't typed");
    change(
        &mut cedar,
        "policies/support.cedar",
        "9223372036854775807 + context.agent.id.like_count > 0",
        "decimal(context.agent.id).lessThan(decimal(\"1.0\"))",
    );
    match Release::build(&cedar) {
        Err(refused) => assert!(refused.to_string().contains("policies/support.cedar"), "{refused}"),
        Ok(release) => assert_eq!(codes(&decide(&release, "issue_refund", "80")), ["engine_fault"]),
    }
    change(
        &mut cedar,
        "policies/support.cedar",
        "decimal(context.agent.id).lessThan(decimal(\"1.0\"))",
        "9223372036854775807 + (if context.agent.id == \"agent-7\" then 1 else 0) > 0",
    );
    assert_eq!(codes(&decide(&build(&cedar), "issue_refund", "80")), ["engine_fault"]);
}

#[test]
fn pol_3_a_release_with_a_function_that_isnt_admitted_is_refused() {
    for call in [
        "http.send({\"method\": \"get\", \"url\": \"x\"})",
        "opa.runtime()",
        "net.lookup_ip_addr(\"x\")",
        "rand.intn(\"x\", 2)",
        "uuid.rfc4122(\"x\")",
    ] {
        let refused =
            Release::build(&rego(&format!("package p\nallow if {{\n\tx := {call}\n\tx\n}}\n"))).unwrap_err();
        assert!(refused.to_string().contains("policies/p.rego:3:"), "{refused}");
    }
    // A cycle would overflow the stack: it is found before anything is evaluated.
    assert!(
        Release::build(&rego("package p\nallow if a\na if b\nb if a\n"))
            .unwrap_err()
            .to_string()
            .contains("the rule needs itself")
    );
}

#[test]
fn pol_4_an_endless_policy_ends_in_its_time() {
    let endless = "package p\nn := numbers.range(1, 100000)\nallow if {\n\tsome x in n\n\tsome y in n\n\tx * y < 0\n}\n";
    let release = build(&rego(endless));
    let start = Instant::now();
    let decided = decide(&release, "a", "1");
    assert_eq!(codes(&decided), ["limit"], "{decided:?}");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn pol_4_deep_nesting_is_refused() {
    // The parser's time doubles with each level; what it is given stays below where that can be felt.
    let start = Instant::now();
    for depth in [8, 11, 500, 100_000] {
        for (open, close) in [("[", "]"), ("{", "}"), ("(", ")")] {
            let nested = format!("package p\nallow if {}true{}\n", open.repeat(depth), close.repeat(depth));
            assert!(depth == 8 || Release::build(&rego(&nested)).is_err(), "{depth} of {open}");
            drop(Release::build(&rego(&nested)));
        }
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn pol_4_a_huge_pattern_denies() {
    let pattern = "package p\nallow if regex.match(\"(a{1000}){1000}\", input.action)\n";
    let refused = Release::build(&rego(pattern)).unwrap_err().to_string();
    assert!(refused.contains("policies/p.rego:2:10") && refused.contains("(a{1000}){1000}"), "{refused}");
    let computed = "package p\nallow if {\n  pattern := concat(\"\", [\"(a{1000})\", \"{1000}\"])\n  regex.match(pattern, input.action)\n}\n";
    assert!(decide(&build(&rego(computed)), "a", "1").denied.is_some());
}

#[test]
fn the_decisions_time_is_the_only_time() {
    let release = build(&rego("package p\nallow if time.now_ns() == 1772357400000000000\n"));
    let at =
        |moment: &str| release.decide_document(&document("a", "1"), None, Some(crate::common::at(moment)));
    assert_eq!(at("2026-03-01T09:30:00Z").denied, None);
    assert!(at("2026-03-01T09:30:00.001Z").denied.is_some());
    let mut timed = document("a", "1");
    timed.as_object_mut().unwrap().insert("time", "2026-03-01T09:30:00Z");
    assert_eq!(release.decide_document(&timed, None, None).denied, None);
    assert_eq!(
        codes(&release.decide_document(&timed, None, Some(crate::common::at("2026-03-01T09:30:01Z")))),
        ["input_invalid"]
    );
    assert_eq!(codes(&release.decide_document(&document("a", "1"), None, None)), ["input_invalid"]);
}

#[test]
fn numbers_are_exact() {
    let release = build(&rego("package p\nallow if input.amount <= 100\n"));
    for (amount, permits) in [
        ("100", true),
        ("1e2", true),
        ("100.0000", true),
        ("100.0001", false),
        ("99.9999", true),
        ("999999999999999", false),
    ] {
        assert_eq!(decide(&release, "a", amount).denied.is_none(), permits, "{amount}");
    }
    for amount in
        ["100.00000000000000000001", "null", "false", "true", "-5", "-0.0001", "\"80\"", "9007199254740993"]
    {
        assert_eq!(codes(&decide(&release, "a", amount)), ["input_invalid"], "{amount}");
    }
}

#[test]
fn reasons_without_a_file_of_reasons_name_the_condition_and_its_place() {
    let release = build(&rego(
        "package p\n\nallow if {\n\tinput.action == \"pay\"\n\tlimit := input.risk.workflow * 10\n\tinput.amount < limit\n\tactive\n}\n\nactive if {\n\tinput.delegating_user.status == \"active\"\n\tinput.delegating_user.kind == \"user\"\n}\n",
    ));
    let mut input = document("pay", "80");
    input.as_object_mut().unwrap().insert("risk", json(r#"{"workflow":1}"#));
    let decided = release.decide_document(&input, None, Some(now()));
    let reasons: Vec<(&str, &str)> = decided
        .denied
        .iter()
        .flat_map(placet_core::Reasons::all)
        .map(|r| (r.code.as_str(), r.at.as_str()))
        .collect();
    assert_eq!(
        reasons,
        [("condition_failed", "policies/p.rego:6"), ("condition_failed", "policies/p.rego:12")]
    );
    let operator = &decided.denied.as_ref().unwrap().first().operator;
    assert!(operator.contains("input.amount is 80"), "{operator}");
    // What binds the missing name is what failed.
    let reasons = decide(&release, "pay", "80");
    assert_eq!(reasons.denied.unwrap().first().at, "policies/p.rego:5");
}

#[test]
fn rego_and_cedar_together_either_may_forbid_and_only_the_named_one_may_grant() {
    let both = |rego_policy: &str, cedar: &str, grants: &str| {
        let manifest = format!(
            "name = \"t\"\n[rego]\nversion = \"v1\"\nentrypoints = [\"p\"]\n[cedar]\n[grants]\n{grants}\n"
        );
        let relations = "[type.support_case]\nattributes = { case_id = \"id\" }\n";
        let types = "name = \"support_case\"\nintents = [\"i\"]\nagents = [\"support_agent\"]\nlongest_life = \"1h\"\nattributes = { case_id = \"id\" }\n";
        build(&files(&[
            ("release.toml", &manifest),
            ("relations.toml", relations),
            ("workflow_types/a.toml", types),
            ("policies/p.rego", rego_policy),
            ("policies/c.cedar", cedar),
        ]))
    };
    let yes = "package p\nallow := true\n";
    let no = "package p\nallow := false\n";
    let forbids = "package p\nallow := true\ndeny contains \"no\"\n";
    let permit = "@id(\"yes\") permit (principal, action, resource);";
    let forbid = "@id(\"yes\") permit (principal, action, resource); @id(\"no\") forbid (principal, action, resource);";
    let nothing = "@id(\"no\") forbid (principal, action == Action::\"other\", resource);";
    let of = |rego_policy, cedar, grants| {
        codes(&decide(&both(rego_policy, cedar, grants), "a", "1")).first().map(|c| (*c).to_owned())
    };
    assert_eq!(of(yes, nothing, "a = \"rego\"\nother = \"rego\""), None);
    assert_eq!(of(no, permit, "a = \"cedar\""), None);
    assert_eq!(of(no, permit, "a = \"rego\"").as_deref(), Some("condition_failed"));
    assert_eq!(of(yes, nothing, "a = \"cedar\"\nother = \"rego\"").as_deref(), Some("no_rule_allows"));
    assert_eq!(of(yes, forbid, "a = \"rego\"").as_deref(), Some("policy_denies"));
    assert_eq!(of(forbids, permit, "a = \"cedar\"").as_deref(), Some("policy_denies"));
    // An action that no one grants, and one that Cedar's schema doesn't know.
    assert_eq!(of(yes, permit, "b = \"rego\"").as_deref(), Some("no_rule_allows"));
}

#[test]
fn the_same_tree_has_the_same_digest_and_comes_back_from_its_archive() {
    let release = built("demo");
    assert_eq!(release.digest(), built("demo").digest());
    assert_ne!(release.digest(), built("support").digest());
    let again = Release::from_archive(release.archive()).unwrap();
    assert_eq!((again.digest(), again.tree()), (release.digest(), release.tree()));
    assert_eq!(again.rewrites(), release.rewrites());
    assert_eq!(again.test(&crate::common::load), release.test(&crate::common::load));
    let mut edited = tree("demo");
    change(&mut edited, "policies/support.rego", "input.amount <= 100", "input.amount <= 999");
    let edited = build(&edited);
    assert_ne!(edited.digest(), release.digest());
    assert!(Release::from_archive(release.archive().get(..1024).unwrap()).is_err());
    let mut flipped = release.archive().to_vec();
    let at = flipped.windows(5).position(|w| w == b"allow").unwrap();
    *flipped.get_mut(at).unwrap() = b'A';
    // Still an archive, but another one.
    assert!(Release::from_archive(&flipped).map(|r| r.digest()).ok() != Some(release.digest()));
}

#[test]
fn check_tells_an_author_what_the_text_would_let_through() {
    let findings: Vec<String> = check(&tree("support")).iter().map(ToString::to_string).collect();
    assert!(
        findings.iter().any(|f| f.contains("support.rego:21:") && f.contains("count([1 | deny[_]]) == 0")),
        "{findings:#?}"
    );
    assert!(
        findings.iter().any(|f| f.contains("support.rego:40:")
            && f.contains("no lower bound")
            && f.contains("the catalog's type and range")),
        "{findings:#?}"
    );
    let findings = |policy: &str| check(&rego(policy)).iter().map(ToString::to_string).collect::<Vec<_>>();
    let typo = findings("package p\nallow if input.delegating_usr.status == \"active\"\n");
    assert!(
        typo.iter()
            .any(|f| f.contains("policies/p.rego:2:") && f.contains("did you mean `input.delegating_user`?")),
        "{typo:#?}"
    );
    assert!(findings("package p\nallow if {\n").iter().any(|f| f.contains("policies/p.rego:3")));
    let mut unused = tree("support");
    change(&mut unused, "policies/support.rego", "summarize_case", "something_else");
    assert!(check(&unused).iter().any(|f| f.message.contains("no rule allows `summarize_case`")));
}

#[test]
fn a_case_that_comes_out_otherwise_fails_and_says_how() {
    let mut wrong = tree("support");
    change(&mut wrong, "policies/support.rego", "input.amount <= 100", "input.amount <= 250");
    let release = build(&wrong);
    let report = release.test(&crate::common::load);
    assert!(!report.passed());
    let failed: Vec<_> = report.results.iter().filter(|r| !r.passed).collect();
    assert!(
        failed.iter().any(|r| r.name.starts_with("missing approval") && r.got == "permit"),
        "{failed:#?}"
    );
    assert!(
        report
            .to_junit()
            .contains("<failure message=\"expected deny because of manager_approval_missing, got permit\"/>"),
        "{}",
        report.to_junit()
    );
    assert_eq!(
        report.to_value().get("failed").and_then(placet_json::Value::as_u64),
        Some(u64::try_from(failed.len()).unwrap())
    );
    for bad in [
        "- name: a\n  expect: permit\n",
        "- name: a\n  input: {}\n  expects: permit\n",
        "- name: a\n  input: {}\n  call: { tool: x, args: {} }\n  expect: deny\n",
        "- name: a\n  input: {}\n",
        "x: 1\n",
    ] {
        let mut tree = tree("support");
        tree.insert("tests/bad.yaml".to_owned(), bad.as_bytes().to_vec());
        assert!(
            check(&tree).iter().any(|f| f.severity == Severity::Error && f.file == "tests/bad.yaml"),
            "{bad}"
        );
        assert!(!build(&tree).test(&crate::common::load).passed(), "{bad}");
    }
}

#[test]
fn rules_that_test_rules_are_run() {
    let mut tree = rego("package p\nallow if input.amount < 5\n");
    tree.insert(
        "policies/p_test.rego".to_owned(),
        b"package p_test\nimport data.p\ntest_small if p.allow with input as {\"amount\": 4}\ntest_large if p.allow with input as {\"amount\": 6}\nhelper if true\n".to_vec(),
    );
    let report = build(&tree).test(&crate::common::load);
    let seen: Vec<(&str, bool)> = report.results.iter().map(|r| (r.name.as_str(), r.passed)).collect();
    assert_eq!(seen, [("p_test.test_large", false), ("p_test.test_small", true)]);
    // A test can't run what a policy can't, and can't overflow the stack.
    tree.insert(
        "policies/p_test.rego".to_owned(),
        b"package p_test\ntest_a if test_b\ntest_b if test_a\n".to_vec(),
    );
    assert!(!build(&tree).test(&crate::common::load).passed());
}

#[test]
fn data_facts_and_totals_are_read_where_a_policy_asks_for_them() {
    use crate::common::{SMALL, codes as codes_of, decide as evaluate, grant, open, snapshot, world};
    let mut with_facts = tree("demo");
    change(
        &mut with_facts,
        "policies/desk.rego",
        "assigned if placet.check(",
        "owner if data.facts[\"support_case:CASE-1837\"].customer_id == \"cust-101\"\n\nassigned if owner\n\nnobody if placet.check(",
    );
    let release = build(&with_facts);
    let facts = snapshot(&world());
    assert!(
        codes_of(&evaluate(&release, &open(grant()), &facts, ("crm.search_customers", r#"{"query":"a"}"#)))
            .is_empty()
    );
    assert_eq!(
        evaluate(&built("demo"), &open(grant()), &facts, SMALL).totals,
        placet_core::Moving::Independent
    );
    let mut with_totals = tree("demo");
    change(
        &mut with_totals,
        "policies/desk.rego",
        "not startswith",
        "input.workflow.totals.post_message.count > 3\n\tnot startswith",
    );
    assert_eq!(
        evaluate(&build(&with_totals), &open(grant()), &facts, SMALL).totals,
        placet_core::Moving::Since(0)
    );
}

#[test]
fn the_decision_document_has_its_members() {
    let facts = crate::common::snapshot(&crate::common::world());
    let release = built("support");
    let document =
        release.decide_document(&document("issue_refund", "250"), Some(&facts), Some(now())).to_value();
    let names: Vec<&str> = document.as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        ["decision", "reasons", "determining", "obligations", "remedy", "release", "facts", "time"]
    );
    assert_eq!(
        document.pointer("/reasons/0/code").and_then(placet_json::Value::as_str),
        Some("manager_approval_missing")
    );
    assert_eq!(
        document.pointer("/reasons/0/at").and_then(placet_json::Value::as_str),
        Some("policies/support.rego:52")
    );
    assert_eq!(
        document.pointer("/remedy/role").and_then(placet_json::Value::as_str),
        Some("support_manager")
    );
    assert_eq!(document.pointer("/facts/tenant").and_then(placet_json::Value::as_str), Some("acme"));
    assert_eq!(document.pointer("/time").and_then(placet_json::Value::as_str), Some("2026-03-01T09:30:00Z"));
}

#[test]
fn a_relationship_is_the_same_from_rego_and_from_cedar() {
    use crate::common::{after, codes as codes_of, decide as evaluate, grant, open, snapshot, world};
    let mut in_cedar = tree("demo");
    change(
        &mut in_cedar,
        "policies/balance.cedar",
        "context.delegating_user.roles.contains(\"support\")",
        "context.rel.assignee",
    );
    change(
        &mut in_cedar,
        "reasons.toml",
        "context.delegating_user.roles.contains(\"support\")",
        "context.rel.assignee",
    );
    let release = build(&in_cedar);
    let search = ("crm.search_customers", r#"{"query":"a"}"#);
    let both = |world: &placet_facts::World| {
        let facts = snapshot(world);
        (
            codes_of(&evaluate(&release, &open(grant()), &facts, search)),
            codes_of(&evaluate(&release, &open(grant()), &facts, ("billing.balance", "{}"))),
        )
    };
    assert_eq!(both(&world()), (Vec::new(), Vec::new()));
    let left = after(&world(), r#"{"tuple_removed":{"tuple":"team:desk#member@user:maya"}}"#);
    assert_eq!(both(&left), (vec!["not_assigned".to_owned()], vec!["role_missing".to_owned()]));
    // A relation that the model doesn't have is found when the release is built.
    change(&mut in_cedar, "policies/balance.cedar", "context.rel.assignee", "context.rel.assigned");
    assert!(Release::build(&in_cedar).unwrap_err().to_string().contains("assigned"));
    // One that only the evaluation names is a fault, and a fault denies.
    let mut in_rego = tree("demo");
    change(&mut in_rego, "policies/desk.rego", "\"assignee\"", "\"assigned\"");
    let facts = snapshot(&world());
    assert_eq!(codes_of(&evaluate(&build(&in_rego), &open(grant()), &facts, search)), ["engine_fault"]);
}

#[test]
fn every_rule_that_permitted_is_named_and_no_other() {
    let policy = r#"package p
default allow := false
limit := 100
allow if {
  input.action == "issue_refund"
  input.amount <= limit
}
allow if {
  input.action == "issue_refund"
  input.amount < 50
}
allow if {
  input.action == "issue_refund"
  input.amount > 100
  input.amount < 1e3
}
allow if {
  input.action == "issue_refund"
  not input.amount < 5000
}
allow if input.workflow.nothing == "x"
"#;
    let places = |release: &Release, amount: &str| -> Vec<String> {
        let permit = decide(release, "issue_refund", amount);
        assert!(permit.permits(), "{amount}: {permit:?}");
        permit.determining.iter().map(|rule| rule.at.clone()).collect()
    };
    let release = build(&rego(policy));
    // Comparisons with constants rule out all others, or leave some to the interpreter; the answer is the same.
    assert_eq!(places(&release, "20"), ["policies/p.rego:4", "policies/p.rego:8"]);
    assert_eq!(places(&release, "50"), ["policies/p.rego:4"]);
    assert_eq!(places(&release, "100.5"), ["policies/p.rego:12"]);
    assert_eq!(places(&release, "5000"), ["policies/p.rego:17"]);
    assert!(!decide(&release, "issue_refund", "1000").permits());
}
