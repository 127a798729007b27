//! Legacy sessions. Their state is sealed into their id, so they live on over restarts and on every gateway; an id is
//! worth nothing to another principal, and never authenticates.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use placet_mcp::{Revision, logging::LogLevel};

/// Ended sessions and log levels that are remembered; the oldest are forgotten.
const MAX_REMEMBERED: usize = 16_384;

/// The key that seals session ids.
#[derive(Debug)]
pub struct SessionKey(hmac::Key);

impl SessionKey {
    /// From 32 secret bytes.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }
}

/// An open session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) revision: Revision,
}

pub(super) struct Sessions {
    key: SessionKey,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ended: HashSet<String>,
    ended_order: VecDeque<String>,
    levels: HashMap<String, LogLevel>,
    levels_order: VecDeque<String>,
}

impl Sessions {
    pub(super) fn new(key: SessionKey) -> Self {
        Self { key, state: Mutex::default() }
    }

    /// A new session of this principal.
    pub(super) fn begin(&self, principal: &str, revision: Revision) -> Result<Session, getrandom::Error> {
        let mut nonce = [0_u8; 16];
        getrandom::fill(&mut nonce)?;
        let body = format!("{}.{}", revision.as_str(), URL_SAFE_NO_PAD.encode(nonce));
        Ok(Session { id: format!("{body}.{}", self.seal(&body, principal)), revision })
    }

    /// The session of an id, if it is this principal's and hasn't ended.
    pub(super) fn find(&self, id: &str, principal: &str) -> Option<Session> {
        let (body, tag) = id.rsplit_once('.')?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(&self.key.0, &sealed(body, principal), &tag).ok()?;
        let revision = body.split('.').next()?.parse().ok()?;
        let ended = self.state.lock().unwrap_or_else(PoisonError::into_inner).ended.contains(id);
        (!ended).then(|| Session { id: id.to_owned(), revision })
    }

    pub(super) fn end(&self, session: &Session) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.levels.remove(&session.id);
        if state.ended.insert(session.id.clone()) {
            state.ended_order.push_back(session.id.clone());
        }
        if state.ended_order.len() > MAX_REMEMBERED
            && let Some(oldest) = state.ended_order.pop_front()
        {
            state.ended.remove(&oldest);
        }
    }

    pub(super) fn set_level(&self, session: &Session, level: LogLevel) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.levels.insert(session.id.clone(), level).is_none() {
            state.levels_order.push_back(session.id.clone());
        }
        if state.levels_order.len() > MAX_REMEMBERED
            && let Some(oldest) = state.levels_order.pop_front()
        {
            state.levels.remove(&oldest);
        }
    }

    pub(super) fn level(&self, session: &Session) -> Option<LogLevel> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).levels.get(&session.id).copied()
    }

    fn seal(&self, body: &str, principal: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.key.0, &sealed(body, principal)))
    }
}

fn sealed(body: &str, principal: &str) -> Vec<u8> {
    format!("placet mcp session\n{body}\n{principal}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions() -> Sessions {
        Sessions::new(SessionKey::new(&[7; 32]))
    }

    #[test]
    fn mcp_3_a_session_id_is_worth_nothing_to_another_principal() {
        let sessions = sessions();
        let session = sessions.begin("agent-7", Revision::V2025_11_25).unwrap();
        assert_eq!(sessions.find(&session.id, "agent-7"), Some(session.clone()));
        assert_eq!(sessions.find(&session.id, "agent-8"), None);
        for at in 0..session.id.len() {
            let mut bytes = session.id.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(sessions.find(&String::from_utf8(bytes).unwrap(), "agent-7"), None, "altered at {at}");
        }
        sessions.end(&session);
        assert_eq!(sessions.find(&session.id, "agent-7"), None);
    }

    #[test]
    fn a_session_outlives_the_process() {
        let session = sessions().begin("agent-7", Revision::V2025_06_18).unwrap();
        assert_eq!(sessions().find(&session.id, "agent-7").unwrap().revision, Revision::V2025_06_18);
    }
}
