//! What sources of facts say of themselves, as acts in the journal: a gap that one gateway is told of denies at all of
//! them, and after a restart, until it is closed.

use std::{collections::BTreeMap, error::Error};

use imbl::OrdMap;
use placet_core::{Name, TenantId, Timestamp};
use placet_facts::Place;
use placet_json::{Limits, Object, Value, object, parse};

/// What a source says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceSays {
    /// Something is lost, or couldn't be applied.
    Gap,
    /// Everything was fetched again and applied.
    Closed,
    /// What it said was complete at this moment.
    Seen(Timestamp),
}

impl SourceSays {
    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::Closed => "closed",
            Self::Seen(_) => "seen",
        }
    }
}

/// A report of a source, to be recorded.
#[derive(Debug, Clone)]
pub struct SourceReport {
    /// Who says it.
    pub by: Name,
    /// Of which source.
    pub source: Name,
    /// Whose facts depend on it.
    pub place: Place,
    /// What.
    pub says: SourceSays,
    /// Why.
    pub why: String,
}

/// Gaps that aren't closed, by source: whose facts depend on it, and what is missing.
pub(crate) type Gaps = OrdMap<Name, (Place, String)>;

/// A report as the journal has it.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) source: Name,
    pub(crate) place: Place,
    pub(crate) says: SourceSays,
    pub(crate) why: String,
}

impl Told {
    /// The member `source` of an act.
    pub(crate) fn member(report: &SourceReport) -> Object {
        let mut member = object! { "name" => report.source.as_str(), "state" => report.says.as_str() };
        if let SourceSays::Seen(at) = report.says {
            member.insert("at", at.to_string());
        }
        if let Place::Tenant(tenant) = &report.place {
            member.insert("tenant", tenant.as_str());
        }
        member
    }

    /// Reads an act; none for one that is about no source.
    pub(crate) fn read(payload: &[u8]) -> Result<Option<Self>, Box<dyn Error + Send + Sync>> {
        let document = parse(payload, &Limits::RESULT)?;
        let Some(member) = document.get("source") else { return Ok(None) };
        let text = |value: &Value, name: &str| {
            value.get(name).and_then(Value::as_str).map(str::to_owned).ok_or(format!("`{name}` is missing"))
        };
        let place = match member.get("tenant") {
            None => Place::Organisation,
            Some(_) => Place::Tenant(TenantId::new(&text(member, "tenant")?)?),
        };
        let says = match text(member, "state")?.as_str() {
            "gap" => SourceSays::Gap,
            "closed" => SourceSays::Closed,
            "seen" => SourceSays::Seen(Timestamp::parse(&text(member, "at")?)?),
            other => return Err(format!("`{other}` is nothing that a source says").into()),
        };
        Ok(Some(Self {
            source: Name::new(&text(member, "name")?)?,
            place,
            says,
            why: text(&document, "why")?,
        }))
    }

    /// Folds it.
    pub(crate) fn fold(&self, gaps: &mut Gaps) {
        match self.says {
            SourceSays::Gap => {
                gaps.insert(self.source.clone(), (self.place.clone(), self.why.clone()));
            }
            SourceSays::Closed => {
                gaps.remove(&self.source);
            }
            SourceSays::Seen(_) => {}
        }
    }
}

/// Whether a decision of this tenant depends on a source with a gap.
pub(crate) fn denies(gaps: &Gaps, tenant: &TenantId) -> bool {
    gaps.values().any(|(place, _)| match place {
        Place::Organisation => true,
        Place::Tenant(id) => id == tenant,
    })
}

/// For those who read.
pub(crate) fn all(gaps: &Gaps) -> BTreeMap<Name, (Place, String)> {
    gaps.iter().map(|(name, gap)| (name.clone(), gap.clone())).collect()
}

/// A line of a kept state.
pub(crate) fn document(name: &Name, (place, why): &(Place, String)) -> Object {
    let mut body = object! { "name" => name.as_str(), "why" => why.as_str() };
    if let Place::Tenant(tenant) = place {
        body.insert("tenant", tenant.as_str());
    }
    body
}

/// Reads it back.
pub(crate) fn undocument(body: &Value) -> Result<(Name, (Place, String)), Box<dyn Error + Send + Sync>> {
    let text = |name: &str| body.get(name).and_then(Value::as_str).ok_or(format!("`{name}` is missing"));
    let place = match body.get("tenant") {
        None => Place::Organisation,
        Some(_) => Place::Tenant(TenantId::new(text("tenant")?)?),
    };
    Ok((Name::new(text("name")?)?, (place, text("why")?.to_owned())))
}
