//! What a principal may do. An operator does everything but approve; a person acts in their own name, in tenants where
//! they have a live assignment. The signature proves who it is, never what they may.

use placet_core::{Assignment, HumanId, TenantId, Timestamp};
use placet_facts::{TenantFacts, World};

use super::{door::Principal, error::ApiError};

/// Only an operator.
pub(super) fn operator(principal: &Principal) -> Result<(), ApiError> {
    match principal {
        Principal::Operator => Ok(()),
        Principal::Human(_) => Err(ApiError::forbidden("only an operator may do this", "ask an operator")),
    }
}

/// An operator, or a person for themselves.
pub(super) fn for_oneself(principal: &Principal, whom: &HumanId) -> Result<(), ApiError> {
    match principal {
        Principal::Operator => Ok(()),
        Principal::Human(id) if id == whom => Ok(()),
        Principal::Human(_) => Err(ApiError::forbidden(
            "a person acts in their own name only",
            "act as that person, or ask an operator",
        )),
    }
}

/// An operator, or a person with a live assignment in the tenant. A tenant that isn't there and one that is another's
/// look alike to a person.
pub(super) fn inside<'w>(
    principal: &Principal,
    world: &'w World,
    tenant: &TenantId,
    now: Timestamp,
) -> Result<&'w TenantFacts, ApiError> {
    let facts = world.tenant(tenant).map(|facts| &**facts);
    let unknown = || ApiError::missing(format_args!("tenant `{tenant}` here"));
    match principal {
        Principal::Operator => facts.ok_or_else(unknown),
        Principal::Human(id) => {
            facts.filter(|facts| live_assignment(facts, id, now).is_some()).ok_or_else(unknown)
        }
    }
}

/// A person's assignment, if it lives.
pub(super) fn live_assignment<'f>(
    facts: &'f TenantFacts,
    human: &HumanId,
    now: Timestamp,
) -> Option<&'f Assignment> {
    facts.assignment(human).filter(|assignment| assignment.until.lives(now))
}
