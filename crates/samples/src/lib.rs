//! Three small MCP servers to govern, and a scripted client that plays an agent.
//!
//! CRM, billing and chat are what a support desk has: two tenants, customers, cases, money and a channel that
//! everybody reads. Each keeps its data in its own SQLite file, so that what a demonstration claims can be
//! compared with what the tools themselves say ([`state`]). They are deliberately trusting, as such tools are:
//! billing pays what it is asked to pay, as often as it is asked; one ticket of the CRM carries an injected
//! instruction; the CRM's search index lists a customer of another tenant.
//!
//! A fourth one, the case [`desk`], is an HTTP API and no MCP server.
//!
//! The protocol comes from `rmcp` on both sides, never from Placet's own implementation: a gateway that
//! misreads MCP must not be tested with its own misreading.

mod billing;
mod chat;
pub mod client;
mod control;
mod crm;
mod database;
pub mod desk;
pub mod scenario;
mod server;
pub mod state;
mod tool;

pub use control::Control;
pub use database::{Error, seed};
pub use server::Sample;

/// Which of the sample servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Customers and their cases, of two tenants.
    Crm,
    /// Accounts and refunds.
    Billing,
    /// Channels that people read.
    Chat,
}

impl Kind {
    /// All of them, in the order of a call's way through them.
    pub const ALL: [Self; 3] = [Self::Crm, Self::Billing, Self::Chat];

    /// Its short name, also that of its server: `crm`, `billing` or `chat`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crm => "crm",
            Self::Billing => "billing",
            Self::Chat => "chat",
        }
    }

    /// The sample of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}
