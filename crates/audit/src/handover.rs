//! One checkpoint key after another: who signs from when on, and which of them follows which.
//!
//! A handover is a signed note below `handover/` of the data directory: a line `placet/ORGANISATION/handover`, a line of
//! canonical JSON with both keys, signed by the old and by the new one. So whoever trusts one of them knows the others.
//! Where the old key is lost only the new one signs: that is shown, and believed by nobody who wasn't told by other means.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use placet_core::Timestamp;
use placet_json::{Limits, Value, object};
use placet_ledger::{
    checkpoint::{Checkpoint, SigningKey, VerifyingKey, origin},
    note,
};

/// Handovers at most that are read.
const MAX_HANDOVERS: usize = 10_000;

/// A new key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handover {
    /// The key before.
    pub old: VerifyingKey,
    /// The key after.
    pub new: VerifyingKey,
    /// When.
    pub time: Timestamp,
    /// Why.
    pub why: String,
    /// Whether the old key signed it; it was lost otherwise.
    pub signed: bool,
}

/// The keys of a ledger, as far as somebody who trusts one of them knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The one that signs now.
    pub newest: VerifyingKey,
    /// All that signed at some time.
    pub all: Vec<VerifyingKey>,
    /// Keys that nobody vouches for: the one before was lost.
    pub unvouched: Vec<Handover>,
}

fn name(organisation: &str) -> String {
    format!("placet/{organisation}/handover")
}

/// The keys that follow from trusting `trusted`. What isn't signed as it should be counts for nothing.
pub fn keys(data: &Path, organisation: &str, trusted: VerifyingKey) -> io::Result<Keys> {
    let mut handovers = handovers(data, organisation)?;
    let mut keys = Keys { newest: trusted, all: vec![trusted], unvouched: Vec::new() };
    handovers.sort_by_key(|handover| handover.time);
    // Forwards in time, then backwards: a key vouches for the one after it and for the one before.
    for handover in handovers.iter().filter(|handover| handover.signed) {
        if handover.old == keys.newest && !keys.all.contains(&handover.new) {
            keys.all.push(handover.new);
            keys.newest = handover.new;
        }
    }
    let mut oldest = trusted;
    for handover in handovers.iter().rev().filter(|handover| handover.signed) {
        if handover.new == oldest && !keys.all.contains(&handover.old) {
            keys.all.push(handover.old);
            oldest = handover.old;
        }
    }
    keys.unvouched = handovers.into_iter().filter(|handover| !handover.signed).collect();
    Ok(keys)
}

fn handovers(data: &Path, organisation: &str) -> io::Result<Vec<Handover>> {
    let entries = match fs::read_dir(data.join("handover")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut handovers = Vec::new();
    for entry in entries.take(MAX_HANDOVERS) {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "note") {
            handovers.extend(read(&fs::read_to_string(&path)?, organisation));
        }
    }
    Ok(handovers)
}

/// `None`: malformed, of another organisation, or not signed by the new key.
fn read(text: &str, organisation: &str) -> Option<Handover> {
    let name = name(organisation);
    let (body, _) = note::parts(text)?;
    let (first, line) = body.split_once('\n')?;
    let document = placet_json::parse(line.as_bytes(), &Limits::MESSAGE).ok()?;
    let member = |member: &str| document.get(member).and_then(Value::as_str);
    let key = |text: Option<&str>| {
        VerifyingKey::from_vkey(text?).ok().filter(|(of, _)| *of == name).map(|(_, key)| key)
    };
    let (old, new) = (key(member("old"))?, key(member("new"))?);
    note::open(text, &name, &new).ok().filter(|_| first == name)?;
    Some(Handover {
        old,
        new,
        time: Timestamp::parse(member("time")?).ok()?,
        why: member("why")?.to_owned(),
        signed: note::open(text, &name, &old).is_ok(),
    })
}

/// The old key of a handover.
#[derive(Debug)]
pub enum Old<'a> {
    /// It is there and signs.
    Here(&'a SigningKey),
    /// It is lost; its public half is known.
    Lost(VerifyingKey),
}

/// Why the key isn't changed. Nothing is.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// A file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What is signed so far isn't by the old key.
    #[error("tree `{tree}`: {error}: it was another key that signed so far")]
    Signed {
        /// The tree.
        tree: String,
        /// What is wrong.
        error: placet_ledger::checkpoint::NoteError,
    },
    /// Both are the same.
    #[error("the new key is the old one")]
    Same,
}

/// Writes the handover and signs every tree's checkpoint by the new key, too; answers how many there are. The server
/// must not be at work, and starts with the new key from then on.
pub fn rotate(
    data: &Path,
    organisation: &str,
    old: &Old<'_>,
    new: &SigningKey,
    why: &str,
    time: Timestamp,
) -> Result<u64, RotateError> {
    let public = match old {
        Old::Here(key) => key.public(),
        Old::Lost(key) => *key,
    };
    if public == new.public() {
        return Err(RotateError::Same);
    }
    // All are looked at before anything is written.
    for tree in placet_store::trees(data)? {
        if let Some(note) = placet_store::TreeReader::open(data, &tree)?.checkpoint()? {
            Checkpoint::open(&note, &origin(organisation, &tree), &public)
                .map_err(|error| RotateError::Signed { tree: tree.clone(), error })?;
        }
    }
    let name = name(organisation);
    let document = Value::from(object! {
        "new" => new.public().vkey(&name), "old" => public.vkey(&name), "time" => time.to_string(), "v" => 1_u64, "why" => why,
    });
    let document = document.canonical().map_err(|error| io::Error::other(error.to_string()))?;
    let text = format!("{name}\n{}\n", document.as_str());
    let mut signed = note::sign(&text, &name, new);
    if let Old::Here(key) = old {
        signed.push_str(&note::signature(&text, &name, key));
    }
    let dir = data.join("handover");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    let path = dir.join(format!("{:020}.note", time.millis()));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(signed.as_bytes())?;
    file.sync_all()?;
    fs::File::open(&dir)?.sync_all()?;
    fs::File::open(data)?.sync_all()?;
    let resigned = placet_store::resign(data, |tree, note| {
        let (text, _) = note::parts(note).ok_or_else(|| io::Error::other("a checkpoint is malformed"))?;
        Ok(format!("{note}{}", note::signature(text, &origin(organisation, tree), new)))
    });
    if resigned.is_err() {
        // Without it the old key still signs alone; a checkpoint that both signed opens with either.
        fs::remove_file(&path)?;
    }
    Ok(resigned?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).unwrap()
    }

    #[test]
    fn whoever_trusts_one_key_knows_those_before_and_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = Timestamp::from_secs;
        let public = |seed| key(seed).public();
        rotate(dir.path(), "desk", &Old::Here(&key(1)), &key(2), "a year", at(10)).unwrap();
        rotate(dir.path(), "desk", &Old::Here(&key(2)), &key(3), "a year", at(20)).unwrap();
        for trusted in 1..=3 {
            let keys = keys(dir.path(), "desk", public(trusted)).unwrap();
            assert_eq!((keys.newest, keys.all.len(), keys.unvouched.len()), (public(3), 3, 0), "{trusted}");
        }
        let other = keys(dir.path(), "other", public(1)).unwrap();
        assert_eq!((other.newest, other.all.len()), (public(1), 1), "of another organisation");
        assert!(matches!(
            rotate(dir.path(), "desk", &Old::Here(&key(3)), &key(3), "", at(30)),
            Err(RotateError::Same)
        ));
    }

    #[test]
    fn led_3_a_lost_key_s_successor_is_shown_and_believed_by_nobody() {
        let dir = tempfile::tempdir().unwrap();
        rotate(dir.path(), "desk", &Old::Lost(key(1).public()), &key(2), "lost", Timestamp::from_secs(10))
            .unwrap();
        let found = keys(dir.path(), "desk", key(1).public()).unwrap();
        assert_eq!((found.newest, found.unvouched.len()), (key(1).public(), 1));
        assert_eq!(found.unvouched[0].new, key(2).public());
        // Nor does it help to write the old key's name under it.
        let path = fs::read_dir(dir.path().join("handover")).unwrap().next().unwrap().unwrap().path();
        let note = fs::read_to_string(&path).unwrap();
        let (text, _) = note::parts(&note).unwrap();
        let forged = format!("{note}{}", note::signature(text, "placet/desk/handover", &key(9)));
        fs::write(&path, forged).unwrap();
        assert_eq!(keys(dir.path(), "desk", key(1).public()).unwrap().newest, key(1).public());
    }
}
