//! Which transactions are about somebody or something: who changed it, and when.

use placet_json::Value;

use super::{error::ApiError, read::Query};

/// What a history is about; without anything, about everything. All that is given must be touched by one change.
#[derive(Debug, Clone, Default)]
pub(super) struct About {
    human: Option<String>,
    agent: Option<String>,
    workflow: Option<String>,
    resource: Option<String>,
    subject: Option<String>,
}

impl About {
    pub(super) fn take(query: &mut Query) -> Result<Self, ApiError> {
        let mut id = |name: &str| {
            let id = query.take(name);
            id.map(|id| super::body::named(id.split('#').next().unwrap_or_default(), name).map(|_| id))
                .transpose()
        };
        let about = Self {
            human: id("human")?,
            agent: id("agent")?,
            workflow: id("workflow")?,
            resource: id("resource")?,
            subject: id("subject")?,
        };
        for (name, text) in [("resource", &about.resource), ("subject", &about.subject)] {
            if text.as_ref().is_some_and(|text| !text.contains(':')) {
                return Err(ApiError::malformed(format!("`{name}` has no type"), "write `type:id`"));
            }
        }
        Ok(about)
    }

    pub(super) fn is_everything(&self) -> bool {
        let Self { human, agent, workflow, resource, subject } = self;
        [human, agent, workflow, resource, subject].into_iter().all(Option::is_none)
    }

    /// Whether one of a transaction's changes touches it.
    pub(super) fn is_in(&self, transaction: &Value) -> bool {
        if self.is_everything() {
            return true;
        }
        let changes = transaction.get("changes").and_then(Value::as_array).unwrap_or_default();
        changes.iter().any(|change| {
            let change = change.as_object().and_then(|object| object.iter().next());
            change.is_some_and(|(kind, body)| self.touches(kind, body))
        })
    }

    fn touches(&self, kind: &str, body: &Value) -> bool {
        let Self { human, agent, workflow, resource, subject } = self;
        let holds =
            |wanted: &Option<String>, touches: &dyn Fn(&str) -> bool| wanted.as_deref().is_none_or(touches);
        let is = |member: &str, id: &str| body.get(member).and_then(Value::as_str) == Some(id);
        let own = |of: &str, id: &str| kind.starts_with(of) && is("id", id);
        let (object, by) = tuple(body);
        holds(human, &|id| {
            own("human_", id)
                || ["human", "owner", "approver"].iter().any(|member| is(member, id))
                || ["user", "human"].iter().any(|kind| by.is_some_and(|by| *by == format!("{kind}:{id}")))
        }) && holds(agent, &|id| {
            own("agent_", id)
                || is("agent", id)
                || body.get("what").is_some_and(|what| what.get("agent").and_then(Value::as_str) == Some(id))
                || by.is_some_and(|by| *by == format!("agent:{id}"))
        }) && holds(workflow, &|id| own("workflow_", id) || is("workflow", id))
            && holds(resource, &|text| {
                let (kind_wanted, id) = text.split_once(':').unwrap_or((text, ""));
                object == Some(text)
                    || kind.starts_with("resource_") && is("type", kind_wanted) && is("id", id)
                    || body
                        .get("bindings")
                        .is_some_and(|bound| bound.get(kind_wanted).and_then(Value::as_str) == Some(id))
            })
            && holds(subject, &|text| by == Some(text))
    }
}

/// The object and the subject of a change of tuples.
fn tuple(body: &Value) -> (Option<&str>, Option<&str>) {
    let parts = body.get("tuple").and_then(Value::as_str).and_then(|text| {
        let (object, rest) = text.split_once('#')?;
        Some((object, rest.split_once('@')?.1))
    });
    parts.unzip()
}

#[cfg(test)]
mod tests {
    use placet_json::{Limits, parse};

    use super::*;

    fn touched(about: &str, change: &str) -> bool {
        let mut query = Query::parse(Some(about)).unwrap();
        let about = About::take(&mut query).unwrap();
        query.finish().unwrap();
        let transaction = format!(r#"{{"changes":[{{"tenant_created":{{"id":"maya"}}}},{change}]}}"#);
        about.is_in(&parse(transaction.as_bytes(), &Limits::MESSAGE).unwrap())
    }

    #[test]
    fn a_change_is_about_whom_and_what_it_names() {
        let delegated =
            r#"{"delegation_granted":{"id":"dg-1","human":"maya","agent":"agent-7","workflow":"wf-9"}}"#;
        let opened =
            r#"{"workflow_opened":{"id":"wf-9","owner":"maya","bindings":{"support_case":"CASE-1"}}}"#;
        let tuple = r#"{"tuple_added":{"tuple":"support_case:CASE-1#assignee@user:maya"}}"#;
        let group = r#"{"tuple_added":{"tuple":"support_case:CASE-1#viewer@team:billing#member"}}"#;
        let frozen = r#"{"frozen":{"what":{"agent":"agent-7"}}}"#;
        for (about, change, touches) in [
            ("", tuple, true),
            ("human=maya", r#"{"human_standing":{"human":"maya","standing":"suspended"}}"#, true),
            ("human=maya", r#"{"human_set":{"id":"maya"}}"#, true),
            ("human=maya", r#"{"workflow_closed":{"id":"maya"}}"#, false),
            ("human=maya", delegated, true),
            ("human=may", delegated, false),
            ("human=maya&agent=agent-7&workflow=wf-9", delegated, true),
            ("human=maya&agent=agent-8", delegated, false),
            ("human=maya", tuple, true),
            ("agent=agent-7", frozen, true),
            ("agent=agent-8", frozen, false),
            ("workflow=wf-9", opened, true),
            ("resource=support_case:CASE-1", opened, true),
            ("resource=support_case:CASE-1", tuple, true),
            ("resource=support_case:CASE-10", tuple, false),
            (
                "resource=support_case:CASE-1",
                r#"{"resource_removed":{"type":"support_case","id":"CASE-1"}}"#,
                true,
            ),
            ("subject=user:maya", tuple, true),
            ("subject=team:billing%23member", group, true),
            ("subject=team:billing", group, false),
        ] {
            assert_eq!(touched(about, change), touches, "{about} in {change}");
        }
    }

    #[test]
    fn an_id_outside_the_alphabet_or_without_a_type_is_refused() {
        for query in ["human=a%20b", "resource=case", "subject=%3Cx%3E:y"] {
            assert!(About::take(&mut Query::parse(Some(query)).unwrap()).is_err(), "{query}");
        }
    }
}
