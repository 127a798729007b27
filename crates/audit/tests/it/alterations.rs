//! Ledgers, releases and records that somebody altered: never `same`.

use std::{fs, path::PathBuf};

use placet_audit::{Outcome, ReplayReport, Scope, What, replay, verify};
use placet_record::Kind;
use tempfile::TempDir;

use crate::desk::{self, ORGANISATION, POLICY, morning, public, rewritten};

fn again(dir: &TempDir) -> ReplayReport {
    replay(&desk::data(dir), &Scope::default(), None, &mut |_, _| ()).unwrap()
}

/// What differs, by decision.
fn differing(report: &ReplayReport) -> Vec<(&str, Vec<What>)> {
    let what = |outcome: &Outcome| match outcome {
        Outcome::Differs(differences) => differences.iter().map(|difference| difference.what).collect(),
        Outcome::Same | Outcome::CannotTell(_) | Outcome::Erased(_) | Outcome::NotDecided => Vec::new(),
    };
    report.details.iter().map(|detail| (detail.id.as_str(), what(&detail.outcome))).collect()
}

fn archive(dir: &TempDir) -> PathBuf {
    fs::read_dir(dir.path().join("releases")).unwrap().next().unwrap().unwrap().path()
}

/// Alters the decision `id` only.
fn of_decision(
    id: &'static str,
    from: &'static str,
    to: &'static str,
) -> impl Fn(u64, u8, String) -> (u8, String) {
    move |_, kind, text| {
        let this = kind == Kind::Decision.tag() && text.contains(&format!("\"id\":\"{id}\",\"input\""));
        assert!(!this || text.contains(from), "{text}");
        (kind, if this { text.replace(from, to) } else { text })
    }
}

#[tokio::test]
async fn rep_1_an_edited_rule_of_the_archived_release_is_found() {
    let dir = morning().await;
    let other = desk::release(|path, text| {
        if path == POLICY { text.replace("input.amount <= 100", "input.amount <= 1000") } else { text }
    });
    fs::write(archive(&dir), other.archive()).unwrap();
    let report = again(&dir);
    assert_eq!((report.same, report.differs, report.not_decided), (0, 12, 1), "{report}");
    assert!(differing(&report).iter().all(|(_, what)| *what == [What::Release]), "{report}");
    assert!(report.to_string().contains("evidence differs: release: recorded sha256:"), "{report}");
    assert!(report.to_string().contains(&format!("its digest is {}", other.digest())), "{report}");
}

#[tokio::test]
async fn rep_1_one_byte_of_the_archive_and_a_missing_archive_are_found() {
    let dir = morning().await;
    let path = archive(&dir);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(again(&dir).differs, 12);
    fs::remove_file(path).unwrap();
    let report = again(&dir);
    assert_eq!((report.same, report.differs), (0, 12), "{report}");
    assert!(report.to_string().contains("isn't there"), "{report}");
}

#[tokio::test]
async fn rep_1_altered_facts_are_found_by_replay_and_by_verify() {
    let dir = morning().await;
    // An attribute: the input is another, and so is what the gateway filled in.
    let forged = rewritten(&dir, |_, kind, text| {
        (kind, if kind == Kind::Facts.tag() { text.replace("cust-101", "cust-666") } else { text })
    });
    let report = again(&forged);
    assert!(report.differs >= 6 && report.same < 7, "{report}");
    assert!(report.to_string().contains("cust-666"), "{report}");
    let seen = verify(forged.path(), ORGANISATION, public());
    assert!(!seen.is_sound(), "{seen}");
    assert!(seen.to_string().contains("tree `acme` isn't what was signed: leaf 0, record"), "{seen}");

    // A person's standing: the last denial was right only because she was deactivated.
    let forged = rewritten(&dir, |_, kind, text| {
        (kind, if kind == Kind::Facts.tag() { text.replace("deactivated", "active") } else { text })
    });
    let report = again(&forged);
    let differing = differing(&report);
    assert_eq!((report.same, differing.len(), differing[0].0), (11, 1, "dc_12"), "{report}");
    assert_eq!(differing[0].1.first(), Some(&What::Decision), "{report}");

    // A record of facts that is no longer one: its revision is missing.
    let forged = rewritten(&dir, |_, kind, text| {
        (
            if kind == Kind::Facts.tag() && text.contains("approval_given") { Kind::Act.tag() } else { kind },
            text,
        )
    });
    let report = again(&forged);
    assert!(report.differs >= 8, "{report}");
    assert!(report.to_string().contains("evidence differs: facts: recorded revision"), "{report}");
    assert!(!verify(forged.path(), ORGANISATION, public()).is_sound());
}

#[tokio::test]
async fn rep_1_an_altered_input_is_found() {
    let dir = morning().await;
    let forged = rewritten(
        &dir,
        of_decision(
            "dc_1",
            "\"input\":{\"action\":\"issue_refund\"",
            "\"input\":{\"action\":\"issue_reward\"",
        ),
    );
    let report = again(&forged);
    assert_eq!(differing(&report), [("dc_1", vec![What::Input])], "{report}");
    assert!(report.to_string().contains("dc_1: evidence differs: input: recorded sha256:"), "{report}");

    // Input and digest altered to fit: still not what the facts and the call give.
    let forged = rewritten(&dir, |_, kind, text| {
        if kind != Kind::Decision.tag() || !text.contains("\"id\":\"dc_1\"") {
            return (kind, text);
        }
        let text =
            text.replace("\"input\":{\"action\":\"issue_refund\"", "\"input\":{\"action\":\"issue_reward\"");
        let record = placet_record::DecisionRecord::read(text.as_bytes()).unwrap();
        let digest = placet_core::Digest::of(record.input.unwrap().canonical().unwrap().as_bytes());
        let was = record.basis.unwrap().input;
        (kind, text.replace(&was.to_string(), &digest.to_string()))
    });
    let report = again(&forged);
    assert_eq!(differing(&report), [("dc_1", vec![What::Input])], "{report}");
    assert!(
        report.to_string().contains("`/action` was \"issue_reward\" and is \"issue_refund\""),
        "{report}"
    );

    // The call's arguments.
    let forged =
        rewritten(&dir, of_decision("dc_1", "\"arguments\":{\"amount\":80", "\"arguments\":{\"amount\":70"));
    assert_eq!(
        differing(&again(&forged)).first().map(|(id, what)| (*id, what[0])),
        Some(("dc_1", What::Input))
    );
}

#[tokio::test]
async fn rep_1_an_altered_decision_is_found() {
    let dir = morning().await;
    for (id, from, to, what) in [
        ("dc_2", "\"code\":\"manager_approval_missing\"", "\"code\":\"no_rule_allows\"", What::Reasons),
        ("dc_2", "\"role\":\"support_manager\"", "\"role\":\"support\"", What::Remedy),
        ("dc_1", "\"policy\":\"ai.support_agent.authz\"", "\"policy\":\"ai.other.authz\"", What::Determining),
        ("dc_4", "\"chain\":[\"agent-7\"]", "\"chain\":[\"agent-8\"]", What::Chain),
        ("dc_3", "\"spends\":[\"ap-1\"]", "\"spends\":[]", What::Spends),
        ("dc_6", "\"decision\":\"deny\"", "\"decision\":\"permit\"", What::Decision),
    ] {
        let report = again(&rewritten(&dir, of_decision(id, from, to)));
        let differing = differing(&report);
        assert_eq!(differing.first().map(|(id, what)| (*id, what[0])), Some((id, what)), "{from}: {report}");
    }
    // A release that never came into force decided nothing.
    let forged = rewritten(&dir, |_, kind, text| {
        (if kind == Kind::Release.tag() { Kind::Act.tag() } else { kind }, text)
    });
    let report = again(&forged);
    assert_eq!((report.same, report.differs), (0, 12), "{report}");
    // A record that can't be read is a difference, too, and nothing after it is believed.
    let forged = rewritten(&dir, of_decision("dc_3", "\"v\":1,", "\"v\":2,"));
    let report = again(&forged);
    assert_eq!(differing(&report).first(), Some(&("", vec![What::Record])), "{report}");
    assert_eq!(report.same, 3, "{report}");
}

#[tokio::test]
async fn led_3_a_flipped_bit_and_a_dropped_tail_are_named() {
    let dir = morning().await;
    let segment = fs::read_dir(dir.path().join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "seg"))
        .unwrap();
    let whole = fs::read(&segment).unwrap();
    let written = whole.iter().rposition(|byte| *byte != 0).unwrap();
    for at in (100..written).step_by(written / 9) {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        fs::write(&segment, bytes).unwrap();
        let report = verify(dir.path(), ORGANISATION, public());
        assert!(!report.is_sound(), "byte {at}: {report}");
        let said = report.to_string();
        assert!(said.starts_with("wrong: ") && said.contains("record"), "byte {at}: {said}");
        assert!(!report.followed && report.open.is_empty(), "byte {at}: {said}");
        assert!(said.ends_with("the ledger does not hold\n"));
    }
    let mut bytes = whole.clone();
    bytes[written * 2 / 3..].fill(0);
    fs::write(&segment, bytes).unwrap();
    let report = verify(dir.path(), ORGANISATION, public());
    assert!(!report.is_sound() && report.to_string().contains("dropped after record"), "{report}");
}

#[tokio::test]
async fn led_3_effects_that_follow_no_permit_are_named() {
    let dir = morning().await;
    // The ending of one permit turned into another ending of the one before.
    let forged = rewritten(&dir, |_, kind, text| {
        (
            kind,
            if kind == Kind::Effect.tag() && text.contains("\"decision\":\"dc_1\"") {
                text.replace("\"decision\":\"dc_1\"", "\"decision\":\"dc_0\"")
            } else {
                text
            },
        )
    });
    let report = verify(forged.path(), ORGANISATION, public());
    assert_eq!(report.misfits.len(), 1, "{report}");
    assert!(report.misfits[0].what.contains("the effect of dc_0 ends the permit of dc_1"), "{report}");

    // An effect that is gone leaves its permit open, which is told and by itself no fault.
    let forged = rewritten(&dir, |_, kind, text| {
        (
            if kind == Kind::Effect.tag() && text.contains("\"decision\":\"dc_4\"") {
                Kind::Act.tag()
            } else {
                kind
            },
            text,
        )
    });
    let report = verify(forged.path(), ORGANISATION, public());
    assert_eq!(
        (report.open.len(), report.open[0].decision.as_str(), report.misfits.len()),
        (1, "dc_4", 0),
        "{report}"
    );
    assert!(report.to_string().contains("open: record"), "{report}");
}

#[tokio::test]
async fn other_engines_are_told_where_something_differs_and_nowhere_else() {
    let dir = morning().await;
    let (now, then) =
        (format!("\"engine\":\"{}\"", placet_core::ENGINE), "\"engine\":\"placet/0 regorus/0.1.0\"");
    let of = |id: &'static str, also: Option<(&'static str, &'static str)>| {
        let now = now.clone();
        move |_: u64, kind: u8, text: String| {
            let this = kind == Kind::Decision.tag() && text.contains(&format!("\"id\":\"{id}\",\"input\""));
            if !this {
                return (kind, text);
            }
            assert!(text.contains(&now), "{text}");
            let text = text.replace(&now, then);
            (kind, also.map_or_else(|| text.clone(), |(from, to)| text.replace(from, to)))
        }
    };
    // The same answer by other engines is the same answer.
    let report = again(&rewritten(&dir, of("dc_2", None)));
    assert_eq!(report.differs, 0, "{report}");
    // Another answer may be theirs: that is told first.
    let code = ("\"code\":\"manager_approval_missing\"", "\"code\":\"no_rule_allows\"");
    let report = again(&rewritten(&dir, of("dc_2", Some(code))));
    let differing = differing(&report);
    assert_eq!(differing.len(), 1, "{report}");
    assert_eq!(
        (differing[0].0, &differing[0].1[..2]),
        ("dc_2", &[What::Engine, What::Reasons][..]),
        "{report}"
    );
    let told = format!("engine differs: recorded placet/0 regorus/0.1.0; now {}", placet_core::ENGINE);
    assert!(report.to_string().contains(&told), "{report}");
}
