//! Questions that a server asks the client: as requests of its own (legacy) or inside an `input_required` result (modern).

use placet_json::{Object, Value, object};

use crate::result::{RESULT_TYPE, ResultType};
use crate::{Id, Message, Method, RpcError, capability, method};

/// Most questions that one result may ask.
pub const MAX_QUESTIONS: usize = 16;

/// One question, its method known and its parameters an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The server's name for it, by which the answer comes back.
    pub key: String,
    /// `elicitation/create`, `sampling/createMessage` or `roots/list`.
    pub method: Method,
    /// What is asked.
    pub params: Object,
}

/// What an `input_required` result asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputRequired {
    /// The questions, in their order; none if the server only wants to be asked again.
    pub questions: Vec<Question>,
    /// Opaque text that the retry brings back.
    pub state: Option<String>,
}

/// Why a question cannot be put to a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAskable {
    /// The result is not a well-formed `input_required`.
    #[error("the server's questions are malformed: {0}")]
    Malformed(&'static str),
    /// The method may not be answered with questions.
    #[error("`{0}` may not be answered with questions")]
    Method(Method),
    /// The client did not declare the capability for this request.
    #[error("the client cannot answer: it did not declare `{0}`")]
    Undeclared(&'static str),
}

impl InputRequired {
    /// Reads the `input_required` result of a request for `method`, which must be one that may ask.
    pub fn parse(method: Method, mut result: Object) -> Result<Self, NotAskable> {
        if !method.may_ask() {
            return Err(NotAskable::Method(method));
        }
        if ResultType::of(&result) != Ok(ResultType::InputRequired) {
            return Err(NotAskable::Malformed("not an `input_required` result"));
        }
        let state = match result.remove("requestState") {
            None => None,
            Some(Value::String(state)) => Some(state),
            Some(_) => return Err(NotAskable::Malformed("`requestState` is not a string")),
        };
        let asked = match result.remove("inputRequests") {
            None => Object::new(),
            Some(Value::Object(asked)) => asked,
            Some(_) => return Err(NotAskable::Malformed("`inputRequests` is not an object")),
        };
        if asked.len() > MAX_QUESTIONS {
            return Err(NotAskable::Malformed("too many questions"));
        }
        if asked.is_empty() && state.is_none() {
            return Err(NotAskable::Malformed("neither `inputRequests` nor `requestState`"));
        }
        let questions =
            asked.into_iter().map(|(key, asked)| Question::parse(key, asked)).collect::<Result<_, _>>()?;
        Ok(Self { questions, state })
    }

    /// Whether a client with these capabilities can answer every question.
    pub fn check(&self, capabilities: &Object) -> Result<(), NotAskable> {
        self.questions.iter().try_for_each(|question| question.check(capabilities))
    }

    /// The result for a modern client, `state` being ours to seal.
    #[must_use]
    pub fn into_result(self) -> Object {
        let mut result = object! { RESULT_TYPE => ResultType::InputRequired.name() };
        if !self.questions.is_empty() {
            let questions: Object = self.questions.into_iter().map(Question::into_member).collect();
            result.insert("inputRequests", questions);
        }
        if let Some(state) = self.state {
            result.insert("requestState", state);
        }
        result
    }

    /// The same questions out of the legacy error -32042, by which a server asks for pages to be opened first.
    #[must_use]
    pub fn from_legacy_error(error: &RpcError) -> Option<Self> {
        if error.code != crate::rpc::code::LEGACY_URL_ELICITATION {
            return None;
        }
        let asked = error.data.as_ref()?.get("elicitations")?.as_array()?;
        if asked.is_empty() || asked.len() > MAX_QUESTIONS {
            return None;
        }
        let questions = asked.iter().enumerate().map(|(i, params)| {
            let params = to_modern(params.as_object()?.clone());
            (elicitation_mode(&params) == Some("elicitation/url")).then(|| Question {
                key: format!("elicitation-{i}"),
                method: Method::Elicit,
                params,
            })
        });
        Some(Self { questions: questions.collect::<Option<_>>()?, state: None })
    }
}

impl Question {
    fn parse(key: String, asked: Value) -> Result<Self, NotAskable> {
        let Value::Object(mut asked) = asked else {
            return Err(NotAskable::Malformed("a question is not an object"));
        };
        let name = asked.get("method").and_then(Value::as_str);
        let method = name
            .and_then(|name| method::classify_input(name).ok())
            .ok_or(NotAskable::Malformed("unknown question"))?;
        let params = match asked.remove("params") {
            None => Object::new(),
            Some(Value::Object(params)) => params,
            Some(_) => return Err(NotAskable::Malformed("a question's `params` is not an object")),
        };
        Ok(Self { key, method, params })
    }

    /// A request that a legacy server sent, as a question; `None` if it asks for nothing.
    #[must_use]
    pub fn from_legacy(key: String, method: Method, params: Option<Object>) -> Option<Self> {
        let asks = method.class() == method::Class::Answer;
        asks.then(|| Self { key, method, params: to_modern(params.unwrap_or_default()) })
    }

    /// The request by which a legacy client is asked. `elicitation_id` names the page that it is to open, if it is.
    #[must_use]
    pub fn into_legacy(self, id: Id, elicitation_id: &str) -> Message {
        let mut params = self.params;
        if self.method == Method::Elicit && elicitation_mode(&params) == Some("elicitation/url") {
            params.insert("elicitationId", elicitation_id);
        }
        Message::Request { id, method: self.method.name().to_owned(), params: Some(params) }
    }

    /// Whether a client with these capabilities can answer.
    pub fn check(&self, capabilities: &Object) -> Result<(), NotAskable> {
        let needed: &[&'static str] = if self.method == Method::Elicit {
            match elicitation_mode(&self.params) {
                Some("elicitation/url") => &["elicitation/url"],
                Some(_) => &["elicitation/form"],
                None => return Err(NotAskable::Malformed("unknown mode of elicitation")),
            }
        } else if self.method == Method::RootsList {
            &["roots"]
        } else if self.params.contains_key("tools") || self.params.contains_key("toolChoice") {
            &["sampling", "sampling/tools"]
        } else {
            &["sampling"]
        };
        match needed.iter().find(|path| !capability::declares(capabilities, path)) {
            Some(path) => Err(NotAskable::Undeclared(path)),
            None => Ok(()),
        }
    }

    fn into_member(self) -> (String, Value) {
        let mut asked = object! { "method" => self.method.name() };
        // `roots/list` takes none.
        if !self.params.is_empty() || self.method != Method::RootsList {
            asked.insert("params", self.params);
        }
        (self.key, asked.into())
    }
}

impl NotAskable {
    /// What to answer the client: the server is at fault, except where the client lacks a capability (-32021).
    #[must_use]
    pub fn rpc_error(&self) -> RpcError {
        match self {
            Self::Undeclared(path) => {
                // Inside out: `elicitation/url` is `{"elicitation":{"url":{}}}`.
                let required = path.rsplit('/').fold(Object::new(), |inner, name| {
                    std::iter::once((name, Value::Object(inner))).collect()
                });
                RpcError::missing_capability(required)
            }
            Self::Malformed(_) | Self::Method(_) => RpcError::internal("invalid answer of the server"),
        }
    }
}

/// The capability that a question needs: forms are the default, as they were first.
fn elicitation_mode(params: &Object) -> Option<&'static str> {
    match params.get("mode") {
        None => Some("elicitation/form"),
        Some(mode) => match mode.as_str() {
            Some("form") => Some("elicitation/form"),
            Some("url") => Some("elicitation/url"),
            _ => None,
        },
    }
}

/// Modern questions know neither tasks nor ids of pages.
fn to_modern(mut params: Object) -> Object {
    params.remove("task");
    params.remove("elicitationId");
    if let Some(fields) = params.get_mut("_meta").and_then(Value::as_object_mut) {
        fields.remove(crate::meta::PROGRESS_TOKEN);
        if fields.is_empty() {
            params.remove("_meta");
        }
    }
    params
}

#[cfg(test)]
mod tests {
    use super::*;
    use placet_json::{Limits, parse};

    fn json(text: &str) -> Object {
        parse(text.as_bytes(), &Limits::MESSAGE).unwrap().into_object().unwrap()
    }

    const ASKING: &str = r#"{"resultType":"input_required","inputRequests":{
        "a":{"method":"elicitation/create","params":{"message":"?","requestedSchema":{}}},
        "b":{"method":"elicitation/create","params":{"mode":"url","message":"?","url":"https://x"}},
        "c":{"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1,"tools":[]}},
        "d":{"method":"roots/list"}},"requestState":"s"}"#;

    #[test]
    fn questions_come_back_as_they_were() {
        let asked = InputRequired::parse(Method::ToolsCall, json(ASKING)).unwrap();
        assert_eq!(asked.questions.len(), 4);
        assert_eq!(asked.into_result(), json(ASKING));
    }

    #[test]
    fn mcp_5_a_client_is_asked_only_for_what_it_declared() {
        let asked = InputRequired::parse(Method::ToolsCall, json(ASKING)).unwrap();
        let all = r#"{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{}}"#;
        assert_eq!(asked.check(&json(all)), Ok(()));
        for (capabilities, lacking) in [
            ("{}", "elicitation/form"),
            (r#"{"elicitation":{}}"#, "elicitation/url"),
            (r#"{"elicitation":{"form":{},"url":{}}}"#, "sampling"),
            (r#"{"elicitation":{"form":{},"url":{}},"sampling":{}}"#, "sampling/tools"),
            (r#"{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}}}"#, "roots"),
        ] {
            assert_eq!(
                asked.check(&json(capabilities)),
                Err(NotAskable::Undeclared(lacking)),
                "{capabilities}"
            );
        }
        let error = NotAskable::Undeclared("elicitation/url").rpc_error();
        assert_eq!(error.code, -32021);
        assert_eq!(error.data.unwrap().to_string(), r#"{"requiredCapabilities":{"elicitation":{"url":{}}}}"#);
    }

    #[test]
    fn mcp_5_malformed_questions_are_refused() {
        for result in [
            r#"{"resultType":"input_required"}"#,
            r#"{"resultType":"complete","requestState":"s"}"#,
            r#"{"resultType":"input_required","inputRequests":[],"requestState":"s"}"#,
            r#"{"resultType":"input_required","requestState":{}}"#,
            r#"{"resultType":"input_required","inputRequests":{"a":{"method":"tools/call","params":{}}}}"#,
            r#"{"resultType":"input_required","inputRequests":{"a":{"method":"ping"}}}"#,
            r#"{"resultType":"input_required","inputRequests":{"a":{"params":{}}}}"#,
            r#"{"resultType":"input_required","inputRequests":{"a":"roots/list"}}"#,
        ] {
            let refused = InputRequired::parse(Method::ToolsCall, json(result));
            assert!(matches!(refused, Err(NotAskable::Malformed(_))), "{result}");
        }
        for method in [Method::ToolsList, Method::Complete, Method::TasksGet] {
            assert_eq!(InputRequired::parse(method, json(ASKING)), Err(NotAskable::Method(method)));
        }
        let strange = json(
            r#"{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{"mode":"x"}}}}"#,
        );
        let asked = InputRequired::parse(Method::ToolsCall, strange).unwrap();
        assert!(matches!(
            asked.check(&json(r#"{"elicitation":{"form":{}}}"#)),
            Err(NotAskable::Malformed(_))
        ));
    }

    #[test]
    fn questions_cross_the_eras() {
        let params = json(
            r#"{"mode":"url","message":"?","url":"https://x","elicitationId":"e","task":{},"_meta":{"progressToken":1}}"#,
        );
        let question = Question::from_legacy("k".to_owned(), Method::Elicit, Some(params)).unwrap();
        assert_eq!(question.params, json(r#"{"mode":"url","message":"?","url":"https://x"}"#));
        let Message::Request { method, params, .. } = question.into_legacy(1.into(), "mine") else {
            panic!()
        };
        assert_eq!(method, "elicitation/create");
        assert_eq!(params.unwrap().get("elicitationId").and_then(Value::as_str), Some("mine"));
        assert_eq!(Question::from_legacy("k".to_owned(), Method::Ping, None), None);
    }

    #[test]
    fn pages_to_open_first_become_questions() {
        let data =
            json(r#"{"elicitations":[{"mode":"url","message":"?","url":"https://x","elicitationId":"e"}]}"#);
        let error = RpcError::new(-32042, "open").with_data(data);
        let asked = InputRequired::from_legacy_error(&error).unwrap();
        assert_eq!(asked.check(&json(r#"{"elicitation":{"url":{}}}"#)), Ok(()));
        assert!(!asked.questions[0].params.contains_key("elicitationId"));
        for data in [r#"{"elicitations":[]}"#, r#"{"elicitations":[{"mode":"form"}]}"#, "{}"] {
            let error = RpcError::new(-32042, "open").with_data(json(data));
            assert_eq!(InputRequired::from_legacy_error(&error), None, "{data}");
        }
    }
}
