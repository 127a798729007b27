//! The played agent: an ordinary MCP client (rmcp) that speaks to `placet connect` over stdio, as any client would.

use std::{collections::BTreeMap, path::Path, time::Duration};

use placet_samples::{
    client::{Session, Target},
    scenario::{Call, Mode, Outcome, StepResult},
};
use serde_json::{Map, Value, json};

use crate::failure::{Failure, OrFail};

const PATIENCE: Duration = Duration::from_secs(20);

/// A connected agent.
pub(super) struct Agent {
    session: Session,
}

/// What a call came to, as the agent saw it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) outcome: Outcome,
    /// The reason's code, for a refusal.
    pub(super) code: String,
    /// One sentence, for a refusal.
    pub(super) message: String,
    /// The decision, for a refusal.
    pub(super) decision: String,
    /// What would help.
    pub(super) remedy: Option<String>,
    /// The tool's own answer.
    pub(super) answer: Value,
    /// All of what came, for comparing two refusals.
    pub(super) whole: String,
}

impl Agent {
    /// Starts `placet connect` with these arguments and speaks MCP to it.
    pub(super) async fn start(arguments: &[&str], mode: Mode) -> Result<Self, Failure> {
        let exe = std::env::current_exe().or_fail("can't find this program")?;
        let mut command = vec![exe.display().to_string(), "connect".to_owned()];
        command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let session = Session::connect(&Target::Command(command), mode, &BTreeMap::new(), PATIENCE)
            .await
            .or_fail("the agent can't connect")?;
        Ok(Self { session })
    }

    /// An agent with a standing key, straight at a tool.
    pub(super) async fn with_standing_key(url: &str, key: &str) -> Result<Self, Failure> {
        let headers = BTreeMap::from([("authorization".to_owned(), format!("Bearer {key}"))]);
        let session = Session::connect(&Target::Url(url.to_owned()), Mode::Auto, &headers, PATIENCE)
            .await
            .or_fail(format_args!("can't reach {url}"))?;
        Ok(Self { session })
    }

    pub(super) fn revision(&self) -> &str {
        self.session.protocol_version()
    }

    pub(super) async fn tools(&mut self) -> Vec<String> {
        self.session.list_tools().await.tools.unwrap_or_default()
    }

    pub(super) async fn call(&mut self, tool: &str, arguments: Value) -> Seen {
        self.call_for(tool, arguments, None).await
    }

    /// A call that names its intent.
    pub(super) async fn call_for(&mut self, tool: &str, arguments: Value, intent: Option<&str>) -> Seen {
        let arguments = match arguments {
            Value::Object(map) => map,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Map::new()
            }
        };
        let mut call = Call::new(tool, arguments);
        call.expect = None;
        if let Some(intent) = intent {
            call.meta.insert("dev.placet/intent".to_owned(), json!(intent));
        }
        Seen::of(self.session.call(&call).await)
    }

    pub(super) async fn end(self) {
        self.session.close().await;
    }
}

impl Seen {
    fn of(result: StepResult) -> Self {
        let data = result
            .error
            .as_ref()
            .and_then(|error| error.data.clone())
            .or_else(|| result.structured.clone())
            .unwrap_or(Value::Null);
        let placet = data.get("placet").cloned().unwrap_or(Value::Null);
        let text = |name: &str| placet.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut code = text("code");
        if code.is_empty() {
            placet.get("ending").and_then(Value::as_str).unwrap_or_default().clone_into(&mut code);
        }
        let mut message = text("message");
        if message.is_empty() {
            message = result
                .error
                .as_ref()
                .map(|error| error.message.clone())
                .or_else(|| result.text.clone())
                .unwrap_or_default();
        }
        let decision = text("decision_id");
        let whole = format!("{:?} {} {:?} {:?}", result.outcome, message, result.text, data)
            .replace(&decision, "dc_…");
        Self {
            outcome: result.outcome,
            code,
            message,
            decision,
            remedy: placet.get("remedy").and_then(Value::as_str).map(str::to_owned),
            answer: result.structured.unwrap_or(Value::Null),
            whole,
        }
    }

    pub(super) fn permitted(&self) -> bool {
        self.outcome == Outcome::Ok
    }
    pub(super) fn denied(&self, code: &str) -> bool {
        !self.permitted() && self.code == code
    }
}

/// A path as text, for a command line.
pub(super) fn text(path: &Path) -> String {
    path.display().to_string()
}
