//! Waivers among the facts: asked for by one person, confirmed by another, ended by anybody who may. Each change is made
//! in the name of the person whom it names, so that nobody stands behind one unknowingly.

use std::sync::Arc;

use placet_core::{AgentId, EffectClass, HumanId, Name, Standing, TenantId, Waiver, WaiverKind};
use placet_json::{Value, object};

use crate::{
    Change, ChangeError,
    apply::{Applied, known_agent, no},
    read::Fields,
    state::OrgFacts,
};

/// The most waivers that are kept; those that ended first are forgotten first.
const MAX_KEPT: usize = 4096;

pub(crate) fn read(value: &Value, path: &str) -> Result<Waiver, ChangeError> {
    let mut fields = Fields::open(value, path)?;
    let one_of = |what: &'static str| move |_: &str| format!("is none of {what}");
    let effect = |text: &str| match text {
        "read" => Ok(EffectClass::Read),
        "write" => Ok(EffectClass::Write),
        "destructive" => Ok(EffectClass::Destructive),
        other => Err(one_of("`read`, `write`, `destructive`")(other)),
    };
    let waiver = Waiver {
        id: fields.name("id")?,
        kind: fields.parsed("kind", |text| {
            WaiverKind::parse(text).ok_or_else(|| one_of("`observe`, `exception`")(text))
        })?,
        agent: fields.parsed("agent", AgentId::new)?,
        upstream: fields.name("upstream")?,
        tool: match fields.optional("tool") {
            None => None,
            Some(tool) => Some(crate::read::name_of(tool, &fields.at("tool"))?),
        },
        effect: fields.parsed("effect", effect)?,
        tenant: match fields.optional("tenant") {
            None => None,
            Some(tenant) => Some(TenantId::from(crate::read::name_of(tenant, &fields.at("tenant"))?)),
        },
        owner: fields.parsed("owner", HumanId::new)?,
        second: match fields.optional("second") {
            None => None,
            Some(second) => Some(HumanId::from(crate::read::name_of(second, &fields.at("second"))?)),
        },
        since: fields.moment("since")?,
        ends: fields.moment("ends")?,
        reason: fields.text("reason")?.to_owned(),
    };
    fields.unexpected()?;
    waiver.check().map_err(|(what, why)| ChangeError::malformed(&format!("{path}/{what}"), why, ""))?;
    Ok(waiver)
}

/// As JSON.
#[must_use]
pub fn waiver_value(waiver: &Waiver) -> Value {
    let Waiver { id, kind, agent, upstream, tool, effect, tenant, owner, second, since, ends, reason } =
        waiver;
    let mut value = object! {
        "agent" => agent.as_str(), "effect" => effect.as_str(), "ends" => ends.to_string(), "id" => id.as_str(),
        "kind" => kind.as_str(), "owner" => owner.as_str(), "reason" => reason.as_str(), "since" => since.to_string(),
        "upstream" => upstream.as_str(),
    };
    for (name, text) in [
        ("tool", tool.as_ref().map(Name::as_str)),
        ("tenant", tenant.as_ref().map(TenantId::as_str)),
        ("second", second.as_ref().map(HumanId::as_str)),
    ] {
        if let Some(text) = text {
            value.insert(name, text);
        }
    }
    value.into()
}

/// Applies a change of waivers, made by `author`. False: it is no such change.
#[expect(clippy::wildcard_enum_match_arm, reason = "every other change is told by its own arm of `apply`")]
pub(crate) fn apply(org: &mut OrgFacts, change: &Change, author: &Name) -> Result<bool, ChangeError> {
    let is = |human: &HumanId| author.as_str().strip_prefix("human:") == Some(human.as_str());
    match change {
        Change::WaiverAsked(waiver) => {
            if !is(&waiver.owner) || waiver.second.is_some() {
                return Err(ChangeError::conflict(
                    "a waiver is asked for by its owner, and by nobody confirmed yet",
                    "ask for it in your own name",
                ));
            }
            known_agent(org, &waiver.agent)?;
            active(org, &waiver.owner)?;
            if org.waivers.contains_key(&waiver.id) {
                return Err(ChangeError::conflict(
                    format!("there is a waiver `{}`", waiver.id),
                    "name it otherwise",
                ));
            }
            if org.waivers.len() >= MAX_KEPT {
                let first =
                    org.waivers.values().min_by_key(|waiver| waiver.ends).map(|waiver| waiver.id.clone());
                first.map(|id| org.waivers.remove(&id));
            }
            org.waivers.insert(waiver.id.clone(), Arc::new(waiver.clone()));
        }
        Change::WaiverConfirmed { id, by } => {
            let known = org.waivers.get(id).ok_or_else(|| no("waiver", id, "list the waivers"))?;
            if !is(by) || known.owner == *by {
                return Err(ChangeError::conflict(
                    "a waiver takes two people",
                    "somebody else must confirm it",
                ));
            }
            if known.second.is_some() {
                return Err(ChangeError::conflict("it is confirmed already", ""));
            }
            let confirmed = Waiver { second: Some(by.clone()), ..Waiver::clone(known) };
            active(org, by)?;
            org.waivers.insert(id.clone(), Arc::new(confirmed));
        }
        Change::WaiverEnded(id) => {
            org.waivers.remove(id).ok_or_else(|| no("waiver", id, "list the waivers"))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn active(org: &OrgFacts, human: &HumanId) -> Applied {
    match org.human(human) {
        Some(human) if human.standing == Standing::Active => Ok(()),
        Some(_) | None => Err(no("active person", human, "list the people")),
    }
}

pub(crate) fn confirmed_value(id: &Name, by: &HumanId) -> Value {
    object! { "by" => by.as_str(), "id" => id.as_str() }.into()
}

/// Takes a waiver that was kept.
pub(crate) fn take(org: &mut OrgFacts, body: &Value, path: &str) -> Applied {
    let waiver = read(body, path)?;
    org.waivers.insert(waiver.id.clone(), Arc::new(waiver));
    Ok(())
}
