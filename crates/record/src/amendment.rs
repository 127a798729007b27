//! What was found out later about an ending that nobody knew: an entry of its own, since none is ever changed.

use placet_core::{DecisionId, TenantId, Timestamp};
use placet_json::{Limits, Value};

use crate::{
    read::{BadRecord, bad, name, number, object, text},
    writer::Writer,
};

/// A finding about the effect of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amendment {
    /// The decision whose call it was.
    pub decision: DecisionId,
    /// The decision's journal position.
    pub at: u64,
    /// The tenant.
    pub tenant: TenantId,
    /// The workflow, inside the tenant.
    pub workflow: String,
    /// Whether it happened.
    pub happened: bool,
    /// Whether what the call had reserved came back: it didn't happen. Findings of earlier versions gave nothing back.
    pub returned: bool,
    /// Who found out: `resolver`, or the person.
    pub by: String,
    /// How, as the catalog says it; empty for a person.
    pub how: String,
    /// Why a person says so; empty for the resolver.
    pub why: String,
}

/// The record of a finding, in canonical form.
#[must_use]
pub fn amended(amendment: &Amendment, now: Timestamp) -> String {
    let Amendment { decision, at, tenant, workflow, happened, returned, by, how, why } = amendment;
    let mut w = Writer::new(512);
    w.number("at", *at)
        .text("by", by)
        .text("decision", decision.as_str())
        .text("finding", if *happened { "happened" } else { "did_not_happen" })
        .text("how", how);
    if *returned {
        w.truth("returned", true);
    }
    w.text("tenant", tenant.as_str())
        .shown("time", &now)
        .number("v", 1)
        .text("why", why)
        .text("workflow", workflow);
    w.end()
}

impl Amendment {
    /// Reads a record's bytes.
    pub fn read(bytes: &[u8]) -> Result<Self, BadRecord> {
        let document: Value = placet_json::parse(bytes, &Limits::RESULT).map_err(|error| bad("", error))?;
        let record = object(&document, "")?;
        let happened = match text(record, "finding")? {
            "happened" => true,
            "did_not_happen" => false,
            _ => return Err(bad("finding", "is neither `happened` nor `did_not_happen`")),
        };
        Ok(Self {
            decision: name(record, "decision")?.into(),
            at: number(record, "at")?,
            tenant: name(record, "tenant")?.into(),
            workflow: text(record, "workflow")?.to_owned(),
            happened,
            returned: match record.get("returned") {
                None => false,
                Some(value) => value.as_bool().ok_or_else(|| bad("returned", "isn't a truth value"))?,
            },
            by: text(record, "by")?.to_owned(),
            how: text(record, "how")?.to_owned(),
            why: text(record, "why")?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_canonical() {
        let amendment = Amendment {
            decision: DecisionId::new("dc_1").unwrap(),
            at: 7,
            tenant: TenantId::new("acme").unwrap(),
            workflow: "wf-9".to_owned(),
            happened: false,
            returned: true,
            by: "resolver".to_owned(),
            how: "billing.get_refund \"x\"".to_owned(),
            why: String::new(),
        };
        let text = amended(&amendment, Timestamp::from_secs(1));
        let value = placet_json::parse(text.as_bytes(), &Limits::RESULT).unwrap();
        assert_eq!(value.canonical().unwrap().as_str(), text);
        assert_eq!(Amendment::read(text.as_bytes()).unwrap(), amendment);
        let before = Amendment::read(text.replace("\"returned\":true,", "").as_bytes()).unwrap();
        assert!(!before.returned, "earlier versions gave nothing back");
        assert!(Amendment::read(text.replace("did_not_happen", "maybe").as_bytes()).is_err());
    }
}
