//! `placet promote`: bring a release into force.

use std::path::PathBuf;

use clap::Args;
use placet_json::Object;

use super::common::{Remote, Why, cell};
use crate::{
    admin::{block_on, segment},
    failure::Failure,
    output::{Answer, show},
};

/// Put a release in force: from the next call on it decides
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  placet promote release/ --why 'limit raised to 200'\n  placet promote sha256:… --why 'back to the one before'"
)]
pub(crate) struct Promote {
    /// A directory, an archive, or the digest of a release that the server keeps
    release: String,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    remote: Remote,
}

impl Promote {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let admin = self.remote.server.open()?;
        let digest = if self.release.starts_with("sha256:") {
            self.release.clone()
        } else {
            let Ok(release) = super::release::open(&PathBuf::from(&self.release), self.remote.format)? else {
                return Ok(Answer::No);
            };
            let kept = block_on(admin.upload("/v1/releases", release.archive().to_vec().into()))?;
            cell(&kept, "digest")
        };
        let answer = block_on(
            admin.post(&format!("/v1/releases/{}/promote", segment(&digest)), &self.why.onto(Object::new())),
        )?;
        show(self.remote.format, &answer, |answer| {
            let before = cell(answer, "before");
            format!("in force: {digest}\nbefore:   {}", if before.is_empty() { "none" } else { &before })
        })?;
        Ok(Answer::Yes)
    }
}
