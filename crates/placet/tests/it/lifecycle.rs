//! A release's life at servers of its own: signed, reviewed, promoted, refused, rolled back.

use std::{path::Path, process::Command, time::Duration};

use placet_json::Value;
use tempfile::tempdir;

use crate::{
    server::{Server, start_in},
    support::{Ran, placet},
};

/// A server that takes releases of one key, with one review of mo's or ruth's.
const STRICT: &str =
    "[release]\nsigners = \"signers.jwks\"\nsignatures = 1\nreviews = 1\nreviewers = [\"mo\", \"maya\"]\n";

/// A project with a server, the keys of a machine that signs, and of two people.
fn strict(more: &str) -> Server {
    let dir = tempdir().unwrap();
    placet(dir.path(), &["init", "."]).expect(0);
    for key in ["ci", "other", "mo", "maya"] {
        placet(dir.path(), &["key", "generate", &format!("{key}.pem")]).expect(0);
    }
    let jwks = placet(dir.path(), &["key", "show", "ci.pem", "--jwks"]).expect(0).out;
    std::fs::write(dir.path().join("signers.jwks"), jwks).unwrap();
    let server = start_in(dir, &format!("{STRICT}{more}"));
    server.run(&["facts", "apply", "facts.json"]).expect(0);
    for person in ["mo", "maya"] {
        server.run(&["key", "register", person, &format!("{person}.pem")]).expect(0);
    }
    server
}

fn edit(dir: &Path, path: &str, from: &str, to: &str) {
    let path = dir.join(path);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

impl Server {
    fn in_force(&self) -> String {
        self.run(&["release", "list"]).expect(0).text("/in_force")
    }
    fn as_person(&self, person: &str, arguments: &[&str]) -> Ran {
        let key = format!("{person}.pem");
        let mut all = arguments.to_vec();
        all.extend(["--as", person, "--key", &key]);
        self.run(&all)
    }
    /// Signs, uploads, has it approved and promotes.
    fn through(&self, release: &str, approver: &str) -> String {
        self.run_here(&["release", "sign", release, "--key", "ci.pem"]).expect(0);
        let digest = self.run(&["release", "upload", release]).expect(0).text("/digest");
        self.as_person(approver, &["review", &digest, "--approve"]).expect(0);
        self.run(&["promote", &digest, "--why", "a test"]).expect(0);
        assert_eq!(self.in_force(), digest);
        digest
    }
    fn run_here(&self, arguments: &[&str]) -> Ran {
        placet(self.dir(), arguments)
    }
    /// What the ledger says was refused, newest first.
    fn refusals(&self) -> String {
        std::thread::sleep(Duration::from_millis(60));
        let data = self.dir().join("data");
        placet(
            self.dir(),
            &["audit", "search", "--data", data.to_str().unwrap(), "--kind", "act", "--format", "json"],
        )
        .out
    }
}

#[test]
fn a_release_is_signed_reviewed_promoted_and_rolled_back() {
    let server = strict("");
    let first = server.through("release", "mo");
    edit(server.dir(), "release/policies/desk.rego", "input.amount <= 100", "input.amount <= 90");
    // The envelope beside it speaks of the former files: it is no signature of these.
    let digest = server.run(&["release", "upload", "release"]).expect(0).text("/digest");
    let unsigned = server.run(&["promote", &digest]).expect(1);
    assert!(unsigned.err.contains("signatures: it isn't signed"), "{}", unsigned.err);
    assert!(unsigned.err.contains("review: what no part owns: 0 of 1 approvals"), "{}", unsigned.err);
    let shown = server.run(&["review", &digest]).expect(1).json();
    assert_eq!(shown.pointer("/changes/0/files/0/path").and_then(Value::as_str), Some("policies/desk.rego"));
    let after = shown.pointer("/changes/0/files/0/after").and_then(Value::as_str).unwrap();
    assert!(after.contains("input.amount <= 90"));
    let second = server.through("release", "mo");
    assert_eq!(second, digest);
    let back = server.run(&["rollback", "--why", "too strict"]).expect(0);
    assert_eq!((back.text("/digest"), back.text("/before")), (first.clone(), second.clone()));
    assert_eq!(server.in_force(), first);
    let none = server.run(&["rollback"]).expect(1);
    assert!(none.err.contains("no release was in force before"), "{}", none.err);
    let unknown = server.run(&["rollback", &format!("sha256:{}", "0".repeat(64))]).expect(1);
    assert!(unknown.err.contains("wasn't in force before"), "{}", unknown.err);
    // After a start the journal says all of it again.
    let Server { dir, serving, .. } = server;
    drop(serving);
    let server = start_in(dir, STRICT);
    assert_eq!(server.in_force(), first);
    server.run(&["promote", &second, "--why", "it was right"]).expect(0);
    assert_eq!(server.in_force(), second);
}

#[test]
fn rel_1_unsigned_foreign_truncated_and_moved_signatures_change_nothing_and_are_recorded() {
    let server = strict("");
    let first = server.through("release", "mo");
    edit(server.dir(), "release/policies/desk.rego", "input.amount <= 100", "input.amount <= 101");
    let refused = |arguments: &[&str], why: &str| {
        let ran = server.run(arguments);
        assert!(ran.code != 0 && ran.err.contains(why), "{arguments:?}: {ran:?}");
        assert_eq!(server.in_force(), first);
    };
    // Unsigned.
    std::fs::remove_file(server.dir().join("release.dsse.json")).unwrap();
    refused(&["promote", "release"], "it isn't signed");
    // By a key that doesn't count.
    server
        .run_here(&["release", "sign", "release", "--key", "other.pem", "--envelope", "foreign.json"])
        .expect(0);
    refused(
        &["release", "upload", "release", "--envelope", "foreign.json"],
        "no key that counts here signed it",
    );
    // The signature of the release in force, moved to this one: it states another digest.
    let digest = server.run(&["release", "upload", "release"]).expect(0).text("/digest");
    server.run_here(&["release", "build", "release", "--out", "next.tar"]).expect(0);
    let good = std::fs::read_to_string(server.dir().join("foreign.json")).unwrap();
    // Truncated, and empty.
    for (name, text) in [("cut.json", good.get(..good.len() / 2).unwrap()), ("empty.json", "")] {
        std::fs::write(server.dir().join(name), text).unwrap();
        refused(&["release", "upload", "release", "--envelope", name], name);
    }
    refused(&["promote", &digest], "it isn't signed");
    // Archives: cut, empty, not there, broken inside.
    let archive = std::fs::read(server.dir().join("next.tar")).unwrap();
    for (name, bytes) in [("cut.tar", &archive[..archive.len() - 512]), ("empty.tar", &[])] {
        std::fs::write(server.dir().join(name), bytes).unwrap();
        let ran = server.run(&["promote", name]).expect(1);
        assert!(ran.out.contains("the archive") || ran.out.contains("release.toml"), "{ran:?}");
    }
    refused(&["promote", "missing.tar"], "missing.tar");
    std::fs::create_dir(server.dir().join("nothing")).unwrap();
    assert!(server.run(&["promote", "nothing"]).expect(1).out.contains("there is no such file"));
    edit(server.dir(), "release/policies/desk.rego", "default allow := false", "default allow := ");
    let broken = server.run(&["promote", "release"]).expect(1);
    assert!(broken.out.contains("policies/desk.rego"), "{}", broken.out);
    refused(&["promote", &format!("sha256:{}", "0".repeat(64))], "there is no release");
    let recorded = server.refusals();
    for why in ["release_refused: signatures: it isn't signed", "signature_invalid: no key that counts"] {
        assert!(recorded.contains(why), "{why}: {recorded}");
    }
}

#[test]
fn rel_2_an_older_signed_release_is_refused_unless_it_is_rolled_back_to() {
    let server = strict("");
    let first = server.through("release", "mo");
    server.run_here(&["release", "build", "release", "--out", "old.tar"]).expect(0);
    std::fs::copy(server.dir().join("release.dsse.json"), server.dir().join("old.tar.dsse.json")).unwrap();
    edit(server.dir(), "release/policies/desk.rego", "input.amount <= 100", "input.amount <= 95");
    let second = server.through("release", "mo");
    let old = server.run(&["promote", "old.tar", "--why", "it is signed, after all"]).expect(1);
    assert!(old.err.contains("lineage: serial") && old.err.contains("placet rollback"), "{}", old.err);
    assert_eq!(server.in_force(), second);
    let back = server.run(&["rollback", &first, "--why", "explicitly"]).expect(0);
    assert_eq!(back.text("/digest"), first);
}

#[test]
fn rel_3_nobody_reviews_what_they_signed_and_no_review_is_an_operators() {
    let server = strict("");
    // Maya's own key signs here.
    let jwks = server.run_here(&["key", "show", "maya.pem", "--jwks"]).expect(0).out;
    std::fs::write(server.dir().join("signers.jwks"), jwks).unwrap();
    let Server { dir, serving, .. } = server;
    drop(serving);
    let server = start_in(dir, STRICT);
    server.run_here(&["release", "sign", "release", "--key", "maya.pem"]).expect(0);
    let digest = server.run(&["release", "upload", "release"]).expect(0).text("/digest");
    let own = server.as_person("maya", &["review", &digest, "--approve"]).expect(1);
    assert!(own.err.contains("doesn't review it"), "{}", own.err);
    let operator = server.run(&["review", &digest, "--approve"]).expect(1);
    assert!(operator.err.contains("a review is a person's"), "{}", operator.err);
    assert_eq!(server.run(&["promote", &digest]).code, 1);
    // A refusal stands against any approval.
    server.as_person("mo", &["review", &digest, "--refuse", "--why", "not yet"]).expect(0);
    let refused = server.run(&["promote", &digest]).expect(1);
    assert!(refused.err.contains("human:mo refused it"), "{}", refused.err);
    server.as_person("mo", &["review", &digest, "--approve"]).expect(0);
    server.run(&["promote", &digest]).expect(0);
    assert!(server.refusals().contains("doesn't review it"));
}

#[test]
fn a_release_that_fails_its_own_tests_cant_be_signed_and_isnt_promoted() {
    let server = strict("");
    edit(server.dir(), "release/policies/desk.rego", "input.amount <= 100", "input.amount <= 1");
    let failed = server.run_here(&["release", "sign", "release", "--key", "ci.pem"]).expect(1);
    assert!(failed.err.contains("of its cases fail"), "{}", failed.err);
    assert!(!server.dir().join("release.dsse.json").exists());
    let digest = server.run(&["release", "upload", "release"]).expect(0).text("/digest");
    let refused = server.run(&["promote", &digest]).expect(1);
    assert!(refused.err.contains("tests: "), "{}", refused.err);
}

#[test]
fn the_same_tree_has_the_same_digest_in_any_order_age_and_mode_and_a_signature_changes_none() {
    let dir = tempdir().unwrap();
    placet(dir.path(), &["init", "one"]).expect(0);
    let digest = |path: &str| {
        placet(dir.path(), &["release", "build", path, "--format", "json"]).expect(0).text("/digest")
    };
    let first = digest("one/release");
    // The files again, the last first, with other times and modes, elsewhere.
    let mut files = Vec::new();
    let mut open = vec![dir.path().join("one/release")];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    for file in files.iter().rev() {
        let to = dir
            .path()
            .join("elsewhere/deep")
            .join(file.strip_prefix(dir.path().join("one/release")).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(&to, std::fs::read(file).unwrap()).unwrap();
        let old = Command::new("touch").args(["-d", "2001-01-01"]).arg(&to).status().unwrap();
        let mode = Command::new("chmod").arg("600").arg(&to).status().unwrap();
        assert!(old.success() && mode.success());
    }
    assert_eq!(digest("elsewhere/deep"), first);
    for key in ["a", "b", "c"] {
        placet(dir.path(), &["key", "generate", &format!("{key}.pem")]).expect(0);
    }
    for key in ["a.pem", "b.pem"] {
        placet(dir.path(), &["release", "sign", "one/release", "--key", key]).expect(0);
    }
    assert_eq!(digest("one/release"), first);
    let verify = |key: &str, signatures: &str| {
        let jwk = placet(dir.path(), &["key", "show", key, "--jwks"]).expect(0).out;
        std::fs::write(dir.path().join("signers.jwks"), jwk).unwrap();
        placet(
            dir.path(),
            &["release", "verify", "one/release", "--signers", "signers.jwks", "--signatures", signatures],
        )
        .code
    };
    assert_eq!(
        (verify("a.pem", "1"), verify("b.pem", "1"), verify("a.pem", "2"), verify("c.pem", "1")),
        (0, 0, 1, 1)
    );
    // Another's program signs as well: here OpenSSL.
    placet(dir.path(), &["key", "generate", "hsm.pem"]).expect(0);
    let jwk = placet(dir.path(), &["key", "show", "hsm.pem", "--jwks"]).expect(0).out;
    std::fs::write(dir.path().join("hsm.jwks"), jwk).unwrap();
    let script =
        "#!/bin/sh\ncat > message && openssl pkeyutl -sign -inkey hsm.pem -rawin -in message | base64 -w0\n";
    std::fs::write(dir.path().join("hsm.sh"), script).unwrap();
    placet(dir.path(), &["release", "sign", "one/release", "--command", "sh hsm.sh", "--public", "hsm.jwks"])
        .expect(0);
    assert_eq!(verify("hsm.pem", "1"), 0);
    std::fs::write(dir.path().join("one/release/reasons.toml"), "# changed\n").unwrap();
    assert_eq!(verify("a.pem", "1"), 1);
}

#[test]
fn a_release_goes_from_one_server_to_the_next_and_each_asks_for_its_own() {
    let dev = strict("");
    let digest = dev.through("release", "mo");
    let dir = tempdir().unwrap();
    std::fs::copy(dev.dir().join("signers.jwks"), dir.path().join("signers.jwks")).unwrap();
    let next = start_in(dir, STRICT);
    let key = next.dir().join("data/keys/operator.pem");
    let to =
        ["promote", &digest, "--to", &next.admin, "--to-key", key.to_str().unwrap(), "--why", "from dev"];
    let refused = dev.run(&to).expect(1);
    assert!(refused.err.contains("review: ") && !refused.err.contains("signatures"), "{}", refused.err);
    std::fs::copy(dev.dir().join("facts.json"), next.dir().join("facts.json")).unwrap();
    next.run(&["facts", "apply", "facts.json"]).expect(0);
    std::fs::copy(dev.dir().join("mo.pem"), next.dir().join("mo.pem")).unwrap();
    next.run(&["key", "register", "mo", "mo.pem"]).expect(0);
    next.as_person("mo", &["review", &digest, "--approve"]).expect(0);
    dev.run(&to).expect(0);
    assert_eq!(next.in_force(), digest);
}

#[test]
fn an_emergency_release_takes_two_signatures_skips_reviews_and_ends_by_itself() {
    let server = strict("");
    let jwks: Vec<String> = ["ci", "other"]
        .map(|key| server.run_here(&["key", "show", &format!("{key}.pem"), "--jwks"]).expect(0).out)
        .into();
    let both = format!(
        "{},{}",
        jwks[0].trim_end().strip_suffix("]\n}").unwrap_or_else(|| panic!("{}", jwks[0])).trim_end(),
        jwks[1].split_once('[').unwrap().1
    );
    std::fs::write(server.dir().join("signers.jwks"), both).unwrap();
    let Server { dir, serving, .. } = server;
    drop(serving);
    let server = start_in(dir, STRICT);
    let first = server.through("release", "mo");
    let copied =
        Command::new("cp").args(["-r", "release", "closed"]).current_dir(server.dir()).status().unwrap();
    assert!(copied.success());
    edit(server.dir(), "closed/policies/desk.rego", "# Reading: any agent", "# For now: any agent");
    let sign = |key: &str| server.run_here(&["release", "sign", "closed", "--key", key, "--emergency", "1s"]);
    sign("ci.pem").expect(0);
    let emergency = ["promote", "closed", "--emergency", "--why", "the desk is on fire"];
    let one = server.run(&emergency).expect(1);
    assert!(one.err.contains("1 of 2 keys that count"), "{}", one.err);
    sign("other.pem").expect(0);
    let ordinary = server.run(&["promote", "closed"]).expect(1);
    assert!(ordinary.err.contains("signed as an emergency release"), "{}", ordinary.err);
    assert_eq!(server.run(&["promote", "closed", "--emergency"]).code, 2, "no reason was given");
    let digest = server.run(&emergency).expect(0).text("/digest");
    assert_ne!(digest, first);
    let began = std::time::Instant::now();
    while server.in_force() != first {
        assert!(began.elapsed() < Duration::from_secs(20), "it doesn't end");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(
        server.run_here(&["release", "sign", "closed", "--key", "ci.pem", "--emergency", "2h"]).code != 0
    );
}

#[test]
fn a_git_branch_brings_candidates_that_pass_the_same_gates() {
    let dir = tempdir().unwrap();
    placet(dir.path(), &["init", "."]).expect(0);
    placet(dir.path(), &["key", "generate", "ci.pem"]).expect(0);
    let jwks = placet(dir.path(), &["key", "show", "ci.pem", "--jwks"]).expect(0).out;
    std::fs::write(dir.path().join("signers.jwks"), jwks).unwrap();
    let repository = dir.path().join("policies");
    std::fs::create_dir(&repository).unwrap();
    let root = dir.path().to_owned();
    let git = |arguments: &[&str]| {
        let done = Command::new("git")
            .args([
                "-c",
                "user.name=Maya",
                "-c",
                "user.email=maya@acme.example",
                "-c",
                "commit.gpgsign=false",
            ])
            .args(arguments)
            .current_dir(&repository)
            .output()
            .unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let copy = || {
        let copied =
            Command::new("cp").args(["-r", "../release", "."]).current_dir(&repository).status().unwrap();
        assert!(copied.success());
    };
    git(&["init", "-q", "-b", "main"]);
    copy();
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "first, unsigned"]);
    let settings = format!(
        "[release]\nsigners = \"signers.jwks\"\nsignatures = 1\n[release.git]\nurl = \"{}\"\nevery_ms = 100\npromote = \"when-green\"\n",
        repository.display()
    );
    let server = start_in(dir, &settings);
    let says = |wanted: &str| {
        let began = std::time::Instant::now();
        loop {
            let status = server.run(&["release", "list"]).expect(0);
            if status.text("/git/says").contains(wanted) {
                return status;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "{wanted}: {}", status.out);
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    says("signatures: it isn't signed");
    assert_eq!(server.in_force(), "");
    let sign = || placet(&root, &["release", "sign", "policies/release", "--key", "ci.pem"]).expect(0);
    sign();
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "signed"]);
    let status = says("is in force");
    let first = status.text("/in_force");
    assert_eq!(status.text("/git/release"), first);
    // What breaks is refused, and the one in force stays.
    edit(&repository, "release/policies/desk.rego", "default allow", "default default allow");
    git(&["commit", "-q", "-a", "-m", "broken"]);
    says("release/policies/desk.rego".trim_start_matches("release/"));
    assert_eq!(server.in_force(), first);
}

/// The guide's commands, in their order, in one shell, at free ports.
#[test]
fn the_guide_runs_as_it_is_written() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides/policy-lifecycle.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let blocks: Vec<&str> =
        guide.split("```sh\n").skip(1).map(|rest| rest.split_once("\n```").unwrap().0).collect();
    assert!(blocks.len() >= 7, "{}", blocks.len());
    let ports: Vec<u16> = (0..4).map(|_| crate::support::free_address().port()).collect();
    let mut script = String::from("set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n");
    script.push_str(&blocks.join("\n"));
    // The first server's ports stand in its settings, and nowhere in the guide.
    let first = format!(
        "cd desk\nsed -i 's|^environment = \"dev\"|environment = \"dev\"\\nlisten = \"127.0.0.1:{}\"\\nadmin_listen = \"127.0.0.1:{}\"|' placet.toml",
        ports[0], ports[1]
    );
    let script = script
        .replace("cd desk", &first)
        .replace("8727", &ports[2].to_string())
        .replace("8728", &ports[3].to_string());
    let dir = tempdir().unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_placet")).parent().unwrap().display().to_string();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let out = Command::new("bash")
        .args(["-c", &script])
        .current_dir(dir.path())
        .env("PATH", format!("{binary}:{}", path.to_string_lossy()))
        .env("PLACET_SERVER", format!("http://127.0.0.1:{}", ports[1]))
        .output()
        .unwrap();
    let (said, errors) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{said}\n{errors}");
    for told in ["it still lacks a review", "a review is missing there", "in force: sha256:"] {
        assert!(said.contains(told), "{told}: {said}\n{errors}");
    }
}
