//! Wrapping keys and sealing bodies.

use std::fmt::Write as _;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::{digest, hmac, rand};
use zeroize::Zeroizing;

use super::{Kept, SubjectKeyId, SubjectsError};

const KEY: usize = 32;
const TAG: usize = 16;
const NONCE: usize = 12;

/// What data keys are wrapped with: a key of its own, derived from the server's master key.
pub(super) struct Wrap {
    cipher: RandomizedNonceKey,
    master: String,
}

impl Wrap {
    pub(super) fn new(master: &[u8; KEY]) -> Result<Self, SubjectsError> {
        let master = hmac::Key::new(hmac::HMAC_SHA256, master);
        let derived = hmac::sign(&master, b"placet subjects' keys 1");
        let name = hmac::sign(&master, b"placet subjects' keys 1, name");
        let name = name.as_ref().first_chunk::<8>().ok_or(SubjectsError::Seal)?;
        Ok(Self { cipher: cipher(derived.as_ref())?, master: hex(name) })
    }

    /// Names the master key without telling anything of it.
    pub(super) fn master(&self) -> &str {
        &self.master
    }

    /// A fresh key for a subject.
    pub(super) fn make(&self, subject: Arc<str>) -> Result<(SubjectKeyId, Kept), SubjectsError> {
        let (mut id, mut key) = ([0; 16], Zeroizing::new([0; KEY]));
        rand::fill(&mut id).map_err(|_| SubjectsError::Seal)?;
        rand::fill(key.as_mut_slice()).map_err(|_| SubjectsError::Seal)?;
        let id = SubjectKeyId(id);
        let wrapped = seal(&self.cipher, &aad(id, &subject), key.as_slice())?.into_boxed_slice();
        Ok((id, Kept { subject, wrapped }))
    }

    pub(super) fn unwrap(&self, id: SubjectKeyId, kept: &Kept) -> Result<Zeroizing<Vec<u8>>, SubjectsError> {
        unseal(&self.cipher, &aad(id, &kept.subject), &kept.wrapped).ok_or(SubjectsError::Master)
    }

    pub(super) fn seal(&self, keys: &[(SubjectKeyId, Kept)], text: &[u8]) -> Result<Vec<u8>, SubjectsError> {
        let (cipher, aad) = self.body(keys)?;
        seal(&cipher, &aad, text)
    }

    pub(super) fn unseal(&self, keys: &[(SubjectKeyId, Kept)], sealed: &[u8]) -> Option<Vec<u8>> {
        let (cipher, aad) = self.body(keys).ok()?;
        unseal(&cipher, &aad, sealed).map(|text| text.to_vec())
    }

    /// A body's key is made of all its subjects' keys.
    fn body(&self, keys: &[(SubjectKeyId, Kept)]) -> Result<(RandomizedNonceKey, Vec<u8>), SubjectsError> {
        let mut derived = digest::Context::new(&digest::SHA256);
        derived.update(b"placet sealed body 1\0");
        let mut aad = b"placet sealed body 1\0".to_vec();
        for (id, kept) in keys {
            derived.update(&self.unwrap(*id, kept)?);
            aad.extend_from_slice(&id.0);
        }
        Ok((cipher(derived.finish().as_ref())?, aad))
    }
}

fn cipher(key: &[u8]) -> Result<RandomizedNonceKey, SubjectsError> {
    RandomizedNonceKey::new(&AES_256_GCM_SIV, key).map_err(|_| SubjectsError::Seal)
}

/// The number has a fixed length, so no two pairs are written alike.
fn aad(id: SubjectKeyId, subject: &str) -> Vec<u8> {
    [b"placet subject key 1\0", id.0.as_slice(), subject.as_bytes()].concat()
}

/// Nonce, then cipher text with tag.
fn seal(cipher: &RandomizedNonceKey, aad: &[u8], text: &[u8]) -> Result<Vec<u8>, SubjectsError> {
    // Room for the tag, so that no copy of the plain text is left by a reallocation.
    let mut buffer = Zeroizing::new(Vec::with_capacity(text.len().saturating_add(TAG)));
    buffer.extend_from_slice(text);
    let nonce =
        cipher.seal_in_place_append_tag(Aad::from(aad), &mut *buffer).map_err(|_| SubjectsError::Seal)?;
    let mut out = Vec::with_capacity(buffer.len().saturating_add(NONCE));
    out.extend_from_slice(nonce.as_ref());
    out.extend_from_slice(&buffer);
    Ok(out)
}

fn unseal(cipher: &RandomizedNonceKey, aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE>()?;
    let mut buffer = Zeroizing::new(rest.to_vec());
    let len = cipher.open_in_place(Nonce::from(nonce), Aad::from(aad), &mut buffer).ok()?.len();
    buffer.truncate(len);
    Some(buffer)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        // Writing into a `String` can't fail.
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(byte.wrapping_sub(b'a').wrapping_add(10)),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}
