//! The policy input of a call, from live facts.

use placet_core::{Approval, Call, Envelope, FactsView, Scope, Timestamp};
use placet_json::{Object, Value, object};

use crate::platform::Standings;

/// The document of a call whose standing was checked. An approval that isn't handed in isn't in it.
pub(crate) fn build(
    envelope: &Envelope,
    call: &Call,
    facts: &dyn FactsView,
    standings: &Standings<'_>,
    approvals: &[Vec<&Approval>],
    now: Timestamp,
) -> Value {
    let tenant = envelope.tenant().as_str();
    let flow = facts.flow(envelope.workflow());
    let mut input = object! {
        "action" => call.action.as_str(),
        "intent" => envelope.intent().as_str(),
    };
    for (name, value) in &call.attributes {
        input.insert(name.as_str(), value.to_value());
    }
    input.insert("tool", object! { "name" => call.entry.as_str(), "upstream" => call.upstream.as_str(), "effect" => call.effect.as_str() });
    input.insert("args", call.arguments.to_value());
    input.insert("agent", object! { "id" => standings.agent.id.as_str(), "type" => standings.agent.kind.as_str(), "owner" => standings.agent.owner.as_str() });
    let mut user = object! {
        "id" => standings.human.id.as_str(),
        "kind" => "user",
        "status" => standings.human.standing.as_str(),
        // The workflow's tenant: a live assignment in it was checked.
        "tenant_id" => tenant,
        "roles" => names(standings.assignment.roles.iter()),
    };
    // The person's own delegation is the last of the chain; what hangs below it was granted in its name.
    if let Some(by) = standings.chain.last().and_then(|root| facts.signed_in(&root.id)) {
        user.insert("signed_in", by);
    }
    input.insert("delegating_user", user);
    let chain = standings.chain.iter().rev().map(|delegation| {
        Value::Object(object! { "agent" => delegation.agent.as_str(), "scope" => actions(&delegation.scope) })
    });
    input.insert("chain", chain.collect::<Vec<_>>());

    let workflow = standings.workflow;
    let mut about = object! {
        "id" => workflow.id.local().as_str(),
        "type" => workflow.kind.as_str(),
        "state" => standings.state,
        "tenant_id" => tenant,
        "owner" => workflow.owner.as_str(),
        "expires_at" => standings.kind.ends(workflow).to_string(),
    };
    for (name, value) in &workflow.attributes {
        about.insert(name.as_str(), value.clone());
    }
    for (kind, attribute) in &standings.kind.binds {
        if let Some(id) = workflow.bindings.get(kind) {
            about.insert(attribute.as_str(), id.as_str());
        }
    }
    for steps in approvals {
        let Some(last) = steps.last() else { continue };
        let ends = steps.iter().fold(last.ends, |ends, step| ends.min(step.ends));
        let mut approval = object! {
            "status" => "approved",
            "approver" => last.approver.as_str(),
            "approver_role" => last.role.as_str(),
            "expires_at" => ends.to_string(),
        };
        if steps.len() > 1 {
            let steps = steps.iter().map(|step| {
                Value::from(object! { "approver" => step.approver.as_str(), "role" => step.role.as_str() })
            });
            approval.insert("steps", Value::Array(steps.collect()));
        }
        about.insert(last.name.as_str(), approval);
    }
    let totals: Object = flow
        .totals
        .iter()
        .map(|(action, total)| {
            (
                action.as_str(),
                Value::Object(object! { "count" => total.count, "amount" => total.amount.to_value() }),
            )
        })
        .collect();
    about.insert("totals", totals);
    input.insert("workflow", about);

    let resources: Vec<Value> = standings
        .resources
        .iter()
        .map(|resource| {
            let mut document = object! { "type" => resource.at.kind.as_str(), "id" => resource.at.id.as_str(), "tenant_id" => tenant };
            for (name, value) in &resource.attributes {
                document.insert(name.as_str(), value.clone());
            }
            Value::Object(document)
        })
        .collect();
    // A tool that acts on no resource acts on its workflow.
    let first = resources.first().cloned().unwrap_or_else(|| {
        Value::Object(
            object! { "type" => "workflow", "id" => workflow.id.local().as_str(), "tenant_id" => tenant },
        )
    });
    input.insert("resource", first);
    input.insert("resources", resources);
    input.insert(
        "flow",
        object! { "labels" => names(flow.labels.iter()), "sources" => names(flow.sources.iter()) },
    );
    input.insert("time", now.to_string());
    Value::Object(input)
}

fn names<'a>(names: impl Iterator<Item = &'a placet_core::Name>) -> Vec<Value> {
    names.map(|name| Value::from(name.as_str())).collect()
}

fn actions(scope: &Scope) -> Vec<Value> {
    names(scope.actions.iter())
}
