//! Spans of governed calls, for whoever collects them.
//!
//! A call is one span, [`call`], with a child for each [`Stage`]. All have the target [`TARGET`], so that one filter
//! switches them, and where it is off none is made. They name who asked for what and what became of it; arguments,
//! answers and credentials are never in them.

use placet_core::{DecisionId, Envelope};
use tracing::{Span, field::Empty, info_span};

use crate::Stage;

/// The target of all spans of calls. No event has it.
pub const TARGET: &str = "placet_trace";

/// The most characters of a tool's or action's name that nobody has checked yet.
const MAX_NAME: usize = 256;

/// The span of one call; its attributes are recorded as they become known. The rim opens it and runs the call in it.
#[must_use]
pub fn call() -> Span {
    info_span!(
        target: TARGET,
        parent: None,
        "placet.call",
        "otel.kind" = "server",
        "otel.status_code" = Empty,
        "placet.tenant" = Empty,
        "placet.agent" = Empty,
        "placet.human" = Empty,
        "placet.workflow" = Empty,
        "placet.intent" = Empty,
        "placet.action" = Empty,
        "placet.tool" = Empty,
        "placet.decision.id" = Empty,
        "placet.decision" = Empty,
        "placet.reason.code" = Empty,
        "placet.ending" = Empty,
    )
}

/// The span of a stage, below the one that is entered.
pub(crate) fn stage(stage: Stage) -> Span {
    info_span!(target: TARGET, "placet.stage", "otel.name" = stage.as_str())
}

/// Who asks for what, with which decision's identifier.
pub(crate) fn asked(envelope: &Envelope, id: &DecisionId, tool: impl FnOnce() -> String) {
    on_call(|span| {
        span.record("placet.tenant", envelope.tenant().as_str())
            .record("placet.agent", envelope.agent().as_str())
            .record("placet.human", envelope.human().as_str())
            .record("placet.workflow", tracing::field::display(envelope.workflow()))
            .record("placet.intent", envelope.intent().as_str())
            .record("placet.tool", cut(&tool()))
            .record("placet.decision.id", id.as_str());
    });
}

/// The action, as the catalog names it; the method where it doesn't.
pub(crate) fn action(name: &str) {
    on_call(|span| {
        span.record("placet.action", cut(name));
    });
}

/// What was decided: `permit` or `deny`, with the first reason's code.
pub(crate) fn decided(decision: &'static str, code: &str) {
    on_call(|span| {
        span.record("placet.decision", decision);
        if !code.is_empty() {
            span.record("placet.reason.code", code);
        }
    });
}

/// How a permitted call ended.
pub(crate) fn ended(ending: &'static str) {
    on_call(|span| {
        span.record("placet.ending", ending);
    });
}

/// Does this with the span that is entered if there's one of a call.
fn on_call(record: impl FnOnce(&Span)) {
    let span = Span::current();
    if span.metadata().is_some_and(|metadata| metadata.target() == TARGET) {
        record(&span);
    }
}

fn cut(name: &str) -> &str {
    name.char_indices().nth(MAX_NAME).and_then(|(end, _)| name.get(..end)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(cut("crm.get_case"), "crm.get_case");
        assert_eq!(cut(&"é".repeat(300)), "é".repeat(256));
    }

    #[test]
    fn without_a_collector_no_span_is_made() {
        assert!(call().is_disabled());
        assert!(stage(Stage::Decide).is_disabled());
    }
}
