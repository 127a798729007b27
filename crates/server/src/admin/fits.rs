//! Whether what people want to become a fact fits the release in force: workflows of known types, delegations to agents
//! that their type admits.

use std::sync::Arc;

use http::StatusCode;
use placet_core::{Delegation, DelegationState, TenantId, Timestamp, Workflow, WorkflowState};
use placet_facts::{Change, Place, SessionChange, Transaction, World};
use placet_policy::{Release, Unfit};

use super::{Admin, error::ApiError};

impl From<Unfit> for ApiError {
    fn from(unfit: Unfit) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "type_refused", unfit.to_string(), unfit.remedy)
    }
}

/// The release in force: without one there is no type of workflows that anything could be of.
pub(super) fn in_force(admin: &Admin) -> Result<Arc<Release>, ApiError> {
    admin.books.release().ok_or_else(|| {
        ApiError::conflict(
            "no release is in force, so no type of workflows is known",
            "promote one first: `placet promote`",
        )
    })
}

/// A workflow that somebody opens now: it begins in its type's first state.
pub(super) fn workflow(admin: &Admin, workflow: &mut Workflow, now: Timestamp) -> Result<(), ApiError> {
    let release = in_force(admin)?;
    let kind = release.workflow_types().get(&workflow.kind);
    let first = kind.and_then(|kind| Some(kind.states.as_ref()?.initial.clone()));
    if let (Some(stage), Some(first)) = (&workflow.stage, &first)
        && stage != first
    {
        return Err(Unfit {
            path: "/stage".to_owned(),
            message: format!("is `{stage}`, and a workflow of type `{}` begins as `{first}`", workflow.kind),
            remedy: "leave it out, then move it".to_owned(),
        }
        .into());
    }
    release.admits_workflow(workflow, now)?;
    workflow.stage = first;
    Ok(())
}

/// A delegation that somebody grants now.
pub(super) fn delegation(
    admin: &Admin,
    delegation: &Delegation,
    workflow: &Workflow,
    world: &World,
) -> Result<(), ApiError> {
    let release = in_force(admin)?;
    match world.organisation().agent(&delegation.agent) {
        Some(agent) => Ok(release.admits_delegation(delegation, workflow, agent)?),
        // The facts themselves say that it is unknown.
        None => Ok(()),
    }
}

/// What a transaction as a whole leaves open or live, and what nobody can write for another. `world` is the one after
/// it. Without a release in force nothing is of any type, and every decision says so.
pub(super) fn transaction(
    admin: &Admin,
    transaction: &Transaction,
    world: &World,
    now: Timestamp,
) -> Result<(), ApiError> {
    for (i, change) in transaction.changes.iter().enumerate() {
        let at =
            |error: ApiError| ApiError { message: format!("`/changes/{i}`: {}", error.message), ..error };
        one(admin, &transaction.place, change, world, now).map_err(at)?;
    }
    Ok(())
}

fn one(admin: &Admin, place: &Place, change: &Change, world: &World, now: Timestamp) -> Result<(), ApiError> {
    let release = admin.books.release();
    let tenant = |id: &TenantId| world.tenant(id).map(|facts| &**facts);
    match (place, change, release) {
        (_, Change::ApprovalGiven(_), _) => Err(ApiError::forbidden(
            "an approval is a person's own act, and nobody writes it for them",
            "let them approve: `placet approve DECISION --as HUMAN --key THEIR-KEY`",
        )),
        (_, Change::EnrolmentOffered(_) | Change::EnrolmentTaken { .. }, _) => Err(ApiError::forbidden(
            "an enrolment code is handed out and taken by the server",
            "ask for one: `placet agent enrol`",
        )),
        (_, Change::Session(SessionChange::Began(_)) | Change::Consent(_), _) => Err(ApiError::forbidden(
            "signing in and consenting are people's own acts, and nobody writes them for them",
            "let them sign in and answer in their browser",
        )),
        (_, Change::WorkflowMoved(_), _) => Err(ApiError::forbidden(
            "who may move a workflow is its type's to say",
            "move it: `placet workflow move TENANT/WORKFLOW STATE`",
        )),
        (Place::Tenant(id), Change::WorkflowOpened(opened), Some(release)) => {
            match tenant(id).and_then(|facts| facts.workflow(&opened.id)) {
                Some(known) if known.state == WorkflowState::Open => {
                    Ok(release.admits_workflow(opened, now)?)
                }
                Some(_) | None => Ok(()),
            }
        }
        (Place::Tenant(id), Change::DelegationGranted(granted), Some(release)) => {
            let facts = tenant(id);
            let live = facts.and_then(|facts| facts.delegation(&granted.id));
            let workflow = facts.and_then(|facts| facts.workflow(&granted.workflow));
            let agent = world.organisation().agent(&granted.agent);
            match (live, workflow, agent) {
                (Some(live), Some(workflow), Some(agent))
                    if live.state == DelegationState::Live && workflow.state == WorkflowState::Open =>
                {
                    Ok(release.admits_delegation(granted, workflow, agent)?)
                }
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}
