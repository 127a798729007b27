//! Non-interference (Goguen and Meseguer, 1982): what one tenant sees doesn't depend on what another one does.

use placet_testing::{Agent, Answer, Stage};

/// Calls of the tenant in one run.
const CALLS: usize = 30;

/// A run's chances, the same for the same seed (xorshift64*, Vigna 2016).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[usize::try_from(self.next() % u64::try_from(all.len()).unwrap()).unwrap()]
    }
}

const CASES: &[&str] = &["CASE-1837", "CASE-2001", "CASE-9001", "CASE-7777", "case-1837", ""];
const AMOUNTS: &[&str] = &["1", "80", "250.5", "-5", "null", "\"80\"", "1e400", "100.00000000000000000001"];

/// A call that anybody might make: right, wrong, foreign, malformed.
fn call(chance: &mut Chance) -> (&'static str, String) {
    let (case, amount) = (chance.of(CASES), chance.of(AMOUNTS));
    match chance.next() % 6 {
        0 => ("desk__note", format!(r#"{{"text":"{case}"}}"#)),
        1 | 2 => ("billing__refund", format!(r#"{{"case_id":"{case}","amount":{amount}}}"#)),
        3 => ("crm__get_case", format!(r#"{{"case_id":"{case}"}}"#)),
        4 => ("crm__nothing", "{}".to_owned()),
        _ => ("desk__note", format!(r#"{{"text":"x","text":{amount}}}"#)),
    }
}

/// What the other tenant does meanwhile: it calls, and its administrators give its things this tenant's names.
async fn disturb(stage: &Stage, neighbour: &Agent, chance: &mut Chance, round: usize) {
    let ends = stage.end_in(3_600_000);
    let facts = match chance.next() % 5 {
        0 => r#""resources":[{"type":"support_case","id":"CASE-1837","attributes":{"case_id":"CASE-1837","customer_id":"cust-901"}}]"#.to_owned(),
        1 => r#""assignments":[{"human":"maya","roles":["support_manager","support"],"until":"ended"}]"#.to_owned(),
        2 => r#""tuples":["support_case:CASE-2001#owner@user:lena"]"#.to_owned(),
        3 => format!(
            r#""workflows":[{{"id":"wf-9-{round}","type":"support_case","owner":"lena","intents":["support_case_resolution"],"ends":"{ends}","bindings":{{"support_case":"CASE-9001"}}}}]"#
        ),
        _ => r#""assignments":[{"human":"lena","roles":["support"],"until":"ended"}]"#.to_owned(),
    };
    // Some of it is refused, which must not show either.
    let answer =
        stage.admin.ask("/v1/facts", &format!(r#"{{"tenant":"globex",{facts},"why":"a neighbour"}}"#)).await;
    assert!(answer.status < 500, "{}", answer.text());
    for _ in 0..chance.next() % 3 {
        let (tool, arguments) = call(chance);
        neighbour.call(tool, &arguments.replace("CASE-1837", "CASE-9001")).await;
    }
}

/// An answer without what differs from run to run: the date and the decisions' names.
fn plain(answer: &Answer) -> String {
    let head: Vec<&str> = answer.head.lines().filter(|line| !line.starts_with("date:")).collect();
    let text = answer.text();
    let body = text.split_once("\r\n\r\n").map_or(text.as_str(), |(_, body)| body);
    let mut out = head.join("\n");
    let mut rest = body;
    while let Some((before, after)) = rest.split_once("dc_") {
        out.push_str(before);
        out.push_str("dc_*");
        rest = after.get(26..).unwrap_or_default();
    }
    out + rest
}

async fn run(seed: u64, disturbed: bool) -> Vec<String> {
    let stage = Stage::start().await;
    let agent = stage.seven().await;
    let neighbour = stage.agent("agent-7", "globex", "wf-g", "dg-g").await;
    let (mut chance, mut other) = (Chance(seed), Chance(seed.wrapping_add(0x9E37_79B9_7F4A_7C15)));
    let mut answers = Vec::with_capacity(CALLS);
    for round in 0..CALLS {
        if disturbed {
            disturb(&stage, &neighbour, &mut other, round).await;
        }
        let (tool, arguments) = call(&mut chance);
        answers.push(format!("{tool} {arguments}\n{}", plain(&agent.call(tool, &arguments).await)));
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_3_a_tenant_s_answers_are_the_same_with_and_without_a_hostile_neighbour() {
    for seed in [1, 20_261_124, 0xC0FF_EE00] {
        let (alone, disturbed) = tokio::join!(run(seed, false), run(seed, true));
        assert!(alone.iter().any(|answer| answer.contains("isError\":true")), "some are denied");
        assert!(
            alone.iter().any(|answer| !answer.contains("placet\":{") && answer.contains("result")),
            "some pass"
        );
        for (alone, disturbed) in alone.iter().zip(&disturbed) {
            assert_eq!(alone, disturbed, "seed {seed}");
        }
    }
}
