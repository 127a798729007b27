//! What a scan found, while it finds it. A value is looked at, fingerprinted and kept only to be left out of the report.

use std::{collections::HashSet, path::PathBuf};

use sha2::{Digest, Sha256};

use super::{
    governed::Governed,
    shapes::{KUBERNETES, Kind, Life, NAMED, SERVICE_ACCOUNT, Shapes, placeholder, plausible, secret_name},
};

/// The shortest piece of a secret that no report may contain, in characters.
const PIECE: usize = 5;
/// Credentials that are told one by one; a report of more is read by nobody, and says how many there are.
pub(super) const MOST: usize = 10_000;
/// A token that ends within this, in seconds, is not a standing credential.
const SOON: u64 = 24 * 3600;

/// Where a credential stands.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) file: PathBuf,
    /// From 1.
    pub(super) line: Option<usize>,
    /// Members from the document's root.
    pub(super) path: Vec<String>,
    /// When the file was changed, in seconds since the Unix epoch.
    pub(super) modified: Option<u64>,
    /// Who answers for it, as the file says, or whose home it is.
    pub(super) owner: Option<String>,
    /// What uses it: a client's server, a Kubernetes object.
    pub(super) user: Option<String>,
    /// The upstream of Placet that the user of it is, too.
    pub(super) governed: Option<String>,
}

/// A credential, without its value.
#[derive(Debug, Clone)]
pub(super) struct Credential {
    pub(super) kind: Kind,
    pub(super) place: Place,
    pub(super) fingerprint: String,
    pub(super) governed: Option<String>,
}

/// A client of agents and its configuration.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) name: String,
    pub(super) file: PathBuf,
    pub(super) servers: Vec<Server>,
    /// Tools that it uses without asking anybody.
    pub(super) allowed: Vec<String>,
}

/// A server of tools in a client's configuration.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) name: String,
    /// The program and its package, or the URL's origin.
    pub(super) runs: String,
    pub(super) stdio: bool,
    /// Whether it is `placet connect`.
    pub(super) through_placet: bool,
    pub(super) governed: Option<String>,
    /// Tools that the client uses without asking anybody.
    pub(super) allowed: Vec<String>,
}

/// What couldn't be read.
#[derive(Debug, Clone)]
pub(super) struct Unread {
    pub(super) file: PathBuf,
    pub(super) why: String,
}

/// Everything that a scan found.
#[derive(Debug)]
pub(super) struct Collector {
    pub(super) shapes: Shapes,
    pub(super) governed: Governed,
    pub(super) now: u64,
    pub(super) clients: Vec<Client>,
    pub(super) credentials: Vec<Credential>,
    pub(super) unread: Vec<Unread>,
    pub(super) files: u64,
    salt: Vec<u8>,
    pieces: HashSet<[char; PIECE]>,
}

impl Collector {
    pub(super) fn new(shapes: Shapes, governed: Governed, salt: Vec<u8>, now: u64) -> Self {
        Self {
            shapes,
            governed,
            now,
            clients: Vec::new(),
            credentials: Vec::new(),
            unread: Vec::new(),
            files: 0,
            salt,
            pieces: HashSet::new(),
        }
    }

    /// Looks at one value; `name` is what it stands under.
    pub(super) fn judge(&mut self, name: &str, value: &str, place: &Place) {
        let hits = self.shapes.find(value);
        let named = secret_name(name) && plausible(value) || key_name(name) && random(value);
        if named {
            // Also what stands around a known form.
            self.hide(value);
            if hits.is_empty() {
                self.add(NAMED, value.trim(), None, place.clone());
            }
        }
        for hit in hits {
            let secret = value.get(hit.span.0..hit.span.1).unwrap_or_default();
            // Of a private key the whole is secret, not its first line.
            let secret = if hit.kind.code == "private-key" { value.trim() } else { secret };
            self.add(hit.kind, secret, hit.host, place.clone());
        }
    }

    /// Looks at a value of a Kubernetes Secret: it is one, whatever it looks like.
    pub(super) fn secret(&mut self, value: &str, service_account: bool, place: &Place) {
        self.hide(value);
        let hits = self.shapes.find(value);
        match hits.first() {
            Some(hit) if !service_account => {
                let secret = if hit.kind.code == "private-key" {
                    value.trim()
                } else {
                    value.get(hit.span.0..hit.span.1).unwrap_or_default()
                };
                self.add(hit.kind, secret, hit.host.clone(), place.clone());
            }
            _ if placeholder(value) => {}
            // An account's token is a JSON Web Token as well; what counts is that it has no end.
            _ if service_account => self.add(SERVICE_ACCOUNT, value.trim(), None, place.clone()),
            _ => self.add(KUBERNETES, value.trim(), None, place.clone()),
        }
    }

    /// Looks for forms in a text that has no names.
    pub(super) fn text(&mut self, value: &str, place: &Place) {
        self.judge("", value, place);
    }

    fn add(&mut self, kind: Kind, secret: &str, host: Option<String>, place: Place) {
        self.hide(secret);
        let governed = place
            .governed
            .clone()
            .or_else(|| host.and_then(|host| self.governed.host(&host)))
            .or_else(|| kind.hosts.iter().find_map(|host| self.governed.below(host)));
        let fingerprint = self.fingerprint(secret);
        self.credentials.push(Credential { kind, place, fingerprint, governed });
    }

    /// Nothing of this is to be shown.
    fn hide(&mut self, secret: &str) {
        let letters: Vec<char> = secret.chars().collect();
        let pieces = letters.windows(PIECE).filter_map(|piece| <[char; PIECE]>::try_from(piece).ok());
        self.pieces.extend(pieces);
    }

    /// Names a value without telling it: equal within one salt, else nothing. Its letters are none of base64 or hex that
    /// run together for longer than four.
    fn fingerprint(&self, secret: &str) -> String {
        const LETTERS: &[u8; 16] = b"bcdfghjkmnpqrtvw";
        let mut hash = Sha256::new();
        hash.update(&self.salt);
        hash.update([0]);
        hash.update(secret.as_bytes());
        let mut text = String::new();
        for (i, byte) in hash.finalize().iter().take(6).enumerate() {
            if i > 0 && i % 2 == 0 {
                text.push('-');
            }
            for half in [byte >> 4, byte & 15] {
                text.extend(LETTERS.get(usize::from(half)).map(|letter| char::from(*letter)));
            }
        }
        text
    }

    /// A text from what was scanned, fit to be shown: no piece of a secret, nothing that a terminal would obey.
    pub(super) fn shown(&self, text: &str) -> String {
        const LONGEST: usize = 120;
        let letters: Vec<char> = text.chars().collect();
        let tells = letters
            .windows(PIECE)
            .any(|piece| <[char; PIECE]>::try_from(piece).is_ok_and(|piece| self.pieces.contains(&piece)));
        if tells {
            return "(withheld)".to_owned();
        }
        let shown: String = letters.iter().take(LONGEST).map(|letter| safe(*letter)).collect();
        if letters.len() > LONGEST { format!("{shown}…") } else { shown }
    }

    /// Whether a credential still opens something a day from now.
    pub(super) fn standing(&self, credential: &Credential) -> bool {
        match credential.kind.life {
            Life::Never | Life::Unknown => true,
            Life::Until(end) => end > self.now.saturating_add(SOON),
        }
    }
}

/// Whether the last word of a name is `key`: what stands under it may be anything.
fn key_name(name: &str) -> bool {
    name.rsplit(|letter: char| !letter.is_ascii_alphanumeric())
        .next()
        .is_some_and(|word| word.eq_ignore_ascii_case("key"))
}

/// Whether a value looks drawn rather than written.
fn random(value: &str) -> bool {
    let value = value.trim();
    plausible(value)
        && value.len() >= 20
        && value.bytes().all(|byte| byte.is_ascii_graphic())
        && value.bytes().any(|byte| byte.is_ascii_digit())
        && value.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// Control characters and those that turn a line's direction would let a file's author write on the reader's terminal.
fn safe(letter: char) -> char {
    let turns = matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    if letter.is_control() || turns { '?' } else { letter }
}
