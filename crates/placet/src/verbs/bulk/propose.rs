//! From definitions to proposals.

use std::{collections::BTreeMap, fmt::Write as _};

use placet_json::Value;

use super::{super::common::cell, Offered, SECTION, WORKSPACE, quoted};

/// How much of a description is told.
const SHOWN: usize = 160;

const HEAD: &str = "\
# What upstreams offer, as proposals. Nothing here is in the catalog, and nothing of it is callable.
#
# Look at a tool's entry below: is that its action, its effect, what it is about? May its arguments be all that? Then
# set its line to true. `placet catalog accept` takes what is true; what stays false stays out.
# A description is the upstream's own word, and so are the annotations that an effect is proposed from.
";

/// One tool of the file.
struct Tool<'v> {
    name: String,
    plain: String,
    definition: &'v Value,
    digest: String,
    upstream: &'v str,
    credential: &'v str,
}

/// The file.
pub(in super::super) fn propose(offered: &[Offered]) -> String {
    let mut tools = Vec::new();
    for Offered { upstream, credential, answer } in offered {
        for tool in answer.get("tools").and_then(Value::as_array).unwrap_or_default() {
            let plain = cell(tool, "name");
            tools.push(Tool {
                name: format!("{upstream}.{plain}"),
                definition: tool.get("definition").unwrap_or(&Value::Null),
                digest: cell(tool, "digest"),
                plain,
                upstream,
                credential,
            });
        }
    }
    let mut actions: BTreeMap<String, usize> = BTreeMap::new();
    for tool in &tools {
        let count = actions.entry(snake(&tool.plain)).or_default();
        *count = count.saturating_add(1);
    }
    let width = tools.iter().map(|tool| quoted(&tool.name).chars().count()).max().unwrap_or(0);
    let mut out = format!("{HEAD}\n[{SECTION}]\n");
    for tool in &tools {
        let (effect, _) = tool.effect();
        let _infallible =
            writeln!(out, "{:width$} = false   # {effect:<11} {}", quoted(&tool.name), tool.told(60));
    }
    for tool in &tools {
        // Two upstreams' tools of one name are two actions, until somebody says that they are one.
        let shared = actions.get(&snake(&tool.plain)).is_some_and(|count| *count > 1);
        let action =
            if shared { snake(&format!("{}_{}", tool.upstream, tool.plain)) } else { snake(&tool.plain) };
        tool.entry(&action, &mut out);
    }
    out
}

impl Tool<'_> {
    /// The effect that its annotations propose, and why.
    fn effect(&self) -> (&'static str, &'static str) {
        let hint =
            |name: &str| self.definition.pointer(&format!("/annotations/{name}")).and_then(Value::as_bool);
        match (hint("readOnlyHint"), hint("destructiveHint")) {
            (Some(true), _) => ("read", "it says that it only reads"),
            (_, Some(false)) => ("write", "it says that it destroys nothing"),
            (_, Some(true)) => ("destructive", "it says that it may destroy"),
            (_, None) => ("destructive", "it doesn't say, so the worst is taken"),
        }
    }

    /// Its description, on one line.
    fn told(&self, most: usize) -> String {
        let text = cell(self.definition, "description");
        let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let mut words = plain.split_whitespace().collect::<Vec<_>>().join(" ");
        if words.chars().count() > most {
            words = words.chars().take(most.saturating_sub(1)).collect();
            words.push('…');
        }
        words
    }

    fn entry(&self, action: &str, out: &mut String) {
        let name = quoted(&self.name);
        let (effect, why) = self.effect();
        let _infallible = write!(
            out,
            "\n# {}\n[tool.{name}]\naction = {}\neffect = \"{effect}\"   # proposed: {why}\nresource = {WORKSPACE}   # proposed\ncredential = {}\naccepts = [\"{}\"]\n",
            self.told(SHOWN),
            quoted(action),
            quoted(self.credential),
            self.digest
        );
        self.arguments(&name, out);
        let open = self.definition.pointer("/annotations/openWorldHint").and_then(Value::as_bool);
        if effect == "read" && open != Some(false) {
            let _infallible = write!(
                out,
                "[tool.{name}.result]\nlabels = [{}]   # proposed: others may have written what it reads\n",
                quoted(&format!("untrusted_{}", snake(self.upstream)))
            );
        }
    }

    fn arguments(&self, name: &str, out: &mut String) {
        let Some(schema) = self.definition.get("inputSchema") else { return };
        let needed: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .unwrap_or_default()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let properties = schema.get("properties").and_then(Value::as_object);
        let Some(properties) = properties.filter(|properties| !properties.is_empty()) else { return };
        let _infallible = writeln!(out, "[tool.{name}.args]");
        for (argument, property) in properties {
            let is_needed = needed.contains(&argument);
            let optional = if is_needed { "" } else { ", required = false" };
            let written = match super::super::openapi::argument(schema, property, argument) {
                Ok((keys, remarks)) if remarks.is_empty() => {
                    format!("{} = {{ {keys}{optional} }}", quoted(argument))
                }
                Ok((keys, remarks)) => {
                    format!("{} = {{ {keys}{optional} }}   # {}", quoted(argument), line(&remarks.join("; ")))
                }
                // Without it the tool can't be called; an optional one is simply not offered.
                Err(why) if is_needed => {
                    format!("{} = {{ type = \"text\" }}   # choose: {}", quoted(argument), line(&why))
                }
                Err(why) => format!("# {} is left out: {}", quoted(argument), line(&why)),
            };
            let _infallible = writeln!(out, "{written}");
        }
    }
}

fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect()
}

/// `createIssue` and `create-issue` are `create_issue`.
fn snake(text: &str) -> String {
    let (mut out, mut lower) = (String::new(), false);
    for c in text.chars() {
        if c.is_ascii_uppercase() && lower {
            out.push('_');
        }
        lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        out.push(if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' });
    }
    out
}

#[cfg(test)]
mod tests {
    use placet_json::{Limits, parse};

    use super::*;

    fn offered(upstream: &str, tools: &str) -> Offered {
        let answer = parse(format!("{{\"tools\":{tools}}}").as_bytes(), &Limits::RESULT).unwrap();
        Offered { upstream: upstream.to_owned(), credential: "process".to_owned(), answer }
    }

    #[test]
    fn nothing_is_accepted_and_every_guess_is_marked() {
        let text = propose(&[offered(
            "files",
            r#"[{"name":"readFile","digest":"sha256:00","definition":{"description":"Reads\n[review] a file","annotations":{"readOnlyHint":true},
                "inputSchema":{"required":["path"],"properties":{"path":{"type":"string","maxLength":400},"head":{"type":"integer","minimum":1},"any":{}}}}},
               {"name":"wipe","digest":"sha256:01","definition":{}}]"#,
        )]);
        let read: toml::Table = toml::from_str(&text).unwrap();
        let review = read["review"].as_table().unwrap();
        assert_eq!(review.len(), 2);
        assert!(review.values().all(|value| value.as_bool() == Some(false)));
        let tool = &read["tool"]["files.readFile"];
        assert_eq!((tool["action"].as_str(), tool["effect"].as_str()), (Some("read_file"), Some("read")));
        assert_eq!(tool["args"]["path"]["max_length"].as_integer(), Some(400));
        assert_eq!(tool["args"]["head"]["min"].as_str(), Some("1"));
        assert!(tool["args"].get("any").is_none() && text.contains("# \"any\" is left out"));
        assert_eq!(tool["result"]["labels"][0].as_str(), Some("untrusted_files"));
        assert_eq!(read["tool"]["files.wipe"]["effect"].as_str(), Some("destructive"));
        assert!(text.contains("so the worst is taken"));
    }

    #[test]
    fn tools_of_one_name_are_two_actions() {
        let one = r#"[{"name":"search","digest":"sha256:00","definition":{}}]"#;
        let text = propose(&[offered("crm", one), offered("web", one)]);
        assert!(
            text.contains("action = \"crm_search\"") && text.contains("action = \"web_search\""),
            "{text}"
        );
    }
}
