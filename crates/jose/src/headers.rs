//! The headers that carry tokens, proofs and digests: each at most once.

use crate::refused::Refused;

/// The headers of a request as they came: name (any case) and raw value.
pub type Headers<'a> = &'a [(&'a str, &'a [u8])];

/// The value of a header that may occur at most once, without surrounding white space.
///
/// Twice is refused rather than joined or picked from: two readers would pick differently.
pub fn at_most_once<'a>(headers: Headers<'a>, name: &'static str) -> Result<Option<&'a str>, Refused> {
    let mut values =
        headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| *value);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refused::Header(name));
    }
    let text = std::str::from_utf8(value).map_err(|_| Refused::Header(name))?.trim_matches([' ', '\t']);
    if text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        Ok(Some(text))
    } else {
        Err(Refused::Header(name))
    }
}

/// The token of `Authorization: DPoP …` (RFC 9449 §7.1). Any other scheme, `Bearer` above all, is refused.
pub fn dpop_token(headers: Headers<'_>) -> Result<&str, Refused> {
    let value = at_most_once(headers, "authorization")?.ok_or(Refused::Missing("authorization"))?;
    let (scheme, token) = value.split_once(' ').ok_or(Refused::Header("authorization"))?;
    if !scheme.eq_ignore_ascii_case("DPoP") {
        return Err(Refused::Scheme);
    }
    let token = token.trim_start_matches(' ');
    if token.is_empty() || token.contains([' ', ',']) {
        return Err(Refused::Header("authorization"));
    }
    Ok(token)
}

/// The one proof in `DPoP`.
pub fn dpop_proof(headers: Headers<'_>) -> Result<&str, Refused> {
    at_most_once(headers, "dpop")?.ok_or(Refused::Missing("dpop"))
}
