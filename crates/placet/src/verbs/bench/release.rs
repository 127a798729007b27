//! What is measured: the essay's policy, byte for byte, with a catalog for the two tools of the stub.

use std::path::Path;

use placet_core::{AgentId, DelegationId, Envelope, Grant, HumanId, Name, TenantId, Timestamp, WorkflowId};
use placet_jose::PublicKey;
use placet_json::{Limits, Object, Value};
use placet_policy::{Release, Tree};

use super::rig;
use crate::failure::{Failure, OrFail};

macro_rules! embed {
    ($($path:literal),* $(,)?) => {
        const FILES: &[(&str, &str)] = &[$(($path, include_str!(concat!("../../../../../policies/support/", $path))),)*];
    };
}

embed! {
    "release.toml",
    "reasons.toml",
    "relations.toml",
    "policies/support.rego",
    "workflow_types/support_case.toml",
}

/// `billing.refund` writes with a secret of the vault, `crm.get_case` reads with a call token.
const CATALOG: &str = r#"[tool."billing.refund"]
action = "issue_refund"
effect = "destructive"
resource = { type = "support_case", id = "$args.case_id" }
credential = "vault:billing"
accepts = ["REFUND"]

[tool."billing.refund".args]
case_id = { type = "id", pattern = "CASE-[0-9]+" }
amount = { type = "decimal", min = "0.01", max = "10000", scale = 2, attribute = "amount" }
customer = { bind = "$resource.customer_id" }

[tool."crm.get_case"]
action = "summarize_case"
effect = "read"
resource = { type = "support_case", id = "$args.case_id" }
credential = "call-token"
accepts = ["GET_CASE"]

[tool."crm.get_case".args]
case_id = { type = "id", pattern = "CASE-[0-9]+" }

[tool."crm.get_case".result]
labels = ["customer_pii"]
"#;

/// The facts that both calls need, and one customer more for each `resource` asked for.
const FACTS: &str = r#"{
  "tenant": "acme", "tenants": ["acme"], "why": "a measurement",
  "humans": [{"id": "maya", "standing": "active", "home": "acme"}],
  "agents": [{"id": "agent-7", "type": "support_agent", "owner": "maya", "standing": "active"}],
  "assignments": [{"human": "maya", "roles": ["support"], "until": "ended"}],
  "resources": [{"type": "support_case", "id": "CASE-1837", "attributes": {"case_id": "CASE-1837", "customer_id": "cust-101"}}],
  "workflows": [{"id": "wf-9", "type": "support_case", "owner": "maya", "intents": ["support_case_resolution"],
                 "ends": "ENDS", "bindings": {"support_case": "CASE-1837"}}],
  "delegations": [{"id": "dg-1", "human": "maya", "agent": "agent-7", "workflow": "wf-9", "grantor": "human",
                   "scope": {"actions": ["summarize_case", "issue_refund"], "intents": ["support_case_resolution"],
                             "limits": {"amount": 500}, "ends": "ENDS", "depth": 0}}]
}"#;

/// Which call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    /// A read with a call token.
    Read,
    /// A payment with a secret of the vault.
    Write,
}

impl Tool {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
    pub(super) fn upstream(self) -> &'static str {
        match self {
            Self::Read => "crm",
            Self::Write => "billing",
        }
    }
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Read => "get_case",
            Self::Write => "refund",
        }
    }
    pub(super) fn arguments(self) -> Object {
        let mut arguments = Object::new();
        arguments.insert("case_id", "CASE-1837");
        if self == Self::Write {
            arguments.insert("amount", 80_u64);
        }
        arguments
    }
}

/// The release's files.
pub(super) fn tree() -> Result<Tree, Failure> {
    let mut tree = Tree::new();
    for (path, text) in FILES {
        tree.insert((*path).to_owned(), text.as_bytes().to_vec());
    }
    let mut catalog = CATALOG.to_owned();
    for (name, definition) in rig::tools() {
        catalog = catalog
            .replace(&format!("\"{}\"", name.to_uppercase()), &format!("\"{}\"", rig::digest(&definition)?));
    }
    tree.insert("catalog/desk.toml".to_owned(), catalog.into_bytes());
    Ok(tree)
}

/// The release, as it is promoted.
pub(super) fn build() -> Result<Release, Failure> {
    Release::build(&tree()?).map_err(|refused| Failure::new(refused.to_string()))
}

/// Writes its tree below `dir`.
pub(super) fn write(dir: &Path) -> Result<(), Failure> {
    for (path, bytes) in tree()? {
        let path = dir.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).or_fail(format_args!("can't make `{}`", parent.display()))?;
        }
        std::fs::write(&path, bytes).or_fail(format_args!("can't write `{}`", path.display()))?;
    }
    Ok(())
}

/// The facts, with the agent's key and so many customers more.
pub(super) fn facts(key: &PublicKey, ends: Timestamp, more: usize) -> Result<Value, Failure> {
    let text = FACTS.replace("ENDS", &ends.to_string());
    let mut file = placet_json::parse(text.as_bytes(), &Limits::MESSAGE).or_fail("the facts")?;
    let mut keys = Object::new();
    keys.insert(key.thumbprint().to_string(), key.to_jwk());
    if let Some(Value::Object(agent)) =
        file.get_mut("agents").and_then(Value::as_array_mut).and_then(|all| all.first_mut())
    {
        agent.insert("keys", keys);
    }
    if let Some(resources) = file.get_mut("resources").and_then(Value::as_array_mut) {
        for number in 0..more {
            let one = format!(
                r#"{{"type":"support_case","id":"CASE-{0}","attributes":{{"case_id":"CASE-{0}","customer_id":"cust-{number}"}}}}"#,
                number.saturating_add(10_000)
            );
            resources.push(placet_json::parse(one.as_bytes(), &Limits::MESSAGE).or_fail("the facts")?);
        }
    }
    Ok(file)
}

/// An opened envelope of the agent, where no server opens one.
pub(super) fn envelope(key: &PublicKey, now: Timestamp) -> Result<Envelope, Failure> {
    let name = |text: &str| Name::new(text).or_fail("a name");
    let tenant = TenantId::new("acme").or_fail("a name")?;
    let grant = Grant {
        human: HumanId::new("maya").or_fail("a name")?,
        agent: AgentId::new("agent-7").or_fail("a name")?,
        delegation: DelegationId::new(tenant.clone(), name("dg-1")?),
        workflow: WorkflowId::new(tenant, name("wf-9")?),
        intent: name("support_case_resolution")?,
        token: "bench".to_owned(),
        expires: now.plus_millis(300_000),
        key: key.thumbprint().to_string(),
        proof: "bench".to_owned(),
    };
    Envelope::open(grant, now).map_err(|_| Failure::new("the envelope doesn't open"))
}
