//! A SCIM 2.0 service provider (RFC 7643, RFC 7644): from a request and the facts at hand to the answer and the changes
//! that it rests on. Nothing is kept here, and nothing is answered before the changes are durable: that is the caller's.
//!
//! A user is a record of the feed and, through it, a person of the organisation; a group is a record, and what it gives
//! is said by the feed's rules. What a feed doesn't bring it doesn't see.

mod error;
mod filter;
mod groups;
mod patch;
mod roles;
mod schema;
mod show;
mod users;
mod value;

use std::sync::Arc;

use placet_core::{Name, Timestamp};
use placet_facts::{Change, DirectoryRecord, Place, RecordKind, Transaction, World};
use placet_json::{Limits, Object, Value, object, parse};
use url::form_urlencoded;

use crate::Feed;

pub use error::ScimError;
pub use roles::{Affected, align};

use filter::Filter;
use show::{Wanted, endpoint, etag, location};

/// The longest body of a request, in bytes: a group of 10 000 members.
pub const MAX_BODY: usize = 2 << 20;
/// The most resources of an answer.
pub const MAX_PAGE: usize = 1000;
/// The media type of every answer.
pub const MEDIA_TYPE: &str = "application/scim+json";

const LIST: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";

/// A request that was authenticated as a feed's.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// The path below the base, as in `/Users/2819c223`, percent-decoded.
    pub path: &'a str,
    /// The query, as it came.
    pub query: &'a str,
    /// `If-Match`.
    pub if_match: Option<&'a str>,
    /// `If-None-Match`.
    pub if_none_match: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The header `Location`.
    pub location: Option<String>,
    /// The header `ETag`.
    pub etag: Option<String>,
    /// The body.
    pub body: Option<Value>,
}

/// An answer, and what must be durable before it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The answer.
    pub reply: Reply,
    /// The changes; none where nothing changes.
    pub transaction: Option<Transaction>,
    /// Whose roles are to be aligned afterwards, by [`align`].
    pub affected: Affected,
}

impl Outcome {
    fn shown(status: u16, body: Value) -> Self {
        let reply = Reply { status, location: None, etag: None, body: Some(body) };
        Self { reply, transaction: None, affected: Affected::Nobody }
    }
}

/// One feed's view.
#[derive(Debug, Clone, Copy)]
pub struct Scim<'a> {
    /// The URL of the endpoint, without a slash at its end.
    pub base: &'a str,
    /// Who asks.
    pub feed: &'a Feed,
    /// The facts.
    pub world: &'a World,
    /// Now.
    pub now: Timestamp,
    /// A fresh id, for what is made.
    pub fresh: &'a Name,
}

impl Scim<'_> {
    /// Answers a request.
    pub fn answer(&self, request: &Request<'_>) -> Result<Outcome, ScimError> {
        let mut steps = request.path.trim_matches('/').splitn(2, '/');
        let (first, rest) = (steps.next().unwrap_or_default(), steps.next());
        match (first, rest) {
            ("ServiceProviderConfig", None) => {
                only_get(request)?;
                Ok(Outcome::shown(200, schema::config(self.base)))
            }
            ("Schemas", id) => discovery(request, schema::schemas(self.base), id),
            ("ResourceTypes", id) => discovery(request, schema::resource_types(self.base), id),
            ("Users", rest) => self.of_kind(RecordKind::User, rest, request),
            ("Groups", rest) => self.of_kind(RecordKind::Group, rest, request),
            (".search", None) => self.search(&[RecordKind::User, RecordKind::Group], request),
            _ => Err(ScimError::missing()),
        }
    }

    fn of_kind(
        &self,
        kind: RecordKind,
        rest: Option<&str>,
        request: &Request<'_>,
    ) -> Result<Outcome, ScimError> {
        let Some(id) = rest else {
            return match request.method {
                "GET" => Ok(self.list(&[kind], &Query::of_url(request.query)?)),
                "POST" => {
                    let wanted = Query::of_url(request.query)?.wanted;
                    self.created(kind, &body(request)?, &wanted)
                }
                _ => Err(ScimError::method()),
            };
        };
        if id == ".search" {
            return self.search(&[kind], request);
        }
        let found =
            Name::new(id).ok().and_then(|id| self.world.organisation().record(&self.feed.name, kind, &id));
        if !matches!(request.method, "GET" | "PUT" | "PATCH" | "DELETE") {
            return Err(ScimError::method());
        }
        let record = found.ok_or_else(ScimError::missing)?;
        let wanted = Query::of_url(request.query)?.wanted;
        if request.method == "GET" {
            if request.if_none_match.is_some_and(|tags| names(tags, record)) {
                let reply = Reply { status: 304, location: None, etag: Some(etag(record)), body: None };
                return Ok(Outcome { reply, transaction: None, affected: Affected::Nobody });
            }
            let reply = self.shown(200, self.world, record, &wanted);
            return Ok(Outcome { reply, transaction: None, affected: Affected::Nobody });
        }
        if request.if_match.is_some_and(|tags| !names(tags, record)) {
            return Err(ScimError::stale());
        }
        match (request.method, kind) {
            ("DELETE", RecordKind::User) => self.user_deleted(record),
            ("DELETE", RecordKind::Group) => self.group_deleted(record),
            (method, kind) => {
                let sent = body(request)?;
                let shape = shape(kind);
                let former = record.document.as_object().cloned().unwrap_or_default();
                let document = if method == "PATCH" {
                    patch::patched(shape, &former, &sent)?
                } else {
                    value::resource(shape, &sent)?
                };
                match kind {
                    RecordKind::User => self.user_changed(record, document, method == "PUT", &wanted),
                    RecordKind::Group => self.group_changed(record, document, &wanted),
                }
            }
        }
    }

    fn created(&self, kind: RecordKind, sent: &Object, wanted: &Wanted) -> Result<Outcome, ScimError> {
        let document = value::resource(shape(kind), sent)?;
        match kind {
            RecordKind::User => self.user_created(document, wanted),
            RecordKind::Group => self.group_created(document, wanted),
        }
    }

    fn search(&self, kinds: &[RecordKind], request: &Request<'_>) -> Result<Outcome, ScimError> {
        if request.method != "POST" {
            return Err(ScimError::method());
        }
        Ok(self.list(kinds, &Query::of_body(&body(request)?)?))
    }

    fn list(&self, kinds: &[RecordKind], query: &Query) -> Outcome {
        let org = self.world.organisation();
        let mut found: Vec<&Arc<DirectoryRecord>> = Vec::new();
        for kind in kinds {
            let by_id = query.filter.as_ref().and_then(|filter| filter.demands("id"));
            let by_name = query.filter.as_ref().and_then(|filter| filter.demands("userName"));
            let candidates: Vec<&Arc<DirectoryRecord>> = match (kind, by_id, by_name) {
                (_, Some(id), _) => Name::new(id)
                    .ok()
                    .and_then(|id| org.record(&self.feed.name, *kind, &id))
                    .into_iter()
                    .collect(),
                (RecordKind::User, None, Some(name)) => {
                    org.record_of_key(&self.feed.name, &users::key(name)).into_iter().collect()
                }
                (RecordKind::Group, None, Some(_)) => Vec::new(),
                (_, None, None) => org.records(&self.feed.name, *kind).collect(),
            };
            found.extend(candidates.into_iter().filter(|record| {
                query
                    .filter
                    .as_ref()
                    .is_none_or(|filter| filter.matches(&show::resource(org, self.base, record).into()))
            }));
        }
        let total = found.len();
        let page: Vec<Value> = found
            .into_iter()
            .skip(query.start.saturating_sub(1))
            .take(query.count)
            .map(|record| query.wanted.of(show::resource(org, self.base, record)).into())
            .collect();
        Outcome::shown(200, listed(total, query.start, page))
    }

    /// A record as an answer, in the world that holds it.
    fn shown(&self, status: u16, world: &World, record: &DirectoryRecord, wanted: &Wanted) -> Reply {
        let place = location(self.base, record.kind, record.id.as_str());
        let resource = wanted.of(show::resource(world.organisation(), self.base, record));
        Reply { status, location: Some(place), etag: Some(etag(record)), body: Some(resource.into()) }
    }

    /// The answer that a transaction leads to: it is tried on the facts at hand, so that what they don't admit is said
    /// in SCIM's words.
    fn done(
        &self,
        status: u16,
        changes: Vec<Change>,
        record: &DirectoryRecord,
        affected: Affected,
        wanted: &Wanted,
    ) -> Result<Outcome, ScimError> {
        let (transaction, world) = self.tried(changes, record)?;
        let reply = if status == 204 {
            Reply { status, location: None, etag: None, body: None }
        } else {
            self.shown(status, &world, record, wanted)
        };
        Ok(Outcome { reply, transaction: Some(transaction), affected })
    }

    fn tried(
        &self,
        changes: Vec<Change>,
        record: &DirectoryRecord,
    ) -> Result<(Transaction, World), ScimError> {
        let (Some(author), Ok(source)) = (self.feed.author(), Name::new("scim")) else {
            return Err(ScimError::down());
        };
        let transaction = Transaction {
            place: Place::Organisation,
            changes,
            author,
            source,
            why: format!("`{}/{}` of `{}`", endpoint(record.kind), record.id, self.feed.name),
            idempotency_key: None,
        };
        let next = self.world.revision().0.saturating_add(1);
        let world = self.world.apply(next, &transaction).map_err(|error| refused(&error))?;
        Ok((transaction, world))
    }

    fn record(&self, kind: RecordKind, document: Object) -> DirectoryRecord {
        DirectoryRecord {
            feed: self.feed.name.clone(),
            kind,
            id: self.fresh.clone(),
            human: None,
            active: true,
            key: String::new(),
            version: 1,
            created: self.now,
            modified: self.now,
            document: document.into(),
        }
    }
}

/// What facts don't admit, in SCIM's words.
#[must_use]
pub fn refused(error: &placet_facts::ChangeError) -> ScimError {
    match error.kind {
        placet_facts::Kind::Conflict => ScimError::uniqueness(error.to_string()),
        placet_facts::Kind::Malformed | placet_facts::Kind::Unknown | placet_facts::Kind::Widening => {
            ScimError::value(error.to_string())
        }
    }
}

fn shape(kind: RecordKind) -> value::Shape {
    match kind {
        RecordKind::User => value::USER,
        RecordKind::Group => value::GROUP,
    }
}

fn only_get(request: &Request<'_>) -> Result<(), ScimError> {
    if request.method == "GET" { Ok(()) } else { Err(ScimError::method()) }
}

fn discovery(
    request: &Request<'_>,
    known: Vec<(&'static str, Value)>,
    id: Option<&str>,
) -> Result<Outcome, ScimError> {
    only_get(request)?;
    match id {
        None => {
            let all: Vec<Value> = known.into_iter().map(|(_, value)| value).collect();
            Ok(Outcome::shown(200, listed(all.len(), 1, all)))
        }
        Some(id) => {
            let found = known.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(id));
            found.map(|(_, value)| Outcome::shown(200, value)).ok_or_else(ScimError::missing)
        }
    }
}

fn listed(total: usize, start: usize, page: Vec<Value>) -> Value {
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    object! {
        "schemas" => Value::Array(vec![Value::from(LIST)]), "totalResults" => count(total),
        "startIndex" => count(start), "itemsPerPage" => count(page.len()), "Resources" => Value::Array(page),
    }
    .into()
}

fn body(request: &Request<'_>) -> Result<Object, ScimError> {
    if request.body.len() > MAX_BODY {
        return Err(ScimError::too_large());
    }
    let limits = Limits { bytes: MAX_BODY, depth: 16, members: 1000 };
    let value =
        parse(request.body, &limits).map_err(|error| ScimError::syntax(format!("not JSON: {error}")))?;
    value.into_object().ok_or_else(|| ScimError::syntax("the body is no object"))
}

/// Whether a header's list of entity tags names this version; weak comparison (RFC 9110 §8.8.3.2).
fn names(tags: &str, record: &DirectoryRecord) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let own = opaque(&etag(record));
    tags.trim() == "*" || tags.split(',').any(|tag| opaque(tag) == own)
}

struct Query {
    filter: Option<Filter>,
    start: usize,
    count: usize,
    wanted: Wanted,
}

impl Query {
    fn of_url(query: &str) -> Result<Self, ScimError> {
        let mut sent = Object::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            sent.insert(name.into_owned(), value.into_owned());
        }
        Self::of_body(&sent)
    }

    fn of_body(sent: &Object) -> Result<Self, ScimError> {
        let member =
            |name: &str| sent.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        let number = |name: &str, default: i64| match member(name) {
            None | Some(Value::Null) => Ok(default),
            Some(Value::String(text)) => {
                text.parse().map_err(|_| ScimError::value(format!("`{name}` is no whole number")))
            }
            Some(value) => {
                value.as_i64().ok_or_else(|| ScimError::value(format!("`{name}` is no whole number")))
            }
        };
        let texts = |name: &str| -> Result<Vec<String>, ScimError> {
            match member(name) {
                None | Some(Value::Null) => Ok(Vec::new()),
                Some(Value::String(text)) => Ok(text
                    .split(',')
                    .map(|one| one.trim().to_owned())
                    .filter(|one| !one.is_empty())
                    .collect()),
                Some(Value::Array(texts)) if texts.len() <= 100 => texts
                    .iter()
                    .map(|one| one.as_str().map(str::to_owned))
                    .collect::<Option<_>>()
                    .ok_or_else(|| ScimError::value(format!("`{name}` is no list of texts"))),
                Some(_) => Err(ScimError::value(format!("`{name}` is no list of texts"))),
            }
        };
        let filter = match member("filter") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(Filter::parse(text)?),
            Some(_) => return Err(ScimError::filter("`filter` is no text")),
        };
        let most = i64::try_from(MAX_PAGE).unwrap_or(i64::MAX);
        let size = |number: i64| usize::try_from(number).unwrap_or_default();
        Ok(Self {
            filter,
            start: size(number("startIndex", 1)?.max(1)),
            count: size(number("count", most)?.clamp(0, most)),
            wanted: Wanted { only: texts("attributes")?, without: texts("excludedAttributes")? },
        })
    }
}
