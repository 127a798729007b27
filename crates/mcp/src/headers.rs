//! HTTP headers that mirror the body of a modern request.
//!
//! They are for middle boxes only. Whoever serves a request compares them with the body and decides on the body;
//! whoever sends one on makes them anew.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use placet_json::{Object, Value};

use crate::{Method, Revision, meta};

/// Revision of the request.
pub const PROTOCOL_VERSION: &str = "MCP-Protocol-Version";
/// Method of the request.
pub const METHOD: &str = "Mcp-Method";
/// Name, URI or task that the request is about.
pub const NAME: &str = "Mcp-Name";
/// Prefix of mirrored tool arguments.
pub const PARAM_PREFIX: &str = "Mcp-Param-";
/// Session of a legacy conversation.
pub const SESSION_ID: &str = "Mcp-Session-Id";
/// Where a legacy stream is resumed.
pub const LAST_EVENT_ID: &str = "Last-Event-ID";
/// Annotation of a property whose argument is mirrored.
pub const ANNOTATION: &str = "x-mcp-header";

/// Schemas nested deeper are taken as malformed.
const MAX_SCHEMA_DEPTH: usize = 64;
const BASE64_PREFIX: &str = "=?base64?";
const BASE64_SUFFIX: &str = "?=";

/// The property at `path` is mirrored in the header `Mcp-Param-` + `header`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation<'a> {
    /// Property names from the root of the arguments.
    pub path: Vec<&'a str>,
    /// Header name without its prefix.
    pub header: &'a str,
}

/// Why the annotations of an input schema cannot be honoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadAnnotation {
    /// Not on a property that is reached from the root by `properties` alone.
    #[error("`x-mcp-header` stands where it cannot be mirrored")]
    Place,
    /// Not a token of RFC 9110 section 5.6.2.
    #[error("`x-mcp-header` is not a header name")]
    Name,
    /// Two properties, one header name, whatever its case.
    #[error("two properties have one `x-mcp-header`")]
    Duplicate,
    /// The property is not of type string, integer or boolean.
    #[error("`x-mcp-header` on a property that is not a string, integer or boolean")]
    Type,
    /// The schema is nested too deeply.
    #[error("the schema is nested too deeply")]
    Depth,
}

/// A value as it may stand in a header: as it is, or as `=?base64?…?=` if it has characters other than visible ASCII
/// and inner spaces, or looks encoded already.
#[must_use]
pub fn encode(value: &str) -> String {
    let plain = value.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        && !value.starts_with(' ')
        && !value.ends_with(' ')
        && !value.starts_with(BASE64_PREFIX);
    if plain { value.to_owned() } else { format!("{BASE64_PREFIX}{}{BASE64_SUFFIX}", STANDARD.encode(value)) }
}

/// The value that a header stands for; `None` if it is not one that [`encode`] could have made, but for plain text
/// that need not have been plain.
#[must_use]
pub fn decode(header: &str) -> Option<String> {
    if let Some(encoded) =
        header.strip_prefix(BASE64_PREFIX).and_then(|rest| rest.strip_suffix(BASE64_SUFFIX))
    {
        return String::from_utf8(STANDARD.decode(encoded).ok()?).ok();
    }
    header.bytes().all(|byte| (0x20..0x7f).contains(&byte)).then(|| header.to_owned())
}

/// The annotations of an input schema, or what is wrong with them. A client of the HTTP transport drops a tool whose
/// annotations are malformed.
pub fn annotations(schema: &Value) -> Result<Vec<Annotation<'_>>, BadAnnotation> {
    let mut found: Vec<Annotation<'_>> = Vec::new();
    let Value::Object(root) = schema else { return Ok(found) };
    collect(root, Place::Root, &mut Vec::new(), &mut found)?;
    for (i, annotation) in found.iter().enumerate() {
        let rest = found.iter().skip(i.saturating_add(1));
        if rest.into_iter().any(|other| other.header.eq_ignore_ascii_case(annotation.header)) {
            return Err(BadAnnotation::Duplicate);
        }
    }
    Ok(found)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Property,
    Elsewhere,
}

fn collect<'a>(
    schema: &'a Object,
    place: Place,
    path: &mut Vec<&'a str>,
    found: &mut Vec<Annotation<'a>>,
) -> Result<(), BadAnnotation> {
    if path.len() > MAX_SCHEMA_DEPTH {
        return Err(BadAnnotation::Depth);
    }
    if let Some(annotation) = schema.get(ANNOTATION) {
        if place != Place::Property {
            return Err(BadAnnotation::Place);
        }
        let header = annotation.as_str().filter(|name| is_token(name)).ok_or(BadAnnotation::Name)?;
        if !matches!(schema.get("type").and_then(Value::as_str), Some("string" | "integer" | "boolean")) {
            return Err(BadAnnotation::Type);
        }
        found.push(Annotation { path: path.clone(), header });
    }
    for (keyword, value) in schema {
        // A property may be called like a keyword; only its place tells.
        let inner = if keyword == "properties" && place != Place::Elsewhere {
            Place::Property
        } else {
            Place::Elsewhere
        };
        match keyword {
            "default" | "const" | "enum" | "examples" | "required" | "dependentRequired" => {}
            "properties" | "$defs" | "definitions" | "dependentSchemas" | "patternProperties"
            | "dependencies" => {
                for (name, schema) in value.as_object().into_iter().flatten() {
                    path.push(name);
                    if let Value::Object(schema) = schema {
                        collect(schema, inner, path, found)?;
                    }
                    path.pop();
                }
            }
            _ => {
                path.push(keyword);
                match value {
                    Value::Object(schema) => collect(schema, Place::Elsewhere, path, found)?,
                    Value::Array(schemas) => {
                        for schema in schemas.iter().filter_map(Value::as_object) {
                            collect(schema, Place::Elsewhere, path, found)?;
                        }
                    }
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
                }
                path.pop();
            }
        }
    }
    Ok(())
}

/// RFC 9110 section 5.6.2, and not empty.
fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// The mirrored headers of a modern request, made from its body: what goes upstream, and what must have come from
/// downstream. `input_schema` is that of the called tool; annotations that are malformed as a whole mirror nothing.
#[must_use]
pub fn headers_for(method: Method, params: &Object, input_schema: Option<&Value>) -> Vec<(String, String)> {
    let revision = protocol_version(params).unwrap_or(Revision::V2026_07_28.as_str());
    let mut headers =
        vec![(PROTOCOL_VERSION.to_owned(), encode(revision)), (METHOD.to_owned(), method.name().to_owned())];
    if let Some(name) = method.name_param().and_then(|name| params.get(name)).and_then(Value::as_str) {
        headers.push((NAME.to_owned(), encode(name)));
    }
    if method == Method::ToolsCall
        && let Some(annotations) = input_schema.and_then(|schema| annotations(schema).ok())
    {
        for annotation in annotations {
            if let Some(text) = argument(params, &annotation).and_then(mirrored) {
                headers.push((format!("{PARAM_PREFIX}{}", annotation.header), encode(&text)));
            }
        }
    }
    headers
}

/// What the `_meta` of a request says about its revision.
#[must_use]
pub fn protocol_version(params: &Object) -> Option<&str> {
    params.get("_meta")?.get(meta::PROTOCOL_VERSION)?.as_str()
}

/// The argument that an annotation points to.
pub(crate) fn argument<'a>(params: &'a Object, annotation: &Annotation<'_>) -> Option<&'a Value> {
    annotation.path.iter().try_fold(params.get("arguments")?, |value, name| value.get(name))
}

/// The text of a mirrored argument; `null`, arrays and objects are not mirrored.
pub(crate) fn mirrored(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => Some(number.canonical().unwrap_or_else(|_| number.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use placet_json::{Limits, parse};
    use proptest::prelude::*;

    fn json(text: &str) -> Value {
        parse(text.as_bytes(), &Limits::MESSAGE).unwrap()
    }

    #[test]
    fn values_that_are_unsafe_in_a_header_are_encoded() {
        for (value, header) in [
            ("us-west1", "us-west1"),
            ("two words", "two words"),
            ("", ""),
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("a\tb", "=?base64?YQli?="),
            ("=?base64?eA==?=", "=?base64?PT9iYXNlNjQ/ZUE9PT89?="),
        ] {
            assert_eq!(encode(value), header);
            assert_eq!(decode(header).as_deref(), Some(value));
        }
    }

    #[test]
    fn mcp_1_malformed_encodings_are_refused() {
        for header in [
            "=?base64?%%%?=",
            "=?base64?eA?=",   // no padding
            "=?base64?eB==?=", // trailing bits
            "=?base64?eA==\n?=",
            "=?base64?//8=?=", // not UTF-8
            "=?base64?_-8=?=", // URL alphabet
            "caf\u{e9}",
            "a\tb",
            "a\u{0}",
        ] {
            assert_eq!(decode(header), None, "{header}");
        }
        // Compared literally, then.
        assert_eq!(decode("=?BASE64?eA==?=").as_deref(), Some("=?BASE64?eA==?="));
        assert_eq!(decode("=?base64?eA==").as_deref(), Some("=?base64?eA=="));
    }

    #[test]
    fn annotations_are_found_on_chains_of_properties_only() {
        let schema = json(
            r#"{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"},
                "properties":{"type":"object","properties":{"n":{"type":"integer","x-mcp-header":"N"}}},
                "x-mcp-header":{"type":"string"}},"required":["region"],"default":{"x-mcp-header":1}}"#,
        );
        let found = annotations(&schema).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].path.as_slice(), found[0].header), (&["region"][..], "Region"));
        assert_eq!((found[1].path.as_slice(), found[1].header), (&["properties", "n"][..], "N"));
    }

    #[test]
    fn malformed_annotations_are_refused() {
        use BadAnnotation::{Duplicate, Name, Place, Type};
        let property = |annotated: &str| format!(r#"{{"properties":{{"a":{annotated}}}}}"#);
        for (schema, expected) in [
            (r#"{"x-mcp-header":"A"}"#.to_owned(), Place),
            (property(r#"{"type":"string","x-mcp-header":""}"#), Name),
            (property(r#"{"type":"string","x-mcp-header":"a b"}"#), Name),
            (property(r#"{"type":"string","x-mcp-header":"a\r\nb"}"#), Name),
            (property(r#"{"type":"string","x-mcp-header":"é"}"#), Name),
            (property(r#"{"type":"string","x-mcp-header":1}"#), Name),
            (property(r#"{"type":"number","x-mcp-header":"A"}"#), Type),
            (property(r#"{"type":"object","x-mcp-header":"A"}"#), Type),
            (property(r#"{"type":["string","null"],"x-mcp-header":"A"}"#), Type),
            (property(r#"{"x-mcp-header":"A"}"#), Type),
            (property(r#"{"items":{"type":"string","x-mcp-header":"A"}}"#), Place),
            (property(r#"{"oneOf":[{"type":"string","x-mcp-header":"A"}]}"#), Place),
            (property(r#"{"items":{"properties":{"b":{"type":"string","x-mcp-header":"A"}}}}"#), Place),
            (r#"{"$defs":{"a":{"type":"string","x-mcp-header":"A"}}}"#.to_owned(), Place),
            (r#"{"patternProperties":{"a":{"type":"string","x-mcp-header":"A"}}}"#.to_owned(), Place),
            (
                r#"{"properties":{"a":{"type":"string","x-mcp-header":"X"},"b":{"type":"string","x-mcp-header":"x"}}}"#
                    .to_owned(),
                Duplicate,
            ),
        ] {
            assert_eq!(annotations(&json(&schema)), Err(expected), "{schema}");
        }
    }

    #[test]
    fn mcp_1_headers_are_made_from_the_body() {
        let params = json(
            r#"{"name":"café","arguments":{"region":"eu ","n":1e2,"on":true,"none":null,"deep":{"x":"y"}},
                "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#,
        );
        let schema = json(
            r#"{"properties":{"region":{"type":"string","x-mcp-header":"Region"},"n":{"type":"integer","x-mcp-header":"N"},
                "on":{"type":"boolean","x-mcp-header":"On"},"none":{"type":"string","x-mcp-header":"None"},
                "absent":{"type":"string","x-mcp-header":"Absent"},
                "deep":{"properties":{"x":{"type":"string","x-mcp-header":"X"}}}}}"#,
        );
        let headers = headers_for(Method::ToolsCall, params.as_object().unwrap(), Some(&schema));
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            headers,
            [
                ("MCP-Protocol-Version", "2026-07-28"),
                ("Mcp-Method", "tools/call"),
                ("Mcp-Name", "=?base64?Y2Fmw6k=?="),
                ("Mcp-Param-Region", "=?base64?ZXUg?="),
                ("Mcp-Param-N", "100"),
                ("Mcp-Param-On", "true"),
                ("Mcp-Param-X", "y"),
            ]
        );
    }

    proptest! {
        #[test]
        fn every_value_survives_a_header(value in any::<String>()) {
            let header = encode(&value);
            prop_assert!(header.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
            prop_assert_eq!(header.trim(), header.as_str());
            prop_assert_eq!(decode(&header), Some(value));
        }
    }
}
