//! Many tools, one file: what upstreams offer as proposals of catalog entries, for a person to go through, and what
//! that person accepted into the catalog.
//!
//! The file is the catalog's own TOML with one section more: `[review]`, a line a tool, `false` until somebody has
//! looked. Everything that can't be known from a definition stands there as a proposal and is marked as one.

mod accept;
mod propose;

use placet_json::Value;

pub(super) use accept::accept;
pub(super) use propose::propose;

/// The section with a line a tool.
const SECTION: &str = "review";
/// The resource that a tool is proposed to be about: what nobody has modelled yet is the work's own workspace.
const WORKSPACE: &str = "{ type = \"workspace\", id = \"$workflow.binding.workspace\" }";

/// What one upstream offers.
pub(super) struct Offered {
    pub(super) upstream: String,
    /// `none`, `process`, `vault:NAME`, …
    pub(super) credential: String,
    /// `GET /v1/upstreams/{upstream}/tools`
    pub(super) answer: Value,
}

impl Offered {
    /// How many tools.
    pub(super) fn len(&self) -> usize {
        self.answer.get("tools").and_then(Value::as_array).unwrap_or_default().len()
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    placet_json::write_string(text, &mut out);
    out
}
