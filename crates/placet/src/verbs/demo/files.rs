//! The demonstration's release, embedded: `policies/demo` of the repository, byte for byte.

use std::path::Path;

use crate::failure::{Failure, OrFail};

macro_rules! embed {
    ($($path:literal),* $(,)?) => {
        /// Path and text of each file.
        pub(super) const FILES: &[(&str, &str)] = &[$(($path, include_str!(concat!("../../../../../policies/demo/", $path))),)*];
    };
}

embed! {
    "release.toml",
    "reasons.toml",
    "relations.toml",
    "policies/support.rego",
    "policies/desk.rego",
    "policies/balance.cedar",
    "catalog/crm.toml",
    "catalog/billing.toml",
    "catalog/chat.toml",
    "workflow_types/support_case.toml",
    "tests/calls.yaml",
    "tests/facts/demo.json",
}

/// Writes the release's tree below `dir`.
pub(super) fn write(dir: &Path) -> Result<(), Failure> {
    for (path, text) in FILES {
        let path = dir.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).or_fail(format_args!("can't make `{}`", parent.display()))?;
        }
        std::fs::write(&path, text).or_fail(format_args!("can't write `{}`", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_release_is_embedded() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/demo");
        let mut found = Vec::new();
        let mut dirs = vec![root.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    found.push(path.strip_prefix(&root).unwrap().to_string_lossy().into_owned());
                }
            }
        }
        found.sort();
        let mut embedded: Vec<String> = FILES.iter().map(|(path, _)| (*path).to_owned()).collect();
        embedded.sort();
        assert_eq!(found, embedded);
    }
}
