//! What is counted of calls as JSON documents, for a state that is kept beside the journal.

use placet_core::{
    AgentId, ApprovalId, Day, Decimal, Digest, HumanId, Reserved, Spending, TallyPart, TenantId, Timestamp,
    Total, Whose, WorkflowId,
};
use placet_json::{Object, Value, object};

use crate::{
    ChangeError,
    keep::number,
    read::{Fields, elements, text},
};

/// A part of the counts.
pub(crate) fn part_value(part: &TallyPart) -> Value {
    Value::from(match part {
        TallyPart::Head(at, day) => object! { "part" => "head", "at" => *at, "day" => day.0 },
        TallyPart::Total(day, whose, at, action, Total { count, amount }) => {
            let (kind, of) = match whose {
                Whose::Human(id) => ("human", id.as_str()),
                Whose::Agent(id) => ("agent", id.as_str()),
                Whose::Tool(name) => ("tool", name.as_str()),
                Whose::Tenant => ("tenant", ""),
            };
            object! {
                "part" => "total", "day" => day.0, "whose" => kind, "of" => of, "at" => *at,
                "action" => action.as_str(), "count" => *count, "amount" => amount.to_string(),
            }
        }
        TallyPart::Recent(agent, entry, moments) => object! {
            "part" => "recent", "agent" => agent.as_str(), "entry" => entry.as_str(),
            "moments" => moments.iter().map(|at| Value::from(at.millis())).collect::<Vec<_>>(),
        },
        TallyPart::Repeat(same, until, agent) => object! {
            "part" => "repeat", "same" => same.to_string(), "until" => until.millis(), "agent" => agent.as_str(),
        },
        TallyPart::Open(position, reserved) => open_value(*position, reserved),
    })
}

fn open_value(position: u64, Reserved { spending, spends }: &Reserved) -> Object {
    let Spending { at, workflow, human, agent, above, entry, action, amount, same } = spending;
    let mut open = object! {
        "part" => "open", "position" => position, "at" => at.millis(), "workflow" => workflow.local().as_str(),
        "human" => human.as_str(), "agent" => agent.as_str(),
        "above" => above.iter().map(|agent| Value::from(agent.as_str())).collect::<Vec<_>>(),
        "entry" => entry.as_str(), "action" => action.as_str(), "same" => same.to_string(),
        "spends" => spends.iter().map(|id| Value::from(id.local().as_str())).collect::<Vec<_>>(),
    };
    if let Some(amount) = amount {
        open.insert("amount", amount.to_string());
    }
    open
}

/// Reads it back.
pub(crate) fn part(body: &Value, path: &str, tenant: &TenantId) -> Result<TallyPart, ChangeError> {
    let mut fields = Fields::open(body, path)?;
    let moment = |name: &str| number(body, name, path).map(Timestamp::from_millis);
    Ok(match fields.text("part")? {
        "head" => TallyPart::Head(number(body, "at", path)?, Day(number(body, "day", path)?)),
        "total" => {
            let whose = match fields.text("whose")? {
                "human" => Whose::Human(fields.parsed("of", HumanId::new)?),
                "agent" => Whose::Agent(fields.parsed("of", AgentId::new)?),
                "tool" => Whose::Tool(fields.name("of")?),
                _ => Whose::Tenant,
            };
            let total =
                Total { count: number(body, "count", path)?, amount: fields.parsed("amount", Decimal::parse)? };
            let (day, at) = (Day(number(body, "day", path)?), number(body, "at", path)?);
            TallyPart::Total(day, whose, at, fields.name("action")?, total)
        }
        "recent" => {
            let moments = elements(fields.required("moments")?, path)?.iter().map(|at| {
                at.as_u64()
                    .map(Timestamp::from_millis)
                    .ok_or_else(|| ChangeError::malformed(path, "has a moment that is no number", ""))
            });
            let moments = moments.collect::<Result<_, _>>()?;
            TallyPart::Recent(fields.parsed("agent", AgentId::new)?, fields.name("entry")?, moments)
        }
        "repeat" => TallyPart::Repeat(
            digest(fields.text("same")?, path)?,
            moment("until")?,
            fields.parsed("agent", AgentId::new)?,
        ),
        _ => {
            let names = |value: &Value| -> Result<Vec<_>, ChangeError> {
                elements(value, path)?
                    .iter()
                    .map(|name| {
                        text(name, path)?
                            .parse::<placet_core::Name>()
                            .map_err(|error| ChangeError::malformed(path, error.to_string(), ""))
                    })
                    .collect()
            };
            let (above, spends) = (names(fields.required("above")?)?, names(fields.required("spends")?)?);
            let amount = if fields.optional("amount").is_some() {
                Some(fields.parsed("amount", Decimal::parse)?)
            } else {
                None
            };
            let spending = Spending {
                at: moment("at")?,
                workflow: WorkflowId::new(tenant.clone(), fields.name("workflow")?),
                human: fields.parsed("human", HumanId::new)?,
                agent: fields.parsed("agent", AgentId::new)?,
                above: above.into_iter().map(AgentId::from).collect(),
                entry: fields.name("entry")?,
                action: fields.name("action")?,
                amount,
                same: digest(fields.text("same")?, path)?,
            };
            let spends = spends.into_iter().map(|id| ApprovalId::new(tenant.clone(), id)).collect();
            TallyPart::Open(number(body, "position", path)?, Reserved { spending, spends })
        }
    })
}

fn digest(text: &str, path: &str) -> Result<Digest, ChangeError> {
    Digest::parse(text).ok_or_else(|| ChangeError::malformed(path, "has no digest", ""))
}
