//! A waiver: for a while, what policy alone would refuse to one agent goes out all the same, and says so.

use crate::{AgentId, EffectClass, HumanId, Name, Reason, TenantId, Timestamp};

/// The longest life of a permission to observe: 14 days, in milliseconds.
pub const MAX_OBSERVE: u64 = 14 * 86_400_000;
/// The longest life of an exception: 30 days, in milliseconds.
pub const MAX_EXCEPTION: u64 = 30 * 86_400_000;

/// What a waiver is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaiverKind {
    /// To see what an agent does before policy is enforced on it: an upstream's reads, or its writes.
    Observe,
    /// To let one tool be used that policy doesn't allow.
    Exception,
}

impl WaiverKind {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Exception => "exception",
        }
    }
    /// The obligation of a permit that rests on one.
    #[must_use]
    pub fn obligation(self) -> &'static str {
        match self {
            Self::Observe => "observed",
            Self::Exception => "excepted",
        }
    }
    /// The longest life of one, in milliseconds.
    #[must_use]
    pub fn longest(self) -> u64 {
        match self {
            Self::Observe => MAX_OBSERVE,
            Self::Exception => MAX_EXCEPTION,
        }
    }
    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Observe, Self::Exception].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A waiver as facts know it. It holds once a second person has confirmed it, until it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiver {
    /// Its identifier.
    pub id: Name,
    /// What it is for.
    pub kind: WaiverKind,
    /// The acting agent.
    pub agent: AgentId,
    /// The upstream whose tools it covers.
    pub upstream: Name,
    /// The one tool, by its catalog name; an exception names one, a permission to observe none.
    pub tool: Option<Name>,
    /// The effect class that it covers; of a permission to observe never destructive.
    pub effect: EffectClass,
    /// The one tenant; none: all of them.
    pub tenant: Option<TenantId>,
    /// Who asked for it and answers for it.
    pub owner: HumanId,
    /// Who confirmed it; never the owner. None: it doesn't hold yet.
    pub second: Option<HumanId>,
    /// Since when.
    pub since: Timestamp,
    /// Its end.
    pub ends: Timestamp,
    /// Why.
    pub reason: String,
}

impl Waiver {
    /// What is wrong with it in itself: a word of what, and a sentence.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if self.ends <= self.since {
            return Err(("ends", "is not after its beginning"));
        }
        if self.ends.since(self.since) > self.kind.longest() {
            return Err(("ends", "is too far away: 14 days to observe, 30 for an exception"));
        }
        if self.reason.trim().is_empty() {
            return Err(("reason", "is empty"));
        }
        if self.second.as_ref() == Some(&self.owner) {
            return Err(("second", "is its owner: it takes two people"));
        }
        match (self.kind, &self.tool, self.effect) {
            (WaiverKind::Observe, None, EffectClass::Read | EffectClass::Write)
            | (WaiverKind::Exception, Some(_), _) => Ok(()),
            (WaiverKind::Observe, _, EffectClass::Destructive) => {
                Err(("effect", "is destructive, which is never observed"))
            }
            (WaiverKind::Observe, Some(_), _) => {
                Err(("tool", "is for an exception; to observe is of an upstream"))
            }
            (WaiverKind::Exception, None, _) => Err(("tool", "is missing: an exception is of one tool")),
        }
    }

    /// Whether it holds at a moment: two people stand behind it, and its time isn't over.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        self.check().is_ok() && self.second.is_some() && self.since <= now && now < self.ends
    }

    /// Whether it is of such a tool: its upstream, its catalog name, its effect.
    #[must_use]
    pub fn covers(
        &self,
        agent: &AgentId,
        tenant: &TenantId,
        (upstream, tool, effect): (&Name, &Name, EffectClass),
    ) -> bool {
        self.agent == *agent
            && self.upstream == *upstream
            && self.tool.as_ref().is_none_or(|own| own == tool)
            && self.effect == effect
            && self.tenant.as_ref().is_none_or(|own| own == tenant)
    }
}

/// What a permit passed over: the denial that it would have been, and by which waiver it isn't.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// Which kind of waiver.
    pub kind: WaiverKind,
    /// The reasons of the denial, the first one first.
    pub reasons: Vec<Reason>,
}
