use placet_core::authority::{Effect, Outcome};
fn peek(effect: Effect) -> Outcome {
    effect.outcome
}
fn main() {}
