//! The vault's file: lines of sealed secrets, replaced as a whole, readable by its owner alone; where several gateways
//! share a database, a row of it with the same lines.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::executor::block_on;
use placet_gateway::OpenVault;
use placet_oauth::{
    Secret,
    vault::{MasterKey, Place, Vault, VaultError},
};
use placet_store::{Commons, DatabaseError};

/// How often a change is tried that another gateway was faster than.
const ROUNDS: usize = 16;

/// The vault and its file.
pub struct VaultFile {
    place: Kept,
    open: Arc<OpenVault>,
    /// Held while the vault is changed.
    changing: Mutex<()>,
}

/// Where the sealed secrets are.
enum Kept {
    File(PathBuf),
    /// In the database of several gateways, of which this one has this version.
    Shared(Commons, AtomicU64),
}

/// Why the vault's file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum VaultFileError {
    /// The file can't be read or written.
    #[error("the vault's file: {0}")]
    Io(#[from] io::Error),
    /// The gateways' database.
    #[error("the vault: {0}")]
    Database(#[from] DatabaseError),
    /// Other gateways change the vault all the time.
    #[error("the vault was changed by others meanwhile; try again")]
    Contended,
    /// A record is damaged, or was sealed under another master key.
    #[error("the vault: {0}")]
    Vault(#[from] VaultError),
}

impl std::fmt::Debug for VaultFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Kept::File(path) => f.debug_struct("VaultFile").field("path", path).finish_non_exhaustive(),
            Kept::Shared(commons, _) => {
                f.debug_struct("VaultFile").field("commons", commons).finish_non_exhaustive()
            }
        }
    }
}

impl VaultFile {
    /// Reads the vault in `path`; none there is an empty one.
    pub fn read(path: &Path) -> Result<Vault, VaultFileError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Vault::from_lines(&text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vault::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the vault in `path`.
    pub fn open(path: &Path, master: MasterKey) -> Result<Self, VaultFileError> {
        Self::of(Kept::File(path.to_owned()), Self::read(path)?, master)
    }

    /// Opens the vault of several gateways. Blocks.
    pub fn open_shared(commons: Commons, master: MasterKey) -> Result<Self, VaultFileError> {
        let (version, lines) = block_on(commons.vault())?;
        Self::of(Kept::Shared(commons, AtomicU64::new(version)), Vault::from_lines(&lines)?, master)
    }

    fn of(place: Kept, vault: Vault, master: MasterKey) -> Result<Self, VaultFileError> {
        // One that opens under another key only is found now, not at the first call.
        for (place, _, _) in vault.list() {
            drop(vault.open(&master, place)?);
        }
        Ok(Self { place, open: Arc::new(OpenVault::new(vault, master)), changing: Mutex::new(()) })
    }

    /// Takes over what other gateways changed; nothing where there are none. Blocks.
    pub fn refresh(&self) -> Result<(), VaultFileError> {
        let Kept::Shared(commons, version) = &self.place else { return Ok(()) };
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (newest, lines) = block_on(commons.vault())?;
        if version.swap(newest, Ordering::AcqRel) != newest {
            self.open.replace(Vault::from_lines(&lines)?);
        }
        Ok(())
    }

    /// What the gateway opens: always the newest.
    #[must_use]
    pub fn access(&self) -> Arc<OpenVault> {
        Arc::clone(&self.open)
    }

    /// Seals a secret as the newest of its place, durably, and returns its version.
    pub fn put(&self, place: &Place, secret: &Secret, now: u64) -> Result<u64, VaultFileError> {
        self.change(|vault| Ok(vault.put(self.open.master(), place.clone(), secret, now)?))
    }

    /// Forgets the secret of a place; whether there was one.
    pub fn remove(&self, place: &Place) -> Result<bool, VaultFileError> {
        self.change(|vault| Ok(vault.remove(place)))
    }

    /// What there is: place, version, time of sealing in seconds since the Unix epoch.
    #[must_use]
    pub fn list(&self) -> Vec<(Place, u64, u64)> {
        let vault = self.open.vault();
        vault.list().map(|(place, version, at)| (place.clone(), version, at)).collect()
    }

    /// A change counts once it is on disk.
    fn change<T>(
        &self,
        change: impl Fn(&mut Vault) -> Result<T, VaultFileError>,
    ) -> Result<T, VaultFileError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        match &self.place {
            Kept::File(path) => {
                let mut next = Vault::clone(&self.open.vault());
                let changed = change(&mut next)?;
                write(path, &next)?;
                self.open.replace(next);
                Ok(changed)
            }
            Kept::Shared(commons, known) => {
                for _ in 0..ROUNDS {
                    let (version, lines) = block_on(commons.vault())?;
                    let mut next = Vault::from_lines(&lines)?;
                    let changed = change(&mut next)?;
                    if block_on(commons.put_vault(version, &next.to_lines()))? {
                        known.store(version.saturating_add(1), Ordering::Release);
                        self.open.replace(next);
                        return Ok(changed);
                    }
                }
                Err(VaultFileError::Contended)
            }
        }
    }
}

fn write(path: &Path, vault: &Vault) -> io::Result<()> {
    let fresh = path.with_extension("new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(vault.to_lines().as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    match path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use placet_oauth::vault::Holder;

    use super::*;

    #[test]
    fn secrets_are_on_disk_sealed_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vault");
        let bytes = MasterKey::generate().unwrap();
        let master = || MasterKey::new(bytes.clone()).unwrap();
        let vault = VaultFile::open(&path, master()).unwrap();
        let place = Place { tenant: "acme".into(), upstream: "billing".into(), holder: Holder::Tenant };
        assert_eq!(vault.put(&place, &Secret::new("sk-live-canary".into()), 7).unwrap(), 1);
        assert_eq!(vault.put(&place, &Secret::new("sk-live-canary-2".into()), 8).unwrap(), 2);
        assert_eq!(vault.list(), [(place.clone(), 2, 8)]);
        assert_eq!(placet_gateway::VaultAccess::version(&*vault.access(), &place), Ok(2));
        let file = std::fs::read_to_string(&path).unwrap();
        assert!(!file.contains("canary"));
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        drop(vault);
        let vault = VaultFile::open(&path, master()).unwrap();
        assert_eq!(vault.list().len(), 1);
        let other = MasterKey::new(MasterKey::generate().unwrap()).unwrap();
        assert!(VaultFile::open(&path, other).is_err());
        assert!(vault.remove(&place).unwrap() && !vault.remove(&place).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    }
}
