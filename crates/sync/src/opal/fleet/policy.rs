//! The release in force as a policy bundle, whole or as the difference to another that is kept.

use std::collections::BTreeMap;

use placet_core::Digest;
use placet_json::{Object, Value, object};
use placet_policy::Release;

/// Why there is no bundle.
pub(super) enum NoBundle {
    /// This path isn't in the release.
    Path(String),
}

/// A digest as OPAL's hash.
pub(super) fn hash(digest: Digest) -> String {
    let text = digest.to_string();
    text.strip_prefix("sha256:").unwrap_or(&text).to_owned()
}
/// A hash that a client has, as our digest.
pub(super) fn digest(hash: &str) -> Option<Digest> {
    Digest::parse(&format!("sha256:{hash}"))
}

/// Whether a topic is one of policy: `policy:.`, `acme:policy:.`.
pub(super) fn is_topic(topic: &str) -> bool {
    topic.starts_with("policy:") || topic.contains(":policy:")
}

/// What clients are told when a release comes into force.
pub(super) fn message(before: Option<Digest>, now: Digest) -> Value {
    object! {
        "old_policy_hash" => before.map(hash).unwrap_or_default(), "new_policy_hash" => hash(now),
        "changed_directories" => Value::Array(vec![".".into()]),
    }
    .into()
}

/// The bundle of `release`, for these directories; with `base` only what differs from it.
pub(super) fn bundle(release: &Release, base: Option<&Release>, paths: &[String]) -> Result<Value, NoBundle> {
    let all = modules(release);
    let mut wanted: BTreeMap<&str, &str> = BTreeMap::new();
    let everything = ".".to_owned();
    for path in if paths.is_empty() { std::slice::from_ref(&everything) } else { paths } {
        let dir = path.trim_matches('/').trim_start_matches("./");
        let within: Vec<_> = all.iter().filter(|(module, _)| is_within(module, dir)).collect();
        if within.is_empty() && !matches!(dir, "." | "") {
            return Err(NoBundle::Path(path.clone()));
        }
        wanted.extend(within.into_iter().map(|(module, rego)| (*module, *rego)));
    }
    let old = base.map(modules).unwrap_or_default();
    let fresh = wanted.iter().filter(|(path, rego)| base.is_none() || old.get(**path) != Some(rego));
    let policies = fresh.map(|(path, rego)| {
        Value::from(object! { "path" => *path, "package_name" => package(rego), "rego" => *rego })
    });
    let deleted = base.map_or(Value::Null, |_| {
        let gone = old.keys().filter(|path| !all.contains_key(**path)).map(|path| Value::from(*path));
        object! { "data_modules" => Value::Array(Vec::new()), "policy_modules" => Value::Array(gone.collect()) }.into()
    });
    Ok(object! {
        "manifest" => Value::Array(wanted.keys().map(|path| Value::from(*path)).collect()),
        "hash" => hash(release.digest()), "old_hash" => base.map_or(Value::Null, |base| hash(base.digest()).into()),
        "data_modules" => Value::Array(Vec::new()), "policy_modules" => Value::Array(policies.collect()),
        "deleted_files" => deleted,
    }
    .into())
}

/// Rego by path below `policies/`; tests aren't policy.
#[expect(clippy::case_sensitive_file_extension_comparisons, reason = "a release's own files, spelled so")]
fn modules(release: &Release) -> BTreeMap<&str, &str> {
    release
        .tree()
        .iter()
        .filter(|(path, _)| path.ends_with(".rego") && !path.ends_with("_test.rego"))
        .filter_map(|(path, bytes)| Some((path.strip_prefix("policies/")?, std::str::from_utf8(bytes).ok()?)))
        .collect()
}

fn is_within(module: &str, dir: &str) -> bool {
    matches!(dir, "." | "")
        || module.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn package(rego: &str) -> &str {
    rego.lines()
        .find_map(|line| line.trim().strip_prefix("package "))
        .map_or("", |name| name.split('#').next().unwrap_or(name).trim())
}

/// A configuration of no data, for the route that OPAL's own default points to.
pub(super) fn nothing() -> Value {
    Value::Object(Object::new())
}
