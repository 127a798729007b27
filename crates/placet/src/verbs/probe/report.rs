//! What was found at each door.

use std::fmt::Write as _;

use placet_json::{Value, object};
use url::Url;

use super::{knock::Outcome, roads::What};
use crate::output::{Colour, paint};

/// One tool and what came of each road.
pub(super) struct Found {
    pub(super) name: String,
    pub(super) url: Option<Url>,
    pub(super) roads: Vec<(What, Outcome)>,
}

/// What a tool is, from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It was reached, and refused everything that was tried; or it has no address at all.
    Closed,
    /// It wasn't reached from here: the network alone keeps others out, and nothing is known of what stands behind.
    NetworkOnly,
    /// It answered at least one road.
    Open,
    /// It answered, and neither yes nor no.
    Unclear,
}

impl State {
    fn code(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::NetworkOnly => "network only",
            Self::Open => "open",
            Self::Unclear => "unclear",
        }
    }
}

impl Found {
    pub(super) fn state(&self) -> State {
        let any = |is: fn(&Outcome) -> bool| self.roads.iter().any(|(_, outcome)| is(outcome));
        if any(|outcome| matches!(outcome, Outcome::Answered(_))) {
            State::Open
        } else if any(|outcome| matches!(outcome, Outcome::Unclear(_))) {
            State::Unclear
        } else if any(|outcome| matches!(outcome, Outcome::Unreachable(_))) {
            State::NetworkOnly
        } else {
            State::Closed
        }
    }

    /// What to do, most important first.
    fn remedies(&self) -> Vec<&'static str> {
        let open = self.roads.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Answered(_)));
        let open: Vec<&'static str> = open.map(|(what, _)| what.remedy()).collect();
        match (self.state(), open) {
            // Who needs no token needs no forged one either.
            (State::Open, open)
                if self.roads.first().is_some_and(|(what, outcome)| {
                    *what == What::Nothing && matches!(outcome, Outcome::Answered(_))
                }) =>
            {
                open.into_iter().take(1).collect()
            }
            (State::Open, open) => open,
            (State::NetworkOnly, _) => vec![
                "probe from where agents run; put `placet tool-proxy` before it all the same, so that who gets into its network gets no further",
            ],
            (State::Unclear, _) => {
                vec!["name a path that it serves (`--get PATH`), or a message (`--message FILE`)"]
            }
            (State::Closed, _) => Vec::new(),
        }
    }
}

/// Without userinfo and query, where a credential may stand.
fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

fn told(outcome: &Outcome) -> (&'static str, String) {
    match outcome {
        Outcome::Refused(status) => ("refused", status.to_string()),
        Outcome::Answered(how) => ("answered", how.clone()),
        Outcome::Unclear(how) => ("unclear", how.clone()),
        Outcome::Unreachable(why) => ("unreachable", why.clone()),
        Outcome::NotTried(why) => ("not tried", (*why).to_owned()),
    }
}

/// The document.
pub(super) fn document(found: &[Found]) -> Value {
    let upstreams = found.iter().map(|one| {
        let roads = one.roads.iter().map(|(what, outcome)| {
            let (outcome, why) = told(outcome);
            Value::from(object! { "road" => what.code(), "outcome" => outcome, "detail" => why })
        });
        let remedies = one.remedies().into_iter().map(Value::from);
        Value::from(object! {
            "name" => one.name.as_str(),
            "url" => one.url.as_ref().map_or(Value::Null, |url| Value::from(shown(url))),
            "state" => one.state().code(),
            "roads" => Value::Array(roads.collect()),
            "remedies" => Value::Array(remedies.collect()),
        })
    });
    let count =
        |state| u64::try_from(found.iter().filter(|one| one.state() == state).count()).unwrap_or(u64::MAX);
    Value::from(object! {
        "closed" => count(State::Closed),
        "network_only" => count(State::NetworkOnly),
        "open" => count(State::Open),
        "unclear" => count(State::Unclear),
        "upstreams" => Value::Array(upstreams.collect()),
    })
}

/// The page for people.
pub(super) fn page(found: &[Found]) -> String {
    let mut text = String::new();
    // Writing into a `String` can't fail.
    let mut say = |line: std::fmt::Arguments<'_>| {
        let _infallible = writeln!(text, "{line}");
    };
    for one in found {
        let state = one.state();
        let colour = match state {
            State::Closed => Colour::Green,
            State::NetworkOnly | State::Unclear => Colour::Yellow,
            State::Open => Colour::Red,
        };
        let place = one
            .url
            .as_ref()
            .map_or_else(|| "a program of the gateway's, without an address".to_owned(), shown);
        say(format_args!("{} {} ({place})", paint(state.code(), colour), one.name));
        for (what, outcome) in &one.roads {
            let (outcome, why) = told(outcome);
            say(format_args!("  {:<38} {outcome}: {why}", what.name()));
        }
        for remedy in one.remedies() {
            say(format_args!("  remedy: {remedy}"));
        }
    }
    text
}
