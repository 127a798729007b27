use placet_core::authority::Warrant;
fn copy(warrant: &Warrant) -> Warrant {
    <Warrant as Clone>::clone(warrant)
}
fn main() {}
