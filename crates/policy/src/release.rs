//! A release: what is in force, whole, under one digest.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use placet_catalog::{Argument, Catalog, Type};
use placet_core::{Digest, Name, Per, RelationModel};
use placet_json::{Value, object};

use crate::{
    acts::Acts,
    archive::{self, REWRITTEN, Tree},
    cedar,
    contract::{Additions, Contract, Shape},
    finding::{Finding, Refused, Severity},
    limits,
    manifest::{self, AttributeType, EngineName, Manifest, Package, ReasonsFile, RegoVersion, WorkflowType},
    packages::{self, Part, ReviewFile},
    reasons::Book,
    rego::{ast::Parsed, differ, lint, program::Program, rewrite},
    relations::{self, Relations},
    states,
};

pub use crate::rego::rewrite::Rewrite;

/// A loaded release: policies, catalog, workflow types, relationship model, reasons and tests.
#[derive(Debug)]
pub struct Release {
    name: Name,
    digest: Digest,
    archive: Arc<[u8]>,
    tree: Tree,
    pub(crate) catalog: Catalog,
    workflow_types: BTreeMap<Name, WorkflowType>,
    packages: BTreeMap<Name, Package>,
    layout: packages::Parts,
    review: Option<ReviewFile>,
    pub(crate) relations: RelationModel,
    pub(crate) contract: Contract,
    pub(crate) rego: Option<Program>,
    pub(crate) rego_v1: bool,
    pub(crate) cedar: Option<cedar::Program>,
    grants: BTreeMap<Name, EngineName>,
    pub(crate) acts: Acts,
    /// How long the same call again is refused where the tool says nothing, in milliseconds.
    pub(crate) duplicates: u64,
    /// The totals of days that some policy reads.
    pub(crate) reads_days: BTreeSet<Per>,
    pub(crate) book: Book,
    findings: Vec<Finding>,
    rewrites: Vec<Rewrite>,
}

/// What reading a tree came to, before it is a release.
pub(crate) struct Parts {
    pub(crate) findings: Vec<Finding>,
    pub(crate) modules: Vec<Parsed>,
    pub(crate) guarded: BTreeSet<String>,
    /// What `release.toml` silences, and its text.
    pub(crate) silences: (Vec<crate::lints::Silence>, String),
    pub(crate) release: Option<Release>,
}

impl Release {
    /// Builds a release from its files. Warnings are in its [`Release::findings`]; any error refuses it.
    pub fn build(tree: &Tree) -> Result<Self, Refused> {
        Self::of(tree, None)
    }

    /// Loads a release from its canonical archive. Refused is an archive that was changed, cut, or packed otherwise.
    pub fn from_archive(bytes: &[u8]) -> Result<Self, Refused> {
        let whole = |message: String| Refused {
            findings: vec![Finding::error("the archive", (0, 0), message, "build the release again")],
        };
        let mut tree = archive::unpack(bytes).map_err(whole)?;
        let rewritten: Tree = tree
            .iter()
            .filter_map(|(path, bytes)| Some((path.strip_prefix(REWRITTEN)?.to_owned(), bytes.clone())))
            .collect();
        tree.retain(|path, _| !path.starts_with(REWRITTEN));
        Self::of(&tree, Some((bytes, &rewritten)))
    }

    fn of(tree: &Tree, archived: Option<(&[u8], &Tree)>) -> Result<Self, Refused> {
        let mut parts = read(tree, archived);
        let (silences, text) = &parts.silences;
        crate::lints::apply(silences, &mut parts.findings, text, false);
        match parts.release {
            Some(mut release)
                if !parts.findings.iter().any(|finding| finding.severity == Severity::Error) =>
            {
                release.findings = parts.findings;
                Ok(release)
            }
            Some(_) | None => Err(Refused { findings: parts.findings }),
        }
    }

    /// The same release, all of whose decisions are the interpreter's: for a replay, which so is a second opinion.
    #[must_use]
    pub fn interpreted(mut self) -> Self {
        if let Some(program) = &mut self.rego {
            program.interpret();
        }
        self
    }

    /// Whether permits of its Rego policies are told by regorus' virtual machine, because it says the same of them as
    /// the interpreter and they hold nothing in which the two could differ.
    #[must_use]
    pub fn is_compiled(&self) -> bool {
        self.rego.as_ref().is_some_and(Program::is_compiled)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }
    /// SHA-256 of its archive: the same tree has the same digest anywhere.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }
    /// The canonical archive: the author's files, and beside them what was rewritten.
    #[must_use]
    pub fn archive(&self) -> &Arc<[u8]> {
        &self.archive
    }
    /// The author's files.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }
    /// The tools' catalog.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }
    /// The types of workflows.
    #[must_use]
    pub fn workflow_types(&self) -> &BTreeMap<Name, WorkflowType> {
        &self.workflow_types
    }
    /// The relationship model.
    #[must_use]
    pub fn relations(&self) -> &RelationModel {
        &self.relations
    }
    /// The parts with owners of their own.
    #[must_use]
    pub fn packages(&self) -> &BTreeMap<Name, Package> {
        &self.packages
    }
    /// The parts in directories of their own, the baseline first.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        self.layout.all()
    }
    pub(crate) fn layout(&self) -> &packages::Parts {
        &self.layout
    }
    /// The people who review what no part owns, where the release names them.
    #[must_use]
    pub fn reviewers(&self) -> Option<&BTreeSet<Name>> {
        self.review.as_ref().map(|review| &review.reviewers)
    }
    /// Who reviews what no part owns, where the release says so.
    pub(crate) fn root_review(&self) -> Option<&ReviewFile> {
        self.review.as_ref()
    }
    /// Warnings and advice of loading it.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }
    /// What was rewritten before it was loaded.
    #[must_use]
    pub fn rewrites(&self) -> &[Rewrite] {
        &self.rewrites
    }
    /// The JSON Schema of the policy input, with what this release adds to it.
    #[must_use]
    pub fn input_schema(&self) -> Value {
        self.contract.schema()
    }
    /// What `release build` reports: rewrites and warnings.
    #[must_use]
    pub fn report(&self) -> Value {
        let rewrites = self.rewrites.iter().map(|rewrite| {
            Value::Object(object! {
                "file" => rewrite.file.as_str(), "line" => u64::from(rewrite.line), "column" => u64::from(rewrite.column),
                "from" => rewrite.from.as_str(), "to" => rewrite.to.as_str(),
            })
        });
        Value::Object(object! {
            "name" => self.name.as_str(),
            "compiled" => self.is_compiled(),
            "rewrites" => rewrites.collect::<Vec<_>>(),
            "findings" => self.findings.iter().map(Finding::to_value).collect::<Vec<_>>(),
        })
    }

    /// The generated schema that Cedar policies are validated against, in Cedar's own writing; none without Cedar.
    #[must_use]
    pub fn cedar_schema(&self) -> Option<&str> {
        self.cedar.as_ref().map(cedar::Program::schema_text)
    }
    /// The actions that `[grants]` names.
    pub(crate) fn granted(&self) -> impl Iterator<Item = &Name> {
        self.grants.keys()
    }

    /// The engine that may grant an action: the only one, or the one that `[grants]` names.
    pub(crate) fn granter(&self, action: &str) -> Option<EngineName> {
        match (&self.rego, &self.cedar) {
            (Some(_), None) => Some(EngineName::Rego),
            (None, Some(_)) => Some(EngineName::Cedar),
            (Some(_), Some(_)) => self.grants.get(action).copied(),
            (None, None) => None,
        }
    }

    /// The attribute that holds the resource of a type that a workflow is about.
    pub(crate) fn binding(&self, workflow_type: Option<&str>, kind: &str) -> Option<&Name> {
        let of = match workflow_type {
            Some(name) => self.workflow_types.get(name),
            // A document may leave the type out; it is clear where there is only one.
            None => self.workflow_types.values().next().filter(|_| self.workflow_types.len() == 1),
        };
        of?.binds.get(kind)
    }
}

#[expect(clippy::too_many_lines, reason = "one reading from the top down: each part needs those before it")]
/// Reads a tree; with the archived form of what was rewritten, where there is one.
pub(crate) fn read(tree: &Tree, archived: Option<(&[u8], &Tree)>) -> Parts {
    let mut parts = Parts {
        findings: Vec::new(),
        modules: Vec::new(),
        guarded: BTreeSet::new(),
        silences: (Vec::new(), String::new()),
        release: None,
    };
    let findings = &mut parts.findings;
    let size = tree.values().fold(0_usize, |sum, bytes| sum.saturating_add(bytes.len()));
    if size > archive::MAX_ARCHIVE {
        findings.push(Finding::error(
            "the release",
            (0, 0),
            format!("its files have {size} bytes, more than {}", archive::MAX_ARCHIVE),
            "",
        ));
        return parts;
    }
    for path in tree.keys() {
        if let Err(message) = archive::check_path(path) {
            findings.push(Finding::error(path, (0, 0), message, ""));
        } else if path.starts_with(REWRITTEN) {
            findings.push(Finding::error(
                path,
                (0, 0),
                format!("`{REWRITTEN}` is reserved for what Placet rewrites"),
                "move the file",
            ));
        }
    }
    let text = |path: &str, findings: &mut Vec<Finding>| -> Option<String> {
        let text = String::from_utf8(tree.get(path)?.clone()).ok();
        if text.is_none() {
            findings.push(Finding::error(path, (0, 0), "the file is not UTF-8", ""));
        }
        text
    };
    let note = |found: Result<(), Finding>, findings: &mut Vec<Finding>| findings.extend(found.err());

    let Some(manifest_text) = text("release.toml", findings) else {
        if !tree.contains_key("release.toml") {
            findings.push(Finding::error(
                "release.toml",
                (0, 0),
                "there is no such file",
                "`placet init` writes a complete release",
            ));
        }
        return parts;
    };
    let manifest: Manifest = match manifest::parse("release.toml", &manifest_text) {
        Ok(manifest) => manifest,
        Err(finding) => {
            findings.push(finding);
            return parts;
        }
    };
    let manifest::InputVersion::V1 = manifest.input;
    let mut layout = packages::Parts::of(&manifest, &manifest_text, tree, findings);
    let below = |folder: &'static str, ending: &'static str| {
        let fits = |path: &&String| {
            let inner = layout.inner(path);
            inner.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')) && path.ends_with(ending)
        };
        tree.keys().filter(fits).cloned().collect::<Vec<_>>()
    };
    parts.silences = (manifest.silence.clone(), manifest_text);

    let mut reasons = ReasonsFile::default();
    for root in layout.roots() {
        let path = if root.is_empty() { "reasons.toml".to_owned() } else { format!("{root}/reasons.toml") };
        let Some(text) = text(&path, findings) else { continue };
        match manifest::parse::<ReasonsFile>(&path, &text) {
            Ok(file) => {
                let (own, wrong) = layout.own_reasons(&path, file.reason);
                reasons.reason.extend(own);
                findings.extend(wrong);
            }
            Err(finding) => findings.push(finding),
        }
    }
    let Relations { model, attributes, parents } =
        text("relations.toml", findings).map_or_else(Relations::default, |text| {
            relations::parse("relations.toml", &text).unwrap_or_else(|finding| {
                findings.push(finding);
                Relations::default()
            })
        });
    let mut workflow_types = BTreeMap::new();
    let mut budgeted: Vec<(String, String, WorkflowType)> = Vec::new();
    for path in below("workflow_types", ".toml") {
        let Some(text) = text(&path, findings) else { continue };
        let kind = manifest::workflow_type(&path, &text)
            .and_then(|kind| states::unknown_relations(&kind, &model, &path, &text).map_or(Ok(kind), Err));
        budgeted.extend(kind.iter().map(|kind| (path.clone(), text.clone(), kind.clone())));
        note(
            kind.and_then(|kind| match workflow_types.insert(kind.name.clone(), kind) {
                None => Ok(()),
                Some(other) => Err(Finding::error(
                    &path,
                    (0, 0),
                    format!("the workflow type `{}` is described twice", other.name),
                    "",
                )),
            }),
            findings,
        );
    }
    let files: Vec<(String, String)> = below("catalog", ".toml")
        .into_iter()
        .filter_map(|path| Some((path.clone(), text(&path, findings)?)))
        .collect();
    let catalog = Catalog::parse(&files).unwrap_or_else(|problems| {
        findings.extend(problems.into_iter().map(|problem| {
            let line = problem.line.and_then(|line| u32::try_from(line).ok()).unwrap_or(0);
            Finding::error(&problem.file, (line, 0), problem.message, problem.remedy)
        }));
        Catalog::default()
    });

    findings.extend(relations::writes(&catalog, &model, &files));
    for (file, text, kind) in &budgeted {
        findings.extend(limits::check(file, text, kind, &catalog));
        findings.extend(crate::on_action::unknown_actions(file, text, kind, &catalog));
    }

    let mut additions = additions(&catalog, &workflow_types, &attributes, &model);
    if manifest.cedar.is_some() {
        additions.actions = catalog.entries().map(|entry| entry.action().clone()).collect();
    }
    let contract = Contract::new(&additions);
    parts.guarded = contract.decimals();
    findings.extend(crate::lookups::undescribed(&catalog, additions.resource.as_ref(), &files));
    check_reasons(&reasons, &workflow_types, findings);
    manifest.acts.check(findings);

    // Policies.
    let (mut rewritten, mut rewrites) = (Tree::new(), Vec::new());
    let v1 = manifest.rego.as_ref().is_none_or(|rego| rego.version == RegoVersion::V1);
    for path in below("policies", ".rego").into_iter().filter(|path| !path.ends_with("_test.rego")) {
        let Some(original) = text(&path, findings) else { continue };
        if manifest.rego.is_none() {
            findings.push(Finding::error(
                &path,
                (0, 0),
                "`release.toml` has no `[rego]`, so this policy would never be asked",
                "add `[rego]` with `version` and `entrypoints`",
            ));
            continue;
        }
        match rewrite::rewrite(&path, &original, v1) {
            Ok((parsed, found)) => {
                if !found.is_empty() {
                    rewritten.insert(path.clone(), parsed.text.clone().into_bytes());
                }
                rewrites.extend(found);
                // What an archive says was evaluated is evaluated again, even if a later version rewrites otherwise.
                let kept = archived
                    .map(|(_, tree)| tree.get(&path).and_then(|bytes| String::from_utf8(bytes.clone()).ok()))
                    .map(|kept| kept.unwrap_or_else(|| original.clone()))
                    .filter(|text| *text != parsed.text);
                match kept.map(|text| crate::rego::ast::parse(&path, &text, v1)).transpose() {
                    Ok(kept) => parts.modules.push(kept.unwrap_or(parsed)),
                    Err(finding) => findings.push(finding),
                }
            }
            Err(finding) => findings.push(finding),
        }
    }
    findings.extend(lint::lint(&parts.modules, &contract).into_iter().map(|mut finding| {
        // What was in force before it was known that engines differ stays what it was.
        if archived.is_some() && finding.code == differ::CODE {
            finding.severity = Severity::Warning;
        }
        finding
    }));
    layout.check_rego(&parts.modules, findings);
    let broken = findings.iter().any(|finding| finding.severity == Severity::Error);
    let rego = match (&manifest.rego, broken) {
        (Some(rego), false) => Program::new(&parts.modules, &entrypoints(rego, layout.all()), v1, findings)
            .map_err(|finding| findings.push(finding))
            .ok()
            .map(|mut program| {
                program.compile(&parts.modules, &contract);
                program
            }),
        (Some(_) | None, _) => None,
    };
    let cedar_files: Vec<(String, String)> = below("policies", ".cedar")
        .into_iter()
        .filter_map(|path| Some((path.clone(), text(&path, findings)?)))
        .collect();
    let cedar = if manifest.cedar.is_some() {
        let actions = catalog
            .entries()
            .map(|entry| entry.action().clone())
            .chain(manifest.grants.keys().cloned())
            .collect();
        let files: Vec<(&str, &str)> =
            cedar_files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let world = cedar::World {
            contract: &contract,
            actions: &actions,
            resources: resource_types(&catalog, &attributes, &model),
            model: &model,
            parents,
        };
        cedar::Program::new(&files, world, findings)
    } else {
        findings.extend(cedar_files.iter().map(|(path, _)| {
            Finding::error(
                path,
                (0, 0),
                "`release.toml` has no `[cedar]`, so this policy would never be asked",
                "add an empty table `[cedar]`",
            )
        }));
        None
    };
    layout.check_cedar(&cedar_files, findings);
    layout.take_catalog(&files, findings);
    warn(&manifest, &catalog, &parts.modules, &cedar_files, findings);
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return parts;
    }

    let archive = if let Some((bytes, _)) = archived {
        bytes.to_vec()
    } else {
        let mut whole = tree.clone();
        whole.extend(rewritten.into_iter().map(|(path, bytes)| (format!("{REWRITTEN}{path}"), bytes)));
        match archive::pack(&whole) {
            Ok(bytes) => bytes,
            Err(error) => {
                findings.push(Finding::error(
                    "the release",
                    (0, 0),
                    format!("it can't be packed: {error}"),
                    "",
                ));
                return parts;
            }
        }
    };
    let mut release = Release {
        name: manifest.name,
        digest: archive::digest(&archive),
        archive: archive.into(),
        tree: tree.clone(),
        catalog,
        workflow_types,
        packages: manifest.packages,
        layout,
        review: manifest.review,
        relations: model,
        contract,
        rego,
        rego_v1: v1,
        cedar,
        grants: manifest.grants,
        acts: manifest.acts,
        duplicates: manifest.limits.duplicates.0,
        reads_days: BTreeSet::new(),
        book: Book::new(reasons.reason),
        findings: Vec::new(),
        rewrites,
    };
    release.reads_days = release.reads_days();
    parts.release = Some(release);
    parts
}

/// The Rego packages that are asked: the manifest's own, then each part's.
fn entrypoints(rego: &manifest::Rego, parts: &[Part]) -> Vec<String> {
    rego.entrypoints.iter().chain(parts.iter().flat_map(|part| &part.entrypoints)).cloned().collect()
}

/// What catalog, workflow types and resource types add to the input.
fn additions(
    catalog: &Catalog,
    types: &BTreeMap<Name, WorkflowType>,
    attributes: &BTreeMap<Name, BTreeMap<Name, AttributeType>>,
    model: &RelationModel,
) -> Additions {
    let mut additions = Additions::default();
    for entry in catalog.entries() {
        for argument in entry.arguments().values() {
            if let Argument::Given { ty, attribute: Some(name), .. } = argument {
                additions.attributes.insert(name.as_str().to_owned(), shape(ty));
            }
        }
    }
    if !types.is_empty() {
        let described = types
            .values()
            .flat_map(|kind| &kind.attributes)
            .map(|(name, attribute)| (name.as_str().to_owned(), attribute.shape()));
        additions.workflow = Some(described.collect());
        for kind in types.values() {
            match &kind.states {
                None => additions.states.extend(["open".to_owned(), "closed".to_owned()]),
                Some(states) => additions.states.extend(states.all.keys().map(ToString::to_string)),
            }
        }
        additions.approvals = types.values().flat_map(|kind| kind.approvals.keys().cloned()).collect();
    }
    let used = catalog
        .entries()
        .flat_map(|entry| entry.resources().iter().map(|from| &from.kind))
        .chain(model.types.keys());
    // One type without a description leaves the input's resources open.
    if !attributes.is_empty()
        && used
            .filter(|kind| kind.as_str() != "workflow")
            .all(|kind| attributes.contains_key(kind) || model.types.contains_key(kind))
    {
        additions.resource = Some(
            attributes
                .values()
                .flatten()
                .map(|(name, attribute)| (name.as_str().to_owned(), attribute.shape()))
                .collect(),
        );
    }
    additions
}

fn shape(ty: &Type) -> Shape {
    match ty {
        Type::Id { .. } => Shape::Id,
        Type::Text { .. } | Type::Enum { .. } => Shape::Text,
        Type::Decimal { min, .. } | Type::Integer { min, .. } => {
            Shape::Decimal(min.is_some_and(|min| !min.is_negative()))
        }
        Type::Boolean => Shape::Bool,
        Type::List { .. } | Type::Object { .. } => Shape::Any,
    }
}

/// All types of resources, for Cedar's schema. A tool that acts on no resource acts on its workflow.
fn resource_types(
    catalog: &Catalog,
    attributes: &BTreeMap<Name, BTreeMap<Name, AttributeType>>,
    model: &RelationModel,
) -> BTreeMap<Name, BTreeMap<Name, AttributeType>> {
    let used = catalog.entries().flat_map(|entry| entry.resources().iter().map(|from| &from.kind));
    let mut types: BTreeMap<Name, BTreeMap<Name, AttributeType>> =
        used.chain(model.types.keys()).map(|kind| (kind.clone(), BTreeMap::new())).collect();
    types.extend(Name::new("workflow").ok().map(|kind| (kind, BTreeMap::new())));
    types.extend(attributes.iter().map(|(kind, attributes)| (kind.clone(), attributes.clone())));
    types
}

fn check_reasons(reasons: &ReasonsFile, types: &BTreeMap<Name, WorkflowType>, findings: &mut Vec<Finding>) {
    for entry in &reasons.reason {
        let refuse = |message: String, help: &str| Finding::error("reasons.toml", (0, 0), message, help);
        if entry.when.is_none() && entry.deny.is_none() && entry.policy.is_none() {
            findings.push(refuse(
                format!("the reason `{}` belongs to nothing", entry.code),
                "name `when` (a condition), `deny` (a message) or `policy` (a Cedar policy's id)",
            ));
        }
        if entry.deny.is_some() && (entry.when.is_some() || entry.policy.is_some()) {
            findings.push(refuse(
                format!("the reason `{}` belongs to two things", entry.code),
                "name `deny` alone",
            ));
        }
        if let Some(remedy) = &entry.remedy
            && !types.values().any(|kind| kind.approvals.contains_key(remedy))
        {
            findings.push(refuse(
                format!("no workflow type has the approval `{remedy}`"),
                "add `[approval.…]` to the workflow type",
            ));
        }
        if placet_core::Code::ALL.iter().any(|code| code.as_str() == entry.code.as_str())
            && entry.remedy.is_some()
        {
            findings.push(refuse(
                format!("`{}` is a code of the platform, and can't have a remedy", entry.code),
                "choose a code of your own",
            ));
        }
    }
}

fn warn(
    manifest: &Manifest,
    catalog: &Catalog,
    modules: &[Parsed],
    cedar: &[(String, String)],
    findings: &mut Vec<Finding>,
) {
    let mut say = |code, message: String, help: &str| {
        findings.push(Finding::new(Severity::Warning, "release.toml", (0, 0), message, help).coded(code));
    };
    if modules.is_empty() && cedar.is_empty() {
        say(
            "no-policy",
            "the release has no policy: it permits nothing".to_owned(),
            "add policies under `policies/`",
        );
    }
    if let Some(rego) = &manifest.rego
        && rego.entrypoints.is_empty()
        && manifest.baseline.iter().chain(manifest.package.values()).all(packages::PartFile::asks_nothing)
    {
        say(
            "no-entrypoint",
            "`[rego]` names no entry point: no Rego policy is asked".to_owned(),
            "name the packages that decide in `entrypoints`",
        );
    }
    if manifest.rego.is_some() && manifest.cedar.is_some() {
        for action in catalog.entries().map(|entry| entry.action()).collect::<BTreeSet<_>>() {
            if !manifest.grants.contains_key(action) {
                say(
                    "action-without-grant",
                    format!("`[grants]` names no engine for `{action}`: it is never permitted"),
                    "add it to `[grants]`",
                );
            }
        }
    } else {
        let only = if manifest.cedar.is_some() { EngineName::Cedar } else { EngineName::Rego };
        if let Some((action, _)) = manifest.grants.iter().find(|(_, engine)| **engine != only) {
            findings.push(Finding::error(
                "release.toml",
                (0, 0),
                format!("`[grants]` lets an engine grant `{action}` that the release doesn't have"),
                "add the engine's table, or remove the grant",
            ));
        }
    }
    let files: BTreeSet<&str> = modules
        .iter()
        .map(|parsed| parsed.file.as_str())
        .chain(cedar.iter().map(|(path, _)| path.as_str()))
        .collect();
    for (name, package) in &manifest.packages {
        if let Some(file) = package.policies.iter().find(|file| !files.contains(file.as_str())) {
            findings.push(Finding::error(
                "release.toml",
                (0, 0),
                format!("the package `{name}` names `{file}`, which is no policy of the release"),
                "",
            ));
        }
    }
}
