//! `placet bench decide`: one decision, from the live facts to the recorded input.

use std::{fmt::Write as _, time::Instant};

use clap::Args;
use placet_core::{
    DecisionId, Digest, Engine as _, FactsView as _, TenantId, Timestamp, Verdict, authority::Offered,
};
use placet_facts::{World, parse_file};
use placet_jose::{Algorithm, PublicKey, SigningKey};
use placet_json::{Value, object};

use super::{
    gateway::LONG,
    numbers::{self, Times},
    release::{self, Tool},
    rig,
};
use crate::{
    clock,
    failure::{Failure, OrFail},
    output::{Answer, Format, show, table},
};

/// Measure one decision by the essay's policy
///
/// From the snapshot of the facts to verdict and recorded input: the platform's checks, the policy's input, the
/// engine, the canonical form.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  placet bench decide --facts 10,1000,100000")]
pub(crate) struct Decide {
    /// How many resources the tenant has
    #[arg(long, value_delimiter = ',', default_value = "10,1000,100000", value_name = "N,…")]
    facts: Vec<usize>,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Decide {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let release = release::build()?;
        let key = SigningKey::generate(Algorithm::EdDsa).or_fail("can't make a key")?;
        let now = Timestamp::from_secs(clock::secs());
        let envelope = release::envelope(key.public(), now)?;
        let mut rows = Vec::new();
        for &count in &self.facts {
            let world = world(key.public(), now.plus_millis(3_600_000), count)?;
            let tenant = TenantId::new("acme").or_fail("a name")?;
            let facts = world.snapshot(&tenant).ok_or_else(|| Failure::new("the facts have no tenant"))?;
            for tool in [Tool::Read, Tool::Write] {
                let definition = rig::tools().into_iter().find(|(name, _)| *name == tool.name());
                let definition = definition.ok_or_else(|| Failure::new("the tool is gone"))?.1;
                let offered = Offered::Definition(Digest::of(
                    definition.canonical().or_fail("a definition")?.as_bytes(),
                ));
                let id = DecisionId::new("dc_bench").or_fail("a name")?;
                let (call, _) = release
                    .admit(
                        &envelope,
                        &facts,
                        id,
                        tool.upstream(),
                        tool.name(),
                        &tool.arguments().into(),
                        offered,
                        &[],
                    )
                    .map_err(|refused| Failure::new(format!("the call is refused: {:?}", refused.1)))?;
                let mut all = Vec::new();
                let began = Instant::now();
                while began.elapsed() < LONG {
                    let start = Instant::now();
                    let evaluation = release.evaluate(&envelope, &call, &facts, now);
                    all.push(start.elapsed());
                    match evaluation {
                        Ok(evaluation) if matches!(evaluation.verdict, Verdict::Allow { .. }) => {}
                        other => return Err(Failure::new(format!("the call isn't permitted: {other:?}"))),
                    }
                }
                let times = Times::of(all);
                rows.push(Value::from(object! {
                    "tenant" => facts.tenant().as_str(), "call" => tool.word(), "facts" => u64::try_from(count).unwrap_or(u64::MAX),
                    "p50_us" => numbers::json(numbers::micros(times.percentile(50))),
                    "p99_us" => numbers::json(numbers::micros(times.percentile(99))),
                    "count" => u64::try_from(times.count()).unwrap_or(u64::MAX),
                }));
            }
        }
        show(self.format, &object! { "decisions" => rows }.into(), told)?;
        Ok(Answer::Yes)
    }
}

/// A file holds a bounded number of changes, so the further resources come in files of their own.
fn world(key: &PublicKey, ends: Timestamp, count: usize) -> Result<World, Failure> {
    const PART: usize = 10_000;
    let all = release::facts(key, ends, count)?;
    let mut first = all.clone();
    let mut rest: Vec<Value> = Vec::new();
    if let Some(resources) = first.get_mut("resources").and_then(Value::as_array_mut) {
        rest = resources.split_off(resources.len().min(PART));
    }
    let mut world = World::from_file(&first).or_fail("the facts")?;
    for part in rest.chunks(PART) {
        let file: Value =
            object! { "tenant" => "acme", "why" => "a measurement", "resources" => part.to_vec() }.into();
        for transaction in parse_file(&file).or_fail("the facts")? {
            let revision = world.revision().0.saturating_add(1);
            world = world.apply(revision, &transaction).or_fail("the facts")?;
        }
    }
    Ok(world)
}

fn told(document: &Value) -> String {
    let rows = document.get("decisions").and_then(Value::as_array).unwrap_or_default();
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let call = row.get("call").and_then(Value::as_str).unwrap_or_default().to_owned();
            vec![
                call,
                numbers::cell(row, "facts", 0),
                numbers::cell(row, "p50_us", 1),
                numbers::cell(row, "p99_us", 1),
            ]
        })
        .collect();
    let mut out = table(&["CALL", "FACTS", "P50 µs", "P99 µs"], &rows);
    let _infallible = writeln!(out, "permits by the essay's policy, one thread, dropped answers not counted");
    out
}
