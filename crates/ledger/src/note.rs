//! C2SP signed notes (signed-note) over a text that is no checkpoint: who restored what, which key follows which.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::checkpoint::{NoteError, SigningKey, VerifyingKey};

/// A longer note is refused.
pub const MAX_NOTE: usize = 64 << 10;
const DASH: &str = "\u{2014} ";

/// Signs `text`, which ends in a newline, as `name`.
#[must_use]
pub fn sign(text: &str, name: &str, key: &SigningKey) -> String {
    format!("{text}\n{}", signature(text, name, key))
}

/// One more line of signature for a text.
#[must_use]
pub fn signature(text: &str, name: &str, key: &SigningKey) -> String {
    let mut signature = key.public().id(name).to_vec();
    signature.extend_from_slice(key.sign(text.as_bytes()).as_ref());
    format!("{DASH}{name} {}\n", STANDARD.encode(signature))
}

/// A line of signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature<'a> {
    /// Who signed.
    pub name: &'a str,
    /// The key's id.
    pub id: [u8; 4],
    /// The signature, in front of it whatever its type has there.
    pub bytes: Vec<u8>,
}

/// The text of a note and its lines of signature.
#[must_use]
pub fn parts(note: &str) -> Option<(&str, Vec<Signature<'_>>)> {
    if note.len() > MAX_NOTE {
        return None;
    }
    let (text, _) = note.rsplit_once("\n\n")?;
    let (text, signatures) = note.split_at_checked(text.len().saturating_add(1))?;
    let lines = signatures.strip_prefix('\n')?.strip_suffix('\n')?.split('\n');
    let signatures = lines.map(|line| {
        let (name, value) = line.strip_prefix(DASH)?.split_once(' ')?;
        let value = STANDARD.decode(value).ok()?;
        let (id, signature) = value.split_first_chunk::<4>()?;
        Some(Signature { name, id: *id, bytes: signature.to_vec() })
    });
    Some((text, signatures.collect::<Option<Vec<_>>>()?))
}

/// The text of a note that `key` signed as `name`; other signatures are let be.
pub fn open<'a>(note: &'a str, name: &str, key: &VerifyingKey) -> Result<&'a str, NoteError> {
    let (text, signatures) = parts(note).ok_or(NoteError::Malformed)?;
    let mut found = false;
    for signature in signatures {
        if signature.name == name && signature.id == key.id(name) {
            key.verify(text.as_bytes(), &signature.bytes)?;
            found = true;
        }
    }
    if found { Ok(text) } else { Err(NoteError::Unsigned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_opens_for_its_signer_alone_and_every_altered_byte_is_refused() {
        let (key, other) =
            (SigningKey::from_seed(&[1; 32]).unwrap(), SigningKey::from_seed(&[2; 32]).unwrap());
        let text = "placet/example/gap\n{\"v\":1}\n";
        let note = sign(text, "placet/example", &key);
        assert_eq!(open(&note, "placet/example", &key.public()), Ok(text));
        assert_eq!(open(&note, "placet/example", &other.public()), Err(NoteError::Unsigned));
        assert_eq!(open(&note, "placet/else", &key.public()), Err(NoteError::Unsigned));
        let verifier = signed_note::StandardVerifier::new(&key.public().vkey("placet/example")).unwrap();
        let list = signed_note::VerifierList::new(vec![Box::new(verifier)]);
        assert_eq!(signed_note::Note::from_bytes(note.as_bytes()).unwrap().verify(&list).unwrap().0.len(), 1);
        for at in 0..note.len() {
            let mut altered = note.clone().into_bytes();
            altered[at] ^= 1;
            let Ok(altered) = String::from_utf8(altered) else { continue };
            assert!(open(&altered, "placet/example", &key.public()).is_err(), "byte {at}");
        }
        let both = format!("{note}{}", signature(text, "placet/example", &other));
        assert_eq!(open(&both, "placet/example", &key.public()), Ok(text));
        assert_eq!(open(&both, "placet/example", &other.public()), Ok(text));
    }
}
