//! Where facts come from, and how old what came from there is. A source that is past its bound, that has a gap, or that
//! nobody has heard of since the start is stale: decisions of its tenant (for a source of the organisation: of every
//! tenant) are denied until it is well again.
//!
//! Freshness is no fact: it isn't in the journal, and a restart begins with nothing seen. A gap that somebody reported is an
//! act in the journal, so that it holds at every gateway and after a restart ([`Sources::record`]). What a decision found
//! is in the decision's record. Time is an argument throughout.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use placet_core::{Freshness, Name, TenantId, Timestamp};

use crate::Place;

/// The most sources of one server: each decision looks at those of its tenant and of the organisation.
pub const MAX_SOURCES: usize = 1024;
/// The bound of a polled source that says nothing else, in milliseconds.
pub const DEFAULT_BOUND_MS: u64 = 5_000;
/// The longest bound: a week, in milliseconds.
pub const MAX_BOUND_MS: u64 = 7 * 24 * 3_600_000;
/// The longest account of what is wrong with a source, in characters.
const MAX_WHY: usize = 256;

/// How a source is kept up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is asked again and again; what it said is good for `bound_ms` milliseconds from the moment of asking.
    Polled {
        /// The bound: 1 to [`MAX_BOUND_MS`].
        bound_ms: u64,
    },
    /// It tells when something changes, and silence means that nothing did. Declared, never assumed. It doesn't age, but
    /// may have a gap.
    PushOnly,
    /// People and programs change these facts here. It doesn't age.
    Local,
}

impl Mode {
    /// As it is written in settings and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Polled { .. } => "polled",
            Self::PushOnly => "push-only",
            Self::Local => "local",
        }
    }
}

/// A source as it is declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name, unique in the server: also the `source` of its transactions.
    pub name: Name,
    /// Whose facts depend on it.
    pub place: Place,
    /// How it is kept up.
    pub mode: Mode,
}

/// Why a source isn't declared or known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Nobody declared it.
    #[error("there is no source `{0}`")]
    Unknown(Name),
    /// Its name is another's already.
    #[error("the source `{0}` is declared for another place already")]
    Taken(Name),
    /// A bound of 0 or beyond [`MAX_BOUND_MS`].
    #[error("the source `{0}` has a bound of {1} ms; give 1 to {MAX_BOUND_MS} ms")]
    Bound(Name, u64),
    /// There are [`MAX_SOURCES`].
    #[error("there are {MAX_SOURCES} sources already")]
    TooMany,
}

/// A source as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceStatus {
    /// As it was declared.
    pub source: Source,
    /// When what it says was last known to be complete; none since the start.
    pub seen: Option<Timestamp>,
    /// Its age in milliseconds: 0 where it doesn't age; since the declaration where nothing was seen yet.
    pub age_ms: u64,
    /// Why it is stale; none while it is well.
    pub stale: Option<String>,
    /// Why the last attempt failed; none after a success.
    pub broken: Option<String>,
}

/// The sources of a server. Writers are few and seldom; a reader loads one pointer.
#[derive(Debug, Default)]
pub struct Sources {
    table: ArcSwap<Table>,
    /// One writer at a time.
    writing: Mutex<()>,
}

#[derive(Debug, Clone, Default)]
struct Table {
    organisation: Arc<Vec<State>>,
    tenants: BTreeMap<TenantId, Arc<Vec<State>>>,
    /// Gaps of the journal, by source: whose facts depend on it, and what is missing.
    recorded: BTreeMap<Name, (Place, String)>,
}

#[derive(Debug, Clone)]
pub(crate) struct State {
    source: Source,
    declared: Timestamp,
    seen: Option<Timestamp>,
    gap: Option<String>,
    broken: Option<String>,
    /// The gap that the journal knows of.
    recorded: Option<String>,
    /// Whether the settings name it. One that only the journal knows has a gap, or it wouldn't be here.
    declared_here: bool,
}

impl Sources {
    /// None yet: everything is local, and fresh.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares a source; a polled one is stale until it is [`Sources::seen`]. Declaring it again changes its mode and
    /// keeps what is known of it.
    pub fn declare(&self, source: Source, now: Timestamp) -> Result<(), SourceError> {
        if let Mode::Polled { bound_ms } = source.mode
            && !(1..=MAX_BOUND_MS).contains(&bound_ms)
        {
            return Err(SourceError::Bound(source.name, bound_ms));
        }
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = Table::clone(&self.table.load());
        match table.get_mut(&source.name) {
            Some(known) if known.source.place != source.place => return Err(SourceError::Taken(source.name)),
            Some(known) => known.source = source,
            None => {
                if table.all().filter(|state| state.declared_here).count() >= MAX_SOURCES {
                    return Err(SourceError::TooMany);
                }
                table.push(State {
                    source,
                    declared: now,
                    seen: None,
                    gap: None,
                    broken: None,
                    recorded: None,
                    declared_here: true,
                });
            }
        }
        table.mark();
        self.table.store(Arc::new(table));
        Ok(())
    }

    /// What the source says was complete at `at` and is applied: give the moment at which it was asked, not that of its
    /// answer. An earlier moment than the last one changes nothing.
    pub fn seen(&self, source: &Name, at: Timestamp) -> Result<(), SourceError> {
        self.change(source, |state| {
            state.seen = state.seen.max(Some(at));
            state.broken = None;
        })
    }

    /// An attempt failed. What is known stays good until the bound; `why` is shown to operators.
    pub fn broken(&self, source: &Name, why: &str) -> Result<(), SourceError> {
        self.change(source, |state| state.broken = Some(bounded(why)))
    }

    /// Something that the source said is lost or couldn't be applied: it is stale at once, whatever its mode, until
    /// [`Sources::closed`].
    pub fn gap(&self, source: &Name, what: &str) -> Result<(), SourceError> {
        self.change(source, |state| state.gap = Some(bounded(what)))
    }

    /// The gap is closed: everything was fetched again and applied.
    pub fn closed(&self, source: &Name) -> Result<(), SourceError> {
        self.change(source, |state| state.gap = None)
    }

    /// The source is gone, and nothing depends on it any more.
    pub fn forget(&self, source: &Name) -> Result<(), SourceError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = Table::clone(&self.table.load());
        if table.get_mut(source).is_none() {
            return Err(SourceError::Unknown(source.clone()));
        }
        for list in table.lists_mut() {
            if list.iter().any(|state| state.source.name == *source) {
                Arc::make_mut(list).retain(|state| state.source.name != *source);
            }
        }
        table.mark();
        self.table.store(Arc::new(table));
        Ok(())
    }

    /// Takes over the gaps that the journal knows of, all of them. A source that isn't declared here has its gap all the
    /// same: what one gateway was told of denies at every one.
    pub fn record(&self, gaps: BTreeMap<Name, (Place, String)>) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.table.load().recorded == gaps {
            return;
        }
        let mut table = Table::clone(&self.table.load());
        table.recorded = gaps;
        table.mark();
        self.table.store(Arc::new(table));
    }

    /// How a declared source is kept up.
    #[must_use]
    pub fn mode(&self, source: &Name) -> Option<Mode> {
        let table = self.table.load();
        table.all().find(|state| state.declared_here && state.source.name == *source).map(|it| it.source.mode)
    }

    /// All of them as they are at `now`: the organisation's, then by tenant.
    #[must_use]
    pub fn list(&self, now: Timestamp) -> Vec<SourceStatus> {
        self.table.load().all().map(|state| state.status(now)).collect()
    }

    /// The first stale source of all, for readiness.
    #[must_use]
    pub fn stale(&self, now: Timestamp) -> Option<SourceStatus> {
        self.table.load().all().map(|state| state.status(now)).find(|status| status.stale.is_some())
    }

    /// What a decision of `tenant` depends on, as it is known at this moment.
    pub(crate) fn of(&self, tenant: &TenantId) -> Ages {
        let table = self.table.load();
        let own = table.tenants.get(tenant).cloned().unwrap_or_default();
        Ages::Known([Arc::clone(&table.organisation), own])
    }

    fn change(&self, source: &Name, change: impl FnOnce(&mut State)) -> Result<(), SourceError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = Table::clone(&self.table.load());
        change(table.get_mut(source).ok_or_else(|| SourceError::Unknown(source.clone()))?);
        self.table.store(Arc::new(table));
        Ok(())
    }
}

/// What a snapshot knows of its facts' age.
#[derive(Debug, Clone)]
pub(crate) enum Ages {
    /// The facts are those of a file or of a fold: there is nothing that ages.
    Local,
    /// The organisation's sources and the tenant's, as they were when the snapshot was taken.
    Known([Arc<Vec<State>>; 2]),
    /// What a decision of the past found.
    Recorded(Freshness),
}

impl Ages {
    pub(crate) fn freshness(&self, now: Timestamp) -> Freshness {
        let states = match self {
            Self::Local => return Freshness::Fresh(0),
            Self::Recorded(freshness) => return freshness.clone(),
            Self::Known(lists) => lists.iter().flat_map(|list| list.iter()),
        };
        let (mut oldest, mut worst) = (0, None::<&State>);
        for state in states {
            oldest = oldest.max(state.age(now));
            if state.is_stale(now) && worst.is_none_or(|worst| worst.age(now) < state.age(now)) {
                worst = Some(state);
            }
        }
        match worst {
            None => Freshness::Fresh(oldest),
            Some(state) => Freshness::Stale {
                source: state.source.name.clone(),
                age: state.age(now),
                why: state.stale(now).unwrap_or_default(),
            },
        }
    }
}

impl Table {
    fn all(&self) -> impl Iterator<Item = &State> {
        self.organisation.iter().chain(self.tenants.values().flat_map(|list| list.iter()))
    }
    fn lists_mut(&mut self) -> impl Iterator<Item = &mut Arc<Vec<State>>> {
        std::iter::once(&mut self.organisation).chain(self.tenants.values_mut())
    }
    /// A declared source.
    fn get_mut(&mut self, name: &Name) -> Option<&mut State> {
        let is = |state: &State| state.declared_here && state.source.name == *name;
        let list = self.lists_mut().find(|list| list.iter().any(is))?;
        Arc::make_mut(list).iter_mut().find(|state| is(state))
    }
    fn push(&mut self, state: State) {
        let list = match &state.source.place {
            Place::Organisation => &mut self.organisation,
            Place::Tenant(id) => self.tenants.entry(id.clone()).or_default(),
        };
        Arc::make_mut(list).push(state);
    }
    /// Marks the sources with the gaps of the journal; one that isn't declared for this place gets a line of its own.
    fn mark(&mut self) {
        let recorded = std::mem::take(&mut self.recorded);
        for list in self.lists_mut() {
            let list = Arc::make_mut(list);
            list.retain(|state| state.declared_here);
            for state in list {
                let gap = recorded.get(&state.source.name).filter(|(place, _)| *place == state.source.place);
                state.recorded = gap.map(|(_, what)| bounded(what));
            }
        }
        for (name, (place, what)) in &recorded {
            if self.all().any(|state| state.source.name == *name && state.source.place == *place) {
                continue;
            }
            self.push(State {
                source: Source { name: name.clone(), place: place.clone(), mode: Mode::Local },
                declared: Timestamp::from_millis(0),
                seen: None,
                gap: None,
                broken: None,
                recorded: Some(bounded(what)),
                declared_here: false,
            });
        }
        self.recorded = recorded;
    }
}

impl State {
    fn age(&self, now: Timestamp) -> u64 {
        match self.source.mode {
            Mode::Polled { .. } => now.millis().saturating_sub(self.seen.unwrap_or(self.declared).millis()),
            Mode::PushOnly | Mode::Local => 0,
        }
    }
    fn is_stale(&self, now: Timestamp) -> bool {
        self.gap.is_some()
            || self.recorded.is_some()
            || match self.source.mode {
                Mode::Polled { bound_ms } => self.seen.is_none() || self.age(now) > bound_ms,
                Mode::PushOnly | Mode::Local => false,
            }
    }
    /// Why it is stale, to be read after the source's name.
    fn stale(&self, now: Timestamp) -> Option<String> {
        if !self.is_stale(now) {
            return None;
        }
        let gap = self.recorded.as_ref().or(self.gap.as_ref());
        let mut why = match (gap, self.seen, self.source.mode) {
            (Some(gap), _, _) if !self.declared_here => {
                format!("isn't declared here and has a gap: {gap}")
            }
            (Some(gap), _, _) => format!("has a gap: {gap}"),
            (None, None, _) => format!("wasn't heard of yet, {} ms after the start", self.age(now)),
            (None, Some(_), Mode::Polled { bound_ms }) => {
                format!("is {} ms old, past its bound of {bound_ms} ms", self.age(now))
            }
            (None, Some(_), Mode::PushOnly | Mode::Local) => return None,
        };
        if let Some(broken) = &self.broken {
            why.push_str("; the last attempt failed: ");
            why.push_str(broken);
        }
        Some(why)
    }
    fn status(&self, now: Timestamp) -> SourceStatus {
        SourceStatus {
            source: self.source.clone(),
            seen: self.seen,
            age_ms: self.age(now),
            stale: self.stale(now),
            broken: self.broken.clone(),
        }
    }
}

impl fmt::Display for SourceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the source `{}` {}", self.source.name, self.stale.as_deref().unwrap_or("is well"))
    }
}

/// On one line, and no longer than it must be.
fn bounded(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(MAX_WHY).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }
    fn tenant(text: &str) -> TenantId {
        TenantId::new(text).unwrap()
    }
    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }
    fn polled(source: &str, place: Place) -> Source {
        Source { name: name(source), place, mode: Mode::Polled { bound_ms: DEFAULT_BOUND_MS } }
    }
    fn push_only(source: &str, place: Place) -> Source {
        Source { mode: Mode::PushOnly, ..polled(source, place) }
    }
    fn of(sources: &Sources, whose: &str, now: u64) -> Freshness {
        sources.of(&tenant(whose)).freshness(at(now))
    }
    fn stale(source: &str, age: u64, why: &str) -> Freshness {
        Freshness::Stale { source: name(source), age, why: why.to_owned() }
    }

    #[test]
    fn del_4_a_polled_source_is_stale_until_it_is_seen_and_again_past_its_bound() {
        let sources = Sources::new();
        assert_eq!(of(&sources, "acme", 9_000), Freshness::Fresh(0), "without sources all is local");
        sources.declare(polled("crm", Place::Tenant(tenant("acme"))), at(1_000)).unwrap();
        assert_eq!(
            of(&sources, "acme", 1_200),
            stale("crm", 200, "wasn't heard of yet, 200 ms after the start")
        );
        sources.seen(&name("crm"), at(2_000)).unwrap();
        assert_eq!(of(&sources, "acme", 7_000), Freshness::Fresh(5_000));
        assert_eq!(
            of(&sources, "acme", 7_001),
            stale("crm", 5_001, "is 5001 ms old, past its bound of 5000 ms")
        );
        sources.broken(&name("crm"), "connection\nrefused").unwrap();
        assert_eq!(
            of(&sources, "acme", 7_001),
            stale(
                "crm",
                5_001,
                "is 5001 ms old, past its bound of 5000 ms; the last attempt failed: connection refused"
            )
        );
        assert_eq!(of(&sources, "acme", 6_000), Freshness::Fresh(4_000), "good until the bound all the same");
        sources.seen(&name("crm"), at(7_500)).unwrap();
        assert_eq!(of(&sources, "acme", 8_000), Freshness::Fresh(500));
        sources.seen(&name("crm"), at(3_000)).unwrap();
        assert_eq!(of(&sources, "acme", 8_000), Freshness::Fresh(500), "what is late makes nothing older");
    }

    #[test]
    fn ten_a_tenants_source_is_nobody_elses_and_the_organisations_is_everybodys() {
        let sources = Sources::new();
        sources.declare(polled("crm", Place::Tenant(tenant("acme"))), at(0)).unwrap();
        assert_eq!(of(&sources, "globex", 60_000), Freshness::Fresh(0));
        sources.declare(polled("hr", Place::Organisation), at(0)).unwrap();
        assert!(
            matches!(of(&sources, "globex", 60_000), Freshness::Stale { source, .. } if source == name("hr"))
        );
        sources.seen(&name("hr"), at(60_000)).unwrap();
        assert_eq!(of(&sources, "globex", 60_100), Freshness::Fresh(100));
        assert_eq!(sources.stale(at(60_100)).unwrap().source.name, name("crm"), "readiness sees all");
        assert_eq!(
            sources.declare(polled("crm", Place::Organisation), at(0)),
            Err(SourceError::Taken(name("crm"))),
            "nobody takes another's source over"
        );
    }

    #[test]
    fn a_gap_is_stale_at_once_until_it_is_closed_and_only_then() {
        let sources = Sources::new();
        sources.declare(push_only("opal", Place::Tenant(tenant("acme"))), at(0)).unwrap();
        assert_eq!(of(&sources, "acme", u64::MAX), Freshness::Fresh(0), "push-only doesn't age");
        sources.gap(&name("opal"), "an update of `/users` was refused").unwrap();
        assert_eq!(
            of(&sources, "acme", 10),
            stale("opal", 0, "has a gap: an update of `/users` was refused")
        );
        sources.seen(&name("opal"), at(10)).unwrap();
        assert!(matches!(of(&sources, "acme", 10), Freshness::Stale { .. }), "a later update closes no gap");
        sources.closed(&name("opal")).unwrap();
        assert_eq!(of(&sources, "acme", 10), Freshness::Fresh(0));
    }

    #[test]
    fn del_4_a_recorded_gap_is_stale_whether_the_source_is_declared_or_not() {
        let sources = Sources::new();
        let acme = Place::Tenant(tenant("acme"));
        let gaps =
            |place: &Place| BTreeMap::from([(name("crm"), (place.clone(), "a page is missing".to_owned()))]);
        sources.record(gaps(&acme));
        let other = "isn't declared here and has a gap: a page is missing";
        assert_eq!(of(&sources, "acme", 10), stale("crm", 0, other));
        assert_eq!(of(&sources, "globex", 10), Freshness::Fresh(0));
        assert_eq!(sources.mode(&name("crm")), None);
        assert_eq!(sources.seen(&name("crm"), at(1)), Err(SourceError::Unknown(name("crm"))));

        sources.declare(push_only("crm", acme.clone()), at(0)).unwrap();
        assert_eq!(of(&sources, "acme", 10), stale("crm", 0, "has a gap: a page is missing"));
        assert_eq!(sources.list(at(10)).len(), 1);
        sources.closed(&name("crm")).unwrap();
        assert!(matches!(of(&sources, "acme", 10), Freshness::Stale { .. }), "only the journal closes it");
        // Declared for another place than the one whose facts have the gap.
        sources.record(gaps(&Place::Tenant(tenant("globex"))));
        assert_eq!(
            (of(&sources, "acme", 10), of(&sources, "globex", 10)),
            (Freshness::Fresh(0), stale("crm", 0, other))
        );
        sources.record(BTreeMap::new());
        assert_eq!(of(&sources, "globex", 10), Freshness::Fresh(0));
        assert_eq!(sources.list(at(10)).len(), 1);
    }

    #[test]
    fn a_snapshot_keeps_what_was_known_when_it_was_taken() {
        let sources = Sources::new();
        sources.declare(polled("crm", Place::Tenant(tenant("acme"))), at(0)).unwrap();
        sources.seen(&name("crm"), at(100)).unwrap();
        let ages = sources.of(&tenant("acme"));
        sources.gap(&name("crm"), "a page is missing").unwrap();
        assert_eq!(ages.freshness(at(200)), Freshness::Fresh(100), "one decision, one answer");
        assert!(matches!(of(&sources, "acme", 200), Freshness::Stale { .. }));
    }

    #[test]
    fn sources_are_bounded_and_those_unknown_are_refused() {
        let sources = Sources::new();
        for i in 0..MAX_SOURCES {
            sources.declare(push_only(&format!("s{i}"), Place::Organisation), at(0)).unwrap();
        }
        assert_eq!(sources.declare(push_only("more", Place::Organisation), at(0)), Err(SourceError::TooMany));
        sources.forget(&name("s0")).unwrap();
        sources.declare(push_only("more", Place::Organisation), at(0)).unwrap();
        assert_eq!(sources.seen(&name("s0"), at(1)), Err(SourceError::Unknown(name("s0"))));
        let unbounded =
            Source { mode: Mode::Polled { bound_ms: 0 }, ..push_only("more", Place::Organisation) };
        assert_eq!(sources.declare(unbounded, at(0)), Err(SourceError::Bound(name("more"), 0)));
        assert_eq!(sources.list(at(0)).len(), MAX_SOURCES);
    }
}
