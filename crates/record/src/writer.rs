//! Writes canonical JSON objects in one pass: members come in order, canonical parts are copied as they are.

use std::fmt::Write as _;

use placet_json::{Canonical, Value, write_string};

/// An object being written.
#[derive(Debug)]
pub(crate) struct Writer {
    out: String,
    first: bool,
}

impl Writer {
    pub(crate) fn new(capacity: usize) -> Self {
        let mut out = String::with_capacity(capacity);
        out.push('{');
        Self { out, first: true }
    }
    fn name(&mut self, name: &str) {
        if !std::mem::take(&mut self.first) {
            self.out.push(',');
        }
        write_string(name, &mut self.out);
        self.out.push(':');
    }
    pub(crate) fn text(&mut self, name: &str, text: &str) -> &mut Self {
        self.name(name);
        write_string(text, &mut self.out);
        self
    }
    pub(crate) fn shown(&mut self, name: &str, value: &impl std::fmt::Display) -> &mut Self {
        self.name(name);
        write_string(&value.to_string(), &mut self.out);
        self
    }
    pub(crate) fn number(&mut self, name: &str, number: u64) -> &mut Self {
        self.name(name);
        // Writing into a `String` can't fail.
        let _infallible = write!(self.out, "{number}");
        self
    }
    pub(crate) fn truth(&mut self, name: &str, truth: bool) -> &mut Self {
        self.name(name);
        self.out.push_str(if truth { "true" } else { "false" });
        self
    }
    pub(crate) fn null(&mut self, name: &str) -> &mut Self {
        self.name(name);
        self.out.push_str("null");
        self
    }
    /// A part that is canonical already.
    pub(crate) fn part(&mut self, name: &str, part: &str) -> &mut Self {
        self.name(name);
        self.out.push_str(part);
        self
    }
    pub(crate) fn canonical(&mut self, name: &str, part: Option<&Canonical>) -> &mut Self {
        match part {
            Some(part) => self.part(name, part.as_str()),
            None => self.null(name),
        }
    }
    /// A value; what has no canonical form is written as its text.
    pub(crate) fn value(&mut self, name: &str, value: &Value) -> &mut Self {
        match value.canonical() {
            Ok(canonical) => self.part(name, canonical.as_str()),
            Err(_) => self.text(name, &value.to_string()),
        }
    }
    pub(crate) fn list<'a>(&mut self, name: &str, texts: impl IntoIterator<Item = &'a str>) -> &mut Self {
        self.name(name);
        self.out.push('[');
        for (i, text) in texts.into_iter().enumerate() {
            if i > 0 {
                self.out.push(',');
            }
            write_string(text, &mut self.out);
        }
        self.out.push(']');
        self
    }
    pub(crate) fn parts(&mut self, name: &str, parts: impl IntoIterator<Item = String>) -> &mut Self {
        self.name(name);
        self.out.push('[');
        for (i, part) in parts.into_iter().enumerate() {
            if i > 0 {
                self.out.push(',');
            }
            self.out.push_str(&part);
        }
        self.out.push(']');
        self
    }
    pub(crate) fn end(&mut self) -> String {
        self.out.push('}');
        std::mem::take(&mut self.out)
    }
}
