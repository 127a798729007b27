//! An emergency release ends by itself: the one before it comes into force again.

use std::time::Duration;

use placet_core::Name;

use super::{Lifecycle, NotInForce};

/// How often the end is looked for.
const EVERY: Duration = Duration::from_millis(250);

/// Ends emergency releases whose time is over. Runs until it is dropped.
pub(crate) async fn watch(lifecycle: Lifecycle) {
    let Ok(by) = Name::new("emergency") else { return };
    loop {
        tokio::time::sleep(EVERY).await;
        let ledger = lifecycle.ledger();
        if ledger.lives().emergency().is_none_or(|until| ledger.now() < until) {
            continue;
        }
        match lifecycle.rollback(None, &by, "the emergency release's time is over").await {
            Ok((_, to, _)) => {
                tracing::warn!(release = %to, "the emergency release is over; this one is in force again");
            }
            // Another gateway was faster.
            Err(NotInForce::Overtaken) => {}
            Err(error) => {
                tracing::error!(%error, "the emergency release is over, and the one before can't be put in force");
            }
        }
    }
}
