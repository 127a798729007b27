//! The types of arguments, and what fits them.

use std::collections::{BTreeMap, BTreeSet};

use placet_core::{Decimal, Name};
use placet_json::{Object, Value, object};

/// Of a text that doesn't say its own bound, in characters.
pub const DEFAULT_MAX_LENGTH: usize = 4096;
/// Of a list that doesn't say its own bound.
pub const DEFAULT_MAX_ITEMS: usize = 100;

/// What an argument must be.
#[derive(Debug, Clone)]
pub enum Type {
    /// An identifier: a string of the alphabet of [`Name`].
    Id {
        /// What it must look like, from end to end.
        pattern: Option<Pattern>,
    },
    /// A string.
    Text {
        /// What it must look like, from end to end.
        pattern: Option<Pattern>,
        /// In Unicode scalar values.
        max_length: usize,
    },
    /// A JSON number, exact.
    Decimal {
        /// Inclusive.
        min: Option<Decimal>,
        /// Inclusive.
        max: Option<Decimal>,
        /// The most digits after the point.
        scale: Option<u8>,
    },
    /// A JSON number without a fraction.
    Integer {
        /// Inclusive.
        min: Option<Decimal>,
        /// Inclusive.
        max: Option<Decimal>,
    },
    /// `true` or `false`.
    Boolean,
    /// One of these strings.
    Enum {
        /// The strings.
        values: BTreeSet<String>,
    },
    /// An array.
    List {
        /// What each element must be.
        items: Box<Type>,
        /// The most elements.
        max_items: usize,
    },
    /// An object with these members and no others.
    Object {
        /// The members.
        fields: BTreeMap<String, Field>,
    },
}

/// A member of an object argument.
#[derive(Debug, Clone)]
pub struct Field {
    /// What it must be.
    pub ty: Type,
    /// Whether it must be there.
    pub required: bool,
}

/// A regular expression that a whole text must match.
#[derive(Debug, Clone)]
pub struct Pattern {
    source: String,
    regex: regex_lite::Regex,
}

impl Pattern {
    /// Compiles `source`; it is anchored at both ends, whatever it says itself.
    pub fn new(source: &str) -> Result<Self, String> {
        // By itself first: a text such as `a)|(b` is only right with our parentheses around it.
        regex_lite::Regex::new(source).map_err(|error| error.to_string())?;
        let regex = regex_lite::Regex::new(&format!("^(?:{source})$")).map_err(|error| error.to_string())?;
        Ok(Self { source: source.to_owned(), regex })
    }
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }
    /// Whether all of `text` matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

/// Why a value doesn't fit: where below the argument, and what is demanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Misfit {
    pub(crate) below: String,
    pub(crate) demand: String,
}

impl Misfit {
    fn here(demand: impl Into<String>) -> Self {
        Self { below: String::new(), demand: demand.into() }
    }
    fn under(mut self, segment: &str) -> Self {
        self.below.insert_str(0, segment);
        self
    }
}

impl Type {
    /// Whether `value` is of this type and in its range. Nothing is converted: a number in quotation marks is a text.
    pub(crate) fn fits(&self, value: &Value) -> Result<(), Misfit> {
        match self {
            Self::Id { pattern } => {
                let text = string(value, "an identifier")?;
                Name::new(text).map_err(|error| Misfit::here(format!("must be an identifier: {error}")))?;
                matched(pattern.as_ref(), text)
            }
            Self::Text { pattern, max_length } => {
                let text = string(value, "a string")?;
                if text.len() > *max_length && text.chars().count() > *max_length {
                    return Err(Misfit::here(format!("must have at most {max_length} characters")));
                }
                matched(pattern.as_ref(), text)
            }
            Self::Decimal { min, max, scale } => {
                let number = decimal(value)?;
                if let Some(scale) = scale
                    && number.scale() > *scale
                {
                    return Err(Misfit::here(format!("must have at most {scale} digits after the point")));
                }
                within(number, *min, *max)
            }
            Self::Integer { min, max } => {
                let number = decimal(value)?;
                if number.scale() > 0 {
                    return Err(Misfit::here("must be a whole number"));
                }
                within(number, *min, *max)
            }
            Self::Boolean => {
                value.as_bool().map(drop).ok_or_else(|| Misfit::here("must be `true` or `false`"))
            }
            Self::Enum { values } => match value.as_str() {
                Some(text) if values.contains(text) => Ok(()),
                _ => Err(Misfit::here(format!(
                    "must be one of {}",
                    values.iter().map(|v| format!("`{v}`")).collect::<Vec<_>>().join(", ")
                ))),
            },
            Self::List { items, max_items } => {
                let elements = value.as_array().ok_or_else(|| Misfit::here("must be an array"))?;
                if elements.len() > *max_items {
                    return Err(Misfit::here(format!("must have at most {max_items} elements")));
                }
                elements.iter().enumerate().try_for_each(|(i, element)| {
                    items.fits(element).map_err(|misfit| misfit.under(&format!("[{i}]")))
                })
            }
            Self::Object { fields } => {
                let members = value.as_object().ok_or_else(|| Misfit::here("must be an object"))?;
                for (name, member) in members {
                    let segment = format!(".{}", shown(name));
                    let field =
                        fields.get(name).ok_or_else(|| Misfit::here("isn't known").under(&segment))?;
                    field.ty.fits(member).map_err(|misfit| misfit.under(&segment))?;
                }
                match fields.iter().find(|(name, field)| field.required && !members.contains_key(name)) {
                    Some((name, _)) => Err(Misfit::here("is missing").under(&format!(".{name}"))),
                    None => Ok(()),
                }
            }
        }
    }

    /// Its name in a catalog file.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Id { .. } => "id",
            Self::Text { .. } => "text",
            Self::Decimal { .. } => "decimal",
            Self::Integer { .. } => "integer",
            Self::Boolean => "boolean",
            Self::Enum { .. } => "enum",
            Self::List { .. } => "list",
            Self::Object { .. } => "object",
        }
    }

    pub(crate) fn write(&self, out: &mut Object) {
        out.insert("type", self.name());
        match self {
            Self::Id { pattern } => write_pattern(pattern.as_ref(), out),
            Self::Text { pattern, max_length } => {
                write_pattern(pattern.as_ref(), out);
                out.insert("max_length", u64::try_from(*max_length).unwrap_or(u64::MAX));
            }
            Self::Decimal { min, max, scale } => {
                write_range(*min, *max, out);
                if let Some(scale) = scale {
                    out.insert("scale", u64::from(*scale));
                }
            }
            Self::Integer { min, max } => write_range(*min, *max, out),
            Self::Boolean => {}
            Self::Enum { values } => {
                out.insert("values", Value::Array(values.iter().map(Value::from).collect()));
            }
            Self::List { items, max_items } => {
                let mut inner = Object::new();
                items.write(&mut inner);
                out.insert("items", inner);
                out.insert("max_items", u64::try_from(*max_items).unwrap_or(u64::MAX));
            }
            Self::Object { fields } => {
                let fields: Object = fields
                    .iter()
                    .map(|(name, field)| {
                        let mut inner = object! { "required" => field.required };
                        field.ty.write(&mut inner);
                        (name.clone(), Value::Object(inner))
                    })
                    .collect();
                out.insert("fields", fields);
            }
        }
    }
}

/// An argument's name as it may be repeated to whoever sent it: cut, without control characters.
pub(crate) fn shown(name: &str) -> String {
    name.chars().take(64).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn string<'v>(value: &'v Value, what: &str) -> Result<&'v str, Misfit> {
    value.as_str().ok_or_else(|| Misfit::here(format!("must be {what}")))
}
fn matched(pattern: Option<&Pattern>, text: &str) -> Result<(), Misfit> {
    match pattern {
        Some(pattern) if !pattern.matches(text) => {
            Err(Misfit::here(format!("must match `{}`", pattern.as_str())))
        }
        _ => Ok(()),
    }
}
fn decimal(value: &Value) -> Result<Decimal, Misfit> {
    let number = value.as_number().ok_or_else(|| Misfit::here("must be a number"))?;
    Decimal::from_number(number).map_err(|error| Misfit::here(format!("must be an exact number: {error}")))
}
fn within(number: Decimal, min: Option<Decimal>, max: Option<Decimal>) -> Result<(), Misfit> {
    match (min, max) {
        (Some(min), _) if number < min => Err(Misfit::here(format!("must be at least {min}"))),
        (_, Some(max)) if number > max => Err(Misfit::here(format!("must be at most {max}"))),
        _ => Ok(()),
    }
}
fn write_pattern(pattern: Option<&Pattern>, out: &mut Object) {
    if let Some(pattern) = pattern {
        out.insert("pattern", pattern.as_str());
    }
}
fn write_range(min: Option<Decimal>, max: Option<Decimal>, out: &mut Object) {
    for (name, bound) in [("min", min), ("max", max)] {
        if let Some(bound) = bound {
            out.insert(name, bound.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_matched_from_end_to_end() {
        let case = Pattern::new("CASE-[0-9]+").unwrap();
        assert!(case.matches("CASE-1837"));
        for bad in ["CASE-1837\n", "xCASE-1837", "CASE-1837x", "CASE-1837\nCASE-1", "case-1837", "CASE-１"] {
            assert!(!case.matches(bad), "{bad:?} matched");
        }
        assert!(!Pattern::new("a|b").unwrap().matches("ab"));
        assert!(!Pattern::new("(?m)a").unwrap().matches("a\nb"));
        assert!(Pattern::new("a)|(b").is_err());
        assert!(Pattern::new("(?x)a # b").map_or(true, |p| !p.matches("ab")));
    }
}
