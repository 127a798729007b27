//! A feed: whose people it brings, and what its groups mean here.

use placet_core::{HumanId, Name, ResourceRef, TenantId};

/// One identity provider's SCIM feed, as the settings describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feed {
    /// Its name; its records are kept under it.
    pub name: Name,
    /// The one tenant that it may speak for; none for the organisation's own provider.
    pub tenant: Option<TenantId>,
    /// The tenant that its people belong to.
    pub home: TenantId,
    /// What becomes a person's id here.
    pub human_id: HumanIdFrom,
    /// What its groups mean.
    pub groups: Vec<GroupRule>,
}

/// Which of a user's attributes names the person here, from their first appearance on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HumanIdFrom {
    /// `userName`, as it is spelled.
    UserName,
    /// `externalId`.
    ExternalId,
    /// The record's own id.
    Id,
}

/// What membership in a group of a feed gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRule {
    /// The group's `displayName`, as it is spelled.
    pub name: String,
    /// In this tenant
    pub tenant: TenantId,
    /// this role,
    pub role: Option<Name>,
    /// or this relation on this object, by a tuple whose subject is `user:HUMAN`.
    pub tuple: Option<(ResourceRef, Name)>,
}

impl Feed {
    /// Who makes its transactions.
    pub(crate) fn author(&self) -> Option<Name> {
        Name::new(&format!("scim:{}", self.name)).ok()
    }
    /// Whether a person who isn't the feed's yet may become so: a tenant's provider doesn't get at other tenants' people.
    pub(crate) fn may_adopt(&self, home: &TenantId) -> bool {
        self.tenant.as_ref().is_none_or(|tenant| tenant == home)
    }
    /// The id of a new person.
    pub(crate) fn human_id(
        &self,
        user_name: &str,
        external: Option<&str>,
        id: &str,
    ) -> Result<HumanId, String> {
        let (from, text) = match self.human_id {
            HumanIdFrom::UserName => ("userName", user_name),
            HumanIdFrom::ExternalId => {
                ("externalId", external.ok_or("`externalId` is missing, and names the person here")?)
            }
            HumanIdFrom::Id => ("id", id),
        };
        HumanId::new(text).map_err(|error| format!("`{from}` names the person here, and can't: {error}"))
    }
}
