use placet_core::authority::Denial;
fn nothing() -> Denial {
    Denial::default()
}
fn main() {}
