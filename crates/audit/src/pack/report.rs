//! The pack's page for people: one HTML file that prints well, without scripts and without anything from elsewhere. It is
//! made of the records alone, so that a verifier makes it again and compares.

use std::fmt::Write as _;

use super::{
    Selection,
    collect::{Agent, Approval, Collected, Exception, Grant, InForce, MAX_ROWS},
};

const STYLE: &str = "@page{size:A4;margin:18mm}body{font:10.5pt/1.45 Georgia,serif;color:#111;max-width:190mm;margin:2em auto;padding:0 1em}\
h1{font-size:1.6em;margin:0 0 .2em}h2{font-size:1.15em;margin:1.6em 0 .4em;border-bottom:1px solid #999;break-after:avoid}\
table{border-collapse:collapse;width:100%;font-size:.86em}thead{display:table-header-group}tr{break-inside:avoid}\
th,td{text-align:left;vertical-align:top;padding:.25em .5em;border-bottom:1px solid #ddd;overflow-wrap:anywhere}\
th{border-bottom:1px solid #555}td.n,th.n{text-align:right}.note{color:#444;font-size:.9em}.gap{border:2px solid #111;padding:.5em}";

/// What auditors ask, and where the answer stands.
const MAPPING: [(&str, &str, &str); 11] = [
    (
        "SOC 2 CC6.1, CC6.3",
        "access is authorised, least privilege, reviewed",
        "Agents; Grants; each decision's delegation, scope and rule",
    ),
    (
        "SOC 2 CC6.2",
        "credentials are issued to known users and end with them",
        "Agents (owner, standing); each effect's credential kind, never its value",
    ),
    (
        "SOC 2 CC7.2, CC7.3",
        "anomalies are seen and evaluated",
        "Exceptions; refusals counted in floods; freezes",
    ),
    (
        "SOC 2 CC7.4, CC7.5",
        "incidents are answered, recovery is recorded",
        "Exceptions (freezes, findings); Gaps",
    ),
    (
        "SOC 2 CC8.1",
        "changes are authorised, tested, approved",
        "Releases in force: by whom, when, why; the archives in this pack",
    ),
    ("ISO/IEC 42001 A.6.2.8", "event logs of the AI system", "Population; the records in this pack"),
    (
        "ISO/IEC 42001 A.9.2, A.9.4",
        "responsible and intended use",
        "Each decision's purpose (intent) and workflow; Approvals",
    ),
    (
        "EU AI Act Art. 12",
        "automatic recording of events over the lifetime",
        "Population with its proof; the signed checkpoints",
    ),
    ("EU AI Act Art. 14", "human oversight", "Approvals; freezes among the exceptions"),
    (
        "EU AI Act Art. 19",
        "logs are kept, six months at least",
        "First and last decision; the tree's size proves that none is missing",
    ),
    ("EU AI Act Art. 26(5), 26(6)", "deployers monitor and keep logs", "Exceptions; this pack"),
];

/// The page.
pub(crate) fn page(organisation: &str, selection: &Selection, all: &Collected, made: &str) -> String {
    let mut page = Page(String::with_capacity(32 << 10));
    page.raw("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Evidence: ");
    page.text(&selection.tenant);
    page.raw("</title><style>");
    page.raw(STYLE);
    page.raw("</style></head><body>\n<h1>Evidence of what AI agents were allowed and did</h1>\n");
    let whole = "everything that is signed".to_owned();
    let scope: Vec<String> = [
        selection.since.map(|at| format!("since {at}")),
        selection.until.map(|at| format!("until {at}")),
        selection.workflow.as_ref().map(|it| format!("workflow {it}")),
        selection.human.as_ref().map(|it| format!("for {it}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    let scope = if scope.is_empty() { whole } else { scope.join(", ") };
    page.paragraph(&format!(
        "Organisation {organisation}, tenant {}: {scope}. Made {made}.",
        selection.tenant
    ));
    for (sequence, gap) in &all.gaps {
        page.raw("<p class=\"gap\">");
        page.text(&crate::verify::gap_text(*sequence, gap));
        page.raw("</p>\n");
    }
    population(&mut page, selection, all);
    page.heading("Agents");
    let rows = all.agents.iter().map(|(id, agent)| {
        let Agent { kind, owner, standing, permits, denials } = agent;
        vec![
            id.clone(),
            kind.clone(),
            owner.clone(),
            standing.clone(),
            permits.to_string(),
            denials.to_string(),
        ]
    });
    page.table(&["Agent", "Type", "Owner", "Standing", "Permits", "Denials"], rows);
    page.heading("Exceptions");
    let rows = all.exceptions.iter().map(|exception| {
        let Exception { sequence, time, what, who, why } = exception;
        vec![sequence.to_string(), time.to_string(), what.clone(), who.clone(), why.clone()]
    });
    page.table(&["Record", "When", "What", "Who", "Why"], rows);
    if all.more_exceptions > 0 {
        page.paragraph(&format!("… and {} more; all of them are in the records.", all.more_exceptions));
    }
    page.heading("Approvals");
    let rows = all.approvals.iter().map(|(id, approval)| {
        let Approval { time, name, approver, role, workflow, withdrawn, spent_by } = approval;
        let state = match (withdrawn, spent_by.is_empty()) {
            (true, _) => "withdrawn".to_owned(),
            (false, true) => "not used".to_owned(),
            (false, false) => format!("used by {}", spent_by.join(", ")),
        };
        vec![id.clone(), time.clone(), name.clone(), format!("{approver} ({role})"), workflow.clone(), state]
    });
    page.table(&["Approval", "Given", "Of what", "By", "Workflow", "State"], rows);
    grants(&mut page, all);
    page.heading("Releases in force");
    let rows = all.releases.iter().map(|release| {
        let InForce { time, release, by, why } = release;
        let decided = if all.decided_by.contains(release) { "yes" } else { "no" };
        vec![time.to_string(), release.clone(), by.clone(), why.clone(), decided.to_owned()]
    });
    page.table(&["Since", "Release", "By", "Why", "Decided here"], rows);
    page.heading("What is asked, and where the answer is");
    let rows = MAPPING
        .iter()
        .map(|(of, asks, answer)| vec![(*of).to_owned(), (*asks).to_owned(), (*answer).to_owned()]);
    page.table(&["Of", "Asks", "Answer"], rows);
    page.paragraph("The mapping helps to find the evidence. Whether a control is met is an auditor's judgement, not this page's.");
    page.raw("</body></html>\n");
    page.0
}

fn population(page: &mut Page, selection: &Selection, all: &Collected) {
    page.heading("Population");
    let decisions = all.permits.saturating_add(all.denials);
    let between = match (all.first, all.last) {
        (Some(first), Some(last)) => format!("between {first} and {last}"),
        _ => "none".to_owned(),
    };
    page.paragraph(&format!(
        "{decisions} decisions, {between}: {} permits, {} denials; {} more refusals are there as counts only. {} people, {} workflows.",
        all.permits,
        all.denials,
        all.counted,
        all.humans.len(),
        all.workflows.len()
    ));
    page.note(if selection.history {
        "That none is missing: the pack holds every record of the tenant from the first one on, each with its number in the tree whose root the ledger signed. `placet audit verify` counts them again."
    } else {
        "That none is missing: the pack holds every record of the tenant from the first to the last of this time, next to each other in the tree whose root the ledger signed. `placet audit verify` counts them again."
    });
    let rows = all
        .actions
        .iter()
        .map(|(action, (permits, denials))| vec![action.clone(), permits.to_string(), denials.to_string()]);
    page.table(&["Action", "Permits", "Denials"], rows);
    let rows = all.codes.iter().map(|(code, count)| vec![code.clone(), count.to_string()]);
    page.table(&["Reason of denial", "How often"], rows);
    let rows = all.endings.iter().map(|(ending, count)| vec![ending.clone(), count.to_string()]);
    page.table(&["How permits ended", "How often"], rows);
}

fn grants(page: &mut Page, all: &Collected) {
    page.heading("Grants");
    let row = |(id, grant): (&String, &Grant)| {
        let Grant { time, human, agent, workflow, revoked, used } = grant;
        let state = if *revoked { "revoked" } else { "granted" };
        let who = format!("{human} to {agent}");
        vec![id.clone(), time.clone(), who, workflow.clone(), state.to_owned(), used.to_string()]
    };
    let columns = ["Delegation", "Granted", "From and to", "Workflow", "State", "Permits"];
    page.table(&columns, all.grants.iter().map(row));
    let unused: Vec<_> = all.grants.iter().filter(|(_, grant)| grant.used == 0 && !grant.revoked).collect();
    page.paragraph(&format!("{} of them were never used and not revoked:", unused.len()));
    page.table(&columns, unused.into_iter().map(row));
}

/// HTML being written; text is escaped.
struct Page(String);

impl Page {
    fn raw(&mut self, html: &str) {
        self.0.push_str(html);
    }
    /// What people and agents wrote: as text, without control characters or what turns a line around.
    fn text(&mut self, text: &str) {
        for letter in text.chars() {
            match letter {
                '&' => self.raw("&amp;"),
                '<' => self.raw("&lt;"),
                '>' => self.raw("&gt;"),
                '"' => self.raw("&quot;"),
                '\n' | '\t' => self.0.push(' '),
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => {
                    self.0.push('\u{fffd}');
                }
                other if other.is_control() => self.0.push('\u{fffd}'),
                other => self.0.push(other),
            }
        }
    }
    fn heading(&mut self, text: &str) {
        self.raw("<h2>");
        self.text(text);
        self.raw("</h2>\n");
    }
    fn paragraph(&mut self, text: &str) {
        self.raw("<p>");
        self.text(text);
        self.raw("</p>\n");
    }
    fn note(&mut self, text: &str) {
        self.raw("<p class=\"note\">");
        self.text(text);
        self.raw("</p>\n");
    }
    fn table(&mut self, columns: &[&str], rows: impl Iterator<Item = Vec<String>>) {
        let mut rows = rows.peekable();
        if rows.peek().is_none() {
            self.note("none");
            return;
        }
        self.raw("<table><thead><tr>");
        for column in columns {
            self.raw("<th>");
            self.text(column);
            self.raw("</th>");
        }
        self.raw("</tr></thead><tbody>\n");
        let mut more = 0_u64;
        for (at, row) in rows.enumerate() {
            if at >= MAX_ROWS {
                more = more.saturating_add(1);
                continue;
            }
            self.raw("<tr>");
            for cell in row {
                self.raw("<td>");
                self.text(&cell);
                self.raw("</td>");
            }
            self.raw("</tr>\n");
        }
        self.raw("</tbody></table>\n");
        if more > 0 {
            // Writing into a `String` can't fail.
            let _infallible = writeln!(self.0, "<p class=\"note\">… and {more} more</p>");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use placet_core::Timestamp;
    use placet_json::Value;

    #[test]
    fn con_2_what_agents_wrote_is_text_on_the_page() {
        let mut all = Collected::default();
        all.exceptions.push(Exception {
            sequence: 1,
            time: Timestamp::from_secs(1),
            what: "<img src=x onerror=alert(1)>".to_owned(),
            who: "a\u{202e}b\u{1b}[31m".to_owned(),
            why: "\"quoted\" & more".to_owned(),
        });
        let selection = Selection {
            tenant: "acme".to_owned(),
            since: None,
            until: None,
            workflow: None,
            human: None,
            history: true,
        };
        let page = page("desk", &selection, &all, "2026-01-01T00:00:00Z");
        assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;") && !page.contains("<img"));
        assert!(!page.contains('\u{202e}') && !page.contains('\u{1b}'));
        assert!(page.contains("&quot;quoted&quot; &amp; more"));
        for forbidden in ["<script", "http://", "https://", "url("] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        assert!(matches!(all.population(), Value::Object(_)));
    }
}
