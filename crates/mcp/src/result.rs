//! Results: their kinds, and those that we make ourselves.

use placet_json::{Object, Value, object};

/// What a result says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultType {
    /// The request is done. A result that does not say is complete too: older servers know no other.
    Complete,
    /// The client is to answer questions and ask again.
    InputRequired,
    /// The work goes on as a task (extension).
    Task,
}

/// A `resultType` that nothing here knows; the result is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown `resultType`")]
pub struct UnknownResultType;

/// Member of a modern result that names its type.
pub const RESULT_TYPE: &str = "resultType";

impl ResultType {
    /// The type of a result.
    pub fn of(result: &Object) -> Result<Self, UnknownResultType> {
        match result.get(RESULT_TYPE) {
            None => Ok(Self::Complete),
            Some(Value::String(name)) => match name.as_str() {
                "complete" => Ok(Self::Complete),
                "input_required" => Ok(Self::InputRequired),
                "task" => Ok(Self::Task),
                _ => Err(UnknownResultType),
            },
            Some(_) => Err(UnknownResultType),
        }
    }

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::InputRequired => "input_required",
            Self::Task => "task",
        }
    }
}

/// A tool result that tells the model what went wrong: `text` to read and `structured` to compute with. It has no era
/// yet, see [`crate::translate::result_for`].
#[must_use]
pub fn tool_error(text: &str, structured: impl Into<Value>) -> Object {
    object! {
        "content" => vec![text_content(text)],
        "structuredContent" => structured,
        "isError" => true,
    }
}

/// A content block of plain text.
#[must_use]
pub fn text_content(text: &str) -> Value {
    object! { "type" => "text", "text" => text }.into()
}

/// Whether a tool result reports an error of the tool; such a result need not follow the tool's `outputSchema`.
#[must_use]
pub fn is_error(result: &Object) -> bool {
    result.get("isError").and_then(Value::as_bool).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_result_types_are_invalid() {
        for (value, expected) in [
            (Value::from("complete"), Ok(ResultType::Complete)),
            ("input_required".into(), Ok(ResultType::InputRequired)),
            ("task".into(), Ok(ResultType::Task)),
            ("Complete".into(), Err(UnknownResultType)),
            ("".into(), Err(UnknownResultType)),
            (Value::Null, Err(UnknownResultType)),
        ] {
            assert_eq!(ResultType::of(&object! { RESULT_TYPE => value.clone() }), expected, "{value}");
        }
        assert_eq!(ResultType::of(&Object::new()), Ok(ResultType::Complete));
    }

    #[test]
    fn a_tool_error_can_be_read_by_the_model() {
        let error = tool_error("no", object! { "code" => "condition_failed" });
        assert!(is_error(&error));
        assert_eq!(
            Value::from(error).to_string(),
            r#"{"content":[{"type":"text","text":"no"}],"structuredContent":{"code":"condition_failed"},"isError":true}"#
        );
    }
}
