//! The verifier in Python, which shares no code with us, holds every ledger that a stage leaves behind.

use std::{path::Path, process::Command, time::Duration};

/// Panics unless it says that the ledger in this data directory holds. While a server writes, a batch may look torn, so
/// it is asked again.
pub(crate) fn holds(data: &Path) {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/verify_ledger.py");
    let mut said = String::new();
    for _ in 0..5 {
        let output = Command::new("python3").arg(&tool).arg(data).output().unwrap();
        if output.status.success() {
            return;
        }
        said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("the outsider doesn't believe the ledger: {said}");
}
