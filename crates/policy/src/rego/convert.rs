//! Between our JSON and regorus' values.

use std::collections::BTreeMap;

use placet_json::Value as Json;
use regorus::Value;

/// A value for regorus. A number that isn't exactly representable there has no value.
pub(crate) fn to_rego(value: &Json) -> Option<Value> {
    Some(match value {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Value::from(whole),
            None => Value::from_numeric_string(&number.canonical().ok()?).ok()?,
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::from(items.iter().map(to_rego).collect::<Option<Vec<_>>>()?),
        Json::Object(object) => {
            let members = object.iter().map(|(name, member)| Some((Value::from(name), to_rego(member)?)));
            Value::from(members.collect::<Option<BTreeMap<_, _>>>()?)
        }
    })
}
