//! Reading claims: each is taken once, typed and bounded; what is left over is unknown and refused.

use placet_json::{Object, Value};

use crate::refused::Refused;

/// Longest identifier in a token, in bytes.
pub const MAX_TEXT: usize = 512;

/// Longest `jti`, in bytes: stores keep what is derived from it, and a sender chooses it.
pub const MAX_JTI: usize = 128;

/// The last second of the year 9999: beyond it a time is a mistake (milliseconds, say).
const MAX_TIME: u64 = 253_402_300_799;

/// A kind of token: its claims besides `iss`, `aud`, `iat`, `exp` and `nbf`, which [`Verified`](crate::Verified) owns.
pub trait Claims: Sized {
    /// The media type in the header. Compared first and exactly, so that no kind passes for another.
    const TYP: &'static str;

    /// The longest `exp - iat`, in seconds, both for minting and for accepting.
    const MAX_LIFE: u64;

    /// Whether such a token has an end of its own. Of a kind that hasn't, `exp` is refused, and what was issued more than
    /// [`MAX_LIFE`](Self::MAX_LIFE) ago is too old.
    const EXPIRES: bool = true;

    /// Takes the claims out of a verified payload. What isn't taken makes the token refused.
    fn read(members: &mut Members) -> Result<Self, Refused>;

    /// The claims as members of a payload.
    fn write(&self, payload: &mut Object);
}

/// The members of one object, taken out one by one.
#[derive(Debug)]
pub struct Members(Object);

impl Members {
    /// The members of a payload.
    #[must_use]
    pub fn new(object: Object) -> Self {
        Self(object)
    }

    /// The members of a nested object.
    pub fn of(value: Value, claim: &'static str) -> Result<Self, Refused> {
        value.into_object().map(Self).ok_or(Refused::Claim(claim))
    }

    /// A value as it came, if present.
    pub fn optional(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// A value that must be present.
    pub fn value(&mut self, name: &'static str) -> Result<Value, Refused> {
        self.0.remove(name).ok_or(Refused::Claim(name))
    }

    /// A required string of 1 to [`MAX_TEXT`] bytes without control characters.
    pub fn text(&mut self, name: &'static str) -> Result<String, Refused> {
        bounded(self.value(name)?, name, MAX_TEXT)
    }

    /// The same, if present.
    pub fn optional_text(&mut self, name: &'static str) -> Result<Option<String>, Refused> {
        self.optional(name).map(|value| bounded(value, name, MAX_TEXT)).transpose()
    }

    /// A required `jti` of 1 to [`MAX_JTI`] bytes.
    pub fn jti(&mut self) -> Result<String, Refused> {
        bounded(self.value("jti")?, "jti", MAX_JTI)
    }

    /// A required list of 1 to `most` strings as [`text`](Self::text) takes them.
    pub fn texts(&mut self, name: &'static str, most: usize) -> Result<Vec<String>, Refused> {
        let Value::Array(values) = self.value(name)? else { return Err(Refused::Claim(name)) };
        if values.is_empty() || values.len() > most {
            return Err(Refused::Claim(name));
        }
        values.into_iter().map(|value| bounded(value, name, MAX_TEXT)).collect()
    }

    /// A required whole number of seconds since the Unix epoch: no fraction, no exponent, not negative.
    pub fn time(&mut self, name: &'static str) -> Result<u64, Refused> {
        match self.value(name)?.as_u64() {
            Some(time) if time <= MAX_TIME => Ok(time),
            _ => Err(Refused::Claim(name)),
        }
    }

    /// A required whole number that isn't negative.
    pub fn count(&mut self, name: &'static str) -> Result<u64, Refused> {
        self.value(name)?.as_u64().ok_or(Refused::Claim(name))
    }

    /// `cnf` with exactly `jkt` (RFC 9449 §6.1).
    pub fn binding(&mut self) -> Result<crate::Thumbprint, Refused> {
        let mut cnf = Self::of(self.value("cnf")?, "cnf")?;
        let jkt = cnf.text("jkt")?;
        cnf.finish()?;
        crate::Thumbprint::parse(&jkt).map_err(|_| Refused::Claim("cnf"))
    }

    /// Whether the object still has a member of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Nothing may be left.
    pub fn finish(self) -> Result<(), Refused> {
        if self.0.is_empty() { Ok(()) } else { Err(Refused::UnknownClaim) }
    }

    /// What wasn't taken, where further claims have a meaning elsewhere.
    #[must_use]
    pub fn into_rest(self) -> Object {
        self.0
    }

    /// Forgets what wasn't taken, where a specification says that unknown members are ignored.
    pub fn ignore_others(&mut self) {
        self.0 = Object::new();
    }

    /// Drops what is left, where a specification says that unknown members are ignored.
    pub fn ignore_rest(self) {
        drop(self);
    }
}

fn bounded(value: Value, name: &'static str, most: usize) -> Result<String, Refused> {
    let Value::String(text) = value else { return Err(Refused::Claim(name)) };
    if text.is_empty() || text.len() > most || text.chars().any(char::is_control) {
        return Err(Refused::Claim(name));
    }
    Ok(text)
}
