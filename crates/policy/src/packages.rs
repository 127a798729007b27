//! Parts of a release with owners and reviewers of their own: a baseline that only denies, and packages beside it.
//!
//! A part is a directory that looks like a release. It owns a Rego namespace, the tools of some upstreams and their
//! actions; what it may permit are these actions and nothing else. Nobody else defines anything in its namespace, and a
//! deny of the baseline stands whatever else permits.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr as _,
};

use cedar_policy::PolicySet;
use placet_core::Name;
use regorus::unstable::{Expr, Rule};
use serde::Deserialize;

use crate::{
    archive::Tree,
    cedar,
    finding::{Finding, position},
    manifest::{Manifest, ReasonEntry, line_of},
    rego::ast::{self, Mentions, Parsed, Step},
};

/// The manifest itself, as findings name it.
const MANIFEST: &str = "release.toml";
/// What the baseline is called in reviews.
const BASELINE: &str = "baseline";

/// `[baseline]` or `[package.NAME]`, as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PartFile {
    path: String,
    owners: BTreeSet<Name>,
    #[serde(default)]
    reviewers: BTreeSet<Name>,
    #[serde(default = "one")]
    approvals: u32,
    namespace: Option<String>,
    #[serde(default)]
    entrypoints: Vec<String>,
    #[serde(default)]
    upstreams: BTreeSet<Name>,
}

/// `[review]`: who reviews what no part owns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReviewFile {
    pub(crate) reviewers: BTreeSet<Name>,
    #[serde(default = "one")]
    pub(crate) approvals: u32,
}

impl PartFile {
    /// Whether no Rego package of it is asked.
    pub(crate) fn asks_nothing(&self) -> bool {
        self.entrypoints.is_empty()
    }
}

fn one() -> u32 {
    1
}

/// A part of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name; the baseline's is `baseline`.
    pub name: Name,
    /// Its directory in the release, without a slash at the end.
    pub path: String,
    /// Who answers for it.
    pub owners: BTreeSet<Name>,
    /// Who may review a change of it: its owners, where nobody else is named.
    pub reviewers: BTreeSet<Name>,
    /// How many of them must have approved.
    pub approvals: u32,
    /// The Rego package below which all of its modules lie.
    pub namespace: String,
    /// The Rego packages of it that are asked.
    pub entrypoints: Vec<String>,
    /// The upstreams whose tools it describes.
    pub upstreams: BTreeSet<Name>,
    /// Whether it is the baseline: it denies and permits nothing.
    pub baseline: bool,
}

/// All parts of a release, and which part owns which action.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parts {
    parts: Vec<Part>,
    /// By action, the part that describes its tools; none for the root.
    actions: BTreeMap<String, Option<Name>>,
}

impl Parts {
    /// What the manifest says of parts; findings are what contradicts itself.
    pub(crate) fn of(manifest: &Manifest, text: &str, tree: &Tree, findings: &mut Vec<Finding>) -> Self {
        let baseline =
            manifest.baseline.iter().filter_map(|file| Some(Part::of(Name::new(BASELINE).ok()?, file, true)));
        let packages = manifest.package.iter().map(|(name, file)| Part::of(name.clone(), file, false));
        let parts: Vec<Part> = baseline.chain(packages).collect();
        let mut wrong = |word: &str, message: String, help: &str| {
            findings.push(Finding::error(MANIFEST, line_of(text, word), message, help));
        };
        for (i, part) in parts.iter().enumerate() {
            let name = &part.name;
            if !part.baseline && name.as_str() == BASELINE {
                wrong("[package.", format!("a package can't be called `{name}`"), "name it otherwise");
            }
            let path = &part.path;
            let reserved = ["policies", "catalog", "workflow_types", "tests", "rewritten"];
            if crate::archive::check_path(path).is_err()
                || reserved.contains(&path.split('/').next().unwrap_or_default())
            {
                wrong(
                    path,
                    format!("`{path}` can't be the directory of a part"),
                    "write it as `packages/NAME`",
                );
            }
            if !tree.keys().any(|file| below(file, path).is_some()) {
                wrong(path, format!("there is no file below `{path}`, the directory of `{name}`"), "");
            }
            if part.owners.is_empty() {
                wrong(path, format!("`{name}` has no owner"), "name people in `owners`");
            }
            let reviewers = u32::try_from(part.reviewers.len()).unwrap_or(u32::MAX);
            if part.approvals == 0 || part.approvals > reviewers {
                let message =
                    format!("`{name}` asks for {} approvals of {reviewers} reviewers", part.approvals);
                wrong(path, message, "name more `reviewers`, or fewer `approvals`, at least one");
            }
            if part.baseline && !part.upstreams.is_empty() {
                wrong("[baseline]", "a baseline describes no tools".to_owned(), "remove `upstreams`");
            }
            if let Some(entry) = part.entrypoints.iter().find(|entry| !inside(entry, &part.namespace)) {
                let message =
                    format!("`{entry}` isn't below `{}`, the namespace of `{name}`", part.namespace);
                wrong(entry, message, "");
            }
            for other in parts.iter().take(i) {
                if below(&part.path, &other.path).is_some()
                    || below(&other.path, &part.path).is_some()
                    || part.path == other.path
                {
                    wrong(path, format!("the directories of `{name}` and `{}` overlap", other.name), "");
                }
                if inside(&part.namespace, &other.namespace) || inside(&other.namespace, &part.namespace) {
                    let message = format!("the namespaces of `{name}` and `{}` overlap", other.name);
                    wrong(path, message, "give each a `namespace` of its own");
                }
                if let Some(upstream) = part.upstreams.intersection(&other.upstreams).next() {
                    let message = format!("`{upstream}` belongs to `{name}` and to `{}`", other.name);
                    wrong(path, message, "an upstream's tools belong to one package");
                }
            }
        }
        Self { parts, actions: BTreeMap::new() }
    }

    /// The parts, the baseline first.
    pub(crate) fn all(&self) -> &[Part] {
        &self.parts
    }

    /// The part that a file belongs to, and its path there; none for the root, with the path as it is.
    pub(crate) fn place<'a>(&self, file: &'a str) -> (Option<&Part>, &'a str) {
        let found = self.parts.iter().find_map(|part| Some((part, below(file, &part.path)?)));
        found.map_or((None, file), |(part, rest)| (Some(part), rest))
    }

    /// The path of a file inside its part, as in a release of its own.
    pub(crate) fn inner<'a>(&self, file: &'a str) -> &'a str {
        self.place(file).1
    }

    /// Whether a rule of `file` may permit `action`: the part that describes the action's tools does, nobody else.
    pub(crate) fn may_permit(&self, at: &str, action: &str) -> bool {
        if self.parts.is_empty() {
            return true;
        }
        let file = at.rsplit_once(':').map_or(at, |(file, _)| file);
        let (part, _) = self.place(file);
        let owner = self.actions.get(action).and_then(Option::as_ref);
        !part.is_some_and(|part| part.baseline) && part.map(|part| &part.name) == owner
    }

    /// Notes which part describes which action's tools; what reaches into another's is a finding.
    pub(crate) fn take_catalog(&mut self, files: &[(String, String)], findings: &mut Vec<Finding>) {
        if self.parts.is_empty() {
            return;
        }
        for (file, text) in files {
            let (part, _) = self.place(file);
            let (name, baseline) =
                (part.map(|part| part.name.clone()), part.is_some_and(|part| part.baseline));
            // What doesn't parse was told by the catalog itself.
            let Ok(table) = toml::from_str::<toml::Table>(text) else { continue };
            let tools = table.get("tool").and_then(toml::Value::as_table);
            for (tool, entry) in tools.into_iter().flatten() {
                let at = line_of(text, tool);
                let upstream = tool.split_once('.').map_or(tool.as_str(), |(upstream, _)| upstream);
                let owner = self
                    .parts
                    .iter()
                    .find(|part| part.upstreams.iter().any(|own| own.as_str() == upstream))
                    .map(|part| &part.name);
                if baseline || owner != name.as_ref() {
                    let whose = owner.map_or_else(
                        || "no package's".to_owned(),
                        |owner| format!("the package `{owner}`'s"),
                    );
                    let message = format!("`{tool}` can't be described here: `{upstream}` is {whose}");
                    findings.push(Finding::error(file, at, message, "name it in the package's `upstreams`"));
                    continue;
                }
                let Some(action) = entry.get("action").and_then(toml::Value::as_str) else { continue };
                let known = self.actions.entry(action.to_owned()).or_insert_with(|| name.clone());
                if *known != name {
                    let whose =
                        known.as_ref().map_or_else(|| "no package".to_owned(), |known| format!("`{known}`"));
                    let message = format!("the action `{action}` is {whose}'s already");
                    findings.push(Finding::error(file, at, message, "name the action otherwise"));
                }
            }
        }
    }

    /// What modules must not hold: rules in another's namespace, a baseline that permits or that rests on others' rules.
    pub(crate) fn check_rego(&self, modules: &[Parsed], findings: &mut Vec<Finding>) {
        for parsed in modules {
            let (part, _) = self.place(&parsed.file);
            let package = parsed.package.join(".");
            let owner = self
                .parts
                .iter()
                .find(|part| inside(&package, &part.namespace) || inside(&part.namespace, &package));
            let fits = match (part, owner) {
                (None, None) => true,
                (Some(part), _) => inside(&package, &part.namespace),
                (None, Some(_)) => false,
            };
            if !fits {
                let message = match (part, owner) {
                    (Some(part), _) => format!(
                        "the package `{package}` isn't below `{}`, the namespace of `{}`",
                        part.namespace, part.name
                    ),
                    (None, owner) => format!(
                        "the package `{package}` reaches into the namespace of `{}`",
                        owner.map_or("another part", |part| part.name.as_str())
                    ),
                };
                let at = ast::at(&parsed.module.package.span);
                findings.push(Finding::error(&parsed.file, at, message, "rename the package"));
            }
            if let Some(part) = part.filter(|part| part.baseline) {
                baseline(parsed, &part.namespace, findings);
            }
        }
    }

    /// The baseline's Cedar policies forbid.
    pub(crate) fn check_cedar(&self, files: &[(String, String)], findings: &mut Vec<Finding>) {
        for (file, text) in files.iter().filter(|(file, _)| self.place(file).0.is_some_and(|p| p.baseline)) {
            // What doesn't parse was told already.
            let Ok(set) = PolicySet::from_str(text) else { continue };
            for policy in set.policies().filter(|policy| cedar::is_permit(policy)) {
                let id = policy.annotation("id").unwrap_or_default();
                let at = text.find(&format!("@id(\"{id}\")")).map_or((0, 0), |offset| position(text, offset));
                let message = format!("`{id}` permits, and a baseline only denies");
                findings.push(Finding::error(
                    file,
                    at,
                    message,
                    "write it as `forbid`, or move it to a package",
                ));
            }
        }
    }

    /// Reads a part's reasons as its own: they speak of its rules alone.
    pub(crate) fn own_reasons(
        &self,
        file: &str,
        entries: Vec<ReasonEntry>,
    ) -> (Vec<ReasonEntry>, Vec<Finding>) {
        let Some(part) = self.place(file).0 else { return (entries, Vec::new()) };
        let mut findings = Vec::new();
        let own = entries.into_iter().map(|mut entry| {
            if let Some(rule) = entry.rule.as_ref().filter(|rule| !inside(rule, &part.namespace)) {
                let message = format!(
                    "the reason `{}` speaks of `{rule}`, which isn't below `{}`",
                    entry.code, part.namespace
                );
                findings.push(Finding::error(
                    file,
                    (0, 0),
                    message,
                    "a package gives reasons of its own rules",
                ));
            }
            entry.scope = Some(format!("{}/", part.path));
            entry
        });
        let own = own.collect();
        (own, findings)
    }

    /// The directories that hold what a release holds: the root, then each part's.
    pub(crate) fn roots(&self) -> impl Iterator<Item = &str> {
        std::iter::once("").chain(self.parts.iter().map(|part| part.path.as_str()))
    }
}

impl Part {
    fn of(name: Name, file: &PartFile, baseline: bool) -> Self {
        let PartFile { path, owners, reviewers, approvals, namespace, entrypoints, upstreams } = file.clone();
        Self {
            namespace: namespace.unwrap_or_else(|| name.as_str().to_owned()),
            reviewers: if reviewers.is_empty() { owners.clone() } else { reviewers },
            name,
            path,
            owners,
            approvals,
            entrypoints,
            upstreams,
            baseline,
        }
    }
}

/// A baseline's module: no `allow` but `default allow := false`, and no rule of anybody else.
fn baseline(parsed: &Parsed, namespace: &str, findings: &mut Vec<Finding>) {
    for rule in &parsed.module.policy {
        let allows = ast::rule_name(rule).is_some_and(|(root, _)| root == "allow");
        let never = matches!(&**rule, Rule::Default { value, .. } if is_false(value));
        if allows && !never {
            findings.push(Finding::error(
                &parsed.file,
                ast::at(rule.span()),
                "this permits, and a baseline only denies",
                "write it as `deny`, or move it to a package",
            ));
        }
        for reference in Mentions::of_rule(rule).references {
            let mut path = match parsed.aliases.get(&reference.root) {
                Some(alias) => alias.clone(),
                None => vec![reference.root.clone()],
            };
            if path.first().is_none_or(|root| root != "data") {
                continue;
            }
            for step in &reference.steps {
                let Step::Name(name) = step else { break };
                path.push(name.clone());
            }
            let path = path.get(1..).unwrap_or_default().join(".");
            if !inside(&path, namespace) && !inside(&path, "facts") {
                let message = format!("the baseline reads `data.{path}`, which others define");
                let help = "keep what it rests on in its own namespace";
                findings.push(Finding::error(&parsed.file, reference.at, message, help));
            }
        }
    }
}

fn is_false(value: &Expr) -> bool {
    ast::text_of(value.span()) == "false"
}

/// The rest of a path below a directory.
fn below<'a>(file: &'a str, dir: &str) -> Option<&'a str> {
    file.strip_prefix(dir)?.strip_prefix('/')
}

/// Whether a dotted name is another or lies below it.
fn inside(name: &str, namespace: &str) -> bool {
    name.strip_prefix(namespace).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
