//! What a replay comes to.

use std::fmt;

use placet_core::Digest;
use placet_json::{Object, Value, object};

/// The most decisions that a report tells of one by one.
pub const MAX_DETAILS: usize = 1000;
/// The most characters of one side of a difference.
const MAX_SIDE: usize = 600;

/// What a difference is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// The record itself can't be read, or contradicts itself.
    Record,
    /// The release that the record names: its archive is missing or altered, or it never came into force.
    Release,
    /// The engines' versions, where something else differs, too.
    Engine,
    /// The facts of the record's revision.
    Facts,
    /// The policy input.
    Input,
    /// The agents of the chain.
    Chain,
    /// Permit or denial.
    Decision,
    /// The reasons.
    Reasons,
    /// The rules that decided.
    Determining,
    /// The duties.
    Obligations,
    /// What would have helped.
    Remedy,
    /// The approvals that were spent.
    Spends,
}

impl What {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Release => "release",
            Self::Engine => "engine",
            Self::Facts => "facts",
            Self::Input => "input",
            Self::Chain => "chain",
            Self::Decision => "decision",
            Self::Reasons => "reasons",
            Self::Determining => "determining",
            Self::Obligations => "obligations",
            Self::Remedy => "remedy",
            Self::Spends => "spends",
        }
    }
    /// Whether what the decision rests on differs, not what came of it.
    #[must_use]
    pub fn is_evidence(self) -> bool {
        matches!(self, Self::Record | Self::Release | Self::Engine | Self::Facts | Self::Input | Self::Chain)
    }
}

/// One thing that isn't as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What.
    pub what: What,
    /// As it was recorded.
    pub recorded: String,
    /// As it is found now.
    pub now: String,
}

impl Difference {
    pub(crate) fn new(what: What, recorded: impl fmt::Display, now: impl fmt::Display) -> Self {
        let cut = |text: String| {
            if text.chars().count() > MAX_SIDE {
                text.chars().take(MAX_SIDE).chain(['…']).collect()
            } else {
                text
            }
        };
        Self { what, recorded: cut(recorded.to_string()), now: cut(now.to_string()) }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, recorded, now } = self;
        if *what == What::Engine {
            return write!(f, "engine differs: recorded {recorded}; now {now}");
        }
        let kind = if what.is_evidence() { "evidence differs" } else { "differs" };
        write!(f, "{kind}: {}: recorded {recorded}; now {now}", what.as_str())
    }
}

/// What became of one decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is decided the same again.
    Same,
    /// It isn't; at least one difference.
    Differs(Vec<Difference>),
    /// It can't be decided again, for this reason.
    CannotTell(String),
    /// It can't be decided again, since what it takes was erased.
    Erased(String),
    /// It was refused before there was anything to decide.
    NotDecided,
}

/// One decision that isn't simply the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detail {
    /// Its position in the journal.
    pub sequence: u64,
    /// Its identifier; empty where the record can't be read.
    pub id: String,
    /// Its tree: the tenant's.
    pub tenant: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// What a replay comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// Another release that was asked instead of the recorded ones.
    pub against: Option<Digest>,
    /// Decisions that are the same.
    pub same: u64,
    /// Decisions that differ.
    pub differs: u64,
    /// Decisions that can't be made again.
    pub cannot_tell: u64,
    /// Decisions whose bodies were erased.
    pub erased: u64,
    /// Records up to here weren't looked at: they are archived, or the facts of then are. 0: all were.
    pub archived: u64,
    /// Refusals that came before any decision.
    pub not_decided: u64,
    /// How many differ in what: a decision that differs in two ways counts for both.
    pub by_what: std::collections::BTreeMap<&'static str, u64>,
    /// Those that differ or can't be told, in the journal's order, at most [`MAX_DETAILS`].
    pub details: Vec<Detail>,
}

impl ReplayReport {
    /// Whether each decision that there was is the same again.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.is_same_but_erased() && self.erased == 0
    }

    /// The same, but for decisions whose bodies were erased.
    #[must_use]
    pub fn is_same_but_erased(&self) -> bool {
        self.differs == 0 && self.cannot_tell == 0
    }

    /// How many were decided on something.
    #[must_use]
    pub fn decided(&self) -> u64 {
        self.same.saturating_add(self.differs).saturating_add(self.cannot_tell).saturating_add(self.erased)
    }

    /// How many records of decisions were looked at.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.decided().saturating_add(self.not_decided)
    }

    pub(crate) fn add(&mut self, sequence: u64, id: &str, tenant: &str, outcome: Outcome) {
        let count = match &outcome {
            Outcome::Same => &mut self.same,
            Outcome::Differs(_) => &mut self.differs,
            Outcome::CannotTell(_) => &mut self.cannot_tell,
            Outcome::Erased(_) => &mut self.erased,
            Outcome::NotDecided => &mut self.not_decided,
        };
        *count = count.saturating_add(1);
        if let Outcome::Differs(differences) = &outcome {
            for difference in differences {
                let count = self.by_what.entry(difference.what.as_str()).or_default();
                *count = count.saturating_add(1);
            }
        }
        if matches!(outcome, Outcome::Differs(_) | Outcome::CannotTell(_) | Outcome::Erased(_)) {
            self.details.push(Detail { sequence, id: id.to_owned(), tenant: tenant.to_owned(), outcome });
            // Results come in any order; what is kept is the first ones of the journal.
            if self.details.len() >= MAX_DETAILS.saturating_mul(2) {
                self.finish();
            }
        }
    }

    pub(crate) fn finish(&mut self) {
        self.details.sort_by_key(|detail| detail.sequence);
        self.details.truncate(MAX_DETAILS);
    }

    /// As JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let details = self.details.iter().map(|detail| {
            let Detail { sequence, id, tenant, outcome } = detail;
            let mut object = object! { "sequence" => *sequence, "id" => id.as_str(), "tenant" => tenant.as_str() };
            match outcome {
                Outcome::Differs(differences) => {
                    let all = differences.iter().map(|d| Value::from(object! { "what" => d.what.as_str(), "evidence" => d.what.is_evidence(), "recorded" => d.recorded.as_str(), "now" => d.now.as_str() }));
                    object.insert("differs", all.collect::<Vec<_>>());
                }
                Outcome::CannotTell(why) => {
                    object.insert("cannot_tell", why.as_str());
                }
                Outcome::Erased(why) => {
                    object.insert("erased", why.as_str());
                }
                Outcome::Same | Outcome::NotDecided => {}
            }
            Value::from(object)
        });
        let mut report = Object::new();
        let verdict = match (self.is_same_but_erased(), self.erased) {
            (true, 0) => "same",
            (true, _) => "erased",
            (false, _) => "differs",
        };
        report.insert("verdict", verdict);
        report.insert("decisions", self.decided());
        report.insert("same", self.same);
        report.insert("differs", self.differs);
        let by_what = self.by_what.iter().map(|(what, count)| (*what, Value::from(*count)));
        report.insert("differs_in", by_what.collect::<Object>());
        report.insert("cannot_tell", self.cannot_tell);
        report.insert("erased", self.erased);
        report.insert("not_decided", self.not_decided);
        report.insert("archived", self.archived);
        report
            .insert("release", self.against.map_or(Value::Null, |release| Value::from(release.to_string())));
        report.insert("details", details.collect::<Vec<_>>());
        Value::Object(report)
    }
}

impl fmt::Display for ReplayReport {
    /// For people: `same` or what differs, the counts last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Detail { sequence, id, tenant, outcome } in &self.details {
            match outcome {
                Outcome::Differs(differences) => {
                    for difference in differences {
                        writeln!(f, "record {sequence} ({tenant}) {id}: {difference}")?;
                    }
                }
                Outcome::CannotTell(why) => {
                    writeln!(f, "record {sequence} ({tenant}) {id}: can't tell: {why}")?;
                }
                Outcome::Erased(why) => writeln!(f, "record {sequence} ({tenant}) {id}: {why}")?,
                Outcome::Same | Outcome::NotDecided => {}
            }
        }
        let told = u64::try_from(self.details.len()).unwrap_or(u64::MAX);
        let untold = self.decided().saturating_sub(self.same).saturating_sub(told);
        if untold > 0 {
            writeln!(f, "… and {untold} more")?;
        }
        if !self.by_what.is_empty() {
            let all: Vec<_> = self.by_what.iter().map(|(what, count)| format!("{what} {count}")).collect();
            writeln!(f, "what differs: {}", all.join(", "))?;
        }
        if self.archived > 0 {
            writeln!(f, "archived: records 1 to {} weren't decided again; `--archive` does", self.archived)?;
        }
        if let Some(release) = self.against {
            writeln!(f, "against release {release}:")?;
        }
        if self.erased > 0 && self.is_same_but_erased() {
            write!(f, "{} of {} the same, none differs", self.same, self.decided())?;
        } else {
            self.verdict(f)?;
        }
        if self.cannot_tell > 0 {
            write!(f, ", {} can't be told", self.cannot_tell)?;
        }
        if self.erased > 0 {
            write!(f, ", {} erased", self.erased)?;
        }
        if self.not_decided > 0 {
            write!(f, " ({} refused before there was anything to decide)", self.not_decided)?;
        }
        writeln!(f)
    }
}

impl ReplayReport {
    fn verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.is_same(), self.decided()) {
            (true, 0) => write!(f, "no decision to make again")?,
            (true, 1) => write!(f, "same")?,
            (true, all) => write!(f, "same: {all} of {all}")?,
            (false, all) => write!(f, "{} of {all} the same, {} differ", self.same, self.differs)?,
        }
        Ok(())
    }
}
