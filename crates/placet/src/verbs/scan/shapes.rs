//! What a standing credential looks like: kinds with a well-known form, and names that say that a value is secret.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use placet_json::{Limits, Value};
use regex_lite::Regex;

/// A kind of credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    /// Its stable name.
    pub(super) code: &'static str,
    /// The name for people.
    pub(super) name: &'static str,
    /// How long such a one works.
    pub(super) life: Life,
    /// The hosts that take it, with all below them; empty where anybody may.
    pub(super) hosts: &'static [&'static str],
}

/// How long a credential works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// Until somebody revokes it: the kind has no end of its own.
    Never,
    /// It may have an end, which can't be seen from it.
    Unknown,
    /// Until then, in seconds since the Unix epoch.
    Until(u64),
}

/// A credential in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) kind: Kind,
    /// The secret part, by its bytes in the text.
    pub(super) span: (usize, usize),
    /// The host that it is for, where the text says so.
    pub(super) host: Option<String>,
}

const fn kind(code: &'static str, name: &'static str, life: Life, hosts: &'static [&'static str]) -> Kind {
    Kind { code, name, life, hosts }
}

const GITHUB: &[&str] = &["github.com", "githubcopilot.com"];
const GITLAB: &[&str] = &["gitlab.com"];
const SLACK: &[&str] = &["slack.com"];
const STRIPE: &[&str] = &["stripe.com"];
const AWS: &[&str] = &["amazonaws.com"];
const OPENAI: &[&str] = &["openai.com"];
const ANTHROPIC: &[&str] = &["anthropic.com"];
const GOOGLE: &[&str] = &["googleapis.com"];
const ATLASSIAN: &[&str] = &["atlassian.com", "atlassian.net"];
const NOBODY: &[&str] = &[];

/// Known only by the name it stands under.
pub(super) const NAMED: Kind = kind("named-secret", "secret by its name", Life::Never, NOBODY);
/// A value of a Kubernetes Secret of no known form.
pub(super) const KUBERNETES: Kind =
    kind("kubernetes-secret", "value of a Kubernetes Secret", Life::Never, NOBODY);
/// A service account's token without an end.
pub(super) const SERVICE_ACCOUNT: Kind =
    kind("kubernetes-token", "Kubernetes service account token", Life::Never, NOBODY);
const JWT: Kind = kind("jwt", "JSON Web Token", Life::Never, NOBODY);

/// Form and kind; of overlapping ones the first counts. The group is the secret part.
const SHAPES: [(&str, Kind); 29] = [
    (
        r"(-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----)",
        kind("private-key", "private key", Life::Never, NOBODY),
    ),
    (r"(AGE-SECRET-KEY-1[0-9A-Z]{58})", kind("private-key", "private key (age)", Life::Never, NOBODY)),
    (
        r"\b(?:postgres|postgresql|mysql|mariadb|mongodb|mongodb\+srv|redis|rediss|amqp|amqps|mssql|sqlserver|clickhouse)://[^\s:/@'\x22]*:([^\s@/'\x22]+)@",
        kind("database-url", "password in a database URL", Life::Never, NOBODY),
    ),
    (r"\b(gh[pousr]_[A-Za-z0-9]{36,251})", kind("github-token", "GitHub token", Life::Unknown, GITHUB)),
    (
        r"\b(github_pat_[A-Za-z0-9_]{40,251})",
        kind("github-token", "GitHub fine-grained token", Life::Unknown, GITHUB),
    ),
    (
        r"\b(gl(?:pat|dt|rt|ptt)-[A-Za-z0-9_-]{20,})",
        kind("gitlab-token", "GitLab token", Life::Unknown, GITLAB),
    ),
    (r"\b(xox[abeoprs]-[A-Za-z0-9-]{10,})", kind("slack-token", "Slack token", Life::Never, SLACK)),
    (r"\b(xapp-[0-9]-[A-Za-z0-9-]{10,})", kind("slack-token", "Slack app token", Life::Never, SLACK)),
    (
        r"\bhooks\.slack\.com/(?:services|workflows)/([A-Za-z0-9/_-]{20,})",
        kind("slack-webhook", "Slack webhook", Life::Never, SLACK),
    ),
    (r"\b((?:sk|rk)_(?:live|test)_[A-Za-z0-9]{10,})", kind("stripe-key", "Stripe key", Life::Never, STRIPE)),
    (r"\b(whsec_[A-Za-z0-9+/=]{20,})", kind("webhook-secret", "webhook signing secret", Life::Never, NOBODY)),
    (r"\b(AKIA[A-Z0-9]{16})\b", kind("aws-access-key", "AWS access key", Life::Never, AWS)),
    (r"\b(ASIA[A-Z0-9]{16})\b", kind("aws-session-key", "AWS session key", Life::Unknown, AWS)),
    (r"\b(sk-ant-[A-Za-z0-9_-]{20,})", kind("anthropic-key", "Anthropic key", Life::Never, ANTHROPIC)),
    (
        r"\b(sk-(?:proj-|svcacct-|admin-)?[A-Za-z0-9_-]{32,})",
        kind("openai-key", "OpenAI key", Life::Never, OPENAI),
    ),
    (r"\b(AIza[A-Za-z0-9_-]{35})", kind("google-key", "Google API key", Life::Never, GOOGLE)),
    (r"\b(ya29\.[A-Za-z0-9_-]{20,})", kind("google-token", "Google access token", Life::Unknown, GOOGLE)),
    (r"\b(ATATT3[A-Za-z0-9_=-]{20,})", kind("atlassian-token", "Atlassian token", Life::Unknown, ATLASSIAN)),
    (r"\b(npm_[A-Za-z0-9]{36})", kind("npm-token", "npm token", Life::Unknown, &["npmjs.org", "npmjs.com"])),
    (r"\b(pypi-[A-Za-z0-9_-]{50,})", kind("pypi-token", "PyPI token", Life::Never, &["pypi.org"])),
    (
        r"\b(hf_[A-Za-z0-9]{30,})",
        kind("huggingface-token", "Hugging Face token", Life::Never, &["huggingface.co"]),
    ),
    (
        r"\b(SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{32,})",
        kind("sendgrid-key", "SendGrid key", Life::Never, &["sendgrid.com"]),
    ),
    (r"\b(lin_api_[A-Za-z0-9]{32,})", kind("linear-key", "Linear key", Life::Never, &["linear.app"])),
    (r"\b(ntn_[A-Za-z0-9]{40,})", kind("notion-token", "Notion token", Life::Never, &["notion.com"])),
    (r"\b(hv[sb]\.[A-Za-z0-9_-]{24,})", kind("vault-token", "HashiCorp Vault token", Life::Unknown, NOBODY)),
    (
        r"AccountKey=([A-Za-z0-9+/]{40,}={0,2})",
        kind("azure-key", "Azure storage key", Life::Never, &["core.windows.net"]),
    ),
    (r"\b(eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,})", JWT),
    (
        r"(?i)\b(?:Bearer|Basic|Token)\s+([A-Za-z0-9._~+/=-]{16,})",
        kind("bearer", "credential of an Authorization header", Life::Never, NOBODY),
    ),
    (
        r"\b[a-z][a-z0-9+.-]{1,20}://(?:[^\s:/@'\x22]*:)?([^\s:/@'\x22]{6,})@",
        kind("url-credential", "credential in a URL", Life::Never, NOBODY),
    ),
];

/// The forms, ready to be looked for.
#[derive(Debug)]
pub(super) struct Shapes {
    forms: Vec<(Regex, Kind)>,
    query: Regex,
    host: Regex,
}

impl Shapes {
    pub(super) fn new() -> Result<Self, regex_lite::Error> {
        let forms = SHAPES
            .iter()
            .map(|(form, kind)| Ok((Regex::new(form)?, *kind)))
            .collect::<Result<_, regex_lite::Error>>()?;
        Ok(Self {
            forms,
            query: Regex::new(r"[?&]([A-Za-z_-]{2,40})=([^&\s#'\x22]{6,})")?,
            host: Regex::new(r"://(?:[^\s/@'\x22]*@)?([A-Za-z0-9.-]{1,253})")?,
        })
    }

    /// Every kind that has a form, and those that have none, each once.
    pub(super) fn kinds() -> Vec<Kind> {
        let mut kinds: Vec<Kind> = Vec::new();
        for kind in SHAPES.iter().map(|(_, kind)| *kind).chain([NAMED, KUBERNETES, SERVICE_ACCOUNT]) {
            if kinds.iter().all(|other| other.code != kind.code) {
                kinds.push(kind);
            }
        }
        kinds
    }

    /// The credentials in a text, in their order, none overlapping another.
    pub(super) fn find(&self, text: &str) -> Vec<Hit> {
        let mut hits: Vec<Hit> = Vec::new();
        let take = |hits: &mut Vec<Hit>, kind: Kind, span: (usize, usize)| {
            let value = text.get(span.0..span.1).unwrap_or_default();
            if placeholder(value) || hits.iter().any(|hit| span.0 < hit.span.1 && hit.span.0 < span.1) {
                return;
            }
            let kind = if kind == JWT { Kind { life: jwt_life(value), ..kind } } else { kind };
            let host = self.host_of(text, span.0);
            hits.push(Hit { kind, span, host });
        };
        for (form, kind) in &self.forms {
            for found in form.captures_iter(text) {
                if let Some(group) = found.get(1) {
                    take(&mut hits, *kind, (group.start(), group.end()));
                }
            }
        }
        for found in self.query.captures_iter(text) {
            if let (Some(name), Some(value)) = (found.get(1), found.get(2))
                && secret_name(name.as_str())
            {
                take(&mut hits, NAMED, (value.start(), value.end()));
            }
        }
        hits.sort_by_key(|hit| hit.span);
        hits
    }

    /// The host of the URL that a credential stands in.
    fn host_of(&self, text: &str, at: usize) -> Option<String> {
        let start = text.get(..at)?.rfind([' ', '"', '\'', '\n', '=']).map_or(0, |i| i.saturating_add(1));
        let url = text.get(start..)?.split_whitespace().next()?;
        self.host.captures(url)?.get(1).map(|host| host.as_str().to_owned())
    }
}

/// When a JSON Web Token ends, as it says.
fn jwt_life(token: &str) -> Life {
    let claims = token
        .split('.')
        .nth(1)
        .and_then(|part| URL_SAFE_NO_PAD.decode(part).ok())
        .and_then(|bytes| placet_json::parse(&bytes, &Limits::MESSAGE).ok());
    match claims.as_ref().map(|claims| claims.get("exp").and_then(Value::as_u64)) {
        Some(Some(end)) => Life::Until(end),
        Some(None) => Life::Never,
        None => Life::Unknown,
    }
}

/// A name that ends in one of these tells of a secret, and holds none.
const ABOUT: [&str; 17] = [
    "file", "path", "url", "uri", "id", "name", "type", "ttl", "length", "limit", "endpoint", "audience",
    "expiry", "expires", "header", "scope", "provider",
];

/// Whether a value under such a name is a secret: `API_KEY`, `db.password`, `X-Auth-Token`, `clientSecret`.
pub(super) fn secret_name(name: &str) -> bool {
    let words = words(name);
    let has = |word: &str| words.iter().any(|other| other == word);
    let pair = |first: &str, second: &str| {
        words.windows(2).any(|two| matches!(two, [a, b] if a == first && b == second))
    };
    if words.last().is_some_and(|last| ABOUT.contains(&last.as_str())) {
        return false;
    }
    [
        "token",
        "secret",
        "password",
        "passwd",
        "pwd",
        "passphrase",
        "apikey",
        "credential",
        "credentials",
        "pat",
        "authorization",
        "authtoken",
    ]
    .iter()
    .any(|word| has(word))
        || [
            ("api", "key"),
            ("access", "key"),
            ("private", "key"),
            ("secret", "key"),
            ("auth", "key"),
            ("signing", "key"),
            ("encryption", "key"),
            ("master", "key"),
        ]
        .iter()
        .any(|(first, second)| pair(first, second))
}

/// The words of a name, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower = false;
    for letter in name.chars() {
        if !letter.is_ascii_alphanumeric() || (letter.is_ascii_uppercase() && lower) {
            words.push(String::new());
        }
        if letter.is_ascii_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.push(letter.to_ascii_lowercase());
        }
        lower = letter.is_ascii_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Whether a value only stands for one: a reference, or what a template leaves to be filled in.
pub(super) fn placeholder(value: &str) -> bool {
    let value = value.trim();
    let lower = value.to_ascii_lowercase();
    let within = |start: char, end: char| value.len() > 1 && value.starts_with(start) && value.ends_with(end);
    let variable = value.strip_prefix('$').is_some_and(|name| {
        name.starts_with(['{', '(']) || name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    });
    let template = ["your", "insert", "replace"].iter().any(|word| {
        lower.strip_prefix(word).is_some_and(|rest| rest.starts_with(['-', '_', ' ', '.']) || rest.is_empty())
    });
    value.is_empty()
        || variable
        || template
        || within('<', '>')
        || within('%', '%')
        || REFERENCES.iter().any(|start| lower.starts_with(start))
        || lower.contains("${")
        || lower.contains("{{")
        || value.chars().all(|letter| letter == '*' || letter == '.' || letter.eq_ignore_ascii_case(&'x'))
}

/// How a place is named where a secret is to be found.
const REFERENCES: [&str; 9] =
    ["op://", "vault:", "env:", "file:", "arn:", "ref+", "!vault", "secretref:", "keychain:"];

/// Whether a value under a secret's name could be one.
pub(super) fn plausible(value: &str) -> bool {
    let value = value.trim();
    let path = ["/", "./", "../", "~/"].iter().any(|start| value.starts_with(start));
    let plain_url = value.contains("://");
    let word =
        ["true", "false", "null", "none", "yes", "no"].iter().any(|word| value.eq_ignore_ascii_case(word));
    value.len() >= 4 && !path && !plain_url && !word && !placeholder(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(&'static str, String)> {
        let hits = Shapes::new().unwrap().find(text);
        hits.into_iter()
            .map(|hit| (hit.kind.code, text.get(hit.span.0..hit.span.1).unwrap().to_owned()))
            .collect()
    }

    #[test]
    fn each_form_is_known_and_only_its_secret_part_taken() {
        let x = |n: usize| "A1b2C3d4E5".chars().cycle().take(n).collect::<String>();
        for (text, code, secret) in [
            (format!("ghp_{}", x(36)), "github-token", format!("ghp_{}", x(36))),
            (format!("github_pat_{}", x(50)), "github-token", format!("github_pat_{}", x(50))),
            (format!("xoxb-1234567890-{}", x(12)), "slack-token", format!("xoxb-1234567890-{}", x(12))),
            (
                format!("https://hooks.slack.com/services/T0/B0/{}", x(24)),
                "slack-webhook",
                format!("T0/B0/{}", x(24)),
            ),
            (format!("sk_live_{}", x(24)), "stripe-key", format!("sk_live_{}", x(24))),
            ("AKIAQ3EGRZ5LKZXWPA2B".to_owned(), "aws-access-key", "AKIAQ3EGRZ5LKZXWPA2B".to_owned()),
            (format!("sk-ant-api03-{}", x(40)), "anthropic-key", format!("sk-ant-api03-{}", x(40))),
            (format!("sk-proj-{}", x(40)), "openai-key", format!("sk-proj-{}", x(40))),
            ("postgres://app:s3cr3t!@db:5432/x".to_owned(), "database-url", "s3cr3t!".to_owned()),
            ("https://ada:hunter2x@git.example/x".to_owned(), "url-credential", "hunter2x".to_owned()),
            (format!("https://{}@git.example/x", x(20)), "url-credential", x(20)),
            (format!("Bearer {}", x(20)), "bearer", x(20)),
            (format!("https://mcp.example/sse?api_key={}", x(20)), "named-secret", x(20)),
            (
                "-----BEGIN OPENSSH PRIVATE KEY-----\nabc".to_owned(),
                "private-key",
                "-----BEGIN OPENSSH PRIVATE KEY-----".to_owned(),
            ),
        ] {
            assert_eq!(found(&text), [(code, secret)], "{text}");
        }
    }

    #[test]
    fn what_only_stands_for_a_secret_is_none() {
        for text in [
            "Bearer ${input:github_token_of_this_user}",
            "postgres://app:$PGPASSWORD@db/x",
            "https://git.example/ada@v2",
            "sk-xxxxxxxx",
            "https://mcp.example/sse?page=1234567890",
            "-----BEGIN CERTIFICATE-----",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
        for value in [
            "${TOKEN}",
            "<your token>",
            "your-api-key",
            "****",
            "%TOKEN%",
            "true",
            "/run/secrets/x",
            "op://a/b/c",
            "",
        ] {
            assert!(!plausible(value), "{value}");
        }
    }

    #[test]
    fn names_that_say_it() {
        for name in [
            "API_KEY",
            "GITHUB_TOKEN",
            "db.password",
            "clientSecret",
            "X-Auth-Token",
            "apiKey",
            "Authorization",
            "AWS_SECRET_ACCESS_KEY",
        ] {
            assert!(secret_name(name), "{name}");
        }
        for name in [
            "MAX_TOKENS",
            "TOKEN_URL",
            "SECRET_NAME",
            "PASSWORD_FILE",
            "KEYBOARD",
            "PATH",
            "AWS_ACCESS_KEY_ID",
            "monkey",
        ] {
            assert!(!secret_name(name), "{name}");
        }
    }

    #[test]
    fn a_token_s_own_end_is_read() {
        let token =
            |claims: &str| format!("eyJhbGciOiJFUzI1NiJ9.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(claims));
        assert_eq!(jwt_life(&token(r#"{"sub":"a","exp":1700000000}"#)), Life::Until(1_700_000_000));
        assert_eq!(jwt_life(&token(r#"{"sub":"agent"}"#)), Life::Never);
    }
}
