//! A circuit breaker: an upstream that fails again and again is left alone for a while, then tried by one call.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// When an upstream is left alone, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fuse {
    /// After so many failures of transport in a row; 0 never.
    pub failures: u32,
    /// For this long; then one call tries.
    pub rest: Duration,
}

impl Fuse {
    /// 5 failures, 10 s.
    pub const DEFAULT: Self = Self { failures: 5, rest: Duration::from_secs(10) };
}

/// The state of an upstream's breaker, for those who count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Circuit {
    /// Calls pass.
    Closed,
    /// None does.
    Open,
    /// One does, and its end decides.
    HalfOpen,
}

/// Why a call isn't let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it failed {failures} times in a row and is left alone for {} ms more", rest.as_millis())]
pub struct Resting {
    /// Failures in a row.
    pub failures: u32,
    /// Until it is tried again.
    pub rest: Duration,
}

/// What a call came to, as far as the way to the upstream is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// It answered, whatever it said.
    Answered,
    /// It couldn't be reached, or gave no answer.
    Failed,
}

/// One upstream's.
pub(crate) struct Breaker {
    fuse: Fuse,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
struct State {
    failures: u32,
    position: Position,
    opened: u64,
}

#[derive(Clone, Copy)]
enum Position {
    Closed,
    Open { until: Instant },
    HalfOpen,
}

/// The right to try. One that ends without an answer or a failure leaves the breaker as it was.
#[must_use]
pub struct Pass {
    breaker: Arc<Breaker>,
    probe: bool,
}

impl Breaker {
    pub(crate) fn new(fuse: Fuse) -> Self {
        let state = State { failures: 0, position: Position::Closed, opened: 0 };
        Self { fuse, state: Mutex::new(state) }
    }

    /// Lets a call through, or says that the upstream rests.
    pub(crate) fn pass(self: &Arc<Self>) -> Result<Pass, Resting> {
        let mut state = self.state();
        let now = Instant::now();
        let pass = |probe| Ok(Pass { breaker: Arc::clone(self), probe });
        match state.position {
            Position::Closed => pass(false),
            Position::Open { until } if now >= until => {
                state.position = Position::HalfOpen;
                pass(true)
            }
            Position::Open { until } => {
                Err(Resting { failures: state.failures, rest: until.saturating_duration_since(now) })
            }
            Position::HalfOpen => Err(Resting { failures: state.failures, rest: Duration::ZERO }),
        }
    }

    /// Notes how a try ended.
    pub(crate) fn note(&self, way: Way) {
        let mut state = self.state();
        match way {
            Way::Answered => {
                (state.failures, state.position) = (0, Position::Closed);
            }
            Way::Failed => {
                state.failures = state.failures.saturating_add(1);
                let trips = match state.position {
                    Position::Closed => self.fuse.failures > 0 && state.failures >= self.fuse.failures,
                    Position::HalfOpen => true,
                    // A call from before it opened.
                    Position::Open { .. } => false,
                };
                if trips {
                    let now = Instant::now();
                    state.position = Position::Open { until: now.checked_add(self.fuse.rest).unwrap_or(now) };
                    state.opened = state.opened.saturating_add(1);
                }
            }
        }
    }

    /// What it is now, and how often it opened.
    pub(crate) fn circuit(&self) -> (Circuit, u64) {
        let state = self.state();
        let circuit = match state.position {
            Position::Closed => Circuit::Closed,
            Position::Open { .. } => Circuit::Open,
            Position::HalfOpen => Circuit::HalfOpen,
        };
        (circuit, state.opened)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if !self.probe {
            return;
        }
        let mut state = self.breaker.state();
        if let Position::HalfOpen = state.position {
            // It told nothing, so the next call may try at once.
            state.position = Position::Open { until: Instant::now() };
        }
    }
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass").field("probe", &self.probe).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_millis(500);

    fn breaker() -> Arc<Breaker> {
        Arc::new(Breaker::new(Fuse { failures: 3, rest: REST }))
    }
    fn fail(breaker: &Arc<Breaker>) {
        let pass = breaker.pass().unwrap();
        breaker.note(Way::Failed);
        drop(pass);
    }

    #[tokio::test]
    async fn failures_in_a_row_open_it_and_an_answer_between_them_does_not() {
        let breaker = breaker();
        fail(&breaker);
        fail(&breaker);
        breaker.note(Way::Answered);
        fail(&breaker);
        fail(&breaker);
        assert_eq!(breaker.circuit(), (Circuit::Closed, 0));
        fail(&breaker);
        assert_eq!(breaker.circuit(), (Circuit::Open, 1));
        let resting = breaker.pass().unwrap_err();
        assert!(resting.failures == 3 && resting.rest <= REST, "{resting}");
    }

    #[tokio::test]
    async fn after_its_rest_one_call_tries_and_its_end_decides() {
        let breaker = breaker();
        (0..3).for_each(|_| fail(&breaker));
        tokio::time::sleep(REST).await;
        let probe = breaker.pass().unwrap();
        assert!(breaker.pass().is_err(), "one at a time");
        // A call that ended by itself tells nothing.
        drop(probe);
        let probe = breaker.pass().unwrap();
        breaker.note(Way::Failed);
        drop(probe);
        assert_eq!(breaker.circuit(), (Circuit::Open, 2));
        tokio::time::sleep(REST).await;
        let probe = breaker.pass().unwrap();
        breaker.note(Way::Answered);
        drop(probe);
        assert_eq!(breaker.circuit(), (Circuit::Closed, 2));
        assert!(breaker.pass().is_ok() && breaker.pass().is_ok());
    }

    #[tokio::test]
    async fn a_fuse_of_nothing_never_opens() {
        let breaker = Arc::new(Breaker::new(Fuse { failures: 0, rest: Duration::from_secs(1) }));
        (0..100).for_each(|_| fail(&breaker));
        assert_eq!(breaker.circuit(), (Circuit::Closed, 0));
    }
}
