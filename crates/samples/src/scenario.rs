//! What a scripted client does and how its results are judged.
//!
//! The JSON form is shared with the clients of other SDKs under `peers/clients`, so that one scenario runs
//! through all of them; `peers/README.md` describes it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// How the protocol revision is agreed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// `server/discover` first, `initialize` if the server doesn't know it.
    #[default]
    Auto,
    /// `initialize` only: 2025-11-25 and older.
    Legacy,
    /// `server/discover` only: 2026-07-28.
    Modern,
}

/// A run of one client against one server.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// How the revision is agreed on.
    #[serde(default)]
    pub mode: Mode,
    /// Headers of every HTTP request; without meaning for a command.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// How long one step may take, in milliseconds; progress starts the time anew.
    #[serde(default = "default_timeout")]
    pub timeout_ms: u64,
    /// What is done, in this order.
    pub steps: Vec<Step>,
}

const fn default_timeout() -> u64 {
    20_000
}

/// One act of the client and what is expected of it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
#[expect(clippy::large_enum_variant, reason = "a handful of them is parsed once")]
pub enum Step {
    /// `tools/list`, all pages.
    ListTools {
        /// Names that must be listed.
        #[serde(default)]
        contains: Vec<String>,
        /// Names that must not be listed.
        #[serde(default)]
        lacks: Vec<String>,
    },
    /// `tools/call`.
    Call(Call),
    /// `ping`; skipped on revisions that have none.
    Ping {},
}

/// A tool call and what is expected of it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The tool's name.
    pub tool: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Map<String, Value>,
    /// Further members of the request's `_meta`.
    #[serde(default)]
    pub meta: Map<String, Value>,
    /// Whether the progress notifications go into the report.
    #[serde(default)]
    pub progress: bool,
    /// After how many milliseconds the call is taken back.
    pub cancel_after_ms: Option<u64>,
    /// What should become of it; none: nothing is expected (`"any"` in JSON).
    #[serde(default = "expect_ok", deserialize_with = "outcome_or_any")]
    pub expect: Option<Outcome>,
    /// The code that a denial or an error must have: `structuredContent.placet.code` or the JSON-RPC code.
    pub code: Option<Value>,
    /// What the text blocks or the error's message must contain.
    pub text: Option<String>,
    /// Members that the structured content must have.
    pub structured: Option<Value>,
    /// How many progress notifications there must be at least.
    #[serde(default)]
    pub progress_at_least: usize,
}

impl Call {
    /// A call that should succeed.
    #[must_use]
    pub fn new(tool: impl Into<String>, args: Map<String, Value>) -> Self {
        Self { tool: tool.into(), args, expect: expect_ok(), ..Self::default() }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "serde wants the field's type")]
const fn expect_ok() -> Option<Outcome> {
    Some(Outcome::Ok)
}

fn outcome_or_any<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Option<Outcome>, D::Error> {
    let value = Value::deserialize(input)?;
    if value == "any" {
        return Ok(None);
    }
    serde_json::from_value(value).map(Some).map_err(serde::de::Error::custom)
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The server did it.
    Ok,
    /// A result with `isError`: the tool, or a gateway before it, said no.
    ToolError,
    /// A JSON-RPC error.
    ProtocolError,
    /// The client took it back.
    Cancelled,
    /// No answer: time-out, closed connection, an answer that couldn't be read.
    Failed,
    /// The revision has no such method.
    Skipped,
}

/// What a client saw.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The SDK and its version.
    pub client: String,
    /// The revision agreed on.
    pub protocol_version: String,
    /// Name and version as the server tells them.
    pub server: Option<Value>,
    /// Tool names of the last listing.
    pub tools: Vec<String>,
    /// One for each step.
    pub results: Vec<StepResult>,
    /// Whether every step came out as expected.
    pub as_expected: bool,
}

/// What became of one step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepResult {
    /// The step: `list_tools`, `call` or `ping`.
    pub op: &'static str,
    /// The called tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The listed tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
    /// What became of it.
    pub outcome: Outcome,
    /// The text blocks, joined by line breaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The structured content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub structured: Option<Value>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// The progress notifications, if the step asked for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Vec<Progress>>,
    /// How long it took, in milliseconds.
    pub ms: u64,
    /// Whether it came out as expected.
    pub as_expected: bool,
    /// If not: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unexpected: Option<String>,
}

impl StepResult {
    pub(crate) const fn new(op: &'static str, outcome: Outcome) -> Self {
        Self {
            op,
            tool: None,
            tools: None,
            outcome,
            text: None,
            structured: None,
            error: None,
            progress: None,
            ms: 0,
            as_expected: true,
            unexpected: None,
        }
    }

    /// The code of a denial or of an error.
    #[must_use]
    pub fn code(&self) -> Option<Value> {
        let denial = self.structured.as_ref().and_then(|content| content.pointer("/placet/code"));
        denial.cloned().or_else(|| self.error.as_ref()?.code.map(Value::from))
    }
}

/// An error as the client saw it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failure {
    /// The JSON-RPC code, if the server answered with an error.
    pub code: Option<i64>,
    /// The message.
    pub message: String,
    /// Further data of the server.
    pub data: Option<Value>,
}

/// One progress notification.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Progress {
    /// How far.
    pub progress: f64,
    /// Of how much.
    pub total: Option<f64>,
    /// In words.
    pub message: Option<String>,
}

/// Why the result is not what the step expects.
pub(crate) fn judge(step: &Step, result: &StepResult) -> Option<String> {
    match step {
        Step::ListTools { contains, lacks } => {
            let listed = result.tools.as_deref().unwrap_or_default();
            if result.outcome != Outcome::Ok {
                return Some(format!("outcome {:?}, not Ok", result.outcome));
            }
            if let Some(missing) = contains.iter().find(|name| !listed.contains(name)) {
                return Some(format!("not listed: {missing}"));
            }
            lacks.iter().find(|name| listed.contains(name)).map(|shown| format!("listed: {shown}"))
        }
        Step::Ping {} => (!matches!(result.outcome, Outcome::Ok | Outcome::Skipped))
            .then(|| format!("outcome {:?}, not Ok", result.outcome)),
        Step::Call(call) => judge_call(call, result),
    }
}

fn judge_call(call: &Call, result: &StepResult) -> Option<String> {
    if let Some(expected) = call.expect
        && expected != result.outcome
    {
        return Some(format!("outcome {:?}, not {expected:?}", result.outcome));
    }
    if let Some(expected) = &call.code
        && result.code().as_ref() != Some(expected)
    {
        return Some(format!("code {:?}, not {expected}", result.code()));
    }
    if let Some(expected) = &call.text {
        let message = result.error.as_ref().map(|error| error.message.as_str());
        if !result.text.as_deref().or(message).unwrap_or_default().contains(expected.as_str()) {
            return Some(format!("text lacks {expected:?}"));
        }
    }
    if let Some(expected) = &call.structured
        && !within(expected, result.structured.as_ref().unwrap_or(&Value::Null))
    {
        return Some("structured content differs".to_owned());
    }
    let seen = result.progress.as_ref().map_or(0, Vec::len);
    (seen < call.progress_at_least).then(|| format!("progress only {seen} times"))
}

/// Is every member of `part` also in `whole`, equal? Arrays as a whole, numbers by their value.
fn within(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            part.iter().all(|(name, value)| whole.get(name).is_some_and(|other| within(value, other)))
        }
        (Value::Array(part), Value::Array(whole)) => {
            part.len() == whole.len() && part.iter().zip(whole).all(|(value, other)| within(value, other))
        }
        (Value::Number(part), Value::Number(whole)) => part == whole || part.as_f64() == whole.as_f64(),
        _ => part == whole,
    }
}

#[cfg(test)]
mod tests {
    use super::{Call, Outcome, Scenario, Step, StepResult, judge};
    use serde_json::json;

    fn call(expectation: &serde_json::Value) -> Step {
        let mut step = json!({ "op": "call", "tool": "refund" });
        step.as_object_mut().unwrap().extend(expectation.as_object().unwrap().clone());
        serde_json::from_value(step).unwrap()
    }

    fn denied() -> StepResult {
        StepResult {
            structured: Some(json!({ "placet": { "code": "workflow_expired" }, "list": [1, 2], "n": 80.0 })),
            text: Some("the workflow expired".to_owned()),
            ..StepResult::new("call", Outcome::ToolError)
        }
    }

    #[test]
    fn a_denial_is_judged_by_outcome_code_and_text() {
        let fits = json!({ "expect": "tool_error", "code": "workflow_expired", "text": "expired",
                           "structured": { "list": [1, 2], "n": 80 } });
        assert_eq!(judge(&call(&fits), &denied()), None);
        assert_eq!(judge(&call(&json!({ "expect": "any" })), &denied()), None);
        for misfit in [
            json!({}),
            json!({ "expect": "protocol_error" }),
            json!({ "expect": "any", "code": "resource_unknown" }),
            json!({ "expect": "any", "text": "approval" }),
            json!({ "expect": "any", "structured": { "list": [1] } }),
            json!({ "expect": "any", "progress_at_least": 1 }),
        ] {
            assert!(judge(&call(&misfit), &denied()).is_some(), "{misfit}");
        }
    }

    #[test]
    fn what_a_scenario_does_not_know_is_an_error() {
        let read = |text: &str| serde_json::from_str::<Scenario>(text);
        assert!(read(r#"{"steps":[{"op":"call","tool":"a","expects":"ok"}]}"#).is_err());
        assert!(read(r#"{"steps":[{"op":"cal","tool":"a"}]}"#).is_err());
        assert!(read(r#"{"steps":[{"op":"call","tool":"a","expect":"okay"}]}"#).is_err());
        let scenario = read(r#"{"steps":[{"op":"call","tool":"a"},{"op":"ping"}]}"#).unwrap();
        assert_eq!(scenario.steps[0], Step::Call(Call::new("a", serde_json::Map::new())));
    }
}
