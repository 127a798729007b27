//! The schemas (RFC 7643): tables that reading, patching, showing and discovery all go by.

use placet_json::{Object, Value, object};

/// The schema of people.
pub(crate) const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
/// The schema of groups.
pub(crate) const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
/// The extension of people in enterprises.
pub(crate) const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
const CONFIG: &str = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig";
const RESOURCE_TYPE: &str = "urn:ietf:params:scim:schemas:core:2.0:ResourceType";
const SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:Schema";

/// What a value is (RFC 7643 §2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Boolean,
    Integer,
    Reference,
    Complex,
}

/// Who may write it (RFC 7643 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutability {
    ReadOnly,
    ReadWrite,
    Immutable,
}

/// One attribute.
#[expect(clippy::struct_excessive_bools, reason = "the characteristics of RFC 7643 section 2.2")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attribute {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) many: bool,
    pub(crate) required: bool,
    pub(crate) exact: bool,
    pub(crate) mutability: Mutability,
    unique: bool,
    canonical: &'static [&'static str],
    references: &'static [&'static str],
    pub(crate) sub: &'static [Self],
}

impl Attribute {
    const fn of(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            many: false,
            required: false,
            exact: false,
            mutability: Mutability::ReadWrite,
            unique: false,
            canonical: &[],
            references: &[],
            sub: &[],
        }
    }
    const fn text(name: &'static str) -> Self {
        Self::of(name, Kind::Text)
    }
    const fn complex(name: &'static str, sub: &'static [Self]) -> Self {
        Self { sub, ..Self::of(name, Kind::Complex) }
    }
    const fn list(name: &'static str, sub: &'static [Self]) -> Self {
        Self { many: true, sub, ..Self::of(name, Kind::Complex) }
    }
    const fn reference(name: &'static str, references: &'static [&'static str]) -> Self {
        Self { references, exact: true, ..Self::of(name, Kind::Reference) }
    }
    const fn read_only(self) -> Self {
        Self { mutability: Mutability::ReadOnly, ..self }
    }
    const fn immutable(self) -> Self {
        Self { mutability: Mutability::Immutable, ..self }
    }
    const fn required(self) -> Self {
        Self { required: true, ..self }
    }
    const fn exact(self) -> Self {
        Self { exact: true, ..self }
    }
    const fn many(self) -> Self {
        Self { many: true, ..self }
    }
    const fn unique(self) -> Self {
        Self { unique: true, ..self }
    }
    const fn canonical(self, canonical: &'static [&'static str]) -> Self {
        Self { canonical, ..self }
    }

    fn to_value(self) -> Value {
        let kind = match self.kind {
            Kind::Text => "string",
            Kind::Boolean => "boolean",
            Kind::Integer => "integer",
            Kind::Reference => "reference",
            Kind::Complex => "complex",
        };
        let mutability = match self.mutability {
            Mutability::ReadOnly => "readOnly",
            Mutability::ReadWrite => "readWrite",
            Mutability::Immutable => "immutable",
        };
        let mut shown = object! {
            "name" => self.name, "type" => kind, "multiValued" => self.many, "required" => self.required,
            "caseExact" => self.exact, "mutability" => mutability, "returned" => "default",
            "uniqueness" => if self.unique { "server" } else { "none" },
        };
        let texts = |texts: &[&str]| Value::Array(texts.iter().map(|text| Value::from(*text)).collect());
        if !self.canonical.is_empty() {
            shown.insert("canonicalValues", texts(self.canonical));
        }
        if !self.references.is_empty() {
            shown.insert("referenceTypes", texts(self.references));
        }
        if !self.sub.is_empty() {
            shown.insert("subAttributes", Value::Array(self.sub.iter().map(|sub| sub.to_value()).collect()));
        }
        shown.into()
    }
}

type A = Attribute;

const PLACES: &[&str] = &["work", "home", "other"];

const EMAIL: &[A] = &[
    A::text("value"),
    A::text("display"),
    A::text("type").canonical(PLACES),
    A::of("primary", Kind::Boolean),
];
const PHONE: &[A] = &[
    A::text("value"),
    A::text("display"),
    A::text("type").canonical(&["work", "home", "mobile", "fax", "pager", "other"]),
    A::of("primary", Kind::Boolean),
];
const PLAIN: &[A] = &[A::text("value"), A::text("display"), A::text("type"), A::of("primary", Kind::Boolean)];

pub(crate) const USER_ATTRIBUTES: &[A] = &[
    A::text("userName").required().unique(),
    A::complex(
        "name",
        &[
            A::text("formatted"),
            A::text("familyName"),
            A::text("givenName"),
            A::text("middleName"),
            A::text("honorificPrefix"),
            A::text("honorificSuffix"),
        ],
    ),
    A::text("displayName"),
    A::text("nickName"),
    A::reference("profileUrl", &["external"]),
    A::text("title"),
    A::text("userType"),
    A::text("preferredLanguage"),
    A::text("locale"),
    A::text("timezone"),
    A::of("active", Kind::Boolean),
    A::list("emails", EMAIL),
    A::list("phoneNumbers", PHONE),
    A::list(
        "addresses",
        &[
            A::text("formatted"),
            A::text("streetAddress"),
            A::text("locality"),
            A::text("region"),
            A::text("postalCode"),
            A::text("country"),
            A::text("type").canonical(PLACES),
            A::of("primary", Kind::Boolean),
        ],
    ),
    A::list(
        "groups",
        &[
            A::text("value").exact().read_only(),
            A::reference("$ref", &["Group"]).read_only(),
            A::text("display").read_only(),
            A::text("type").canonical(&["direct"]).read_only(),
        ],
    )
    .read_only(),
    A::list("entitlements", PLAIN),
    A::list("roles", PLAIN),
];

pub(crate) const ENTERPRISE_ATTRIBUTES: &[A] = &[
    A::text("employeeNumber"),
    A::text("costCenter"),
    A::text("organization"),
    A::text("division"),
    A::text("department"),
    A::complex(
        "manager",
        &[A::text("value").exact(), A::reference("$ref", &["User"]), A::text("displayName").read_only()],
    ),
];

pub(crate) const GROUP_ATTRIBUTES: &[A] = &[
    A::text("displayName").required(),
    A::list(
        "members",
        &[
            A::text("value").exact().immutable(),
            A::reference("$ref", &["User"]).immutable(),
            A::text("type").canonical(&["User"]).immutable(),
            A::text("display"),
        ],
    ),
];

const FLAG: &[A] = &[A::of("supported", Kind::Boolean).required().read_only()];
const CONFIG_ATTRIBUTES: &[A] = &[
    A::reference("documentationUri", &["external"]).read_only(),
    A::complex("patch", FLAG).required().read_only(),
    A::complex(
        "bulk",
        &[
            A::of("supported", Kind::Boolean).required().read_only(),
            A::of("maxOperations", Kind::Integer).required().read_only(),
            A::of("maxPayloadSize", Kind::Integer).required().read_only(),
        ],
    )
    .required()
    .read_only(),
    A::complex(
        "filter",
        &[
            A::of("supported", Kind::Boolean).required().read_only(),
            A::of("maxResults", Kind::Integer).required().read_only(),
        ],
    )
    .required()
    .read_only(),
    A::complex("changePassword", FLAG).required().read_only(),
    A::complex("sort", FLAG).required().read_only(),
    A::complex("etag", FLAG).required().read_only(),
    A::list(
        "authenticationSchemes",
        &[
            A::text("type").required().read_only(),
            A::text("name").required().read_only(),
            A::text("description").required().read_only(),
            A::reference("specUri", &["external"]).read_only(),
            A::reference("documentationUri", &["external"]).read_only(),
            A::of("primary", Kind::Boolean).read_only(),
        ],
    )
    .required()
    .read_only(),
];
const RESOURCE_TYPE_ATTRIBUTES: &[A] = &[
    A::text("name").required().read_only(),
    A::text("description").read_only(),
    A::reference("endpoint", &["uri"]).required().read_only(),
    A::reference("schema", &["uri"]).required().read_only(),
    A::list(
        "schemaExtensions",
        &[
            A::reference("schema", &["uri"]).required().read_only(),
            A::of("required", Kind::Boolean).required().read_only(),
        ],
    )
    .read_only(),
];
const SUB_ATTRIBUTES: &[A] = &[
    A::text("name").required().exact().read_only(),
    A::text("type").required().read_only(),
    A::of("multiValued", Kind::Boolean).required().read_only(),
    A::text("description").read_only(),
    A::of("required", Kind::Boolean).required().read_only(),
    A::text("canonicalValues").many().exact().read_only(),
    A::of("caseExact", Kind::Boolean).read_only(),
    A::text("mutability").exact().read_only(),
    A::text("returned").exact().read_only(),
    A::text("uniqueness").exact().read_only(),
    A::text("referenceTypes").many().exact().read_only(),
];
const SCHEMA_ATTRIBUTES: &[A] = &[
    A::text("name").required().read_only(),
    A::text("description").read_only(),
    A::list("attributes", SUB_ATTRIBUTES).required().read_only(),
];

struct Schema {
    id: &'static str,
    name: &'static str,
    description: &'static str,
    attributes: &'static [A],
}

const SCHEMAS: &[Schema] = &[
    Schema { id: USER, name: "User", description: "A person", attributes: USER_ATTRIBUTES },
    Schema {
        id: ENTERPRISE,
        name: "EnterpriseUser",
        description: "A person in an enterprise",
        attributes: ENTERPRISE_ATTRIBUTES,
    },
    Schema { id: GROUP, name: "Group", description: "A group of people", attributes: GROUP_ATTRIBUTES },
    Schema {
        id: CONFIG,
        name: "ServiceProviderConfig",
        description: "What this server can do",
        attributes: CONFIG_ATTRIBUTES,
    },
    Schema {
        id: RESOURCE_TYPE,
        name: "ResourceType",
        description: "A type of resource",
        attributes: RESOURCE_TYPE_ATTRIBUTES,
    },
    Schema { id: SCHEMA, name: "Schema", description: "A schema", attributes: SCHEMA_ATTRIBUTES },
];

fn meta(kind: &str, location: String) -> Object {
    object! { "resourceType" => kind, "location" => location }
}

/// `/Schemas`, each under its id.
pub(crate) fn schemas(base: &str) -> Vec<(&'static str, Value)> {
    let one = |schema: &Schema| {
        let shown = object! {
            "schemas" => Value::Array(vec![Value::from(SCHEMA)]), "id" => schema.id, "name" => schema.name,
            "description" => schema.description,
            "attributes" => Value::Array(schema.attributes.iter().map(|one| one.to_value()).collect()),
            "meta" => meta("Schema", format!("{base}/Schemas/{}", schema.id)),
        };
        (schema.id, Value::Object(shown))
    };
    SCHEMAS.iter().map(one).collect()
}

/// `/ResourceTypes`, each under its id.
pub(crate) fn resource_types(base: &str) -> Vec<(&'static str, Value)> {
    let one = |name: &'static str, endpoint: &str, schema: &str, extensions: Vec<Value>| {
        let mut shown = object! {
            "schemas" => Value::Array(vec![Value::from(RESOURCE_TYPE)]), "id" => name, "name" => name,
            "endpoint" => endpoint, "schema" => schema,
            "meta" => meta("ResourceType", format!("{base}/ResourceTypes/{name}")),
        };
        if !extensions.is_empty() {
            shown.insert("schemaExtensions", Value::Array(extensions));
        }
        (name, Value::Object(shown))
    };
    let enterprise = Value::Object(object! { "schema" => ENTERPRISE, "required" => false });
    vec![one("User", "/Users", USER, vec![enterprise]), one("Group", "/Groups", GROUP, Vec::new())]
}

/// `/ServiceProviderConfig`.
pub(crate) fn config(base: &str) -> Value {
    let flag = |supported: bool| object! { "supported" => supported };
    let most = u64::try_from(super::MAX_PAGE).unwrap_or(u64::MAX);
    object! {
        "schemas" => Value::Array(vec![Value::from(CONFIG)]),
        "patch" => flag(true),
        "bulk" => object! { "supported" => false, "maxOperations" => 0_u64, "maxPayloadSize" => 0_u64 },
        "filter" => object! { "supported" => true, "maxResults" => most },
        "changePassword" => flag(false),
        "sort" => flag(false),
        "etag" => flag(true),
        "authenticationSchemes" => Value::Array(vec![object! {
            "type" => "oauthbearertoken", "name" => "Bearer token",
            "description" => "A token of the feed, from `placet scim token`", "primary" => true,
        }.into()]),
        "meta" => meta("ServiceProviderConfig", format!("{base}/ServiceProviderConfig")),
    }
    .into()
}
