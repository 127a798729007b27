//! One change of facts, and its JSON form: an object with one member that is named after the change.

use placet_core::{
    Agent, AgentId, Approval, ApprovalId, Assignment, Decimal, Delegation, DelegationId, Freeze, Human,
    HumanId, Name, Resource, ResourceRef, Risky, Standing, TenantId, Tuple, Waiver, Workflow, WorkflowId,
};
use placet_json::{Value, object};

use crate::{
    ChangeError, ConsentChange, DirectoryRecord, Ending, EnrolmentOffer, Place, RecordKind, SessionChange,
    WorkflowMove, directory, ending, noun, parse_tuple, read::Fields, tuple_text,
};

/// A change of the organisation's facts or of one tenant's, never of both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Organisation: there is a new tenant, without any facts.
    TenantCreated(TenantId),
    /// Organisation: a person, new or in place of what was known.
    HumanSet(Human),
    /// Organisation: a person may act, or may not.
    HumanStanding {
        /// Who.
        human: HumanId,
        /// What holds from now on.
        standing: Standing,
    },
    /// Organisation: an agent that wasn't there before.
    AgentEnrolled(Agent),
    /// Organisation: an agent, in place of what was known.
    AgentSet(Agent),
    /// Organisation: an agent may act, or may not.
    AgentStanding {
        /// Which.
        agent: AgentId,
        /// What holds from now on.
        standing: Standing,
    },
    /// Organisation: one more public key of an agent.
    AgentKeyAdded {
        /// Which.
        agent: AgentId,
        /// RFC 7638 thumbprint.
        thumbprint: String,
        /// The JWK.
        key: Value,
    },
    /// Organisation: a key that no longer speaks for the agent.
    AgentKeyRemoved {
        /// Which.
        agent: AgentId,
        /// RFC 7638 thumbprint.
        thumbprint: String,
    },
    /// Organisation: a person's authority ends, and what hangs on them in every tenant.
    HumanEnded {
        /// Who.
        human: HumanId,
        /// How much of it.
        ending: Ending,
    },
    /// Organisation: the standing that a feed has taken is given back, and nothing else. It stands before the record
    /// that says so.
    HumanReturned(HumanId),
    /// Organisation: what an identity feed keeps of somebody, new or the next version.
    DirectorySet(DirectoryRecord),
    /// Organisation: an identity feed keeps this no more.
    DirectoryRemoved {
        /// Which feed.
        feed: Name,
        /// A user or a group.
        kind: RecordKind,
        /// Its id there.
        id: Name,
    },
    /// Organisation: a code by which an agent may bring a key, once.
    EnrolmentOffered(EnrolmentOffer),
    /// Organisation: that code is used up; it stands beside the key that came with it.
    EnrolmentTaken {
        /// The code's hash.
        code: Name,
        /// Whose it was.
        agent: AgentId,
    },
    /// Organisation: somebody has signed in, or a session is over.
    Session(SessionChange),
    /// Organisation, of an agent or a person; tenant, of a workflow: a risk, in place of the former.
    RiskSet {
        /// Whose.
        of: Risky,
        /// How much; not below 0.
        risk: Decimal,
    },
    /// Organisation: a stop.
    Frozen(Freeze),
    /// Organisation: the end of a stop.
    Unfrozen(Freeze),
    /// Organisation: somebody asks for a waiver; it doesn't hold yet.
    WaiverAsked(Waiver),
    /// Organisation: a second person confirms a waiver.
    WaiverConfirmed {
        /// Which.
        id: Name,
        /// Who.
        by: HumanId,
    },
    /// Organisation: a waiver is over.
    WaiverEnded(Name),
    /// Tenant: a person's roles, new or in place of the former.
    AssignmentSet(Assignment),
    /// Tenant: a person has no roles any more.
    AssignmentRemoved(HumanId),
    /// Tenant: a new workflow, open.
    WorkflowOpened(Workflow),
    /// Tenant: an open workflow is in another named state.
    WorkflowMoved(WorkflowMove),
    /// Tenant: a workflow takes no more calls, for good.
    WorkflowClosed(WorkflowId),
    /// Tenant: a new delegation, live.
    DelegationGranted(Delegation),
    /// Tenant: a delegation stands no more, nor do those below it.
    DelegationRevoked(DelegationId),
    /// Tenant: an agent asks a person for a delegation, or is answered.
    Consent(ConsentChange),
    /// Tenant: a person's yes to one call.
    ApprovalGiven(Approval),
    /// Tenant: an unspent yes is taken back.
    ApprovalWithdrawn(ApprovalId),
    /// Tenant: a resource, new or in place of what was known.
    ResourceSet(Resource),
    /// Tenant: a resource is gone, and with it the tuples whose object it is.
    ResourceRemoved(ResourceRef),
    /// Tenant: a relationship; adding it again changes nothing.
    TupleAdded(Tuple),
    /// Tenant: a relationship is over.
    TupleRemoved(Tuple),
}

impl Change {
    /// Whether it changes a tenant's facts; else the organisation's.
    #[must_use]
    pub fn is_of_tenant(&self) -> bool {
        match self {
            Self::TenantCreated(_)
            | Self::HumanSet(_)
            | Self::HumanStanding { .. }
            | Self::AgentEnrolled(_)
            | Self::AgentSet(_)
            | Self::AgentStanding { .. }
            | Self::AgentKeyAdded { .. }
            | Self::AgentKeyRemoved { .. }
            | Self::HumanEnded { .. }
            | Self::HumanReturned(_)
            | Self::DirectorySet(_)
            | Self::DirectoryRemoved { .. }
            | Self::EnrolmentOffered(_)
            | Self::EnrolmentTaken { .. }
            | Self::Session(_)
            | Self::Frozen(_)
            | Self::Unfrozen(_)
            | Self::WaiverAsked(_)
            | Self::WaiverConfirmed { .. }
            | Self::WaiverEnded(_) => false,
            Self::RiskSet { of, risk: _ } => matches!(of, Risky::Workflow(_)),
            Self::AssignmentSet(_)
            | Self::AssignmentRemoved(_)
            | Self::WorkflowOpened(_)
            | Self::WorkflowMoved(_)
            | Self::WorkflowClosed(_)
            | Self::DelegationGranted(_)
            | Self::DelegationRevoked(_)
            | Self::Consent(_)
            | Self::ApprovalGiven(_)
            | Self::ApprovalWithdrawn(_)
            | Self::ResourceSet(_)
            | Self::ResourceRemoved(_)
            | Self::TupleAdded(_)
            | Self::TupleRemoved(_) => true,
        }
    }

    /// Its name in the JSON form.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TenantCreated(_) => "tenant_created",
            Self::HumanSet(_) => "human_set",
            Self::HumanStanding { .. } => "human_standing",
            Self::AgentEnrolled(_) => "agent_enrolled",
            Self::AgentSet(_) => "agent_set",
            Self::AgentStanding { .. } => "agent_standing",
            Self::AgentKeyAdded { .. } => "agent_key_added",
            Self::AgentKeyRemoved { .. } => "agent_key_removed",
            Self::HumanEnded { .. } => "human_ended",
            Self::HumanReturned(_) => "human_returned",
            Self::DirectorySet(_) => "directory_set",
            Self::DirectoryRemoved { .. } => "directory_removed",
            Self::EnrolmentOffered(_) => "enrolment_offered",
            Self::EnrolmentTaken { .. } => "enrolment_taken",
            Self::Session(change) => change.kind(),
            Self::RiskSet { .. } => "risk_set",
            Self::Frozen(_) => "frozen",
            Self::Unfrozen(_) => "unfrozen",
            Self::WaiverAsked(_) => "waiver_asked",
            Self::WaiverConfirmed { .. } => "waiver_confirmed",
            Self::WaiverEnded(_) => "waiver_ended",
            Self::AssignmentSet(_) => "assignment_set",
            Self::AssignmentRemoved(_) => "assignment_removed",
            Self::WorkflowOpened(_) => "workflow_opened",
            Self::WorkflowMoved(_) => "workflow_moved",
            Self::WorkflowClosed(_) => "workflow_closed",
            Self::DelegationGranted(_) => "delegation_granted",
            Self::DelegationRevoked(_) => "delegation_revoked",
            Self::Consent(change) => change.kind(),
            Self::ApprovalGiven(_) => "approval_given",
            Self::ApprovalWithdrawn(_) => "approval_withdrawn",
            Self::ResourceSet(_) => "resource_set",
            Self::ResourceRemoved(_) => "resource_removed",
            Self::TupleAdded(_) => "tuple_added",
            Self::TupleRemoved(_) => "tuple_removed",
        }
    }

    /// As JSON: `{"workflow_opened": {…}}`.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let body = match self {
            Self::TenantCreated(id) => of("id", id.as_str()),
            Self::HumanSet(human) => noun::human_value(human),
            Self::HumanStanding { human, standing } => {
                Value::Object(object! { "human" => human.as_str(), "standing" => standing.as_str() })
            }
            Self::AgentEnrolled(agent) | Self::AgentSet(agent) => noun::agent_value(agent),
            Self::AgentStanding { agent, standing } => {
                Value::Object(object! { "agent" => agent.as_str(), "standing" => standing.as_str() })
            }
            Self::AgentKeyAdded { agent, thumbprint, key } => Value::Object(
                object! { "agent" => agent.as_str(), "thumbprint" => thumbprint, "key" => key.clone() },
            ),
            Self::AgentKeyRemoved { agent, thumbprint } => {
                Value::Object(object! { "agent" => agent.as_str(), "thumbprint" => thumbprint })
            }
            Self::HumanEnded { human, ending } => {
                Value::Object(object! { "human" => human.as_str(), "ending" => ending.as_str() })
            }
            Self::DirectorySet(record) => directory::value(record),
            Self::DirectoryRemoved { feed, kind, id } => Value::Object(
                object! { "feed" => feed.as_str(), "kind" => kind.as_str(), "id" => id.as_str() },
            ),
            Self::EnrolmentOffered(offer) => offer.to_value(),
            Self::EnrolmentTaken { code, agent } => {
                Value::Object(object! { "code" => code.as_str(), "agent" => agent.as_str() })
            }
            Self::Session(change) => change.to_value(),
            Self::RiskSet { of, risk } => crate::risk::value(of, *risk),
            Self::Frozen(what) | Self::Unfrozen(what) => {
                Value::Object(object! { "what" => noun::freeze_value(what) })
            }
            Self::WaiverAsked(waiver) => crate::waiver::waiver_value(waiver),
            Self::WaiverConfirmed { id, by } => crate::waiver::confirmed_value(id, by),
            Self::WaiverEnded(id) => of("id", id.as_str()),
            Self::AssignmentSet(assignment) => noun::assignment_value(assignment),
            Self::HumanReturned(human) | Self::AssignmentRemoved(human) => of("human", human.as_str()),
            Self::WorkflowOpened(workflow) => noun::workflow_value(workflow),
            Self::WorkflowMoved(moved) => moved.to_value(),
            Self::WorkflowClosed(id) => of("id", id.local().as_str()),
            Self::DelegationGranted(delegation) => noun::delegation_value(delegation),
            Self::DelegationRevoked(id) => of("id", id.local().as_str()),
            Self::Consent(change) => change.to_value(),
            Self::ApprovalGiven(approval) => noun::approval_value(approval),
            Self::ApprovalWithdrawn(id) => of("id", id.local().as_str()),
            Self::ResourceSet(resource) => noun::resource_value(resource),
            Self::ResourceRemoved(at) => noun::resource_ref_value(at),
            Self::TupleAdded(tuple) | Self::TupleRemoved(tuple) => of("tuple", &tuple_text(tuple)),
        };
        Value::Object(object! { self.kind() => body })
    }

    /// Reads the JSON form of a change at `place`; ids become those of its tenant.
    pub fn from_value(value: &Value, place: &Place) -> Result<Self, ChangeError> {
        let one = || {
            ChangeError::malformed(
                "",
                "is not an object with one member",
                "name the change, as in `{\"workflow_closed\": {\"id\": \"wf-9\"}}`",
            )
        };
        let object = value.as_object().filter(|object| object.len() == 1).ok_or_else(one)?;
        let (kind, body) = object.iter().next().ok_or_else(one)?;
        let path = format!("/{kind}");
        let change = match place {
            Place::Organisation => Self::of_organisation(kind, body, &path)?,
            Place::Tenant(tenant) => Self::of_tenant(kind, body, &path, tenant)?,
        };
        change.ok_or_else(|| {
            ChangeError::malformed(
                "",
                format!("`{}` is not a change of {place}", kind.chars().take(64).collect::<String>()),
                "see the reference of facts",
            )
        })
    }

    fn of_organisation(kind: &str, body: &Value, path: &str) -> Result<Option<Self>, ChangeError> {
        let mut fields = Fields::open(body, path)?;
        let change = match kind {
            "human_set" => return noun::human(body, path).map(Self::HumanSet).map(Some),
            "agent_enrolled" => return noun::agent(body, path).map(Self::AgentEnrolled).map(Some),
            "agent_set" => return noun::agent(body, path).map(Self::AgentSet).map(Some),
            "directory_set" => return directory::read(body, path).map(Self::DirectorySet).map(Some),
            "enrolment_offered" => {
                return EnrolmentOffer::read(body, path).map(Self::EnrolmentOffered).map(Some);
            }
            "enrolment_taken" => Self::EnrolmentTaken {
                code: fields.name("code")?,
                agent: fields.parsed("agent", AgentId::new)?,
            },
            "risk_set" => {
                let (of, risk) = crate::risk::read(body, path, None)?;
                return Ok(Some(Self::RiskSet { of, risk }));
            }
            "waiver_asked" => return crate::waiver::read(body, path).map(Self::WaiverAsked).map(Some),
            "directory_removed" => Self::DirectoryRemoved {
                feed: fields.name("feed")?,
                kind: fields.parsed("kind", directory::kind)?,
                id: fields.name("id")?,
            },
            "human_returned" => Self::HumanReturned(fields.parsed("human", HumanId::new)?),
            "human_ended" => Self::HumanEnded {
                human: fields.parsed("human", HumanId::new)?,
                ending: fields.parsed("ending", ending::read)?,
            },
            "tenant_created" => Self::TenantCreated(fields.parsed("id", TenantId::new)?),
            "human_standing" => Self::HumanStanding {
                human: fields.parsed("human", HumanId::new)?,
                standing: fields.parsed("standing", noun::standing)?,
            },
            "agent_standing" => Self::AgentStanding {
                agent: fields.parsed("agent", AgentId::new)?,
                standing: fields.parsed("standing", noun::standing)?,
            },
            "agent_key_added" => Self::AgentKeyAdded {
                agent: fields.parsed("agent", AgentId::new)?,
                thumbprint: fields.parsed("thumbprint", noun::thumbprint)?,
                key: noun::public_key(fields.required("key")?, &fields.at("key"))?,
            },
            "agent_key_removed" => Self::AgentKeyRemoved {
                agent: fields.parsed("agent", AgentId::new)?,
                thumbprint: fields.parsed("thumbprint", noun::thumbprint)?,
            },
            "frozen" => Self::Frozen(noun::freeze(fields.required("what")?, &fields.at("what"))?),
            "waiver_confirmed" => {
                Self::WaiverConfirmed { id: fields.name("id")?, by: fields.parsed("by", HumanId::new)? }
            }
            "waiver_ended" => Self::WaiverEnded(fields.name("id")?),
            "unfrozen" => Self::Unfrozen(noun::freeze(fields.required("what")?, &fields.at("what"))?),
            _ => return Ok(SessionChange::read(kind, body, path)?.map(Self::Session)),
        };
        fields.unexpected()?;
        Ok(Some(change))
    }

    fn of_tenant(
        kind: &str,
        body: &Value,
        path: &str,
        tenant: &TenantId,
    ) -> Result<Option<Self>, ChangeError> {
        let mut fields = Fields::open(body, path)?;
        let local = |name: Name| (tenant.clone(), name);
        let change = match kind {
            "assignment_set" => return noun::assignment(body, path).map(Self::AssignmentSet).map(Some),
            "workflow_opened" => {
                return noun::workflow(body, path, tenant, false).map(Self::WorkflowOpened).map(Some);
            }
            "delegation_granted" => {
                return noun::delegation(body, path, tenant, false).map(Self::DelegationGranted).map(Some);
            }
            "approval_given" => return noun::approval(body, path, tenant).map(Self::ApprovalGiven).map(Some),
            "resource_set" => return noun::resource(body, path).map(Self::ResourceSet).map(Some),
            "resource_removed" => return noun::resource_ref(body, path).map(Self::ResourceRemoved).map(Some),
            "risk_set" => {
                let (of, risk) = crate::risk::read(body, path, Some(tenant))?;
                return Ok(Some(Self::RiskSet { of, risk }));
            }
            "workflow_moved" => {
                return WorkflowMove::read(body, path, tenant).map(Self::WorkflowMoved).map(Some);
            }
            "assignment_removed" => Self::AssignmentRemoved(fields.parsed("human", HumanId::new)?),
            "workflow_closed" => {
                let (tenant, id) = local(fields.name("id")?);
                Self::WorkflowClosed(WorkflowId::new(tenant, id))
            }
            "delegation_revoked" => {
                let (tenant, id) = local(fields.name("id")?);
                Self::DelegationRevoked(DelegationId::new(tenant, id))
            }
            "approval_withdrawn" => {
                let (tenant, id) = local(fields.name("id")?);
                Self::ApprovalWithdrawn(ApprovalId::new(tenant, id))
            }
            "tuple_added" => Self::TupleAdded(fields.parsed("tuple", parse_tuple)?),
            "tuple_removed" => Self::TupleRemoved(fields.parsed("tuple", parse_tuple)?),
            _ => return Ok(ConsentChange::read(kind, body, path, tenant)?.map(Self::Consent)),
        };
        fields.unexpected()?;
        Ok(Some(change))
    }
}

fn of(name: &str, text: &str) -> Value {
    Value::Object(object! { name => text })
}
