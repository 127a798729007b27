//! The verifier in Python, which shares no code with us, holds every ledger that a stage leaves behind.

use std::{path::Path, process::Command, time::Duration};

use placet_json::Limits;
use placet_record::Kind;
use placet_store::Reader;

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

/// Panics unless every record is of the published schema.
pub(crate) fn conforms(data: &Path) {
    let reader = Reader::open(data).unwrap();
    for record in reader.range(1, reader.last()) {
        let record = record.unwrap();
        let document = placet_json::parse(&record.payload, &Limits::RESULT).unwrap();
        let kind = Kind::from_tag(record.kind).unwrap();
        let conforms = placet_record::conforms(kind, &document, false);
        assert_eq!(conforms, Ok(()), "record {}", record.sequence);
    }
}
