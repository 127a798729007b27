//! The strict reader.

use crate::{Error, ErrorKind, Number, Object, Value};

/// No document nests deeper, whatever its [`Limits`]: the reader recurses once for each level.
pub const MAX_DEPTH: usize = 128;

/// No document holds more values. A value takes up to 64 bytes, so 1 Mi of them bound what a text of 2-byte
/// elements grows to.
pub const MAX_VALUES: usize = 1 << 20;

/// What a text may not exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Length of the text in bytes.
    pub bytes: usize,
    /// Nesting of arrays and objects; `[]` has depth 1. Never more than [`MAX_DEPTH`].
    pub depth: usize,
    /// Members of one object.
    pub members: usize,
}

impl Limits {
    /// For a message from an agent: 1 MiB, depth 64, 1000 members an object.
    pub const MESSAGE: Self = Self { bytes: 1 << 20, depth: 64, members: 1000 };
    /// For an answer from an upstream: 8 MiB, depth 64, 100 000 members an object.
    pub const RESULT: Self = Self { bytes: 8 << 20, depth: 64, members: 100_000 };
}

/// Reads one JSON text (RFC 8259), white space around it allowed, a byte order mark not.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Value, Error> {
    if bytes.len() > limits.bytes {
        return Err(Error::at(ErrorKind::TooLong, limits.bytes));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| Error::at(ErrorKind::Utf8, error.valid_up_to()))?;
    read(text, limits, MAX_VALUES)
}

/// Reads a text that this crate wrote itself.
pub(crate) fn unbounded(text: &str, limits: &Limits) -> Result<Value, Error> {
    read(text, limits, usize::MAX)
}

fn read(text: &str, limits: &Limits, values: usize) -> Result<Value, Error> {
    let mut reader =
        Reader { text, at: 0, depth: limits.depth.min(MAX_DEPTH), members: limits.members, values };
    reader.skip_space();
    let value = reader.value(0)?;
    reader.skip_space();
    if reader.peek().is_some() {
        return Err(reader.error(ErrorKind::Trailing));
    }
    Ok(value)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    members: usize,
    /// How many values may still follow.
    values: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, Error> {
        self.values = self.values.checked_sub(1).ok_or_else(|| self.error(ErrorKind::TooManyValues))?;
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Value::String),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.unexpected()),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, Error> {
        let depth = self.enter(depth)?;
        let mut object = Object::new();
        if self.eat(b'}') {
            return Ok(Value::Object(object));
        }
        loop {
            if object.len() >= self.members {
                return Err(self.error(ErrorKind::TooManyMembers));
            }
            let start = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.unexpected());
            }
            let name = self.string()?;
            self.skip_space();
            self.expect(b':')?;
            self.skip_space();
            let value = self.value(depth).map_err(|error| error.under_name(&name))?;
            object
                .insert_new(name, value)
                .map_err(|name| Error::at(ErrorKind::DuplicateMember, start).under_name(&name))?;
            self.skip_space();
            if self.eat(b'}') {
                return Ok(Value::Object(object));
            }
            self.expect(b',')?;
            self.skip_space();
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, Error> {
        let depth = self.enter(depth)?;
        let mut elements = Vec::new();
        if self.eat(b']') {
            return Ok(Value::Array(elements));
        }
        loop {
            let element = self.value(depth).map_err(|error| error.under_index(elements.len()))?;
            elements.push(element);
            self.skip_space();
            if self.eat(b']') {
                return Ok(Value::Array(elements));
            }
            self.expect(b',')?;
            self.skip_space();
        }
    }

    /// Steps over the opening bracket and white space.
    fn enter(&mut self, depth: usize) -> Result<usize, Error> {
        if depth >= self.depth {
            return Err(self.error(ErrorKind::TooDeep));
        }
        self.step();
        self.skip_space();
        Ok(depth.saturating_add(1))
    }

    fn string(&mut self) -> Result<String, Error> {
        self.step();
        let mut out = String::new();
        loop {
            let plain = self.rest().bytes().position(|byte| byte < 0x20 || byte == b'"' || byte == b'\\');
            let Some(length) = plain else {
                return Err(Error::at(ErrorKind::UnexpectedEnd, self.text.len()));
            };
            let part = self.take(length);
            match self.peek() {
                Some(b'"') => {
                    self.step();
                    if out.is_empty() {
                        return Ok(part.to_owned());
                    }
                    out.push_str(part);
                    return Ok(out);
                }
                Some(b'\\') => {
                    out.push_str(part);
                    out.push(self.escape()?);
                }
                _ => return Err(self.error(ErrorKind::ControlCharacter)),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Error> {
        let start = self.at;
        self.step();
        let escaped = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.step();
                return self.unicode(start);
            }
            Some(_) => return Err(Error::at(ErrorKind::MalformedEscape, start)),
            None => return Err(self.error(ErrorKind::UnexpectedEnd)),
        };
        self.step();
        Ok(escaped)
    }

    /// After `\u`: four hex digits, and the second half of a surrogate pair if they are the first.
    fn unicode(&mut self, start: usize) -> Result<char, Error> {
        let lone = || Error::at(ErrorKind::LoneSurrogate, start);
        let high = self.hex(start)?;
        if let Some(c) = char::from_u32(high) {
            return Ok(c);
        }
        if !(0xd800..0xdc00).contains(&high) || !self.rest().starts_with("\\u") {
            return Err(lone());
        }
        self.step();
        self.step();
        let low = self.hex(start)?;
        if !(0xdc00..0xe000).contains(&low) {
            return Err(lone());
        }
        let code = (((high & 0x3ff) << 10) | (low & 0x3ff)).saturating_add(0x1_0000);
        char::from_u32(code).ok_or_else(lone)
    }

    fn hex(&mut self, start: usize) -> Result<u32, Error> {
        let malformed = || Error::at(ErrorKind::MalformedEscape, start);
        let digits = self.rest().get(..4).ok_or_else(malformed)?;
        // `from_str_radix` alone would take a sign.
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(malformed());
        }
        self.at = self.at.saturating_add(4);
        u32::from_str_radix(digits, 16).map_err(|_| malformed())
    }

    fn number(&mut self) -> Result<Value, Error> {
        let rest = self.rest();
        let mut bytes = rest.bytes().enumerate().peekable();
        let malformed = |length: usize| Error::at(ErrorKind::MalformedNumber, self.at.saturating_add(length));

        bytes.next_if(|(_, byte)| *byte == b'-');
        let mut end = rest.len();
        let mut at = bytes.peek().map_or(end, |(i, _)| *i);
        // int = zero / ( digit1-9 *DIGIT )
        match bytes.next() {
            Some((_, b'0')) => {}
            Some((_, b'1'..=b'9')) => while bytes.next_if(|(_, byte)| byte.is_ascii_digit()).is_some() {},
            _ => return Err(malformed(at)),
        }
        // frac = decimal-point 1*DIGIT
        if bytes.next_if(|(_, byte)| *byte == b'.').is_some() {
            at = bytes.peek().map_or(end, |(i, _)| *i);
            bytes.next_if(|(_, byte)| byte.is_ascii_digit()).ok_or_else(|| malformed(at))?;
            while bytes.next_if(|(_, byte)| byte.is_ascii_digit()).is_some() {}
        }
        // exp = e [ minus / plus ] 1*DIGIT
        if bytes.next_if(|(_, byte)| matches!(byte, b'e' | b'E')).is_some() {
            bytes.next_if(|(_, byte)| matches!(byte, b'+' | b'-'));
            at = bytes.peek().map_or(end, |(i, _)| *i);
            bytes.next_if(|(_, byte)| byte.is_ascii_digit()).ok_or_else(|| malformed(at))?;
            while bytes.next_if(|(_, byte)| byte.is_ascii_digit()).is_some() {}
        }
        if let Some((i, byte)) = bytes.next() {
            // `01`, `1.2.3`, `1x`: the number itself is wrong, not what follows it.
            if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'-') {
                return Err(malformed(i));
            }
            end = i;
        }
        Ok(Value::Number(Number::spelled(self.take(end))))
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Error> {
        if self.rest().starts_with(word) {
            self.take(word.len());
            Ok(value)
        } else {
            Err(self.unexpected())
        }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The next `length` bytes, which end between characters.
    fn take(&mut self, length: usize) -> &'a str {
        let taken = self.rest().get(..length).unwrap_or_default();
        self.at = self.at.saturating_add(length);
        taken
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn step(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.step();
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.step();
        }
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), Error> {
        if self.eat(byte) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn unexpected(&self) -> Error {
        self.error(if self.peek().is_some() {
            ErrorKind::UnexpectedCharacter
        } else {
            ErrorKind::UnexpectedEnd
        })
    }

    fn error(&self, kind: ErrorKind) -> Error {
        Error::at(kind, self.at)
    }
}
