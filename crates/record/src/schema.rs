//! Each record's members and what they mean: published as JSON Schema, and checked against every record that tests make.

use placet_json::{Object, Value, object};

use crate::Kind;

/// The form of a member.
#[derive(Debug)]
enum Shape {
    Text,
    Number,
    Truth,
    /// RFC 3339.
    Time,
    /// `sha256:` and 64 hexadecimal digits.
    Digest,
    /// One of these words.
    Word(&'static [&'static str]),
    Object(&'static [Member]),
    List(&'static Shape),
    /// That, or null.
    Or(&'static Shape),
    /// Whatever was decided on: its form is somebody else's.
    Any,
}

#[derive(Debug)]
struct Member {
    name: &'static str,
    shape: Shape,
    required: bool,
    meaning: &'static str,
}

const fn must(name: &'static str, shape: Shape, meaning: &'static str) -> Member {
    Member { name, shape, required: true, meaning }
}
const fn may(name: &'static str, shape: Shape, meaning: &'static str) -> Member {
    Member { name, shape, required: false, meaning }
}

const V: Member = must("v", Shape::Number, "the form of the record: 1");
const TIME: Member =
    must("time", Shape::Time, "when, by the server's clock, which the journal never lets go back");
const TENANT: Member = must("tenant", Shape::Text, "the tenant; also the record's tree");
const WORKFLOW: Member =
    must("workflow", Shape::Text, "the workflow: with the tenant it links all records of one piece of work");
const SEALED: Member = may(
    "sealed",
    Shape::List(&Shape::Object(&[
        must("at", Shape::List(&Shape::Text), "where they stood: JSON pointers into the record"),
        must(
            "digest",
            Shape::Digest,
            "of the salt and the values in canonical form: who has the key of whom they are about can prove them",
        ),
    ])),
    "values that the record doesn't hold: they are about somebody, and stand encrypted beside it until that one's key is erased",
);
const BY: Member = must("by", Shape::Text, "who");
const WHY: Member = must("why", Shape::Text, "why, in the words of whoever did it");

const RESOURCE: Shape = Shape::Object(&[
    must("id", Shape::Text, "its identifier"),
    must("type", Shape::Text, "its type, as the catalog names it"),
]);
const RESOURCES: Member =
    must("resources", Shape::List(&RESOURCE), "what it is about, the first one above all");
const LOOKUP: Shape = Shape::Object(&[
    may("age_ms", Shape::Number, "how old the value was"),
    must("asked", Shape::Time, "when it was asked for"),
    must(
        "found",
        Shape::Word(&["read", "kept", "nothing"]),
        "whether it was read for this call, kept from before, or not to be had",
    ),
    must("lookup", Shape::Text, "which lookup of the catalog"),
    may("observed", Shape::Time, "when the value was observed"),
    must("resource", RESOURCE, "of what"),
    may("why", Shape::Text, "why there was nothing"),
]);
const LOOKUPS: Member = may("lookups", Shape::List(&LOOKUP), "what lookups had for the call");

const MOVE: Shape = Shape::Object(&[
    must("closes", Shape::Truth, "whether the state that it comes to closes the workflow"),
    must("from", Shape::Text, "the state that it must be in by then"),
    must("initial", Shape::Truth, "whether a workflow that never moved is in that state"),
    must("to", Shape::Text, "the state that it comes to"),
]);

const CALL: &[Member] = &[
    must("action", Shape::Text, "the action that the catalog makes of the tool"),
    must("arguments", Shape::Any, "the canonical arguments: byte for byte what a permit sends"),
    may("arguments_sha256", Shape::Digest, "their digest; absent where some of them are sealed"),
    must(
        "attributes",
        Shape::List(&Shape::Object(&[
            may("bool", Shape::Word(&["true", "false"]), "a truth value"),
            may("decimal", Shape::Text, "an exact number"),
            must("name", Shape::Text, "the attribute"),
            may("text", Shape::Text, "a text"),
        ])),
        "what policy reads of the arguments",
    ),
    must(
        "bound",
        Shape::List(&Shape::Object(&[
            must("argument", Shape::Text, "the argument"),
            must("from", Shape::Text, "where its value came from"),
            may("value", Shape::Any, "the value; absent where it is sealed"),
        ])),
        "arguments that the gateway filled",
    ),
    must("effect", Shape::Text, "`read`, `write` or `destructive`"),
    must("entry", Shape::Text, "the catalog's entry"),
    must("labels", Shape::List(&Shape::Text), "labels that its result brings into the workflow"),
    LOOKUPS,
    must("method", Shape::Text, "the protocol's method"),
    may(
        "moves",
        Shape::List(&MOVE),
        "how the workflow moves once it happened: one way at most from each state",
    ),
    RESOURCES,
    must("tool", Shape::Text, "the upstream's name of the tool"),
    must("upstream", Shape::Text, "the upstream"),
    may("writes", Shape::List(&Shape::Text), "relationships that a success makes true"),
];

const ATTEMPT: &[Member] = &[
    must("action", Shape::Text, "the action, as far as it was known"),
    must(
        "evidence",
        Shape::Or(&Shape::Object(&[
            must(
                "arguments",
                Shape::Or(&Shape::Text),
                "the arguments as they came, or their digest where they were too long; null where they are sealed",
            ),
            LOOKUPS,
            must("offered", Shape::Text, "the digest of the tool's definition, `absent` or `unread`"),
            must("tool", Shape::Text, "the tool"),
            must("upstream", Shape::Text, "the upstream"),
        ])),
        "what it takes to refuse it again; null where there was nothing to decide",
    ),
    must("method", Shape::Text, "the protocol's method"),
    RESOURCES,
    must("target", Shape::Text, "what was named"),
];

const RULE: &[Member] =
    &[must("at", Shape::Text, "file and line in the release"), must("policy", Shape::Text, "the policy")];

const DECISION: &[Member] = &[
    must("agent", Shape::Text, "the agent that acts"),
    may(
        "attempt",
        Shape::Object(ATTEMPT),
        "what was asked, where the catalog couldn't classify it; else there is `call`",
    ),
    may("call", Shape::Object(CALL), "what was asked"),
    must(
        "chain",
        Shape::List(&Shape::Text),
        "the agents from the one that the person delegated to, to the acting one: parents before children",
    ),
    may(
        "counted",
        Shape::Object(&[
            must("at", Shape::Number, "the tenant's last permit or ending that was counted: a position"),
            may("duplicates_ms", Shape::Number, "how long it is remembered against repetition"),
            may("rate_ms", Shape::Number, "how long it is remembered for rates"),
        ]),
        "which of the tenant's permits and endings were counted",
    ),
    must("decision", Shape::Word(&["permit", "deny"]), "what was decided"),
    must("delegation", Shape::Text, "the delegation that it rests on"),
    must("determining", Shape::List(&Shape::Object(RULE)), "the rules that decided"),
    may(
        "engine",
        Shape::Text,
        "what decided: platform and engines with their versions; absent where nothing was decided, and in records of before it was kept",
    ),
    must(
        "facts",
        Shape::Or(&Shape::Object(&[
            must("age_ms", Shape::Number, "how old the facts were at most"),
            must("revision", Shape::Number, "the position of the last transaction of facts that it saw"),
            may(
                "stale",
                Shape::Object(&[
                    must("source", Shape::Text, "which source"),
                    must("why", Shape::Text, "since when and why"),
                ]),
                "a source that was too old to be believed",
            ),
        ])),
        "the facts that it rests on; null where there was no snapshot",
    ),
    must("flow_at", Shape::Number, "the workflow's last permit before it: a position"),
    must("human", Shape::Text, "the person for whom"),
    must("id", Shape::Text, "its identifier"),
    must("input", Shape::Or(&Shape::Any), "the policy input, where it came to one"),
    must("input_sha256", Shape::Or(&Shape::Digest), "its digest; of nothing, where there was none"),
    must("intent", Shape::Text, "the declared purpose"),
    must("obligations", Shape::List(&Shape::Text), "duties of a permit"),
    must(
        "reasons",
        Shape::List(&Shape::Object(&[
            must("at", Shape::Text, "file and line in the release"),
            must("code", Shape::Text, "the reason's code"),
            must("message", Shape::Text, "what the agent is told"),
            must("operator", Shape::Text, "what operators are told besides"),
            must("policy", Shape::Text, "the policy; empty: the platform's own"),
        ])),
        "why it was denied, the first one above all",
    ),
    must("release", Shape::Or(&Shape::Digest), "the release that decided"),
    must(
        "remedy",
        Shape::Or(&Shape::Object(&[
            must("approval", Shape::Text, "the approval that would help"),
            may(
                "covers",
                Shape::Digest,
                "the digest of what it must cover; absent where a part of that is sealed",
            ),
            may("given", Shape::Number, "how many steps of a chain were given"),
            must("role", Shape::Text, "the role that may give it next"),
            may("steps", Shape::List(&Shape::Text), "the roles of a chain"),
        ])),
        "what would have helped",
    ),
    SEALED,
    must("spends", Shape::List(&Shape::Text), "the approvals that it used up"),
    TENANT,
    TIME,
    must(
        "token",
        Shape::Object(&[
            must("expires", Shape::Time, "until when it was good"),
            must("jti", Shape::Text, "its identifier"),
            must("key", Shape::Text, "the thumbprint of the agent's key"),
            must("proof", Shape::Text, "the identifier of the proof of possession"),
        ]),
        "the workflow token",
    ),
    V,
    WORKFLOW,
];

const EFFECT: &[Member] = &[
    must("answer_sha256", Shape::Or(&Shape::Digest), "the digest of the upstream's answer"),
    must("at", Shape::Number, "the position of the permit"),
    must(
        "credential",
        Shape::Object(&[
            may("audience", Shape::Text, "of a call token: for whom"),
            may("expires", Shape::Time, "of a call token: until when"),
            may("jti", Shape::Text, "of a call token: its identifier"),
            must(
                "kind",
                Shape::Text,
                "`call-token`, `vault`, `process`, `unneeded` or `none`: what kind, never its value",
            ),
            may("name", Shape::Text, "of the vault: which secret"),
            may("version", Shape::Number, "of the vault: its version"),
        ]),
        "what it was sent with",
    ),
    must("decision", Shape::Text, "the permit's identifier"),
    must("detail", Shape::Text, "more about the ending"),
    must(
        "downstream",
        Shape::Or(&Shape::Object(&[
            must(
                "arguments_sha256",
                Shape::Or(&Shape::Digest),
                "the digest of what was sent; null where a part of it is sealed",
            ),
            must("tool", Shape::Text, "the tool"),
            must("upstream", Shape::Text, "the upstream"),
        ])),
        "where it went",
    ),
    must("ending", Shape::Text, "`done`, `failed`, `filtered`, `revoked` or `unknown`"),
    may("error", Shape::Truth, "that the tool's answer says that it failed"),
    must("labels", Shape::List(&Shape::Text), "labels that the answer brought"),
    may("returned", Shape::Truth, "that nothing left, and what was reserved came back"),
    SEALED,
    must("sent", Shape::Or(&Shape::Number), "bytes that were sent"),
    TENANT,
    TIME,
    V,
    WORKFLOW,
];

const FACTS: &[Member] = &[
    SEALED,
    TIME,
    must(
        "transaction",
        Shape::Object(&[
            must("author", Shape::Text, "who"),
            must(
                "changes",
                Shape::List(&Shape::Any),
                "each an object with one member: the change's kind, with what it sets",
            ),
            may("idempotency_key", Shape::Text, "what makes a repetition of it one"),
            must("place", Shape::Any, "`organisation`, or an object with the `tenant`"),
            must("source", Shape::Text, "where it came from: `api`, `file`, `scim`, …"),
            WHY,
        ]),
        "what changed; its position is the facts' revision",
    ),
    V,
];

const RELEASE: &[Member] = &[
    BY,
    must("name", Shape::Text, "the release's name"),
    must("release", Shape::Digest, "the digest of its archive"),
    TIME,
    V,
    WHY,
];

const ACT: &[Member] = &[
    BY,
    may(
        "erased",
        Shape::Object(&[
            must("keys", Shape::List(&Shape::Text), "the identifiers of the keys that were destroyed"),
            must("subject", Shape::Text, "about whom"),
            must("tenant", Shape::Or(&Shape::Text), "in which tenant; null: a person of the organisation"),
        ]),
        "of an erasure: what can't be read any more",
    ),
    must("refused", Shape::Truth, "whether it was refused"),
    may(
        "source",
        Shape::Object(&[
            may("at", Shape::Time, "until when all of it had come"),
            must("name", Shape::Text, "which source of facts"),
            must("state", Shape::Text, "`seen`, `gap` or `closed`"),
            may("tenant", Shape::Text, "of which tenant"),
        ]),
        "what was heard of a source of facts: every gateway reads it",
    ),
    may(
        "step",
        Shape::Object(&[
            may("approves", Shape::Truth, "whether the reviewer approves it"),
            may("brought_by", Shape::Text, "who brought it"),
            may("envelope", Shape::Text, "its signature, in its envelope"),
            must("release", Shape::Digest, "which release"),
            may("reviewed_by", Shape::Text, "who reviewed it"),
        ]),
        "a step in a release's life",
    ),
    TIME,
    V,
    must("verb", Shape::Text, "what was done or tried"),
    WHY,
];

const REFUSALS: &[Member] = &[
    must("agent", Shape::Text, "who was refused"),
    must("other", Shape::Number, "how many more there were, of other actions and resources"),
    must(
        "refused",
        Shape::List(&Shape::Object(&[
            must("action", Shape::Text, "the action, or the method where no action is known"),
            must("code", Shape::Text, "the first reason of the last one"),
            must("count", Shape::Number, "how often"),
            must("last", Shape::Text, "the last one's identifier; empty where it had none"),
            must("resource", Shape::Text, "`type:id`; empty where none is known"),
        ])),
        "what was refused",
    ),
    must("since", Shape::Time, "the first moment of the window"),
    must("tenant", Shape::Or(&Shape::Text), "in which tenant"),
    must("until", Shape::Time, "when the window was closed"),
    V,
];

const AMENDMENT: &[Member] = &[
    must("at", Shape::Number, "the position of the permit"),
    must("by", Shape::Text, "`resolver`, or a person"),
    must("decision", Shape::Text, "the permit's identifier"),
    must(
        "finding",
        Shape::Word(&["happened", "did_not_happen"]),
        "what was found out about an effect that ended `unknown`",
    ),
    must("how", Shape::Text, "how it was found out"),
    may("returned", Shape::Truth, "that it didn't happen, and what was reserved came back"),
    TENANT,
    TIME,
    V,
    WHY,
    WORKFLOW,
];

const GAP: &[Member] = &[
    must(
        "gap",
        Shape::Object(&[
            must("backup", Shape::Digest, "the digest of the backup's archive"),
            BY,
            must("last", Shape::Number, "the last record of the backup"),
            must("restored", Shape::Time, "when it was restored"),
            must("since", Shape::Time, "when the backup's last record was written"),
            must(
                "trees",
                Shape::List(&Shape::Object(&[
                    must("root", Shape::Text, "its root in hexadecimal digits"),
                    must("size", Shape::Number, "its records"),
                    must("tree", Shape::Text, "the tree"),
                ])),
                "the trees as they were restored",
            ),
            WHY,
        ]),
        "the restore",
    ),
    must("note", Shape::Text, "the same as a note, signed by the key of the checkpoints"),
    V,
];

fn members(kind: Kind) -> (&'static str, &'static [Member]) {
    match kind {
        Kind::Facts => ("a transaction of facts", FACTS),
        Kind::Decision => ("a decision: who asked for what, on what it was decided, and how", DECISION),
        Kind::Effect => ("how a permit ended", EFFECT),
        Kind::Release => ("a release that came into force", RELEASE),
        Kind::Act => ("what a person did or tried that changed no fact", ACT),
        Kind::Refusals => ("a flood of one agent's refusals, as counts", REFUSALS),
        Kind::Amendment => ("what was found out later about an effect", AMENDMENT),
        Kind::Gap => ("a restored backup: what came after it isn't there", GAP),
    }
}

/// All records as one JSON Schema (draft 2020-12). Members that it doesn't name may come with later versions.
#[must_use]
pub fn schema() -> Value {
    let kinds = Kind::ALL.iter().map(|kind| {
        let (meaning, members) = members(*kind);
        let mut schema = of_object(members);
        schema.insert("description", meaning);
        schema.insert("title", kind.as_str());
        schema.insert("x-kind", u64::from(kind.tag()));
        (kind.as_str(), Value::from(schema))
    });
    let any =
        Kind::ALL.iter().map(|kind| Value::from(object! { "$ref" => format!("#/$defs/{}", kind.as_str()) }));
    object! {
        "$schema" => "https://json-schema.org/draft/2020-12/schema",
        "$id" => "urn:placet:record:1",
        "title" => "a record of Placet's ledger, version 1",
        "description" => "The kind stands in the record's frame (`x-kind`), not in the record. Written as canonical JSON, version 1.",
        "$defs" => kinds.collect::<Object>(),
        "anyOf" => any.collect::<Vec<_>>(),
    }
    .into()
}

fn of_object(members: &[Member]) -> Object {
    let properties = members.iter().map(|member| {
        let mut schema = of(&member.shape);
        schema.insert("description", member.meaning);
        (member.name, Value::from(schema))
    });
    let required = members.iter().filter(|member| member.required).map(|member| Value::from(member.name));
    object! { "type" => "object", "properties" => properties.collect::<Object>(), "required" => required.collect::<Vec<_>>() }
}

fn of(shape: &Shape) -> Object {
    match shape {
        Shape::Text => object! { "type" => "string" },
        Shape::Number => object! { "type" => "integer", "minimum" => 0_u64 },
        Shape::Truth => object! { "type" => "boolean" },
        Shape::Time => object! { "type" => "string", "format" => "date-time" },
        Shape::Digest => object! { "type" => "string", "pattern" => "^sha256:[0-9a-f]{64}$" },
        Shape::Word(words) => {
            object! { "enum" => words.iter().map(|word| Value::from(*word)).collect::<Vec<_>>() }
        }
        Shape::Object(members) => of_object(members),
        Shape::List(of_each) => object! { "type" => "array", "items" => of(of_each) },
        Shape::Or(shape) => {
            object! { "anyOf" => vec![Value::from(of(shape)), object! { "type" => "null" }.into()] }
        }
        Shape::Any => Object::new(),
    }
}

/// Holds a record against the schema; `strict`: members that it doesn't name are wrong, too. Else where it differs, and
/// how.
pub fn conforms(kind: Kind, record: &Value, strict: bool) -> Result<(), String> {
    let (_, members) = members(kind);
    object_conforms(members, record, strict, kind.as_str())
}

fn object_conforms(members: &[Member], value: &Value, strict: bool, at: &str) -> Result<(), String> {
    let object = value.as_object().ok_or_else(|| format!("{at} is no object"))?;
    for member in members {
        match object.get(member.name) {
            Some(value) => shape_conforms(&member.shape, value, strict, &format!("{at}/{}", member.name))?,
            None if member.required => return Err(format!("{at}/{} is missing", member.name)),
            None => {}
        }
    }
    let unknown = object.iter().find(|(name, _)| members.iter().all(|member| member.name != *name));
    match unknown {
        Some((name, _)) if strict => Err(format!("{at}/{name} isn't in the schema")),
        Some(_) | None => Ok(()),
    }
}

fn shape_conforms(shape: &Shape, value: &Value, strict: bool, at: &str) -> Result<(), String> {
    let fits = match shape {
        Shape::Text => value.as_str().is_some(),
        Shape::Number => value.as_u64().is_some(),
        Shape::Truth => value.as_bool().is_some(),
        Shape::Time => value.as_str().is_some_and(|text| placet_core::Timestamp::parse(text).is_ok()),
        Shape::Digest => value.as_str().is_some_and(|text| placet_core::Digest::parse(text).is_some()),
        Shape::Word(words) => value.as_str().is_some_and(|text| words.contains(&text)),
        Shape::Any => true,
        Shape::Object(members) => return object_conforms(members, value, strict, at),
        Shape::List(of_each) => {
            let items = value.as_array().ok_or_else(|| format!("{at} is no list"))?;
            return items.iter().try_for_each(|item| shape_conforms(of_each, item, strict, at));
        }
        Shape::Or(shape) => {
            return if value.is_null() { Ok(()) } else { shape_conforms(shape, value, strict, at) };
        }
    };
    if fits { Ok(()) } else { Err(format!("{at} is {value}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stand_in_the_order_of_canonical_form_and_each_means_something() {
        fn sorted(members: &[Member]) {
            for pair in members.windows(2) {
                assert!(pair[0].name < pair[1].name, "{} before {}", pair[0].name, pair[1].name);
            }
            for member in members {
                assert!(!member.meaning.is_empty(), "{}", member.name);
                inner(&member.shape);
            }
        }
        fn inner(shape: &Shape) {
            match shape {
                Shape::Object(members) => sorted(members),
                Shape::List(of) | Shape::Or(of) => inner(of),
                Shape::Text
                | Shape::Number
                | Shape::Truth
                | Shape::Time
                | Shape::Digest
                | Shape::Word(_)
                | Shape::Any => {}
            }
        }
        for kind in Kind::ALL {
            sorted(members(*kind).1);
        }
        assert_eq!(schema().pointer("/$defs/decision/x-kind").and_then(Value::as_u64), Some(2));
    }

    #[test]
    fn what_differs_is_named() {
        let act = |text: &str| placet_json::parse(text.as_bytes(), &placet_json::Limits::RESULT).unwrap();
        let good =
            act(r#"{"by":"a","refused":false,"time":"2026-01-01T00:00:00Z","v":1,"verb":"x","why":""}"#);
        assert_eq!(conforms(Kind::Act, &good, true), Ok(()));
        let cases = [
            (r#"{"by":"a"}"#, "act/refused is missing"),
            (
                r#"{"by":"a","refused":"no","time":"2026-01-01T00:00:00Z","v":1,"verb":"x","why":""}"#,
                "act/refused is \"no\"",
            ),
            (
                r#"{"by":"a","more":1,"refused":false,"time":"2026-01-01T00:00:00Z","v":1,"verb":"x","why":""}"#,
                "act/more isn't in the schema",
            ),
        ];
        for (text, wrong) in cases {
            assert_eq!(conforms(Kind::Act, &act(text), true), Err(wrong.to_owned()));
        }
    }
}
