//! Finding out whether calls of unknown end had their effect: by the catalog's resolver of the tool, or by a person.
//! What is found is a new entry of the ledger; the old ones stay as they are.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use placet_catalog::{DidNot, Filling, Reading};
use placet_core::{DecisionId, Name};
use placet_record::{Amendment, AskedRecord};

use crate::{
    Ledger, Observer, Unamended, UnknownEffect,
    lookup::{Read, Reader},
};

/// The longest wait, in milliseconds.
const LONGEST_WAIT: u64 = 3_600_000;
/// Tries by itself; then a person, or an order to try again, decides.
const MAX_TRIES: u32 = 12;
/// Effects asked about in one pass.
const MAX_PASS: usize = 16;
/// How long one may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Who finds out where no person does.
const RESOLVER: &str = "resolver";

/// Why an effect isn't resolved.
#[derive(Debug, thiserror::Error)]
pub enum Unresolvable {
    /// There is no effect of that decision that nobody knows.
    #[error("no effect of `{0}` is unknown")]
    Unknown(DecisionId),
    /// The catalog doesn't say how to find out.
    #[error(
        "the catalog has no resolver for `{0}`: say what happened, with `--happened` or `--did-not-happen`"
    )]
    NoResolver(Name),
    /// It was asked, and that told nothing.
    #[error("nothing was found out: {0}")]
    Nothing(String),
    /// It isn't in the ledger.
    #[error(transparent)]
    Unamended(#[from] Unamended),
}

/// Finds out, one after the other.
#[derive(Clone)]
pub struct Effects {
    ledger: Ledger,
    reader: Reader,
    observer: Arc<dyn Observer>,
    tried: Arc<Mutex<HashMap<u64, Tried>>>,
}

#[derive(Clone, Copy)]
struct Tried {
    times: u32,
    next: u64,
}

impl std::fmt::Debug for Effects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Effects")
    }
}

impl Effects {
    pub(crate) fn new(reader: Reader, observer: Arc<dyn Observer>) -> Self {
        Self { ledger: reader.ledger.clone(), reader, observer, tried: Arc::default() }
    }

    /// What nobody knows, the oldest first, with the journal positions of the decisions.
    #[must_use]
    pub fn unknown(&self) -> Vec<(u64, UnknownEffect)> {
        self.ledger.unresolved()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ledger.unresolved_count()
    }

    /// The catalog name of the tool that a decision permitted.
    pub fn tool(&self, at: u64) -> Result<Name, String> {
        self.call(at).map(|call| call.entry)
    }

    /// Asks the tool's resolver about one effect. Whether it happened, and where that is recorded.
    pub async fn resolve(&self, decision: &DecisionId) -> Result<(bool, u64), Unresolvable> {
        let (at, effect) = self.find(decision)?;
        self.ask(at, effect).await
    }

    /// A person says what happened.
    pub async fn declare(
        &self,
        decision: &DecisionId,
        happened: bool,
        by: &Name,
        why: &str,
    ) -> Result<u64, Unresolvable> {
        let (at, effect) = self.find(decision)?;
        let finding = Finding { happened, by: by.as_str(), how: String::new(), why };
        self.record(finding, at, effect).await
    }

    /// Asks about those whose time has come, a few in one pass: `settle` after the ending, since what is on its way may
    /// still arrive, and after each try in vain twice as long as before. How many were found out.
    pub async fn pass(&self, settle: Duration) -> usize {
        let settle = u64::try_from(settle.as_millis()).unwrap_or(u64::MAX);
        let now = self.ledger.now().millis();
        let all = self.ledger.unresolved();
        let mut due = Vec::new();
        {
            let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
            tried.retain(|at, _| all.iter().any(|(of, _)| of == at));
            for (at, effect) in all {
                let next = tried.get(&at).map_or(effect.since.millis().saturating_add(settle), |tried| {
                    if tried.times < MAX_TRIES { tried.next } else { u64::MAX }
                });
                if next <= now && due.len() < MAX_PASS {
                    due.push((at, effect));
                }
            }
        }
        let mut found = 0_usize;
        for (at, effect) in due {
            let decision = effect.decision.clone();
            match self.ask(at, effect).await {
                Ok((happened, _)) => {
                    found = found.saturating_add(1);
                    tracing::info!(%decision, happened, "an effect that nobody knew was found out");
                }
                Err(error) => {
                    tracing::debug!(%decision, %error, "an effect stays unknown");
                    self.later(at, now, settle);
                }
            }
        }
        found
    }

    fn later(&self, at: u64, now: u64, settle: u64) {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let times = tried.get(&at).map_or(0, |tried| tried.times);
        let wait = settle.saturating_mul(1 << times.min(MAX_TRIES)).min(LONGEST_WAIT);
        tried.insert(at, Tried { times: times.saturating_add(1), next: now.saturating_add(wait) });
    }

    fn find(&self, decision: &DecisionId) -> Result<(u64, UnknownEffect), Unresolvable> {
        let mut all = self.ledger.unresolved().into_iter();
        all.find(|(_, effect)| effect.decision == *decision)
            .ok_or_else(|| Unresolvable::Unknown(decision.clone()))
    }

    fn call(&self, at: u64) -> Result<placet_core::Call, String> {
        let record = self.ledger.reader().get(at).map_err(|error| error.to_string())?;
        let record = record.ok_or_else(|| format!("record {at} is missing"))?;
        match self.ledger.read_decision(&record)?.asked {
            AskedRecord::Call(call) => Ok(*call),
            AskedRecord::Attempt(_) => Err(format!("record {at} has no call")),
        }
    }

    async fn ask(&self, at: u64, effect: UnknownEffect) -> Result<(bool, u64), Unresolvable> {
        let call = self.call(at).map_err(Unresolvable::Nothing)?;
        let release = self.ledger.releases().current();
        let entry = release.as_ref().and_then(|release| release.catalog().entry(call.entry.as_str()));
        let resolver = entry.and_then(|entry| entry.resolver());
        let resolver = resolver.ok_or_else(|| Unresolvable::NoResolver(call.entry.clone()))?;
        let arguments = call.arguments.to_value();
        let filling = Filling {
            tenant: &effect.tenant,
            resource: call.resources.first(),
            call: Some((call.id.as_str(), &arguments)),
        };
        let read = self.reader.read(&resolver.reading, &filling, "resolve", LIMIT).await;
        let happened = match read.map_err(Unresolvable::Nothing)? {
            Read::Document(document) => resolver.reads(&document),
            Read::NotFound => resolver.reads_not_found(),
        };
        let happened = happened.ok_or_else(|| {
            let told = match &resolver.did_not {
                DidNot::Never => "it doesn't say that it happened, and the catalog doesn't say how it would tell that it didn't",
                DidNot::NotFound | DidNot::Says(_) => "it says neither that it happened nor that it didn't",
            };
            Unresolvable::Nothing(told.to_owned())
        })?;
        let how = match &resolver.reading {
            Reading::Tool { entry, .. } => format!("by `{entry}`"),
            Reading::Get { upstream, .. } => format!("by a document of `{upstream}`"),
        };
        let finding = Finding { happened, by: RESOLVER, how, why: "" };
        let entry = self.record(finding, at, effect).await?;
        Ok((happened, entry))
    }

    async fn record(
        &self,
        finding: Finding<'_>,
        at: u64,
        effect: UnknownEffect,
    ) -> Result<u64, Unresolvable> {
        let told = if finding.happened { "happened" } else { "did_not_happen" };
        let by = if finding.by == RESOLVER { RESOLVER } else { "person" };
        let entry = self.ledger.amend(&finding.about(at, effect)).await?;
        self.observer.found_out(told, by);
        Ok(entry)
    }
}

struct Finding<'a> {
    happened: bool,
    by: &'a str,
    how: String,
    why: &'a str,
}

impl Finding<'_> {
    fn about(self, at: u64, effect: UnknownEffect) -> Amendment {
        let Self { happened, by, how, why } = self;
        let UnknownEffect { tenant, workflow, decision, since: _, agent: _, moves: _ } = effect;
        Amendment {
            decision,
            at,
            tenant,
            workflow: workflow.to_string(),
            happened,
            returned: !happened,
            by: by.to_owned(),
            how,
            why: why.to_owned(),
        }
    }
}
