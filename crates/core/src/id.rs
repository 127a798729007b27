//! Identifiers. One alphabet for all of them, case-sensitive, nothing folded to fit; a tenant's ids carry the
//! tenant and their kind, so that a workflow of one tenant never equals a resource, or anything of another.

use std::{borrow::Borrow, fmt, hash::Hash, marker::PhantomData, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest identifier in bytes.
pub const MAX_NAME: usize = 128;

/// A name of 1 to [`MAX_NAME`] characters of `[A-Za-z0-9._:@|/-]`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

/// Why a text is no [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, where a name is needed.
    #[error("an identifier can't be empty")]
    Empty,
    /// Over [`MAX_NAME`] bytes.
    #[error("an identifier has at most {MAX_NAME} characters, this one has {0}")]
    Long(usize),
    /// A character outside the alphabet, with its byte offset.
    #[error(
        "an identifier is made of `A-Z a-z 0-9 . _ : @ | / -`; the character at offset {0} is not one of these"
    )]
    Alphabet(usize),
}

impl Name {
    /// Parses `text`; nothing is trimmed, folded or normalised.
    pub fn new(text: &str) -> Result<Self, NameError> {
        check(text)?;
        Ok(Self(Arc::from(text)))
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > MAX_NAME {
        return Err(NameError::Long(text.len()));
    }
    match text.bytes().position(|b| !(b.is_ascii_alphanumeric() || b"._:@|/-".contains(&b))) {
        Some(at) => Err(NameError::Alphabet(at)),
        None => Ok(()),
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}
impl std::str::FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}
impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}
impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}
impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

macro_rules! organisation_id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Name);

        impl $name {
            /// Parses an identifier of this kind; see [`Name::new`].
            pub fn new(text: &str) -> Result<Self, NameError> { Name::new(text).map(Self) }
            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str { self.0.as_str() }
            /// The name without its kind.
            #[must_use]
            pub fn name(&self) -> &Name { &self.0 }
        }
        impl From<Name> for $name { fn from(name: Name) -> Self { Self(name) } }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.as_str()) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.as_str())
            }
        }
        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> { Self::new(text) }
        }
        impl Borrow<str> for $name { fn borrow(&self) -> &str { self.as_str() } }
    )*};
}

organisation_id! {
    /// A data boundary inside the organisation that nothing crosses.
    TenantId;
    /// A person of the organisation.
    HumanId;
    /// An agent of the organisation; its OAuth `client_id`.
    AgentId;
    /// A decision, as agents, approvers and auditors name it: `dc_` and 26 random characters.
    DecisionId;
}

/// The kinds of tenant-scoped identifiers.
pub mod kind {
    /// Names a kind in messages.
    pub trait Kind {
        /// The kind's name in messages.
        const NAME: &'static str;
    }
    macro_rules! kinds { ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $name {}
        impl Kind for $name { const NAME: &'static str = $text; }
    )*}; }
    kinds! {
        /// A workflow.
        Workflow = "workflow";
        /// A delegation.
        Delegation = "delegation";
        /// An approval.
        Approval = "approval";
    }
}

/// An identifier that belongs to one tenant and is of one kind.
pub struct Id<K> {
    tenant: TenantId,
    local: Name,
    kind: PhantomData<fn() -> K>,
}

/// A workflow's identifier.
pub type WorkflowId = Id<kind::Workflow>;
/// A delegation's identifier.
pub type DelegationId = Id<kind::Delegation>;
/// An approval's identifier.
pub type ApprovalId = Id<kind::Approval>;

impl<K> Id<K> {
    /// The identifier `local` of `tenant`.
    #[must_use]
    pub fn new(tenant: TenantId, local: Name) -> Self {
        Self { tenant, local, kind: PhantomData }
    }
    /// The tenant that it belongs to.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    /// The name inside the tenant.
    #[must_use]
    pub fn local(&self) -> &Name {
        &self.local
    }
}
impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        Self { tenant: self.tenant.clone(), local: self.local.clone(), kind: PhantomData }
    }
}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.tenant == other.tenant && self.local == other.local
    }
}
impl<K> Eq for Id<K> {}
impl<K> Hash for Id<K> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.tenant.hash(state);
        self.local.hash(state);
    }
}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (&self.tenant, &self.local).cmp(&(&other.tenant, &other.local))
    }
}
impl<K: kind::Kind> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({} of {})", K::NAME, self.local, self.tenant)
    }
}
impl<K> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.local.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arg_4_ids_have_one_alphabet_and_nothing_is_folded() {
        for bad in [
            "",
            "CASE-1\u{ff18}37",
            "CASE\u{200b}-1",
            "e\u{301}",
            "CASE-1 ",
            " CASE-1",
            "a\u{202e}b",
            "a\nb",
            "a\0",
            "é",
        ] {
            assert!(Name::new(bad).is_err(), "{bad:?} was taken");
        }
        assert!(Name::new(&"a".repeat(MAX_NAME)).is_ok());
        assert_eq!(Name::new(&"a".repeat(MAX_NAME + 1)), Err(NameError::Long(129)));
        assert_ne!(Name::new("CASE-1").unwrap(), Name::new("case-1").unwrap());
    }

    #[test]
    fn ten_1_ids_of_two_tenants_differ() {
        let of = |tenant: &str| WorkflowId::new(TenantId::new(tenant).unwrap(), Name::new("wf-9").unwrap());
        assert_eq!(of("acme"), of("acme"));
        assert_ne!(of("acme"), of("globex"));
    }
}
