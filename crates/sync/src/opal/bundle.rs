//! Policy bundles: all modules, or the difference to those that we have.

use std::collections::BTreeMap;

use placet_json::{Value, parse};

use super::wire::LIMITS;

/// Modules by path.
pub type Modules = BTreeMap<String, String>;

/// Why a bundle can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// It isn't understood.
    #[error("the bundle isn't understood: {0}")]
    Malformed(String),
    /// A difference to something else than what we have: only a full bundle helps.
    #[error("the bundle is a difference to `{0}`, which isn't what is here")]
    Base(String),
    /// It has documents beside its policies.
    #[error("`{0}` is data: a release has none, so map it as facts, or leave it out of the bundle")]
    Data(String),
}

/// A bundle (`opal_common/schemas/policy.py`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The commit.
    pub hash: String,
    /// The commit that it is a difference to.
    pub old_hash: Option<String>,
    /// New and changed modules.
    pub modules: Modules,
    /// Documents that aren't empty.
    pub data: Vec<String>,
    /// Modules that are gone.
    pub deleted: Vec<String>,
}

impl Bundle {
    /// Reads a bundle.
    pub fn read(body: &[u8]) -> Result<Self, BundleError> {
        let malformed = |what: &str| BundleError::Malformed(what.to_owned());
        let value = parse(body, &LIMITS).map_err(|error| BundleError::Malformed(error.to_string()))?;
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let list = |value: Option<&Value>| value.and_then(Value::as_array).unwrap_or_default().to_vec();
        let mut modules = Modules::new();
        for module in list(value.get("policy_modules")) {
            let path = text(&module, "path").ok_or_else(|| malformed("a module has no `path`"))?;
            let rego = text(&module, "rego").ok_or_else(|| malformed("a module has no `rego`"))?;
            modules.insert(path, rego);
        }
        let mut data = Vec::new();
        for module in list(value.get("data_modules")) {
            let path = text(&module, "path").unwrap_or_default();
            let content = text(&module, "data").unwrap_or_default();
            let empty = parse(content.as_bytes(), &LIMITS)
                .is_ok_and(|content| content.as_object().is_some_and(placet_json::Object::is_empty));
            if !empty {
                data.push(path);
            }
        }
        let deleted = list(value.get("deleted_files").and_then(|deleted| deleted.get("policy_modules")));
        Ok(Self {
            hash: text(&value, "hash").ok_or_else(|| malformed("it has no `hash`"))?,
            old_hash: text(&value, "old_hash"),
            modules,
            data,
            deleted: deleted.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        })
    }

    /// The modules after this bundle, if `at` and `modules` are what is here.
    pub fn onto(&self, at: Option<&str>, modules: &Modules) -> Result<Modules, BundleError> {
        if let Some(path) = self.data.first() {
            return Err(BundleError::Data(path.clone()));
        }
        let mut next = match &self.old_hash {
            None => Modules::new(),
            Some(old) if Some(old.as_str()) == at => modules.clone(),
            Some(old) => return Err(BundleError::Base(old.clone())),
        };
        for path in &self.deleted {
            next.remove(path);
        }
        next.extend(self.modules.iter().map(|(path, rego)| (path.clone(), rego.clone())));
        Ok(next)
    }
}

/// What a delta may be asked against: a full hash. The server answers 500 to anything else.
pub(crate) fn is_commit(hash: &str) -> bool {
    hash.len() == 40 && hash.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_delta_and_deletion() {
        let full = Bundle::read(br#"{"manifest":["a.rego"],"hash":"h1","old_hash":null,"data_modules":[{"path":".","data":"{}"}],"policy_modules":[{"path":"a.rego","package_name":"a","rego":"package a"},{"path":"b.rego","package_name":"b","rego":"package b"}],"deleted_files":null}"#).unwrap();
        let modules = full.onto(None, &Modules::new()).unwrap();
        assert_eq!(modules.len(), 2);
        let delta = Bundle::read(br#"{"manifest":[],"hash":"h2","old_hash":"h1","data_modules":[],"policy_modules":[{"path":"c.rego","package_name":"c","rego":"package c"}],"deleted_files":{"data_modules":[],"policy_modules":["a.rego"]}}"#).unwrap();
        let next = delta.onto(Some("h1"), &modules).unwrap();
        assert_eq!(next.keys().collect::<Vec<_>>(), ["b.rego", "c.rego"]);
        assert_eq!(delta.onto(Some("h0"), &modules), Err(BundleError::Base("h1".to_owned())));
        let data = Bundle::read(
            br#"{"hash":"h","policy_modules":[],"data_modules":[{"path":"users","data":"{\"a\":1}"}]}"#,
        )
        .unwrap();
        assert_eq!(data.onto(None, &Modules::new()), Err(BundleError::Data("users".to_owned())));
        assert!(Bundle::read(b"{}").is_err() && Bundle::read(b"nope").is_err());
    }
}
