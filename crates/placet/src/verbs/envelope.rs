//! A release's envelope: where it lies, and how it is made and read.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use placet_jose::{KeySet, PublicKey, dsse::Envelope};
use placet_policy::{Provenance, Release, STATEMENT_TYPE, Statement};

use super::test::facts;
use crate::{
    clock,
    failure::{Failure, OrFail},
};

/// `support.tar` has its envelope in `support.tar.dsse.json`, a directory likewise beside it.
pub(crate) fn beside(release: &Path) -> PathBuf {
    // `release/` and `.` have no name of their own at the end.
    let whole = release.canonicalize().unwrap_or_else(|_| release.to_owned());
    let mut name = whole.file_name().unwrap_or_default().to_owned();
    name.push(".dsse.json");
    match release.file_name() {
        Some(_) => release.with_file_name(name),
        None => whole.with_file_name(name),
    }
}

/// Reads an envelope's file.
pub(crate) fn read(path: &Path) -> Result<Envelope, Failure> {
    let bytes = std::fs::read(path).or_fail(format_args!("can't read `{}`", path.display()))?;
    Envelope::parse(&bytes).or_fail(format_args!("`{}`", path.display()))
}

/// Writes an envelope's file, whole or not at all.
pub(crate) fn write(path: &Path, envelope: &Envelope) -> Result<(), Failure> {
    let what = || format!("can't write `{}`", path.display());
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    std::fs::write(&partial, envelope.to_value().to_string() + "\n").or_fail(what())?;
    std::fs::rename(&partial, path).or_fail(what())
}

/// The keys of a JWK set, or of one JWK.
pub(crate) fn trusted(path: &Path) -> Result<KeySet, Failure> {
    let what = || format!("`{}`", path.display());
    let bytes = std::fs::read(path).or_fail(format_args!("can't read {}", what()))?;
    let document = placet_json::parse(&bytes, &placet_json::Limits::MESSAGE).or_fail(what())?;
    if document.get("keys").is_some() {
        return KeySet::from_jwks(&bytes).or_fail(what());
    }
    Ok(KeySet::of(&PublicKey::from_jwk(&document).or_fail(what())?))
}

/// What an envelope states of this release; the failure says which of the two speaks of something else.
pub(crate) fn stated(envelope: &Envelope, release: &Release) -> Result<Statement, Failure> {
    if envelope.kind() != STATEMENT_TYPE {
        return Err(Failure::new("the envelope holds no statement about a release").no());
    }
    let statement =
        Statement::read(envelope.payload()).map_err(|error| Failure::new(error.to_string()).no())?;
    statement.check(release).map_err(|error| Failure::new(error.to_string()).no())?;
    Ok(statement)
}

/// States a release. Its cases are run: one that fails its own can't be signed.
pub(crate) fn state(
    release: &Release,
    path: &Path,
    serial: Option<u64>,
    emergency: Option<u64>,
) -> Result<Envelope, Failure> {
    let report = release.test(&facts);
    // Milliseconds: two statements within a second are still in order.
    let serial = serial.unwrap_or_else(clock::millis);
    let statement =
        Statement::of(release, &report, serial, provenance(path), emergency).map_err(|error| {
            Failure::new(format!("it can't be signed: {error}")).no().remedy("see `placet test`")
        })?;
    let payload = statement.to_bytes().or_fail("the statement can't be written")?;
    Ok(Envelope::new(STATEMENT_TYPE, payload))
}

/// The commit that a release's directory lies in, if it lies in one.
fn provenance(path: &Path) -> Option<Provenance> {
    let dir = path.is_dir().then_some(path)?;
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(dir)
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--verify", "HEAD"])?;
    let dirty = !git(&["status", "--porcelain", "--", "."])?.is_empty();
    let author = git(&["log", "-1", "--format=%an <%ae>"])?;
    Some(Provenance { commit, dirty, author: author.chars().take(200).collect() })
}

/// A length of time as people write it: `30m`, `1h`, in milliseconds.
pub(crate) fn length(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no length of time: write it as `30m` or `1h`");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let number: u64 = text.strip_suffix(unit).and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
    let unit = match unit {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).filter(|length| *length > 0).ok_or_else(wrong)
}
