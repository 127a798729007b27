//! A finding with the lines that it is about.

use std::{fmt, io::IsTerminal as _};

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode, SourceSpan,
};
use placet_policy::{Finding, Severity, Tree};

/// How wide messages are set.
const WIDTH: usize = 110;

/// The finding as text; without an excerpt where it concerns a whole file.
pub(super) fn shown(finding: &Finding, tree: &Tree) -> String {
    let colour = std::io::stdout().is_terminal();
    let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler =
        GraphicalReportHandler::new_themed(theme).with_width(WIDTH).with_links(false).with_context_lines(1);
    let source = tree.get(&finding.file).and_then(|bytes| std::str::from_utf8(bytes).ok());
    let span = source.and_then(|text| span(text, finding.line, finding.column));
    let place = if span.is_some() { String::new() } else { format!("{}: ", finding.file) };
    let report = Report {
        finding,
        message: format!("{place}{}", finding.message),
        source: source.map(|text| NamedSource::new(&finding.file, text.to_owned())),
        span,
    };
    let mut text = String::new();
    match handler.render_report(&mut text, &report) {
        Ok(()) => text,
        Err(_) => format!("{finding}\n"),
    }
}

/// The bytes of the word at a place; of the whole line where there is no column. Both count from 1.
fn span(text: &str, line: u32, column: u32) -> Option<SourceSpan> {
    let index = usize::try_from(line).ok()?.checked_sub(1)?;
    let start =
        text.split_inclusive('\n').take(index).fold(0_usize, |sum, line| sum.saturating_add(line.len()));
    let line = text.split_inclusive('\n').nth(index)?.trim_end();
    let skip = match usize::try_from(column).ok()?.checked_sub(1) {
        Some(column) => line.char_indices().nth(column).map_or(line.len(), |(at, _)| at),
        None => line.len().saturating_sub(line.trim_start().len()),
    };
    let rest = line.get(skip..).unwrap_or_default();
    let length = if column == 0 {
        rest.len()
    } else {
        rest.find([' ', '\t', '{', '(']).filter(|end| *end > 0).unwrap_or(rest.len())
    };
    Some(SourceSpan::from((start.saturating_add(skip), length)))
}

struct Report<'a> {
    finding: &'a Finding,
    message: String,
    source: Option<NamedSource<String>>,
    span: Option<SourceSpan>,
}

impl fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.finding, f)
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Report<'_> {}

impl Diagnostic for Report<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.finding.code))
    }
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.finding.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
            Severity::Advice => miette::Severity::Advice,
        })
    }
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(&self.finding.help).filter(|help| !help.is_empty()).map(|help| Box::new(help) as _)
    }
    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.span.and_then(|_| self.source.as_ref().map(|source| source as &dyn SourceCode))
    }
    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.span?;
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(None, span))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_word_or_a_line() {
        let text = "package p\n\n  allow if input.é == 1\n";
        assert_eq!(span(text, 1, 9), Some((8, 1).into()));
        assert_eq!(span(text, 3, 3), Some((13, 5).into()));
        assert_eq!(span(text, 3, 0), Some((13, 22).into()));
        assert_eq!(span(text, 0, 0), None);
        assert_eq!(span(text, 9, 1), None);
        assert_eq!(span("", 1, 1), None);
    }
}
