//! `placet release`: build, sign, verify, show, upload, list.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::{Args, Subcommand};
use placet_json::{Object, Value, object};
use placet_policy::Release;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_jose::{KeySet, dsse::Envelope};

use super::{
    common::{Remote, Why, cell, listing},
    envelope, promote,
};
use crate::{
    admin::block_on,
    failure::{Failure, OrFail},
    keyfile,
    output::{Answer, Format, show},
};

/// Build, sign, verify, show, upload and list releases
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
    /// Sign a release whose cases pass: the envelope stands beside it and changes no digest
    #[command(
        after_help = "Example:\n  placet release sign release/ --key ci.pem\n  placet release sign support.tar --public hsm.jwk --command 'pkcs11-sign --slot 1'\n  placet release sign emergency/ --key ci.pem --emergency 30m"
    )]
    Sign {
        /// The release's directory or archive
        release: PathBuf,
        /// The private key that signs
        #[arg(long = "key", value_name = "FILE", required_unless_present = "command")]
        signing_key: Option<PathBuf>,
        /// A program that signs: the message on its standard input, the signature in base64 on its output
        #[arg(long, value_name = "COMMAND", requires = "public", conflicts_with = "signing_key")]
        command: Option<String>,
        /// The public half of that program's key, a JWK
        #[arg(long, value_name = "FILE")]
        public: Option<PathBuf>,
        /// The envelope; without it beside the release, `.dsse.json` added
        #[arg(long, value_name = "FILE")]
        envelope: Option<PathBuf>,
        /// What orders releases; without it the time
        #[arg(long, value_name = "NUMBER")]
        serial: Option<u64>,
        /// An emergency release, to be in force so long at most
        #[arg(long, value_name = "LENGTH", value_parser = envelope::length)]
        emergency: Option<u64>,
        /// How to print
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Verify a release's signatures without a server
    #[command(
        after_help = "Example:\n  placet release verify support.tar --signers signers.jwks --signatures 2"
    )]
    Verify {
        /// The release's directory or archive
        release: PathBuf,
        /// The public keys whose signatures count: a JWK set, or one JWK
        #[arg(long, value_name = "FILE")]
        signers: PathBuf,
        /// How many of them must have signed
        #[arg(long, default_value_t = 1)]
        signatures: usize,
        /// The envelope; without it beside the release, `.dsse.json` added
        #[arg(long, value_name = "FILE")]
        envelope: Option<PathBuf>,
        /// How to print
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Bring a release to a server, with its signatures, for review
    #[command(after_help = "Example:\n  placet release upload release/")]
    Upload {
        /// The release's directory or archive
        release: PathBuf,
        /// The envelope; without it beside the release, `.dsse.json` added, if there is one
        #[arg(long, value_name = "FILE")]
        envelope: Option<PathBuf>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show what the candidate beside the release in force would have said; `placet promote R --shadow` puts one there
    #[command(
        after_help = "Example:\n  placet release shadow\n  placet release shadow --end --why 'seen enough'"
    )]
    Shadow {
        /// Take it away; what it came to is recorded
        #[arg(long)]
        end: bool,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        remote: Remote,
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
            Verb::Sign { release, signing_key, command, public, envelope, serial, emergency, format } => {
                let Ok(read) = open(&release, format)? else { return Ok(Answer::No) };
                let path = envelope.unwrap_or_else(|| envelope::beside(&release));
                let mut envelope = unsigned(&read, &release, &path, serial, emergency)?;
                match (signing_key, command, public) {
                    (Some(key), _, _) => envelope.sign(&keyfile::load(&key)?).or_fail("can't sign")?,
                    (None, Some(command), Some(public)) => by_command(&mut envelope, &command, &public)?,
                    (None, _, _) => return Err(Failure::new("no key signs").remedy("name it with `--key`")),
                }
                envelope::write(&path, &envelope)?;
                signed(&read, &envelope, &path, format)
            }
            Verb::Verify { release, signers, signatures, envelope, format } => {
                let Ok(read) = open(&release, format)? else { return Ok(Answer::No) };
                let path = envelope.unwrap_or_else(|| envelope::beside(&release));
                verify(&read, &path, &envelope::trusted(&signers)?, signatures, format)
            }
            Verb::Upload { release, envelope, remote } => {
                let admin = remote.server.open()?;
                let digest = promote::upload(&admin, &release, envelope.as_deref(), remote.format)?;
                let Some(digest) = digest else { return Ok(Answer::No) };
                let document = Value::from(object! { "digest" => digest.as_str() });
                show(remote.format, &document, |_| format!("{digest}\nnext: placet review {digest}"))?;
                Ok(Answer::Yes)
            }
            Verb::Shadow { end, why, remote } => {
                let admin = remote.server.open()?;
                let answer = if end {
                    block_on(admin.post("/v1/releases/shadow", &why.onto(Object::new())))?
                } else {
                    block_on(admin.get("/v1/releases/shadow"))?
                };
                show(remote.format, &answer, shadow)?;
                Ok(Answer::Yes)
            }
            Verb::List { remote } => {
                let admin = remote.server.open()?;
                let answer = block_on(admin.get("/v1/releases"))?;
                show(remote.format, &answer, |answer| {
                    listing(
                        answer,
                        "releases",
                        &[
                            ("DIGEST", "digest"),
                            ("IN FORCE", "in_force"),
                            ("SIGNED", "signed"),
                            ("APPROVED BY", "approved_by"),
                            ("CANDIDATE OF", "candidate_of"),
                        ],
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

/// The envelope to sign: the one that is there, if it speaks of this release as it is; else a new one.
fn unsigned(
    release: &Release,
    from: &Path,
    path: &Path,
    serial: Option<u64>,
    emergency: Option<u64>,
) -> Result<Envelope, Failure> {
    if path.exists() {
        let envelope = envelope::read(path)?;
        if let Ok(statement) = envelope::stated(&envelope, release) {
            let same = serial.is_none_or(|serial| serial == statement.serial)
                && (emergency.is_none() || emergency == statement.emergency);
            if same {
                // Whoever signs has seen its cases pass, too.
                envelope::state(release, from, Some(statement.serial), statement.emergency)?;
                return Ok(envelope);
            }
        }
    }
    envelope::state(release, from, serial, emergency)
}

/// Lets a program sign, without a shell: its words are split at spaces.
fn by_command(envelope: &mut Envelope, command: &str, public: &Path) -> Result<(), Failure> {
    let keys = envelope::trusted(public)?;
    let (_, key) = keys.iter().next().ok_or_else(|| Failure::new("there is no public key"))?;
    let mut words = command.split_whitespace();
    let what = || format!("`{command}`");
    let mut child = Command::new(words.next().ok_or_else(|| Failure::new("the command is empty"))?)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .or_fail(what())?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(&envelope.signed()).or_fail(what())?;
    }
    let output = child.wait_with_output().or_fail(what())?;
    if !output.status.success() {
        return Err(Failure::new(format!("{} ended with {}", what(), output.status)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let signature = STANDARD.decode(text.trim()).or_fail(format_args!("{} didn't write base64", what()))?;
    envelope.attach(key, signature).or_fail(what())
}

fn signed(release: &Release, envelope: &Envelope, path: &Path, format: Format) -> Result<Answer, Failure> {
    let statement = envelope::stated(envelope, release)?;
    let keys: Vec<&str> = envelope.claimed().collect();
    let document = Value::from(object! {
        "digest" => release.digest().to_string(), "envelope" => path.display().to_string(),
        "keys" => Value::Array(keys.iter().map(|key| Value::from(*key)).collect()), "statement" => statement.to_value(),
    });
    show(format, &document, |_| {
        format!(
            "signed: {}\nserial: {}\nkeys:   {}\nin:     {}",
            release.digest(),
            statement.serial,
            keys.join(", "),
            path.display()
        )
    })?;
    Ok(Answer::Yes)
}

fn verify(
    release: &Release,
    path: &Path,
    trusted: &KeySet,
    needed: usize,
    format: Format,
) -> Result<Answer, Failure> {
    let envelope = envelope::read(path)?;
    let statement = envelope::stated(&envelope, release)?;
    let signers: Vec<String> =
        envelope.signers(envelope.kind(), trusted).iter().map(ToString::to_string).collect();
    let good = !signers.is_empty() && signers.len() >= needed;
    let document = Value::from(object! {
        "digest" => release.digest().to_string(), "verified" => good,
        "signers" => Value::Array(signers.iter().map(|key| Value::from(key.as_str())).collect()),
        "statement" => statement.to_value(),
    });
    show(format, &document, |_| {
        let verdict = if good { "verified" } else { "not verified" };
        format!(
            "{verdict}: {}\n{} of {needed} keys that count signed it: {}",
            release.digest(),
            signers.len(),
            signers.join(", ")
        )
    })?;
    Ok(Answer::of(good))
}

fn shadow(answer: &Value) -> String {
    let Some(report) = answer.get("shadow").filter(|report| !report.is_null()) else {
        return "no candidate is beside the release in force".to_owned();
    };
    let head = format!(
        "{} since {}\n{} of {} calls differ, {} left out\n\n",
        cell(report, "release"),
        cell(report, "since"),
        cell(report, "differing"),
        cell(report, "compared"),
        cell(report, "dropped")
    );
    head + &listing(
        report,
        "differences",
        &[
            ("CALLS", "calls"),
            ("AGENT", "agent"),
            ("TOOL", "tool"),
            ("WAS", "was"),
            ("WOULD BE", "would"),
            ("RULE", "rule"),
        ],
    )
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
