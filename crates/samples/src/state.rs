//! What really happened, read from the tools' own files beside the running servers.

use std::path::Path;

use crate::database::{Error, open_to_read};
use crate::{billing, chat};

/// A refund that billing paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// The case it was asked for.
    pub case_id: String,
    /// Who got it.
    pub customer_id: String,
    /// How much, in hundredths.
    pub amount_cents: i64,
}

/// All refunds that billing paid, oldest first.
pub fn refunds(database: &Path) -> Result<Vec<Refund>, Error> {
    let connection = open_to_read(database)?;
    let mut statement =
        connection.prepare("SELECT case_id, customer_id, amount_cents FROM refunds ORDER BY refund_id")?;
    let refunds = statement
        .query_map([], |row| {
            Ok(Refund { case_id: row.get(0)?, customer_id: row.get(1)?, amount_cents: row.get(2)? })
        })?
        .collect::<Result<_, _>>()?;
    Ok(refunds)
}

/// A customer's balance at billing, in hundredths; none if billing doesn't know the customer.
pub fn balance(database: &Path, customer: &str) -> Result<Option<i64>, Error> {
    Ok(billing::balance(&open_to_read(database)?, customer)?)
}

/// What was posted to a channel, oldest first.
pub fn messages(database: &Path, channel: &str) -> Result<Vec<String>, Error> {
    let messages = chat::messages(&open_to_read(database)?, channel)?;
    Ok(messages.into_iter().map(|(_, text)| text).collect())
}
