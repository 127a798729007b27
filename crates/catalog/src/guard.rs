//! The result guard: whose are the items that came back?

use std::collections::BTreeSet;

use placet_core::{Call, Name, TenantId};
use placet_json::{Limits, Value, parse};

use crate::{Entry, Guard, Owner, path::Walked};

/// What a look at a result found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guarded {
    /// It may be passed on.
    Clean {
        /// What it is labelled with.
        labels: BTreeSet<Name>,
    },
    /// An item belongs to somebody else, or whose it is can't be read. The result is withheld.
    Foreign {
        /// Where in the result, for operators.
        path: String,
        /// What is wrong there, for operators.
        problem: String,
    },
}

/// Members of a `CallToolResult` that a guarded result may have. What we don't know, we can't have looked into.
const KNOWN: &[&str] = &["content", "structuredContent", "isError", "resultType", "_meta"];

/// Looks into an MCP `CallToolResult` of `call` in `tenant`. With a guard, every part of it must be readable as JSON
/// and every item must say that it belongs here; one that doesn't withholds the whole.
#[must_use]
pub fn inspect(entry: &Entry, tenant: &TenantId, call: &Call, result: &Value) -> Guarded {
    let looked = match entry.guard() {
        None => Ok(()),
        Some(guard) => look(guard, tenant, call, result),
    };
    match looked {
        Ok(()) => Guarded::Clean { labels: entry.labels().clone() },
        Err(withheld) => withheld,
    }
}

fn look(guard: &Guard, tenant: &TenantId, call: &Call, result: &Value) -> Result<(), Guarded> {
    let result = result.as_object().ok_or_else(|| unreadable("", "is not an object"))?;
    if let Some(name) = result.keys().find(|name| !KNOWN.contains(name)) {
        return Err(unreadable(&format!("/{}", cut(name)), "is a member that the guard doesn't know"));
    }
    if let Some(structured) = result.get("structuredContent") {
        document(guard, tenant, call, structured, "/structuredContent")?;
    }
    let Some(content) = result.get("content") else { return Ok(()) };
    let blocks = content.as_array().ok_or_else(|| unreadable("/content", "is not an array"))?;
    for (i, block) in blocks.iter().enumerate() {
        let path = format!("/content/{i}");
        if block.get("type").and_then(Value::as_str) != Some("text") {
            return Err(unreadable(&path, "is not text, so whose it is can't be read"));
        }
        let text =
            block.get("text").and_then(Value::as_str).ok_or_else(|| unreadable(&path, "has no text"))?;
        let parsed = parse(text.as_bytes(), &Limits::RESULT)
            .map_err(|error| unreadable(&path, format!("is not JSON: {error}")))?;
        document(guard, tenant, call, &parsed, &path)?;
    }
    Ok(())
}

fn document(
    guard: &Guard,
    tenant: &TenantId,
    call: &Call,
    document: &Value,
    at: &str,
) -> Result<(), Guarded> {
    let (owner, is_ours): (_, &dyn Fn(&str) -> bool) = match &guard.owner {
        Owner::Tenant(path) => (path, &|id| id == tenant.as_str()),
        Owner::Resource(path) => {
            (path, &|id| call.resources.iter().any(|resource| resource.id.as_str() == id))
        }
    };
    let walked = guard.items.walk(document, |item, place| {
        let found = owner.walk(item, |says, _| match says.as_str() {
            Some(id) if is_ours(id) => Ok(()),
            Some(id) => Err(Guarded::Foreign {
                path: format!("{at} {place}"),
                problem: format!("belongs to `{}`", cut(id)),
            }),
            None => {
                Err(unreadable(&format!("{at} {place}"), "names its owner by something else than a string"))
            }
        });
        found.map_err(|walked| match walked {
            Walked::Visit(withheld) => withheld,
            Walked::Missing(missing) => {
                unreadable(&format!("{at} {place}"), format!("doesn't say whose it is at `{missing}`"))
            }
        })
    });
    walked.map_err(|walked| match walked {
        Walked::Visit(withheld) => withheld,
        Walked::Missing(missing) => unreadable(at, format!("has no items at `{missing}`")),
    })
}

fn unreadable(path: &str, problem: impl Into<String>) -> Guarded {
    Guarded::Foreign { path: path.to_owned(), problem: problem.into() }
}

fn cut(text: &str) -> String {
    text.chars().take(128).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
