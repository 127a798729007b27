//! The sources of facts: how old each is, and what those that feed by this API say of themselves.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    extract::{Path, State},
    response::Response,
};
use bytes::Bytes;
use http::StatusCode;
use placet_core::Timestamp;
use placet_facts::{Mode, Place, SourceStatus};
use placet_gateway::{SourceReport, SourceSays};
use placet_json::{Value, object};

use super::{
    Admin, Caller,
    body::{Body, named},
    error::{ApiError, json},
    rights,
};

type Answer = Result<Response, ApiError>;

/// `GET /v1/facts/sources`
pub(super) async fn list(State(admin): State<Arc<Admin>>, Caller(by): Caller) -> Answer {
    rights::operator(&by)?;
    let sources = admin.books.live().sources().list(admin.books.now());
    let sources = Value::Array(sources.iter().map(document).collect());
    Ok(json(StatusCode::OK, &object! { "sources" => sources }.into()))
}

/// `POST /v1/facts/sources/{source} {state, at, why}`: what a feed says of itself. `seen`: complete as of `at`; `broken`:
/// an attempt failed; `gap`: something is lost, and all that depends on it is denied; `closed`: the gap is closed.
pub(super) async fn report(
    State(admin): State<Arc<Admin>>,
    Caller(by): Caller,
    Path(source): Path<String>,
    body: Bytes,
) -> Answer {
    rights::operator(&by)?;
    let mut body = Body::parse(&body)?;
    let (state, at, why) = (body.text("state")?, body.optional_text("at")?, body.why()?);
    body.finish()?;
    let (name, now) = (named(&source, "source")?, admin.books.now());
    let sources = admin.books.live().sources();
    let known = sources.list(now).into_iter().find(|status| status.source.name == name);
    let known = known.ok_or_else(|| ApiError::missing(format_args!("source `{name}`")))?;
    // One that only the journal knows, by its gap, can be closed and nothing else.
    if sources.mode(&name).is_none() && state != "closed" {
        return Err(ApiError::missing(format_args!("source `{name}`")));
    }
    let at = match at {
        None => now,
        Some(at) => Timestamp::parse(&at)
            .map_err(|error| ApiError::malformed(format!("`at`: {error}"), "give a moment"))?,
    };
    if at > now {
        return Err(ApiError::malformed(
            format!("`at`: {at} is still to come"),
            "give the moment at which the source was asked",
        ));
    }
    let report = |says: SourceSays| -> Result<SourceReport, ApiError> {
        let place = known.source.place.clone();
        Ok(SourceReport { by: by.name()?, source: name.clone(), place, says, why: why.clone() })
    };
    match state.as_str() {
        "seen" => admin.books.source(report(SourceSays::Seen(at))?).await?,
        "broken" => drop(sources.broken(&name, &why)),
        // These deny, or permit, what depends on the source, at every gateway: the ledger keeps them and who said so.
        "gap" => admin.books.source(report(SourceSays::Gap)?).await?,
        "closed" => {
            admin.books.source(report(SourceSays::Closed)?).await?;
            // And what a feed of this server said of itself. One that only the journal knows has no more to close.
            drop(sources.closed(&name));
        }
        _ => {
            return Err(ApiError::malformed(
                "`state` is not known",
                "write `seen`, `broken`, `gap` or `closed`",
            ));
        }
    }
    let status = sources.list(now).into_iter().find(|status| status.source.name == name);
    Ok(json(StatusCode::OK, &status.as_ref().map_or(Value::Null, document)))
}

/// The ages of all sources in Prometheus' text format.
pub(super) fn metrics(sources: &[SourceStatus]) -> String {
    if sources.is_empty() {
        return String::new();
    }
    let mut page = "# HELP placet_facts_age_seconds Since when what a source says is known to be complete.\n# TYPE placet_facts_age_seconds gauge\n".to_owned();
    // A name has no character that would have to be escaped; writing into a `String` can't fail.
    for status in sources {
        let (seconds, millis) = (status.age_ms.wrapping_div(1000), status.age_ms.wrapping_rem(1000));
        let _infallible = writeln!(
            page,
            "placet_facts_age_seconds{{source=\"{}\"}} {seconds}.{millis:03}",
            status.source.name
        );
    }
    page.push_str("# HELP placet_facts_stale Whether decisions that depend on a source are denied.\n# TYPE placet_facts_stale gauge\n");
    for status in sources {
        let stale = u8::from(status.stale.is_some());
        let _infallible = writeln!(page, "placet_facts_stale{{source=\"{}\"}} {stale}", status.source.name);
    }
    page
}

fn document(status: &SourceStatus) -> Value {
    let SourceStatus { source, seen, age_ms, stale, broken } = status;
    let (tenant, bound) = (
        match &source.place {
            Place::Organisation => Value::Null,
            Place::Tenant(id) => Value::from(id.as_str()),
        },
        match source.mode {
            Mode::Polled { bound_ms } => Value::from(bound_ms),
            Mode::PushOnly | Mode::Local => Value::Null,
        },
    );
    let text = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
    Value::from(object! {
        "name" => source.name.as_str(), "tenant" => tenant, "kind" => source.mode.as_str(), "bound_ms" => bound,
        "seen" => seen.map_or(Value::Null, |seen| seen.to_string().into()), "age_ms" => *age_ms,
        "stale" => text(stale), "broken" => text(broken),
    })
}
