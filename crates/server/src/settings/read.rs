//! Reading TOML into typed values: every key is asked for, none is left over, each value's origin is kept.
#![expect(
    clippy::option_option,
    reason = "the outer one is a problem that was noted, the inner one a key that isn't there"
)]

use std::{
    cell::RefCell,
    collections::BTreeMap,
    ops::{Range, RangeInclusive},
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

use super::{Printed, Problem, SecretSource, Variables, secret};

/// A file being read.
pub(super) struct Reader<'t> {
    file: &'t Path,
    text: &'t str,
    pub(super) variables: Variables<'t>,
    found: RefCell<Found>,
}

#[derive(Default)]
struct Found {
    problems: Vec<Problem>,
    origins: Vec<Printed>,
}

/// A table of the file; one that isn't there has defaults only.
pub(super) struct Section<'r, 't> {
    reader: &'r Reader<'t>,
    table: Option<&'r DeTable<'t>>,
    name: String,
    line: usize,
    asked: Vec<String>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(file: &'t Path, text: &'t str, variables: Variables<'t>) -> Self {
        Self { file, text, variables, found: RefCell::default() }
    }
    pub(super) fn root<'r>(&'r self, table: &'r DeTable<'t>) -> Section<'r, 't> {
        Section { reader: self, table: Some(table), name: String::new(), line: 0, asked: Vec::new() }
    }
    pub(super) fn note(&self, line: usize, message: impl Into<String>, remedy: impl Into<String>) {
        let problem =
            Problem { file: self.file.to_owned(), line, message: message.into(), remedy: remedy.into() };
        self.found.borrow_mut().problems.push(problem);
    }
    /// The line that a key's value came from; 0 for a default.
    pub(super) fn line_of(&self, key: &str) -> usize {
        self.found.borrow().origins.iter().find(|origin| origin.key == key).map_or(0, |origin| origin.line)
    }
    pub(super) fn into_parts(self) -> (Vec<Problem>, Vec<Printed>) {
        let Found { mut problems, origins } = self.found.into_inner();
        problems.sort_by_key(|problem| problem.line);
        (problems, origins)
    }
    fn line(&self, span: &Range<usize>) -> usize {
        line(self.text, span.start)
    }
    /// A path of the file is relative to the file.
    fn resolve(&self, path: &str) -> PathBuf {
        self.file.parent().map_or_else(|| PathBuf::from(path), |dir| dir.join(path))
    }
    fn origin(&self, key: String, value: &str, line: usize) {
        self.found.borrow_mut().origins.push(Printed { key, value: value.to_owned(), line });
    }
}

impl<'r, 't> Section<'r, 't> {
    /// A table below this one.
    pub(super) fn section(&mut self, key: &str) -> Section<'r, 't> {
        let name = self.key(key);
        let (table, line) = match self.raw(key) {
            None => (None, 0),
            Some((DeValue::Table(table), line)) => (Some(table), line),
            Some((other, line)) => {
                self.reader.note(
                    line,
                    format!("`{name}` is {}, not a table", other.type_str()),
                    format!("write `[{name}]`"),
                );
                (None, line)
            }
        };
        Section { reader: self.reader, table, name, line, asked: Vec::new() }
    }

    /// The tables of an array of tables, `[[upstream]]`.
    pub(super) fn sections(&mut self, key: &str) -> Vec<Section<'r, 't>> {
        let name = self.key(key);
        let Some((value, line)) = self.raw(key) else { return Vec::new() };
        let elements = value.as_array().map(|array| array.iter().collect::<Vec<_>>());
        let tables = elements.and_then(|elements| {
            elements
                .into_iter()
                .map(|element| {
                    element.get_ref().as_table().map(|table| (table, self.reader.line(&element.span())))
                })
                .collect::<Option<Vec<_>>>()
        });
        let Some(tables) = tables else {
            self.reader.note(line, format!("`{name}` is no list of tables"), format!("write `[[{name}]]`"));
            return Vec::new();
        };
        tables
            .into_iter()
            .enumerate()
            .map(|(i, (table, line))| Section {
                reader: self.reader,
                table: Some(table),
                name: format!("{name}[{i}]"),
                line,
                asked: Vec::new(),
            })
            .collect()
    }

    /// A text that is parsed, or its default.
    pub(super) fn word<T>(
        &mut self,
        key: &str,
        default: &str,
        parse: impl Fn(&str) -> Option<T>,
        remedy: &str,
    ) -> Option<T> {
        match self.text(key) {
            Read::Absent => {
                self.default(key, default);
                parse(default)
            }
            Read::Bad => None,
            Read::Found(text, line) => self.parsed(key, text, line, parse, remedy),
        }
    }
    /// A text that is parsed and must be there.
    pub(super) fn required<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Option<T>,
        remedy: &str,
    ) -> Option<T> {
        match self.text(key) {
            Read::Absent => {
                self.missing(key, remedy);
                None
            }
            Read::Bad => None,
            Read::Found(text, line) => self.parsed(key, text, line, parse, remedy),
        }
    }
    /// A text that is parsed and may be missing. The outer `None` is a problem that was noted.
    pub(super) fn optional_word<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Option<T>,
        remedy: &str,
    ) -> Option<Option<T>> {
        match self.text(key) {
            Read::Absent => Some(None),
            Read::Bad => None,
            Read::Found(text, line) => self.parsed(key, text, line, parse, remedy).map(Some),
        }
    }
    pub(super) fn path(&mut self, key: &str, default: &str) -> Option<PathBuf> {
        let default = self.reader.resolve(default);
        self.path_or(key, default)
    }
    pub(super) fn path_or(&mut self, key: &str, default: PathBuf) -> Option<PathBuf> {
        if let Some(path) = self.optional_path(key)? {
            return Some(path);
        }
        self.default(key, &default.display().to_string());
        Some(default)
    }
    pub(super) fn optional_path(&mut self, key: &str) -> Option<Option<PathBuf>> {
        let reader = self.reader;
        self.optional_word(
            key,
            |text| if text.is_empty() { None } else { Some(reader.resolve(text)) },
            "write a path",
        )
    }
    pub(super) fn number(&mut self, key: &str, default: u64, range: RangeInclusive<u64>) -> Option<u64> {
        let Some((value, line)) = self.raw(key) else {
            self.default(key, &default.to_string());
            return Some(default);
        };
        let number = value.as_integer().and_then(|n| u64::from_str_radix(n.as_str(), n.radix()).ok());
        let Some(number) = number.filter(|number| range.contains(number)) else {
            let (low, high) = range.into_inner();
            self.bad(key, line, "is out of range", &format!("write a whole number from {low} to {high}"));
            return None;
        };
        self.origin(key, &number.to_string(), line);
        Some(number)
    }
    pub(super) fn boolean(&mut self, key: &str, default: bool) -> Option<bool> {
        let Some((value, line)) = self.raw(key) else {
            self.default(key, if default { "true" } else { "false" });
            return Some(default);
        };
        let Some(truth) = value.as_bool() else {
            self.bad(key, line, &format!("is {}", value.type_str()), "write `true` or `false`");
            return None;
        };
        self.origin(key, if truth { "true" } else { "false" }, line);
        Some(truth)
    }
    /// A list of texts that may be missing.
    pub(super) fn optional_texts(&mut self, key: &str) -> Option<Option<Vec<String>>> {
        let Some((value, line)) = self.raw(key) else { return Some(None) };
        let Some(texts) = texts(value) else {
            self.bad(key, line, "is no list of texts", "write `[\"…\", \"…\"]`");
            return None;
        };
        self.origin(key, &format!("{texts:?}"), line);
        Some(Some(texts))
    }
    pub(super) fn optional_secret(&mut self, key: &str) -> Option<Option<SecretSource>> {
        let Some((value, line)) = self.raw(key) else { return Some(None) };
        self.secret_of(key, value, line).map(Some)
    }
    pub(super) fn secret_or(&mut self, key: &str, default: SecretSource) -> Option<SecretSource> {
        if let Some(source) = self.optional_secret(key)? {
            return Some(source);
        }
        self.default(key, &default.to_string());
        Some(default)
    }
    /// Secrets by name: `env = { TOKEN = { file = "…" } }`.
    pub(super) fn secrets(&mut self, key: &str) -> Option<BTreeMap<String, SecretSource>> {
        let Some((value, line)) = self.raw(key) else { return Some(BTreeMap::new()) };
        let Some(table) = value.as_table() else {
            self.bad(key, line, "is no table", "write `{ NAME = { file = \"…\" } }`");
            return None;
        };
        let secrets: Vec<_> = table
            .iter()
            .map(|(name, value)| {
                let line = self.reader.line(&value.span());
                let source = self.secret_of(&format!("{key}.{}", name.get_ref()), value.get_ref(), line);
                source.map(|source| (name.get_ref().clone().into_owned(), source))
            })
            .collect();
        secrets.into_iter().collect()
    }

    /// Texts by name: `vars = { JIRA_URL = "…" }`.
    pub(super) fn plain(&mut self, key: &str) -> Option<BTreeMap<String, String>> {
        let Some((value, line)) = self.raw(key) else { return Some(BTreeMap::new()) };
        let texts = value.as_table().and_then(|table| {
            let text = |value: &DeValue<'t>| value.as_str().map(str::to_owned);
            table
                .iter()
                .map(|(name, value)| Some((name.get_ref().clone().into_owned(), text(value.get_ref())?)))
                .collect::<Option<BTreeMap<_, _>>>()
        });
        let Some(texts) = texts else {
            self.bad(key, line, "is no table of texts", "write `{ NAME = \"…\" }`");
            return None;
        };
        for (name, text) in &texts {
            self.origin(&format!("{key}.{name}"), text, line);
        }
        Some(texts)
    }

    /// Notes a problem at a key.
    pub(super) fn problem(&self, key: &str, message: &str, remedy: &str) {
        let line = self.table.and_then(|table| table.iter().find(|(name, _)| name.get_ref() == key));
        let line = line.map_or(self.line, |(_, value)| self.reader.line(&value.span()));
        self.reader.note(line, format!("`{}`: {message}", self.name), remedy);
    }
    pub(super) fn missing(&self, key: &str, remedy: &str) {
        self.reader.note(self.line, format!("`{}` is missing", self.key(key)), remedy);
    }
    pub(super) fn default(&self, key: &str, value: &str) {
        self.origin(key, value, 0);
    }
    pub(super) fn line(&self) -> usize {
        self.line
    }
    pub(super) fn exists(&self) -> bool {
        self.table.is_some()
    }
    /// Refuses every key that wasn't asked for.
    pub(super) fn finish(&self) {
        let Some(table) = self.table else { return };
        for (name, value) in table {
            let name_text = name.get_ref();
            if self.asked.iter().any(|asked| asked == name_text) {
                continue;
            }
            let near = self
                .asked
                .iter()
                .filter(|known| near(known, name_text))
                .min_by_key(|known| known.len().abs_diff(name_text.len()));
            let remedy = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("remove it; known here: {}", self.asked.join(", ")),
            };
            let what = if matches!(value.get_ref(), DeValue::Table(_)) { "section" } else { "key" };
            self.reader.note(
                self.reader.line(&name.span()),
                format!("there is no {what} `{}`", self.key(name_text)),
                remedy,
            );
        }
    }

    fn secret_of(&self, key: &str, value: &DeValue<'t>, line: usize) -> Option<SecretSource> {
        let remedy = "write `{ file = \"…\" }`, `{ env = \"…\" }` or `{ command = [\"…\"] }`: a secret is never in this file";
        let source =
            value.as_table().filter(|table| table.len() == 1).and_then(|table| table.iter().next()).and_then(
                |(kind, value)| {
                    let text = || value.get_ref().as_str().filter(|text| !text.is_empty());
                    match kind.get_ref().as_ref() {
                        "file" => text().map(|path| SecretSource::File(self.reader.resolve(path))),
                        "env" => text().map(|name| SecretSource::Env(name.to_owned())),
                        "command" => texts(value.get_ref())
                            .filter(|command| !command.is_empty())
                            .map(SecretSource::Command),
                        _ => None,
                    }
                },
            );
        let Some(source) = source else {
            self.bad(key, line, "doesn't say where the secret is", remedy);
            return None;
        };
        self.origin(key, &source.to_string(), line);
        if let Err(error) = secret::check(&source, self.reader.variables) {
            self.bad(key, line, &error.what(), &error.remedy());
            return None;
        }
        Some(source)
    }
    fn parsed<T>(
        &self,
        key: &str,
        text: &str,
        line: usize,
        parse: impl Fn(&str) -> Option<T>,
        remedy: &str,
    ) -> Option<T> {
        let parsed = parse(text);
        match parsed {
            Some(_) => self.origin(key, text, line),
            None => self.bad(key, line, &format!("can't be {text:?}"), remedy),
        }
        parsed
    }
    fn text(&mut self, key: &str) -> Read<'r> {
        match self.raw(key) {
            None => Read::Absent,
            Some((value, line)) => {
                let Some(text) = value.as_str() else {
                    self.bad(
                        key,
                        line,
                        &format!("is {}", value.type_str()),
                        "write a text in quotation marks",
                    );
                    return Read::Bad;
                };
                Read::Found(text, line)
            }
        }
    }
    fn raw(&mut self, key: &str) -> Option<(&'r DeValue<'t>, usize)> {
        self.asked.push(key.to_owned());
        let (_, value) = self.table?.iter().find(|(name, _)| name.get_ref() == key)?;
        Some((value.get_ref(), self.reader.line(&value.span())))
    }
    fn bad(&self, key: &str, line: usize, what: &str, remedy: &str) {
        self.reader.note(line, format!("`{}` {what}", self.key(key)), remedy);
    }
    fn origin(&self, key: &str, value: &str, line: usize) {
        self.reader.origin(self.key(key), value, line);
    }
    fn key(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}

enum Read<'r> {
    Absent,
    Bad,
    Found(&'r str, usize),
}

/// A syntax error as a problem.
pub(super) fn syntax(file: &Path, text: &str, error: &toml::de::Error) -> Problem {
    Problem {
        file: file.to_owned(),
        line: error.span().map_or(0, |span| line(text, span.start)),
        message: format!("not TOML: {}", error.message()),
        remedy: "see https://toml.io".to_owned(),
    }
}

fn line(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count().saturating_add(1)
}

fn texts(value: &DeValue<'_>) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|element| element.get_ref().as_str().map(str::to_owned)).collect()
}

/// Whether one may have been meant by the other: the same letters but for one or two.
fn near(known: &str, typed: &str) -> bool {
    let common = known.chars().zip(typed.chars()).take_while(|(a, b)| a == b).count();
    let tail = known.chars().rev().zip(typed.chars().rev()).take_while(|(a, b)| a == b).count();
    let longest = known.chars().count().max(typed.chars().count());
    common.saturating_add(tail).saturating_add(2) >= longest
}
