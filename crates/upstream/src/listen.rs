//! The stream on which an HTTP upstream announces that its tools changed. Only the announcement counts: what changed is
//! read from the list.

use std::sync::Arc;

use http::HeaderMap;
use placet_json::{Object, object};
use placet_mcp::{Era, Method};
use tokio::time::timeout;

use crate::credential::Caller;
use crate::http::{HttpUpstream, mirrored};
use crate::sync::Stale;
use crate::wire::{self, Inbound};
use crate::{Partition, Purpose, UpstreamError, post};

/// Listens until the stream ends, and marks what is announced. An error means that there is no such stream.
pub(crate) async fn listen(
    http: &Arc<HttpUpstream>,
    caller: Caller<'_>,
    stale: &Stale,
) -> Result<(), UpstreamError> {
    let partition = &Partition::Service;
    let manner = http.manner(caller, partition).await?;
    let id = http.id();
    let request = match manner.era() {
        Era::Modern => {
            let mut params = object! { "notifications" => object! { "toolsListChanged" => true } };
            params.insert("_meta", wire::meta(Era::Modern, id, None));
            let body = wire::request(id, Method::SubscriptionsListen, params);
            let made = caller.make(&http.aim(Purpose::Session, &body))?;
            let mirrored: HeaderMap = mirrored(&manner, Method::SubscriptionsListen, &Object::new(), None)?;
            http.request(&manner, mirrored, &made, body.into())?
        }
        Era::Legacy => http.open_stream(caller, &manner, None)?,
    };
    let mut lane = http.pool.take(partition).await?;
    let sent = timeout(http.timeouts.handshake, post::send(&mut lane.line, request, http.bounds.answer));
    let mut reply = sent
        .await
        .map_err(|_| UpstreamError::Timeout("open a stream of announcements"))?
        .map_err(|broken| UpstreamError::protocol(broken.to_string()))?;
    if !reply.status.is_success() || !reply.is_stream() {
        let status = reply.status.as_u16();
        if status == 404 {
            http.lose(partition, &manner).await;
        }
        return Err(UpstreamError::Status(status));
    }
    let limits = wire::limits(http.bounds.answer);
    while let Ok(Some(raw)) = reply.next().await {
        match wire::read(&raw, &limits, id, true) {
            Ok(Inbound::Notice(notice)) if notice.method == Method::ToolsListChanged.name() => stale.mark(),
            Ok(Inbound::Question(question, method)) if manner.era() == Era::Legacy => {
                http.tell_later(caller, partition, &manner, wire::reply(question, &method));
            }
            Ok(Inbound::Answer(_)) => break,
            Ok(Inbound::Notice(_) | Inbound::Question(..) | Inbound::Stray) | Err(_) => {}
        }
    }
    Ok(())
}
