//! The vault's file: lines of sealed secrets, replaced as a whole, readable by its owner alone.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use placet_gateway::OpenVault;
use placet_oauth::{
    Secret,
    vault::{MasterKey, Place, Vault, VaultError},
};

/// The vault and its file.
pub struct VaultFile {
    path: PathBuf,
    open: Arc<OpenVault>,
    /// Held while the vault is changed.
    changing: Mutex<()>,
}

/// Why the vault's file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum VaultFileError {
    /// The file can't be read or written.
    #[error("the vault's file: {0}")]
    Io(#[from] io::Error),
    /// A record is damaged, or was sealed under another master key.
    #[error("the vault: {0}")]
    Vault(#[from] VaultError),
}

impl std::fmt::Debug for VaultFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VaultFile").field("path", &self.path).finish_non_exhaustive()
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
        let vault = Self::read(path)?;
        // One that opens under another key only is found now, not at the first call.
        for (place, _, _) in vault.list() {
            drop(vault.open(&master, place)?);
        }
        Ok(Self {
            path: path.to_owned(),
            open: Arc::new(OpenVault::new(vault, master)),
            changing: Mutex::new(()),
        })
    }

    /// What the gateway opens: always the newest.
    #[must_use]
    pub fn access(&self) -> Arc<OpenVault> {
        Arc::clone(&self.open)
    }

    /// Seals a secret as the newest of its place, durably, and returns its version.
    pub fn put(&self, place: Place, secret: &Secret, now: u64) -> Result<u64, VaultFileError> {
        self.change(|vault| Ok(vault.put(self.open.master(), place, secret, now)?))
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
        change: impl FnOnce(&mut Vault) -> Result<T, VaultFileError>,
    ) -> Result<T, VaultFileError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Vault::clone(&self.open.vault());
        let changed = change(&mut next)?;
        self.write(&next)?;
        self.open.replace(next);
        Ok(changed)
    }

    fn write(&self, vault: &Vault) -> io::Result<()> {
        let fresh = self.path.with_extension("new");
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(vault.to_lines().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&fresh, &self.path)?;
        match self.path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
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
        assert_eq!(vault.put(place.clone(), &Secret::new("sk-live-canary".into()), 7).unwrap(), 1);
        assert_eq!(vault.put(place.clone(), &Secret::new("sk-live-canary-2".into()), 8).unwrap(), 2);
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
