//! Our own request ids and progress tokens towards one upstream connection.
//!
//! Ids of clients never go upstream: two clients may choose the same. Ours are integers below 2^53, since some SDKs keep
//! them in doubles; an id is never used again on its connection.

use std::collections::BTreeMap;

use placet_json::{Object, Value};

use crate::{Id, meta};

/// The first integer that a double cannot tell from its neighbour.
const END: u64 = 1 << 53;

/// Requests that are open upstream, each with what the caller wants to know when the answer comes.
#[derive(Debug)]
pub struct IdMap<T> {
    next: u64,
    capacity: usize,
    open: BTreeMap<u64, Open<T>>,
}

#[derive(Debug)]
struct Open<T> {
    context: T,
    /// The token by which the client wants to hear of progress; upstream it is our id.
    progress: Option<Id>,
}

/// Why no request can be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CannotOpen {
    /// Too many are open.
    #[error("too many requests are open")]
    Full,
    /// Every id of this connection was used: open a new one.
    #[error("the connection has no ids left")]
    Exhausted,
}

/// A request that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The id to send.
    pub id: Id,
    /// The progress token to send, if the client wants progress.
    pub progress_token: Option<Id>,
}

impl<T> IdMap<T> {
    /// A map for a new connection, of at most `capacity` open requests.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { next: 1, capacity, open: BTreeMap::new() }
    }

    /// Opens a request. `progress` is the client's own token, if it sent one.
    pub fn open(&mut self, context: T, progress: Option<Id>) -> Result<Opened, CannotOpen> {
        if self.open.len() >= self.capacity {
            return Err(CannotOpen::Full);
        }
        let id = self.next;
        if id >= END {
            return Err(CannotOpen::Exhausted);
        }
        self.next = id.saturating_add(1);
        let progress_token = progress.is_some().then(|| Id::from(id));
        self.open.insert(id, Open { context, progress });
        Ok(Opened { id: id.into(), progress_token })
    }

    /// Takes the request that a response answers; `None` for a second response or one to no request of ours. The id must
    /// be spelled as we sent it.
    pub fn close(&mut self, id: &Id) -> Option<T> {
        self.open.remove(&own(id)?).map(|open| open.context)
    }

    /// An open request.
    #[must_use]
    pub fn get(&self, id: &Id) -> Option<&T> {
        self.open.get(&own(id)?).map(|open| &open.context)
    }

    /// An open request, to be changed.
    pub fn get_mut(&mut self, id: &Id) -> Option<&mut T> {
        self.open.get_mut(&own(id)?).map(|open| &mut open.context)
    }

    /// Puts the client's token into the parameters of a `notifications/progress`; `None` if its request is closed, unknown
    /// or wanted none: then the notification is dropped.
    pub fn progress(&self, params: &mut Object) -> Option<&T> {
        let token = params.get_mut(meta::PROGRESS_TOKEN)?;
        let open = self.open.get(&own(&Id::from_value(token)?)?)?;
        *token = open.progress.as_ref()?.to_value();
        Some(&open.context)
    }

    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Takes all that are open, oldest first: the connection is gone.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(&mut self.open).into_values().map(|open| open.context)
    }
}

/// `1` is ours; `"1"`, `01` and `-0` are not.
fn own(id: &Id) -> Option<u64> {
    let number = id.as_u64()?;
    (id.to_value() == Value::from(number)).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use placet_json::object;

    #[test]
    fn ten_3_each_gets_only_its_own_answer_and_only_once() {
        let mut map = IdMap::new(8);
        let first = map.open("acme", None).unwrap().id;
        let second = map.open("globex", None).unwrap().id;
        assert_ne!(first, second);
        assert_eq!(map.close(&second), Some("globex"));
        assert_eq!(map.close(&second), None);
        assert_eq!(map.close(&Id::from("1")), None);
        assert_eq!(map.close(&Id::from(99)), None);
        assert_eq!(map.get(&first), Some(&"acme"));
        assert_eq!(map.open("acme", None).unwrap().id, Id::from(3));
        assert_eq!(map.drain().collect::<Vec<_>>(), ["acme", "acme"]);
        assert!(map.is_empty());
    }

    #[test]
    fn ids_stay_below_2_to_the_53() {
        let mut map = IdMap { next: END - 1, capacity: 8, open: BTreeMap::new() };
        assert_eq!(map.open((), None).unwrap().id.as_u64(), Some(9_007_199_254_740_991));
        assert_eq!(map.open((), None), Err(CannotOpen::Exhausted));
    }

    #[test]
    fn ops_4_open_requests_are_bounded() {
        let mut map = IdMap::new(1);
        let id = map.open((), None).unwrap().id;
        assert_eq!(map.open((), None), Err(CannotOpen::Full));
        map.close(&id);
        assert!(map.open((), None).is_ok());
    }

    #[test]
    fn progress_comes_back_by_the_clients_token_until_the_answer() {
        let mut map = IdMap::new(8);
        let opened = map.open("a", Some("tok".into())).unwrap();
        let silent = map.open("b", None).unwrap();
        assert_eq!(silent.progress_token, None);
        let sent = opened.progress_token.unwrap();
        let params = |token: Value| object! { "progressToken" => token, "progress" => 1_u64 };

        let mut progress = params(sent.to_value());
        assert_eq!(map.progress(&mut progress), Some(&"a"));
        assert_eq!(progress, params("tok".into()));
        for token in [silent.id.to_value(), "1".into(), 99_u64.into(), Value::Null] {
            assert_eq!(map.progress(&mut params(token.clone())), None, "{token}");
        }
        assert_eq!(map.progress(&mut Object::new()), None);
        map.close(&opened.id);
        assert_eq!(map.progress(&mut params(sent.to_value())), None);
    }
}
