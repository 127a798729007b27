//! The administration's books, kept by the gateway's ledger and its search index.

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use placet_core::{DecisionId, Digest, Name, RelationModel, Revision, TenantId, Timestamp};
use placet_facts::{Live, Transaction, World};
use placet_gateway::{Act, InFlight, Ledger, ORGANISATION, Refused};
use placet_json::{Limits, Value};
use placet_policy::Release;
use placet_record::{DecisionRecord, Kind};
use placet_store::{Filter, Projection, Row};
use placet_upstream::{Health, Upstreams};

use crate::books::{Books, Deed, Offer, Offers, Pending, ReleaseInfo, Unpromoted, Unwritten};

/// The ledger, its index, the archives of releases.
pub(crate) struct LedgerBooks {
    pub(crate) ledger: Ledger,
    pub(crate) index: Mutex<Projection>,
    pub(crate) releases: PathBuf,
}

impl LedgerBooks {
    /// Searches the index, brought up to the last durable entry first.
    fn search(&self, filter: &Filter) -> Result<Vec<placet_store::Found>, String> {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        index.catch_up(self.ledger.reader(), placet_audit::extract).map_err(|error| error.to_string())?;
        index.search(filter).map_err(|error| error.to_string())
    }
    fn payload(&self, sequence: u64) -> Result<Value, String> {
        let record = self.ledger.reader().get(sequence).map_err(|error| error.to_string())?;
        let record = record.ok_or_else(|| format!("record {sequence} is missing"))?;
        placet_json::parse(&record.payload, &Limits::RESULT).map_err(|error| error.to_string())
    }
    fn load(&self, digest: Digest) -> Result<Release, Unpromoted> {
        let archive = match std::fs::read(self.ledger.archive(digest)) {
            Ok(archive) => archive,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unpromoted::Unknown(digest)),
            Err(error) => return Err(Unpromoted::Down(error.to_string())),
        };
        let release =
            Release::from_archive(&archive).map_err(|refused| Unpromoted::NoRelease(refused.to_string()))?;
        if release.digest() == digest {
            Ok(release)
        } else {
            Err(Unpromoted::NoRelease("the archive was changed".to_owned()))
        }
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
    fn deed(&self, deed: Deed) -> Pending<'_, Result<u64, Unwritten>> {
        let Deed { by, verb, refused, why, tenant } = deed;
        Box::pin(
            async move { self.ledger.act(Act { by, verb, refused, why, tenant }).await.map_err(unwritten) },
        )
    }
    fn as_of(&self, at: Revision) -> Result<World, String> {
        let mut log = Vec::new();
        for record in self.ledger.reader().range(1, at.0) {
            let record = record.map_err(|error| error.to_string())?;
            if Kind::from_tag(record.kind) == Some(Kind::Facts) {
                let document = placet_json::parse(&record.payload, &Limits::RESULT)
                    .map_err(|error| error.to_string())?;
                let transaction =
                    document.get("transaction").ok_or("a record of facts has no transaction")?;
                log.push((
                    record.sequence,
                    Transaction::from_value(transaction).map_err(|error| error.to_string())?,
                ));
            }
        }
        World::fold(log.iter().map(|(at, transaction)| (*at, transaction))).map_err(|error| error.to_string())
    }
    fn revision_at(&self, moment: Timestamp) -> Result<Revision, String> {
        let filter =
            Filter { until_ms: Some(moment.millis().saturating_add(1)), limit: Some(1), ..Filter::default() };
        Ok(Revision(self.search(&filter)?.first().map_or(0, |found| found.sequence)))
    }
    fn history(
        &self,
        tenant: Option<&TenantId>,
        below: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, u64, Value)>, String> {
        let tree = tenant.map_or(ORGANISATION, TenantId::as_str).to_owned();
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let filter = Filter {
            tree: Some(tree),
            kinds: vec![Kind::Facts.tag()],
            below,
            limit: Some(limit),
            ..Filter::default()
        };
        let entry = |found: placet_store::Found| {
            let document = self.payload(found.sequence)?;
            Ok((found.sequence, found.time_ms, document.get("transaction").cloned().unwrap_or(Value::Null)))
        };
        self.search(&filter)?.into_iter().map(entry).collect()
    }
    fn remediable(&self, id: &DecisionId) -> Result<Option<DecisionRecord>, String> {
        self.ledger.remediable(id)
    }
    fn decision(&self, id: &DecisionId) -> Result<Vec<Value>, String> {
        let row = Row { decision_id: Some(id.to_string()), ..Row::default() };
        let kinds = vec![Kind::Decision.tag(), Kind::Effect.tag()];
        let mut found = self.search(&Filter { row, kinds, ..Filter::default() })?;
        found.sort_by_key(|found| found.sequence);
        found.into_iter().map(|found| self.payload(found.sequence)).collect()
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
        let entries = match std::fs::read_dir(&self.releases) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.to_string()),
        };
        let mut digests: Vec<Digest> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|name| Digest::parse(&name.strip_suffix(".tar")?.replacen('-', ":", 1)))
            .collect();
        digests.sort_unstable();
        Ok(digests)
    }
    fn keep(&self, archive: &[u8]) -> Result<ReleaseInfo, Unpromoted> {
        let release =
            Release::from_archive(archive).map_err(|refused| Unpromoted::NoRelease(refused.to_string()))?;
        let path = self.ledger.archive(release.digest());
        let write = || -> io::Result<()> {
            if path.exists() {
                return Ok(());
            }
            std::fs::create_dir_all(&self.releases)?;
            let fresh = path.with_extension("upload");
            let mut file = std::fs::File::create(&fresh)?;
            file.write_all(archive)?;
            file.sync_all()?;
            std::fs::rename(&fresh, &path)
        };
        write().map_err(|error| Unpromoted::Down(format!("the archive can't be kept: {error}")))?;
        Ok(ReleaseInfo { digest: release.digest(), name: release.name().to_string() })
    }
    fn promote<'a>(
        &'a self,
        release: Digest,
        by: &'a Name,
        why: &'a str,
    ) -> Pending<'a, Result<u64, Unpromoted>> {
        Box::pin(async move {
            let release = self.load(release)?;
            self.ledger
                .promote(Arc::new(release), by, why)
                .await
                .map_err(|refused| Unpromoted::Down(refused.to_string()))
        })
    }
}

fn unwritten(refused: Refused) -> Unwritten {
    match refused {
        Refused::Change(error) => Unwritten::Change(error),
        Refused::Down(why) => Unwritten::Down(why),
    }
}

/// The upstreams, beside the catalog of the release in force.
pub(crate) struct LiveOffers {
    pub(crate) upstreams: Arc<Upstreams>,
    pub(crate) ledger: Ledger,
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
    fn pull<'a>(&'a self, upstream: &'a Name) -> Pending<'a, Option<Result<Vec<Offer>, String>>> {
        Box::pin(async move {
            self.upstreams.names().find(|name| *name == upstream)?;
            if let Err(error) = self.upstreams.sync(upstream).await {
                return Some(Err(error.to_string()));
            }
            let tools = self.upstreams.tools(upstream)?;
            let release = self.ledger.releases().current();
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
