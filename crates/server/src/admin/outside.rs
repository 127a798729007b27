//! Calls that upstreams' own logs know and no decision of ours permitted: told by whoever compares the logs, recorded once.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use bytes::Bytes;
use http::StatusCode;
use placet_audit::OUTSIDE;
use placet_core::{Digest, Timestamp};
use placet_json::{Value, object};

use super::{
    Admin, Caller,
    body::Body,
    error::{ApiError, json},
    rights,
};
use crate::books::Deed;

/// Calls of one request at most.
const MAX_CALLS: usize = 200;
/// The longest text of a call, in bytes.
const MAX_TEXT: usize = 256;

/// A call of an upstream's log.
struct Call {
    which: String,
    time: Timestamp,
    tool: Option<String>,
    digest: Digest,
}

/// `POST /v1/outside-authority {upstream, calls: [{which, time, tool?, digest}], why?}`. What was told before is recorded
/// once; what was compared stays with whoever compared it.
pub(super) async fn tell(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
    body: Bytes,
) -> Result<Response, ApiError> {
    rights::operator(&by)?;
    let mut body = Body::parse(&body)?;
    let (upstream, calls, why) = (body.name("upstream")?, body.required("calls")?, body.why()?);
    body.finish()?;
    if !admin.offers.upstreams().iter().any(|(name, _)| *name == upstream) {
        return Err(ApiError::missing(format_args!("upstream `{upstream}`")));
    }
    let calls = calls.as_array().filter(|calls| calls.len() <= MAX_CALLS).ok_or_else(|| {
        ApiError::malformed("`calls` is no list, or too long", "tell at most 200 calls at once")
    })?;
    let calls: Vec<Call> = calls.iter().map(call).collect::<Option<_>>().ok_or_else(|| {
        ApiError::malformed(
            "a call of `calls` is malformed",
            "give each `which`, `time` (RFC 3339), `digest` (`sha256:…`) and, where it is known, `tool`",
        )
    })?;
    let (mut recorded, mut known) = (0_u64, 0_u64);
    for Call { which, time, tool, digest } in calls {
        let verb = format!("{OUTSIDE} {upstream} {digest}");
        if admin.books.acted(&verb).map_err(ApiError::down)? {
            known = known.saturating_add(1);
            continue;
        }
        let tool = tool.map_or_else(String::new, |tool| format!(" of `{tool}`"));
        let mut told = format!(
            "`{upstream}` did a call{tool} at {time} ({which} of its log) that no decision permitted"
        );
        if !why.is_empty() {
            told = format!("{told}: {why}");
        }
        let deed = Deed { by: by.name()?, verb, refused: true, why: told, tenant: None };
        admin.books.deed(deed).await?;
        admin.metrics.outside_authority(upstream.as_str());
        tracing::error!(%upstream, %time, %digest, "outside_authority: a call that no decision permitted");
        recorded = recorded.saturating_add(1);
    }
    Ok(json(StatusCode::OK, &object! { "recorded" => recorded, "known" => known }.into()))
}

fn call(value: &Value) -> Option<Call> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).filter(|text| text.len() <= MAX_TEXT);
    let tool = match value.get("tool") {
        None | Some(Value::Null) => None,
        Some(_) => Some(text("tool")?.to_owned()),
    };
    Some(Call {
        which: text("which")?.to_owned(),
        time: Timestamp::parse(text("time")?).ok()?,
        tool,
        digest: Digest::parse(text("digest")?)?,
    })
}
