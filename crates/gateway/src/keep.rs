//! The fold's state as it is kept beside the journal, and states of the past that are held in memory.

use std::{
    collections::VecDeque,
    error::Error,
    io,
    sync::{Mutex, PoisonError},
};

use imbl::OrdMap;
use placet_core::{AgentId, DecisionId, Digest, EffectClass, Name, StateMove, TenantId, Timestamp};
use placet_facts::{Keys, Rebuilding, World, parse_tuple, tuple_text};
use placet_json::{Limits, Value, object};
use placet_ledger::frame::Frame;
use placet_store::{Fold as _, Keep, KeptStates, ReadError, Reader, Record, Subjects};

use crate::{
    UnknownEffect,
    effects::Unresolved,
    fold::{Open, State},
    lives::Lives,
    sources::{self, Gaps},
};

/// Raised whenever the form of a kept state changes, or what the journal's entries fold to.
pub(crate) const FORMAT: &str = "gateway-5";
/// A state is held in memory after so many entries: at ≈ 10 µs an entry, a look back folds some 40 ms at most.
const EVERY: u64 = if cfg!(test) { 8 } else { 4096 };
/// How many of them: 65,536 entries. They share with the newest what didn't change since.
const HELD: usize = 16;
/// States of looks back, for the next look nearby.
const LOOKS: usize = 2;

type Failure = Box<dyn Error + Send + Sync>;

/// What a state consists of. Every field is named here and in [`State::parts`], so that a new one doesn't compile until
/// it is kept, too.
pub(crate) struct Parts {
    pub(crate) world: World,
    pub(crate) open: OrdMap<u64, Open>,
    pub(crate) unresolved: Unresolved,
    pub(crate) keys: Keys,
    pub(crate) remediable: Vec<(DecisionId, u64)>,
    pub(crate) release: Option<Digest>,
    pub(crate) erased_at: u64,
    pub(crate) lives: Lives,
    pub(crate) gaps: Gaps,
}

impl Parts {
    /// As lines of JSON, one document each, to be written by another thread.
    pub(crate) fn keep(self) -> Keep {
        Box::new(move |out| {
            let Self { world, open, unresolved, keys, remediable, release, lives, gaps, erased_at } = self;
            let mut line = |document: &Value| writeln!(out, "{document}");
            world.documents().try_for_each(|document| line(&document))?;
            keys.documents().try_for_each(|key| line(&one("key", key)))?;
            for (at, Open { tenant, workflow, decision, effect, agent, writes, moves }) in open {
                let writes = Value::Array(writes.iter().map(|tuple| tuple_text(tuple).into()).collect());
                let body = object! {
                    "at" => at, "tenant" => tenant.as_str(), "workflow" => workflow.as_str(),
                    "decision" => decision.as_str(), "effect" => effect.as_str(), "agent" => agent.as_str(), "writes" => writes,
                    "moves" => placet_json::to_value(&moves).unwrap_or(Value::Null),
                };
                line(&one("open", body))?;
            }
            for (at, effect) in unresolved.into_all() {
                let UnknownEffect { tenant, workflow, decision, since, agent, moves } = effect;
                let body = object! {
                    "at" => at, "tenant" => tenant.as_str(), "workflow" => workflow.as_str(),
                    "decision" => decision.as_str(), "since" => since.to_string(), "agent" => agent.as_str(),
                    "moves" => placet_json::to_value(&moves).unwrap_or(Value::Null),
                };
                line(&one("unresolved", body))?;
            }
            for (id, at) in remediable {
                line(&one("remediable", object! { "id" => id.as_str(), "at" => at }))?;
            }
            if let Some(release) = release {
                line(&one("release", release.to_string()))?;
            }
            line(&one("erased_at", erased_at))?;
            lives.documents().try_for_each(|document| line(&document))?;
            gaps.iter().try_for_each(|(name, gap)| line(&one("gap", sources::document(name, gap))))?;
            io::Result::Ok(())
        })
    }

    pub(crate) fn read(kept: &[u8]) -> Result<Self, Failure> {
        let mut world = Rebuilding::default();
        let mut parts = Self {
            world: World::new(),
            open: OrdMap::new(),
            unresolved: Unresolved::default(),
            keys: Keys::default(),
            remediable: Vec::new(),
            release: None,
            erased_at: 0,
            lives: Lives::default(),
            gaps: Gaps::default(),
        };
        for line in kept.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let document = placet_json::parse(line, &Limits::RESULT)?;
            if !world.take(&document)? {
                parts.take(&document)?;
            }
        }
        parts.world = world.finish();
        Ok(parts)
    }

    fn take(&mut self, document: &Value) -> Result<(), Failure> {
        let (kind, body) =
            document.as_object().and_then(|object| object.iter().next()).ok_or("a line of no document")?;
        match kind {
            "key" => self.keys.read(body)?,
            "open" => {
                let open = Open {
                    tenant: TenantId::new(text(body, "tenant")?)?,
                    workflow: Name::new(text(body, "workflow")?)?,
                    decision: DecisionId::new(text(body, "decision")?)?,
                    effect: match text(body, "effect")? {
                        "read" => EffectClass::Read,
                        "write" => EffectClass::Write,
                        "destructive" => EffectClass::Destructive,
                        other => return Err(format!("`{other}` is no effect").into()),
                    },
                    agent: AgentId::new(text(body, "agent")?)?,
                    writes: body
                        .get("writes")
                        .and_then(Value::as_array)
                        .ok_or("`writes` is missing")?
                        .iter()
                        .map(|tuple| parse_tuple(tuple.as_str().unwrap_or_default()))
                        .collect::<Result<_, _>>()?,
                    moves: moves(body)?,
                };
                self.open.insert(number(body, "at")?, open);
            }
            "unresolved" => {
                let effect = UnknownEffect {
                    tenant: TenantId::new(text(body, "tenant")?)?,
                    workflow: Name::new(text(body, "workflow")?)?,
                    decision: DecisionId::new(text(body, "decision")?)?,
                    since: Timestamp::parse(text(body, "since")?)?,
                    agent: AgentId::new(text(body, "agent")?)?,
                    moves: moves(body)?,
                };
                self.unresolved.insert(number(body, "at")?, effect);
            }
            "remediable" => {
                self.remediable.push((DecisionId::new(text(body, "id")?)?, number(body, "at")?));
            }
            "release" => {
                let digest = body.as_str().and_then(Digest::parse);
                self.release = Some(digest.ok_or("a release without its digest")?);
            }
            "erased_at" => self.erased_at = body.as_u64().ok_or("an erasure without its position")?,
            "gap" => {
                let (name, gap) = sources::undocument(body)?;
                self.gaps.insert(name, gap);
            }
            other if self.lives.read(other, body)? => {}
            other => return Err(format!("`{other}` isn't known").into()),
        }
        Ok(())
    }
}

/// States of the past: some in memory, the others on disk.
#[derive(Default)]
pub(crate) struct Moments(Mutex<Held>);

#[derive(Default)]
struct Held {
    /// By the last entry that is in them, oldest first.
    recent: VecDeque<(u64, State)>,
    /// The last looks back.
    looks: VecDeque<(u64, State)>,
    /// How often something was erased: what was read before isn't held after.
    erasures: u64,
}

impl std::fmt::Debug for Moments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Moments")
    }
}

impl Moments {
    /// Holds a state, if it is time for one.
    pub(crate) fn hold(&self, last: u64, state: impl FnOnce() -> State) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last < held.recent.back().map_or(0, |(at, _)| *at).saturating_add(EVERY) {
            return;
        }
        if held.recent.len() >= HELD {
            held.recent.pop_front();
        }
        held.recent.push_back((last, state()));
    }

    /// What was held so far holds what is erased by now.
    pub(crate) fn forget(&self) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Held { erasures: held.erasures.wrapping_add(1), ..Held::default() };
    }

    /// The world after the entry `at`, which is there.
    pub(crate) fn world(
        &self,
        at: u64,
        reader: &Reader,
        kept: &KeptStates,
        subjects: &Subjects,
    ) -> Result<World, String> {
        let erasures = self.0.lock().unwrap_or_else(PoisonError::into_inner).erasures;
        let (from, mut state) =
            self.nearest(at, reader, kept, subjects).map_err(|error| error.to_string())?;
        for record in reader.range(from.saturating_add(1), at) {
            let record = record.map_err(|error| error.to_string())?;
            let sequence = record.sequence;
            state
                .replay(&frame(&record))
                .map_err(|error| format!("record {sequence} cannot be folded again: {error}"))?;
        }
        let world = state.world().clone();
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.erasures == erasures {
            if held.looks.len() >= LOOKS {
                held.looks.pop_front();
            }
            held.looks.push_back((at, state));
        }
        Ok(world)
    }

    fn nearest(
        &self,
        at: u64,
        reader: &Reader,
        kept: &KeptStates,
        subjects: &Subjects,
    ) -> Result<(u64, State), Failure> {
        let in_memory = {
            let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let states = held.recent.iter().chain(&held.looks);
            let nearest = states.filter(|(last, _)| *last <= at).max_by_key(|(last, _)| *last);
            nearest.map(|(last, state)| (*last, state.apart()))
        };
        let last = in_memory.as_ref().map_or(0, |(last, _)| *last);
        // A file costs some milliseconds to read: it must spare more.
        if kept
            .sequences()
            .into_iter()
            .any(|sequence| sequence <= at && sequence > last.saturating_add(EVERY))
            && let Some(state) = kept.newest(at)
            && state.sequence > last
            && reader.get(state.sequence)?.is_some_and(|record| record.link == state.link)
        {
            let mut fresh = State::alone(subjects);
            fresh.restore(state.sequence, state.body())?;
            return Ok((state.sequence, fresh));
        }
        Ok(in_memory.unwrap_or_else(|| (0, State::alone(subjects))))
    }
}

/// A record as the fold takes it at a start.
fn frame(record: &Record) -> Frame<'_> {
    let Record { sequence, time_ms, tree, kind, payload, sealed, leaf, link } = record;
    Frame {
        sequence: *sequence,
        time_ms: *time_ms,
        tree,
        kind: *kind,
        payload,
        sealed,
        leaf: *leaf,
        link: *link,
        durable: 0,
        more: false,
        offset: 0,
        end: 0,
    }
}

/// The position of the last entry no later than a moment; 0 before the first. Times never go back along the journal.
pub(crate) fn position_at(reader: &Reader, millis: u64) -> Result<u64, ReadError> {
    let (mut low, mut high) = (0, reader.last());
    while low < high {
        let middle = low.saturating_add(high.saturating_sub(low).div_ceil(2));
        let time = reader.get(middle)?.map_or(u64::MAX, |record| record.time_ms);
        if time <= millis {
            low = middle;
        } else {
            high = middle.saturating_sub(1);
        }
    }
    Ok(low)
}

fn one(kind: &str, body: impl Into<Value>) -> Value {
    Value::from(object! { kind => body })
}
fn moves(body: &Value) -> Result<Vec<StateMove>, Failure> {
    Ok(placet_json::from_value(body.get("moves").ok_or("`moves` is missing")?)?)
}
fn text<'v>(body: &'v Value, name: &str) -> Result<&'v str, Failure> {
    body.get(name).and_then(Value::as_str).ok_or_else(|| format!("`{name}` is missing").into())
}
fn number(body: &Value, name: &str) -> Result<u64, Failure> {
    body.get(name).and_then(Value::as_u64).ok_or_else(|| format!("`{name}` is missing").into())
}

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering},
        },
        time::Duration,
    };

    use placet_core::Revision;
    use placet_facts::{Change, Kind, Place, Transaction};
    use placet_ledger::checkpoint::SigningKey;
    use placet_store::{Notary, Options};

    use super::*;
    use crate::{Ledger, Refused};

    /// A clock that goes on by 10 ms with each reading.
    fn open(dir: &Path, keep_every: u64) -> (Ledger, placet_store::OpenReport) {
        let notary = Notary {
            organisation: "example".to_owned(),
            key: Arc::new(SigningKey::from_seed(&[7; 32]).unwrap()),
            every: Duration::from_hours(1),
        };
        let clock = AtomicU64::new(1_000_000);
        let clock = move || clock.fetch_add(10, Ordering::Relaxed);
        Ledger::open(dir, Options { keep_every, segment_bytes: 64 << 10, ..Options::new(clock, notary) })
            .unwrap()
    }
    fn transaction(place: &Place, change: &str, key: Option<&str>) -> Transaction {
        let change = placet_json::parse(change.as_bytes(), &Limits::MESSAGE).unwrap();
        Transaction {
            place: place.clone(),
            changes: vec![Change::from_value(&change, place).unwrap()],
            author: Name::new("operator").unwrap(),
            source: Name::new("api").unwrap(),
            why: String::new(),
            idempotency_key: key.map(|key| Name::new(key).unwrap()),
        }
    }
    fn acme() -> Place {
        Place::Tenant(TenantId::new("acme").unwrap())
    }
    fn resource(i: u64) -> Transaction {
        transaction(
            &acme(),
            &format!(r#"{{"resource_set":{{"type":"case","id":"C-{i}"}}}}"#),
            Some(&format!("k-{i}")),
        )
    }
    async fn fill(ledger: &Ledger, from: u64, to: u64) {
        if from == 2 {
            let tenant = transaction(&Place::Organisation, r#"{"tenant_created":{"id":"acme"}}"#, None);
            assert_eq!(ledger.transact(tenant).await.unwrap(), Revision(1));
        }
        for i in from..=to {
            assert_eq!(ledger.transact(resource(i)).await.unwrap(), Revision(i));
        }
    }
    fn resources(world: &World) -> usize {
        world.tenant(&TenantId::new("acme").unwrap()).map_or(0, |facts| facts.resources().count())
    }
    /// Waits for a state that holds an entry from `at` on.
    fn kept(dir: &Path, at: u64) {
        for _ in 0..4000 {
            let files = std::fs::read_dir(dir.join("state")).into_iter().flatten();
            let mut sequences = files.filter_map(|file| {
                file.unwrap().file_name().to_str()?.strip_suffix(".state")?.parse::<u64>().ok()
            });
            if sequences.any(|sequence| sequence >= at) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("no state is kept");
    }

    #[tokio::test]
    async fn rep_1_any_moment_is_found_again_from_memory_from_disk_and_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, _) = open(dir.path(), 50);
        fill(&ledger, 2, 300).await;
        kept(dir.path(), 50);
        let look = |ledger: &Ledger| {
            for at in [0, 1, 2, 3, 49, 50, 51, 99, 120, 171, 240, 292, 299, 300] {
                let world = ledger.as_of(Revision(at)).unwrap();
                let known = usize::try_from(at.saturating_sub(1)).unwrap();
                assert_eq!((world.revision(), resources(&world)), (Revision(at), known), "at {at}");
            }
        };
        look(&ledger);
        for at in [1, 150, 300] {
            let time = ledger.reader().get(at).unwrap().unwrap().time_ms;
            assert_eq!(ledger.position_at(Timestamp::from_millis(time)), Ok(Revision(at)));
            assert_eq!(ledger.position_at(Timestamp::from_millis(time - 1)), Ok(Revision(at - 1)));
        }
        drop(ledger);
        let (ledger, report) = open(dir.path(), 50);
        assert!(report.kept >= 50, "{report:?}");
        assert_eq!((report.records, resources(&ledger.live().world())), (300, 299));
        look(&ledger);
        fill(&ledger, 301, 310).await;
        assert_eq!(resources(&ledger.as_of(Revision(305)).unwrap()), 304);
    }

    #[tokio::test]
    async fn syn_2_a_key_is_remembered_across_restarts_with_and_without_a_kept_state() {
        for keep_every in [10, 1_000_000] {
            let dir = tempfile::tempdir().unwrap();
            let (ledger, _) = open(dir.path(), keep_every);
            fill(&ledger, 2, 40).await;
            if keep_every == 10 {
                kept(dir.path(), 10);
            }
            drop(ledger);
            let (ledger, report) = open(dir.path(), keep_every);
            assert_eq!(report.kept > 0, keep_every == 10);
            for i in [2, 9, 40] {
                assert_eq!(ledger.transact(resource(i)).await.unwrap(), Revision(i), "told again");
            }
            let other = Transaction { why: "otherwise".to_owned(), ..resource(9) };
            match ledger.transact(other).await {
                Err(Refused::Change(error)) => assert_eq!(error.kind, Kind::Conflict),
                other => panic!("{other:?}"),
            }
            assert_eq!(ledger.live().world().revision(), Revision(40), "nothing was applied");
        }
    }

    #[tokio::test]
    async fn the_same_transaction_sent_at_once_is_applied_once() {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, _) = open(dir.path(), 1000);
        fill(&ledger, 2, 2).await;
        let sent = (0..20).map(|_| {
            let ledger = ledger.clone();
            tokio::spawn(async move { ledger.transact(resource(3)).await.unwrap() })
        });
        for sent in sent.collect::<Vec<_>>() {
            assert_eq!(sent.await.unwrap(), Revision(3));
        }
        assert_eq!(ledger.reader().last(), 3);
        assert_eq!(ledger.repeated(&resource(3)), Ok(Some(Revision(3))));
    }

    mod erasing {
        use placet_core::HumanId;
        use placet_facts::{DirectoryRecord, RecordKind};
        use placet_store::Subjects;

        use super::*;
        use crate::{Erasable, Erased};

        const CANARY: &str = "Zora Quandt-Canary";
        const MASTER: [u8; 32] = [9; 32];

        fn open_sealing(dir: &Path, keep_every: u64) -> (Ledger, placet_store::OpenReport) {
            let notary = Notary {
                organisation: "example".to_owned(),
                key: Arc::new(SigningKey::from_seed(&[7; 32]).unwrap()),
                every: Duration::from_hours(1),
            };
            let clock = AtomicU64::new(1_000_000);
            let clock = move || clock.fetch_add(10, Ordering::Relaxed);
            let options = Options { keep_every, segment_bytes: 64 << 10, ..Options::new(clock, notary) };
            Ledger::open_sealing(dir, options, Subjects::open(dir, &MASTER).unwrap()).unwrap()
        }
        /// A person whom a feed brings, at `version`, and a group that names them.
        fn brought(version: u64) -> Transaction {
            let record = |kind: RecordKind, id: &str, document: &str| DirectoryRecord {
                feed: Name::new("okta").unwrap(),
                kind,
                id: Name::new(id).unwrap(),
                human: (kind == RecordKind::User).then(|| HumanId::new("h-1").unwrap()),
                active: true,
                key: if kind == RecordKind::User { CANARY.to_lowercase() } else { "all".to_owned() },
                version,
                created: Timestamp::from_secs(1),
                modified: Timestamp::from_secs(1),
                document: placet_json::parse(document.as_bytes(), &Limits::MESSAGE).unwrap(),
            };
            let user = format!(r#"{{"displayName":"{CANARY}","emails":[{{"value":"{CANARY}@x"}}]}}"#);
            let group =
                format!(r#"{{"displayName":"All","members":[{{"value":"u-1","display":"{CANARY}"}}]}}"#);
            Transaction {
                place: Place::Organisation,
                changes: vec![
                    Change::DirectorySet(record(RecordKind::User, "u-1", &user)),
                    Change::DirectorySet(record(RecordKind::Group, "g-1", &group)),
                ],
                author: Name::new("okta").unwrap(),
                source: Name::new("scim").unwrap(),
                why: String::new(),
                idempotency_key: None,
            }
        }
        async fn staffed(ledger: &Ledger) {
            fill(ledger, 2, 2).await;
            let human = r#"{"human_set":{"id":"h-1","standing":"active","home":"acme"}}"#;
            ledger.transact(transaction(&Place::Organisation, human, None)).await.unwrap();
            // The group names a member who must be there: two transactions.
            let mut group = brought(1);
            let user = group.changes.remove(0);
            ledger.transact(Transaction { changes: vec![user], ..group.clone() }).await.unwrap();
            ledger.transact(group).await.unwrap();
        }
        /// The files below a directory that hold the canary, in any case.
        fn holding(dir: &Path) -> Vec<String> {
            let mut found = Vec::new();
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    found.extend(holding(&path));
                    continue;
                }
                let bytes = std::fs::read(&path).unwrap().to_ascii_lowercase();
                let canary = CANARY.to_ascii_lowercase();
                if bytes.windows(canary.len()).any(|part| part == canary.as_bytes()) {
                    found.push(path.display().to_string());
                }
            }
            found
        }
        async fn erase(ledger: &Ledger) -> Erased {
            let whom = Erasable::Human(HumanId::new("h-1").unwrap());
            ledger.erase(Name::new("operator").unwrap(), whom, "Art. 17".to_owned()).await.unwrap()
        }
        fn documents(world: &World) -> String {
            world.documents().map(|document| document.to_string()).collect()
        }

        #[tokio::test]
        async fn a_person_who_is_erased_is_nowhere_any_more() {
            let dir = tempfile::tempdir().unwrap();
            let (ledger, _) = open_sealing(dir.path(), 5);
            staffed(&ledger).await;
            fill(&ledger, 6, 60).await;
            kept(dir.path(), 5);
            assert!(documents(&ledger.live().world()).contains(CANARY));
            assert!(documents(&ledger.as_of(Revision(7)).unwrap()).contains(CANARY));
            // Kept states hold what is live; journal and keys don't.
            assert!(
                holding(dir.path()).iter().all(|path| path.contains("/state/")),
                "{:?}",
                holding(dir.path())
            );
            assert!(!holding(dir.path()).is_empty());
            let leaf = ledger.reader().get(4).unwrap().unwrap();
            let before = (leaf.leaf, leaf.link);

            let erased = erase(&ledger).await;
            assert_eq!(erased.keys, 1);
            let nowhere = |ledger: &Ledger| {
                assert_eq!(holding(dir.path()), [""; 0]);
                assert!(!documents(&ledger.live().world()).contains(CANARY));
                for at in [4, 7, 20, erased.at] {
                    assert!(!documents(&ledger.as_of(Revision(at)).unwrap()).contains(CANARY), "at {at}");
                }
                let leaf = ledger.reader().get(4).unwrap().unwrap();
                assert_eq!((leaf.leaf, leaf.link), before, "the tree is what it was");
            };
            nowhere(&ledger);
            let live = documents(&ledger.live().world());
            fill(&ledger, erased.at + 1, erased.at + 20).await;
            let then = documents(&ledger.live().world());
            drop(ledger);
            assert_eq!(holding(dir.path()), [""; 0]);
            // From a kept state, and from the journal alone: the same facts.
            let (ledger, _) = open_sealing(dir.path(), 5);
            nowhere(&ledger);
            assert_eq!(documents(&ledger.live().world()), then);
            assert_eq!(documents(&ledger.as_of(Revision(erased.at)).unwrap()), live);
            drop(ledger);
            std::fs::remove_dir_all(dir.path().join("state")).unwrap();
            let (ledger, report) = open_sealing(dir.path(), 1_000_000);
            assert_eq!((report.kept, documents(&ledger.live().world())), (0, then));
            // Who is brought again gets another key.
            let mut again = brought(2);
            again.changes.truncate(1);
            ledger.transact(again).await.unwrap();
            assert!(documents(&ledger.live().world()).contains(CANARY));
            assert_eq!(holding(dir.path()), [""; 0]);
            assert_eq!(erase(&ledger).await.keys, 1);
            assert!(!documents(&ledger.live().world()).contains(CANARY));
        }

        #[tokio::test]
        async fn an_erasure_that_is_recorded_is_done_by_the_next_start() {
            let dir = tempfile::tempdir().unwrap();
            let (ledger, _) = open_sealing(dir.path(), 5);
            staffed(&ledger).await;
            fill(&ledger, 6, 60).await;
            kept(dir.path(), 5);
            let copy = tempfile::tempdir().unwrap();
            let state = std::fs::read_dir(dir.path().join("state")).unwrap().next().unwrap().unwrap();
            let (keys, state) = (dir.path().join("subjects"), state.path());
            std::fs::copy(&keys, copy.path().join("subjects")).unwrap();
            std::fs::copy(&state, copy.path().join("state")).unwrap();
            let at = erase(&ledger).await.at;
            drop(ledger);
            // The process ended after the act was durable, and before anything else.
            std::fs::copy(copy.path().join("subjects"), &keys).unwrap();
            std::fs::copy(copy.path().join("state"), &state).unwrap();
            assert!(!holding(dir.path()).is_empty());
            let (ledger, _) = open_sealing(dir.path(), 1_000_000);
            assert!(!documents(&ledger.live().world()).contains(CANARY));
            assert_eq!(holding(dir.path()), [""; 0]);
            assert_eq!(ledger.subject_keys(), (0, 1));
            assert!(!documents(&ledger.as_of(Revision(at - 1)).unwrap()).contains(CANARY));
        }

        #[tokio::test]
        async fn a_start_without_the_keys_of_what_is_sealed_is_refused() {
            let dir = tempfile::tempdir().unwrap();
            let (ledger, _) = open_sealing(dir.path(), 1_000_000);
            staffed(&ledger).await;
            drop(ledger);
            std::fs::rename(dir.path().join("subjects"), dir.path().join("elsewhere")).unwrap();
            let notary = Notary {
                organisation: "example".to_owned(),
                key: Arc::new(SigningKey::from_seed(&[7; 32]).unwrap()),
                every: Duration::from_hours(1),
            };
            let options = Options { segment_bytes: 64 << 10, ..Options::new(|| 9_000_000, notary) };
            let subjects = Subjects::open(dir.path(), &MASTER).unwrap();
            let refused = Ledger::open_sealing(dir.path(), options, subjects).unwrap_err().to_string();
            assert!(
                refused.contains("restore the keys of subjects") && !refused.contains(CANARY),
                "{refused}"
            );
        }

        #[tokio::test]
        async fn without_a_master_key_what_feeds_bring_stays_as_it_is() {
            let dir = tempfile::tempdir().unwrap();
            let (ledger, _) = open(dir.path(), 1_000_000);
            staffed(&ledger).await;
            assert!(!holding(dir.path()).is_empty());
            let whom = Erasable::Human(HumanId::new("h-1").unwrap());
            let refused = ledger.erase(Name::new("operator").unwrap(), whom, String::new()).await;
            assert!(matches!(refused, Err(Refused::Down(why)) if why.contains("master_key")));
            drop(ledger);
            // Old records stay readable once there is one.
            let (ledger, _) = open_sealing(dir.path(), 1_000_000);
            assert!(documents(&ledger.live().world()).contains(CANARY));
        }
    }
}
