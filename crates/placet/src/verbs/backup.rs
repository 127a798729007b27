//! `placet backup` and `placet restore`: a data directory as one archive, and back.

use std::path::PathBuf;

use clap::Args;
use placet_audit::BackupError;
use placet_json::{Value, object};

use crate::{
    clock,
    failure::{Failure, OrFail},
    output::{Answer, Format, show},
};

/// Write a data directory into one archive; a server may be using it
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  placet backup --data data --to placet-2026-11-24.tar")]
pub(crate) struct Backup {
    /// The data directory
    #[arg(long, env = "PLACET_DATA", default_value = "data", value_name = "DIR")]
    data: PathBuf,
    /// The archive; it must not exist
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Put the server's keys in, too: whoever has the archive then is the server
    #[arg(long)]
    with_keys: bool,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Backup {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let report =
            placet_audit::backup(&self.data, &self.to, self.with_keys).or_fail("there is no backup")?;
        let document = Value::from(object! {
            "archive" => self.to.display().to_string(), "digest" => report.digest.to_string(), "files" => report.files,
            "bytes" => report.bytes, "last" => report.last,
        });
        show(self.format, &document, |_| {
            format!(
                "`{}`: {} files, {} bytes, records up to {}\n{}",
                self.to.display(),
                report.files,
                report.bytes,
                report.last,
                report.digest
            )
        })?;
        Ok(Answer::Yes)
    }
}

/// Put a backup in place; what may be missing since then is recorded, signed, and shown by every verification
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  placet restore placet-2026-11-24.tar --data data --key checkpoint.key --why \"the disk failed\""
)]
pub(crate) struct Restore {
    /// The archive
    archive: PathBuf,
    /// The data directory; it must not exist, or be empty
    #[arg(long, env = "PLACET_DATA", default_value = "data", value_name = "DIR")]
    data: PathBuf,
    /// The private key of the checkpoints; by default the one in the backup
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The organisation, where nothing in the backup is signed yet
    #[arg(long, value_name = "NAME")]
    organisation: Option<String>,
    /// Who restores it
    #[arg(long, default_value = "operator")]
    by: String,
    /// Why
    #[arg(long)]
    why: String,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Restore {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let order = placet_audit::Restore {
            archive: &self.archive,
            data: &self.data,
            key: self.key.as_deref(),
            organisation: self.organisation.as_deref(),
            by: &self.by,
            why: &self.why,
            now: clock::millis(),
        };
        let restored = placet_audit::restore(&order).map_err(|error| {
            let failure = Failure::new(format!("nothing was restored: {error}"));
            match &error {
                BackupError::Archive { .. } | BackupError::Unsound(_) => failure.no(),
                BackupError::Io { .. } if self.key.is_none() => {
                    failure.remedy("a backup without keys needs the checkpoints' key: `--key FILE`")
                }
                BackupError::Io { .. }
                | BackupError::NoJournal(_)
                | BackupError::Damaged(_)
                | BackupError::Occupied(_)
                | BackupError::Unsigned
                | BackupError::Append(_) => failure,
            }
        })?;
        let gap = &restored.gap;
        let document = Value::from(object! {
            "data" => self.data.display().to_string(), "records" => gap.last, "gap" => restored.sequence, "since" => gap.since.to_string(),
            "restored" => gap.restored.to_string(), "backup" => gap.backup.to_string(),
        });
        show(self.format, &document, |_| {
            format!(
                "{}restored to `{}`: records up to {}, of {}; record {} says that what came after isn't there\nput the keys in place, have each witness forget what it saw (`placet audit witness --forget`), and start the server",
                restored.report,
                self.data.display(),
                gap.last,
                gap.since,
                restored.sequence
            )
        })?;
        Ok(Answer::Yes)
    }
}
