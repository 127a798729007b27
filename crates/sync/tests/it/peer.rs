//! Real OPAL processes.

use std::{
    collections::BTreeMap,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

pub(crate) fn python() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let python = root.join(".peers/opal/bin/python");
    assert!(python.exists(), "run peers/install.sh first: {} is missing", python.display());
    python
}

pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An `opal-server` or an `opal-client`.
pub(crate) struct Peer {
    app: &'static str,
    pub(crate) port: u16,
    env: BTreeMap<String, String>,
    child: Option<Child>,
    pub(crate) log: PathBuf,
    dir: tempfile::TempDir,
}

impl Peer {
    pub(crate) fn server(env: &[(&str, &str)]) -> Self {
        Self::new("opal_server.main:app", env)
    }
    pub(crate) fn client(env: &[(&str, &str)]) -> Self {
        Self::new("opal_client.main:app", env)
    }
    fn new(app: &'static str, env: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut all: BTreeMap<String, String> = BTreeMap::new();
        all.insert("OPAL_POLICY_REPO_CLONE_PATH".into(), dir.path().join("clone").display().to_string());
        all.insert("OPAL_LEADER_LOCK_FILE_PATH".into(), dir.path().join("leader").display().to_string());
        all.insert("OPAL_LOG_FORMAT_INCLUDE_PID".into(), "true".into());
        all.insert("OPAL_LOG_COLORIZE".into(), "false".into());
        all.insert("OPAL_WS_LOCAL_URL".into(), format!("ws://127.0.0.1:{port}/ws"));
        all.insert("HOME".into(), dir.path().display().to_string());
        all.extend(env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let log = dir.path().join("log");
        Self { app, port, env: all, child: None, log, dir }
    }
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.env.insert(name.to_owned(), value.to_owned());
    }
    pub(crate) fn start(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let child = Command::new(python())
            .args(["-m", "uvicorn", self.app, "--host", "127.0.0.1", "--port", &self.port.to_string()])
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(&self.env)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(began.elapsed() < Duration::from_mins(1), "{}", self.told());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
    pub(crate) fn told(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
        if std::thread::panicking() {
            let told = self.told();
            let from = told.len().saturating_sub(6_000);
            eprintln!("--- {}\n{}", self.app, told.get(from..).unwrap_or(&told));
        }
    }
}

/// A git repository with policy.
pub(crate) struct Repo(pub(crate) tempfile::TempDir);

impl Repo {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let repo = Self(tempfile::tempdir().unwrap());
        repo.git(&["init", "-q", "-b", "master"]);
        repo.commit(files, &[]);
        repo
    }
    pub(crate) fn commit(&self, write: &[(&str, &str)], delete: &[&str]) -> String {
        for (path, text) in write {
            let path = self.0.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        for path in delete {
            std::fs::remove_file(self.0.path().join(path)).unwrap();
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "step"]);
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }
    pub(crate) fn url(&self) -> String {
        self.0.path().display().to_string()
    }
    fn git(&self, words: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "commit.gpgsign=false"])
            .args(words)
            .current_dir(self.0.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// An RSA key as OPAL reads it: PEM on one line with `_` for line breaks, and the public half in OpenSSH's form.
pub(crate) fn rsa() -> (String, String) {
    let program = "from cryptography.hazmat.primitives.asymmetric import rsa\nfrom cryptography.hazmat.primitives import serialization as s\nk=rsa.generate_private_key(65537,2048)\nprint(k.private_bytes(s.Encoding.PEM,s.PrivateFormat.TraditionalOpenSSL,s.NoEncryption()).decode().replace('\\n','_'))\nprint(k.public_key().public_bytes(s.Encoding.OpenSSH,s.PublicFormat.OpenSSH).decode())\n";
    let output = Command::new(python()).args(["-c", program]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines();
    (lines.next().unwrap().to_owned(), lines.next().unwrap().to_owned())
}
