//! Refusals that were only counted are written down when their window is over, also where nothing else happens.

use std::{sync::Arc, time::Duration};

use placet_gateway::Ledger;
use tokio::sync::watch;

use crate::metrics::Metrics;

/// How often it is looked whether a window is over.
const EVERY: Duration = Duration::from_secs(1);

/// Until `stopped` says so.
pub(crate) async fn sweep(ledger: Ledger, metrics: Arc<Metrics>, mut stopped: watch::Receiver<bool>) {
    let work = async {
        loop {
            ledger.sweep();
            metrics.gauge("refusals_only_counted", ledger.only_counted());
            tokio::time::sleep(EVERY).await;
        }
    };
    tokio::select! {
        () = work => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
}
