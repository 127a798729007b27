//! What is signed of a release: its digest, and all that a server wants to know before it takes it.

use placet_core::Digest;
use placet_json::{Limits, Object, Value, object, parse};

use crate::Release;

/// The media type of a statement inside its envelope.
pub const STATEMENT_TYPE: &str = "application/vnd.placet.release.v1+json";
/// The interpreter of Rego that decides here.
const REGO: &str = "regorus 0.14.1";
/// The engine of Cedar that decides here.
const CEDAR: &str = "cedar-policy 4.14.1";
/// The longest life of an emergency release in force, in milliseconds: one hour.
pub const MAX_EMERGENCY: u64 = 3_600_000;

/// Where a release's files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// The commit of the git repository that the directory lies in.
    pub commit: String,
    /// Whether files differ from that commit.
    pub dirty: bool,
    /// Who the commit says its author is.
    pub author: String,
}

/// A signed statement about one release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The release.
    pub release: Digest,
    /// Its name.
    pub name: String,
    /// Grows with each statement: one that is not above the one in force's is older. Milliseconds since the Unix epoch,
    /// unless its maker counts otherwise.
    pub serial: u64,
    /// Where the files come from; none outside of a repository.
    pub provenance: Option<Provenance>,
    /// Its cases: how many there are, all of them passed.
    pub cases: u64,
    /// For an emergency release: how long it may be in force, in milliseconds.
    pub emergency: Option<u64>,
    /// SHA-256 of the input's schema that its policies were checked against.
    pub input_schema: Digest,
    /// The engines that it was tested with.
    pub engines: Vec<(String, String)>,
}

/// Why a release can't be stated or a statement can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadStatement {
    /// Cases failed.
    #[error("{0} of its cases fail: {1}")]
    Failed(usize, String),
    /// Something is missing or of another form.
    #[error("the statement's `{0}` {1}")]
    Member(&'static str, String),
    /// It isn't JSON.
    #[error("the statement can't be read: {0}")]
    Unreadable(String),
    /// It is about another release.
    #[error("the statement is about {0}, not about {1}")]
    Other(Digest, Digest),
    /// The input has another schema here.
    #[error("it was made for the input schema {0}, and here it has {1}: another version of Placet wrote it")]
    Schema(Digest, Digest),
}

/// SHA-256 of the canonical form of the input's schema with what the release adds to it.
#[must_use]
pub fn schema_digest(release: &Release) -> Digest {
    let schema = release.input_schema();
    match schema.canonical() {
        Ok(canonical) => Digest::of(canonical.as_bytes()),
        // A schema with numbers out of range has no canonical form; its text is the same wherever it is made.
        Err(_) => Digest::of(schema.to_string().as_bytes()),
    }
}

/// The engines that decide here, by name.
#[must_use]
pub fn engines() -> Vec<(String, String)> {
    vec![
        ("cedar".to_owned(), CEDAR.to_owned()),
        ("placet".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("rego".to_owned(), REGO.to_owned()),
    ]
}

impl Statement {
    /// States a release whose cases all passed; one whose cases fail can't be stated, so that nobody can sign it.
    pub fn of(
        release: &Release,
        report: &crate::Report,
        serial: u64,
        provenance: Option<Provenance>,
        emergency: Option<u64>,
    ) -> Result<Self, BadStatement> {
        let failed: Vec<String> = report
            .results
            .iter()
            .filter(|result| !result.passed)
            .map(|result| format!("{}: {}", result.file, result.name))
            .collect();
        if !failed.is_empty() {
            let named = failed.iter().take(8).cloned().collect::<Vec<_>>().join("; ");
            return Err(BadStatement::Failed(failed.len(), named));
        }
        if emergency.is_some_and(|life| life == 0 || life > MAX_EMERGENCY) {
            let why = format!("isn't between 1 and {MAX_EMERGENCY} ms");
            return Err(BadStatement::Member("emergency_ms", why));
        }
        Ok(Self {
            release: release.digest(),
            name: release.name().to_string(),
            serial,
            provenance,
            cases: u64::try_from(report.results.len()).unwrap_or(u64::MAX),
            emergency,
            input_schema: schema_digest(release),
            engines: engines(),
        })
    }

    /// Whether it speaks of this release as it is read here.
    pub fn check(&self, release: &Release) -> Result<(), BadStatement> {
        if self.release != release.digest() {
            return Err(BadStatement::Other(self.release, release.digest()));
        }
        let here = schema_digest(release);
        if self.input_schema != here {
            return Err(BadStatement::Schema(self.input_schema, here));
        }
        Ok(())
    }

    /// As it is signed: canonical JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let Self { release, name, serial, provenance, cases, emergency, input_schema, engines } = self;
        let engines = engines.iter().fold(Object::new(), |mut all, (name, version)| {
            all.insert(name.as_str(), version.as_str());
            all
        });
        let mut document = object! {
            "cases" => *cases, "engines" => engines, "input_schema" => input_schema.to_string(), "name" => name.as_str(),
        };
        if let Some(Provenance { commit, dirty, author }) = provenance {
            document.insert(
                "provenance",
                object! { "author" => author.as_str(), "commit" => commit.as_str(), "dirty" => *dirty },
            );
        }
        if let Some(life) = emergency {
            document.insert("emergency_ms", *life);
        }
        document.insert("release", release.to_string());
        document.insert("serial", *serial);
        document.insert("v", 1_u64);
        document.into()
    }

    /// The bytes that are signed.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BadStatement> {
        let canonical = self.to_value().canonical();
        canonical
            .map(|canonical| canonical.as_bytes().to_vec())
            .map_err(|error| BadStatement::Unreadable(error.to_string()))
    }

    /// Reads what was signed; a member that isn't known is refused, as it may be a condition.
    pub fn read(bytes: &[u8]) -> Result<Self, BadStatement> {
        let document = parse(bytes, &Limits::MESSAGE).map_err(|e| BadStatement::Unreadable(e.to_string()))?;
        let members =
            document.as_object().ok_or_else(|| BadStatement::Unreadable("it is no object".to_owned()))?;
        let known = [
            "cases",
            "emergency_ms",
            "engines",
            "input_schema",
            "name",
            "provenance",
            "release",
            "serial",
            "v",
        ];
        if let Some(name) = members.keys().find(|name| !known.contains(name)) {
            let name: String = name.chars().take(64).collect();
            return Err(BadStatement::Unreadable(format!("`{name}` isn't known")));
        }
        let text = |of: &Value, name: &'static str| {
            let text = of.get(name).and_then(Value::as_str).map(str::to_owned);
            text.ok_or_else(|| BadStatement::Member(name, "is no text".to_owned()))
        };
        let number = |name: &'static str| {
            let number = document.get(name).and_then(Value::as_u64);
            number.ok_or_else(|| BadStatement::Member(name, "is no whole number".to_owned()))
        };
        let digest = |name: &'static str| {
            let digest = Digest::parse(&text(&document, name)?);
            digest.ok_or_else(|| BadStatement::Member(name, "is no digest".to_owned()))
        };
        if number("v")? != 1 {
            return Err(BadStatement::Member("v", "isn't 1: a newer version wrote it".to_owned()));
        }
        let provenance = match document.get("provenance") {
            None => None,
            Some(of) => {
                let dirty = of.get("dirty").and_then(Value::as_bool);
                let dirty =
                    dirty.ok_or_else(|| BadStatement::Member("dirty", "is neither yes nor no".to_owned()))?;
                Some(Provenance { commit: text(of, "commit")?, dirty, author: text(of, "author")? })
            }
        };
        let emergency =
            if members.contains_key("emergency_ms") { Some(number("emergency_ms")?) } else { None };
        if emergency.is_some_and(|life| life == 0 || life > MAX_EMERGENCY) {
            return Err(BadStatement::Member("emergency_ms", format!("isn't between 1 and {MAX_EMERGENCY}")));
        }
        let engines = document.get("engines").and_then(Value::as_object);
        let engines = engines.ok_or_else(|| BadStatement::Member("engines", "is no object".to_owned()))?;
        let engines =
            engines.iter().map(|(name, version)| Some((name.to_owned(), version.as_str()?.to_owned())));
        Ok(Self {
            release: digest("release")?,
            name: text(&document, "name")?,
            serial: number("serial")?,
            provenance,
            cases: number("cases")?,
            emergency,
            input_schema: digest("input_schema")?,
            engines: engines.collect::<Option<_>>().ok_or_else(|| {
                BadStatement::Member("engines", "names a version that is no text".to_owned())
            })?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_that_are_named_are_the_ones_that_are_built() {
        let lock = include_str!("../../../Cargo.lock");
        for named in [REGO, CEDAR] {
            let (name, version) = named.split_once(' ').unwrap();
            assert!(lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"")), "{named}");
        }
    }

    #[test]
    fn a_statement_comes_back_as_it_was_and_nothing_unknown_is_ignored() {
        let statement = Statement {
            release: Digest::of(b"a"),
            name: "desk".to_owned(),
            serial: 7,
            provenance: Some(Provenance {
                commit: "c0ffee".to_owned(),
                dirty: true,
                author: "maya".to_owned(),
            }),
            cases: 3,
            emergency: Some(60_000),
            input_schema: Digest::of(b"b"),
            engines: engines(),
        };
        let bytes = statement.to_bytes().unwrap();
        assert_eq!(Statement::read(&bytes), Ok(statement));
        let text = String::from_utf8(bytes).unwrap();
        for (from, to) in [
            ("\"serial\":7", "\"serial\":7,\"only_on\":\"sundays\""),
            ("\"serial\":7", "\"serial\":-7"),
            ("60000", "3600001"),
            ("\"v\":1", "\"v\":2"),
        ] {
            assert!(Statement::read(text.replace(from, to).as_bytes()).is_err(), "{to}");
        }
    }
}
