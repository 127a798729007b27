//! What a policy may take of the machine. The library's own tests run without the program's allocator, which counts: so
//! this is measured on the program.

use std::{fmt::Write as _, fs, path::Path};

use placet_json::Value;
use tempfile::tempdir;

use crate::support::{Serving, placet};

/// The most that the program held at any time, in MiB. The bound of one evaluation is 32; the rest is the program, what
/// one function makes of its arguments, and what the allocator keeps.
const PEAK: u64 = 220;

/// By action, rules that would take all memory of any machine.
const HOSTILE: &[(&str, &str)] = &[
    ("numbers", "count(numbers.range(1, 1000000000000)) > 0"),
    ("steps", "count(numbers.range_step(1, 9000000000000000, 3)) > 0"),
    ("pairs", "count({[a, b] | some a in numbers.range(1, 5000); some b in numbers.range(1, 5000)}) > 0"),
    (
        "list",
        "count([sprintf(\"%v%v\", [a, b]) | some a in numbers.range(1, 90000); some b in numbers.range(1, 90000)]) > 0",
    ),
    ("object", "count({a: numbers.range(a, a + 1000) | some a in numbers.range(1, 200000)}) > 0"),
    ("bits", "bits.lsh(1, 4000000000) > 0"),
    ("exponent", "to_number(\"1e2000000000\") > 0"),
    ("letters", "count(replace(long, \"x\", long)) > 0"),
    ("pattern", "count(regex.replace(long, \"x\", long)) > 0"),
    ("joined", "count(concat(long, numbers_as_text)) > 0"),
    ("width", "count(sprintf(\"%4000000000d\", [1])) > 0"),
    ("document", "count(json.marshal(y60)) > 0"),
    ("format", "count(sprintf(\"%v\", [y60])) > 0"),
    ("walk", "count([p | walk(y60, [p, _])]) > 0"),
    ("paths", "count(graph.reachable_paths(graph, {\"n0\"})) > 0"),
    ("split", "count([split(long, \"\") | some _ in numbers.range(1, 100000)]) > 0"),
    ("tripled", "count(z20) > 0"),
];

fn release(dir: &Path) {
    let release = dir.join("release");
    for sub in ["policies", "tests"] {
        fs::create_dir_all(release.join(sub)).unwrap();
    }
    let head = "name = \"hostile\"\n[rego]\nversion = \"v1\"\nentrypoints = [\"p\"]\n";
    fs::write(release.join("release.toml"), head).unwrap();
    let mut policy = String::from("package p\n\nallow if input.action == \"sound\"\n\n");
    for (action, condition) in HOSTILE {
        writeln!(policy, "allow if {{\n\tinput.action == \"{action}\"\n\t{condition}\n}}\n").unwrap();
    }
    let tens = "x".repeat(500);
    writeln!(policy, "short := \"{tens}\"\n\nlong := replace(short, \"x\", short)\n").unwrap();
    policy.push_str("numbers_as_text := [sprintf(\"%d\", [n]) | some n in numbers.range(1, 9000)]\n\n");
    policy.push_str("graph := {n: {m | some i in numbers.range(0, 40); m := sprintf(\"n%d\", [i])} | some j in numbers.range(0, 40); n := sprintf(\"n%d\", [j])}\n\n");
    policy.push_str("y0 := [1, 2]\n\nz0 := [1, 2]\n\n");
    for n in 1..=60 {
        let before = n - 1;
        writeln!(policy, "y{n} := [y{before}, y{before}]\n").unwrap();
    }
    for n in 1..=20 {
        let before = n - 1;
        writeln!(policy, "z{n} := array.concat(z{before}, array.concat(z{before}, z{before}))\n").unwrap();
    }
    fs::write(release.join("policies/p.rego"), policy).unwrap();
    let mut cases = String::new();
    for (action, _) in HOSTILE {
        case(&mut cases, action, "deny", ", because: [limit]");
        case(&mut cases, "sound", "permit", "");
    }
    fs::write(release.join("tests/p.yaml"), cases).unwrap();
}

fn case(cases: &mut String, action: &str, expect: &str, because: &str) {
    let nth = cases.lines().count();
    writeln!(
        cases,
        "- {{name: \"{action} {nth}\", at: 2026-03-01T09:30:00Z, expect: {expect}{because}, input: {{action: {action}, intent: support_case_resolution, agent: {{id: agent-7, type: support_agent}}, delegating_user: {{id: maya, status: active, tenant_id: acme, roles: [support]}}, workflow: {{id: wf-9, type: support_case, state: open, tenant_id: acme, expires_at: 2026-03-01T12:00:00Z}}, resource: {{type: support_case, id: CASE-1837, tenant_id: acme}}}}}}"
    )
    .unwrap();
}

#[test]
fn pol_4_a_policy_that_takes_memory_without_end_denies_and_the_program_goes_on() {
    let dir = tempdir().unwrap();
    release(dir.path());
    let tested = placet(dir.path(), &["test", "release", "--format", "json"]);
    let failed: Vec<String> = tested
        .json()
        .pointer("/cases")
        .and_then(Value::as_array)
        .unwrap_or_default()
        .iter()
        .filter(|case| case.get("passed").and_then(Value::as_bool) != Some(true))
        .map(ToString::to_string)
        .collect();
    assert!(tested.code == 0 && failed.is_empty(), "{failed:#?}");
    // The same once more in a program that stays, so that its peak can be read.
    let watched = Serving::start(dir.path(), &["test", "release", "--watch"], "watching");
    let peak = watched.peak_mib();
    println!("the most memory that it held: {peak} MiB");
    assert!(peak < PEAK, "{peak} MiB");
}
