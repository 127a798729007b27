//! Private keys in files that their owner alone can read.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_jose::{Algorithm, SigningKey};
use placet_ledger::checkpoint::SigningKey as CheckpointKey;
use placet_server::settings::check_private;

use crate::failure::{Failure, OrFail};

/// Reads a private key; a file that others can read is refused.
pub(crate) fn load(path: &Path) -> Result<SigningKey, Failure> {
    check_private(path).map_err(|error| Failure::new(error.to_string()).remedy(error.remedy()))?;
    let pem = std::fs::read_to_string(path).or_fail(format_args!("can't read `{}`", path.display()))?;
    SigningKey::from_pkcs8_pem(&pem).or_fail(format_args!("`{}`", path.display()))
}

/// Makes a new private key in a new file; a file that exists is never overwritten.
pub(crate) fn generate(path: &Path, algorithm: Algorithm) -> Result<SigningKey, Failure> {
    let key = SigningKey::generate(algorithm).or_fail("can't make a key")?;
    let pem = key.to_pkcs8_pem().or_fail("can't write the key")?;
    write_private(path, pem.as_bytes())?;
    Ok(key)
}

/// Writes a new file that only its owner can read, durably.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let what = || format!("can't write `{}`", path.display());
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        std::fs::create_dir_all(dir).or_fail(what())?;
    }
    let mut file: File =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).or_fail(what())?;
    file.write_all(bytes).and_then(|()| file.sync_all()).or_fail(what())
}

/// Makes a new key for checkpoints in a new file: 32 bytes in base64, as a server keeps it.
pub(crate) fn fresh_checkpoint_key(path: &Path) -> Result<CheckpointKey, Failure> {
    let seed = placet_store::fresh_seed().or_fail("can't make a key")?;
    write_private(path, STANDARD.encode(seed).as_bytes())?;
    CheckpointKey::from_seed(&seed).or_fail("can't make a key")
}

/// Reads such a key; a file that others can read is refused.
pub(crate) fn read_checkpoint_key(path: &Path) -> Result<CheckpointKey, Failure> {
    check_private(path).map_err(|error| Failure::new(error.to_string()).remedy(error.remedy()))?;
    let text = std::fs::read_to_string(path).or_fail(format_args!("can't read `{}`", path.display()))?;
    let seed: Option<[u8; 32]> = STANDARD.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
    let key = seed.and_then(|seed| CheckpointKey::from_seed(&seed).ok());
    key.ok_or_else(|| {
        Failure::new(format!("`{}` is no key of checkpoints: not 32 bytes in base64", path.display()))
    })
}
