//! What verbs print: text for people, stable JSON for programs; and the exit status.

use std::{
    fmt::Write as _,
    io::{IsTerminal, Write},
    process::ExitCode,
};

use clap::ValueEnum;
use placet_json::Value;

use crate::failure::{Failure, OrFail};

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One JSON document, stable.
    Json,
}

/// The answer of a verb that could be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Permitted, passed, done: exit status 0.
    Yes,
    /// Denied, failed, wrong: exit status 1.
    No,
}

impl Answer {
    pub(crate) fn of(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

impl From<Answer> for ExitCode {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Yes => Self::SUCCESS,
            Answer::No => Self::FAILURE,
        }
    }
}

/// Writes to standard output; a closed pipe isn't worth a panic.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    out.write_all(text.as_bytes())
        .and_then(|()| out.write_all(newline.as_bytes()))
        .and_then(|()| out.flush())
        .or_fail("can't write to standard output")
}

/// Prints a document in the format asked for.
pub(crate) fn show(
    format: Format,
    document: &Value,
    text: impl FnOnce(&Value) -> String,
) -> Result<(), Failure> {
    match format {
        Format::Json => print(&pretty(document)),
        Format::Text => print(&text(document)),
    }
}

/// JSON with an indent, members in their order, numbers as spelled.
pub(crate) fn pretty(value: &Value) -> String {
    let mut out = String::new();
    write(value, 0, &mut out);
    out
}

fn write(value: &Value, depth: usize, out: &mut String) {
    let indent = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    let below = depth.saturating_add(1);
    match value {
        Value::Array(items) if !items.is_empty() => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                indent(out, below);
                write(item, below, out);
            }
            indent(out, depth);
            out.push(']');
        }
        Value::Object(members) if !members.is_empty() => {
            out.push('{');
            for (i, (name, member)) in members.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                indent(out, below);
                placet_json::write_string(name, out);
                out.push_str(": ");
                write(member, below, out);
            }
            indent(out, depth);
            out.push('}');
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => {
            out.push_str(&value.to_string());
        }
    }
}

/// Text in colour, on a terminal only.
pub(crate) fn paint(text: &str, colour: Colour) -> String {
    if std::io::stdout().is_terminal() {
        format!("\u{1b}[{}m{text}\u{1b}[0m", colour as u8)
    } else {
        text.to_owned()
    }
}

/// ANSI colours.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Colour {
    /// No.
    Red = 31,
    /// Yes.
    Green = 32,
    /// Mind.
    Yellow = 33,
}

/// Rows as a table with a head, columns as wide as needed.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|title| title.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = cells.zip(&widths).fold(String::new(), |mut text, (cell, width)| {
            // Writing into a `String` can't fail.
            let _infallible = write!(text, "{cell:width$}  ");
            text
        });
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    };
    let mut out = line(&mut head.iter().copied());
    for row in rows {
        out.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_order_and_spelling() {
        let value =
            placet_json::parse(br#"{"b":[1.50,{}],"a":{"x":null},"c":[]}"#, &placet_json::Limits::MESSAGE)
                .unwrap();
        assert_eq!(
            pretty(&value),
            "{\n  \"b\": [\n    1.50,\n    {}\n  ],\n  \"a\": {\n    \"x\": null\n  },\n  \"c\": []\n}"
        );
    }

    #[test]
    fn columns_line_up() {
        assert_eq!(
            table(&["ID", "STATE"], &[vec!["agent-7".into(), "active".into()]]),
            "ID       STATE\nagent-7  active\n"
        );
    }
}
