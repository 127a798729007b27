//! A permit that rests on a waiver says so wherever it is seen: to the agent, to whoever counts, in the trace.

use placet_core::authority::Warrant;
use placet_json::{Object, Value, object};

use crate::Answered;

/// The member of an answer's `_meta`.
const META: &str = "dev.placet/waived";

/// What is told of a permit that passed a denial over; of any other, nothing.
pub(crate) struct Waived(Option<Told>);

struct Told {
    /// `observed` or `excepted`.
    decided: &'static str,
    decision: String,
    code: String,
    message: String,
}

impl Waived {
    pub(crate) fn of(warrant: &Warrant) -> Self {
        let told = warrant.passed_over().map(|passed_over| {
            let first = passed_over.reasons.first();
            Told {
                decided: passed_over.kind.obligation(),
                decision: warrant.call().id.to_string(),
                code: first.map(|reason| reason.code.clone()).unwrap_or_default(),
                message: first.map(|reason| reason.public.clone()).unwrap_or_default(),
            }
        });
        Self(told)
    }

    /// How it is counted: by which obligation, and the code of the denial that it would have been.
    pub(crate) fn counted(&self) -> Option<(&'static str, &str)> {
        self.0.as_ref().map(|told| (told.decided, &*told.code))
    }

    /// Marks the answer. A result that is no object can't be marked; the ledger says it all the same.
    pub(crate) fn onto(self, answered: Answered) -> Answered {
        let Some(Told { decided, decision, code, message }) = self.0 else { return answered };
        let mut result = match answered {
            Answered::Result(Value::Object(result)) => result,
            other @ (Answered::Result(_)
            | Answered::Error(_)
            | Answered::Denied(_)
            | Answered::Broken { .. }) => return other,
        };
        let mark = object! {
            "as" => decided, "code" => code, "decision_id" => decision, "message" => message,
        };
        let mut meta = match result.remove("_meta") {
            Some(Value::Object(meta)) => meta,
            Some(_) | None => Object::new(),
        };
        meta.remove(META);
        meta.insert(META, mark);
        result.insert("_meta", meta);
        Answered::Result(Value::Object(result))
    }
}
