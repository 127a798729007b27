//! What a process says: answers to who waits for them, notifications to whom they concern, and its own log.

use std::sync::{Arc, Mutex};

use placet_core::Name;
use placet_json::{Limits, Value};
use placet_mcp::stdio::Decoder;
use placet_mcp::{Message, Method, meta};
use tokio::io::AsyncReadExt;
use tokio::process::{ChildStderr, ChildStdout};
use tokio::sync::mpsc;

use super::{Answered, Line, Table, lock};
use crate::scan::Scanner;
use crate::sync::Stale;
use crate::wire::{self, Notice};

/// Bytes read at once.
const CHUNK: usize = 64 << 10;
/// Bytes of one line of a process's own log.
const LOG_LINE: usize = 4 << 10;

pub(super) struct Reader {
    pub(super) name: Name,
    pub(super) table: Arc<Mutex<Table>>,
    pub(super) replies: mpsc::WeakSender<Line>,
    pub(super) stale: Arc<Stale>,
    pub(super) limits: Limits,
}

impl Reader {
    pub(super) async fn run(&mut self, mut stdout: ChildStdout) {
        let mut decoder = Decoder::new(self.limits.bytes);
        let mut chunk = vec![0; CHUNK];
        loop {
            let Ok(read @ 1..) = stdout.read(&mut chunk).await else { return };
            let Ok(lines) = decoder.push(chunk.get(..read).unwrap_or_default()) else {
                tracing::warn!(upstream = %self.name, "a line of a process is longer than allowed; it is ended");
                return;
            };
            for line in lines {
                self.line(line);
            }
        }
    }

    fn line(&self, line: Vec<u8>) {
        let message = match Message::parse(&line, &self.limits) {
            Ok(message) => message,
            Err(bad) => return self.garbage(bad.id.and_then(|id| id.as_u64()), line),
        };
        match message {
            Message::Response { id: Some(id), outcome } => {
                let waiting = id.as_u64().and_then(|id| lock(&self.table).waiting.remove(&id));
                if let Some(waiting) = waiting {
                    drop(waiting.answer.send(Answered { answer: Some(outcome), raw: line }));
                }
            }
            Message::Response { id: None, .. } => self.garbage(None, line),
            Message::Notification { method, params } => {
                self.notice(Notice { method, params: params.unwrap_or_default() });
            }
            Message::Request { id, method, .. } => self.reply(wire::reply(id, &method)),
        }
    }

    /// A line that is no message. If it can only be the answer of one call, that call ends; other noise is passed over.
    fn garbage(&self, id: Option<u64>, line: Vec<u8>) {
        let mut table = lock(&self.table);
        let id = id.or_else(|| {
            let mut ids = table.waiting.keys().copied();
            let only = ids.next().filter(|_| line.first() == Some(&b'{'))?;
            ids.next().is_none().then_some(only)
        });
        if let Some(waiting) = id.and_then(|id| table.waiting.remove(&id)) {
            drop(waiting.answer.send(Answered { answer: None, raw: line }));
        }
    }

    fn notice(&self, notice: Notice) {
        let table = lock(&self.table);
        match Method::from_name(&notice.method) {
            Some(Method::ToolsListChanged) => self.stale.mark(),
            Some(Method::Progress) => {
                let token = notice.params.get(meta::PROGRESS_TOKEN).and_then(Value::as_u64);
                if let Some(waiting) = token.and_then(|token| table.waiting.get(&token)) {
                    drop(waiting.notices.try_send(notice));
                }
            }
            Some(Method::LogMessage) => {
                // It doesn't say which request it is about. Where several run, it would tell one of another.
                let mut all = table.waiting.values();
                if let (Some(only), None) = (all.next(), all.next()) {
                    drop(only.notices.try_send(notice));
                }
            }
            _ => {}
        }
    }

    fn reply(&self, mut bytes: Vec<u8>) {
        bytes.push(b'\n');
        if let Some(replies) = self.replies.upgrade() {
            drop(replies.try_send(Line { bytes, state: Arc::default() }));
        }
    }
}

/// Passes a process's own log on to ours, without lines that hold something of its environment.
pub(super) async fn log(name: Name, mut stderr: ChildStderr, scanner: Scanner) {
    let mut chunk = vec![0; LOG_LINE];
    let mut line = Vec::new();
    while let Ok(read @ 1..) = stderr.read(&mut chunk).await {
        for byte in chunk.get(..read).unwrap_or_default() {
            if *byte != b'\n' {
                if line.len() < LOG_LINE {
                    line.push(*byte);
                }
                continue;
            }
            let text = String::from_utf8_lossy(&line);
            if !scanner.finds_in(&text) {
                tracing::debug!(upstream = %name, "{}", text.escape_debug());
            }
            line.clear();
        }
    }
}
