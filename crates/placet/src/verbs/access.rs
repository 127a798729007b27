//! The report of all agents as a page and as a table, for people who review access.

use std::fmt::Write as _;

use placet_json::Value;

use super::{can::list, common::cell};

/// A page that stands alone: no script, nothing loaded.
pub(super) fn page(report: &Value) -> String {
    let mut out = String::from(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Access of agents</title>\n<style>body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}th,td{border:1px solid #ccc;padding:.3rem .5rem;text-align:left;vertical-align:top}th{background:#f3f3f3}.mind{background:#fff3cd}code{font-size:.9em}</style>\n",
    );
    let _infallible = write!(
        out,
        "<h1>Access of agents</h1>\n<p>As of {}, revision {}, release <code>{}</code>.<br>What a signature is about: <code>{}</code></p>\n",
        escaped(&cell(report, "at")),
        escaped(&cell(report, "revision")),
        escaped(&cell(report, "release")),
        escaped(&cell(report, "digest"))
    );
    for agent in list(report, "agents") {
        let last = cell(agent, "last_use");
        let _infallible = write!(
            out,
            "<h2>{}</h2>\n<p>{} of {} (owner is {}), {}, {} keys, known since {}, last used {}</p>\n",
            escaped(&cell(agent, "agent")),
            escaped(&cell(agent, "type")),
            escaped(&cell(agent, "owner")),
            escaped(&cell(agent, "owner_standing")),
            escaped(&cell(agent, "standing")),
            escaped(&cell(agent, "keys")),
            escaped(&or(&cell(agent, "since"), "unknown")),
            escaped(&or(&last, "never"))
        );
        for finding in list(agent, "findings") {
            let _infallible =
                writeln!(out, "<p class=\"mind\">{}</p>", escaped(finding.as_str().unwrap_or_default()));
        }
        out.push_str(
            "<table><tr><th>delegation<th>by<th>workflow<th>actions<th>limits<th>ends<th>unused</tr>\n",
        );
        for row in rows(agent) {
            out.push_str("<tr>");
            for text in row.iter().skip(5) {
                let _infallible = write!(out, "<td>{}", escaped(text));
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</table>\n");
    }
    out.push_str("</html>\n");
    out
}

/// A line for each grant, and one for an agent without any (RFC 4180).
pub(super) fn csv(report: &Value) -> String {
    let mut out = String::from(
        "agent,type,owner,standing,last_use,delegation,by,workflow,actions,limits,ends,unused\r\n",
    );
    for agent in list(report, "agents") {
        let mut lines = rows(agent);
        if lines.is_empty() {
            let mut line = head(agent);
            line.resize(12, String::new());
            lines.push(line);
        }
        for line in lines {
            let line: Vec<String> = line.iter().map(|text| field(text)).collect();
            out.push_str(&line.join(","));
            out.push_str("\r\n");
        }
    }
    out
}

fn head(agent: &Value) -> Vec<String> {
    ["agent", "type", "owner", "standing", "last_use"].iter().map(|name| cell(agent, name)).collect()
}

/// Each grant as texts: the agent's five, then delegation, chain, workflow, actions, limits, end, unused actions.
fn rows(agent: &Value) -> Vec<Vec<String>> {
    list(agent, "grants")
        .iter()
        .map(|grant| {
            let workflow = grant.get("workflow").cloned().unwrap_or(Value::Null);
            let chain: Vec<String> = list(grant, "by").iter().rev().map(|link| cell(link, "agent")).collect();
            let actions: Vec<String> =
                list(grant, "actions").iter().map(|action| cell(action, "action")).collect();
            let limits = grant.get("limits").and_then(Value::as_object);
            let limits: Vec<String> =
                limits.into_iter().flatten().map(|(name, limit)| format!("{name} <= {limit}")).collect();
            let mut row = head(agent);
            row.extend([
                format!("{}/{}", cell(grant, "tenant"), cell(grant, "delegation")),
                format!("{} > {}", cell(grant, "human"), chain.join(" > ")),
                format!("{} ({})", cell(&workflow, "id"), cell(&workflow, "type")),
                actions.join(" "),
                limits.join(" "),
                cell(grant, "ends"),
                list(grant, "unused").iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
            ]);
            row
        })
        .collect()
}

fn or(text: &str, other: &str) -> String {
    if text.is_empty() { other.to_owned() } else { text.to_owned() }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A field of CSV. What a spreadsheet would take for a formula is given a quote before it.
fn field(text: &str) -> String {
    let text =
        if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Value {
        let text = r#"{"at":"2026-03-01T09:30:00Z","revision":7,"release":"sha256:ab","digest":"sha256:cd","agents":[
            {"agent":"=cmd","type":"a<b","owner":"maya","owner_standing":"active","standing":"active","keys":1,"since":null,"last_use":null,
             "findings":["it was never used"],"grants":[{"tenant":"acme","delegation":"dg-1","human":"maya","by":[{"agent":"=cmd"},{"agent":"planner"}],
             "workflow":{"id":"wf-9","type":"case"},"actions":[{"action":"read"},{"action":"pay"}],"limits":{"amount":100},"ends":"2026-03-01T12:00:00Z","unused":["pay"]}]},
            {"agent":"idle","type":"b","owner":"mo","standing":"active","grants":[]}]}"#;
        placet_json::parse(text.as_bytes(), &placet_json::Limits::MESSAGE).unwrap()
    }

    #[test]
    fn a_table_has_a_line_for_each_grant_and_runs_no_formula() {
        assert_eq!(
            csv(&report()),
            "agent,type,owner,standing,last_use,delegation,by,workflow,actions,limits,ends,unused\r\n'=cmd,a<b,maya,active,,acme/dg-1,maya > planner > =cmd,wf-9 (case),read pay,amount <= 100,2026-03-01T12:00:00Z,pay\r\nidle,b,mo,active,,,,,,,,\r\n"
        );
    }

    #[test]
    fn a_page_escapes_what_others_wrote() {
        let page = page(&report());
        assert!(
            page.contains("a&lt;b of maya") && !page.contains("a<b") && page.contains("it was never used")
        );
    }
}
