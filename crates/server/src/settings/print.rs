//! `--print-config`: what is in force, and where each value came from. A secret's source is shown, never the secret.

use std::fmt::{self, Write as _};

use placet_json::{Value, object};

use super::Settings;

/// A value in force and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printed {
    /// The key, with its section.
    pub key: String,
    /// The value as text.
    pub value: String,
    /// Its line in the settings file; 0 for a default.
    pub line: usize,
}

impl Settings {
    /// All values in force, one a line, each with its origin.
    #[must_use]
    pub fn print(&self) -> String {
        let width = self.origins.iter().map(|printed| printed.key.len()).max().unwrap_or(0);
        self.origins.iter().fold(String::new(), |mut text, printed| {
            // Writing into a `String` can't fail.
            let _infallible =
                writeln!(text, "{:width$} = {}  # {}", printed.key, printed.value, Origin(printed.line));
            text
        })
    }

    /// The same as JSON: `[{"key", "value", "origin"}]`.
    #[must_use]
    pub fn print_json(&self) -> Value {
        let printed = self.origins.iter().map(|printed| {
            Value::Object(object! {
                "key" => printed.key.as_str(), "value" => printed.value.as_str(), "origin" => Origin(printed.line).to_string(),
            })
        });
        Value::Array(printed.collect())
    }
}

struct Origin(usize);

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("default"),
            line => write!(f, "line {line}"),
        }
    }
}
