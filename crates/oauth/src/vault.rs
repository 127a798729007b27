//! Upstream secrets at rest: AES-256-GCM-SIV (RFC 8452) with a fresh data key per record, wrapped under a master key.
//!
//! Where a record belongs is authenticated with it: a record moved to another tenant, upstream, human or version
//! doesn't open. Not protected against is a whole older file put back: the caller's journal knows the versions.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use placet_json::{Limits, Object, Value, parse};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// The fewest bytes of a secret: below it, looking for it in answers would find it by chance.
pub const MIN_SECRET: usize = 8;
/// Longest secret, in bytes: a large token; certificates and keys fit.
pub const MAX_SECRET: usize = 16 * 1024;

/// One record: a secret in base64 and some names.
const LINE: Limits = Limits { bytes: 64 * 1024, depth: 2, members: 16 };

const KEY: usize = 32;
const TAG: usize = 16;
const NONCE: usize = 12;

/// The key under which data keys are wrapped. From a file, an environment or a KMS; never beside the vault's file.
pub struct MasterKey {
    cipher: RandomizedNonceKey,
    id: KeyId,
}

/// Names a master key without telling anything of it: the beginning of a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 8]);

/// Whose credential it is, at which upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The tenant.
    pub tenant: String,
    /// The upstream.
    pub upstream: String,
    /// Whose account.
    pub holder: Holder,
}

/// Whose account at the upstream a credential opens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Holder {
    /// The tenant's own, used for all its humans.
    Tenant,
    /// One human's.
    Human(String),
}

/// One encrypted secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    place: Place,
    /// Counts the secrets of one place, from 1.
    version: u64,
    /// When it was sealed, in seconds since the Unix epoch.
    since: u64,
    master: KeyId,
    wrapped: Box<[u8]>,
    secret: Box<[u8]>,
}

/// The vault: the newest secret of each place, encrypted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vault {
    records: BTreeMap<Place, Sealed>,
}

/// Why the vault refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// There is no secret for this place.
    #[error("no such secret")]
    Missing,
    /// The record was wrapped under another master key.
    #[error("sealed under another master key")]
    OtherKey,
    /// The record, or what it says of itself, was altered.
    #[error("the record doesn't open: it was altered or moved")]
    Altered,
    /// The file has a line that isn't a record, or two of one place.
    #[error("line {0} of the vault isn't a record")]
    Line(usize),
    /// Too short to be told from chance in an answer, or too long.
    #[error("a secret has {MIN_SECRET} to {MAX_SECRET} bytes")]
    Length,
    /// The cryptographic library refused.
    #[error("the secret could not be sealed")]
    Seal,
}

// === impl MasterKey ===

impl MasterKey {
    /// From 32 secret random bytes, which are wiped.
    #[expect(clippy::needless_pass_by_value, reason = "the caller's copy ends here")]
    pub fn new(bytes: Zeroizing<[u8; KEY]>) -> Result<Self, VaultError> {
        let mut named = digest::Context::new(&digest::SHA256);
        named.update(b"placet vault master key\0");
        named.update(bytes.as_slice());
        let id = named.finish().as_ref().first_chunk::<8>().copied().ok_or(VaultError::Seal)?;
        Ok(Self { cipher: cipher(&bytes)?, id: KeyId(id) })
    }

    /// A fresh key's bytes.
    pub fn generate() -> Result<Zeroizing<[u8; KEY]>, VaultError> {
        let mut bytes = Zeroizing::new([0; KEY]);
        aws_lc_rs::rand::fill(bytes.as_mut_slice()).map_err(|_| VaultError::Seal)?;
        Ok(bytes)
    }

    /// The key's name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

// === impl Vault ===

impl Vault {
    /// Seals a secret as the newest of its place and returns its version. `now` is in seconds since the Unix epoch.
    pub fn put(
        &mut self,
        master: &MasterKey,
        place: Place,
        secret: &Secret,
        now: u64,
    ) -> Result<u64, VaultError> {
        let version = self.records.get(&place).map_or(1, |old| old.version.saturating_add(1));
        let sealed = Sealed::new(master, place.clone(), version, secret, now)?;
        self.records.insert(place, sealed);
        Ok(version)
    }

    /// Opens the secret of a place.
    pub fn open(&self, master: &MasterKey, place: &Place) -> Result<Secret, VaultError> {
        self.records.get(place).ok_or(VaultError::Missing)?.open(master, place)
    }

    /// Forgets the secret of a place; whether there was one.
    pub fn remove(&mut self, place: &Place) -> bool {
        self.records.remove(place).is_some()
    }

    /// What there is, without opening anything: place, version, time of sealing.
    pub fn list(&self) -> impl Iterator<Item = (&Place, u64, u64)> {
        self.records.values().map(|sealed| (&sealed.place, sealed.version, sealed.since))
    }

    /// Wraps every data key under a new master key; the secrets stay as they are. All or nothing.
    pub fn rewrap(&self, old: &MasterKey, new: &MasterKey) -> Result<Self, VaultError> {
        let records =
            self.records.iter().map(|(place, sealed)| Ok((place.clone(), sealed.rewrap(old, new)?)));
        Ok(Self { records: records.collect::<Result<_, VaultError>>()? })
    }

    /// The vault as lines of JSON, one a record.
    #[must_use]
    pub fn to_lines(&self) -> String {
        let mut lines = String::new();
        for sealed in self.records.values() {
            lines.push_str(&sealed.to_value().to_string());
            lines.push('\n');
        }
        lines
    }

    /// Reads what [`to_lines`](Self::to_lines) wrote. A line that isn't a record fails the whole: a secret that is
    /// silently gone would be worse.
    pub fn from_lines(text: &str) -> Result<Self, VaultError> {
        let mut records = BTreeMap::new();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
            let error = VaultError::Line(at.saturating_add(1));
            let sealed = Sealed::from_line(line).ok_or(error)?;
            if records.insert(sealed.place.clone(), sealed).is_some() {
                return Err(error);
            }
        }
        Ok(Self { records })
    }
}

// === impl Sealed ===

impl Sealed {
    fn new(
        master: &MasterKey,
        place: Place,
        version: u64,
        secret: &Secret,
        since: u64,
    ) -> Result<Self, VaultError> {
        let text = secret.expose().as_bytes();
        if !(MIN_SECRET..=MAX_SECRET).contains(&text.len()) {
            return Err(VaultError::Length);
        }
        let data_key = MasterKey::generate()?;
        let secret = seal(&cipher(&data_key)?, &aad("secret", &place, version, since), text)?;
        let wrapped = seal(&master.cipher, &aad("key", &place, version, since), data_key.as_slice())?;
        Ok(Self { place, version, since, master: master.id, wrapped, secret })
    }

    /// `place` is where the caller looks, not what the record says of itself.
    fn open(&self, master: &MasterKey, place: &Place) -> Result<Secret, VaultError> {
        let data_key = self.data_key(master, place)?;
        let text =
            unseal(&cipher(&data_key)?, &aad("secret", place, self.version, self.since), &self.secret)?;
        let text = std::str::from_utf8(&text).map_err(|_| VaultError::Altered)?;
        Ok(Secret::new(text.to_owned()))
    }

    fn rewrap(&self, old: &MasterKey, new: &MasterKey) -> Result<Self, VaultError> {
        let data_key = self.data_key(old, &self.place)?;
        let aad = aad("key", &self.place, self.version, self.since);
        let wrapped = seal(&new.cipher, &aad, data_key.as_slice())?;
        Ok(Self { wrapped, master: new.id, ..self.clone() })
    }

    fn data_key(&self, master: &MasterKey, place: &Place) -> Result<Zeroizing<[u8; KEY]>, VaultError> {
        if self.master != master.id {
            return Err(VaultError::OtherKey);
        }
        let bytes = unseal(&master.cipher, &aad("key", place, self.version, self.since), &self.wrapped)?;
        let bytes: &[u8; KEY] = bytes.as_slice().try_into().map_err(|_| VaultError::Altered)?;
        Ok(Zeroizing::new(*bytes))
    }

    fn to_value(&self) -> Value {
        let Self { place: Place { tenant, upstream, holder }, version, since, master, wrapped, secret } =
            self;
        let mut record = Object::new();
        record.insert("v", 1_u64);
        record.insert("tenant", tenant.as_str());
        record.insert("upstream", upstream.as_str());
        if let Holder::Human(human) = holder {
            record.insert("human", human.as_str());
        }
        record.insert("version", *version);
        record.insert("sealed_at", *since);
        record.insert("master", master.to_string());
        record.insert("key", URL_SAFE_NO_PAD.encode(wrapped));
        record.insert("secret", URL_SAFE_NO_PAD.encode(secret));
        Value::Object(record)
    }

    fn from_line(line: &str) -> Option<Self> {
        let mut record = parse(line.as_bytes(), &LINE).ok()?.into_object()?;
        let mut take = |name: &str| record.remove(name);
        if take("v")?.as_u64()? != 1 {
            return None;
        }
        let text = |value: Value| value.as_str().map(str::to_owned);
        let bytes = |value: Value| URL_SAFE_NO_PAD.decode(value.as_str()?).ok();
        let holder = match take("human") {
            None => Holder::Tenant,
            Some(human) => Holder::Human(text(human)?),
        };
        let sealed = Self {
            place: Place { tenant: text(take("tenant")?)?, upstream: text(take("upstream")?)?, holder },
            version: take("version")?.as_u64()?,
            since: take("sealed_at")?.as_u64()?,
            master: KeyId(bytes(take("master")?)?.try_into().ok()?),
            wrapped: bytes(take("key")?)?.into_boxed_slice(),
            secret: bytes(take("secret")?)?.into_boxed_slice(),
        };
        record.is_empty().then_some(sealed)
    }
}

// === helpers ===

fn cipher(key: &Zeroizing<[u8; KEY]>) -> Result<RandomizedNonceKey, VaultError> {
    RandomizedNonceKey::new(&AES_256_GCM_SIV, key.as_slice()).map_err(|_| VaultError::Seal)
}

/// Purpose and place, each with its length, so that no two places are written alike.
fn aad(purpose: &str, place: &Place, version: u64, since: u64) -> Vec<u8> {
    let Place { tenant, upstream, holder } = place;
    let (kind, human) = match holder {
        Holder::Tenant => ("tenant", ""),
        Holder::Human(human) => ("human", human.as_str()),
    };
    let mut out = Vec::with_capacity(128);
    for part in ["placet vault 1", purpose, tenant, upstream, kind, human] {
        out.extend_from_slice(&part.len().to_be_bytes());
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&since.to_be_bytes());
    out
}

/// Nonce, then cipher text with tag.
fn seal(cipher: &RandomizedNonceKey, aad: &[u8], text: &[u8]) -> Result<Box<[u8]>, VaultError> {
    // Room for the tag, so that no copy of the plain text is left by a reallocation.
    let mut buffer = Zeroizing::new(Vec::with_capacity(text.len().saturating_add(TAG)));
    buffer.extend_from_slice(text);
    let nonce =
        cipher.seal_in_place_append_tag(Aad::from(aad), &mut *buffer).map_err(|_| VaultError::Seal)?;
    let mut out = Vec::with_capacity(buffer.len().saturating_add(NONCE));
    out.extend_from_slice(nonce.as_ref());
    out.extend_from_slice(&buffer);
    Ok(out.into_boxed_slice())
}

fn unseal(cipher: &RandomizedNonceKey, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let (nonce, text) = sealed.split_first_chunk::<NONCE>().ok_or(VaultError::Altered)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| VaultError::Altered)?;
    let mut buffer = Zeroizing::new(text.to_vec());
    let length =
        cipher.open_in_place(nonce, Aad::from(aad), &mut buffer).map_err(|_| VaultError::Altered)?.len();
    buffer.truncate(length);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master() -> MasterKey {
        MasterKey::new(MasterKey::generate().unwrap()).unwrap()
    }

    fn place(tenant: &str, upstream: &str, human: Option<&str>) -> Place {
        let holder = human.map_or(Holder::Tenant, |human| Holder::Human(human.to_owned()));
        Place { tenant: tenant.to_owned(), upstream: upstream.to_owned(), holder }
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn a_secret_survives_the_file_and_is_not_in_it() {
        let master = master();
        let here = place("acme", "billing", Some("maya"));
        let mut vault = Vault::default();
        assert_eq!(vault.put(&master, here.clone(), &secret("sk-live-one"), 100), Ok(1));
        assert_eq!(vault.put(&master, here.clone(), &secret("sk-live-two"), 200), Ok(2));
        vault.put(&master, place("acme", "crm", None), &secret("shared-secret"), 300).unwrap();
        let lines = vault.to_lines();
        assert_eq!(lines.lines().count(), 2);
        for form in ["sk-live", "c2stbGl2ZS", &URL_SAFE_NO_PAD.encode("sk-live-two")] {
            assert!(!lines.contains(form), "{form}");
        }
        let again = Vault::from_lines(&lines).unwrap();
        assert_eq!(again, vault);
        assert_eq!(again.open(&master, &here).unwrap().expose(), "sk-live-two");
        assert_eq!(
            again.list().map(|(_, version, at)| (version, at)).collect::<Vec<_>>(),
            [(2, 200), (1, 300)]
        );
        assert_eq!(
            again.open(&master, &place("globex", "billing", Some("maya"))).err(),
            Some(VaultError::Missing)
        );
    }

    #[test]
    fn a_record_moved_elsewhere_does_not_open() {
        let master = master();
        let here = place("acme", "billing", Some("maya"));
        let sealed = Sealed::new(&master, here.clone(), 1, &secret("sk-live-one"), 100).unwrap();
        assert_eq!(sealed.open(&master, &here).unwrap().expose(), "sk-live-one");
        for other in [
            place("globex", "billing", Some("maya")),
            place("acme", "crm", Some("maya")),
            place("acme", "billing", Some("bob")),
            place("acme", "billing", None),
            place("acme", "billing", Some("")),
            place("acmeb", "illing", Some("maya")),
        ] {
            assert_eq!(sealed.open(&master, &other).err(), Some(VaultError::Altered), "{other:?}");
        }
        for change in [|sealed: &mut Sealed| sealed.version = 2, |sealed: &mut Sealed| sealed.since = 101] {
            let mut changed = sealed.clone();
            change(&mut changed);
            assert_eq!(changed.open(&master, &here).err(), Some(VaultError::Altered));
        }
        // Data key of one record, secret of another.
        let other = Sealed::new(&master, here.clone(), 1, &secret("sk-live-two"), 100).unwrap();
        let mixed = Sealed { wrapped: other.wrapped, ..sealed };
        assert_eq!(mixed.open(&master, &here).err(), Some(VaultError::Altered));
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let master = master();
        let here = place("acme", "billing", None);
        let sealed = Sealed::new(&master, here.clone(), 1, &secret("sk-live-one"), 100).unwrap();
        for bit in 0..sealed.secret.len() * 8 {
            let mut changed = sealed.clone();
            changed.secret[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(changed.open(&master, &here).err(), Some(VaultError::Altered), "secret, bit {bit}");
        }
        for bit in 0..sealed.wrapped.len() * 8 {
            let mut changed = sealed.clone();
            changed.wrapped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(changed.open(&master, &here).err(), Some(VaultError::Altered), "key, bit {bit}");
        }
        for length in 0..sealed.secret.len() {
            let changed = Sealed { secret: sealed.secret[..length].into(), ..sealed.clone() };
            assert_eq!(changed.open(&master, &here).err(), Some(VaultError::Altered), "length {length}");
        }
    }

    #[test]
    fn rotation_leaves_the_old_key_worthless() {
        let (old, new) = (master(), master());
        let here = place("acme", "billing", None);
        let mut vault = Vault::default();
        vault.put(&old, here.clone(), &secret("sk-live-one"), 100).unwrap();
        let rotated = vault.rewrap(&old, &new).unwrap();
        assert_eq!(rotated.open(&new, &here).unwrap().expose(), "sk-live-one");
        assert_eq!(rotated.open(&old, &here).err(), Some(VaultError::OtherKey));
        assert_eq!(vault.open(&new, &here).err(), Some(VaultError::OtherKey));
        assert_eq!(rotated.rewrap(&old, &new).err(), Some(VaultError::OtherKey));
        assert_eq!(rotated.records[&here].secret, vault.records[&here].secret);
    }

    #[test]
    fn equal_secrets_look_different() {
        let master = master();
        let here = place("acme", "billing", None);
        let seal = || Sealed::new(&master, here.clone(), 1, &secret("sk-live-one"), 100).unwrap();
        let (one, two) = (seal(), seal());
        assert!(one.secret != two.secret && one.wrapped != two.wrapped);
    }

    #[test]
    fn files_are_read_strictly() {
        let master = master();
        let mut vault = Vault::default();
        vault.put(&master, place("acme", "billing", None), &secret("sk-live-one"), 100).unwrap();
        let line = vault.to_lines();
        for (text, error) in [
            (format!("{line}{line}"), 2),
            (format!("{line}garbage"), 2),
            (line.replace("\"v\":1", "\"v\":2"), 1),
            (line.replace("\"v\":1", "\"v\":1,\"x\":1"), 1),
            (line.replace("\"tenant\"", "\"tennant\""), 1),
            (line.replace("\"version\":1", "\"version\":-1"), 1),
            (line.replace("\"tenant\":", "\"tenant\":\"x\",\"tenant\":"), 1),
        ] {
            assert_eq!(Vault::from_lines(&text), Err(VaultError::Line(error)), "{text}");
        }
        assert_eq!(Vault::from_lines(""), Ok(Vault::default()));
    }

    #[test]
    fn lengths_are_bounded_and_keys_show_nothing() {
        let master = master();
        let mut vault = Vault::default();
        for text in ["short".to_owned(), "x".repeat(MAX_SECRET + 1)] {
            let result = vault.put(&master, place("a", "b", None), &secret(&text), 1);
            assert_eq!(result, Err(VaultError::Length));
        }
        assert!(vault.list().next().is_none());
        let bytes = MasterKey::generate().unwrap();
        let shown = format!("{:?}", MasterKey::new(bytes.clone()).unwrap());
        assert!(!shown.contains(&URL_SAFE_NO_PAD.encode(&bytes[..8])), "{shown}");
        assert_eq!(shown.len(), "MasterKey()".len() + 11);
    }
}
