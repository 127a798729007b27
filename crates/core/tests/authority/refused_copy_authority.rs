use placet_core::authority::{Authority, Journal};
fn second<J: Journal>(a: &Authority<J>) -> Authority<J> {
    <Authority<J> as Clone>::clone(a)
}
fn main() {}
