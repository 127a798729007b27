//! Cedar: strictly validated at load, asked on a slice of each call's own entities.
//!
//! A call is `principal` = the agent, `action` = the catalog's action, `resource` = the first resource; `context` is the
//! policy input, member for member, with `now` for the decision's time and `rel.<relation>` for what the delegating
//! person is to the resource. Cedar skips a policy that errs, so any error in its diagnostics is a fault, and a fault is
//! a denial.

mod conditions;
#[cfg(test)]
mod corpus;
mod map;
mod parents;
mod schema;

use std::{collections::BTreeMap, collections::BTreeSet, str::FromStr as _};

use cedar_policy::{
    ActionConstraint, Authorizer, Decision, Effect, Entities, EntityTypeName, EntityUid, Policy, PolicyId,
    PolicySet, Request, Schema, ValidationMode, Validator,
};
use placet_core::{
    Code, Determining, EngineFault, FactsView, Name, Per, RelationModel, ResourceRef, Timestamp,
};
use placet_json::Value;

pub(crate) use conditions::{Candidate, Condition, Form, Looked, form};

use crate::{
    around::Around,
    contract::Contract,
    finding::{Finding, Severity, position},
    manifest::AttributeType,
};

/// What the schema is made of beside the input's contract.
pub(crate) struct World<'a> {
    pub(crate) contract: &'a Contract,
    pub(crate) actions: &'a BTreeSet<Name>,
    /// Resource types with their attributes.
    pub(crate) resources: BTreeMap<Name, BTreeMap<Name, AttributeType>>,
    pub(crate) model: &'a RelationModel,
    /// By type, the relations that lead to its parents.
    pub(crate) parents: BTreeMap<Name, BTreeSet<Name>>,
}

/// The policies of a release, prepared.
pub(crate) struct Program {
    schema: Schema,
    schema_text: String,
    contract: Contract,
    /// Parsed names of types: parsing one costs as much as a decision's policies.
    types: BTreeMap<String, EntityTypeName>,
    actions: BTreeSet<String>,
    resources: BTreeMap<Name, BTreeMap<Name, AttributeType>>,
    parents: BTreeMap<Name, BTreeSet<Name>>,
    /// Policies by action; what names no action is in all of them.
    by_action: BTreeMap<String, PolicySet>,
    general: PolicySet,
    places: BTreeMap<PolicyId, (String, u32)>,
    /// Relations of the model that a policy reads.
    relations: BTreeSet<Name>,
    conditions: conditions::Conditions,
    pub(crate) reads_totals: bool,
    /// The totals of days that a policy reads.
    pub(crate) reads_days: BTreeSet<Per>,
    /// What of risk and environment a policy reads.
    pub(crate) around: Around,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("policies", &self.places.keys().map(ToString::to_string).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// What the policies said.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) allowed: Vec<Determining>,
    /// Ids and places of the forbids that fired.
    pub(crate) denied: Vec<(String, String)>,
}

/// A prepared question.
pub(crate) struct Question {
    request: Request,
    entities: Entities,
    action: String,
}

fn failed(operator: impl Into<String>) -> EngineFault {
    EngineFault { code: Code::EngineFault, operator: operator.into() }
}

impl Program {
    /// Parses, validates and indexes the policies. Findings that are errors mean that there is no program.
    pub(crate) fn new(files: &[(&str, &str)], world: World<'_>, findings: &mut Vec<Finding>) -> Option<Self> {
        let before = findings.len();
        let mut policies: Vec<Policy> = Vec::new();
        let mut places = BTreeMap::new();
        for (file, text) in files {
            read(file, text, &mut policies, &mut places, findings);
        }
        let relations = conditions::relations(&policies);
        for relation in &relations {
            if !world.model.types.values().any(|of| of.contains_key(relation)) {
                findings.push(Finding::error(
                    "relations.toml",
                    (0, 0),
                    format!("a Cedar policy reads `context.rel.{relation}`, and no type has such a relation"),
                    "add it to the model",
                ));
            }
        }
        let (schema, schema_text) = match schema::build(&world, &relations) {
            Ok(built) => built,
            Err(message) => {
                findings.push(Finding::error(
                    "relations.toml",
                    (0, 0),
                    format!("no Cedar schema can be made: {message}"),
                    "Cedar needs types and attributes that are identifiers",
                ));
                return None;
            }
        };
        let mut all = PolicySet::new();
        for policy in &policies {
            if let Err(error) = all.add(policy.clone()) {
                let (file, line) = places.get(policy.id()).cloned().unwrap_or_default();
                findings.push(Finding::error(
                    &file,
                    (line, 0),
                    error.to_string(),
                    "give every policy its own `@id`",
                ));
            }
        }
        // Level 1: a policy may read attributes of principal and resource, and no further: the slice holds these.
        let outcome = Validator::new(schema.clone()).validate_with_level(&all, ValidationMode::Strict, 1);
        for error in outcome.validation_errors() {
            let (file, line) = places.get(error.policy_id()).cloned().unwrap_or_default();
            // The same error of another action says nothing new.
            let found = validation(&file, line, error);
            if !findings.contains(&found) {
                findings.push(found);
            }
        }
        for warning in outcome.validation_warnings() {
            let (file, line) = places.get(warning.policy_id()).cloned().unwrap_or_default();
            findings.push(
                Finding::new(Severity::Warning, &file, (line, 0), warning.to_string(), "")
                    .coded("cedar-validation"),
            );
        }
        if findings.iter().skip(before).any(|finding| finding.severity == Severity::Error) {
            return None;
        }
        let kinds = world.resources.keys().map(Name::as_str).chain(["Agent", "Action"]);
        let types =
            kinds.filter_map(|kind| Some((kind.to_owned(), EntityTypeName::from_str(kind).ok()?))).collect();
        let actions = world.actions.iter().map(|action| action.as_str().to_owned()).collect();
        let (by_action, general) = index(&policies);
        let conditions = conditions::Conditions::of(&policies, &places);
        let reads_totals = policies.iter().any(|policy| policy.to_string().contains("totals"));
        let reads_days = policies
            .iter()
            .flat_map(|policy| crate::limits::days_in(&policy.to_string()).collect::<Vec<_>>())
            .collect();
        let around = policies
            .iter()
            .fold(Around::default(), |around, policy| around.and(Around::in_text(&policy.to_string())));
        Some(Self {
            schema,
            schema_text,
            contract: world.contract.clone(),
            types,
            actions,
            resources: world.resources,
            parents: world.parents,
            by_action,
            general,
            places,
            relations,
            conditions,
            reads_totals,
            reads_days,
            around,
        })
    }

    /// Makes request and entities of an input. What Cedar's schema needs and the input lacks is named as a path.
    pub(crate) fn question(
        &self,
        input: &Value,
        now: Timestamp,
        facts: Option<(&dyn FactsView, &RelationModel)>,
    ) -> Result<Question, Unasked> {
        if let Some(path) = self.contract.missing_built(input) {
            return Err(Unasked::Input(path, "it is missing, and Cedar policies rely on it".to_owned()));
        }
        let text = |pointer: &str| input.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let kind = text("/resource/type");
        if !self.resources.keys().any(|known| known.as_str() == kind) {
            return Err(Unasked::Input(
                "input.resource.type".to_owned(),
                "the release describes no such type of resource".to_owned(),
            ));
        }
        let uid = |kind: &str, id: &str| -> Result<EntityUid, Unasked> {
            let kind = self
                .types
                .get(kind)
                .ok_or_else(|| Unasked::Fault(failed(format!("no Cedar type `{kind}`"))))?;
            Ok(EntityUid::from_type_name_and_id(kind.clone(), cedar_policy::EntityId::new(id)))
        };
        let principal = uid("Agent", text("/agent/id"))?;
        let action = text("/action").to_owned();
        let resource = uid(kind, text("/resource/id"))?;
        let relations = self
            .ask(facts, kind, text("/resource/id"), text("/delegating_user/id"))
            .map_err(Unasked::Fault)?;
        let context = map::context(&self.contract, input, now, relations).map_err(Unasked::Fault)?;
        let above = parents::above(&self.parents, &self.types, facts, kind, text("/resource/id"))
            .map_err(Unasked::Fault)?;
        let entities =
            map::entities(&self.resources, &principal, &resource, above, input).map_err(Unasked::Fault)?;
        let request = Request::new(principal, uid("Action", &action)?, resource, context, Some(&self.schema))
            .map_err(|error| {
                Unasked::Fault(failed(format!("the request breaks the Cedar schema: {error}")))
            })?;
        Ok(Question { request, entities, action })
    }

    /// Whether the release knows the action at all; Cedar's schema has no other.
    pub(crate) fn knows_action(&self, action: &str) -> bool {
        self.actions.contains(action)
    }

    /// Whether some permit could be for this action.
    pub(crate) fn may_allow(&self, action: &str) -> bool {
        self.by_action.get(action).unwrap_or(&self.general).policies().any(is_permit)
    }

    /// Whether some permit could be for this action, and for this intent: it compares the intent with it, or with none.
    pub(crate) fn may_allow_for(&self, action: &str, intent: Option<&str>) -> bool {
        let fits = |policy: &Policy| {
            let text = policy.to_string();
            intent.is_none_or(|intent| {
                !text.contains("context.intent == \"")
                    || text.contains(&format!("context.intent == \"{intent}\""))
            })
        };
        let policies = self.by_action.get(action).unwrap_or(&self.general);
        policies.policies().any(|policy| is_permit(policy) && fits(policy))
    }

    /// The forms of all conditions that a reason may be given for.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = &serde_json::Value> {
        self.conditions.forms()
    }

    /// The schema in Cedar's own writing.
    pub(crate) fn schema_text(&self) -> &str {
        &self.schema_text
    }

    pub(crate) fn answer(&self, question: &Question) -> Result<Answer, EngineFault> {
        let policies = self.by_action.get(&question.action).unwrap_or(&self.general);
        let response = Authorizer::new().is_authorized(&question.request, policies, &question.entities);
        if let Some(error) = response.diagnostics().errors().next() {
            return Err(failed(format!("Cedar: {error}")));
        }
        let mut answer = Answer::default();
        for id in response.diagnostics().reason() {
            let (file, line) = self.places.get(id).cloned().unwrap_or_default();
            let (name, at) = (id.to_string(), format!("{file}:{line}"));
            match response.decision() {
                Decision::Allow => answer.allowed.push(Determining { policy: name, at }),
                Decision::Deny => answer.denied.push((name, at)),
            }
        }
        answer.allowed.sort_by(|a, b| a.policy.cmp(&b.policy));
        answer.denied.sort();
        Ok(answer)
    }

    /// Permits whose scope fits, each with the conditions that don't hold.
    pub(crate) fn near(&self, question: &Question) -> Vec<(&Candidate, Vec<&Condition>)> {
        self.conditions.near(&question.request, &question.entities)
    }

    /// All permits, whether their scope fits, and each of their conditions.
    pub(crate) fn look(&self, question: &Question) -> Vec<Looked<'_>> {
        self.conditions.look(&question.request, &question.entities)
    }

    /// All permits with their conditions.
    pub(crate) fn candidates(&self) -> impl Iterator<Item = (&Candidate, &[Condition])> {
        self.conditions.all()
    }

    /// The schema that the policies were validated against.
    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// All policies with their places.
    pub(crate) fn policies(&self) -> impl Iterator<Item = (&Policy, &(String, u32))> {
        self.places.iter().filter_map(|(id, place)| {
            let mut sets = self.by_action.values().chain([&self.general]);
            Some((sets.find_map(|set| set.policy(id))?, place))
        })
    }

    /// The input's paths that a policy reads.
    pub(crate) fn inputs(policy: &Policy) -> Vec<Vec<String>> {
        policy.to_json().map(|form| conditions::inputs(&form)).unwrap_or_default()
    }

    fn ask(
        &self,
        facts: Option<(&dyn FactsView, &RelationModel)>,
        kind: &str,
        id: &str,
        user: &str,
    ) -> Result<Vec<(String, bool)>, EngineFault> {
        if self.relations.is_empty() {
            return Ok(Vec::new());
        }
        let (facts, model) =
            facts.ok_or_else(|| failed("a Cedar policy reads `context.rel`, and no facts were given"))?;
        let name = |text: &str| Name::new(text).map_err(|error| failed(error.to_string()));
        let object = ResourceRef { kind: name(kind)?, id: name(id)? };
        let subject = ResourceRef { kind: name("user")?, id: name(user)? };
        let mut answers = Vec::with_capacity(self.relations.len());
        for relation in &self.relations {
            // A type without the relation has nobody in it.
            let holds = model.rewrite(&object.kind, relation).is_some()
                && facts
                    .check(model, &object, relation, &subject)
                    .map_err(|error| EngineFault { code: error.code(), operator: error.to_string() })?;
            answers.push((relation.as_str().to_owned(), holds));
        }
        Ok(answers)
    }
}

/// A validator's error; its own help says what may be meant.
fn validation(file: &str, line: u32, error: &cedar_policy::ValidationError) -> Finding {
    use miette::Diagnostic as _;
    let help = error.help().map(|help| help.to_string()).unwrap_or_default();
    Finding::error(file, (line, 0), error.to_string(), help).coded("cedar-validation")
}

/// Why there is no question.
pub(crate) enum Unasked {
    /// The document lacks something: path and message.
    Input(String, String),
    Fault(EngineFault),
}

/// Reads a file's policies; each gets the id of its annotation.
fn read(
    file: &str,
    text: &str,
    policies: &mut Vec<Policy>,
    places: &mut BTreeMap<PolicyId, (String, u32)>,
    findings: &mut Vec<Finding>,
) {
    let set = match PolicySet::from_str(text) {
        Ok(set) => set,
        Err(error) => {
            use miette::Diagnostic as _;
            let at = error
                .labels()
                .and_then(|mut labels| labels.next())
                .map_or((0, 0), |label| position(text, label.offset()));
            findings.push(Finding::error(
                file,
                at,
                format!("{error}"),
                error.help().map(|help| help.to_string()).unwrap_or_default(),
            ));
            return;
        }
    };
    if set.num_of_templates() > 0 {
        findings.push(Finding::error(
            file,
            (0, 0),
            "templates aren't admitted: a delegation is a fact",
            "write policies without `?principal` and `?resource`",
        ));
    }
    for policy in set.policies() {
        let Some(id) = policy.annotation("id").filter(|id| !id.is_empty()) else {
            findings.push(Finding::error(
                file,
                (0, 0),
                format!("a policy has no id: {}", first_line(policy)),
                "write `@id(\"a-name\")` before it; reasons and records name it so",
            ));
            continue;
        };
        let line = text.find(&format!("@id(\"{id}\")")).map_or(1, |offset| position(text, offset).0);
        let id = PolicyId::new(id);
        if let Some((other, at)) = places.insert(id.clone(), (file.to_owned(), line)) {
            findings.push(Finding::error(
                file,
                (line, 0),
                format!("the id `{id}` was given to the policy at {other}:{at} already"),
                "give every policy its own `@id`",
            ));
            continue;
        }
        policies.push(policy.new_id(id));
    }
}

fn first_line(policy: &Policy) -> String {
    policy.to_string().lines().next().unwrap_or_default().chars().take(80).collect()
}

/// Policies by the actions that they name.
fn index(policies: &[Policy]) -> (BTreeMap<String, PolicySet>, PolicySet) {
    let mut named: BTreeMap<String, Vec<&Policy>> = BTreeMap::new();
    let mut general = Vec::new();
    for policy in policies {
        match policy.action_constraint() {
            ActionConstraint::Any => general.push(policy),
            ActionConstraint::Eq(uid) => {
                named.entry(uid.id().unescaped().to_owned()).or_default().push(policy);
            }
            ActionConstraint::In(uids) => uids
                .iter()
                .for_each(|uid| named.entry(uid.id().unescaped().to_owned()).or_default().push(policy)),
        }
    }
    let set = |policies: &mut dyn Iterator<Item = &Policy>| {
        let mut set = PolicySet::new();
        for policy in policies {
            // Ids are unique: that was checked before.
            let _added = set.add(policy.clone());
        }
        set
    };
    let by_action = named
        .iter()
        .map(|(action, own)| (action.clone(), set(&mut own.iter().chain(&general).copied())))
        .collect();
    (by_action, set(&mut general.iter().copied()))
}

/// A permit, and not a forbid.
pub(crate) fn is_permit(policy: &Policy) -> bool {
    policy.effect() == Effect::Permit
}
