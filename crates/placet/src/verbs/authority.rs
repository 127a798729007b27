//! `placet delegate`, `workflow`, `approve`, `revoke`, `freeze`, `unfreeze`: people's acts on live authority.

use clap::{Args, Subcommand, ValueEnum};
use placet_core::Timestamp;
use placet_json::{Number, Object, Value, object};

use super::common::{Remote, Why, cell, in_tenant, listing, pairs, texts};
use crate::{
    admin::{block_on, segment},
    clock,
    failure::Failure,
    output::{Answer, show},
};

/// Let an agent act in a workflow, or pass a delegation on, narrower
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  placet delegate acme/wf-9 --human maya --agent agent-7 --action summarize_case --action issue_refund --limit amount=100\n\n\
    Below another delegation:\n  placet delegate acme/wf-9 --parent dg-1 --agent agent-8 --action summarize_case"
)]
pub(crate) struct Delegate {
    /// The workflow, as TENANT/WORKFLOW
    workflow: String,
    /// The agent that may act
    #[arg(long, value_name = "ID")]
    agent: String,
    /// The person whose authority it is; with `--as`, that person
    #[arg(long, value_name = "HUMAN")]
    human: Option<String>,
    /// The delegation that it comes from; person and workflow are its
    #[arg(long, value_name = "ID")]
    parent: Option<String>,
    /// An action; several may be given
    #[arg(long = "action", required = true, value_name = "NAME")]
    actions: Vec<String>,
    /// An intent; by default all of the workflow's
    #[arg(long = "intent", value_name = "NAME")]
    intents: Vec<String>,
    /// An upper bound of an attribute, as in `amount=100`
    #[arg(long = "limit", value_name = "NAME=NUMBER")]
    limits: Vec<String>,
    /// Its end; by default the workflow's
    #[arg(long, value_name = "MOMENT")]
    until: Option<Timestamp>,
    /// How often it may be passed on
    #[arg(long, default_value_t = 0, value_name = "TIMES")]
    depth: u8,
    /// Its id; made up by default
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    remote: Remote,
}

impl Delegate {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let (tenant, workflow) = in_tenant(&self.workflow, "workflow")?;
        let mut scope = object! { "actions" => texts(&self.actions), "depth" => u64::from(self.depth), "limits" => limits(&self.limits)? };
        if !self.intents.is_empty() {
            scope.insert("intents", texts(&self.intents));
        }
        if let Some(until) = self.until {
            scope.insert("ends", until.to_string());
        }
        let mut body = object! { "agent" => self.agent.as_str(), "workflow" => workflow, "scope" => scope };
        for (name, value) in [("human", &self.human), ("id", &self.id)] {
            if let Some(value) = value {
                body.insert(name, value.as_str());
            }
        }
        if let Some(parent) = &self.parent {
            body.insert("grantor", object! { "parent" => parent.as_str() });
        }
        let admin = self.remote.server.open()?;
        let answer = block_on(
            admin.post(&format!("/v1/tenants/{}/delegations", segment(tenant)), &self.why.onto(body)),
        )?;
        show(self.remote.format, &answer, |answer| {
            format!(
                "delegation {tenant}/{}: {} acts for {} in {tenant}/{workflow}",
                cell(answer, "id"),
                self.agent,
                cell(answer, "human")
            )
        })?;
        Ok(Answer::Yes)
    }
}

/// `amount=100`: the number travels as it is written.
fn limits(texts: &[String]) -> Result<Object, Failure> {
    let mut limits = pairs(texts, "limit")?;
    for (name, value) in &mut limits {
        let text = value.as_str().unwrap_or_default().to_owned();
        let number: Result<Number, Failure> =
            match placet_json::parse(text.as_bytes(), &placet_json::Limits::MESSAGE) {
                Ok(Value::Number(number)) => Ok(number),
                Ok(_) | Err(_) => Err(Failure::new(format!("the limit of `{name}` is no number: `{text}`"))),
            };
        *value = Value::Number(number?);
    }
    Ok(limits)
}

/// Open, list and close workflows
#[derive(Debug, Args)]
pub(crate) struct Workflow {
    #[command(subcommand)]
    verb: WorkflowVerb,
}

#[derive(Debug, Subcommand)]
enum WorkflowVerb {
    /// Open a workflow
    #[command(
        after_help = "Example:\n  placet workflow open acme/wf-9 --type support_case --owner maya --intent support_case_resolution --hours 2 --bind support_case=CASE-1837"
    )]
    Open {
        /// The workflow, as TENANT/ID; TENANT alone makes an id up
        workflow: String,
        /// Its type, of those in the release
        #[arg(long = "type", value_name = "NAME")]
        kind: String,
        /// Who is accountable; with `--as`, that person
        #[arg(long, value_name = "HUMAN")]
        owner: Option<String>,
        /// A purpose that it serves; several may be given
        #[arg(long = "intent", required = true, value_name = "NAME")]
        intents: Vec<String>,
        /// Its end
        #[arg(long, value_name = "MOMENT", conflicts_with = "hours")]
        until: Option<Timestamp>,
        /// Its end, in hours from now
        #[arg(long, default_value_t = 1, value_name = "HOURS")]
        hours: u64,
        /// The resource of a type that it is about
        #[arg(long = "bind", value_name = "TYPE=ID")]
        bindings: Vec<String>,
        /// A further attribute that policy reads; NAME:=JSON for what isn't a text
        #[arg(long = "attribute", value_name = "NAME=TEXT")]
        attributes: Vec<String>,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        remote: Remote,
    },
    /// List a tenant's workflows
    #[command(after_help = "Example:\n  placet workflow list acme")]
    List {
        /// The tenant
        tenant: String,
        /// Also those that have ended
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// Move a workflow to another state of its type, or say yes to a move that an approval decides
    #[command(
        after_help = "Example:\n  placet workflow move acme/wf-9 review --why \"all receipts are there\""
    )]
    Move(super::moves::Move),
    /// Close a workflow for good: it takes no more calls
    #[command(after_help = "Example:\n  placet workflow close acme/wf-9")]
    Close {
        /// The workflow, as TENANT/WORKFLOW
        workflow: String,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        remote: Remote,
    },
}

impl Workflow {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        match self.verb {
            WorkflowVerb::Open {
                workflow,
                kind,
                owner,
                intents,
                until,
                hours,
                bindings,
                attributes,
                why,
                remote,
            } => {
                let (tenant, id) = workflow
                    .split_once('/')
                    .map_or((workflow.as_str(), None), |(tenant, id)| (tenant, Some(id)));
                let ends = until.unwrap_or_else(|| {
                    Timestamp::from_millis(clock::millis()).plus_millis(hours.saturating_mul(3_600_000))
                });
                let mut body = object! {
                    "type" => kind, "intents" => texts(&intents), "ends" => ends.to_string(),
                    "bindings" => pairs(&bindings, "binding")?, "attributes" => super::moves::attributes(&attributes)?,
                };
                if let Some(id) = id {
                    body.insert("id", id);
                }
                if let Some(owner) = owner {
                    body.insert("owner", owner);
                }
                let admin = remote.server.open()?;
                let answer = block_on(
                    admin.post(&format!("/v1/tenants/{}/workflows", segment(tenant)), &why.onto(body)),
                )?;
                show(remote.format, &answer, |answer| {
                    format!("workflow {tenant}/{} is open until {ends}", cell(answer, "id"))
                })?;
            }
            WorkflowVerb::List { tenant, all, remote } => {
                let mut answer = block_on(
                    remote.server.open()?.get(&format!("/v1/tenants/{}/workflows", segment(&tenant))),
                )?;
                if !all && let Some(workflows) = answer.get_mut("workflows").and_then(Value::as_array_mut) {
                    workflows.retain(|workflow| cell(workflow, "state") == "open");
                }
                show(remote.format, &answer, |answer| {
                    listing(
                        answer,
                        "workflows",
                        &[
                            ("WORKFLOW", "id"),
                            ("TYPE", "type"),
                            ("STATE", "state"),
                            ("STAGE", "stage"),
                            ("OWNER", "owner"),
                            ("ENDS", "ends"),
                            ("ABOUT", "bindings"),
                        ],
                    )
                })?;
            }
            WorkflowVerb::Move(step) => step.run()?,
            WorkflowVerb::Close { workflow, why, remote } => {
                let (tenant, id) = in_tenant(&workflow, "workflow")?;
                let path = format!("/v1/tenants/{}/workflows/{}/close", segment(tenant), segment(id));
                let answer = block_on(remote.server.open()?.post(&path, &why.onto(Object::new())))?;
                show(remote.format, &answer, |_| format!("workflow {tenant}/{id} is closed"))?;
            }
        }
        Ok(Answer::Yes)
    }
}

/// Say yes to one denied call, as the person who signs
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  placet approve dc_8f… --as mo --key mo.pem")]
pub(crate) struct Approve {
    /// The denial's decision id
    decision: String,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    remote: Remote,
}

impl Approve {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let admin = self.remote.server.open()?;
        let answer = block_on(
            admin.post("/v1/approvals", &self.why.onto(object! { "decision" => self.decision.as_str() })),
        )?;
        show(self.remote.format, &answer, |answer| {
            let then = cell(answer, "then");
            let next = if then.is_empty() {
                "the same call, asked again, may go through once".to_owned()
            } else {
                format!("still to say yes, in this order: {then}")
            };
            format!(
                "{} gives `{}` as {} until {}; {next}",
                cell(answer, "approver"),
                cell(answer, "approval"),
                cell(answer, "role"),
                cell(answer, "ends")
            )
        })?;
        Ok(Answer::Yes)
    }
}

/// Take back a delegation, an unspent approval, or a person's right to act
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    #[command(subcommand)]
    verb: RevokeVerb,
}

#[derive(Debug, Subcommand)]
enum RevokeVerb {
    /// Revoke a delegation and those below it
    #[command(after_help = "Example:\n  placet revoke delegation acme/dg-1")]
    Delegation(RevokeOf),
    /// Take an unspent approval back
    #[command(after_help = "Example:\n  placet revoke approval acme/ap_x")]
    Approval(RevokeOf),
    /// A person may not act any more, nor may anybody in their name
    #[command(after_help = "Example:\n  placet revoke human maya --standing deactivated")]
    Human {
        /// The person
        id: String,
        /// What holds from now on
        #[arg(long, value_enum, default_value = "deactivated")]
        standing: Standing,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(Debug, Args)]
struct RevokeOf {
    /// As TENANT/ID
    id: String,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Standing {
    /// May act again.
    Active,
    /// Not for now.
    Suspended,
    /// Has left.
    Deactivated,
}

impl Revoke {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        match self.verb {
            RevokeVerb::Delegation(of) => revoke(&of, "delegation", "delegations", "revoke", "is revoked")?,
            RevokeVerb::Approval(of) => revoke(&of, "approval", "approvals", "withdraw", "is taken back")?,
            RevokeVerb::Human { id, standing, why, remote } => {
                let standing = match standing {
                    Standing::Active => "active",
                    Standing::Suspended => "suspended",
                    Standing::Deactivated => "deactivated",
                };
                let path = format!("/v1/humans/{}/standing", segment(&id));
                let answer = block_on(
                    remote.server.open()?.post(&path, &why.onto(object! { "standing" => standing })),
                )?;
                show(remote.format, &answer, |_| format!("{id} is {standing}"))?;
            }
        }
        Ok(Answer::Yes)
    }
}

fn revoke(of: &RevokeOf, what: &str, path: &str, verb: &str, told: &str) -> Result<(), Failure> {
    let (tenant, id) = in_tenant(&of.id, what)?;
    let path = format!("/v1/tenants/{}/{path}/{}/{verb}", segment(tenant), segment(id));
    let answer = block_on(of.remote.server.open()?.post(&path, &of.why.onto(Object::new())))?;
    show(of.remote.format, &answer, |_| format!("{what} {tenant}/{id} {told}"))
}

/// Stop everything, or what is named, at once
#[derive(Debug, Args)]
pub(crate) struct Freeze {
    #[command(subcommand)]
    what: Frozen,
}

/// End a stop
#[derive(Debug, Args)]
pub(crate) struct Unfreeze {
    #[command(subcommand)]
    what: Frozen,
}

#[derive(Debug, Subcommand)]
enum Frozen {
    /// Everything of the organisation
    #[command(after_help = "Example:\n  placet freeze all --why incident-42\n  placet unfreeze all")]
    All {
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        remote: Remote,
    },
    /// An agent, in whichever chain it stands
    #[command(after_help = "Example:\n  placet freeze agent agent-7\n  placet unfreeze agent agent-7")]
    Agent(FrozenOf),
    /// A tool, by its catalog name
    #[command(
        after_help = "Example:\n  placet freeze tool billing.refund\n  placet unfreeze tool billing.refund"
    )]
    Tool(FrozenOf),
    /// An upstream
    #[command(after_help = "Example:\n  placet freeze upstream billing\n  placet unfreeze upstream billing")]
    Upstream(FrozenOf),
    /// A tenant
    #[command(after_help = "Example:\n  placet freeze tenant acme\n  placet unfreeze tenant acme")]
    Tenant(FrozenOf),
}

#[derive(Debug, Args)]
struct FrozenOf {
    /// Its name
    name: String,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    remote: Remote,
}

impl Freeze {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        frozen(self.what, "/v1/freezes", "is frozen")
    }
}

impl Unfreeze {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        frozen(self.what, "/v1/freezes/end", "is not frozen any more")
    }
}

fn frozen(what: Frozen, path: &str, told: &str) -> Result<Answer, Failure> {
    let (kind, of) = match what {
        Frozen::All { why, remote } => ("all", FrozenOf { name: String::new(), why, remote }),
        Frozen::Agent(of) => ("agent", of),
        Frozen::Tool(of) => ("tool", of),
        Frozen::Upstream(of) => ("upstream", of),
        Frozen::Tenant(of) => ("tenant", of),
    };
    let FrozenOf { name, why, remote } = of;
    let (what, shown) = if kind == "all" {
        (Value::from("all"), "everything".to_owned())
    } else {
        (object! { kind => name.as_str() }.into(), format!("{kind} `{name}`"))
    };
    let answer = block_on(remote.server.open()?.post(path, &why.onto(object! { "what" => what })))?;
    show(remote.format, &answer, |answer| {
        let told = format!("{shown} {told}");
        if answer.get("in_flight").is_some() { super::moves::hit(&told, answer) } else { told }
    })?;
    Ok(Answer::Yes)
}
