//! From what an upstream answered to what came of the call.

use std::collections::BTreeSet;

use placet_core::authority::{Answer, Ending, Outcome};
use placet_core::{Call, Digest, Envelope};
use placet_json::{Object, Value};
use placet_mcp::RpcError;

use crate::request::{Inspect, Verdict};
use crate::scan::Scanner;

/// What has to be known to judge an answer.
pub(crate) struct Judge<'a> {
    pub(crate) call: &'a Call,
    pub(crate) envelope: &'a Envelope,
    pub(crate) inspect: &'a Inspect,
    pub(crate) scanner: &'a Scanner,
    /// Whether a side message held a secret.
    pub(crate) leaked: bool,
}

impl Judge<'_> {
    /// What came of the call, given its whole answer.
    pub(crate) fn outcome(&self, answer: Result<Object, RpcError>, raw: &[u8], sent: u64) -> Outcome {
        let digest = Some(Digest::of(raw));
        let (ending, answer, detail) = match answer {
            Err(error) => self.failed(error),
            Ok(result) => self.done(result.into()),
        };
        Outcome { ending, answer, digest, sent, labels: self.call.labels.clone(), detail }
    }

    fn failed(&self, error: RpcError) -> (Ending, Answer, String) {
        let code = error.code;
        let error = error.into_value();
        if self.leaked || self.scanner.finds(&error) {
            return secret();
        }
        (Ending::Failed, Answer::Error(error), format!("the upstream answered with error {code}"))
    }

    fn done(&self, result: Value) -> (Ending, Answer, String) {
        if self.leaked || self.scanner.finds(&result) {
            return secret();
        }
        match result.get("resultType").map(Value::as_str) {
            None | Some(Some("complete")) => {}
            Some(Some("input_required")) => {
                let detail = "the upstream asked the agent's client for input, which is refused";
                return (Ending::Failed, Answer::Nothing, detail.to_owned());
            }
            Some(_) => {
                // A task, for one: what was started may still happen.
                let detail = "the upstream answered with a kind of result that this gateway doesn't know";
                return (Ending::Unknown, Answer::Nothing, detail.to_owned());
            }
        }
        match self.inspect.ask(self.call, self.envelope, &result) {
            Verdict::Clean => (Ending::Done, Answer::Result(result), String::new()),
            Verdict::Foreign(detail) => (Ending::Filtered, Answer::Nothing, detail),
        }
    }
}

fn secret() -> (Ending, Answer, String) {
    (Ending::Filtered, Answer::Nothing, "the answer held the credential of the call".to_owned())
}

/// What came of a call without a whole answer: nothing if no byte left, else nobody knows.
pub(crate) fn unanswered(call: &Call, sent: u64, detail: impl Into<String>) -> Outcome {
    let ending = if sent == 0 { Ending::Failed } else { Ending::Unknown };
    without_answer(call, ending, sent, detail)
}

/// What came of a call that the upstream turned away without an answer to it.
pub(crate) fn refused(call: &Call, sent: u64, detail: impl Into<String>) -> Outcome {
    without_answer(call, Ending::Failed, sent, detail)
}

fn without_answer(call: &Call, ending: Ending, sent: u64, detail: impl Into<String>) -> Outcome {
    let labels = if sent == 0 { BTreeSet::new() } else { call.labels.clone() };
    Outcome { ending, answer: Answer::Nothing, digest: None, sent, labels, detail: detail.into() }
}
