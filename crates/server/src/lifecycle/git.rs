//! Releases of a git repository: its branch, or its newest signed tag, is looked at again and again. What is new there is
//! built, tested and kept as a candidate; it passes the same gates as any other before it is in force.
//!
//! The `git` program does it, as on every machine that has such a repository: it knows each transport and each way of
//! signing, at no cost where nothing is pulled. It is told to run no helper and to ask nobody.

use std::{
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use placet_core::{Digest, Name};
use placet_gateway::Act;
use placet_json::{Value, object};
use placet_policy::{MAX_ARCHIVE, Release, Tree};
use tokio::{io::AsyncWriteExt as _, process::Command};

use super::{Lifecycle, Way};
use crate::settings::{GitRef, GitSource, Promote};

/// The longest that `git` may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// The most that `git` may say: all files of a release, with their headers.
const MAX_SAID: usize = MAX_ARCHIVE + (1 << 20);
/// Who brings what comes from the repository.
const AUTHOR: &str = "git";

/// How the repository was found last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GitState {
    /// The commit that was looked at last.
    pub commit: Option<String>,
    /// The release that it holds.
    pub release: Option<Digest>,
    /// What came of it; for operators.
    pub says: String,
    /// Whether it is as it should be.
    pub fine: bool,
}

/// The state, as it is told to operators.
#[derive(Debug, Clone, Default)]
pub struct Follows(Arc<Mutex<GitState>>);

impl Follows {
    /// As JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let GitState { commit, release, says, fine } = self.state();
        let text = |text: Option<String>| text.map_or(Value::Null, Value::from);
        object! { "commit" => text(commit), "fine" => fine, "release" => text(release.map(|it| it.to_string())), "says" => says }
            .into()
    }
    /// The state.
    #[must_use]
    pub fn state(&self) -> GitState {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    fn set(&self, state: GitState) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

/// Follows the repository. Runs until it is dropped.
pub(crate) async fn follow(lifecycle: Lifecycle, source: GitSource, dir: PathBuf, follows: Follows) {
    let mut puller = Puller { lifecycle, source, dir, last: None, shut: None };
    loop {
        let before = follows.state();
        let state = match puller.pull().await {
            Ok(Some(state)) => state,
            Ok(None) => GitState { fine: true, ..before.clone() },
            Err(why) => GitState { says: why, fine: false, ..before.clone() },
        };
        if state != before {
            tracing::info!(commit = state.commit, release = ?state.release.map(|it| it.to_string()), says = state.says, "the releases' repository");
            follows.set(state);
        }
        tokio::time::sleep(Duration::from_millis(puller.source.every_ms)).await;
    }
}

struct Puller {
    lifecycle: Lifecycle,
    source: GitSource,
    /// A bare repository of our own.
    dir: PathBuf,
    /// The commit that was looked at last.
    last: Option<String>,
    /// A release whose gates were shut when it was tried last: it is tried again, as reviews come later.
    shut: Option<Digest>,
}

impl Puller {
    /// None where nothing is new.
    async fn pull(&mut self) -> Result<Option<GitState>, String> {
        let commit = self.fetch().await?;
        if self.last.as_ref() == Some(&commit) {
            return self.again(commit).await;
        }
        let taken = self.take(&commit).await;
        self.last = Some(commit.clone());
        match taken {
            Ok((digest, says)) => {
                Ok(Some(GitState { commit: Some(commit), release: Some(digest), says, fine: true }))
            }
            Err(why) => {
                self.act(&format!("candidate release of the commit {commit}"), true, &why).await?;
                Ok(Some(GitState { commit: Some(commit), release: None, says: why, fine: false }))
            }
        }
    }

    /// The gates of what is there already may have opened.
    async fn again(&mut self, commit: String) -> Result<Option<GitState>, String> {
        let Some(digest) = self.shut else { return Ok(None) };
        let says = self.promote(digest, &commit).await?;
        Ok(Some(GitState { commit: Some(commit), release: Some(digest), says, fine: true }))
    }

    /// The commit that the branch, or the newest tag that is signed, points to.
    async fn fetch(&self) -> Result<String, String> {
        let dir = &self.dir;
        std::fs::create_dir_all(dir).map_err(|error| format!("`{}`: {error}", dir.display()))?;
        if !dir.join("HEAD").exists() {
            self.git(&["init", "--quiet", "--bare", "."], b"").await?;
        }
        let refs = match &self.source.at {
            GitRef::Branch(branch) => format!("+refs/heads/{branch}:refs/placet/head"),
            GitRef::Tags(pattern) => format!("+refs/tags/{pattern}:refs/tags/{pattern}"),
        };
        let url = self.source.url.as_str();
        self.git(
            &["fetch", "--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head", "--", url, &refs],
            b"",
        )
        .await?;
        let (name, tag) = match &self.source.at {
            GitRef::Branch(_) => ("refs/placet/head".to_owned(), None),
            GitRef::Tags(pattern) => {
                let pattern = format!("refs/tags/{pattern}");
                let newest =
                    ["for-each-ref", "--sort=-version:refname", "--count=1", "--format=%(refname)", &pattern];
                let name = text(&self.git(&newest, b"").await?);
                if name.is_empty() {
                    return Err(format!("`{url}` has no tag `{pattern}`"));
                }
                (name.clone(), Some(name))
            }
        };
        if let Some(tag) = tag {
            // `git` runs elsewhere.
            let signers =
                std::path::absolute(&self.source.allowed_signers).map_err(|error| error.to_string())?;
            let signers = signers.display();
            let trusted = format!("gpg.ssh.allowedSignersFile={signers}");
            let verify = ["-c", "gpg.format=ssh", "-c", &trusted, "verify-tag", "--", &tag];
            self.git(&verify, b"")
                .await
                .map_err(|why| format!("the tag `{tag}` isn't signed by a key of `{signers}`: {why}"))?;
        }
        let commit =
            text(&self.git(&["rev-parse", "--verify", "--quiet", &format!("{name}^{{commit}}")], b"").await?);
        if commit.is_empty() { Err(format!("`{url}` has no `{name}`")) } else { Ok(commit) }
    }

    /// Builds, keeps and records what a commit holds; puts it in force if the settings say so and the gates are open.
    async fn take(&mut self, commit: &str) -> Result<(Digest, String), String> {
        let tree = self.tree(commit).await?;
        let envelope = self.envelope(commit).await?;
        let built = tokio::task::spawn_blocking(move || Release::build(&tree));
        let release =
            built.await.map_err(|error| error.to_string())?.map_err(|refused| refused.to_string())?;
        let digest = release.digest();
        let ledger = self.lifecycle.ledger().clone();
        let kept = tokio::task::spawn_blocking(move || ledger.archives().keep(&release, release.archive()));
        kept.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let (by, why) = (author()?, format!("commit {commit}"));
        self.lifecycle.brought(digest, &by, &why).await.map_err(|error| error.to_string())?;
        if let Some(envelope) = envelope {
            self.lifecycle.sign(digest, &envelope, &by).await.map_err(|error| error.to_string())?;
        }
        self.shut = None;
        Ok((digest, self.promote(digest, commit).await?))
    }

    async fn promote(&mut self, digest: Digest, commit: &str) -> Result<String, String> {
        let ledger = self.lifecycle.ledger();
        if ledger.release_in_journal() == Some(digest) {
            self.shut = None;
            return Ok(format!("{digest} is in force"));
        }
        if self.source.promote == Promote::Never {
            return Ok(format!("{digest} is a candidate"));
        }
        let by = author()?;
        match self.lifecycle.promote(digest, &by, &format!("commit {commit}"), Way::Promotion).await {
            Ok(_) => {
                self.shut = None;
                Ok(format!("{digest} is in force"))
            }
            Err(error) => {
                // Told once; it is tried again in silence.
                if self.shut != Some(digest) {
                    self.act(&format!("promotion of release {digest}"), true, &error.to_string()).await?;
                }
                self.shut = Some(digest);
                Ok(format!("{digest} is a candidate: {error}"))
            }
        }
    }

    /// The release's files, byte for byte as they were committed.
    async fn tree(&self, commit: &str) -> Result<Tree, String> {
        let path = &self.source.path;
        let at = if path.is_empty() { commit.to_owned() } else { format!("{commit}:{path}") };
        let listed = self.git(&["ls-tree", "-r", "-z", "--full-tree", &at], b"").await?;
        let mut wanted = Vec::new();
        for entry in listed.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()) {
            let entry = std::str::from_utf8(entry).map_err(|_| "a path isn't UTF-8".to_owned())?;
            let (head, name) = entry.split_once('\t').ok_or("git lists something odd")?;
            let mut head = head.split(' ');
            let (mode, object) = (head.next().unwrap_or_default(), head.nth(1).unwrap_or_default());
            if name.split('/').any(|part| part.starts_with('.')) {
                continue;
            }
            if !matches!(mode, "100644" | "100755") {
                return Err(format!("`{name}` is neither a file nor a directory"));
            }
            wanted.push((name.to_owned(), object.to_owned()));
        }
        let asked = wanted.iter().fold(String::new(), |text, (_, object)| text + object + "\n");
        let said = self.git(&["cat-file", "--batch"], asked.as_bytes()).await?;
        let mut rest = said.as_slice();
        let mut tree = Tree::new();
        for (name, object) in wanted {
            let odd = || format!("git doesn't give `{name}`");
            let line = rest.iter().position(|byte| *byte == b'\n').ok_or_else(odd)?;
            let head = std::str::from_utf8(rest.get(..line).unwrap_or_default()).map_err(|_| odd())?;
            let size: usize = head
                .strip_prefix(&object)
                .and_then(|head| head.strip_prefix(" blob "))
                .and_then(|size| size.parse().ok())
                .ok_or_else(odd)?;
            let from = line.saturating_add(1);
            let until = from.saturating_add(size);
            tree.insert(name.clone(), rest.get(from..until).ok_or_else(odd)?.to_vec());
            rest = rest.get(until.saturating_add(1)..).ok_or_else(odd)?;
        }
        Ok(tree)
    }

    /// The envelope beside the release's directory, if the commit has one.
    async fn envelope(&self, commit: &str) -> Result<Option<Vec<u8>>, String> {
        let path = &self.source.path;
        let name = if path.is_empty() { "release.dsse.json".to_owned() } else { format!("{path}.dsse.json") };
        let there =
            self.git(&["ls-tree", "-z", "--full-tree", "--name-only", commit, "--", &name], b"").await?;
        if there.is_empty() {
            return Ok(None);
        }
        self.git(&["cat-file", "blob", &format!("{commit}:{name}")], b"").await.map(Some)
    }

    async fn act(&self, verb: &str, refused: bool, why: &str) -> Result<(), String> {
        let act = Act {
            by: author()?,
            verb: verb.to_owned(),
            refused,
            why: why.chars().take(1_000).collect(),
            tenant: None,
        };
        self.lifecycle.ledger().act(act).await.map(drop).map_err(|error| error.to_string())
    }

    async fn git(&self, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, String> {
        let mut child = Command::new("git")
            .args(["-c", "protocol.ext.allow=never", "-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0"])
            .args(arguments)
            .current_dir(&self.dir)
            .env("GIT_DIR", ".")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env_remove("GIT_WORK_TREE")
            .env_remove("GIT_INDEX_FILE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("`git` can't be run: {error}; install it, or remove `[release.git]`"))?;
        let (stdin, input) = (child.stdin.take(), input.to_vec());
        // Beside reading: what is asked for may be longer than a pipe holds.
        let fed = tokio::spawn(async move {
            if let Some(mut stdin) = stdin {
                // A program that reads no input closes its end.
                drop(stdin.write_all(&input).await);
            }
        });
        let output = tokio::time::timeout(PATIENCE, child.wait_with_output())
            .await
            .map_err(|_| format!("`git` took longer than {} s", PATIENCE.as_secs()))?
            .map_err(|error| error.to_string())?;
        drop(fed.await);
        if output.stdout.len() > MAX_SAID {
            return Err("this is more than a release may hold".to_owned());
        }
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said: String = String::from_utf8_lossy(&output.stderr).trim().chars().take(400).collect();
        Err(if said.is_empty() { format!("`git` ended with {}", output.status) } else { said })
    }
}

fn author() -> Result<Name, String> {
    Name::new(AUTHOR).map_err(|error| error.to_string())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}
