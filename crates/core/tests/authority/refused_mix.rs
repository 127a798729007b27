use placet_core::{DelegationId, WorkflowId};
fn mix(a: WorkflowId, b: DelegationId) -> bool {
    a == b
}
fn main() {}
