//! Reference that the code knows best: written by `xtask docs`, and compared with what is committed by `--check`.

use std::{fs, path::Path};

use placet_core::Code;

use crate::Outcome;

/// Write what differs, or name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Check,
    Write,
}

const SCHEMA: &str = "docs/reference/policy-input.schema.json";
const RECORD: &str = "docs/reference/record.schema.json";
const REASONS: &str = "docs/reference/reasons.md";
/// What stands before the first section where the page is new.
const INTRODUCTION: &str = "# Reasons\n\nWhy the platform itself denies. The code is in every denial and in the ledger's record; a release's `reasons.toml`\nadds codes of its own for what its policies deny. One section a code; the headings come from the code by\n`cargo run -p xtask -- docs`, the texts are written by hand.\n";

/// Makes the pages, or checks them.
pub(crate) fn run(mode: Mode) -> Outcome {
    let mut problems = Vec::new();
    let mut page = |path: &str, wanted: Result<String, String>, now: Option<String>| match wanted {
        Err(problem) => problems.push(problem),
        Ok(wanted) if now.as_deref() == Some(wanted.as_str()) => {}
        Ok(_) if mode == Mode::Check => {
            problems.push(format!("{path} isn't what the code says; run `cargo run -p xtask -- docs`"));
        }
        Ok(wanted) => match write(path, &wanted) {
            Ok(()) => println!("docs: wrote {path}"),
            Err(error) => problems.push(format!("{path}: {error}")),
        },
    };
    page(SCHEMA, schema(), fs::read_to_string(SCHEMA).ok());
    page(RECORD, pretty(&placet_record::schema().to_string()), fs::read_to_string(RECORD).ok());
    let now = fs::read_to_string(REASONS).ok();
    page(REASONS, reasons(now.as_deref()), now);
    if mode == Mode::Check && problems.is_empty() {
        problems.extend(unwritten());
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn write(path: &str, text: &str) -> std::io::Result<()> {
    if let Some(dir) = Path::new(path).parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(path, text)
}

/// The policy input that every release shares, as JSON Schema.
fn schema() -> Result<String, String> {
    pretty(&placet_policy::input_schema().to_string())
}

fn pretty(schema: &str) -> Result<String, String> {
    let value: serde_json::Value =
        serde_json::from_str(schema).map_err(|error| format!("a schema: {error}"))?;
    let pretty = serde_json::to_string_pretty(&value).map_err(|error| format!("a schema: {error}"))?;
    Ok(pretty + "\n")
}

/// The page with one section a code, in the code's order. Texts stay with their codes; a text whose code is gone is
/// a problem, since it would be lost.
fn reasons(now: Option<&str>) -> Result<String, String> {
    let (introduction, mut texts) = sections(now.unwrap_or(INTRODUCTION))?;
    let mut page = introduction;
    for code in Code::ALL {
        let code = code.as_str();
        let text = texts.iter().position(|(name, _)| name == code).map(|at| texts.swap_remove(at).1);
        page.push('\n');
        page.push_str(&heading(code));
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            page.push('\n');
            page.push_str(&text);
            page.push('\n');
        }
    }
    match texts.first() {
        None => Ok(page),
        Some((gone, _)) => {
            Err(format!("{REASONS} has a section `{gone}`, which is no code any more; move its text"))
        }
    }
}

fn heading(code: &str) -> String {
    format!("<a id=\"{code}\"></a>\n## `{code}`\n")
}

/// What stands before the first section, and each section's code and text.
fn sections(page: &str) -> Result<(String, Vec<(String, String)>), String> {
    let mut parts = page.split("<a id=\"");
    let introduction = format!("{}\n", parts.next().unwrap_or_default().trim_end());
    let mut sections: Vec<(String, String)> = Vec::new();
    for part in parts {
        let (code, rest) = part.split_once('"').ok_or_else(|| format!("{REASONS}: an anchor doesn't end"))?;
        let whole = format!("<a id=\"{code}\"{rest}");
        let text = whole
            .strip_prefix(&heading(code))
            .ok_or_else(|| format!("{REASONS}: the anchor `{code}` isn't followed by its own heading"))?;
        if sections.iter().any(|(name, _)| name == code) {
            return Err(format!("{REASONS} has two sections `{code}`"));
        }
        sections.push((code.to_owned(), text.trim().to_owned()));
    }
    Ok((introduction, sections))
}

/// Codes that nobody has explained.
fn unwritten() -> Vec<String> {
    let page = fs::read_to_string(REASONS).unwrap_or_default();
    let Ok((_, sections)) = sections(&page) else { return Vec::new() };
    let empty = sections.into_iter().filter(|(_, text)| text.is_empty());
    empty.map(|(code, _)| format!("{REASONS}: the section `{code}` says nothing yet")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_with_their_codes() {
        let fresh = reasons(None).unwrap();
        assert!(Code::ALL.iter().all(|code| fresh.contains(&heading(code.as_str()))));
        let written = fresh.replace(&heading("limit"), &format!("{}\nToo much.\n", heading("limit")));
        assert_ne!(fresh, written);
        assert_eq!(reasons(Some(&written)).unwrap(), written);
        let (_, sections) = sections(&written).unwrap();
        assert!(sections.contains(&("limit".to_owned(), "Too much.".to_owned())));
    }

    #[test]
    fn a_missing_section_comes_back_in_its_place_and_an_unknown_one_is_told() {
        let fresh = reasons(None).unwrap();
        let without = fresh.replace(&format!("\n{}", heading("no_release")), "");
        assert_ne!(fresh, without);
        assert_eq!(reasons(Some(&without)).unwrap(), fresh);
        let more = format!("{fresh}\n{}\nOld.\n", heading("gone"));
        assert!(reasons(Some(&more)).unwrap_err().contains("`gone`"));
    }

    #[test]
    fn the_schema_is_of_the_policy_input() {
        assert!(schema().unwrap().contains("delegating_user"));
    }
}
