//! Trees and checkpoints behind the journal: a thread that appends leaf hashes and signs tree heads, never in a call.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use placet_ledger::Hash;
use placet_ledger::checkpoint::{Checkpoint, SigningKey, origin};
use placet_ledger::tree::Frontier;

use crate::disk;
use crate::fault::{Faults, Point};
use crate::trees::{self, CHECKPOINT, HASHES, TreeCheck};

/// How long leaves are let come together before they are appended.
const LULL: Duration = Duration::from_millis(20);

/// Who signs the checkpoints, and how often.
#[derive(Clone, Debug)]
pub struct Notary {
    /// The organisation in the checkpoints' origin.
    pub organisation: String,
    /// Its checkpoint key.
    pub key: Arc<SigningKey>,
    /// A tree that grew is signed again after this time.
    pub every: Duration,
}

/// What the follower is told.
#[derive(Debug)]
pub(crate) enum Follow {
    /// Records that are durable, in order.
    Leaves(Vec<(Arc<str>, Hash)>),
    /// Write and sign now, then answer.
    Seal(Sender<Result<(), String>>),
}

/// The follower's last failure, if its files aren't up to date.
pub(crate) type Health = Arc<Mutex<Option<String>>>;

struct Tree {
    name: Arc<str>,
    dir: PathBuf,
    frontier: Frontier,
    /// Nodes to be appended to the file at `written`.
    pending: Vec<Hash>,
    written: u64,
    file: Option<File>,
    signed: u64,
}

/// The follower's state.
pub(crate) struct Follower {
    data: PathBuf,
    notary: Notary,
    faults: Faults,
    trees: BTreeMap<Arc<str>, Tree>,
    health: Health,
}

impl Follower {
    /// Carries on from the trees as the journal's start found them.
    pub(crate) fn new(
        data: &Path,
        notary: Notary,
        faults: Faults,
        checks: BTreeMap<Arc<str>, TreeCheck>,
        health: Health,
    ) -> Self {
        let mut follower = Self { data: data.to_owned(), notary, faults, trees: BTreeMap::new(), health };
        for (name, check) in checks {
            let mut tree = follower.tree(&name, check.frontier);
            tree.written = check.agreed;
            tree.pending = check.missing;
            tree.signed = check.checkpoint.map_or(0, |checkpoint| checkpoint.size);
            follower.trees.insert(name, tree);
        }
        follower
    }

    /// Follows until the journal is gone, then signs a last time.
    pub(crate) fn run(mut self, inbox: &Receiver<Follow>) {
        let mut due = Instant::now().checked_add(self.notary.every);
        loop {
            let wait = due.map_or(self.notary.every, |due| due.saturating_duration_since(Instant::now()));
            match inbox.recv_timeout(wait) {
                Ok(told) => {
                    if matches!(told, Follow::Leaves(_)) {
                        // Nobody waits for leaves: a commit that comes meanwhile needn't wake this thread.
                        std::thread::sleep(LULL);
                    }
                    self.follow(told);
                    for told in inbox.try_iter() {
                        self.follow(told);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if due.is_none_or(|due| due <= Instant::now()) {
                if let Err(error) = self.seal() {
                    tracing::warn!(error, "the ledger's checkpoints are behind the journal");
                }
                due = Instant::now().checked_add(self.notary.every);
            }
        }
        if let Err(error) = self.seal() {
            tracing::warn!(error, "the last checkpoint couldn't be written");
        }
    }

    fn follow(&mut self, told: Follow) {
        match told {
            Follow::Leaves(leaves) => self.append(leaves),
            Follow::Seal(answer) => {
                let sealed = self.seal();
                if answer.send(sealed).is_err() {
                    tracing::debug!("nobody waits for the checkpoint any more");
                }
            }
        }
    }

    fn tree(&self, name: &Arc<str>, frontier: Frontier) -> Tree {
        Tree {
            name: Arc::clone(name),
            dir: trees::tree_dir(&self.data, name),
            frontier,
            pending: Vec::new(),
            written: 0,
            file: None,
            signed: 0,
        }
    }

    fn append(&mut self, leaves: Vec<(Arc<str>, Hash)>) {
        for (name, leaf) in leaves {
            if !self.trees.contains_key(&name) {
                let tree = self.tree(&name, Frontier::new());
                self.trees.insert(Arc::clone(&name), tree);
            }
            if let Some(tree) = self.trees.get_mut(&name) {
                let pending = &mut tree.pending;
                tree.frontier.append(leaf, |node| pending.push(node));
            }
        }
    }

    /// Writes and signs every tree that grew. A failure leaves the rest for the next time: these files follow.
    fn seal(&mut self) -> Result<(), String> {
        let mut failure = None;
        for tree in self.trees.values_mut() {
            if let Err(error) = tree.seal(&self.data, &self.notary, &self.faults) {
                failure = Some(format!("tree `{}`: {error}", tree.name));
            }
        }
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&failure);
        failure.map_or(Ok(()), Err)
    }
}

impl Tree {
    fn seal(&mut self, data: &Path, notary: &Notary, faults: &Faults) -> io::Result<()> {
        if self.signed == self.frontier.size() && self.pending.is_empty() {
            return Ok(());
        }
        let file = if let Some(file) = self.file.take() {
            file
        } else {
            disk::create_dir(&self.dir)?;
            let file = disk::open_private(&self.dir.join(HASHES), false)?;
            // Whatever stands behind the nodes that agree with the journal isn't the journal's.
            file.set_len(trees::offset_of(self.written))?;
            disk::sync_dir(&self.dir)?;
            disk::sync_dir(&data.join("tree"))?;
            disk::sync_dir(data)?;
            file
        };
        let file = self.file.insert(file);
        if !self.pending.is_empty() {
            faults.pass(Point::Hashes)?;
            let bytes: Vec<u8> = self.pending.iter().flat_map(|hash| hash.0).collect();
            file.write_all_at(&bytes, trees::offset_of(self.written))?;
            file.sync_data()?;
            self.pending.clear();
            self.written = trees::nodes_of(self.frontier.size());
        }
        faults.pass(Point::Checkpoint)?;
        let head = Checkpoint {
            origin: origin(&notary.organisation, &self.name),
            size: self.frontier.size(),
            root: self.frontier.root(),
        };
        trees::replace(&self.dir, CHECKPOINT, head.sign(&notary.key).as_bytes())?;
        self.signed = head.size;
        Ok(())
    }
}
