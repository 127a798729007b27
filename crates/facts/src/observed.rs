//! What was read, in the order in which it is forgotten: its time is over, or there is too much of its type or in the
//! tenant. A function of the readings as the journal holds them, so that whoever folds it forgets the same.

use imbl::{OrdMap, OrdSet};
use placet_core::{Known, Name, Resource, ResourceRef, Retention, Timestamp};

use crate::TenantFacts;

/// The readings that have a bound. Those of earlier versions have none, and aren't here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observed {
    /// By type, the oldest first.
    of_type: OrdSet<(Name, Timestamp, Name)>,
    /// By the moment at which they are forgotten.
    by_end: OrdSet<(Timestamp, ResourceRef)>,
    counts: OrdMap<Name, u32>,
}

impl Observed {
    fn insert(&mut self, resource: &Resource) {
        let Known::Observed { at, retention: Some(retention), .. } = &resource.known else { return };
        let of = &resource.at;
        if self.of_type.insert((of.kind.clone(), *at, of.id.clone())).is_none() {
            let count = self.counts.get(&of.kind).copied().unwrap_or_default();
            self.counts.insert(of.kind.clone(), count.saturating_add(1));
        }
        self.by_end.insert((at.plus_millis(retention.millis), of.clone()));
    }
    fn remove(&mut self, resource: &Resource) {
        let Known::Observed { at, retention: Some(retention), .. } = &resource.known else { return };
        let of = &resource.at;
        if self.of_type.remove(&(of.kind.clone(), *at, of.id.clone())).is_some() {
            match self.counts.get(&of.kind).copied().unwrap_or_default() {
                0 | 1 => drop(self.counts.remove(&of.kind)),
                count => drop(self.counts.insert(of.kind.clone(), count.saturating_sub(1))),
            }
        }
        self.by_end.remove(&(at.plus_millis(retention.millis), of.clone()));
    }
    /// What `newest`, which was just read, takes the place of.
    fn next_to_forget(
        &self,
        newest: &ResourceRef,
        at: Timestamp,
        retention: Retention,
    ) -> Option<ResourceRef> {
        let first = self.by_end.iter().find(|(_, of)| of != newest);
        if let Some((_, of)) = first.filter(|(end, _)| *end <= at) {
            return Some(of.clone());
        }
        if self.counts.get(&newest.kind).is_some_and(|count| *count > retention.of_type) {
            let from = (newest.kind.clone(), Timestamp::from_millis(0), crate::state::MIN.clone());
            let mut of_type = self.of_type.range(from..).take_while(|(kind, ..)| *kind == newest.kind);
            let oldest = of_type.find(|(_, _, id)| *id != newest.id);
            return oldest.map(|(kind, _, id)| ResourceRef { kind: kind.clone(), id: id.clone() });
        }
        let most = usize::try_from(retention.of_tenant).unwrap_or(usize::MAX);
        if self.by_end.len() > most { first.map(|(_, of)| of.clone()) } else { None }
    }
}

impl TenantFacts {
    /// A resource, in place of what was known of it; if it was read, others that were may be forgotten for it.
    pub(crate) fn set_resource(&mut self, resource: Resource) {
        let (of, known) = (resource.at.clone(), resource.known.clone());
        self.put_resource(resource);
        let Known::Observed { at, retention: Some(retention), source: _ } = known else { return };
        while let Some(next) = self.observed.next_to_forget(&of, at, retention) {
            // Its tuples stay: somebody else told them.
            if self.remove_resource(&next).is_none() {
                break;
            }
        }
    }
    /// The same, and nothing is forgotten for it.
    pub(crate) fn put_resource(&mut self, resource: Resource) {
        self.remove_resource(&resource.at);
        self.observed.insert(&resource);
        self.resources.insert(resource.at.clone(), std::sync::Arc::new(resource));
    }
    pub(crate) fn remove_resource(&mut self, at: &ResourceRef) -> Option<()> {
        let resource = self.resources.remove(at)?;
        self.personal.forget(at);
        self.observed.remove(&resource);
        Some(())
    }
    /// How many resources are remembered that were read, and are forgotten again.
    #[must_use]
    pub fn observed_count(&self) -> usize {
        self.observed.by_end.len()
    }
}
