//! People who have signed in: sessions are facts, so that a restart ends none, every gateway knows each, and the end of a
//! person's authority ends theirs in the same entry.
//!
//! Of a session's cookie, and of what its provider calls the person, only hashes are kept.

use std::sync::Arc;

use placet_core::{HumanId, Name, Timestamp};
use placet_json::{Object, Value, object};

use crate::{
    ChangeError, OrgFacts,
    apply::{known_human, no},
    read::{Fields, elements, text},
};

/// Sessions that are neither ended nor past, at most.
pub const MAX_SESSIONS: usize = 100_000;
/// The longest `acr` or entry of `amr`, in bytes.
pub const MAX_METHOD: usize = 256;
/// The most entries of `amr`.
pub const MAX_METHODS: usize = 16;

/// How somebody showed their provider who they are (OpenID Connect Core 1.0 §2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentication {
    /// The provider, by its name in the settings.
    pub provider: Name,
    /// `acr`: the class that the provider gives the authentication.
    pub class: Option<String>,
    /// `amr`: the methods that it names.
    pub methods: Vec<String>,
    /// `auth_time`: when it was; where the provider doesn't say, when the ID token was issued.
    pub at: Timestamp,
}

/// Somebody's session in a browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// SHA-256 of the cookie, in base64url.
    pub id: Name,
    /// Whose it is.
    pub human: HumanId,
    /// How they signed in.
    pub by: Authentication,
    /// Hash of the provider's issuer and `sub`, by which the provider may end it.
    pub subject: Name,
    /// Hash of the provider's issuer and `sid`, likewise; none where the provider names no sessions.
    pub at_provider: Option<Name>,
    /// When it began: sessions that were past by then are forgotten.
    pub began: Timestamp,
    /// Until when it lasts.
    pub until: Timestamp,
}

/// What happens to sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionChange {
    /// Somebody has signed in.
    Began(Session),
    /// A session is over before its time.
    Ended(Name),
}

impl SessionChange {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Began(_) => "session_began",
            Self::Ended(_) => "session_ended",
        }
    }
    pub(crate) fn to_value(&self) -> Value {
        match self {
            Self::Began(session) => session.to_value(),
            Self::Ended(id) => Value::Object(object! { "id" => id.as_str() }),
        }
    }
    /// None: it is no change of sessions.
    pub(crate) fn read(kind: &str, body: &Value, path: &str) -> Result<Option<Self>, ChangeError> {
        match kind {
            "session_began" => Session::read(body, path).map(Self::Began).map(Some),
            "session_ended" => {
                let mut fields = Fields::open(body, path)?;
                let id = fields.name("id")?;
                fields.unexpected()?;
                Ok(Some(Self::Ended(id)))
            }
            _ => Ok(None),
        }
    }
    pub(crate) fn apply(&self, org: &mut OrgFacts) -> Result<(), ChangeError> {
        match self {
            Self::Began(session) => begin(org, session),
            Self::Ended(id) => match org.sessions.remove(id) {
                Some(_) => Ok(()),
                None => Err(no("session", id, "it is over already")),
            },
        }
    }
}

impl Session {
    pub(crate) fn read(value: &Value, path: &str) -> Result<Self, ChangeError> {
        let mut fields = Fields::open(value, path)?;
        let session = Self {
            id: fields.name("id")?,
            human: fields.parsed("human", HumanId::new)?,
            by: Authentication::read(fields.required("by")?, &fields.at("by"))?,
            subject: fields.name("subject")?,
            at_provider: if fields.optional("at_provider").is_some() {
                Some(fields.name("at_provider")?)
            } else {
                None
            },
            began: fields.moment("began")?,
            until: fields.moment("until")?,
        };
        fields.unexpected()?;
        Ok(session)
    }
    pub(crate) fn to_value(&self) -> Value {
        let Self { id, human, by, subject, at_provider, began, until } = self;
        let mut value = object! {
            "id" => id.as_str(), "human" => human.as_str(), "by" => by.to_value(), "subject" => subject.as_str(),
            "began" => began.to_string(), "until" => until.to_string(),
        };
        if let Some(id) = at_provider {
            value.insert("at_provider", id.as_str());
        }
        Value::Object(value)
    }
}

impl Authentication {
    pub(crate) fn read(value: &Value, path: &str) -> Result<Self, ChangeError> {
        let method = |value: &Value, path: &str| {
            let method = text(value, path)?;
            if method.is_empty() || method.len() > MAX_METHOD || method.chars().any(char::is_control) {
                return Err(ChangeError::malformed(
                    path,
                    format!("is empty, has control characters or is longer than {MAX_METHOD} bytes"),
                    "",
                ));
            }
            Ok(method.to_owned())
        };
        let mut fields = Fields::open(value, path)?;
        let class = fields.optional("acr").map(|value| method(value, &format!("{path}/acr"))).transpose()?;
        let at = format!("{path}/amr");
        let methods = match fields.optional("amr") {
            None => Vec::new(),
            Some(list) => {
                elements(list, &at)?.iter().map(|one| method(one, &at)).collect::<Result<_, _>>()?
            }
        };
        if methods.len() > MAX_METHODS {
            return Err(ChangeError::malformed(&at, format!("has more than {MAX_METHODS} entries"), ""));
        }
        let by =
            Self { provider: fields.name("provider")?, class, methods, at: fields.moment("authenticated")? };
        fields.unexpected()?;
        Ok(by)
    }
    /// As JSON, and as policy reads it.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let Self { provider, class, methods, at } = self;
        let mut value = Object::new();
        value.insert("provider", provider.as_str());
        value.insert("authenticated", at.to_string());
        if let Some(class) = class {
            value.insert("acr", class.as_str());
        }
        if !methods.is_empty() {
            let methods = methods.iter().map(|method| Value::from(method.as_str()));
            value.insert("amr", Value::Array(methods.collect()));
        }
        Value::Object(value)
    }
}

impl OrgFacts {
    /// A session that wasn't ended, by its cookie's hash. Whether it is past is for the clock.
    #[must_use]
    pub fn session(&self, id: &Name) -> Option<&Session> {
        self.sessions.get(id).map(AsRef::as_ref)
    }
    /// All sessions that weren't ended; past ones among them.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values().map(AsRef::as_ref)
    }
    /// Ends what somebody has signed in for.
    pub(crate) fn end_sessions_of(&mut self, human: &HumanId) {
        let theirs: Vec<Name> =
            self.sessions().filter(|session| session.human == *human).map(|it| it.id.clone()).collect();
        for id in &theirs {
            self.sessions.remove(id);
        }
    }
}

fn begin(org: &mut OrgFacts, session: &Session) -> Result<(), ChangeError> {
    let human = known_human(org, &session.human)?;
    if human.standing != placet_core::Standing::Active {
        return Err(ChangeError::conflict(
            format!("`{}` is {}", human.id, human.standing.as_str()),
            "only who may act signs in",
        ));
    }
    if org.sessions.contains_key(&session.id) {
        return Err(ChangeError::conflict("there is such a session already", "begin another"));
    }
    if org.sessions.len() >= MAX_SESSIONS {
        let past: Vec<Name> =
            org.sessions().filter(|it| it.until <= session.began).map(|it| it.id.clone()).collect();
        for id in &past {
            org.sessions.remove(id);
        }
        if org.sessions.len() >= MAX_SESSIONS {
            return Err(ChangeError::conflict("too many sessions are open", "wait until some end"));
        }
    }
    org.sessions.insert(session.id.clone(), Arc::new(session.clone()));
    Ok(())
}
