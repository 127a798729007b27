//! The ledger's entries with what is marked sealed, its records with their bodies, and erasing.

use std::borrow::Cow;

use placet_core::{
    Name,
    authority::{Asked, Entry, Evidence, Unrecorded},
};
use placet_facts::Transaction;
use placet_json::{Limits, Value};
use placet_record::{DecisionRecord, denied, ended, permitted, sealed::Part};
use placet_store::Record;

use crate::{
    Ledger, Refused,
    erase::{self, Erasable, Erased, Erasure},
    fold::Commit,
    sealing::{concerns, discard_parts, of_decision, of_effect, open_with, seal_parts, subjects_of},
};

impl Ledger {
    /// A record with its bodies put back, as far as there are keys; where some are missing, its member `sealed` tells.
    pub fn opened<'a>(&self, record: &'a Record) -> Result<Cow<'a, [u8]>, String> {
        let opened = open_with(&record.payload, &record.sealed, self.subjects());
        opened.map(|opened| opened.payload).map_err(|error| error.to_string())
    }

    /// How many keys of subjects there are, and how many were erased.
    #[must_use]
    pub fn subject_keys(&self) -> (usize, usize) {
        self.subjects().count()
    }

    pub(crate) fn read_decision(&self, record: &Record) -> Result<DecisionRecord, String> {
        DecisionRecord::read(&self.opened(record)?).map_err(|error| error.to_string())
    }

    /// Erases a subject everywhere, durably: its keys, and with them whatever was sealed for it; what is live of it; the
    /// states that hold it. An act of the ledger, whose trees and proofs stay as they are.
    pub async fn erase(&self, by: Name, whom: Erasable, why: String) -> Result<Erased, Refused> {
        let down = |error: &dyn std::fmt::Display| Refused::Down(error.to_string());
        if !self.subjects().is_open() {
            return Err(down(&placet_store::SubjectsError::Shut));
        }
        let subject = whom.name().ok_or_else(|| down(&"there can't be such a subject"))?;
        let keys = self.subjects().keys_of(&subject).await.map_err(|error| down(&error))?;
        let tenant = match whom {
            Erasable::Human(_) => None,
            Erasable::Subject(tenant, ..) => Some(tenant),
        };
        let count = keys.len();
        let at = self.commit(Commit::Erase(Box::new(Erasure { by, why, subject, tenant, keys }))).await?;
        // Both are done by whoever wrote the act; an error was only told to the log there.
        let unfinished = |error: &dyn std::fmt::Display| {
            Refused::Down(format!("the erasure is recorded at {at}, but isn't finished: {error}"))
        };
        self.subjects().settle().await.map_err(|error| unfinished(&error))?;
        self.states().forget(at).map_err(|error| unfinished(&error))?;
        Ok(Erased { at, keys: count })
    }

    /// Makes the keys that a transaction's personal data take.
    pub(crate) async fn prepare(&self, transaction: &Transaction) -> Result<(), Refused> {
        let release = self.releases().current();
        let catalog = release.as_ref().map(|release| release.catalog());
        let parts = erase::plan(transaction, catalog, &self.live().world(), self.subjects());
        if parts.is_empty() {
            return Ok(());
        }
        let made = self.subjects().ensure(&subjects_of(&parts)).await;
        made.map_err(|error| Refused::Down(error.to_string()))
    }

    /// An entry to be submitted, with what is marked of it sealed. A permit whose arguments can't be sealed isn't recorded, so
    /// nothing is permitted; a denial or an ending is, without what couldn't be sealed.
    pub(crate) async fn seal_marked(
        &self,
        entry: &Entry<'_>,
        (record, parts): (Value, Vec<Part>),
    ) -> Result<Commit, Unrecorded> {
        let made = self.subjects().ensure(&subjects_of(&parts)).await;
        let sealed = match made {
            Ok(()) => seal_parts(record.clone(), &parts, self.subjects()),
            Err(error) => Err(error.into()),
        };
        let sealed = match (sealed, entry) {
            (Ok(sealed), _) => sealed,
            (Err(error), Entry::Permitted(_)) => {
                return Err(Unrecorded::Down(format!("what is personal can't be sealed: {error}")));
            }
            (Err(error), Entry::Denied(_) | Entry::Ended { .. }) => {
                tracing::error!(%error, "what is personal can't be sealed, and is left out of the record");
                discard_parts(record, &parts).map_err(|error| Unrecorded::Down(error.to_string()))?
            }
        };
        Ok(self.entry(entry, Some(sealed)))
    }

    /// The record of an entry and what of it is marked; none where nothing is.
    pub(crate) fn marked(&self, entry: &Entry<'_>) -> Option<(Value, Vec<Part>)> {
        let release = self.releases().current()?;
        let catalog = release.catalog();
        let read = |record: &str| placet_json::parse(record.as_bytes(), &Limits::RESULT).ok();
        let (record, parts) = match entry {
            Entry::Permitted(permit) => {
                let tool = catalog.entry(permit.call().entry.as_str()).map(AsRef::as_ref);
                if !concerns(catalog, tool, permit.call().resources.iter()) {
                    return None;
                }
                let record = read(&permitted(permit))?;
                let parts = of_decision(&record, catalog, tool);
                (record, parts)
            }
            Entry::Denied(denial) => {
                let (tool, resources) = match denial.asked() {
                    Asked::Call(call) => (catalog.entry(call.entry.as_str()), &call.resources),
                    Asked::Refused(attempt) => {
                        let tool = match &attempt.evidence {
                            Evidence::Call { upstream, tool, .. } => {
                                Name::new(upstream).ok().and_then(|upstream| catalog.tool(&upstream, tool))
                            }
                            Evidence::Nothing => None,
                        };
                        (tool, &attempt.resources)
                    }
                };
                let tool = tool.map(AsRef::as_ref);
                if !concerns(catalog, tool, resources.iter()) {
                    return None;
                }
                let record = read(&denied(denial))?;
                let parts = of_decision(&record, catalog, tool);
                (record, parts)
            }
            Entry::Ended { permit, at, credential, outcome } => {
                let call = permit.call();
                let tool = catalog.entry(call.entry.as_str())?;
                if !concerns(catalog, Some(tool), call.resources.iter()) {
                    return None;
                }
                let record = read(&ended(permit, *at, credential, outcome, self.now()))?;
                let input = permit.evaluation().input.as_ref().map(placet_json::Canonical::to_value);
                let parts = of_effect(
                    &record,
                    catalog,
                    tool,
                    permit.envelope().human().as_str(),
                    call.resources.first(),
                    &call.arguments.to_value(),
                    input.as_ref(),
                );
                (record, parts)
            }
        };
        (!parts.is_empty()).then_some((record, parts))
    }
}
