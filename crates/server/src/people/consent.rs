//! The consent page: what an agent asks for as *we* read it, and a person's answer.
//!
//! Everything on the page is from our facts; of the client there is one note, marked as its own. The person may take
//! away from what was asked and add nothing. Their yes is one entry: the delegation, and that it was consented to, how
//! they had signed in, and the hash of what they agreed to.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, Uri};
use maud::{Markup, html};
use placet_core::{
    Agent, Decimal, Delegation, DelegationId, DelegationState, Digest, Grantor, Name, Scope, Timestamp,
    Workflow,
};
use placet_facts::{Change, ConsentAnswer, ConsentChange, ConsentRequest, Place, TenantFacts, World};
use placet_oauth::{
    code::{CODE_LIFE, REQUEST_URI, answer_url, redirect_origin},
    form::Form,
};

use super::{
    People, Signed,
    pages::{Page, shown},
    seal::is_ours,
    see,
    sign_in::{again, first},
};
use crate::{
    authorize::{hash, secret},
    settings::DEVELOPMENT,
};

type Shared = State<Arc<People>>;

/// A question to this person, with what stands around it.
struct Question<'w> {
    facts: &'w TenantFacts,
    asked: &'w ConsentRequest,
    agent: &'w Agent,
    workflow: &'w Workflow,
}

/// Why there is no question.
enum NoQuestion {
    /// A page that says so.
    Page(Page),
    /// They must show more strongly, or anew, who they are: by this class, if one is named.
    StepUp(Option<String>),
}

/// `GET /oauth/authorize?client_id=…&request_uri=…`
pub(super) async fn show(State(people): Shared, uri: Uri, headers: HeaderMap) -> Response {
    let query = Form::parse(uri.query().unwrap_or_default().as_bytes()).ok();
    let member = |name: &str| query.as_ref().and_then(|query| query.get(name));
    let (Some(client), Some(request)) = (member("client_id"), member("request_uri")) else {
        return no_question().into_response();
    };
    let to = way(client, request);
    if !is_ours(&to) {
        return no_question().into_response();
    }
    let Some(signed) = people.signed(&headers) else { return first(&to) };
    let world = people.books.live().world();
    match people.question(&world, &signed, client, request) {
        Ok(question) => people.page(&signed, &question, request).into_response(),
        Err(NoQuestion::Page(page)) => page.into_response(),
        Err(NoQuestion::StepUp(class)) => again(&signed, &to, class.as_deref()),
    }
}

/// `POST /oauth/authorize`: yes or no.
pub(super) async fn answer(State(people): Shared, headers: HeaderMap, body: Body) -> Response {
    let form = match people.posted(&headers, body).await {
        Ok(form) => form,
        Err(page) => return page.into_response(),
    };
    let (Some(client), Some(request)) = (form.get("client_id"), form.get("request_uri")) else {
        return no_question().into_response();
    };
    let to = way(client, request);
    let Some(signed) = people.signed(&headers) else {
        return if is_ours(&to) { first(&to) } else { no_question().into_response() };
    };
    if !people.seals.is_form(&signed.cookie, &about(request), form.get("form").unwrap_or_default()) {
        people.metrics.refused("form");
        return Page::refused("This form is of another session.", "Load the page anew, and answer again.")
            .into_response();
    }
    match people.answered(&signed, &form, client, request).await {
        Ok(url) => see(&url, []),
        Err(NoQuestion::Page(page)) => page.into_response(),
        Err(NoQuestion::StepUp(class)) => again(&signed, &to, class.as_deref()),
    }
}

impl People {
    /// The question that this is, if it is one to this person, and they may answer it now. One that isn't there, was
    /// answered, is past or is others' looks alike.
    fn question<'w>(
        &self,
        world: &'w World,
        signed: &Signed,
        client: &str,
        request: &str,
    ) -> Result<Question<'w>, NoQuestion> {
        let now = self.books.now();
        let none = || NoQuestion::Page(no_question());
        let id = request.strip_prefix(REQUEST_URI).and_then(|secret| hash("request_uri", secret));
        let id = id.ok_or_else(none)?;
        let found = world
            .tenants()
            .filter(|facts| signed.acts_in(facts.id()))
            .filter(|facts| facts.assignment(signed.human()).is_some_and(|it| it.until.lives(now)))
            .find_map(|facts| Some((facts, facts.asked(&id)?)));
        let (facts, asked) = found.filter(|(_, asked)| asked.until > now).ok_or_else(none)?;
        let agent = world.organisation().agent(&asked.agent).filter(|agent| agent.id.as_str() == client);
        let agent = agent.ok_or_else(none)?;
        let workflow = facts.workflow(&asked.workflow).ok_or_else(none)?;
        let question = Question { facts, asked, agent, workflow };
        self.strong_enough(signed, workflow, now)?;
        Ok(question)
    }

    /// Whether they have shown who they are as the workflow's type wants it of a consent (RFC 9470).
    fn strong_enough(&self, signed: &Signed, workflow: &Workflow, now: Timestamp) -> Result<(), NoQuestion> {
        let release = self.books.release();
        let kind = release.as_ref().and_then(|release| release.workflow_types().get(&workflow.kind));
        let Some(wanted) = kind.and_then(|kind| kind.consent.as_ref()) else { return Ok(()) };
        let by = &signed.session.by;
        let classed = wanted.acr.is_empty()
            || by.class.as_ref().is_some_and(|class| wanted.acr.iter().any(|wanted| wanted == class));
        let lately = wanted.max_age.is_none_or(|most| now.since(by.at) <= most);
        if classed && lately {
            return Ok(());
        }
        if by.provider.as_str() == DEVELOPMENT {
            return Err(NoQuestion::Page(Page::refused(
                "This workflow asks for a stronger sign-in than the development one.",
                "Sign in by a provider, or use a workflow of another type.",
            )));
        }
        Err(NoQuestion::StepUp(if classed { None } else { wanted.acr.first().cloned() }))
    }

    fn page(&self, signed: &Signed, question: &Question<'_>, request: &str) -> Page {
        let Question { facts, asked, agent, workflow } = question;
        let form = self.seals.form(&signed.cookie, &about(request));
        let origin = redirect_origin(&asked.redirect_uri).unwrap_or_default();
        let Scope { actions, intents, limits, ends, depth } = &asked.scope;
        let body = html! {
            nav { span { "Signed in as " strong { (signed.human().as_str()) } } a href="/me" { "What acts in your name" } }
            h1 { "May " (agent.id.as_str()) " act for you?" }
            dl {
                dt { "Agent" } dd { (agent.id.as_str()) " (" (agent.kind.as_str()) ")" }
                dt { "Accountable" } dd { (agent.owner.as_str()) }
                dt { "Tenant" } dd { (facts.id().as_str()) }
                dt { "Workflow" } dd { (workflow.id.local().as_str()) " (" (workflow.kind.as_str()) "), of " (workflow.owner.as_str()) }
                @for (kind, id) in &workflow.bindings { dt { "About" } dd { (kind.as_str()) " " (id.as_str()) } }
                @if *depth > 0 { dt { "Passes on" } dd { "to other agents, " (depth) " deep" } }
                dt { "Answer goes to" } dd { (shown(&origin)) }
            }
            @if !asked.note.is_empty() {
                p { "The agent's own words, which nobody checked and which decide nothing:" }
                blockquote { (shown(&asked.note)) }
            }
            form method="post" action="/oauth/authorize" {
                input type="hidden" name="form" value=(form);
                input type="hidden" name="client_id" value=(agent.id.as_str());
                input type="hidden" name="request_uri" value=(request);
                (boxes("It may", "action", actions))
                (boxes("For", "intent", intents))
                fieldset {
                    legend { "Within" }
                    @for (name, limit) in limits {
                        label { (name.as_str()) " at most "
                            input type="text" name=(format!("limit:{name}")) value=(limit.to_string()) inputmode="decimal"; }
                    }
                    label { "until " input type="text" name="ends" value=(ends.to_string()); }
                    p { "You may take away and lower; nothing can be added." }
                }
                button type="submit" name="answer" value="yes" { "Yes, it may" } " "
                button.no type="submit" name="answer" value="no" { "No" }
            }
        };
        Page::new("An agent asks", body).onward(origin)
    }

    async fn answered(
        &self,
        signed: &Signed,
        form: &Form,
        client: &str,
        request: &str,
    ) -> Result<String, NoQuestion> {
        let world = self.books.live().world();
        let question = self.question(&world, signed, client, request)?;
        let (tenant, asked) = (question.facts.id().clone(), question.asked);
        let author = signed.author().ok_or_else(|| NoQuestion::Page(no_question()))?;
        let (changes, answer, why) = match form.get("answer") {
            Some("yes") => {
                let (delegation, code, changes) = self.yes(signed, &question, form)?;
                (changes, ("code", code), format!("consents to {delegation}"))
            }
            Some("no") => {
                let change = Change::Consent(ConsentChange::Declined(asked.id.clone()));
                (vec![change], ("error", "access_denied".to_owned()), "declines".to_owned())
            }
            _ => return Err(wrong("Say yes or no.")),
        };
        self.commit(author, Place::Tenant(tenant), changes, why).await.map_err(|error| {
            tracing::warn!(%error, "a consent could not be recorded");
            NoQuestion::Page(Page::failed(
                StatusCode::CONFLICT,
                "Your answer could not be recorded. Let the agent ask again.",
            ))
        })?;
        let mut parameters = vec![(answer.0, answer.1.as_str())];
        parameters.extend(asked.state.as_deref().map(|state| ("state", state)));
        parameters.push(("iss", &self.url));
        Ok(answer_url(&asked.redirect_uri, &parameters))
    }

    /// The delegation's id, the code, and the changes that a yes is.
    fn yes(
        &self,
        signed: &Signed,
        question: &Question<'_>,
        form: &Form,
    ) -> Result<(Name, String, Vec<Change>), NoQuestion> {
        let down =
            || NoQuestion::Page(Page::failed(StatusCode::SERVICE_UNAVAILABLE, "This can't be done now."));
        let now = self.books.now();
        let scope = narrowed(&question.asked.scope, form, now).map_err(|what| wrong(&what))?;
        let local =
            secret().and_then(|id| Name::new(&format!("dg_{}", id.get(..22)?)).ok()).ok_or_else(down)?;
        let id = DelegationId::new(question.facts.id().clone(), local.clone());
        let delegation = Delegation {
            id: id.clone(),
            human: signed.human().clone(),
            agent: question.agent.id.clone(),
            workflow: question.workflow.id.clone(),
            grantor: Grantor::Human,
            scope,
            state: DelegationState::Live,
        };
        let release = self.books.release().ok_or_else(down)?;
        release
            .admits_delegation(&delegation, question.workflow, question.agent)
            .map_err(|unfit| wrong(&unfit.to_string()))?;
        let code = secret().ok_or_else(down)?;
        let granted = Change::DelegationGranted(delegation);
        let canonical = granted.to_value().canonical().map_err(|_| down())?;
        let answer = ConsentAnswer {
            request: question.asked.id.clone(),
            delegation: id,
            human: signed.human().clone(),
            by: signed.session.by.clone(),
            authority: Digest::from_bytes(canonical.digest()),
            code: hash("code", &code).ok_or_else(down)?,
            code_until: Timestamp::from_secs(now.secs().saturating_add(CODE_LIFE)),
        };
        Ok((local, code, vec![granted, Change::Consent(ConsentChange::Given(answer))]))
    }
}

/// What was asked for, less what the person took away. What they write wider is refused and not cut, so that nobody
/// believes to have said something else than they did.
fn narrowed(asked: &Scope, form: &Form, now: Timestamp) -> Result<Scope, String> {
    let kept = |what: &str, names: &BTreeSet<Name>| -> BTreeSet<Name> {
        names.iter().filter(|name| form.get(&format!("{what}:{name}")) == Some("on")).cloned().collect()
    };
    let (actions, intents) = (kept("action", &asked.actions), kept("intent", &asked.intents));
    if actions.is_empty() || intents.is_empty() {
        return Err("Leave at least one action and one purpose, or say no.".to_owned());
    }
    let mut limits = std::collections::BTreeMap::new();
    for (name, most) in &asked.limits {
        let text = form.get(&format!("limit:{name}")).unwrap_or_default();
        let limit = Decimal::parse(text.trim()).ok().filter(|limit| limit <= most);
        let limit = limit.ok_or_else(|| format!("`{name}` must be a number of at most {most}."))?;
        limits.insert(name.clone(), limit);
    }
    let ends = form.get("ends").and_then(|text| Timestamp::parse(text.trim()).ok());
    let ends = ends.filter(|ends| *ends <= asked.ends && *ends > now);
    let ends = ends.ok_or_else(|| format!("The end must be a moment from now until {}.", asked.ends))?;
    Ok(Scope { actions, intents, limits, ends, depth: asked.depth })
}

fn boxes(legend: &str, what: &str, names: &BTreeSet<Name>) -> Markup {
    html! {
        fieldset {
            legend { (legend) }
            @for name in names {
                label { input type="checkbox" name=(format!("{what}:{name}")) value="on" checked; " " (name.as_str()) }
            }
        }
    }
}

fn wrong(what: &str) -> NoQuestion {
    NoQuestion::Page(Page::failed(StatusCode::BAD_REQUEST, what))
}

fn no_question() -> Page {
    Page::refused(
        "There is no such question to you.",
        "It was answered, is past, or is for somebody else. Let the agent ask again.",
    )
    .with(StatusCode::NOT_FOUND)
}

fn about(request: &str) -> String {
    format!("consent {request}")
}

fn way(client: &str, request: &str) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("client_id", client)
        .append_pair("request_uri", request)
        .finish();
    format!("/oauth/authorize?{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<Name> {
        names.iter().map(|name| Name::new(name).unwrap()).collect()
    }

    #[test]
    fn del_1_a_person_takes_away_and_adds_nothing() {
        let amount = Name::new("amount").unwrap();
        let asked = Scope {
            actions: names(&["read", "refund"]),
            intents: names(&["help"]),
            limits: [(amount.clone(), Decimal::parse("100").unwrap())].into(),
            ends: Timestamp::parse("2026-01-02T00:00:00Z").unwrap(),
            depth: 0,
        };
        let now = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        let said = |form: &str| narrowed(&asked, &Form::parse(form.as_bytes()).unwrap(), now);
        let all = "action:read=on&action:refund=on&intent:help=on&limit:amount=100&ends=2026-01-02T00:00:00Z";
        assert_eq!(said(all).unwrap(), asked);
        let less =
            "action:read=on&action:export=on&intent:help=on&limit:amount=40.5&ends=2026-01-01T12:00:00Z";
        let scope = said(less).unwrap();
        assert_eq!((scope.actions, scope.limits[&amount].to_string()), (names(&["read"]), "40.5".to_owned()));
        for (from, to) in [
            ("amount=100", "amount=100.01"),
            ("amount=100", "amount="),
            ("amount=100", "amount=1e2x"),
            ("01-02T", "01-03T"),
            ("2026-01-02T", "2025-01-02T"),
            ("intent:help=on&", ""),
            ("action:read=on&action:refund=on&", ""),
        ] {
            assert!(said(&all.replace(from, to)).is_err(), "{from} → {to}");
        }
    }
}
