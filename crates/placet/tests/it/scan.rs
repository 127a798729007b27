//! `placet scan`: what lies on a machine, told without telling any of it.

use std::{
    fs::{self, File},
    path::Path,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use placet_json::Value;
use proptest::prelude::*;
use tempfile::tempdir;

use crate::support::{Ran, placet};

/// Forty days old, so that the age that is told doesn't depend on the moment.
fn put(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a file's age is told against the wall clock")]
    let then = SystemTime::now() - Duration::from_hours(40 * 24 + 1);
    File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
}

const GITHUB: &str = "ghp_Zq81LmWx0PbVtRc5NyKd3HsGf7UjEa2Ti94o";
const STRIPE: &str = "sk_live_9Qx2Lm7VbTz4Kc1WnRy6";

/// A home on Linux, one on macOS and a repository, each with what is commonly found there.
fn machine(root: &Path) {
    put(
        root,
        "home/ada/.config/Claude/claude_desktop_config.json",
        &format!(
            r#"{{ "mcpServers": {{
  "github": {{ "command": "npx", "args": ["-y", "@modelcontextprotocol/server-github"],
    "env": {{ "GITHUB_TOKEN": "{GITHUB}" }} }},
  "placet": {{ "command": "/usr/local/bin/placet", "args": ["connect", "--key", "agent.pem"] }},
  "billing": {{ "url": "https://billing.example/mcp?api_key=Kx82mQpz71LwVbn3", "autoApprove": ["refund", "read"] }} }} }}"#
        ),
    );
    put(
        root,
        "home/ada/.config/zed/settings.json",
        "{\n  // tools\n  \"context_servers\": { \"db\": { \"command\": { \"path\": \"/opt/dbtool\", \"args\": [\"--dsn\", \"postgres://app:qW7zLp29xk@db.example/app\"], \"env\": {} } }, },\n}\n",
    );
    put(
        root,
        "home/ada/.claude.json",
        &format!(
            r#"{{ "numStartups": 4, "projects": {{ "/work/desk": {{ "mcpServers": {{ "github": {{ "type": "stdio", "command": "npx", "args": ["-y", "@modelcontextprotocol/server-github"], "env": {{ "GITHUB_TOKEN": "{GITHUB}" }} }} }} }} }} }}"#
        ),
    );
    put(
        root,
        "home/ada/.claude/settings.json",
        r#"{ "permissions": { "allow": ["mcp__github__create_issue"] }, "env": { "DEBUG": "1" } }"#,
    );
    put(
        root,
        "home/ada/.aws/credentials",
        "[default]\naws_access_key_id = AKIAQ3EGRZ5LKZXWPA2B\naws_secret_access_key = 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\n",
    );
    put(
        root,
        "home/kai/Library/Application Support/Code/User/mcp.json",
        r#"{ "inputs": [ { "type": "promptString", "id": "token", "password": true } ],
  "servers": { "crm": { "type": "http", "url": "https://crm.example/mcp", "headers": { "Authorization": "Bearer ${input:token}" } },
               "chat": { "type": "http", "url": "https://chat.example:8443/mcp", "headers": { "X-Api-Key": "lr8Vz3kQm1xW9b" } } } }"#,
    );
    put(
        root,
        "home/kai/.codeium/windsurf/mcp_config.json",
        r#"{ "mcpServers": { "docs": { "serverUrl": "https://docs.example/sse" } } }"#,
    );
    put(
        root,
        "repo/.env",
        &format!(
            "# owner: team-billing\nSTRIPE_KEY={STRIPE}\n\nLOG_LEVEL=debug\nSESSION=${{FROM_ELSEWHERE}}\nTOKEN_URL=https://id.example/token\nDB_PASSWORD='p4ss w0rd'\n"
        ),
    );
    put(
        root,
        "repo/.cursor/mcp.json",
        r#"{ "mcpServers": { "local": { "command": "node", "args": ["server.js", "--token", "Zx91kLmq77Wv"] } } }"#,
    );
    put(root, "repo/node_modules/x/.env", "STRIPE_KEY=sk_live_aaaaBBBBccccDDDD1111\n");
    put(
        root,
        "repo/deploy/app.yaml",
        &format!(
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: billing\n  namespace: pay\n  labels: {{ team: payments }}\ntype: Opaque\ndata:\n  STRIPE: {}\n  username: {}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: desk, namespace: pay }}\nspec:\n  template:\n    spec:\n      containers:\n        - name: app\n          env:\n            - {{ name: API_TOKEN, value: kQ82mLpz-17xWvB }}\n            - {{ name: MODE, value: live }}\n            - name: DB_PASSWORD\n              valueFrom: {{ secretKeyRef: {{ name: billing, key: STRIPE }} }}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: conf }}\ndata:\n  app.properties: |\n    url=redis://:hV3bQz81@cache:6379/0\n    level=info\n---\napiVersion: v1\nkind: Secret\nmetadata: {{ name: robot }}\ntype: kubernetes.io/service-account-token\nstringData:\n  token: eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyb2JvdCJ9.c2lnbmF0dXJlLW9mLWl0\n",
            STANDARD.encode(STRIPE),
            STANDARD.encode("payments")
        ),
    );
    put(
        root,
        "repo/chart/secret.yaml",
        "apiVersion: v1\nkind: Secret\nmetadata: {{ .Values.name }}\ndata:\n  TOKEN: {{ .Values.token | b64enc }}\n",
    );
    put(
        root,
        "placet.toml",
        "[[upstream]]\nname = \"billing\"\nurl = \"https://billing.example/mcp\"\n\n[[upstream]]\nname = \"gh\"\ncommand = [\"npx\", \"-y\", \"@modelcontextprotocol/server-github\"]\n",
    );
}

fn scan(root: &Path, more: &[&str]) -> Ran {
    let all =
        ["scan", "--home", "home/ada", "--home", "home/kai", "--path", "repo", "--config", "placet.toml"];
    placet(root, &[&all, more].concat())
}

#[test]
fn a_machine_s_agents_tools_and_standing_credentials() {
    let dir = tempdir().unwrap();
    machine(dir.path());
    let report = scan(dir.path(), &["--format", "json"]).expect(1).json();
    let credentials = report.get("credentials").and_then(Value::as_array).unwrap();
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    let told: Vec<String> = credentials
        .iter()
        .map(|one| {
            let line = one.get("line").and_then(Value::as_u64).unwrap_or_default();
            format!(
                "{} {}:{line} {} | {} | owner {} | {} | governed {}",
                text(one, "kind"),
                text(one, "file"),
                text(one, "path"),
                text(one, "used_by"),
                text(one, "owner"),
                text(one, "expires"),
                text(one, "governed_by")
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "github-token home/ada/.config/Claude/claude_desktop_config.json:3 mcpServers.github.env.GITHUB_TOKEN | Claude Desktop: github | owner ada | unknown | governed gh",
            "named-secret home/ada/.config/Claude/claude_desktop_config.json:5 mcpServers.billing.url | Claude Desktop: billing | owner ada | never | governed billing",
            "github-token home/ada/.claude.json:1 projects./work/desk.mcpServers.github.env.GITHUB_TOKEN | Claude Code: github | owner ada | unknown | governed gh",
            "database-url home/ada/.config/zed/settings.json:3 context_servers.db.command.args.1 | Zed: db | owner ada | never | governed -",
            "aws-access-key home/ada/.aws/credentials:2 aws_access_key_id | - | owner ada | never | governed -",
            "named-secret home/ada/.aws/credentials:3 aws_secret_access_key | - | owner ada | never | governed -",
            "named-secret home/kai/Library/Application Support/Code/User/mcp.json:3 servers.chat.headers.X-Api-Key | VS Code: chat | owner kai | never | governed -",
            "named-secret repo/.cursor/mcp.json:1 mcpServers.local.args.2 | Cursor: local | owner - | never | governed -",
            "stripe-key repo/.env:2 STRIPE_KEY | - | owner team-billing | never | governed -",
            "named-secret repo/.env:7 DB_PASSWORD | - | owner - | never | governed -",
            "stripe-key repo/deploy/app.yaml:9 data.STRIPE | Secret pay/billing | owner payments | never | governed -",
            "named-secret repo/deploy/app.yaml:21 app.env.API_TOKEN | Deployment pay/desk | owner - | never | governed -",
            "database-url repo/deploy/app.yaml:31 data.app.properties.url | ConfigMap conf | owner - | never | governed -",
            "kubernetes-token repo/deploy/app.yaml:39 stringData.token | Secret robot | owner - | never | governed -",
        ],
        "{told:#?}"
    );
    let ages: Vec<_> = credentials.iter().map(|one| one.get("age_days").and_then(Value::as_u64)).collect();
    assert!(ages.iter().all(|age| *age == Some(40)), "{ages:?}");
    let same =
        |i: usize, j: usize| text(&credentials[i], "fingerprint") == text(&credentials[j], "fingerprint");
    assert!(same(0, 2) && same(8, 10) && !same(0, 8), "equal values are told as equal");

    let servers: Vec<String> = report
        .get("clients")
        .and_then(Value::as_array)
        .unwrap()
        .iter()
        .flat_map(|client| {
            let servers = client.get("servers").and_then(Value::as_array).unwrap();
            servers.iter().map(|server| {
                format!(
                    "{}: {} = {} {} {}",
                    text(client, "client"),
                    text(server, "name"),
                    text(server, "runs"),
                    server.get("through_placet").unwrap(),
                    text(server, "governed_by")
                )
            })
        })
        .collect();
    assert_eq!(
        servers,
        [
            "Claude Desktop: github = npx @modelcontextprotocol/server-github false gh",
            "Claude Desktop: placet = placet true -",
            "Claude Desktop: billing = https://billing.example false billing",
            "Claude Code: github = npx @modelcontextprotocol/server-github false gh",
            "Zed: db = dbtool false -",
            "VS Code: crm = https://crm.example false -",
            "VS Code: chat = https://chat.example:8443 false -",
            "Windsurf: docs = https://docs.example false -",
            "Cursor: local = node false -",
        ]
    );
    let totals = report.get("totals").unwrap();
    assert_eq!(
        totals.to_string(),
        r#"{"files":11,"clients":7,"servers":9,"servers_around_placet":8,"credentials":14,"standing":14,"distinct":12,"never_expire":12,"without_owner":5,"governed":3}"#
    );
    let page = scan(dir.path(), &[]).expect(1).out;
    assert!(page.contains("14 standing credentials, 12 different"), "{page}");
    assert!(
        page.contains("around Placet, which governs it as `billing`") && page.contains("through Placet"),
        "{page}"
    );
    assert!(page.contains("2 without asking") && page.contains("1 without asking"), "{page}");
}

#[test]
fn a_report_for_code_scanning() {
    let dir = tempdir().unwrap();
    machine(dir.path());
    let log = scan(dir.path(), &["--format", "sarif"]).expect(1).json();
    let results = log.pointer("/runs/0/results").and_then(Value::as_array).unwrap();
    assert_eq!(results.len(), 14);
    let place = results[6].pointer("/locations/0/physicalLocation").unwrap();
    assert_eq!(
        place.to_string(),
        r#"{"artifactLocation":{"uri":"home/kai/Library/Application%20Support/Code/User/mcp.json"},"region":{"startLine":3}}"#
    );
}

#[test]
fn a_clean_machine_and_one_that_can_t_be_read() {
    let dir = tempdir().unwrap();
    put(
        dir.path(),
        "home/.cursor/mcp.json",
        r#"{ "mcpServers": { "placet": { "command": "placet", "args": ["connect"] } } }"#,
    );
    put(dir.path(), "home/.claude.json", "{ not json");
    let ran = placet(dir.path(), &["scan", "--home", "home"]).expect(0);
    assert!(
        ran.out.contains("0 standing credentials") && ran.out.contains("not a configuration of this client"),
        "{}",
        ran.out
    );
    let ran = placet(dir.path(), &["scan", "--path", "nowhere"]).expect(2);
    assert!(ran.err.contains("can't read `nowhere`"), "{}", ran.err);
    fs::write(dir.path().join("salt"), "short").unwrap();
    let ran = placet(dir.path(), &["scan", "--path", "home", "--salt", "salt"]).expect(2);
    assert!(ran.err.contains("too short") && ran.err.contains("openssl rand"), "{}", ran.err);
}

#[test]
fn fingerprints_compare_between_machines_with_the_same_salt_only() {
    let dir = tempdir().unwrap();
    put(dir.path(), "a/.env", &format!("KEY={STRIPE}\n"));
    put(dir.path(), "b/.env", &format!("OTHER={STRIPE}\n"));
    fs::write(dir.path().join("salt"), [7_u8; 32]).unwrap();
    let print = |tree: &str, more: &[&str]| {
        let arguments = [&["scan", "--path", tree, "--format", "json"], more].concat();
        placet(dir.path(), &arguments).expect(1).text("/credentials/0/fingerprint")
    };
    assert_eq!(print("a", &["--salt", "salt"]), print("b", &["--salt", "salt"]));
    assert_ne!(print("a", &[]), print("a", &[]));
}

/// A token of a known form, or a value that only its name gives away.
fn secret() -> impl Strategy<Value = String> {
    prop_oneof![
        "ghp_[A-Za-z0-9]{36}",
        "sk_live_[A-Za-z0-9]{24}",
        "sk-ant-api03-[A-Za-z0-9]{40}",
        "xoxb-[0-9]{11}-[A-Za-z0-9]{24}",
        "[A-Za-z0-9!#%&*+@^_~]{8,40}",
        "[0-9]{6,12}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    /// Wherever a secret stands, in what it is named, and in whatever form the report comes, no piece of it is told.
    #[test]
    fn no_piece_of_a_secret_is_printed(secrets in prop::collection::vec(secret(), 6), format in prop_oneof!["text", "json", "sarif"]) {
        let dir = tempdir().unwrap();
        let [a, b, c, d, e, f] = <[String; 6]>::try_from(secrets.clone()).unwrap();
        let quoted = |text: &str| Value::from(text).to_string();
        put(dir.path(), "t/.mcp.json", &format!(
            r#"{{ "mcpServers": {{ "x-{}": {{ "command": "tool", "args": ["--token", {}, {}], "env": {{ "API_KEY": {} }} }},
                "y": {{ "command": "npx", "args": ["--password", {}] }} }} }}"#,
            a.replace(['"', '\\'], ""), quoted(&a), quoted(&format!("--secret={b}")), quoted(&c), quoted(&d)
        ));
        put(dir.path(), "t/.env", &format!("API_TOKEN={a}\nPASSWORD_{}_TOKEN={b}\nURL=postgres://u:{}@h/d\n", c.replace(|letter: char| !letter.is_ascii_alphanumeric(), ""), e.replace(|letter: char| !letter.is_ascii_alphanumeric(), "x")));
        put(dir.path(), "t/k.yaml", &format!("apiVersion: v1\nkind: Secret\nmetadata: {{ name: s, labels: {{ owner: {} }} }}\ndata:\n  v: {}\n", quoted(&f), STANDARD.encode(&f)));
        let ran = placet(dir.path(), &["scan", "--path", "t", "--format", &format]).expect(1);
        let printed = format!("{}{}", ran.out, ran.err);
        for secret in [&a, &b, &c, &d, &f] {
            let letters: Vec<char> = secret.chars().collect();
            for piece in letters.windows(5) {
                let piece: String = piece.iter().collect();
                prop_assert!(!printed.contains(&piece), "{piece} of {secret} in {printed}");
            }
        }
    }
}
