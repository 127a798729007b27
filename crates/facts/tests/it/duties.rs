//! Enrolment codes and risks: facts that servers and guardians write.

use placet_core::{AgentId, Decimal, FactsView, HumanId, Risky, WorkflowId};
use placet_facts::{Kind, Rebuilding, World};

use crate::{apply, name, organisation, support, tenant};

fn offered(code: &str, at: &str, until: &str) -> String {
    format!(
        r#"{{"enrolment_offered":{{"code":"{code}","agent":"agent-7","at":"2026-03-01T{at}Z","until":"2026-03-01T{until}Z"}}}}"#
    )
}

fn organise(world: &World, change: &str) -> Result<World, placet_facts::ChangeError> {
    world.apply(world.revision().0 + 1, &organisation(change))
}

/// The same world, written down and read back.
fn kept(world: &World) -> World {
    let mut again = Rebuilding::default();
    for document in world.documents() {
        assert!(again.take(&document).unwrap(), "{document}");
    }
    again.finish()
}

#[test]
fn a_code_is_taken_once_and_past_ones_make_room() {
    let world = organise(&support(), &offered("one", "09:00:00", "10:00:00")).unwrap();
    let world = kept(&organise(&world, &offered("two", "09:30:00", "09:40:00")).unwrap());
    let offer = world.organisation().enrolment(&name("one")).unwrap();
    assert_eq!(offer.until.to_string(), "2026-03-01T10:00:00Z");
    assert_eq!(organise(&world, &offered("one", "09:31:00", "11:00:00")).unwrap_err().kind, Kind::Conflict);
    let nobody = offered("three", "09:31:00", "11:00:00").replace("agent-7", "agent-none");
    assert_eq!(organise(&world, &nobody).unwrap_err().kind, Kind::Unknown);

    let take = r#"{"enrolment_taken":{"code":"one","agent":"agent-7"}}"#;
    let other = take.replace("agent-7", "planner-1");
    assert_eq!(organise(&world, &other).unwrap_err().kind, Kind::Unknown, "another agent's code");
    let taken = organise(&world, take).unwrap();
    assert_eq!(organise(&taken, take).unwrap_err().kind, Kind::Unknown, "once");
    let later = organise(&taken, &offered("three", "09:40:00", "11:00:00")).unwrap();
    let left: Vec<_> = later.organisation().enrolments().map(|offer| offer.code.to_string()).collect();
    assert_eq!(left, ["three"], "`two` was past by then");
}

#[test]
fn risks_are_0_until_somebody_says_otherwise() {
    let world = support();
    let of =
        |world: &World, of: &Risky| world.snapshot(&tenant("acme")).unwrap().risk(of).unwrap().to_string();
    let agent = Risky::Agent(AgentId::new("agent-7").unwrap());
    let human = Risky::Human(HumanId::new("maya").unwrap());
    let workflow = Risky::Workflow(WorkflowId::new(tenant("acme"), name("wf-9")));
    assert_eq!([&agent, &human, &workflow].map(|one| of(&world, one)), ["0", "0", "0"]);
    let world = organise(&world, r#"{"risk_set":{"agent":"agent-7","risk":0.87}}"#).unwrap();
    let world = organise(&world, r#"{"risk_set":{"human":"maya","risk":100}}"#).unwrap();
    let world = kept(&apply(&world, &[r#"{"risk_set":{"workflow":"wf-9","risk":3}}"#]).unwrap());
    assert_eq!([&agent, &human, &workflow].map(|one| of(&world, one)), ["0.87", "100", "3"]);
    // Another tenant's workflow of the same name is another one.
    let foreign = Risky::Workflow(WorkflowId::new(tenant("globex"), name("wf-9")));
    assert_eq!(world.snapshot(&tenant("acme")).unwrap().risk(&foreign), Some(Decimal::ZERO));
    let world = organise(&world, r#"{"risk_set":{"agent":"agent-7","risk":0}}"#).unwrap();
    assert_eq!(of(&world, &agent), "0");
    assert_eq!(world.organisation().risks().count(), 1);
    assert_eq!(world.snapshot(&tenant("acme")).unwrap().without_risks().risk(&human), None);
    for (bad, kind) in [
        (r#"{"risk_set":{"agent":"agent-none","risk":1}}"#, Kind::Unknown),
        (r#"{"risk_set":{"human":"nobody","risk":1}}"#, Kind::Unknown),
    ] {
        assert_eq!(organise(&world, bad).unwrap_err().kind, kind, "{bad}");
    }
    assert_eq!(
        apply(&world, &[r#"{"risk_set":{"workflow":"wf-none","risk":1}}"#]).unwrap_err().kind,
        Kind::Unknown
    );
    for bad in ["-1", "\"1\"", "null", "0.12345", "1e40"] {
        let place = placet_facts::Place::Organisation;
        let change = crate::json(&format!(r#"{{"risk_set":{{"agent":"agent-7","risk":{bad}}}}}"#));
        assert!(placet_facts::Change::from_value(&change, &place).is_err(), "{bad} was taken");
    }
}
