//! What a connection, session or process belongs to.

use placet_core::{Name, TenantId};

/// The one tenant and credential that a connection, session or process is for. Nothing is ever shared between two.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Partition {
    /// The organisation's own: reading tool lists.
    Service,
    /// Calls of one tenant with one credential.
    Tenant {
        /// The tenant.
        tenant: TenantId,
        /// Names the credential as far as the upstream can tell its holders apart (a vault secret and its version, or
        /// the subject of call tokens); never the credential itself.
        credential: Name,
    },
}
