//! The corpus of `tests/corpus/cedar`: policies with what they come to on a document, judged by the engine as releases
//! configure it and by cedarpy on the same request, entities and schema.

use std::path::Path;

use placet_core::{EngineFault, Timestamp};
use placet_json::{Limits, Object, Value, object, parse};
use serde::Deserialize;

use super::{Answer, Unasked};
use crate::{Release, Tree, peers, yaml::Yaml};

/// A policy and a document.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    about: String,
    /// The condition of a permit, in place of policies.
    when: Option<String>,
    policies: Option<String>,
    /// What the document has beside the plain one.
    input: Option<Yaml>,
    says: Says,
    /// What cedarpy says, where it isn't the same.
    cedarpy: Option<Says>,
    why: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Says {
    Allow,
    Deny,
    /// Some policy errs: Placet denies, whatever the others say.
    Fault,
    /// The document has no question for Cedar.
    Invalid,
    /// No release is made of it.
    Refused,
}

const CATALOG: &str = "[tool.\"bank.pay\"]\naction = \"pay\"\neffect = \"write\"\nresource = { type = \"account\", id = \"$args.id\" }\ncredential = \"none\"\n[tool.\"bank.pay\".args]\nid = { type = \"id\" }\namount = { type = \"decimal\", min = \"0\", attribute = \"amount\" }\n[tool.\"bank.pay\".result]\nlabels = [\"pii\"]\n[tool.\"bank.look\"]\naction = \"look\"\neffect = \"read\"\nresource = { type = \"account\", id = \"$args.id\" }\ncredential = \"none\"\n[tool.\"bank.look\".args]\nid = { type = \"id\" }\n";
const TYPES: &str = "name = \"case\"\nintents = [\"help\"]\nagents = [\"bot\"]\nlongest_life = \"8h\"\nattributes = { limit = \"decimal\", urgent = \"boolean\", due = \"time\", note = \"text\", parts = \"ids\" }\n[approval.boss]\nrole = \"manager\"\n";
const RELATIONS: &str = "[type.account]\nattributes = { balance = \"decimal\", frozen = \"boolean\", note = \"text\", groups = \"ids\" }\n";
const DOCUMENT: &str = r#"{"action":"pay","intent":"help","amount":80,"agent":{"id":"a-1","type":"bot","owner":"m"},
    "delegating_user":{"id":"m","kind":"user","status":"active","tenant_id":"acme","roles":["support","night"]},
    "workflow":{"id":"w-1","type":"case","state":"open","tenant_id":"acme","expires_at":"2026-03-01T12:00:00Z","limit":100,"urgent":true,
        "due":"2026-03-02T00:00:00Z","note":"call back","parts":["p1","p2"],"totals":{"pay":{"count":2,"amount":160.5}}},
    "resource":{"type":"account","id":"A-1","tenant_id":"acme","balance":500.25,"frozen":false,"note":"10.0.0.1","groups":["g1"]},
    "flow":{"labels":["pii"],"sources":["bank.look"]},"environment":"production"}"#;

impl Case {
    fn text(&self) -> String {
        match (&self.when, &self.policies) {
            (Some(when), None) => {
                format!("@id(\"it\")\npermit (principal, action, resource is account) when {{ {when} }};\n")
            }
            (None, Some(policies)) => policies.clone(),
            (Some(_), Some(_)) | (None, None) => panic!("{}: one of `when` and `policies`", self.about),
        }
    }
    fn input(&self) -> Value {
        let mut document = parse(DOCUMENT.as_bytes(), &Limits::MESSAGE).unwrap();
        if let Some(Yaml(more)) = &self.input {
            merge(&mut document, more);
        }
        document
    }
}

/// Members replaced, or taken out where they are null.
fn merge(document: &mut Value, more: &Value) {
    let (Value::Object(members), Value::Object(more)) = (document, more) else { panic!("objects") };
    for (name, value) in more {
        match (members.get_mut(name), value) {
            (Some(_), Value::Null) => drop(members.remove(name)),
            (Some(own @ Value::Object(_)), Value::Object(_)) => merge(own, value),
            _ => drop(members.insert(name, value.clone())),
        }
    }
}

fn release(policies: &str) -> Option<Release> {
    let files = [
        ("release.toml", "name = \"corpus\"\n[cedar]\n"),
        ("policies/p.cedar", policies),
        ("catalog/bank.toml", CATALOG),
        ("workflow_types/case.toml", TYPES),
        ("relations.toml", RELATIONS),
    ];
    let tree: Tree =
        files.into_iter().map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).collect();
    Release::build(&tree).ok()
}

fn corpus() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/cedar");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
        .iter()
        .flat_map(|file| {
            serde_saphyr::from_str::<Vec<Case>>(&std::fs::read_to_string(file).unwrap())
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
        })
        .collect()
}

fn now() -> Timestamp {
    Timestamp::parse("2026-03-01T09:30:00Z").unwrap()
}

fn ours(case: &Case) -> Says {
    let Some(release) = release(&case.text()) else { return Says::Refused };
    let program = release.cedar.as_ref().unwrap();
    if release.contract.check(&case.input()).is_err() {
        return Says::Invalid;
    }
    match program.question(&case.input(), now(), None) {
        Err(Unasked::Input(..)) => Says::Invalid,
        Err(Unasked::Fault(_)) => Says::Fault,
        Ok(question) => match program.answer(&question) {
            Err(EngineFault { .. }) => Says::Fault,
            Ok(Answer { allowed, denied }) if denied.is_empty() && !allowed.is_empty() => Says::Allow,
            Ok(Answer { .. }) => Says::Deny,
        },
    }
}

#[test]
fn what_a_policy_may_say_comes_to_what_the_corpus_says() {
    let cases = corpus();
    assert!(cases.len() >= 80, "{}", cases.len());
    let wrong: Vec<String> = cases
        .iter()
        .map(|case| (case, ours(case)))
        .filter(|(case, says)| *says != case.says)
        .map(|(case, says)| format!("{}: expected {:?}, came to {says:?}", case.about, case.says))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for case in &cases {
        assert_eq!(case.cedarpy.is_some(), case.why.is_some(), "{}", case.about);
    }
}

#[test]
#[ignore = "needs cedarpy, which peers/install.sh installs; `make peers` runs it"]
fn cedarpy_says_what_the_corpus_says() {
    let cases = corpus();
    let plain = release("@id(\"it\")\npermit (principal, action, resource);\n").unwrap();
    let asked: Vec<(&Case, Value)> = cases
        .iter()
        .filter(|case| case.says != Says::Invalid)
        .map(|case| {
            let program = plain.cedar.as_ref().unwrap();
            // The same request, entities and context that our engine is asked with.
            let Ok(question) = program.question(&case.input(), now(), None) else { panic!("{}", case.about) };
            let uid = |uid: &cedar_policy::EntityUid| {
                Value::from(object! { "type" => uid.type_name().to_string(), "id" => uid.id().unescaped() })
            };
            let json =
                |value: &serde_json::Value| parse(value.to_string().as_bytes(), &Limits::MESSAGE).unwrap();
            let request = &question.request;
            let request: Object = object! {
                "principal" => uid(request.principal().unwrap()),
                "action" => uid(request.action().unwrap()),
                "resource" => uid(request.resource().unwrap()),
                "context" => json(&request.context().unwrap().to_json_value().unwrap()),
            };
            let question = object! {
                "policies" => case.text(),
                "entities" => json(&question.entities.to_json_value().unwrap()),
                "schema" => program.schema_text(),
                "request" => request,
            };
            (case, Value::from(question))
        })
        .collect();
    let questions = Value::Array(asked.iter().map(|(_, question)| question.clone()).collect());
    let answers = peers::judged("cedar", &questions);
    let mut wrong = Vec::new();
    for ((case, _), answer) in asked.iter().zip(answers) {
        let errors = answer.get("errors").and_then(Value::as_i64).unwrap_or_default();
        let says = match answer.get("decision").and_then(Value::as_str) {
            _ if errors > 0 => Says::Fault,
            Some("allow") => Says::Allow,
            Some("deny") => Says::Deny,
            _ => Says::Refused,
        };
        if says != case.cedarpy.unwrap_or(case.says) {
            wrong.push(format!(
                "{}: expected {:?}, came to {says:?}: {answer}",
                case.about,
                case.cedarpy.unwrap_or(case.says)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
