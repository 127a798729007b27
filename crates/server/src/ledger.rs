//! The administration's books, kept by the gateway's ledger and its search index.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use placet_core::{DecisionId, Digest, Name, RelationModel, Revision, Timestamp};
use placet_facts::{ChangeError, Live, Transaction, World};
use placet_gateway::{
    Act, Effects, Erasable, Erased, InFlight, Ledger, ORGANISATION, Refused, SourceReport, SourceSays,
};
use placet_json::{Limits, Value};
use placet_policy::Release;
use placet_record::{DecisionRecord, Kind};
use placet_store::{Filter, Projection, Row};
use placet_upstream::{Circuit, Health, Upstreams};

use crate::books::{Books, Changes, Deed, Offer, Offers, Pending, ReleaseInfo, Unpromoted, Unwritten, Whose};

/// Records that one page of the change feed reads at most: at ≈ 4 µs each, some 130 ms.
const SCAN: u64 = 32_768;

const BUSY: &str = "the journal is being read for somebody else; try again";

/// The ledger, its index, the archives of releases.
pub(crate) struct LedgerBooks {
    pub(crate) ledger: Ledger,
    pub(crate) index: Mutex<Projection>,
    /// Held while the journal is read from its beginning: one at a time, as that keeps a processor busy.
    pub(crate) reading: Mutex<()>,
}

impl LedgerBooks {
    /// Searches the index, brought up to the last durable entry first.
    pub(crate) fn search(&self, filter: &Filter) -> Result<Vec<placet_store::Found>, String> {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        index.catch_up(self.ledger.reader(), placet_audit::extract).map_err(|error| error.to_string())?;
        index.search(filter).map_err(|error| error.to_string())
    }
    fn payload(&self, sequence: u64) -> Result<Value, String> {
        let record = self.ledger.reader().get(sequence).map_err(|error| error.to_string())?;
        let record = record.ok_or_else(|| format!("record {sequence} is missing"))?;
        let payload = self.ledger.opened(&record)?;
        placet_json::parse(&payload, &Limits::RESULT).map_err(|error| error.to_string())
    }
}

impl Books for LedgerBooks {
    fn live(&self) -> &Arc<Live> {
        self.ledger.live()
    }
    fn now(&self) -> Timestamp {
        self.ledger.now()
    }
    fn ready(&self) -> Result<(), String> {
        self.ledger.ready()
    }
    fn clock_behind(&self) -> u64 {
        self.ledger.clock_behind()
    }
    fn transact(&self, transaction: Transaction) -> Pending<'_, Result<Revision, Unwritten>> {
        Box::pin(async move { self.ledger.transact(transaction).await.map_err(unwritten) })
    }
    fn transact_on(
        &self,
        transaction: Transaction,
        on: Revision,
    ) -> Pending<'_, Result<Option<Revision>, Unwritten>> {
        Box::pin(async move { self.ledger.transact_on(transaction, on).await.map_err(unwritten) })
    }
    fn deed(&self, deed: Deed) -> Pending<'_, Result<u64, Unwritten>> {
        let Deed { by, verb, refused, why, tenant } = deed;
        Box::pin(
            async move { self.ledger.act(Act { by, verb, refused, why, tenant }).await.map_err(unwritten) },
        )
    }
    fn erase(&self, by: Name, whom: Erasable, why: String) -> Pending<'_, Result<Erased, Unwritten>> {
        Box::pin(async move { self.ledger.erase(by, whom, why).await.map_err(unwritten) })
    }
    fn holds(&self) -> Result<placet_audit::Holds, String> {
        crate::retention::holds(self)
    }
    fn subject_keys(&self) -> (usize, usize) {
        self.ledger.subject_keys()
    }
    fn source(&self, report: SourceReport) -> Pending<'_, Result<(), Unwritten>> {
        Box::pin(async move {
            if let SourceSays::Seen(at) = report.says {
                self.ledger.source_seen(&report.source, &report.place, at, &report.by);
                return Ok(());
            }
            self.ledger.source(report).await.map(drop).map_err(unwritten)
        })
    }
    fn as_of(&self, at: Revision) -> Result<World, String> {
        self.ledger.as_of(at)
    }
    fn revision_at(&self, moment: Timestamp) -> Result<Revision, String> {
        self.ledger.position_at(moment)
    }
    fn last(&self) -> u64 {
        self.ledger.reader().last()
    }
    fn repeated(&self, transaction: &Transaction) -> Result<Option<Revision>, ChangeError> {
        self.ledger.repeated(transaction)
    }
    fn changes(&self, whose: &Whose, from: u64, limit: usize) -> Result<Changes, String> {
        let reader = self.ledger.reader();
        let last = reader.last();
        let until = last.min(from.saturating_add(SCAN));
        let mut page = Changes { entries: Vec::new(), next: from, more: until < last };
        for record in reader.range(from.saturating_add(1), until) {
            let record = record.map_err(|error| error.to_string())?;
            page.next = record.sequence;
            if Kind::from_tag(record.kind) != Some(Kind::Facts) || !is_of(whose, &record.tree) {
                continue;
            }
            let transaction = transaction_of(&self.ledger.opened(&record)?)?;
            page.entries.push((record.sequence, record.time_ms, transaction));
            if page.entries.len() >= limit {
                page.more = record.sequence < last;
                break;
            }
        }
        Ok(page)
    }
    fn history(
        &self,
        whose: &Whose,
        below: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, u64, Value)>, String> {
        let tree = match whose {
            Whose::Organisation => Some(ORGANISATION.to_owned()),
            Whose::Tenant(id) => Some(id.to_string()),
            Whose::Everybody | Whose::With(_) => None,
        };
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let filter =
            Filter { tree, kinds: vec![Kind::Facts.tag()], below, limit: Some(limit), ..Filter::default() };
        let mut found = self.search(&filter)?;
        found.retain(|found| is_of(whose, &found.tree));
        let entry = |found: placet_store::Found| {
            let document = self.payload(found.sequence)?;
            Ok((found.sequence, found.time_ms, document.get("transaction").cloned().unwrap_or(Value::Null)))
        };
        found.into_iter().map(entry).collect()
    }
    fn remediable(&self, id: &DecisionId) -> Result<Option<DecisionRecord>, String> {
        self.ledger.remediable(id)
    }
    fn decision(&self, id: &DecisionId) -> Result<Vec<Value>, String> {
        let row = Row { decision_id: Some(id.to_string()), ..Row::default() };
        let kinds = vec![Kind::Decision.tag(), Kind::Effect.tag(), Kind::Amendment.tag()];
        let mut found = self.search(&Filter { row, kinds, ..Filter::default() })?;
        found.sort_by_key(|found| found.sequence);
        found.into_iter().map(|found| self.payload(found.sequence)).collect()
    }
    fn uses(&self) -> Result<placet_audit::Uses, String> {
        let _one = self.reading.try_lock().map_err(|_| BUSY.to_owned())?;
        placet_audit::Uses::read(self.ledger.reader()).map_err(|error| error.to_string())
    }
    fn explain(&self, id: &DecisionId) -> Result<Result<placet_audit::Explained, String>, String> {
        let _one = self.reading.try_lock().map_err(|_| BUSY.to_owned())?;
        let release = |digest: Digest| {
            self.ledger.archives().load(digest).map(Arc::new).map_err(|error| error.to_string())
        };
        placet_audit::explain_in(self.ledger.reader(), self.ledger.subjects(), id, &release)
            .map_err(|error| error.to_string())
    }
    fn compare(
        &self,
        scope: &placet_audit::Scope,
        a: &Release,
        b: &Release,
        go_on: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Option<placet_audit::LedgerDiff>, String> {
        let _one = self.reading.try_lock().map_err(|_| BUSY.to_owned())?;
        placet_audit::diff_in(self.ledger.reader(), self.ledger.subjects(), scope, a, b, go_on)
            .map_err(|error| error.to_string())
    }
    fn in_flight(&self) -> Result<Vec<InFlight>, String> {
        self.ledger.in_flight()
    }
    fn release(&self) -> Option<Arc<Release>> {
        self.ledger.releases().current()
    }
    fn in_force(&self) -> Option<ReleaseInfo> {
        let release = self.ledger.releases().current()?;
        Some(ReleaseInfo { digest: release.digest(), name: release.name().to_string() })
    }
    fn relations(&self) -> Option<(Digest, RelationModel)> {
        self.ledger.releases().current().map(|release| (release.digest(), release.relations().clone()))
    }
    fn releases(&self) -> Result<Vec<Digest>, String> {
        self.ledger.archives().list().map_err(|error| error.to_string())
    }
    fn keep(&self, archive: &[u8]) -> Result<ReleaseInfo, Unpromoted> {
        let release =
            Release::from_archive(archive).map_err(|refused| Unpromoted::NoRelease(refused.to_string()))?;
        let kept = self.ledger.archives().keep(&release, archive);
        kept.map_err(|error| Unpromoted::Down(format!("the archive can't be kept: {error}")))?;
        Ok(ReleaseInfo { digest: release.digest(), name: release.name().to_string() })
    }
}

/// Whether a tree's transactions are among those that are read.
fn is_of(whose: &Whose, tree: &str) -> bool {
    match whose {
        Whose::Organisation => tree == ORGANISATION,
        Whose::Tenant(id) => tree == id.as_str(),
        Whose::With(id) => tree == ORGANISATION || tree == id.as_str(),
        Whose::Everybody => true,
    }
}

fn transaction_of(payload: &[u8]) -> Result<Value, String> {
    let document = placet_json::parse(payload, &Limits::RESULT).map_err(|error| error.to_string())?;
    document.get("transaction").cloned().ok_or_else(|| "a record of facts has no transaction".to_owned())
}

fn unwritten(refused: Refused) -> Unwritten {
    match refused {
        Refused::Change(error) => Unwritten::Change(error),
        Refused::Down(why) => Unwritten::Down(why),
        other @ Refused::Overtaken => Unwritten::Down(other.to_string()),
    }
}

/// The upstreams, beside the catalog of the release in force.
pub(crate) struct LiveOffers {
    pub(crate) upstreams: Arc<Upstreams>,
    pub(crate) ledger: Ledger,
    pub(crate) effects: Effects,
    /// What calls of each upstream would be shown, as its settings have it.
    pub(crate) credentials: BTreeMap<Name, String>,
}

impl Offers for LiveOffers {
    fn upstreams(&self) -> Vec<(Name, Result<(), String>)> {
        let health = |health| match health {
            Health::Up { .. } => Ok(()),
            Health::Unknown => Err("nobody has tried yet".to_owned()),
            Health::Down { reason, .. } => Err(reason),
        };
        self.upstreams.health().into_iter().map(|(name, state)| (name, health(state))).collect()
    }
    fn effects(&self) -> Option<Effects> {
        Some(self.effects.clone())
    }
    fn circuits(&self) -> Vec<(Name, &'static str, u64)> {
        let word = |circuit| match circuit {
            Circuit::Closed => "closed",
            Circuit::Open => "open",
            Circuit::HalfOpen => "half_open",
        };
        self.upstreams
            .circuits()
            .map(|(name, circuit, opened)| (name.clone(), word(circuit), opened))
            .collect()
    }
    fn credential(&self, upstream: &Name) -> Option<&str> {
        self.credentials.get(upstream).map(String::as_str)
    }
    fn protocol(&self, upstream: &Name) -> &'static str {
        if self.upstreams.is_rest(upstream) { "rest" } else { "mcp" }
    }
    fn pull<'a>(&'a self, upstream: &'a Name) -> Pending<'a, Option<Result<Vec<Offer>, String>>> {
        Box::pin(async move {
            self.upstreams.names().find(|name| *name == upstream)?;
            let release = self.ledger.releases().current();
            if self.upstreams.is_rest(upstream) {
                // It offers what the release says of it.
                let offer = |entry: &Arc<placet_catalog::Entry>| {
                    Some(Offer {
                        name: entry.tool().to_owned(),
                        digest: entry.own_definition()?.to_string(),
                        definition: placet_catalog::definition(entry)?,
                        accepted: Some(true),
                    })
                };
                let own = |entry: &&Arc<placet_catalog::Entry>| entry.upstream() == upstream;
                let all = release
                    .as_ref()
                    .map(|release| release.catalog().entries().filter(own).filter_map(offer).collect());
                return Some(Ok(all.unwrap_or_default()));
            }
            if let Err(error) = self.upstreams.sync(upstream).await {
                return Some(Err(error.to_string()));
            }
            let tools = self.upstreams.tools(upstream)?;
            let offer = |tool: &placet_mcp::tools::ToolDef| {
                let digest = Digest::from_bytes(*tool.digest.as_bytes());
                let entry = release.as_ref().and_then(|release| release.catalog().tool(upstream, &tool.name));
                Offer {
                    name: tool.name.clone(),
                    digest: digest.to_string(),
                    definition: tool.raw.clone(),
                    accepted: entry.map(|entry| entry.accepts(&digest)),
                }
            };
            Some(Ok(tools.defs.iter().map(offer).collect()))
        })
    }
}
