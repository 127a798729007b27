//! The workflow token: for whom, by which agents, in which workflow. A ceiling and a name; whether a call is allowed
//! is decided on live facts, each time.

use placet_json::{Object, Value};

use crate::claims::{Claims, Members};
use crate::keys::Thumbprint;
use crate::refused::Refused;
use crate::tokens::{ActorChain, ResourceRef, cnf, one_detail, strings};

/// Most actions and most intents that a token names.
const MAX_NAMES: usize = 64;

const DETAIL: &str = "placet_workflow";

/// An access token (RFC 9068) for the gateway, bound to the agent's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowToken {
    /// The human for whom the agents act.
    pub sub: String,
    /// The agent that holds the token.
    pub client_id: String,
    /// The token's own identifier.
    pub jti: String,
    /// The key that every use must prove.
    pub key: Thumbprint,
    /// The agents, current one first.
    pub act: ActorChain,
    /// The workflow and the ceiling.
    pub detail: WorkflowDetail,
}

/// The one member of `authorization_details`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowDetail {
    /// The tenant that the workflow belongs to.
    pub tenant: String,
    /// The delegation that this token is of.
    pub delegation: String,
    /// `sha-256:…` of the canonical JSON of what the human agreed to.
    pub authority_hash: String,
    /// The workflow.
    pub workflow: String,
    /// Its type.
    pub workflow_type: String,
    /// The purposes that calls may name.
    pub intents: Vec<String>,
    /// The actions that calls may map to.
    pub actions: Vec<String>,
    /// The resource that the delegation was narrowed to; without it the workflow's own bindings are the bound.
    pub resource: Option<ResourceRef>,
    /// Further bounds, as the human agreed to them.
    pub constraints: Object,
    /// How many times the delegation may be passed on.
    pub max_depth: u64,
}

impl Claims for WorkflowToken {
    const TYP: &'static str = "at+jwt";
    const MAX_LIFE: u64 = 300;

    fn read(members: &mut Members) -> Result<Self, Refused> {
        let token = Self {
            sub: members.text("sub")?,
            client_id: members.text("client_id")?,
            jti: members.jti()?,
            key: members.binding()?,
            act: ActorChain::read(members)?,
            detail: WorkflowDetail::read(one_detail(members, DETAIL)?)?,
        };
        // The holder is the current actor; anything else is a token for somebody else's key.
        if token.act.current() == token.client_id { Ok(token) } else { Err(Refused::Claim("act")) }
    }

    fn write(&self, payload: &mut Object) {
        let Self { sub, client_id, jti, key, act, detail } = self;
        payload.insert("sub", sub.as_str());
        payload.insert("client_id", client_id.as_str());
        payload.insert("jti", jti.as_str());
        payload.insert("cnf", cnf(key));
        payload.insert("act", act.write());
        payload.insert("authorization_details", Value::Array(vec![detail.to_value()]));
    }
}

impl WorkflowDetail {
    fn read(mut members: Members) -> Result<Self, Refused> {
        let detail = Self {
            tenant: members.text("tenant")?,
            delegation: members.text("delegation")?,
            authority_hash: members.text("authority_hash")?,
            workflow: members.text("workflow")?,
            workflow_type: members.text("workflow_type")?,
            intents: members.texts("intents", MAX_NAMES)?,
            actions: members.texts("actions", MAX_NAMES)?,
            resource: members.optional("resource").map(ResourceRef::read).transpose()?,
            constraints: match members.optional("constraints") {
                None => Object::new(),
                Some(value) => value.into_object().ok_or(Refused::Claim("constraints"))?,
            },
            max_depth: members.count("max_depth")?,
        };
        members.finish()?;
        Ok(detail)
    }

    /// The detail as it stands in the token, and in the answer of the token endpoint (RFC 9396 §7).
    #[must_use]
    pub fn to_value(&self) -> Value {
        let Self {
            tenant,
            delegation,
            authority_hash,
            workflow,
            workflow_type,
            intents,
            actions,
            resource,
            constraints,
            max_depth,
        } = self;
        let mut object = Object::new();
        object.insert("type", DETAIL);
        object.insert("tenant", tenant.as_str());
        object.insert("delegation", delegation.as_str());
        object.insert("authority_hash", authority_hash.as_str());
        object.insert("workflow", workflow.as_str());
        object.insert("workflow_type", workflow_type.as_str());
        object.insert("intents", strings(intents));
        object.insert("actions", strings(actions));
        if let Some(resource) = resource {
            object.insert("resource", resource.write());
        }
        if !constraints.is_empty() {
            object.insert("constraints", constraints.clone());
        }
        object.insert("max_depth", *max_depth);
        Value::Object(object)
    }
}
