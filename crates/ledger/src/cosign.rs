//! Witnesses (C2SP tlog-witness, tlog-cosignature): what is sent to one, what it checks, and what it signs.
//!
//! A witness remembers the newest head of each log that it follows, and cosigns a newer one only with a proof that the
//! old one is its beginning. So a log that was put back, or that shows two people two pasts, gets no cosignature. Where
//! the heads are kept is somebody else's business.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::checkpoint::{Checkpoint, MAX_NOTE, NoteError, SigningKey, VerifyingKey};
use crate::proof::{ProofError, verify_consistency};
use crate::{Hash, note};

/// A longer request is refused: a note, and 63 hashes of a proof.
pub const MAX_REQUEST: usize = MAX_NOTE + (4 << 10);
/// Hashes of a proof at most.
pub const MAX_PROOF: usize = 63;
/// signed-note's type of a timestamped Ed25519 cosignature.
const ALGORITHM: u8 = 4;

/// The public half of a witness's key, with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    name: String,
    key: VerifyingKey,
}

impl Witness {
    /// The witness of this name and key. `None`: the name has a space, a `+`, or nothing.
    #[must_use]
    pub fn new(name: &str, key: VerifyingKey) -> Option<Self> {
        let fits = !name.is_empty() && !name.contains(|c: char| c == '+' || c.is_whitespace());
        fits.then(|| Self { name: name.to_owned(), key })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its C2SP verifier key, `name+id+base64`.
    #[must_use]
    pub fn vkey(&self) -> String {
        let mut key = vec![ALGORITHM];
        key.extend_from_slice(&self.key.0);
        let id = u32::from_be_bytes(self.id());
        format!("{}+{id:08x}+{}", self.name, STANDARD.encode(key))
    }

    /// Reads a C2SP verifier key of a witness.
    pub fn from_vkey(vkey: &str) -> Result<Self, NoteError> {
        let (name, rest) = vkey.split_once('+').ok_or(NoteError::Key)?;
        let (_, key) = rest.split_once('+').ok_or(NoteError::Key)?;
        let key = STANDARD.decode(key).map_err(|_| NoteError::Key)?;
        let key = key.split_first().filter(|(algorithm, _)| **algorithm == ALGORITHM).map(|(_, key)| key);
        let key = VerifyingKey(key.and_then(|key| key.try_into().ok()).ok_or(NoteError::Key)?);
        Self::new(name, key).filter(|witness| witness.vkey() == vkey).ok_or(NoteError::Key)
    }

    /// When this witness cosigned the note, in Unix seconds. `None`: it didn't.
    pub fn saw(&self, checkpoint: &str) -> Result<Option<u64>, NoteError> {
        let (text, signatures) = note::parts(checkpoint).ok_or(NoteError::Malformed)?;
        let mut seen = None;
        for note::Signature { name, id, bytes } in signatures {
            if name == self.name && id == self.id() {
                let (time, signature) = bytes.split_first_chunk::<8>().ok_or(NoteError::Signature)?;
                let time = u64::from_be_bytes(*time);
                self.key.verify(message(text, time).as_bytes(), signature)?;
                seen = Some(time);
            }
        }
        Ok(seen)
    }

    fn id(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = Hash::of_parts(&[self.name.as_bytes(), b"\n", &[ALGORITHM], &self.key.0]).0;
        [a, b, c, d]
    }
}

/// The line with which a witness says that it saw `checkpoint` at `time`, Unix seconds.
#[must_use]
pub fn cosign(checkpoint: &Checkpoint, witness: &Witness, key: &SigningKey, time: u64) -> String {
    let mut signature = witness.id().to_vec();
    signature.extend_from_slice(&time.to_be_bytes());
    signature.extend_from_slice(key.sign(message(&checkpoint.text(), time).as_bytes()).as_ref());
    format!("\u{2014} {} {}\n", witness.name, STANDARD.encode(signature))
}

fn message(text: &str, time: u64) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// What a log sends to a witness's `add-checkpoint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The size that the witness is believed to have.
    pub old: u64,
    /// From that size to the note's.
    pub proof: Vec<Hash>,
    /// The signed checkpoint.
    pub note: String,
}

impl Request {
    /// The body.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut body = format!("old {}\n", self.old);
        for hash in &self.proof {
            body.push_str(&STANDARD.encode(hash.0));
            body.push('\n');
        }
        body.push('\n');
        body.push_str(&self.note);
        body
    }

    /// Reads a body.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let body = std::str::from_utf8(body).ok().filter(|body| body.len() <= MAX_REQUEST)?;
        let (head, note) = body.split_once("\n\n")?;
        let mut lines = head.split('\n');
        let digits = lines.next()?.strip_prefix("old ")?;
        let old = digits.parse::<u64>().ok().filter(|old| old.to_string() == digits)?;
        let proof =
            lines.map(|line| Hash::from_slice(&STANDARD.decode(line).ok()?)).collect::<Option<Vec<_>>>()?;
        (proof.len() <= MAX_PROOF).then(|| Self { old, proof, note: note.to_owned() })
    }

    /// The first line of the note: of which log it is.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.note.split('\n').next().unwrap_or_default()
    }
}

/// Why a witness doesn't cosign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such request.
    #[error("the request is malformed")]
    Malformed,
    /// A log that this witness doesn't follow.
    #[error("this witness doesn't follow that log")]
    Unknown,
    /// Not signed by a key of that log.
    #[error("the checkpoint isn't signed by a key of that log")]
    Unsigned,
    /// The witness has another head than the log believes, or another root of that size.
    #[error("the newest checkpoint that this witness saw has {size} records")]
    Conflict {
        /// The size of the newest head that it cosigned.
        size: u64,
    },
    /// What was seen before isn't the beginning of it.
    #[error("the proof doesn't show that what was seen before is its beginning")]
    Inconsistent,
}

impl Refusal {
    /// The HTTP status of tlog-witness.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Unknown => 404,
            Self::Unsigned => 403,
            Self::Conflict { .. } => 409,
            Self::Inconsistent => 422,
        }
    }
}

/// Whether a witness whose newest head of the log is `known` may cosign what it is shown; the signature was checked.
pub fn judge(known: Option<&Checkpoint>, request: &Request, shown: &Checkpoint) -> Result<(), Refusal> {
    if request.old > shown.size {
        return Err(Refusal::Malformed);
    }
    let size = known.map_or(0, |known| known.size);
    if request.old != size {
        return Err(Refusal::Conflict { size });
    }
    let Some(known) = known.filter(|known| known.size > 0) else {
        return if request.proof.is_empty() { Ok(()) } else { Err(Refusal::Inconsistent) };
    };
    match verify_consistency(known.size, &known.root, shown.size, &shown.root, &request.proof) {
        Ok(()) => Ok(()),
        Err(ProofError::Root) if known.size == shown.size => Err(Refusal::Conflict { size }),
        Err(ProofError::Range | ProofError::Length | ProofError::Root) => Err(Refusal::Inconsistent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::consistency;
    use crate::tree::root;
    use crate::tree::tests::tree;

    fn head(size: u64) -> Checkpoint {
        let (nodes, _) = tree(40);
        Checkpoint {
            origin: "placet/example/acme".to_owned(),
            size,
            root: root(nodes.as_slice(), size).unwrap(),
        }
    }

    fn request(old: u64, new: u64) -> Request {
        let (nodes, _) = tree(40);
        let proof = consistency(nodes.as_slice(), old, new).unwrap().unwrap_or_default();
        Request { old, proof, note: head(new).sign(&SigningKey::from_seed(&[7; 32]).unwrap()) }
    }

    #[test]
    fn a_cosignature_is_as_c2sp_says_and_counts_for_its_witness_alone() {
        let key = SigningKey::from_seed(&[9; 32]).unwrap();
        let witness = Witness::new("witness.example/w1", key.public()).unwrap();
        assert_eq!(Witness::from_vkey(&witness.vkey()), Ok(witness.clone()));
        assert_eq!(Witness::from_vkey(&key.public().vkey("witness.example/w1")), Err(NoteError::Key));
        let note = request(0, 11).note;
        assert_eq!(witness.saw(&note), Ok(None));
        let cosigned = format!("{note}{}", cosign(&head(11), &witness, &key, 1_700_000_000));
        assert_eq!(witness.saw(&cosigned), Ok(Some(1_700_000_000)));
        // The message that tlog-cosignature names, checked without our own code for it.
        let theirs = signed_note::Note::from_bytes(cosigned.as_bytes()).unwrap();
        let (text, signatures) = note::parts(&cosigned).unwrap();
        assert_eq!((theirs.text(), signatures.len()), (text.as_bytes(), 2));
        let (time, signature) = signatures[1].bytes.split_at(8);
        let signed = format!("cosignature/v1\ntime {}\n{text}", u64::from_be_bytes(time.try_into().unwrap()));
        aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, key.public().0)
            .verify(signed.as_bytes(), signature)
            .unwrap();
        for at in note.len()..cosigned.len() {
            let mut altered = cosigned.clone().into_bytes();
            altered[at] ^= 1;
            let Ok(altered) = String::from_utf8(altered) else { continue };
            assert_ne!(witness.saw(&altered), Ok(Some(1_700_000_000)), "byte {at}");
        }
        // What the log signed still opens.
        let log = SigningKey::from_seed(&[7; 32]).unwrap().public();
        assert_eq!(Checkpoint::open(cosigned.as_bytes(), "placet/example/acme", &log), Ok(head(11)));
    }

    #[test]
    fn a_request_reads_back_and_nothing_else_is_one() {
        for request in [request(0, 11), request(5, 11), request(11, 11)] {
            assert_eq!(Request::parse(request.encode().as_bytes()), Some(request.clone()));
            assert_eq!(request.origin(), "placet/example/acme");
        }
        let good = request(5, 11).encode();
        for bad in [
            "",
            "old 5\n",
            &good.replacen("old 5", "old 05", 1),
            &good.replacen("old 5", "old +5", 1),
            &good.replacen("old 5", "old -1", 1),
            &good.replacen("old 5\n", "old 5\n!!!\n", 1),
            &good.replacen("old 5\n", &format!("old 5\n{}", "AAAA\n".repeat(3)), 1),
        ] {
            assert_eq!(Request::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn led_4_a_witness_goes_forward_only() {
        let judge_at = |known: u64, request: &Request, shown: u64| {
            judge(Some(&head(known)).filter(|head| head.size > 0), request, &head(shown))
        };
        assert_eq!(judge_at(0, &request(0, 11), 11), Ok(()));
        assert_eq!(judge_at(5, &request(5, 11), 11), Ok(()));
        assert_eq!(judge_at(11, &request(11, 11), 11), Ok(()), "the same head again");
        // Yesterday's directory: the log believes in its own past.
        assert_eq!(judge_at(11, &request(5, 7), 7), Err(Refusal::Conflict { size: 11 }));
        assert_eq!(judge_at(11, &request(11, 7), 7), Err(Refusal::Malformed), "it can't go back");
        // Another past of the same and of a greater length.
        let mut forked = head(11);
        forked.root.0[0] ^= 1;
        assert_eq!(judge(Some(&forked), &request(11, 11), &head(11)), Err(Refusal::Conflict { size: 11 }));
        assert_eq!(judge(Some(&forked), &request(11, 20), &head(20)), Err(Refusal::Inconsistent));
        assert_eq!(
            judge_at(5, &Request { proof: Vec::new(), ..request(5, 11) }, 11),
            Err(Refusal::Inconsistent)
        );
    }
}
