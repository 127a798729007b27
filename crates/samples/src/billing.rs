//! Accounts and refunds. Money is kept in hundredths.
//!
//! As trusting as such tools are: it pays whatever amount it is told, to whichever customer, once more for
//! every call. It even pays a negative amount. What it may be told is not its business.

use rmcp::model::{JsonObject, Tool};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::tool::{Effect, Fault, arguments, closed, define};

const SCHEMA: &str = "
    DROP TABLE IF EXISTS refunds; DROP TABLE IF EXISTS accounts;
    CREATE TABLE accounts (customer_id TEXT PRIMARY KEY, balance_cents INTEGER NOT NULL) STRICT;
    CREATE TABLE refunds (refund_id INTEGER PRIMARY KEY AUTOINCREMENT, case_id TEXT NOT NULL,
                          customer_id TEXT NOT NULL REFERENCES accounts, amount_cents INTEGER NOT NULL) STRICT;";

/// What each customer has paid so far, and so can be paid back.
const ACCOUNTS: [(&str, i64); 6] = [
    ("cust-101", 100_000),
    ("cust-102", 45_000),
    ("cust-103", 20_000),
    ("cust-901", 500_000),
    ("cust-902", 75_000),
    ("cust-903", 30_000),
];

/// More than any account here holds; beyond it a float's hundredths are no longer exact.
const MOST: f64 = 1e12;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refund {
    case_id: String,
    amount: f64,
    customer: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfCustomer {
    customer: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfCase {
    case_id: String,
}

pub(crate) fn seed(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(SCHEMA)?;
    for account in ACCOUNTS {
        connection.execute("INSERT INTO accounts VALUES (?1, ?2)", account)?;
    }
    Ok(())
}

pub(crate) fn tools() -> Vec<Tool> {
    let text = || json!({ "type": "string" });
    let number = || json!({ "type": "number" });
    let entry = closed(json!({ "refund_id": { "type": "integer" }, "case_id": text(), "customer_id": text(),
                               "amount": number() }));
    vec![
        define(
            "refund",
            "Pays an amount back to a customer. Can't be taken back.",
            Effect::Destructive,
            json!({ "case_id": { "type": "string" }, "amount": { "type": "number" },
                    "customer": { "type": "string", "description": "The customer's id." } }),
            json!({ "refund_id": { "type": "integer" }, "case_id": text(), "customer_id": text(),
                    "amount": number(), "balance": number() }),
        ),
        define(
            "balance",
            "What a customer has paid and not got back.",
            Effect::Read,
            json!({ "customer": { "type": "string" } }),
            json!({ "customer_id": text(), "balance": number() }),
        ),
        define(
            "refunds",
            "The refunds paid for a case.",
            Effect::Read,
            json!({ "case_id": { "type": "string" } }),
            json!({ "refunds": { "type": "array", "items": entry } }),
        ),
    ]
}

pub(crate) fn call(connection: &mut Connection, tool: &str, given: JsonObject) -> Result<Value, Fault> {
    match tool {
        "refund" => refund(connection, &arguments(given)?),
        "balance" => {
            let OfCustomer { customer } = arguments(given)?;
            let cents = balance(connection, &customer)?
                .ok_or_else(|| Fault::Refused(format!("no customer {customer}")))?;
            Ok(json!({ "customer_id": customer, "balance": money(cents) }))
        }
        "refunds" => refunds(connection, &arguments::<OfCase>(given)?.case_id),
        _ => Err(Fault::Unknown),
    }
}

/// A customer's balance in hundredths, if there is such a customer.
pub(crate) fn balance(connection: &Connection, customer: &str) -> rusqlite::Result<Option<i64>> {
    connection
        .query_row("SELECT balance_cents FROM accounts WHERE customer_id = ?1", [customer], |row| row.get(0))
        .optional()
}

fn refund(connection: &mut Connection, given: &Refund) -> Result<Value, Fault> {
    let Refund { case_id, amount, customer } = given;
    let paid = cents(*amount).ok_or_else(|| Fault::Refused(format!("no amount: {amount}")))?;
    let transaction = connection.transaction()?;
    let balance: i64 = transaction
        .query_row(
            "UPDATE accounts SET balance_cents = balance_cents - ?2 WHERE customer_id = ?1 RETURNING balance_cents",
            params![customer, paid],
            |row| row.get(0),
        )
        .optional()?
        .ok_or_else(|| Fault::Refused(format!("no customer {customer}")))?;
    transaction.execute(
        "INSERT INTO refunds (case_id, customer_id, amount_cents) VALUES (?1, ?2, ?3)",
        params![case_id, customer, paid],
    )?;
    let refund_id = transaction.last_insert_rowid();
    transaction.commit()?;
    Ok(json!({ "refund_id": refund_id, "case_id": case_id, "customer_id": customer, "amount": money(paid),
               "balance": money(balance) }))
}

fn refunds(connection: &Connection, case_id: &str) -> Result<Value, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT refund_id, case_id, customer_id, amount_cents FROM refunds WHERE case_id = ?1 ORDER BY refund_id",
    )?;
    let refunds = statement
        .query_map([case_id], |row| {
            Ok(json!({ "refund_id": row.get::<_, i64>(0)?, "case_id": row.get::<_, String>(1)?,
                       "customer_id": row.get::<_, String>(2)?, "amount": money(row.get(3)?) }))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(json!({ "refunds": refunds }))
}

/// Rounds as tools that keep money in floats do: 100.00000000000000000001 is 100 here.
#[expect(clippy::cast_possible_truncation, reason = "bounded far below 2^53")]
fn cents(amount: f64) -> Option<i64> {
    (amount.abs() <= MOST).then(|| (amount * 100.0).round() as i64)
}

/// Hundredths as a JSON number: whole amounts without a fraction.
#[expect(clippy::cast_precision_loss, reason = "what is kept stays far below 2^53")]
fn money(cents: i64) -> Value {
    if cents % 100 == 0 { json!(cents / 100) } else { json!(cents as f64 / 100.0) }
}

#[cfg(test)]
mod tests {
    use super::{cents, money};
    use serde_json::json;

    #[test]
    fn money_survives_the_way_through_a_float() {
        assert_eq!(cents(80.1), Some(8_010));
        assert_eq!(cents(0.29), Some(29));
        assert_eq!(cents(f64::NAN), None);
        assert_eq!(cents(1e13), None);
        assert_eq!(money(8_010), json!(80.1));
        assert_eq!(money(-25_000), json!(-250));
    }
}
