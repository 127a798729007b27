//! A PostgreSQL server of its own for a test: on a socket in a directory that goes with it.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

/// A server. It ends with this value.
#[derive(Debug)]
pub struct Cluster {
    dir: TempDir,
    bin: PathBuf,
}

/// Settings of a server that need not outlast its machine.
const SETTINGS: &str = "-c listen_addresses='' -c fsync=off -c max_connections=60 -c shared_buffers=16MB -c autovacuum=off -c log_min_messages=fatal -c unix_socket_directories=";

impl Cluster {
    /// Starts one.
    ///
    /// # Panics
    /// Where PostgreSQL isn't installed: `scripts/deps.sh` does it.
    #[must_use]
    pub fn start() -> Self {
        let cluster = Self { dir: tempfile::Builder::new().prefix("pg").tempdir().unwrap(), bin: bin() };
        fs::set_permissions(cluster.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        run(Command::new("cp").args(["-a"]).arg(template(&cluster.bin)).arg(cluster.data()));
        own(cluster.dir.path());
        cluster.run();
        cluster
    }

    /// Runs the server again that was stopped.
    pub fn run(&self) {
        let options = format!("{SETTINGS}{}", self.dir.path().display());
        self.control(&["-w", "-t", "60", "-o", &options, "start"]);
    }
    /// Stops the server: `fast` ends connections, `immediate` is a crash.
    pub fn stop(&self, how: &str) {
        self.control(&["-w", "-t", "60", "-m", how, "stop"]);
    }

    /// An empty database's URL.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let socket = self.dir.path().display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{socket}/{database}")
    }
    /// Runs SQL and returns what it prints.
    #[must_use]
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let mut command = Command::new("psql");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]).arg(self.url(database));
        let out = command.output().unwrap();
        assert!(out.status.success(), "{sql}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }
    /// Makes an empty database.
    #[must_use]
    pub fn database(&self, name: &str) -> String {
        let _made = self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(name)
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
    fn control(&self, arguments: &[&str]) {
        let mut command = unprivileged(&self.bin.join("pg_ctl"));
        command.arg("-D").arg(self.data()).arg("-l").arg(self.dir.path().join("log")).args(arguments);
        run(&mut command);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut command = unprivileged(&self.bin.join("pg_ctl"));
        command.arg("-D").arg(self.data()).args(["-m", "immediate", "stop"]);
        // One that a test has stopped is stopped.
        let _already = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// Where the programs are.
fn bin() -> PathBuf {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").is_file())
        .collect();
    found.sort();
    let on_path = || {
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .find(|dir| dir.join("initdb").is_file())
    };
    found.pop().or_else(on_path).expect("PostgreSQL isn't installed: run `scripts/deps.sh`")
}

/// A fresh data directory, made once.
fn template(bin: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/postgres");
    fs::create_dir_all(&root).unwrap();
    let lock = File::create(root.join("lock")).unwrap();
    lock.lock().unwrap();
    let done = root.join("data");
    if !done.join("PG_VERSION").is_file() {
        let dir = tempfile::Builder::new().prefix("pg").tempdir().unwrap();
        own(dir.path());
        let data = dir.path().join("data");
        let mut command = unprivileged(&bin.join("initdb"));
        command.args([
            "-N",
            "-A",
            "trust",
            "-U",
            "postgres",
            "-E",
            "UTF8",
            "--locale=C",
            "--wal-segsize=1",
            "-D",
        ]);
        run(command.arg(&data));
        run(Command::new("cp").arg("-a").arg(&data).arg(root.join("new")));
        fs::rename(root.join("new"), &done).unwrap();
    }
    done
}

/// PostgreSQL doesn't run as root.
fn unprivileged(program: &Path) -> Command {
    if is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command.current_dir("/");
        return command;
    }
    Command::new(program)
}

fn own(dir: &Path) {
    if is_root() {
        run(Command::new("chown").arg("-R").arg("postgres").arg(dir));
    }
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap()) == 0
}

fn run(command: &mut Command) {
    let out = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
}
