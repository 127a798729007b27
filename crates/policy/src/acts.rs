//! Which people may stop things, and let them go on: `[acts]` of `release.toml`.
//!
//! An operator may always do both, and the owner of an agent may stop that agent. Everybody else needs a role that is
//! named here, by a live assignment. What reaches beyond one tenant asks for a role in a tenant that is named, so that
//! no tenant's people can stop another's work.

use std::collections::BTreeMap;

use placet_core::{Freeze, Name, TenantId};
use serde::Deserialize;

use crate::{Release, finding::Finding};

/// `[acts]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Acts {
    #[serde(default)]
    freeze: BTreeMap<Target, Vec<Holder>>,
    #[serde(default)]
    unfreeze: BTreeMap<Target, Vec<Holder>>,
}

/// What may be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Target {
    All,
    Tenant,
    Agent,
    Tool,
    Upstream,
}

/// Who: a role in a tenant; without one, in the tenant that is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Holder {
    role: Name,
    tenant: Option<Name>,
}

/// Stop something, or let it go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreezeAct {
    /// Stop it.
    Freeze,
    /// Let it go on.
    Unfreeze,
}

impl Acts {
    pub(crate) fn check(&self, findings: &mut Vec<Finding>) {
        for (act, targets) in [("freeze", &self.freeze), ("unfreeze", &self.unfreeze)] {
            for (target, holders) in targets {
                if *target != Target::Tenant && holders.iter().any(|holder| holder.tenant.is_none()) {
                    let target = format!("{target:?}").to_lowercase();
                    findings.push(Finding::error(
                        "release.toml",
                        (0, 0),
                        format!("`[acts.{act}]`: `{target}` reaches beyond one tenant, and a role there names no tenant"),
                        "write `{ role = \"…\", tenant = \"…\" }`: the tenant in which the role is held",
                    ));
                }
            }
        }
    }
}

impl Release {
    /// The roles, each with its tenant, whose holders may do this.
    #[must_use]
    pub fn may_freeze(&self, act: FreezeAct, what: &Freeze) -> Vec<(Name, TenantId)> {
        let targets = match act {
            FreezeAct::Freeze => &self.acts.freeze,
            FreezeAct::Unfreeze => &self.acts.unfreeze,
        };
        let (target, own) = match what {
            Freeze::All => (Target::All, None),
            Freeze::Tenant(id) => (Target::Tenant, Some(id)),
            Freeze::Agent(_) => (Target::Agent, None),
            Freeze::Tool(_) => (Target::Tool, None),
            Freeze::Upstream(_) => (Target::Upstream, None),
        };
        let holders = targets.get(&target).into_iter().flatten();
        holders
            .filter_map(|holder| {
                let tenant = holder.tenant.clone().map(TenantId::from).or_else(|| own.cloned())?;
                Some((holder.role.clone(), tenant))
            })
            .collect()
    }
}
