//! The projects that `placet init` writes: the small one, and the templates of `examples/`.

/// Files of a project by their path in it.
pub(super) type Files = &'static [(&'static str, &'static str)];

/// A project to begin with.
pub(super) struct Template {
    /// What `--template` calls it: its directory in `examples/`.
    pub(super) name: &'static str,
    /// What its agents do, in a few words.
    pub(super) tells: &'static str,
    /// An agent's type and the person it would belong to, for the next steps.
    pub(super) agent: [&'static str; 2],
    pub(super) files: Files,
}

macro_rules! files {
    ($base:literal: $($path:literal),* $(,)?) => { &[$(($path, include_str!(concat!("../../../../../", $base, "/", $path)))),*] };
}

/// What is written without `--template`.
pub(super) const SMALL: Template = Template {
    name: "desk",
    tells: "one tool's server, one policy",
    agent: ["desk-1", "support_agent"],
    files: files![
        "crates/placet/assets/init":
        "placet.toml",
        "facts.json",
        "release/release.toml",
        "release/reasons.toml",
        "release/relations.toml",
        "release/policies/desk.rego",
        "release/policies/desk_test.rego",
        "release/catalog/desk.toml",
        "release/workflow_types/support_case.toml",
        "release/tests/desk.yaml",
        "release/tests/facts/desk.json",
        "release/tests/facts/inactive.json",
    ],
};

/// What `--template` knows.
pub(super) const TEMPLATES: &[Template] = &[
    Template {
        name: "support-desk",
        tells: "an agent works on one case, answers its customer, pays small amounts back (Rego)",
        agent: ["desk-1", "support_agent"],
        files: files![
            "examples/support-desk":
            "facts.json",
            "placet.toml",
            "release/catalog/billing.toml",
            "release/catalog/chat.toml",
            "release/catalog/crm.toml",
            "release/policies/support.rego",
            "release/policies/support_test.rego",
            "release/reasons.toml",
            "release/relations.toml",
            "release/release.toml",
            "release/tests/facts/acme.json",
            "release/tests/support.yaml",
            "release/workflow_types/support_case.toml",
        ],
    },
    Template {
        name: "coding-agent",
        tells: "an agent changes one repository on branches of its own; merges are reviewed (Cedar)",
        agent: ["coder-1", "coding_agent"],
        files: files![
            "examples/coding-agent":
            "facts.json",
            "placet.toml",
            "release/catalog/repo.toml",
            "release/catalog/web.toml",
            "release/policies/coding.cedar",
            "release/reasons.toml",
            "release/relations.toml",
            "release/release.toml",
            "release/tests/coding.yaml",
            "release/tests/facts/acme.json",
            "release/workflow_types/coding_task.toml",
        ],
    },
    Template {
        name: "sales-outreach",
        tells: "an agent writes to the contacts of one account who agreed to it (Rego)",
        agent: ["sales-1", "sales_agent"],
        files: files![
            "examples/sales-outreach":
            "facts.json",
            "placet.toml",
            "release/catalog/crm.toml",
            "release/catalog/mail.toml",
            "release/policies/outreach.rego",
            "release/policies/outreach_test.rego",
            "release/reasons.toml",
            "release/relations.toml",
            "release/release.toml",
            "release/tests/facts/acme.json",
            "release/tests/outreach.yaml",
            "release/workflow_types/outreach.toml",
        ],
    },
    Template {
        name: "procurement",
        tells: "an agent orders what two people released, once (Cedar, named states)",
        agent: ["buyer-1", "procurement_agent"],
        files: files![
            "examples/procurement":
            "facts.json",
            "placet.toml",
            "release/catalog/erp.toml",
            "release/policies/procurement.cedar",
            "release/reasons.toml",
            "release/relations.toml",
            "release/release.toml",
            "release/tests/facts/acme.json",
            "release/tests/procurement.yaml",
            "release/workflow_types/purchase.toml",
        ],
    },
    Template {
        name: "deployment",
        tells: "an agent rolls one service out; production needs a release manager (Rego and Cedar)",
        agent: ["ship-1", "deployment_agent"],
        files: files![
            "examples/deployment":
            "facts.json",
            "placet.toml",
            "release/catalog/deploy.toml",
            "release/catalog/logs.toml",
            "release/policies/rollout.rego",
            "release/policies/rollout_test.rego",
            "release/policies/services.cedar",
            "release/reasons.toml",
            "release/relations.toml",
            "release/release.toml",
            "release/tests/facts/acme.json",
            "release/tests/rollout.yaml",
            "release/workflow_types/rollout.toml",
        ],
    },
];

/// A template by its name.
pub(super) fn named(name: &str) -> Option<&'static Template> {
    TEMPLATES.iter().find(|template| template.name == name)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;

    /// Every file below a directory, by its path in it.
    fn below(dir: &Path, base: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below(&path, base, found);
            } else {
                found.insert(path.strip_prefix(base).unwrap().display().to_string());
            }
        }
    }

    #[test]
    fn every_example_is_a_template_with_all_of_its_files() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
        let mut names = BTreeSet::new();
        for entry in std::fs::read_dir(&examples).unwrap() {
            let dir = entry.unwrap().path();
            let name = dir.file_name().unwrap().to_str().unwrap().to_owned();
            let mut there = BTreeSet::new();
            below(&dir, &dir, &mut there);
            let template = named(&name).unwrap_or_else(|| panic!("`{name}` is no template"));
            let ours: BTreeSet<String> = template.files.iter().map(|(path, _)| (*path).to_owned()).collect();
            assert_eq!(ours, there, "{name}");
            names.insert(name);
        }
        assert_eq!(names.len(), TEMPLATES.len());
    }
}
