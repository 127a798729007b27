//! Each lint with a release that has what it tells, and the releases of this repository, which have little.

use std::{collections::BTreeSet, path::Path};

use placet_policy::{Finding, LINTS, Release, Severity, Tree, check};

use crate::common::{change, files, tree};

const HEAD: &str = "name = \"t\"\n[rego]\nversion = \"v1\"\nentrypoints = [\"p\"]\n";
const CATALOG: &str = "[tool.\"t.read\"]\naction = \"read\"\neffect = \"read\"\nresource = { type = \"case\", id = \"$args.id\" }\ncredential = \"none\"\n[tool.\"t.read\".args]\nid = { type = \"id\" }\n[tool.\"t.read\".result]\nlabels = [\"pii\"]\n[tool.\"t.send\"]\naction = \"send\"\neffect = \"write\"\nresource = { type = \"case\", id = \"$args.id\" }\ncredential = \"none\"\n[tool.\"t.send\".args]\nid = { type = \"id\" }\ntext = { type = \"text\" }\namount = { type = \"decimal\", min = \"0\", attribute = \"amount\" }\nchannel = { type = \"text\", attribute = \"channel\", required = false }\n";
const TYPES: &str = "name = \"desk\"\nintents = [\"help\"]\nagents = [\"bot\"]\nlongest_life = \"8h\"\n[approval.boss]\nrole = \"manager\"\n";

/// A body that reads tenant, workflow and approval, so that only what is added to it is told.
const CLEAN: &str = "\tinput.resource.tenant_id == input.workflow.tenant_id\n\tinput.intent == \"help\"\n";

fn release(policy: &str) -> Tree {
    files(&[
        ("release.toml", HEAD),
        ("policies/p.rego", policy),
        ("catalog/t.toml", CATALOG),
        ("workflow_types/desk.toml", TYPES),
        ("tests/a.yaml", "[]\n"),
    ])
}

/// A release whose two tools have a rule each, and more.
fn with(more: &str) -> Tree {
    release(&format!(
        "package p\n\nallow if {{\n\tinput.action == \"read\"\n{CLEAN}}}\n\nallow if {{\n\tinput.action == \"send\"\n{CLEAN}\tinput.workflow.boss.status == \"approved\"\n}}\n\n{more}"
    ))
}

/// The line of `policies/p.rego` that `more` begins with.
const MORE: u32 = 16;

fn told(tree: &Tree) -> Vec<(&'static str, String, u32)> {
    check(tree)
        .into_iter()
        .filter(|finding| finding.silenced.is_none())
        .map(|finding| (finding.code, finding.file, finding.line))
        .collect()
}

fn in_policy(more: &str) -> Vec<(&'static str, u32)> {
    told(&with(more))
        .into_iter()
        .map(|(code, file, line)| {
            assert_eq!(file, "policies/p.rego", "{code}");
            (code, line.saturating_sub(MORE))
        })
        .collect()
}

#[test]
fn a_release_without_oddities_is_told_nothing() {
    assert_eq!(told(&with("")), []);
}

#[test]
fn every_lint_of_a_rule_names_its_line() {
    let deny = |body: &str| format!("deny contains \"no\" if {{\n\t{body}\n}}\n");
    let allow = |body: &str| format!("allow if {{\n\tinput.action == \"read\"\n{CLEAN}\t{body}\n}}\n");
    for (more, expected) in [
        ("lonely if input.action == \"read\"\n".to_owned(), &[("dead-rule", 0)][..]),
        (allow("input.action == \"reed\""), &[("contradiction", 1), ("rule-without-tool", 4)]),
        ("allow if {\n\tinput.action == \"export\"\n\tinput.workflow.tenant_id == \"acme\"\n}\n".to_owned(), &[("rule-without-tool", 1)]),
        (allow("input.agent.type == \"bott\""), &[("unknown-value", 4)]),
        (allow("input.workflow.state == \"opne\""), &[("unknown-value", 4)]),
        (allow("input.workflow.boss.status in {\"approved\", \"pending\"}"), &[("unknown-value", 4)]),
        (allow("\"pi\" in input.flow.labels"), &[("unknown-value", 4)]),
        (allow("input.amount == \"80\""), &[("type-mismatch", 4)]),
        (allow("input.agent.type == null"), &[("type-mismatch", 4)]),
        (allow("input.amount > 100\n\tinput.amount < 50"), &[("contradiction", 4)]),
        (deny("input.action == \"read\"\n\tinput.action == \"send\""), &[("deny-never-fires", 1)]),
        (deny("input.agent.type == \"bto\""), &[("deny-never-fires", 1)]),
        (deny("not startswith(input.channel, \"#\")"), &[("deny-misses-missing", 1), ("engines-differ", 1)]),
        (deny("not startswith(input.agent.id, \"a\")"), &[("engines-differ", 1)]),
        (allow("regex.match(input.args.pattern, \"a\")"), &[("computed-pattern", 4)]),
        (allow("input.amount * 1.1 == 110"), &[("inexact-arithmetic", 4)]),
        ("allow if {\n\tinput.action == \"read\"\n\tinput.intent == \"help\"\n}\n".to_owned(), &[("allow-without-tenant", 1)]),
        ("allow if {\n\tinput.action == \"read\"\n\tinput.resource.tenant_id == input.delegating_user.tenant_id\n}\n".to_owned(), &[("allow-without-workflow", 1)]),
        (allow("input.amount <= 100"), &[("null-comparison", 4)]),
        (allow("input.workflow.bos.status == \"approved\""), &[("unknown-path", 4)]),
        (allow("http.send({})"), &[("unadmitted-function", 4)]),
        (allow("regex.match(`^\\d+$`, input.agent.id)"), &[("engines-differ", 4)]),
        (allow("uppercase(input.agent.id) == \"A\""), &[("unadmitted-function", 4)]),
        ("a if b\nb if a\n".to_owned(), &[("cycle", 0)]),
        // Rules by way of others, and what is compared in them.
        ("allow if {\n\tinput.action == \"read\"\n\tsame\n}\n\nsame if {\n\tinput.resource.tenant_id == input.workflow.tenant_id\n}\n".to_owned(), &[]),
        (allow("ours") + "ours if input.intent == \"other\"\n", &[("contradiction", 3), ("unknown-value", 6)]),
    ] {
        let mut found = in_policy(&more);
        found.sort_unstable();
        assert_eq!(found, expected, "{more}");
    }
}

#[test]
fn every_lint_of_a_whole_release_names_its_file() {
    let edited = |file: &str, from: &str, to: &str| {
        let mut tree = with("");
        change(&mut tree, file, from, to);
        tree
    };
    let mut reasons = with("");
    reasons.insert("reasons.toml".to_owned(), b"[[reason]]\nwhen = 'input.action == \"reed\"'\ncode = \"a\"\ntext = \"A.\"\n[[reason]]\nwhen = 'input.intent == \"help\"'\ncode = \"b\"\ntext = \"B.\"\n[[reason]]\ndeny = \"never\"\ncode = \"c\"\ntext = \"C.\"\n".to_vec());
    let mut untested = with("");
    untested.remove("tests/a.yaml");
    let mut both = with("");
    change(
        &mut both,
        "release.toml",
        "[rego]",
        "[cedar]\n[grants]\nread = \"rego\"\nsned = \"rego\"\n[rego]",
    );
    for (tree, expected) in [
        (
            edited("catalog/t.toml", "action = \"read\"", "action = \"look\""),
            &[("rule-without-tool", "policies/p.rego", 4), ("tool-without-rule", "catalog/t.toml", 1)][..],
        ),
        (
            edited("catalog/t.toml", "labels = [\"pii\"]", "labels = [\"pii\", \"untrusted_mail\"]"),
            &[("private-untrusted-out", "workflow_types/desk.toml", 2)],
        ),
        (edited("workflow_types/desk.toml", "8h", "40d"), &[("long-life", "workflow_types/desk.toml", 4)]),
        (
            edited(
                "workflow_types/desk.toml",
                "role = \"manager\"",
                "role = \"manager\"\n[approval.chief]\nrole = \"chief\"",
            ),
            &[("unused-approval", "workflow_types/desk.toml", 7)],
        ),
        (reasons, &[("unused-reason", "reasons.toml", 2), ("unused-reason", "reasons.toml", 10)]),
        (untested, &[("no-tests", "release.toml", 0)]),
        (
            both,
            &[
                ("action-without-grant", "release.toml", 0),
                ("grant-without-tool", "release.toml", 5),
                ("tool-without-rule", "catalog/t.toml", 10),
            ],
        ),
        (edited("release.toml", "\"p\"", "\"p\", \"p.x\""), &[("invalid", "release.toml", 0)]),
    ] {
        let mut found = told(&tree);
        found.sort();
        let expected: Vec<_> =
            expected.iter().map(|(code, file, line)| (*code, (*file).to_owned(), *line)).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn cedar_is_linted_as_rego_is() {
    let cedar = |policy: &str| {
        let mut tree = files(&[
            ("release.toml", "name = \"t\"\n[cedar]\n"),
            ("policies/p.cedar", policy),
            ("catalog/t.toml", CATALOG),
            ("workflow_types/desk.toml", TYPES),
            ("tests/a.yaml", "[]\n"),
        ]);
        change(&mut tree, "workflow_types/desk.toml", "[approval.boss]\nrole = \"manager\"\n", "");
        let mut codes: Vec<(&str, u32)> =
            check(&tree).into_iter().map(|finding| (finding.code, finding.line)).collect();
        codes.sort_unstable();
        // The validator tells an error once for each action.
        codes.dedup();
        codes
    };
    let permit = |when: &str| {
        format!(
            "@id(\"a\")\npermit (principal, action, resource) when {{ context.resource.tenant_id == context.workflow.tenant_id && {when} }};\n"
        )
    };
    assert_eq!(cedar(&permit("context.intent == \"help\"")), []);
    assert_eq!(cedar(&permit("context.intent == \"halp\"")), [("unknown-value", 1)]);
    assert_eq!(cedar(&permit("principal.type == \"bto\"")), [("unknown-value", 1)]);
    assert_eq!(cedar(&permit("context.agnet.type == \"bot\"")), [("cedar-validation", 1)]);
    assert_eq!(
        cedar("@id(\"a\")\npermit (principal, action, resource);\n"),
        [("allow-without-tenant", 1), ("allow-without-workflow", 1)]
    );
}

#[test]
fn a_silenced_finding_keeps_its_reason_and_is_no_finding() {
    let mut tree = with("lonely if input.action == \"read\"\n");
    let silence = |tree: &mut Tree, text: &str| {
        let head = format!("{HEAD}\n{text}");
        tree.insert("release.toml".to_owned(), head.into_bytes());
    };
    silence(
        &mut tree,
        "[[silence]]\nlint = \"dead-rule\"\nfile = \"policies/p.rego\"\nreason = \"for the next release\"\n",
    );
    assert_eq!(told(&tree), []);
    let findings = check(&tree);
    assert_eq!(
        findings.first().and_then(|finding| finding.silenced.as_deref()),
        Some("for the next release")
    );
    assert!(Release::build(&tree).is_ok());
    for (text, code, severity) in [
        ("[[silence]]\nlint = \"dead-rul\"\nreason = \"x\"\n", "invalid", Severity::Error),
        ("[[silence]]\nlint = \"dead-rule\"\nreason = \" \"\n", "invalid", Severity::Error),
        ("[[silence]]\nlint = \"cycle\"\nreason = \"x\"\n", "invalid", Severity::Error),
        ("[[silence]]\nlint = \"no-tests\"\nreason = \"x\"\n", "unused-silence", Severity::Advice),
    ] {
        silence(&mut tree, text);
        let own: Vec<Finding> =
            check(&tree).into_iter().filter(|finding| finding.file == "release.toml").collect();
        let found: Vec<_> = own.iter().map(|finding| (finding.code, finding.severity)).collect();
        assert_eq!(found, [(code, severity)], "{text}");
    }
    // An error stays one.
    let mut broken = with("a if b\nb if a\n");
    silence(&mut broken, "[[silence]]\nlint = \"cycle\"\nreason = \"x\"\n");
    assert!(Release::build(&broken).is_err());
}

#[test]
fn the_releases_of_this_repository_have_no_warnings() {
    for name in ["support", "support-cedar", "demo"] {
        let loud: Vec<String> = check(&tree(name))
            .iter()
            .filter(|finding| finding.severity != Severity::Advice)
            .map(ToString::to_string)
            .collect();
        assert_eq!(loud, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn every_lint_has_an_entry_with_an_example() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/lints.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut seen = BTreeSet::new();
    for section in page.split("\n## ").skip(1) {
        let (title, text) = section.split_once('\n').unwrap();
        let Some(lint) = LINTS.iter().find(|lint| lint.code == title) else { continue };
        assert!(seen.insert(title), "{title} twice");
        let first = text.trim_start().lines().next().unwrap_or_default();
        assert!(first.starts_with(&format!("*{}*", lint.severity.as_str())), "{title}: {first}");
        assert!(text.contains("```"), "{title} has no example");
    }
    let missing: Vec<&str> = LINTS.iter().map(|lint| lint.code).filter(|code| !seen.contains(code)).collect();
    assert_eq!(missing, Vec::<&str>::new());
    let sorted: Vec<&str> = LINTS.iter().map(|lint| lint.code).collect();
    assert!(sorted.is_sorted());
}
