//! The policy: one rule for each combination that was seen.

use std::fmt::Write as _;

use super::seen::Seen;

pub(super) const MANIFEST: &str = "\
# Drafted from what agents did. For review: what was seen isn't what is right.
name = \"draft\"

[rego]
version = \"v1\"
entrypoints = [\"draft.authz\"]
";

pub(super) const TESTS: &str = "\
package draft.authz_test

import data.draft.authz

test_nothing_is_allowed_by_default if {
	not authz.allow with input as {\"action\": \"something_else\"}
}
";

const HEAD: &str = "\
# Drafted from what agents did: each rule permits one action to one type of agent, in one type of work, for one purpose,
# on one type of resource, for people with a role that they had. Argument ranges stand in the catalog.
package draft.authz

default allow := false

own_tenant if input.resource.tenant_id == input.workflow.tenant_id
";

/// The module.
pub(super) fn rules(seen: &Seen) -> String {
    let mut out = HEAD.to_owned();
    for (rule, roles) in &seen.rules {
        let tools: Vec<&str> = roles.tools.iter().map(placet_core::Name::as_str).collect();
        let _infallible = write!(
            out,
            "\n# {} calls: {}\nallow if {{\n\tinput.action == {}\n\tinput.agent.type == {}\n\tinput.intent == {}\n\tinput.workflow.type == {}\n\tinput.resource.type == {}\n\town_tenant\n",
            roles.calls,
            tools.join(", "),
            quoted(&rule.action),
            quoted(&rule.agent),
            quoted(&rule.intent),
            quoted(&rule.work),
            quoted(&rule.resource),
        );
        if let Some(wanted) = roles.wanted() {
            let wanted: Vec<String> = wanted.iter().map(|role| quoted(role)).collect();
            let _infallible = write!(
                out,
                "\tsome role in input.delegating_user.roles\n\trole in {{{}}}\n",
                wanted.join(", ")
            );
        }
        out.push_str("}\n");
    }
    out
}

pub(super) fn quoted(text: &str) -> String {
    let mut out = String::new();
    placet_json::write_string(text, &mut out);
    out
}
