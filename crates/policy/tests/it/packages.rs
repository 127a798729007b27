//! Parts of a release with owners of their own: a baseline that only denies, packages that permit what is theirs.

use placet_policy::{Release, Touched, Tree, touched};

use crate::common::{build, change, files, json, name, now};

const MANIFEST: &str = r#"name = "composed"

[rego]
version = "v1"
entrypoints = ["root.authz"]

[cedar]

[grants]
refund = "rego"
read_case = "rego"
post = "cedar"

[review]
reviewers = ["ruth"]

[baseline]
path = "baseline"
owners = ["sec"]
reviewers = ["sec", "ciso"]
approvals = 2
entrypoints = ["baseline.denies"]

[package.billing]
path = "packages/billing"
owners = ["maya"]
reviewers = ["omar"]
namespace = "acme.billing"
entrypoints = ["acme.billing.authz"]
upstreams = ["billing"]

[package.chat]
path = "packages/chat"
owners = ["bob"]
namespace = "acme.chat"
upstreams = ["chat"]
"#;
const TOOL: &str =
    "effect = \"write\"\nresource = { type = \"case\", id = \"$args.id\" }\ncredential = \"none\"\n";
const ARGS: &str = "id = { type = \"id\", pattern = \"C-[0-9]+\" }\n";

fn tool(tool: &str, action: &str) -> String {
    format!("[tool.\"{tool}\"]\naction = \"{action}\"\n{TOOL}[tool.\"{tool}\".args]\n{ARGS}")
}

fn composed() -> Tree {
    files(&[
        ("release.toml", MANIFEST),
        ("policies/root.rego", "package root.authz\n\nallow if input.action == \"read_case\"\n"),
        ("catalog/crm.toml", &tool("crm.get", "read_case")),
        (
            "workflow_types/case.toml",
            "name = \"support_case\"\nintents = [\"help\"]\nagents = [\"bot\"]\nlongest_life = \"8h\"\n",
        ),
        (
            "baseline/policies/denies.rego",
            "package baseline.denies\n\ndeny contains \"nothing on sundays\" if input.intent == \"sunday\"\n",
        ),
        (
            "baseline/reasons.toml",
            "[[reason]]\ndeny = \"nothing on sundays\"\ncode = \"sunday\"\ntext = \"not today\"\n",
        ),
        (
            "packages/billing/policies/authz.rego",
            "package acme.billing.authz\n\nallow if input.action == \"refund\"\n",
        ),
        ("packages/billing/catalog/billing.toml", &tool("billing.refund", "refund")),
        (
            "packages/billing/tests/refund.yaml",
            "- name: refunds are permitted\n  at: 2026-03-01T09:30:00Z\n  input: {action: refund, intent: help, agent: {id: a, type: bot}, delegating_user: {id: m, status: active, tenant_id: acme, roles: [support]}, workflow: {id: w, type: support_case, state: open, tenant_id: acme, expires_at: \"2026-03-01T12:00:00Z\"}, resource: {type: case, id: C-1, tenant_id: acme}}\n  expect: permit\n",
        ),
        (
            "packages/chat/policies/chat.cedar",
            "@id(\"chat-post\")\npermit (principal, action == Action::\"post\", resource);\n",
        ),
        ("packages/chat/catalog/chat.toml", &tool("chat.post", "post")),
    ])
}

fn decided(release: &Release, action: &str, intent: &str) -> (bool, String) {
    let document = json(&format!(
        r#"{{"action":"{action}","intent":"{intent}","agent":{{"id":"a","type":"bot"}},
            "delegating_user":{{"id":"m","status":"active","tenant_id":"acme","roles":["support"]}},
            "workflow":{{"id":"w","type":"support_case","state":"open","tenant_id":"acme","expires_at":"2026-03-01T12:00:00Z"}},
            "resource":{{"type":"case","id":"C-1","tenant_id":"acme"}}}}"#
    ));
    let decided = release.decide_document(&document, None, Some(now()));
    let told = decided.denied.as_ref().map(placet_core::Reasons::first);
    let code =
        told.map(
            |reason| {
                if reason.code == "input_invalid" { reason.operator.clone() } else { reason.code.clone() }
            },
        );
    let code = code.unwrap_or_default();
    (decided.denied.is_none(), code)
}

/// Why a tree is refused, with the first finding's place.
fn refused(tree: &Tree) -> String {
    Release::build(tree)
        .map_or_else(|refused| refused.to_string(), |release| format!("built: {}", release.digest()))
}

fn with(path: &str, text: &str) -> Tree {
    let mut tree = composed();
    tree.insert(path.to_owned(), text.as_bytes().to_vec());
    tree
}

#[test]
fn packages_are_one_release_and_the_baseline_denies_whatever_permits() {
    let release = build(&composed());
    assert_eq!(release.parts().len(), 3);
    for action in ["read_case", "refund", "post"] {
        assert_eq!(decided(&release, action, "help"), (true, String::new()), "{action}");
        assert_eq!(decided(&release, action, "sunday"), (false, "sunday".to_owned()), "{action}");
    }
    let report = release.test(&crate::common::load);
    assert_eq!((report.results.len(), report.passed()), (1, true), "{report:?}");
    let again = Release::from_archive(release.archive()).unwrap();
    assert_eq!((again.digest(), again.parts()), (release.digest(), release.parts()));
}

#[test]
fn a_baseline_that_could_permit_is_refused_with_its_place() {
    let rego = "package baseline.denies\n\nallow if input.intent == \"help\"\n";
    let said = refused(&with("baseline/policies/denies.rego", rego));
    assert!(said.contains("baseline/policies/denies.rego:3") && said.contains("only denies"), "{said}");
    let cedar = "@id(\"all\")\npermit (principal, action, resource);\n";
    let said = refused(&with("baseline/policies/b.cedar", cedar));
    assert!(said.contains("baseline/policies/b.cedar:1") && said.contains("`all` permits"), "{said}");
    let leaning = "package baseline.denies\n\ndeny contains \"x\" if data.acme.billing.strict\n";
    let said = refused(&with("baseline/policies/denies.rego", leaning));
    assert!(said.contains("reads `data.acme.billing.strict`"), "{said}");
    let harmless = "package baseline.denies\n\ndefault allow := false\n\ndeny contains \"nothing on sundays\" if input.intent == \"sunday\"\n";
    build(&with("baseline/policies/denies.rego", harmless));
}

#[test]
fn a_package_permits_its_own_actions_and_no_others() {
    // A rule for everything in one package: another's action stays its own.
    let wide = "package acme.billing.authz\n\nallow if input.intent == \"help\"\n";
    let release = build(&with("packages/billing/policies/authz.rego", wide));
    assert!(decided(&release, "refund", "help").0);
    assert!(!decided(&release, "refund", "other").0, "what its own rule doesn't permit");
    let mut tree = with("packages/billing/policies/authz.rego", wide);
    tree.insert(
        "policies/root.rego".to_owned(),
        b"package root.authz\n\nallow if input.intent == \"help\"\n".to_vec(),
    );
    change(&mut tree, "packages/chat/policies/chat.cedar", "\"post\"", "\"read_case\"");
    let release = build(&tree);
    assert!(decided(&release, "refund", "help").0 && decided(&release, "read_case", "help").0);
    assert!(!decided(&release, "post", "help").0, "neither the root's rule nor billing's speaks for chat");
}

#[test]
fn rep_1_a_denial_of_what_anothers_rule_permits_is_the_same_again() {
    // What came near is told by the interpreter, also where the virtual machine found a permit that doesn't count.
    let mut tree = with("policies/root.rego", "package root.authz\n\nallow if input.intent == \"help\"\n");
    let never =
        "package acme.billing.authz\n\nallow if { input.action == \"refund\"; input.intent == \"never\" }\n";
    tree.insert("packages/billing/policies/authz.rego".to_owned(), never.as_bytes().to_vec());
    let test = "packages/billing/tests/refund.yaml";
    change(&mut tree, test, "expect: permit", "expect: deny");
    let (release, plain) = (build(&tree), build(&tree).interpreted());
    assert!(release.is_compiled() && !plain.is_compiled());
    assert_eq!(decided(&release, "refund", "help"), decided(&plain, "refund", "help"));
    assert!(!decided(&release, "refund", "help").0);
    let document = json(
        r#"{"action":"refund","intent":"help","agent":{"id":"a","type":"bot"},
            "delegating_user":{"id":"m","status":"active","tenant_id":"acme","roles":["support"]},
            "workflow":{"id":"w","type":"support_case","state":"open","tenant_id":"acme","expires_at":"2026-03-01T12:00:00Z"},
            "resource":{"type":"case","id":"C-1","tenant_id":"acme"}}"#,
    );
    let say =
        |release: &Release| format!("{:?}", release.decide_document(&document, None, Some(now())).denied);
    assert_eq!(say(&release), say(&plain));
    assert!(say(&release).contains("never"), "{}", say(&release));
}

#[test]
fn nothing_is_defined_in_anothers_namespace() {
    let cases = [
        ("packages/chat/policies/x.rego", "package acme.billing.more\n\nx := 1\n", "isn't below `acme.chat`"),
        ("packages/chat/policies/x.rego", "package baseline.denies\n\nx := 1\n", "isn't below `acme.chat`"),
        (
            "policies/x.rego",
            "package baseline.denies\n\nx := 1\n",
            "reaches into the namespace of `baseline`",
        ),
        ("policies/x.rego", "package acme\n\nbilling := 1\n", "reaches into the namespace of `billing`"),
        (
            "packages/chat/catalog/x.toml",
            &tool("billing.other", "other"),
            "`billing` is the package `billing`'s",
        ),
        ("catalog/x.toml", &tool("billing.other", "other"), "`billing` is the package `billing`'s"),
        ("packages/chat/catalog/x.toml", &tool("chat.other", "refund"), "the action `refund` is `billing`'s"),
        ("baseline/catalog/x.toml", &tool("sec.other", "other"), "can't be described here"),
        (
            "packages/chat/reasons.toml",
            "[[reason]]\nrule = \"acme.billing.authz.allow\"\nwhen = \"x\"\ncode = \"c\"\ntext = \"t\"\n",
            "isn't below `acme.chat`",
        ),
    ];
    for (path, text, why) in cases {
        let said = refused(&with(path, text));
        assert!(said.contains(path) && said.contains(why), "{path}: {said}");
    }
    // A reason of another part's deny is never told.
    let usurped = "[[reason]]\ndeny = \"nothing on sundays\"\ncode = \"all_is_well\"\ntext = \"go on\"\n";
    let release = build(&with("packages/chat/reasons.toml", usurped));
    assert_eq!(decided(&release, "post", "sunday").1, "sunday");
}

#[test]
fn parts_that_contradict_themselves_are_refused() {
    for (from, to, why) in [
        ("path = \"packages/chat\"", "path = \"packages/billing/x\"", "overlap"),
        ("namespace = \"acme.chat\"", "namespace = \"acme.billing.chat\"", "overlap"),
        ("upstreams = [\"chat\"]", "upstreams = [\"billing\", \"chat\"]", "belongs to"),
        ("approvals = 2", "approvals = 3", "asks for 3 approvals of 2"),
        ("owners = [\"bob\"]", "owners = []", "no owner"),
        ("path = \"packages/chat\"", "path = \"packages/none\"", "no file below"),
        ("path = \"packages/chat\"", "path = \"policies/chat\"", "can't be the directory"),
        ("entrypoints = [\"acme.billing.authz\"]", "entrypoints = [\"root.authz\"]", "isn't below"),
    ] {
        let mut tree = composed();
        change(&mut tree, "release.toml", from, to);
        let said = refused(&tree);
        assert!(said.contains(why) && said.contains("release.toml"), "{to}: {said}");
    }
}

#[test]
fn a_change_needs_the_review_of_the_parts_that_it_touches_as_the_release_in_force_says() {
    let before = build(&composed());
    let who = |tree: &Tree| -> Vec<(Option<String>, Vec<String>, u32)> {
        let after = build(tree);
        let told = touched(Some(&before), &after);
        let reviewers =
            |touched: &Touched| touched.reviewers.iter().flatten().map(ToString::to_string).collect();
        told.iter()
            .map(|touched| {
                (touched.part.as_ref().map(ToString::to_string), reviewers(touched), touched.approvals)
            })
            .collect()
    };
    let mut tree = composed();
    change(&mut tree, "packages/billing/policies/authz.rego", "\"refund\"", "\"refund\" # as before");
    assert_eq!(who(&tree), [(Some("billing".to_owned()), vec!["omar".to_owned()], 1)]);
    // Its owners review where nobody else is named.
    tree.insert("packages/chat/reasons.toml".to_owned(), Vec::new());
    tree.remove("packages/billing/tests/refund.yaml");
    let told = who(&tree);
    assert_eq!(
        told.iter().map(|(part, ..)| part.as_deref()).collect::<Vec<_>>(),
        [Some("billing"), Some("chat")]
    );
    assert_eq!(told.last().unwrap().1, ["bob"]);
    // A candidate that names its own reviewers is reviewed by those that are in force.
    let mut tree = composed();
    change(
        &mut tree,
        "release.toml",
        "reviewers = [\"sec\", \"ciso\"]\napprovals = 2",
        "reviewers = [\"mallory\"]",
    );
    change(&mut tree, "release.toml", "reviewers = [\"ruth\"]", "reviewers = [\"mallory\"]");
    let told = who(&tree);
    assert_eq!(told.first().unwrap(), &(None, vec!["ruth".to_owned()], 1));
    assert_eq!(
        told.last().unwrap(),
        &(Some("baseline".to_owned()), vec!["ciso".to_owned(), "sec".to_owned()], 2)
    );
    // Without the baseline: its reviewers, too.
    let mut tree = composed();
    tree.retain(|path, _| !path.starts_with("baseline/"));
    let text = String::from_utf8(tree.remove("release.toml").unwrap()).unwrap();
    let (head, rest) = text.split_once("[baseline]").unwrap();
    let rest = rest.split_once("[package.billing]").unwrap().1;
    tree.insert("release.toml".to_owned(), format!("{head}[package.billing]{rest}").into_bytes());
    let told = who(&tree);
    assert!(
        told.iter().any(|(part, _, needed)| part.as_deref() == Some("baseline") && *needed == 2),
        "{told:?}"
    );
    assert_eq!(touched(Some(&before), &before), []);
    assert_eq!(touched(None, &before).len(), 4);
    assert_eq!(before.parts().first().unwrap().name, name("baseline"));
}
