//! The key that signs checkpoints, and the organisation that they are for, as a data directory tells them.

use std::{
    io,
    path::{Path, PathBuf},
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_ledger::checkpoint::{SigningKey, VerifyingKey};
use placet_store::{TreeReader, trees};

/// What stands in front of the 32 bytes of an Ed25519 key in a `SubjectPublicKeyInfo` (RFC 8410 §4).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Files of a data directory that tell the key, the first that is there.
const FILES: [&str; 3] = ["keys/checkpoint.pub", "keys/checkpoint.key", "keys/checkpoint.pem"];

/// Why there is no key to verify with.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No file tells it.
    #[error("no file tells the key that signed the checkpoints: looked for `{}`", .0.display())]
    Nowhere(PathBuf),
    /// A file can't be read.
    #[error("`{}` can't be read: {error}", .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It holds something else.
    #[error("`{}` holds no Ed25519 key: neither a C2SP verifier key nor PEM nor a seed in base64", .0.display())]
    NoKey(PathBuf),
}

/// Reads the key from a file: a C2SP verifier key (`name+id+base64`), PEM with a public or a private Ed25519 key, or the
/// 32 bytes of a private key in base64, as a server keeps them (RFC 8032 §5.1.5).
pub fn read_key(path: &Path) -> Result<VerifyingKey, KeyError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| KeyError::Unreadable { path: path.to_owned(), error })?;
    let text = text.trim();
    let key = if text.starts_with("-----BEGIN ") {
        pem(text)
    } else {
        VerifyingKey::from_vkey(text).ok().map(|(_, key)| key).or_else(|| seed(text))
    };
    key.ok_or_else(|| KeyError::NoKey(path.to_owned()))
}

/// The key of a data directory: `keys/checkpoint.pub`, or the public half of `keys/checkpoint.key` or `.pem`.
pub fn checkpoint_key(data: &Path) -> Result<VerifyingKey, KeyError> {
    let found = FILES.iter().map(|file| data.join(file)).find(|path| path.exists());
    read_key(&found.ok_or_else(|| KeyError::Nowhere(data.join("keys/checkpoint.pub")))?)
}

/// The organisation that a directory's checkpoints name. It is believed only as far as a checkpoint's signature goes,
/// which covers it; none where nothing is signed yet.
pub fn organisation(data: &Path) -> io::Result<Option<String>> {
    for tree in trees(data)? {
        let note = match TreeReader::open(data, &tree) {
            Ok(reader) => reader.checkpoint()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let note = note.and_then(|note| String::from_utf8(note).ok());
        let origin = note
            .as_deref()
            .and_then(|note| note.lines().next())
            .and_then(|origin| origin.strip_prefix("placet/"));
        if let Some(organisation) =
            origin.and_then(|rest| rest.strip_suffix(&tree)).and_then(|rest| rest.strip_suffix('/'))
        {
            return Ok(Some(organisation.to_owned()));
        }
    }
    Ok(None)
}

fn seed(text: &str) -> Option<VerifyingKey> {
    let seed: [u8; 32] = STANDARD.decode(text).ok()?.try_into().ok()?;
    SigningKey::from_seed(&seed).ok().map(|key| key.public())
}

fn pem(text: &str) -> Option<VerifyingKey> {
    let mut lines = text.lines();
    let label = lines.next()?.strip_prefix("-----BEGIN ")?.strip_suffix("-----")?;
    let body: String = lines.take_while(|line| !line.starts_with("-----END ")).map(str::trim).collect();
    let der = STANDARD.decode(body).ok()?;
    let key: [u8; 32] = match label {
        "PUBLIC KEY" => der.strip_prefix(&SPKI)?.try_into().ok()?,
        "PRIVATE KEY" => {
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).ok()?.public_key().as_ref().try_into().ok()?
        }
        _ => return None,
    };
    Some(VerifyingKey(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_key_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let pair = Ed25519KeyPair::generate().unwrap();
        let public: [u8; 32] = pair.public_key().as_ref().try_into().unwrap();
        let key = VerifyingKey(public);
        let pem = |label: &str, der: &[u8]| {
            format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
        };
        let spki: Vec<u8> = SPKI.iter().chain(&public).copied().collect();
        let private = pair.to_pkcs8v1().unwrap();
        for text in
            [key.vkey("placet/example/acme"), pem("PUBLIC KEY", &spki), pem("PRIVATE KEY", private.as_ref())]
        {
            let path = dir.path().join("key");
            std::fs::write(&path, &text).unwrap();
            assert_eq!(read_key(&path).unwrap(), key, "{text}");
        }
        for text in ["", "placet/x+00000000+AAAA", &pem("CERTIFICATE", &spki), &pem("PUBLIC KEY", &public)] {
            let path = dir.path().join("key");
            std::fs::write(&path, text).unwrap();
            assert!(matches!(read_key(&path), Err(KeyError::NoKey(_))), "{text}");
        }
        assert!(matches!(checkpoint_key(dir.path()), Err(KeyError::Nowhere(_))));
        std::fs::create_dir(dir.path().join("keys")).unwrap();
        let signer = SigningKey::from_seed(&[3; 32]).unwrap().public();
        std::fs::write(dir.path().join("keys/checkpoint.key"), STANDARD.encode([3; 32])).unwrap();
        assert_eq!(checkpoint_key(dir.path()).unwrap(), signer, "as a server keeps it");
        let signer = SigningKey::from_seed(&[4; 32]).unwrap().public();
        std::fs::write(dir.path().join("keys/checkpoint.pub"), signer.vkey("placet/example/organisation"))
            .unwrap();
        assert_eq!(checkpoint_key(dir.path()).unwrap(), signer);
    }
}
