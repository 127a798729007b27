//! The record of a decision, and the decision document that people and programs are shown.

use placet_core::{
    AgentId, Attribute, Basis, Bound, Call, Decimal, DecisionId, DelegationId, Determining, Digest,
    EffectClass, Envelope, FlowAt, Freshness, Grant, HumanId, Keep, Name, Obligation, Reason, Remedy,
    ResourceRef, Revision, Spending, TenantId, Timestamp, Tuple, WorkflowId,
    authority::{Asked, Denial, Evidence, Ground, Offered, Permit},
};
use placet_json::{Canonical, Limits, Object, Value, object};

use crate::{
    lookup,
    read::{BadRecord, bad, digest, list, member, name, names, number, object as as_object, text, time},
    sealed::{Shut, missing},
    state_moves,
    writer::Writer,
};

/// The record of a permit, in canonical form.
#[must_use]
pub fn permitted(permit: &Permit) -> String {
    let parts = Parts {
        decision: "permit",
        envelope: permit.envelope(),
        chain: permit.chain(),
        basis: Some(permit.basis()),
        time: permit.basis().now,
        reasons: permit.evaluation().passed_over.as_ref().map_or(&[], |it| &it.reasons),
        determining: permit.determining(),
        obligations: permit.obligations(),
        remedy: None,
        input: permit.evaluation().input.as_ref(),
        flow_at: permit.flow_at(),
        keep: permit.evaluation().claims.keep,
        spends: permit.spends().iter().map(|approval| approval.id.local().as_str()).collect(),
    };
    parts.write(|w| call(w, permit.call(), Some(permit.basis())), &permit.call().id)
}

/// The record of a denial, in canonical form.
#[must_use]
pub fn denied(denial: &Denial) -> String {
    let (basis, time) = match denial.ground() {
        Ground::Basis(basis) => (Some(basis), basis.now),
        Ground::Nothing(now) => (None, *now),
    };
    let parts = Parts {
        decision: "deny",
        envelope: denial.envelope(),
        chain: denial.chain(),
        basis,
        time,
        reasons: denial.reasons().all(),
        determining: denial.determining(),
        obligations: &[],
        remedy: denial.remedy(),
        input: denial.input(),
        flow_at: denial.flow_at(),
        keep: Keep::NOTHING,
        spends: Vec::new(),
    };
    match denial.asked() {
        Asked::Call(asked) => parts.write(|w| call(w, asked, basis), &asked.id),
        Asked::Refused(attempt) => parts.write(
            |w| {
                let mut inner = Writer::new(128);
                inner
                    .text("action", &attempt.action)
                    .part("evidence", &evidence(&attempt.evidence))
                    .text("method", &attempt.method);
                resources(&mut inner, &attempt.resources);
                let part = inner.text("target", &attempt.target).end();
                w.part("attempt", &part);
            },
            &attempt.id,
        ),
    }
}

struct Parts<'a> {
    decision: &'static str,
    envelope: &'a Envelope,
    chain: &'a [AgentId],
    basis: Option<&'a Basis>,
    time: Timestamp,
    reasons: &'a [Reason],
    determining: &'a [Determining],
    obligations: &'a [Obligation],
    remedy: Option<&'a Remedy>,
    input: Option<&'a Canonical>,
    flow_at: FlowAt,
    keep: Keep,
    spends: Vec<&'a str>,
}

impl Parts<'_> {
    /// Members in the order of canonical form; `asked` writes `attempt` or `call`.
    fn write(&self, asked: impl FnOnce(&mut Writer), id: &DecisionId) -> String {
        let grant = self.envelope.grant();
        let mut w = Writer::new(self.input.map_or(0, |input| input.as_bytes().len()).saturating_add(2048));
        w.text("agent", grant.agent.as_str());
        asked(&mut w);
        w.list("chain", self.chain.iter().map(AgentId::as_str));
        if let Some(at) = self.flow_at.counted {
            w.part("counted", &counted(at, self.keep));
        }
        w.text("decision", self.decision).text("delegation", grant.delegation.local().as_str());
        w.parts("determining", self.determining.iter().map(determining));
        if self.basis.is_some() {
            w.text("engine", placet_core::ENGINE);
        }
        match self.basis {
            Some(basis) => {
                let mut facts = Writer::new(64);
                facts.number("age_ms", basis.freshness.age()).number("revision", basis.revision.0);
                if let Freshness::Stale { source, why, age: _ } = &basis.freshness {
                    let stale = Writer::new(64).text("source", source.as_str()).text("why", why).end();
                    facts.part("stale", &stale);
                }
                w.part("facts", &facts.end());
            }
            None => {
                w.null("facts");
            }
        }
        w.number("flow_at", self.flow_at.workflow)
            .text("human", grant.human.as_str())
            .text("id", id.as_str())
            .canonical("input", self.input);
        match self.basis {
            Some(basis) => w.shown("input_sha256", &basis.input),
            None => w.null("input_sha256"),
        };
        w.text("intent", grant.intent.as_str());
        w.list("obligations", self.obligations.iter().map(|o| o.name.as_str()));
        w.parts("reasons", self.reasons.iter().map(reason));
        match self.basis {
            Some(basis) => w.shown("release", &basis.release),
            None => w.null("release"),
        };
        match self.remedy {
            // Members in order, and the only number is small: the compact form is the canonical one.
            Some(it) => w.part("remedy", &remedy(it).to_string()),
            None => w.null("remedy"),
        };
        w.list("spends", self.spends.iter().copied())
            .text("tenant", self.envelope.tenant().as_str())
            .shown("time", &self.time);
        let mut token = Writer::new(256);
        let token = token
            .shown("expires", &grant.expires)
            .text("jti", &grant.token)
            .text("key", &grant.key)
            .text("proof", &grant.proof)
            .end();
        w.part("token", &token).number("v", 1).text("workflow", grant.workflow.local().as_str());
        w.end()
    }
}

/// Which of the tenant's permits and endings were counted, and how long this permit is remembered.
fn counted(at: u64, keep: Keep) -> String {
    let Keep { rate, duplicates } = keep;
    let mut w = Writer::new(48);
    w.number("at", at);
    if duplicates > 0 {
        w.number("duplicates_ms", duplicates);
    }
    if rate > 0 {
        w.number("rate_ms", rate);
    }
    w.end()
}

/// Records of before anything was counted have no such member.
fn read_counted(record: &Object) -> Result<(Option<u64>, Keep), BadRecord> {
    let Some(counted) = record.get("counted") else { return Ok((None, Keep::NOTHING)) };
    let counted = as_object(counted, "counted")?;
    let window = |name: &str| {
        if counted.contains_key(name) { number(counted, name) } else { Ok(0) }
    };
    Ok((
        Some(number(counted, "at")?),
        Keep { rate: window("rate_ms")?, duplicates: window("duplicates_ms")? },
    ))
}

fn evidence(evidence: &Evidence) -> String {
    let Evidence::Call { upstream, tool, arguments, offered, lookups } = evidence else {
        return "null".to_owned();
    };
    let mut w = Writer::new(128);
    w.text("arguments", arguments);
    lookup::write(&mut w, lookups);
    match offered {
        Offered::Definition(digest) => w.shown("offered", digest),
        Offered::Absent => w.text("offered", "absent"),
        Offered::Unread => w.text("offered", "unread"),
    };
    w.text("tool", tool).text("upstream", upstream).end()
}

fn read_evidence(attempt: &Object) -> Result<Evidence, BadRecord> {
    let evidence = member(attempt, "evidence")?;
    if evidence.is_null() {
        return Ok(Evidence::Nothing);
    }
    let evidence = as_object(evidence, "attempt.evidence")?;
    // Sealed, and not opened.
    if evidence.get("arguments").is_some_and(Value::is_null) {
        return Ok(Evidence::Nothing);
    }
    let offered = match text(evidence, "offered")? {
        "absent" => Offered::Absent,
        "unread" => Offered::Unread,
        _ => Offered::Definition(digest(evidence, "offered")?),
    };
    Ok(Evidence::Call {
        upstream: text(evidence, "upstream")?.to_owned(),
        tool: text(evidence, "tool")?.to_owned(),
        arguments: text(evidence, "arguments")?.to_owned(),
        offered,
        lookups: lookup::read(evidence)?,
    })
}

fn determining(rule: &Determining) -> String {
    Writer::new(64).text("at", &rule.at).text("policy", &rule.policy).end()
}

fn reason(reason: &Reason) -> String {
    let mut w = Writer::new(256);
    w.text("at", &reason.at)
        .text("code", &reason.code)
        .text("message", &reason.public)
        .text("operator", &reason.operator)
        .text("policy", &reason.policy)
        .end()
}

/// A remedy as it stands in a decision's record: who is to say yes next, to what; of a chain also all its steps.
#[must_use]
pub fn remedy(remedy: &Remedy) -> Value {
    let Remedy { approval, role, covers, steps, given } = remedy;
    let mut document = object! { "approval" => approval.as_str(), "covers" => covers.to_string() };
    // Of a single approval nothing is said twice, as in records from before there were chains.
    let chain = steps.len() > 1;
    if chain {
        document.insert("given", u64::try_from(*given).unwrap_or(u64::MAX));
    }
    document.insert("role", role.as_str());
    if chain {
        document.insert("steps", Value::Array(steps.iter().map(|role| Value::from(role.as_str())).collect()));
    }
    document.into()
}

fn resources(w: &mut Writer, resources: &[ResourceRef]) {
    w.parts(
        "resources",
        resources
            .iter()
            .map(|r| Writer::new(64).text("id", r.id.as_str()).text("type", r.kind.as_str()).end()),
    );
}

fn call(w: &mut Writer, call: &Call, basis: Option<&Basis>) {
    let mut inner = Writer::new(call.arguments.as_bytes().len().saturating_add(512));
    inner
        .text("action", call.action.as_str())
        .part("arguments", call.arguments.as_str())
        .shown("arguments_sha256", &Digest::from_bytes(call.arguments.digest()));
    inner.parts(
        "attributes",
        call.attributes.iter().map(|(name, value)| {
            let mut w = Writer::new(64);
            match value {
                Attribute::Decimal(number) => w.shown("decimal", number),
                Attribute::Bool(truth) => w.text("bool", if *truth { "true" } else { "false" }),
                Attribute::Text(_) => &mut w,
            };
            w.text("name", name.as_str());
            if let Attribute::Text(text) = value {
                w.text("text", text);
            }
            w.end()
        }),
    );
    inner.parts(
        "bound",
        call.bound.iter().map(|b| {
            Writer::new(64).text("argument", &b.argument).text("from", &b.from).value("value", &b.value).end()
        }),
    );
    inner
        .text("effect", call.effect.as_str())
        .text("entry", call.entry.as_str())
        .list("labels", call.labels.iter().map(Name::as_str));
    lookup::write(&mut inner, &call.lookups);
    inner.text("method", call.method);
    state_moves::write(&mut inner, &call.moves);
    // Only where another release classified it than decided: a call that met a change of releases.
    if basis.is_some_and(|basis| basis.release != call.release) {
        inner.shown("release", &call.release);
    }
    resources(&mut inner, &call.resources);
    inner.text("tool", &call.tool).text("upstream", call.upstream.as_str());
    if !call.writes.is_empty() {
        let writes: Vec<String> = call.writes.iter().map(ToString::to_string).collect();
        inner.list("writes", writes.iter().map(String::as_str));
    }
    let part = inner.end();
    w.part("call", &part);
}

/// What was asked, read back.
#[derive(Debug)]
pub enum AskedRecord {
    /// A call that the catalog could classify.
    Call(Box<Call>),
    /// One that it couldn't.
    Attempt(Evidence),
}

/// A decision read back from its record.
#[derive(Debug)]
pub struct DecisionRecord {
    /// Its identifier.
    pub id: DecisionId,
    /// Whether it was a permit.
    pub permit: bool,
    /// The grant.
    pub grant: Grant,
    /// What was asked: a classified call, or what it takes to refuse it again.
    pub asked: AskedRecord,
    /// The release, the revision, the age, the moment, the input's digest; none where no snapshot or release was there.
    pub basis: Option<Basis>,
    /// When.
    pub time: Timestamp,
    /// The workflow's last permit before it.
    pub flow_at: u64,
    /// The tenant's last permit or ending that was counted; none in records of before anything was.
    pub counted_at: Option<u64>,
    /// How long it is remembered for rates and repetitions.
    pub keep: Keep,
    /// The chain of agents, the acting one last.
    pub chain: Vec<AgentId>,
    /// The approvals that it spent.
    pub spends: Vec<Name>,
    /// The policy input, where it came to one.
    pub input: Option<Value>,
    /// What is missing in it because it stays sealed, by JSON pointer.
    pub missing: Vec<(String, Shut)>,
    /// The record as a whole.
    pub document: Value,
}

impl DecisionRecord {
    /// For whom and what it is counted; none where there was no call.
    #[must_use]
    pub fn spending(&self) -> Option<Spending> {
        match &self.asked {
            AskedRecord::Call(call) => Some(Spending::of(&self.grant, call, &self.chain, self.time)),
            AskedRecord::Attempt(_) => None,
        }
    }
    /// Reads a record's bytes.
    pub fn read(bytes: &[u8]) -> Result<Self, BadRecord> {
        let document = placet_json::parse(bytes, &Limits::RESULT).map_err(|error| bad("", error))?;
        let record = as_object(&document, "")?;
        if number(record, "v")? != 1 {
            return Err(bad("v", "isn't 1: this record was written by a newer version"));
        }
        let tenant = TenantId::from(name(record, "tenant")?);
        let token = as_object(member(record, "token")?, "token")?;
        let id = DecisionId::from(name(record, "id")?);
        let grant = Grant {
            human: HumanId::from(name(record, "human")?),
            agent: name(record, "agent")?.into(),
            delegation: DelegationId::new(tenant.clone(), name(record, "delegation")?),
            workflow: WorkflowId::new(tenant, name(record, "workflow")?),
            intent: name(record, "intent")?,
            token: text(token, "jti")?.to_owned(),
            expires: time(token, "expires")?,
            key: text(token, "key")?.to_owned(),
            proof: text(token, "proof")?.to_owned(),
        };
        let time = time(record, "time")?;
        let missing = missing(&document);
        let facts = member(record, "facts")?;
        let basis = if facts.is_null() {
            None
        } else {
            let facts = as_object(facts, "facts")?;
            Some(Basis {
                release: digest(record, "release")?,
                revision: Revision(number(facts, "revision")?),
                freshness: freshness(facts)?,
                now: time,
                input: match record.get("input_sha256") {
                    // It is sealed together with the input.
                    Some(Value::Null) if missing.iter().any(|(at, _)| at == "/input_sha256") => {
                        Digest::of(b"")
                    }
                    _ => digest(record, "input_sha256")?,
                },
            })
        };
        let asked = match record.get("call") {
            Some(call) => AskedRecord::Call(Box::new(read_call(
                as_object(call, "call")?,
                id.clone(),
                basis.as_ref().map_or(Digest::of(b""), |b| b.release),
            )?)),
            None => AskedRecord::Attempt(read_evidence(as_object(member(record, "attempt")?, "attempt")?)?),
        };
        let permit = match text(record, "decision")? {
            "permit" => true,
            "deny" => false,
            _ => return Err(bad("decision", "is neither `permit` nor `deny`")),
        };
        let input = Some(member(record, "input")?).filter(|input| !input.is_null()).cloned();
        let (flow_at, spends) = (number(record, "flow_at")?, names(record, "spends")?);
        let (counted_at, keep) = read_counted(record)?;
        let chain = names(record, "chain")?.into_iter().map(AgentId::from).collect();
        Ok(Self {
            id,
            permit,
            grant,
            asked,
            basis,
            time,
            flow_at,
            counted_at,
            keep,
            chain,
            spends,
            input,
            missing,
            document,
        })
    }
}

fn read_call(call: &Object, id: DecisionId, release: Digest) -> Result<Call, BadRecord> {
    let resources = list(call, "resources")?.iter().map(|r| {
        as_object(r, "resources").and_then(|r| Ok(ResourceRef { kind: name(r, "type")?, id: name(r, "id")? }))
    });
    // One that is sealed and not opened has a name only.
    let known = |a: &&Value| ["decimal", "bool", "text"].iter().any(|kind| a.get(kind).is_some());
    let attributes = list(call, "attributes")?.iter().filter(known).map(|a| {
        let a = as_object(a, "attributes")?;
        let value = if a.contains_key("decimal") {
            Attribute::Decimal(Decimal::parse(text(a, "decimal")?).map_err(|error| bad("attributes", error))?)
        } else if a.contains_key("bool") {
            Attribute::Bool(text(a, "bool")? == "true")
        } else {
            Attribute::Text(text(a, "text")?.to_owned())
        };
        Ok((name(a, "name")?, value))
    });
    let known = |b: &&Value| b.get("value").is_some();
    let bound = list(call, "bound")?.iter().filter(known).map(|b| {
        let b = as_object(b, "bound")?;
        Ok(Bound {
            argument: text(b, "argument")?.to_owned(),
            from: text(b, "from")?.to_owned(),
            value: member(b, "value")?.clone(),
        })
    });
    let effect = match text(call, "effect")? {
        "read" => EffectClass::Read,
        "write" => EffectClass::Write,
        "destructive" => EffectClass::Destructive,
        _ => return Err(bad("call.effect", "is none of `read`, `write`, `destructive`")),
    };
    let release = if call.contains_key("release") { digest(call, "release")? } else { release };
    Ok(Call {
        id,
        release,
        method: match text(call, "method")? {
            "tools/call" => "tools/call",
            _ => return Err(bad("call.method", "is unknown to this version")),
        },
        upstream: name(call, "upstream")?,
        tool: text(call, "tool")?.to_owned(),
        entry: name(call, "entry")?,
        action: name(call, "action")?,
        effect,
        resources: resources.collect::<Result<_, BadRecord>>()?,
        attributes: attributes.collect::<Result<_, BadRecord>>()?,
        bound: bound.collect::<Result<_, BadRecord>>()?,
        arguments: member(call, "arguments")?.canonical().map_err(|error| bad("call.arguments", error))?,
        labels: names(call, "labels")?.into_iter().collect(),
        lookups: lookup::read(call)?,
        writes: writes(call)?,
        moves: state_moves::read(call)?,
    })
}

/// The relationships that a call adds; records before there were any don't have the member.
fn writes(call: &Object) -> Result<Vec<Tuple>, BadRecord> {
    if !call.contains_key("writes") {
        return Ok(Vec::new());
    }
    let tuple = |value: &Value| {
        let text = value.as_str().ok_or_else(|| bad("call.writes", "holds something that is no text"))?;
        text.parse().map_err(|error| bad("call.writes", error))
    };
    list(call, "writes")?.iter().map(tuple).collect()
}

/// Replay decides by the freshness that was found. Records without `stale` are of fresh facts.
fn freshness(facts: &Object) -> Result<Freshness, BadRecord> {
    let age = number(facts, "age_ms")?;
    let Some(stale) = facts.get("stale") else { return Ok(Freshness::Fresh(age)) };
    let stale = as_object(stale, "stale")?;
    Ok(Freshness::Stale { source: name(stale, "source")?, age, why: text(stale, "why")?.to_owned() })
}

/// The decision document of a record, as `placet decide` and `placet audit show` print it.
#[must_use]
pub fn document(record: &Value) -> Value {
    let get = |name: &str| record.get(name).cloned().unwrap_or(Value::Null);
    let reasons = record.get("reasons").and_then(Value::as_array).unwrap_or_default();
    let reasons = reasons.iter().map(|reason| {
        let get = |name: &str| reason.get(name).cloned().unwrap_or(Value::Null);
        Value::from(object! { "code" => get("code"), "message" => get("operator"), "policy" => get("policy"), "at" => get("at") })
    });
    let facts = match record.get("facts").and_then(Value::as_object) {
        Some(facts) => {
            let get = |name: &str| facts.get(name).cloned().unwrap_or(Value::Null);
            Value::from(
                object! { "tenant" => get_tenant(record), "revision" => get("revision"), "age_ms" => get("age_ms") },
            )
        }
        None => Value::Null,
    };
    Value::from(object! {
        "decision" => get("decision"), "reasons" => Value::Array(reasons.collect()), "determining" => get("determining"),
        "obligations" => get("obligations"), "remedy" => get("remedy"), "release" => get("release"), "facts" => facts, "time" => get("time"),
    })
}

fn get_tenant(record: &Value) -> Value {
    record.get("tenant").cloned().unwrap_or(Value::Null)
}
