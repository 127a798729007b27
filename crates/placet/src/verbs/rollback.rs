//! `placet rollback`: back to a release that was in force.

use clap::Args;
use placet_json::Object;

use super::common::{Remote, Why, cell};
use crate::{
    admin::block_on,
    failure::Failure,
    output::{Answer, show},
};

/// Go back to the release that was in force before, or to an earlier one
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  placet rollback --why 'refunds are denied that should not be'\n  placet rollback sha256:… --why 'two steps back'"
)]
pub(crate) struct Rollback {
    /// The digest of a release that was in force; without it the one before
    release: Option<String>,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    remote: Remote,
}

impl Rollback {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let admin = self.remote.server.open()?;
        let mut body = Object::new();
        if let Some(release) = &self.release {
            body.insert("to", release.as_str());
        }
        let answer = block_on(admin.post("/v1/releases/rollback", &self.why.onto(body)))?;
        show(self.remote.format, &answer, |answer| {
            format!("in force: {}\nbefore:   {}", cell(answer, "digest"), cell(answer, "before"))
        })?;
        Ok(Answer::Yes)
    }
}
