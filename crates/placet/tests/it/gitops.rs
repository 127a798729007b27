//! Releases from signed tags, statements about another schema, and how long a way back takes.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use placet_jose::{SigningKey, dsse::Envelope};
use placet_json::Limits;
use tempfile::tempdir;

use crate::{
    server::{Server, start_in},
    support::placet,
};

/// A repository with the release of a project, and keys that sign its tags.
struct Repository {
    root: PathBuf,
    dir: PathBuf,
}

impl Repository {
    fn new(root: &Path) -> Self {
        let dir = root.join("policies");
        std::fs::create_dir(&dir).unwrap();
        let repository = Self { root: root.to_owned(), dir };
        repository.git(&["init", "-q", "-b", "main"]);
        let copied = Command::new("cp").args(["-r", "../release", "."]).current_dir(&repository.dir).status();
        assert!(copied.unwrap().success());
        repository
    }
    fn git(&self, arguments: &[&str]) {
        let done = Command::new("git")
            .args([
                "-c",
                "user.name=Maya",
                "-c",
                "user.email=maya@acme.example",
                "-c",
                "commit.gpgsign=false",
            ])
            .args(["-c", "gpg.format=ssh"])
            .args(arguments)
            .current_dir(&self.dir)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
    fn commit(&self, what: &str) {
        self.git(&["add", "."]);
        self.git(&["commit", "-q", "-m", what]);
    }
    /// A new key of `ssh-keygen`; its public half.
    fn key(&self, name: &str) -> String {
        let path = self.root.join(name);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
            .arg(&path)
            .stdin(Stdio::null())
            .status()
            .expect("`ssh-keygen` is needed: install openssh-client");
        assert!(made.success());
        std::fs::read_to_string(path.with_extension("pub")).unwrap()
    }
    fn tag(&self, name: &str, key: &str) {
        let key = format!("user.signingkey={}", self.root.join(key).display());
        self.git(&["-c", &key, "tag", "-s", "-m", name, name]);
    }
}

fn says(server: &Server, wanted: &str) -> (String, String) {
    let began = Instant::now();
    loop {
        let status = server.run(&["release", "list"]).expect(0);
        if status.text("/git/says").contains(wanted) {
            return (status.text("/in_force"), status.text("/git/release"));
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{wanted}: {}", status.out);
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn rel_1_of_tags_only_what_an_allowed_key_signed_comes_into_force() {
    let dir = tempdir().unwrap();
    placet(dir.path(), &["init", "."]).expect(0);
    let repository = Repository::new(dir.path());
    let (ours, theirs) = (repository.key("ours"), repository.key("theirs"));
    std::fs::write(dir.path().join("allowed"), format!("maya@acme.example {ours}")).unwrap();
    repository.commit("first");
    repository.git(&["tag", "release-1"]);
    let settings = format!(
        "[release.git]\nurl = \"{}\"\ntags = \"release-*\"\nallowed_signers = \"allowed\"\nevery_ms = 100\npromote = \"when-green\"\n",
        repository.dir.display()
    );
    let server = start_in(dir, &settings);
    let policy = repository.dir.join("release/policies/desk.rego");

    // A tag without a signature, and one with a signature of somebody else, change nothing.
    let (in_force, _) = says(&server, "the tag `refs/tags/release-1` isn't signed by a key of");
    assert_eq!(in_force, "");
    repository.tag("release-2", "theirs");
    says(&server, "the tag `refs/tags/release-2` isn't signed by a key of");
    repository.tag("release-3", "ours");
    let (first, brought) = says(&server, "is in force");
    assert_eq!(first, brought);

    // The newest by version counts, not by name; a commit that no tag names doesn't.
    edit(&policy, "input.amount <= 100", "input.amount <= 95");
    repository.commit("lower");
    repository.tag("release-10", "ours");
    let began = Instant::now();
    let second = loop {
        let in_force = server.run(&["release", "list"]).expect(0).text("/in_force");
        if in_force != first {
            break in_force;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "the new tag was never taken");
        std::thread::sleep(Duration::from_millis(100));
    };
    edit(&policy, "input.amount <= 95", "input.amount <= 90");
    repository.commit("untagged");
    repository.tag("release-11", "theirs");
    let (in_force, _) = says(&server, "the tag `refs/tags/release-11` isn't signed by a key of");
    assert_eq!(in_force, second);
    // Whose key it is counts, not what it is called.
    std::fs::write(server.dir().join("allowed"), format!("maya@acme.example {theirs}")).unwrap();
    let began = Instant::now();
    while server.run(&["release", "list"]).expect(0).text("/in_force") == second {
        assert!(began.elapsed() < Duration::from_mins(1), "the key that counts now isn't read");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A server that takes what `ci.pem` signed.
fn signed() -> Server {
    let dir = tempdir().unwrap();
    placet(dir.path(), &["init", "."]).expect(0);
    placet(dir.path(), &["key", "generate", "ci.pem"]).expect(0);
    let jwks = placet(dir.path(), &["key", "show", "ci.pem", "--jwks"]).expect(0).out;
    std::fs::write(dir.path().join("signers.jwks"), jwks).unwrap();
    start_in(dir, "[release]\nsigners = \"signers.jwks\"\nsignatures = 1\n")
}

fn through(server: &Server) -> String {
    placet(server.dir(), &["release", "sign", "release", "--key", "ci.pem"]).expect(0);
    let digest = server.run(&["release", "upload", "release"]).expect(0).text("/digest");
    server.run(&["promote", &digest, "--why", "a test"]).expect(0);
    digest
}

#[test]
fn rel_1_a_statement_about_another_input_schema_is_refused_whoever_signed_it() {
    let dir = tempdir().unwrap();
    placet(dir.path(), &["init", "."]).expect(0);
    placet(dir.path(), &["key", "generate", "ci.pem"]).expect(0);
    let jwks = placet(dir.path(), &["key", "show", "ci.pem", "--jwks"]).expect(0).out;
    std::fs::write(dir.path().join("signers.jwks"), jwks).unwrap();
    let repository = Repository::new(dir.path());
    let sign =
        |root: &Path| placet(root, &["release", "sign", "policies/release", "--key", "ci.pem"]).expect(0);
    sign(dir.path());
    repository.commit("signed");
    let settings = format!(
        "[release]\nsigners = \"signers.jwks\"\nsignatures = 1\n[release.git]\nurl = \"{}\"\nevery_ms = 100\npromote = \"when-green\"\n",
        repository.dir.display()
    );
    let server = start_in(dir, &settings);
    let (first, _) = says(&server, "is in force");

    // The same key signs the same statement of the next release, but for the schema that it was made for.
    edit(&repository.dir.join("release/policies/desk.rego"), "input.amount <= 100", "input.amount <= 95");
    sign(server.dir());
    let path = repository.dir.join("release.dsse.json");
    let good = Envelope::parse(&std::fs::read(&path).unwrap()).unwrap();
    let mut statement = placet_json::parse(good.payload(), &Limits::MESSAGE).unwrap();
    let other = format!("sha256:{}", "0".repeat(64));
    statement.as_object_mut().unwrap().insert("input_schema", other.as_str());
    let mut forged = Envelope::new(good.kind(), statement.canonical().unwrap().as_bytes().to_vec());
    let pem = std::fs::read_to_string(server.dir().join("ci.pem")).unwrap();
    forged.sign(&SigningKey::from_pkcs8_pem(&pem).unwrap()).unwrap();
    std::fs::write(&path, forged.to_value().to_string()).unwrap();
    repository.commit("of another schema");
    let (in_force, _) = says(&server, &other);
    assert_eq!(in_force, first, "the old one stays");
    let data = server.dir().join("data");
    let acts = ["audit", "search", "--data", data.to_str().unwrap(), "--kind", "act", "--format", "json"];
    let recorded = placet(server.dir(), &acts).out;
    assert!(recorded.contains(&other), "the refusal is recorded: {recorded}");
    // As it was signed it is taken.
    std::fs::write(&path, good.to_value().to_string()).unwrap();
    repository.commit("of this schema");
    let began = Instant::now();
    while server.run(&["release", "list"]).expect(0).text("/in_force") == first {
        assert!(began.elapsed() < Duration::from_mins(1), "the good one was never taken");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_rollback_is_measured_and_is_in_force_when_it_returns() {
    let server = signed();
    let first = through(&server);
    edit(&server.dir().join("release/policies/desk.rego"), "input.amount <= 100", "input.amount <= 95");
    let second = through(&server);
    let mut times = Vec::new();
    for _ in 0..5 {
        let began = Instant::now();
        let answer = server.run(&["rollback", &first, "--why", "it was better"]).expect(0);
        times.push(began.elapsed());
        assert_eq!(answer.text("/digest"), first);
        assert_eq!(server.run(&["release", "list"]).expect(0).text("/in_force"), first);
        server.run(&["promote", &second, "--why", "once more"]).expect(0);
    }
    times.sort_unstable();
    println!("rollback, command and server together: {:?} at best, {:?} at worst", times[0], times[4]);
}
