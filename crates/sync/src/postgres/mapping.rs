//! `sync/postgres.toml`: which rows are which facts.
//!
//! ```toml
//! [[table]]
//! from = "crm.cases"            # or query = "SELECT … FROM …"
//! key = ["id"]
//! version = "updated_at"
//! deleted = "deleted_at"
//! tenant = "organisation"
//! resource = { type = "support_case", id = "{/id}", attributes = { customer_id = "/customer_id" } }
//! tuples = ["support_case:{/id}#owner@user:{/owner}"]
//! ```
//! What stands behind `resource`, `tuples`, `person` and `assignment` is what it is in `sync/opal.toml`: `/…` is a JSON
//! Pointer into the row, whose members are its columns.

use std::collections::BTreeSet;

use placet_core::TenantId;
use placet_facts::{Change, Place};
use placet_json::{Limits, Value};
use placet_store::{ForeignRow, RowsOf, TableSpec};
use serde::Deserialize;

use super::image::Fact;
use crate::opal::{
    Mapped, MappingError,
    mapping::{AssignmentFile, PersonFile, ResourceFile, Rule},
};

/// The most tables of one source.
const MAX_TABLES: usize = 64;
/// The longest query, in bytes.
const MAX_QUERY: usize = 16 * 1024;
/// The most columns of a key.
const MAX_KEY: usize = 8;

/// The tables of a source.
#[derive(Debug, Clone)]
pub struct Tables {
    pub(super) tables: Vec<Table>,
    pub(super) tenants: BTreeSet<TenantId>,
}

/// One of them.
#[derive(Debug, Clone)]
pub struct Table {
    /// As it is named in messages.
    pub name: String,
    /// What is read of it.
    pub spec: TableSpec,
    rule: Rule,
}

/// What a row is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Row {
    /// It is gone.
    Gone,
    /// It belongs to a tenant of which the source may not speak.
    Foreign(String),
    /// Facts of a tenant.
    Facts(TenantId, Vec<Fact>),
    /// It can't be facts: whose they would be, if that is known, and why.
    Wrong(Option<TenantId>, String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    table: Vec<TableFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableFile {
    name: Option<String>,
    from: Option<String>,
    query: Option<String>,
    key: Vec<String>,
    version: Option<String>,
    deleted: Option<String>,
    tenant: Option<String>,
    resource: Option<ResourceFile>,
    #[serde(default)]
    tuples: Vec<String>,
    person: Option<PersonFile>,
    assignment: Option<AssignmentFile>,
}

impl Tables {
    /// Reads a mapping file, for a source that may speak of these tenants.
    pub fn parse(text: &str, tenants: BTreeSet<TenantId>) -> Result<Self, MappingError> {
        let file: File = toml::from_str(text).map_err(|error| MappingError::new(error.to_string()))?;
        if file.table.is_empty() || file.table.len() > MAX_TABLES {
            let why = format!("there are {} `[[table]]`: give 1 to {MAX_TABLES}", file.table.len());
            return Err(MappingError::new(why));
        }
        let mut tables: Vec<Table> = Vec::new();
        for (at, table) in file.table.into_iter().enumerate() {
            let name =
                table.name.clone().or_else(|| table.from.clone()).unwrap_or_else(|| format!("table {at}"));
            let wrong = |why: String| MappingError::new(format!("`[[table]]` `{name}`: {why}"));
            let read = Table::read(name.clone(), table, &tenants).map_err(wrong)?;
            if tables.iter().any(|other| other.name == read.name) {
                return Err(wrong("there are two of this name: give each a `name`".to_owned()));
            }
            tables.push(read);
        }
        Ok(Self { tables, tenants })
    }

    /// All of them.
    #[must_use]
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// Whether a row that is gone is found only by reading everything.
    #[must_use]
    pub fn needs_sweeps(&self) -> bool {
        self.tables.iter().any(Table::needs_sweeps)
    }
}

impl Table {
    fn read(name: String, file: TableFile, tenants: &BTreeSet<TenantId>) -> Result<Self, String> {
        let TableFile {
            name: _,
            from,
            query,
            key,
            version,
            deleted,
            tenant,
            resource,
            tuples,
            person,
            assignment,
        } = file;
        let rows = match (from, query) {
            (Some(from), None) => {
                let parts = from.split('.').count();
                if from.split('.').any(str::is_empty) || parts > 2 {
                    return Err("`from` is a table's name, as in `schema.table`".to_owned());
                }
                RowsOf::Table(from)
            }
            (None, Some(query)) if query.len() > MAX_QUERY => {
                return Err(format!("`query` has more than {MAX_QUERY} bytes: make a view of it"));
            }
            (None, Some(query)) if query.contains(';') => {
                return Err("`query` is one statement, without a semicolon".to_owned());
            }
            (None, Some(query)) => RowsOf::Query(query),
            _ => return Err("give either `from` or `query`".to_owned()),
        };
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(format!("`key` names 1 to {MAX_KEY} columns that tell rows apart"));
        }
        if tenant.is_none() && tenants.len() != 1 {
            return Err(
                "`tenant` names the column that says whose a row is, since the source has several `tenants`"
                    .to_owned(),
            );
        }
        let rule = Rule::of_value(resource, tuples, person, assignment)?;
        let columns = rule.pointers().into_iter().map(column).collect::<Result<_, _>>()?;
        Ok(Self { name, spec: TableSpec { rows, key, version, deleted, tenant, columns }, rule })
    }

    /// Whether rows of it go without a trace that a version could tell.
    pub(super) fn needs_sweeps(&self) -> bool {
        self.spec.version.is_some() && self.spec.deleted.is_none()
    }

    /// What a row is.
    pub(super) fn row(&self, row: &ForeignRow, tenants: &BTreeSet<TenantId>, limits: &Limits) -> Row {
        let tenant = match (&self.spec.tenant, &row.tenant) {
            (None, _) => tenants.first().cloned(),
            (Some(_), None) => return Row::Foreign("null".to_owned()),
            (Some(_), Some(named)) => match TenantId::new(named).ok().filter(|id| tenants.contains(id)) {
                Some(tenant) => Some(tenant),
                None => {
                    return Row::Foreign(
                        named.chars().take(64).collect::<String>().escape_debug().to_string(),
                    );
                }
            },
        };
        let Some(tenant) = tenant else { return Row::Wrong(None, "it is nobody's".to_owned()) };
        if row.deleted {
            return Row::Gone;
        }
        let facts = || {
            let text = row
                .document
                .as_deref()
                .ok_or_else(|| format!("it has {} bytes, more than a row may have", row.bytes))?;
            if row.odd {
                return Err("a number of it is none, or infinite".to_owned());
            }
            let value = placet_json::parse(text.as_bytes(), limits).map_err(|error| error.to_string())?;
            // As it stands in the journal: a number is the same however many zeros end it.
            let canonical = value.canonical().map_err(|error| error.to_string())?;
            let value =
                placet_json::parse(canonical.as_bytes(), limits).map_err(|error| error.to_string())?;
            self.facts(&value, &tenant)
        };
        match facts() {
            Ok(facts) => Row::Facts(tenant, facts),
            Err(why) => Row::Wrong(Some(tenant), why),
        }
    }

    /// All of its facts, or none of them.
    fn facts(&self, value: &Value, tenant: &TenantId) -> Result<Vec<Fact>, String> {
        let Mapped { resources, tuples, people, assignments, unmapped: _, wrong } = self.rule.facts(value);
        if let Some(why) = wrong.some.first() {
            return Err(why.strip_prefix("/: ").unwrap_or(why).to_owned());
        }
        let mut facts: Vec<Fact> = Vec::new();
        facts.extend(people.into_iter().map(|(human, standing)| Fact::Person(human, standing)));
        facts.extend(assignments.into_values().map(Fact::Assignment));
        facts.extend(resources.into_iter().map(|(at, attributes)| Fact::Resource(at, attributes)));
        facts.extend(tuples.into_iter().map(Fact::Tuple));
        // As whoever sends it by the API: inexact numbers, null, what isn't well formed.
        for fact in &facts {
            let (place, change) = fact.change(tenant);
            Change::from_value(&change.to_value(), &place).map_err(|error| error.to_string())?;
        }
        Ok(facts)
    }
}

impl Fact {
    /// As a change by itself, to be looked at.
    fn change(&self, tenant: &TenantId) -> (Place, Change) {
        let here = Place::Tenant(tenant.clone());
        match self {
            Self::Person(human, standing) => {
                (Place::Organisation, Change::HumanStanding { human: human.clone(), standing: *standing })
            }
            Self::Assignment(assignment) => (here, Change::AssignmentSet(assignment.clone())),
            Self::Resource(at, attributes) => (
                here,
                Change::ResourceSet(placet_core::Resource {
                    at: at.clone(),
                    attributes: attributes.clone(),
                    known: placet_core::Known::Told,
                }),
            ),
            Self::Tuple(tuple) => (here, Change::TupleAdded(tuple.clone())),
        }
    }
}

/// The column that a JSON Pointer begins with.
fn column(pointer: &str) -> Result<String, String> {
    let first = pointer.strip_prefix('/').and_then(|rest| rest.split('/').next()).unwrap_or_default();
    if first.is_empty() {
        return Err("a row by itself is no text: name a column, as in `{/id}`".to_owned());
    }
    Ok(first.replace("~1", "/").replace("~0", "~"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenants(names: &[&str]) -> BTreeSet<TenantId> {
        names.iter().map(|name| TenantId::new(name).unwrap()).collect()
    }
    fn row(tenant: Option<&str>, document: &str) -> ForeignRow {
        let (key, bytes) = ("[1]".to_owned(), document.len() as u64);
        ForeignRow {
            key,
            deleted: false,
            tenant: tenant.map(str::to_owned),
            document: Some(document.to_owned()),
            odd: false,
            bytes,
        }
    }

    const CASES: &str = r#"
[[table]]
from = "crm.cases"
key = ["id"]
version = "updated_at"
tenant = "org"
resource = { type = "case", id = "{/id}", attributes = { limit = "/limit", plan = "/meta/plan" } }
tuples = ["case:{/id}#owner@user:{/owner}"]
"#;

    #[test]
    fn a_row_is_all_of_its_facts_or_none() {
        let own = tenants(&["acme", "globex"]);
        let tables = Tables::parse(CASES, own.clone()).unwrap();
        let [table] = tables.tables() else { panic!() };
        assert_eq!(table.spec.columns, ["id", "limit", "meta", "owner"].map(str::to_owned).into());
        assert!(tables.needs_sweeps());
        let read = |tenant, document| table.row(&row(tenant, document), &own, &Limits::MESSAGE);
        let good = r#"{"id":"C-1","limit":250.5,"meta":{"plan":"gold"},"owner":"maya"}"#;
        let Row::Facts(tenant, facts) = read(Some("acme"), good) else { panic!() };
        assert_eq!((tenant.as_str(), facts.len()), ("acme", 2));
        for (bad, says) in [
            (r#"{"id":"C 1","limit":1,"meta":{},"owner":null}"#, "alphabet"),
            (r#"{"id":null,"limit":1,"meta":{},"owner":"maya"}"#, "no single id"),
            (r#"{"id":"C-1","limit":0.123456789,"meta":{},"owner":"maya"}"#, ""),
            (r#"{"id":"C-1","limit":1,"meta":{},"owner":"ma ya"}"#, ""),
            ("[", ""),
        ] {
            let Row::Wrong(Some(_), why) = read(Some("acme"), bad) else { panic!("{bad} is facts") };
            assert!(says != "no single id" || why.contains(says), "{why}");
        }
        assert_eq!(read(Some("initech"), good), Row::Foreign("initech".to_owned()));
        assert_eq!(read(None, good), Row::Foreign("null".to_owned()));
    }

    #[test]
    fn a_file_that_cant_be_read_by_is_refused() {
        let one = tenants(&["acme"]);
        for (file, says) in [
            ("", "[[table]]"),
            ("[[table]]\nkey = [\"id\"]\ntuples = [\"a:{/id}#b@c:d\"]\n", "either `from` or `query`"),
            ("[[table]]\nfrom = \"a\"\nkey = []\ntuples = [\"a:{/id}#b@c:d\"]\n", "`key` names"),
            ("[[table]]\nfrom = \"a..b\"\nkey = [\"id\"]\ntuples = [\"a:{/id}#b@c:d\"]\n", "schema.table"),
            (
                "[[table]]\nquery = \"SELECT 1; SELECT 2\"\nkey = [\"id\"]\ntuples = [\"a:{/id}#b@c:d\"]\n",
                "semicolon",
            ),
            ("[[table]]\nfrom = \"a\"\nkey = [\"id\"]\n", "gives no facts"),
            ("[[table]]\nfrom = \"a\"\nkey = [\"id\"]\ntuples = [\"a:{}#b@c:d\"]\n", "name a column"),
            ("[[table]]\nfrom = \"a\"\nkey = [\"id\"]\nbogus = 1\n", "bogus"),
        ] {
            let error = Tables::parse(file, one.clone()).unwrap_err().to_string();
            assert!(error.contains(says), "{file}: {error}");
        }
        let two = "[[table]]\nfrom = \"a\"\nkey = [\"id\"]\ntuples = [\"a:{/id}#b@c:d\"]\n";
        assert!(Tables::parse(two, one).is_ok());
        let error = Tables::parse(two, tenants(&["acme", "globex"])).unwrap_err().to_string();
        assert!(error.contains("`tenant` names the column"), "{error}");
    }
}
