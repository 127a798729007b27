use placet_core::{Timestamp, authority::{Authority, Connection, Journal, Warrant}};
fn twice<J: Journal, C: Connection>(a: &Authority<J>, warrant: Warrant, one: C, two: C, now: Timestamp) {
    drop(a.issue(warrant, one, now));
    drop(a.issue(warrant, two, now));
}
fn main() {}
