//! `placet promote`: bring a release into force.

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use placet_json::{Object, Value};

use super::{
    common::{Remote, Why, cell},
    envelope,
};
use crate::{
    admin::{Admin, block_on, segment},
    failure::{Failure, OrFail},
    output::{Answer, Format, show},
};

/// Put a release in force: from the next call on it decides
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  placet promote release/ --why 'limit raised to 200'\n  placet promote sha256:… --to https://staging.example --why 'reviewed on dev'\n  placet promote emergency.tar --emergency --why 'the billing upstream leaks'"
)]
pub(crate) struct Promote {
    /// A directory, an archive, or the digest of a release that the server keeps
    release: String,
    /// Another server to put it in force on; a digest is fetched from `--server` with its signatures
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// The key that signs there, if it isn't `--key`
    #[arg(long, value_name = "FILE", requires = "to")]
    to_key: Option<PathBuf>,
    /// An emergency release: signed by two, past reviews, until its time is over
    #[arg(long)]
    emergency: bool,
    /// Not in force: beside the one in force, to see on the calls that come what it would say
    #[arg(long, conflicts_with = "emergency")]
    shadow: bool,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    remote: Remote,
}

impl Promote {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let here = self.remote.server.open()?;
        let there = match &self.to {
            None => None,
            Some(url) => {
                let mut server = self.remote.server.clone();
                server.server.clone_from(url);
                if let Some(key) = &self.to_key {
                    server.key.clone_from(key);
                }
                Some(server.open()?)
            }
        };
        let target = there.as_ref().unwrap_or(&here);
        let digest = if self.release.starts_with("sha256:") {
            if there.is_some() {
                carry(&here, target, &self.release)?;
            }
            self.release.clone()
        } else {
            let Some(digest) = upload(target, Path::new(&self.release), None, self.remote.format)? else {
                return Ok(Answer::No);
            };
            digest
        };
        if self.shadow {
            let path = format!("/v1/releases/{}/shadow", segment(&digest));
            let answer = block_on(target.post(&path, &self.why.onto(Object::new())))?;
            show(self.remote.format, &answer, |_| {
                format!("beside the one in force: {digest}\nnext: placet release shadow")
            })?;
            return Ok(Answer::Yes);
        }
        let mut body = Object::new();
        if self.emergency {
            body.insert("emergency", true);
        }
        let path = format!("/v1/releases/{}/promote", segment(&digest));
        let answer = block_on(target.post(&path, &self.why.onto(body)))?;
        show(self.remote.format, &answer, |answer| {
            let before = cell(answer, "before");
            format!("in force: {digest}\nbefore:   {}", if before.is_empty() { "none" } else { &before })
        })?;
        Ok(Answer::Yes)
    }
}

/// Brings a directory or an archive to a server, with its envelope if there is one. None: it is no release, and that was
/// printed.
pub(crate) fn upload(
    admin: &Admin,
    path: &Path,
    envelope: Option<&Path>,
    format: Format,
) -> Result<Option<String>, Failure> {
    let Ok(release) = super::release::open(path, format)? else { return Ok(None) };
    let kept = block_on(admin.upload("/v1/releases", release.archive().to_vec().into()))?;
    let digest = cell(&kept, "digest");
    let beside = envelope::beside(path);
    if let Some(envelope) = envelope.or_else(|| beside.exists().then_some(beside.as_path())) {
        let envelope = envelope::read(envelope)?;
        // One that speaks of another state of the directory is left where it is: gates say that a signature is missing.
        if envelope::stated(&envelope, &release).is_ok() {
            sign(admin, &digest, envelope.to_value().to_bytes())?;
        }
    }
    Ok(Some(digest))
}

/// Brings a release and its envelope from one server to another.
fn carry(from: &Admin, to: &Admin, digest: &str) -> Result<(), Failure> {
    let kept = block_on(from.get(&format!("/v1/releases/{}/archive", segment(digest))))?;
    let archive = STANDARD.decode(cell(&kept, "archive")).or_fail("the server's archive can't be read")?;
    block_on(to.upload("/v1/releases", archive.into()))?;
    match kept.get("envelope").filter(|envelope| !envelope.is_null()) {
        Some(envelope) => sign(to, digest, envelope.to_bytes()),
        None => Ok(()),
    }
}

/// Hands an envelope to a server.
pub(crate) fn sign(admin: &Admin, digest: &str, envelope: Vec<u8>) -> Result<(), Failure> {
    let path = format!("/v1/releases/{}/envelope", segment(digest));
    let _signed: Value = block_on(admin.upload(&path, envelope.into()))?;
    Ok(())
}
