//! What an OpenID provider says of a person: ID tokens (OpenID Connect Core 1.0 §2, §3.1.3.7) and logout tokens
//! (Back-Channel Logout 1.0 §2.4).
//!
//! They aren't of our making: `typ` is often left out, and further claims are ignored, as the specification asks. All
//! else is checked as strictly as for our own; none of them gives access to anything here.

use std::borrow::Cow;

use placet_json::{Object, Value};

use crate::claims::Members;
use crate::keyset::KeySet;
use crate::refused::Refused;
use crate::replay::ReplayKey;
use crate::{LEEWAY, jws};

/// The longest `exp - iat` of an ID token: providers' own ones live from minutes to hours.
const MAX_LIFE: u64 = 24 * 3600;
/// An ID token is fetched at once after it was made.
const MAX_AGE: u64 = 600;
/// The longest `exp - iat` of a logout token: §2.4 asks for two minutes, providers are more patient.
const MAX_LOGOUT: u64 = 3600;
/// The most entries of `amr`.
const MAX_METHODS: usize = 16;
/// The one event of a logout token.
const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Whom tokens must be from and for, byte for byte.
#[derive(Debug, Clone, Copy)]
pub struct Provider<'a> {
    /// The provider's issuer.
    pub issuer: &'a str,
    /// What the provider calls us.
    pub client_id: &'a str,
    /// The provider's public keys.
    pub keys: &'a KeySet,
}

/// A verified ID token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdToken {
    /// `sub`: the person, for this issuer.
    pub subject: String,
    /// `sid`: the session at the provider.
    pub session: Option<String>,
    /// `acr`: the class of the authentication.
    pub class: Option<String>,
    /// `amr`: its methods.
    pub methods: Vec<String>,
    /// `auth_time`, or `iat` where the provider doesn't say; in seconds since the Unix epoch.
    pub authenticated: u64,
    /// Whether the provider said when it was.
    pub says_when: bool,
    /// The other claims, as they came.
    pub others: Object,
}

/// A verified logout token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogoutToken {
    /// Whose sessions end.
    pub subject: Option<String>,
    /// Which session ends; without one all of the subject's.
    pub session: Option<String>,
    /// Its identifier.
    pub jti: String,
    /// Until when it must be remembered, in seconds since the Unix epoch.
    pub forget_at: u64,
}

impl IdToken {
    /// Checks an ID token that was fetched for `nonce`. `now` is in seconds since the Unix epoch.
    pub fn open(token: &str, provider: &Provider<'_>, nonce: &str, now: u64) -> Result<Self, Refused> {
        let typ = |named: Option<&str>| named.is_none_or(|named| named.eq_ignore_ascii_case("JWT"));
        let mut members = Members::new(signed(token, provider, typ)?);
        let issued = frame(&mut members, provider, MAX_LIFE, now)?;
        if issued.saturating_add(MAX_AGE) < now {
            return Err(Refused::Expired);
        }
        if members.text("nonce")? != nonce {
            return Err(Refused::Nonce);
        }
        if members.optional_text("azp")?.is_some_and(|azp| azp != provider.client_id) {
            return Err(Refused::Audience);
        }
        let (says_when, authenticated) =
            if members.has("auth_time") { (true, members.time("auth_time")?) } else { (false, issued) };
        if authenticated > now.saturating_add(LEEWAY) {
            return Err(Refused::NotYet);
        }
        let methods = if members.has("amr") { methods(&mut members)? } else { Vec::new() };
        Ok(Self {
            subject: members.text("sub")?,
            session: members.optional_text("sid")?,
            class: members.optional_text("acr")?,
            methods,
            authenticated,
            says_when,
            others: members.into_rest(),
        })
    }
}

impl LogoutToken {
    /// Checks a logout token. That it counts once is for the caller: [`replay_key`](Self::replay_key).
    pub fn open(token: &str, provider: &Provider<'_>, now: u64) -> Result<Self, Refused> {
        let typ = |named: Option<&str>| {
            named.is_none_or(|named| {
                named.eq_ignore_ascii_case("JWT") || named.eq_ignore_ascii_case("logout+jwt")
            })
        };
        let mut members = Members::new(signed(token, provider, typ)?);
        let issued = frame(&mut members, provider, MAX_LOGOUT, now)?;
        // An ID token must not end a session (§2.4).
        if members.has("nonce") {
            return Err(Refused::Claim("nonce"));
        }
        let event = members.value("events")?;
        if event.get(LOGOUT).and_then(Value::as_object).is_none() {
            return Err(Refused::Claim("events"));
        }
        let (subject, session) = (members.optional_text("sub")?, members.optional_text("sid")?);
        if subject.is_none() && session.is_none() {
            return Err(Refused::Claim("sub"));
        }
        let forget_at = issued.saturating_add(MAX_LOGOUT).saturating_add(LEEWAY);
        Ok(Self { subject, session, jti: members.jti()?, forget_at })
    }

    /// Under what it is remembered.
    #[must_use]
    pub fn replay_key(&self, issuer: &str) -> ReplayKey {
        ReplayKey::new("logout_token", &[issuer, &self.jti])
    }
}

fn signed(
    token: &str,
    provider: &Provider<'_>,
    typ: impl FnOnce(Option<&str>) -> bool,
) -> Result<Object, Refused> {
    jws::open_as(token, typ, |header| {
        if header.jwk().is_some() {
            return Err(Refused::ForeignKey);
        }
        provider.keys.select(header.kid()?).map(Cow::Borrowed)
    })
}

/// Issuer, the one audience, times; when it was issued.
fn frame(members: &mut Members, provider: &Provider<'_>, life: u64, now: u64) -> Result<u64, Refused> {
    if members.text("iss").map_err(|_| Refused::Issuer)? != provider.issuer {
        return Err(Refused::Issuer);
    }
    // A list of one is one; with a second recipient it is somebody else's token as well.
    let audience = members.value("aud").map_err(|_| Refused::Audience)?;
    let one = match &audience {
        Value::String(one) => Some(one.as_str()),
        Value::Array(list) => match list.as_slice() {
            [one] => one.as_str(),
            _ => None,
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    };
    if one != Some(provider.client_id) {
        return Err(Refused::Audience);
    }
    let (issued, expires) = (members.time("iat")?, members.time("exp")?);
    let latest = now.saturating_add(LEEWAY);
    if issued > latest || (members.has("nbf") && members.time("nbf")? > latest) {
        return Err(Refused::NotYet);
    }
    if now >= expires.saturating_add(LEEWAY) {
        return Err(Refused::Expired);
    }
    if expires <= issued || expires.saturating_sub(issued) > life {
        return Err(Refused::Lifetime);
    }
    Ok(issued)
}

fn methods(members: &mut Members) -> Result<Vec<String>, Refused> {
    // One provider sends an empty list where others send none.
    let list = members.value("amr")?;
    if list.as_array().is_some_and(<[Value]>::is_empty) {
        return Ok(Vec::new());
    }
    let mut object = Object::new();
    object.insert("amr", list);
    Members::new(object).texts("amr", MAX_METHODS)
}

#[cfg(test)]
mod tests {
    use placet_json::{Limits, parse};

    use super::*;
    use crate::keys::{Algorithm, SigningKey};

    const NOW: u64 = 1_800_000_000;
    const ID: &str = r#"{"iss":"https://id.example","aud":"placet","sub":"u1","iat":1800000000,"exp":1800003600,"nonce":"n","acr":"phr","amr":["hwk"],"auth_time":1799999990,"email":"m@x"}"#;
    const OUT: &str = r#"{"iss":"https://id.example","aud":"placet","sub":"u1","iat":1800000000,"exp":1800000120,"jti":"j","events":{"http://schemas.openid.net/event/backchannel-logout":{}}}"#;

    fn sealed(key: &SigningKey, header: &str, payload: &str) -> String {
        let object = |text: &str| parse(text.as_bytes(), &Limits::MESSAGE).unwrap().into_object().unwrap();
        jws::seal(key, object(header), object(payload)).unwrap()
    }
    /// Opens an ID token with this header and payload as the provider's.
    fn id(header: &str, payload: &str) -> Result<IdToken, Refused> {
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        let keys = KeySet::of(key.public());
        let provider = Provider { issuer: "https://id.example", client_id: "placet", keys: &keys };
        IdToken::open(&sealed(&key, header, payload), &provider, "n", NOW)
    }
    fn out(payload: &str) -> Result<LogoutToken, Refused> {
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        let keys = KeySet::of(key.public());
        let provider = Provider { issuer: "https://id.example", client_id: "placet", keys: &keys };
        LogoutToken::open(&sealed(&key, r#"{"alg":"ES256","typ":"logout+jwt"}"#, payload), &provider, NOW)
    }

    #[test]
    fn a_provider_s_token_is_read() {
        for header in [r#"{"alg":"ES256"}"#, r#"{"alg":"ES256","typ":"JWT"}"#] {
            let token = id(header, ID).unwrap();
            assert_eq!((token.subject.as_str(), token.class.as_deref()), ("u1", Some("phr")));
            assert_eq!((token.methods, token.authenticated), (vec!["hwk".to_owned()], 1_799_999_990));
            assert_eq!(token.others.get("email").and_then(Value::as_str), Some("m@x"));
        }
        assert!(id(r#"{"alg":"ES256"}"#, &ID.replace(r#""aud":"placet""#, r#""aud":["placet"]"#)).is_ok());
    }

    #[test]
    fn what_isn_t_whole_is_refused() {
        let plain = r#"{"alg":"ES256"}"#;
        for (from, to, why) in [
            (r#""iss":"https://id.example","#, "", Refused::Issuer),
            ("https://id.example", "https://id.example/", Refused::Issuer),
            (r#""aud":"placet","#, "", Refused::Audience),
            (r#""aud":"placet""#, r#""aud":["placet","other"]"#, Refused::Audience),
            (r#""aud":"placet""#, r#""aud":"place""#, Refused::Audience),
            (r#""nonce":"n""#, r#""nonce":"m""#, Refused::Nonce),
            (r#""nonce":"n","#, "", Refused::Claim("nonce")),
            (r#""sub":"u1","#, "", Refused::Claim("sub")),
            (r#""sub":"u1""#, r#""sub":"u1","azp":"other""#, Refused::Audience),
            ("1800003600", "1800000000", Refused::Lifetime),
            ("1800003600", "1799999990", Refused::Expired),
            ("1800003600", "1800003600.5", Refused::Claim("exp")),
            (r#""iat":1800000000"#, r#""iat":1800000006"#, Refused::NotYet),
            (r#""iat":1800000000"#, r#""iat":1799999000"#, Refused::Expired),
        ] {
            assert_eq!(id(plain, &ID.replace(from, to)).unwrap_err(), why, "{from} → {to}");
        }
        for (header, why) in [
            (r#"{"alg":"none"}"#, Refused::Algorithm),
            (r#"{"alg":"HS256"}"#, Refused::Algorithm),
            (r#"{"alg":"Ed25519"}"#, Refused::Algorithm),
            (r#"{"alg":"ES256","typ":"at+jwt"}"#, Refused::Type),
            (r#"{"alg":"ES256","typ":7}"#, Refused::Type),
            (r#"{"alg":"ES256","kid":"../../key"}"#, Refused::UnknownKey),
            (r#"{"alg":"ES256","jku":"https://evil.example"}"#, Refused::ForeignKey),
            (r#"{"alg":"ES256","crit":["x"]}"#, Refused::Critical),
        ] {
            assert_eq!(id(header, ID).unwrap_err(), why, "{header}");
        }
    }

    #[test]
    fn an_id_token_ends_no_session_and_a_logout_token_begins_none() {
        assert!(out(OUT).is_ok());
        assert_eq!(out(ID).unwrap_err(), Refused::Claim("nonce"));
        assert_eq!(
            out(&OUT.replace(r#""jti""#, r#""nonce":"n","jti""#)).unwrap_err(),
            Refused::Claim("nonce")
        );
        assert_eq!(out(&OUT.replace("backchannel-logout", "other")).unwrap_err(), Refused::Claim("events"));
        assert_eq!(out(&OUT.replace(r#""sub":"u1","#, "")).unwrap_err(), Refused::Claim("sub"));
        assert_eq!(id(r#"{"alg":"ES256"}"#, OUT).unwrap_err(), Refused::Claim("nonce"));
    }
}
