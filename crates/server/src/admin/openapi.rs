//! `GET /v1/openapi.json`: the API described for programs (OpenAPI 3.1). A test compares it with the routes.

use axum::response::Response;
use http::StatusCode;
use placet_json::{Object, Value, object};

use super::error::json;

/// A described operation.
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// What it does.
    summary: &'static str,
    /// Members of the body: name, JSON Schema type, whether required. None: no body.
    body: Option<&'static [(&'static str, &'static str, bool)]>,
    /// Parameters of the query.
    query: &'static [&'static str],
    /// The status of success.
    success: &'static str,
}

const fn read(path: &'static str, summary: &'static str) -> Operation {
    Operation { method: "get", path, summary, body: None, query: &[], success: "200" }
}
const fn act(
    path: &'static str,
    summary: &'static str,
    success: &'static str,
    body: &'static [(&'static str, &'static str, bool)],
) -> Operation {
    Operation { method: "post", path, summary, body: Some(body), query: &[], success }
}

const WHY: (&str, &str, bool) = ("why", "string", false);

/// Every operation of `/v1`.
pub(super) const OPERATIONS: &[Operation] = &[
    read("/v1/openapi.json", "This document"),
    read("/v1/status", "Release in force, revision, readiness"),
    read("/v1/tenants", "Tenants"),
    act("/v1/tenants", "Create a tenant", "200", &[("id", "string", true), WHY]),
    read("/v1/humans", "People"),
    act(
        "/v1/humans",
        "Set a person",
        "200",
        &[
            ("id", "string", true),
            ("home", "string", true),
            ("standing", "string", false),
            ("keys", "array", false),
            WHY,
        ],
    ),
    act(
        "/v1/humans/{human}/standing",
        "Suspend, deactivate or reinstate a person",
        "200",
        &[("standing", "string", true), WHY],
    ),
    act(
        "/v1/humans/{human}/keys",
        "Register the public key with which a person signs",
        "201",
        &[("jwk", "object", true), WHY],
    ),
    read("/v1/agents", "Agents"),
    act(
        "/v1/agents",
        "Create an agent and its single-use enrolment code",
        "201",
        &[
            ("id", "string", true),
            ("type", "string", true),
            ("owner", "string", true),
            ("standing", "string", false),
            ("keys", "object", false),
            ("life_s", "integer", false),
            WHY,
        ],
    ),
    act("/v1/agents/{agent}/codes", "A further enrolment code", "201", &[("life_s", "integer", false), WHY]),
    act(
        "/v1/agents/{agent}/standing",
        "Suspend, deactivate or resume an agent",
        "200",
        &[("standing", "string", true), WHY],
    ),
    Operation {
        method: "get",
        path: "/v1/agents/{agent}/can",
        summary: "What an agent may do now, and by what right",
        body: None,
        query: &["workflow"],
        success: "200",
    },
    read("/v1/access", "All agents with what they were granted and used, for a periodic review"),
    act(
        "/v1/access/sign",
        "Sign off a review of access: the digest of the report that was reviewed",
        "201",
        &[("digest", "string", true), WHY],
    ),
    read("/v1/freezes", "Stops in force"),
    act(
        "/v1/freezes",
        "Stop everything, a tenant, an agent, a tool or an upstream",
        "200",
        &[("what", "string-or-object", true), WHY],
    ),
    act("/v1/freezes/end", "End a stop", "200", &[("what", "string-or-object", true), WHY]),
    act(
        "/v1/erasures",
        "Erase what is sealed for a person or a tenant's subject, for good",
        "200",
        &[
            ("kind", "string", true),
            ("id", "string", true),
            ("tenant", "string", false),
            ("why", "string", true),
        ],
    ),
    read("/v1/holds", "Legal holds in force"),
    act(
        "/v1/holds",
        "Hold what belongs to a tenant or a workflow: it stays here, and isn't erased",
        "200",
        &[("tenant", "string", true), ("workflow", "string", false), ("why", "string", true)],
    ),
    act(
        "/v1/holds/end",
        "End a hold",
        "200",
        &[("tenant", "string", true), ("workflow", "string", false), ("why", "string", true)],
    ),
    read("/v1/risks", "Risks that aren't 0"),
    act(
        "/v1/risks",
        "Set the risk of an agent, a person or a workflow, for policies to read",
        "200",
        &[
            ("agent", "string", false),
            ("human", "string", false),
            ("workflow", "string", false),
            ("tenant", "string", false),
            ("risk", "number", true),
            WHY,
        ],
    ),
    read("/v1/tenants/{tenant}/assignments", "Roles of people in a tenant"),
    act(
        "/v1/tenants/{tenant}/assignments",
        "Assign roles",
        "200",
        &[("human", "string", true), ("roles", "array", true), ("until", "string", false), WHY],
    ),
    read("/v1/tenants/{tenant}/workflows", "Workflows"),
    act(
        "/v1/tenants/{tenant}/workflows",
        "Open a workflow",
        "201",
        &[
            ("id", "string", false),
            ("type", "string", true),
            ("owner", "string", false),
            ("intents", "array", true),
            ("ends", "string", true),
            ("bindings", "object", false),
            ("attributes", "object", false),
            ("stage", "string", false),
            WHY,
        ],
    ),
    act(
        "/v1/tenants/{tenant}/workflows/{workflow}/move",
        "Move a workflow to another state of its type, or say yes to a move that an approval decides",
        "200",
        &[("to", "string", true), WHY],
    ),
    act("/v1/tenants/{tenant}/workflows/{workflow}/close", "Close a workflow for good", "200", &[WHY]),
    read("/v1/tenants/{tenant}/delegations", "Delegations"),
    act(
        "/v1/tenants/{tenant}/delegations",
        "Delegate, for a person or below another delegation",
        "201",
        &[
            ("id", "string", false),
            ("human", "string", false),
            ("agent", "string", true),
            ("workflow", "string", false),
            ("grantor", "string-or-object", false),
            ("scope", "object", true),
            WHY,
        ],
    ),
    act(
        "/v1/tenants/{tenant}/delegations/{delegation}/revoke",
        "Revoke a delegation and those below it",
        "200",
        &[WHY],
    ),
    read("/v1/tenants/{tenant}/totals", "What was permitted today, and what is under way"),
    read("/v1/tenants/{tenant}/approvals", "Approvals, spent ones too"),
    act("/v1/tenants/{tenant}/approvals/{approval}/withdraw", "Take an unspent approval back", "200", &[WHY]),
    act(
        "/v1/approvals",
        "Approve one denied call; only a person with the role that the denial names",
        "201",
        &[("decision", "string", true), WHY],
    ),
    Operation {
        query: &["tenant", "at", "kind", "id"],
        ..read("/v1/facts", "Facts of the organisation or a tenant, now or at a revision or moment")
    },
    act(
        "/v1/facts",
        "Apply a transaction (place, changes) or a facts file",
        "200",
        &[
            ("place", "string-or-object", false),
            ("changes", "array", false),
            ("idempotency_key", "string", false),
            WHY,
        ],
    ),
    Operation {
        query: &[
            "tenant",
            "everywhere",
            "at",
            "below",
            "limit",
            "human",
            "agent",
            "workflow",
            "resource",
            "subject",
        ],
        ..read(
            "/v1/facts/history",
            "Transactions, the newest first: all, or those about somebody or something",
        )
    },
    Operation {
        query: &["tenant", "from", "limit", "wait_ms"],
        ..read("/v1/facts/changes", "Transactions after a position, the oldest first, without gaps")
    },
    read("/v1/facts/sources", "Sources of facts: how old each is, and whether decisions wait for it"),
    act(
        "/v1/facts/sources/{source}",
        "What a source says of itself: seen, broken, gap, closed",
        "200",
        &[("state", "string", true), ("at", "string", false), WHY],
    ),
    act(
        "/v1/tenants/{tenant}/relations/check",
        "Whether a subject has a relation on an object; changes nothing",
        "200",
        &[("subject", "string", true), ("relation", "string", true), ("object", "string", true)],
    ),
    act(
        "/v1/tenants/{tenant}/relations/expand",
        "Who has a relation on an object, and by which rewrites; changes nothing",
        "200",
        &[("object", "string", true), ("relation", "string", true)],
    ),
    act(
        "/v1/tenants/{tenant}/relations/objects",
        "On which objects of a type a subject has a relation; changes nothing",
        "200",
        &[("type", "string", true), ("relation", "string", true), ("subject", "string", true)],
    ),
    act(
        "/v1/tenants/{tenant}/relations/subjects",
        "Who of a type has a relation on an object; changes nothing",
        "200",
        &[("object", "string", true), ("relation", "string", true), ("type", "string", true)],
    ),
    read("/v1/decisions/{decision}", "A decision, its record, how it ended"),
    read("/v1/decisions/{decision}/explanation", "Why it came out so, and what would have permitted it"),
    read("/v1/effects", "Calls of which nobody knows whether they had their effect"),
    act(
        "/v1/effects/{decision}/resolve",
        "Say whether it happened, or without `happened` ask the tool's resolver",
        "200",
        &[("happened", "boolean", false), WHY],
    ),
    read("/v1/waivers", "Permissions to observe, and exceptions"),
    act(
        "/v1/waivers",
        "Ask for a waiver",
        "201",
        &[
            ("kind", "string", true),
            ("agent", "string", true),
            ("upstream", "string", true),
            ("tool", "string", false),
            ("effect", "string", true),
            ("tenant", "string", false),
            ("life_ms", "integer", true),
            WHY,
        ],
    ),
    act("/v1/waivers/{waiver}/confirm", "Confirm a waiver as a second person", "200", &[WHY]),
    act("/v1/waivers/{waiver}/end", "End a waiver", "200", &[WHY]),
    act(
        "/v1/agents/{agent}/enforce",
        "End permissions to observe an agent",
        "200",
        &[("effect", "string", false), WHY],
    ),
    read("/v1/releases", "Releases that are kept"),
    Operation {
        body: None,
        ..act("/v1/releases", "Take a release's archive (application/octet-stream)", "201", &[])
    },
    act(
        "/v1/releases/{release}/promote",
        "Put a release in force that passes every gate",
        "200",
        &[("emergency", "boolean", false), WHY],
    ),
    read("/v1/releases/{release}", "A release: what it changes, who signed and reviewed it, its gates"),
    read("/v1/releases/{release}/archive", "A release's archive and envelope, for another server"),
    Operation {
        body: None,
        ..act("/v1/releases/{release}/envelope", "Take a release's signatures (a DSSE envelope)", "201", &[])
    },
    act(
        "/v1/releases/{release}/review",
        "Approve or refuse a release",
        "200",
        &[("approve", "boolean", true), WHY],
    ),
    read("/v1/releases/shadow", "What the candidate beside the release in force came to so far"),
    act("/v1/releases/shadow", "Take the candidate away", "200", &[WHY]),
    act("/v1/releases/{release}/shadow", "Put a candidate beside the release in force", "200", &[WHY]),
    act(
        "/v1/releases/rollback",
        "Go back to a release that was in force",
        "200",
        &[("to", "string", false), WHY],
    ),
    Operation {
        body: None,
        query: &["a_bytes", "from", "to", "since_ms", "until_ms", "tenant"],
        ..act(
            "/v1/releases/diff",
            "Ask two releases about the ledger: their archives one after the other (application/octet-stream); lines of JSON, the last one with `ledger` or `error`",
            "200",
            &[],
        )
    },
    read("/v1/releases/candidates", "Releases that came of policy bundles"),
    read("/v1/streams", "Streams out of the ledger: how far each has come"),
    act(
        "/v1/streams/{stream}/rewind",
        "Send a stream's records from another place on",
        "200",
        &[("to", "integer", true), WHY],
    ),
    read("/v1/databases", "The gateways' database, and those of others whose rows are facts"),
    read("/v1/opal", "OPAL sources, and clients that are connected"),
    act(
        "/v1/opal/tokens",
        "Give out a token for an OPAL client",
        "201",
        &[
            ("type", "string", false),
            ("topics", "array", false),
            ("scopes", "array", false),
            ("life_s", "integer", false),
            WHY,
        ],
    ),
    read("/v1/vault", "Upstream secrets: names and ages, never values"),
    act(
        "/v1/vault",
        "Put a secret",
        "201",
        &[
            ("tenant", "string", true),
            ("upstream", "string", true),
            ("human", "string", false),
            ("secret", "string", true),
            WHY,
        ],
    ),
    act(
        "/v1/vault/remove",
        "Remove a secret",
        "200",
        &[("tenant", "string", true), ("upstream", "string", true), ("human", "string", false), WHY],
    ),
    read("/v1/upstreams", "Upstreams and whether they answer"),
    read("/v1/upstreams/{upstream}/tools", "Tool definitions with digests, read anew"),
];

/// The document.
pub(super) async fn document() -> Response {
    json(StatusCode::OK, &describe())
}

pub(super) fn describe() -> Value {
    let mut paths = Object::new();
    for operation in OPERATIONS {
        let described = operation.describe();
        match paths.get_mut(operation.path).and_then(Value::as_object_mut) {
            Some(path) => drop(path.insert(operation.method, described)),
            None => drop(paths.insert(operation.path, object! { operation.method => described })),
        }
    }
    let error = object! {
        "type" => "object", "required" => Value::Array(vec!["error".into()]),
        "properties" => object! { "error" => object! {
            "type" => "object", "required" => Value::Array(vec!["code".into(), "message".into(), "remedy".into()]),
            "properties" => object! { "code" => typed("string"), "message" => typed("string"), "remedy" => typed("string") },
        } },
    };
    let signed = object! {
        "type" => "http", "scheme" => "Placet",
        "description" => "A JWS (typ placet-admin+jwt) over method, URL, query and SHA-256 of the body, at most 60 s old, good once; a person also sends their public JWK in Placet-Key",
    };
    object! {
        "openapi" => "3.1.0",
        "info" => object! { "title" => "Placet administration API", "version" => env!("CARGO_PKG_VERSION") },
        "security" => Value::Array(vec![object! { "signed" => Value::Array(Vec::new()) }.into()]),
        "paths" => paths,
        "components" => object! { "schemas" => object! { "Error" => error }, "securitySchemes" => object! { "signed" => signed } },
    }
    .into()
}

impl Operation {
    fn describe(&self) -> Value {
        let mut described = object! { "summary" => self.summary };
        let in_path = self
            .path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| parameter(name, "path", true));
        let in_query = self.query.iter().map(|name| parameter(name, "query", false));
        let parameters: Vec<Value> = in_path.chain(in_query).collect();
        if !parameters.is_empty() {
            described.insert("parameters", Value::Array(parameters));
        }
        if let Some(members) = self.body {
            let properties: Object =
                members.iter().map(|(name, kind, _)| ((*name).to_owned(), schema(kind))).collect();
            let required: Vec<Value> = members
                .iter()
                .filter(|(_, _, required)| *required)
                .map(|(name, _, _)| Value::from(*name))
                .collect();
            let schema = object! { "type" => "object", "properties" => properties, "required" => Value::Array(required) };
            described.insert(
                "requestBody",
                object! { "content" => object! { "application/json" => object! { "schema" => schema } } },
            );
        }
        let answer = |description: &str, schema: Value| {
            Value::from(
                object! { "description" => description, "content" => object! { "application/json" => object! { "schema" => schema } } },
            )
        };
        let refused = answer(
            "Refused: code, message, remedy",
            object! { "$ref" => "#/components/schemas/Error" }.into(),
        );
        described.insert(
            "responses",
            object! { self.success => answer("Done", typed("object")), "default" => refused },
        );
        described.into()
    }
}

fn parameter(name: &str, place: &str, required: bool) -> Value {
    object! { "name" => name, "in" => place, "required" => required, "schema" => typed("string") }.into()
}

fn schema(kind: &str) -> Value {
    match kind {
        "string-or-object" => {
            object! { "type" => Value::Array(vec!["string".into(), "object".into()]) }.into()
        }
        kind => typed(kind),
    }
}

fn typed(kind: &str) -> Value {
    object! { "type" => kind }.into()
}
