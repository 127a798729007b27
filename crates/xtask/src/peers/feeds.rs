//! Identity feeds: a SCIM provider and a signer of security events that Placet did not write, against a running server.

use std::{path::Path, process::Command, time::Duration};

use super::process::{finish, tail};

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_mins(3);

/// Runs `peers/feeds.py`.
pub(super) fn check(repository: &Path, target: &Path) -> Result<(), String> {
    let python = repository.join(".peers/feeds/bin/python");
    if !python.exists() {
        return Err("the peers of identity feeds aren't installed; run peers/install.sh".to_owned());
    }
    let mut command = Command::new(python);
    command.arg(repository.join("peers/feeds.py")).arg(target.join("debug/placet"));
    let output = finish(&mut command, None, PATIENCE)?;
    print!("{}", output.stdout);
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{}: {} {}", output.status, tail(&output.stdout), tail(&output.stderr)))
}
