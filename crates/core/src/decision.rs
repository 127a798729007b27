//! What a decision says, and what it rests on.

use std::fmt;

use placet_json::Canonical;

use crate::{ApprovalId, Claims, Digest, FactsView, Freshness, Name, Revision, Timestamp};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal;)*) => {
        /// The platform's own reason codes: a closed list. A release adds its own in `reasons.toml`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $($(#[$doc])* $variant,)* }
        impl Code {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
            /// As it is written.
            #[must_use]
            pub fn as_str(self) -> &'static str { match self { $(Self::$variant => $text,)* } }
        }
    };
}

codes! {
    /// The whole organisation, the tenant, the tool, the upstream or an agent of the chain is frozen.
    Frozen = "frozen";
    /// Facts are older than their source's bound.
    FactsStale = "facts_stale";
    /// The agent isn't known, or its key isn't.
    AgentUnknown = "agent_unknown";
    /// An agent of the chain may not act.
    AgentInactive = "agent_inactive";
    /// The delegation isn't known, or isn't this agent's for this person in this workflow.
    DelegationUnknown = "delegation_unknown";
    /// A delegation of the chain was revoked.
    DelegationRevoked = "delegation_revoked";
    /// A delegation of the chain has ended.
    DelegationExpired = "delegation_expired";
    /// The chain of delegations is forged, widened or too long.
    ChainInvalid = "chain_invalid";
    /// The delegating person may not act.
    DelegatingUserInactive = "delegating_user_inactive";
    /// The delegating person has no live assignment in the workflow's tenant.
    TenantMismatch = "tenant_mismatch";
    /// There is no such workflow.
    WorkflowUnknown = "workflow_unknown";
    /// The workflow is closed.
    WorkflowClosed = "workflow_closed";
    /// The workflow's time is over.
    WorkflowExpired = "workflow_expired";
    /// The release has no such workflow type, or it doesn't admit this agent.
    WorkflowTypeRefused = "workflow_type_refused";
    /// The intent isn't among those of workflow, type and delegation, or none was named where several are possible.
    IntentNotDeclared = "intent_not_declared";
    /// The delegation doesn't cover the action.
    ActionNotDelegated = "action_not_delegated";
    /// An attribute is over the delegation's limit.
    DelegationLimit = "delegation_limit";
    /// There is no such resource here.
    ResourceUnknown = "resource_unknown";
    /// The resource isn't the one that the workflow is about.
    ResourceOutsideWorkflow = "resource_outside_workflow";
    /// There is no such tool here.
    ToolUnknown = "tool_unknown";
    /// The tool's definition isn't one that was reviewed.
    ToolChanged = "tool_changed";
    /// An argument is missing, unknown, of another type or out of range.
    ArgumentInvalid = "argument_invalid";
    /// An argument that the gateway filled no longer holds.
    BindingChanged = "binding_changed";
    /// The policy input breaks its schema.
    InputInvalid = "input_invalid";
    /// The release changed while the call was on its way.
    ReleaseChanged = "release_changed";
    /// No release is in force.
    NoRelease = "no_release";
    /// A policy engine failed; which policy and how stands in the operator's text.
    EngineFault = "engine_fault";
    /// A bound of the evaluation was reached.
    Limit = "limit";
    /// No rule allows it.
    NoRuleAllows = "no_rule_allows";
    /// A rule's condition doesn't hold.
    ConditionFailed = "condition_failed";
    /// A policy forbids it.
    PolicyDenies = "policy_denies";
    /// The message isn't one of the protocol's, or its headers and body disagree.
    MessageInvalid = "message_invalid";
    /// The method isn't governed here, so it is refused.
    MethodRefused = "method_refused";
    /// The token's time is over.
    TokenExpired = "token_expired";
    /// The proof of possession was seen before.
    ProofReplayed = "proof_replayed";
    /// The proof of possession isn't one for this token, this request and this moment.
    ProofInvalid = "proof_invalid";
    /// What the decision rested on kept moving; try again.
    Contended = "contended";
    /// The tool's upstream failed again and again, and is left alone for a while; nothing was decided or charged.
    UpstreamUnavailable = "upstream_unavailable";
    /// It is over a budget of the workflow, the person, the agent, the tool or the tenant.
    BudgetExceeded = "budget_exceeded";
    /// The agent calls the tool more often than its rate admits.
    RateLimited = "rate_limited";
    /// The same call was permitted a moment ago.
    DuplicateEffect = "duplicate_effect";
    /// As many calls of the agent and the tool are under way as may be at once.
    ConcurrencyLimit = "concurrency_limit";
    /// The wall clock is behind the ledger.
    ClockBehind = "clock_behind";
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// A platform code ([`Code`]) or one of the release's.
    pub code: String,
    /// For the agent: nothing about what it may not see.
    pub public: String,
    /// For operators and auditors.
    pub operator: String,
    /// The policy that said so; empty for the platform itself.
    pub policy: String,
    /// `file:line` in the release; empty for the platform itself.
    pub at: String,
}

impl Reason {
    /// A reason of the platform.
    pub fn platform(code: Code, public: impl Into<String>, operator: impl Into<String>) -> Self {
        Self {
            code: code.as_str().to_owned(),
            public: public.into(),
            operator: operator.into(),
            policy: String::new(),
            at: String::new(),
        }
    }
}

/// What would make the same call allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remedy {
    /// The approval's name in the input (`manager_approval`).
    pub approval: Name,
    /// The role that may give it, or whose turn it is in a chain.
    pub role: Name,
    /// What the approval must cover.
    pub covers: Digest,
    /// The roles of all its steps, in their order; one where it isn't a chain.
    pub steps: Vec<Name>,
    /// How many of the steps stand already.
    pub given: usize,
}

/// A duty that comes with a permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obligation {
    /// Its name.
    pub name: Name,
}

/// One or more reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reasons(Vec<Reason>);

impl Reasons {
    /// A first reason and the rest.
    #[must_use]
    pub fn new(first: Reason, rest: Vec<Reason>) -> Self {
        let mut all = Vec::with_capacity(rest.len().saturating_add(1));
        all.push(first);
        all.extend(rest);
        Self(all)
    }
    /// The first, which the agent is told.
    #[must_use]
    pub fn first(&self) -> &Reason {
        static NONE: std::sync::OnceLock<Reason> = std::sync::OnceLock::new();
        match self.0.first() {
            Some(first) => first,
            None => NONE.get_or_init(|| Reason::platform(Code::EngineFault, "denied", "no reason")),
        }
    }
    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Reason] {
        &self.0
    }
}

impl From<Reason> for Reasons {
    fn from(reason: Reason) -> Self {
        Self(vec![reason])
    }
}

/// A rule that decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Determining {
    /// The policy: a Rego package or a Cedar policy's id.
    pub policy: String,
    /// `file:line` in the release.
    pub at: String,
}

/// What the policy of a release says to a call.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Yes.
    Allow {
        /// The rules that permitted.
        determining: Vec<Determining>,
        /// Duties that come with it.
        obligations: Vec<Obligation>,
        /// The approvals that it used, to be spent with the decision.
        spends: Vec<ApprovalId>,
    },
    /// No.
    Deny {
        /// Why.
        reasons: Reasons,
        /// The denies that fired.
        determining: Vec<Determining>,
        /// What would make it a yes.
        remedy: Option<Remedy>,
    },
}

/// An evaluated call: the verdict and all that it depended on.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// The verdict.
    pub verdict: Verdict,
    /// The policy input, where it came to one.
    pub input: Option<Canonical>,
    /// The labels' position that the input was built on ([`crate::FlowState::labels_at`]).
    pub labels_at: u64,
    /// The totals' position, if the release's policies read totals; see [`Moving`].
    pub totals: Moving,
    /// What must still hold of budgets and limits when the permit's entry is written.
    pub claims: Claims,
    /// For a permit that rests on a waiver: the denial that it passed over.
    pub passed_over: Option<crate::PassedOver>,
}

/// Whether the verdict depends on the workflow's totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moving {
    /// It doesn't: permits beside it change nothing.
    Independent,
    /// It does: a permit recorded after this position means deciding again.
    Since(u64),
}

/// What decides: the form of the platform's own checks, and the versions of the engines. It stands in each decision's
/// record, so that a replay that differs can say whether other engines decided then. Raised when a golden ledger no longer
/// replays the same.
pub const ENGINE: &str = "placet/1 regorus/0.14.1 cedar/4.14.1";

/// What a decision rests on: enough to make it again.
#[derive(Debug, Clone)]
pub struct Basis {
    /// The release in force.
    pub release: Digest,
    /// The facts' revision.
    pub revision: Revision,
    /// How old the facts were.
    pub freshness: Freshness,
    /// The moment that it was decided for.
    pub now: Timestamp,
    /// SHA-256 of the canonical policy input; of nothing, where it didn't come to one.
    pub input: Digest,
}

impl Basis {
    /// What a decision of `release` on `facts` rests on, made for `now` of `input`.
    #[must_use]
    pub fn of(release: Digest, facts: &dyn FactsView, now: Timestamp, input: &[u8]) -> Self {
        let freshness = facts.freshness(now);
        Self { release, revision: facts.revision(), freshness, now, input: Digest::of(input) }
    }
}

/// An engine's failure. Always a denial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineFault {
    /// [`Code::EngineFault`], [`Code::Limit`] or [`Code::ReleaseChanged`].
    pub code: Code,
    /// What failed, for operators.
    pub operator: String,
}

impl fmt::Display for EngineFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.operator)
    }
}
