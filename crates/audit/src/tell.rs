//! A decision's story in words, for a manager or an auditor.

use std::fmt;

use placet_core::{Digest, Found, LookedUp};
use placet_json::{Object, Value};
use placet_record::sealed::{Shut, missing};

use crate::{Given, Story};

impl Story {
    fn text(&self, pointer: &str) -> &str {
        self.decision.document.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }
    fn list(&self, pointer: &str) -> &[Value] {
        self.decision.document.pointer(pointer).and_then(Value::as_array).unwrap_or_default()
    }
    /// Where the record has what was asked.
    fn of(&self) -> &'static str {
        if self.decision.document.get("call").is_some() { "/call" } else { "/attempt" }
    }

    fn headline(&self) -> String {
        let of = self.of();
        let resources: Vec<String> = self.list(&format!("{of}/resources")).iter().map(resource).collect();
        let on = if resources.is_empty() { String::new() } else { format!(" on {}", resources.join(", ")) };
        let verdict = if self.decision.permit { "Permitted" } else { "Denied" };
        format!(
            "{verdict}: {} by {}{on}, for {}",
            self.text(&format!("{of}/action")),
            self.text("/agent"),
            self.text("/human")
        )
    }

    fn person(&self) -> String {
        let roles = self
            .list("/input/delegating_user/roles")
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        let status = self.text("/input/delegating_user/status");
        let known = if status.is_empty() { String::new() } else { format!(" ({status}, as {roles})") };
        format!("{}{known}, by delegation {}", self.text("/human"), self.text("/delegation"))
    }

    fn chain(&self) -> String {
        let agents = self.list("/chain").iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" → ");
        let of = self.text("/input/agent/type");
        if of.is_empty() {
            format!("{} → {agents}", self.text("/human"))
        } else {
            format!("{} → {agents} ({of})", self.text("/human"))
        }
    }

    fn asked(&self) -> String {
        if let placet_record::AskedRecord::Call(call) = &self.decision.asked {
            let filled = call
                .bound
                .iter()
                .map(|bound| format!("{} from {}", bound.argument, bound.from))
                .collect::<Vec<_>>()
                .join(", ");
            let filled = if filled.is_empty() { filled } else { format!(" (filled in: {filled})") };
            return format!("{}.{} {}{filled}", call.upstream, call.tool, call.arguments.as_str());
        }
        format!("{} {}", self.text("/attempt/method"), self.text("/attempt/target"))
    }

    fn because(&self) -> Vec<String> {
        let place = |policy: &str, at: &str| {
            [policy, at].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" at ")
        };
        let get = |value: &Value, name: &str| {
            value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let reasons = self.list("/reasons").iter().map(|reason| {
            let by = place(&get(reason, "policy"), &get(reason, "at"));
            let by = if by.is_empty() { "the platform's own rule".to_owned() } else { by };
            format!("{} ({}; {by})", get(reason, "operator"), get(reason, "code"))
        });
        let rules = self
            .list("/determining")
            .iter()
            .map(|rule| format!("rule {}", place(&get(rule, "policy"), &get(rule, "at"))));
        if self.decision.permit { rules.collect() } else { reasons.collect() }
    }

    /// What lookups had for it.
    fn looked_up(&self) -> Vec<String> {
        let placet_record::AskedRecord::Call(call) = &self.decision.asked else { return Vec::new() };
        let one = |looked: &LookedUp| {
            let LookedUp { lookup, resource, .. } = looked;
            match &looked.found {
                Found::Nothing(why) => format!("{resource} by {lookup}: nothing, {why}"),
                Found::Read(_) | Found::Kept(_) => {
                    format!("{resource} by {lookup}, {} ms old", looked.age().unwrap_or_default())
                }
            }
        };
        call.lookups.iter().map(one).collect()
    }

    /// The attributes of the input that the call and its resource brought, and the labels.
    fn input(&self) -> Option<String> {
        let input = self.decision.input.as_ref()?;
        let names = self
            .list("/call/attributes")
            .iter()
            .filter_map(|attribute| attribute.get("name").and_then(Value::as_str));
        let mut shown: Vec<String> =
            names.filter_map(|name| Some(format!("{name} = {}", plain(input.get(name)?)))).collect();
        let resource = input.get("resource").and_then(Value::as_object).into_iter().flat_map(Object::iter);
        shown.extend(
            resource
                .filter(|(name, _)| !matches!(*name, "type" | "id"))
                .map(|(name, value)| format!("resource.{name} = {}", plain(value))),
        );
        if let Some(labels) = input
            .pointer("/flow/labels")
            .filter(|labels| labels.as_array().is_some_and(|labels| !labels.is_empty()))
        {
            shown.push(format!("flow.labels = {labels}"));
        }
        Some(shown.join("; "))
    }

    fn credential(&self) -> Option<String> {
        let (_, _, effect) = self.effect.as_ref()?;
        let text = |name: &str| {
            effect
                .document
                .pointer(&format!("/credential/{name}"))
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        Some(match text("kind") {
            "call-token" => format!(
                "a token for this call, {}, for {}, until {}",
                text("jti"),
                text("audience"),
                text("expires")
            ),
            "vault" => format!(
                "the secret `{}` of the vault, version {}",
                text("name"),
                effect.document.pointer("/credential/version").map(plain).unwrap_or_default()
            ),
            "process" => "the tool's own process has what it needs".to_owned(),
            "unneeded" => "the tool takes none".to_owned(),
            "none" => "none was made".to_owned(),
            other => other.to_owned(),
        })
    }

    fn lacks(&self, place: &str) -> bool {
        self.decision.missing.iter().any(|(at, _)| at == place)
    }

    /// What of decision and effect stays shut, and why.
    fn sealed(&self) -> Option<String> {
        let effect = self.effect.as_ref().map(|(_, _, effect)| missing(&effect.document)).unwrap_or_default();
        let all: Vec<_> = self.decision.missing.iter().chain(&effect).collect();
        let why = all.iter().map(|(_, shut)| *shut).max()?;
        let why = match why {
            Shut::Erased => "erased",
            Shut::NoKey => "no key here",
            Shut::Altered => "altered",
        };
        let mut places: Vec<&str> = all.iter().map(|(at, _)| at.trim_start_matches('/')).collect();
        places.sort_unstable();
        places.dedup();
        Some(format!("{why}: {}", places.join(", ")))
    }

    fn ending(&self) -> String {
        let Some((sequence, time, effect)) = &self.effect else {
            return if self.decision.permit {
                "not recorded yet".to_owned()
            } else {
                "none: nothing was sent".to_owned()
            };
        };
        let sent = effect
            .document
            .get("sent")
            .and_then(Value::as_u64)
            .map_or_else(|| "an unknown number of".to_owned(), |sent| sent.to_string());
        let detail = effect
            .document
            .get("detail")
            .and_then(Value::as_str)
            .filter(|detail| !detail.is_empty())
            .map(|detail| format!(": {detail}"))
            .unwrap_or_default();
        let answer = effect
            .document
            .get("answer_sha256")
            .and_then(Value::as_str)
            .map(|digest| format!(", answer {digest}"))
            .unwrap_or_default();
        format!("{} at {time}, {sent} bytes sent{answer}{detail} (record {sequence})", effect.ending)
    }
}

impl fmt::Display for Story {
    /// For a manager or an auditor: about fifteen lines.
    #[expect(clippy::too_many_lines, reason = "the story, one line after the other")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequence, recorded: _, decision, effect, amendment, approvals, proof } = self;
        let mut lines = Vec::new();
        lines.push((
            "decision",
            format!(
                "{} at {}, record {sequence} of tenant {}",
                decision.id,
                decision.time,
                decision.grant.workflow.tenant()
            ),
        ));
        lines.push(("for", self.person()));
        lines.push(("chain", self.chain()));
        let kind = Some(self.text("/input/workflow/type"))
            .filter(|kind| !kind.is_empty())
            .map(|kind| format!(" ({kind})"))
            .unwrap_or_default();
        lines
            .push(("workflow", format!("{}{kind}, intent {}", self.text("/workflow"), self.text("/intent"))));
        lines.push(("asked", self.asked()));
        lines.extend(self.because().into_iter().map(|why| ("because", why)));
        for Given { sequence, time, approval } in approvals {
            let get = |name: &str| approval.get(name).and_then(Value::as_str).unwrap_or_default();
            lines.push((
                "approved",
                format!(
                    "{} by {} as {} at {time}, for this call only (record {sequence})",
                    get("name"),
                    get("approver"),
                    get("role")
                ),
            ));
        }
        if !self.text("/remedy/approval").is_empty() {
            lines.push((
                "remedy",
                format!(
                    "{} by somebody with the role {}",
                    self.text("/remedy/approval"),
                    self.text("/remedy/role")
                ),
            ));
        }
        lines.push(("input", self.input().unwrap_or_default()));
        match &decision.basis {
            Some(basis) => {
                lines.push((
                    "facts",
                    format!(
                        "revision {}, {} ms old; input {}",
                        basis.revision,
                        basis.freshness.age(),
                        if self.lacks("/input_sha256") {
                            "sealed".to_owned()
                        } else {
                            shown_input(&basis.input)
                        }
                    ),
                ));
                lines.push(("release", basis.release.to_string()));
            }
            None => {
                lines.push(("facts", "none: it was refused before facts and policy were asked".to_owned()));
            }
        }
        lines.extend(self.sealed().map(|sealed| ("sealed", sealed)));
        lines.push(("credential", self.credential().unwrap_or_default()));
        if let Some(downstream) = effect
            .as_ref()
            .and_then(|(_, _, effect)| effect.document.get("downstream"))
            .filter(|downstream| !downstream.is_null())
        {
            let get = |name: &str| downstream.get(name).and_then(Value::as_str).unwrap_or_default();
            lines.push((
                "downstream",
                format!("{}.{}, arguments {}", get("upstream"), get("tool"), get("arguments_sha256")),
            ));
        }
        lines.push(("effect", self.ending()));
        if let Some((sequence, time, found)) = amendment {
            let what = found_out(found.happened, found.returned);
            let told = [&found.how, &found.why].into_iter().find(|text| !text.is_empty());
            let told = told.map(|text| format!(": {text}")).unwrap_or_default();
            lines.push((
                "found out",
                format!("{what}, says {} at {time}{told} (record {sequence})", found.by),
            ));
        }
        lines.extend(self.looked_up().into_iter().map(|looked| ("looked up", looked)));
        lines.push((
            "proof",
            match proof {
                Ok(proof) => format!(
                    "leaf {} of the {} that {} signs, root {}",
                    proof.leaf, proof.checkpoint.size, proof.checkpoint.origin, proof.checkpoint.root
                ),
                Err(why) => format!("none: {why}"),
            },
        ));
        writeln!(f, "{}", self.headline())?;
        for (title, text) in lines.iter().filter(|(_, text)| !text.is_empty()) {
            writeln!(f, "  {title:<11}{text}")?;
        }
        Ok(())
    }
}

fn found_out(happened: bool, returned: bool) -> &'static str {
    match (happened, returned) {
        (true, _) => "it happened",
        (false, true) => "it did not happen, so what it took came back",
        (false, false) => "it did not happen",
    }
}

fn shown_input(digest: &Digest) -> String {
    if *digest == Digest::of(b"") {
        "none, refused before policy was asked".to_owned()
    } else {
        digest.to_string()
    }
}

fn resource(value: &Value) -> String {
    let get = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    format!("{}:{}", get("type"), get("id"))
}

/// A value without the quotes of a text.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
