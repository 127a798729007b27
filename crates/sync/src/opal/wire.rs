//! The messages of OPAL's RPC over WebSocket, and the documents in them (`opal_common/schemas/data.py`).

use placet_json::{Limits, Object, Value, object, parse};

/// The longest frame, and the longest document that is fetched: bytes.
pub(crate) const MAX_BYTES: usize = 16 << 20;
/// Limits of every document that comes from an OPAL server, or from where it points.
pub(crate) const LIMITS: Limits = Limits { bytes: MAX_BYTES, depth: 64, members: 500_000 };
/// The most entries of one update.
const MAX_ENTRIES: usize = 1_000;
/// The longest text that names something: an id, a topic, a URL, a path.
const MAX_TEXT: usize = 4_096;

/// Why a frame or a document isn't understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WireError(pub String);

/// One half of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// The other side asks.
    Request {
        /// The method.
        method: String,
        /// Its arguments by name.
        arguments: Object,
        /// What the answer must repeat.
        call_id: Option<String>,
    },
    /// The other side answers.
    Response {
        /// Which call.
        call_id: Option<String>,
        /// With what.
        result: Value,
    },
}

impl Frame {
    /// Reads a text frame: `{"request": …, "response": …}`, one of which may be null or absent.
    pub fn read(text: &str) -> Result<Vec<Self>, WireError> {
        let frame = parse(text.as_bytes(), &LIMITS).map_err(|error| WireError(error.to_string()))?;
        let mut frame = frame.into_object().ok_or_else(|| WireError("a frame is no object".to_owned()))?;
        let mut halves = Vec::with_capacity(1);
        if let Some(Value::Object(mut request)) = frame.remove("request") {
            halves.push(Self::Request {
                method: text_of(request.get("method"), "method")?,
                arguments: request.remove("arguments").and_then(Value::into_object).unwrap_or_default(),
                call_id: optional_text(request.get("call_id"), "call_id")?,
            });
        }
        if let Some(Value::Object(mut response)) = frame.remove("response") {
            halves.push(Self::Response {
                call_id: optional_text(response.get("call_id"), "call_id")?,
                result: response.remove("result").unwrap_or(Value::Null),
            });
        }
        Ok(halves)
    }

    /// A request as text.
    #[must_use]
    pub fn request(method: &str, arguments: impl Into<Value>, call_id: &str) -> String {
        let request = object! { "method" => method, "arguments" => arguments.into(), "call_id" => call_id };
        text(&object! { "request" => request, "response" => Value::Null }.into())
    }
    /// An answer as text; `kind` is Python's name of the result's type.
    #[must_use]
    pub fn response(call_id: Option<&str>, result: impl Into<Value>, kind: &str) -> String {
        let call_id = call_id.map_or(Value::Null, Value::from);
        let response = object! { "result" => result.into(), "result_type" => kind, "call_id" => call_id };
        text(&object! { "request" => Value::Null, "response" => response }.into())
    }
}

/// How an entry's data is put into the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveMethod {
    /// In place of what is at the path.
    Put,
    /// RFC 6902 operations on what is at the path.
    Patch,
}

/// One entry of an update: what to fetch, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// From where, unless the data is here.
    pub url: String,
    /// How to fetch: `method`, `headers`, `data`.
    pub config: Option<Object>,
    /// Whom it concerns.
    pub topics: Vec<String>,
    /// Where it goes, as it was written.
    pub dst_path: String,
    /// How.
    pub save: SaveMethod,
    /// The data, if it came along; null means that it didn't.
    pub data: Option<Value>,
    /// After how long it is to be fetched again, in a base configuration.
    pub every: Option<std::time::Duration>,
}

/// Whom to tell how an update went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    /// The URL.
    pub url: String,
    /// How to call it: `method`, `headers`.
    pub config: Option<Object>,
}

/// An update: entries that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataUpdate {
    /// Its publisher's name for it.
    pub id: Option<String>,
    /// The entries.
    pub entries: Vec<Entry>,
    /// Why, in the publisher's words.
    pub reason: String,
    /// Whom to tell.
    pub callbacks: Vec<Callback>,
}

impl DataUpdate {
    /// Reads an update, or a base configuration (which has entries only).
    pub fn read(value: &Value) -> Result<Self, WireError> {
        let object = value.as_object().ok_or_else(|| WireError("an update is no object".to_owned()))?;
        let entries = object.get("entries").and_then(Value::as_array).unwrap_or_default();
        if entries.len() > MAX_ENTRIES {
            return Err(WireError(format!("an update has more than {MAX_ENTRIES} entries")));
        }
        let callbacks = object
            .get("callback")
            .and_then(|callback| callback.get("callbacks"))
            .and_then(Value::as_array)
            .unwrap_or_default();
        Ok(Self {
            id: optional_text(object.get("id"), "id")?,
            entries: entries.iter().map(Entry::read).collect::<Result<_, _>>()?,
            reason: optional_text(object.get("reason"), "reason")?.unwrap_or_default(),
            callbacks: callbacks.iter().take(16).map(Callback::read).collect::<Result<_, _>>()?,
        })
    }
}

impl Entry {
    fn read(value: &Value) -> Result<Self, WireError> {
        let topics = match value.get("topics") {
            None | Some(Value::Null) => vec!["policy_data".to_owned()],
            Some(topics) => topics
                .as_array()
                .unwrap_or_default()
                .iter()
                .map(|topic| text_of(Some(topic), "topics"))
                .collect::<Result<_, _>>()?,
        };
        let save = match value.get("save_method").and_then(Value::as_str) {
            None | Some("PUT") => SaveMethod::Put,
            Some("PATCH") => SaveMethod::Patch,
            Some(_) => return Err(WireError("`save_method` is neither PUT nor PATCH".to_owned())),
        };
        Ok(Self {
            url: optional_text(value.get("url"), "url")?.unwrap_or_default(),
            config: value.get("config").and_then(Value::as_object).cloned(),
            topics,
            dst_path: optional_text(value.get("dst_path"), "dst_path")?.unwrap_or_default(),
            save,
            data: value.get("data").filter(|data| !data.is_null()).cloned(),
            every: value
                .get("periodic_update_interval")
                .and_then(Value::as_number)
                .and_then(|number| number.as_str().parse::<f64>().ok())
                .and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok()),
        })
    }
    /// Whether it concerns one of `topics`. A prefix `app::` names an application, not a topic.
    #[must_use]
    pub fn concerns(&self, topics: &[String]) -> bool {
        self.topics.iter().any(|topic| topics.iter().any(|ours| ours == plain_topic(topic)))
    }
}

impl Callback {
    fn read(value: &Value) -> Result<Self, WireError> {
        if let Some(pair) = value.as_array() {
            let config = pair.get(1).and_then(Value::as_object).cloned();
            return Ok(Self { url: text_of(pair.first(), "callback")?, config });
        }
        Ok(Self { url: text_of(Some(value), "callback")?, config: None })
    }
}

/// A topic without the application before `::`.
pub(crate) fn plain_topic(topic: &str) -> &str {
    topic.split_once("::").map_or(topic, |(_, topic)| topic)
}

/// A topic and those above it: `a/b/c` is published as `a`, `a/b` and `a/b/c`; a prefix up to the last `:` stays.
pub(crate) fn expanded(topic: &str) -> Vec<String> {
    let (prefix, path) = match topic.rsplit_once(':') {
        Some((prefix, path)) => (format!("{prefix}:"), path),
        None => (String::new(), topic),
    };
    let mut so_far = prefix;
    let mut all = Vec::new();
    for (i, part) in path.split('/').enumerate() {
        if i > 0 {
            so_far.push('/');
        }
        so_far.push_str(part);
        all.push(so_far.clone());
    }
    all
}

pub(crate) fn text(value: &Value) -> String {
    String::from_utf8(value.to_bytes()).unwrap_or_default()
}

fn text_of(value: Option<&Value>, name: &str) -> Result<String, WireError> {
    optional_text(value, name)?.ok_or_else(|| WireError(format!("`{name}` is missing")))
}
fn optional_text(value: Option<&Value>, name: &str) -> Result<Option<String>, WireError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() <= MAX_TEXT => Ok(Some(text.clone())),
        Some(_) => Err(WireError(format!("`{name}` is no text of at most {MAX_TEXT} bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_captured() {
        let notify = r#"{"request":{"method":"notify","arguments":{"subscription":{"id":"a","topic":"policy_data"},"data":{"id":"u1","entries":[{"url":"","topics":["policy_data"],"dst_path":"users","save_method":"PUT","data":{"x":1},"config":null}],"reason":"r","callback":{"callbacks":["http://c/",["http://d/",{"method":"put"}]]}}},"call_id":"c1"},"response":null}"#;
        let frames = Frame::read(notify).unwrap();
        let [Frame::Request { method, arguments, call_id }] = frames.as_slice() else { panic!("{frames:?}") };
        assert_eq!((method.as_str(), call_id.as_deref()), ("notify", Some("c1")));
        let update = DataUpdate::read(arguments.get("data").unwrap()).unwrap();
        assert_eq!(update.id.as_deref(), Some("u1"));
        assert_eq!(update.callbacks.len(), 2);
        assert!(update.entries[0].concerns(&["policy_data".to_owned()]));
        assert!(!update.entries[0].concerns(&["other".to_owned()]));
        let pong = r#"{"request":null,"response":{"result":"pong","result_type":"str","call_id":"7"}}"#;
        assert_eq!(
            Frame::read(pong).unwrap(),
            [Frame::Response { call_id: Some("7".to_owned()), result: "pong".into() }]
        );
        assert_eq!(
            Frame::response(Some("c1"), "None", "str"),
            r#"{"request":null,"response":{"result":"None","result_type":"str","call_id":"c1"}}"#
        );
        for wrong in ["", "[]", "{\"request\":{}}", "{\"request\":{\"method\":1}}", "{\"a\":1,\"a\":2}"] {
            assert!(Frame::read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn topics_are_expanded_as_opal_does() {
        assert_eq!(expanded("policy_data/a/b"), ["policy_data", "policy_data/a", "policy_data/a/b"]);
        assert_eq!(expanded("acme:data:p/a"), ["acme:data:p", "acme:data:p/a"]);
        assert_eq!(plain_topic("app::policy_data"), "policy_data");
    }
}
