//! Making one decision again: the same envelope, the same call, the same facts, the same moment.

use std::fmt;

use placet_core::{
    ApprovalId, Call, Code, Determining, Engine as _, Envelope, Evaluation, FactsView, LookedUp, Name,
    Obligation, Reason, Reasons, Remedy, Timestamp, Verdict,
    authority::{Evidence, Offered, chain},
};
use placet_facts::Snapshot;
use placet_json::{Canonical, Limits, Value};
use placet_policy::Release;
use placet_record::{AskedRecord, DecisionRecord, sealed::Shut};

use crate::{
    Data,
    bodies::why,
    compare::{compare, held, own_evidence},
    report::{Difference, Outcome, What},
};

/// How often an evaluation is begun again that reached a bound of time only here.
const MAX_TRIES: u32 = 3;

/// A decision of the past and what it saw.
pub(crate) struct Case {
    pub(crate) sequence: u64,
    pub(crate) tenant: String,
    pub(crate) record: Box<DecisionRecord>,
    /// The facts; else how they differ from those of the record.
    pub(crate) snapshot: Result<Snapshot, String>,
    /// Whether the record's release ever came into force before it.
    pub(crate) promoted: bool,
    /// Why some facts before it are missing.
    pub(crate) facts_shut: Option<Shut>,
}

/// What a decision comes to now.
pub(crate) struct Now {
    pub(crate) permit: bool,
    pub(crate) reasons: Vec<Reason>,
    pub(crate) determining: Vec<Determining>,
    pub(crate) obligations: Vec<Obligation>,
    pub(crate) remedy: Option<Remedy>,
    pub(crate) spends: Vec<Name>,
    pub(crate) input: Option<Canonical>,
    /// The engine failed as a whole; the public words of that aren't compared.
    pub(crate) fault: bool,
}

impl Now {
    fn refused(reasons: &Reasons) -> Self {
        Self {
            permit: false,
            reasons: reasons.all().to_vec(),
            determining: Vec::new(),
            obligations: Vec::new(),
            remedy: None,
            spends: Vec::new(),
            input: None,
            fault: false,
        }
    }
    fn limited(&self) -> bool {
        self.reasons.iter().any(|reason| reason.code == Code::Limit.as_str())
    }
}

/// Makes a decision again and compares; against `other` instead of its own release, where one is given. Where something
/// differs and other engines decided then, that is told first.
pub(crate) fn again(case: &Case, data: &Data, other: Option<&Release>) -> Outcome {
    match case.record.missing.iter().map(|(_, shut)| *shut).max() {
        None => {}
        Some(Shut::Erased) => return Outcome::Erased(why(Shut::Erased).to_owned()),
        Some(Shut::NoKey) => return Outcome::CannotTell(why(Shut::NoKey).to_owned()),
        Some(Shut::Altered) => {
            let altered = Difference::new(What::Record, "a sealed body", why(Shut::Altered));
            return Outcome::Differs(vec![altered]);
        }
    }
    let outcome = by_engine(case, data, other);
    let Outcome::Differs(differences) = &outcome else { return outcome };
    // A policy may read facts that the record doesn't have: what differs may be for want of those.
    let told = |what: What| !what.is_evidence() || what == What::Input;
    let lacks = case.snapshot.as_ref().is_ok_and(|snapshot| snapshot.facts().has_erased());
    match case.facts_shut {
        Some(Shut::Erased) if lacks && differences.iter().all(|it| told(it.what)) => {
            Outcome::Erased("it differs, and may rest on facts that are erased".to_owned())
        }
        Some(Shut::NoKey) if lacks && differences.iter().all(|it| told(it.what)) => Outcome::CannotTell(
            "it differs, and may rest on facts whose keys aren't here; give `--master-key`".to_owned(),
        ),
        Some(_) | None => outcome,
    }
}

/// The same for a decision of which nothing is missing. Where something differs and other engines decided then, that is
/// told first.
fn by_engine(case: &Case, data: &Data, other: Option<&Release>) -> Outcome {
    let recorded = case.record.document.get("engine").and_then(Value::as_str);
    let foreign = recorded.filter(|engine| *engine != placet_core::ENGINE);
    match (decide(case, data, other), foreign) {
        (Outcome::Differs(mut differences), Some(engine)) => {
            differences.insert(0, Difference::new(What::Engine, engine, placet_core::ENGINE));
            Outcome::Differs(differences)
        }
        (outcome, _) => outcome,
    }
}

fn decide(case: &Case, data: &Data, other: Option<&Release>) -> Outcome {
    let Case { record, snapshot, promoted, .. } = case;
    let Some(basis) = &record.basis else { return Outcome::NotDecided };
    if matches!(record.asked, AskedRecord::Attempt(Evidence::Nothing)) {
        return Outcome::NotDecided;
    }
    let mut differences = own_evidence(record, basis);
    let tenant = record.grant.workflow.tenant();
    if case.tenant != tenant.as_str() {
        differences.push(Difference::new(
            What::Record,
            format!("a decision of tenant `{tenant}`"),
            format!("it stands in the tree `{}`", case.tenant),
        ));
    }
    let mut missing = |what: What, recorded: &dyn fmt::Display, now: &str| {
        differences.push(Difference::new(what, recorded, now));
    };
    let archived;
    let release = match other {
        Some(other) => Some(other),
        None => {
            if !promoted {
                missing(What::Release, &basis.release, "no entry of the ledger put it in force");
            }
            archived = data.release(basis.release);
            match &archived {
                Ok(release) => Some(&**release),
                Err(why) => {
                    missing(What::Release, &basis.release, why);
                    None
                }
            }
        }
    };
    let snapshot = match snapshot {
        Ok(snapshot) => Some(snapshot),
        Err(why) => {
            missing(What::Facts, &format!("revision {}", basis.revision), why);
            None
        }
    };
    // Only the person's and the agent's names are taken from the token; whether its time was over is checked again below.
    let envelope = match Envelope::open(record.grant.clone(), Timestamp::from_millis(0)) {
        Ok(envelope) => Some(envelope),
        Err(error) => {
            missing(What::Record, &"an envelope", &error.to_string());
            None
        }
    };
    let (Some(release), Some(snapshot), Some(envelope)) = (release, snapshot, envelope) else {
        return Outcome::Differs(differences);
    };
    differences.extend(held(record, &chain(snapshot, &envelope)));
    let made = Making { record, envelope: &envelope, facts: snapshot, release, own: other.is_none() };
    let mut now = match made.make(basis.now) {
        Ok(now) => now,
        Err(NotMade::Evidence(difference)) => {
            differences.push(difference);
            return Outcome::Differs(differences);
        }
        Err(NotMade::CannotTell(why)) => {
            return if differences.is_empty() {
                Outcome::CannotTell(why)
            } else {
                Outcome::Differs(differences)
            };
        }
    };
    let was_limited =
        record.document.pointer("/reasons/0/code").and_then(Value::as_str) == Some(Code::Limit.as_str());
    for _ in 1..MAX_TRIES {
        if was_limited || !now.limited() {
            break;
        }
        if let Ok(next) = made.make(basis.now) {
            now = next;
        }
    }
    if was_limited != now.limited() {
        let why = if was_limited {
            "a bound of the evaluation was reached then, and isn't now"
        } else {
            "a bound of the evaluation is reached now, and wasn't then"
        };
        return if differences.is_empty() {
            Outcome::CannotTell(why.to_owned())
        } else {
            Outcome::Differs(differences)
        };
    }
    differences.extend(compare(record, basis, &now, other.is_none()));
    if differences.is_empty() { Outcome::Same } else { Outcome::Differs(differences) }
}

/// Makes a decision once more on other facts, by its own release; none where its record keeps too little.
pub(crate) fn once(
    record: &DecisionRecord,
    envelope: &Envelope,
    facts: &Snapshot,
    release: &Release,
    moment: Timestamp,
) -> Option<Now> {
    Making { record, envelope, facts, release, own: true }.make(moment).ok()
}

/// What a decision comes to by a release, its own or another; else why that can't be told.
pub(crate) fn by(case: &Case, release: &Release) -> Result<Now, String> {
    let Case { record, snapshot, .. } = case;
    let basis = record.basis.as_ref().ok_or("it rests on no release")?;
    let facts = snapshot.as_ref().map_err(Clone::clone)?;
    let envelope =
        Envelope::open(record.grant.clone(), Timestamp::from_millis(0)).map_err(|e| e.to_string())?;
    let own = release.digest() == basis.release;
    let made = Making { record, envelope: &envelope, facts, release, own };
    for _ in 1..MAX_TRIES {
        match made.make(basis.now) {
            Ok(now) if now.limited() => {}
            Ok(now) => return Ok(now),
            Err(NotMade::CannotTell(why)) => return Err(why),
            Err(NotMade::Evidence(difference)) => return Err(difference.to_string()),
        }
    }
    Err("a bound of the evaluation was reached".to_owned())
}

enum NotMade {
    Evidence(Difference),
    CannotTell(String),
}

struct Making<'a> {
    record: &'a DecisionRecord,
    envelope: &'a Envelope,
    facts: &'a Snapshot,
    release: &'a Release,
    /// Whether the release is the record's own.
    own: bool,
}

impl Making<'_> {
    fn make(&self, moment: Timestamp) -> Result<Now, NotMade> {
        match &self.record.asked {
            AskedRecord::Call(call) if self.own => Ok(self.evaluate(call, moment)),
            AskedRecord::Call(call) => Ok(match self.classify(call) {
                Ok(call) => self.evaluate(&call, moment),
                Err(reasons) => Now::refused(&reasons),
            }),
            AskedRecord::Attempt(Evidence::Call { upstream, tool, arguments, offered, lookups }) => {
                self.admit(upstream, tool, arguments, *offered, lookups, moment)
            }
            AskedRecord::Attempt(Evidence::Nothing) => {
                Err(NotMade::CannotTell("the record keeps nothing of what was asked".to_owned()))
            }
        }
    }

    fn admit(
        &self,
        upstream: &str,
        tool: &str,
        arguments: &str,
        offered: Offered,
        lookups: &[LookedUp],
        moment: Timestamp,
    ) -> Result<Now, NotMade> {
        if arguments.starts_with("sha256:") {
            return Err(NotMade::CannotTell("the arguments were too long to be kept".to_owned()));
        }
        let arguments = placet_json::parse(arguments.as_bytes(), &Limits::RESULT).map_err(|error| {
            NotMade::Evidence(Difference::new(
                What::Record,
                "the arguments as they came",
                format!("they are no JSON: {error}"),
            ))
        })?;
        Ok(
            match self.release.admit(
                self.envelope,
                self.facts,
                self.record.id.clone(),
                upstream,
                tool,
                &arguments,
                offered,
                lookups,
            ) {
                Ok((call, _)) => self.evaluate(&call, moment),
                Err(refused) => Now::refused(&refused.1),
            },
        )
    }

    /// What another release's catalog makes of a call's arguments, without those that the gateway filled. That the
    /// upstream's definition was reviewed is taken as given.
    fn classify(&self, call: &Call) -> Result<Call, Reasons> {
        let hidden = |why: String| {
            Reasons::from(Reason::platform(Code::ToolUnknown, placet_policy::unknown_tool(&call.tool), why))
        };
        let entry = self
            .release
            .catalog()
            .tool(&call.upstream, &call.tool)
            .ok_or_else(|| hidden(format!("the catalog has no entry `{}`", call.entry)))?;
        self.release.visible(entry, self.envelope, self.facts).map_err(hidden)?;
        let mut arguments = call.arguments.to_value();
        if let Some(arguments) = arguments.as_object_mut() {
            for bound in &call.bound {
                arguments.remove(&bound.argument);
            }
        }
        placet_catalog::classify(
            entry,
            self.envelope,
            self.facts,
            self.release.digest(),
            call.id.clone(),
            &arguments,
        )
        .map(|again| {
            let moves = self.release.moves_on(self.envelope.workflow(), &again.action, self.facts);
            Call { lookups: call.lookups.clone(), moves, ..again }
        })
        .map_err(|refused| refused.reasons)
    }

    fn evaluate(&self, call: &Call, moment: Timestamp) -> Now {
        match self.release.evaluate(self.envelope, call, self.facts, moment) {
            Err(fault) => {
                Now { fault: true, ..Now::refused(&Reason::platform(fault.code, "", fault.operator).into()) }
            }
            Ok(Evaluation { verdict: Verdict::Deny { reasons, determining, remedy }, input, .. }) => {
                Now { determining, remedy, input, ..Now::refused(&reasons) }
            }
            Ok(Evaluation {
                verdict: Verdict::Allow { determining, obligations, spends },
                input,
                passed_over,
                ..
            }) => {
                let spends = self.spent(&spends);
                Now {
                    permit: true,
                    reasons: passed_over.map(|it| it.reasons).unwrap_or_default(),
                    determining,
                    obligations,
                    remedy: None,
                    spends,
                    input,
                    fault: false,
                }
            }
        }
    }

    fn spent(&self, spends: &[ApprovalId]) -> Vec<Name> {
        let unspent = self.facts.approvals(self.envelope.workflow());
        unspent
            .into_iter()
            .filter(|approval| spends.contains(&approval.id))
            .map(|approval| approval.id.local().clone())
            .collect()
    }
}
