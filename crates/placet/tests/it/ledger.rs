//! The ledger for those who don't trust us: tiles, witnesses, anchors, proofs, backups, keys, and a verifier that shares
//! no code with it.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use placet_json::Value;
use placet_ledger::{Hash, checkpoint::Checkpoint, proof::verify_inclusion, tree::Frontier};

use crate::support::{Ran, Serving, placet};

const BASE: &str = "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\norganisation = \"desk\"\n\n[release]\ndir = \"release\"\n\n";

/// A directory with settings, in which a server works now and then.
struct Desk {
    dir: tempfile::TempDir,
}

struct At {
    serving: Serving,
    agents: SocketAddr,
    admin: String,
}

impl Desk {
    fn new() -> Self {
        let desk = Self { dir: tempfile::tempdir().unwrap() };
        placet(desk.dir(), &["init", "."]).expect(0);
        desk.settings("");
        desk
    }
    fn dir(&self) -> &Path {
        self.dir.path()
    }
    fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }
    fn settings(&self, more: &str) {
        std::fs::write(self.path("placet.toml"), format!("{BASE}{more}")).unwrap();
    }
    fn serve(&self) -> At {
        let serving = Serving::start(self.dir(), &["serve"], "serves agents at");
        let address = |url: String| url.strip_prefix("http://").unwrap().parse().unwrap();
        let agents = address(serving.word("serves agents at "));
        let admin = serving.word("administrators at ");
        At { serving, agents, admin }
    }
    /// A server makes a tenant, and ends.
    fn act(&self, tenant: &str) {
        let at = self.serve();
        self.tenant(&at, tenant);
        at.serving.end();
    }
    fn tenant(&self, at: &At, tenant: &str) {
        placet(self.dir(), &["tenant", "create", tenant, "--server", &at.admin]).expect(0);
    }
    /// What a server says that doesn't start.
    fn refused(&self) -> String {
        let output = Command::new("timeout")
            .args(["60", env!("CARGO_BIN_EXE_placet"), "serve"])
            .current_dir(self.dir())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }
    fn copy(&self, from: &str, to: &str) {
        drop(std::fs::remove_dir_all(self.path(to)));
        let copied = Command::new("cp").arg("-a").arg(self.path(from)).arg(self.path(to)).status().unwrap();
        assert!(copied.success());
    }
    fn audit(&self, arguments: &[&str]) -> Ran {
        let mut all = vec!["audit"];
        all.extend(arguments);
        placet(self.dir(), &all)
    }
    /// Waits until the newest checkpoint of the organisation is the one in this file, too.
    fn wait(&self, file: &str) {
        let size = |name: &str| {
            let note = std::fs::read_to_string(self.path(name)).unwrap_or_default();
            note.lines().nth(1).unwrap_or_default().to_owned()
        };
        for _ in 0..400 {
            // A checkpoint follows about a second after its records.
            std::thread::sleep(Duration::from_millis(50));
            let newest = size("data/tree/organisation/checkpoint");
            if !newest.is_empty() && newest == size(file) && self.signed_all(&newest) {
                return;
            }
        }
        panic!("`{file}` doesn't follow");
    }
    fn signed_all(&self, size: &str) -> bool {
        let report = self.audit(&["verify", "--data", "data", "--format", "json"]).json();
        let trees = report.get("trees").and_then(Value::as_array).unwrap().to_vec();
        trees.iter().any(|tree| {
            tree.get("tree").and_then(Value::as_str) == Some("organisation")
                && tree.get("records").and_then(Value::as_u64).map(|all| all.to_string()).as_deref()
                    == Some(size)
        })
    }
    /// The verifier in Python: exit status and words.
    fn outsider(&self, arguments: &[&str]) -> (i32, String) {
        outsider(self.dir(), arguments)
    }
}

pub(crate) fn outsider(dir: &Path, arguments: &[&str]) -> (i32, String) {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/verify_ledger.py");
    let output = Command::new("python3").arg(tool).args(arguments).current_dir(dir).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

fn get(address: SocketAddr, path: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), answer[end + 4..].to_vec())
}

/// A witness at work: the process, its URL, its key.
fn witness(desk: &Desk) -> (Serving, String, String) {
    let arguments = [
        "audit",
        "witness",
        "--name",
        "w.example/1",
        "--state",
        "witness",
        "--logs",
        "logs.txt",
        "--listen",
        "127.0.0.1:0",
    ];
    let serving = Serving::start(desk.dir(), &arguments, "logs followed on");
    let url = serving.word("followed on ").trim_end_matches(';').to_owned();
    let key = serving.word("key ");
    (serving, url, key)
}

#[test]
fn led_4_yesterday_s_whole_directory_is_refused_by_its_witness_and_a_restore_is_an_explicit_act() {
    let desk = Desk::new();
    desk.act("acme");
    let vkey = desk.audit(&["vkey", "--data", "data"]).expect(0).out;
    std::fs::write(desk.path("logs.txt"), format!("# ours\n{vkey}")).unwrap();
    let (serving, url, key) = witness(&desk);
    let with = |url: &str| {
        desk.settings(&format!(
            "[ledger]\nevery_ms = 100\n[[ledger.witness]]\nurl = \"{url}\"\nkey = \"{key}\"\n"
        ));
    };
    with(&url);
    let at = desk.serve();
    desk.wait("data/tree/organisation/cosigned");
    // What is published is what was witnessed.
    let (_, shown) = get(at.agents, "/ledger/organisation/checkpoint");
    assert!(String::from_utf8(shown).unwrap().contains("\u{2014} w.example/1 "));
    at.serving.end();
    desk.copy("data", "yesterday");
    let at = desk.serve();
    desk.tenant(&at, "today");
    desk.wait("data/tree/organisation/cosigned");
    at.serving.end();
    desk.copy("data", "today");

    // From inside, all is well with yesterday's.
    desk.copy("yesterday", "data");
    desk.audit(&["verify", "--data", "data"]).expect(0);
    let said = desk.refused();
    assert!(said.contains("the ledger is behind the witness `w.example/1`: tree `organisation`"), "{said}");
    let same = Command::new("diff")
        .arg("-r")
        .arg(desk.path("data/journal"))
        .arg(desk.path("yesterday/journal"))
        .status();
    assert!(same.unwrap().success(), "nothing was changed");
    // Nor without the files that would betray it.
    std::fs::remove_dir_all(desk.path("data/tree")).unwrap();
    let said = desk.refused();
    assert!(said.contains("the ledger is behind the witness"), "{said}");

    // Another future of the same past.
    desk.copy("yesterday", "data");
    desk.settings("");
    for tenant in ["other", "another", "third"] {
        desk.act(tenant);
    }
    with(&url);
    let said = desk.refused();
    assert!(said.contains("isn't the one that the witness `w.example/1` saw"), "{said}");

    // Without the witness nobody can say.
    desk.copy("today", "data");
    drop(serving);
    let said = desk.refused();
    assert!(said.contains("0 of 1 witnesses confirm the ledger's tree"), "{said}");

    // A restore leaves a gap that everybody sees, and the witness must be told.
    placet(desk.dir(), &["backup", "--data", "yesterday", "--to", "b.tar", "--with-keys"]).expect(0);
    std::fs::remove_dir_all(desk.path("data")).unwrap();
    placet(desk.dir(), &["restore", "b.tar", "--data", "data", "--why", "the disk failed"]).expect(0);
    let (serving, url, _) = witness(&desk);
    with(&url);
    // With the gap's record it is as long as what was seen, and isn't it.
    let said = desk.refused();
    assert!(said.contains("the witness `w.example/1`"), "{said}");
    drop(serving);
    let forget = |origin: &str| {
        desk.audit(&["witness", "--name", "w.example/1", "--state", "witness", "--forget", origin])
    };
    forget("placet/elsewhere/").expect(1);
    forget("placet/desk/").expect(0);
    let (_serving, url, _) = witness(&desk);
    with(&url);
    let at = desk.serve();
    desk.tenant(&at, "after");
    desk.wait("data/tree/organisation/cosigned");
    at.serving.end();
    let verified = desk.audit(&["verify", "--data", "data"]).expect(0).out;
    assert!(verified.contains("gap: record") && verified.contains("the disk failed"), "{verified}");
    let (code, said) = desk.outsider(&["data"]);
    assert!(code == 0 && said.contains("gap at record"), "{said}");
}

#[test]
fn led_4_without_witnesses_an_anchor_shows_what_is_missing() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("anchor")).unwrap();
    let settings = "[ledger]\nanchor = \"anchor\"\nanchor_command = [\"sh\", \"-c\", \"cat > handed-$PLACET_TREE\"]\nanchor_every_ms = 100\n";
    desk.settings(settings);
    let at = desk.serve();
    desk.wait("handed-organisation");
    at.serving.end();
    desk.copy("data", "yesterday");
    let at = desk.serve();
    desk.tenant(&at, "acme");
    desk.wait("handed-organisation");
    at.serving.end();
    let handed = std::fs::read(desk.path("handed-organisation")).unwrap();
    desk.copy("data", "today");
    desk.copy("yesterday", "data");
    let said = desk.refused();
    assert!(said.contains("the ledger is behind the anchor: tree `organisation`"), "{said}");
    // Whoever has the checkpoint sees it without a server, too.
    std::fs::write(desk.path("kept"), &handed).unwrap();
    let said = desk.audit(&["verify", "--data", "data", "--checkpoint", "kept"]).expect(1).out;
    assert!(said.contains("records are missing"), "{said}");
    let said = desk.audit(&["verify", "--data", "today", "--checkpoint", "kept"]).expect(0).out;
    assert!(said.contains("the ledger goes on from what was kept"), "{said}");
    desk.copy("today", "data");
    desk.act("more");
    desk.audit(&["verify", "--data", "data", "--checkpoint", "kept"]).expect(0);
    desk.settings(&settings.replace("\"anchor\"", "\"nowhere\""));
    assert!(desk.refused().contains("make the directory"));
}

#[test]
fn tiles_and_checkpoints_are_for_anybody_and_hold_hashes_only() {
    let desk = Desk::new();
    let at = desk.serve();
    desk.tenant(&at, "acme");
    desk.wait("data/tree/organisation/checkpoint");
    let (status, note) = get(at.agents, "/ledger/organisation/checkpoint");
    let note = String::from_utf8(note).unwrap();
    assert_eq!(status, 200, "{note}");
    let head = Checkpoint::parse(&format!("{}\n", note.split_once("\n\n").unwrap().0)).unwrap();
    assert_eq!(head.origin, "placet/desk/organisation");
    let (status, tile) = get(at.agents, &format!("/ledger/organisation/tile/0/000.p/{}", head.size));
    assert_eq!((status, tile.len()), (200, usize::try_from(head.size).unwrap() * 32));
    let mut frontier = Frontier::new();
    tile.chunks(32).for_each(|hash| frontier.append(Hash::from_slice(hash).unwrap(), |_| {}));
    assert_eq!(frontier.root(), head.root);
    let wider = format!("/ledger/organisation/tile/0/000.p/{}", head.size + 1);
    for path in [
        &wider,
        "/ledger/organisation/tile/0/000",
        "/ledger/organisation/tile/1/000.p/1",
        "/ledger/organisation/tile/entries/000.p/1",
        "/ledger/nobody/checkpoint",
        "/ledger/..%2F..%2Fkeys/checkpoint",
        "/ledger/organisation/hashes",
    ] {
        assert_eq!(get(at.agents, path).0, 404, "{path}");
    }
    let mut stream = TcpStream::connect(at.agents).unwrap();
    stream
        .write_all(b"GET /ledger/organisation/checkpoint HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
    let admin: SocketAddr = at.admin.strip_prefix("http://").unwrap().parse().unwrap();
    assert_ne!(get(admin, "/ledger/organisation/checkpoint").0, 200);
    at.serving.end();
    desk.settings("[ledger]\npublish = false\n");
    let at = desk.serve();
    assert_eq!(get(at.agents, "/ledger/organisation/checkpoint").0, 404);
}

#[test]
fn a_checkpoint_key_is_handed_over_and_a_lost_one_is_told() {
    let desk = Desk::new();
    desk.act("acme");
    let vkey = |data: &str| desk.audit(&["vkey", "--data", data]).expect(0).out;
    std::fs::write(desk.path("old.vkey"), vkey("data")).unwrap();
    std::fs::copy(desk.path("data/tree/organisation/checkpoint"), desk.path("kept")).unwrap();
    desk.copy("data", "before");
    let rotate = ["rotate-key", "--data", "data", "--new", "new.key", "--why", "a year"];
    let at = desk.serve();
    assert!(desk.audit(&rotate).expect(2).err.contains("another process serves"));
    at.serving.end();
    desk.audit(&["rotate-key", "--data", "data", "--old", "stranger.key", "--new", "x.key", "--why", "x"])
        .expect(2);
    desk.audit(&rotate).expect(0);
    // A server that still has the old key isn't one that can go on signing; with the new one it is.
    desk.settings("[keys]\ncheckpoint = { file = \"new.key\" }\n");
    desk.act("after");
    for key in ["old.vkey", "new.key"] {
        desk.audit(&["verify", "--data", "data", "--key", key]).expect(0);
        desk.audit(&["verify", "--data", "data", "--key", key, "--checkpoint", "kept"]).expect(0);
        let (code, said) = desk.outsider(&["--key", key, "data"]);
        assert_eq!(code, 0, "{said}");
    }
    let strangers = placet_ledger::checkpoint::SigningKey::from_seed(&[9; 32]).unwrap().public();
    std::fs::write(desk.path("stranger.vkey"), strangers.vkey("placet/desk/")).unwrap();
    desk.audit(&["verify", "--data", "data", "--key", "stranger.vkey"]).expect(1);
    assert_eq!(desk.outsider(&["--key", "stranger.vkey", "data"]).0, 1);

    // Lost: the old key vouches for nothing that comes after, and whoever trusts the new one is told.
    desk.copy("before", "data");
    std::fs::remove_file(desk.path("data/keys/checkpoint.key")).unwrap();
    let lost =
        ["rotate-key", "--data", "data", "--new", "next.key", "--old", "old.vkey", "--why", "it is lost"];
    desk.audit(&lost).expect(2);
    desk.audit(&[&lost[..], &["--lost"]].concat()).expect(0);
    desk.settings("[keys]\ncheckpoint = { file = \"next.key\" }\n");
    desk.act("after");
    desk.audit(&["verify", "--data", "data", "--key", "old.vkey"]).expect(1);
    assert_eq!(desk.outsider(&["--key", "old.vkey", "data"]).0, 1);
    let said = desk.audit(&["verify", "--data", "data", "--key", "next.key"]).expect(0).out;
    assert!(said.contains("a new key took over from a lost one") && said.contains("it is lost"), "{said}");
}

#[test]
fn led_3_the_outsider_finds_what_verify_finds() {
    let desk = Desk::new();
    placet(desk.dir(), &["demo", "--data", "demo"]).expect(0);
    desk.copy("demo/data", "data");
    let (code, said) = desk.outsider(&["data"]);
    assert!(code == 0 && said.contains("records in 3 trees"), "{said}");
    assert_eq!(desk.outsider(&["nowhere"]).0, 2);

    // Small proofs, of one record and of some.
    let shown = desk.audit(&["verify", "--record", "5", "--format", "json"]).expect(0).json();
    let text = |name: &str| shown.get(name).and_then(Value::as_str).unwrap().to_owned();
    let number = |name: &str| shown.get(name).and_then(Value::as_u64).unwrap();
    let hash = |text: &str| Hash::from_slice(&hex(text)).unwrap();
    let path: Vec<Hash> = shown
        .get("path")
        .and_then(Value::as_array)
        .unwrap()
        .iter()
        .map(|one| hash(one.as_str().unwrap()))
        .collect();
    verify_inclusion(&hash(&text("leaf_hash")), number("leaf"), number("size"), &path, &hash(&text("root")))
        .unwrap();
    desk.audit(&["verify", "--record", "100000"]).expect(2);
    let range = desk.audit(&["verify", "--from", "3", "--to", "9", "--format", "json"]).expect(0).json();
    assert_eq!(range.get("to").and_then(Value::as_u64), Some(9));

    let file = desk.path("data/journal/000000000001.seg");
    let sound = std::fs::read(&file).unwrap();
    let written = sound.iter().rposition(|byte| *byte != 0).unwrap();
    for step in 0..24_usize {
        let at = step * written / 23;
        let mut altered = sound.clone();
        altered[at] ^= 1 << (step % 8);
        std::fs::write(&file, altered).unwrap();
        let ours = desk.audit(&["verify", "--data", "data"]);
        assert_eq!((ours.code, desk.outsider(&["data"]).0), (1, 1), "byte {at}: {ours:?}");
    }
    std::fs::write(&file, &sound).unwrap();
    // A whole record less, with zeros in its place: the checkpoints know.
    let record = placet(desk.dir(), &["audit", "verify", "--record", "5"]).expect(0);
    drop(record);
    let note = desk.path("data/tree/acme/checkpoint");
    let signed = std::fs::read_to_string(&note).unwrap();
    std::fs::write(&note, signed.replacen("placet/", "placet/x", 1)).unwrap();
    assert_eq!(desk.audit(&["verify", "--data", "data"]).code, 1);
    assert_eq!(desk.outsider(&["data"]).0, 1);
}

#[test]
fn a_decision_is_told_as_a_tree_and_beside_another() {
    let desk = Desk::new();
    placet(desk.dir(), &["demo", "--data", "demo"]).expect(0);
    let found = desk
        .audit(&["search", "--data", "demo/data", "--action", "issue_refund", "--format", "json"])
        .expect(0)
        .json();
    let records = found.get("records").and_then(Value::as_array).unwrap().to_vec();
    let with = |verdict: &str| {
        let fits = |record: &&Value| record.get("decision").and_then(Value::as_str) == Some(verdict);
        let id = |record: &Value| record.get("id").and_then(Value::as_str).unwrap().to_owned();
        records.iter().filter(fits).map(id).collect::<Vec<_>>()
    };
    let (permits, denials) = (with("permit"), with("deny"));
    // The newest permit is the one that a manager approved.
    let told = desk.audit(&["show", &permits[0], "--data", "demo/data", "--tree"]).expect(0).out;
    for part in [
        "delegation dg-1 by maya in workflow wf-9, for support_case_resolution",
        "└─ decision ",
        "├─ approval manager_approval by omar",
        "├─ credential vault billing",
        "└─ effect done at",
        "what followed in the workflow",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    let told = desk
        .audit(&["show", &permits[0], "--data", "demo/data", "--diff", &denials[0], "--format", "json"])
        .expect(0)
        .json();
    let differs: Vec<String> = told
        .get("differs")
        .and_then(Value::as_array)
        .unwrap()
        .iter()
        .map(|one| one.get("at").and_then(Value::as_str).unwrap().to_owned())
        .collect();
    for at in ["/decision", "/reasons", "/effect"] {
        assert!(differs.iter().any(|found| found == at), "{at}: {differs:?}");
    }
    assert!(!differs.iter().any(|at| at == "/id" || at == "/time"), "{differs:?}");
    let same = desk.audit(&["show", &permits[0], "--data", "demo/data", "--diff", &permits[0]]).expect(0).out;
    assert!(same.contains("differ in nothing"), "{same}");
    desk.audit(&["show", &permits[0], "--data", "demo/data", "--diff", "dc_none"]).expect(1);
}

#[test]
fn an_upstream_s_own_log_shows_what_went_around_the_gateway() {
    let desk = Desk::new();
    placet(desk.dir(), &["demo", "--data", "demo"]).expect(0);
    let found = desk
        .audit(&["search", "--data", "demo/data", "--decision", "permit", "--format", "json"])
        .expect(0)
        .json();
    let mut log = "at,op,sum\n".to_owned();
    let mut amounts = vec!["80.00", "250"];
    for record in found.get("records").and_then(Value::as_array).unwrap() {
        let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap();
        match text("action") {
            // The newest first.
            "issue_refund" => log += &[text("time"), ",refund,", amounts.pop().unwrap(), "\n"].concat(),
            "read_balance" => log += &[text("time"), ",balance,\n"].concat(),
            _ => {}
        }
    }
    let compare = |log: &str| {
        std::fs::write(desk.path("log.csv"), log).unwrap();
        let arguments = [
            "reconcile",
            "billing",
            "log.csv",
            "--time",
            "at",
            "--tool",
            "op",
            "--match",
            "sum=amount",
            "--data",
            "demo/data",
        ];
        desk.audit(&arguments)
    };
    let said = compare(&log).expect(0).out;
    assert!(said.contains("0 never came through the gateway, 0 unknown there"), "{said}");
    let around = format!("{log}2026-11-24T00:00:00Z,refund,9000\n");
    let said = compare(&around).expect(1).out;
    assert!(said.contains("never came through the gateway: line") && said.contains("refund 9000"), "{said}");
    let without: String = log.split_inclusive('\n').filter(|line| !line.contains("80.00")).collect();
    let said = compare(&without).expect(1).out;
    assert!(said.contains("done here, unknown there: dc_") && said.contains("refund 80"), "{said}");
    let said = compare("at,op,sum\nyesterday,refund,1\n").expect(2).err;
    assert!(said.contains("line 2"), "{said}");
}

fn hex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn a_backup_of_a_server_at_work_is_restored_and_serves_and_a_changed_one_is_not() {
    let desk = Desk::new();
    let at = desk.serve();
    desk.tenant(&at, "acme");
    desk.wait("data/tree/organisation/checkpoint");
    let made =
        placet(desk.dir(), &["backup", "--data", "data", "--to", "b.tar", "--format", "json"]).expect(0);
    let last = made.json().get("last").and_then(Value::as_u64).unwrap();
    desk.tenant(&at, "lost");
    at.serving.end();
    placet(desk.dir(), &["backup", "--data", "data", "--to", "b.tar"]).expect(2);
    let listing = Command::new("tar").arg("-tf").arg(desk.path("b.tar")).output().unwrap();
    let listing = String::from_utf8(listing.stdout).unwrap();
    assert!(
        !listing.contains("keys/") && listing.contains("journal/") && listing.ends_with("manifest.json\n"),
        "{listing}"
    );

    let key = desk.path("data/keys/checkpoint.key").display().to_string();
    let restore = |archive: &str, to: &str| {
        placet(
            desk.dir(),
            &[
                "restore", archive, "--data", to, "--key", &key, "--why", "a drill", "--by", "omar",
                "--format", "json",
            ],
        )
    };
    restore("b.tar", "data").expect(2);
    let sound = std::fs::read(desk.path("b.tar")).unwrap();
    for step in 1..20 {
        let mut altered = sound.clone();
        // Within the journal's bytes, at least: the tar's own padding isn't of the backup.
        let at = sound.windows(8).position(|eight| eight == b"placetj1").unwrap() + step * 53;
        altered[at] ^= 1;
        std::fs::write(desk.path("altered.tar"), altered).unwrap();
        restore("altered.tar", "new").expect(1);
        assert!(!desk.path("new").exists() && !desk.path(".new.restoring").exists(), "nothing is left");
    }
    std::fs::write(desk.path("altered.tar"), &sound[..sound.len() / 2]).unwrap();
    assert_ne!(restore("altered.tar", "new").code, 0);
    let wrong = std::fs::read_to_string(desk.path("data/keys/session.key")).unwrap();
    std::fs::write(desk.path("wrong.key"), wrong).unwrap();
    placet(desk.dir(), &["restore", "b.tar", "--data", "new", "--key", "wrong.key", "--why", "x"]).expect(1);

    let restored = restore("b.tar", "new").expect(0).json();
    assert_eq!(restored.get("gap").and_then(Value::as_u64), Some(last + 1));
    desk.copy("data", "old");
    std::fs::remove_dir_all(desk.path("data")).unwrap();
    desk.copy("new", "data");
    desk.copy("old/keys", "data/keys");
    let at = desk.serve();
    desk.tenant(&at, "lost");
    at.serving.end();
    let verified = desk.audit(&["verify", "--data", "data", "--format", "json"]).expect(0).json();
    let gaps = verified.get("gaps").and_then(Value::as_array).unwrap();
    assert_eq!(gaps[0].get("by").and_then(Value::as_str), Some("omar"));
    let (code, said) = desk.outsider(&["data"]);
    assert!(code == 0 && said.contains("gap at record"), "{said}");
    let found =
        desk.audit(&["search", "--data", "data", "--kind", "gap", "--format", "json"]).expect(0).json();
    assert_eq!(found.get("records").and_then(Value::as_array).map(<[_]>::len), Some(1));
}

#[test]
fn an_evidence_pack_needs_nothing_else_not_even_a_network() {
    let desk = Desk::new();
    placet(desk.dir(), &["demo", "--data", "demo"]).expect(0);
    let export =
        |more: &[&str]| desk.audit(&[&["export", "--data", "demo/data", "--format", "json"], more].concat());
    let made = export(&["--tenant", "acme", "--out", "p.tar"]).expect(0).json();
    let decisions = made.get("decisions").and_then(Value::as_u64).unwrap();
    export(&["--tenant", "acme", "--out", "p.tar"]).expect(2);
    export(&["--tenant", "nobody", "--out", "n.tar"]).expect(1);
    export(&["--tenant", "acme", "--until", "2020-01-01T00:00:00Z", "--out", "n.tar"]).expect(1);
    assert!(!desk.path("n.tar").exists());
    let vkey = desk.audit(&["vkey", "--data", "demo/data"]).expect(0).out;
    std::fs::write(desk.path("key"), &vkey).unwrap();
    let strangers = placet_ledger::checkpoint::SigningKey::from_seed(&[9; 32]).unwrap().public();
    std::fs::write(desk.path("stranger"), strangers.vkey("placet/desk/")).unwrap();

    // Elsewhere: the pack, the key, the program.
    let elsewhere = Desk { dir: tempfile::tempdir().unwrap() };
    for name in ["p.tar", "key", "stranger"] {
        std::fs::copy(desk.path(name), elsewhere.path(name)).unwrap();
    }
    drop(desk);
    let verified = elsewhere.audit(&["verify", "p.tar", "--key", "key", "--format", "json"]).expect(0).json();
    assert_eq!(verified.pointer("/population/decisions").and_then(Value::as_u64), Some(decisions));
    let said = elsewhere.audit(&["verify", "p.tar"]).expect(0).out;
    assert!(said.contains("compare it with the one you were told"), "{said}");
    elsewhere.audit(&["verify", "p.tar", "--key", "stranger"]).expect(1);
    assert_eq!(elsewhere.outsider(&["--key", "key", "p.tar"]).0, 0);
    assert_eq!(elsewhere.outsider(&["--key", "stranger", "p.tar"]).0, 1);
    let replayed = Command::new("unshare")
        .args([
            "--map-root-user",
            "--net",
            env!("CARGO_BIN_EXE_placet"),
            "audit",
            "replay",
            "--pack",
            "p.tar",
            "--format",
            "json",
        ])
        .current_dir(elsewhere.dir())
        .output()
        .unwrap();
    let told = String::from_utf8(replayed.stdout.clone()).unwrap();
    assert!(replayed.status.success(), "{told}{}", String::from_utf8_lossy(&replayed.stderr));
    let told = Ran { code: 0, out: told, err: String::new() }.json();
    assert_eq!(told.get("same").and_then(Value::as_u64), Some(decisions), "{told}");

    // Whoever alters it needs the ledger's key: a record, with the digests made to fit; a record less.
    let unpacked = elsewhere.path("unpacked");
    std::fs::create_dir(&unpacked).unwrap();
    let tar = |arguments: &[&str]| {
        assert!(Command::new("tar").args(arguments).current_dir(&unpacked).status().unwrap().success());
    };
    tar(&["-xf", "../p.tar"]);
    let page = std::fs::read_to_string(unpacked.join("report.html")).unwrap();
    for told in ["Population", "agent-7", "manager_approval", "EU AI Act Art. 12", "denied: issue_refund"] {
        assert!(page.contains(told), "{told}");
    }
    let records = std::fs::read_to_string(unpacked.join("trees/acme/records")).unwrap();
    let manifest = std::fs::read_to_string(unpacked.join("manifest.json")).unwrap();
    let fewer = records.lines().count() - 1;
    let shorter: String = records.split_inclusive('\n').take(fewer).collect();
    let count = format!("\"to\":{},\"tree\":\"acme\"", fewer + 1);
    let manifest_of = |changed: &str| {
        manifest.replace(&Hash::of(records.as_bytes()).to_string(), &Hash::of(changed.as_bytes()).to_string())
    };
    let amount = records.replace("\"amount\":250", "\"amount\":25");
    assert_ne!(amount, records);
    let changes = [
        (amount.clone(), manifest.clone()),
        (amount.clone(), manifest_of(&amount)),
        (shorter.clone(), manifest_of(&shorter)),
        (
            shorter.clone(),
            manifest_of(&shorter).replace(&count, &format!("\"to\":{fewer},\"tree\":\"acme\"")),
        ),
    ];
    assert!(manifest.contains(&count), "{manifest}");
    for (at, (records, manifest)) in changes.iter().enumerate() {
        std::fs::write(unpacked.join("trees/acme/records"), records).unwrap();
        std::fs::write(unpacked.join("manifest.json"), manifest).unwrap();
        tar(&[
            "-cf",
            "../altered.tar",
            "--exclude=manifest.json",
            "report.html",
            "README.txt",
            "trees",
            "releases",
        ]);
        tar(&["-rf", "../altered.tar", "manifest.json"]);
        // Directories aren't entries of a pack.
        let files = Command::new("sh")
            .args(["-c", "find trees releases report.html README.txt -type f > ../list && echo manifest.json >> ../list && tar -cf ../altered.tar -T ../list"])
            .current_dir(&unpacked)
            .status();
        assert!(files.unwrap().success());
        assert_eq!(elsewhere.audit(&["verify", "altered.tar", "--key", "key"]).code, 1, "{at}");
        assert_eq!(elsewhere.outsider(&["--key", "key", "altered.tar"]).0, 1, "{at}");
    }
}

#[test]
fn a_pack_of_some_time_or_one_workflow_says_what_it_is_about() {
    let desk = Desk::new();
    placet(desk.dir(), &["demo", "--data", "demo"]).expect(0);
    let export = |more: &[&str]| {
        desk.audit(
            &[&["export", "--data", "demo/data", "--tenant", "acme", "--format", "json"], more].concat(),
        )
    };
    let all =
        export(&["--out", "all.tar"]).expect(0).json().get("decisions").and_then(Value::as_u64).unwrap();
    let one = export(&["--workflow", "wf-9", "--out", "one.tar"]).expect(0).json();
    assert_eq!(one.get("decisions").and_then(Value::as_u64), Some(all));
    let none = export(&["--workflow", "wf-none", "--out", "none.tar"]).expect(0).json();
    assert_eq!(none.get("decisions").and_then(Value::as_u64), Some(0));
    let found = desk.audit(&["search", "--data", "demo/data", "--format", "json"]).expect(0).json();
    let records = found.get("records").and_then(Value::as_array).unwrap().to_vec();
    let time = |at: usize| records[at].get("time").and_then(Value::as_str).unwrap().to_owned();
    // From the third newest signed decision on; the newest may not be signed yet.
    let since = time(records.len() - 3);
    let some = export(&["--since", &since, "--without-history", "--out", "some.tar"]).expect(0).json();
    assert!(some.get("decisions").and_then(Value::as_u64).unwrap() < all);
    for pack in ["one.tar", "none.tar", "some.tar"] {
        let said = desk.audit(&["verify", pack]).expect(0);
        assert!(said.out.contains("the pack holds"), "{said:?}");
        let (code, said) = desk.outsider(&[pack]);
        assert_eq!(code, 0, "{said}");
    }
    desk.audit(&["replay", "--pack", "one.tar"]).expect(0);
    let said = desk.audit(&["replay", "--pack", "some.tar"]).expect(2).err;
    assert!(said.contains("lacks what came before"), "{said}");
}
