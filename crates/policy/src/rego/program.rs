//! A release's Rego policies, ready to be evaluated.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use placet_core::{
    Code, Determining, EngineFault, FactsView, Name, Per, RelationModel, ResourceRef, Timestamp,
};
use placet_json::Value as Json;
use regorus::{
    Engine, LimitError, Value,
    unstable::{Expr, Literal, Rule, RuleHead},
    utils::limits::ExecutionTimerConfig,
};

use super::{
    CHECK, RESERVED,
    ast::{self, Mentions, Parsed},
    bounds,
    compiled::Compiled,
    convert::to_rego,
    near::{Candidate, Condition, Conditions, allows_by_candidates},
};
use crate::{
    around::Around,
    contract::Contract,
    finding::{Finding, Severity},
};

/// The longest evaluation of one package. The engine measures wall time, in which a thread that waits for a processor
/// counts, too: the bound is for what runs away (an evaluation takes a tenth of a millisecond), not for a busy machine.
const TIME: Duration = Duration::from_millis(250);
/// The most memory that one evaluation may hold, in bytes: an input and what is commonly made of it take some hundred
/// thousand. A function that takes texts may make a few times as much before it is looked at again.
const MEMORY: u64 = 32 << 20;
/// The longest reason that a deny gives, in bytes.
const MAX_MESSAGE: usize = 64 * 1024;
/// The most relationships that one decision may ask for.
const MAX_CHECKS: usize = 256;

/// The most evaluations of one package for relationships whose names depend on others; each has its own [`TIME`].
const MAX_ROUNDS: usize = 16;

/// The policies of a release, prepared. Evaluating clones what changes and shares the rest; no lock is held.
pub(crate) struct Program {
    engine: Engine,
    /// The verdicts of all entries, where the virtual machine may tell them.
    compiled: Option<Compiled>,
    entries: Vec<Entry>,
    /// A policy reads `data.facts`; the slice is handed over only then, as it costs an analysis each time.
    reads_facts: bool,
    /// A policy asks for relationships.
    asks: bool,
    /// A policy reads totals, or an object that holds them.
    pub(crate) reads_totals: bool,
    /// The totals of days that a policy reads.
    pub(crate) reads_days: BTreeSet<Per>,
    /// What of risk and environment a policy reads.
    pub(crate) around: Around,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("entries", &self.entries.iter().map(|entry| &entry.package).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

struct Entry {
    package: String,
    verdict: String,
    /// Which bodies of `allow` hold; asked only where plain comparisons leave more than one.
    by: Option<String>,
    /// Nothing but a candidate of `conditions` makes `allow` true.
    closed: bool,
    holds: Option<String>,
    conditions: Conditions,
    /// Places of the denies, by the text that they give, and of the first of them.
    denies: BTreeMap<String, (String, u32)>,
    /// Every deny gives a text that the policy writes out.
    plain_denies: bool,
    first_deny: (String, u32),
    first_allow: (String, u32),
}

/// A deny that fired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fired {
    pub(crate) policy: String,
    pub(crate) message: String,
    pub(crate) at: String,
}

/// What the policies said to an input.
pub(crate) struct Run<'a> {
    program: &'a Program,
    /// None where it was permitted without the interpreter.
    engine: Option<Engine>,
    input: Value,
    facts: Option<(&'a dyn FactsView, &'a RelationModel)>,
    memo: Arc<Mutex<Memo>>,
    pub(crate) allowed: Vec<Determining>,
    pub(crate) denied: Vec<Fired>,
}

/// A rule that came near, and its conditions that didn't hold.
pub(crate) struct Near<'a> {
    pub(crate) package: &'a str,
    pub(crate) candidate: &'a Candidate,
    pub(crate) failed: Vec<Vec<&'a Condition>>,
}

/// A package, the conditions of its `allow` rules, and the keys of those that hold.
pub(crate) type Standing<'a> = (&'a str, &'a Conditions, BTreeSet<String>);

/// Relationships: those that are known, and those that a policy asked for and that aren't yet.
///
/// An extension of the interpreter owns what it sees, so it can't hold a view of the facts. It answers from here; an
/// answer that isn't there yet voids the evaluation, which is repeated once the facts were asked.
#[derive(Default)]
struct Memo {
    known: BTreeMap<[String; 3], bool>,
    asked: BTreeSet<[String; 3]>,
}

fn quoted(component: &str) -> String {
    Json::from(component).to_string()
}

/// `data.a.b.rule`, with components that are no identifiers in brackets.
fn rule_path(package: &[String], rule: &str) -> String {
    let mut path = String::from("data");
    for component in package.iter().map(String::as_str).chain([rule]) {
        if component.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !component.starts_with(|c: char| c.is_ascii_digit())
        {
            path.push('.');
            path.push_str(component);
        } else {
            path.push('[');
            path.push_str(&quoted(component));
            path.push(']');
        }
    }
    path
}

impl Program {
    /// Prepares checked modules. An entry point without rules is a warning: it permits nothing.
    pub(crate) fn new(
        modules: &[Parsed],
        entrypoints: &[String],
        v1: bool,
        findings: &mut Vec<Finding>,
    ) -> Result<Self, Finding> {
        let broken = |file: &str| {
            let file = file.to_owned();
            move |error: anyhow::Error| {
                Finding::error(&file, (0, 0), format!("the policy can't be loaded: {error}"), "")
            }
        };
        let mut engine = Engine::new();
        let check_interval = NonZeroU32::new(64).unwrap_or(NonZeroU32::MIN);
        engine.set_execution_timer_config(ExecutionTimerConfig { limit: TIME, check_interval });
        engine.set_strict_builtin_errors(true);
        engine.set_rego_v0(!v1);
        engine
            .add_extension(
                "time.parse_rfc3339_ns".to_owned(),
                1,
                Box::new(|parameters: Vec<Value>| moment(&parameters)),
            )
            .map_err(broken("release.toml"))?;
        regorus::set_global_memory_limit(Some(MEMORY));
        let called: BTreeSet<String> = modules
            .iter()
            .flat_map(|parsed| &parsed.module.policy)
            .flat_map(|rule| Mentions::of_rule(rule).calls)
            .map(|call| call.name)
            .collect();
        bounds::install(&mut engine, |name| called.contains(name)).map_err(broken("release.toml"))?;
        for parsed in modules {
            engine.add_policy(parsed.file.clone(), parsed.text.clone()).map_err(broken(&parsed.file))?;
        }
        let mut entries = Vec::new();
        for entrypoint in entrypoints {
            let own: Vec<&Parsed> =
                modules.iter().filter(|parsed| parsed.package.join(".") == *entrypoint).collect();
            let inside = format!("{entrypoint}.");
            let absent = own.is_empty() && !modules.is_empty();
            if absent && !modules.iter().any(|m| m.package.join(".").starts_with(&inside)) {
                // A typo would silence the package's denies, while what other packages allow stands.
                let packages: BTreeSet<String> = modules.iter().map(|m| m.package.join(".")).collect();
                let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
                return Err(Finding::error(
                    "release.toml",
                    (0, 0),
                    format!("no module has the package `{entrypoint}` of `entrypoints`"),
                    format!("name one of these: {}", packages.join(", ")),
                ));
            }
            match Self::entry(entrypoint, &own, v1, &mut engine).map_err(broken("release.toml"))? {
                Some(mut entry) => {
                    // A rule of a package around it may define this package's `allow` as well.
                    let around =
                        |parsed: &Parsed| entrypoint.starts_with(&format!("{}.", parsed.package.join(".")));
                    entry.closed &= !modules.iter().any(around);
                    entries.push(entry);
                }
                None => findings.push(Finding::new(
                    Severity::Warning,
                    "release.toml",
                    (0, 0),
                    format!(
                        "the entry point `{entrypoint}` has neither `allow` nor `deny`: it permits nothing"
                    ),
                    "name a package that has an `allow` rule",
                ).coded("entrypoint-empty")),
            }
        }
        let mentions: Vec<(&Parsed, Mentions)> = modules
            .iter()
            .flat_map(|parsed| parsed.module.policy.iter().map(move |rule| (parsed, Mentions::of_rule(rule))))
            .collect();
        let asks = mentions.iter().any(|(_, m)| m.calls.iter().any(|call| call.name == CHECK));
        let reads_facts =
            mentions.iter().any(|(parsed, m)| m.references.iter().any(|r| reads_facts(parsed, r)));
        let reads_totals = mentions.iter().any(|(parsed, m)| {
            m.references
                .iter()
                .filter_map(|r| super::lint::input_path(parsed, r, &m.locals))
                .any(|path| reads_totals(&path))
        });
        let reads_days = mentions
            .iter()
            .flat_map(|(parsed, m)| {
                m.references.iter().filter_map(|r| super::lint::input_path(parsed, r, &m.locals))
            })
            .flat_map(|path| crate::limits::days_of(&path))
            .collect();
        let around = mentions
            .iter()
            .flat_map(|(parsed, m)| {
                m.references.iter().filter_map(|r| super::lint::input_path(parsed, r, &m.locals))
            })
            .fold(Around::default(), |around, path| around.and(Around::of_path(&path)));
        let program =
            Self { engine, compiled: None, entries, reads_facts, asks, reads_totals, reads_days, around };
        program.prepare().map_err(|error| {
            Finding::error("release.toml", (0, 0), format!("the policies can't be prepared: {error}"), "")
        })
    }

    fn entry(package: &str, own: &[&Parsed], v1: bool, engine: &mut Engine) -> anyhow::Result<Option<Entry>> {
        let names: BTreeSet<String> = own
            .iter()
            .flat_map(|parsed| {
                parsed.module.policy.iter().filter_map(|rule| ast::rule_name(rule)).map(|(name, _)| name)
            })
            .collect();
        let (allow, deny) = (names.contains("allow"), names.contains("deny"));
        let Some(first) = own.first().filter(|_| allow || deny) else { return Ok(None) };
        let conditions = Conditions::of(package, own, v1);
        for (file, text, module_v1) in &conditions.modules {
            engine.set_rego_v0(!*module_v1);
            engine.add_policy(file.clone(), text.clone())?;
        }
        let labelled = conditions.modules.iter().any(|(_, text, _)| text.contains(&format!("{RESERVED}by")));
        let parts = [("allow", allow), ("deny", deny)];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(_, there)| *there)
            .map(|(name, _)| format!("\"{name}\": [{RESERVED}x | {RESERVED}x := {name}]"))
            .collect();
        engine.set_rego_v0(!v1);
        engine.add_policy(
            format!("verdict of {package}"),
            format!("{}\n{RESERVED}verdict := {{{}}}\n", first.module.package.span.text(), parts.join(", ")),
        )?;
        engine.set_rego_v0(!v1);
        Ok(Some(Entry {
            package: package.to_owned(),
            verdict: rule_path(&first.package, &format!("{RESERVED}verdict")),
            by: labelled.then(|| rule_path(&first.package, &format!("{RESERVED}by"))),
            closed: allows_by_candidates(own),
            holds: (!conditions.modules.is_empty())
                .then(|| rule_path(&first.package, &format!("{RESERVED}holds"))),
            denies: denies(own),
            plain_denies: plain(own),
            first_deny: first_of(own, "deny"),
            first_allow: first_of(own, "allow"),
            conditions,
        }))
    }

    /// Analyses once; what is cloned afterwards is ready.
    fn prepare(mut self) -> Result<Self, String> {
        if let Some(entry) = self.entries.first() {
            let path = entry.verdict.clone();
            self.engine.set_input(Value::new_object());
            let mut once = self.engine.clone();
            // Only the analysis matters; an evaluation of nothing may fail.
            let _outcome = self.engine.eval_rule(path.clone());
            once.set_input(Value::new_object());
            if let Err(error) = once.eval_rule(path)
                && error.to_string().contains("not a valid rule path")
            {
                return Err(error.to_string());
            }
        }
        Ok(self)
    }

    /// Lets the virtual machine say what is permitted, where it says the same as the interpreter.
    pub(crate) fn compile(&mut self, modules: &[Parsed], contract: &Contract) {
        if self.asks || self.reads_facts {
            return;
        }
        let paths = self.entries.iter().map(|entry| entry.verdict.clone()).collect();
        self.compiled = Compiled::new(modules, contract, &self.engine, paths, TIME);
    }

    /// Whether the virtual machine says what is permitted.
    pub(crate) fn is_compiled(&self) -> bool {
        self.compiled.is_some()
    }

    /// Only the interpreter answers from now on.
    pub(crate) fn interpret(&mut self) {
        self.compiled = None;
    }

    /// What is permitted according to the virtual machine; nothing where the interpreter is to be asked: no engine
    /// denies by itself, and the reasons of a denial are the interpreter's.
    fn permitted(&self, input: &Value, nanos: i64) -> Option<Vec<Determining>> {
        let mut allowed = Vec::new();
        for (entry, verdict) in self.entries.iter().zip(self.compiled.as_ref()?.values(input, nanos)?) {
            match part(&verdict, "deny") {
                None | Some(Value::Bool(false) | Value::Undefined) => {}
                Some(Value::Set(denies)) if denies.is_empty() => {}
                Some(_) => return None,
            }
            if part(&verdict, "allow") == Some(&Value::Bool(true)) {
                let only = entry.conditions.only(input).filter(|_| entry.closed)?;
                allowed.push(Determining {
                    policy: entry.package.clone(),
                    at: format!("{}:{}", only.file, only.line),
                });
            }
        }
        (!allowed.is_empty()).then_some(allowed)
    }

    /// What is wrong where the virtual machine permits what the interpreter doesn't, or by another rule.
    pub(crate) fn disagreement(&self, input: &Json, now: Timestamp) -> Option<String> {
        let permitted = self.permitted(&to_rego(input)?, now.nanos())?;
        let run = self.interpreted(to_rego(input)?, now, None, &|| Json::Null);
        match run {
            Ok(run) if run.denied.is_empty() && run.allowed == permitted => None,
            Ok(_) => Some("the compiled policy permits what the interpreter doesn't".to_owned()),
            Err(fault) => {
                Some(format!("the compiled policy permits where the interpreter fails: {}", fault.operator))
            }
        }
    }

    /// Evaluates all entry points. `slice` is asked only if a policy reads `data.facts`.
    pub(crate) fn run<'a>(
        &'a self,
        input: &Json,
        now: Timestamp,
        facts: Option<(&'a dyn FactsView, &'a RelationModel)>,
        slice: &dyn Fn() -> Json,
    ) -> Result<Run<'a>, EngineFault> {
        let input = rego_input(input)?;
        if let Some(allowed) = self.permitted(&input, now.nanos()) {
            let memo = Arc::default();
            return Ok(Run { program: self, engine: None, input, facts, memo, allowed, denied: Vec::new() });
        }
        self.interpreted(input, now, facts, slice)
    }

    /// The same by the interpreter alone, which also tells which conditions hold.
    pub(crate) fn look<'a>(
        &'a self,
        input: &Json,
        now: Timestamp,
        facts: Option<(&'a dyn FactsView, &'a RelationModel)>,
        slice: &dyn Fn() -> Json,
    ) -> Result<Run<'a>, EngineFault> {
        self.interpreted(rego_input(input)?, now, facts, slice)
    }

    fn interpreted<'a>(
        &'a self,
        input: Value,
        now: Timestamp,
        facts: Option<(&'a dyn FactsView, &'a RelationModel)>,
        slice: &dyn Fn() -> Json,
    ) -> Result<Run<'a>, EngineFault> {
        let fault = |operator: String| EngineFault { code: Code::EngineFault, operator };
        let nanos = now.nanos();
        let mut engine = self.engine.clone();
        engine
            .add_extension("time.now_ns".to_owned(), 0, Box::new(move |_: Vec<Value>| Ok(Value::from(nanos))))
            .map_err(|e| fault(e.to_string()))?;
        let memo = Arc::new(Mutex::new(Memo::default()));
        if self.asks {
            let memo = Arc::clone(&memo);
            let answer = move |parameters: Vec<Value>| -> anyhow::Result<Value> {
                let text = |index: usize| {
                    parameters.get(index).and_then(|v| v.as_string().ok()).map(ToString::to_string)
                };
                let (Some(subject), Some(relation), Some(object)) = (text(0), text(1), text(2)) else {
                    anyhow::bail!(
                        "{CHECK} takes three texts: \"type:id\" of the subject, the relation, \"type:id\" of the object"
                    );
                };
                let question = [subject, relation, object];
                let mut memo = memo.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(known) = memo.known.get(&question) {
                    return Ok(Value::from(*known));
                }
                memo.asked.insert(question);
                Ok(Value::from(false))
            };
            engine.add_extension(CHECK.to_owned(), 3, Box::new(answer)).map_err(|e| fault(e.to_string()))?;
        }
        if self.reads_facts {
            let slice = to_rego(&slice())
                .ok_or_else(|| fault("a number of the facts can't be represented".to_owned()))?;
            engine
                .add_data(Value::from(BTreeMap::from([(Value::from("facts"), slice)])))
                .map_err(|e| fault(e.to_string()))?;
        }
        engine.set_input(input.clone());
        let mut run = Run {
            program: self,
            engine: Some(engine),
            input,
            facts,
            memo,
            allowed: Vec::new(),
            denied: Vec::new(),
        };
        for entry in &self.entries {
            run.entry(entry)?;
        }
        Ok(run)
    }
}

impl Program {
    /// By package, the conditions of its `allow` rules.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = (&str, &Conditions)> {
        self.entries.iter().map(|entry| (entry.package.as_str(), &entry.conditions))
    }

    /// Whether some `allow` rule could be for this action, and for this intent: it names it, or names none.
    pub(crate) fn may_allow_for(&self, action: &str, intent: Option<&str>) -> bool {
        let action = quoted(action);
        let intent = intent.map(quoted);
        self.entries.iter().flat_map(|entry| &entry.conditions.candidates).any(|candidate| {
            candidate.conditions.iter().all(|condition| {
                let named = if condition.about_action {
                    Some(&action)
                } else if condition.inputs.iter().any(|path| *path == ["intent"]) {
                    intent.as_ref()
                } else {
                    None
                };
                named.is_none_or(|name| !condition.text.contains('"') || condition.text.contains(name))
            })
        })
    }

    /// The packages that are asked.
    pub(crate) fn packages(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.package.as_str())
    }

    /// The texts of all conditions that a reason may be given for.
    pub(crate) fn condition_texts(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().flat_map(|entry| entry.conditions.texts())
    }

    /// The texts of all denies; none where some are computed.
    pub(crate) fn deny_texts(&self) -> Option<BTreeSet<&str>> {
        self.entries
            .iter()
            .all(|entry| entry.plain_denies)
            .then(|| self.entries.iter().flat_map(|entry| entry.denies.keys()).map(String::as_str).collect())
    }

    /// The value of one rule, as a decision evaluates it.
    #[cfg(test)]
    pub(crate) fn value(&self, path: &str, input: &Json, now: Timestamp) -> Result<Value, String> {
        let mut run = self.run(input, now, None, &|| Json::Null).map_err(|fault| fault.operator)?;
        run.eval(path, "corpus").map_err(|fault| fault.operator)
    }

    /// Evaluates the rules `test_…` of modules that were checked together with the policies.
    pub(crate) fn test(&self, modules: &[Parsed], v1: bool) -> Vec<(String, String, Result<bool, String>)> {
        let mut engine = self.engine.clone();
        engine.set_rego_v0(!v1);
        let mut results = Vec::new();
        let added = modules
            .iter()
            .try_for_each(|parsed| engine.add_policy(parsed.file.clone(), parsed.text.clone()).map(drop));
        let added = added.and_then(|()| {
            engine.add_extension(
                "time.now_ns".to_owned(),
                0,
                Box::new(|_: Vec<Value>| Ok(Value::from(0_i64))),
            )
        });
        // A rule `test_…` has no facts: nobody is related to anything.
        let added = added.and_then(|()| {
            engine.add_extension(CHECK.to_owned(), 3, Box::new(|_: Vec<Value>| Ok(Value::from(false))))
        });
        for parsed in modules {
            let names: BTreeSet<String> = parsed
                .module
                .policy
                .iter()
                .filter_map(|rule| ast::rule_name(rule))
                .map(|(name, _)| name)
                .filter(|name| name.starts_with("test_"))
                .collect();
            for name in names {
                let outcome = match &added {
                    Ok(()) => unbroken(|| engine.eval_rule(rule_path(&parsed.package, &name)))
                        .map(|value| value == Value::Bool(true))
                        .map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                };
                results.push((parsed.file.clone(), format!("{}.{name}", parsed.package.join(".")), outcome));
            }
        }
        results
    }
}

fn rego_input(input: &Json) -> Result<Value, EngineFault> {
    to_rego(input).ok_or_else(|| EngineFault {
        code: Code::EngineFault,
        operator: "a number of the input can't be represented".to_owned(),
    })
}

impl<'a> Run<'a> {
    fn entry(&mut self, entry: &Entry) -> Result<(), EngineFault> {
        let verdict = self.eval(&entry.verdict, &entry.package)?;
        let fault = |what: &str| EngineFault {
            code: Code::EngineFault,
            operator: format!("{}: {what}", entry.package),
        };
        match part(&verdict, "deny") {
            None | Some(Value::Bool(false) | Value::Undefined) => {}
            Some(Value::Bool(true)) => self.denied.push(entry.fired(None)),
            Some(Value::Set(set)) => {
                self.denied.extend(set.iter_sorted().map(|element| entry.fired(Some(element))));
            }
            Some(Value::Array(list)) => {
                self.denied.extend(list.iter().map(|element| entry.fired(Some(element))));
            }
            Some(Value::Object(object)) => {
                self.denied.extend(object.iter_sorted().map(|(name, _)| entry.fired(Some(name))));
            }
            Some(Value::Null | Value::Number(_) | Value::String(_)) => {
                return Err(fault("`deny` is neither a truth value nor a collection"));
            }
        }
        // Only `true` permits: not "yes", not 1, not an object.
        if part(&verdict, "allow") == Some(&Value::Bool(true)) {
            let by = match (entry.conditions.only(&self.input).filter(|_| entry.closed), &entry.by) {
                (Some(only), _) => BTreeSet::from([only.key.clone()]),
                (None, Some(path)) => keys(&self.eval(path, &entry.package)?),
                (None, None) => BTreeSet::new(),
            };
            let places = entry
                .conditions
                .candidates
                .iter()
                .filter(|candidate| by.contains(&candidate.key))
                .map(|candidate| (&candidate.file, candidate.line));
            let before = self.allowed.len();
            self.allowed.extend(places.map(|(file, line)| Determining {
                policy: entry.package.clone(),
                at: format!("{file}:{line}"),
            }));
            if self.allowed.len() == before {
                let (file, line) = &entry.first_allow;
                self.allowed
                    .push(Determining { policy: entry.package.clone(), at: format!("{file}:{line}") });
            }
        }
        Ok(())
    }

    /// Whether the interpreter was asked, so that it can be asked more.
    pub(crate) fn is_interpreted(&self) -> bool {
        self.engine.is_some()
    }

    /// The rules that came near, each with the conditions that it lacked. Only a rule for this action comes near.
    pub(crate) fn near(&mut self) -> Result<Vec<Near<'a>>, EngineFault> {
        let mut near = Vec::new();
        for entry in &self.program.entries {
            let Some(path) = &entry.holds else { continue };
            let holds = keys(&self.eval(path, &entry.package)?);
            for candidate in &entry.conditions.candidates {
                if candidate
                    .conditions
                    .iter()
                    .any(|condition| condition.about_action && !holds.contains(&condition.key))
                {
                    continue;
                }
                let failed = entry.conditions.failed(candidate, &holds);
                if !failed.is_empty() {
                    near.push(Near { package: &entry.package, candidate, failed });
                }
            }
        }
        Ok(near)
    }

    /// By package, the conditions of its `allow` rules and the keys of those that hold.
    pub(crate) fn standing(&mut self) -> Result<Vec<Standing<'a>>, EngineFault> {
        let mut all = Vec::new();
        for entry in &self.program.entries {
            let Some(path) = &entry.holds else { continue };
            all.push((entry.package.as_str(), &entry.conditions, keys(&self.eval(path, &entry.package)?)));
        }
        Ok(all)
    }

    /// The relationships that were asked for: subject, relation, object, and the answer.
    pub(crate) fn asked(&self) -> Vec<([String; 3], bool)> {
        let memo = self.memo.lock().unwrap_or_else(PoisonError::into_inner);
        memo.known.iter().map(|(question, answer)| (question.clone(), *answer)).collect()
    }

    /// Evaluates a rule, again while it asks for relationships that weren't known.
    fn eval(&mut self, path: &str, package: &str) -> Result<Value, EngineFault> {
        for _ in 0..MAX_ROUNDS {
            let Some(engine) = &mut self.engine else {
                let operator = format!("{package}: only the interpreter tells this, and it wasn't asked");
                return Err(EngineFault { code: Code::EngineFault, operator });
            };
            let outcome = unbroken(|| engine.eval_rule(path.to_owned()));
            let asked = {
                let mut memo = self.memo.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::take(&mut memo.asked)
            };
            if asked.is_empty() {
                return outcome.map_err(|error| fault_of(package, &error));
            }
            for question in asked {
                let answer = self.ask(&question)?;
                let mut memo = self.memo.lock().unwrap_or_else(PoisonError::into_inner);
                if memo.known.len() >= MAX_CHECKS {
                    return Err(EngineFault {
                        code: Code::Limit,
                        operator: format!("{package}: more than {MAX_CHECKS} relationships were asked for"),
                    });
                }
                memo.known.insert(question, answer);
            }
        }
        Err(EngineFault {
            code: Code::Limit,
            operator: format!("{package}: relationships depend on each other more than {MAX_ROUNDS} times"),
        })
    }

    fn ask(&self, [subject, relation, object]: &[String; 3]) -> Result<bool, EngineFault> {
        let fault = |operator: String| EngineFault { code: Code::EngineFault, operator };
        let Some((facts, model)) = self.facts else {
            return Err(fault(format!("{CHECK} needs facts, and none were given")));
        };
        let of = |text: &str| {
            let (kind, id) = text.split_once(':')?;
            Some(ResourceRef { kind: Name::new(kind).ok()?, id: Name::new(id).ok()? })
        };
        let (Some(subject), Ok(relation), Some(object)) = (of(subject), Name::new(relation), of(object))
        else {
            return Err(fault(format!(
                "{CHECK}: `{subject}`, `{relation}`, `{object}` isn't a subject, a relation and an object"
            )));
        };
        facts
            .check(model, &object, &relation, &subject)
            .map_err(|error| EngineFault { code: error.code(), operator: error.to_string() })
    }
}

/// `time.parse_rfc3339_ns`, as strict as OPA's and as the input's own moments: the engine's takes spaces, small letters
/// and second 60. `jiff` keeps milliseconds of a [`Timestamp`]; the digits after the point are read off the text.
fn moment(parameters: &[Value]) -> anyhow::Result<Value> {
    let text = parameters.first().and_then(|value| value.as_string().ok());
    let Some(text) = text else { anyhow::bail!("time.parse_rfc3339_ns takes a text") };
    let moment = Timestamp::parse(text)?;
    let digits = text.split_once(['.', ',']).map_or("", |(_, rest)| {
        rest.get(..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())).unwrap_or_default()
    });
    let fraction: String = digits.chars().chain("000000000".chars()).take(9).collect();
    let whole = i64::try_from(moment.secs())?.checked_mul(1_000_000_000);
    let nanos = whole.and_then(|whole| whole.checked_add(fraction.parse().ok()?));
    nanos.map(Value::from).ok_or_else(|| anyhow::anyhow!("`{text}` is outside of the years to 2262"))
}

/// An evaluation that breaks the engine (a function of it that panics on an argument) is a fault like any other. What
/// it left half done is thrown away with the run.
fn unbroken(evaluate: impl FnOnce() -> anyhow::Result<Value>) -> anyhow::Result<Value> {
    let _evaluation = placet_fuse::Evaluation::begin();
    // What an evaluation left that was repeated isn't this one's.
    let _before = bounds::refused();
    std::panic::catch_unwind(AssertUnwindSafe(evaluate))
        .unwrap_or_else(|_| Err(anyhow::anyhow!("the engine broke off")))
}

/// The one element of a part of a verdict.
pub(super) fn part<'v>(verdict: &'v Value, name: &str) -> Option<&'v Value> {
    verdict.as_object().ok()?.get(&Value::from(name))?.as_array().ok()?.first()
}

/// The texts of a set.
fn keys(set: &Value) -> BTreeSet<String> {
    let set = set.as_set().ok();
    set.into_iter()
        .flat_map(|set| set.iter())
        .filter_map(|key| key.as_string().ok())
        .map(ToString::to_string)
        .collect()
}

fn fault_of(package: &str, error: &anyhow::Error) -> EngineFault {
    let limit = error.chain().any(|cause| cause.downcast_ref::<LimitError>().is_some()) || bounds::refused();
    EngineFault {
        code: if limit { Code::Limit } else { Code::EngineFault },
        operator: format!("{package}: {}", error.to_string().trim()),
    }
}

impl Entry {
    fn fired(&self, element: Option<&Value>) -> Fired {
        let message = match element {
            Some(Value::String(text)) if text.len() <= MAX_MESSAGE => text.to_string(),
            Some(other) if bounds::weight(other, MAX_MESSAGE).is_some() => {
                other.to_json_str().unwrap_or_default()
            }
            Some(_) => "a value too long to be shown".to_owned(),
            None => String::new(),
        };
        let (file, line) = self.denies.get(&message).unwrap_or(&self.first_deny);
        Fired { policy: self.package.clone(), at: format!("{file}:{line}"), message }
    }
}

fn first_of(own: &[&Parsed], name: &str) -> (String, u32) {
    own.iter()
        .flat_map(|parsed| parsed.module.policy.iter().map(|rule| (*parsed, rule)))
        .find(|(_, rule)| {
            matches!(rule.as_ref(), Rule::Spec { .. })
                && ast::rule_name(rule).is_some_and(|(of, _)| of == name)
        })
        .map_or_else(
            || (own.first().map(|parsed| parsed.file.clone()).unwrap_or_default(), 1),
            |(parsed, rule)| (parsed.file.clone(), rule.span().line),
        )
}

/// Where each text of a deny stands: in the head, or as a value assigned in the body.
fn denies(own: &[&Parsed]) -> BTreeMap<String, (String, u32)> {
    let mut places = BTreeMap::new();
    for parsed in own {
        for rule in &parsed.module.policy {
            if ast::rule_name(rule).is_none_or(|(name, _)| name != "deny") {
                continue;
            }
            let Rule::Spec { head, bodies, span } = rule.as_ref() else { continue };
            let mut texts: Vec<String> = Vec::new();
            let mut add = |expr: &Expr| {
                if let Expr::String { value, .. } | Expr::RawString { value, .. } = expr {
                    texts.extend(value.as_string().ok().map(ToString::to_string));
                }
            };
            match head {
                RuleHead::Set { key: Some(key), .. } => add(key),
                RuleHead::Compr { refr, .. } => {
                    if let Expr::RefBrack { index, .. } = refr.as_ref() {
                        add(index);
                    }
                }
                RuleHead::Set { key: None, .. } | RuleHead::Func { .. } => {}
            }
            for statement in bodies.iter().flat_map(|body| &body.query.stmts) {
                if let Literal::Expr { expr, .. } = &statement.literal
                    && let Expr::AssignExpr { rhs, .. } = expr.as_ref()
                {
                    add(rhs);
                }
            }
            for text in texts {
                places.entry(text).or_insert_with(|| (parsed.file.clone(), span.line));
            }
        }
    }
    places
}

/// Whether every rule for `deny` has a text of its own in its head.
fn plain(own: &[&Parsed]) -> bool {
    own.iter().flat_map(|parsed| &parsed.module.policy).all(|rule| {
        let Rule::Spec { head, .. } = rule.as_ref() else { return true };
        if ast::rule_name(rule).is_none_or(|(name, _)| name != "deny") {
            return true;
        }
        let key = match head {
            RuleHead::Set { key: Some(key), .. } => Some(key),
            RuleHead::Compr { refr, .. } => {
                if let Expr::RefBrack { index, .. } = refr.as_ref() {
                    Some(index)
                } else {
                    None
                }
            }
            RuleHead::Set { key: None, .. } | RuleHead::Func { .. } => None,
        };
        key.is_some_and(|key| super::visit::literal_text(key).is_some())
    })
}

fn reads_facts(parsed: &Parsed, reference: &ast::Reference) -> bool {
    let mut path: Vec<&str> = parsed
        .aliases
        .get(&reference.root)
        .map_or_else(|| vec![reference.root.as_str()], |alias| alias.iter().map(String::as_str).collect());
    path.extend(reference.steps.iter().map(|step| match step {
        ast::Step::Name(name) => name.as_str(),
        ast::Step::Computed => "[",
    }));
    path.first() == Some(&"data") && matches!(path.get(1), None | Some(&("facts" | "[")))
}

/// Whether a path is one of the totals, or an object around them.
fn reads_totals(path: &[String]) -> bool {
    let mut steps = path.iter().map(String::as_str);
    match steps.next() {
        None | Some("totals" | "[") => true,
        Some("workflow") => matches!(steps.next(), None | Some("totals" | "[")),
        Some(_) => false,
    }
}
