//! A person's consent, from an agent's question to the code by which it learns the answer.
//!
//! What an agent asks for is a fact once it has proved who it is; the person's yes stands in one entry with the
//! delegation that it is, so that there is neither without the other, and a question is answered once. The code works
//! once; whoever brings it a second time has stolen it, or was stolen from.

use std::sync::Arc;

use placet_core::{
    AgentId, DelegationId, DelegationState, Digest, HumanId, Name, Scope, Timestamp, WorkflowId,
};
use placet_json::{Value, object};

use crate::{
    Authentication, ChangeError, TenantFacts,
    apply::{no, open_workflow},
    noun,
    read::Fields,
};

/// Questions of one tenant that are neither answered nor past, at most; and of one agent.
pub const MAX_ASKED: usize = 10_000;
/// The most questions of one agent that wait in one tenant.
pub const MAX_ASKED_BY_ONE: usize = 32;
/// The longest text of a client: its reason, its `state`, its redirect URI. In bytes.
pub const MAX_CLIENT_TEXT: usize = 1024;

/// What an agent asks a person for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentRequest {
    /// SHA-256 of its `request_uri`, in base64url.
    pub id: Name,
    /// Who asks, by its own key.
    pub agent: AgentId,
    /// In which workflow.
    pub workflow: WorkflowId,
    /// For what; the person may narrow it.
    pub scope: Scope,
    /// The client's own words, shown as such and deciding nothing.
    pub note: String,
    /// Where the answer goes, exactly.
    pub redirect_uri: String,
    /// The client's `state`, handed back with the answer.
    pub state: Option<String>,
    /// The PKCE challenge (S256).
    pub challenge: String,
    /// RFC 7638 thumbprint of the key that the code and what comes of it are bound to.
    pub key: String,
    /// When it was asked: what was past by then is forgotten.
    pub at: Timestamp,
    /// Until when it may be answered.
    pub until: Timestamp,
}

/// A yes: beside the delegation that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentAnswer {
    /// The question.
    pub request: Name,
    /// The delegation.
    pub delegation: DelegationId,
    /// Whose yes.
    pub human: HumanId,
    /// How they had signed in.
    pub by: Authentication,
    /// SHA-256 of the delegation's canonical JSON: what was agreed to.
    pub authority: Digest,
    /// SHA-256 of the authorization code, in base64url.
    pub code: Name,
    /// Until when the code works.
    pub code_until: Timestamp,
}

/// A consent, as long as its delegation is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// What was asked.
    pub asked: ConsentRequest,
    /// What was answered.
    pub given: ConsentAnswer,
    /// Whether the code was used.
    pub redeemed: bool,
}

/// What happens to consents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsentChange {
    /// An agent asks.
    Asked(ConsentRequest),
    /// The person says no.
    Declined(Name),
    /// The person says yes.
    Given(ConsentAnswer),
    /// The agent has fetched the answer.
    Redeemed(DelegationId),
}

impl ConsentChange {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Asked(_) => "consent_asked",
            Self::Declined(_) => "consent_declined",
            Self::Given(_) => "consent_given",
            Self::Redeemed(_) => "consent_redeemed",
        }
    }
    pub(crate) fn to_value(&self) -> Value {
        match self {
            Self::Asked(request) => request.to_value(),
            Self::Declined(id) => Value::Object(object! { "id" => id.as_str() }),
            Self::Given(answer) => answer.to_value(),
            Self::Redeemed(id) => Value::Object(object! { "delegation" => id.local().as_str() }),
        }
    }
    /// None: it is no change of consents.
    pub(crate) fn read(
        kind: &str,
        body: &Value,
        path: &str,
        tenant: &placet_core::TenantId,
    ) -> Result<Option<Self>, ChangeError> {
        let change = match kind {
            "consent_asked" => Self::Asked(ConsentRequest::read(body, path, tenant)?),
            "consent_given" => Self::Given(ConsentAnswer::read(body, path, tenant)?),
            "consent_declined" | "consent_redeemed" => {
                let mut fields = Fields::open(body, path)?;
                let change = if kind == "consent_declined" {
                    Self::Declined(fields.name("id")?)
                } else {
                    Self::Redeemed(DelegationId::new(tenant.clone(), fields.name("delegation")?))
                };
                fields.unexpected()?;
                change
            }
            _ => return Ok(None),
        };
        Ok(Some(change))
    }
    pub(crate) fn apply(&self, facts: &mut TenantFacts) -> Result<(), ChangeError> {
        match self {
            Self::Asked(request) => ask(facts, request),
            Self::Declined(id) => facts.asked.remove(id).map(drop).ok_or_else(|| answered(id)),
            Self::Given(answer) => give(facts, answer),
            Self::Redeemed(id) => {
                let consent = facts
                    .consent(id)
                    .ok_or_else(|| no("consent to the delegation", id, "list the delegations"))?;
                if consent.redeemed {
                    return Err(ChangeError::conflict("this code was used before", "ask the person again"));
                }
                let redeemed = Consent { redeemed: true, ..consent.clone() };
                facts.consents.insert(id.local().clone(), Arc::new(redeemed));
                Ok(())
            }
        }
    }
}

impl ConsentRequest {
    pub(crate) fn read(
        value: &Value,
        path: &str,
        tenant: &placet_core::TenantId,
    ) -> Result<Self, ChangeError> {
        let mut fields = Fields::open(value, path)?;
        let request = Self {
            id: fields.name("id")?,
            agent: fields.parsed("agent", AgentId::new)?,
            workflow: WorkflowId::new(tenant.clone(), fields.name("workflow")?),
            scope: noun::scope(fields.required("scope")?, &fields.at("scope"))?,
            note: client_text(&mut fields, "note")?,
            redirect_uri: client_text(&mut fields, "redirect_uri")?,
            state: if fields.optional("state").is_some() {
                Some(client_text(&mut fields, "state")?)
            } else {
                None
            },
            challenge: client_text(&mut fields, "challenge")?,
            key: fields.parsed("key", noun::thumbprint)?,
            at: fields.moment("at")?,
            until: fields.moment("until")?,
        };
        fields.unexpected()?;
        Ok(request)
    }
    pub(crate) fn to_value(&self) -> Value {
        let Self { id, agent, workflow, scope, note, redirect_uri, state, challenge, key, at, until } = self;
        let mut value = object! {
            "id" => id.as_str(), "agent" => agent.as_str(), "workflow" => workflow.local().as_str(),
            "scope" => noun::scope_value(scope), "note" => note.as_str(), "redirect_uri" => redirect_uri.as_str(),
            "challenge" => challenge.as_str(), "key" => key.as_str(),
            "at" => at.to_string(), "until" => until.to_string(),
        };
        if let Some(state) = state {
            value.insert("state", state.as_str());
        }
        Value::Object(value)
    }
}

fn client_text(fields: &mut Fields<'_>, name: &'static str) -> Result<String, ChangeError> {
    let text = fields.text(name)?;
    if text.len() > MAX_CLIENT_TEXT {
        let message = format!("is longer than {MAX_CLIENT_TEXT} bytes");
        return Err(ChangeError::malformed(&fields.at(name), message, "shorten it"));
    }
    Ok(text.to_owned())
}

impl ConsentAnswer {
    pub(crate) fn read(
        value: &Value,
        path: &str,
        tenant: &placet_core::TenantId,
    ) -> Result<Self, ChangeError> {
        let mut fields = Fields::open(value, path)?;
        let answer = Self {
            request: fields.name("request")?,
            delegation: DelegationId::new(tenant.clone(), fields.name("delegation")?),
            human: fields.parsed("human", HumanId::new)?,
            by: Authentication::read(fields.required("by")?, &fields.at("by"))?,
            authority: fields.parsed("authority", |text| {
                Digest::parse(text).ok_or("is not `sha256:` and 64 lower-case hex digits")
            })?,
            code: fields.name("code")?,
            code_until: fields.moment("code_until")?,
        };
        fields.unexpected()?;
        Ok(answer)
    }
    pub(crate) fn to_value(&self) -> Value {
        let Self { request, delegation, human, by, authority, code, code_until } = self;
        Value::Object(object! {
            "request" => request.as_str(), "delegation" => delegation.local().as_str(), "human" => human.as_str(),
            "by" => by.to_value(), "authority" => authority.to_string(), "code" => code.as_str(),
            "code_until" => code_until.to_string(),
        })
    }
}

impl Consent {
    pub(crate) fn read(
        value: &Value,
        path: &str,
        tenant: &placet_core::TenantId,
    ) -> Result<Self, ChangeError> {
        let mut fields = Fields::open(value, path)?;
        let consent = Self {
            asked: ConsentRequest::read(fields.required("asked")?, &fields.at("asked"), tenant)?,
            given: ConsentAnswer::read(fields.required("given")?, &fields.at("given"), tenant)?,
            redeemed: fields.required("redeemed")?.as_bool().unwrap_or(true),
        };
        fields.unexpected()?;
        Ok(consent)
    }
    pub(crate) fn to_value(&self) -> Value {
        let Self { asked, given, redeemed } = self;
        Value::Object(
            object! { "asked" => asked.to_value(), "given" => given.to_value(), "redeemed" => *redeemed },
        )
    }
}

impl TenantFacts {
    /// What an agent asks for, by its `request_uri`'s hash; none once it is answered. Whether it is past is for the clock.
    #[must_use]
    pub fn asked(&self, id: &Name) -> Option<&ConsentRequest> {
        self.asked.get(id).map(AsRef::as_ref)
    }
    /// The consent that a delegation is.
    #[must_use]
    pub fn consent(&self, delegation: &DelegationId) -> Option<&Consent> {
        let own = delegation.tenant() == self.id();
        self.consents.get(delegation.local()).filter(|_| own).map(AsRef::as_ref)
    }
    /// The consent whose answer goes by this code, used or not.
    #[must_use]
    pub fn consent_of_code(&self, code: &Name) -> Option<&Consent> {
        self.consents.values().find(|consent| consent.given.code == *code).map(AsRef::as_ref)
    }
}

fn answered(id: &Name) -> ChangeError {
    no("open question", id, "it was answered, or is past; let the agent ask again")
}

fn ask(facts: &mut TenantFacts, request: &ConsentRequest) -> Result<(), ChangeError> {
    open_workflow(facts, &request.workflow)?;
    let past: Vec<Name> =
        facts.asked.values().filter(|it| it.until <= request.at).map(|it| it.id.clone()).collect();
    for id in &past {
        facts.asked.remove(id);
    }
    if facts.asked.contains_key(&request.id) {
        return Err(ChangeError::conflict("this was asked already", "ask under another name"));
    }
    let own = facts.asked.values().filter(|it| it.agent == request.agent).count();
    if facts.asked.len() >= MAX_ASKED || own >= MAX_ASKED_BY_ONE {
        return Err(ChangeError::conflict(
            "too many questions wait for an answer",
            "wait until some are past",
        ));
    }
    facts.asked.insert(request.id.clone(), Arc::new(request.clone()));
    Ok(())
}

fn give(facts: &mut TenantFacts, answer: &ConsentAnswer) -> Result<(), ChangeError> {
    let asked = facts.asked(&answer.request).ok_or_else(|| answered(&answer.request))?.clone();
    let delegation = facts
        .delegation(&answer.delegation)
        .ok_or_else(|| no("delegation", &answer.delegation, "it stands in the same transaction"))?;
    let within = delegation.state == DelegationState::Live
        && delegation.agent == asked.agent
        && delegation.human == answer.human
        && delegation.workflow == asked.workflow
        && is_within(&delegation.scope, &asked.scope);
    if !within {
        return Err(ChangeError::conflict(
            "the delegation isn't what was asked for, or less",
            "grant what was asked for, or less",
        ));
    }
    facts.asked.remove(&answer.request);
    let consent = Consent { asked, given: answer.clone(), redeemed: false };
    facts.consents.insert(answer.delegation.local().clone(), Arc::new(consent));
    Ok(())
}

/// Whether a person granted no more than was asked.
fn is_within(granted: &Scope, asked: &Scope) -> bool {
    // As one level down, so that the same depth passes.
    let roof = Scope { depth: asked.depth.saturating_add(1), ..asked.clone() };
    granted.depth <= asked.depth && roof.narrow(granted.clone()).is_ok()
}
