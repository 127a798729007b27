//! Holding what a decision comes to now against its record.

use placet_core::{AgentId, Basis, Code, Determining, Digest, Name, Reason};
use placet_json::{Value, object};
use placet_record::{AskedRecord, DecisionRecord};

use crate::{
    again::Now,
    report::{Difference, What},
};

/// Where a record contradicts itself: its digests aren't those of its parts.
pub(crate) fn own_evidence(record: &DecisionRecord, basis: &Basis) -> Vec<Difference> {
    let mut differences = Vec::new();
    let bytes = record.input.as_ref().map(Value::canonical).transpose();
    match bytes {
        Ok(input) => {
            let digest = Digest::of(input.as_ref().map_or(b"", |input| input.as_bytes()));
            if digest != basis.input {
                differences.push(Difference::new(
                    What::Input,
                    basis.input,
                    format!("the input in the record has the digest {digest}"),
                ));
            }
        }
        Err(error) => differences.push(Difference::new(
            What::Input,
            basis.input,
            format!("the input in the record has no canonical form: {error}"),
        )),
    }
    if let AskedRecord::Call(call) = &record.asked {
        let recorded =
            record.document.pointer("/call/arguments_sha256").and_then(Value::as_str).unwrap_or("nothing");
        let digest = Digest::from_bytes(call.arguments.digest()).to_string();
        if recorded != digest {
            differences.push(Difference::new(
                What::Input,
                format!("arguments {recorded}"),
                format!("the arguments in the record have the digest {digest}"),
            ));
        }
    }
    differences
}

/// Whether the chain of agents is the recorded one.
pub(crate) fn held(record: &DecisionRecord, chain: &[AgentId]) -> Option<Difference> {
    let now = Value::Array(chain.iter().map(|agent| Value::from(agent.as_str())).collect());
    differs(What::Chain, recorded(record, "chain"), &now)
}

/// Where a decision differs from its record. Against another release only verdict, codes, remedy and approvals count:
/// places in files and texts differ without meaning.
pub(crate) fn compare(record: &DecisionRecord, basis: &Basis, now: &Now, own: bool) -> Vec<Difference> {
    let mut differences = Vec::new();
    let verdict = |permit: bool| if permit { "permit" } else { "deny" };
    if record.permit != now.permit {
        differences.push(Difference::new(
            What::Decision,
            verdict(record.permit),
            format!("{}{}", verdict(now.permit), because(&now.reasons)),
        ));
    }
    let digest = Digest::of(now.input.as_ref().map_or(b"", |input| input.as_bytes()));
    if own && digest != basis.input {
        let now = now.input.as_ref().map_or_else(
            || "none".to_owned(),
            |input| first_difference(record.input.as_ref(), &input.to_value()),
        );
        differences.push(Difference::new(What::Input, basis.input, format!("{digest}: {now}")));
    }
    let depth = match (own, now.fault) {
        (true, false) => Depth::Whole,
        (true, true) => Depth::Operator,
        (false, _) => Depth::Code,
    };
    let reasons = recorded(record, "reasons")
        .as_array()
        .unwrap_or_default()
        .iter()
        .map(|reason| depth.of_record(reason))
        .collect();
    let reasons_now = now.reasons.iter().map(|reason| depth.of(reason)).collect();
    differences.extend(differs(What::Reasons, &Value::Array(reasons), &Value::Array(reasons_now)));
    if own {
        let determining = now.determining.iter().map(|Determining { policy, at }| {
            Value::from(object! { "at" => at.as_str(), "policy" => policy.as_str() })
        });
        differences.extend(differs(
            What::Determining,
            recorded(record, "determining"),
            &Value::Array(determining.collect()),
        ));
        let obligations = now.obligations.iter().map(|obligation| Value::from(obligation.name.as_str()));
        differences.extend(differs(
            What::Obligations,
            recorded(record, "obligations"),
            &Value::Array(obligations.collect()),
        ));
    }
    let remedy = now.remedy.as_ref().map_or(Value::Null, placet_record::remedy);
    differences.extend(differs(What::Remedy, recorded(record, "remedy"), &remedy));
    let names = |names: &[Name]| Value::Array(names.iter().map(|name| Value::from(name.as_str())).collect());
    differences.extend(differs(What::Spends, &names(&record.spends), &names(&now.spends)));
    differences
}

/// How much of a reason counts.
#[derive(Clone, Copy)]
enum Depth {
    Whole,
    Operator,
    Code,
}

impl Depth {
    fn of(self, reason: &Reason) -> Value {
        let Reason { code, public, operator, policy, at } = reason;
        match self {
            Self::Whole => Value::from(
                object! { "at" => at.as_str(), "code" => code.as_str(), "message" => public.as_str(), "operator" => operator.as_str(), "policy" => policy.as_str() },
            ),
            Self::Operator => {
                Value::from(object! { "code" => code.as_str(), "operator" => operator.as_str() })
            }
            Self::Code => Value::from(code.as_str()),
        }
    }
    fn of_record(self, reason: &Value) -> Value {
        let get = |name: &str| reason.get(name).cloned().unwrap_or(Value::Null);
        match self {
            Self::Whole => reason.clone(),
            Self::Operator => Value::from(object! { "code" => get("code"), "operator" => get("operator") }),
            Self::Code => get("code"),
        }
    }
}

fn because(reasons: &[Reason]) -> String {
    reasons.first().map_or_else(String::new, |reason| format!(" ({}: {})", reason.code, reason.operator))
}

/// The code of an engine's failure as a whole, after which the record doesn't tell the workflow's last permit.
pub(crate) fn is_fault(record: &DecisionRecord) -> bool {
    let code = record.document.pointer("/reasons/0/code").and_then(Value::as_str).unwrap_or_default();
    record.input.is_none()
        && [Code::EngineFault, Code::Limit, Code::ReleaseChanged].iter().any(|fault| fault.as_str() == code)
}

fn recorded<'r>(record: &'r DecisionRecord, name: &str) -> &'r Value {
    record.document.get(name).unwrap_or(&Value::Null)
}

fn differs(what: What, recorded: &Value, now: &Value) -> Option<Difference> {
    (recorded != now).then(|| Difference::new(what, recorded, now))
}

/// The first member by which two documents differ, with both values.
fn first_difference(recorded: Option<&Value>, now: &Value) -> String {
    let Some(mut recorded) = recorded else { return "there was none".to_owned() };
    let (mut now, mut path) = (now, String::new());
    loop {
        let names =
            recorded.as_object().into_iter().chain(now.as_object()).flat_map(placet_json::Object::keys);
        let Some(name) = names.into_iter().find(|name| recorded.get(name) != now.get(name)) else { break };
        path.push('/');
        path.push_str(name);
        match (recorded.get(name), now.get(name)) {
            (Some(below), Some(below_now)) => (recorded, now) = (below, below_now),
            (Some(gone), None) => return format!("`{path}` was {gone} and is missing"),
            (None, Some(new)) => return format!("`{path}` is {new} and was missing"),
            (None, None) => break,
        }
    }
    if path.is_empty() {
        "another document".to_owned()
    } else {
        format!("`{path}` was {recorded} and is {now}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_of_two_documents_is_named() {
        let parse = |text: &str| placet_json::parse(text.as_bytes(), &placet_json::Limits::MESSAGE).unwrap();
        let was = parse(r#"{"a":1,"b":{"c":[1],"d":"x"}}"#);
        for (now, says) in [
            (r#"{"a":1,"b":{"c":[2],"d":"x"}}"#, "`/b/c` was [1] and is [2]"),
            (r#"{"a":1,"b":{"c":[1]}}"#, r#"`/b/d` was "x" and is missing"#),
            (r#"{"a":1,"b":{"c":[1],"d":"x","e":true}}"#, "`/b/e` is true and was missing"),
            (r"[1]", "`/a` was 1 and is missing"),
        ] {
            assert_eq!(first_difference(Some(&was), &parse(now)), says);
        }
        assert_eq!(first_difference(None, &was), "there was none");
    }
}
