//! Channels that people read: what is posted here has left the desk.

use rmcp::model::{JsonObject, Tool};
use rusqlite::{Connection, params};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::tool::{Effect, Fault, arguments, closed, define};

const SCHEMA: &str = "
    DROP TABLE IF EXISTS messages;
    CREATE TABLE messages (message_id INTEGER PRIMARY KEY AUTOINCREMENT, channel TEXT NOT NULL,
                           text TEXT NOT NULL) STRICT;
    CREATE INDEX messages_by_channel ON messages (channel);";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Post {
    channel: String,
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    channel: String,
}

pub(crate) fn seed(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(SCHEMA)
}

pub(crate) fn tools() -> Vec<Tool> {
    let text = || json!({ "type": "string" });
    let message = closed(json!({ "message_id": { "type": "integer" }, "text": text() }));
    vec![
        define(
            "post_message",
            "Posts a message to a channel, for everybody in it to read.",
            Effect::Write,
            json!({ "channel": { "type": "string", "description": "As #general." }, "text": { "type": "string" } }),
            json!({ "message_id": { "type": "integer" }, "channel": text() }),
        ),
        define(
            "read_channel",
            "The messages of a channel, oldest first.",
            Effect::Read,
            json!({ "channel": { "type": "string" } }),
            json!({ "channel": text(), "messages": { "type": "array", "items": message } }),
        ),
    ]
}

pub(crate) fn call(connection: &Connection, tool: &str, given: JsonObject) -> Result<Value, Fault> {
    match tool {
        "post_message" => {
            let Post { channel, text } = arguments(given)?;
            connection
                .execute("INSERT INTO messages (channel, text) VALUES (?1, ?2)", params![channel, text])?;
            Ok(json!({ "message_id": connection.last_insert_rowid(), "channel": channel }))
        }
        "read_channel" => {
            let Read { channel } = arguments(given)?;
            let messages: Vec<Value> = messages(connection, &channel)?
                .into_iter()
                .map(|(message_id, text)| json!({ "message_id": message_id, "text": text }))
                .collect();
            Ok(json!({ "channel": channel, "messages": messages }))
        }
        _ => Err(Fault::Unknown),
    }
}

/// A channel's messages with their numbers, oldest first.
pub(crate) fn messages(connection: &Connection, channel: &str) -> rusqlite::Result<Vec<(i64, String)>> {
    connection
        .prepare_cached("SELECT message_id, text FROM messages WHERE channel = ?1 ORDER BY message_id")?
        .query_map([channel], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}
