//! The catalog as a value.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use placet_core::{Digest, EffectClass, Name};
use placet_json::{Object, Value, object};

use crate::{
    Lookup, Operation, Path, PersonalType, Problem, Resolver, Seals, Source, ToolLimits, Type, Write, parse,
};

/// All tools that exist, by upstream and name.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    upstreams: BTreeMap<Name, BTreeMap<String, Arc<Entry>>>,
    /// By the type of resource.
    lookups: BTreeMap<Name, Arc<Lookup>>,
    /// By the type of resource.
    personal: BTreeMap<Name, PersonalType>,
}

/// One tool.
#[derive(Debug, Clone)]
pub struct Entry {
    pub(crate) name: Name,
    pub(crate) upstream: Name,
    pub(crate) tool: String,
    pub(crate) action: Name,
    pub(crate) effect: EffectClass,
    pub(crate) resources: Vec<ResourceFrom>,
    pub(crate) credential: Credential,
    pub(crate) accepts: BTreeSet<Digest>,
    pub(crate) arguments: BTreeMap<String, Argument>,
    pub(crate) guard: Option<Guard>,
    pub(crate) resolver: Option<Resolver>,
    /// Labels of the whole result.
    pub(crate) whole: BTreeSet<Name>,
    /// Labels of parts of it.
    pub(crate) fields: BTreeMap<Path, BTreeSet<Name>>,
    /// Of both: the most that a result may be labelled with.
    pub(crate) labels: BTreeSet<Name>,
    pub(crate) writes: Vec<Write>,
    pub(crate) limits: ToolLimits,
    pub(crate) seals: Seals,
    pub(crate) http: Option<Operation>,
}

/// How a call's resource is found.
#[derive(Debug, Clone)]
pub struct ResourceFrom {
    /// Its type.
    pub kind: Name,
    /// Its id.
    pub id: IdFrom,
}

/// Where a resource's id comes from.
#[derive(Debug, Clone)]
pub enum IdFrom {
    /// `$args.NAME`
    Argument(String),
    /// Not from the agent.
    Source(Source),
}

/// What an argument is.
#[derive(Debug, Clone)]
pub enum Argument {
    /// The agent gives it.
    Given {
        /// What it must be.
        ty: Type,
        /// Whether it must be there.
        required: bool,
        /// The name under which policy reads it at the top of its input.
        attribute: Option<Name>,
    },
    /// The gateway fills it; agents neither see nor give it.
    Bound(Source),
}

/// What the upstream is shown instead of the agent's token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// `vault:NAME`: the upstream's own secret.
    Vault(Name),
    /// `call-token`: a token made for the one call.
    CallToken,
    /// `process`: a local process that was started with what it needs.
    Process,
    /// `none`: an upstream without authentication.
    None,
}

/// Where items of a result say whose they are.
#[derive(Debug, Clone)]
pub struct Guard {
    /// The items.
    pub items: Path,
    /// What each says, seen from the item.
    pub owner: Owner,
}

/// What an item of a result says.
#[derive(Debug, Clone)]
pub enum Owner {
    /// Its tenant's id.
    Tenant(Path),
    /// The id of one of the call's resources.
    Resource(Path),
}

impl Catalog {
    /// Reads a release's catalog: `(path, text)` of each file. All problems are told, not only the first.
    pub fn parse(files: &[(String, String)]) -> Result<Self, Vec<Problem>> {
        parse::catalog(files)
    }
    /// What is known of a tool; what isn't known doesn't exist.
    #[must_use]
    pub fn tool(&self, upstream: &Name, tool: &str) -> Option<&Arc<Entry>> {
        self.upstreams.get(upstream)?.get(tool)
    }
    /// The entry of a catalog name such as `billing.refund`.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&Arc<Entry>> {
        let (upstream, tool) = name.split_once('.')?;
        self.upstreams.get(upstream)?.get(tool)
    }
    /// All entries, by upstream and tool.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.upstreams.values().flat_map(BTreeMap::values)
    }
    /// The names of the upstreams.
    pub fn upstreams(&self) -> impl Iterator<Item = &Name> {
        self.upstreams.keys()
    }
    /// The lookup of resources of this type.
    #[must_use]
    pub fn lookup(&self, resource: &Name) -> Option<&Arc<Lookup>> {
        self.lookups.get(resource)
    }
    /// All lookups, by the type of resource.
    pub fn lookups(&self) -> impl Iterator<Item = &Arc<Lookup>> {
        self.lookups.values()
    }
    /// Which attributes of resources are personal, by the type of resource.
    #[must_use]
    pub fn personal(&self) -> &BTreeMap<Name, PersonalType> {
        &self.personal
    }
    /// As JSON: entries by name, lookups as `lookup:NAME`, personal attributes as `personal:TYPE`.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let entries = self.entries().map(|entry| (entry.name.as_str().to_owned(), entry.to_value()));
        let lookups = self.lookups().map(|lookup| (format!("lookup:{}", lookup.name), lookup.to_value()));
        let personal = self.personal.iter().map(|(of, it)| (format!("personal:{of}"), it.to_value()));
        Value::Object(entries.chain(lookups).chain(personal).collect())
    }
    /// Says what is personal of a type of resources, unless that is said already.
    pub(crate) fn insert_personal(&mut self, of: Name, personal: PersonalType) -> bool {
        if self.personal.contains_key(&of) {
            return false;
        }
        self.personal.insert(of, personal);
        true
    }
    /// Puts a lookup in, unless one of that name or for that type of resource is there.
    pub(crate) fn insert_lookup(&mut self, lookup: Lookup) -> bool {
        if self.lookups.contains_key(&lookup.resource)
            || self.lookups().any(|other| other.name == lookup.name)
        {
            return false;
        }
        self.lookups.insert(lookup.resource.clone(), Arc::new(lookup));
        true
    }
    /// Puts an entry in, unless one of that name is there.
    pub(crate) fn insert(&mut self, entry: Entry) -> bool {
        let tools = self.upstreams.entry(entry.upstream.clone()).or_default();
        if tools.contains_key(&entry.tool) {
            return false;
        }
        tools.insert(entry.tool.clone(), Arc::new(entry));
        true
    }
}

impl Entry {
    /// Its catalog name, `billing.refund`.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }
    /// The upstream's name, `billing`.
    #[must_use]
    pub fn upstream(&self) -> &Name {
        &self.upstream
    }
    /// The tool's name at the upstream, `refund`.
    #[must_use]
    pub fn tool(&self) -> &str {
        &self.tool
    }
    /// The tool's name among all upstreams' tools, `billing__refund`. No upstream's name has `__` in it, so no two
    /// tools share one.
    #[must_use]
    pub fn prefixed(&self) -> String {
        format!("{}__{}", self.upstream, self.tool)
    }
    /// The action that policy decides on.
    #[must_use]
    pub fn action(&self) -> &Name {
        &self.action
    }
    /// What it does to the world.
    #[must_use]
    pub fn effect(&self) -> EffectClass {
        self.effect
    }
    /// How the resources are found; the first is the input's `resource`. Never empty.
    #[must_use]
    pub fn resources(&self) -> &[ResourceFrom] {
        &self.resources
    }
    /// What the upstream is shown.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        &self.credential
    }
    /// The digests of the definitions that were reviewed.
    #[must_use]
    pub fn accepted(&self) -> &BTreeSet<Digest> {
        &self.accepts
    }
    /// Whether a definition is one that was reviewed. Where none was, none is.
    #[must_use]
    pub fn accepts(&self, definition: &Digest) -> bool {
        self.accepts.contains(definition)
    }
    /// The arguments by name.
    #[must_use]
    pub fn arguments(&self) -> &BTreeMap<String, Argument> {
        &self.arguments
    }
    /// The arguments that agents neither see nor give.
    #[must_use]
    pub fn hidden_arguments(&self) -> Vec<&str> {
        self.arguments
            .iter()
            .filter(|(_, argument)| matches!(argument, Argument::Bound(_)))
            .map(|(name, _)| name.as_str())
            .collect()
    }
    /// Where a result's items say whose they are.
    #[must_use]
    pub fn guard(&self) -> Option<&Guard> {
        self.guard.as_ref()
    }
    /// How it is found out whether a call of unknown end had its effect.
    #[must_use]
    pub fn resolver(&self) -> Option<&Resolver> {
        self.resolver.as_ref()
    }
    /// The most that a result may be labelled with.
    #[must_use]
    pub fn labels(&self) -> &BTreeSet<Name> {
        &self.labels
    }
    /// How often, how much, how many at once.
    #[must_use]
    pub fn limits(&self) -> &ToolLimits {
        &self.limits
    }

    /// What is sealed before it is recorded.
    #[must_use]
    pub fn seals(&self) -> &Seals {
        &self.seals
    }

    /// The relationships that a call adds once its effect happened. None of a read.
    #[must_use]
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// The operation of an HTTP API that the tool is, where it is one.
    #[must_use]
    pub fn http(&self) -> Option<&Operation> {
        self.http.as_ref()
    }

    /// The digest of the definition that this entry makes for itself, where it is an operation of an HTTP API.
    #[must_use]
    pub fn own_definition(&self) -> Option<Digest> {
        let definition = crate::definition(self)?.canonical().ok()?;
        Some(Digest::of(definition.as_bytes()))
    }

    /// As JSON, for reports and digests of releases.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let Self {
            name: _,
            upstream,
            tool,
            action,
            effect,
            resources,
            credential,
            accepts,
            arguments,
            guard,
            resolver,
            whole,
            fields,
            labels: _,
            writes,
            limits,
            seals,
            http,
        } = self;
        let resources = resources.iter().map(|resource| {
            let id = match &resource.id {
                IdFrom::Argument(name) => format!("$args.{name}"),
                IdFrom::Source(Source::Constant(value)) => value.as_str().unwrap_or_default().to_owned(),
                IdFrom::Source(source) => source.to_string(),
            };
            Value::Object(object! { "type" => resource.kind.as_str(), "id" => id })
        });
        let mut result = object! { "labels" => names(whole) };
        if !fields.is_empty() {
            result.insert(
                "fields",
                fields.iter().map(|(path, labels)| (path.to_string(), names(labels))).collect::<Object>(),
            );
        }
        if let Some(Guard { items, owner }) = guard {
            let (kind, path) = match owner {
                Owner::Tenant(path) => ("tenant", path),
                Owner::Resource(path) => ("resource", path),
            };
            result.insert("guard", object! { "items" => items.to_string(), kind => path.to_string() });
        }
        if let Some(seal) = &seals.result {
            seal.write(&mut result);
        }
        let args = arguments.iter().map(|(name, argument)| {
            let mut value = argument.to_value();
            if let (Some(seal), Some(object)) = (seals.arguments.get(name), value.as_object_mut()) {
                seal.write(object);
            }
            (name.clone(), value)
        });
        let mut out = object! {
            "upstream" => upstream.as_str(),
            "tool" => tool,
            "action" => action.as_str(),
            "effect" => effect.as_str(),
            "resources" => Value::Array(resources.collect()),
            "credential" => credential.to_string(),
            "accepts" => Value::Array(accepts.iter().map(|digest| Value::from(digest.to_string())).collect()),
            "args" => args.collect::<Object>(),
            "result" => result,
        };
        if let Some(resolver) = resolver {
            out.insert("resolver", resolver.to_value());
        }
        if !writes.is_empty() {
            out.insert(
                "writes",
                writes.iter().map(|write| Value::from(write.to_string())).collect::<Vec<_>>(),
            );
        }
        limits.write(&mut out);
        if let Some(http) = http {
            out.insert("http", http.to_value());
        }
        Value::Object(out)
    }
}

impl std::fmt::Display for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Vault(name) => write!(f, "vault:{name}"),
            Self::CallToken => f.write_str("call-token"),
            Self::Process => f.write_str("process"),
            Self::None => f.write_str("none"),
        }
    }
}

impl Argument {
    fn to_value(&self) -> Value {
        Value::Object(match self {
            Self::Bound(Source::Constant(value)) => object! { "const" => value.clone() },
            Self::Bound(source) => object! { "bind" => source.to_string() },
            Self::Given { ty, required, attribute } => {
                let mut out = Object::new();
                ty.write(&mut out);
                out.insert("required", *required);
                if let Some(attribute) = attribute {
                    out.insert("attribute", attribute.as_str());
                }
                out
            }
        })
    }
}

fn names(names: &BTreeSet<Name>) -> Value {
    Value::Array(names.iter().map(|name| Value::from(name.as_str())).collect())
}

impl Entry {
    /// Whether every call has an attribute `amount` of no less than zero, so that amounts can be added up; else why not.
    pub fn adds_up(&self) -> Result<(), String> {
        parse::adds_up(&self.arguments)
    }
}
