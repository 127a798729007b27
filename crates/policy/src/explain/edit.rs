//! One change of an input or of the facts beside it, and its words.

use placet_json::{Object, Value, object};

/// A change of facts that lie beside a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FactEdit {
    /// A relationship that isn't there: `object#relation@subject`.
    TupleAdded(String),
    /// A relationship that is there.
    TupleRemoved(String),
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// A member of the input has this value.
    Set {
        /// The path, a step for each token of a JSON pointer; `-` appends to a list.
        path: Vec<String>,
        /// The value there before.
        was: Option<Value>,
        /// The value that it has from now on.
        value: Value,
        /// Where the same value stands again: an attribute below `args`, the first resource in `resources`.
        mirrors: Vec<Vec<String>>,
    },
    /// A member of the input is left out.
    Remove {
        /// Its path.
        path: Vec<String>,
        /// The value there before.
        was: Value,
    },
    /// The facts are others.
    Fact(FactEdit),
}

impl Edit {
    /// Makes the change. Whether it could be made.
    pub(crate) fn apply(&self, document: &mut Value) -> bool {
        match self {
            Self::Set { path, value, mirrors, was: _ } => {
                let done = set(document, path, value);
                for mirror in mirrors {
                    let _also = set(document, mirror, value);
                }
                done
            }
            Self::Remove { path, was: _ } => {
                let Some((last, parents)) = path.split_last() else { return false };
                match at_mut(document, parents) {
                    Some(Value::Object(object)) => object.remove(last).is_some(),
                    Some(Value::Array(items)) => match last.parse::<usize>() {
                        Ok(index) if index < items.len() => {
                            items.remove(index);
                            true
                        }
                        Ok(_) | Err(_) => false,
                    },
                    Some(_) | None => false,
                }
            }
            Self::Fact(_) => true,
        }
    }

    /// What sort of change it is, for programs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        let Some(path) = self.path() else {
            return match self {
                Self::Fact(FactEdit::TupleRemoved(_)) => "tuple_removed",
                Self::Fact(FactEdit::TupleAdded(_)) | Self::Set { .. } | Self::Remove { .. } => "tuple_added",
            };
        };
        let steps: Vec<&str> = path.iter().map(String::as_str).collect();
        match (steps.as_slice(), self) {
            (["delegating_user", "roles", "-"], Self::Set { .. }) => "role_assigned",
            (["workflow", "expires_at"], Self::Set { .. }) => "workflow_extended",
            (["workflow", _, ..], Self::Set { value, .. })
                if value.get("status").is_some() || steps.last() == Some(&"status") =>
            {
                "approval_given"
            }
            (["args", ..] | [_], Self::Set { .. }) => "argument",
            (["resource", ..], _) => "resource_attribute",
            (_, _) => "attribute",
        }
    }

    fn path(&self) -> Option<&[String]> {
        match self {
            Self::Set { path, .. } | Self::Remove { path, .. } => Some(path),
            Self::Fact(_) => None,
        }
    }

    /// In words: what to do.
    #[must_use]
    pub fn told(&self) -> String {
        let dotted = |path: &[String]| format!("input.{}", path.join("."));
        let short = |value: &Value| value.to_string().chars().take(160).collect::<String>();
        match self {
            Self::Fact(FactEdit::TupleAdded(tuple)) => format!("add the tuple `{tuple}`"),
            Self::Fact(FactEdit::TupleRemoved(tuple)) => format!("remove the tuple `{tuple}`"),
            Self::Remove { path, was } => format!("leave out `{}` (it is {})", dotted(path), short(was)),
            Self::Set { path, was, value, mirrors: _ } => {
                let text = value.as_str().unwrap_or_default();
                let was = was
                    .as_ref()
                    .map_or_else(|| "it is missing".to_owned(), |was| format!("it is {}", short(was)));
                match self.kind() {
                    "role_assigned" => format!("assign the role `{text}` to the delegating person"),
                    "workflow_extended" => format!("let the workflow end at {text} ({was})"),
                    "approval_given" => {
                        let role = value.get("approver_role").and_then(Value::as_str);
                        let by = role
                            .map_or_else(String::new, |role| format!(" by somebody with the role `{role}`"));
                        format!(
                            "give the approval `{}`{by}: `{}` is {}",
                            path.get(1).map_or("", String::as_str),
                            dotted(path),
                            short(value)
                        )
                    }
                    _ if path.last().is_some_and(|last| last == "-") => {
                        let parents = path.split_last().map_or(path.as_slice(), |(_, parents)| parents);
                        format!("add {} to `{}`", short(value), dotted(parents))
                    }
                    _ => format!("set `{}` to {} ({was})", dotted(path), short(value)),
                }
            }
        }
    }

    /// For programs: kind, words, and the change as JSON Patch (RFC 6902) of the input or as a change of facts.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut document = object! { "kind" => self.kind(), "text" => self.told() };
        match self {
            Self::Fact(FactEdit::TupleAdded(tuple)) => {
                document.insert("fact", object! { "tuple_added" => tuple.as_str() });
            }
            Self::Fact(FactEdit::TupleRemoved(tuple)) => {
                document.insert("fact", object! { "tuple_removed" => tuple.as_str() });
            }
            Self::Set { path, was, value, mirrors } => {
                let op = if was.is_some() { "replace" } else { "add" };
                let patch = std::iter::once(path).chain(mirrors).map(|path| {
                    Value::Object(object! { "op" => op, "path" => pointer(path), "value" => value.clone() })
                });
                document.insert("patch", patch.collect::<Vec<_>>());
            }
            Self::Remove { path, was: _ } => {
                let patch: Object = object! { "op" => "remove", "path" => pointer(path) };
                document.insert("patch", vec![Value::Object(patch)]);
            }
        }
        Value::Object(document)
    }
}

/// A JSON pointer (RFC 6901).
fn pointer(path: &[String]) -> String {
    path.iter().fold(String::new(), |mut out, step| {
        out.push('/');
        out.push_str(&step.replace('~', "~0").replace('/', "~1"));
        out
    })
}

fn at_mut<'v>(document: &'v mut Value, path: &[String]) -> Option<&'v mut Value> {
    path.iter().try_fold(document, |value, step| match value {
        Value::Object(object) => object.get_mut(step),
        Value::Array(items) => items.get_mut(step.parse::<usize>().ok()?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}

fn set(document: &mut Value, path: &[String], value: &Value) -> bool {
    let Some((last, parents)) = path.split_last() else { return false };
    match at_mut(document, parents) {
        Some(Value::Object(object)) => {
            object.insert(last.as_str(), value.clone());
            true
        }
        Some(Value::Array(items)) if last == "-" => {
            items.push(value.clone());
            true
        }
        Some(Value::Array(items)) => {
            match last.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                Some(item) => {
                    *item = value.clone();
                    true
                }
                None => false,
            }
        }
        Some(_) | None => false,
    }
}
