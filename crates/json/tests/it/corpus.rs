//! The committed fuzz corpus, run without a fuzzer.

use std::path::Path;

use crate::check::check;

#[test]
fn the_committed_corpus_holds() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/json");
    let mut files = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        check(&std::fs::read(entry.unwrap().path()).unwrap());
        files += 1;
    }
    assert!(files >= 30, "the corpus has only {files} files");
}
