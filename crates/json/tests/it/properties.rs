//! Properties of generated values and texts.

use placet_json::{Canonical, Limits, Object, Value, parse};
use proptest::prelude::*;

use crate::check::check;

/// Spellings, many of them of the same value.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,2})?",
        "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,40})?([eE][+-]?[0-9]{1,30})?",
    ]
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number().prop_map(|text| parse(text.as_bytes(), &Limits::MESSAGE).unwrap()),
        any::<String>().prop_map(Value::from),
        "[a-c\"\\\\\u{0}-\u{1f}\u{7f}/é𝄞]{0,8}".prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner.clone()), 0..24)
                .prop_map(|members| Value::from(members.into_iter().collect::<Object>())),
            prop::collection::vec(("[a-d]{1,2}", inner), 0..24)
                .prop_map(|members| Value::from(members.into_iter().collect::<Object>())),
        ]
    })
}

/// Few enough values that two of them are often equal, though spelled or ordered otherwise.
fn crowded() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        prop::sample::select(vec!["0", "-0", "0.0", "1", "1.0", "10e-1", "0.1e1", "10", "1e1"])
            .prop_map(|text| parse(text.as_bytes(), &Limits::MESSAGE).unwrap()),
        Just(Value::from("1")),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..2).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(vec!["a", "b"]), inner), 0..3)
                .prop_map(|members| Value::from(members.into_iter().collect::<Object>())),
        ]
    })
}

/// The value with every number written canonically, members in any order: what canonical form must keep apart.
fn meaning(value: &Value) -> Option<Value> {
    Some(match value {
        Value::Number(number) => parse(number.canonical().ok()?.as_bytes(), &Limits::MESSAGE).unwrap(),
        Value::Array(elements) => Value::Array(elements.iter().map(meaning).collect::<Option<_>>()?),
        Value::Object(object) => Value::Object(
            object.iter().map(|(name, value)| Some((name, meaning(value)?))).collect::<Option<Object>>()?,
        ),
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    })
}

/// A number as coefficient and exponent by schoolbook arithmetic on the spelling, independent of the crate.
fn decimal(spelled: &str) -> (bool, String, i128) {
    let (negative, rest) = spelled.strip_prefix('-').map_or((false, spelled), |rest| (true, rest));
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = format!("{whole}{fraction}");
    let mut scale = exponent.parse::<i128>().unwrap() - fraction.len() as i128;
    while digits.len() > 1 && digits.ends_with('0') {
        digits.pop();
        scale += 1;
    }
    let digits = digits.trim_start_matches('0').to_owned();
    if digits.is_empty() { (false, digits, 0) } else { (negative, digits, scale) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_written_reads_back(value in value()) {
        prop_assert_eq!(parse(&value.to_bytes(), &Limits::RESULT), Ok(value.clone()));
        check(&value.to_bytes());
    }

    #[test]
    fn canonical_form_is_a_fixed_point(value in value()) {
        if let Ok(canonical) = value.canonical() {
            let again = canonical.to_value();
            prop_assert_eq!(again.canonical(), Ok(canonical.clone()));
            prop_assert_eq!(Some(again), meaning(&value));
            prop_assert_eq!(Canonical::parse(canonical.as_bytes(), &Limits::RESULT), Ok(canonical));
        } else {
            prop_assert_eq!(meaning(&value), None);
        }
    }

    #[test]
    fn equal_canonical_bytes_iff_equal_values(a in crowded(), b in crowded()) {
        if let (Ok(x), Ok(y)) = (a.canonical(), b.canonical()) {
            prop_assert_eq!(x == y, meaning(&a) == meaning(&b));
            prop_assert_eq!(x == y, x.digest() == y.digest());
        }
    }

    #[test]
    fn member_order_does_not_change_canonical_form(
        members in prop::collection::btree_map(any::<String>(), leaf(), 0..30),
    ) {
        let forward: Object = members.clone().into_iter().collect();
        let backward: Object = members.into_iter().rev().collect();
        prop_assert_eq!(&forward, &backward);
        prop_assert_eq!(Value::from(forward).canonical().ok(), Value::from(backward).canonical().ok());
    }

    #[test]
    fn canonical_numbers_keep_their_value(spelled in number()) {
        let value = parse(spelled.as_bytes(), &Limits::MESSAGE).unwrap();
        let canonical = value.canonical();
        let (_, digits, scale) = decimal(&spelled);
        let lead = scale + digits.len() as i128 - 1;
        let fits = digits.is_empty()
            || digits.len() <= 34 && ((-30..30).contains(&lead) || lead == 30 && digits == "1");
        prop_assert_eq!(canonical.is_ok(), fits, "{}", spelled);
        if let Ok(canonical) = canonical {
            prop_assert_eq!(decimal(canonical.as_str()), decimal(&spelled));
        }
    }

    #[test]
    fn equal_numbers_have_one_spelling(a in "-?[0-2]{1,2}(\\.[01]{1,3})?(e[+-]?[0-3])?", b in "-?[0-2]{1,2}(\\.[01]{1,3})?(e[+-]?[0-3])?") {
        let limits = &Limits::MESSAGE;
        if let (Ok(x), Ok(y)) = (parse(a.as_bytes(), limits), parse(b.as_bytes(), limits)) {
            prop_assert_eq!(x.canonical() == y.canonical(), decimal(&a) == decimal(&b));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused_as_serde_json_does(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&bytes);
    }

    #[test]
    fn any_json_like_text_is_read_or_refused_as_serde_json_does(
        text in "([\\[\\]{}:,\"\\\\ \n0-9eE.+-]|true|false|null|\"a\"|\\\\u[dD][89cC]00|\u{feff}|\u{1}){0,24}",
    ) {
        check(text.as_bytes());
    }

    #[test]
    fn a_flipped_byte_is_read_or_refused_as_serde_json_does(
        value in value(), position in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = value.to_bytes();
        let position = position.index(bytes.len());
        bytes[position] = byte;
        check(&bytes);
    }
}
