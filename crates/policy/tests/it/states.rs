//! Named states, chains of approvals, and what a type of workflows demands before something becomes a fact.

use placet_core::{Agent, Delegation, Freeze, HumanId, Name, Verdict, Workflow, WorkflowId};
use placet_facts::World;
use placet_policy::{FreezeAct, Moving, Release, Severity, Tree, Unmoved, check, move_digest};

use crate::common::{
    LARGE, SMALL, acme, after, at, build, change, classify, codes, decide, decide_after, grant, json, name,
    now, open, snapshot, tree, world,
};

const TYPE: &str = "workflow_types/support_case.toml";

const STATES: &str = r#"
initial = "open"

[state.open]
[state.review]
[state.settled]
closes = true

[approval.settlement]
steps = ["support_manager", "finance", "support_manager"]

[[transition]]
from = "open"
to = "review"
roles = ["support"]

[[transition]]
from = "review"
to = "open"
relation = "support_case#assignee"

[[transition]]
from = ["open", "review"]
to = "settled"
approval = "settlement"
"#;

/// The demonstration, whose cases go from open to settled, and whose large refunds need two people.
fn staged() -> Tree {
    let mut tree = tree("demo");
    let kind = String::from_utf8(tree[TYPE].clone()).unwrap();
    let (plain, approvals) = kind.split_once("[approval.").unwrap();
    let (first, rest) = STATES.split_once("\n[state.open]").unwrap();
    let text = format!("{plain}{first}\n[approval.{approvals}\n[state.open]{rest}");
    tree.insert(TYPE.to_owned(), text.into_bytes());
    change(&mut tree, TYPE, "role = \"support_manager\"\n", "steps = [\"finance\", \"support_manager\"]\n");
    // The policy asks for the state by name, as policies for types without states do.
    change(
        &mut tree,
        "policies/support.rego",
        "workflow_active {\ntime",
        "workflow_active {\ninput.workflow.state == \"open\"\ntime",
    );
    tree
}

/// With two managers and two of finance.
fn people() -> World {
    let mut world = world();
    for human in ["ada", "finn", "fay"] {
        world = after(
            &world,
            &format!(r#"{{"human_set":{{"id":"{human}","standing":"active","home":"acme"}}}}"#),
        );
    }
    for (human, role) in [("ada", "support_manager"), ("finn", "finance"), ("fay", "finance")] {
        world = after(
            &world,
            &format!(r#"{{"assignment_set":{{"human":"{human}","roles":["{role}"],"until":"ended"}}}}"#),
        );
    }
    world
}

fn wf9(world: &World) -> Workflow {
    let id = WorkflowId::new(acme(), name("wf-9"));
    world.tenant(&acme()).unwrap().workflow(&id).unwrap().clone()
}

fn human(id: &str) -> HumanId {
    HumanId::new(id).unwrap()
}

fn moves(release: &Release, world: &World, to: &str, by: &str) -> Result<Moving, Unmoved> {
    let by = Some(human(by)).filter(|id| id.as_str() != "operator");
    release.moves(&wf9(world), &name(to), by.as_ref(), &snapshot(world), now())
}

fn moved(world: &World, from: &str, to: &str) -> World {
    after(world, &format!(r#"{{"workflow_moved":{{"id":"wf-9","from":"{from}","to":"{to}"}}}}"#))
}

/// Why not, in a word.
fn why(result: Result<Moving, Unmoved>) -> &'static str {
    match result {
        Ok(Moving::Now { .. }) => "now",
        Ok(Moving::Step { .. }) => "step",
        Err(Unmoved::Unknown(..)) => "unknown",
        Err(Unmoved::NoWay(..)) => "no way",
        Err(Unmoved::Forbidden(_, remedy)) => {
            assert!(!remedy.is_empty());
            "forbidden"
        }
    }
}

#[test]
fn policy_reads_the_state_that_the_workflow_is_in() {
    let release = build(&staged());
    let world = people();
    // The policy as it was written asks for `open`, which is the first state here.
    assert!(codes(&decide(&release, &open(grant()), &snapshot(&world), SMALL)).is_empty());
    let review = moved(&world, "open", "review");
    let evaluation = decide(&release, &open(grant()), &snapshot(&review), SMALL);
    assert!(!codes(&evaluation).is_empty());
    let input = json(std::str::from_utf8(evaluation.input.unwrap().as_bytes()).unwrap());
    assert_eq!(input.pointer("/workflow/state").unwrap().as_str(), Some("review"));
    let back = moved(&review, "review", "open");
    assert!(codes(&decide(&release, &open(grant()), &snapshot(&back), SMALL)).is_empty());
    // A state that the release in force doesn't know, or that closes, is none to act in.
    for stage in ["elsewhere", "settled"] {
        let lost = moved(&world, "open", stage);
        assert_eq!(
            codes(&decide(&release, &open(grant()), &snapshot(&lost), SMALL)),
            ["workflow_type_refused"],
            "{stage}"
        );
    }
    // A type without states: open, whatever an earlier release called it.
    let plain = build(&tree("demo"));
    assert!(codes(&decide(&plain, &open(grant()), &snapshot(&review), SMALL)).is_empty());
}

#[test]
fn a_workflow_moves_only_on_the_ways_of_its_type_and_by_those_who_may() {
    let release = build(&staged());
    let world = people();
    for (to, by, told) in [
        ("review", "maya", "now"),
        ("review", "operator", "now"),
        ("review", "omar", "forbidden"),
        ("review", "gone", "forbidden"),
        ("review", "lena", "forbidden"),
        ("settled", "omar", "step"),
        ("settled", "operator", "forbidden"),
        ("settled", "finn", "forbidden"),
        ("settled", "maya", "forbidden"),
        ("open", "maya", "no way"),
        ("closed", "maya", "unknown"),
    ] {
        assert_eq!(why(moves(&release, &world, to, by)), told, "{to} {by}");
    }
    let review = moved(&world, "open", "review");
    // Maya is assignee through her team; the relation is the fact that decides.
    assert_eq!(why(moves(&release, &review, "open", "maya")), "now");
    assert_eq!(why(moves(&release, &review, "open", "omar")), "forbidden");
    let left = after(&review, r#"{"tuple_removed":{"tuple":"team:desk#member@user:maya"}}"#);
    assert_eq!(why(moves(&release, &left, "open", "maya")), "forbidden");
    assert_eq!(why(moves(&build(&tree("demo")), &world, "review", "maya")), "unknown");
}

#[test]
fn rac_2_a_move_by_chain_takes_each_step_in_order_by_another_person() {
    let release = build(&staged());
    let mut world = people();
    let covers = move_digest(&wf9(&world).id, &name("open"), &name("settled"));
    let mut follows = String::new();
    for (i, (by, role)) in
        [("omar", "support_manager"), ("finn", "finance"), ("ada", "support_manager")].into_iter().enumerate()
    {
        let Ok(Moving::Step { role: asked, given, then, covers: of, .. }) =
            moves(&release, &world, "settled", by)
        else {
            panic!("{by}")
        };
        assert_eq!((asked.as_str(), given.len(), then.len(), of), (role, i, 2 - i, covers));
        world = after(
            &world,
            &format!(
                r#"{{"approval_given":{{"id":"ap-{i}","name":"settlement","workflow":"wf-9","approver":"{by}","role":"{role}","covers":"{covers}","ends":"2026-03-01T11:00:00Z"{follows}}}}}"#
            ),
        );
        follows = format!(r#","follows":"ap-{i}""#);
        // Nobody twice, though Omar has the third step's role as well.
        assert_eq!(why(moves(&release, &world, "settled", by)), "forbidden", "{by} again");
    }
    let done = after(
        &world,
        r#"{"workflow_moved":{"id":"wf-9","from":"open","to":"settled","approvals":["ap-0","ap-1","ap-2"]}}"#,
    );
    assert!(done.tenant(&acme()).unwrap().unspent(&wf9(&done).id).is_empty(), "each is spent");
    // What was said of this move isn't a yes to another one.
    let review = moved(&people(), "open", "review");
    assert_eq!(why(moves(&release, &review, "settled", "finn")), "forbidden");
}

#[test]
fn rac_2_a_chain_of_approvals_reaches_policy_only_when_it_is_complete() {
    let release = build(&staged());
    let envelope = open(grant());
    let bare = people();
    let covers = classify(&release, &envelope, &snapshot(&bare), LARGE.0, LARGE.1)
        .unwrap()
        .approval_digest(envelope.workflow(), envelope.delegation());
    let approval = |id: &str, by: &str, role: &str, ends: &str, follows: &str| {
        let follows = if follows.is_empty() { String::new() } else { format!(r#","follows":"{follows}""#) };
        format!(
            r#"{{"approval_given":{{"id":"{id}","name":"manager_approval","workflow":"wf-9","approver":"{by}","role":"{role}","covers":"{covers}","ends":"{ends}"{follows}}}}}"#
        )
    };
    let later = "2026-03-01T11:00:00Z";
    let asked = |world: &World| {
        let Verdict::Deny { remedy: Some(remedy), .. } =
            decide(&release, &envelope, &snapshot(world), LARGE).verdict
        else {
            panic!("no remedy")
        };
        (remedy.role.to_string(), remedy.given, remedy.steps.len())
    };
    assert_eq!(asked(&bare), ("finance".to_owned(), 0, 2));
    // The second step alone, or first, is no beginning.
    let out_of_order = after(&bare, &approval("ap-2", "omar", "support_manager", later, ""));
    assert_eq!(asked(&out_of_order), ("finance".to_owned(), 0, 2));
    let one = after(&out_of_order, &approval("ap-1", "finn", "finance", "2026-03-01T10:00:00Z", ""));
    assert_eq!(asked(&one), ("support_manager".to_owned(), 1, 2));
    let both = after(&one, &approval("ap-3", "omar", "support_manager", later, "ap-1"));
    let evaluation = decide(&release, &envelope, &snapshot(&both), LARGE);
    let Verdict::Allow { spends, .. } = evaluation.verdict else { panic!("the chain wasn't used") };
    assert_eq!(spends.iter().map(|id| id.local().as_str()).collect::<Vec<_>>(), ["ap-1", "ap-3"]);
    let input = json(std::str::from_utf8(evaluation.input.unwrap().as_bytes()).unwrap());
    let seen = input.pointer("/workflow/manager_approval").unwrap().to_string();
    assert_eq!(
        seen,
        r#"{"approver":"omar","approver_role":"support_manager","expires_at":"2026-03-01T10:00:00Z","status":"approved","steps":[{"approver":"finn","role":"finance"},{"approver":"omar","role":"support_manager"}]}"#
    );
    // A step that stands no more takes those after it along.
    for change in [
        r#"{"human_standing":{"human":"finn","standing":"suspended"}}"#,
        r#"{"assignment_removed":{"human":"finn"}}"#,
        r#"{"approval_withdrawn":{"id":"ap-1"}}"#,
    ] {
        assert_eq!(asked(&after(&both, change)), ("finance".to_owned(), 0, 2), "{change}");
    }
    let facts = snapshot(&both);
    assert_eq!(
        codes(&decide_after(&release, &envelope, &facts, &facts, LARGE, at("2026-03-01T10:00:00Z"))),
        ["manager_approval_missing"]
    );
    // The delegating person is none of them, even with the role; unless the type says so.
    let own =
        after(&bare, r#"{"assignment_set":{"human":"maya","roles":["support","finance"],"until":"ended"}}"#);
    let own = after(&own, &approval("ap-1", "maya", "finance", later, ""));
    let own = after(&own, &approval("ap-3", "omar", "support_manager", later, "ap-1"));
    assert_eq!(codes(&decide(&release, &envelope, &snapshot(&own), LARGE)), ["manager_approval_missing"]);
    let mut lax = staged();
    change(
        &mut lax,
        TYPE,
        "steps = [\"finance\", \"support_manager\"]\n",
        "steps = [\"finance\", \"support_manager\"]\ndelegating_user = true\n",
    );
    let lax = build(&lax);
    assert!(codes(&decide(&lax, &envelope, &snapshot(&own), LARGE)).is_empty());
}

#[test]
fn del_1_a_workflow_or_delegation_that_its_type_does_not_admit_is_none() {
    let release = build(&staged());
    let world = people();
    let good = wf9(&world);
    assert_eq!(release.admits_workflow(&good, now()), Ok(()));
    let refused = |alter: &dyn Fn(&mut Workflow)| {
        let mut workflow = good.clone();
        alter(&mut workflow);
        let unfit = release.admits_workflow(&workflow, now()).unwrap_err();
        assert!(!unfit.remedy.is_empty(), "{unfit}");
        unfit.path
    };
    assert_eq!(refused(&|workflow| workflow.kind = name("other")), "/type");
    assert_eq!(refused(&|workflow| workflow.intents = [name("marketing")].into()), "/intents");
    assert_eq!(refused(&|workflow| workflow.intents.clear()), "/intents");
    assert_eq!(refused(&|workflow| workflow.bindings.clear()), "/bindings");
    assert_eq!(refused(&|workflow| workflow.stage = Some(name("settled"))), "/stage");
    assert_eq!(refused(&|workflow| workflow.stage = Some(name("nowhere"))), "/stage");
    // Eight hours, to the millisecond; an opening time that is still to come lengthens nothing.
    let longest = now().plus_millis(8 * 3_600_000);
    assert_eq!(release.admits_workflow(&Workflow { ends: longest, ..good.clone() }, now()), Ok(()));
    assert_eq!(refused(&|workflow| workflow.ends = longest.plus_millis(1)), "/ends");
    assert_eq!(
        refused(&|workflow| {
            workflow.opened = Some(longest);
            workflow.ends = longest.plus_millis(1);
        }),
        "/ends"
    );
    let attribute = |name: &'static str, value: &str| {
        let value = json(value);
        refused(&move |workflow| {
            workflow.attributes.insert(Name::new(name).unwrap(), value.clone());
        })
    };
    assert_eq!(attribute("colour", r#""red""#), "/attributes/colour");
    assert_eq!(attribute("case_id", "1837"), "/attributes/case_id");
    assert_eq!(attribute("case_id", r#""CASE-2001""#), "/attributes/case_id", "not what it is bound to");

    let facts = world.tenant(&acme()).unwrap();
    let delegation = facts.delegations().find(|delegation| delegation.id.local().as_str() == "dg-1").unwrap();
    let agent = |id: &str| world.organisation().agents().find(|agent| agent.id.as_str() == id).unwrap();
    let admits = |delegation: &Delegation, agent: &Agent| release.admits_delegation(delegation, &good, agent);
    assert_eq!(admits(delegation, agent("agent-7")), Ok(()));
    assert_eq!(admits(delegation, agent("agent-8")).unwrap_err().path, "/agent");
    let mut wide = delegation.clone();
    wide.scope.intents.insert(name("marketing"));
    assert_eq!(admits(&wide, agent("agent-7")).unwrap_err().path, "/scope/intents");
}

#[test]
fn del_2_a_shorter_life_in_a_later_release_ends_what_is_open() {
    let world = after(
        &world(),
        r#"{"workflow_opened":{"id":"wf-t","type":"support_case","owner":"maya","intents":["support_case_resolution"],"opened":"2026-03-01T09:00:00Z","ends":"2026-03-01T12:00:00Z","bindings":{"support_case":"CASE-1837"}}}"#,
    );
    let world = after(
        &world,
        r#"{"delegation_granted":{"id":"dg-t","human":"maya","agent":"agent-7","workflow":"wf-t","grantor":"human","scope":{"actions":["issue_refund"],"intents":["support_case_resolution"],"limits":{},"ends":"2026-03-01T12:00:00Z","depth":0}}}"#,
    );
    let mut grant = grant();
    grant.workflow = WorkflowId::new(acme(), name("wf-t"));
    grant.delegation = placet_core::DelegationId::new(acme(), name("dg-t"));
    let facts = snapshot(&world);
    assert!(codes(&decide(&build(&tree("demo")), &open(grant.clone()), &facts, SMALL)).is_empty());
    let mut short = tree("demo");
    change(&mut short, TYPE, "\"8h\"", "\"30m\"");
    let short = build(&short);
    assert_eq!(codes(&decide(&short, &open(grant.clone()), &facts, SMALL)), ["workflow_expired"]);
    // A journal that doesn't say when it was opened: its own end is all there is.
    grant.workflow = WorkflowId::new(acme(), name("wf-9"));
    grant.delegation = placet_core::DelegationId::new(acme(), name("dg-1"));
    assert!(codes(&decide(&short, &open(grant), &facts, SMALL)).is_empty());
}

#[test]
fn a_type_that_means_nothing_is_refused_with_its_line_and_what_is_odd_is_told() {
    for (from, to) in [
        ("initial = \"open\"", ""),
        ("initial = \"open\"", "initial = \"elsewhere\""),
        ("initial = \"open\"", "initial = \"settled\""),
        ("to = \"review\"", "to = \"reviewed\""),
        ("from = \"open\"", "from = \"review\""),
        ("from = \"open\"", "from = \"settled\""),
        ("from = \"open\"", "from = []"),
        ("roles = [\"support\"]\n", ""),
        ("roles = [\"support\"]\n", "roles = [\"support\"]\napproval = \"settlement\"\n"),
        ("approval = \"settlement\"", "approval = \"unheard\""),
        ("support_case#assignee", "support_case"),
        ("support_case#assignee", "team#member"),
        ("support_case#assignee", "support_case#reviewer"),
        ("steps = [\"finance\", \"support_manager\"]", "steps = []"),
        ("steps = [\"finance\", \"support_manager\"]", "role = \"a\"\nsteps = [\"b\"]"),
        ("steps = [\"finance\", \"support_manager\"]", "delegating_user = true"),
        ("closes = true", "closes = \"yes\""),
    ] {
        let mut tree = staged();
        change(&mut tree, TYPE, from, to);
        let refused = Release::build(&tree).expect_err(to);
        let finding = refused.findings.iter().find(|finding| finding.severity == Severity::Error).unwrap();
        assert_eq!(finding.file, TYPE, "{to}: {finding}");
        assert!(!finding.message.is_empty());
    }
    assert!(check(&staged()).iter().all(|finding| finding.file != TYPE), "{:?}", check(&staged()));
    for (from, to, told) in [
        ("\"8h\"", "\"60d\"", "may live for 60 days"),
        ("[state.open]", "[state.open]\n[state.island]", "no way leads to the state `island`"),
        ("closes = true", "", "no way leads out of the state `settled`"),
        (
            "agents = [\"support_agent\", \"planner_agent\", \"retrieval_agent\"]",
            "agents = []",
            "no agent may act",
        ),
    ] {
        let mut tree = staged();
        change(&mut tree, TYPE, from, to);
        let found = check(&tree);
        assert!(found.iter().any(|finding| finding.message.contains(told)), "{told}: {found:?}");
    }
}

#[test]
fn a_document_names_a_state_of_its_own_type() {
    let release = build(&staged());
    let codes = |state: &str| {
        let document = json(&format!(
            r#"{{"action":"issue_refund","intent":"support_case_resolution","amount":80,"agent":{{"id":"agent-7","type":"support_agent"}},
            "delegating_user":{{"id":"maya","status":"active","tenant_id":"acme","roles":["support"]}},
            "workflow":{{"id":"wf-9","type":"support_case","state":"{state}","tenant_id":"acme","case_id":"CASE-1837","expires_at":"2026-03-01T12:00:00Z"}},
            "resource":{{"type":"support_case","id":"CASE-1837","tenant_id":"acme","case_id":"CASE-1837"}}}}"#
        ));
        let document = release.decide_document(&document, None, Some(now()));
        document
            .denied
            .iter()
            .flat_map(|reasons| reasons.all().to_vec())
            .map(|reason| reason.code)
            .collect::<Vec<_>>()
    };
    assert!(codes("open").is_empty(), "{:?}", codes("open"));
    assert!(!codes("review").is_empty() && codes("review") != ["input_invalid"]);
    assert_eq!(codes("closed"), ["input_invalid"]);
}

#[test]
fn roles_that_stop_things_are_named_with_their_tenant() {
    let tree = tree("demo");
    let with = |text: &str| {
        let mut tree = tree.clone();
        tree.get_mut("release.toml").unwrap().extend_from_slice(text.as_bytes());
        Release::build(&tree)
    };
    let release = with(
        "\n[acts.freeze]\nall = [{ role = \"security\", tenant = \"ops\" }]\ntenant = [{ role = \"lead\" }]\n",
    )
    .unwrap();
    let who = |act, what: Freeze| {
        release.may_freeze(act, &what).iter().map(|(role, of)| format!("{role}@{of}")).collect::<Vec<_>>()
    };
    assert_eq!(who(FreezeAct::Freeze, Freeze::All), ["security@ops"]);
    assert_eq!(who(FreezeAct::Freeze, Freeze::Tenant(acme())), ["lead@acme"]);
    assert!(who(FreezeAct::Freeze, Freeze::Tool(name("billing.refund"))).is_empty());
    assert!(
        who(FreezeAct::Unfreeze, Freeze::All).is_empty(),
        "whoever stops it needn't be who lets it go on"
    );
    for text in [
        "\n[acts.freeze]\nall = [{ role = \"security\" }]\n",
        "\n[acts.unfreeze]\nagent = [{ role = \"security\" }]\n",
        "\n[acts.freeze]\nworld = []\n",
        "\n[acts.freeze]\nall = [\"security\"]\n",
    ] {
        assert!(with(text).is_err(), "{text}");
    }
}
