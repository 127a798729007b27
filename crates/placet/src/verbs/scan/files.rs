//! Files of variables and settings, and which files of a tree are read at all.

use std::{
    fs::Metadata,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{
    clients,
    collect::{Collector, Place, Unread},
    kube,
};

/// Files of a home that hold what an agent started there can read.
pub(super) const HOME: [&str; 20] = [
    ".env",
    ".bashrc",
    ".bash_profile",
    ".profile",
    ".zshrc",
    ".zshenv",
    ".zprofile",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".git-credentials",
    ".aws/credentials",
    ".config/gh/hosts.yml",
    ".config/gcloud/application_default_credentials.json",
    ".docker/config.json",
    ".kube/config",
    ".ssh/id_rsa",
    ".ssh/id_ecdsa",
    ".ssh/id_ed25519",
    ".config/fish/config.fish",
];

/// Folders that hold others' code, or nothing that is read.
const SKIPPED: [&str; 14] = [
    ".git",
    ".hg",
    ".svn",
    "node_modules",
    "target",
    "dist",
    "vendor",
    ".venv",
    "venv",
    "__pycache__",
    ".cache",
    ".terraform",
    "site-packages",
    ".tox",
];
/// Endings of files that hold settings.
const ENDINGS: [&str; 14] = [
    "yaml",
    "yml",
    "json",
    "toml",
    "ini",
    "cfg",
    "conf",
    "properties",
    "env",
    "envrc",
    "tfvars",
    "pem",
    "key",
    "npmrc",
];
/// The largest file that is read, in bytes; of a client's configuration, sixteen times as large.
const MAX_FILE: u64 = 2 << 20;
const MAX_CLIENT: u64 = 32 << 20;
/// The deepest folder, and the most files of one scan.
const MAX_DEPTH: usize = 24;
const MAX_FILES: u64 = 200_000;

/// Reads the known files of a home.
pub(super) fn home(home: &Path, into: &mut Collector) {
    let owner = home.file_name().map(|name| name.to_string_lossy().into_owned());
    for known in &clients::HOME {
        client(known.client, &home.join(known.file), owner.as_deref(), into);
    }
    for file in HOME {
        settings(&home.join(file), owner.as_deref(), into);
    }
}

/// Reads a tree, or one file.
pub(super) fn tree(root: &Path, into: &mut Collector) {
    let mut waiting: Vec<(PathBuf, usize)> = vec![(root.to_owned(), 0)];
    while let Some((path, depth)) = waiting.pop() {
        // A link may lead out of what was named, and round in a circle.
        let meta = match path.symlink_metadata() {
            Ok(meta) => meta,
            Err(error) => {
                unread(&path, &error.to_string(), into);
                continue;
            }
        };
        if meta.is_dir() {
            if depth > MAX_DEPTH {
                unread(&path, "too deep", into);
                continue;
            }
            let mut below: Vec<PathBuf> = match std::fs::read_dir(&path) {
                Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
                Err(error) => {
                    unread(&path, &error.to_string(), into);
                    continue;
                }
            };
            below.retain(|path| !path.is_dir() || !named(path, &SKIPPED));
            // Popped from the end: in the order of their names.
            below.sort_unstable_by(|a, b| b.cmp(a));
            waiting.extend(below.into_iter().map(|path| (path, depth.saturating_add(1))));
        } else if meta.is_file() {
            if into.files >= MAX_FILES {
                unread(&path, "more files than one scan reads; name a smaller tree", into);
                return;
            }
            match clients::of_project(&path) {
                Some(name) => client(name, &path, None, into),
                None if depth == 0 || interesting(&path) => settings(&path, None, into),
                None => {}
            }
        }
    }
}

fn named(path: &Path, names: &[&str]) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| names.contains(&name))
}

fn interesting(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let locked = ["package-lock.json", "tsconfig.json", "Cargo.toml", "pnpm-lock.yaml"].contains(&name);
    let known =
        [".netrc", ".npmrc", ".pypirc", ".git-credentials", ".envrc", "credentials", "id_rsa", "id_ed25519"];
    !locked && (name.starts_with(".env") || ENDINGS.contains(&ending) || known.contains(&name))
}

fn client(name: &str, path: &Path, owner: Option<&str>, into: &mut Collector) {
    let Some((text, place)) = open(path, owner, MAX_CLIENT, into) else { return };
    if !clients::read(name, &text, &place, into) {
        unread(path, "not a configuration of this client", into);
        lines(&text, &place, into);
    }
}

fn settings(path: &Path, owner: Option<&str>, into: &mut Collector) {
    let Some((text, place)) = open(path, owner, MAX_FILE, into) else { return };
    let yaml = path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
    if !(yaml && kube::read(&text, &place, into)) {
        lines(&text, &place, into);
    }
}

/// Lines of `NAME=value`, `name: value` and anything that has a known form.
fn lines(text: &str, place: &Place, into: &mut Collector) {
    let mut owner = place.owner.clone();
    let mut key: Option<(usize, String)> = None;
    for (i, line) in text.lines().enumerate() {
        let number = i.saturating_add(1);
        // A private key goes over lines; it is judged as one value.
        if let Some((_, block)) = &mut key {
            block.push('\n');
            block.push_str(line);
            if line.contains("-----END") {
                finish(&mut key, place, into);
            }
            continue;
        }
        if line.contains("-----BEGIN") && line.contains("PRIVATE KEY-----") && !line.contains("-----END") {
            key = Some((number, line.trim().to_owned()));
            continue;
        }
        if let Some(said) = said_owner(line) {
            owner = Some(said);
        } else if line.trim().is_empty() {
            owner.clone_from(&place.owner);
        }
        if line.trim_start().starts_with('#') && !line.contains('=') {
            continue;
        }
        let (name, value) = assignment(line).unwrap_or(("", line.trim()));
        let path = if name.is_empty() { Vec::new() } else { vec![name.to_owned()] };
        let place = Place { line: Some(number), path, owner: owner.clone(), ..place.clone() };
        into.judge(name, value, &place);
    }
    finish(&mut key, place, into);
}

fn finish(key: &mut Option<(usize, String)>, place: &Place, into: &mut Collector) {
    if let Some((line, block)) = key.take() {
        into.text(&block, &Place { line: Some(line), ..place.clone() });
    }
}

/// `# owner: …`, on a line of its own above or at a line's end.
fn said_owner(line: &str) -> Option<String> {
    let (_, comment) = line.split_once('#')?;
    let at = comment.to_ascii_lowercase().find("owner")?;
    let said =
        comment.get(at..)?.trim_start_matches(|letter: char| letter.is_ascii_alphabetic()).trim_start();
    let said = said.strip_prefix([':', '='])?.trim();
    (!said.is_empty()).then(|| said.to_owned())
}

/// Name and value of `NAME=value`, `export NAME=value`, `name: value`, `- NAME=value`, `set -gx NAME value`, and the
/// words of `.netrc`.
pub(super) fn assignment(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let line = ["export ", "- ", "set -gx ", "set -x "]
        .iter()
        .find_map(|start| line.strip_prefix(start))
        .unwrap_or(line)
        .trim_start();
    if let Some((_, password)) = line.split_once("password ").filter(|_| !line.contains(['=', ':'])) {
        return Some(("password", password.split_whitespace().next().unwrap_or_default()));
    }
    let at = line.find(['=', ':', ' '])?;
    // Of `//registry.example/:_authToken=…` the name is after the colon.
    let (name, value) = match line.rfind(":_") {
        Some(colon) if line.starts_with("//") => line.get(colon.saturating_add(2)..)?.split_once('=')?,
        _ => (line.get(..at)?, line.get(at.saturating_add(1)..)?.trim_start().trim_start_matches('=')),
    };
    let name = name.trim().trim_matches(['"', '\'']);
    let fits = !name.is_empty()
        && name.len() <= 100
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    fits.then(|| (name, unquoted(value)))
}

/// A value without its quotes and what comes after them.
fn unquoted(value: &str) -> &str {
    let value = value.trim().trim_end_matches(',');
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote)
            && let Some(end) = rest.find(quote)
        {
            return rest.get(..end).unwrap_or(rest);
        }
    }
    value.split(" #").next().unwrap_or(value).trim()
}

fn open(path: &Path, owner: Option<&str>, most: u64, into: &mut Collector) -> Option<(String, Place)> {
    let meta = match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() => meta,
        Ok(_) => return None,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            unread(path, &error.to_string(), into);
            return None;
        }
    };
    into.files = into.files.saturating_add(1);
    if meta.len() > most {
        unread(path, "too large", into);
        return None;
    }
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    if let Err(error) = read {
        unread(path, &error.to_string(), into);
        return None;
    }
    let Ok(text) = String::from_utf8(bytes) else {
        unread(path, "not text", into);
        return None;
    };
    Some((text, place(path, &meta, owner)))
}

fn place(path: &Path, meta: &Metadata, owner: Option<&str>) -> Place {
    Place {
        file: path.to_owned(),
        line: None,
        path: Vec::new(),
        modified: u64::try_from(meta.mtime()).ok(),
        owner: owner.map(str::to_owned),
        user: None,
        governed: None,
    }
}

fn unread(path: &Path, why: &str, into: &mut Collector) {
    into.unread.push(Unread { file: path.to_owned(), why: why.to_owned() });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_give_a_name_a_value() {
        for (line, expected) in [
            ("export A_TOKEN=\"x y\" # note", ("A_TOKEN", "x y")),
            ("A=b # c", ("A", "b")),
            ("  password: 'p w'", ("password", "p w")),
            ("- TOKEN=abc", ("TOKEN", "abc")),
            ("aws_secret_access_key = abc", ("aws_secret_access_key", "abc")),
            ("//registry.npmjs.org/:_authToken=abc", ("authToken", "abc")),
            ("machine x login y password z", ("password", "z")),
            ("\"token\": \"abc\",", ("token", "abc")),
            ("set -gx API_KEY abc", ("API_KEY", "abc")),
        ] {
            assert_eq!(assignment(line), Some(expected), "{line}");
        }
        assert_eq!(said_owner("# owner: Team Billing").as_deref(), Some("Team Billing"));
        assert_eq!(said_owner("A=b  # Owner = maya").as_deref(), Some("maya"));
        assert_eq!(said_owner("A=b"), None);
    }
}
