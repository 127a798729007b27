//! Which attributes of resources were sealed when they were recorded, whose they are, and which of them are erased.
//!
//! A decision reads an attribute as any other, or doesn't find it; what is kept here is for erasing somebody in what is
//! live, and for telling readers that there was something.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use placet_core::{HumanId, Name, ResourceRef, TenantId};
use placet_json::{Object, Value, object};

use crate::{
    Change, ChangeError, DirectoryRecord, RecordKind, TenantFacts, Transaction, World, directory, noun,
    read::Fields,
};

/// An attribute that was sealed when it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealedFact {
    /// These subjects', by name.
    Of(Vec<Arc<str>>),
    /// Erased: the resource doesn't have it any more.
    Erased,
}

/// The sealed attributes of a tenant's resources.
#[derive(Debug, Clone, Default)]
pub(crate) struct Personal {
    of: OrdMap<ResourceRef, OrdMap<Name, SealedFact>>,
    /// Where each subject's attributes are, so that erasing one looks at nobody else's.
    subjects: OrdMap<Arc<str>, OrdSet<(ResourceRef, Name)>>,
}

impl Personal {
    /// The resource is told anew, or gone: what was sealed of it is no more.
    pub(crate) fn forget(&mut self, at: &ResourceRef) {
        let Some(attributes) = (!self.of.is_empty()).then(|| self.of.remove(at)).flatten() else { return };
        for (name, sealed) in attributes {
            self.unlink(at, &name, &sealed);
        }
    }
    fn unlink(&mut self, at: &ResourceRef, name: &Name, sealed: &SealedFact) {
        let SealedFact::Of(subjects) = sealed else { return };
        for subject in subjects {
            if let Some(places) = self.subjects.get_mut(subject) {
                places.remove(&(at.clone(), name.clone()));
                if places.is_empty() {
                    self.subjects.remove(subject);
                }
            }
        }
    }
    fn put(&mut self, at: &ResourceRef, name: &Name, sealed: &SealedFact) {
        if let Some(former) = self.of.get(at).and_then(|attributes| attributes.get(name)).cloned() {
            self.unlink(at, name, &former);
        }
        if let SealedFact::Of(subjects) = sealed {
            for subject in subjects {
                self.subjects.entry(Arc::clone(subject)).or_default().insert((at.clone(), name.clone()));
            }
        }
        self.of.entry(at.clone()).or_default().insert(name.clone(), sealed.clone());
    }

    /// As documents; [`take`] reads them back.
    pub(crate) fn documents(&self) -> impl Iterator<Item = Value> + '_ {
        self.of.iter().map(|(at, attributes)| {
            let attributes: Object = attributes
                .iter()
                .map(|(name, sealed)| {
                    let of = match sealed {
                        SealedFact::Erased => Value::Null,
                        SealedFact::Of(subjects) => {
                            Value::Array(subjects.iter().map(|subject| Value::from(&**subject)).collect())
                        }
                    };
                    (name.as_str().to_owned(), of)
                })
                .collect();
            object! { "resource" => noun::resource_ref_value(at), "attributes" => attributes }.into()
        })
    }
}

/// Takes back one of [`Personal::documents`].
pub(crate) fn take(personal: &mut Personal, body: &Value, path: &str) -> Result<(), ChangeError> {
    let mut fields = Fields::open(body, path)?;
    let at = noun::resource_ref(fields.required("resource")?, path)?;
    let wrong = || ChangeError::malformed(path, "has no sealed attributes", "");
    for (name, of) in fields.required("attributes")?.as_object().ok_or_else(wrong)? {
        let name = Name::new(name).map_err(|_| wrong())?;
        let sealed = match of {
            Value::Null => SealedFact::Erased,
            Value::Array(subjects) => SealedFact::Of(
                subjects
                    .iter()
                    .map(|it| it.as_str().map(Arc::from))
                    .collect::<Option<_>>()
                    .ok_or_else(wrong)?,
            ),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => return Err(wrong()),
        };
        personal.put(&at, &name, &sealed);
    }
    Ok(())
}

impl TenantFacts {
    /// The attributes of a resource that were erased, by name.
    pub fn erased(&self, at: &ResourceRef) -> impl Iterator<Item = &Name> {
        let attributes = self.personal.of.get(at).into_iter().flatten();
        attributes.filter(|(_, sealed)| **sealed == SealedFact::Erased).map(|(name, _)| name)
    }
    /// Whether an attribute of any resource was erased.
    #[must_use]
    pub fn has_erased(&self) -> bool {
        self.personal.of.values().flatten().any(|(_, sealed)| *sealed == SealedFact::Erased)
    }
}

impl World {
    /// The same world, which remembers that these attributes of a tenant's resources are sealed. Revisions stay.
    #[must_use]
    pub fn sealed(&self, tenant: &TenantId, places: Vec<(ResourceRef, Name, SealedFact)>) -> Self {
        let Some(facts) = self.tenant(tenant).filter(|_| !places.is_empty()) else { return self.clone() };
        let mut facts = TenantFacts::clone(facts);
        for (at, name, sealed) in places {
            facts.personal.put(&at, &name, &sealed);
        }
        self.with(facts)
    }

    /// The world without what is a subject's: its sealed attributes in this tenant, or in all where none is named; and
    /// of a person what identity feeds keep of them. Revisions stay.
    #[must_use]
    pub fn erase(&self, subject: &str, tenant: Option<&TenantId>, human: Option<&HumanId>) -> Self {
        let mut next = self.clone();
        for facts in self.tenants().filter(|facts| tenant.is_none_or(|tenant| tenant == facts.id())) {
            let Some(places) = facts.personal.subjects.get(subject) else { continue };
            let mut facts = TenantFacts::clone(facts);
            for (at, name) in places {
                if let Some(resource) = facts.resources.get_mut(at) {
                    Arc::make_mut(resource).attributes.remove(name);
                }
                facts.personal.put(at, name, &SealedFact::Erased);
            }
            next = next.with(facts);
        }
        if let Some(record) = human.and_then(|human| self.organisation().record_of_human(human)) {
            for group in self.organisation().groups_of(&record.feed, record.id.as_str()) {
                next = next.with_record(&unnamed(group, &record.id));
            }
            next = next.with_record(&erased(record));
        }
        next
    }

    fn with_record(&self, record: &DirectoryRecord) -> Self {
        let (org, tenants) = self.parts();
        let mut org = org.clone();
        directory::put(&mut org, record);
        Self::of_parts(org, tenants.clone())
    }
}

/// The attribute of a resource at `/transaction/changes/N/resource_set/attributes/NAME` of a transaction's record.
#[must_use]
pub fn attribute_at(transaction: &Transaction, pointer: &str) -> Option<(ResourceRef, Name)> {
    let (i, rest) = pointer.strip_prefix("/transaction/changes/")?.split_once('/')?;
    let name = rest.strip_prefix("resource_set/attributes/")?.replace("~1", "/").replace("~0", "~");
    let Change::ResourceSet(resource) = transaction.changes.get(i.parse::<usize>().ok()?)? else {
        return None;
    };
    Some((resource.at.clone(), Name::new(&name).ok()?))
}

/// What stands for a user's key where that is sealed: one that no other record has.
#[must_use]
pub fn sealed_key(id: &Name) -> String {
    format!("sealed:{id}")
}

/// A group in which a user is only a number.
fn unnamed(group: &DirectoryRecord, user: &Name) -> DirectoryRecord {
    let mut group = group.clone();
    let members = group.document.get_mut("members").and_then(Value::as_array_mut);
    for member in members.into_iter().flatten() {
        if member.get("value").and_then(Value::as_str) == Some(user.as_str())
            && let Some(member) = member.as_object_mut()
        {
            member.remove("display");
        }
    }
    group
}

/// A record as it reads when its key and document don't open.
fn erased(record: &DirectoryRecord) -> DirectoryRecord {
    debug_assert_eq!(record.kind, RecordKind::User, "groups are nobody's");
    DirectoryRecord { key: sealed_key(&record.id), document: Value::Object(Object::new()), ..record.clone() }
}
