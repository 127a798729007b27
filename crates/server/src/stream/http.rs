//! Batches by POST: acknowledged by a 2xx status, whatever is in the answer; everything else is tried again.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use placet_gateway::{ORGANISATION, VaultAccess};
use placet_oauth::vault::{Holder, Place};
use placet_upstream::{Egress, Http, Once, SystemResolver, Trust};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::sink::Failure;
use crate::settings::{StreamHttp, StreamToken, Variables};

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 256 << 10;

/// An address that is posted to.
pub(super) struct Web {
    at: Once,
    token: Token,
    header: HeaderName,
    prefix: String,
}

enum Token {
    None,
    Fixed(SecretString),
    Vault(Arc<dyn VaultAccess>, Place),
}

impl Web {
    pub(super) fn open(
        at: &StreamHttp,
        url: &Url,
        limit: Duration,
        variables: Variables<'_>,
        vault: &Arc<dyn VaultAccess>,
    ) -> Result<Self, String> {
        let token = match &at.token {
            StreamToken::None => Token::None,
            StreamToken::Source(source) => {
                Token::Fixed(source.fetch(variables).map_err(|error| format!("{error}; {}", error.remedy()))?)
            }
            StreamToken::Vault(name) => Token::Vault(
                Arc::clone(vault),
                Place { tenant: ORGANISATION.to_owned(), upstream: name.to_string(), holder: Holder::Tenant },
            ),
        };
        let egress = if at.allow_private { Egress::Private } else { Egress::Public };
        let http = Http { url: url.clone(), trust: Trust::System, egress };
        Ok(Self {
            at: Once::new(&http, Arc::new(SystemResolver), limit, MAX_ANSWER)
                .map_err(|error| error.to_string())?,
            token,
            header: HeaderName::from_bytes(at.header.as_bytes()).map_err(|error| error.to_string())?,
            prefix: at.prefix.clone(),
        })
    }

    /// Sends a body; the answer's if it was acknowledged.
    pub(super) async fn post(&self, media: &'static str, body: Vec<u8>) -> Result<Bytes, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("placet/", env!("CARGO_PKG_VERSION"))),
        );
        if let Some(token) = self.token()? {
            let shown = format!("{}{}", self.prefix, token.expose_secret());
            let mut value = HeaderValue::from_str(&shown)
                .map_err(|_| Failure::of("the token is no text for a header"))?;
            value.set_sensitive(true);
            headers.insert(self.header.clone(), value);
        }
        let answer = self.at.send(Method::POST, headers, body.into()).await;
        let answer = answer.map_err(|error| Failure::of(error.to_string()))?;
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        // What it says isn't repeated: it may be what it was told.
        Err(Failure {
            why: format!("it answered {}", answer.status),
            after: answer
                .headers
                .get(header::RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.parse().ok())
                .map(Duration::from_secs),
            smaller: answer.status == StatusCode::PAYLOAD_TOO_LARGE,
        })
    }

    fn token(&self) -> Result<Option<SecretString>, Failure> {
        match &self.token {
            Token::None => Ok(None),
            Token::Fixed(token) => Ok(Some(token.clone())),
            Token::Vault(vault, place) => match vault.open(place) {
                Ok((token, _)) => Ok(Some(token)),
                Err(why) => Err(Failure::of(format!("the vault's secret `{}`: {why}", place.upstream))),
            },
        }
    }
}
