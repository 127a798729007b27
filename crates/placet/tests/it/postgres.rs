//! Verbs on databases: the one that gateways share, and one whose rows are facts.

use std::{os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use placet_json::Value;

use crate::{
    cluster::Cluster,
    server::{Server, start, start_in},
    support::placet,
};

fn secret(dir: &Path, name: &str, text: &str) {
    std::fs::write(dir.join(name), text).unwrap();
    std::fs::set_permissions(dir.join(name), std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A server whose journal is in a database, with some entries.
fn shared(cluster: &Cluster, more: &str) -> Server {
    let dir = tempfile::tempdir().unwrap();
    placet(dir.path(), &["init", "."]).expect(0);
    secret(dir.path(), "journal.url", &cluster.database("placet"));
    start_in(
        dir,
        &format!(
            "[release]\ndir = \"release\"\n[journal]\npostgres = {{ file = \"journal.url\" }}\ngateway = \"gw-1\"\n{more}"
        ),
    )
}

fn entries(server: &Server) {
    for tenant in ["acme", "globex", "initech"] {
        server.run(&["tenant", "create", tenant]).expect(0);
    }
    server.run(&["freeze", "tenant", "acme", "--why", "a test"]).expect(0);
}

#[test]
fn led_3_an_audit_of_the_database_finds_what_an_audit_of_the_directory_finds_and_what_was_altered() {
    let cluster = Cluster::start();
    let server = shared(&cluster, "");
    entries(&server);
    // Checkpoints come every second.
    std::thread::sleep(Duration::from_millis(1_300));
    let url = cluster.url("placet");
    let verify = |more: &[&str]| {
        let mut arguments = vec!["audit", "verify", "--data", "data", "--format", "json"];
        arguments.extend(more);
        placet(server.dir(), &arguments)
    };
    let (here, there) = (verify(&[]).expect(0).json(), verify(&["--postgres", &url]).expect(0).json());
    let records = |document: &Value| document.get("records").and_then(Value::as_u64);
    assert!(records(&here).is_some_and(|records| records >= 5), "{here}");
    assert_eq!(records(&here), records(&there));
    let search =
        ["audit", "search", "--data", "data", "--postgres", &url, "--kind", "facts", "--format", "json"];
    let found = placet(server.dir(), &search);
    assert!(found.code <= 1, "{found:?}");
    placet(server.dir(), &["audit", "replay", "--data", "data", "--postgres", &url]).expect(0);
    // A directory of checkpoints alone suffices to find what was altered in the database.
    drop(server.serving);
    let _altered = cluster.sql(
        "placet",
        "UPDATE placet_journal SET frames = set_byte(frames, 60, get_byte(frames, 60) # 1) WHERE first = (SELECT max(first) FROM placet_journal)",
    );
    let dir = server.dir.path();
    let found = placet(dir, &["audit", "verify", "--data", "data", "--postgres", &url]);
    assert_ne!(found.code, 0, "{found:?}");
    // A database that can't be read is no answer, and no password is shown.
    let wrong = url.replace("postgres@", "nobody:hunter2@");
    let refused = placet(dir, &["audit", "verify", "--data", "data", "--postgres", &wrong]).expect(2);
    assert!(!refused.err.contains("hunter2") && refused.err.contains("nobody"), "{}", refused.err);
    placet(dir, &["audit", "verify", "--data", "data", "--postgres", "mysql://x@y/z"]).expect(2);
}

#[test]
fn a_bench_of_the_database_measures_both_and_leaves_a_used_one_alone() {
    let cluster = Cluster::start();
    let (dir, url) = (tempfile::tempdir().unwrap(), cluster.database("bench"));
    let arguments =
        ["bench", "journal", "--postgres", &url, "--waiters", "1,4", "--appends", "40", "--format", "json"];
    let ran = placet(dir.path(), &arguments).expect(0).json();
    let rows = ran.get("appends").and_then(Value::as_array).unwrap();
    let what: Vec<&str> =
        rows.iter().filter_map(|row| row.pointer("/what").and_then(Value::as_str)).collect();
    assert_eq!(what.iter().filter(|what| what.starts_with("shared")).count(), 4, "{ran}");
    let before = cluster.sql("bench", "SELECT count(*), max(last) FROM placet_journal");
    let again = placet(dir.path(), &arguments).expect(2);
    assert!(again.err.contains("holds a journal"), "{}", again.err);
    assert_eq!(cluster.sql("bench", "SELECT count(*), max(last) FROM placet_journal"), before);
}

#[test]
fn doctor_looks_at_databases_and_says_what_is_wrong_with_them() {
    let cluster = Cluster::start();
    let _crm = cluster.database("crm");
    let _made = cluster.sql(
        "crm",
        "CREATE TABLE cases (id text PRIMARY KEY, customer text, updated_at timestamptz DEFAULT now())",
    );
    let dir = tempfile::tempdir().unwrap();
    placet(dir.path(), &["init", "."]).expect(0);
    secret(dir.path(), "journal.url", &cluster.database("placet"));
    secret(dir.path(), "crm.url", &cluster.url("crm"));
    let mapping = "[[table]]\nfrom = \"cases\"\nkey = [\"id\"]\nversion = \"updated_at\"\n\
        resource = { type = \"case\", id = \"{/id}\", attributes = { customer = \"/customer\" } }\n";
    std::fs::create_dir_all(dir.path().join("sync")).unwrap();
    std::fs::write(dir.path().join("sync/postgres.toml"), mapping).unwrap();
    let settings = "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n[journal]\npostgres = { file = \"journal.url\" }\n\
        [[postgres]]\nname = \"crm\"\nurl = { file = \"crm.url\" }\ntenant = \"acme\"\n";
    std::fs::write(dir.path().join("placet.toml"), settings).unwrap();
    let doctor = || placet(dir.path(), &["doctor", "--offline"]);
    let well = doctor().expect(0).out;
    assert!(
        well.contains("database of the journal: PostgreSQL ")
            && well.contains("no journal yet, 0 gateways alive"),
        "{well}"
    );
    assert!(well.contains("fine database of facts `crm`: 1 tables"), "{well}");
    let wrong = |what: &str, does: &str, says: &str, undo: &str| {
        let _done = cluster.sql("crm", does);
        let bad = doctor().expect(1).out;
        assert!(bad.contains(says), "{what}: {bad}");
        let _undone = cluster.sql("crm", undo);
    };
    wrong(
        "a column is gone",
        "ALTER TABLE cases RENAME customer TO client",
        "customer",
        "ALTER TABLE cases RENAME client TO customer",
    );
    wrong("a table is gone", "ALTER TABLE cases RENAME TO c", "cases", "ALTER TABLE c RENAME TO cases");
    wrong(
        "a version of no order",
        "ALTER TABLE cases ADD v text; ALTER TABLE cases RENAME updated_at TO u; ALTER TABLE cases RENAME v TO updated_at",
        "a version is a whole number",
        "ALTER TABLE cases DROP updated_at; ALTER TABLE cases RENAME u TO updated_at",
    );
    doctor().expect(0);
    std::fs::write(dir.path().join("sync/postgres.toml"), mapping.replace("\"{/id}\"", "\"{/id\"")).unwrap();
    assert!(doctor().expect(1).out.contains("sync/postgres.toml"));
    std::fs::write(dir.path().join("sync/postgres.toml"), mapping).unwrap();
    cluster.stop("immediate");
    let bad = doctor().expect(1).out;
    assert!(bad.matches("bad ").count() >= 2, "{bad}");
}

#[test]
fn rows_of_a_database_are_listed_and_a_row_that_is_none_makes_exit_status_1() {
    let cluster = Cluster::start();
    let _crm = cluster.database("crm");
    let _made = cluster.sql(
        "crm",
        "CREATE TABLE cases (id text PRIMARY KEY, customer text); INSERT INTO cases VALUES ('C-1', 'cu-1')",
    );
    let dir = tempfile::tempdir().unwrap();
    placet(dir.path(), &["init", "."]).expect(0);
    secret(dir.path(), "crm.url", &cluster.url("crm"));
    std::fs::create_dir_all(dir.path().join("sync")).unwrap();
    let mapping = "[[table]]\nfrom = \"cases\"\nkey = [\"id\"]\nresource = { type = \"case\", id = \"{/id}\", attributes = { customer = \"/customer\" } }\n";
    std::fs::write(dir.path().join("sync/postgres.toml"), mapping).unwrap();
    let server = start_in(
        dir,
        "[release]\ndir = \"release\"\n[[postgres]]\nname = \"crm\"\nurl = { file = \"crm.url\" }\ntenant = \"acme\"\ninterval_ms = 100\n",
    );
    let state = |want: &str, code: i32| {
        for _ in 0..200 {
            let ran = server.run(&["facts", "databases"]);
            if ran.text("/sources/0/state") == want {
                return ran.expect(code).json();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{:?}", server.run(&["facts", "databases"]));
    };
    // Until its tenant is there.
    let early = state("gap", 1);
    assert!(early.to_string().contains("there is no tenant `acme`"), "{early}");
    server.run(&["tenant", "create", "acme"]).expect(0);
    assert_eq!(state("live", 0).pointer("/sources/0/rows").and_then(Value::as_u64), Some(1));
    let facts = server.run(&["facts", "get", "acme", "--kind", "resources"]).expect(0);
    assert!(facts.out.contains("cu-1"), "{}", facts.out);
    let _wrong = cluster.sql("crm", "INSERT INTO cases VALUES ('C 2', 'cu-2')");
    let gap = state("gap", 1);
    assert!(
        gap.pointer("/sources/0/why")
            .and_then(Value::as_str)
            .is_some_and(|why| why.contains("[\\\"C 2\\\"]")),
        "{gap}"
    );
    let sources = server.run(&["facts", "sources"]).expect(0);
    assert!(sources.out.contains("postgres:crm"), "{}", sources.out);
}

#[test]
fn settings_of_databases_that_cant_hold_are_refused_with_line_and_remedy() {
    let server = start("");
    let dir = server.dir();
    secret(dir, "crm.url", "postgres://a@b/c");
    let file = dir.join("other.toml");
    for (section, says) in [
        ("name = \"crm\"\ntenant = \"acme\"", "url"),
        ("name = \"crm\"\nurl = { file = \"crm.url\" }", "`tenants`"),
        (
            "name = \"crm\"\nurl = { file = \"crm.url\" }\ntenant = \"acme\"\ntenants = [\"globex\"]",
            "can't both be given",
        ),
        ("name = \"crm\"\nurl = { file = \"crm.url\" }\ntenants = []", "name 1 to 256 tenants"),
        ("name = \"c:m\"\nurl = { file = \"crm.url\" }\ntenant = \"acme\"", "at most 32"),
        (
            "name = \"crm\"\nurl = { file = \"crm.url\" }\ntenant = \"acme\"\ninterval_ms = 40000",
            "stale between two readings",
        ),
        ("name = \"crm\"\nurl = { file = \"crm.url\" }\ntenant = \"acme\"\nmax_rowz = 1", "max_rowz"),
    ] {
        std::fs::write(&file, format!("[[postgres]]\n{section}\n")).unwrap();
        let refused = placet(dir, &["serve", "--config", "other.toml"]).expect(2);
        assert!(
            refused.err.contains(says) && refused.err.contains("other.toml"),
            "{section}: {}",
            refused.err
        );
    }
}

#[test]
fn doctor_names_the_gateways_and_the_one_whose_release_differs() {
    let cluster = Cluster::start();
    let server = shared(&cluster, "");
    let gateways = || {
        let ran = server.run(&["doctor"]);
        let document = ran.json();
        let checks = document.get("checks").and_then(Value::as_array).unwrap_or_default();
        let of = |check: &&Value| {
            check.get("what").and_then(Value::as_str).is_some_and(|what| what.starts_with("gateway `"))
        };
        checks.iter().filter(of).cloned().collect::<Vec<Value>>()
    };
    let text =
        |check: &Value, name: &str| check.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    // It speaks with its signs of life.
    let ours = server.run(&["release", "list"]).expect(0).text("/in_force");
    let mut seen = Vec::new();
    for _ in 0..200 {
        seen = gateways();
        if seen.len() == 1 && text(&seen[0], "what").contains(&ours) && text(&seen[0], "problem").is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(
        text(&seen[0], "what").starts_with("gateway `gw-1`") && text(&seen[0], "problem").is_empty(),
        "{seen:?}"
    );
    // One that is behind, one that says nothing, one that is gone.
    let _others = cluster.sql(
        "placet",
        "WITH g AS (INSERT INTO placet_gateway (name, lease_until) VALUES ('gw-2', clock_timestamp() + interval '1 hour') RETURNING id)
         INSERT INTO placet_about (gateway, release, version, revision) SELECT id, 'sha256:other', '0.0.9', 7 FROM g;
         INSERT INTO placet_gateway (name, lease_until) VALUES ('gw-3', clock_timestamp() + interval '1 hour');
         WITH g AS (INSERT INTO placet_gateway (name, lease_until) VALUES ('gw-4', clock_timestamp() - interval '1 hour') RETURNING id)
         INSERT INTO placet_about (gateway, release, version, revision) SELECT id, 'sha256:older', '0.0.9', 7 FROM g",
    );
    let seen = gateways();
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert!(text(&seen[0], "problem").is_empty(), "{seen:?}");
    let differs = text(&seen[1], "problem");
    assert!(
        text(&seen[1], "what").starts_with("gateway `gw-2`")
            && differs.contains("it has sha256:other, this server sha256:")
            && differs.contains("at revision 7"),
        "{seen:?}"
    );
    assert!(text(&seen[2], "problem").contains("doesn't say which release"), "{seen:?}");
    server.run(&["doctor"]).expect(1);
}
