//! `placet workflow move`, and what a stop hits: acts that tell more than that they are done.

use clap::Args;
use placet_json::{Object, Value, object};

use super::common::{Remote, Why, cell, in_tenant, listing};
use crate::{
    admin::{block_on, segment},
    failure::Failure,
    output::show,
};

/// A move to another state.
#[derive(Debug, Args)]
pub(crate) struct Move {
    /// The workflow, as TENANT/WORKFLOW
    workflow: String,
    /// The state, of those that its type names
    state: String,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    remote: Remote,
}

impl Move {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let (tenant, id) = in_tenant(&self.workflow, "workflow")?;
        let path = format!("/v1/tenants/{}/workflows/{}/move", segment(tenant), segment(id));
        let body = self.why.onto(object! { "to" => self.state.as_str() });
        let answer = block_on(self.remote.server.open()?.post(&path, &body))?;
        show(self.remote.format, &answer, |answer| {
            let state = &self.state;
            let is = |name: &str| answer.get(name).and_then(Value::as_bool) == Some(true);
            match (is("moved"), is("closed")) {
                (true, true) => format!("workflow {tenant}/{id} is `{state}`, and closed"),
                (true, false) => format!("workflow {tenant}/{id} is `{state}`"),
                (false, _) => format!(
                    "yes to `{state}` as {}; {tenant}/{id} stays `{}` until the same is said by: {}",
                    cell(answer, "role"),
                    cell(answer, "from"),
                    cell(answer, "then")
                ),
            }
        })
    }
}

/// The calls that a stop hits, below a line that says what is stopped.
pub(crate) fn hit(told: &str, answer: &Value) -> String {
    let calls = answer.get("in_flight").and_then(Value::as_array).unwrap_or_default();
    let columns = [
        ("DECISION", "decision"),
        ("TENANT", "tenant"),
        ("WORKFLOW", "workflow"),
        ("AGENTS", "chain"),
        ("TOOL", "tool"),
        ("SINCE", "since"),
    ];
    let mut lines = match calls.len() {
        0 => vec![format!("{told}; no call was on its way")],
        count => vec![
            format!("{told}; on their way and cancelled: {count}"),
            listing(answer, "in_flight", &columns),
        ],
    };
    if let Some(elsewhere) = answer.get("elsewhere").and_then(Value::as_u64) {
        lines.push(format!("and {elsewhere} in tenants that you don't see"));
    }
    if let Some(unknown) = answer.get("in_flight_unknown").and_then(Value::as_str) {
        lines.push(unknown.to_owned());
    }
    lines.join("\n")
}

/// `NAME=TEXT` and `NAME:=JSON` as attributes.
pub(crate) fn attributes(texts: &[String]) -> Result<Object, Failure> {
    let mut object = Object::new();
    for text in texts {
        let parsed = match text.split_once('=') {
            None => {
                return Err(Failure::new(format!("`{text}` is no attribute"))
                    .remedy("write it as NAME=TEXT, or as NAME:=JSON for a number, a list, true or false"));
            }
            Some((name, value)) => match name.strip_suffix(':') {
                None => (name, Value::from(value)),
                Some(name) => match placet_json::parse(value.as_bytes(), &placet_json::Limits::MESSAGE) {
                    Ok(value) => (name, value),
                    Err(error) => {
                        return Err(Failure::new(format!("the attribute `{name}` is no JSON: {error}")));
                    }
                },
            },
        };
        if object.insert(parsed.0, parsed.1).is_some() {
            return Err(Failure::new(format!("the attribute `{}` is given twice", parsed.0)));
        }
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_texts_or_json() {
        let read = attributes(&["a=1".to_owned(), "b:=1".to_owned(), "c:=[\"x\"]".to_owned()]).unwrap();
        assert_eq!(Value::from(read).to_string(), r#"{"a":"1","b":1,"c":["x"]}"#);
        for wrong in [&["a"][..], &["a=1", "a=2"], &["a:=["]] {
            let texts: Vec<String> = wrong.iter().map(|text| (*text).to_owned()).collect();
            assert!(attributes(&texts).is_err(), "{wrong:?}");
        }
    }
}
