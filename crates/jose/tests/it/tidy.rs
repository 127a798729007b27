//! Rules about the source itself.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every line of code (not of comment) below the `crates` folder that has `needle`, outside of tests and benches.
fn uses(needle: &str) -> Vec<String> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for entry in fs::read_dir(crates).unwrap() {
        let package = entry.unwrap().path();
        let src = package.join("src");
        // The chores name what they look for, as this file does.
        if src.is_dir() && !package.ends_with("xtask") {
            sources(&src, &mut files);
        }
    }
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//") && line.contains(needle));
        let name = file.strip_prefix(crates).unwrap().display().to_string();
        found.extend(lines.map(|_| name.clone()));
    }
    found.sort();
    found
}

#[test]
fn tokens_are_decoded_in_one_place() {
    assert_eq!(uses(concat!("jsonwebtoken", "::crypto::verify(")), ["jose/src/jws.rs"]);
    for unchecked in ["jsonwebtoken::decode", "insecure_decode", "decode_header", "EncodingKey"] {
        assert_eq!(uses(unchecked), Vec::<String>::new(), "{unchecked}");
    }
    // Imported by name it would escape the first check.
    assert_eq!(uses("use jsonwebtoken::"), ["jose/src/keys.rs"]);
}

#[test]
fn a_verified_token_is_made_in_one_place() {
    let made = uses("Ok(Self { claims, issued_at, expires_at, key })");
    assert_eq!(made, ["jose/src/verified.rs"]);
}
