//! What the pipeline tells whoever counts.

/// A stage of the pipeline, for its latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Reading what the call's resources lack, where something reads it.
    LookUp,
    /// Catalog and facts: from the message to a call.
    Classify,
    /// The decision.
    Decide,
    /// Until the decision is durable.
    Record,
    /// Credential, connection and the re-check.
    Issue,
    /// The upstream.
    Exchange,
    /// Until the effect is recorded.
    Close,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: &[Self] =
        &[Self::LookUp, Self::Classify, Self::Decide, Self::Record, Self::Issue, Self::Exchange, Self::Close];
    /// As a metric's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LookUp => "look_up",
            Self::Classify => "classify",
            Self::Decide => "decide",
            Self::Record => "record",
            Self::Issue => "issue",
            Self::Exchange => "exchange",
            Self::Close => "close",
        }
    }
}

/// Counts; never decides, never blocks.
pub trait Observer: Send + Sync {
    /// What a lookup had for a call: `read`, `kept` or `nothing`.
    fn looked_up(&self, lookup: &str, outcome: &'static str);
    /// A recorded decision: `permit` or `deny`, and the first reason's code (empty for a permit).
    fn decided(&self, decision: &'static str, code: &str);
    /// A permit that passed a denial over: `observed` or `excepted`, and the code of the denial's first reason.
    fn waived(&self, _how: &'static str, _code: &str) {}
    /// A warrant's ending.
    fn ended(&self, ending: &'static str);
    /// It was found out whether a call of unknown end had its effect: `happened` or `did_not_happen`, by `resolver` or a
    /// `person`.
    fn found_out(&self, _finding: &'static str, _by: &'static str) {}
    /// The status of an HTTP API's answer that is passed on, as a class: `2xx`.
    fn http_answered(&self, _upstream: &str, _class: &'static str) {}
    /// A stage's latency.
    fn took(&self, stage: Stage, elapsed: std::time::Duration);
}

/// Counts nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn looked_up(&self, _: &str, _: &'static str) {}
    fn decided(&self, _: &'static str, _: &str) {}
    fn ended(&self, _: &'static str) {}
    fn took(&self, _: Stage, _: std::time::Duration) {}
}
