//! Catalog and types of work: those of the releases that decided, narrowed to what was seen.
//!
//! How far a bound lies beyond what was seen is stated in each constant, and never beyond the reviewed bound.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
};

use placet_core::Digest;
use placet_policy::{Release, Tree};
use toml::{Table, Value};

use super::seen::{FEW, Seen, Tool, Values, scaled};

/// Texts of which at least so many calls show only a few are a choice of these.
const OFTEN: u64 = 20;

/// All files but the policies.
pub(super) fn files(seen: &Seen, past: &BTreeMap<Digest, Arc<Release>>) -> Result<Tree, String> {
    let mut tree = Tree::new();
    let mut by_upstream: BTreeMap<String, String> = BTreeMap::new();
    for (name, tool) in &seen.tools {
        let release = past.get(&tool.release).ok_or("a release is missing")?;
        let entry = tables(release, "catalog/")
            .find_map(|table| table.get("tool")?.as_table()?.get(name.as_str())?.as_table().cloned())
            .ok_or_else(|| format!("the catalog of {} has no entry `{name}`", tool.release))?;
        let upstream = name.as_str().split('.').next().unwrap_or_default();
        let file = by_upstream.entry(upstream.to_owned()).or_default();
        write_tool(file, name.as_str(), &entry, tool);
    }
    // What entries lean on stands beside them, as it was.
    let mut beside = Table::new();
    let mut work: BTreeMap<String, Table> = BTreeMap::new();
    for release in past.values() {
        for table in tables(release, "catalog/") {
            beside.extend(table.into_iter().filter(|(key, _)| key != "tool"));
        }
        for table in tables(release, "workflow_types/") {
            if let Some(name) = table.get("name").and_then(Value::as_str) {
                work.insert(name.to_owned(), table);
            }
        }
        if let Some(model) = release.tree().get("relations.toml") {
            tree.insert("relations.toml".to_owned(), model.clone());
        }
    }
    if !beside.is_empty() {
        tree.insert("catalog/beside.toml".to_owned(), beside.to_string().into_bytes());
    }
    for (upstream, text) in by_upstream {
        tree.insert(format!("catalog/{upstream}.toml"), text.into_bytes());
    }
    for (name, (intents, agents)) in &seen.work {
        let mut table =
            work.remove(name).ok_or_else(|| format!("no release has the type of work `{name}`"))?;
        let narrowed = |key: &str, seen: &BTreeSet<String>| {
            let there = table.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
            Value::Array(
                there.into_iter().filter(|one| one.as_str().is_some_and(|one| seen.contains(one))).collect(),
            )
        };
        let (intents, agents) = (narrowed("intents", intents), narrowed("agents", agents));
        table.insert("intents".to_owned(), intents);
        table.insert("agents".to_owned(), agents);
        // A budget or a way of an action that the draft hasn't would have no meaning there.
        let actions: BTreeSet<&str> = seen.rules.keys().map(|rule| rule.action.as_str()).collect();
        if let Some(budgets) = table.get_mut("budgets").and_then(Value::as_table_mut) {
            budgets.retain(|action, _| actions.contains::<str>(action));
        }
        let file: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
        let text = format!("# Narrowed to the intents and agents that were seen.\n{table}");
        tree.insert(format!("workflow_types/{file}.toml"), text.into_bytes());
    }
    Ok(tree)
}

/// The tables of a release's files below a directory, in its root and in its parts.
fn tables<'r>(release: &'r Release, below: &'static str) -> impl Iterator<Item = Table> + 'r {
    release
        .tree()
        .iter()
        .filter(move |(path, _)| {
            path.strip_suffix(".toml").is_some()
                && (path.starts_with(below) || path.contains(&format!("/{below}")))
        })
        .filter_map(|(_, bytes)| toml::from_str(&String::from_utf8_lossy(bytes)).ok())
}

fn write_tool(out: &mut String, name: &str, entry: &Table, tool: &Tool) {
    let name = key(name);
    let _infallible = writeln!(
        out,
        "{}# {} calls from {} to {}\n[tool.{name}]",
        if out.is_empty() { "" } else { "\n" },
        tool.calls,
        tool.first,
        tool.last
    );
    for (part, value) in entry.iter().filter(|(part, _)| *part != "args") {
        let _infallible = writeln!(out, "{} = {}", key(part), inline(value));
    }
    let Some(arguments) = entry.get("args").and_then(Value::as_table) else { return };
    if !arguments.is_empty() {
        let _infallible = writeln!(out, "[tool.{name}.args]");
    }
    for (argument, spec) in arguments {
        let Some(table) = spec.as_table() else { continue };
        if !table.contains_key("type") {
            let _infallible = writeln!(out, "{} = {}", key(argument), inline(spec));
            continue;
        }
        let needed = table.get("required").and_then(Value::as_bool) != Some(false);
        match tool.arguments.get(argument) {
            None if !needed => {
                let _infallible = writeln!(out, "# {} was never given: {}", key(argument), inline(spec));
            }
            None => {
                let _infallible = writeln!(out, "{} = {}", key(argument), inline(spec));
            }
            Some(values) => {
                let (narrow, seen) = narrowed(table, values);
                let remark = if seen.is_empty() { String::new() } else { format!("   # seen: {seen}") };
                let _infallible =
                    writeln!(out, "{} = {}{remark}", key(argument), inline(&Value::Table(narrow)));
            }
        }
    }
}

/// An argument's type, as wide as it was seen and a stated step wider; and what was seen.
fn narrowed(spec: &Table, values: &Values) -> (Table, String) {
    let mut narrow = spec.clone();
    let mut seen = String::new();
    match spec.get("type").and_then(Value::as_str) {
        Some("text" | "id") => {
            let few = values.texts.as_ref().filter(|texts| texts.len() <= FEW && values.times >= OFTEN);
            // A choice of a few texts takes the place of the text; an id stays one, as it names something.
            if let Some(texts) = few.filter(|_| spec.get("type").and_then(Value::as_str) == Some("text")) {
                let texts: Vec<Value> = texts.iter().map(|text| Value::String(text.clone())).collect();
                for gone in ["pattern", "max_length"] {
                    narrow.remove(gone);
                }
                narrow.insert("type".to_owned(), "enum".into());
                narrow.insert("values".to_owned(), Value::Array(texts));
                seen = format!("only these, {} times", values.times);
            } else if spec.get("type").and_then(Value::as_str) == Some("text") {
                let reviewed = spec.get("max_length").and_then(Value::as_integer).unwrap_or(4096);
                let longest = i64::try_from(values.longest).unwrap_or(i64::MAX);
                let wide = wider_length(longest).min(reviewed);
                narrow.insert("max_length".to_owned(), wide.into());
                seen = format!("up to {longest} characters");
            }
        }
        Some(kind @ ("decimal" | "integer")) => {
            let (Some(least), Some(most)) = (&values.least, &values.most) else { return (narrow, seen) };
            let (least, most) = (least.to_string(), most.to_string());
            let bound = |name: &str| spec.get(name).and_then(Value::as_str).map(scaled);
            let low =
                if scaled(&least) >= 0 { 0 } else { wider(scaled(&least).saturating_neg()).saturating_neg() };
            let low = bound("min").map_or(low, |reviewed| reviewed.max(low));
            let high = if scaled(&most) <= 0 { 0 } else { wider(scaled(&most)) };
            let high = bound("max").map_or(high, |reviewed| reviewed.min(high));
            narrow.insert("min".to_owned(), unscaled(low, kind == "integer").into());
            narrow.insert("max".to_owned(), unscaled(high, kind == "integer").into());
            seen = format!("{least} to {most}");
        }
        Some("list") => {
            let reviewed = spec.get("max_items").and_then(Value::as_integer).unwrap_or(100);
            let most = i64::try_from(values.items).unwrap_or(i64::MAX);
            narrow.insert("max_items".to_owned(), most.saturating_mul(2).max(1).min(reviewed).into());
            seen = format!("up to {most} items");
        }
        _ => {}
    }
    (narrow, seen)
}

/// The next of 1, 2, 5, 10, 20, 50, … that is a quarter above what was seen.
fn wider(scaled: i128) -> i128 {
    let wanted = scaled.saturating_add(scaled.saturating_div(4));
    // In ten-thousandths: the first step is 0.0001.
    let mut step = 1_i128;
    loop {
        for factor in [1, 2, 5] {
            let bound = step.saturating_mul(factor);
            if bound >= wanted {
                return bound;
            }
        }
        step = step.saturating_mul(10);
    }
}

/// The next power of two that is twice as long, 16 at least.
fn wider_length(longest: i64) -> i64 {
    let mut length = 16_i64;
    while length < longest.saturating_mul(2) {
        length = length.saturating_mul(2);
    }
    length
}

/// Ten-thousandths as a decimal; of an integer, rounded away from zero.
fn unscaled(scaled: i128, whole: bool) -> String {
    let (sign, value) = if scaled < 0 { ("-", scaled.saturating_neg()) } else { ("", scaled) };
    let (head, part) = (value.saturating_div(10_000), value.checked_rem(10_000).unwrap_or(0));
    if whole {
        let head = head.saturating_add(i128::from(part > 0));
        return format!("{sign}{head}");
    }
    let text = format!("{sign}{head}.{part:04}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.to_owned()
}

fn key(text: &str) -> String {
    let bare = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if bare { text.to_owned() } else { super::policy::quoted(text) }
}

/// A value on one line.
fn inline(value: &Value) -> String {
    match value {
        Value::Table(table) => {
            let members: Vec<String> =
                table.iter().map(|(name, value)| format!("{} = {}", key(name), inline(value))).collect();
            if members.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", members.join(", ")) }
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => super::policy::quoted(text),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_a_stated_step_beyond_what_was_seen() {
        for (seen, bound) in
            [("80", "100"), ("100", "200"), ("0.5", "1"), ("4.2", "10"), ("3", "5"), ("7999.99", "10000")]
        {
            assert_eq!(unscaled(wider(scaled(seen)), false), bound, "{seen}");
        }
        assert_eq!([wider_length(0), wider_length(9), wider_length(100)], [16, 32, 256]);
        assert_eq!(unscaled(-15_000, true), "-2");
        assert_eq!(unscaled(-15_000, false), "-1.5");
    }

    #[test]
    fn no_bound_goes_beyond_the_reviewed_one() {
        let spec: Table =
            toml::from_str("type = \"decimal\"\nmin = \"0.01\"\nmax = \"90\"\nscale = 2").unwrap();
        let values = Values {
            times: 3,
            least: placet_json::parse(b"5", &placet_json::Limits::MESSAGE).unwrap().as_number().cloned(),
            most: placet_json::parse(b"80", &placet_json::Limits::MESSAGE).unwrap().as_number().cloned(),
            ..Values::default()
        };
        let (narrow, seen) = narrowed(&spec, &values);
        assert_eq!((narrow["min"].as_str(), narrow["max"].as_str()), (Some("0.01"), Some("90")));
        assert_eq!(seen, "5 to 80");
    }
}
