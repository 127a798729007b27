//! Server-sent events (WHATWG HTML, section 9.2), as the HTTP transport uses them.

/// Longest event that is taken, in bytes.
pub const MAX_EVENT: usize = 8 << 20;

/// A comment that keeps a connection open.
pub const KEEP_ALIVE: &str = ":\n\n";

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its type; `message` if none was named.
    pub event: String,
    /// Its data, lines joined by `\n`.
    pub data: String,
    /// The last id that the stream has named so far.
    pub id: Option<String>,
}

/// Why a stream is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SseError {
    /// An event is longer than the limit.
    #[error("an event is too long")]
    TooLong,
    /// A line is not UTF-8.
    #[error("invalid UTF-8")]
    Utf8,
}

/// An event as text. Line breaks in `data` are kept as far as the format allows (all become `\n`); an `id` with a line
/// break or NUL cannot be written and is left out.
#[must_use]
pub fn encode(data: &str, id: Option<&str>) -> String {
    let mut out = String::with_capacity(data.len().saturating_add(16));
    if let Some(id) = id.filter(|id| !id.contains(['\r', '\n', '\0'])) {
        out.push_str("id: ");
        out.push_str(id);
        out.push('\n');
    }
    let mut rest = Some(data);
    while let Some(text) = rest {
        let end = text.find(['\r', '\n']);
        let (line, after) = end.and_then(|end| text.split_at_checked(end)).unwrap_or((text, ""));
        out.push_str("data: ");
        out.push_str(line);
        out.push('\n');
        // `\r\n` is one break.
        rest = after.strip_prefix("\r\n").or_else(|| after.get(1..));
    }
    out.push('\n');
    out
}

/// Takes a stream apart, whatever the pieces that it comes in.
#[derive(Debug)]
pub struct Decoder {
    max_event: usize,
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// The last byte was a carriage return: a line feed now belongs to it.
    after_cr: bool,
    first_line: bool,
    event: String,
    data: String,
    has_data: bool,
    id: Option<String>,
    retry_ms: Option<u64>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(MAX_EVENT)
    }
}

impl Decoder {
    /// A decoder that takes events up to `max_event` bytes.
    #[must_use]
    pub fn new(max_event: usize) -> Self {
        Self {
            max_event,
            line: Vec::new(),
            after_cr: false,
            first_line: true,
            event: String::new(),
            data: String::new(),
            has_data: false,
            id: None,
            retry_ms: None,
        }
    }

    /// Takes the next bytes; returns the events that they end. After an error the stream is of no more use.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, SseError> {
        let mut events = Vec::new();
        let mut rest = bytes;
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let Some((part, after)) = rest.split_at_checked(end) else { break };
            self.extend(part)?;
            events.extend(self.end_line()?);
            self.after_cr = after == b"\r";
            rest = after.strip_prefix(b"\r\n").or_else(|| after.get(1..)).unwrap_or_default();
        }
        self.extend(rest)?;
        Ok(events)
    }

    /// How long the stream asks to wait before connecting again, in milliseconds.
    #[must_use]
    pub fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// The last id that the stream has named, from which it can be resumed.
    #[must_use]
    pub fn last_id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    fn extend(&mut self, part: &[u8]) -> Result<(), SseError> {
        let length = self.line.len().saturating_add(part.len()).saturating_add(self.data.len());
        if length > self.max_event {
            return Err(SseError::TooLong);
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn end_line(&mut self) -> Result<Option<Event>, SseError> {
        let line = std::mem::take(&mut self.line);
        let mut line = std::str::from_utf8(&line).map_err(|_| SseError::Utf8)?;
        if std::mem::take(&mut self.first_line) {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            return Ok(self.dispatch());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.has_data = true;
                self.data.push_str(value);
            }
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => self.retry_ms = value.parse().ok(),
            _ => {}
        }
        Ok(None)
    }

    fn dispatch(&mut self) -> Option<Event> {
        let event = std::mem::take(&mut self.event);
        let data = std::mem::take(&mut self.data);
        if !std::mem::take(&mut self.has_data) {
            return None;
        }
        let event = if event.is_empty() { "message".to_owned() } else { event };
        Some(Event { event, data, id: self.id.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(text: &str) -> Vec<(String, String, Option<String>)> {
        let events = Decoder::default().push(text.as_bytes()).unwrap();
        events.into_iter().map(|event| (event.event, event.data, event.id)).collect()
    }

    #[test]
    fn events_are_read_as_the_standard_says() {
        let event = |event: &str, data: &str, id: Option<&str>| {
            (event.to_owned(), data.to_owned(), id.map(str::to_owned))
        };
        for (text, expected) in [
            ("data: a\n\n", vec![event("message", "a", None)]),
            (
                "\u{feff}data:a\r\rdata: b\r\n\r\n",
                vec![event("message", "a", None), event("message", "b", None)],
            ),
            ("event: x\ndata: a\ndata:  b\nid: 7\n\n", vec![event("x", "a\n b", Some("7"))]),
            ("id: 7\n\ndata\n\n", vec![event("message", "", Some("7"))]),
            ("id: a\0b\ndata: x\n\n", vec![event("message", "x", None)]),
            (": comment\n\nevent: x\n\ndata: y\n\n", vec![event("message", "y", None)]),
            ("Data: a\n\nunknown: b\n\n", vec![]),
            ("data: a\n", vec![]),
        ] {
            assert_eq!(decode(text), expected, "{text:?}");
        }
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(b"retry: 1500\nretry: x\nid: 3\n\n"), Ok(vec![]));
        assert_eq!((decoder.retry_ms(), decoder.last_id()), (Some(1500), Some("3")));
    }

    #[test]
    fn ops_4_events_are_bounded_and_utf_8() {
        let mut decoder = Decoder::new(16);
        assert!(decoder.push(b"data: 123456789\n\n").is_ok());
        assert_eq!(decoder.push(b"data: 12345678901"), Err(SseError::TooLong));
        let mut decoder = Decoder::new(16);
        let endless = (0..9).find_map(|_| decoder.push(b"data: 1\n").err());
        assert_eq!(endless, Some(SseError::TooLong));
        assert_eq!(Decoder::default().push(b"data: \xff\n"), Err(SseError::Utf8));
    }

    #[test]
    fn an_id_cannot_break_out() {
        assert_eq!(encode("x", Some("1\ndata: evil")), "data: x\n\n");
        assert_eq!(encode("{}", Some("1")), "id: 1\ndata: {}\n\n");
    }

    proptest! {
        #[test]
        fn data_comes_back_however_the_bytes_are_cut(
            data in prop::collection::vec("[a-c:\r\n é]{0,12}", 1..4), cuts in prop::collection::vec(0..200_usize, 0..6),
        ) {
            let text: String = data.iter().map(|data| encode(data, Some("9"))).collect();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.push(text.len());
            cuts.sort_unstable();
            let mut decoder = Decoder::default();
            let (mut events, mut from) = (Vec::new(), 0);
            for cut in cuts {
                events.extend(decoder.push(&text.as_bytes()[from..cut]).unwrap());
                from = cut;
            }
            let expected: Vec<_> =
                data.iter().map(|data| data.replace("\r\n", "\n").replace('\r', "\n")).collect();
            let decoded: Vec<_> = events.into_iter().map(|event| event.data).collect();
            prop_assert_eq!(decoded, expected);
        }

        #[test]
        fn any_bytes_are_cut_the_same(bytes in prop::collection::vec(prop::sample::select(b"data: \r\nid\0x".to_vec()), 0..60)) {
            let whole = Decoder::default().push(&bytes);
            let mut decoder = Decoder::default();
            let single: Result<Vec<_>, _> = bytes.iter().map(|byte| decoder.push(&[*byte])).collect();
            prop_assert_eq!(whole, single.map(|events| events.concat()));
        }
    }
}
