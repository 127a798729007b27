//! What is checked before any policy is asked.

use placet_core::{
    AgentId, Call, Delegation, DelegationId, FactsView, HumanId, Timestamp, Verdict, WorkflowId,
};
use placet_policy::Release;

use crate::common::{
    LARGE, SMALL, acme, after, at, built, classify, codes, decide, decide_after, grant, name, now, open,
    snapshot, world,
};

/// The code of a small refund that was classified before a change, and is decided after it.
fn code_after(release: &Release, change: &str) -> Vec<String> {
    let world = world();
    let (before, moved) = (snapshot(&world), snapshot(&after(&world, change)));
    codes(&decide_after(release, &open(grant()), &before, &moved, SMALL, now()))
}

#[test]
fn del_2_every_fact_that_goes_denies_the_next_call_by_its_name() {
    let release = built("demo");
    assert!(codes(&decide(&release, &open(grant()), &snapshot(&world()), SMALL)).is_empty());
    for (change, code) in [
        (r#"{"frozen":{"what":"all"}}"#, "frozen"),
        (r#"{"frozen":{"what":{"tenant":"acme"}}}"#, "frozen"),
        (r#"{"frozen":{"what":{"agent":"agent-7"}}}"#, "frozen"),
        (r#"{"frozen":{"what":{"tool":"billing.refund"}}}"#, "frozen"),
        (r#"{"frozen":{"what":{"upstream":"billing"}}}"#, "frozen"),
        (r#"{"agent_standing":{"agent":"agent-7","standing":"suspended"}}"#, "agent_inactive"),
        (r#"{"human_standing":{"human":"maya","standing":"suspended"}}"#, "delegating_user_inactive"),
        (r#"{"human_standing":{"human":"maya","standing":"deactivated"}}"#, "delegating_user_inactive"),
        (r#"{"assignment_removed":{"human":"maya"}}"#, "tenant_mismatch"),
        (
            r#"{"assignment_set":{"human":"maya","roles":["support"],"until":"2026-03-01T09:30:00Z"}}"#,
            "tenant_mismatch",
        ),
        (r#"{"delegation_revoked":{"id":"dg-1"}}"#, "delegation_revoked"),
        (r#"{"workflow_closed":{"id":"wf-9"}}"#, "workflow_closed"),
        (r#"{"resource_removed":{"type":"support_case","id":"CASE-1837"}}"#, "resource_unknown"),
        (
            r#"{"resource_set":{"type":"support_case","id":"CASE-1837","attributes":{"case_id":"CASE-1837","customer_id":"cust-999"}}}"#,
            "binding_changed",
        ),
    ] {
        assert_eq!(code_after(&release, change), [code], "{change}");
    }
    // A freeze of something else changes nothing.
    assert!(code_after(&release, r#"{"frozen":{"what":{"tool":"crm.get_case"}}}"#).is_empty());
}

#[test]
fn the_envelope_must_fit_the_facts() {
    let release = built("demo");
    let facts = snapshot(&world());
    let of = |change: &dyn Fn(&mut placet_core::Grant)| {
        let mut grant = grant();
        change(&mut grant);
        codes(&decide(&release, &open(grant), &facts, SMALL))
    };
    assert_eq!(of(&|grant| grant.key = "A".repeat(43)), ["agent_unknown"]);
    assert_eq!(of(&|grant| grant.agent = AgentId::new("agent-8").unwrap()), ["delegation_unknown"]);
    assert_eq!(of(&|grant| grant.human = HumanId::new("omar").unwrap()), ["delegation_unknown"]);
    assert_eq!(
        of(&|grant| grant.delegation = DelegationId::new(acme(), name("dg-3"))),
        ["delegation_unknown"]
    );
    assert_eq!(
        of(&|grant| grant.delegation = DelegationId::new(acme(), name("dg-0"))),
        ["delegation_unknown"]
    );
    assert_eq!(of(&|grant| grant.intent = name("marketing")), ["intent_not_declared"]);
    let late =
        |moment: &str| codes(&decide_after(&release, &open(grant()), &facts, &facts, SMALL, at(moment)));
    assert_eq!(late("2026-03-01T12:00:00Z"), ["delegation_expired"]);
    let call = classify(&release, &open(grant()), &facts, SMALL.0, SMALL.1).unwrap();
    let mut stale = grant();
    stale.expires = at("2026-03-01T09:31:00Z");
    let envelope = open(stale);
    assert_eq!(
        codes(
            &placet_core::Engine::evaluate(&release, &envelope, &call, &facts, at("2026-03-01T09:31:00Z"))
                .unwrap()
        ),
        ["token_expired"]
    );
    let other = Call { release: placet_core::Digest::of(b"another"), ..call };
    assert_eq!(
        codes(&placet_core::Engine::evaluate(&release, &open(grant()), &other, &facts, now()).unwrap()),
        ["release_changed"]
    );
}

#[test]
fn ten_2_another_tenants_record_is_worded_as_if_it_did_not_exist() {
    let release = built("demo");
    let world = after(&world(), r#"{"human_standing":{"human":"lena","standing":"active"}}"#);
    let facts = snapshot(&world);
    let words = |case: &str| match decide(
        &release,
        &open(grant()),
        &facts,
        ("crm.get_case", &format!(r#"{{"case_id":"{case}"}}"#)),
    )
    .verdict
    {
        Verdict::Deny { reasons, remedy: None, .. } => reasons
            .all()
            .iter()
            .map(|reason| (reason.code.clone(), reason.public.clone()))
            .collect::<Vec<_>>(),
        other @ (Verdict::Allow { .. } | Verdict::Deny { .. }) => panic!("{other:?}"),
    };
    // CASE-9001 is globex's; CASE-9999 is nobody's.
    assert_eq!(words("CASE-9001"), words("CASE-9999"));
    assert_eq!(words("CASE-9001").first().unwrap().0, "resource_unknown");
}

#[test]
fn another_case_of_the_same_tenant_is_outside_the_workflow() {
    let facts = snapshot(&world());
    assert_eq!(
        codes(&decide(
            &built("demo"),
            &open(grant()),
            &facts,
            ("billing.refund", r#"{"case_id":"CASE-2001","amount":80}"#)
        )),
        ["resource_outside_workflow"]
    );
}

#[test]
fn limits_and_actions_of_a_delegation_bind() {
    let facts = snapshot(&world());
    let release = built("demo");
    assert_eq!(
        codes(&decide(
            &release,
            &open(grant()),
            &facts,
            ("billing.refund", r#"{"case_id":"CASE-1837","amount":500.01}"#)
        )),
        ["delegation_limit"]
    );
    let narrow = after(
        &world(),
        r#"{"delegation_granted":{"id":"dg-9","human":"maya","agent":"agent-7","workflow":"wf-9","grantor":"human","scope":{"actions":["summarize_case"],"intents":["support_case_resolution"],"limits":{},"ends":"2026-03-01T12:00:00Z","depth":0}}}"#,
    );
    let mut other = grant();
    other.delegation = DelegationId::new(acme(), name("dg-9"));
    assert_eq!(codes(&decide(&release, &open(other), &snapshot(&narrow), SMALL)), ["action_not_delegated"]);
}

/// Facts in which one delegation hangs on another that was never so wide.
struct Forged<'a> {
    facts: &'a dyn FactsView,
    forged: Vec<Delegation>,
}

impl FactsView for Forged<'_> {
    fn delegation(&self, id: &DelegationId) -> Option<&Delegation> {
        self.forged.iter().find(|delegation| &delegation.id == id).or_else(|| self.facts.delegation(id))
    }
    fn tenant(&self) -> &placet_core::TenantId {
        self.facts.tenant()
    }
    fn revision(&self) -> placet_core::Revision {
        self.facts.revision()
    }
    fn freshness(&self, now: Timestamp) -> placet_core::Freshness {
        if now >= at("2026-03-01T10:00:00Z") {
            placet_core::Freshness::Stale {
                source: name("opal"),
                age: 6_000,
                why: "is 6000 ms old, past its bound of 5000 ms".to_owned(),
            }
        } else {
            self.facts.freshness(now)
        }
    }
    fn human(&self, id: &HumanId) -> Option<&placet_core::Human> {
        self.facts.human(id)
    }
    fn agent(&self, id: &AgentId) -> Option<&placet_core::Agent> {
        self.facts.agent(id)
    }
    fn assignment(&self, human: &HumanId) -> Option<&placet_core::Assignment> {
        self.facts.assignment(human)
    }
    fn workflow(&self, id: &WorkflowId) -> Option<&placet_core::Workflow> {
        self.facts.workflow(id)
    }
    fn approvals(&self, workflow: &WorkflowId) -> Vec<&placet_core::Approval> {
        self.facts.approvals(workflow)
    }
    fn resource(&self, at: &placet_core::ResourceRef) -> Option<&placet_core::Resource> {
        self.facts.resource(at)
    }
    fn frozen(&self, what: &placet_core::Freeze) -> bool {
        self.facts.frozen(what)
    }
    fn flow(&self, workflow: &WorkflowId) -> std::sync::Arc<placet_core::FlowState> {
        self.facts.flow(workflow)
    }
    fn check(
        &self,
        model: &placet_core::RelationModel,
        object: &placet_core::ResourceRef,
        relation: &placet_core::Name,
        subject: &placet_core::ResourceRef,
    ) -> Result<bool, placet_core::CheckError> {
        self.facts.check(model, object, relation, subject)
    }
    fn slice(&self, at: &placet_core::ResourceRef) -> placet_json::Value {
        self.facts.slice(at)
    }
}

#[test]
fn del_1_a_forged_chain_is_denied_whatever_is_wider_in_it() {
    let release = built("demo");
    let facts = snapshot(&world());
    let id = |text: &str| DelegationId::new(acme(), name(text));
    let base = facts.delegation(&id("dg-1")).unwrap().clone();
    let mut parent = base.clone();
    parent.id = id("up");
    parent.agent = AgentId::new("planner-1").unwrap();
    parent.scope.depth = 1;
    let mut child = base;
    child.grantor = placet_core::Grantor::Parent(parent.id.clone());
    let outcome = |parent: &Delegation, child: &Delegation| {
        let forged = Forged { facts: &facts, forged: vec![parent.clone(), child.clone()] };
        codes(&decide(&release, &open(grant()), &forged, SMALL))
    };
    assert!(outcome(&parent, &child).is_empty(), "an honest chain: {:?}", outcome(&parent, &child));
    let wider = |change: &dyn Fn(&mut Delegation)| {
        let mut child = child.clone();
        change(&mut child);
        outcome(&parent, &child)
    };
    assert_eq!(
        wider(&|child| {
            child.scope.actions.insert(name("delete_everything"));
        }),
        ["chain_invalid"]
    );
    assert_eq!(
        wider(&|child| {
            child.scope.intents.insert(name("marketing"));
        }),
        ["chain_invalid"]
    );
    assert_eq!(wider(&|child| child.scope.limits.clear()), ["chain_invalid"]);
    assert_eq!(wider(&|child| child.scope.ends = at("2026-03-01T12:00:01Z")), ["chain_invalid"]);
    assert_eq!(wider(&|child| child.scope.depth = 1), ["chain_invalid"]);
    assert_eq!(
        wider(&|child| child.grantor = placet_core::Grantor::Parent(child.id.clone())),
        ["chain_invalid"]
    );
    assert_eq!(
        wider(
            &|child| child.grantor = placet_core::Grantor::Parent(DelegationId::new(acme(), name("nowhere")))
        ),
        ["chain_invalid"]
    );
    let above = |change: &dyn Fn(&mut Delegation)| {
        let mut parent = parent.clone();
        change(&mut parent);
        outcome(&parent, &child)
    };
    assert_eq!(above(&|parent| parent.human = HumanId::new("omar").unwrap()), ["chain_invalid"]);
    assert_eq!(above(&|parent| parent.workflow = WorkflowId::new(acme(), name("wf-7"))), ["chain_invalid"]);
    assert_eq!(above(&|parent| parent.state = placet_core::DelegationState::Revoked), ["delegation_revoked"]);
    assert_eq!(above(&|parent| parent.scope.ends = now()), ["delegation_expired"]);
    assert_eq!(
        above(&|parent| {
            parent.scope.actions.remove("issue_refund");
        }),
        ["chain_invalid"]
    );
    assert_eq!(above(&|parent| parent.agent = AgentId::new("agent-8").unwrap()), ["workflow_type_refused"]);
    assert_eq!(above(&|parent| parent.agent = AgentId::new("nobody").unwrap()), ["agent_unknown"]);
}

#[test]
fn del_4_facts_past_their_bound_deny() {
    let facts = snapshot(&world());
    let stale = Forged { facts: &facts, forged: Vec::new() };
    assert_eq!(
        codes(&decide_after(
            &built("demo"),
            &open(grant()),
            &facts,
            &stale,
            SMALL,
            at("2026-03-01T10:00:00Z")
        )),
        ["facts_stale"]
    );
}

#[test]
fn del_3_whose_authority_it_is_decides_never_a_union() {
    let release = built("demo");
    let facts = snapshot(&world());
    let mut nora = grant();
    nora.human = HumanId::new("nora").unwrap();
    nora.delegation = DelegationId::new(acme(), name("dg-3"));
    nora.workflow = WorkflowId::new(acme(), name("wf-7"));
    assert!(codes(&decide(&release, &open(grant()), &facts, ("billing.balance", "{}"))).is_empty());
    assert_eq!(
        codes(&decide(&release, &open(nora.clone()), &facts, ("billing.balance", "{}"))),
        ["role_missing"]
    );
    assert_eq!(
        codes(&decide(&release, &open(nora), &facts, ("crm.search_customers", r#"{"query":"ana"}"#))),
        ["not_assigned"]
    );
}

#[test]
fn rac_2_an_approval_is_of_one_call_by_somebody_else_in_the_role_and_spent_only_where_it_was_needed() {
    let release = built("demo");
    let bare = world();
    let envelope = open(grant());
    let call = classify(&release, &envelope, &snapshot(&bare), LARGE.0, LARGE.1).unwrap();
    let covers = call.approval_digest(envelope.workflow(), envelope.delegation());
    let Verdict::Deny { remedy: Some(remedy), .. } =
        decide(&release, &envelope, &snapshot(&bare), LARGE).verdict
    else {
        panic!("no remedy")
    };
    assert_eq!(
        (remedy.approval.as_str(), remedy.role.as_str(), remedy.covers),
        ("manager_approval", "support_manager", covers)
    );

    let approval = |approver: &str, role: &str, covers: placet_core::Digest, ends: &str| {
        format!(
            r#"{{"approval_given":{{"id":"ap-1","name":"manager_approval","workflow":"wf-9","approver":"{approver}","role":"{role}","covers":"{covers}","ends":"{ends}"}}}}"#
        )
    };
    let later = "2026-03-01T11:00:00Z";
    let given = after(&bare, &approval("omar", "support_manager", covers, later));
    let facts = snapshot(&given);
    let Verdict::Allow { spends, .. } = decide(&release, &envelope, &facts, LARGE).verdict else {
        panic!("the approval wasn't used")
    };
    assert_eq!(spends.iter().map(|id| id.local().as_str()).collect::<Vec<_>>(), ["ap-1"]);
    // More, less, or another tool's call: not this approval's.
    assert_eq!(
        codes(&decide(
            &release,
            &envelope,
            &facts,
            ("billing.refund", r#"{"case_id":"CASE-1837","amount":250.01}"#)
        )),
        ["manager_approval_missing"]
    );
    let Verdict::Allow { spends, .. } = decide(&release, &envelope, &facts, SMALL).verdict else {
        panic!("a small refund")
    };
    assert!(spends.is_empty());
    // An approval of the small refund isn't spent either: it wasn't needed.
    let small = classify(&release, &envelope, &snapshot(&bare), SMALL.0, SMALL.1)
        .unwrap()
        .approval_digest(envelope.workflow(), envelope.delegation());
    let Verdict::Allow { spends, .. } = decide(
        &release,
        &envelope,
        &snapshot(&after(&bare, &approval("omar", "support_manager", small, later))),
        SMALL,
    )
    .verdict
    else {
        panic!("a small refund")
    };
    assert!(spends.is_empty());
    // Over, or its giver no longer who they were.
    assert_eq!(
        codes(&decide_after(&release, &envelope, &facts, &facts, LARGE, at(later))),
        ["manager_approval_missing"]
    );
    for change in [
        r#"{"assignment_set":{"human":"omar","roles":["support"],"until":"ended"}}"#,
        r#"{"assignment_removed":{"human":"omar"}}"#,
        r#"{"human_standing":{"human":"omar","standing":"suspended"}}"#,
        r#"{"approval_withdrawn":{"id":"ap-1"}}"#,
    ] {
        assert_eq!(
            codes(&decide(&release, &envelope, &snapshot(&after(&given, change)), LARGE)),
            ["manager_approval_missing"],
            "{change}"
        );
    }
    // Once spent, it is gone.
    let spent =
        given.spend(given.revision().0 + 1, &[placet_core::ApprovalId::new(acme(), name("ap-1"))]).unwrap();
    assert_eq!(codes(&decide(&release, &envelope, &snapshot(&spent), LARGE)), ["manager_approval_missing"]);
    // Nobody approves for themselves, whatever their role.
    let own = after(
        &bare,
        r#"{"assignment_set":{"human":"maya","roles":["support","support_manager"],"until":"ended"}}"#,
    );
    let own = after(&own, &approval("maya", "support_manager", covers, later));
    assert_eq!(codes(&decide(&release, &envelope, &snapshot(&own), LARGE)), ["manager_approval_missing"]);
}
