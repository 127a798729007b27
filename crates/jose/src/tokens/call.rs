//! The call token: one permitted call, to one upstream, with exactly these bytes, within seconds.

use placet_json::{Object, Value};

use crate::claims::{Claims, Members};
use crate::digest::ContentDigest;
use crate::htu::Htu;
use crate::keys::Thumbprint;
use crate::refused::Refused;
use crate::tokens::{ActorChain, ResourceRef, cnf, one_detail};

const DETAIL: &str = "placet_call";

/// Made from one warrant; its `jti` is the warrant, so that it counts once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallToken {
    /// The human for whom the call is made.
    pub sub: String,
    /// The agents, current one first.
    pub act: ActorChain,
    /// The warrant.
    pub jti: String,
    /// The decision (`txn`, RFC 8417 §2.2), by which both sides' records meet.
    pub txn: String,
    /// The gateway's sender key, which the proof must show.
    pub key: Thumbprint,
    /// The request that was permitted.
    pub req: SignedRequest,
    /// What was permitted, in the catalog's terms.
    pub detail: CallDetail,
}

/// Method, URL, query and body of the one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRequest {
    /// The method.
    pub htm: String,
    /// The URL, in normal form.
    pub htu: Htu,
    /// SHA-256 of the query's bytes, where there is one: `htu` has none.
    pub query: Option<ContentDigest>,
    /// SHA-256 of the body's bytes.
    pub digest: ContentDigest,
}

/// The one member of `authorization_details`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallDetail {
    /// The tenant.
    pub tenant: String,
    /// The action.
    pub action: String,
    /// The resource, if the action has one.
    pub resource: Option<ResourceRef>,
    /// The amount as a plain decimal, if the action has one.
    pub amount: Option<String>,
}

impl Claims for CallToken {
    const TYP: &'static str = "placet-call+jwt";
    const MAX_LIFE: u64 = 30;

    fn read(members: &mut Members) -> Result<Self, Refused> {
        Ok(Self {
            sub: members.text("sub")?,
            act: ActorChain::read(members)?,
            jti: members.jti()?,
            txn: members.text("txn")?,
            key: members.binding()?,
            req: SignedRequest::read(members.value("req")?)?,
            detail: CallDetail::read(one_detail(members, DETAIL)?)?,
        })
    }

    fn write(&self, payload: &mut Object) {
        let Self { sub, act, jti, txn, key, req, detail } = self;
        payload.insert("sub", sub.as_str());
        payload.insert("act", act.write());
        payload.insert("jti", jti.as_str());
        payload.insert("txn", txn.as_str());
        payload.insert("cnf", cnf(key));
        payload.insert("req", req.write());
        payload.insert("authorization_details", Value::Array(vec![detail.write()]));
    }
}

impl SignedRequest {
    fn read(value: Value) -> Result<Self, Refused> {
        let mut members = Members::of(value, "req")?;
        let request = Self {
            htm: members.text("htm")?,
            htu: Htu::parse(&members.text("htu")?).map_err(|_| Refused::Claim("htu"))?,
            query: match members.optional_text("query")? {
                Some(text) => Some(ContentDigest::parse(&text).map_err(|_| Refused::Claim("query"))?),
                None => None,
            },
            digest: ContentDigest::parse(&members.text("digest")?).map_err(|_| Refused::Claim("digest"))?,
        };
        members.finish()?;
        Ok(request)
    }

    fn write(&self) -> Value {
        let mut object = Object::new();
        object.insert("htm", self.htm.as_str());
        object.insert("htu", self.htu.as_str());
        if let Some(query) = &self.query {
            object.insert("query", query.to_string());
        }
        object.insert("digest", self.digest.to_string());
        Value::Object(object)
    }
}

impl CallDetail {
    fn read(mut members: Members) -> Result<Self, Refused> {
        let detail = Self {
            tenant: members.text("tenant")?,
            action: members.text("action")?,
            resource: members.optional("resource").map(ResourceRef::read).transpose()?,
            amount: members.optional_text("amount")?,
        };
        members.finish()?;
        Ok(detail)
    }

    fn write(&self) -> Value {
        let Self { tenant, action, resource, amount } = self;
        let mut object = Object::new();
        object.insert("type", DETAIL);
        object.insert("tenant", tenant.as_str());
        object.insert("action", action.as_str());
        if let Some(resource) = resource {
            object.insert("resource", resource.write());
        }
        if let Some(amount) = amount {
            object.insert("amount", amount.as_str());
        }
        Value::Object(object)
    }
}
