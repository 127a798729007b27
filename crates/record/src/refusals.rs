//! The record of a flood of refusals: how many of which, instead of each.

use placet_core::{Name, TenantId, Timestamp};
use placet_json::Limits;

use crate::{
    read::{BadRecord, bad, list, name, number, object, text, time},
    writer::Writer,
};

/// Refusals of one agent in one window that were counted, beyond those that were recorded one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusals {
    /// Who was refused.
    pub agent: Name,
    /// In which tenant; none for what came before an envelope was open.
    pub tenant: Option<TenantId>,
    /// The first moment of the window.
    pub since: Timestamp,
    /// The moment at which it was closed.
    pub until: Timestamp,
    /// What was refused, by action and resource.
    pub refused: Vec<Refused>,
    /// How many more there were, of other actions and resources.
    pub other: u64,
}

/// One action on one resource, and how often it was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The action, or the method where no action is known.
    pub action: String,
    /// `type:id`; empty where none is known.
    pub resource: String,
    /// The first reason of the last refusal.
    pub code: String,
    /// How often.
    pub count: u64,
    /// The last refusal's identifier; empty where it had none.
    pub last: String,
}

impl Refusals {
    /// How many refusals it stands for.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.refused.iter().fold(self.other, |sum, one| sum.saturating_add(one.count))
    }

    /// The record, in canonical form.
    #[must_use]
    pub fn write(&self) -> String {
        let mut w = Writer::new(512);
        w.text("agent", self.agent.as_str()).number("other", self.other);
        w.parts(
            "refused",
            self.refused.iter().map(|one| {
                let mut w = Writer::new(192);
                w.text("action", &one.action).text("code", &one.code).number("count", one.count);
                w.text("last", &one.last).text("resource", &one.resource).end()
            }),
        );
        w.shown("since", &self.since);
        match &self.tenant {
            Some(tenant) => w.text("tenant", tenant.as_str()),
            None => w.null("tenant"),
        };
        w.shown("until", &self.until).number("v", 1).end()
    }

    /// Reads a record's bytes.
    pub fn read(bytes: &[u8]) -> Result<Self, BadRecord> {
        let document = placet_json::parse(bytes, &Limits::RESULT).map_err(|error| bad("", error))?;
        let record = object(&document, "")?;
        let refused = list(record, "refused")?.iter().map(|one| {
            let one = object(one, "refused")?;
            Ok(Refused {
                action: text(one, "action")?.to_owned(),
                resource: text(one, "resource")?.to_owned(),
                code: text(one, "code")?.to_owned(),
                count: number(one, "count")?,
                last: text(one, "last")?.to_owned(),
            })
        });
        let tenant = match record.get("tenant") {
            Some(tenant) if !tenant.is_null() => Some(name(record, "tenant")?.into()),
            Some(_) | None => None,
        };
        Ok(Self {
            agent: name(record, "agent")?,
            tenant,
            since: time(record, "since")?,
            until: time(record, "until")?,
            refused: refused.collect::<Result<_, BadRecord>>()?,
            other: number(record, "other")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_canonical_and_read_back() {
        let one = |action: &str, count| Refused {
            action: action.to_owned(),
            resource: "support_case:CASE-1".to_owned(),
            code: "argument_invalid".to_owned(),
            count,
            last: "dc_1".to_owned(),
        };
        for tenant in [None, Some(TenantId::new("acme").unwrap())] {
            let refusals = Refusals {
                agent: Name::new("agent-7").unwrap(),
                tenant,
                since: Timestamp::from_secs(10),
                until: Timestamp::from_secs(20),
                refused: vec![one("issue_refund", 7), one("\"quoted\"\n", 2)],
                other: 3,
            };
            let text = refusals.write();
            let value = placet_json::parse(text.as_bytes(), &Limits::RESULT).unwrap();
            assert_eq!(value.canonical().unwrap().as_str(), text);
            assert_eq!(Refusals::read(text.as_bytes()).unwrap(), refusals);
            assert_eq!(refusals.count(), 12);
        }
        assert!(Refusals::read(b"{}").is_err());
    }
}
