//! `[[identity]]`: OpenID providers by which people sign in, each for some tenants or for all.

use std::collections::BTreeSet;

use placet_core::{Name, TenantId};
use url::Url;

use super::{
    Environment, SecretSource, Settings,
    read::{Reader, Section},
    rules,
};

/// The name of the provider that `dev.sign_in` switches on.
pub const DEVELOPMENT: &str = "development";
/// The most values of `acr_values` and `scopes`.
const MAX_VALUES: usize = 16;

/// A provider.
#[derive(Debug, Clone)]
pub struct IdentityProvider {
    /// `name`: stands in addresses and with every session.
    pub name: Name,
    /// `title`: how the page calls it; by default its name.
    pub title: String,
    /// `issuer`: byte for byte as its documents and tokens have it.
    pub issuer: String,
    /// `client_id`: what it calls us.
    pub client_id: String,
    /// `client_secret`: without one we are a public client, by PKCE alone.
    pub client_secret: Option<SecretSource>,
    /// `human`: the claim of the ID token that is a person's id here.
    pub human: String,
    /// `tenants`: whose people it may name, and where they act after signing in by it. None: all.
    pub tenants: Option<BTreeSet<TenantId>>,
    /// `scopes`: what is asked for.
    pub scopes: Vec<String>,
    /// `acr_values`: classes of authentication that are asked for, and one of which must have been used.
    pub acr_values: Vec<String>,
    /// `max_age_s`: how long ago a person may have shown the provider who they are; 0 for no bound.
    pub max_age_s: u64,
    /// `session_s`: how long a session lasts.
    pub session_s: u64,
    /// `allow_private`: whether its addresses may be private ones.
    pub allow_private: bool,
    /// The line of its section.
    pub line: usize,
}

/// `None` where a problem was noted.
pub(super) fn read(root: &mut Section<'_, '_>) -> Option<Vec<IdentityProvider>> {
    root.sections("identity").into_iter().map(one).collect::<Vec<_>>().into_iter().collect()
}

fn one(mut section: Section<'_, '_>) -> Option<IdentityProvider> {
    let text = |text: &str| {
        let fits = !text.is_empty() && text.len() <= 512 && !text.chars().any(char::is_control);
        fits.then(|| text.to_owned())
    };
    let line = section.line();
    let name = section.required("name", name, "write a name of `a-z 0-9 -`, at most 32 characters");
    let title = section.optional_word("title", text, "write a short text");
    let issuer = section.required(
        "issuer",
        issuer,
        "write the issuer's URL exactly as its discovery document has it, without query and fragment",
    );
    let client_id = section.required("client_id", text, "write the client's id at the provider");
    let client_secret = section.optional_secret("client_secret");
    let human = section.word("human", "sub", text, "write a claim, as in `email` or `preferred_username`");
    let tenants = section.optional_texts("tenants");
    let scopes = section.optional_texts("scopes");
    let acr_values = section.optional_texts("acr_values");
    let max_age_s = section.number("max_age_s", 0, 0..=86_400);
    let session_s = section.number("session_s", 28_800, 60..=86_400);
    let allow_private = section.boolean("allow_private", false);
    let tenants = match tenants? {
        None => None,
        Some(texts) => {
            let ids: Option<BTreeSet<TenantId>> = texts.iter().map(|id| TenantId::new(id).ok()).collect();
            let Some(ids) = ids.filter(|ids| !ids.is_empty()) else {
                section.problem(
                    "tenants",
                    "these are no ids of tenants",
                    "write `[\"acme\"]`, or leave it out",
                );
                return None;
            };
            Some(ids)
        }
    };
    let plain = |key: &str, values: Vec<String>| {
        let word = |value: &String| !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic());
        if values.len() > MAX_VALUES || !values.iter().all(word) {
            section.problem(key, "these are no words without spaces", "write `[\"…\", \"…\"]`");
            return None;
        }
        Some(values)
    };
    let mut scopes = plain("scopes", scopes?.unwrap_or_default())?;
    let acr_values = plain("acr_values", acr_values?.unwrap_or_default())?;
    if !scopes.iter().any(|scope| scope == "openid") {
        scopes.insert(0, "openid".to_owned());
    }
    section.finish();
    let name = name?;
    Some(IdentityProvider {
        title: title?.unwrap_or_else(|| name.to_string()),
        name,
        issuer: issuer?,
        client_id: client_id?,
        client_secret: client_secret?,
        human: human?,
        tenants,
        scopes,
        acr_values,
        max_age_s: max_age_s?,
        session_s: session_s?,
        allow_private: allow_private?,
        line,
    })
}

/// What no single provider says.
pub(super) fn check(reader: &Reader<'_>, settings: &Settings) {
    let dev = settings.server.environment == Environment::Dev;
    if settings.dev.sign_in && !settings.server.listen.ip().is_loopback() {
        reader.note(
            reader.line_of("dev.sign_in"),
            "whoever reaches this listener could act as anybody",
            "remove `sign_in`, or let `server.listen` be an address of loopback",
        );
    }
    let mut known: BTreeSet<&Name> = BTreeSet::new();
    for one in &settings.identity {
        if !known.insert(&one.name) || one.name.as_str() == DEVELOPMENT {
            reader.note(one.line, format!("`{}` is a provider already", one.name), "name it otherwise");
        }
        let Ok(url) = Url::parse(&one.issuer) else { continue };
        if url.scheme() == "http" && !(rules::is_loopback(&url) && dev) {
            let message = format!("`{}` would be asked by plain HTTP who people are", one.name);
            reader.note(one.line, message, "use `https`");
        }
    }
}

fn name(text: &str) -> Option<Name> {
    let plain =
        text.len() <= 32 && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if plain { Name::new(text).ok() } else { None }
}

/// Kept as it is written: it is compared byte for byte.
fn issuer(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let plain = matches!(url.scheme(), "http" | "https")
        && !text.contains(['?', '#'])
        && url.username().is_empty()
        && url.password().is_none();
    plain.then(|| text.to_owned())
}
