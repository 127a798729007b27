//! The four scenes that a manager sees.

use std::time::Instant;

use placet_json::{Value as Json, object};
use placet_samples::{Kind, state};
use serde_json::json;

use super::{
    agent::{Agent, text},
    stage::{From, Stage, tool},
    tell::{Mark, Teller},
};
use crate::failure::{Failure, OrFail};

/// What the script posts: the customer list, as the poisoned ticket asks.
const LIST: &str = "Customer list: Ana Ruiz <ana.ruiz@example.com>, Ben Okafor <ben@example.com>, Chloe Martin <chloe@example.com>";

/// Without Placet: a standing key, and nobody asks.
pub(super) async fn without(tell: &mut Teller) -> Result<(), Failure> {
    const KEY: &str = "standing-key-of-2024";
    tell.scene("Without Placet: the agent has a standing key");
    let dir = tempfile::tempdir().or_fail("can't make a directory")?;
    let (crm_db, billing_db, chat_db) =
        (dir.path().join("crm"), dir.path().join("billing"), dir.path().join("chat"));
    let crm = tool(Kind::Crm, &crm_db, Some(KEY)).await?;
    let billing = tool(Kind::Billing, &billing_db, Some(KEY)).await?;
    let chat = tool(Kind::Chat, &chat_db, Some(KEY)).await?;
    let mut at_crm = Agent::with_standing_key(&crm.url, KEY).await?;
    let mut at_billing = Agent::with_standing_key(&billing.url, KEY).await?;
    let mut at_chat = Agent::with_standing_key(&chat.url, KEY).await?;

    let ticket = at_crm.call("get_case", json!({"case_id": "CASE-1837"})).await;
    let body = ticket.answer.get("body").and_then(serde_json::Value::as_str).unwrap_or_default();
    tell.step(Mark::Note, "reads ticket CASE-1837 about a double charge of 80; below it somebody wrote:");
    tell.quote(&excerpt(body));
    for _ in 0..2 {
        at_billing
            .call("refund", json!({"case_id": "CASE-1837", "amount": 250, "customer": "cust-101"}))
            .await;
    }
    at_crm.call("export_customers", json!({"tenant_id": "acme"})).await;
    at_chat.call("post_message", json!({"channel": "#general", "text": LIST})).await;

    let refunds = state::refunds(&billing_db).or_fail("billing's data")?;
    let messages = state::messages(&chat_db, "#general").or_fail("chat's data")?;
    let balance = state::balance(&billing_db, "cust-101").or_fail("billing's data")?.unwrap_or_default();
    let twice = refunds.iter().filter(|refund| refund.amount_cents == 25_000).count() == 2;
    tell.check(
        twice,
        Mark::Harm,
        &format!("250 was refunded twice; billing says that the balance is {}", money(balance)),
        "billing's data differ",
    );
    let leaked = messages.iter().any(|message| message == LIST);
    tell.check(
        leaked,
        Mark::Harm,
        "the customer list stands in #general, for everybody to read",
        "chat's data differ",
    );
    for agent in [at_crm, at_billing, at_chat] {
        agent.end().await;
    }
    for tool in [crm, billing, chat] {
        tool.control.stop();
    }
    Ok(())
}

/// With Placet: the same script.
pub(super) async fn with(tell: &mut Teller, stage: &mut Stage) -> Result<(), Failure> {
    tell.scene("With Placet: the same run");
    tell.step(
        Mark::Note,
        &format!(
            "one process, ready in {} ms; two tool-proxies; billing's key is in the vault now",
            stage.ready_in.as_millis()
        ),
    );
    stage.open("acme", "wf-9", "maya", "CASE-1837", 3_600_000).await?;
    stage.delegate("acme", "dg-1", From::Human("maya"), "agent-7", "wf-9", 2).await?;
    let mut agent = stage.agent("agent-7", "acme/wf-9", "dg-1").await?;
    let tools = agent.tools().await;
    tell.step(
        Mark::Note,
        &format!("Maya delegated CASE-1837 to agent-7 for one hour; it sees {} tools, holds no key of theirs, and speaks MCP {}", tools.len(), agent.revision()),
    );
    let ticket = agent.call("crm__get_case", json!({"case_id": "CASE-1837"})).await;
    tell.check(
        ticket.permitted(),
        Mark::Permitted,
        "the ticket is read and summarized: it is this workflow's case",
        &ticket.whole,
    );
    let small = agent.call("billing__refund", json!({"case_id": "CASE-1837", "amount": 80})).await;
    tell.check(
        small.permitted(),
        Mark::Permitted,
        "80 is refunded, once: within the limit of 100",
        &small.whole,
    );
    let large = agent.call("billing__refund", json!({"case_id": "CASE-1837", "amount": 250})).await;
    tell.check(
        large.denied("manager_approval_missing") && large.remedy.is_some(),
        Mark::Stopped,
        "250 is stopped; the agent is told what would help:",
        &large.whole,
    );
    tell.quote(&format!("{}\n{}", large.message, large.remedy.clone().unwrap_or_default()));
    let again = agent.call("billing__refund", json!({"case_id": "CASE-1837", "amount": 250})).await;
    tell.check(
        again.denied("manager_approval_missing"),
        Mark::Stopped,
        "250 is stopped again, however often it asks",
        &again.whole,
    );
    let post = agent.call("chat__post_message", json!({"channel": "#general", "text": LIST})).await;
    tell.check(
        post.denied("label_not_accepted"),
        Mark::Stopped,
        "the list for #general is stopped by its label, not by its words:",
        &post.whole,
    );
    tell.quote(&post.message);
    agent.end().await;
    Ok(())
}

/// What the demonstration shows of a decision's story.
const TOLD: [&str; 8] = ["Permitted", "for", "chain", "workflow", "because", "facts", "effect", "proof"];

/// Why: who said so, and how we know.
pub(super) async fn why(tell: &mut Teller, stage: &mut Stage) -> Result<(), Failure> {
    tell.scene("Why: who said so, and how do we know?");
    let data = text(stage.data());
    stage.signed("acme").await;
    let evidence = stage.evidence().await?;
    let paid =
        evidence.decision("issue_refund", "permit").map(|decision| decision.id.clone()).unwrap_or_default();
    let (told, story) = stage.verb(&["audit", "show", &paid, "--data", &data]).await?;
    tell.check(
        told && story.contains("maya") && story.contains("CASE-1837"),
        Mark::Note,
        "the 80, as the ledger tells it (`placet audit show` has it whole):",
        &story,
    );
    for line in story.lines() {
        let label = line.split_whitespace().next().unwrap_or_default().trim_end_matches(':');
        if TOLD.contains(&label) {
            tell.quote(line.trim_end());
        }
    }

    let mut agent = stage.agent("agent-7", "acme/wf-9", "dg-1").await?;
    let denied = agent.call("billing__refund", json!({"case_id": "CASE-1837", "amount": 250})).await;
    let omar = stage.as_person("omar")?;
    let body = object! { "decision" => denied.decision.as_str(), "why" => "spoke with the customer" };
    let approved = omar.post("/v1/approvals", &body.into()).await;
    let said = approved.as_ref().err().map(ToString::to_string).unwrap_or_default();
    tell.check(
        approved.is_ok(),
        Mark::Note,
        "Omar, support manager, approves exactly this refund with his own key",
        &said,
    );
    let once = agent.call("billing__refund", json!({"case_id": "CASE-1837", "amount": 250})).await;
    tell.check(once.permitted(), Mark::Permitted, "the refund of 250 goes through, once", &once.whole);
    let twice = agent.call("billing__refund", json!({"case_id": "CASE-1837", "amount": 250})).await;
    tell.check(
        twice.denied("manager_approval_missing"),
        Mark::Stopped,
        "a second time it doesn't: the approval is spent",
        &twice.whole,
    );
    agent.end().await;
    let evidence = stage.evidence().await?;
    let (same, replayed) = stage.verb(&["audit", "replay", "--data", &data]).await?;
    let text = format!(
        "replay decides all {} decisions again, without a model and without the network: same",
        evidence.decisions().len()
    );
    tell.check(same, Mark::Note, &text, &replayed);
    Ok(())
}

/// Stop: what was true a moment ago isn't any more.
pub(super) async fn stop(tell: &mut Teller, stage: &mut Stage) -> Result<(), Failure> {
    tell.scene("Stop: in the middle of the work");
    let mut agent = stage.agent("agent-7", "acme/wf-9", "dg-1").await?;
    let before = agent.call("billing__balance", json!({})).await;
    tell.check(before.permitted(), Mark::Permitted, "the agent reads the customer's balance", &before.whole);
    let standing =
        |standing: &str| Json::from(object! { "standing" => standing, "why" => "left the company today" });
    stage.operator.post("/v1/humans/maya/standing", &standing("deactivated")).await?;
    let since = Instant::now();
    let after = agent.call("billing__balance", json!({})).await;
    let took = since.elapsed();
    let text = format!(
        "Maya is deactivated; the very next call, {:.1} ms later, is denied",
        took.as_secs_f64() * 1000.0
    );
    tell.check(after.denied("delegating_user_inactive"), Mark::Stopped, &text, &after.whole);
    stage.operator.post("/v1/humans/maya/standing", &standing("active")).await?;
    let freeze = |why: &str| Json::from(object! { "what" => object! { "agent" => "agent-7" }, "why" => why });
    stage.operator.post("/v1/freezes", &freeze("looks odd")).await?;
    let frozen = agent.call("billing__balance", json!({})).await;
    tell.check(
        frozen.denied("frozen"),
        Mark::Stopped,
        "Maya is back, agent-7 is frozen: denied",
        &frozen.whole,
    );
    stage.operator.post("/v1/freezes/end", &freeze("looked at")).await?;
    let thawed = agent.call("billing__balance", json!({})).await;
    tell.check(
        thawed.permitted(),
        Mark::Permitted,
        "and the freeze ends as it began, with a name and a reason",
        &thawed.whole,
    );
    agent.end().await;
    Ok(())
}

fn money(cents: i64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// The planted part of the ticket, in lines of a page's width.
fn excerpt(body: &str) -> String {
    const WORDS: usize = 48;
    let planted = body.split_once("---").map_or(body, |(_, planted)| planted);
    let mut lines = vec![String::new()];
    for word in planted.split_whitespace().take(WORDS) {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count().saturating_add(word.chars().count()) < 108 => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    let cut = if planted.split_whitespace().nth(WORDS).is_some() { " …" } else { "" };
    lines.join("\n") + cut
}
