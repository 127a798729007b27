//! The symbolic part of `placet diff`: whether Cedar policies of one release permit anything that those of another don't,
//! proved for every request that the schema admits, by the solver cvc5.

use std::{fmt::Write as _, time::Duration};

use cedar_policy::{Authorizer, Decision, PolicySet, RequestEnv, Schema};
use cedar_policy_symcc::{CedarSymCompiler, CompiledPolicySet, solver::LocalSolver};
use placet_json::{Value, object};
use placet_policy::Release;

use crate::{
    admin::block_on,
    failure::Failure,
    output::{Colour, paint},
};

/// How long the solver may take for one action on one type of resource.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same for the solver itself, in milliseconds.
const LIMIT: &str = "--tlimit=25000";
/// The most kinds of requests that are asked about.
const MAX_ENVIRONMENTS: usize = 1000;

/// What was found for one kind of request.
enum Found {
    /// Everything that B permits, A permits.
    Proved,
    /// A request that B permits and A doesn't, decided by both.
    Counterexample(String),
    /// It can't be told.
    Unknown(String),
}

/// All that was found.
pub(super) struct Proof {
    rows: Vec<(String, Found)>,
    /// Actions that another engine grants, of which nothing is proved.
    elsewhere: Vec<String>,
}

/// Asks for every kind of request whether what B permits, A permits.
pub(super) fn prove(a: &Release, b: &Release) -> Result<Proof, Failure> {
    let missing = |which: &str| {
        Failure::new(format!(
            "release {which} has no Cedar policies: only Cedar can be compared symbolically"
        ))
        .remedy("compare on cases, or with `--ledger` on what was really asked")
    };
    let (_, of_a) = a.cedar().ok_or_else(|| missing("A"))?;
    let (schema, of_b) = b.cedar().ok_or_else(|| missing("B"))?;
    block_on(async {
        let mut proof = Proof { rows: Vec::new(), elsewhere: Vec::new() };
        let mut environments: Vec<RequestEnv> = schema.request_envs().collect();
        environments.sort_by_key(name_of);
        if environments.len() > MAX_ENVIRONMENTS {
            return Err(Failure::new(format!("there are more than {MAX_ENVIRONMENTS} kinds of requests")));
        }
        for environment in &environments {
            let action = environment.action().id().unescaped().to_owned();
            // What another engine grants can't be told from Cedar's policies.
            if !b.cedar_grants(&action) || !a.cedar_grants(&action) {
                if !proof.elsewhere.contains(&action) {
                    proof.elsewhere.push(action);
                }
                continue;
            }
            let found = match tokio::time::timeout(PATIENCE, one(&schema, environment, &of_a, &of_b)).await {
                Ok(found) => found?,
                Err(_) => Found::Unknown("the solver took too long".to_owned()),
            };
            proof.rows.push((name_of(environment), found));
        }
        Ok(proof)
    })
}

fn name_of(environment: &RequestEnv) -> String {
    format!("{} on {}", environment.action().id().unescaped(), environment.resource())
}

async fn one(
    schema: &Schema,
    environment: &RequestEnv,
    a: &PolicySet,
    b: &PolicySet,
) -> Result<Found, Failure> {
    // A solver of its own for each: one that broke off leaves nothing behind.
    let solver = LocalSolver::cvc5_with_args([LIMIT]).map_err(|error| {
        Failure::new(format!("the solver cvc5 can't be started: {error}"))
            .remedy("install it (Debian: `apt-get install cvc5`), or name it by the variable CVC5")
    })?;
    let mut compiler = CedarSymCompiler::new(solver)
        .map_err(|error| Failure::new(format!("the solver cvc5 can't be used: {error}")))?;
    let translate = |set: &PolicySet| {
        CompiledPolicySet::compile(set, environment, schema).map_err(|error| error.to_string())
    };
    let (of_b, of_a) = match (translate(b), translate(a)) {
        (Ok(of_b), Ok(of_a)) => (of_b, of_a),
        (Err(error), _) => return Ok(Found::Unknown(format!("B can't be translated: {error}"))),
        // The schema is B's: what A reads may be gone.
        (_, Err(error)) => return Ok(Found::Unknown(format!("A doesn't fit the schema of B: {error}"))),
    };
    let found = compiler.check_implies_with_counterexample_opt(&of_b, &of_a).await;
    Ok(match found {
        Ok(None) => Found::Proved,
        Ok(Some(example)) => {
            // The solver's word isn't taken for it.
            let decide = |set: &PolicySet| {
                Authorizer::new().is_authorized(&example.request, set, &example.entities).decision()
            };
            if (decide(b), decide(a)) == (Decision::Allow, Decision::Deny) {
                Found::Counterexample(example.to_string())
            } else {
                Found::Unknown("the solver's counterexample isn't one for the engine".to_owned())
            }
        }
        Err(error) => Found::Unknown(format!("the solver gave no answer: {error}")),
    })
}

impl Proof {
    /// Whether B was proved to permit nothing that A doesn't.
    pub(super) fn holds(&self) -> bool {
        self.rows.iter().all(|(_, found)| matches!(found, Found::Proved))
    }

    pub(super) fn to_value(&self) -> Value {
        let rows = self.rows.iter().map(|(name, found)| {
            let (outcome, detail) = match found {
                Found::Proved => ("proved", ""),
                Found::Counterexample(example) => ("counterexample", example.as_str()),
                Found::Unknown(why) => ("unknown", why.as_str()),
            };
            Value::Object(object! { "request" => name.as_str(), "outcome" => outcome, "detail" => detail })
        });
        let elsewhere: Vec<Value> =
            self.elsewhere.iter().map(|action| Value::from(action.as_str())).collect();
        Value::Object(object! {
            "permits_no_more" => self.holds(), "requests" => rows.collect::<Vec<_>>(), "not_granted_by_cedar" => elsewhere,
        })
    }

    pub(super) fn told(&self) -> String {
        let mut text = String::new();
        for (name, found) in &self.rows {
            match found {
                Found::Proved => {}
                Found::Counterexample(example) => {
                    let _infallible = writeln!(
                        text,
                        "{name}: B permits what A doesn't; decided by both:\n  {}",
                        example.trim_end().replace('\n', "\n  ")
                    );
                }
                Found::Unknown(why) => {
                    let _infallible = writeln!(text, "{name}: not proved: {why}");
                }
            }
        }
        let count = |wanted: fn(&Found) -> bool| self.rows.iter().filter(|(_, found)| wanted(found)).count();
        let (proved, examples) = (
            count(|found| matches!(found, Found::Proved)),
            count(|found| matches!(found, Found::Counterexample(_))),
        );
        let verdict = if self.holds() {
            paint("proved: B permits nothing that A doesn't", Colour::Green)
        } else if examples > 0 {
            paint(&format!("B permits more than A, by {examples} counterexamples"), Colour::Yellow)
        } else {
            paint("not proved", Colour::Yellow)
        };
        let _infallible = writeln!(
            text,
            "symbolic (Cedar): {verdict} ({proved} of {} kinds of requests proved)",
            self.rows.len()
        );
        if !self.elsewhere.is_empty() {
            let _infallible = writeln!(
                text,
                "  nothing is proved of actions that Cedar doesn't grant in both: {}",
                self.elsewhere.join(", ")
            );
        }
        text
    }
}
