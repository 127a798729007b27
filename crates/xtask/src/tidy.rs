//! What no lint sees: the dependency graph is the one that is drawn, authority is built in one place, files keep one
//! subject.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::Outcome;

/// The longest source file; a longer one has a second subject.
const MAX_LINES: usize = 900;

pub(crate) fn run() -> Outcome {
    let mut problems = Vec::new();
    graph(&mut problems);
    sources(&mut problems);
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Compares `cargo metadata` with the table between the markers of `docs/ARCHITECTURE.md`: `| crate | may use |`.
fn graph(problems: &mut Vec<String>) {
    let metadata = match cargo_metadata::MetadataCommand::new().no_deps().exec() {
        Ok(metadata) => metadata,
        Err(error) => return problems.push(format!("cargo metadata: {error}")),
    };
    let ours: BTreeSet<String> = metadata.packages.iter().map(|package| package.name.to_string()).collect();
    let mut real: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in &metadata.packages {
        let uses = package
            .dependencies
            .iter()
            .filter(|d| d.kind == cargo_metadata::DependencyKind::Normal)
            .map(|d| d.name.clone());
        real.insert(
            short(&package.name),
            uses.filter(|name| ours.contains(name)).map(|name| short(&name)).collect(),
        );
    }
    let drawn = match drawn() {
        Ok(drawn) => drawn,
        Err(error) => return problems.push(error),
    };
    for (name, uses) in &real {
        match drawn.get(name) {
            None => problems.push(format!("the crate `{name}` isn't in the table of docs/ARCHITECTURE.md")),
            Some(drawn) if drawn != uses => problems.push(format!(
                "docs/ARCHITECTURE.md says that `{name}` uses {{{}}}, its Cargo.toml says {{{}}}",
                list(drawn),
                list(uses)
            )),
            Some(_) => {}
        }
    }
    for name in drawn.keys().filter(|name| !real.contains_key(*name)) {
        problems.push(format!("docs/ARCHITECTURE.md draws the crate `{name}`, which doesn't exist"));
    }
}

fn short(name: &str) -> String {
    name.strip_prefix("placet-").unwrap_or(name).to_owned()
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().cloned().collect::<Vec<_>>().join(", ")
}

fn drawn() -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    let text = fs::read_to_string("docs/ARCHITECTURE.md")
        .map_err(|error| format!("docs/ARCHITECTURE.md: {error}"))?;
    let inside = text
        .split_once("<!-- crates -->")
        .and_then(|(_, rest)| rest.split_once("<!-- /crates -->"))
        .ok_or("docs/ARCHITECTURE.md has no table between <!-- crates --> and <!-- /crates -->")?
        .0;
    let mut drawn = BTreeMap::new();
    for line in inside.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let (Some(name), Some(uses)) =
            (cells.get(1), cells.last().and_then(|_| cells.get(cells.len().saturating_sub(2))))
        else {
            continue;
        };
        let uses = uses
            .split(',')
            .map(|name| name.trim().trim_matches('`').to_owned())
            .filter(|name| !name.is_empty() && name != "–")
            .collect();
        drawn.insert(name.trim_matches('`').to_owned(), uses);
    }
    Ok(drawn)
}

/// Where a text may stand in the sources, and nowhere else.
const ONLY_IN: &[(&str, &[&str], &str)] = &[
    ("Authority::new(", &["crates/server/src/"], "there is one place that builds an `Authority`"),
    (
        "jsonwebtoken::crypto",
        &["crates/jose/src/jws.rs"],
        "signatures are checked in one place, behind `Verified`",
    ),
    ("jsonwebtoken::decode", &[], "tokens are read by `placet-jose`'s own strict reader"),
    ("rusqlite::", &["crates/store/src/", "crates/samples/src/"], "the store is the only owner of SQL"),
];

fn sources(problems: &mut Vec<String>) {
    let mut files = Vec::new();
    walk(Path::new("crates"), &mut files);
    for path in files {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let name = path.to_string_lossy().replace('\\', "/");
        if text.lines().count() > MAX_LINES {
            problems.push(format!(
                "{name} has {} lines; over {MAX_LINES} it has a second subject",
                text.lines().count()
            ));
        }
        if name.starts_with("crates/xtask/") {
            continue;
        }
        // Tests may build what the program builds once.
        let tests = name.contains("/tests/") || name.contains("/benches/");
        for (what, places, why) in ONLY_IN.iter().filter(|_| !tests) {
            if text.contains(what) && !places.iter().any(|place| name.starts_with(place)) {
                problems.push(format!("{name} has `{what}`: {why}"));
            }
        }
        for unfinished in ["todo!(", "unimplemented!(", "TODO", "FIXME"] {
            if text.contains(unfinished) {
                problems.push(format!("{name} has `{unfinished}`"));
            }
        }
    }
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with("node_modules") {
            walk(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
