//! Of several gateways that have a source one follows it: what an OPAL server pushes it pushes once, and a gateway that
//! missed it would undo it.

use std::{sync::Arc, time::Duration};

use super::{Host, SourceSettings, source::follow};

/// How often is asked whether this host follows the source.
const LEAD: Duration = Duration::from_secs(1);

/// Works until it is dropped. Where several hosts have the source, one of them follows it; another takes it over, with
/// the document that was kept, when that one is gone.
pub async fn run(settings: SourceSettings, host: Arc<dyn Host>) -> Result<(), String> {
    let name = settings.name.clone();
    loop {
        while !host.leads(&name).await.unwrap_or(false) {
            tokio::time::sleep(LEAD).await;
        }
        // Where it can't be told, nothing changes: what is written is asked for its right once more.
        let lost = async {
            while host.leads(&name).await.unwrap_or(true) {
                tokio::time::sleep(LEAD).await;
            }
        };
        tokio::select! {
            ended = follow(settings.clone(), Arc::clone(&host)) => return ended,
            () = lost => {
                tracing::warn!(source = %name, "another gateway follows the source now");
                host.left(&name);
            }
        }
    }
}
