//! What verbs that act on a server share.

use clap::Args;
use placet_json::{Object, Value};

use crate::{admin::ServerArgs, failure::Failure, output::Format};

/// Which server, how to print.
#[derive(Debug, Clone, Args)]
pub(crate) struct Remote {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
}

/// Why something is done: kept in the ledger, for people.
#[derive(Debug, Clone, Args)]
pub(crate) struct Why {
    /// Why; kept in the ledger
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(crate) why: String,
}

impl Why {
    /// Adds it to a request's body.
    pub(crate) fn onto(&self, mut body: Object) -> Value {
        if !self.why.is_empty() {
            body.insert("why", self.why.as_str());
        }
        body.into()
    }
}

/// `TENANT/ID`, as people write what belongs to a tenant.
pub(crate) fn in_tenant<'a>(text: &'a str, what: &str) -> Result<(&'a str, &'a str), Failure> {
    let parts = text.split_once('/').filter(|(tenant, id)| !tenant.is_empty() && !id.is_empty());
    parts.ok_or_else(|| {
        Failure::new(format!("`{text}` names no {what}"))
            .remedy(format!("write it as TENANT/{}", what.to_uppercase()))
    })
}

/// `NAME=VALUE` pairs as an object.
pub(crate) fn pairs(texts: &[String], what: &str) -> Result<Object, Failure> {
    let mut object = Object::new();
    for text in texts {
        let Some((name, value)) = text.split_once('=') else {
            return Err(Failure::new(format!("`{text}` is no {what}")).remedy("write it as NAME=VALUE"));
        };
        if object.insert(name, value).is_some() {
            return Err(Failure::new(format!("the {what} `{name}` is given twice")));
        }
    }
    Ok(object)
}

/// A list of texts as JSON.
pub(crate) fn texts(texts: &[String]) -> Value {
    Value::Array(texts.iter().map(|text| Value::from(text.as_str())).collect())
}

/// A member of an answer as text, for tables: objects and lists as compact JSON.
pub(crate) fn cell(value: &Value, name: &str) -> String {
    match value.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) if items.iter().all(|item| item.as_str().is_some()) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
        }
        Some(other) => other.to_string(),
    }
}

/// The list below `name` of an answer as a table.
pub(crate) fn listing(answer: &Value, name: &str, columns: &[(&str, &str)]) -> String {
    let items = answer.get(name).and_then(Value::as_array).unwrap_or_default();
    let rows: Vec<Vec<String>> =
        items.iter().map(|item| columns.iter().map(|(_, member)| cell(item, member)).collect()).collect();
    if rows.is_empty() {
        return format!("no {name}");
    }
    crate::output::table(&columns.iter().map(|(title, _)| *title).collect::<Vec<_>>(), &rows)
}
