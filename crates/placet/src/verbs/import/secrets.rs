//! What in a client's configuration is a standing credential. In doubt, it is one: a name in a file of its own costs
//! nothing, a token in the settings does.

/// How secrets of well-known services begin.
const PREFIXES: [&str; 28] = [
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "sk-",
    "sk_",
    "rk_",
    "xoxb-",
    "xoxp-",
    "xapp-",
    "AKIA",
    "ASIA",
    "ATATT",
    "AIza",
    "ntn_",
    "secret_",
    "lin_api_",
    "figd_",
    "hf_",
    "npm_",
    "pypi-",
    "dop_v1_",
    "SG.",
    "eyJ",
    "shpat_",
    "pat_",
];
/// Words in a name that say so by themselves.
const WORDS: [&str; 14] = [
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "PWD",
    "KEY",
    "APIKEY",
    "PAT",
    "CREDENTIAL",
    "CREDENTIALS",
    "AUTH",
    "AUTHORIZATION",
    "COOKIE",
];

/// Where a value comes from.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// It stands there in plain text: the standing credential itself.
    Plain(String),
    /// A variable of the environment, by its name.
    Variable(String),
    /// The client asks its user for it.
    Asked(String),
}

/// Never the value.
impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain(_) => f.write_str("Plain(…)"),
            Self::Variable(name) => write!(f, "Variable({name})"),
            Self::Asked(id) => write!(f, "Asked({id})"),
        }
    }
}

impl Source {
    /// `${NAME}`, `${env:NAME}`, `${NAME:-…}` and `$NAME` are variables, `${input:ID}` is asked for.
    pub(super) fn of(text: &str) -> Self {
        let braced = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        let name = braced.or_else(|| text.strip_prefix('$'));
        match name {
            Some(id) if id.starts_with("input:") => Self::Asked(id.trim_start_matches("input:").to_owned()),
            Some(name) => {
                let name = name.strip_prefix("env:").unwrap_or(name);
                let name = name.split(":-").next().unwrap_or(name);
                let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                if plain { Self::Variable(name.to_owned()) } else { Self::Plain(text.to_owned()) }
            }
            None => Self::Plain(text.to_owned()),
        }
    }
}

/// Whether a variable, a header, an option or a query's name names a secret.
pub(super) fn named(name: &str) -> bool {
    // `apiKey` is two words, and so is `api_key`.
    let mut apart = String::new();
    let mut lower = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && lower {
            apart.push('_');
        }
        lower = c.is_ascii_lowercase();
        apart.push(if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    }
    apart.split('_').any(|word| WORDS.contains(&word))
        || apart.contains("DATABASE_URL")
        || apart.contains("DSN")
}

/// Whether a value looks like a secret, whatever it is called.
pub(super) fn looks_so(value: &str) -> bool {
    if value.contains("${") {
        return false;
    }
    if PREFIXES.iter().any(|prefix| value.starts_with(prefix)) {
        return true;
    }
    if let Ok(url) = url::Url::parse(value)
        && url.has_host()
    {
        return url.password().is_some()
            || url.query_pairs().any(|(name, value)| named(&name) || random(&value));
    }
    random(value)
}

/// Long, of one alphabet, letters and digits mixed: nobody writes this by hand.
fn random(value: &str) -> bool {
    let alphabet = value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_+=.".contains(&b));
    let letters = value.bytes().any(|b| b.is_ascii_alphabetic());
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let longest = value.split(['-', '.', '_']).map(str::len).max().unwrap_or(0);
    value.len() >= 20 && alphabet && letters && digits >= 3 && longest >= 12
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_name_or_look_and_ordinary_words_are_not() {
        for name in [
            "GITHUB_PERSONAL_ACCESS_TOKEN",
            "apiKey",
            "X-Api-Key",
            "PGPASSWORD_PWD",
            "SLACK_PAT",
            "DATABASE_URL",
        ] {
            assert!(named(name), "{name}");
        }
        for name in ["JIRA_URL", "LOG_LEVEL", "KEYBOARD", "REGION", "PATH"] {
            assert!(!named(name), "{name}");
        }
        for value in [
            "ghp_0123456789abcdefghij",
            "postgresql://app:hunter2@db.example/shop",
            "https://mcp.example/mcp?api_key=1",
            "f3a9c81d7b6e4f50a1b2c3d4",
            "eyJhbGciOiJIUzI1NiJ9.e30.x",
        ] {
            assert!(looks_so(value), "{value}");
        }
        for value in [
            "@modelcontextprotocol/server-filesystem",
            "/home/maya/projects/a-long-name-2026",
            "https://acme.atlassian.net",
            "mcp-server-git@2026.10.19",
            "postgresql://localhost/shop",
            "debug",
            "${input:token}",
        ] {
            assert!(!looks_so(value), "{value}");
        }
    }

    #[test]
    fn a_reference_is_no_secret() {
        assert_eq!(Source::of("${env:TOKEN}"), Source::Variable("TOKEN".to_owned()));
        assert_eq!(Source::of("${TOKEN:-none}"), Source::Variable("TOKEN".to_owned()));
        assert_eq!(Source::of("${input:pat}"), Source::Asked("pat".to_owned()));
        assert_eq!(Source::of("$ecret!"), Source::Plain("$ecret!".to_owned()));
        assert_eq!(format!("{:?}", Source::of("canary")), "Plain(…)");
    }
}
