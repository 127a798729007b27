//! The built-in functions of Rego: which of them a policy may call, and why not the others.
//!
//! The one source of what the check refuses, of the tables in `docs/reference/rego.md`, and of what the corpus of
//! `tests/corpus/rego` must cover.

use super::CHECK;

/// Whether policies may call a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is admitted, and means what it means in OPA.
    Admitted,
    /// It is admitted; in a corner that is told, the answer is another one than OPA's.
    Noted(&'static str),
    /// It isn't.
    Refused(Why),
}

/// Why a function isn't admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    /// It asks a network.
    Network,
    /// It depends on the machine that a decision is made on.
    Environment,
    /// It is random.
    Random,
    /// It takes time on purpose.
    Time,
    /// It is for debugging.
    Debugging,
    /// It verifies or makes what is secret.
    Tokens,
    /// The engine doesn't have it.
    Absent,
    /// Engines answer otherwise, in more than a corner.
    Differs,
    /// The language's version 1 has taken it out.
    Withdrawn,
}

impl Why {
    /// The reason, as a clause.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Network => "a decision makes no network request",
            Self::Environment => "a decision doesn't depend on the machine that it is made on",
            Self::Random => "a decision isn't random",
            Self::Time => "a decision doesn't wait",
            Self::Debugging => "it is for debugging",
            Self::Tokens => "tokens, keys and signatures are verified before a decision",
            Self::Absent => "the engine doesn't have it",
            Self::Differs => "engines answer differently",
            Self::Withdrawn => "version 1 of the language has taken it out",
        }
    }

    /// What to do instead.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::Network | Self::Environment | Self::Random => {
                "remove the call; what it would tell can be a fact"
            }
            Self::Time => "remove the call",
            Self::Debugging => {
                "remove the call; `placet decide` prints which rules were near and what they lacked"
            }
            Self::Tokens => "remove the call; who acts is in `input.agent` and `input.delegating_user`",
            Self::Absent | Self::Differs => "write it with the functions in docs/reference/rego.md",
            Self::Withdrawn => "write it with `every`, `in`, a comprehension or `is_…`",
        }
    }
}

/// What is known of a function.
pub(crate) fn standing(name: &str) -> Option<Standing> {
    ALL.iter().find(|(known, _)| *known == name).map(|(_, standing)| *standing)
}

/// Whether policies may call it.
pub(crate) fn admitted(name: &str) -> bool {
    matches!(standing(name), Some(Standing::Admitted | Standing::Noted(_)))
}

/// The names of those that policies may call.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().filter(|(_, standing)| !matches!(standing, Standing::Refused(_))).map(|(name, _)| *name)
}

use Standing::{Admitted, Noted, Refused};
use Why::{Absent, Debugging, Differs, Environment, Network, Random, Time, Tokens, Withdrawn};

/// All functions of OPA and those of Placet, by name.
pub(crate) const ALL: &[(&str, Standing)] = &[
    ("abs", Admitted),
    ("all", Refused(Withdrawn)),
    ("any", Refused(Withdrawn)),
    ("array.concat", Admitted),
    ("array.flatten", Refused(Absent)),
    ("array.reverse", Admitted),
    ("array.slice", Noted("a position that is no whole number gives no value; in OPA it is a fault")),
    ("base64.decode", Noted("line ends inside are a fault; OPA skips them")),
    ("base64.encode", Admitted),
    ("base64.is_valid", Admitted),
    ("base64url.decode", Admitted),
    ("base64url.encode", Admitted),
    ("base64url.encode_no_pad", Admitted),
    ("bits.and", Admitted),
    ("bits.lsh", Noted("beyond 64 bits the number is rounded")),
    ("bits.negate", Admitted),
    ("bits.or", Admitted),
    ("bits.rsh", Admitted),
    ("bits.xor", Admitted),
    ("cast_array", Refused(Withdrawn)),
    ("cast_boolean", Refused(Withdrawn)),
    ("cast_null", Refused(Withdrawn)),
    ("cast_object", Refused(Withdrawn)),
    ("cast_set", Refused(Withdrawn)),
    ("cast_string", Refused(Withdrawn)),
    ("ceil", Admitted),
    ("concat", Admitted),
    ("contains", Admitted),
    ("count", Noted("of a text, characters beyond U+FFFF count as two")),
    ("crypto.hmac.equal", Refused(Tokens)),
    ("crypto.hmac.md5", Refused(Tokens)),
    ("crypto.hmac.sha1", Refused(Tokens)),
    ("crypto.hmac.sha256", Refused(Tokens)),
    ("crypto.hmac.sha512", Refused(Tokens)),
    ("crypto.md5", Refused(Tokens)),
    ("crypto.parse_private_keys", Refused(Tokens)),
    ("crypto.sha1", Refused(Tokens)),
    ("crypto.sha256", Refused(Tokens)),
    ("crypto.x509.parse_and_verify_certificates", Refused(Tokens)),
    ("crypto.x509.parse_and_verify_certificates_with_options", Refused(Tokens)),
    ("crypto.x509.parse_certificate_request", Refused(Tokens)),
    ("crypto.x509.parse_certificates", Refused(Tokens)),
    ("crypto.x509.parse_keypair", Refused(Tokens)),
    ("crypto.x509.parse_rsa_private_key", Refused(Tokens)),
    ("endswith", Admitted),
    ("floor", Admitted),
    ("format_int", Admitted),
    (
        "glob.match",
        Noted(
            "`?` fits no character beyond ASCII, and `**` beside other characters of a name doesn't cross delimiters",
        ),
    ),
    ("glob.quote_meta", Refused(Differs)),
    ("graph.reachable", Admitted),
    ("graph.reachable_paths", Admitted),
    ("graphql.is_valid", Refused(Absent)),
    ("graphql.parse", Refused(Absent)),
    ("graphql.parse_and_verify", Refused(Absent)),
    ("graphql.parse_query", Refused(Absent)),
    ("graphql.parse_schema", Refused(Absent)),
    ("graphql.schema_is_valid", Refused(Absent)),
    ("hex.decode", Admitted),
    ("hex.encode", Admitted),
    ("http.send", Refused(Network)),
    ("indexof", Noted("an empty text is found at 0; in OPA it is a fault")),
    ("indexof_n", Admitted),
    ("intersection", Admitted),
    ("io.jwt.decode", Refused(Tokens)),
    ("io.jwt.decode_verify", Refused(Tokens)),
    ("io.jwt.encode_sign", Refused(Tokens)),
    ("io.jwt.encode_sign_raw", Refused(Tokens)),
    ("io.jwt.verify_eddsa", Refused(Tokens)),
    ("io.jwt.verify_es256", Refused(Tokens)),
    ("io.jwt.verify_es384", Refused(Tokens)),
    ("io.jwt.verify_es512", Refused(Tokens)),
    ("io.jwt.verify_hs256", Refused(Tokens)),
    ("io.jwt.verify_hs384", Refused(Tokens)),
    ("io.jwt.verify_hs512", Refused(Tokens)),
    ("io.jwt.verify_ps256", Refused(Tokens)),
    ("io.jwt.verify_ps384", Refused(Tokens)),
    ("io.jwt.verify_ps512", Refused(Tokens)),
    ("io.jwt.verify_rs256", Refused(Tokens)),
    ("io.jwt.verify_rs384", Refused(Tokens)),
    ("io.jwt.verify_rs512", Refused(Tokens)),
    ("is_array", Admitted),
    ("is_boolean", Admitted),
    ("is_null", Admitted),
    ("is_number", Admitted),
    ("is_object", Admitted),
    ("is_set", Admitted),
    ("is_string", Admitted),
    ("json.filter", Admitted),
    ("json.is_valid", Admitted),
    ("json.marshal", Noted("`<`, `>`, `&` and U+2028 aren't escaped, and numbers are in their plain form")),
    ("json.marshal_with_options", Refused(Differs)),
    (
        "json.match_schema",
        Noted("the list of errors has another form; what stands first, whether it fits, is the same"),
    ),
    ("json.patch", Refused(Absent)),
    ("json.remove", Admitted),
    ("json.unmarshal", Noted("a number beyond 64 bits is rounded, one beyond 1e308 a fault")),
    ("json.verify_schema", Noted("a schema that is none is a fault; OPA gives `false` and the error")),
    (
        "lower",
        Noted("letters whose small form is several characters, or depends on its place, are Unicode's"),
    ),
    ("max", Admitted),
    ("min", Admitted),
    ("net.cidr_contains", Refused(Network)),
    ("net.cidr_contains_matches", Refused(Network)),
    ("net.cidr_expand", Refused(Network)),
    ("net.cidr_intersects", Refused(Network)),
    ("net.cidr_is_valid", Refused(Network)),
    ("net.cidr_merge", Refused(Network)),
    ("net.cidr_overlap", Refused(Network)),
    ("net.lookup_ip_addr", Refused(Network)),
    ("numbers.range", Admitted),
    ("numbers.range_step", Admitted),
    ("object.filter", Admitted),
    ("object.get", Admitted),
    ("object.keys", Admitted),
    ("object.remove", Admitted),
    ("object.subset", Admitted),
    ("object.union", Admitted),
    ("object.union_n", Admitted),
    ("opa.runtime", Refused(Environment)),
    (CHECK, Admitted),
    ("print", Refused(Debugging)),
    ("product", Noted("multiplies doubles: see Numbers")),
    ("providers.aws.sign_req", Refused(Tokens)),
    ("rand.intn", Refused(Random)),
    ("re_match", Refused(Withdrawn)),
    ("regex.find_all_string_submatch_n", Noted("a computed pattern isn't checked: see Patterns")),
    ("regex.find_n", Noted("a computed pattern isn't checked: see Patterns")),
    ("regex.globs_match", Refused(Differs)),
    ("regex.is_valid", Admitted),
    ("regex.match", Noted("a computed pattern isn't checked: see Patterns")),
    ("regex.replace", Noted("a computed pattern isn't checked: see Patterns")),
    ("regex.split", Noted("a computed pattern isn't checked: see Patterns")),
    ("regex.template_match", Noted("delimiters without a partner don't match; in OPA they are a fault")),
    ("rego.metadata.chain", Refused(Absent)),
    ("rego.metadata.rule", Refused(Absent)),
    ("rego.parse_module", Refused(Absent)),
    ("replace", Admitted),
    ("round", Admitted),
    ("semver.compare", Noted("a version that begins with `v`, or a number of it with 0, is a fault")),
    ("semver.is_valid", Noted("a version that begins with `v`, or a number of it with 0, isn't one")),
    ("set_diff", Refused(Withdrawn)),
    ("sort", Admitted),
    ("split", Admitted),
    (
        "sprintf",
        Noted(
            "nothing is padded, and a verb that doesn't fit its value is written, or fails, in another way",
        ),
    ),
    ("startswith", Admitted),
    ("strings.any_prefix_match", Admitted),
    ("strings.any_suffix_match", Admitted),
    ("strings.count", Refused(Differs)),
    ("strings.render_template", Refused(Absent)),
    ("strings.replace_n", Refused(Differs)),
    ("strings.reverse", Admitted),
    ("strings.split_n", Refused(Absent)),
    ("substring", Admitted),
    ("sum", Noted("adds doubles: see Numbers")),
    ("test.sleep", Refused(Time)),
    ("time.add_date", Refused(Differs)),
    ("time.clock", Admitted),
    ("time.date", Admitted),
    ("time.diff", Noted("between moments with time zones, hours may be counted otherwise")),
    ("time.format", Noted("names of time zones are written as offsets")),
    ("time.now_ns", Noted("answers the decision's time, in a replay as well")),
    ("time.parse_duration_ns", Noted("days, `d`, are a fault")),
    ("time.parse_ns", Admitted),
    ("time.parse_rfc3339_ns", Noted("a moment before 1970 is a fault")),
    ("time.weekday", Admitted),
    ("to_number", Noted("white space around the number is taken")),
    ("trace", Refused(Debugging)),
    ("trim", Admitted),
    ("trim_left", Admitted),
    ("trim_prefix", Admitted),
    ("trim_right", Admitted),
    ("trim_space", Admitted),
    ("trim_suffix", Admitted),
    ("type_name", Admitted),
    ("union", Admitted),
    ("units.parse", Admitted),
    ("units.parse_bytes", Noted("an unknown unit gives no value; in OPA it is a fault")),
    ("upper", Noted("letters whose capital is several characters are Unicode's")),
    ("uri.is_valid", Refused(Absent)),
    ("uri.parse", Refused(Absent)),
    ("urlquery.decode", Noted("a broken escape stays as it is; in OPA it is a fault")),
    ("urlquery.decode_object", Admitted),
    ("urlquery.encode", Noted("`*` stays and `~` is escaped; OPA has it the other way round")),
    ("urlquery.encode_object", Admitted),
    ("uuid.parse", Refused(Absent)),
    ("uuid.rfc4122", Refused(Random)),
    ("walk", Admitted),
    ("yaml.is_valid", Refused(Absent)),
    ("yaml.marshal", Refused(Absent)),
    ("yaml.unmarshal", Refused(Absent)),
];

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fmt::Write as _, path::Path};

    use super::*;

    /// The tables of `docs/reference/rego.md`.
    fn tables() -> String {
        let mut out = String::from("| | admitted |\n|---|---|\n");
        let mut groups: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for name in names() {
            let group = name.split_once('.').map_or("", |(group, _)| group);
            groups.entry(group).or_default().push(format!("`{name}`"));
        }
        for (group, names) in groups {
            let group = if group.is_empty() { "plain" } else { group };
            writeln!(out, "| {group} | {} |", names.join(" ")).unwrap();
        }
        out.push_str("\n| admitted, and in a corner | is not as in OPA |\n|---|---|\n");
        for (name, standing) in ALL {
            if let Noted(note) = standing {
                writeln!(out, "| `{name}` | {note} |").unwrap();
            }
        }
        out.push_str("\n| refused, since | functions |\n|---|---|\n");
        let mut refused: BTreeMap<Why, Vec<String>> = BTreeMap::new();
        for (name, standing) in ALL {
            if let Refused(why) = standing {
                refused.entry(*why).or_default().push(format!("`{name}`"));
            }
        }
        for (why, names) in refused {
            writeln!(out, "| {} | {} |", why.reason(), names.join(" ")).unwrap();
        }
        out
    }

    #[test]
    fn the_tables_of_the_reference_are_these() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/rego.md");
        let page = std::fs::read_to_string(page).unwrap();
        let shown = page.split("<!-- functions -->").nth(1).unwrap().trim();
        assert!(shown == tables().trim(), "between `<!-- functions -->` belongs:\n{}", tables());
    }

    #[test]
    fn the_list_is_sorted_and_says_each_name_once() {
        assert!(ALL.iter().zip(ALL.iter().skip(1)).all(|((a, _), (b, _))| a < b));
    }

    #[test]
    fn what_is_admitted_is_there_and_what_is_absent_is_not() {
        let known = &*regorus::unstable::BUILTINS;
        for (name, standing) in ALL.iter().filter(|(name, _)| *name != CHECK) {
            match standing {
                Admitted | Noted(_) => assert!(known.contains_key(name), "{name} isn't in the engine"),
                Refused(Absent) => assert!(!known.contains_key(name), "{name} is in the engine"),
                Refused(_) => {}
            }
        }
        for name in known.keys().filter(|name| !name.starts_with("__builtin")) {
            assert!(standing(name).is_some(), "the engine's {name} has no standing");
        }
    }
}
