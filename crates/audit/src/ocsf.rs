//! Records of the ledger as OCSF events (Open Cybersecurity Schema Framework 1.4), for whoever watches: a SIEM, a lake.
//!
//! One record is one event, so that `metadata.sequence` is its position in the journal and `metadata.uid` is the same for
//! the same record however often it is sent. What stands in the event is who, what, on what, why and how it ended: no
//! argument's value, no credential, no input document, nothing of what is sealed. `unmapped.placet` has what OCSF has no
//! word for.

use placet_json::{Limits, Object, Value, object};
use placet_record::Kind;
use placet_store::Record;

/// The schema's version, in every event's `metadata.version`.
pub const OCSF_VERSION: &str = "1.4.0";
/// The longest text that is taken from a record, in bytes.
const MAX_TEXT: usize = 1024;
/// The most names of one list of a record.
const MAX_NAMES: usize = 32;

/// A record as an event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its position in the journal.
    pub sequence: u64,
    /// When it was recorded, Unix ms.
    pub time_ms: u64,
    /// What kind of record it is; `unknown` for one of a newer version.
    pub kind: &'static str,
    /// OCSF's `severity_id`: 1 informational, 2 low, 3 medium, 4 high.
    pub severity: u8,
    /// One line for people.
    pub message: String,
    /// The event.
    pub ocsf: Value,
}

/// Who sends the events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// The organisation of the ledger.
    pub organisation: String,
    /// The version of the program.
    pub version: String,
}

/// An OCSF class and what one of its activities is called.
struct Class {
    uid: u64,
    category: u64,
    name: &'static str,
    activity: u64,
    activity_name: &'static str,
}

const fn api(activity: u64, activity_name: &'static str) -> Class {
    Class { uid: 6003, category: 6, name: "API Activity", activity, activity_name }
}
const fn entity(activity: u64, activity_name: &'static str) -> Class {
    Class { uid: 3004, category: 3, name: "Entity Management", activity, activity_name }
}
const SESSION: Class = Class {
    uid: 3003,
    category: 3,
    name: "Authorize Session",
    activity: 1,
    activity_name: "Assign Privileges",
};
const FINDING: Class =
    Class { uid: 2004, category: 2, name: "Detection Finding", activity: 1, activity_name: "Create" };

/// What a kind of record makes of its event, beside what all have.
struct Told {
    class: Class,
    severity: u8,
    /// 1 success, 2 failure, 0 unknown.
    status: u64,
    message: String,
    /// Members of the class.
    members: Object,
    /// What OCSF has no word for.
    own: Object,
    /// What belongs together: the decision.
    correlation: Option<String>,
}

/// The event of a record. One whose document can't be read is told as such: a stream leaves nothing out.
#[must_use]
pub fn event(record: &Record, sender: &Sender) -> Event {
    let kind = Kind::from_tag(record.kind);
    let document = placet_json::parse(&record.payload, &Limits::RESULT).unwrap_or(Value::Null);
    let told = match kind {
        Some(Kind::Decision) => decision(&document),
        Some(Kind::Effect) => effect(&document),
        Some(Kind::Amendment) => amendment(&document),
        Some(Kind::Facts) => facts(&document),
        Some(Kind::Release) => release(&document),
        Some(Kind::Act) => act(&document, record.sequence),
        Some(Kind::Refusals) => refusals(&document, record.sequence),
        Some(Kind::Gap) => gap(&document, record.sequence),
        None => unreadable(record.sequence),
    };
    finish(record, kind.map_or("unknown", Kind::as_str), told, sender)
}

fn finish(record: &Record, kind: &'static str, told: Told, sender: &Sender) -> Event {
    let Told { class, severity, status, message, mut members, mut own, correlation } = told;
    let mut metadata = object! {
        "version" => OCSF_VERSION,
        "product" => object! { "name" => "Placet", "vendor_name" => "Placet", "version" => sender.version.as_str() },
        "uid" => format!("{}:{}", sender.organisation, record.sequence),
        "sequence" => record.sequence, "log_name" => sender.organisation.as_str(), "event_code" => kind,
        "tenant_uid" => record.tree.as_str(), "logged_time" => record.time_ms,
        "profiles" => Value::Array(vec!["security_control".into()]),
    };
    if let Some(correlation) = correlation {
        metadata.insert("correlation_uid", correlation);
    }
    own.insert("record", kind);
    own.insert("leaf_sha256", hex(&record.leaf.0));
    let (severity_name, status_name) = (
        match severity {
            1 => "Informational",
            2 => "Low",
            3 => "Medium",
            _ => "High",
        },
        match status {
            1 => "Success",
            2 => "Failure",
            _ => "Unknown",
        },
    );
    members.insert("activity_id", class.activity);
    members.insert("activity_name", class.activity_name);
    members.insert("category_uid", class.category);
    members.insert("class_uid", class.uid);
    members.insert("class_name", class.name);
    members.insert("type_uid", class.uid.saturating_mul(100).saturating_add(class.activity));
    members.insert("time", record.time_ms);
    members.insert("severity_id", u64::from(severity));
    members.insert("severity", severity_name);
    // A finding's status is one of its life, not of an outcome.
    if class.uid == FINDING.uid {
        members.insert("status_id", 1_u64);
        members.insert("status", "New");
    } else {
        members.insert("status_id", status);
        members.insert("status", status_name);
    }
    members.insert("message", message.as_str());
    members.insert("metadata", metadata);
    members.insert("unmapped", object! { "placet" => own });
    Event {
        sequence: record.sequence,
        time_ms: record.time_ms,
        kind,
        severity,
        message,
        ocsf: members.into(),
    }
}

fn decision(document: &Value) -> Told {
    let permit = document.get("decision").and_then(Value::as_str) == Some("permit");
    let of = if document.get("call").is_some() { "/call" } else { "/attempt" };
    let action = text(document, &format!("{of}/action")).unwrap_or_else(|| "unknown".to_owned());
    let (agent, human) = (or_unknown(document, "/agent"), or_unknown(document, "/human"));
    let code = text(document, "/reasons/0/code");
    let id = or_unknown(document, "/id");
    let upstream = text(document, &format!("{of}/upstream"))
        .or_else(|| text(document, &format!("{of}/evidence/upstream")));
    let tool =
        text(document, &format!("{of}/tool")).or_else(|| text(document, &format!("{of}/evidence/tool")));
    let message = match (&code, permit) {
        (_, true) => format!("{agent} may {action} for {human}"),
        (Some(code), false) => format!("{agent} may not {action} for {human}: {code}"),
        (None, false) => format!("{agent} may not {action} for {human}"),
    };
    let mut members = object! {
        "actor" => actor(document, &agent, &human), "api" => asked(&action, &id, upstream.as_deref()),
        "src_endpoint" => object! { "name" => agent.as_str(), "svc_name" => "agent" },
        "resources" => resources(document, of),
        "action_id" => if permit { 1_u64 } else { 2 }, "action" => if permit { "Allowed" } else { "Denied" },
        "disposition_id" => if permit { 1_u64 } else { 2 },
        "disposition" => if permit { "Allowed" } else { "Blocked" },
    };
    if let Some(upstream) = &upstream {
        members.insert("dst_endpoint", object! { "svc_name" => upstream.as_str() });
    }
    if let Some(code) = &code {
        members.insert("status_code", code.as_str());
    }
    if let Some(release) = text(document, "/release") {
        members.insert("policy", object! { "uid" => release, "name" => "release" });
    }
    let mut own =
        object! { "decision" => if permit { "permit" } else { "deny" }, "decision_id" => id.as_str() };
    for (name, at) in [
        ("tenant", "/tenant"),
        ("workflow", "/workflow"),
        ("delegation", "/delegation"),
        ("intent", "/intent"),
        ("remedy", "/remedy/approval"),
        ("input_sha256", "/input_sha256"),
    ] {
        keep(&mut own, name, text(document, at));
    }
    keep(&mut own, "tool", tool);
    keep(&mut own, "effect", text(document, &format!("{of}/effect")));
    keep(&mut own, "arguments_sha256", text(document, &format!("{of}/arguments_sha256")));
    if let Some(revision) = document.pointer("/facts/revision").and_then(Value::as_u64) {
        own.insert("facts_revision", revision);
    }
    own.insert("reasons", codes(document));
    own.insert("chain", names(document, "/chain"));
    own.insert("spends", names(document, "/spends"));
    Told {
        class: api(99, "Decide"),
        severity: if permit { 1 } else { 2 },
        status: if permit { 1 } else { 2 },
        message,
        members,
        own,
        correlation: Some(id),
    }
}

fn effect(document: &Value) -> Told {
    let (ending, id) = (or_unknown(document, "/ending"), or_unknown(document, "/decision"));
    let (upstream, tool) = (text(document, "/downstream/upstream"), text(document, "/downstream/tool"));
    let failed = document.get("error").and_then(Value::as_bool) == Some(true);
    let status = match ending.as_str() {
        "done" if !failed => 1,
        "unknown" => 0,
        _ => 2,
    };
    let operation = tool.clone().unwrap_or_else(|| "unknown".to_owned());
    let mut members = object! {
        "actor" => object! { "app_name" => "placet" }, "api" => asked(&operation, &id, upstream.as_deref()),
        "src_endpoint" => object! { "name" => "placet", "svc_name" => "gateway" }, "status_code" => ending.as_str(),
        "action_id" => 1_u64, "action" => "Allowed",
        "disposition_id" => if ending == "filtered" { 2_u64 } else { 1 },
        "disposition" => if ending == "filtered" { "Blocked" } else { "Allowed" },
    };
    if let Some(upstream) = &upstream {
        members.insert("dst_endpoint", object! { "svc_name" => upstream.as_str() });
    }
    let mut own = object! { "ending" => ending.as_str(), "decision_id" => id.as_str() };
    for (name, at) in [
        ("tenant", "/tenant"),
        ("workflow", "/workflow"),
        ("credential", "/credential/kind"),
        ("answer_sha256", "/answer_sha256"),
        ("arguments_sha256", "/downstream/arguments_sha256"),
    ] {
        keep(&mut own, name, text(document, at));
    }
    for (name, at) in [("decision_at", "at"), ("sent_bytes", "sent")] {
        if let Some(number) = document.get(at).and_then(Value::as_u64) {
            own.insert(name, number);
        }
    }
    own.insert("labels", names(document, "/labels"));
    Told {
        class: api(99, "Execute"),
        severity: match ending.as_str() {
            "done" => 1,
            "filtered" | "unknown" => 3,
            _ => 2,
        },
        status,
        message: format!("{operation} ended: {ending}"),
        members,
        own,
        correlation: Some(id),
    }
}

fn amendment(document: &Value) -> Told {
    let (finding, id) = (or_unknown(document, "/finding"), or_unknown(document, "/decision"));
    let by = or_unknown(document, "/by");
    let mut own =
        object! { "finding" => finding.as_str(), "decision_id" => id.as_str(), "by" => by.as_str() };
    keep(&mut own, "tenant", text(document, "/tenant"));
    keep(&mut own, "workflow", text(document, "/workflow"));
    Told {
        class: api(99, "Find out"),
        severity: 1,
        status: if finding == "happened" { 1 } else { 2 },
        message: format!("a call of unknown end {}", finding.replace('_', " ")),
        members: object! {
            "actor" => object! { "app_name" => by.as_str() }, "api" => asked("resolve", &id, None),
            "src_endpoint" => object! { "name" => by.as_str() }, "status_code" => finding.as_str(),
        },
        own,
        correlation: Some(id),
    }
}

fn facts(document: &Value) -> Told {
    let author = or_unknown(document, "/transaction/author");
    let changes = document.pointer("/transaction/changes").and_then(Value::as_array).unwrap_or_default();
    // A change is an object of one member, its name.
    let named =
        |change: &Value| change.as_object().and_then(|it| it.iter().next().map(|(name, _)| name.to_owned()));
    let mut kinds: Vec<String> = changes.iter().filter_map(named).collect();
    let granted =
        if changes.len() == 1 { changes.first().and_then(|it| it.get("delegation_granted")) } else { None };
    let count = changes.len();
    kinds.dedup();
    kinds.truncate(MAX_NAMES);
    let mut own = object! {
        "changes" => u64::try_from(count).unwrap_or(u64::MAX),
        "kinds" => Value::Array(kinds.iter().map(|kind| Value::from(kind.as_str())).collect()),
    };
    keep(&mut own, "source", text(document, "/transaction/source"));
    keep(&mut own, "why", text(document, "/transaction/why"));
    let by = object! { "user" => object! { "uid" => author.as_str(), "name" => author.as_str() } };
    if let Some(delegation) = granted {
        let (human, agent) = (or_unknown(delegation, "/human"), or_unknown(delegation, "/agent"));
        keep(&mut own, "delegation", text(delegation, "/id"));
        keep(&mut own, "workflow", text(delegation, "/workflow"));
        return Told {
            class: SESSION,
            severity: 1,
            status: 1,
            message: format!("{human} delegates to {agent}"),
            members: object! {
                "actor" => by, "privileges" => names(delegation, "/scope/actions"),
                "user" => object! { "uid" => agent.as_str(), "name" => agent.as_str(), "type_id" => 3_u64, "type" => "System" },
            },
            own,
            correlation: None,
        };
    }
    let what = kinds.first().cloned().unwrap_or_else(|| "facts".to_owned());
    Told {
        class: entity(3, "Update"),
        severity: 1,
        status: 1,
        message: format!("{author} changed facts: {}", kinds.join(", ")),
        members: object! {
            "actor" => by, "entity" => object! { "name" => what, "type" => "facts" },
        },
        own,
        correlation: None,
    }
}

fn release(document: &Value) -> Told {
    let (release, by) = (or_unknown(document, "/release"), or_unknown(document, "/by"));
    let mut own = Object::new();
    keep(&mut own, "why", text(document, "/why"));
    Told {
        class: entity(3, "Update"),
        severity: 2,
        status: 1,
        message: format!("{by} put release {release} in force"),
        members: object! {
            "actor" => object! { "user" => object! { "uid" => by.as_str(), "name" => by.as_str() } },
            "entity" => object! { "uid" => release, "name" => "release", "type" => "policy" },
        },
        own,
        correlation: None,
    }
}

fn act(document: &Value, sequence: u64) -> Told {
    let (verb, by) = (or_unknown(document, "/verb"), or_unknown(document, "/by"));
    let why = text(document, "/why");
    let refused = document.get("refused").and_then(Value::as_bool) == Some(true);
    if verb.starts_with(OUTSIDE) {
        return finding(
            sequence,
            OUTSIDE,
            "A call that no decision permitted",
            4,
            why.as_deref().unwrap_or(&verb),
        );
    }
    let mut own = object! { "verb" => verb.as_str(), "refused" => refused };
    keep(&mut own, "why", why);
    Told {
        class: entity(99, "Other"),
        severity: if refused { 2 } else { 1 },
        status: if refused { 2 } else { 1 },
        message: if refused { format!("{by} was refused: {verb}") } else { format!("{by}: {verb}") },
        members: object! {
            "actor" => object! { "user" => object! { "uid" => by.as_str(), "name" => by.as_str() } },
            "entity" => object! { "name" => verb.as_str(), "type" => "act" },
        },
        own,
        correlation: None,
    }
}

/// How the verb of an act begins that tells of a call that no decision permitted.
pub const OUTSIDE: &str = "outside_authority";

fn refusals(document: &Value, sequence: u64) -> Told {
    let agent = or_unknown(document, "/agent");
    let listed = document.get("refused").and_then(Value::as_array).unwrap_or_default();
    let other = document.get("other").and_then(Value::as_u64).unwrap_or_default();
    let count = listed
        .iter()
        .filter_map(|it| it.get("count").and_then(Value::as_u64))
        .fold(other, u64::saturating_add);
    let mut told = finding(
        sequence,
        "refusals",
        "A flood of refused calls",
        3,
        &format!("{agent} was refused {count} more times"),
    );
    told.own.insert("agent", agent.as_str());
    told.own.insert("count", count);
    keep(&mut told.own, "code", text(document, "/refused/0/code"));
    told
}

fn gap(document: &Value, sequence: u64) -> Told {
    let by = or_unknown(document, "/gap/by");
    finding(
        sequence,
        "gap",
        "The ledger was restored from a backup",
        4,
        &format!("{by} restored a backup: records may be missing"),
    )
}

fn unreadable(sequence: u64) -> Told {
    finding(sequence, "unknown", "A record of a newer version", 1, "a record that this version can't read")
}

fn finding(sequence: u64, kind: &str, title: &str, severity: u8, message: &str) -> Told {
    Told {
        class: FINDING,
        severity,
        status: 0,
        message: message.to_owned(),
        members: object! {
            "finding_info" => object! { "uid" => format!("{kind}:{sequence}"), "title" => title, "desc" => message },
            "is_alert" => severity >= 3,
        },
        own: Object::new(),
        correlation: None,
    }
}

fn actor(document: &Value, agent: &str, human: &str) -> Object {
    let mut session = Object::new();
    keep(&mut session, "uid", text(document, "/workflow"));
    object! {
        "app_uid" => agent, "app_name" => agent, "session" => session,
        "user" => object! { "uid" => human, "name" => human, "type_id" => 1_u64, "type" => "User" },
    }
}

fn asked(operation: &str, decision: &str, upstream: Option<&str>) -> Object {
    let mut api = object! { "operation" => operation, "request" => object! { "uid" => decision } };
    if let Some(upstream) = upstream {
        api.insert("service", object! { "name" => upstream });
    }
    api
}

fn resources(document: &Value, of: &str) -> Value {
    let all = document.pointer(&format!("{of}/resources")).and_then(Value::as_array).unwrap_or_default();
    let one = |it: &Value| {
        let (kind, id) = (it.get("type").and_then(Value::as_str)?, it.get("id").and_then(Value::as_str)?);
        Some(Value::from(object! { "type" => cut(kind), "uid" => cut(id) }))
    };
    Value::Array(all.iter().take(MAX_NAMES).filter_map(one).collect())
}

fn codes(document: &Value) -> Value {
    let all = document.get("reasons").and_then(Value::as_array).unwrap_or_default();
    let codes = all.iter().take(MAX_NAMES).filter_map(|it| it.get("code").and_then(Value::as_str));
    Value::Array(codes.map(|code| Value::from(cut(code))).collect())
}

fn names(document: &Value, at: &str) -> Value {
    let all = document.pointer(at).and_then(Value::as_array).unwrap_or_default();
    Value::Array(
        all.iter().take(MAX_NAMES).filter_map(Value::as_str).map(|it| Value::from(cut(it))).collect(),
    )
}

fn keep(object: &mut Object, name: &str, text: Option<String>) {
    if let Some(text) = text {
        object.insert(name, text);
    }
}

fn or_unknown(document: &Value, at: &str) -> String {
    text(document, at).unwrap_or_else(|| "unknown".to_owned())
}

fn text(document: &Value, at: &str) -> Option<String> {
    document.pointer(at).and_then(Value::as_str).map(|text| cut(text).to_owned())
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a `String` can't fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use placet_ledger::Hash;

    use super::*;

    fn record(kind: u8, payload: &str) -> Record {
        Record {
            sequence: 7,
            time_ms: 1_700_000_000_000,
            tree: "acme".to_owned(),
            kind,
            payload: payload.as_bytes().to_vec(),
            sealed: Vec::new(),
            leaf: Hash([1; 32]),
            link: Hash([2; 32]),
        }
    }
    fn sender() -> Sender {
        Sender { organisation: "desk".to_owned(), version: "1".to_owned() }
    }

    #[test]
    fn no_argument_and_no_operators_text_of_a_decision_is_told() {
        let payload = r#"{"agent":"a","call":{"action":"refund","arguments":{"iban":"CANARY"},"arguments_sha256":"sha256:1","resources":[{"id":"C-1","type":"case"}],"tool":"t","upstream":"u"},"decision":"deny","human":"h","id":"d-1","input":{"x":"CANARY"},"reasons":[{"code":"no_rule_allows","message":"CANARY","operator":"CANARY"}],"token":{"jti":"CANARY","key":"CANARY"}}"#;
        let event = event(&record(2, payload), &sender());
        let text = event.ocsf.to_string();
        assert!(!text.contains("CANARY"), "{text}");
        for (at, expected) in [
            ("/class_uid", "6003"),
            ("/type_uid", "600399"),
            ("/action", "\"Denied\""),
            ("/status_code", "\"no_rule_allows\""),
            ("/api/operation", "\"refund\""),
            ("/actor/user/uid", "\"h\""),
            ("/actor/app_uid", "\"a\""),
            ("/resources/0/uid", "\"C-1\""),
            ("/metadata/uid", "\"desk:7\""),
        ] {
            assert_eq!(event.ocsf.pointer(at).unwrap().to_string(), expected, "{at}");
        }
    }

    #[test]
    fn a_record_that_cannot_be_read_is_an_event_all_the_same() {
        for (kind, payload) in [(2, "{"), (200, "{}"), (1, ""), (16, "null"), (5, "[]")] {
            let event = event(&record(kind, payload), &sender());
            assert_eq!(event.sequence, 7);
            assert!(event.ocsf.pointer("/metadata/sequence").is_some(), "{payload}");
        }
    }

    #[test]
    fn long_texts_are_cut_between_letters() {
        assert_eq!(cut(&"ä".repeat(600)).len(), 1024);
        assert_eq!(cut(&format!("a{}", "ä".repeat(600))).len(), 1023);
    }
}
