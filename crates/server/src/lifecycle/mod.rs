//! How a release comes into force, whoever brings it: one place that loads it, runs its cases, asks the gates and writes
//! the journal. What is refused changes nothing, and the one in force stays.

mod emergency;
mod gates;
mod git;
mod start;

use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use placet_core::{Digest, FactsView, Name, Timestamp};
use placet_facts::{World, tenant_of};
use placet_gateway::{Act, ArchiveError, ComesInForce, Ledger, Life, Over, Refused, Shadow, Step};
use placet_jose::{KeySet, dsse::Envelope};
use placet_json::Value;
use placet_policy::{Release, Report};

pub use gates::{Candidate, Gate, Rules, Signed, Way, gates, may_review};
pub use git::{Follows, GitState};
pub(crate) use start::put_in_force;

use crate::settings::{Promotion, Settings};

/// Releases that were loaded and tested and are kept for the next question.
const KEPT: usize = 4;

/// Why a release doesn't come into force.
#[derive(Debug, thiserror::Error)]
pub enum NotInForce {
    /// There is no such release here.
    #[error("there is no release `{0}` here")]
    Unknown(Digest),
    /// It doesn't load.
    #[error("{0}")]
    NoRelease(String),
    /// Gates are shut: all of them, with what they say.
    #[error("{}", told(.0))]
    Shut(Vec<Gate>),
    /// It was never in force here, or there is none before.
    #[error("{0}")]
    Nothing(String),
    /// An envelope that can't be used.
    #[error("{0}")]
    Envelope(String),
    /// A reviewer who may not.
    #[error("{0}")]
    Reviewer(String),
    /// Another came into force meanwhile.
    #[error("another release came into force meanwhile; look at it again")]
    Overtaken,
    /// The ledger takes nothing.
    #[error("{0}")]
    Down(String),
}

fn told(gates: &[Gate]) -> String {
    let shut: Vec<String> =
        gates.iter().filter(|gate| !gate.open).map(|gate| format!("{}: {}", gate.name, gate.says)).collect();
    shut.join("; ")
}

impl From<ArchiveError> for NotInForce {
    fn from(error: ArchiveError) -> Self {
        Self::NoRelease(error.to_string())
    }
}

impl From<Refused> for NotInForce {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Overtaken => Self::Overtaken,
            Refused::Change(_) | Refused::Down(_) => Self::Down(refused.to_string()),
        }
    }
}

/// A release that was loaded, with how its cases came out here.
#[derive(Debug)]
pub struct Tested {
    /// The release.
    pub release: Arc<Release>,
    /// The cases that failed.
    pub failed: Vec<String>,
    /// How many cases there are.
    pub cases: usize,
}

/// The way of releases into force. Cheap to clone.
#[derive(Clone)]
pub struct Lifecycle {
    ledger: Ledger,
    rules: Arc<Rules>,
    shadow: Shadow,
    kept: Arc<Mutex<VecDeque<Arc<Tested>>>>,
}

impl std::fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lifecycle").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl Lifecycle {
    /// By these rules, on this ledger.
    #[must_use]
    pub fn new(ledger: Ledger, rules: Rules) -> Self {
        Self { ledger, rules: Arc::new(rules), shadow: Shadow::default(), kept: Arc::default() }
    }
    /// With the place of a candidate beside the release in force.
    #[must_use]
    pub fn shadowed(self, shadow: Shadow) -> Self {
        Self { shadow, ..self }
    }
    /// The place of a candidate beside the release in force.
    #[must_use]
    pub fn shadow(&self) -> &Shadow {
        &self.shadow
    }
    /// What is asked of a release here.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }
    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What runs beside serving: emergency releases end, and a repository is followed.
    pub(crate) fn work(
        &self,
        settings: &Settings,
        follows: Follows,
    ) -> Vec<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>> {
        let mut works: Vec<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>> =
            vec![Box::pin(emergency::watch(self.clone()))];
        if let Some(source) = settings.promotion.git.clone() {
            let dir = settings.server.data.join("git");
            works.push(Box::pin(git::follow(self.clone(), source, dir, follows)));
        }
        works
    }

    /// Loads a release that is kept and runs its cases. Blocks.
    pub fn tested(&self, digest: Digest) -> Result<Arc<Tested>, NotInForce> {
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept().iter().find(|known| known.release.digest() == digest) {
            return Ok(Arc::clone(known));
        }
        let release = self.ledger.archives().load(digest).map_err(|error| match error {
            ArchiveError::Missing => NotInForce::Unknown(digest),
            other @ (ArchiveError::Down(_) | ArchiveError::NoRelease(_)) => other.into(),
        })?;
        let tested = Arc::new(test(Arc::new(release)));
        let mut kept = kept();
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(&tested));
        Ok(tested)
    }

    /// The gates of a way for a release that is kept, as they stand now. Blocks.
    pub fn gates(&self, digest: Digest, way: Way) -> Result<(Arc<Tested>, Vec<Gate>), NotInForce> {
        let tested = self.tested(digest)?;
        let gates = self.ask(&tested, way);
        Ok((tested, gates))
    }

    fn ask(&self, tested: &Tested, way: Way) -> Vec<Gate> {
        let lives = self.ledger.lives();
        let life = lives.of(tested.release.digest());
        let current = self.ledger.releases().current();
        let standing = current.as_ref().map(|release| lives.of(release.digest()));
        let before = current.as_deref().zip(standing.as_ref());
        let candidate =
            Candidate { release: &tested.release, life: &life, tested: (&tested.failed, tested.cases) };
        gates(&self.rules, way, candidate, before, &self.ledger.live().world())
    }

    /// Notes who brought a release. Its archive is kept already.
    pub async fn brought(&self, digest: Digest, by: &Name, why: &str) -> Result<(), NotInForce> {
        if self.ledger.lives().of(digest).brought_by.contains(by) {
            return Ok(());
        }
        let step = Step::Brought { by: by.clone() };
        self.ledger.step(digest, step, by, &format!("upload of release {digest}"), why).await?;
        Ok(())
    }

    /// Takes a release's envelope. Signatures of the same statement add up; another statement takes the place of the one
    /// before only if a key that counts signed it, where keys count.
    pub async fn sign(&self, digest: Digest, envelope: &[u8], by: &Name) -> Result<Signed, NotInForce> {
        let tested = self.load(digest).await?;
        let read = |bytes: &[u8]| self.rules.read(bytes, &tested.release).map_err(NotInForce::Envelope);
        let signed = read(envelope)?;
        if signed.signers.is_empty() && !self.rules.signers.is_empty() {
            let why = format!("no key that counts here signed it; it names {}", signed.claimed.join(", "));
            return Err(NotInForce::Envelope(why));
        }
        let wrong = |error: placet_jose::dsse::EnvelopeError| NotInForce::Envelope(error.to_string());
        let mut envelope = Envelope::parse(envelope).map_err(wrong)?;
        if let Some(known) = self.ledger.lives().of(digest).envelope
            && let Ok(known) = Envelope::parse(known.as_bytes())
            && known.payload() == envelope.payload()
        {
            envelope.merge(&known).map_err(wrong)?;
        }
        let text = envelope.to_value().to_string();
        let signed = read(text.as_bytes())?;
        let verb = format!("signature of release {digest}");
        let why = format!("signed by {}", signed.claimed.join(", "));
        self.ledger.step(digest, Step::Signed { envelope: text }, by, &verb, &why).await?;
        Ok(signed)
    }

    /// Takes a person's review.
    pub async fn review(
        &self,
        digest: Digest,
        by: &Name,
        approves: bool,
        why: &str,
    ) -> Result<(), NotInForce> {
        let tested = self.load(digest).await?;
        let (life, world) = (self.ledger.lives().of(digest), self.ledger.live().world());
        may_review(by, &self.rules, &tested.release, &life, &world).map_err(NotInForce::Reviewer)?;
        let verb = format!("{} of release {digest}", if approves { "approval" } else { "refusal" });
        self.ledger.step(digest, Step::Reviewed { by: by.clone(), approves }, by, &verb, why).await?;
        Ok(())
    }

    /// Puts a release in force that passes every gate; its position, and the one that was in force before.
    pub async fn promote(
        &self,
        digest: Digest,
        by: &Name,
        why: &str,
        way: Way,
    ) -> Result<(u64, Option<Digest>), NotInForce> {
        let before = self.ledger.release_in_journal();
        let tested = self.load(digest).await?;
        let gates = self.ask(&tested, way);
        if gates.iter().any(|gate| !gate.open) {
            return Err(NotInForce::Shut(gates));
        }
        let how = match way {
            Way::Promotion | Way::Start => ComesInForce::Promoted,
            Way::Rollback => ComesInForce::RolledBack,
            Way::Emergency => ComesInForce::Emergency { until: self.ends(&tested)? },
        };
        let release = Arc::clone(&tested.release);
        let at = self.ledger.put_in_force(release, by, why, how, Over::This(before)).await?;
        Ok((at, before))
    }

    /// Goes back to a release that was in force: the one before, or a named one.
    pub async fn rollback(
        &self,
        to: Option<Digest>,
        by: &Name,
        why: &str,
    ) -> Result<(u64, Digest, Option<Digest>), NotInForce> {
        let stack: Vec<Digest> = self.ledger.lives().stack().collect();
        let mut earlier = stack.iter().rev().skip(1);
        let to = match to {
            None => *earlier
                .next()
                .ok_or_else(|| NotInForce::Nothing("no release was in force before this one".to_owned()))?,
            Some(to) if earlier.any(|digest| *digest == to) => to,
            Some(to) => {
                let why =
                    format!("`{to}` wasn't in force before this one; `placet promote` brings a new one");
                return Err(NotInForce::Nothing(why));
            }
        };
        let (at, before) = self.promote(to, by, why, Way::Rollback).await?;
        Ok((at, to, before))
    }

    /// Puts a candidate beside the release in force. It decides nothing; no gate is asked but that it loads.
    pub async fn start_shadow(&self, digest: Digest, by: &Name, why: &str) -> Result<(), NotInForce> {
        let tested = self.load(digest).await?;
        self.end_shadow(by, "another candidate takes its place").await?;
        self.shadow.start(Arc::clone(&tested.release), self.ledger.now()).map_err(NotInForce::Down)?;
        self.deed(by, format!("shadow of release {digest}"), why.to_owned()).await
    }

    /// Takes the candidate away and records what it came to; none where there was none.
    pub async fn end_shadow(&self, by: &Name, why: &str) -> Result<Option<Value>, NotInForce> {
        let Some(report) = self.shadow.end() else { return Ok(None) };
        let of = |name: &str| report.get(name).map(ToString::to_string).unwrap_or_default();
        let differences: String = of("differences").chars().take(4_000).collect();
        let told = format!(
            "{} of {} calls differ, {} left out; {why}; {differences}",
            of("differing"),
            of("compared"),
            of("dropped")
        );
        let release = report.get("release").and_then(Value::as_str).unwrap_or_default().to_owned();
        self.deed(by, format!("end of the shadow of release {release}"), told).await?;
        Ok(Some(report))
    }

    async fn deed(&self, by: &Name, verb: String, why: String) -> Result<(), NotInForce> {
        self.ledger.act(Act { by: by.clone(), verb, refused: false, why, tenant: None }).await?;
        Ok(())
    }

    async fn load(&self, digest: Digest) -> Result<Arc<Tested>, NotInForce> {
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.tested(digest))
            .await
            .map_err(|error| NotInForce::Down(error.to_string()))?
    }

    /// When an emergency release that comes into force now ends.
    fn ends(&self, tested: &Tested) -> Result<Timestamp, NotInForce> {
        let life: Life = self.ledger.lives().of(tested.release.digest());
        let signed =
            life.envelope.as_ref().map(|envelope| self.rules.read(envelope.as_bytes(), &tested.release));
        let length = signed.and_then(Result::ok).and_then(|signed| signed.statement.emergency);
        let length = length.ok_or_else(|| NotInForce::Nothing("it is no emergency release".to_owned()))?;
        Ok(self.ledger.now().plus_millis(length))
    }
}

/// Runs a release's cases.
pub(crate) fn test(release: Arc<Release>) -> Tested {
    let report: Report = release.test(&facts);
    let failed = report.results.iter().filter(|result| !result.passed);
    let failed = failed.map(|result| format!("{}: {}", result.file, result.name)).collect();
    Tested { release, failed, cases: report.results.len() }
}

/// The facts that a case's file describes.
pub(crate) fn facts(file: &Value) -> Result<Arc<dyn FactsView>, String> {
    let tenant = tenant_of(file).map_err(|error| error.to_string())?.ok_or("the facts name no `tenant`")?;
    let world = World::from_file(file).map_err(|error| error.to_string())?;
    let snapshot = world.snapshot(&tenant).ok_or_else(|| format!("the facts know no tenant `{tenant}`"))?;
    Ok(Arc::new(snapshot))
}

/// The rules of the settings. The error names the file of keys.
pub(crate) fn rules(promotion: &Promotion) -> Result<Rules, String> {
    let signers = match &promotion.signers {
        None => KeySet::new(),
        Some(path) => signers(path)?,
    };
    let narrow = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Ok(Rules {
        signers,
        signatures: narrow(promotion.signatures),
        reviews: narrow(promotion.reviews),
        reviewers: promotion.reviewers.clone(),
    })
}

fn signers(path: &Path) -> Result<KeySet, String> {
    let document = std::fs::read(path).map_err(|error| format!("`{}`: {error}", path.display()))?;
    let set = KeySet::from_jwks(&document).map_err(|error| format!("`{}`: {error}", path.display()))?;
    if set.is_empty() { Err(format!("`{}` holds no key", path.display())) } else { Ok(set) }
}
