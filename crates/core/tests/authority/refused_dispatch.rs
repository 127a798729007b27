use placet_core::{Call, Envelope, authority::Dispatch};
fn send<'a>(call: &'a Call, envelope: &'a Envelope) -> Dispatch<'a> {
    Dispatch { call, envelope, _sealed: () }
}
fn main() {}
