//! The few JSON paths that a result guard needs: `$`, `.name` and `[*]` (RFC 9535, a subset).

use std::{fmt, str::FromStr};

use placet_json::Value;

/// A path into a result, for instance `$.cases[*].customer`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(Vec<Step>);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Member(String),
    Each,
}

/// Why a text is no [`Path`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a path made of `$`, `.name` and `[*]`")]
pub struct PathError(String);

impl FromStr for Path {
    type Err = PathError;
    fn from_str(text: &str) -> Result<Self, PathError> {
        let error = || PathError(text.to_owned());
        let mut rest = text.strip_prefix('$').ok_or_else(error)?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("[*]") {
                steps.push(Step::Each);
                rest = after;
                continue;
            }
            let name = rest.strip_prefix('.').ok_or_else(error)?;
            let end = name.find(['.', '[']).unwrap_or(name.len());
            let (name, after) = name.split_at_checked(end).ok_or_else(error)?;
            if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-') {
                return Err(error());
            }
            steps.push(Step::Member(name.to_owned()));
            rest = after;
        }
        Ok(Self(steps))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        self.0.iter().try_for_each(|step| match step {
            Step::Member(name) => write!(f, ".{name}"),
            Step::Each => f.write_str("[*]"),
        })
    }
}
impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Path {
    /// Whether it leads to one value at most.
    #[must_use]
    pub fn is_single(&self) -> bool {
        !self.0.contains(&Step::Each)
    }

    /// Visits every value that the path leads to, in order. A member that isn't there, or `[*]` on something else
    /// than an array, is [`Walked::Missing`]; an empty array is nothing to visit.
    pub(crate) fn walk<'v, E>(
        &self,
        root: &'v Value,
        mut visit: impl FnMut(&'v Value, &Place<'_>) -> Result<(), E>,
    ) -> Result<(), Walked<E>> {
        let mut indices = Vec::new();
        self.step(root, 0, &mut indices, &mut visit)
    }

    fn step<'v, E>(
        &self,
        value: &'v Value,
        at: usize,
        indices: &mut Vec<usize>,
        visit: &mut impl FnMut(&'v Value, &Place<'_>) -> Result<(), E>,
    ) -> Result<(), Walked<E>> {
        let place = |indices: &[usize], upto: usize| Place { path: self, indices, upto }.to_string();
        let next = at.saturating_add(1);
        match self.0.get(at) {
            None => visit(value, &Place { path: self, indices, upto: at }).map_err(Walked::Visit),
            Some(Step::Member(name)) => match value.get(name) {
                Some(member) => self.step(member, next, indices, visit),
                None => Err(Walked::Missing(place(indices, next))),
            },
            Some(Step::Each) => {
                let Some(elements) = value.as_array() else {
                    return Err(Walked::Missing(place(indices, next)));
                };
                for (i, element) in elements.iter().enumerate() {
                    indices.push(i);
                    self.step(element, next, indices, visit)?;
                    indices.pop();
                }
                Ok(())
            }
        }
    }
}

/// Why a walk ended before its end.
#[derive(Debug)]
pub(crate) enum Walked<E> {
    /// The path leads nowhere here; this is how far.
    Missing(String),
    /// The visitor said so.
    Visit(E),
}

/// Where a walk is, written as a path with positions: `$.cases[3]`.
pub(crate) struct Place<'a> {
    path: &'a Path,
    indices: &'a [usize],
    upto: usize,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        let mut indices = self.indices.iter();
        self.path.0.iter().take(self.upto).try_for_each(|step| match step {
            Step::Member(name) => write!(f, ".{name}"),
            Step::Each => match indices.next() {
                Some(i) => write!(f, "[{i}]"),
                None => f.write_str("[*]"),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use placet_json::{Limits, parse};

    use super::*;

    #[test]
    fn a_path_visits_all_or_says_where_it_ends() {
        let value = parse(br#"{"a":[{"b":[1,2]},{"b":[3]},{"b":[]}]}"#, &Limits::MESSAGE).unwrap();
        let all = |path: &str| {
            let mut seen = Vec::new();
            let end = path.parse::<Path>().unwrap().walk(&value, |v, at| {
                seen.push(format!("{at}={v}"));
                Ok::<_, ()>(())
            });
            (seen, end.err().map(|e| if let Walked::Missing(at) = e { at } else { String::new() }))
        };
        assert_eq!(
            all("$.a[*].b[*]"),
            (vec!["$.a[0].b[0]=1".into(), "$.a[0].b[1]=2".into(), "$.a[1].b[0]=3".into()], None)
        );
        assert_eq!(all("$.x").1.as_deref(), Some("$.x"));
        assert_eq!(all("$.a[*].c").1.as_deref(), Some("$.a[0].c"));
        assert_eq!(all("$[*]").1.as_deref(), Some("$[*]"));
        for bad in ["", "a", "$.", "$..a", "$[0]", "$['a']", "$.a b", "$x", "$.a[*", "$."] {
            assert!(bad.parse::<Path>().is_err(), "{bad:?} was taken");
        }
    }
}
