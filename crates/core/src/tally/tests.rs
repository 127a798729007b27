//! Bounds of what is counted, and that nothing is lost or left over.
#![expect(clippy::arithmetic_side_effects, reason = "small numbers of tests; an overflow would panic")]

use proptest::prelude::*;

use super::*;
use crate::{Limits, MAX_REMEMBERED, TenantId, WorkflowId, exceeded};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}
fn spending(agent: &str, amount: i64, same: u64, at: u64) -> Spending {
    Spending {
        at: Timestamp::from_millis(at),
        workflow: WorkflowId::new(TenantId::new("acme").unwrap(), name("wf-1")),
        human: HumanId::new("maya").unwrap(),
        agent: AgentId::new(agent).unwrap(),
        above: Vec::new(),
        entry: name("billing.refund"),
        action: name("issue_refund"),
        amount: Decimal::parse(&amount.to_string()).ok(),
        effect: EffectClass::Destructive,
        same: Digest::of(&same.to_le_bytes()),
    }
}
fn reserved(spending: Spending) -> Reserved {
    Reserved { spending, spends: Vec::new() }
}

#[test]
fn what_is_remembered_of_an_agent_is_bounded_and_ends() {
    let mut tallies = Tallies::default();
    let keep = Keep { rate: 0, duplicates: 1_000 };
    for i in 0..u64::from(MAX_REMEMBERED) {
        tallies.permitted(i + 1, reserved(spending("a", 1, i, 0)), keep);
    }
    let limits = Limits { duplicates: 1_000, ..Limits::NONE };
    let flow = crate::FlowState::EMPTY;
    let codes = |agent: &str, at: u64| {
        let found = exceeded(&limits, &spending(agent, 1, u64::MAX, at), &tallies, &flow);
        found.iter().map(|one| one.code.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(codes("a", 999), ["rate_limited"]);
    assert!(codes("b", 999).is_empty(), "another agent isn't kept out by it");
    assert!(codes("a", 1_000).is_empty());
    tallies.permitted(9_999, reserved(spending("a", 1, u64::MAX, 1_000)), keep);
    assert_eq!((tallies.repeats.len(), tallies.forget.len(), tallies.remembered.len()), (1, 1, 1));
}

#[test]
fn a_total_beyond_what_is_exact_is_over_every_budget() {
    let mut tallies = Tallies::default();
    for position in 1..4 {
        tallies.permitted(position, reserved(spending("a", 900_000_000_000_000, position, 0)), Keep::NOTHING);
    }
    let most = Decimal::MAX;
    let budget = crate::Budget { per: Per::HumanDay, count: None, amount: Some(most), approval: None };
    let limits = Limits { budgets: vec![budget], ..Limits::NONE };
    let found = exceeded(&limits, &spending("a", 1, 9, 0), &tallies, &crate::FlowState::EMPTY);
    assert_eq!(found.len(), 1);
}

proptest! {
    #[test]
    fn whatever_returns_leaves_no_trace_but_the_position(
        calls in prop::collection::vec((0_u8..3, 1_i64..1_000, 0_u64..5, 0_u64..200_000_000, any::<bool>()), 1..40)
    ) {
        let keep = Keep { rate: 0, duplicates: 5_000 };
        let (mut with, mut without) = (Tallies::default(), Tallies::default());
        let mut position = 0;
        let mut now = 0;
        for (agent, amount, same, later, returns) in calls {
            now = now.max(later);
            let of = spending(["a", "b", "c"][usize::from(agent)], amount, same, now);
            if !exceeded(&Limits { duplicates: 5_000, ..Limits::NONE }, &of, &with, &crate::FlowState::EMPTY).is_empty() {
                continue;
            }
            position += 2;
            with.permitted(position, reserved(of.clone()), keep);
            prop_assert!(with.ended(position + 1, position, returns).is_some());
            prop_assert!(with.ended(position + 1, position, returns).is_none(), "it ends once");
            if !returns {
                without.permitted(position, reserved(of.clone()), keep);
                without.ended(position + 1, position, false);
            }
            for per in Per::DAYS {
                prop_assert_eq!(with.total(*per, &of), without.total(*per, &of));
            }
            prop_assert_eq!(with.under_way(&of.agent, &of.entry), 0);
            prop_assert_eq!(with.remembered(&of.agent, of.at), without.remembered(&of.agent, of.at));
        }
        with.permitted(position + 2, reserved(spending("a", 1, 99, now)), Keep { rate: 9, duplicates: 9 });
        let mut again = Tallies::default();
        with.rows().for_each(|row| again.take(row, &TenantId::new("acme").unwrap()));
        prop_assert_eq!(again, with);
    }
}

/// What may happen to a permit, one after the other.
#[derive(Debug, Clone, Copy)]
enum Then {
    Permitted(u8, i64),
    Ended(usize, bool),
    EndedUnknown(usize),
    Found(usize, bool),
}

fn then() -> impl Strategy<Value = Then> {
    prop_oneof![
        (0_u8..3, 1_i64..100).prop_map(|(agent, amount)| Then::Permitted(agent, amount)),
        (any::<usize>(), any::<bool>()).prop_map(|(of, returned)| Then::Ended(of, returned)),
        any::<usize>().prop_map(Then::EndedUnknown),
        (any::<usize>(), any::<bool>()).prop_map(|(of, returned)| Then::Found(of, returned)),
    ]
}

proptest! {
    /// Whatever is claimed in whatever order about whichever permit: what is spent is what was permitted and was not
    /// given back, each permit gives back once at most, and none after it is known that it happened.
    #[test]
    fn rac_1_nothing_is_given_back_twice_or_after_it_happened(steps in prop::collection::vec(then(), 1..120)) {
        #[derive(Clone, Copy, PartialEq)]
        enum Is { Open, Doubtful, Spent, Returned }
        let mut tallies = Tallies::default();
        let mut permits: Vec<(u64, Spending, i64, Is)> = Vec::new();
        let mut position = 0;
        for step in steps {
            position += 1;
            let count = permits.len();
            match step {
                Then::Permitted(agent, amount) => {
                    let of = spending(["a", "b", "c"][usize::from(agent)], amount, position, 0);
                    tallies.permitted(position, reserved(of.clone()), Keep::NOTHING);
                    permits.push((position, of, amount, Is::Open));
                }
                Then::Ended(of, returned) if count > 0 => {
                    let (at, _, _, is) = &mut permits[of % count];
                    prop_assert_eq!(tallies.ended(position, *at, returned).is_some(), *is == Is::Open);
                    if *is == Is::Open {
                        *is = if returned { Is::Returned } else { Is::Spent };
                    }
                }
                Then::EndedUnknown(of) if count > 0 => {
                    let (at, _, _, is) = &mut permits[of % count];
                    prop_assert_eq!(tallies.ended_unknown(position, *at).is_some(), *is == Is::Open);
                    if *is == Is::Open {
                        *is = Is::Doubtful;
                    }
                }
                Then::Found(of, returned) if count > 0 => {
                    let (at, _, _, is) = &mut permits[of % count];
                    prop_assert_eq!(tallies.found(position, *at, returned).is_some(), *is == Is::Doubtful);
                    if *is == Is::Doubtful {
                        *is = if returned { Is::Returned } else { Is::Spent };
                    }
                }
                Then::Ended(..) | Then::EndedUnknown(_) | Then::Found(..) => {}
            }
            for agent in ["a", "b", "c"] {
                let of = spending(agent, 1, 0, 0);
                let counted = permits.iter().filter(|(_, one, _, is)| one.agent == of.agent && *is != Is::Returned);
                let amount: i64 = counted.clone().map(|(_, _, amount, _)| amount).sum();
                let total = tallies.total(Per::AgentDay, &of);
                prop_assert_eq!(total.count, u64::try_from(counted.count()).unwrap());
                prop_assert_eq!(total.amount, Decimal::parse(&amount.to_string()).unwrap());
            }
        }
        let mut again = Tallies::default();
        tallies.rows().for_each(|row| again.take(row, &TenantId::new("acme").unwrap()));
        prop_assert_eq!(again, tallies);
    }
}

#[test]
fn of_permits_of_unknown_end_so_many_are_remembered_and_of_reads_none() {
    let mut tallies = Tallies::default();
    let most = u64::try_from(MAX_DOUBTFUL).unwrap();
    for position in 1..=most + 1 {
        tallies.permitted(position, reserved(spending("a", 1, position, 0)), Keep::NOTHING);
        tallies.ended_unknown(position, position);
    }
    let read = Spending { effect: EffectClass::Read, ..spending("a", 1, 0, 0) };
    tallies.permitted(9_000, reserved(read), Keep::NOTHING);
    assert!(tallies.ended_unknown(9_001, 9_000).is_some());
    assert!(tallies.found(9_002, 9_000, true).is_none(), "a read");
    assert!(tallies.found(9_003, 1, true).is_none(), "the oldest");
    assert!(tallies.found(9_004, 2, true).is_some());
    assert_eq!(tallies.total(Per::AgentDay, &spending("a", 1, 0, 0)).count, most + 1);
}
