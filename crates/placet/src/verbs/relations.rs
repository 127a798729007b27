//! `placet facts check|expand|objects|subjects`: questions about relationships to a running server.

use clap::Subcommand;
use placet_json::{Object, Value, object};

use super::common::{Remote, cell};
use crate::{
    admin::{block_on, segment},
    failure::Failure,
    output::{Answer, show},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Question {
    /// Tell whether a subject has a relation on an object: exit status 0 if it has, 1 if not
    #[command(after_help = "Example:\n  placet facts check acme user:maya viewer document:plan")]
    Check {
        /// The tenant
        tenant: String,
        /// The subject, TYPE:ID
        subject: String,
        /// The relation
        relation: String,
        /// The object, TYPE:ID
        object: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show who has a relation on an object, and by which rewrites and tuples
    #[command(after_help = "Example:\n  placet facts expand acme document:plan viewer")]
    Expand {
        /// The tenant
        tenant: String,
        /// The object, TYPE:ID
        object: String,
        /// The relation
        relation: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// List the objects of a type on which a subject has a relation
    #[command(after_help = "Example:\n  placet facts objects acme document viewer user:maya")]
    Objects {
        /// The tenant
        tenant: String,
        /// The objects' type
        #[arg(value_name = "TYPE")]
        kind: String,
        /// The relation
        relation: String,
        /// The subject, TYPE:ID
        subject: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// List who of a type has a relation on an object
    #[command(after_help = "Example:\n  placet facts subjects acme document:plan viewer user")]
    Subjects {
        /// The tenant
        tenant: String,
        /// The object, TYPE:ID
        object: String,
        /// The relation
        relation: String,
        /// The subjects' type
        #[arg(value_name = "TYPE")]
        kind: String,
        #[command(flatten)]
        remote: Remote,
    },
}

impl Question {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        match self {
            Self::Check { tenant, subject, relation, object, remote } => {
                let body = object! { "subject" => subject, "relation" => relation, "object" => object };
                let answer = ask(&remote, &tenant, "check", body)?;
                let allowed = answer.get("allowed").and_then(Value::as_bool).unwrap_or(false);
                show(remote.format, &answer, |_| if allowed { "yes" } else { "no" }.to_owned())?;
                Ok(Answer::of(allowed))
            }
            Self::Expand { tenant, object, relation, remote } => {
                let body = object! { "object" => object, "relation" => relation };
                let answer = ask(&remote, &tenant, "expand", body)?;
                show(remote.format, &answer, |answer| {
                    let mut text = String::new();
                    expansion(answer.get("expansion").unwrap_or(&Value::Null), 0, &mut text);
                    text
                })?;
                Ok(Answer::Yes)
            }
            Self::Objects { tenant, kind, relation, subject, remote } => {
                let body = object! { "type" => kind, "relation" => relation, "subject" => subject };
                let answer = ask(&remote, &tenant, "objects", body)?;
                show(remote.format, &answer, |answer| lines(answer, "objects"))?;
                Ok(Answer::Yes)
            }
            Self::Subjects { tenant, object, relation, kind, remote } => {
                let body = object! { "object" => object, "relation" => relation, "type" => kind.as_str() };
                let answer = ask(&remote, &tenant, "subjects", body)?;
                show(remote.format, &answer, |answer| subjects(answer, &kind))?;
                Ok(Answer::Yes)
            }
        }
    }
}

fn ask(remote: &Remote, tenant: &str, what: &str, body: Object) -> Result<Value, Failure> {
    let path = format!("/v1/tenants/{}/relations/{what}", segment(tenant));
    block_on(remote.server.open()?.post(&path, &body.into()))
}

fn lines(answer: &Value, name: &str) -> String {
    let all = answer.get(name).and_then(Value::as_array).unwrap_or_default();
    if all.is_empty() {
        return "none".to_owned();
    }
    all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

fn subjects(answer: &Value, kind: &str) -> String {
    if answer.get("everyone").and_then(Value::as_bool) != Some(true) {
        return lines(answer, "subjects");
    }
    let except = answer.get("except").and_then(Value::as_array).unwrap_or_default();
    let mut text = format!("{kind}:*");
    for one in except.iter().filter_map(Value::as_str) {
        text.push_str("\nexcept ");
        text.push_str(one);
    }
    text
}

fn line(depth: usize, text: &str, out: &mut String) {
    out.push_str(&"  ".repeat(depth));
    out.push_str(text);
    out.push('\n');
}

fn expansion(value: &Value, depth: usize, out: &mut String) {
    let above = if value.get("shown").is_some() { " (shown above)" } else { "" };
    line(depth, &format!("{}#{}{above}", cell(value, "object"), cell(value, "relation")), out);
    if let Some(below) = value.get("tree") {
        tree(below, depth.saturating_add(1), out);
    }
}

fn tree(value: &Value, depth: usize, out: &mut String) {
    let below = depth.saturating_add(1);
    let list = |name: &str| value.get(name).and_then(Value::as_array);
    if let Some(branches) = list("direct") {
        if branches.is_empty() {
            line(depth, "by tuples: none", out);
            return;
        }
        line(depth, "by tuples", out);
        for branch in branches {
            match branch.as_str() {
                Some(subject) => line(below, subject, out),
                None => expansion(branch, below, out),
            }
        }
    } else if let Some(computed) = value.get("computed") {
        expansion(computed, depth, out);
    } else if let Some(of) = list("of") {
        line(
            depth,
            &format!("by `{}`{}", cell(value, "from"), if of.is_empty() { ": none" } else { "" }),
            out,
        );
        for one in of {
            expansion(one, below, out);
        }
    } else if let Some(parts) = list("union") {
        line(depth, "any of", out);
        for part in parts {
            tree(part, below, out);
        }
    } else if let Some(parts) = list("intersection") {
        line(depth, "all of", out);
        for part in parts {
            tree(part, below, out);
        }
    } else if let (Some(base), Some(except)) = (value.get("base"), value.get("except")) {
        tree(base, depth, out);
        line(depth, "except", out);
        tree(except, below, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expansion_reads_as_a_tree() {
        let text = r#"{"object":"doc:1","relation":"viewer","tree":{"base":{"union":[{"direct":["user:maya","user:*",{"object":"team:x","relation":"member","tree":{"direct":["user:noor"]}}]},{"from":"parent","of":[{"object":"folder:f","relation":"viewer","shown":"above"}]}]},"except":{"computed":{"object":"doc:1","relation":"blocked","tree":{"direct":[]}}}}}"#;
        let value = placet_json::parse(text.as_bytes(), &placet_json::Limits::MESSAGE).unwrap();
        let mut out = String::new();
        expansion(&value, 0, &mut out);
        assert_eq!(
            out,
            "doc:1#viewer\n  any of\n    by tuples\n      user:maya\n      user:*\n      team:x#member\n        by tuples\n          user:noor\n    by `parent`\n      folder:f#viewer (shown above)\n  except\n    doc:1#blocked\n      by tuples: none\n"
        );
    }
}
