//! A permitted call, as its token tells it.

use placet_jose::{Verified, tokens::CallToken};

/// One call that a gateway permitted. Made only by [`Verifier::verify`](crate::Verifier::verify).
#[derive(Debug)]
pub struct Call(Verified<CallToken>);

impl Call {
    pub(crate) fn new(token: Verified<CallToken>) -> Self {
        Self(token)
    }

    /// The person for whom the call is made (`sub`).
    #[must_use]
    pub fn human(&self) -> &str {
        &self.0.claims().sub
    }

    /// The agent that makes it: the outermost `act`.
    #[must_use]
    pub fn agent(&self) -> &str {
        self.0.claims().act.current()
    }

    /// All agents in the order of delegation: the person's own first, the one that calls last.
    pub fn agents(&self) -> impl Iterator<Item = &str> {
        self.0.claims().act.by_delegation()
    }

    /// The tenant.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.0.claims().detail.tenant
    }

    /// What was permitted, as the gateway's catalog names it.
    #[must_use]
    pub fn action(&self) -> &str {
        &self.0.claims().detail.action
    }

    /// Type and id of the resource, if the action has one.
    #[must_use]
    pub fn resource(&self) -> Option<(&str, &str)> {
        self.0
            .claims()
            .detail
            .resource
            .as_ref()
            .map(|resource| (resource.kind.as_str(), resource.id.as_str()))
    }

    /// The amount as a plain decimal, if the action has one.
    #[must_use]
    pub fn amount(&self) -> Option<&str> {
        self.0.claims().detail.amount.as_deref()
    }

    /// The gateway's decision (`txn`): by it both sides' records meet.
    #[must_use]
    pub fn decision(&self) -> &str {
        &self.0.claims().txn
    }

    /// The token's own identifier (`jti`), used once.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.claims().jti
    }

    /// Until when it was good, in seconds since the Unix epoch.
    #[must_use]
    pub fn expires_at(&self) -> u64 {
        self.0.expires_at()
    }

    /// Everything that the token says.
    #[must_use]
    pub fn token(&self) -> &CallToken {
        self.0.claims()
    }
}
