//! The newest world, for readers that never wait.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwap;
use placet_core::{Facts, FactsView, NoSuchTenant, Revision, TenantId};
use tokio::sync::watch;

use crate::{Sources, World};

/// The newest [`World`]. One writer, the journal's, publishes; readers swap in one pointer.
#[derive(Debug)]
pub struct Live {
    world: ArcSwap<World>,
    sources: Arc<Sources>,
    moved: watch::Sender<()>,
    environment: OnceLock<Arc<str>>,
}

impl Live {
    /// Starts with `world`.
    #[must_use]
    pub fn new(world: World) -> Self {
        Self {
            world: ArcSwap::from_pointee(world),
            sources: Arc::default(),
            moved: watch::Sender::new(()),
            environment: OnceLock::new(),
        }
    }
    /// Where the facts come from; feeds tell it when they were last complete.
    #[must_use]
    pub fn sources(&self) -> &Arc<Sources> {
        &self.sources
    }
    /// Says which environment this is, once, before anything is decided.
    pub fn runs_in(&self, environment: &str) {
        self.environment.get_or_init(|| Arc::from(environment));
    }
    /// The newest world.
    #[must_use]
    pub fn world(&self) -> Arc<World> {
        self.world.load_full()
    }
    /// Makes `world` the newest and wakes those who wait for facts to move. Who reads after this returns sees it.
    pub fn publish(&self, world: World) {
        self.world.store(Arc::new(world));
        self.moved.send_replace(());
    }
    /// Makes a world the newest whose facts are those of the last one: only flows, totals and spent approvals differ.
    /// Nobody is woken, since nobody waits for these.
    pub fn publish_flow(&self, world: World) {
        self.world.store(Arc::new(world));
    }
    /// Changes whenever facts of anybody do.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.moved.subscribe()
    }
    fn revision(&self, tenant: &TenantId) -> Option<Revision> {
        let world = self.world.load();
        Some(world.organisation().revision().max(world.tenant(tenant)?.revision()))
    }
}

impl Facts for Live {
    fn snapshot(&self, tenant: &TenantId) -> Result<Arc<dyn FactsView>, NoSuchTenant> {
        // Ages before facts: the facts are at least as new as what is said of their age.
        let ages = self.sources.of(tenant);
        match self.world.load().snapshot(tenant) {
            Some(snapshot) => {
                Ok(Arc::new(snapshot.aged(ages).in_environment(self.environment.get().cloned())))
            }
            None => Err(NoSuchTenant),
        }
    }
    fn moved(&self, tenant: &TenantId, since: Revision) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        // Subscribed before the first look, so that nothing is published unseen between look and wait.
        let mut moved = self.moved.subscribe();
        let tenant = tenant.clone();
        Box::pin(async move {
            while self.revision(&tenant).is_none_or(|revision| revision <= since) {
                if moved.changed().await.is_err() {
                    // The sender lives in `self`, which is borrowed.
                    std::future::pending::<()>().await;
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use placet_core::{HumanId, Standing};
    use placet_json::{Limits, parse};

    use super::*;
    use crate::{Change, Place, Transaction};

    fn world() -> World {
        let file = r#"{"tenant":"acme","humans":[{"id":"maya","standing":"active","home":"acme"}]}"#;
        World::from_file(&parse(file.as_bytes(), &Limits::MESSAGE).unwrap()).unwrap()
    }
    fn suspend() -> Transaction {
        Transaction {
            place: Place::Organisation,
            changes: vec![Change::HumanStanding {
                human: HumanId::new("maya").unwrap(),
                standing: Standing::Suspended,
            }],
            author: "ops".parse().unwrap(),
            source: "cli".parse().unwrap(),
            why: String::new(),
            idempotency_key: None,
        }
    }

    #[tokio::test]
    async fn del_2_a_suspension_is_seen_by_the_next_snapshot_and_wakes_who_waits() {
        let live = Arc::new(Live::new(world()));
        let acme = TenantId::new("acme").unwrap();
        let maya = HumanId::new("maya").unwrap();
        let before = live.snapshot(&acme).unwrap();
        let since = before.revision();
        let waiting = tokio::spawn({
            let (live, acme) = (live.clone(), acme.clone());
            async move { live.moved(&acme, since).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        live.publish(live.world().apply(since.0 + 1, &suspend()).unwrap());
        tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
        assert_eq!(live.snapshot(&acme).unwrap().human(&maya).unwrap().standing, Standing::Suspended);
        assert_eq!(before.human(&maya).unwrap().standing, Standing::Active, "a snapshot stays what it was");
        live.moved(&acme, since).await;
        assert!(live.snapshot(&TenantId::new("globex").unwrap()).is_err());
    }
}
