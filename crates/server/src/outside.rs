//! What others have seen of the ledger: witnesses that cosign its checkpoints, and an anchor that they are added to.
//!
//! From inside nobody can tell yesterday's directory from today's. So a start asks those outside first, and a ledger that
//! is behind or beside what one of them saw isn't served.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::future::join_all;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use placet_gateway::{Ledger, ORGANISATION};
use placet_ledger::{
    checkpoint::{Checkpoint, SigningKey, origin},
    cosign,
    proof::consistency,
    tree::empty_root,
};
use placet_store::{Anchor, Notary, TreeReader};
use tokio::{io::AsyncWriteExt as _, sync::watch};

use crate::{
    metrics::Metrics,
    settings::{Settings, Transparency, Variables, WitnessAt},
};

/// How long a witness may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How long an anchor's command may take.
const COMMAND: Duration = Duration::from_secs(30);
/// The most bytes of a witness's answer.
const MAX_ANSWER: usize = 8 << 10;
/// How often a shared journal's copy is given time to follow before it is called behind.
const PATIENCE: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);

/// Why the ledger isn't served.
#[derive(Debug, thiserror::Error)]
pub enum OutsideError {
    /// Somebody saw more of it.
    #[error(
        "the ledger is behind {who}: tree `{tree}` has {has} records here, {seen} were seen there; put the newest data directory in place, or restore a backup with `placet restore` and have {who} forget what it saw"
    )]
    Behind {
        /// A witness, or the anchor.
        who: String,
        /// The tree.
        tree: String,
        /// Records here.
        has: u64,
        /// Records there.
        seen: u64,
    },
    /// Somebody saw something else.
    #[error(
        "the ledger isn't the one that {who} saw: tree `{tree}` has other records among its first {seen}; look at it with `placet audit verify`"
    )]
    Fork {
        /// A witness, or the anchor.
        who: String,
        /// The tree.
        tree: String,
        /// Records that both have.
        seen: u64,
    },
    /// Too few witnesses say that it is the newest.
    #[error(
        "{confirmed} of {quorum} witnesses confirm the ledger's tree `{tree}` ({why}); a start needs them, or a lower `ledger.quorum`"
    )]
    Unconfirmed {
        /// The tree.
        tree: String,
        /// Witnesses that confirm it.
        confirmed: usize,
        /// Witnesses that must.
        quorum: usize,
        /// What the others said.
        why: String,
    },
    /// A file, or the network.
    #[error("`ledger`: {0}")]
    Io(String),
}

/// Whom the checkpoints are shown to.
pub(crate) struct Outside {
    data: PathBuf,
    organisation: String,
    key: Arc<SigningKey>,
    settings: Transparency,
    anchor: Option<Anchor>,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    path: Option<String>,
}

/// What one witness makes of a tree.
enum Trouble {
    Behind(u64),
    Fork(u64),
    Away(String),
}

impl Outside {
    /// As the settings say.
    pub(crate) fn of(
        settings: &Settings,
        notary: &Notary,
        variables: Variables<'_>,
    ) -> Result<Self, OutsideError> {
        let transparency = settings.ledger.clone();
        let anchor = match &transparency.anchor {
            None => None,
            Some(dir) => Some(Anchor::open(dir).map_err(|error| {
                OutsideError::Io(format!("`anchor`: `{}`: {error}; make the directory", dir.display()))
            })?),
        };
        let secure = transparency.witnesses.iter().any(|witness| witness.url.scheme() == "https");
        Ok(Self {
            data: settings.server.data.clone(),
            organisation: notary.organisation.clone(),
            key: Arc::clone(&notary.key),
            anchor,
            client: client(secure)?,
            path: variables("PATH"),
            settings: transparency,
        })
    }

    /// Whether anybody is shown anything.
    fn is_alone(&self) -> bool {
        self.settings.witnesses.is_empty() && self.anchor.is_none() && self.settings.anchor_command.is_none()
    }

    /// Before the journal is opened: what is signed on disk isn't behind what others saw. Nothing is changed.
    pub(crate) async fn before(&self) -> Result<(), OutsideError> {
        if self.is_alone() {
            return Ok(());
        }
        let mut trees: BTreeSet<String> = placet_store::trees(&self.data).map_err(io)?.into_iter().collect();
        trees.insert(ORGANISATION.to_owned());
        self.agree(&trees).await
    }

    /// When the journal is open: neither is any tree that it says there is, with or without files of its own.
    pub(crate) async fn after(&self, ledger: &Ledger, shared: bool) -> Result<(), OutsideError> {
        if self.is_alone() {
            return Ok(());
        }
        let mut patience = if shared { PATIENCE } else { 1 };
        loop {
            let sealing = ledger.clone();
            let sealed = tokio::task::spawn_blocking(move || sealing.checkpoint()).await;
            sealed.map_err(io)?.map_err(OutsideError::Io)?;
            let mut trees: BTreeSet<String> =
                placet_store::trees(&self.data).map_err(io)?.into_iter().collect();
            trees.insert(ORGANISATION.to_owned());
            trees.extend(ledger.live().world().tenants().map(|tenant| tenant.id().to_string()));
            patience = patience.saturating_sub(1);
            match self.agree(&trees).await {
                // Another gateway may have written and shown more a moment ago.
                Err(OutsideError::Behind { .. }) if patience > 0 => tokio::time::sleep(PAUSE).await,
                agreed => return agreed,
            }
        }
    }

    async fn agree(&self, trees: &BTreeSet<String>) -> Result<(), OutsideError> {
        self.anchored(trees)?;
        if self.settings.witnesses.is_empty() {
            return Ok(());
        }
        for tree in trees {
            let (note, head) = self.head(tree).map_err(io)?;
            let shown = self.settings.witnesses.iter().map(|witness| self.show(witness, tree, &note, &head));
            let (mut confirmed, mut why) = (0_usize, Vec::new());
            for (witness, answer) in self.settings.witnesses.iter().zip(join_all(shown).await) {
                let who = format!("the witness `{}`", witness.key.name());
                let (tree, has) = (tree.clone(), head.size);
                match answer {
                    Ok(_) => confirmed = confirmed.saturating_add(1),
                    Err(Trouble::Behind(seen)) => return Err(OutsideError::Behind { who, tree, has, seen }),
                    Err(Trouble::Fork(seen)) => return Err(OutsideError::Fork { who, tree, seen }),
                    Err(Trouble::Away(what)) => why.push(format!("`{}`: {what}", witness.key.name())),
                }
            }
            let quorum = self.settings.quorum;
            if confirmed < quorum {
                return Err(OutsideError::Unconfirmed {
                    tree: tree.clone(),
                    confirmed,
                    quorum,
                    why: why.join("; "),
                });
            }
        }
        Ok(())
    }

    /// Nothing that was anchored is missing here.
    fn anchored(&self, trees: &BTreeSet<String>) -> Result<(), OutsideError> {
        let Some(anchor) = &self.anchor else { return Ok(()) };
        let mut all: BTreeSet<String> = anchor.trees().map_err(io)?.into_iter().collect();
        all.extend(trees.iter().cloned());
        for tree in all {
            let Some(seen) = anchor.newest(&tree).map_err(io)? else { continue };
            let who = "the anchor".to_owned();
            if seen.origin != origin(&self.organisation, &tree) {
                return Err(OutsideError::Io(format!(
                    "the anchor has checkpoints of `{}`: it belongs to another organisation",
                    seen.origin
                )));
            }
            let (_, head) = self.head(&tree).map_err(io)?;
            if head.size < seen.size {
                return Err(OutsideError::Behind { who, tree, has: head.size, seen: seen.size });
            }
            if seen.size > 0 {
                let root = TreeReader::open(&self.data, &tree).and_then(|reader| reader.root(seen.size));
                if root.map_err(io)? != seen.root {
                    return Err(OutsideError::Fork { who, tree, seen: seen.size });
                }
            }
        }
        Ok(())
    }

    /// The newest checkpoint of a tree; of one that has none, the signed head of the empty tree.
    fn head(&self, tree: &str) -> io::Result<(String, Checkpoint)> {
        let origin = origin(&self.organisation, tree);
        let note = match TreeReader::open(&self.data, tree) {
            Ok(reader) => reader.checkpoint()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        match note {
            Some(note) => {
                let head = Checkpoint::open(&note, &origin, &self.key.public())
                    .map_err(|error| io::Error::other(format!("tree `{tree}`: {error}")))?;
                Ok((String::from_utf8_lossy(&note).into_owned(), head))
            }
            None => {
                let head = Checkpoint { origin, size: 0, root: empty_root() };
                Ok((head.sign(&self.key), head))
            }
        }
    }

    /// Shows a tree's head to a witness; its line of cosignature comes back.
    async fn show(
        &self,
        witness: &WitnessAt,
        tree: &str,
        note: &str,
        head: &Checkpoint,
    ) -> Result<String, Trouble> {
        let mut old = head.size;
        // What it has is guessed, then known; once more, should another gateway have shown more meanwhile.
        for _ in 0..3 {
            let proof = if old == 0 || old == head.size {
                Vec::new()
            } else {
                let proof = TreeReader::open(&self.data, tree)
                    .and_then(|reader| consistency(&reader, old, head.size))
                    .map_err(|error| Trouble::Away(error.to_string()))?;
                proof.unwrap_or_default()
            };
            let request = cosign::Request { old, proof, note: note.to_owned() };
            let (status, body) = self.post(witness, request.encode()).await.map_err(Trouble::Away)?;
            match status {
                StatusCode::OK => {
                    let line = cosignature(witness, note, &body);
                    return line.ok_or_else(|| Trouble::Away("its cosignature is wrong".to_owned()));
                }
                StatusCode::CONFLICT => {
                    let seen = body.trim_end().parse::<u64>();
                    let seen = seen.map_err(|_| Trouble::Away("it names no size".to_owned()))?;
                    if seen > head.size {
                        return Err(Trouble::Behind(seen));
                    }
                    if seen == old {
                        return Err(Trouble::Fork(seen));
                    }
                    old = seen;
                }
                StatusCode::UNPROCESSABLE_ENTITY => return Err(Trouble::Fork(old)),
                other => return Err(Trouble::Away(format!("it answered {other}: {}", body.trim_end()))),
            }
        }
        Err(Trouble::Away("what it has changes all the time".to_owned()))
    }

    async fn post(&self, witness: &WitnessAt, body: String) -> Result<(StatusCode, String), String> {
        let url = format!("{}/add-checkpoint", witness.url.as_str().trim_end_matches('/'));
        let request = Request::post(&url)
            .header(http::header::CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| error.to_string())?;
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|error| root_of(&error))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_bytes();
            Ok((status, String::from_utf8_lossy(&body).into_owned()))
        };
        tokio::time::timeout(ANSWER, exchange).await.unwrap_or_else(|_| Err("it doesn't answer".to_owned()))
    }

    /// Shows every tree that grew, again and again.
    pub(crate) async fn follow(self, metrics: Arc<Metrics>, mut stopped: watch::Receiver<bool>) {
        if self.is_alone() {
            return;
        }
        let work = async {
            tokio::join!(self.witnessing(&metrics), self.anchoring(&metrics));
        };
        tokio::select! {
            () = work => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }

    async fn witnessing(&self, metrics: &Metrics) {
        if self.settings.witnesses.is_empty() {
            return;
        }
        let (mut done, mut refusals, mut failing) = (BTreeMap::new(), 0_u64, false);
        loop {
            let round = self.round(&mut done, &mut refusals).await;
            let unwitnessed = round.as_ref().map_or(1, |left| *left);
            metrics.gauge("ledger_unwitnessed_trees", unwitnessed);
            metrics.gauge("ledger_witness_refusals", refusals);
            match (&round, failing) {
                (Err(error), false) => tracing::warn!(%error, "checkpoints can't be shown to witnesses"),
                (Ok(left), false) if *left > 0 => {
                    tracing::warn!(trees = left, "too few witnesses cosign the ledger's checkpoints");
                }
                (Ok(0), true) => tracing::info!("witnesses cosign the ledger's checkpoints again"),
                (Ok(_) | Err(_), _) => {}
            }
            failing = unwitnessed > 0;
            tokio::time::sleep(Duration::from_millis(self.settings.every_ms)).await;
        }
    }

    /// Shows each tree that grew since enough witnesses cosigned it; how many are still to be cosigned.
    async fn round(&self, done: &mut BTreeMap<String, u64>, refusals: &mut u64) -> io::Result<u64> {
        let mut left = 0_u64;
        for tree in placet_store::trees(&self.data)? {
            let (note, head) = self.head(&tree)?;
            if head.size == 0 || done.get(&tree).is_some_and(|size| *size >= head.size) {
                continue;
            }
            let shown = self.settings.witnesses.iter().map(|witness| self.show(witness, &tree, &note, &head));
            let (mut cosigned, mut count) = (note.clone(), 0_usize);
            for (witness, answer) in self.settings.witnesses.iter().zip(join_all(shown).await) {
                let name = witness.key.name();
                match answer {
                    Ok(line) => {
                        cosigned.push_str(&line);
                        count = count.saturating_add(1);
                    }
                    Err(Trouble::Behind(seen)) => {
                        *refusals = refusals.saturating_add(1);
                        tracing::error!(
                            witness = name,
                            tree,
                            seen,
                            has = head.size,
                            "a witness saw more of the ledger than there is"
                        );
                    }
                    Err(Trouble::Fork(seen)) => {
                        *refusals = refusals.saturating_add(1);
                        tracing::error!(witness = name, tree, seen, "a witness saw another ledger");
                    }
                    Err(Trouble::Away(why)) => {
                        tracing::debug!(witness = name, why, "a witness doesn't cosign");
                    }
                }
            }
            if count >= self.settings.quorum.max(1) {
                placet_store::keep_cosigned(&self.data, &tree, &cosigned)?;
                done.insert(tree, head.size);
            } else {
                left = left.saturating_add(1);
            }
        }
        Ok(left)
    }

    async fn anchoring(&self, metrics: &Metrics) {
        if self.anchor.is_none() && self.settings.anchor_command.is_none() {
            return;
        }
        let mut done = BTreeMap::new();
        loop {
            let failed = self.anchor_round(&mut done).await;
            metrics.gauge("ledger_unanchored_trees", failed);
            tokio::time::sleep(Duration::from_millis(self.settings.anchor_every_ms)).await;
        }
    }

    async fn anchor_round(&self, done: &mut BTreeMap<String, u64>) -> u64 {
        let mut failed = 0_u64;
        for tree in placet_store::trees(&self.data).unwrap_or_default() {
            let anchored = async {
                let (note, head) = self.head(&tree)?;
                if head.size == 0 || done.get(&tree).is_some_and(|size| *size >= head.size) {
                    return Ok(());
                }
                if let Some(anchor) = &self.anchor {
                    anchor.put(&tree, head.size, note.as_bytes())?;
                }
                if let Some(command) = &self.settings.anchor_command {
                    self.hand_over(command, &tree, &head, &note).await?;
                }
                done.insert(tree.clone(), head.size);
                io::Result::Ok(())
            };
            if let Err(error) = anchored.await {
                failed = failed.saturating_add(1);
                tracing::warn!(tree, %error, "a checkpoint can't be anchored");
            }
        }
        failed
    }

    /// Runs the anchor's command with the note on its standard input.
    async fn hand_over(
        &self,
        command: &[String],
        tree: &str,
        head: &Checkpoint,
        note: &str,
    ) -> io::Result<()> {
        let Some((program, arguments)) = command.split_first() else { return Ok(()) };
        let mut process = tokio::process::Command::new(program);
        process.args(arguments).env_clear().stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
        process.env("PLACET_TREE", tree).env("PLACET_SIZE", head.size.to_string());
        if let Some(path) = &self.path {
            process.env("PATH", path);
        }
        let mut child = process.spawn()?;
        let work = async {
            if let Some(mut stdin) = child.stdin.take() {
                // A command that doesn't read is judged by its exit status.
                drop(stdin.write_all(note.as_bytes()).await);
            }
            child.wait().await
        };
        let status = tokio::time::timeout(COMMAND, work)
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "`anchor_command` doesn't end"))??;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("`anchor_command`: {status}"))) }
    }
}

/// The witness's own line of what it answered, if it is a cosignature of this note.
fn cosignature(witness: &WitnessAt, note: &str, body: &str) -> Option<String> {
    body.lines()
        .map(|line| format!("{line}\n"))
        .find(|line| matches!(witness.key.saw(&format!("{note}{line}")), Ok(Some(_))))
}

fn client(secure: bool) -> Result<Client<HttpsConnector<HttpConnector>, Full<Bytes>>, OutsideError> {
    let mut roots = rustls::RootCertStore::empty();
    if secure {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(ANSWER));
    let https =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
    Ok(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(https))
}

fn io(error: impl std::fmt::Display) -> OutsideError {
    OutsideError::Io(error.to_string())
}

fn root_of(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
