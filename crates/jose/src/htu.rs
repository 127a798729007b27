//! URLs in proofs (`htu`), compared after the normalisation of RFC 3986 §6.2.2 and §6.2.3 (RFC 9449 §4.3).
//!
//! Strict rather than lenient: what the grammar of RFC 3986 doesn't allow is refused and never repaired, so that two
//! parsers can't read two different things.

use std::fmt::{self, Write as _};

/// Longest URL, in bytes.
const MAX_URL: usize = 2048;

/// An absolute `http` or `https` URL without user, query and fragment, in normal form.
///
/// The expected one comes from the settings, never from `Host` or `X-Forwarded-Host`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Htu {
    text: String,
    /// Where the path starts in `text`.
    path: usize,
}

/// Why a URL can't be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HtuError {
    /// Not an absolute `http` or `https` URL of the grammar of RFC 3986, or overlong.
    #[error("not an absolute http or https url")]
    Syntax,
    /// A query or fragment, which `htu` doesn't have (RFC 9449 §4.2).
    #[error("the url has a query or a fragment")]
    Query,
    /// User information before the host.
    #[error("the url names a user")]
    User,
}

impl Htu {
    /// Reads a URL and brings it into normal form: scheme and host in lower case, no default port, percent-encoding
    /// only where needed and in upper case, no dot segments, `/` for an empty path.
    pub fn parse(url: &str) -> Result<Self, HtuError> {
        if url.len() > MAX_URL || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(HtuError::Syntax);
        }
        if url.contains(['?', '#']) {
            return Err(HtuError::Query);
        }
        let (scheme, rest) = url.split_once("://").ok_or(HtuError::Syntax)?;
        let (scheme, default_port) = if scheme.eq_ignore_ascii_case("https") {
            ("https", 443)
        } else if scheme.eq_ignore_ascii_case("http") {
            ("http", 80)
        } else {
            return Err(HtuError::Syntax);
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at_checked(at).ok_or(HtuError::Syntax)?,
            None => (rest, "/"),
        };
        let mut text = format!("{scheme}://");
        push_authority(&mut text, authority, default_port)?;
        let start = text.len();
        text.push_str(&normal_path(path)?);
        Ok(Self { text, path: start })
    }

    /// The path in normal form; starts with `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.text.get(self.path..).unwrap_or("/")
    }

    /// Scheme, host and port, without the path.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.text.get(..self.path).unwrap_or_default()
    }

    /// The whole URL in normal form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Another path of the same origin.
    pub fn with_path(&self, path: &str) -> Result<Self, HtuError> {
        if !path.starts_with('/') {
            return Err(HtuError::Syntax);
        }
        Self::parse(&format!("{}{path}", self.origin()))
    }

    /// Whether the target of a request line (origin-form, RFC 9112 §3.2.1) is this path, with no query.
    ///
    /// A query would be outside of what a proof signs, so a target with one never matches.
    #[must_use]
    pub fn is_target(&self, target: &str) -> bool {
        self.with_path(target).is_ok_and(|url| url == *self)
    }
}

impl fmt::Display for Htu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn push_authority(out: &mut String, authority: &str, default_port: u16) -> Result<(), HtuError> {
    if authority.contains('@') {
        return Err(HtuError::User);
    }
    let (host, port) = if authority.starts_with('[') {
        let (host, port) = authority.split_once(']').ok_or(HtuError::Syntax)?;
        let address = host.strip_prefix('[').ok_or(HtuError::Syntax)?;
        let address: std::net::Ipv6Addr = address.parse().map_err(|_| HtuError::Syntax)?;
        write!(out, "[{address}]").map_err(|_| HtuError::Syntax)?;
        (None, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or(HtuError::Syntax)?) })
    } else {
        match authority.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(authority), None),
        }
    };
    if let Some(host) = host {
        // Registered names and IPv4 addresses as they are used: no percent-encoding, no sub-delimiters.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if host.is_empty() || host.len() > 253 || !host.bytes().all(plain) {
            return Err(HtuError::Syntax);
        }
        out.push_str(&host.to_ascii_lowercase());
    }
    // An empty port is the default one (RFC 3986 §6.2.3).
    if let Some(port) = port.filter(|port| !port.is_empty()) {
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(HtuError::Syntax);
        }
        let port: u16 = port.parse().map_err(|_| HtuError::Syntax)?;
        if port != default_port {
            write!(out, ":{port}").map_err(|_| HtuError::Syntax)?;
        }
    }
    Ok(())
}

/// RFC 3986 §6.2.2: percent-encoding first, since `%2e%2e` is a dot segment too.
fn normal_path(path: &str) -> Result<String, HtuError> {
    let mut decoded = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let value =
                hex(bytes.next())?.checked_mul(16).and_then(|high| Some(high | hex(bytes.next()).ok()?));
            let value = value.ok_or(HtuError::Syntax)?;
            if is_unreserved(value) {
                decoded.push(char::from(value));
            } else {
                write!(decoded, "%{value:02X}").map_err(|_| HtuError::Syntax)?;
            }
        } else if is_unreserved(byte) || b"/:@!$&'()*+,;=".contains(&byte) {
            decoded.push(char::from(byte));
        } else {
            return Err(HtuError::Syntax);
        }
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = decoded.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                // `/a/.` and `/a/b/..` are `/a/`.
                if last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    Ok(format!("/{}", kept.join("/")))
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn hex(digit: Option<u8>) -> Result<u8, HtuError> {
    digit
        .and_then(|digit| char::from(digit).to_digit(16))
        .and_then(|value| u8::try_from(value).ok())
        .ok_or(HtuError::Syntax)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn env_6_equal_only_after_normalising() {
        let ours = Htu::parse("https://gw.example/mcp").unwrap();
        let same = [
            "https://gw.example/mcp",
            "HTTPS://GW.Example/mcp",
            "https://gw.example:443/mcp",
            "https://gw.example:0443/mcp",
            "https://gw.example:/mcp",
            "https://gw.example/a/../mcp",
            "https://gw.example/./mcp",
            "https://gw.example/../mcp",
            "https://gw.example/%6dcp",
            "https://gw.example/x/%2e%2E/mcp",
        ];
        for url in same {
            assert_eq!(Htu::parse(url), Ok(ours.clone()), "{url}");
        }
        let other = [
            "https://gw.example/mcp/",
            "https://gw.example//mcp",
            "https://gw.example/MCP",
            "https://gw.example/mcp/..",
            "https://gw.example/mcp/.",
            "https://gw.example/mcp%2F",
            "https://gw.example/a%2F..%2Fmcp",
            "https://gw.example:8443/mcp",
            "https://gw.example.evil.example/mcp",
            "https://gw.example./mcp",
            "https://evil.example/mcp",
            "http://gw.example/mcp",
            "http://gw.example:443/mcp",
        ];
        for url in other {
            assert_ne!(Htu::parse(url), Ok(ours.clone()), "{url}");
        }
    }

    #[test]
    fn env_6_what_the_grammar_lacks_is_refused() {
        for (url, error) in [
            ("https://gw.example/mcp?x=1", HtuError::Query),
            ("https://gw.example/mcp?", HtuError::Query),
            ("https://gw.example/mcp#", HtuError::Query),
            ("https://gw.example@evil.example/mcp", HtuError::User),
            ("https://evil:pw@gw.example/mcp", HtuError::User),
            ("https:/gw.example/mcp", HtuError::Syntax),
            ("https:///mcp", HtuError::Syntax),
            ("gw.example/mcp", HtuError::Syntax),
            ("/mcp", HtuError::Syntax),
            ("", HtuError::Syntax),
            ("ftp://gw.example/mcp", HtuError::Syntax),
            ("https://gw.example\\mcp", HtuError::Syntax),
            ("https://gw.example/m cp", HtuError::Syntax),
            ("https://gw.example/m\tcp", HtuError::Syntax),
            ("https://gw.example/mcp\n", HtuError::Syntax),
            ("https://gw.example/%zz", HtuError::Syntax),
            ("https://gw.example/%4", HtuError::Syntax),
            ("https://gw.example/%", HtuError::Syntax),
            ("https://gw.example/m\u{441}p", HtuError::Syntax),
            ("https://gw.example:65536/mcp", HtuError::Syntax),
            ("https://gw.example:+443/mcp", HtuError::Syntax),
            ("https://gw.example:80:443/mcp", HtuError::Syntax),
            ("https://[::1/mcp", HtuError::Syntax),
            ("https://[::1]x/mcp", HtuError::Syntax),
            ("https://gw%2eexample/mcp", HtuError::Syntax),
        ] {
            assert_eq!(Htu::parse(url), Err(error), "{url}");
        }
        assert_eq!(Htu::parse(&format!("https://gw.example/{}", "a".repeat(MAX_URL))), Err(HtuError::Syntax));
    }

    #[test]
    fn parts_and_targets() {
        let url = Htu::parse("http://[0:0:0:0:0:0:0:1]:8080/mcp").unwrap();
        assert_eq!(
            (url.as_str(), url.origin(), url.path()),
            ("http://[::1]:8080/mcp", "http://[::1]:8080", "/mcp")
        );
        assert!(url.is_target("/mcp") && url.is_target("/a/../mcp"));
        for target in
            ["/mcp?admin=1", "/mcp?", "/mcp/", "mcp", "http://[::1]:8080/mcp", "*", "", "/mcp#x", "/\u{441}"]
        {
            assert!(!url.is_target(target), "{target}");
        }
        assert_eq!(Htu::parse("https://gw.example").unwrap().as_str(), "https://gw.example/");
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(path in "(/[a-zA-Z0-9.~%2eEfF/;:-]{0,8}){0,5}") {
            if let Ok(once) = Htu::parse(&format!("https://gw.example{path}")) {
                prop_assert_eq!(Htu::parse(once.as_str()), Ok(once));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
            if let Ok(url) = Htu::parse(&text) {
                prop_assert!(url.path().starts_with('/'));
                prop_assert!(!url.path().split('/').any(|segment| segment == "." || segment == ".."));
            }
        }
    }
}
