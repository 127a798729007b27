//! Probes: alive, ready, counted.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use placet_core::WaiverKind;
use placet_gateway::MAX_CLOCK_BEHIND;
use placet_json::{Value, object};

use super::{Admin, error::json, sources, waivers};

/// `GET /healthz`: the process answers.
pub(super) async fn alive() -> Response {
    json(StatusCode::OK, &object! { "status" => "ok" }.into())
}

/// `GET /readyz`: calls can be served; else 503 and why.
pub(super) async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    let behind = admin.books.clock_behind();
    let no_release = "no release is in force; `placet promote` one";
    let checks = [
        ("ledger", admin.books.ready().err()),
        // The same bound that denies calls.
        (
            "clock",
            (behind > MAX_CLOCK_BEHIND).then(|| format!("the wall clock is {behind} ms behind the ledger")),
        ),
        ("release", admin.books.in_force().is_none().then(|| no_release.to_owned())),
        ("facts", stale(&admin)),
    ];
    let ready = checks.iter().all(|(_, problem)| problem.is_none());
    let checks = checks
        .into_iter()
        .map(|(name, problem)| (name.to_owned(), problem.map_or_else(|| "ok".into(), Value::from)));
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &object! { "ready" => ready, "checks" => checks.collect::<placet_json::Object>() }.into())
}

/// The first source of facts that is stale: decisions that depend on it are denied.
fn stale(admin: &Admin) -> Option<String> {
    // Without a signature nothing of what the source said is shown.
    admin.books.live().sources().stale(admin.books.now()).map(|status| {
        format!(
            "the source `{}` is stale, {} ms old; see `placet facts sources`",
            status.source.name, status.age_ms
        )
    })
}

/// `GET /metrics`
pub(super) async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let sources = admin.books.live().sources().list(admin.books.now());
    let fresh = sources.iter().all(|status| status.stale.is_none());
    let ready = admin.books.ready().is_ok() && admin.books.in_force().is_some() && fresh;
    admin.metrics.gauge("ready", u64::from(ready));
    admin.metrics.gauge("facts_revision", admin.books.live().world().revision().0);
    let stops = admin.books.live().world().organisation().frozen().count();
    admin.metrics.gauge("freezes", u64::try_from(stops).unwrap_or(u64::MAX));
    let (kept, erased) = admin.books.subject_keys();
    admin.metrics.gauge("subject_keys", u64::try_from(kept).unwrap_or(u64::MAX));
    admin.metrics.gauge("subject_keys_erased", u64::try_from(erased).unwrap_or(u64::MAX));
    let unknown = admin.offers.effects().map_or(0, |effects| effects.count());
    admin.metrics.gauge("effects_unknown", u64::try_from(unknown).unwrap_or(u64::MAX));
    let world = admin.books.live().world();
    let read = world.tenants().fold(0_usize, |sum, tenant| sum.saturating_add(tenant.observed_count()));
    admin.metrics.gauge("lookups_remembered", u64::try_from(read).unwrap_or(u64::MAX));
    admin.opal.count(&admin.metrics);
    let emergency = admin.lifecycle.as_ref().and_then(|it| it.ledger().lives().emergency());
    admin.metrics.gauge("observe_permissions", waivers::count(&admin, WaiverKind::Observe));
    admin.metrics.gauge("exceptions", waivers::count(&admin, WaiverKind::Exception));
    if let Some(shadow) = admin.lifecycle.as_ref().and_then(|it| it.shadow().report()) {
        for (name, gauge) in [
            ("compared", "shadow_compared"),
            ("differing", "shadow_differing"),
            ("dropped", "shadow_dropped"),
        ] {
            admin.metrics.gauge(gauge, shadow.get(name).and_then(Value::as_u64).unwrap_or_default());
        }
    }
    admin.metrics.gauge("emergency_release", u64::from(emergency.is_some()));
    let circuits = admin.offers.circuits();
    admin.metrics.circuits(circuits.iter().map(|(name, state, opened)| (name.as_str(), *state, *opened)));
    admin.metrics.gauge("uptime_seconds", admin.started.elapsed().as_secs());
    let mut page = admin.metrics.render() + &sources::metrics(&sources) + &admin.databases.metrics().await;
    if let Some(streams) = &admin.streams {
        page.push_str(&streams.metrics().await);
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response()
}
