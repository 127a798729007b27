//! The REST half: configuration, facts, bundles, publishing, reports, tokens.

use std::sync::Arc;

use axum::{
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use placet_core::TenantId;
use placet_json::{Limits, Value, object, parse};
use secrecy::ExposeSecret as _;
use subtle::ConstantTimeEq as _;

use super::{
    Fleet, data, policy,
    token::{FleetToken, MAX_LIFE, PeerType, Scopes},
};
use crate::opal::{
    document::Path as Place,
    wire::{DataUpdate, expanded},
};

type Shared = State<Arc<Fleet>>;
/// The life of a token where none is asked for: 7 days, in seconds.
const LIFE: u64 = 7 * 24 * 60 * 60;
/// Our own documents: nobody else writes there.
const OURS: &str = "placet";

/// `GET /opal/policy?path=…&base_hash=…`
pub(super) async fn policy(State(fleet): Shared, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let token = match bearer(&fleet, &headers) {
        Ok(token) => token,
        Err(response) => return response,
    };
    if !token.allowed.policy() {
        return denied(&fleet, "this token permits no policy topic");
    }
    bundle(&fleet, query.as_deref().unwrap_or_default())
}

/// `GET /opal/scopes/{scope}/policy`
pub(super) async fn scoped_policy(
    State(fleet): Shared,
    Path(scope): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    match bearer(&fleet, &headers) {
        Ok(token) if token.allowed.scopes.contains(&scope) => {
            bundle(&fleet, query.as_deref().unwrap_or_default())
        }
        Ok(_) => denied(&fleet, "this token isn't for this scope"),
        Err(response) => response,
    }
}

fn bundle(fleet: &Fleet, query: &str) -> Response {
    let mut paths = Vec::new();
    let mut base = None;
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()).take(64) {
        match name.as_ref() {
            "path" => paths.push(value.into_owned()),
            "base_hash" => base = Some(value.into_owned()),
            _ => {}
        }
    }
    let Some(release) = fleet.host.release() else {
        let mut response = error(StatusCode::SERVICE_UNAVAILABLE, "no release is in force");
        response.headers_mut().insert(header::RETRY_AFTER, http::HeaderValue::from_static("5"));
        return response;
    };
    // A base that isn't known is answered with everything.
    let base = base.as_deref().and_then(policy::digest).and_then(|digest| fleet.host.kept(digest));
    match policy::bundle(&release, base.as_deref(), &paths) {
        Ok(bundle) => json(StatusCode::OK, &bundle),
        Err(policy::NoBundle::Path(path)) => {
            error(StatusCode::NOT_FOUND, &format!("requested path {path} was not found in the policy repo!"))
        }
    }
}

/// `GET /opal/data/config`: where to fetch the facts of the tenants that the token names.
pub(super) async fn config(State(fleet): Shared, headers: HeaderMap) -> Response {
    let token = match bearer(&fleet, &headers) {
        Ok(token) => token,
        Err(response) => return response,
    };
    let world = fleet.host.world();
    let tenants = world.tenants().map(|tenant| tenant.id());
    let entries = tenants
        .filter(|tenant| token.allowed.allows(&format!("policy_data/{tenant}")))
        .map(|tenant| entry(&fleet, tenant, &headers, &expanded(&format!("policy_data/{tenant}"))));
    json(StatusCode::OK, &object! { "entries" => Value::Array(entries.collect()) }.into())
}

/// `GET /opal/scopes/{scope}/data`: the same for one tenant.
pub(super) async fn scoped_config(
    State(fleet): Shared,
    Path(scope): Path<String>,
    headers: HeaderMap,
) -> Response {
    let token = match bearer(&fleet, &headers) {
        Ok(token) => token,
        Err(response) => return response,
    };
    let Some(tenant) = TenantId::new(&scope).ok().filter(|_| token.allowed.scopes.contains(&scope)) else {
        return denied(&fleet, "this token isn't for this scope");
    };
    let topics = [format!("{scope}:data:policy_data")];
    json(
        StatusCode::OK,
        &object! { "entries" => Value::Array(vec![entry(&fleet, &tenant, &headers, &topics)]) }.into(),
    )
}

fn entry(fleet: &Fleet, tenant: &TenantId, headers: &HeaderMap, topics: &[String]) -> Value {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let topics = topics.iter().map(|topic| Value::from(topic.as_str())).collect();
    object! {
        "url" => format!("{}/data/facts/{tenant}", fleet.settings.url),
        // The caller's own token goes back to the caller, for this fetch.
        "config" => object! { "headers" => object! { "Authorization" => authorization.unwrap_or_default() } },
        "topics" => Value::Array(topics), "dst_path" => data::path(tenant), "save_method" => "PUT",
    }
    .into()
}

/// `GET /opal/data/facts/{tenant}`
pub(super) async fn facts(State(fleet): Shared, Path(tenant): Path<String>, headers: HeaderMap) -> Response {
    let token = match bearer(&fleet, &headers) {
        Ok(token) => token,
        Err(response) => return response,
    };
    let Some(tenant) = TenantId::new(&tenant).ok().filter(|tenant| token.allowed.tenant(tenant)) else {
        return denied(&fleet, "this token isn't for this tenant");
    };
    match data::document(&fleet.host.world(), &tenant) {
        Some(document) => json(StatusCode::OK, &document),
        None => error(StatusCode::NOT_FOUND, "there is no such tenant"),
    }
}

/// `POST /opal/data/config`: publishes an update; only for a datasource, only on topics that its token names.
pub(super) async fn publish(State(fleet): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let token = match bearer(&fleet, &headers) {
        Ok(token) => token,
        Err(response) => return response,
    };
    if token.peer_type != PeerType::Datasource {
        fleet.host.counted("opal_publish");
        return denied(&fleet, "only a token of the type `datasource` publishes");
    }
    let limits = Limits { bytes: fleet.settings.body_bytes, depth: 64, members: 100_000 };
    let parsed = parse(&body, &limits).map_err(|error| error.to_string());
    let checked = parsed.and_then(|value| match DataUpdate::read(&value) {
        Ok(update) => Ok((value, update)),
        Err(error) => Err(error.to_string()),
    });
    let (mut value, update) = match checked {
        Ok(both) => both,
        Err(why) => return error(StatusCode::UNPROCESSABLE_ENTITY, &why),
    };
    let mut all: Vec<String> = Vec::new();
    let mut expanded_topics: Vec<Vec<String>> = Vec::new();
    let mut places: Vec<String> = Vec::new();
    for entry in &update.entries {
        if let Some(topic) = entry.topics.iter().find(|topic| !token.allowed.allows(topic)) {
            fleet.host.counted("opal_publish");
            return denied(
                &fleet,
                &format!("this token doesn't permit the topic `{}`", topic.escape_debug()),
            );
        }
        let place = match Place::parse(&entry.dst_path) {
            Ok(place) => place,
            Err(why) => return error(StatusCode::UNPROCESSABLE_ENTITY, &why.to_string()),
        };
        if place.parts().first().is_none_or(|first| first == OURS) {
            return error(
                StatusCode::FORBIDDEN,
                "`/` and `/placet` are Placet's own: choose another `dst_path`",
            );
        }
        let topics: Vec<String> = entry.topics.iter().flat_map(|topic| expanded(topic)).collect();
        // Above what the token permits nobody is told.
        let topics: Vec<String> = topics.into_iter().filter(|topic| token.allowed.allows(topic)).collect();
        all.extend(topics.iter().cloned());
        expanded_topics.push(topics);
        places.push(place.to_string());
    }
    if let Some(entries) = value.get_mut("entries").and_then(Value::as_array_mut) {
        for ((entry, topics), place) in entries.iter_mut().zip(expanded_topics).zip(places) {
            if let Some(entry) = entry.as_object_mut() {
                entry.insert("topics", Value::Array(topics.into_iter().map(Value::from).collect()));
                // One spelling, so that the client's locks know that it is one place.
                entry.insert("dst_path", place);
            }
        }
    }
    fleet.publish(&all, &Arc::new(value));
    json(StatusCode::OK, &object! { "status" => "ok" }.into())
}

/// `POST /opal/data/callback_report`: how an update of ours went at a client.
pub(super) async fn report(State(fleet): Shared, headers: HeaderMap, body: Bytes) -> Response {
    // OPAL's default callback has no token. It gets its 200 and is believed nothing: a refusal would be retried by the
    // workers that fetch data.
    let Ok(token) = bearer(&fleet, &headers) else {
        return json(StatusCode::OK, &policy::nothing());
    };
    let limits = Limits { bytes: fleet.settings.body_bytes, depth: 64, members: 100_000 };
    let Ok(report) = parse(&body, &limits) else {
        return error(StatusCode::UNPROCESSABLE_ENTITY, "the report is no JSON");
    };
    let id = report.get("update_id").and_then(Value::as_str).and_then(|id| id.strip_prefix("placet-"));
    let id = id.and_then(|id| id.split_once('-'));
    let id = id.and_then(|(client, update)| Some((client.parse::<u64>().ok()?, update.parse::<u64>().ok()?)));
    if let Some((client, update)) = id {
        let reports = report.get("reports").and_then(Value::as_array).unwrap_or_default();
        let kept = |entry: &Value| entry.get("saved").and_then(Value::as_bool) == Some(true);
        let saved = !reports.is_empty() && reports.iter().all(kept);
        let client = fleet.clients().get(&client).cloned();
        // What one client has saved no other can say.
        if let Some(client) = client.filter(|client| client.subject == token.sub)
            && client.reports.try_send((update, saved)).is_err()
        {
            tracing::debug!(update, "a report more than can be looked at");
        }
    }
    json(StatusCode::OK, &policy::nothing())
}

/// `POST /opal/token {type, ttl, claims}`, with the master token.
pub(super) async fn token(State(fleet): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let Some(master) = &fleet.settings.master else {
        return error(
            StatusCode::SERVICE_UNAVAILABLE,
            "no master token is set: an operator gives tokens out",
        );
    };
    let given = authorization(&headers).unwrap_or_default();
    if !bool::from(given.as_bytes().ct_eq(master.expose_secret().as_bytes())) {
        fleet.host.counted("opal_token");
        return error(StatusCode::UNAUTHORIZED, "this is not the master token");
    }
    let Ok(request) = parse(&body, &Limits::MESSAGE) else {
        return error(StatusCode::UNPROCESSABLE_ENTITY, "the request is no JSON");
    };
    let peer_type = request.get("type").and_then(Value::as_str);
    let Some(peer_type) = peer_type.map_or(Some(PeerType::Client), PeerType::parse) else {
        return error(StatusCode::UNPROCESSABLE_ENTITY, "`type` is none of client, datasource, listener");
    };
    let life = match request.get("ttl") {
        None | Some(Value::Null) => LIFE,
        Some(ttl) => match ttl.as_u64() {
            Some(seconds) if (1..=MAX_LIFE).contains(&seconds) => seconds,
            _ => {
                return error(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "`ttl` is no number of seconds up to 90 days",
                );
            }
        },
    };
    let list = |name: &str| -> Vec<String> {
        let texts = request.get("claims").and_then(|claims| claims.get(name)).and_then(Value::as_array);
        texts.unwrap_or_default().iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let allowed = Scopes { topics: list("permitted_topics"), scopes: list("allowed_scopes") };
    match fleet.mint(peer_type, allowed, life) {
        Ok(token) => json(
            StatusCode::OK,
            &object! { "token" => token, "type" => "bearer", "details" => Value::Null }.into(),
        ),
        Err(why) => error(StatusCode::UNPROCESSABLE_ENTITY, &why.to_string()),
    }
}

/// `GET /opal/policy-data`: where OPAL's own default configuration points.
pub(super) async fn no_data() -> Response {
    json(StatusCode::OK, &policy::nothing())
}
/// `GET /opal/loadlimit`, `/opal/healthcheck`
pub(super) async fn alive() -> Response {
    json(StatusCode::OK, &object! { "status" => "ok" }.into())
}
/// `GET /opal/.well-known/jwks.json`
pub(super) async fn keys(State(fleet): Shared) -> Response {
    json(StatusCode::OK, &fleet.keys.to_jwks())
}

/// The bearer's token, checked; else the answer.
#[expect(clippy::result_large_err, reason = "the answer goes straight to the client")]
fn bearer(fleet: &Fleet, headers: &HeaderMap) -> Result<FleetToken, Response> {
    authorization(headers).and_then(|token| fleet.open(token).ok()).ok_or_else(|| {
        fleet.host.counted("opal_unauthenticated");
        error(StatusCode::UNAUTHORIZED, "no token of this server, or one that has ended")
    })
}
/// The same before the upgrade to a WebSocket, where OPAL answers 403.
#[expect(clippy::result_large_err, reason = "the answer goes straight to the client")]
pub(super) fn subscriber(
    fleet: &Fleet,
    headers: &HeaderMap,
) -> Result<((FleetToken, u64), String), Response> {
    let token = authorization(headers).map(str::to_owned);
    let opened = token.and_then(|token| Some((fleet.open_until(&token).ok()?, token)));
    opened.ok_or_else(|| {
        fleet.host.counted("opal_unauthenticated");
        error(StatusCode::FORBIDDEN, "no token of this server, or one that has ended")
    })
}
fn authorization(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn denied(fleet: &Fleet, why: &str) -> Response {
    fleet.host.counted("opal_denied");
    error(StatusCode::FORBIDDEN, why)
}
fn error(status: StatusCode, detail: &str) -> Response {
    json(status, &object! { "detail" => detail }.into())
}
fn json(status: StatusCode, body: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body.to_bytes()).into_response()
}
