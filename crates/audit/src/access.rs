//! What an agent may do now and by what right; and for everybody who reviews it, all agents at once: whose they are,
//! what they were granted, what of it they used.

use std::collections::{BTreeMap, BTreeSet};

use placet_core::{
    Agent, AgentId, Decimal, Delegation, DelegationState, Digest, FactsView, Freeze, Grantor, MAX_CHAIN,
    Name, Standing, TenantId, Timestamp, WorkflowId, WorkflowState,
};
use placet_facts::{Snapshot, World};
use placet_json::{Limits, Value, object};
use placet_policy::Release;
use placet_record::Kind;
use placet_store::{ReadError, Reader};

use crate::extract;

/// What the journal tells of grants and of their use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uses {
    /// The last permit, Unix ms: by agent, tenant, workflow, action.
    last: BTreeMap<(String, String, String, String), u64>,
    /// When a delegation was granted, Unix ms: by tenant and delegation.
    granted: BTreeMap<(String, String), u64>,
    /// When an agent came to be known, Unix ms.
    enrolled: BTreeMap<String, u64>,
}

impl Uses {
    /// Reads a journal once, from its beginning.
    pub fn read(reader: &Reader) -> Result<Self, ReadError> {
        let mut uses = Self::default();
        for record in reader.range(1, reader.last()) {
            let record = record?;
            match Kind::from_tag(record.kind) {
                Some(Kind::Decision) => {
                    let row = extract(&record);
                    if row.decision.as_deref() == Some("permit")
                        && let (Some(agent), Some(workflow), Some(action)) =
                            (row.agent, row.workflow, row.action)
                    {
                        uses.last.insert((agent, record.tree, workflow, action), record.time_ms);
                    }
                }
                Some(Kind::Facts) => uses.facts(&record.payload, &record.tree, record.time_ms),
                Some(
                    Kind::Effect | Kind::Release | Kind::Act | Kind::Refusals | Kind::Amendment | Kind::Gap,
                )
                | None => {}
            }
        }
        Ok(uses)
    }

    fn facts(&mut self, payload: &[u8], tree: &str, time: u64) {
        let Ok(document) = placet_json::parse(payload, &Limits::RESULT) else { return };
        let changes = document.pointer("/transaction/changes").and_then(Value::as_array).unwrap_or_default();
        for change in changes {
            let id = |name: &str| {
                change.get(name).and_then(|of| of.get("id")).and_then(Value::as_str).map(str::to_owned)
            };
            if let Some(delegation) = id("delegation_granted") {
                self.granted.insert((tree.to_owned(), delegation), time);
            }
            if let Some(agent) = id("agent_enrolled") {
                self.enrolled.entry(agent).or_insert(time);
            }
        }
    }

    /// The last permit of an action in a workflow.
    fn of(&self, agent: &AgentId, workflow: &WorkflowId, action: &Name) -> Option<u64> {
        // Records of a decision name the workflow by its local id, the tenant by their tree.
        let key = |workflow: &str| {
            (agent.to_string(), workflow_tenant(workflow).to_owned(), workflow.to_owned(), action.to_string())
        };
        let local = (
            agent.to_string(),
            workflow.tenant().to_string(),
            workflow.local().to_string(),
            action.to_string(),
        );
        self.last.get(&local).or_else(|| self.last.get(&key(&workflow.to_string()))).copied()
    }

    fn last_of(&self, agent: &AgentId) -> Option<u64> {
        self.last.iter().filter(|((of, ..), _)| of == agent.as_str()).map(|(_, time)| *time).max()
    }
}

fn workflow_tenant(workflow: &str) -> &str {
    workflow.split('/').next().unwrap_or(workflow)
}

/// What is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Present<'a> {
    /// The facts.
    pub world: &'a World,
    /// The release in force; none means that nothing is permitted.
    pub release: Option<&'a Release>,
    /// The moment.
    pub now: Timestamp,
}

impl Present<'_> {
    /// What an agent may do now, at most: policies decide on each call. None where there is no such agent.
    #[must_use]
    pub fn can(&self, agent: &AgentId, workflow: Option<&WorkflowId>) -> Option<Value> {
        let known = self.world.organisation().agent(agent)?;
        let grants = self.grants(known, workflow, None);
        let mut document = self.agent(known);
        document.insert("at", self.now.to_string());
        document.insert(
            "release",
            self.release.map_or(Value::Null, |release| {
                Value::from(placet_core::Engine::release(release).to_string())
            }),
        );
        document.insert("revision", self.world.revision().0);
        document.insert("grants", grants);
        Some(Value::Object(document))
    }

    /// All agents, for a periodic review; see [`digest_of`] for what a signature is about.
    #[must_use]
    pub fn access(&self, uses: &Uses) -> Value {
        let agents: Vec<Value> = self
            .world
            .organisation()
            .agents()
            .map(|agent| {
                let mut document = self.agent(agent);
                let last = uses.last_of(&agent.id);
                document.insert("since", moment(uses.enrolled.get(agent.id.as_str()).copied()));
                document.insert("last_use", moment(last));
                let grants = self.grants(agent, None, Some(uses));
                document.insert("findings", findings(&document, &grants, last, self.now));
                document.insert("grants", grants);
                Value::Object(document)
            })
            .collect();
        let digest = digest_of(&agents);
        Value::Object(object! {
            "at" => self.now.to_string(),
            "release" => self.release.map_or(Value::Null, |release| Value::from(placet_core::Engine::release(release).to_string())),
            "revision" => self.world.revision().0,
            "digest" => digest.map_or(Value::Null, |digest| Value::from(digest.to_string())),
            "agents" => agents,
        })
    }

    fn agent(&self, agent: &Agent) -> placet_json::Object {
        let owner = self.world.organisation().human(&agent.owner);
        object! {
            "agent" => agent.id.as_str(), "type" => agent.kind.as_str(), "owner" => agent.owner.as_str(),
            "owner_standing" => owner.map_or("unknown", |owner| owner.standing.as_str()),
            "standing" => agent.standing.as_str(),
            "keys" => u64::try_from(agent.keys.len()).unwrap_or(u64::MAX),
        }
    }

    fn grants(&self, agent: &Agent, only: Option<&WorkflowId>, uses: Option<&Uses>) -> Vec<Value> {
        let mut grants = Vec::new();
        for tenant in self.world.tenants() {
            let Some(snapshot) = self.world.snapshot(tenant.id()) else { continue };
            for delegation in tenant.delegations() {
                let stands = delegation.state == DelegationState::Live && self.now < delegation.scope.ends;
                if delegation.agent == agent.id
                    && stands
                    && only.is_none_or(|workflow| *workflow == delegation.workflow)
                {
                    grants.push(self.grant(tenant.id(), agent, delegation, &snapshot, uses));
                }
            }
        }
        grants
    }

    fn grant(
        &self,
        tenant: &TenantId,
        agent: &Agent,
        delegation: &Delegation,
        facts: &Snapshot,
        uses: Option<&Uses>,
    ) -> Value {
        let chain = chain(delegation, facts);
        let workflow = facts.workflow(&delegation.workflow);
        let kind = workflow.and_then(|workflow| self.release?.workflow_types().get(&workflow.kind));
        let mut actions = delegation.scope.actions.clone();
        let mut intents = delegation.scope.intents.clone();
        let mut limits: BTreeMap<Name, Decimal> = BTreeMap::new();
        for link in &chain {
            actions.retain(|action| link.scope.actions.contains(action));
            intents.retain(|intent| link.scope.intents.contains(intent));
            for (name, limit) in &link.scope.limits {
                let least = limits.entry(name.clone()).or_insert(*limit);
                *least = (*least).min(*limit);
            }
        }
        if let (Some(workflow), Some(kind)) = (workflow, kind) {
            intents.retain(|intent| workflow.intents.contains(intent) && kind.intents.contains(intent));
        }
        let ends = chain.iter().map(|link| link.scope.ends).min().unwrap_or(delegation.scope.ends);
        let ends = match (workflow, kind) {
            (Some(workflow), Some(kind)) => ends.min(kind.ends(workflow)),
            (Some(workflow), None) => ends.min(workflow.ends),
            (None, _) => ends,
        };
        let why_not = self.why_not(agent, &chain, facts);
        let told = actions
            .iter()
            .map(|action| self.action(action, delegation, facts, agent, uses))
            .collect::<Vec<_>>();
        let approvals = kind.into_iter().flat_map(|kind| &kind.approvals).map(|(name, chain)| {
            let steps: Vec<Value> = chain.steps.iter().map(|role| Value::from(role.as_str())).collect();
            Value::Object(object! { "name" => name.as_str(), "roles" => steps })
        });
        let by = chain.iter().map(|link| {
            Value::Object(object! {
                "delegation" => link.id.local().as_str(), "agent" => link.agent.as_str(), "human" => link.human.as_str(),
                "ends" => link.scope.ends.to_string(),
            })
        });
        let names = |names: &BTreeSet<Name>| {
            Value::Array(names.iter().map(|name| Value::from(name.as_str())).collect())
        };
        let mut document = object! {
            "tenant" => tenant.as_str(), "delegation" => delegation.id.local().as_str(), "human" => delegation.human.as_str(),
            "by" => by.collect::<Vec<_>>(),
            "workflow" => workflow.map_or(Value::Null, |workflow| {
                let bindings = workflow.bindings.iter().map(|(kind, id)| Value::from(format!("{kind}:{id}")));
                Value::Object(object! {
                    "id" => workflow.id.local().as_str(), "type" => workflow.kind.as_str(), "owner" => workflow.owner.as_str(),
                    "state" => if workflow.state == WorkflowState::Open { "open" } else { "closed" },
                    "resources" => bindings.collect::<Vec<_>>(),
                })
            }),
            "usable" => why_not.is_empty(),
            "why_not" => why_not.into_iter().map(Value::from).collect::<Vec<_>>(),
            "intents" => names(&intents),
            "actions" => told,
            "limits" => limits.iter().map(|(name, limit)| (name.as_str().to_owned(), limit.to_value())).collect::<placet_json::Object>(),
            "ends" => ends.to_string(),
            "may_delegate" => u64::from(delegation.scope.depth),
            "approvals" => approvals.collect::<Vec<_>>(),
        };
        if let Some(uses) = uses {
            let since = uses.granted.get(&(tenant.to_string(), delegation.id.local().to_string())).copied();
            document.insert("since", moment(since));
            let unused =
                actions.iter().filter(|action| uses.of(&agent.id, &delegation.workflow, action).is_none());
            document.insert("unused", unused.map(|action| Value::from(action.as_str())).collect::<Vec<_>>());
        }
        Value::Object(document)
    }

    fn action(
        &self,
        action: &Name,
        delegation: &Delegation,
        facts: &Snapshot,
        agent: &Agent,
        uses: Option<&Uses>,
    ) -> Value {
        let tools = self.release.into_iter().flat_map(|release| release.catalog().entries());
        let tools = tools.filter(|entry| entry.action() == action).map(|entry| {
            let frozen = facts.frozen(&Freeze::Tool(entry.name().clone()));
            Value::Object(object! { "name" => entry.name().as_str(), "effect" => entry.effect().as_str(), "frozen" => frozen })
        });
        let mut document = object! {
            "action" => action.as_str(),
            "rule" => self.release.is_some_and(|release| release.may_grant(action)),
            "tools" => tools.collect::<Vec<_>>(),
        };
        if let Some(uses) = uses {
            document.insert("last_use", moment(uses.of(&agent.id, &delegation.workflow, action)));
        }
        Value::Object(document)
    }

    /// What makes every call under it a denial at this moment.
    fn why_not(&self, agent: &Agent, chain: &[&Delegation], facts: &Snapshot) -> Vec<String> {
        let mut why = Vec::new();
        if self.release.is_none() {
            why.push("no release is in force".to_owned());
        }
        if agent.keys.is_empty() {
            why.push(format!("`{}` has no key", agent.id));
        }
        for link in chain {
            match facts.agent(&link.agent) {
                Some(of) if of.standing == Standing::Active => {}
                Some(of) => why.push(format!("the agent `{}` is {}", of.id, of.standing.as_str())),
                None => why.push(format!("the agent `{}` isn't known", link.agent)),
            }
            if facts.frozen(&Freeze::Agent(link.agent.clone())) {
                why.push(format!("the agent `{}` is stopped", link.agent));
            }
            if link.state != DelegationState::Live {
                why.push(format!("the delegation `{}` was revoked", link.id.local()));
            } else if self.now >= link.scope.ends {
                why.push(format!("the delegation `{}` has ended", link.id.local()));
            }
        }
        if chain.last().is_some_and(|last| last.grantor != Grantor::Human) {
            why.push("its chain doesn't lead to a person".to_owned());
        }
        let Some(first) = chain.first() else { return why };
        if facts.frozen(&Freeze::All) || facts.frozen(&Freeze::Tenant(first.workflow.tenant().clone())) {
            why.push("everything here is stopped".to_owned());
        }
        match facts.human(&first.human) {
            Some(human) if human.standing == Standing::Active => {}
            Some(human) => why.push(format!("`{}` is {}", human.id, human.standing.as_str())),
            None => why.push(format!("there is no person `{}`", first.human)),
        }
        if !facts.assignment(&first.human).is_some_and(|assignment| assignment.until.lives(self.now)) {
            why.push(format!("`{}` isn't assigned to the tenant", first.human));
        }
        match facts.workflow(&first.workflow) {
            None => why.push("there is no such workflow".to_owned()),
            Some(workflow) => {
                let kind = self.release.and_then(|release| release.workflow_types().get(&workflow.kind));
                if workflow.state != WorkflowState::Open {
                    why.push("the workflow is closed".to_owned());
                } else if self.now >= kind.map_or(workflow.ends, |kind| kind.ends(workflow)) {
                    why.push("the workflow's time is over".to_owned());
                }
                match kind {
                    None => why.push(format!("the release has no workflow type `{}`", workflow.kind)),
                    Some(kind) if kind.state(workflow).is_none() => {
                        why.push("the workflow is in a state in which it takes no calls".to_owned());
                    }
                    Some(kind) => {
                        if !kind.agents.contains(&agent.kind) {
                            why.push(format!(
                                "workflows of type `{}` don't admit a `{}`",
                                kind.name, agent.kind
                            ));
                        }
                    }
                }
            }
        }
        why
    }
}

/// What a reviewer signs: which agents there are, whose, and what they are granted. What passes by itself, such as the
/// last use, isn't part of it.
#[must_use]
pub fn digest_of(agents: &[Value]) -> Option<Digest> {
    let get = |value: &Value, name: &str| value.get(name).cloned().unwrap_or(Value::Null);
    let agents = agents.iter().map(|agent| {
        let grants = agent.get("grants").and_then(Value::as_array).unwrap_or_default().iter().map(|grant| {
            let actions = grant.get("actions").and_then(Value::as_array).unwrap_or_default();
            let actions: Vec<Value> = actions.iter().map(|action| get(action, "action")).collect();
            Value::Object(object! {
                "tenant" => get(grant, "tenant"), "delegation" => get(grant, "delegation"), "human" => get(grant, "human"),
                "by" => get(grant, "by"), "workflow" => grant.get("workflow").map_or(Value::Null, |of| get(of, "id")),
                "actions" => actions, "intents" => get(grant, "intents"), "limits" => get(grant, "limits"), "ends" => get(grant, "ends"),
            })
        });
        Value::Object(object! {
            "agent" => get(agent, "agent"), "type" => get(agent, "type"), "owner" => get(agent, "owner"),
            "standing" => get(agent, "standing"), "keys" => get(agent, "keys"), "grants" => grants.collect::<Vec<_>>(),
        })
    });
    let document = Value::Array(agents.collect()).canonical().ok()?;
    Some(Digest::of(document.as_bytes()))
}

/// From the agent's own delegation up to the person's.
fn chain<'f>(delegation: &'f Delegation, facts: &'f Snapshot) -> Vec<&'f Delegation> {
    let mut chain = vec![delegation];
    let mut current = delegation;
    while let Grantor::Parent(parent) = &current.grantor {
        match facts.delegation(parent) {
            Some(parent) if chain.len() < MAX_CHAIN => {
                chain.push(parent);
                current = parent;
            }
            Some(_) | None => break,
        }
    }
    chain
}

/// What a reviewer should look at.
fn findings(agent: &placet_json::Object, grants: &[Value], last: Option<u64>, now: Timestamp) -> Vec<Value> {
    const MONTH: u64 = 30 * 86_400_000;
    let text = |name: &str| agent.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut found = Vec::new();
    if text("owner_standing") != "active" {
        found.push(Value::from(format!("its owner `{}` is {}", text("owner"), text("owner_standing"))));
    }
    match last {
        None => found.push(Value::from("it was never used")),
        Some(last) if now.millis().saturating_sub(last) > MONTH => {
            found.push(Value::from("it wasn't used for 30 days"));
        }
        Some(_) => {}
    }
    if agent.get("keys").and_then(Value::as_u64) == Some(0) {
        found.push(Value::from("it has no key"));
    }
    let all_unused = grants.iter().filter(|grant| {
        let len = |name: &str| grant.get(name).and_then(Value::as_array).map_or(0, <[Value]>::len);
        len("actions") > 0 && len("unused") == len("actions")
    });
    found.extend(all_unused.map(|grant| {
        let text = |name: &str| grant.get(name).and_then(Value::as_str).unwrap_or_default();
        Value::from(format!(
            "nothing of the delegation `{}/{}` was ever used",
            text("tenant"),
            text("delegation")
        ))
    }));
    found
}

fn moment(millis: Option<u64>) -> Value {
    millis.map_or(Value::Null, |millis| Value::from(Timestamp::from_millis(millis).to_string()))
}

/// The facts of now and the release in force, of a data directory.
pub fn present(data: &crate::Data) -> Result<Result<(World, Option<Digest>), String>, crate::DataError> {
    crate::past::newest(data)
}
