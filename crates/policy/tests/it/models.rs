//! Models that the field documents, in our own words: each question gets one answer, from the check, from Rego, from
//! Cedar and from the listings. `tests/models/*.toml` hold a `relations.toml`, tuples, and what follows from them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use placet_core::{CheckError, FactsView as _, Name, ResourceRef, Subject, Tuple};
use placet_facts::{Snapshot, World};
use placet_policy::Release;
use serde::Deserialize;

use crate::common::{acme, build, files, json, name, now};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    model: String,
    tuples: Vec<String>,
    yes: Vec<String>,
    no: Vec<String>,
    /// By `subject#relation@type`.
    objects: BTreeMap<String, Vec<String>>,
    /// By `object#relation@type`; `type:*` is everybody, `-type:id` one who is excepted.
    subjects: BTreeMap<String, Vec<String>>,
}

const REGO: &str = r#"package models

import rego.v1

default allow := false

allow if {
	startswith(input.action, "rego_")
	who := sprintf("user:%s", [input.delegating_user.id])
	what := sprintf("%s:%s", [input.resource.type, input.resource.id])
	placet.check(who, trim_prefix(input.action, "rego_"), what)
}
"#;

/// A release that permits `rego_RELATION` and `cedar_RELATION` to whoever has the relation.
fn release(case: &Case) -> Release {
    let model: toml::Table = case.model.parse().unwrap();
    let types = model["type"].as_table().unwrap().values();
    let relations: BTreeSet<&str> = types
        .filter_map(|of| of.get("relations"))
        .flat_map(|of| of.as_table().unwrap().keys().map(String::as_str))
        .collect();
    let mut manifest =
        "name = \"models\"\n[rego]\nversion = \"v1\"\nentrypoints = [\"models\"]\n[cedar]\n[grants]\n"
            .to_owned();
    let mut cedar = String::new();
    for relation in relations {
        write!(manifest, "rego_{relation} = \"rego\"\ncedar_{relation} = \"cedar\"\n").unwrap();
        write!(
            cedar,
            "@id(\"{relation}\")\npermit (principal, action == Action::\"cedar_{relation}\", resource)\nwhen {{ context.rel.{relation} }};\n"
        )
        .unwrap();
    }
    build(&files(&[
        ("release.toml", &manifest),
        ("policies/models.rego", REGO),
        ("policies/models.cedar", &cedar),
        ("relations.toml", &case.model),
    ]))
}

/// The tuples, and every object that they name as a resource.
fn facts(case: &Case) -> Snapshot {
    let named = case.tuples.iter().flat_map(|text| {
        let tuple: Tuple = text.parse().unwrap();
        let subject = match tuple.subject {
            Subject::Object(object) | Subject::Userset(object, _) => Some(object),
            Subject::Everyone(_) => None,
        };
        [Some(tuple.object), subject].into_iter().flatten()
    });
    let resources: BTreeSet<ResourceRef> = named.collect();
    let resources: Vec<String> = resources
        .iter()
        .map(|at| format!(r#"{{"type":"{}","id":"{}","attributes":{{}}}}"#, at.kind, at.id))
        .collect();
    let tuples: Vec<String> = case.tuples.iter().map(|tuple| format!("\"{tuple}\"")).collect();
    let file = format!(
        r#"{{"tenant":"acme","tenants":["acme"],"resources":[{}],"tuples":[{}]}}"#,
        resources.join(","),
        tuples.join(",")
    );
    World::from_file(&json(&file)).unwrap().snapshot(&acme()).unwrap()
}

/// Whether a release permits this person this action on this object.
fn permits(release: &Release, facts: &Snapshot, action: &str, who: &Name, on: &ResourceRef) -> bool {
    let document = json(&format!(
        r#"{{"action":"{action}","intent":"i","agent":{{"id":"agent-7","type":"bot","owner":"maya"}},
            "delegating_user":{{"id":"{who}","kind":"user","status":"active","tenant_id":"acme","roles":[]}},
            "chain":[],"tool":{{"name":"a.b","upstream":"a","effect":"read"}},"args":{{}},"resources":[],
            "workflow":{{"id":"w","type":"t","state":"open","tenant_id":"acme","owner":"maya","expires_at":"2026-03-02T00:00:00Z","totals":{{}}}},
            "flow":{{"labels":[],"sources":[]}},"time":"{}",
            "resource":{{"type":"{}","id":"{}","tenant_id":"acme"}}}}"#,
        now(),
        on.kind,
        on.id
    ));
    let decided = release.decide_document(&document, Some(facts), Some(now()));
    if let Some(reasons) = &decided.denied {
        let code = reasons.first().code.as_str();
        assert!(["no_rule_allows", "condition_failed"].contains(&code), "{action} {on}: {reasons:?}");
    }
    decided.permits()
}

fn each(mut run: impl FnMut(&str, Case)) {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models"));
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 10);
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let case = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        run(path.file_stem().unwrap().to_str().unwrap(), case);
    }
}

#[test]
fn documented_models_have_one_answer_from_the_check_from_rego_and_from_cedar() {
    each(|model, case| {
        let (release, facts) = (release(&case), facts(&case));
        for text in &case.tuples {
            let tuple: Tuple = text.parse().unwrap();
            placet_facts::allowed(release.relations(), &tuple)
                .unwrap_or_else(|error| panic!("{model}: {error}"));
        }
        let questions =
            case.yes.iter().map(|text| (text, true)).chain(case.no.iter().map(|text| (text, false)));
        for (text, expected) in questions {
            let Tuple { object, relation, subject: Subject::Object(subject) } = text.parse().unwrap() else {
                panic!("{model}: {text}")
            };
            let found = facts.check(release.relations(), &object, &relation, &subject);
            assert_eq!(found, Ok(expected), "{model}: {text}");
            for engine in ["rego", "cedar"] {
                let action = format!("{engine}_{relation}");
                let found = permits(&release, &facts, &action, &subject.id, &object);
                assert_eq!(found, expected, "{model}, {engine}: {text}");
            }
        }
    });
}

#[test]
fn documented_models_are_listed_both_ways() {
    each(|model, case| {
        let (release, facts) = (release(&case), facts(&case));
        let texts = |all: &[ResourceRef]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (question, expected) in &case.objects {
            let Tuple { object: subject, relation, .. } = format!("{question}:x").parse().unwrap();
            let kind = name(question.rsplit_once('@').unwrap().1);
            let found = facts.objects(release.relations(), &kind, &relation, &subject).unwrap();
            assert_eq!(texts(&found), *expected, "{model}: {question}");
        }
        for (question, expected) in &case.subjects {
            let Tuple { object, relation, .. } = format!("{question}:x").parse().unwrap();
            let kind = name(question.rsplit_once('@').unwrap().1);
            let found = facts.subjects(release.relations(), &object, &relation, &kind).unwrap();
            let mut told = if found.everyone { vec![format!("{kind}:*")] } else { texts(&found.named) };
            told.extend(texts(&found.except).iter().map(|one| format!("-{one}")));
            assert_eq!(told, *expected, "{model}: {question}");
        }
    });
}

#[test]
fn a_policy_in_cedar_reads_the_hierarchy_of_tuples() {
    let policy =
        "@id(\"below\")\npermit (principal, action == Action::\"read\", resource in org::\"acme\");\n";
    let model = "[type.org]\n\n[type.project]\nparents = [\"org\"]\n[type.project.relations]\norg = { direct = [\"org\"] }\n\n[type.environment]\nparents = [\"project\", \"twin\"]\n[type.environment.relations]\nproject = { direct = [\"project\"] }\ntwin = { direct = [\"environment\"] }\n";
    let case = |tuples: &[&str]| Case {
        model: model.to_owned(),
        tuples: tuples
            .iter()
            .map(|tuple| (*tuple).to_owned())
            .chain(["environment:none#project@project:none".to_owned()])
            .collect(),
        yes: Vec::new(),
        no: Vec::new(),
        objects: BTreeMap::new(),
        subjects: BTreeMap::new(),
    };
    let release = build(&files(&[
        ("release.toml", "name = \"models\"\n[cedar]\n[grants]\nread = \"cedar\"\n"),
        ("policies/models.cedar", policy),
        ("relations.toml", model),
    ]));
    let asked = |tuples: &[&str], on: &str| {
        permits(&release, &facts(&case(tuples)), "read", &name("maya"), &on.parse().unwrap())
    };
    let chain = ["environment:prod#project@project:web", "project:web#org@org:acme"];
    assert!(asked(&chain, "environment:prod") && asked(&chain, "project:web") && asked(&chain, "org:acme"));
    assert!(!asked(&chain, "environment:none") && !asked(&chain[..1], "environment:prod"));
    // A cycle ends, and a tuple that the model doesn't allow leads nowhere.
    let cycle = [
        "environment:a#twin@environment:b",
        "environment:b#twin@environment:a",
        "environment:b#project@project:web",
        "project:web#org@org:acme",
    ];
    assert!(asked(&cycle, "environment:a"));
    assert!(!asked(&["environment:a#project@org:acme"], "environment:a"));
    // Parents beyond the bound are a denial, not a guess.
    let deep: Vec<String> =
        (0..1100).map(|i| format!("environment:e{i}#twin@environment:e{}", i + 1)).collect();
    let deep: Vec<&str> = deep.iter().map(String::as_str).collect();
    let snapshot = facts(&case(&deep));
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        permits(&release, &snapshot, "read", &name("maya"), &"environment:e0".parse().unwrap())
    }));
    assert!(found.is_err(), "the code is `limit`");
}

#[test]
fn pol_4_a_listing_has_bounds_too() {
    let many: Vec<String> =
        (0..=placet_facts::MAX_RESULTS).map(|i| format!("doc:{i}#viewer@user:maya")).collect();
    let case = Case {
        model: "[type.doc.relations]\nviewer = { direct = [\"user\"] }\n".to_owned(),
        tuples: many,
        yes: Vec::new(),
        no: Vec::new(),
        objects: BTreeMap::new(),
        subjects: BTreeMap::new(),
    };
    let (release, facts) = (release(&case), facts(&case));
    let found =
        facts.objects(release.relations(), &name("doc"), &name("viewer"), &"user:maya".parse().unwrap());
    assert!(matches!(found, Err(CheckError::Long(_))), "{found:?}");
}
