//! A closed loop of clients: each has one connection, sends a request, reads its answer, checks it, sends the next.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::LocalSet};

use super::{cost::Payer, numbers::Times};
use crate::failure::{Failure, OrFail};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes the requests of one subject, ready to be sent: what a client pays for making them isn't the subject's.
pub(super) trait Requests {
    /// So many more, none of them twice.
    fn prepare(&mut self, count: usize) -> Result<Vec<Request<Full<Bytes>>>, Failure>;
    /// What every answer's body holds.
    fn expected(&self) -> &[u8];
    /// `host:port`.
    fn address(&self) -> &str;
    /// Whose processor time is the subject's.
    fn payer(&self) -> &Payer;
}

/// What came of a run.
#[derive(Debug, Clone, Default)]
pub(super) struct Measured {
    pub(super) times: Times,
    /// From the first request's start to the last answer, without what lies between batches.
    pub(super) wall: Duration,
    /// The subject's processor time.
    pub(super) cpu: Option<Duration>,
}

/// At most so many requests are prepared at once: a proof of possession is good for a minute.
const BATCH: usize = 2_000;

/// Runs `calls` calls of `clients` clients. The first wrong answer ends it.
pub(super) fn run(requests: &mut dyn Requests, clients: usize, calls: usize) -> Result<Measured, Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().or_fail("can't start")?;
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let mut connections = Vec::with_capacity(clients);
        for _ in 0..clients {
            connections.push(connect(requests.address()).await?);
        }
        let (mut times, mut wall, mut cpu) =
            (Vec::with_capacity(calls), Duration::ZERO, Some(Duration::ZERO));
        let mut left = calls;
        while left > 0 {
            let batch = requests.prepare(left.min(BATCH))?;
            left = left.saturating_sub(batch.len());
            let (expected, payer) = (Rc::<[u8]>::from(requests.expected()), requests.payer());
            let queue = Rc::new(RefCell::new(batch.into_iter()));
            let (spent, began) = (payer.spent(), Instant::now());
            let workers: Vec<_> = connections
                .drain(..)
                .map(|sender| tokio::task::spawn_local(work(sender, Rc::clone(&queue), Rc::clone(&expected))))
                .collect();
            for worker in workers {
                let (sender, mut own) = worker.await.or_fail("a client stopped")??;
                connections.push(sender);
                times.append(&mut own);
            }
            wall = wall.saturating_add(began.elapsed());
            let more = spent.zip(payer.spent()).map(|(before, after)| after.saturating_sub(before));
            cpu = cpu.zip(more).map(|(sum, more)| sum.saturating_add(more));
        }
        Ok(Measured { times: Times::of(times), wall, cpu })
    })
}

/// One connection.
pub(super) async fn connect(address: &str) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let stream = TcpStream::connect(address).await.or_fail(format_args!("can't reach {address}"))?;
    stream.set_nodelay(true).or_fail("can't set up a connection")?;
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.or_fail("can't set up a connection")?;
    tokio::task::spawn_local(async move {
        // How it ends is seen by the request on it.
        drop(connection.await);
    });
    Ok(sender)
}

type Queue = Rc<RefCell<std::vec::IntoIter<Request<Full<Bytes>>>>>;

async fn work(
    mut sender: SendRequest<Full<Bytes>>,
    queue: Queue,
    expected: Rc<[u8]>,
) -> Result<(SendRequest<Full<Bytes>>, Vec<Duration>), Failure> {
    let mut times = Vec::new();
    loop {
        let next = queue.borrow_mut().next();
        let Some(request) = next else { return Ok((sender, times)) };
        sender.ready().await.or_fail("a connection ended")?;
        let began = Instant::now();
        let exchange = async {
            let response = sender.send_request(request).await.or_fail("a request failed")?;
            let status = response.status();
            let body = response.into_body().collect().await.or_fail("an answer broke off")?.to_bytes();
            Ok::<_, Failure>((status, body))
        };
        let (status, body) = tokio::time::timeout(PATIENCE, exchange).await.or_fail("no answer came")??;
        times.push(began.elapsed());
        let right = body.windows(expected.len()).any(|part| *part == *expected);
        if status != StatusCode::OK || !right {
            let text: String = String::from_utf8_lossy(&body).chars().take(400).collect();
            return Err(Failure::new(format!("a wrong answer came: {status} {text}")));
        }
    }
}
