use placet_core::authority::{Permit, Position, Warrant};
fn forge(permit: Box<Permit>, at: Position) -> Warrant {
    Warrant { permit, at, orphans: None }
}
fn main() {}
