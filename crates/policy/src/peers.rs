//! Other people's engines, for tests: `peers/engines.py` on what `peers/install.sh` installed.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use placet_json::{Limits, Value, parse};

/// What the driver answers to a list of cases.
pub(crate) fn judged(engine: &str, cases: &Value) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut driver = Command::new(root.join(".peers/engines/bin/python"))
        .arg(root.join("peers/engines.py"))
        .arg(engine)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("peers/install.sh installs it");
    driver.stdin.take().unwrap().write_all(cases.to_string().as_bytes()).unwrap();
    let output = driver.wait_with_output().unwrap();
    assert!(output.status.success());
    parse(&output.stdout, &Limits::RESULT).unwrap().as_array().unwrap().to_vec()
}
