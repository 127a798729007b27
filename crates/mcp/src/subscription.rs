//! What a client wants to hear of: `subscriptions/listen` in the modern era, `resources/subscribe` in the legacy one.

use placet_json::{Object, Value, object};

use crate::{Id, Message, Method, RpcError, meta};

/// Most resources that one subscription may name.
pub const MAX_RESOURCES: usize = 1000;

/// The kinds of notification that a client opts in to; nothing else may be sent to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// `notifications/tools/list_changed`
    pub tools: bool,
    /// `notifications/prompts/list_changed`
    pub prompts: bool,
    /// `notifications/resources/list_changed`
    pub resources: bool,
    /// `notifications/resources/updated` of these URIs.
    pub uris: Vec<String>,
}

impl Filter {
    /// Reads the parameters of `subscriptions/listen`. Kinds that are not known here are not subscribed to: the
    /// acknowledgement says what is.
    pub fn parse(params: &Object) -> Result<Self, RpcError> {
        let wanted = params.get("notifications").and_then(Value::as_object);
        let wanted = wanted.ok_or_else(|| RpcError::invalid_params("`notifications` is missing"))?;
        let flag = |name: &str| match wanted.get(name) {
            None => Ok(false),
            Some(Value::Bool(wanted)) => Ok(*wanted),
            Some(_) => Err(RpcError::invalid_params(format!("`{name}` is neither true nor false"))),
        };
        let uris = match wanted.get("resourceSubscriptions") {
            None => Some(Vec::new()),
            Some(Value::Array(uris)) if uris.len() <= MAX_RESOURCES => {
                uris.iter().map(|uri| uri.as_str().map(str::to_owned)).collect()
            }
            Some(_) => None,
        };
        Ok(Self {
            tools: flag("toolsListChanged")?,
            prompts: flag("promptsListChanged")?,
            resources: flag("resourcesListChanged")?,
            uris: uris
                .ok_or_else(|| RpcError::invalid_params("`resourceSubscriptions` is not a list of URIs"))?,
        })
    }

    /// The `notifications` member of a request or an acknowledgement.
    #[must_use]
    pub fn to_object(&self) -> Object {
        let mut wanted = Object::new();
        for (name, flag) in [
            ("toolsListChanged", self.tools),
            ("promptsListChanged", self.prompts),
            ("resourcesListChanged", self.resources),
        ] {
            if flag {
                wanted.insert(name, true);
            }
        }
        if !self.uris.is_empty() {
            let uris: Vec<Value> = self.uris.iter().map(Value::from).collect();
            wanted.insert("resourceSubscriptions", uris);
        }
        wanted
    }

    /// Whether a notification may be sent to this subscriber.
    #[must_use]
    pub fn wants(&self, method: Method, params: &Object) -> bool {
        if method == Method::ResourcesUpdated {
            let uri = params.get("uri").and_then(Value::as_str);
            return uri.is_some_and(|uri| self.uris.iter().any(|own| own == uri));
        }
        (method == Method::ToolsListChanged && self.tools)
            || (method == Method::PromptsListChanged && self.prompts)
            || (method == Method::ResourcesListChanged && self.resources)
    }

    /// Whether it asks for nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The first message of a stream: what of the request was accepted.
    #[must_use]
    pub fn acknowledgement(&self, subscription: &Id) -> Message {
        let params = object! {
            "_meta" => object! { meta::SUBSCRIPTION_ID => subscription.to_value() },
            "notifications" => self.to_object(),
        };
        Message::Notification {
            method: Method::SubscriptionsAcknowledged.name().to_owned(),
            params: Some(params),
        }
    }
}

/// The result by which a subscription ends in order.
#[must_use]
pub fn end(subscription: Id) -> Message {
    let result = object! {
        "_meta" => object! { meta::SUBSCRIPTION_ID => subscription.to_value() },
        crate::result::RESULT_TYPE => crate::result::ResultType::Complete.name(),
    };
    Message::result(subscription, result)
}

/// The `uri` of `resources/subscribe`, `resources/unsubscribe`, `resources/read` or `notifications/resources/updated`.
pub fn uri(params: &Object) -> Result<&str, RpcError> {
    params.get("uri").and_then(Value::as_str).ok_or_else(|| RpcError::invalid_params("`uri` is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use placet_json::{Limits, parse};

    fn json(text: &str) -> Object {
        parse(text.as_bytes(), &Limits::MESSAGE).unwrap().into_object().unwrap()
    }

    #[test]
    fn mcp_6_a_subscriber_hears_only_what_it_asked_for() {
        let filter = Filter::parse(&json(
            r#"{"notifications":{"toolsListChanged":true,"promptsListChanged":false,"resourceSubscriptions":["a"],"other":1}}"#,
        ))
        .unwrap();
        let uri = |uri: &str| object! { "uri" => uri };
        assert!(filter.wants(Method::ToolsListChanged, &Object::new()));
        assert!(filter.wants(Method::ResourcesUpdated, &uri("a")));
        for (method, params) in [
            (Method::PromptsListChanged, Object::new()),
            (Method::ResourcesListChanged, Object::new()),
            (Method::ResourcesUpdated, uri("ab")),
            (Method::ResourcesUpdated, uri("A")),
            (Method::ResourcesUpdated, Object::new()),
            (Method::LogMessage, Object::new()),
        ] {
            assert!(!filter.wants(method, &params), "{method} {params:?}");
        }
        assert_eq!(
            filter.acknowledgement(&"s".into()).into_value().to_string(),
            r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"s"},"notifications":{"toolsListChanged":true,"resourceSubscriptions":["a"]}}}"#
        );
        let acknowledged =
            json(r#"{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["a"]}}"#);
        assert_eq!(Filter::parse(&acknowledged), Ok(filter));
        assert!(Filter::parse(&json(r#"{"notifications":{}}"#)).unwrap().is_empty());
    }

    #[test]
    fn malformed_subscriptions_are_refused() {
        for params in [
            "{}",
            r#"{"notifications":[]}"#,
            r#"{"notifications":{"toolsListChanged":1}}"#,
            r#"{"notifications":{"resourceSubscriptions":"a"}}"#,
            r#"{"notifications":{"resourceSubscriptions":[1]}}"#,
        ] {
            assert_eq!(Filter::parse(&json(params)).expect_err(params).code, -32602);
        }
        let many = vec![Value::from("a"); MAX_RESOURCES + 1];
        let params = object! { "notifications" => object! { "resourceSubscriptions" => many } };
        assert!(Filter::parse(&params).is_err());
    }

    #[test]
    fn an_end_names_its_subscription() {
        assert_eq!(
            end(7.into()).into_value().to_string(),
            r#"{"jsonrpc":"2.0","id":7,"result":{"_meta":{"io.modelcontextprotocol/subscriptionId":7},"resultType":"complete"}}"#
        );
    }
}
