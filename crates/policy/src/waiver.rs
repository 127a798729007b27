//! What a waiver does to a denial: it becomes a permit that names the waiver, with the denial's reasons kept beside it.
//!
//! Only what policies alone refuse is passed over. The platform's own checks, limits, failures, inputs that break their
//! schema, and the denies of the baseline stand; in a release without a baseline every deny stands, and only the lack of
//! a rule that allows is passed over.

use placet_catalog::Entry;
use placet_core::{
    Call, Determining, Envelope, FactsView, Name, Obligation, PassedOver, Timestamp, Waiver, WaiverKind,
};

use crate::{Release, decide::Judgement};

/// The judgement after waivers.
pub(crate) fn apply(
    release: &Release,
    judgement: Judgement,
    envelope: &Envelope,
    call: &Call,
    facts: &dyn FactsView,
    now: Timestamp,
    passed_over: &mut Option<PassedOver>,
) -> Judgement {
    let Judgement::Deny { reasons, determining, remedy: _, final_: false } = &judgement else {
        return judgement;
    };
    if determining.iter().any(|by| stands(release, by)) {
        return judgement;
    }
    let agent = envelope.agent();
    let waivers = facts.waivers(agent);
    let tool = (&call.upstream, &call.entry, call.effect);
    let covers = |waiver: &&&Waiver| waiver.holds(now) && waiver.covers(agent, envelope.tenant(), tool);
    // An exception says more exactly what is meant.
    let Some(waiver) = waivers.iter().filter(covers).max_by_key(|waiver| (waiver.kind, &waiver.id)) else {
        return judgement;
    };
    let by = Determining { policy: format!("{}:{}", waiver.kind.as_str(), waiver.id), at: String::new() };
    *passed_over = Some(PassedOver { kind: waiver.kind, reasons: reasons.all().to_vec() });
    Judgement::Allow(vec![by])
}

/// Whether a waiver shows a tool to an agent that no policy may grant. When it ends is asked of the call.
pub(crate) fn shows(entry: &Entry, envelope: &Envelope, facts: &dyn FactsView) -> bool {
    let tool = (entry.upstream(), entry.name(), entry.effect());
    let of = |waiver: &&Waiver| waiver.covers(envelope.agent(), envelope.tenant(), tool);
    facts.waivers(envelope.agent()).into_iter().any(|waiver| waiver.second.is_some() && of(&waiver))
}

/// Whether a deny can't be passed over.
fn stands(release: &Release, by: &Determining) -> bool {
    let baseline = release.parts().iter().any(|part| part.baseline);
    let file = by.at.rsplit_once(':').map_or(by.at.as_str(), |(file, _)| file);
    !baseline || release.layout().place(file).0.is_some_and(|part| part.baseline)
}

/// The duty that comes with such a permit: to say so.
pub(crate) fn obligations(passed_over: Option<&PassedOver>) -> Vec<Obligation> {
    let name = |kind: WaiverKind| Name::new(kind.obligation()).ok();
    passed_over.and_then(|it| name(it.kind)).map(|name| Obligation { name }).into_iter().collect()
}
