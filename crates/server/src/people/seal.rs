//! What a browser is handed and brings back: cookies, the `state` of a sign-in, the token of a form. Everything is derived
//! from one key by HMAC-SHA-256, so that nothing is stored and several gateways agree.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header};
use placet_core::Name;
use placet_jose::replay::ReplayKey;
use placet_json::{Limits, Object, Value, parse};
use zeroize::Zeroizing;

/// How long somebody may take at their provider, in seconds.
pub(super) const SIGN_IN: u64 = 600;
/// The longest `state`, in bytes: a provider must take it back in an address.
const MAX_STATE: usize = 4096;
/// Where to go after signing in, at most.
const MAX_TO: usize = 1024;
const CONTENT: Limits = Limits { bytes: MAX_STATE, depth: 3, members: 16 };

/// The key of what browsers hold.
pub(crate) struct Seals(hmac::Key);

/// A sign-in that was begun in this browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Begun {
    /// Where to go afterwards: a path of ours.
    pub(super) to: String,
    /// Whether the person must show anew who they are.
    pub(super) fresh: bool,
    /// A class of authentication that must have been used.
    pub(super) class: Option<String>,
    /// `nonce` of the ID token.
    pub(super) nonce: String,
    /// The PKCE verifier.
    pub(super) verifier: String,
    /// Counts once.
    pub(super) replay_key: ReplayKey,
    /// Until when, in seconds since the Unix epoch.
    pub(super) until: u64,
}

impl Seals {
    /// From the server's secret for sessions.
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derived = hmac::sign(&root, b"placet people 1");
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }

    /// The `state` of a sign-in by `provider` in the browser that holds `browser`.
    pub(super) fn state(
        &self,
        provider: &Name,
        browser: &str,
        to: &str,
        (fresh, class): (bool, Option<&str>),
        now: u64,
    ) -> Option<String> {
        let mut content = Object::new();
        content.insert("by", provider.as_str());
        content.insert("fresh", fresh);
        content.insert("id", random()?.as_str());
        content.insert("to", to);
        content.insert("until", now.saturating_add(SIGN_IN));
        if let Some(class) = class {
            content.insert("acr", class);
        }
        let content = URL_SAFE_NO_PAD.encode(Value::Object(content).to_bytes());
        let tag = self.tag("state", &[&content, browser]);
        Some(format!("{content}.{tag}"))
    }
    /// What was begun, if this is a `state` of ours, for this provider, in this browser, and not past.
    pub(super) fn begun(&self, state: &str, provider: &Name, browser: &str, now: u64) -> Option<Begun> {
        if state.len() > MAX_STATE {
            return None;
        }
        let (content, tag) = state.split_once('.')?;
        self.is_tag("state", &[content, browser], tag).then_some(())?;
        let bytes = URL_SAFE_NO_PAD.decode(content).ok()?;
        let value = parse(&bytes, &CONTENT).ok()?;
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let until = value.get("until").and_then(Value::as_u64)?;
        if text("by") != Some(provider.as_str()) || until <= now {
            return None;
        }
        Some(Begun {
            to: text("to").filter(|to| is_ours(to))?.to_owned(),
            fresh: value.get("fresh").and_then(Value::as_bool)?,
            class: text("acr").map(str::to_owned),
            nonce: self.nonce(content, browser),
            verifier: self.verifier(content, browser),
            replay_key: ReplayKey::new("sign-in", &[content]),
            until,
        })
    }
    /// `nonce` and PKCE verifier of a `state`, for the way out.
    pub(super) fn secrets(&self, state: &str, browser: &str) -> (String, String) {
        let content = state.split('.').next().unwrap_or_default();
        (self.nonce(content, browser), self.verifier(content, browser))
    }
    /// The token of a form in a session, about something.
    pub(super) fn form(&self, session: &str, about: &str) -> String {
        self.tag("form", &[session, about])
    }
    /// Whether a form is the one that was shown in this session about this.
    pub(super) fn is_form(&self, session: &str, about: &str, token: &str) -> bool {
        self.is_tag("form", &[session, about], token)
    }

    fn nonce(&self, content: &str, browser: &str) -> String {
        self.tag("nonce", &[content, browser])
    }
    fn verifier(&self, content: &str, browser: &str) -> String {
        self.tag("verifier", &[content, browser])
    }
    fn tag(&self, what: &str, parts: &[&str]) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, ReplayKey::new(what, parts).as_bytes()))
    }
    fn is_tag(&self, what: &str, parts: &[&str], tag: &str) -> bool {
        URL_SAFE_NO_PAD
            .decode(tag)
            .is_ok_and(|tag| hmac::verify(&self.0, ReplayKey::new(what, parts).as_bytes(), &tag).is_ok())
    }
}

/// The PKCE challenge of a verifier (RFC 7636 §4.2).
pub(super) fn challenge(verifier: &str) -> String {
    use sha2::Digest as _;
    URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(verifier.as_bytes()))
}

/// 256 random bits in base64url.
pub(super) fn random() -> Option<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    getrandom::fill(bytes.as_mut_slice()).ok()?;
    Some(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice())))
}

/// How facts name a secret or an identifier of others: by its hash.
pub(super) fn hashed(domain: &str, parts: &[&str]) -> Option<Name> {
    Name::new(&URL_SAFE_NO_PAD.encode(ReplayKey::new(domain, parts).as_bytes())).ok()
}

/// Whether this is where one may go after signing in: a page of ours, and not another host in disguise.
pub(super) fn is_ours(to: &str) -> bool {
    let page = to == "/me" || to.starts_with("/oauth/authorize?");
    page && to.len() <= MAX_TO && to.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// Names of cookies, and their attributes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cookies {
    /// Whether browsers come by HTTPS. Without it, on a developer's machine only, there is no `__Host-`.
    pub(super) secure: bool,
}

/// The two cookies there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cookie {
    /// Somebody who has signed in.
    Session,
    /// The browser in which a sign-in was begun.
    Browser,
}

impl Cookies {
    fn name(self, cookie: Cookie) -> &'static str {
        match (cookie, self.secure) {
            (Cookie::Session, true) => "__Host-placet",
            (Cookie::Session, false) => "placet-plain",
            (Cookie::Browser, true) => "__Host-placet-sign-in",
            (Cookie::Browser, false) => "placet-plain-sign-in",
        }
    }
    /// Sets a cookie for so many seconds; 0 removes it.
    pub(super) fn set(self, cookie: Cookie, value: &str, life: u64) -> Option<HeaderValue> {
        let secure = if self.secure { "; Secure" } else { "" };
        let text =
            format!("{}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={life}{secure}", self.name(cookie));
        let mut header = HeaderValue::from_str(&text).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
    /// A cookie's value; none where it comes twice, since one of them is somebody else's.
    pub(super) fn get(self, cookie: Cookie, headers: &HeaderMap) -> Option<String> {
        let name = self.name(cookie);
        let mut found = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(other, _)| *other == name)
            .map(|(_, value)| value);
        let (value, None) = (found.next()?, found.next()) else { return None };
        // 256 bits in base64url, as we made it.
        let ours =
            value.len() == 43 && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        ours.then(|| value.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn a_state_counts_for_its_browser_its_provider_and_its_time() {
        let seals = Seals::new(&[7; 32]);
        let state = seals.state(&name("corp"), "browser", "/me", (false, None), 1000).unwrap();
        let begun = seals.begun(&state, &name("corp"), "browser", 1599).unwrap();
        assert_eq!((begun.nonce.clone(), begun.verifier.clone()), seals.secrets(&state, "browser"));
        assert_ne!(begun.nonce, begun.verifier);
        assert_eq!(begun.verifier.len(), 43);
        assert_eq!(seals.begun(&state, &name("corp"), "browser", 1600), None, "past");
        assert_eq!(seals.begun(&state, &name("other"), "browser", 1000), None, "mix-up");
        assert_eq!(seals.begun(&state, &name("corp"), "another", 1000), None, "another browser");
        assert_eq!(Seals::new(&[8; 32]).begun(&state, &name("corp"), "browser", 1000), None);
        for at in 0..state.len() {
            let mut bytes = state.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(bytes).unwrap();
            let begun = seals.begun(&altered, &name("corp"), "browser", 1000);
            // The last letter of a tag has bits that count for nothing.
            assert!(begun.is_none() || at + 1 == state.len(), "altered at {at}");
        }
    }

    #[test]
    fn one_goes_on_to_pages_of_ours_only() {
        for to in ["/me", "/oauth/authorize?client_id=a&request_uri=b"] {
            assert!(is_ours(to), "{to}");
        }
        for to in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/me@evil",
            "/mean",
            "/oauth/authorize",
            "/oauth/authorize?a=\r\nb",
        ] {
            assert!(!is_ours(to), "{to:?}");
        }
    }

    #[test]
    fn a_cookie_that_comes_twice_is_nobody_s() {
        let cookies = Cookies { secure: true };
        let value = "A".repeat(43);
        let headers = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, text.parse().unwrap());
            headers
        };
        let one = format!("x=1; __Host-placet={value}");
        assert_eq!(cookies.get(Cookie::Session, &headers(&one)), Some(value.clone()));
        assert_eq!(cookies.get(Cookie::Session, &headers(&format!("{one}; __Host-placet={value}"))), None);
        assert_eq!(cookies.get(Cookie::Session, &headers(&format!("placet-plain={value}"))), None);
        let set = cookies.set(Cookie::Session, &value, 60).unwrap();
        let set = set.to_str().unwrap();
        assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=60; Secure"), "{set}");
    }
}
