//! Which changes of facts may put a refusal right. They are only proposals: whoever makes them decides again.

use std::collections::{BTreeMap, BTreeSet};

use placet_core::{
    AgentId, Approval, ApprovalId, Assignment, FactsView, Freeze, Grantor, Human, MAX_CHAIN, Name, Resource,
    ResourceRef, Standing, Timestamp, Until,
};
use placet_facts::{Change, Place, Snapshot, parse_tuple};
use placet_json::{Value, object};
use placet_policy::{Edit, FactEdit};
use placet_record::{AskedRecord, DecisionRecord};

use crate::again::Now;

/// How long a proposed approval stands, in milliseconds.
const HOUR: u64 = 3_600_000;

/// One change of facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proposal {
    kind: &'static str,
    text: String,
    pub(crate) place: Place,
    pub(crate) change: Change,
}

impl Proposal {
    pub(crate) fn to_value(&self) -> Value {
        Value::Object(
            object! { "kind" => self.kind, "text" => self.text.as_str(), "fact" => self.change.to_value() },
        )
    }
}

/// What may help against a refusal with this code.
pub(crate) fn proposals(
    code: &str,
    now: &Now,
    record: &DecisionRecord,
    facts: &Snapshot,
    moment: Timestamp,
) -> Vec<Proposal> {
    let grant = &record.grant;
    let tenant = || Place::Tenant(grant.workflow.tenant().clone());
    let organisation = |kind: &'static str, text: String, change: Change| Proposal {
        kind,
        text,
        place: Place::Organisation,
        change,
    };
    match code {
        "delegating_user_inactive" => vec![match facts.human(&grant.human) {
            Some(human) => organisation(
                "person_reinstated",
                format!("reinstate `{}`, who is {}", human.id, human.standing.as_str()),
                Change::HumanStanding { human: human.id.clone(), standing: Standing::Active },
            ),
            None => organisation(
                "person_added",
                format!("add the person `{}`", grant.human),
                Change::HumanSet(Human {
                    id: grant.human.clone(),
                    standing: Standing::Active,
                    home: grant.workflow.tenant().clone(),
                    keys: BTreeSet::new(),
                }),
            ),
        }],
        "tenant_mismatch" => vec![assigned(record, facts, BTreeSet::new())],
        "agent_inactive" => agents(record, facts)
            .into_iter()
            .filter(|agent| facts.agent(agent).is_some_and(|agent| agent.standing != Standing::Active))
            .map(|agent| {
                organisation(
                    "agent_resumed",
                    format!("let the agent `{agent}` go on"),
                    Change::AgentStanding { agent, standing: Standing::Active },
                )
            })
            .collect(),
        "frozen" => freezes(record, facts)
            .into_iter()
            .filter(|what| facts.frozen(what))
            .map(|what| organisation("unfrozen", format!("end the stop {what:?}"), Change::Unfrozen(what)))
            .collect(),
        "resource_unknown" => {
            let AskedRecord::Call(call) = &record.asked else { return Vec::new() };
            let unknown = call.resources.iter().filter(|at| facts.resource(at).is_none());
            unknown
                .map(|at| Proposal {
                    kind: "resource_added",
                    text: format!("make the resource `{at}` known"),
                    place: tenant(),
                    change: Change::ResourceSet(Resource {
                        at: at.clone(),
                        attributes: BTreeMap::new(),
                        known: placet_core::Known::Told,
                    }),
                })
                .collect()
        }
        _ => approval(now, record, facts, moment).into_iter().collect(),
    }
}

/// What a change of the input is as a change of facts; none where it is none.
pub(crate) fn of_edit(edit: &Edit, record: &DecisionRecord, facts: &Snapshot) -> Option<Proposal> {
    let tenant = Place::Tenant(record.grant.workflow.tenant().clone());
    match edit {
        Edit::Fact(FactEdit::TupleAdded(tuple)) => Some(Proposal {
            kind: edit.kind(),
            text: edit.told(),
            place: tenant,
            change: Change::TupleAdded(parse_tuple(tuple).ok()?),
        }),
        Edit::Fact(FactEdit::TupleRemoved(tuple)) => Some(Proposal {
            kind: edit.kind(),
            text: edit.told(),
            place: tenant,
            change: Change::TupleRemoved(parse_tuple(tuple).ok()?),
        }),
        Edit::Set { path, value, .. } => {
            let steps: Vec<&str> = path.iter().map(String::as_str).collect();
            match steps.as_slice() {
                ["delegating_user", "roles", "-"] => {
                    Some(assigned(record, facts, BTreeSet::from([Name::new(value.as_str()?).ok()?])))
                }
                ["resource", attribute] => {
                    let input = record.input.as_ref()?;
                    let text = |pointer: &str| Name::new(input.pointer(pointer)?.as_str()?).ok();
                    let at = ResourceRef { kind: text("/resource/type")?, id: text("/resource/id")? };
                    let mut resource = facts.resource(&at)?.clone();
                    resource.attributes.insert(Name::new(attribute).ok()?, value.clone());
                    let text = format!("set `{attribute}` of `{at}` to {value}");
                    Some(Proposal {
                        kind: edit.kind(),
                        text,
                        place: tenant,
                        change: Change::ResourceSet(resource),
                    })
                }
                _ => None,
            }
        }
        Edit::Remove { .. } => None,
    }
}

/// The person with these roles besides their own.
fn assigned(record: &DecisionRecord, facts: &Snapshot, more: BTreeSet<Name>) -> Proposal {
    let human = record.grant.human.clone();
    let present = facts.facts().assignment(&human);
    let mut roles = present.map(|assignment| assignment.roles.clone()).unwrap_or_default();
    let names: Vec<&str> = more.iter().map(Name::as_str).collect();
    let text = if more.is_empty() {
        format!("assign `{human}` to the tenant `{}`", record.grant.workflow.tenant())
    } else {
        format!("assign the role `{}` to `{human}`", names.join("`, `"))
    };
    roles.extend(more);
    Proposal {
        kind: "role_assigned",
        text,
        place: Place::Tenant(record.grant.workflow.tenant().clone()),
        change: Change::AssignmentSet(Assignment { human, roles, until: Until::Ended }),
    }
}

/// The next yes of the approval that the refusal names, by somebody who has the role.
fn approval(now: &Now, record: &DecisionRecord, facts: &Snapshot, moment: Timestamp) -> Option<Proposal> {
    let remedy = now.remedy.as_ref()?;
    let workflow = &record.grant.workflow;
    let given: Vec<&Approval> = facts
        .approvals(workflow)
        .into_iter()
        .filter(|approval| approval.name == remedy.approval && approval.covers == remedy.covers)
        .collect();
    let may = |assignment: &&Assignment| {
        assignment.roles.contains(&remedy.role)
            && assignment.until.lives(moment)
            && assignment.human != record.grant.human
            && facts.human(&assignment.human).is_some_and(|human| human.standing == Standing::Active)
            && given.iter().all(|approval| approval.approver != assignment.human)
    };
    let approver = facts.facts().assignments().find(may)?.human.clone();
    let step = u64::try_from(remedy.given).unwrap_or(0).saturating_add(1);
    let id = ApprovalId::new(workflow.tenant().clone(), Name::new(&format!("explained-{step}")).ok()?);
    let text = format!(
        "approval `{}` for exactly this call, by `{approver}` in the role `{}`",
        remedy.approval, remedy.role
    );
    let change = Change::ApprovalGiven(Approval {
        id,
        name: remedy.approval.clone(),
        workflow: workflow.clone(),
        approver,
        role: remedy.role.clone(),
        covers: remedy.covers,
        ends: moment.plus_millis(HOUR),
        follows: if remedy.given == 0 { None } else { given.last().map(|approval| approval.id.clone()) },
    });
    Some(Proposal { kind: "approval_given", text, place: Place::Tenant(workflow.tenant().clone()), change })
}

/// The agents of the chain, the acting one first.
fn agents(record: &DecisionRecord, facts: &Snapshot) -> Vec<AgentId> {
    let mut agents = vec![record.grant.agent.clone()];
    let mut current = facts.delegation(&record.grant.delegation);
    while let Some(delegation) = current.filter(|_| agents.len() <= MAX_CHAIN) {
        if !agents.contains(&delegation.agent) {
            agents.push(delegation.agent.clone());
        }
        current = match &delegation.grantor {
            Grantor::Parent(parent) => facts.delegation(parent),
            Grantor::Human => None,
        };
    }
    agents
}

fn freezes(record: &DecisionRecord, facts: &Snapshot) -> Vec<Freeze> {
    let mut all = vec![Freeze::All, Freeze::Tenant(record.grant.workflow.tenant().clone())];
    if let AskedRecord::Call(call) = &record.asked {
        all.push(Freeze::Tool(call.entry.clone()));
        all.push(Freeze::Upstream(call.upstream.clone()));
    }
    all.extend(agents(record, facts).into_iter().map(Freeze::Agent));
    all
}
