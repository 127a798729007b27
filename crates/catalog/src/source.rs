//! Where the gateway takes what it fills in itself.

use std::fmt;

use placet_core::{Code, Envelope, FactsView, Name, Reason, ResourceRef};
use placet_json::Value;

/// A value that no agent chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `$tenant`
    Tenant,
    /// `$human`: the delegating person's id.
    Human,
    /// `$agent`: the acting agent's id.
    Agent,
    /// `$intent`
    Intent,
    /// `$workflow.id`
    WorkflowId,
    /// `$workflow.binding.TYPE`: the id of the resource of that type that the workflow is about.
    WorkflowBinding(Name),
    /// `$workflow.NAME`
    WorkflowAttribute(Name),
    /// `$resource.id`, of the first resource
    ResourceId,
    /// `$resource.NAME`, from the facts of the first resource
    ResourceAttribute(Name),
    /// Always the same.
    Constant(Value),
}

impl Source {
    /// Parses `$…`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let name = |text: &str| Name::new(text).map_err(|error| error.to_string());
        match text {
            "$tenant" => return Ok(Self::Tenant),
            "$human" => return Ok(Self::Human),
            "$agent" => return Ok(Self::Agent),
            "$intent" => return Ok(Self::Intent),
            "$workflow.id" => return Ok(Self::WorkflowId),
            "$resource.id" => return Ok(Self::ResourceId),
            _ => {}
        }
        if let Some(kind) = text.strip_prefix("$workflow.binding.") {
            return name(kind).map(Self::WorkflowBinding);
        }
        if let Some(attribute) = text.strip_prefix("$workflow.") {
            return name(attribute).map(Self::WorkflowAttribute);
        }
        if let Some(attribute) = text.strip_prefix("$resource.") {
            return name(attribute).map(Self::ResourceAttribute);
        }
        Err(format!(
            "`{text}` is none of `$tenant`, `$human`, `$agent`, `$intent`, `$workflow.…`, `$resource.…`"
        ))
    }

    pub(crate) fn needs_resource(&self) -> bool {
        matches!(self, Self::ResourceId | Self::ResourceAttribute(_))
    }

    /// Its value for this envelope on these facts. `resource` is the call's first resource, once it is known.
    pub(crate) fn resolve(
        &self,
        envelope: &Envelope,
        facts: &dyn FactsView,
        resource: Option<&ResourceRef>,
    ) -> Result<Value, Reason> {
        match self {
            Self::Tenant => Ok(Value::from(envelope.tenant().as_str())),
            Self::Human => Ok(Value::from(envelope.human().as_str())),
            Self::Agent => Ok(Value::from(envelope.agent().as_str())),
            Self::Intent => Ok(Value::from(envelope.intent().as_str())),
            Self::WorkflowId => Ok(Value::from(envelope.workflow().local().as_str())),
            Self::WorkflowBinding(kind) => {
                let bound = workflow(envelope, facts)?.bindings.get(kind);
                bound
                    .map(|id| Value::from(id.as_str()))
                    .ok_or_else(|| self.unfilled("the workflow isn't about a resource of that type"))
            }
            Self::WorkflowAttribute(name) => self.plain(workflow(envelope, facts)?.attributes.get(name)),
            Self::ResourceId => match resource {
                Some(resource) => Ok(Value::from(resource.id.as_str())),
                None => Err(self.unfilled("the call has no resource yet")),
            },
            Self::ResourceAttribute(name) => {
                let at = resource.ok_or_else(|| self.unfilled("the call has no resource yet"))?;
                let resource = facts.resource(at).ok_or_else(|| {
                    Reason::platform(
                        Code::ResourceUnknown,
                        "there is no such resource",
                        format!("`{at}` isn't known in tenant `{}`", facts.tenant()),
                    )
                })?;
                self.plain(resource.attributes.get(name))
            }
            Self::Constant(value) => Ok(value.clone()),
        }
    }

    /// Texts, numbers and truth values fill arguments; what is built of others has no meaning that we could keep.
    fn plain(&self, value: Option<&Value>) -> Result<Value, Reason> {
        match value {
            Some(value @ (Value::String(_) | Value::Number(_) | Value::Bool(_))) => Ok(value.clone()),
            Some(Value::Null | Value::Array(_) | Value::Object(_)) => {
                Err(self.unfilled("it is neither text nor number nor truth value"))
            }
            None => Err(self.unfilled("there is no such attribute")),
        }
    }

    fn unfilled(&self, why: &str) -> Reason {
        Reason::platform(
            Code::BindingChanged,
            "an argument that is filled by the gateway has no value here",
            format!("`{self}` has no value: {why}"),
        )
    }
}

fn workflow<'f>(envelope: &Envelope, facts: &'f dyn FactsView) -> Result<&'f placet_core::Workflow, Reason> {
    facts.workflow(envelope.workflow()).ok_or_else(|| {
        Reason::platform(
            Code::WorkflowUnknown,
            "there is no such workflow",
            format!("{:?} isn't known", envelope.workflow()),
        )
    })
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant => f.write_str("$tenant"),
            Self::Human => f.write_str("$human"),
            Self::Agent => f.write_str("$agent"),
            Self::Intent => f.write_str("$intent"),
            Self::WorkflowId => f.write_str("$workflow.id"),
            Self::WorkflowBinding(kind) => write!(f, "$workflow.binding.{kind}"),
            Self::WorkflowAttribute(name) => write!(f, "$workflow.{name}"),
            Self::ResourceId => f.write_str("$resource.id"),
            Self::ResourceAttribute(name) => write!(f, "$resource.{name}"),
            Self::Constant(value) => write!(f, "const {value}"),
        }
    }
}
