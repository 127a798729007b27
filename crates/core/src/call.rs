//! A classified call: what the catalog made of a message.

use std::{collections::BTreeSet, fmt};

use placet_json::{Canonical, Object, Value};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{Decimal, DecisionId, LookedUp, Name, ResourceRef, StateMove, Tuple, WorkflowId};

/// A SHA-256 digest, written `sha256:` and 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
    /// A digest that was computed elsewhere.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
    /// Parses `sha256:…`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("sha256:")?.as_bytes();
        if hex.len() != 64 {
            return None;
        }
        let nibble = |b: &u8| match b {
            b'0'..=b'9' => Some(b.wrapping_sub(b'0')),
            b'a'..=b'f' => Some(b.wrapping_sub(b'a').wrapping_add(10)),
            _ => None,
        };
        let mut out = [0; 32];
        for (to, pair) in out.iter_mut().zip(hex.chunks_exact(2)) {
            let [high, low] = pair else { return None };
            *to = nibble(high)?.wrapping_shl(4) | nibble(low)?;
        }
        Some(Self(out))
    }
}
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom("a digest is `sha256:` and 64 lower-case hex digits"))
    }
}

/// What a tool does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectClass {
    /// Reads.
    Read,
    /// Changes something that can be changed back.
    Write,
    /// Changes something for good: money, messages, deletions.
    Destructive,
}

impl EffectClass {
    /// The name as policy reads it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Destructive => "destructive",
        }
    }
}

/// The value of an attribute that the catalog took from an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// An exact number.
    Decimal(Decimal),
    /// A text.
    Text(String),
    /// A truth value.
    Bool(bool),
}

impl Attribute {
    /// As JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match self {
            Self::Decimal(number) => number.to_value(),
            Self::Text(text) => Value::from(text.as_str()),
            Self::Bool(truth) => Value::from(*truth),
        }
    }
}

/// An argument that the gateway filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The argument's name.
    pub argument: String,
    /// Where from, as the catalog writes it: `$resource.customer_id`.
    pub from: String,
    /// What it was when the call was classified.
    pub value: Value,
}

/// A classified call. What is decided is this; what is sent is its `arguments`, byte for byte.
#[derive(Debug, Clone)]
pub struct Call {
    /// The decision that it will lead to.
    pub id: DecisionId,
    /// The release whose catalog classified it.
    pub release: Digest,
    /// The protocol's method, `tools/call`.
    pub method: &'static str,
    /// The upstream's name.
    pub upstream: Name,
    /// The tool's name at the upstream.
    pub tool: String,
    /// The tool's catalog name, `billing.refund`.
    pub entry: Name,
    /// The action that policy decides on.
    pub action: Name,
    /// The effect class.
    pub effect: EffectClass,
    /// The resources; the first is the input's `resource`.
    pub resources: Vec<ResourceRef>,
    /// Attributes for the top level of the input, taken from arguments.
    pub attributes: Vec<(Name, Attribute)>,
    /// The arguments that the gateway filled. They must still hold when it is decided.
    pub bound: Vec<Bound>,
    /// Canonical arguments, bound ones included.
    pub arguments: Canonical,
    /// The most that the result may be labelled with.
    pub labels: BTreeSet<Name>,
    /// The resources that a lookup is responsible for, as they stood.
    pub lookups: Vec<LookedUp>,
    /// The relationships that are added once the effect happened, or may have. None of a read.
    pub writes: Vec<Tuple>,
    /// How the workflow moves once the effect happened: one way at most from each state.
    pub moves: Vec<StateMove>,
}

impl Call {
    /// The amount that it adds to its action's totals: its attribute `amount`, where it has one.
    #[must_use]
    pub fn amount(&self) -> Option<Decimal> {
        self.attributes.iter().find_map(|(name, value)| match value {
            Attribute::Decimal(amount) if name.as_str() == "amount" => Some(*amount),
            Attribute::Decimal(_) | Attribute::Text(_) | Attribute::Bool(_) => None,
        })
    }
    /// What an approval of this call binds: SHA-256 over the canonical form of tenant, workflow, delegation, action,
    /// resources and arguments.
    #[must_use]
    pub fn approval_digest(&self, workflow: &WorkflowId, delegation: &crate::DelegationId) -> Digest {
        let mut object = Object::new();
        object.insert("action", self.action.as_str());
        object.insert("arguments_sha256", Digest::of(self.arguments.as_bytes()).to_string());
        object.insert("delegation", delegation.local().as_str());
        object.insert("entry", self.entry.as_str());
        object.insert(
            "resources",
            Value::Array(self.resources.iter().map(|r| Value::from(r.to_string())).collect()),
        );
        object.insert("tenant", workflow.tenant().as_str());
        object.insert("workflow", workflow.local().as_str());
        // Names are inserted in order, and there is no number: the compact form is the canonical one.
        Digest::of(&Value::Object(object).to_bytes())
    }
}
