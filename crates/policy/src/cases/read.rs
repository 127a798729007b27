//! The cases as they are written.

use std::collections::BTreeMap;

use placet_core::{Decimal, Name, Per, Total};
use placet_json::Value;
use serde::Deserialize;

use super::property::PropertyCase;
use crate::{finding::Finding, yaml::Yaml};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(super) name: String,
    pub(super) at: Option<String>,
    /// Which environment the server says that it is; without it none.
    pub(super) environment: Option<String>,
    pub(super) facts: Option<Yaml>,
    pub(super) input: Option<Yaml>,
    pub(super) envelope: Option<EnvelopeCase>,
    pub(super) call: Option<CallCase>,
    pub(super) workflow: Option<EnvelopeCase>,
    pub(super) path: Option<Vec<Step>>,
    /// What was permitted before: by what it is added up over and action.
    #[serde(default)]
    pub(super) totals: TotalsCase,
    pub(super) expect: Option<Expect>,
    #[serde(default)]
    pub(super) because: Vec<String>,
    /// What holds for every input that fits, generated.
    pub(super) property: Option<PropertyCase>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnvelopeCase {
    pub(super) human: String,
    pub(super) agent: String,
    pub(super) delegation: String,
    pub(super) workflow: String,
    pub(super) intent: String,
    /// The thumbprint of the key that signed; without it, one of the agent's.
    pub(super) key: Option<String>,
}

/// What was permitted before a case begins, by action.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TotalsCase {
    #[serde(default)]
    pub(super) workflow: BTreeMap<Name, TotalCase>,
    #[serde(default)]
    pub(super) human_day: BTreeMap<Name, TotalCase>,
    #[serde(default)]
    pub(super) agent_day: BTreeMap<Name, TotalCase>,
    #[serde(default)]
    pub(super) tool_day: BTreeMap<Name, TotalCase>,
    #[serde(default)]
    pub(super) tenant_day: BTreeMap<Name, TotalCase>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TotalCase {
    pub(super) count: u64,
    pub(super) amount: Option<Yaml>,
}

impl TotalsCase {
    pub(super) fn of(&self, per: Per) -> &BTreeMap<Name, TotalCase> {
        match per {
            Per::Workflow => &self.workflow,
            Per::HumanDay => &self.human_day,
            Per::AgentDay => &self.agent_day,
            Per::ToolDay => &self.tool_day,
            Per::TenantDay => &self.tenant_day,
        }
    }
    pub(super) fn is_empty(&self) -> bool {
        Per::ALL.iter().all(|per| self.of(*per).is_empty())
    }
}

impl TotalCase {
    pub(super) fn total(&self) -> Result<Total, String> {
        let amount = match self.amount.as_ref().map(|amount| &amount.0) {
            None => Ok(Decimal::ZERO),
            Some(Value::Number(number)) => Decimal::from_number(number),
            Some(other) => Decimal::parse(other.as_str().unwrap_or_default()),
        };
        Ok(Total { count: self.count, amount: amount.map_err(|error| format!("`totals`: {error}"))? })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallCase {
    pub(super) tool: String,
    pub(super) args: Yaml,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    pub(super) tool: String,
    pub(super) args: Yaml,
    /// What the tool answers, checked by the catalog's result guard.
    pub(super) returns: Option<Yaml>,
    pub(super) expect: Expect,
    #[serde(default)]
    pub(super) because: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Expect {
    Permit,
    Deny,
}

/// Whether a file of a release holds cases.
pub(crate) fn is_cases(path: &str) -> bool {
    path.starts_with("tests/") && path.strip_suffix(".yaml").is_some()
}

/// Reads a file of cases. A key that isn't known, or a case of no kind or of two, is an error.
pub(crate) fn parse(file: &str, text: &str) -> Result<Vec<Case>, Finding> {
    let cases: Vec<Case> = serde_saphyr::from_str(text).map_err(|error| {
        let at = error.location().map_or((0, 0), |location| {
            (u32::try_from(location.line()).unwrap_or(0), u32::try_from(location.column()).unwrap_or(0))
        });
        Finding::error(file, at, error.to_string().lines().next().unwrap_or_default().to_owned(), "")
    })?;
    for case in &cases {
        let kinds = [
            case.input.is_some(),
            case.envelope.is_some() && case.call.is_some(),
            case.workflow.is_some() && case.path.is_some(),
            case.property.is_some(),
        ];
        let stray =
            case.envelope.is_some() != case.call.is_some() || case.workflow.is_some() != case.path.is_some();
        if kinds.iter().filter(|kind| **kind).count() != 1 || stray {
            return Err(Finding::error(
                file,
                (0, 0),
                format!(
                    "the case `{}` needs exactly one of `input`, `envelope` with `call`, `workflow` with `path`, `property`",
                    case.name
                ),
                "",
            ));
        }
        if case.path.is_some() == case.expect.is_some() || (case.path.is_some() && !case.because.is_empty()) {
            return Err(Finding::error(
                file,
                (0, 0),
                format!("the case `{}` says `expect` in the wrong place", case.name),
                "a path says it at each step, any other case once",
            ));
        }
        if case.input.is_some() && !case.totals.is_empty() {
            return Err(Finding::error(
                file,
                (0, 0),
                format!("the case `{}` decides on an input, and says `totals` beside it", case.name),
                "write them in the input: `workflow.totals` and `totals`",
            ));
        }
        if case.path.as_ref().is_some_and(Vec::is_empty) {
            return Err(Finding::error(
                file,
                (0, 0),
                format!("the case `{}` has a path without a step", case.name),
                "",
            ));
        }
    }
    Ok(cases)
}
