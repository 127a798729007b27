//! What a release must pass before it comes into force, each with what it says: pure, and the same for every way in.

use std::collections::BTreeSet;

use placet_core::Name;
use placet_facts::World;
use placet_gateway::Life;
use placet_jose::{KeySet, dsse::Envelope};
use placet_json::{Value, object};
use placet_policy::{Release, STATEMENT_TYPE, Statement, Touched, touched};

/// What the settings ask of a release.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// The keys whose signatures count.
    pub signers: KeySet,
    /// How many of them must have signed; 0: none, and a release without an envelope is taken.
    pub signatures: usize,
    /// How many people must have approved each part that changes; 0: nobody.
    pub reviews: usize,
    /// Who reviews what no part of a release owns, where the release doesn't say.
    pub reviewers: BTreeSet<Name>,
}

/// The way in which a release is to come into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As the newest.
    Promotion,
    /// As one that was in force.
    Rollback,
    /// For a while, signed beforehand by two people.
    Emergency,
    /// Named by the settings of a server on which nothing was in force.
    Start,
}

/// A gate: open, or not and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// Its name.
    pub name: &'static str,
    /// Whether it is open.
    pub open: bool,
    /// What it says.
    pub says: String,
}

impl Gate {
    /// As JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        object! { "gate" => self.name, "open" => self.open, "says" => self.says.as_str() }.into()
    }
}

/// A release with all that is known of it.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The release.
    pub release: &'a Release,
    /// What the journal says of it.
    pub life: &'a Life,
    /// Its cases, run here: those that failed, and how many there are.
    pub tested: (&'a [String], usize),
}

/// An envelope that was read, and who signed it.
#[derive(Debug, Clone)]
pub struct Signed {
    /// What was signed.
    pub statement: Statement,
    /// The keys that count and signed it, by thumbprint.
    pub signers: Vec<String>,
    /// All keys that claim to have signed.
    pub claimed: Vec<String>,
}

impl Rules {
    /// Reads an envelope: what it states of this release, and which keys that count signed it. The error says why it is none.
    pub fn read(&self, envelope: &[u8], release: &Release) -> Result<Signed, String> {
        let envelope = Envelope::parse(envelope).map_err(|error| error.to_string())?;
        if envelope.kind() != STATEMENT_TYPE {
            let kind: String = envelope.kind().chars().take(80).collect();
            return Err(format!("the envelope holds `{kind}`, not a release's statement"));
        }
        let statement = Statement::read(envelope.payload()).map_err(|error| error.to_string())?;
        statement.check(release).map_err(|error| error.to_string())?;
        let signers = envelope.signers(STATEMENT_TYPE, &self.signers);
        Ok(Signed {
            statement,
            signers: signers.iter().map(ToString::to_string).collect(),
            claimed: envelope.claimed().map(|key| key.chars().take(64).collect()).collect(),
        })
    }
}

/// Every gate of a way, in the order in which people read them. `before` is the release in force with its life.
#[must_use]
pub fn gates(
    rules: &Rules,
    way: Way,
    candidate: Candidate<'_>,
    before: Option<(&Release, &Life)>,
    world: &World,
) -> Vec<Gate> {
    let Candidate { release, life, tested } = candidate;
    let signed = life.envelope.as_ref().map(|envelope| rules.read(envelope.as_bytes(), release));
    let mut all = vec![signature(rules, way, signed.as_ref()), tests(tested)];
    let stated = signed.as_ref().and_then(|signed| signed.as_ref().ok());
    match way {
        Way::Start => {}
        Way::Rollback => all.push(emergency(stated, false)),
        Way::Emergency => all.push(emergency(stated, true)),
        Way::Promotion => {
            all.push(emergency(stated, false));
            let standing = before
                .and_then(|(release, life)| rules.read(life.envelope.as_ref()?.as_bytes(), release).ok());
            all.push(lineage(rules, stated, standing.as_ref()));
            all.push(review(rules, candidate, stated, before.map(|(release, _)| release), world));
        }
    }
    all
}

fn signature(rules: &Rules, way: Way, signed: Option<&Result<Signed, String>>) -> Gate {
    let needed = if way == Way::Emergency { rules.signatures.max(2) } else { rules.signatures };
    let gate = |open, says: String| Gate { name: "signatures", open, says };
    match signed {
        None if needed == 0 => gate(true, "unsigned, which is taken here".to_owned()),
        None => gate(false, format!("it isn't signed; {needed} signatures are asked for here")),
        Some(Err(why)) => gate(false, why.clone()),
        Some(Ok(Signed { signers, claimed, .. })) => {
            let open = signers.len() >= needed;
            let says = if open {
                let by =
                    if signers.is_empty() { "nobody who is asked".to_owned() } else { signers.join(", ") };
                format!("signed by {by}")
            } else if rules.signers.is_empty() {
                "no keys are configured that sign releases: set `release.signers`".to_owned()
            } else {
                format!(
                    "{} of {needed} keys that count signed it; it names {}",
                    signers.len(),
                    if claimed.is_empty() { "none".to_owned() } else { claimed.join(", ") }
                )
            };
            gate(open, says)
        }
    }
}

fn tests((failed, cases): (&[String], usize)) -> Gate {
    let passed = cases.saturating_sub(failed.len());
    let says = match failed.first() {
        None => format!("{passed} of {cases} cases passed here"),
        Some(first) => format!("{passed} of {cases} cases passed here; the first that failed: {first}"),
    };
    Gate { name: "tests", open: failed.is_empty(), says }
}

/// An emergency release comes into force as one, and nothing else does.
fn emergency(stated: Option<&Signed>, wanted: bool) -> Gate {
    let is = stated.is_some_and(|signed| signed.statement.emergency.is_some());
    let says = match (is, wanted) {
        (true, true) => "signed as an emergency release",
        (false, false) => "no emergency release",
        (true, false) => "it was signed as an emergency release: `placet promote --emergency`",
        (false, true) => "it wasn't signed as an emergency release: `placet release sign --emergency 30m`",
    };
    Gate { name: "kind", open: is == wanted, says: says.to_owned() }
}

fn lineage(rules: &Rules, stated: Option<&Signed>, standing: Option<&Signed>) -> Gate {
    let gate = |open, says: String| Gate { name: "lineage", open, says };
    match (stated, standing) {
        (_, None) => gate(true, "no signed release is in force".to_owned()),
        (None, Some(_)) => gate(rules.signatures == 0, "it has no serial".to_owned()),
        (Some(stated), Some(standing)) => {
            let (ours, theirs) = (stated.statement.serial, standing.statement.serial);
            if ours > theirs {
                gate(true, format!("serial {ours}, above {theirs}"))
            } else {
                gate(
                    false,
                    format!(
                        "serial {ours} is not above {theirs} of the release in force: it is older; going back is `placet rollback`"
                    ),
                )
            }
        }
    }
}

/// Who wrote a release, as far as it is known: who brought it, whose key signed it, whom the commit names.
fn wrote(person: &Name, life: &Life, stated: Option<&Signed>, world: &World) -> bool {
    let id = person.as_str().strip_prefix("human:").unwrap_or(person.as_str());
    let keys = Name::new(id).ok().and_then(|id| world.organisation().human(&id.into()));
    let signed = keys.is_some_and(|human| {
        stated.is_some_and(|stated| stated.claimed.iter().any(|key| human.keys.contains(key)))
    });
    let commit = stated.and_then(|stated| stated.statement.provenance.as_ref()).is_some_and(|provenance| {
        let author = provenance.author.to_lowercase();
        let (name, mail) = author.split_once('<').unwrap_or((author.as_str(), ""));
        let id = id.to_lowercase();
        name.trim() == id || mail.split('@').next() == Some(id.as_str())
    });
    life.brought_by.contains(person) || signed || commit
}

fn review(
    rules: &Rules,
    Candidate { release, life, .. }: Candidate<'_>,
    stated: Option<&Signed>,
    before: Option<&Release>,
    world: &World,
) -> Gate {
    let gate = |open, says: String| Gate { name: "review", open, says };
    if rules.reviews == 0 {
        return gate(true, "no review is asked for here".to_owned());
    }
    let mut missing = Vec::new();
    let mut said = Vec::new();
    if let Some((by, _)) = life.reviews.iter().find(|(_, review)| !review.approves) {
        missing.push(format!("{by} refused it"));
    }
    let parts = touched(before, release);
    for Touched { part, reviewers, approvals, .. } in &parts {
        let part = part.as_ref().map_or("what no part owns", Name::as_str);
        let reviewers = reviewers.as_ref().unwrap_or(&rules.reviewers);
        let needed = usize::try_from(*approvals).unwrap_or(usize::MAX).max(rules.reviews);
        let of = |by: &Name| by.as_str().strip_prefix("human:").and_then(|id| Name::new(id).ok());
        let given: Vec<&Name> = life
            .reviews
            .iter()
            .filter(|(by, review)| review.approves && of(by).is_some_and(|id| reviewers.contains(&id)))
            .filter(|(by, _)| !wrote(by, life, stated, world))
            .map(|(by, _)| by)
            .collect();
        let who = reviewers.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
        if given.len() < needed {
            let who = if who.is_empty() { "nobody is named who may: set `release.reviewers`" } else { &who };
            missing.push(format!("{part}: {} of {needed} approvals, of: {who}", given.len()));
        } else {
            said.push(format!(
                "{part}: {}",
                given.iter().map(|by| by.as_str()).collect::<Vec<_>>().join(", ")
            ));
        }
    }
    if missing.is_empty() {
        let says = if said.is_empty() { "nothing changes".to_owned() } else { said.join("; ") };
        gate(true, says)
    } else {
        gate(false, missing.join("; "))
    }
}

/// Whether a person may review at all, and if not why: an author never does.
pub fn may_review(
    person: &Name,
    rules: &Rules,
    release: &Release,
    life: &Life,
    world: &World,
) -> Result<(), String> {
    let signed = life.envelope.as_ref().and_then(|envelope| rules.read(envelope.as_bytes(), release).ok());
    if wrote(person, life, signed.as_ref(), world) {
        return Err("whoever wrote, signed or brought a release doesn't review it".to_owned());
    }
    Ok(())
}
