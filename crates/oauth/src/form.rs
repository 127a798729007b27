//! `application/x-www-form-urlencoded` bodies, strictly: a parameter counts once (RFC 6749 §3.2).

use std::collections::BTreeMap;

/// Longest body, in bytes: an assertion of 16 KiB and little else.
pub const MAX_FORM: usize = 32 * 1024;

/// Most parameters: the endpoints know some twenty, a consent has a box for each of at most 64 actions and 64 intents.
const MAX_PARAMETERS: usize = 192;

/// The parameters of a request; empty ones count as absent (RFC 6749 §3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form(BTreeMap<String, String>);

/// The body isn't a form, is too large, or has a parameter twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a form with each parameter once")]
pub struct FormError;

impl Form {
    /// Reads a body.
    pub fn parse(body: &[u8]) -> Result<Self, FormError> {
        if body.len() > MAX_FORM {
            return Err(FormError);
        }
        let text = std::str::from_utf8(body).map_err(|_| FormError)?;
        let mut parameters = BTreeMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(FormError)?;
            let known = parameters.insert(decode(name)?, decode(value)?);
            if known.is_some() || parameters.len() > MAX_PARAMETERS {
                return Err(FormError);
            }
        }
        parameters.retain(|_, value| !value.is_empty());
        Ok(Self(parameters))
    }

    /// A parameter's value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

fn decode(text: &str) -> Result<String, FormError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digit =
                    |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).ok_or(FormError);
                let value = digit(rest.next())?.wrapping_shl(4) | digit(rest.next())?;
                bytes.push(u8::try_from(value).map_err(|_| FormError)?);
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| FormError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_parameter_once() {
        let form = Form::parse(
            b"grant_type=client_credentials&resource=https%3A%2F%2Fgw.example%2Fmcp&a+b=c%20d&e=",
        )
        .unwrap();
        assert_eq!(form.get("grant_type"), Some("client_credentials"));
        assert_eq!(form.get("resource"), Some("https://gw.example/mcp"));
        assert_eq!(form.get("a b"), Some("c d"));
        assert_eq!(form.get("e"), None, "empty is absent");
        for body in ["a=1&a=2", "a=1&a=1", "a=1&%61=2", "a=&a=1", "a", "a=%zz", "a=%4", "a=%ff"] {
            assert_eq!(Form::parse(body.as_bytes()), Err(FormError), "{body}");
        }
        assert_eq!(Form::parse(&vec![b'a'; MAX_FORM + 1]), Err(FormError));
        let many: Vec<u8> = (0..=MAX_PARAMETERS).flat_map(|at| format!("p{at}=1&").into_bytes()).collect();
        assert_eq!(Form::parse(&many), Err(FormError));
    }
}
