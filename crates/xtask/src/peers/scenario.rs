//! What a client does through the gateway: the steps that work directly, and what the gateway adds.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{release, stage::Upstream};

/// How much of an answer is told.
const TOLD: usize = 200;

/// The column of what is the gateway's own: revision, listing, ping, refusals.
pub(super) const GATEWAY: &str = "gateway";

/// Steps, each with the column that it is told in.
#[derive(Debug)]
pub(super) struct Scenario {
    steps: Vec<Step>,
    listed: Vec<String>,
}

#[derive(Debug)]
struct Step {
    column: String,
    value: Value,
    becomes: Becomes,
}

/// What the gateway makes of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Becomes {
    /// No call.
    Nothing,
    Permit,
    Denial,
}

/// What is wrong with one client and one upstream.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell(Vec<String>);

impl Cell {
    pub(super) fn problem(&self) -> Option<String> {
        if self.0.is_empty() { None } else { Some(self.0.join("; ")) }
    }
}

impl Scenario {
    /// On the common path, where names have a prefix, or on one upstream's own.
    pub(super) fn of(upstreams: &[Upstream], only: Option<&str>) -> Self {
        let here: Vec<&Upstream> =
            upstreams.iter().filter(|one| only.is_none_or(|only| only == one.name)).collect();
        let shown = |upstream: &Upstream, tool: &str| match only {
            Some(_) => tool.to_owned(),
            None => format!("{}__{tool}", upstream.name),
        };
        let mut listed: Vec<String> =
            here.iter().flat_map(|one| one.tools.iter().map(|tool| shown(one, &tool.name))).collect();
        listed.sort();
        let gateway = |value: Value, becomes| Step { column: GATEWAY.to_owned(), value, becomes };
        let mut steps = vec![
            gateway(json!({ "op": "list_tools", "contains": listed }), Becomes::Nothing),
            gateway(json!({ "op": "ping" }), Becomes::Nothing),
        ];
        for upstream in &here {
            for step in upstream.calls() {
                let name = step.get("tool").and_then(Value::as_str).unwrap_or_default();
                let mut members = step.as_object().cloned().unwrap_or_default();
                members.insert("tool".to_owned(), shown(upstream, name).into());
                let fits = upstream.tool(name).is_some_and(|tool| tool.fits(step.get("args")));
                if !fits {
                    // The gateway says no before the upstream could.
                    members.insert("expect".to_owned(), "tool_error".into());
                    members.insert("code".to_owned(), "argument_invalid".into());
                }
                let becomes = if fits { Becomes::Permit } else { Becomes::Denial };
                steps.push(Step { column: upstream.name.clone(), value: members.into(), becomes });
            }
        }
        if let Some(everything) = here.iter().find(|one| one.name == release::EVERYTHING) {
            let echo = shown(everything, release::ECHO);
            let unknown = |tool: String| json!({ "op": "call", "tool": tool, "expect": "protocol_error", "code": -32602 });
            let denials = [
                // By policy: a result that the model reads, with its reason.
                json!({ "op": "call", "tool": echo, "args": { "message": release::FORBIDDEN }, "expect": "tool_error",
                        "code": release::CODE, "text": release::TEXT }),
                // By the catalog: an argument that isn't there.
                json!({ "op": "call", "tool": echo, "args": { "message": "hello", "loud": true }, "expect": "tool_error",
                        "code": "argument_invalid" }),
                // The upstream has it, the catalog doesn't; and nobody has it.
                unknown(shown(everything, release::HIDDEN)),
                unknown(shown(everything, "no-such-tool")),
                unknown("no_such_tool_anywhere".to_owned()),
            ];
            steps.extend(denials.into_iter().map(|value| gateway(value, Becomes::Denial)));
        }
        Self { steps, listed }
    }

    /// As the clients read them.
    pub(super) fn steps(&self) -> Vec<&Value> {
        self.steps.iter().map(|step| &step.value).collect()
    }
    /// How many decisions this makes.
    pub(super) fn calls(&self) -> u64 {
        self.steps.iter().filter(|step| step.becomes != Becomes::Nothing).count() as u64
    }
    /// How many of them are permits.
    pub(super) fn permits(&self) -> u64 {
        self.steps.iter().filter(|step| step.becomes == Becomes::Permit).count() as u64
    }
    /// How many of those are taken back on the way.
    pub(super) fn cancelled(&self) -> u64 {
        self.steps.iter().filter(|step| step.value.get("cancel_after_ms").is_some()).count() as u64
    }

    /// Sorts a client's report into columns.
    pub(super) fn judge(&self, report: &Result<Value, String>, revision: &str) -> BTreeMap<String, Cell> {
        let mut cells: BTreeMap<String, Cell> =
            self.steps.iter().map(|step| (step.column.clone(), Cell::default())).collect();
        let mut wrong =
            |column: &str, problem: String| cells.entry(column.to_owned()).or_default().0.push(problem);
        let report = match report {
            Ok(report) => report,
            Err(problem) => {
                for step in &self.steps {
                    wrong(&step.column, problem.clone());
                }
                for cell in cells.values_mut() {
                    cell.0.truncate(1);
                }
                return cells;
            }
        };
        let results = report.get("results").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if results.len() != self.steps.len() {
            wrong(GATEWAY, format!("{} results for {} steps", results.len(), self.steps.len()));
        }
        for (step, result) in self.steps.iter().zip(results) {
            if result.get("as_expected") != Some(&Value::Bool(true)) {
                wrong(&step.column, told(&step.value, result));
            }
        }
        let agreed = report.get("protocol_version").and_then(Value::as_str).unwrap_or_default();
        if agreed != revision {
            wrong(GATEWAY, format!("revision {agreed}, not {revision}"));
        }
        let mut tools: Vec<&str> = report
            .get("tools")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        tools.sort_unstable();
        let more: Vec<&&str> =
            tools.iter().filter(|tool| !self.listed.iter().any(|listed| listed == *tool)).collect();
        if !more.is_empty() {
            wrong(GATEWAY, format!("also listed: {more:?}"));
        }
        cells
    }
}

/// A step that didn't come out as expected, on one line.
fn told(step: &Value, result: &Value) -> String {
    let text = |value: &Value, pointer: &str| {
        value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let name = if step.get("tool").is_some() { text(step, "/tool") } else { text(step, "/op") };
    let answer = text(result, "/error/message") + &text(result, "/text");
    let answer: String = answer.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(TOLD).collect();
    format!("{name}: {}; the answer: {answer}", text(result, "/unexpected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstreams() -> Vec<Upstream> {
        let tool = |name: &str, properties: Value| {
            json!({ "name": name, "digest": "sha256:00", "definition": {
                "inputSchema": { "properties": properties, "required": ["message"] } } })
        };
        let echo = tool("echo", json!({ "message": { "type": "string" }, "times": { "type": "number" } }));
        let steps = json!([
            { "op": "list_tools", "contains": ["echo"] },
            { "op": "call", "tool": "echo", "args": { "message": "hello" } },
            { "op": "call", "tool": "echo", "args": { "message": "hello" }, "cancel_after_ms": 5, "expect": "cancelled" },
            { "op": "call", "tool": "echo", "args": { "message": "hello", "times": "two" }, "expect": "any" },
        ]);
        vec![Upstream::new("everything", json!({ "steps": steps }), [&echo])]
    }

    /// A report in which all went well.
    fn report(scenario: &Scenario) -> Value {
        let results: Vec<Value> = scenario.steps.iter().map(|_| json!({ "as_expected": true })).collect();
        json!({ "protocol_version": "2026-07-28", "tools": ["everything__echo"], "results": results })
    }

    fn problems(scenario: &Scenario, report: &Result<Value, String>) -> usize {
        let cells = scenario.judge(report, "2026-07-28");
        cells.values().filter(|cell| cell.problem().is_some()).count()
    }

    #[test]
    fn a_step_becomes_what_the_gateway_makes_of_it() {
        let scenario = Scenario::of(&upstreams(), None);
        // Three of the upstream's, of which one doesn't fit the types, and the gateway's own five refusals.
        assert_eq!((scenario.calls(), scenario.permits(), scenario.cancelled()), (8, 2, 1));
        let steps = scenario.steps();
        assert!(
            steps.iter().any(|step| step["tool"] == "everything__echo" && step["code"] == "argument_invalid")
        );
        let own = Scenario::of(&upstreams(), Some("everything"));
        assert!(own.steps().iter().any(|step| step["tool"] == "echo"));
    }

    #[test]
    fn what_went_wrong_is_told_in_its_column() {
        let scenario = Scenario::of(&upstreams(), None);
        let right = report(&scenario);
        assert_eq!(problems(&scenario, &Ok(right.clone())), 0);
        let changed = |pointer: &str, value: Value| {
            let mut other = right.clone();
            *other.pointer_mut(pointer).unwrap() = value;
            other
        };
        for at in 0..scenario.steps.len() {
            let other = changed(&format!("/results/{at}/as_expected"), json!(false));
            let cells = scenario.judge(&Ok(other), "2026-07-28");
            assert!(cells[&scenario.steps[at].column].problem().is_some(), "step {at} went unseen");
        }
        assert_eq!(problems(&scenario, &Ok(changed("/protocol_version", json!("2025-11-25")))), 1);
        assert_eq!(problems(&scenario, &Ok(changed("/results", json!([])))), 1);
        assert_eq!(
            problems(&scenario, &Ok(changed("/tools", json!(["everything__echo", "everything__get-env"])))),
            1
        );
        assert_eq!(problems(&scenario, &Err("no report".to_owned())), 2);
    }
}
