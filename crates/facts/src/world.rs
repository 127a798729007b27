//! The facts of everybody at one moment of the journal, as a value.

use std::{collections::BTreeSet, sync::Arc};

use imbl::OrdMap;
use placet_core::{
    ApprovalId, Decimal, FlowState, Name, RelationModel, Revision, TenantId, Total, WorkflowId,
};
use placet_json::Value;

use crate::{
    ChangeError, Kind, OrgFacts, Place, Snapshot, TenantFacts, Transaction, apply, parse_file, tenant_of,
};

/// The organisation's facts and every tenant's. Only [`World::snapshot`] leads to a decision, and to one tenant only.
#[derive(Debug, Clone, Default)]
pub struct World {
    org: Arc<OrgFacts>,
    tenants: OrdMap<TenantId, Arc<TenantFacts>>,
}

impl World {
    /// Nobody and nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The world after `transaction`, which the journal holds at `revision`, counted from 1. On an error nothing was applied.
    pub fn apply(&self, revision: u64, transaction: &Transaction) -> Result<Self, ChangeError> {
        self.apply_with(revision, transaction, None)
    }

    /// As [`World::apply`], and no tuple is added that `model` doesn't allow.
    pub fn apply_with(
        &self,
        revision: u64,
        transaction: &Transaction,
        model: Option<&RelationModel>,
    ) -> Result<Self, ChangeError> {
        transaction.check_text()?;
        let mut next = self.clone();
        let changes = || transaction.changes.iter().enumerate();
        let at = |i: usize| move |error: ChangeError| error.under(&format!("/changes/{i}"));
        match &transaction.place {
            Place::Organisation => {
                apply::later(self.org.revision, revision)?;
                let mut org = OrgFacts::clone(&self.org);
                for (i, change) in changes() {
                    if !crate::waiver::apply(&mut org, change, &transaction.author).map_err(at(i))? {
                        apply::organisation(&mut org, &mut next.tenants, revision, change).map_err(at(i))?;
                    }
                }
                org.revision = revision;
                next.org = Arc::new(org);
            }
            Place::Tenant(id) => {
                let mut tenant = TenantFacts::clone(self.facts_of(id)?);
                apply::later(tenant.revision, revision)?;
                tenant.revision = revision;
                for (i, change) in changes() {
                    apply::tenant(&mut tenant, &self.org, change, model).map_err(at(i))?;
                }
                next.tenants.insert(id.clone(), Arc::new(tenant));
            }
        }
        Ok(next)
    }

    /// The world that a log folds to: `(journal position, transaction)` in order.
    pub fn fold<'t>(log: impl IntoIterator<Item = (u64, &'t Transaction)>) -> Result<Self, ChangeError> {
        log.into_iter()
            .try_fold(Self::new(), |world, (revision, transaction)| world.apply(revision, transaction))
    }

    /// The world as it was after the journal position `at`: the fold of what stands no later.
    pub fn as_of<'t>(
        log: impl IntoIterator<Item = (u64, &'t Transaction)>,
        at: u64,
    ) -> Result<Self, ChangeError> {
        Self::fold(log.into_iter().take_while(|(revision, _)| *revision <= at))
    }

    /// The world of a facts file alone; see [`parse_file`]. Its tenant, and those that people call home, exist.
    pub fn from_file(file: &Value) -> Result<Self, ChangeError> {
        let transactions = parse_file(file)?;
        let mut world = Self::new();
        for id in tenant_of(file)?.into_iter().chain(transactions.iter().flat_map(apply::homes).cloned()) {
            world.tenants.entry(id.clone()).or_insert_with(|| Arc::new(TenantFacts::new(id, 0)));
        }
        // The file may create these tenants itself, too.
        for id in transactions.iter().flat_map(apply::created) {
            world.tenants.remove(id);
        }
        (1..)
            .zip(&transactions)
            .try_fold(world, |world, (revision, transaction)| world.apply(revision, transaction))
    }

    /// The facts that a decision for `tenant` sees; none where there is no such tenant.
    #[must_use]
    pub fn snapshot(&self, tenant: &TenantId) -> Option<Snapshot> {
        Some(Snapshot::new(self.org.clone(), self.tenants.get(tenant)?.clone()))
    }

    /// The world after a decision, recorded at `position`, that used `approvals`: each is spent once. Revisions stay.
    pub fn spend(&self, position: u64, approvals: &[ApprovalId]) -> Result<Self, ChangeError> {
        let mut next = self.clone();
        for id in approvals {
            let mut tenant = TenantFacts::clone(next.facts_of(id.tenant())?);
            let approval =
                tenant.approval(id).ok_or_else(|| unknown("approval", id.local(), "ask for a new one"))?;
            if !tenant.unspent.contains(&(approval.workflow.local().clone(), id.local().clone())) {
                return Err(ChangeError::conflict(
                    format!("the approval `{id}` is spent"),
                    "ask for a new one",
                ));
            }
            let row = (approval.workflow.local().clone(), id.local().clone());
            tenant.unspent.remove(&row);
            tenant.spent.insert(row.1, position);
            next.tenants.insert(id.tenant().clone(), Arc::new(tenant));
        }
        Ok(next)
    }

    /// The world after it was proven that the call which spent `approvals` at `position` never left: they may be used
    /// again.
    pub fn restore(&self, position: u64, approvals: &[ApprovalId]) -> Result<Self, ChangeError> {
        let mut next = self.clone();
        for id in approvals {
            let mut tenant = TenantFacts::clone(next.facts_of(id.tenant())?);
            let approval = tenant.approval(id).ok_or_else(|| unknown("approval", id.local(), ""))?;
            if tenant.spent.get(id.local()) != Some(&position) {
                return Err(ChangeError::conflict(
                    format!("the approval `{id}` wasn't spent at position {position}"),
                    "",
                ));
            }
            let row = (approval.workflow.local().clone(), id.local().clone());
            tenant.spent.remove(id.local());
            tenant.unspent.insert(row);
            next.tenants.insert(id.tenant().clone(), Arc::new(tenant));
        }
        Ok(next)
    }

    /// The world after a permit, recorded at `position`, of `action` by the tool `entry`, whose result may carry
    /// `labels`; it adds `amount` to the action's total. Labels and sources only grow; revisions stay.
    pub fn permitted(
        &self,
        position: u64,
        workflow: &WorkflowId,
        labels: &BTreeSet<Name>,
        entry: &Name,
        action: &Name,
        amount: Decimal,
    ) -> Result<Self, ChangeError> {
        let mut tenant = TenantFacts::clone(self.facts_of(workflow.tenant())?);
        if tenant.workflow(workflow).is_none() {
            return Err(unknown("workflow", workflow.local(), "open it first"));
        }
        let mut flow = Arc::unwrap_or_clone(tenant.flow(workflow));
        let known = (flow.labels.len(), flow.sources.len());
        if !labels.is_empty() {
            flow.labels.extend(labels.iter().cloned());
            flow.sources.insert(entry.clone());
        }
        // Policy reads sources beside labels, so a new source is news to a decision as well.
        if known != (flow.labels.len(), flow.sources.len()) {
            flow.labels_at = position;
        }
        flow.totals_at = position;
        let total = flow.totals.entry(action.clone()).or_insert(Total { count: 0, amount: Decimal::ZERO });
        total.count = total.count.saturating_add(1);
        total.amount = total.amount.checked_add(amount).ok_or_else(|| {
            ChangeError::new(
                Kind::Conflict,
                format!("the total of `{action}` is beyond what is counted exactly"),
                "open another workflow",
            )
        })?;
        tenant.flows.insert(workflow.local().clone(), Arc::new(flow));
        let mut next = self.clone();
        next.tenants.insert(workflow.tenant().clone(), Arc::new(tenant));
        Ok(next)
    }

    pub(crate) fn with(&self, tenant: TenantFacts) -> Self {
        let mut next = self.clone();
        next.tenants.insert(tenant.id.clone(), Arc::new(tenant));
        next
    }

    /// The organisation's facts.
    #[must_use]
    pub fn organisation(&self) -> &Arc<OrgFacts> {
        &self.org
    }
    /// One tenant's facts.
    #[must_use]
    pub fn tenant(&self, id: &TenantId) -> Option<&Arc<TenantFacts>> {
        self.tenants.get(id)
    }
    /// All tenants, by id.
    pub fn tenants(&self) -> impl Iterator<Item = &Arc<TenantFacts>> {
        self.tenants.values()
    }
    /// What ran through a workflow so far; nothing where there is no such workflow.
    #[must_use]
    pub fn flow(&self, workflow: &WorkflowId) -> Arc<FlowState> {
        self.tenants
            .get(workflow.tenant())
            .map_or_else(|| Arc::new(FlowState::EMPTY), |tenant| tenant.flow(workflow))
    }
    /// The last revision of all.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.tenants().map(|tenant| tenant.revision()).fold(self.org.revision(), Revision::max)
    }

    pub(crate) fn parts(&self) -> (&OrgFacts, &OrdMap<TenantId, Arc<TenantFacts>>) {
        let Self { org, tenants } = self;
        (org, tenants)
    }
    pub(crate) fn of_parts(org: OrgFacts, tenants: OrdMap<TenantId, Arc<TenantFacts>>) -> Self {
        Self { org: Arc::new(org), tenants }
    }

    pub(crate) fn facts_of(&self, id: &TenantId) -> Result<&Arc<TenantFacts>, ChangeError> {
        self.tenants.get(id).ok_or_else(|| unknown("tenant", id.name(), "create it first"))
    }
}

fn unknown(what: &str, id: &Name, remedy: &str) -> ChangeError {
    ChangeError::unknown(format!("there is no {what} `{id}`"), remedy)
}
