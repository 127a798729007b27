//! Filters and paths (RFC 7644 §3.4.2.2, §3.5.2): a small language, read with bounds.

use placet_json::{Limits, Value, parse};

use super::error::ScimError;

/// The longest filter or path, in bytes.
const MAX: usize = 1024;
/// The deepest nesting of parentheses, and the most comparisons.
const MAX_DEPTH: usize = 8;
const MAX_TERMS: usize = 32;

/// A filter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Filter {
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Present(String),
    Compare(String, Operator, Value),
    /// `emails[type eq "work"]`.
    Some(String, Box<Self>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    Unequal,
    Contains,
    Starts,
    Ends,
    Greater,
    NotLess,
    Less,
    NotGreater,
}

/// A path of a patch: `attribute[filter].sub`, with or without a schema before it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Path {
    /// `urn:…`, or the name of an attribute with its schema before it.
    pub(crate) attribute: String,
    pub(crate) filter: Option<Filter>,
    pub(crate) sub: Option<String>,
}

impl Filter {
    pub(crate) fn parse(text: &str) -> Result<Self, ScimError> {
        let mut reader = Reader::new(text, ScimError::filter)?;
        let filter = reader.or(0)?;
        reader.end()?;
        Ok(filter)
    }

    /// Whether a resource, or one value of an attribute, is meant.
    pub(crate) fn matches(&self, of: &Value) -> bool {
        match self {
            Self::And(a, b) => a.matches(of) && b.matches(of),
            Self::Or(a, b) => a.matches(of) || b.matches(of),
            Self::Not(one) => !one.matches(of),
            Self::Present(name) => values(of, name).iter().any(|value| !is_empty(value)),
            Self::Compare(name, operator, wanted) => {
                let found = values(of, name);
                if found.is_empty() {
                    // `ne` and `eq null` hold of what isn't there.
                    return (*operator == Operator::Unequal) != wanted.is_null();
                }
                let exact = is_exact(name);
                found.iter().any(|value| compare(value, *operator, wanted, exact))
            }
            Self::Some(name, inner) => values(of, name).iter().any(|value| inner.matches(value)),
        }
    }

    /// The value that an attribute must have, if all matches have it: what an index can answer.
    pub(crate) fn demands(&self, attribute: &str) -> Option<&str> {
        match self {
            Self::And(a, b) => a.demands(attribute).or_else(|| b.demands(attribute)),
            Self::Compare(name, Operator::Equal, wanted) if bare(name).eq_ignore_ascii_case(attribute) => {
                wanted.as_str()
            }
            Self::Or(..) | Self::Not(_) | Self::Present(_) | Self::Compare(..) | Self::Some(..) => None,
        }
    }

    /// The equalities that a filter consists of, if it consists of nothing else.
    pub(crate) fn equalities(&self) -> Option<Vec<(&str, &Value)>> {
        match self {
            Self::And(a, b) => {
                let mut all = a.equalities()?;
                all.extend(b.equalities()?);
                Some(all)
            }
            Self::Compare(name, Operator::Equal, value) => Some(vec![(name, value)]),
            Self::Or(..) | Self::Not(_) | Self::Present(_) | Self::Compare(..) | Self::Some(..) => None,
        }
    }
}

impl Path {
    pub(crate) fn parse(text: &str) -> Result<Self, ScimError> {
        let mut reader = Reader::new(text.trim(), ScimError::path)?;
        let attribute = reader.name()?;
        let filter = if reader.eat("[") {
            let filter = reader.or(0)?;
            if !reader.eat("]") {
                return Err(reader.wrong("`]` is missing"));
            }
            Some(filter)
        } else {
            None
        };
        let sub = if filter.is_some() && reader.eat(".") { Some(reader.name()?) } else { None };
        reader.end()?;
        Ok(Self { attribute, filter, sub })
    }
}

/// What stands behind a schema: `urn:ietf:…:User:userName` → `userName`.
pub(crate) fn bare(name: &str) -> &str {
    if name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("urn:")) {
        name.rsplit(':').next().unwrap_or(name)
    } else {
        name
    }
}

/// Ids are compared as they are; `userName` and the other texts in any case.
fn is_exact(name: &str) -> bool {
    let last = bare(name).rsplit('.').next().unwrap_or(name);
    ["id", "externalId", "value", "$ref"].iter().any(|exact| last.eq_ignore_ascii_case(exact))
        && !bare(name).to_ascii_lowercase().starts_with("emails")
}

/// The values at `a.b`, through lists.
fn values<'v>(of: &'v Value, name: &str) -> Vec<&'v Value> {
    let mut steps: Vec<&str> = Vec::new();
    let urn = of.as_object().into_iter().flatten().find(|(key, _)| {
        key.starts_with("urn:")
            && name.len() > key.len()
            && name.get(..key.len()).is_some_and(|start| start.eq_ignore_ascii_case(key))
    });
    let (mut found, rest) = match urn {
        Some((key, value)) => (vec![value], name.get(key.len().saturating_add(1)..).unwrap_or_default()),
        None => (vec![of], bare(name)),
    };
    steps.extend(rest.split('.'));
    for step in steps {
        found = found
            .into_iter()
            .flat_map(each)
            .filter_map(|value| {
                value
                    .as_object()?
                    .iter()
                    .find(|(key, _)| key.eq_ignore_ascii_case(step))
                    .map(|(_, value)| value)
            })
            .collect();
    }
    found.into_iter().flat_map(each).collect()
}

/// The values of a list, or the one value.
fn each(value: &Value) -> Vec<&Value> {
    value.as_array().map_or_else(|| vec![value], |values| values.iter().collect())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(object) => object.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn compare(value: &Value, operator: Operator, wanted: &Value, exact: bool) -> bool {
    // A complex value is compared by its `value` (RFC 7644 §3.4.2.2).
    let value = match value {
        Value::Object(object) => object.get("value").unwrap_or(value),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => value,
    };
    if let (Some(a), Some(b)) = (value.as_str(), wanted.as_str()) {
        let fold = |text: &str| if exact { text.to_owned() } else { text.to_lowercase() };
        let (a, b) = (fold(a), fold(b));
        return match operator {
            Operator::Equal => a == b,
            Operator::Unequal => a != b,
            Operator::Contains => a.contains(&b),
            Operator::Starts => a.starts_with(&b),
            Operator::Ends => a.ends_with(&b),
            Operator::Greater => a > b,
            Operator::NotLess => a >= b,
            Operator::Less => a < b,
            Operator::NotGreater => a <= b,
        };
    }
    // Entra compares booleans with texts.
    let same = value == wanted
        || matches!((value.as_bool(), wanted.as_str()), (Some(a), Some(b)) if b.eq_ignore_ascii_case(if a { "true" } else { "false" }));
    match operator {
        Operator::Equal => same,
        Operator::Unequal => !same,
        Operator::Contains
        | Operator::Starts
        | Operator::Ends
        | Operator::Greater
        | Operator::NotLess
        | Operator::Less
        | Operator::NotGreater => false,
    }
}

struct Reader<'t> {
    rest: &'t str,
    terms: usize,
    error: fn(String) -> ScimError,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str, error: fn(String) -> ScimError) -> Result<Self, ScimError> {
        if text.len() > MAX {
            return Err(error(format!("longer than {MAX} bytes")));
        }
        Ok(Self { rest: text, terms: 0, error })
    }
    fn wrong(&self, what: &str) -> ScimError {
        (self.error)(what.to_owned())
    }
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }
    fn end(&mut self) -> Result<(), ScimError> {
        self.skip();
        if self.rest.is_empty() { Ok(()) } else { Err(self.wrong("something stands behind its end")) }
    }
    fn eat(&mut self, token: &str) -> bool {
        match self.rest.trim_start().strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
    /// A word in any case, with its end.
    fn word(&mut self, word: &str) -> bool {
        let rest = self.rest.trim_start();
        let found = rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        let Some(behind) = rest.get(word.len()..).filter(|_| found) else { return false };
        if behind.chars().next().is_some_and(|next| next.is_ascii_alphanumeric()) {
            return false;
        }
        self.rest = behind;
        true
    }
    fn name(&mut self) -> Result<String, ScimError> {
        self.skip();
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '$' | ':' | '.');
        let end = self.rest.find(|c| !is_name(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        let starts = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '$');
        if !starts || name.ends_with('.') {
            return Err(self.wrong("the name of an attribute is missing"));
        }
        self.rest = rest;
        Ok(name.to_owned())
    }
    fn or(&mut self, depth: usize) -> Result<Filter, ScimError> {
        let mut left = self.and(depth)?;
        while self.word("or") {
            left = Filter::Or(Box::new(left), Box::new(self.and(depth)?));
        }
        Ok(left)
    }
    fn and(&mut self, depth: usize) -> Result<Filter, ScimError> {
        let mut left = self.term(depth)?;
        while self.word("and") {
            left = Filter::And(Box::new(left), Box::new(self.term(depth)?));
        }
        Ok(left)
    }
    fn term(&mut self, depth: usize) -> Result<Filter, ScimError> {
        self.terms = self.terms.saturating_add(1);
        if depth >= MAX_DEPTH || self.terms > MAX_TERMS {
            return Err(self.wrong("too long or too deep"));
        }
        let below = depth.saturating_add(1);
        let negated = self.word("not");
        if self.eat("(") {
            let inner = self.or(below)?;
            if !self.eat(")") {
                return Err(self.wrong("`)` is missing"));
            }
            return Ok(if negated { Filter::Not(Box::new(inner)) } else { inner });
        }
        if negated {
            return Err(self.wrong("`(` is missing behind `not`"));
        }
        let name = self.name()?;
        if self.eat("[") {
            let inner = self.or(below)?;
            if !self.eat("]") {
                return Err(self.wrong("`]` is missing"));
            }
            return Ok(Filter::Some(name, Box::new(inner)));
        }
        if self.word("pr") {
            return Ok(Filter::Present(name));
        }
        let operators = [
            ("eq", Operator::Equal),
            ("ne", Operator::Unequal),
            ("co", Operator::Contains),
            ("sw", Operator::Starts),
            ("ew", Operator::Ends),
            ("gt", Operator::Greater),
            ("ge", Operator::NotLess),
            ("lt", Operator::Less),
            ("le", Operator::NotGreater),
        ];
        let Some((_, operator)) = operators.into_iter().find(|(word, _)| self.word(word)) else {
            return Err(self.wrong(
                "an operator is missing: `eq`, `ne`, `co`, `sw`, `ew`, `pr`, `gt`, `ge`, `lt`, `le`",
            ));
        };
        Ok(Filter::Compare(name, operator, self.literal()?))
    }
    /// A JSON text, number or word.
    fn literal(&mut self) -> Result<Value, ScimError> {
        self.skip();
        let end = if self.rest.starts_with('"') {
            let mut escaped = false;
            let close = self.rest.char_indices().skip(1).find(|(_, c)| {
                let closes = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                closes
            });
            close.map(|(at, _)| at.saturating_add(1))
        } else {
            Some(self.rest.find([' ', ')', ']']).unwrap_or(self.rest.len()))
        };
        let (literal, rest) = end
            .and_then(|end| self.rest.split_at_checked(end))
            .ok_or_else(|| self.wrong("a text has no end"))?;
        let lower = literal.to_ascii_lowercase();
        let literal =
            if matches!(lower.as_str(), "true" | "false" | "null") { lower.as_str() } else { literal };
        let value = parse(literal.as_bytes(), &Limits { bytes: MAX, depth: 1, members: 1 })
            .map_err(|_| self.wrong("a value is no JSON text, number or boolean"))?;
        self.rest = rest;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use placet_json::Limits;

    use super::*;

    fn user() -> Value {
        parse(br#"{"id":"u1","userName":"Maya@acme.example","active":true,"emails":[{"value":"m@x.example","type":"work"},{"value":"m@home.example","type":"home"}],
            "members":[{"value":"u2"}],"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"Support"}}"#, &Limits::MESSAGE).unwrap()
    }

    #[test]
    fn filters_find_what_they_say() {
        for (filter, found) in [
            (r#"userName eq "maya@ACME.example""#, true),
            (r#"urn:ietf:params:scim:schemas:core:2.0:User:userName Eq "maya@acme.example""#, true),
            (r#"id eq "U1""#, false),
            (r#"id eq "u1" and active eq true"#, true),
            (r#"active eq "True""#, true),
            (r#"active eq false or userName sw "maya""#, true),
            (r"not (active eq true)", false),
            (r#"emails[type eq "work" and value co "x.example"]"#, true),
            (r#"emails[type eq "work" and value co "home"]"#, false),
            (r#"emails.value eq "m@home.example""#, true),
            (r#"emails.type eq "other""#, false),
            (r#"members.value eq "u2""#, true),
            (r#"members eq "u2""#, true),
            (r"externalId pr", false),
            (r#"title ne "x""#, true),
            (r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department eq "support""#, true),
        ] {
            assert_eq!(Filter::parse(filter).unwrap().matches(&user()), found, "{filter}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        let deep = format!("{}id pr{}", "(".repeat(9), ")".repeat(9));
        let long = vec!["id pr"; 33].join(" or ");
        for filter in [
            "",
            "userName",
            "userName eq",
            r#"userName eq "x"#,
            "eq eq eq",
            r#"id eq "x" and"#,
            r#"(id eq "x""#,
            r#"id xx "y""#,
            "id eq x",
            "not id pr",
            &deep,
            &long,
        ] {
            assert_eq!(Filter::parse(filter).unwrap_err().sort, Some("invalidFilter"), "{filter}");
        }
        for path in ["", "[", "emails[type eq \"work\"", "emails[].value", "emails.", "a b", "1"] {
            assert_eq!(Path::parse(path).unwrap_err().sort, Some("invalidPath"), "{path}");
        }
    }
}
