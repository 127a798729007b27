//! Reading TOML with lines: every key is asked for, none is left over, and every mistake is told.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::Problem;

/// Takes the problems of one file.
pub(crate) struct Reader<'f> {
    file: &'f str,
    text: &'f str,
    pub(crate) problems: Vec<Problem>,
}

/// A table and the keys that were asked for.
pub(crate) struct Table<'t, 'i> {
    /// What it is, for messages: `` `billing.refund` ``.
    pub(crate) what: String,
    pub(crate) at: Range<usize>,
    entries: &'t DeTable<'i>,
    asked: Vec<&'static str>,
}

pub(crate) type Item<'t, 'i> = &'t Spanned<DeValue<'i>>;

impl<'f> Reader<'f> {
    pub(crate) fn new(file: &'f str, text: &'f str) -> Self {
        Self { file, text, problems: Vec::new() }
    }
    /// A problem at a byte offset of the file.
    pub(crate) fn problem(&mut self, at: usize, message: impl Into<String>, remedy: impl Into<String>) {
        self.problems.push(Problem {
            file: self.file.to_owned(),
            line: Some(self.line(at)),
            message: message.into(),
            remedy: remedy.into(),
        });
    }
    pub(crate) fn file(&self) -> &str {
        self.file
    }
    /// The line of a byte offset, counted from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.text.get(..at).unwrap_or(self.text).matches('\n').count().saturating_add(1)
    }
    pub(crate) fn table<'t, 'i>(
        &mut self,
        item: Item<'t, 'i>,
        what: impl Into<String>,
    ) -> Option<Table<'t, 'i>> {
        let what = what.into();
        let table = item.get_ref().as_table();
        if table.is_none() {
            self.problem(item.span().start, format!("{what} is not a table"), "");
        }
        Some(Table { what, at: item.span(), entries: table?, asked: Vec::new() })
    }
    pub(crate) fn text<'t>(&mut self, item: Item<'t, '_>, what: &str) -> Option<&'t str> {
        let text = item.get_ref().as_str();
        if text.is_none() {
            self.problem(item.span().start, format!("{what} is not a string"), "write it in quotation marks");
        }
        text
    }
    /// A string that is parsed.
    pub(crate) fn parsed<T, E: std::fmt::Display>(
        &mut self,
        item: Item<'_, '_>,
        what: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(self.text(item, what)?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(item.span().start, format!("{what}: {error}"), "");
                None
            }
        }
    }
    pub(crate) fn list<'t, 'i>(&mut self, item: Item<'t, 'i>, what: &str) -> Vec<Item<'t, 'i>> {
        let array = item.get_ref().as_array();
        if array.is_none() {
            self.problem(item.span().start, format!("{what} is not a list"), "write `[…]`");
        }
        array.map(|array| array.iter().collect()).unwrap_or_default()
    }
    pub(crate) fn truth(&mut self, item: Item<'_, '_>, what: &str) -> Option<bool> {
        let truth = item.get_ref().as_bool();
        if truth.is_none() {
            self.problem(item.span().start, format!("{what} is neither `true` nor `false`"), "");
        }
        truth
    }
    /// A whole number from 0.
    pub(crate) fn count(&mut self, item: Item<'_, '_>, what: &str) -> Option<usize> {
        let count = item
            .get_ref()
            .as_integer()
            .and_then(|number| usize::from_str_radix(number.as_str(), number.radix()).ok());
        if count.is_none() {
            self.problem(item.span().start, format!("{what} is not a whole number from 0"), "");
        }
        count
    }
    /// Says which keys of a table nobody asked for.
    pub(crate) fn finish(&mut self, table: &Table<'_, '_>) {
        for key in table.entries.keys() {
            if !table.asked.contains(&key.get_ref().as_ref()) {
                let known = table.asked.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                self.problem(
                    key.span().start,
                    format!("{} has an unknown key `{}`", table.what, key.get_ref()),
                    format!("known are {known}"),
                );
            }
        }
    }
    /// Says that a table lacks a key.
    pub(crate) fn required<'t, 'i>(
        &mut self,
        table: &mut Table<'t, 'i>,
        name: &'static str,
        remedy: &str,
    ) -> Option<Item<'t, 'i>> {
        let item = table.get(name);
        if item.is_none() {
            self.problem(table.at.start, format!("{} has no `{name}`", table.what), remedy);
        }
        item
    }
}

impl<'t, 'i> Table<'t, 'i> {
    pub(crate) fn root(table: &'t Spanned<DeTable<'i>>) -> Self {
        Self { what: "the file".to_owned(), at: table.span(), entries: table.get_ref(), asked: Vec::new() }
    }
    pub(crate) fn get(&mut self, name: &'static str) -> Option<Item<'t, 'i>> {
        self.asked.push(name);
        self.entries.iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| value)
    }
    /// All keys with their offsets, for tables whose keys are names.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'t str, usize, Item<'t, 'i>)> + use<'t, 'i> {
        self.entries.iter().map(|(key, value)| (key.get_ref().as_ref(), key.span().start, value))
    }
}
