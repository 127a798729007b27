use std::{fs, os::unix::fs::PermissionsExt};

use super::*;

fn none(_: &str) -> Option<String> {
    None
}

fn parse(text: &str) -> Result<Settings, Problems> {
    Settings::parse(Path::new("/nowhere/placet.toml"), text, &none)
}

/// The one problem of a text.
fn refused(text: &str) -> String {
    let problems = parse(text).expect_err(text).0;
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems[0].to_string().replace("/nowhere/", "")
}

#[test]
fn an_empty_file_serves_dev_on_loopback() {
    let settings = parse("").unwrap();
    assert_eq!(settings.server.environment, Environment::Dev);
    assert!(settings.server.listen.ip().is_loopback() && settings.server.admin_listen.ip().is_loopback());
    assert_eq!(settings.server.public_url, "http://127.0.0.1:8717");
    assert_eq!(settings.server.resource(), "http://127.0.0.1:8717/mcp");
    assert_eq!(settings.server.data, Path::new("/nowhere/./data"));
    assert_eq!(settings.release, ReleaseSource::None);
    assert!(settings.origins.iter().all(|printed| printed.line == 0));
}

#[test]
fn every_error_names_line_and_remedy() {
    for (text, told) in [
        ("x = ", "placet.toml:1: not TOML"),
        (
            "\n[server]\nlisen = \"127.0.0.1:1\"",
            "placet.toml:3: there is no key `server.lisen`; did you mean `listen`?",
        ),
        ("[servers]\n", "placet.toml:1: there is no section `servers`; did you mean `server`?"),
        ("[server]\nlisten = 8717", "placet.toml:2: `server.listen` is integer; write a text"),
        (
            "[server]\nlisten = \"8717\"",
            "placet.toml:2: `server.listen` can't be \"8717\"; write address and port",
        ),
        ("server = 1", "placet.toml:1: `server` is integer, not a table"),
        (
            "[server]\nenvironment = \"prod\"",
            "placet.toml:2: `server.environment` can't be \"prod\"; write `dev`",
        ),
        ("[server]\npublic_url = \"https://gw.example/x\"", "placet.toml:2: `server.public_url` can't be"),
        ("[server]\norganisation = \"a/b\"", "placet.toml:2: `server.organisation` can't be"),
        (
            "[limits]\nbody_bytes = 1",
            "placet.toml:2: `limits.body_bytes` is out of range; write a whole number from 1024",
        ),
        (
            "[release]\ndir = \"a\"\narchive = \"b\"",
            "placet.toml:3: `release`: `dir` and `archive` can't both be given",
        ),
        ("[log]\nformat = \"xml\"", "placet.toml:2: `log.format` can't be \"xml\"; write `text` or `json`"),
        ("[[upstream]]\nurl = \"https://x.example\"", "placet.toml:1: `upstream[0].name` is missing"),
        (
            "[[upstream]]\nname = \"Billing\"\nurl = \"https://x.example\"",
            "placet.toml:2: `upstream[0].name` can't be",
        ),
        ("[[upstream]]\nname = \"a\"", "placet.toml:1: `upstream[0].url` is missing; say how it is reached"),
        (
            "[[upstream]]\nname = \"a\"\ncommand = [\"x\"]\nurl = \"https://x.example\"",
            "placet.toml:3: `upstream[0]`: `url` and `command`",
        ),
        (
            "[[upstream]]\nname = \"a\"\nurl = \"https://x.example\"\ncwd = \".\"",
            "placet.toml:4: `upstream[0]`: `cwd` is for a `command`",
        ),
        (
            "[[upstream]]\nname = \"a\"\nurl = \"https://u:p@x.example\"",
            "placet.toml:1: `a` has a secret in its URL",
        ),
        (
            "[[upstream]]\nname = \"a\"\nurl = \"http://x.example\"",
            "placet.toml:1: `a` would be called by plain HTTP",
        ),
        (
            "[[upstream]]\nname = \"a\"\ncommand = [\"x\"]\n[[upstream]]\nname = \"a\"\ncommand = [\"y\"]",
            "placet.toml:4: `a` is an upstream already, in line 1",
        ),
        ("upstream = 1", "placet.toml:1: `upstream` is no list of tables"),
        (
            "[vault]\nmaster_key = \"hunter2\"",
            "placet.toml:2: `vault.master_key` doesn't say where the secret is",
        ),
        (
            "[vault]\nmaster_key = { file = \"a\", env = \"b\" }",
            "placet.toml:2: `vault.master_key` doesn't say where the secret is",
        ),
        (
            "[vault]\nmaster_key = { env = \"NOPE\" }",
            "placet.toml:2: `vault.master_key` can't be used: the variable `NOPE` is not set",
        ),
        (
            "[vault]\nmaster_key = { file = \"none\" }",
            "placet.toml:2: `vault.master_key` can't be used: the key file `none` can't be read",
        ),
        (
            "[server]\nadmin_listen = \"127.0.0.1:8717\"",
            "placet.toml:2: agents and administrators can't share a listener",
        ),
    ] {
        let refusal = refused(text);
        assert!(refusal.starts_with(told), "{text}\n  {refusal}\n  {told}");
        assert!(refusal.contains("; "), "{refusal} has no remedy");
    }
    assert!(
        !refused("[vault]\nmaster_key = \"hunter2\"").contains("hunter2"),
        "a secret in the file isn't repeated"
    );
}

#[test]
fn all_problems_are_told_at_once_in_order() {
    let problems = parse("[log]\nformat = 1\n[server]\nlisten = 2\nx = 3").unwrap_err().0;
    assert_eq!(problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [2, 4, 5]);
}

#[test]
fn ops_3_switches_for_development_are_refused_elsewhere() {
    for environment in ["production", "staging"] {
        let head = format!("[server]\nenvironment = \"{environment}\"\n");
        let refusal = refused(&format!("{head}[dev]\nplain_http = true"));
        assert!(
            refusal.starts_with("placet.toml:3: `dev`: switches for development are refused here"),
            "{refusal}"
        );
        let refusal = refused(&format!("{head}[dev]\nplain_http = false"));
        assert!(refusal.starts_with("placet.toml:3: "), "even where it is off: {refusal}");
    }
}

#[test]
fn ops_3_nobody_signs_in_as_anybody_but_on_a_developer_s_machine() {
    assert!(parse("[dev]\nsign_in = true").unwrap().dev.sign_in);
    let refusal = refused("[server]\nenvironment = \"production\"\n[dev]\nsign_in = true");
    assert!(refusal.contains("switches for development are refused here"), "{refusal}");
    let refusal = refused(
        "[server]\nlisten = \"0.0.0.0:8717\"\npublic_url = \"https://gw.example\"\n[dev]\nsign_in = true",
    );
    assert!(refusal.starts_with("placet.toml:5: whoever reaches this listener"), "{refusal}");
}

#[test]
fn a_provider_is_named_whole() {
    let whole =
        "[[identity]]\nname = \"corp\"\nissuer = \"https://id.example/realm/\"\nclient_id = \"placet\"\n";
    let settings = parse(&format!("{whole}scopes = [\"profile\"]\ntenants = [\"acme\"]")).unwrap();
    let one = settings.identity.first().unwrap();
    assert_eq!(
        (one.issuer.as_str(), one.human.as_str(), one.session_s),
        ("https://id.example/realm/", "sub", 28_800)
    );
    assert_eq!(one.scopes, ["openid", "profile"]);
    for (from, to, told) in [
        ("name = \"corp\"\n", "", "`identity[0].name` is missing"),
        ("corp", "Corp", "`identity[0].name` can't be"),
        ("corp", "development", "`development` is a provider already"),
        ("https://id.example", "http://id.example", "by plain HTTP"),
        ("https://id.example/realm/", "https://u@id.example", "`identity[0].issuer` can't be"),
        ("client_id = \"placet\"", "client_id = \"placet\"\ntenants = []", "no ids of tenants"),
        (
            "client_id = \"placet\"",
            "client_id = \"placet\"\nclient_secret = \"x\"",
            "doesn't say where the secret is",
        ),
    ] {
        let refusal = refused(&whole.replace(from, to));
        assert!(refusal.contains(told), "{refusal}");
    }
    assert!(refused(&format!("{whole}{whole}")).contains("`corp` is a provider already"));
}

#[test]
fn ops_3_plain_http_on_a_public_address_is_refused() {
    for (text, line) in [
        ("[server]\nlisten = \"0.0.0.0:8717\"", 2),
        ("[server]\nenvironment = \"production\"\npublic_url = \"http://gw.example\"", 3),
        ("[server]\nlisten = \"0.0.0.0:8717\"\npublic_url = \"http://127.0.0.1:8717\"", 3),
        ("[server]\nadmin_listen = \"0.0.0.0:8718\"", 2),
        ("[server]\nadmin_url = \"http://10.0.0.1\"", 2),
    ] {
        let refusal = refused(text);
        assert!(
            refusal.starts_with(&format!("placet.toml:{line}: "))
                && refusal.contains("plain HTTP on a public address"),
            "{refusal}"
        );
    }
    assert!(parse("[server]\nlisten = \"0.0.0.0:8717\"\npublic_url = \"https://gw.example\"").is_ok());
    assert!(parse("[server]\nlisten = \"0.0.0.0:8717\"\n[dev]\nplain_http = true").is_ok());
    assert!(parse("[server]\nlisten = \"[::1]:8717\"").is_ok());
}

#[test]
fn ops_3_traces_go_by_https_or_to_loopback() {
    assert!(parse("").unwrap().telemetry.otlp.is_none(), "off by default");
    for (text, told) in [
        ("otlp = \"http://collector.example:4318\"", "placet.toml:2: traces would be sent by plain HTTP"),
        (
            "otlp = \"https://u:p@collector.example\"",
            "placet.toml:2: `telemetry.otlp` has a secret in its URL",
        ),
        ("otlp = \"grpc://127.0.0.1:4317\"", "placet.toml:2: `telemetry.otlp` can't be"),
        ("otpl = \"http://127.0.0.1:4318\"", "placet.toml:2: there is no key `telemetry.otpl`"),
    ] {
        let refusal = refused(&format!("[telemetry]\n{text}"));
        assert!(refusal.starts_with(told), "{refusal}");
    }
    for text in [
        "[telemetry]\notlp = \"http://127.0.0.1:4318\"",
        "[telemetry]\notlp = \"http://[::1]:4318\"",
        "[telemetry]\notlp = \"https://collector.example/base\"",
        "[telemetry]\notlp = \"http://collector.example\"\n[dev]\nplain_http = true",
    ] {
        assert!(parse(text).unwrap().telemetry.otlp.is_some(), "{text}");
    }
}

fn file(dir: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let settings = dir.path().join("placet.toml");
    let text = "[keys]\ntoken = { file = \"token.pem\" }";
    for mode in [0o644, 0o640, 0o604, 0o660, 0o620] {
        file(dir.path(), "token.pem", "x", mode);
        let problems = Settings::parse(&settings, text, &none).unwrap_err();
        let told = problems.to_string();
        assert!(
            told.contains("placet.toml:2: ") && told.contains("open to others") && told.contains("chmod 600"),
            "{told}"
        );
    }
    file(dir.path(), "token.pem", "x", 0o600);
    Settings::parse(&settings, text, &none).unwrap();
}

#[test]
fn a_master_key_under_the_data_directory_is_refused_outside_dev() {
    let dir = tempfile::tempdir().unwrap();
    let settings = dir.path().join("placet.toml");
    for place in ["data/keys/master.key", "data/../data/m.key", "elsewhere/../data/m.key"] {
        fs::create_dir_all(dir.path().join("elsewhere")).unwrap();
        file(dir.path(), place, "x", 0o600);
        let text = |environment: &str| {
            format!(
                "[server]\nenvironment = \"{environment}\"\n[vault]\nmaster_key = {{ file = \"{place}\" }}"
            )
        };
        let told = Settings::parse(&settings, &text("production"), &none).unwrap_err().to_string();
        assert!(told.contains("placet.toml:4: ") && told.contains("under the data directory"), "{told}");
        Settings::parse(&settings, &text("dev"), &none).unwrap();
    }
    file(dir.path(), "safe/m.key", "x", 0o600);
    let text = "[server]\nenvironment = \"production\"\n[vault]\nmaster_key = { file = \"safe/m.key\" }";
    Settings::parse(&settings, text, &none).unwrap();
    assert!(
        parse("[server]\nenvironment = \"production\"").unwrap().vault.master_key.is_none(),
        "no default outside dev"
    );
}

#[test]
fn secrets_are_fetched_from_where_they_lie() {
    use secrecy::ExposeSecret;
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "k", "from a file\n", 0o600);
    let variables = |name: &str| (name == "K").then(|| "from the environment".to_owned());
    let fetch =
        |source: SecretSource| source.fetch(&variables).map(|secret| secret.expose_secret().to_owned());
    assert_eq!(fetch(SecretSource::File(path.clone())).unwrap(), "from a file");
    assert_eq!(fetch(SecretSource::Env("K".into())).unwrap(), "from the environment");
    let echo = SecretSource::Command(vec!["printf".into(), "%s".into(), "from a $COMMAND".into()]);
    assert_eq!(fetch(echo).unwrap(), "from a $COMMAND", "no shell");
    assert!(fetch(SecretSource::Command(vec!["false".into()])).is_err());
    assert!(fetch(SecretSource::Env("L".into())).is_err());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(fetch(SecretSource::File(path)), Err(SecretError::Open(_, 0o644))));
}

#[test]
fn what_is_in_force_is_printed_with_its_origin() {
    let text = "[server]\nlisten = \"127.0.0.1:9\"\n[[upstream]]\nname = \"git\"\ncommand = [\"mcp-server-git\"]\nenv = { T = { env = \"T\" } }";
    let settings = Settings::parse(Path::new("placet.toml"), text, &|_| Some("hunter2".into())).unwrap();
    let printed = settings.print();
    assert!(printed.contains("server.listen") && printed.contains("= 127.0.0.1:9  # line 2"), "{printed}");
    assert!(printed.contains("= 127.0.0.1:8718  # default"), "{printed}");
    assert!(
        printed.contains("upstream[0].env.T") && printed.contains("{ env = \"T\" }  # line 6"),
        "{printed}"
    );
    assert!(!printed.contains("hunter2"));
    assert_eq!(settings.print_json().as_array().unwrap().len(), settings.origins.len());
}

#[test]
fn opal_sources_and_their_server_are_read_and_checked() {
    let source = "[[opal]]\nname = \"hr\"\nurl = \"http://127.0.0.1:7002\"\ntenant = \"acme\"\n";
    let settings = parse(source).unwrap();
    let [hr] = settings.opal.as_slice() else { panic!("{:?}", settings.opal) };
    assert_eq!((hr.promote, hr.stale_after_ms, hr.report), (Promote::Never, 15_000, true));
    assert_eq!(hr.topics, ["policy_data"]);
    assert!(hr.mapping.ends_with("sync/opal.toml") && settings.opal_server.is_none());
    for (text, told) in [
        (source.replace("127.0.0.1", "opal.example"), "placet.toml:1: `hr` would be fetched by plain HTTP"),
        (source.replace("http://", "http://me:secret@"), "placet.toml:3: `opal[0].url` can't be"),
        (format!("{source}{source}"), "placet.toml:5: `hr` is an OPAL source already"),
        (source.replace("\"hr\"", "\"h r\""), "placet.toml:2: `opal[0].name` can't be"),
        (format!("{source}promote = \"always\"\n"), "placet.toml:5: `opal[0].promote` can't be"),
        (
            "[opal_server]\nlisten = \"0.0.0.0:8719\"\n".to_owned(),
            "placet.toml:2: `opal_server.url` is plain HTTP on a public address",
        ),
        (
            "[opal_server]\nlisten = \"127.0.0.1:8717\"\n".to_owned(),
            "placet.toml:2: OPAL clients need a listener of their own",
        ),
    ] {
        let refused = refused(&text);
        assert!(refused.starts_with(told), "{text}: {refused}");
    }
}
