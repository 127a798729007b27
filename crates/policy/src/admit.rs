//! What an envelope may ask for at all: the pure part of classification, before anything is decided. The gateway asks
//! it of a call as it comes, and a replay asks it again of the record.

use std::sync::Arc;

use placet_catalog::Entry;
use placet_core::{
    Call, Code, DecisionId, Digest, Envelope, FactsView, Grantor, LookedUp, MAX_CHAIN, Name, Reason, Reasons,
    authority::{Attempt, Evidence, Offered},
};
use placet_json::Value;

use crate::{Release, manifest::EngineName};

/// The protocol's method of every call that is admitted.
const METHOD: &str = "tools/call";
/// The most characters that are kept of a name that may be anything.
const MAX_SHOWN: usize = 256;
/// The longest arguments that are kept of a call that was refused, in bytes of JSON; of longer ones only the digest.
pub const MAX_EVIDENCE: usize = 64 << 10;

/// What became of a call that isn't one.
pub type NotAdmitted = Box<(Attempt, Reasons)>;

/// The words for a tool that is missing, hidden or changed: the same, so that nothing can be told from them.
#[must_use]
pub fn unknown_tool(name: &str) -> String {
    format!(
        "there is no tool `{}` here",
        name.chars().filter(|c| !c.is_control()).take(128).collect::<String>()
    )
}

/// What it takes to refuse a tool's call again. Arguments over [`MAX_EVIDENCE`] are cut to their digest, `sha256:…`,
/// which is no JSON: such a refusal can't be made again.
#[must_use]
pub fn evidence(
    upstream: &str,
    tool: &str,
    arguments: &Value,
    offered: Offered,
    lookups: &[LookedUp],
) -> Evidence {
    let text = arguments.to_string();
    let arguments = if text.len() > MAX_EVIDENCE { Digest::of(text.as_bytes()).to_string() } else { text };
    Evidence::Call { upstream: cut(upstream), tool: cut(tool), arguments, offered, lookups: lookups.to_vec() }
}

impl Release {
    /// Makes a call of what was asked, or an attempt with what it takes to refuse it again. `offered` is what the
    /// upstream offers under the tool's name at this moment, `lookups` what was looked up for it.
    #[expect(clippy::too_many_arguments, reason = "each is one independent input of a pure function")]
    #[expect(clippy::needless_pass_by_value, reason = "an identifier is used up by its decision")]
    pub fn admit(
        &self,
        envelope: &Envelope,
        facts: &dyn FactsView,
        id: DecisionId,
        upstream: &str,
        tool: &str,
        arguments: &Value,
        offered: Offered,
        lookups: &[LookedUp],
    ) -> Result<(Call, Arc<Entry>), NotAdmitted> {
        let target = cut(&format!("{upstream}.{tool}"));
        let refuse = |action: &str, resources, reasons| {
            let evidence = evidence(upstream, tool, arguments, offered, lookups);
            let attempt = Attempt {
                id: id.clone(),
                method: METHOD.to_owned(),
                target: target.clone(),
                action: action.to_owned(),
                resources,
                evidence,
            };
            Box::new((attempt, reasons))
        };
        let hidden = |action: &str, why: String| {
            refuse(action, Vec::new(), Reason::platform(Code::ToolUnknown, unknown_tool(tool), why).into())
        };
        let entry = Name::new(upstream).ok().and_then(|upstream| self.catalog().tool(&upstream, tool));
        let entry = entry.ok_or_else(|| hidden(METHOD, format!("the catalog has no entry `{target}`")))?;
        let action = entry.action().as_str();
        self.visible(entry, envelope, facts).map_err(|why| hidden(action, why))?;
        reviewed(entry, offered).map_err(|why| hidden(action, why))?;
        match placet_catalog::classify(entry, envelope, facts, self.digest(), id.clone(), arguments) {
            Ok(call) => {
                let moves = self.moves_on(envelope.workflow(), &call.action, facts);
                Ok((Call { lookups: lookups.to_vec(), moves, ..call }, Arc::clone(entry)))
            }
            Err(refused) => {
                let reasons = crate::lookups::explained(refused.reasons, lookups);
                Err(refuse(action, refused.attempted.resources, reasons))
            }
        }
    }

    /// Whether a tool exists for this envelope: delegation ∩ workflow type ∩ what some policy may grant; else why not,
    /// for operators. Nothing that is visible is thereby permitted.
    pub fn visible(&self, entry: &Entry, envelope: &Envelope, facts: &dyn FactsView) -> Result<(), String> {
        let action = entry.action();
        if !self.may_grant(action) && !crate::waiver::shows(entry, envelope, facts) {
            return Err(format!("no policy of the release can grant `{action}`"));
        }
        let workflow = facts
            .workflow(envelope.workflow())
            .ok_or_else(|| format!("there is no workflow `{}`", envelope.workflow()))?;
        if !self.workflow_types().contains_key(&workflow.kind) {
            return Err(format!("the release has no workflow type `{}`", workflow.kind));
        }
        let mut next = Some(envelope.delegation());
        for _ in 0..MAX_CHAIN {
            let Some(id) = next else { break };
            let delegation = facts.delegation(id).ok_or_else(|| format!("there is no delegation `{id}`"))?;
            if !delegation.scope.actions.contains(action) {
                return Err(format!("the delegation `{id}` doesn't cover `{action}`"));
            }
            next = match &delegation.grantor {
                Grantor::Parent(parent) => Some(parent),
                Grantor::Human => None,
            };
        }
        Ok(())
    }

    /// Whether some policy could ever grant this action.
    #[must_use]
    pub fn may_grant(&self, action: &Name) -> bool {
        let action = action.as_str();
        match self.granter(action) {
            // A rule may compute the action that it is about, so Rego's text can't be an index of what it grants.
            Some(EngineName::Rego) => true,
            Some(EngineName::Cedar) => self.cedar.as_ref().is_some_and(|program| program.may_allow(action)),
            None => false,
        }
    }
}

/// The tool as the upstream offers it must be one that was reviewed.
pub(crate) fn reviewed(entry: &Entry, offered: Offered) -> Result<(), String> {
    let (upstream, tool) = (entry.upstream(), entry.tool());
    if let Some(own) = entry.own_definition() {
        // The release itself is what was reviewed; the upstream must be one that takes operations.
        return match offered {
            Offered::Definition(digest) if digest == own => Ok(()),
            Offered::Definition(_) | Offered::Absent | Offered::Unread => Err(format!(
                "`{tool}` is an operation of an HTTP API, and `{upstream}` isn't `protocol = \"rest\"` in the settings"
            )),
        };
    }
    match offered {
        Offered::Definition(digest) if entry.accepts(&digest) => Ok(()),
        Offered::Definition(digest) => Err(format!(
            "{}: `{upstream}` offers `{tool}` with the definition {digest}, which nobody reviewed; look at it with `placet catalog diff`",
            Code::ToolChanged.as_str()
        )),
        Offered::Absent => Err(format!("`{upstream}` doesn't offer `{tool}` any more")),
        Offered::Unread => Err(format!("the tools of `{upstream}` couldn't be read yet")),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_SHOWN).collect()
}
