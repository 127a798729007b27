//! The life of releases as the journal tells it: who brought one, what was signed, who reviewed it, which were in force
//! and in what order. A fold like any other, so that every gateway of a shared journal says the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
};

use imbl::{OrdMap, Vector};
use placet_core::{Digest, Name, Timestamp};
use placet_json::{Object, Value, object};

/// How many releases are remembered; the oldest that isn't among those in force is forgotten first.
const MAX_RELEASES: usize = 4096;
/// How far back a rollback may go.
const MAX_STACK: usize = 256;

type Failure = Box<dyn Error + Send + Sync>;

/// A step in a release's life, beside coming into force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Somebody brought its archive.
    Brought {
        /// Who: never its reviewer.
        by: Name,
    },
    /// Its envelope, with all signatures that are known of it; it takes the place of the one before.
    Signed {
        /// The envelope's JSON.
        envelope: String,
    },
    /// Somebody's review; it takes the place of their one before.
    Reviewed {
        /// Who.
        by: Name,
        /// Whether it may come into force.
        approves: bool,
    },
}

/// Somebody's review of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// Whether it may come into force.
    pub approves: bool,
    /// The journal position.
    pub at: u64,
}

/// What is known of a release.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Life {
    /// Who brought it here.
    pub brought_by: BTreeSet<Name>,
    /// The envelope's JSON, as it was taken.
    pub envelope: Option<String>,
    /// Reviews, by person.
    pub reviews: BTreeMap<Name, Review>,
    /// The position of the last step.
    pub at: u64,
}

/// How a release comes into force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A newer one.
    Promoted,
    /// Back to one that was in force.
    RolledBack,
    /// For a while, past reviews.
    Emergency {
        /// Until when.
        until: Timestamp,
    },
}

/// The lives of all releases.
#[derive(Debug, Clone, Default)]
pub struct Lives {
    releases: OrdMap<Digest, Life>,
    /// Those in force, the one now last; a rollback takes the top off.
    stack: Vector<Digest>,
    /// An emergency release is in force until then.
    until: Option<Timestamp>,
}

impl Step {
    /// As a member of an act's record.
    #[must_use]
    pub fn to_value(&self, release: Digest) -> Value {
        let release = release.to_string();
        match self {
            Self::Brought { by } => object! { "brought_by" => by.as_str(), "release" => release },
            Self::Signed { envelope } => object! { "envelope" => envelope.as_str(), "release" => release },
            Self::Reviewed { by, approves } => {
                object! { "approves" => *approves, "release" => release, "reviewed_by" => by.as_str() }
            }
        }
        .into()
    }

    /// Reads the member.
    pub fn from_value(step: &Value) -> Result<(Digest, Self), Failure> {
        let text = |name: &str| step.get(name).and_then(Value::as_str);
        let release = text("release").and_then(Digest::parse).ok_or("a step of no release")?;
        let step = match (text("brought_by"), text("envelope"), text("reviewed_by")) {
            (Some(by), None, None) => Self::Brought { by: Name::new(by)? },
            (None, Some(envelope), None) => Self::Signed { envelope: envelope.to_owned() },
            (None, None, Some(by)) => {
                let approves = step.get("approves").and_then(Value::as_bool);
                Self::Reviewed { by: Name::new(by)?, approves: approves.ok_or("a review that says nothing")? }
            }
            _ => return Err("a step of a release that isn't known: a newer version wrote it".into()),
        };
        Ok((release, step))
    }
}

impl Entry {
    /// As members of a release's record.
    pub(crate) fn onto(&self, record: &mut Object) {
        match self {
            Self::Promoted => {}
            Self::RolledBack => {
                record.insert("how", "rollback");
            }
            Self::Emergency { until } => {
                record.insert("how", "emergency");
                record.insert("until", until.to_string());
            }
        }
    }

    /// Reads them; a record from before there were any is of a release that was promoted.
    pub(crate) fn of(record: &Value) -> Result<Self, Failure> {
        match record.get("how").and_then(Value::as_str) {
            None => Ok(Self::Promoted),
            Some("rollback") => Ok(Self::RolledBack),
            Some("emergency") => {
                let until = record.get("until").and_then(Value::as_str).ok_or("an emergency without end")?;
                Ok(Self::Emergency { until: Timestamp::parse(until)? })
            }
            Some(other) => Err(format!("a release came into force by `{other}`").into()),
        }
    }
}

impl Lives {
    /// What is known of a release.
    #[must_use]
    pub fn of(&self, release: Digest) -> Life {
        self.releases.get(&release).cloned().unwrap_or_default()
    }
    /// All that are known, by digest.
    pub fn all(&self) -> impl Iterator<Item = (Digest, &Life)> {
        self.releases.iter().map(|(digest, life)| (*digest, life))
    }
    /// The releases that were in force, the one now last, without those that were rolled back.
    #[must_use]
    pub fn stack(&self) -> impl DoubleEndedIterator<Item = Digest> {
        self.stack.iter().copied()
    }
    /// Until when an emergency release is in force, if one is.
    #[must_use]
    pub fn emergency(&self) -> Option<Timestamp> {
        self.until
    }

    pub(crate) fn step(&mut self, at: u64, release: Digest, step: &Step) {
        let mut life = self.of(release);
        life.at = at;
        match step {
            Step::Brought { by } => {
                life.brought_by.insert(by.clone());
            }
            Step::Signed { envelope } => life.envelope = Some(envelope.clone()),
            Step::Reviewed { by, approves } => {
                life.reviews.insert(by.clone(), Review { approves: *approves, at });
            }
        }
        self.releases.insert(release, life);
        if self.releases.len() > MAX_RELEASES {
            let standing: BTreeSet<Digest> = self.stack.iter().copied().collect();
            let oldest = self.releases.iter().filter(|(digest, _)| !standing.contains(digest));
            if let Some(oldest) = oldest.min_by_key(|(_, life)| life.at).map(|(digest, _)| *digest) {
                self.releases.remove(&oldest);
            }
        }
    }

    pub(crate) fn in_force(&mut self, release: Digest, how: &Entry) {
        self.until = match how {
            Entry::Emergency { until } => Some(*until),
            Entry::Promoted | Entry::RolledBack => None,
        };
        if *how == Entry::RolledBack
            && let Some(at) = self.stack.iter().rposition(|known| *known == release)
        {
            self.stack.truncate(at.saturating_add(1));
        } else if self.stack.last() != Some(&release) {
            self.stack.push_back(release);
        }
        if self.stack.len() > MAX_STACK {
            self.stack.pop_front();
        }
    }

    /// As documents of one member, to be kept.
    pub(crate) fn documents(&self) -> impl Iterator<Item = Value> + '_ {
        let lives = self.releases.iter().map(|(digest, life)| {
            let Life { brought_by, envelope, reviews, at } = life;
            let brought = brought_by.iter().map(|by| Value::from(by.as_str())).collect::<Vec<_>>();
            let reviews = reviews.iter().map(|(by, Review { approves, at })| {
                Value::from(object! { "approves" => *approves, "at" => *at, "by" => by.as_str() })
            });
            let envelope = envelope.as_deref().map_or(Value::Null, Value::from);
            let body = object! {
                "at" => *at, "brought_by" => Value::Array(brought), "envelope" => envelope,
                "release" => digest.to_string(), "reviews" => Value::Array(reviews.collect()),
            };
            Value::from(object! { "life" => body })
        });
        let stack = self.stack.iter().map(|digest| Value::from(object! { "stood" => digest.to_string() }));
        let until = self.until.map(|until| Value::from(object! { "emergency" => until.to_string() }));
        lives.chain(stack).chain(until)
    }

    /// Takes a document that was kept; false where it is another's.
    pub(crate) fn read(&mut self, kind: &str, body: &Value) -> Result<bool, Failure> {
        let digest = |of: Option<&Value>| {
            of.and_then(Value::as_str).and_then(Digest::parse).ok_or("a release without its digest")
        };
        match kind {
            "stood" => self.stack.push_back(digest(Some(body))?),
            "emergency" => {
                self.until = Some(Timestamp::parse(body.as_str().ok_or("an emergency without end")?)?);
            }
            "life" => {
                let list = |name: &str| body.get(name).and_then(Value::as_array).unwrap_or_default();
                let name = |of: &Value| Name::new(of.as_str().unwrap_or_default());
                let mut reviews = BTreeMap::new();
                for review in list("reviews") {
                    let by = Name::new(review.get("by").and_then(Value::as_str).unwrap_or_default())?;
                    let approves = review.get("approves").and_then(Value::as_bool);
                    let at = review.get("at").and_then(Value::as_u64).ok_or("a review without its place")?;
                    reviews.insert(by, Review { approves: approves.ok_or("a review says nothing")?, at });
                }
                let life = Life {
                    brought_by: list("brought_by").iter().map(name).collect::<Result<_, _>>()?,
                    envelope: body.get("envelope").and_then(Value::as_str).map(str::to_owned),
                    reviews,
                    at: body.get("at").and_then(Value::as_u64).ok_or("a life without its place")?,
                };
                self.releases.insert(digest(body.get("release"))?, life);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn a_rollback_takes_the_top_off_and_all_comes_back_from_what_is_kept() {
        let mut lives = Lives::default();
        let [a, b, c] = [b"a", b"b", b"c"].map(|bytes| Digest::of(bytes));
        for (at, step) in [
            Step::Brought { by: name("human:maya") },
            Step::Signed { envelope: "{}".to_owned() },
            Step::Reviewed { by: name("human:omar"), approves: false },
            Step::Reviewed { by: name("human:omar"), approves: true },
        ]
        .iter()
        .enumerate()
        {
            let (release, read) = Step::from_value(&step.to_value(b)).unwrap();
            assert_eq!((release, &read), (b, step));
            lives.step(at as u64, b, step);
        }
        let until = Timestamp::from_millis(1_800_000_000_000);
        for (release, how) in [
            (a, Entry::Promoted),
            (b, Entry::Promoted),
            (a, Entry::RolledBack),
            (b, Entry::Promoted),
            (c, Entry::Emergency { until }),
        ] {
            let mut record = Object::new();
            how.onto(&mut record);
            assert_eq!(Entry::of(&record.into()).unwrap(), how);
            lives.in_force(release, &how);
        }
        assert_eq!(lives.stack().collect::<Vec<_>>(), [a, b, c]);
        let mut again = Lives::default();
        for document in lives.documents() {
            let (kind, body) = document.as_object().unwrap().iter().next().unwrap();
            assert!(again.read(kind, body).unwrap());
        }
        assert_eq!((again.of(b), again.emergency()), (lives.of(b), Some(until)));
        again.in_force(b, &Entry::RolledBack);
        assert_eq!((again.stack().collect::<Vec<_>>(), again.emergency()), (vec![a, b], None));
        assert!(again.of(b).reviews.get(&name("human:omar")).unwrap().approves);
    }
}
