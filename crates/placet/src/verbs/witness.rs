//! `placet audit witness`: cosigns checkpoints of ledgers that only grow (C2SP tlog-witness).

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use clap::Args;
use http::{StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use placet_json::{Value, object};
use placet_ledger::{
    checkpoint::{Checkpoint, SigningKey, VerifyingKey},
    cosign::{self, MAX_REQUEST, Refusal, Request},
};
use placet_server::listen::{self, Bounds};
use placet_store::Heads;
use tokio::net::TcpListener;

use crate::{
    clock,
    failure::{Failure, OrFail},
    keyfile::{fresh_checkpoint_key, read_checkpoint_key},
    output::{Answer, Format, show},
};

const BOUNDS: Bounds =
    Bounds { header_bytes: 16 * 1024, header_read: Duration::from_secs(10), connections: 256 };

/// Cosign checkpoints of ledgers, each only if the one before is its beginning
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    placet audit vkey --data data >> logs.txt\n  \
    placet audit witness --name witness.example/w1 --state /var/lib/placet-witness --logs logs.txt --listen 127.0.0.1:8790\n  \
    placet audit witness --name witness.example/w1 --state /var/lib/placet-witness --forget placet/desk/acme")]
pub(crate) struct Witness {
    /// The name that stands beside its cosignatures
    #[arg(long)]
    name: String,
    /// Where the newest heads are kept, and the key, made at the first start
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The ledgers that are followed: a verifier key a line, as `placet audit vkey` prints it; one whose name ends in `/`
    /// stands for all trees of its organisation
    #[arg(long, value_name = "FILE", required_unless_present = "forget")]
    logs: Option<PathBuf>,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8790")]
    listen: SocketAddr,
    /// Forget the newest head of this ledger, which was restored from a backup, and end; until then it is refused. A name
    /// that ends in `/` stands for all trees of its organisation
    #[arg(long, value_name = "ORIGIN")]
    forget: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Witness {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let state = || format!("`{}`", self.state.display());
        let heads = Heads::open(&self.state).or_fail(state())?.ok_or_else(|| {
            Failure::new(format!("another process has {}", state()))
                .remedy("stop it, or choose another `--state`")
        })?;
        if let Some(origin) = &self.forget {
            let forgotten = heads.forget(origin).or_fail(state())?;
            if forgotten.is_empty() {
                return Err(Failure::new(format!("nothing was seen of `{origin}`")).no());
            }
            let all = forgotten.iter().map(|head| {
                Value::from(object! { "origin" => head.origin.as_str(), "size" => head.size, "root" => head.root.to_string() })
            });
            let document = object! { "forgotten" => all.collect::<Vec<_>>() };
            let text = forgotten.iter().map(|head| {
                format!("forgot that `{}` had {} records, root {}\n", head.origin, head.size, head.root)
            });
            show(self.format, &document.into(), |_| text.collect())?;
            return Ok(Answer::Yes);
        }
        let key = key(&self.state.join("key"))?;
        let witness = cosign::Witness::new(&self.name, key.public())
            .ok_or_else(|| Failure::new("`--name` is empty, or has a space or a `+`"))?;
        let logs = Logs::read(self.logs.as_deref().unwrap_or(Path::new("")))?;
        let server = Arc::new(Server { witness, key, logs, heads: Mutex::new(heads) });
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().build().or_fail("can't start")?;
        runtime.block_on(serve(server, self.listen)).map(|()| Answer::Yes)
    }
}

async fn serve(server: Arc<Server>, address: SocketAddr) -> Result<(), Failure> {
    let listener = TcpListener::bind(address).await.or_fail(format_args!("can't listen on {address}"))?;
    let address = listener.local_addr().or_fail("can't listen")?;
    eprintln!(
        "placet audit witness: {} logs followed on http://{address}; key {}",
        server.logs.0.len(),
        server.witness.vkey()
    );
    let app = Router::new()
        .route("/add-checkpoint", post(add))
        .route("/key", get(|State(server): State<Arc<Server>>| async move { server.witness.vkey() + "\n" }))
        .with_state(server);
    listen::serve(listener, BOUNDS, app, super::shutdown()).await;
    Ok(())
}

struct Server {
    witness: cosign::Witness,
    key: SigningKey,
    logs: Logs,
    /// One request at a time, from reading a head to having kept the next.
    heads: Mutex<Heads>,
}

async fn add(State(server): State<Arc<Server>>, request: axum::extract::Request) -> Response {
    let body = Limited::new(request.into_body(), MAX_REQUEST).collect();
    let body = match tokio::time::timeout(Duration::from_secs(10), body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) | Err(_) => return refused(Refusal::Malformed),
    };
    match tokio::task::spawn_blocking(move || server.consider(&body)).await {
        Ok(Ok(line)) => ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], line).into_response(),
        Ok(Err(Ended::Refused(refusal))) => refused(refusal),
        Ok(Err(Ended::Broken(error))) => {
            eprintln!("placet audit witness: {error}");
            (StatusCode::INTERNAL_SERVER_ERROR, "what was seen can't be read or kept\n").into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

enum Ended {
    Refused(Refusal),
    Broken(std::io::Error),
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Server {
    /// The cosignature, once the head is on disk.
    fn consider(&self, body: &Bytes) -> Result<String, Ended> {
        let request = Request::parse(body).ok_or(Refusal::Malformed)?;
        let origin = request.origin().to_owned();
        let keys = self.logs.of(&origin);
        if keys.is_empty() {
            return Err(Refusal::Unknown.into());
        }
        let opened = keys.iter().find_map(|key| Checkpoint::open(request.note.as_bytes(), &origin, key).ok());
        let shown = opened.ok_or(Refusal::Unsigned)?;
        let heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        let known = heads.get(&origin).map_err(Ended::Broken)?;
        if let Err(refusal) = cosign::judge(known.as_ref(), &request, &shown) {
            eprintln!("placet audit witness: {origin}, {} records: {refusal}", shown.size);
            return Err(refusal.into());
        }
        if known.as_ref() != Some(&shown) {
            heads.put(&shown).map_err(Ended::Broken)?;
        }
        Ok(cosign::cosign(&shown, &self.witness, &self.key, clock::secs()))
    }
}

fn refused(refusal: Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    match refusal {
        // tlog-witness: the size alone, so that the log can prove from there on.
        Refusal::Conflict { size } => {
            (status, [(header::CONTENT_TYPE, "text/x.tlog.size")], format!("{size}\n")).into_response()
        }
        Refusal::Malformed | Refusal::Unknown | Refusal::Unsigned | Refusal::Inconsistent => {
            (status, format!("{refusal}\n")).into_response()
        }
    }
}

/// Whose checkpoints are believed.
struct Logs(Vec<(String, VerifyingKey)>);

impl Logs {
    fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).or_fail(format_args!("can't read `{}`", path.display()))?;
        let mut logs = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let log = VerifyingKey::from_vkey(line).map_err(|_| {
                let number = at.saturating_add(1);
                Failure::new(format!("`{}`, line {number} is no verifier key", path.display()))
                    .remedy("`placet audit vkey` prints one: NAME+ID+KEY")
            })?;
            logs.push(log);
        }
        if logs.is_empty() {
            return Err(Failure::new(format!("`{}` names no ledger", path.display()))
                .remedy("add the line that `placet audit vkey` prints"));
        }
        Ok(Self(logs))
    }

    fn of(&self, origin: &str) -> Vec<&VerifyingKey> {
        let fits = |name: &str| name == origin || (name.ends_with('/') && origin.starts_with(name));
        self.0.iter().filter(|(name, _)| fits(name)).map(|(_, key)| key).collect()
    }
}

/// The witness's key; made where there is none.
fn key(path: &Path) -> Result<SigningKey, Failure> {
    if path.exists() { read_checkpoint_key(path) } else { fresh_checkpoint_key(path) }
}
