//! The administrators' listener: `/v1/…`, and what probes read.
//!
//! Every act is a transaction of facts, a release, or a deed in the ledger, authored by whoever signed the request;
//! what was refused to somebody known is recorded too. `/healthz`, `/readyz` and `/metrics` need no signature: they
//! name upstreams and lookups, but no tenant, person or tool.

mod about;
mod access;
mod acts;
mod approvals;
mod body;
mod catalog;
mod databases;
mod decisions;
mod diff;
mod door;
mod effects;
mod enrolment;
mod erasures;
mod error;
mod feed;
mod fits;
mod freezes;
mod health;
mod holds;
mod lives;
mod moves;
mod opal;
mod openapi;
mod read;
mod relations;
mod releases;
mod rights;
mod risks;
mod safe;
mod slice;
mod sources;
mod streams;
mod totals;
mod waivers;

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    extract::{FromRequestParts, Request},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{StatusCode, request::Parts};

use crate::{
    books::{Books, Offers},
    databases::Databases,
    lifecycle::{Follows, Lifecycle},
    metrics::Metrics,
    opal::Opal,
    stream::Streams,
    vault::VaultFile,
};

pub use door::{Door, KEY_HEADER, Principal, is_host};
pub use enrolment::{Codes, Spent};
pub use error::ApiError;
pub(crate) use error::json;
pub use feed::Waiters;

/// Everything that the administration API works on.
pub struct Admin {
    /// The ledger and the release in force.
    pub books: Arc<dyn Books>,
    /// The upstreams' tools.
    pub offers: Arc<dyn Offers>,
    /// Who is let in.
    pub door: Door,
    /// Enrolment codes that were handed out.
    pub codes: Arc<Codes>,
    /// Upstream secrets; none where there is no master key.
    pub vault: Option<Arc<VaultFile>>,
    /// OPAL, on both sides.
    pub opal: Arc<Opal>,
    /// How releases come into force; none where nothing is kept.
    pub lifecycle: Option<Lifecycle>,
    /// The repository that releases come from.
    pub git: Follows,
    /// Databases: the gateways' and those of others.
    pub databases: Arc<Databases>,
    /// Streams out of the ledger; none where nothing is kept.
    pub streams: Option<Streams>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The environment's name.
    pub environment: &'static str,
    /// The agents' listener as agents call it.
    pub public_url: String,
    /// When the server started.
    pub started: Instant,
    /// Places for readers who wait for changes.
    pub waiters: Waiters,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("door", &self.door).finish_non_exhaustive()
    }
}

/// The listener's routes.
pub fn routes(admin: Arc<Admin>) -> Router {
    let v1 = Router::new()
        .route("/v1/openapi.json", get(openapi::document))
        .route("/v1/status", get(read::status))
        .route("/v1/tenants", get(read::tenants).post(acts::create_tenant))
        .route("/v1/humans", get(read::humans).post(acts::set_human))
        .route("/v1/humans/{human}/standing", post(acts::human_standing))
        .route("/v1/humans/{human}/keys", post(acts::register_key))
        .route("/v1/agents", get(read::agents).post(enrolment::create))
        .route("/v1/agents/{agent}/codes", post(enrolment::code))
        .route("/v1/agents/{agent}/standing", post(acts::agent_standing))
        .route("/v1/agents/{agent}/can", get(access::can))
        .route("/v1/access", get(access::report))
        .route("/v1/access/sign", post(access::sign))
        .route("/v1/freezes", get(read::freezes).post(freezes::freeze))
        .route("/v1/freezes/end", post(freezes::unfreeze))
        .route("/v1/holds", get(holds::list).post(holds::hold))
        .route("/v1/holds/end", post(holds::end))
        .route("/v1/risks", get(risks::list).post(risks::set))
        .route("/v1/waivers", get(waivers::list).post(waivers::ask))
        .route("/v1/waivers/{waiver}/confirm", post(waivers::confirm))
        .route("/v1/waivers/{waiver}/end", post(waivers::end))
        .route("/v1/agents/{agent}/enforce", post(waivers::enforce))
        .route("/v1/tenants/{tenant}/assignments", get(read::assignments).post(acts::assign))
        .route("/v1/tenants/{tenant}/workflows", get(read::workflows).post(acts::open_workflow))
        .route("/v1/tenants/{tenant}/workflows/{workflow}/move", post(moves::go))
        .route("/v1/tenants/{tenant}/workflows/{workflow}/close", post(acts::close_workflow))
        .route("/v1/tenants/{tenant}/delegations", get(read::delegations).post(acts::delegate))
        .route("/v1/tenants/{tenant}/delegations/{delegation}/revoke", post(acts::revoke))
        .route("/v1/tenants/{tenant}/approvals", get(read::approvals))
        .route("/v1/tenants/{tenant}/approvals/{approval}/withdraw", post(approvals::withdraw))
        .route("/v1/tenants/{tenant}/totals", get(totals::totals))
        .route("/v1/approvals", post(approvals::give))
        .route("/v1/facts", get(read::facts).post(acts::apply))
        .route("/v1/facts/history", get(read::history))
        .route("/v1/facts/changes", get(feed::changes))
        .route("/v1/facts/sources", get(sources::list))
        .route("/v1/facts/sources/{source}", post(sources::report))
        .route("/v1/tenants/{tenant}/relations/check", post(relations::check))
        .route("/v1/tenants/{tenant}/relations/expand", post(relations::expand))
        .route("/v1/tenants/{tenant}/relations/objects", post(relations::objects))
        .route("/v1/tenants/{tenant}/relations/subjects", post(relations::subjects))
        .route("/v1/erasures", post(erasures::erase))
        .route("/v1/decisions/{decision}", get(decisions::show))
        .route("/v1/decisions/{decision}/explanation", get(decisions::explain))
        .route("/v1/effects", get(effects::unknown))
        .route("/v1/effects/{decision}/resolve", post(effects::resolve))
        .route("/v1/releases", get(releases::list).post(releases::keep))
        .route("/v1/releases/{release}/promote", post(releases::promote))
        .route("/v1/releases/{release}", get(lives::show))
        .route("/v1/releases/{release}/archive", get(lives::archive))
        .route("/v1/releases/{release}/envelope", post(lives::sign))
        .route("/v1/releases/{release}/review", post(lives::review))
        .route("/v1/releases/rollback", post(lives::rollback))
        .route("/v1/releases/{release}/shadow", post(lives::start_shadow))
        .route("/v1/releases/shadow", get(lives::shadow).post(lives::end_shadow))
        .route("/v1/releases/diff", post(diff::diff))
        .route("/v1/releases/candidates", get(opal::candidates))
        .route("/v1/databases", get(databases::list))
        .route("/v1/streams", get(streams::list))
        .route("/v1/streams/{stream}/rewind", post(streams::rewind))
        .route("/v1/opal", get(opal::status))
        .route("/v1/opal/tokens", post(opal::token))
        .route("/v1/vault", get(safe::list).post(safe::put))
        .route("/v1/vault/remove", post(safe::remove))
        .route("/v1/upstreams", get(catalog::upstreams))
        .route("/v1/upstreams/{upstream}/tools", get(catalog::tools))
        .method_not_allowed_fallback(no_method)
        .layer(from_fn_with_state(Arc::clone(&admin), door::authenticated))
        .with_state(Arc::clone(&admin));
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .with_state(Arc::clone(&admin))
        .merge(v1)
        .fallback(nothing)
        .layer(from_fn_with_state(admin, door::host))
        .layer(from_fn(harden))
}

/// Browsers are told to guess nothing about what they got.
async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, http::HeaderValue::from_static("nosniff"));
    headers.insert(
        http::header::CONTENT_SECURITY_POLICY,
        http::HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    );
    response
}

async fn nothing() -> Response {
    ApiError::missing("such path").into_response()
}

async fn no_method() -> Response {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method",
        "this path has no such method",
        "see `/v1/openapi.json`",
    )
    .into_response()
}

/// Whoever signed the request.
pub(crate) struct Caller(pub(crate) Principal);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // Without the layer that authenticates, nobody is anybody.
        parts.extensions.get::<Principal>().cloned().map(Self).ok_or_else(ApiError::unauthenticated)
    }
}

#[cfg(test)]
mod tests;
