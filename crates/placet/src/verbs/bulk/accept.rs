//! From what a person went through to the catalog.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use placet_policy::{Release, Severity};

use super::SECTION;
use crate::failure::{Failure, OrFail};

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 8 << 20;

/// What went into the catalog.
#[derive(Debug, Default)]
pub(in super::super) struct Accepted {
    /// Tools whose entries were written.
    pub(in super::super) written: Vec<String>,
    /// Tools that the catalog has already, with this definition.
    pub(in super::super) there: Vec<String>,
    /// Tools that stay out.
    pub(in super::super) out: Vec<String>,
    /// Files that were written.
    pub(in super::super) files: Vec<PathBuf>,
    /// What `placet check` tells of the release as it is now, warnings and worse.
    pub(in super::super) findings: Vec<String>,
}

/// Writes the entries of the tools that are `true` into `catalog/UPSTREAM.toml` of a release, all or none.
pub(in super::super) fn accept(review: &Path, release: &Path) -> Result<Accepted, Failure> {
    let shown = review.display();
    let what = || format!("can't read `{shown}`");
    if std::fs::metadata(review).or_fail(what())?.len() > MAX_FILE {
        return Err(Failure::new(format!("`{shown}` has more than {MAX_FILE} bytes")));
    }
    let text = std::fs::read_to_string(review).or_fail(what())?;
    let table: toml::Table =
        toml::from_str(&text).map_err(|error| Failure::new(format!("`{shown}` is no TOML: {error}")))?;
    let lines = table.get(SECTION).and_then(toml::Value::as_table).ok_or_else(|| {
        Failure::new(format!("`{shown}` has no section `[{SECTION}]`"))
            .remedy("make it with `placet catalog pull --review FILE`")
    })?;
    let blocks = blocks(&text);
    let mut tree = placet_server::tree::read(release)
        .or_fail(format_args!("can't read the release `{}`", release.display()))?;
    let known = catalogued(&tree);
    let mut accepted = Accepted::default();
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for (name, yes) in lines {
        let yes = yes.as_bool().ok_or_else(|| {
            Failure::new(format!("`{shown}`: `{name}` in [{SECTION}] is neither true nor false"))
        })?;
        if !yes {
            accepted.out.push(name.clone());
            continue;
        }
        let block = blocks.get(name).ok_or_else(|| {
            Failure::new(format!("`{shown}` has no entry `[tool.\"{name}\"]`"))
                .remedy("leave the line out, or write the entry")
        })?;
        let digests = table
            .get("tool")
            .and_then(|tools| tools.get(name)?.get("accepts")?.as_array())
            .cloned()
            .unwrap_or_default();
        match known.get(name) {
            Some(there) if digests.iter().all(|digest| there.contains(digest)) => {
                accepted.there.push(name.clone());
                continue;
            }
            Some(_) => {
                return Err(Failure::new(format!(
                    "the catalog has `{name}` already, with another definition"
                ))
                .remedy("look at `placet catalog diff`, and add the digest to its `accepts`"));
            }
            None => {}
        }
        let upstream = name.split('.').next().unwrap_or_default();
        let named = !upstream.is_empty()
            && upstream.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !named {
            return Err(Failure::new(format!("`{name}` doesn't begin with an upstream's name"))
                .remedy("write it as UPSTREAM.TOOL"));
        }
        let path = format!("catalog/{upstream}.toml");
        let file = files.entry(path.clone()).or_insert_with(|| {
            tree.get(&path).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
        });
        if !file.is_empty() {
            file.push('\n');
        }
        file.push_str(block);
        accepted.written.push(name.clone());
    }
    for (path, text) in &files {
        tree.insert(path.clone(), text.clone().into_bytes());
    }
    // What doesn't load isn't written: the release stays as it was.
    let built = Release::build(&tree).map_err(|refused| {
        Failure::new(format!(
            "with these entries the release would be refused; nothing was written\n{refused}"
        ))
        .remedy(format!("correct them in `{shown}`"))
    })?;
    accepted.findings = built
        .findings()
        .iter()
        .filter(|finding| finding.severity != Severity::Advice)
        .map(ToString::to_string)
        .collect();
    for (path, text) in &files {
        let path = release.join(path);
        let what = || format!("can't write `{}`", path.display());
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).or_fail(what())?;
        }
        std::fs::write(&path, text).or_fail(what())?;
        accepted.files.push(path);
    }
    Ok(accepted)
}

/// The digests that the catalog accepts, by tool.
fn catalogued(tree: &placet_policy::Tree) -> BTreeMap<String, Vec<toml::Value>> {
    let mut known = BTreeMap::new();
    for (_, bytes) in tree.iter().filter(|(path, _)| path.contains("catalog/") && path.ends_with(".toml")) {
        let Ok(table) = toml::from_str::<toml::Table>(&String::from_utf8_lossy(bytes)) else { continue };
        for (name, tool) in table.get("tool").and_then(toml::Value::as_table).into_iter().flatten() {
            let digests = tool.get("accepts").and_then(toml::Value::as_array).cloned().unwrap_or_default();
            known.insert(name.clone(), digests);
        }
    }
    known
}

/// The text of each tool's entry, with the comment above it, as the person left it; marks of proposals go, since they
/// are none any more.
fn blocks(text: &str) -> BTreeMap<String, String> {
    let mut blocks: BTreeMap<String, String> = BTreeMap::new();
    let (mut above, mut current): (String, Option<String>) = (String::new(), None);
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.starts_with('[') {
            current = tool_of(trimmed);
            let above = std::mem::take(&mut above);
            if let Some(name) = &current {
                let block = blocks.entry(name.clone()).or_default();
                block.push_str(&above);
                block.push_str(trimmed);
                block.push('\n');
            }
        } else if trimmed.starts_with('#') {
            above.push_str(trimmed);
            above.push('\n');
        } else if trimmed.is_empty() {
            above.clear();
        } else if let Some(block) = current.as_ref().and_then(|name| blocks.get_mut(name)) {
            // A comment inside an entry belongs to the line below it.
            block.push_str(&std::mem::take(&mut above));
            block.push_str(without_mark(line));
            block.push('\n');
        }
    }
    blocks
}

/// The tool that a header is of: `[tool."a.b".args]`.
fn tool_of(header: &str) -> Option<String> {
    let table: toml::Table = toml::from_str(header).ok()?;
    table.get("tool")?.as_table()?.keys().next().cloned()
}

/// A line without the mark of a proposal behind it. The mark is ours, three spaces before it, so that no value is cut.
fn without_mark(line: &str) -> &str {
    line.find("   # proposed").map_or(line, |at| line.get(..at).unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_taken_as_it_stands_with_its_comments() {
        let text = "# head\n\n[review]\n\"a.b\" = true\n\n# Reads.\n[tool.\"a.b\"]\naction = \"x\"   # proposed: y\n# mine\neffect = \"read\"\n[tool.\"a.b\".args]\np = { type = \"text\" }\n\n[tool.\"a.c\"]\naction = \"z\"\n";
        let blocks = blocks(text);
        assert_eq!(blocks.len(), 2);
        assert_eq!(
            blocks["a.b"],
            "# Reads.\n[tool.\"a.b\"]\naction = \"x\"\n# mine\neffect = \"read\"\n[tool.\"a.b\".args]\np = { type = \"text\" }\n"
        );
    }
}
