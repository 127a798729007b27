//! The client's side: lines in, lines out.

use placet_mcp::{Message, stdio};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Stdin, Stdout},
    sync::mpsc,
};

/// Messages that wait for a client that doesn't read; beyond these, upstream answers wait.
const WAITING: usize = 256;

/// Lines of standard input.
pub(super) struct Lines {
    stdin: Stdin,
    decoder: stdio::Decoder,
    ready: std::collections::VecDeque<Vec<u8>>,
    buffer: Vec<u8>,
}

impl Lines {
    pub(super) fn new() -> Self {
        Self {
            stdin: tokio::io::stdin(),
            decoder: stdio::Decoder::new(stdio::MAX_LINE),
            ready: std::collections::VecDeque::new(),
            buffer: vec![0; 64 * 1024],
        }
    }

    /// The next line; none once the input has ended or holds a line beyond all bounds.
    pub(super) async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            let read = self.stdin.read(&mut self.buffer).await.ok().filter(|read| *read > 0)?;
            self.ready.extend(self.decoder.push(self.buffer.get(..read)?).ok()?);
        }
    }
}

/// Where messages to the client go. Cheap to clone.
#[derive(Clone)]
pub(super) struct Client(mpsc::Sender<Vec<u8>>);

impl Client {
    /// Starts to write standard output; the task ends once every sender is gone and all is written.
    pub(super) fn start() -> (Self, tokio::task::JoinHandle<()>) {
        let (sender, mut lines) = mpsc::channel::<Vec<u8>>(WAITING);
        let mut out: Stdout = tokio::io::stdout();
        let writer = tokio::spawn(async move {
            while let Some(line) = lines.recv().await {
                // A client that is gone reads nothing more; its end of input ends us.
                if out.write_all(&line).await.is_err() || out.flush().await.is_err() {
                    break;
                }
            }
        });
        (Self(sender), writer)
    }

    /// Sends a message.
    pub(super) async fn send(&self, message: Message) {
        drop(self.0.send(stdio::encode(message)).await);
    }
}
