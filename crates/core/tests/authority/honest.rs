//! The honest way does compile.
use placet_core::{
    Call, Envelope, Timestamp,
    authority::{Authority, Connection, Journal, Outcome, Recorded, Unrecorded},
};

async fn call<J: Journal, C: Connection>(a: &Authority<J>, e: Envelope, c: Call, connection: C) -> Result<Outcome, Unrecorded> {
    let clock = || Timestamp::from_secs(1);
    let Recorded::Granted(warrant) = a.record(a.decide(e, c, clock()), &clock).await? else { return Err(Unrecorded::Moved) };
    match a.issue(warrant, connection, clock()) {
        Ok(invocation) => {
            let effect = a.send(invocation, &clock).await;
            a.close(effect).await
        }
        Err(withdrawn) => {
            a.close_withdrawn(*withdrawn).await?;
            Err(Unrecorded::Moved)
        }
    }
}

fn main() {
    let _ = call::<Never, Never>;
}

struct Never;
impl Journal for Never {
    async fn durable(&self, _: placet_core::authority::Entry<'_>) -> Result<placet_core::authority::Position, Unrecorded> {
        Err(Unrecorded::Moved)
    }
    fn queued(&self, _: placet_core::authority::Entry<'_>) -> Result<(), Unrecorded> {
        Err(Unrecorded::Moved)
    }
}
impl Connection for Never {
    fn credential(&self) -> &placet_core::authority::CredentialNote {
        &placet_core::authority::CredentialNote::None
    }
    async fn exchange(self, _: placet_core::authority::Dispatch<'_>) -> Outcome {
        loop {}
    }
}
