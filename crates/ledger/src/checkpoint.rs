//! Signed tree heads: a C2SP checkpoint (tlog-checkpoint) in a C2SP signed note (signed-note), Ed25519 (type 0x01).
//!
//! The text is three lines: origin `placet/<organisation>/<tree>`, size in decimal, root in base64. The key's name is
//! the origin, so a signature for one tree says nothing about another.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, Signature, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD};

use crate::Hash;

/// A note longer than this is refused: a text of three lines and room for sixteen cosignatures.
pub const MAX_NOTE: usize = 8 << 10;
const ALGORITHM: u8 = 1;

/// The head of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// `placet/<organisation>/<tree>`.
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// RFC 6962 root over them.
    pub root: Hash,
}

/// Why a note is no valid checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not a signed note with a checkpoint's text.
    #[error("the checkpoint is malformed")]
    Malformed,
    /// For another tree or organisation.
    #[error("the checkpoint is for another tree")]
    Origin,
    /// No signature by the key.
    #[error("the checkpoint isn't signed by the key")]
    Unsigned,
    /// A signature by the key that is wrong.
    #[error("the checkpoint's signature is wrong")]
    Signature,
    /// The key isn't an Ed25519 key.
    #[error("the key is no Ed25519 key")]
    Key,
}

/// The origin line of a tree.
#[must_use]
pub fn origin(organisation: &str, tree: &str) -> String {
    format!("placet/{organisation}/{tree}")
}

impl Checkpoint {
    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.0))
    }

    /// Reads a text as [`Self::text`] writes it, no other spelling.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let size: u64 = size.parse().ok()?;
        let root = Hash::from_slice(&STANDARD.decode(root).ok()?)?;
        let checkpoint = Self { origin: origin.to_owned(), size, root };
        // No extension lines, and one spelling: what we read is what we would sign.
        (checkpoint.text() == text).then_some(checkpoint)
    }

    /// The signed note.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> String {
        let text = self.text();
        let mut signature = key.public().id(&self.origin).to_vec();
        signature.extend_from_slice(key.sign(text.as_bytes()).as_ref());
        format!("{text}\n\u{2014} {} {}\n", self.origin, STANDARD.encode(signature))
    }

    /// Reads a note that must be about `origin` and signed by `key`; signatures of others (witnesses) are let be.
    pub fn open(note: &[u8], origin: &str, key: &VerifyingKey) -> Result<Self, NoteError> {
        let note = std::str::from_utf8(note).ok().filter(|note| note.len() <= MAX_NOTE);
        let (text, signatures) =
            note.and_then(|note| note.rsplit_once("\n\n")).ok_or(NoteError::Malformed)?;
        let text = format!("{text}\n");
        let checkpoint = Self::parse(&text).ok_or(NoteError::Malformed)?;
        if checkpoint.origin != origin {
            return Err(NoteError::Origin);
        }
        let mut found = false;
        for line in signatures.strip_suffix('\n').ok_or(NoteError::Malformed)?.split('\n') {
            let (name, value) =
                line.strip_prefix("\u{2014} ").and_then(|l| l.split_once(' ')).ok_or(NoteError::Malformed)?;
            let value = STANDARD.decode(value).map_err(|_| NoteError::Malformed)?;
            let (id, signature) = value.split_first_chunk::<4>().ok_or(NoteError::Malformed)?;
            if name == origin && *id == key.id(origin) {
                key.verify(text.as_bytes(), signature)?;
                found = true;
            }
        }
        if found { Ok(checkpoint) } else { Err(NoteError::Unsigned) }
    }
}

/// The Ed25519 key that signs an organisation's checkpoints. Shows nothing of itself.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// The key of a 32-byte seed (RFC 8032 §5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, NoteError> {
        Ed25519KeyPair::from_seed_unchecked(seed).map(Self).map_err(|_| NoteError::Key)
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Signature {
        self.0.sign(message)
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> VerifyingKey {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(self.0.public_key().as_ref()) {
            *to = *from;
        }
        VerifyingKey(bytes)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public()).finish()
    }
}

/// The public half of a [`SigningKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyingKey(pub [u8; 32]);

impl VerifyingKey {
    /// The key as a C2SP verifier key for `name`: `name+id+base64`.
    #[must_use]
    pub fn vkey(&self, name: &str) -> String {
        let mut key = vec![ALGORITHM];
        key.extend_from_slice(&self.0);
        let id = u32::from_be_bytes(self.id(name));
        format!("{name}+{id:08x}+{}", STANDARD.encode(key))
    }

    /// Reads a C2SP verifier key: name and key.
    pub fn from_vkey(vkey: &str) -> Result<(String, Self), NoteError> {
        let (name, rest) = vkey.split_once('+').ok_or(NoteError::Key)?;
        let (_, key) = rest.split_once('+').ok_or(NoteError::Key)?;
        let key = STANDARD.decode(key).map_err(|_| NoteError::Key)?;
        let key = key.split_first().filter(|(algorithm, _)| **algorithm == ALGORITHM).map(|(_, key)| key);
        let key = Self(key.and_then(|key| key.try_into().ok()).ok_or(NoteError::Key)?);
        if key.vkey(name) == vkey { Ok((name.to_owned(), key)) } else { Err(NoteError::Key) }
    }

    /// signed-note: the first four bytes of SHA-256(name ‖ "\n" ‖ 0x01 ‖ key).
    pub(crate) fn id(&self, name: &str) -> [u8; 4] {
        let [a, b, c, d, ..] = Hash::of_parts(&[name.as_bytes(), b"\n", &[ALGORITHM], &self.0]).0;
        [a, b, c, d]
    }

    pub(crate) fn verify(&self, text: &[u8], signature: &[u8]) -> Result<(), NoteError> {
        UnparsedPublicKey::new(&ED25519, self.0).verify(text, signature).map_err(|_| NoteError::Signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::tree;

    fn checkpoint() -> (Checkpoint, SigningKey) {
        let root = tree(11).1.root();
        let head = Checkpoint { origin: origin("example", "acme"), size: 11, root };
        (head, SigningKey::from_seed(&[42; 32]).unwrap())
    }

    #[test]
    fn a_signed_checkpoint_opens_and_its_oracle_agrees() {
        let (head, key) = checkpoint();
        let note = head.sign(&key);
        assert_eq!(Checkpoint::open(note.as_bytes(), &head.origin, &key.public()), Ok(head.clone()));
        // signed_note: the signature; tlog_tiles: the text.
        let verifier = signed_note::StandardVerifier::new(&key.public().vkey(&head.origin)).unwrap();
        let theirs = signed_note::Note::from_bytes(note.as_bytes()).unwrap();
        let list = signed_note::VerifierList::new(vec![Box::new(verifier)]);
        let (signed, _) = theirs.verify(&list).unwrap();
        assert_eq!(signed.len(), 1);
        let text = tlog_tiles::checkpoint::Checkpoint::from_bytes(theirs.text()).unwrap();
        assert_eq!((text.origin(), text.size(), text.hash().0), ("placet/example/acme", 11, head.root.0));
    }

    #[test]
    fn a_verifier_key_reads_back() {
        let (head, key) = checkpoint();
        let vkey = key.public().vkey(&head.origin);
        assert_eq!(VerifyingKey::from_vkey(&vkey), Ok((head.origin, key.public())));
        assert_eq!(VerifyingKey::from_vkey(&vkey.replace("acme", "other")), Err(NoteError::Key));
    }

    #[test]
    fn led_3_every_altered_byte_of_a_note_is_refused() {
        let (head, key) = checkpoint();
        let note = head.sign(&key).into_bytes();
        for at in 0..note.len() {
            for bit in 0..8 {
                let mut altered = note.clone();
                altered[at] ^= 1 << bit;
                assert!(
                    Checkpoint::open(&altered, &head.origin, &key.public()).is_err(),
                    "byte {at} bit {bit}"
                );
            }
        }
    }

    #[test]
    fn led_3_another_tree_s_or_key_s_checkpoint_is_refused() {
        let (head, key) = checkpoint();
        let note = head.sign(&key);
        let public = key.public();
        assert_eq!(
            Checkpoint::open(note.as_bytes(), "placet/example/other", &public),
            Err(NoteError::Origin)
        );
        let other = SigningKey::from_seed(&[43; 32]).unwrap();
        assert_eq!(
            Checkpoint::open(note.as_bytes(), &head.origin, &other.public()),
            Err(NoteError::Unsigned)
        );
        let mut larger = head.clone();
        larger.size = 12;
        let forged = note.replacen("\n11\n", "\n12\n", 1);
        assert_eq!(Checkpoint::open(forged.as_bytes(), &head.origin, &public), Err(NoteError::Signature));
        // A cosignature by somebody else doesn't disturb.
        let cosigned = format!("{note}\u{2014} witness {}\n", STANDARD.encode([1; 80]));
        assert_eq!(Checkpoint::open(cosigned.as_bytes(), &head.origin, &public), Ok(head));
    }
}
