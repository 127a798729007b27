//! Lookups and resolvers: what the gateway reads before a call about its resource, and after one about its effect.

use std::{collections::BTreeMap, time::Duration};

use placet_core::{Name, ResourceRef, TenantId};
use placet_json::{Object, Value, object};

use crate::{
    Path, Reading, Type,
    path::{Place, Walked},
};

/// How long a reading holds, unless the lookup says otherwise.
pub const DEFAULT_MAX_AGE: Duration = Duration::from_secs(5);
/// The longest that it may hold.
pub const LONGEST_MAX_AGE: Duration = Duration::from_hours(1);
/// How long a reading may take, unless the lookup says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest that it may take: a call waits for it.
pub const LONGEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How many readings of one lookup are remembered in a tenant, unless it says otherwise.
pub const DEFAULT_KEEP: u32 = 4_096;
/// The most.
pub const MOST_KEPT: u32 = 65_536;
/// How long a reading is remembered, unless the lookup says otherwise.
pub const DEFAULT_KEEP_FOR: Duration = Duration::from_hours(1);
/// The longest.
pub const LONGEST_KEEP_FOR: Duration = Duration::from_hours(24);

/// What is read of resources of one type before a call on one is decided.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// Its name; facts that it found have the source `lookup:NAME`.
    pub name: Name,
    /// The type of resources.
    pub resource: Name,
    /// How.
    pub reading: Reading,
    /// Where the answer names the tenant. Another's is as unknown as none.
    pub tenant: Path,
    /// Where the answer repeats the resource's id, if it does.
    pub id: Option<Path>,
    /// How long what was read holds.
    pub max_age: Duration,
    /// How long reading may take.
    pub timeout: Duration,
    /// How many readings are remembered in a tenant.
    pub keep: u32,
    /// For how long.
    pub keep_for: Duration,
    /// The attributes.
    pub attributes: BTreeMap<Name, Field>,
}

/// Where an attribute stands in an answer, and what it must be.
#[derive(Debug, Clone)]
pub struct Field {
    /// Where.
    pub path: Path,
    /// What it must be.
    pub ty: Type,
    /// Whether it must be there.
    pub required: bool,
}

/// How it is found out whether a call of unknown end had its effect.
#[derive(Debug, Clone)]
pub struct Resolver {
    /// How.
    pub reading: Reading,
    /// What the answer says if it had.
    pub happened: Sign,
    /// What it says if it hadn't; anything else leaves it open.
    pub did_not: DidNot,
}

/// A value at a place of an answer.
#[derive(Debug, Clone)]
pub struct Sign {
    /// Where.
    pub path: Path,
    /// What stands there.
    pub equals: Value,
}

/// How an answer says that there was no effect.
#[derive(Debug, Clone)]
pub enum DidNot {
    /// It never does: a person decides.
    Never,
    /// The document isn't there (HTTP status 404 or 410).
    NotFound,
    /// By this.
    Says(Sign),
}

impl Lookup {
    /// What stands as the source of facts that it found.
    pub fn source(&self) -> Result<Name, String> {
        Name::new(&format!("lookup:{}", self.name)).map_err(|error| error.to_string())
    }

    /// The attributes in an answer about `at`, which must say that it is this tenant's. The error is for operators; it
    /// holds nothing that the upstream said.
    pub fn extract(
        &self,
        tenant: &TenantId,
        at: &ResourceRef,
        answer: &Value,
    ) -> Result<BTreeMap<Name, Value>, String> {
        match single(&self.tenant, answer).map(Value::as_str) {
            Some(Some(id)) if id == tenant.as_str() => {}
            Some(Some(_)) => return Err("it belongs to another tenant".to_owned()),
            Some(None) | None => {
                return Err(format!("the answer doesn't name a tenant at `{}`", self.tenant));
            }
        }
        if let Some(path) = &self.id
            && single(path, answer).and_then(Value::as_str) != Some(at.id.as_str())
        {
            return Err(format!("the answer isn't about this resource: see `{path}`"));
        }
        let mut attributes = BTreeMap::new();
        for (name, field) in &self.attributes {
            match single(&field.path, answer).filter(|value| !value.is_null()) {
                Some(value) => {
                    field.ty.fits(value).map_err(|misfit| {
                        format!(
                            "the attribute `{name}{}` at `{}` {}",
                            misfit.below, field.path, misfit.demand
                        )
                    })?;
                    attributes.insert(name.clone(), value.clone());
                }
                None if field.required => {
                    return Err(format!("the answer has no `{}` for the attribute `{name}`", field.path));
                }
                None => {}
            }
        }
        Ok(attributes)
    }

    pub(crate) fn to_value(&self) -> Value {
        let Self { name: _, resource, reading, tenant, id, max_age, timeout, keep, keep_for, attributes } =
            self;
        let mut out = object! {
            "resource" => resource.as_str(), "reading" => reading.to_value(), "tenant" => tenant.to_string(),
            "max_age_ms" => millis(*max_age), "timeout_ms" => millis(*timeout),
            "keep" => u64::from(*keep), "keep_for_ms" => millis(*keep_for),
        };
        if let Some(id) = id {
            out.insert("id", id.to_string());
        }
        let attributes = attributes.iter().map(|(name, field)| {
            let mut inner = object! { "path" => field.path.to_string(), "required" => field.required };
            field.ty.write(&mut inner);
            (name.as_str().to_owned(), Value::Object(inner))
        });
        out.insert("attributes", attributes.collect::<Object>());
        Value::Object(out)
    }
}

impl Resolver {
    /// What an answer says: whether it happened, or nothing.
    #[must_use]
    pub fn reads(&self, answer: &Value) -> Option<bool> {
        if self.happened.holds(answer) {
            return Some(true);
        }
        match &self.did_not {
            DidNot::Says(sign) if sign.holds(answer) => Some(false),
            DidNot::Says(_) | DidNot::Never | DidNot::NotFound => None,
        }
    }
    /// What it says that there is no such document.
    #[must_use]
    pub fn reads_not_found(&self) -> Option<bool> {
        match self.did_not {
            DidNot::NotFound => Some(false),
            DidNot::Never | DidNot::Says(_) => None,
        }
    }

    pub(crate) fn to_value(&self) -> Value {
        let Self { reading, happened, did_not } = self;
        let did_not = match did_not {
            DidNot::Never => Value::Null,
            DidNot::NotFound => Value::from("not_found"),
            DidNot::Says(sign) => sign.to_value(),
        };
        Value::Object(
            object! { "reading" => reading.to_value(), "happened" => happened.to_value(), "did_not_happen" => did_not },
        )
    }
}

impl Sign {
    fn holds(&self, answer: &Value) -> bool {
        single(&self.path, answer) == Some(&self.equals)
    }
    fn to_value(&self) -> Value {
        Value::Object(object! { "path" => self.path.to_string(), "equals" => self.equals.clone() })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The one value that a path without `[*]` leads to.
fn single<'v>(path: &Path, value: &'v Value) -> Option<&'v Value> {
    let mut found = None;
    let walked: Result<(), Walked<()>> = path.walk(value, |value: &'v Value, _: &Place<'_>| {
        found = Some(value);
        Ok(())
    });
    walked.ok().and(found)
}
