//! The server's own keys: fetched from where the settings say, made at the first start of a development environment.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use placet_jose::{Algorithm, KeySet, SigningKey};
use placet_oauth::vault::MasterKey;
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use crate::settings::{Environment, SecretError, SecretSource, Settings, Variables};

/// The server's keys.
#[derive(Debug)]
pub struct Keyring {
    /// Signs workflow tokens.
    pub token: SigningKey,
    /// The same key, for call tokens.
    pub call: SigningKey,
    /// What call tokens are bound to.
    pub sender: SigningKey,
    /// Signs tree heads.
    pub checkpoint: placet_ledger::checkpoint::SigningKey,
    /// Seals legacy sessions.
    pub session: Zeroizing<[u8; 32]>,
    /// The operators' public keys.
    pub operators: KeySet,
    /// The vault's master key.
    pub master: Option<MasterKey>,
    /// The same key, under which the keys of subjects are wrapped.
    pub subjects: Option<Zeroizing<[u8; 32]>>,
}

/// Why a key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The secret can't be fetched.
    #[error("{0}; {remedy}", remedy = .0.remedy())]
    Secret(#[from] SecretError),
    /// What was fetched is no such key.
    #[error("`keys.{key}`: {what}")]
    Malformed {
        /// Which.
        key: &'static str,
        /// What is wrong.
        what: String,
    },
    /// A key could not be made.
    #[error("can't make `{path}`: {error}")]
    Make {
        /// The file.
        path: String,
        /// Why.
        error: String,
    },
}

impl KeyringError {
    /// The token key couldn't be read a second time.
    pub(crate) fn again(error: placet_jose::keys::KeyError) -> Self {
        Self::Malformed { key: "token", what: error.to_string() }
    }
}

impl Keyring {
    /// Fetches the keys. In dev those that are missing at their default places are made first.
    pub fn open(settings: &Settings, variables: Variables<'_>) -> Result<Self, KeyringError> {
        if settings.server.environment == Environment::Dev {
            make(settings)?;
        }
        let pem = |key, source: &SecretSource| {
            let secret = source.fetch(variables)?;
            SigningKey::from_pkcs8_pem(secret.expose_secret())
                .map_err(|error| KeyringError::Malformed { key, what: error.to_string() })
        };
        let bytes = |key, source: &SecretSource| -> Result<Zeroizing<[u8; 32]>, KeyringError> {
            let secret = source.fetch(variables)?;
            let decoded = Zeroizing::new(STANDARD.decode(secret.expose_secret()).unwrap_or_default());
            let bytes = <[u8; 32]>::try_from(decoded.as_slice());
            bytes
                .map(Zeroizing::new)
                .map_err(|_| KeyringError::Malformed { key, what: "not 32 bytes in base64".to_owned() })
        };
        let malformed =
            |key, error: &dyn std::fmt::Display| KeyringError::Malformed { key, what: error.to_string() };
        let keys = &settings.keys;
        let checkpoint = bytes("checkpoint", &keys.checkpoint)?;
        let subjects =
            settings.vault.master_key.as_ref().map(|source| bytes("master_key", source)).transpose()?;
        let master = subjects.clone().map(MasterKey::new).transpose();
        let master = master.map_err(|error| malformed("master_key", &error))?;
        Ok(Self {
            token: pem("token", &keys.token)?,
            call: pem("token", &keys.token)?,
            sender: pem("sender", &keys.sender)?,
            checkpoint: placet_ledger::checkpoint::SigningKey::from_seed(&checkpoint)
                .map_err(|error| malformed("checkpoint", &error))?,
            session: bytes("session", &keys.session)?,
            operators: operators(&keys.operators)?,
            master,
            subjects,
        })
    }
}

/// The operators' public keys. An empty set would lock everybody out, and a missing one is no reason to let anybody in.
fn operators(path: &Path) -> Result<KeySet, KeyringError> {
    let malformed = |what: String| KeyringError::Malformed { key: "operators", what };
    let document = std::fs::read(path).map_err(|error| {
        malformed(format!("`{}` can't be read: {error}; make it with `placet key generate operator.pem` and `placet key show operator.pem --jwks`", path.display()))
    })?;
    let set =
        KeySet::from_jwks(&document).map_err(|error| malformed(format!("`{}`: {error}", path.display())))?;
    if set.is_empty() { Err(malformed(format!("`{}` holds no key", path.display()))) } else { Ok(set) }
}

/// Makes what is missing at the default places below the data directory, and nothing elsewhere.
fn make(settings: &Settings) -> Result<(), KeyringError> {
    let dir = settings.server.data.join("keys");
    let failed = |path: &Path, error: &dyn std::fmt::Display| KeyringError::Make {
        path: path.display().to_string(),
        error: error.to_string(),
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir)
        .map_err(|error| failed(&dir, &error))?;
    let pem = || -> Result<Zeroizing<String>, placet_jose::keys::KeyError> {
        SigningKey::generate(Algorithm::EdDsa)?.to_pkcs8_pem()
    };
    let secret = || -> Result<Zeroizing<String>, String> {
        let bytes = MasterKey::generate().map_err(|error| error.to_string())?;
        Ok(Zeroizing::new(STANDARD.encode(bytes.as_slice())))
    };
    let keys = &settings.keys;
    for source in [&keys.token, &keys.sender] {
        if let SecretSource::File(path) = source
            && path.starts_with(&dir)
            && !path.exists()
        {
            let key = pem().map_err(|error| failed(path, &error))?;
            write_private(path, key.as_bytes()).map_err(|error| failed(path, &error))?;
        }
    }
    for source in [Some(&keys.checkpoint), Some(&keys.session), settings.vault.master_key.as_ref()]
        .into_iter()
        .flatten()
    {
        if let SecretSource::File(path) = source
            && path.starts_with(&dir)
            && !path.exists()
        {
            let key = secret().map_err(|error| failed(path, &error))?;
            write_private(path, key.as_bytes()).map_err(|error| failed(path, &error))?;
        }
    }
    if keys.operators.starts_with(&dir) && !keys.operators.exists() {
        let path = dir.join("operator.pem");
        let key = SigningKey::generate(Algorithm::EdDsa).map_err(|error| failed(&path, &error))?;
        let text = key.to_pkcs8_pem().map_err(|error| failed(&path, &error))?;
        write_private(&path, text.as_bytes()).map_err(|error| failed(&path, &error))?;
        let set = KeySet::of(key.public()).to_jwks().to_bytes();
        write_private(&keys.operators, &set).map_err(|error| failed(&keys.operators, &error))?;
    }
    Ok(())
}

/// Writes a new file that only its owner can read; one that is there stays.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
