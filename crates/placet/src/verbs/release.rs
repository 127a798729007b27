//! `placet release`: build, show, upload, list.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use placet_json::{Value, object};
use placet_policy::Release;

use super::common::{Remote, listing};
use crate::{
    admin::block_on,
    failure::{Failure, OrFail},
    output::{Answer, Format, show},
};

/// Build, show and list releases
#[derive(Debug, Args)]
pub(crate) struct ReleaseVerb {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build a release's canonical archive and print its digest
    #[command(after_help = "Example:\n  placet release build release/ --out support.tar")]
    Build {
        /// The release's directory
        dir: PathBuf,
        /// Where to write the archive; without it only the digest is printed
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// How to print
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Show what is in a release: an archive or a directory
    #[command(after_help = "Example:\n  placet release show support.tar")]
    Show {
        /// The archive, or the release's directory
        release: PathBuf,
        /// How to print
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// List the releases that a server keeps
    #[command(after_help = "Example:\n  placet release list")]
    List {
        #[command(flatten)]
        remote: Remote,
    },
}

impl ReleaseVerb {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        match self.verb {
            Verb::Build { dir, out, format } => build(&dir, out.as_deref(), format),
            Verb::Show { release, format } => {
                let Ok(release) = open(&release, format)? else { return Ok(Answer::No) };
                show(format, &described(&release), |_| told(&release))?;
                Ok(Answer::Yes)
            }
            Verb::List { remote } => {
                let admin = remote.server.open()?;
                let answer = block_on(admin.get("/v1/releases"))?;
                show(remote.format, &answer, |answer| {
                    listing(
                        answer,
                        "releases",
                        &[("DIGEST", "digest"), ("IN FORCE", "in_force"), ("CANDIDATE OF", "candidate_of")],
                    )
                })?;
                Ok(Answer::Yes)
            }
        }
    }
}

fn build(dir: &Path, out: Option<&Path>, format: Format) -> Result<Answer, Failure> {
    let Ok(release) = open(dir, format)? else { return Ok(Answer::No) };
    if let Some(out) = out {
        std::fs::write(out, release.archive()).or_fail(format_args!("can't write `{}`", out.display()))?;
    }
    let document =
        Value::from(object! { "digest" => release.digest().to_string(), "report" => release.report() });
    show(format, &document, |_| {
        let mut text = format!("{}\n", release.digest());
        for rewrite in release.rewrites() {
            let _infallible = writeln!(
                text,
                "{}:{}:{}: rewritten: `{}` is read as `{}`",
                rewrite.file, rewrite.line, rewrite.column, rewrite.from, rewrite.to
            );
        }
        for finding in release.findings() {
            let _infallible = writeln!(text, "{finding}");
        }
        text
    })?;
    Ok(Answer::Yes)
}

/// Reads a release from a directory or an archive. The inner error was printed: these files are no release.
pub(crate) fn open(path: &Path, format: Format) -> Result<Result<Release, ()>, Failure> {
    let what = || format!("can't read `{}`", path.display());
    let release = if path.is_dir() {
        Release::build(&placet_server::tree::read(path).or_fail(what())?)
    } else {
        Release::from_archive(&std::fs::read(path).or_fail(what())?)
    };
    match release {
        Ok(release) => Ok(Ok(release)),
        Err(refused) => {
            let findings: Vec<Value> =
                refused.findings.iter().map(placet_policy::Finding::to_value).collect();
            let document = Value::from(
                object! { "digest" => Value::Null, "report" => object! { "findings" => findings } },
            );
            show(format, &document, |_| refused.to_string())?;
            Ok(Err(()))
        }
    }
}

fn described(release: &Release) -> Value {
    let files = release.tree().iter().map(|(path, bytes)| {
        Value::from(
            object! { "path" => path.as_str(), "bytes" => u64::try_from(bytes.len()).unwrap_or(u64::MAX) },
        )
    });
    let tools = release.catalog().entries().map(|entry| Value::from(object! { "name" => entry.name().as_str(), "action" => entry.action().as_str(), "effect" => entry.effect().as_str() }));
    let types = release.workflow_types().keys().map(|name| Value::from(name.as_str()));
    object! {
        "digest" => release.digest().to_string(), "name" => release.name().as_str(), "workflow_types" => Value::Array(types.collect()),
        "tools" => Value::Array(tools.collect()), "files" => Value::Array(files.collect()), "report" => release.report(),
    }
    .into()
}

fn told(release: &Release) -> String {
    let described = described(release);
    let types: Vec<&str> = release.workflow_types().keys().map(placet_core::Name::as_str).collect();
    format!(
        "{} {}\nworkflow types: {}\n\n{}\n{}",
        release.name(),
        release.digest(),
        types.join(", "),
        listing(&described, "tools", &[("TOOL", "name"), ("ACTION", "action"), ("EFFECT", "effect")]),
        listing(&described, "files", &[("FILE", "path"), ("BYTES", "bytes")])
    )
}
