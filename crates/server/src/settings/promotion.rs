//! `[release]`: what a release needs before it comes into force here, and a repository that releases come from.

use std::{collections::BTreeSet, path::PathBuf};

use placet_core::Name;

use super::{Environment, Promote, read::Section};

/// What a release needs before it comes into force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promotion {
    /// `signers`: the public keys whose signatures count, a JWK set.
    pub signers: Option<PathBuf>,
    /// `signatures`: how many of them must have signed; outside dev at least one.
    pub signatures: u64,
    /// `reviews`: how many people must have approved each part that changes; in production at least one.
    pub reviews: u64,
    /// `reviewers`: who reviews what no part of a release owns, where the release doesn't say.
    pub reviewers: BTreeSet<Name>,
    /// `envelope`: the signatures of `dir` or `archive`; without it the file beside them, `.dsse.json` added.
    pub envelope: Option<PathBuf>,
    /// `[release.git]`: a repository that is followed.
    pub git: Option<GitSource>,
}

/// `[release.git]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitSource {
    /// `url`: the repository, as `git fetch` takes it.
    pub url: String,
    /// `branch`, or `tags`.
    pub at: GitRef,
    /// `allowed_signers`: whose signatures of tags count, in the form of `ssh-keygen`.
    pub allowed_signers: PathBuf,
    /// `path`: the release's directory in the repository.
    pub path: String,
    /// `every_ms`: how often it is looked at.
    pub every_ms: u64,
    /// `promote`: whether what is new there comes into force by itself once every gate is open.
    pub promote: Promote,
}

/// What of a repository is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GitRef {
    /// A branch.
    Branch(String),
    /// The newest of the tags of this pattern, which must be signed.
    Tags(String),
}

/// Reads what stands in `[release]` beside where the first one comes from.
pub(super) fn read(section: &mut Section<'_, '_>, environment: Option<Environment>) -> Option<Promotion> {
    let (signatures, reviews) = match environment {
        Some(Environment::Dev) | None => ((0, 0), (0, 0)),
        Some(Environment::Staging) => ((1, 1), (1, 0)),
        Some(Environment::Production) => ((1, 1), (1, 1)),
    };
    let signers = section.optional_path("signers");
    let signatures = section.number("signatures", signatures.0, signatures.1..=16);
    let reviews = section.number("reviews", reviews.0, reviews.1..=16);
    let reviewers = section.optional_texts("reviewers");
    let envelope = section.optional_path("envelope");
    let git = git(section.section("git"));
    let reviewers: Option<BTreeSet<Name>> =
        reviewers?.unwrap_or_default().iter().map(|id| Name::new(id).ok()).collect();
    if reviewers.is_none() {
        section.problem("reviewers", "a reviewer is no name", "write people's ids, as in `[\"omar\"]`");
    }
    Some(Promotion {
        signers: signers?,
        signatures: signatures?,
        reviews: reviews?,
        reviewers: reviewers?,
        envelope: envelope?,
        git: git?,
    })
}

#[expect(clippy::option_option, reason = "absent, wrong and given are three things")]
fn git(mut section: Section<'_, '_>) -> Option<Option<GitSource>> {
    if !section.exists() {
        return Some(None);
    }
    let plain = |text: &str| {
        let fine =
            !text.is_empty() && !text.starts_with('-') && !text.contains([' ', ':', '\\', '\0', '~', '^']);
        (fine && !text.contains("..")).then(|| text.to_owned())
    };
    let url = section.required(
        "url",
        |text| (!text.starts_with('-') && !text.contains("::")).then(|| text.to_owned()),
        "write the repository, as in `https://git.example/policies.git`",
    );
    let branch = section.optional_word("branch", plain, "write a branch's name");
    let tags = section.optional_word("tags", plain, "write a pattern of tags, as in `release-*`");
    let allowed = section.optional_path("allowed_signers");
    let path = section.word(
        "path",
        "release",
        |text| {
            if text == "." { Some(String::new()) } else { plain(text).filter(|text| !text.starts_with('/')) }
        },
        "write a directory of the repository, as in `release`, or `.`",
    );
    let every_ms = section.number("every_ms", 30_000, 100..=86_400_000);
    let promote = section.word(
        "promote",
        "never",
        |text| match text {
            "never" => Some(Promote::Never),
            "when-green" => Some(Promote::WhenGreen),
            _ => None,
        },
        "write `never` or `when-green`",
    );
    section.finish();
    let (branch, tags, allowed) = (branch?, tags?, allowed?);
    let at = match (branch, tags) {
        (Some(_), Some(_)) => {
            section.problem("tags", "`branch` and `tags` can't both be given", "remove one of them");
            return None;
        }
        (branch, None) => GitRef::Branch(branch.unwrap_or_else(|| "main".to_owned())),
        (None, Some(pattern)) => GitRef::Tags(pattern),
    };
    if matches!(at, GitRef::Tags(_)) && allowed.is_none() {
        section.problem(
            "tags",
            "tags are followed only if they are signed",
            "name the keys' file: `allowed_signers`",
        );
        return None;
    }
    Some(Some(GitSource {
        url: url?,
        at,
        allowed_signers: allowed.unwrap_or_default(),
        path: path?,
        every_ms: every_ms?,
        promote: promote?,
    }))
}
