//! Packs: catalog entries of well-known servers, reviewed by us, with the digests of the definitions that they were
//! reviewed against.

use crate::failure::Failure;

/// A server's reviewed entries.
pub(in super::super) struct Pack {
    pub(in super::super) name: &'static str,
    /// The package and its version.
    pub(in super::super) of: &'static str,
    pub(in super::super) text: &'static str,
}

pub(in super::super) const PACKS: &[Pack] = &[
    Pack {
        name: "filesystem",
        of: "@modelcontextprotocol/server-filesystem 2026.8.31 (npm)",
        text: include_str!("../../../assets/packs/filesystem.toml"),
    },
    Pack {
        name: "git",
        of: "mcp-server-git 2026.10.19 (PyPI)",
        text: include_str!("../../../assets/packs/git.toml"),
    },
    Pack {
        name: "jira",
        of: "mcp-atlassian 0.23.1 (PyPI)",
        text: include_str!("../../../assets/packs/jira.toml"),
    },
];

impl Pack {
    /// A pack by its name.
    pub(in super::super) fn named(name: &str) -> Result<&'static Self, Failure> {
        PACKS.iter().find(|pack| pack.name == name).ok_or_else(|| {
            let known: Vec<&str> = PACKS.iter().map(|pack| pack.name).collect();
            Failure::new(format!("there is no pack `{name}`"))
                .remedy(format!("there are: {}; any other server: `placet catalog pull`", known.join(", ")))
        })
    }

    /// Its entries for an upstream of this name.
    pub(in super::super) fn as_upstream(&self, upstream: &str) -> Result<String, Failure> {
        let named = !upstream.is_empty()
            && upstream.len() <= 32
            && upstream.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !named {
            return Err(Failure::new(format!("`{upstream}` can't be an upstream's name"))
                .remedy("use `a-z 0-9 -`, at most 32 characters"));
        }
        Ok(self.text.replace(&format!("[tool.\"{}.", self.name), &format!("[tool.\"{upstream}.")))
    }

    /// How many tools it has.
    pub(in super::super) fn tools(&self) -> usize {
        self.text.lines().filter(|line| line.starts_with("accepts = ")).count()
    }
}
