//! Framing on stdio: one message a line.

use crate::Message;

/// Longest line that is taken, in bytes.
pub const MAX_LINE: usize = 8 << 20;

/// A line is longer than the limit; the stream is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line is too long")]
pub struct LineTooLong;

/// A message as a line. JSON as we write it has no line breaks.
#[must_use]
pub fn encode(message: Message) -> Vec<u8> {
    let mut line = message.into_bytes();
    line.push(b'\n');
    line
}

/// Cuts a stream into lines, whatever the pieces that it comes in.
#[derive(Debug)]
pub struct Decoder {
    max_line: usize,
    line: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(MAX_LINE)
    }
}

impl Decoder {
    /// A decoder that takes lines up to `max_line` bytes.
    #[must_use]
    pub fn new(max_line: usize) -> Self {
        Self { max_line, line: Vec::new() }
    }

    /// Takes the next bytes; returns the lines that they end, without line ends and without empty ones.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, LineTooLong> {
        let mut lines = Vec::new();
        let mut parts = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            if self.line.len().saturating_add(part.len()) > self.max_line {
                return Err(LineTooLong);
            }
            self.line.extend_from_slice(part);
            // What follows the last line feed is not a line yet.
            if parts.peek().is_some() {
                let mut line = std::mem::take(&mut self.line);
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                if !line.is_empty() {
                    lines.push(line);
                }
            }
        }
        Ok(lines)
    }

    /// Whether the stream stands within a line: if it ends here, a message is lost.
    #[must_use]
    pub fn is_within_line(&self) -> bool {
        !self.line.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use placet_json::{Limits, object};

    #[test]
    fn lines_come_back_however_the_bytes_are_cut() {
        let text = b"{\"a\":1}\n\r\n\n{\"b\":2}\r\nrest";
        for size in 1..text.len() {
            let mut decoder = Decoder::default();
            let lines: Vec<Vec<u8>> =
                text.chunks(size).flat_map(|chunk| decoder.push(chunk).unwrap()).collect();
            assert_eq!(lines, [b"{\"a\":1}".to_vec(), b"{\"b\":2}".to_vec()], "{size}");
            assert!(decoder.is_within_line());
        }
    }

    #[test]
    fn ops_4_lines_are_bounded() {
        let mut decoder = Decoder::new(4);
        assert_eq!(decoder.push(b"1234\n12"), Ok(vec![b"1234".to_vec()]));
        assert_eq!(decoder.push(b"345"), Err(LineTooLong));
    }

    #[test]
    fn a_message_is_one_line() {
        let params = object! { "text" => "a\nb\r\u{2028}" };
        let message =
            Message::Notification { method: "notifications/message".to_owned(), params: Some(params) };
        let lines = Decoder::default().push(&encode(message.clone())).unwrap();
        assert_eq!(lines.len(), 1);
        assert_eq!(Message::parse(&lines[0], &Limits::MESSAGE), Ok(message));
    }
}
