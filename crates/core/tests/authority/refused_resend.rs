use placet_core::{Timestamp, authority::{Authority, Connection, Invocation, Journal}};
async fn twice<J: Journal, C: Connection>(a: &Authority<J>, invocation: Invocation<C>) {
    let clock = || Timestamp::from_secs(1);
    drop(a.send(invocation, &clock).await);
    drop(a.send(invocation, &clock).await);
}
fn main() {}
