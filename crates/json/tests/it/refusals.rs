//! What is refused, and where the refusal points.

use placet_json::{Canonical, ErrorKind, Limits, MAX_DEPTH, MAX_VALUES, Value, parse};

fn check(text: impl AsRef<[u8]>, kind: &ErrorKind, offset: usize, path: &str) {
    let text = text.as_ref();
    let shown = String::from_utf8_lossy(text);
    let error = parse(text, &Limits::MESSAGE).expect_err(&shown);
    assert_eq!((error.kind(), error.offset(), error.path()), (kind, Some(offset), path), "{shown}");
}

#[test]
fn arg_1_duplicate_members_at_any_depth() {
    use ErrorKind::DuplicateMember;
    check(r#"{"amount":80,"amount":8000}"#, &DuplicateMember, 13, "/amount");
    check(r#"{"params":[{"a":{"b":1,"b":1}}]}"#, &DuplicateMember, 23, "/params/0/a/b");
    // The same name, spelled with an escape.
    check(r#"{"a":1,"\u0061":2}"#, &DuplicateMember, 7, "/a");
    let many: String = (0..900).flat_map(|i| ["\"k".to_owned(), i.to_string(), "\":0,".to_owned()]).collect();
    check(format!("{{{many}\"k3\":1}}"), &DuplicateMember, many.len() + 1, "/k3");
}

#[test]
fn grammar() {
    use ErrorKind::{
        ControlCharacter, LoneSurrogate, MalformedEscape, MalformedNumber, Trailing, UnexpectedCharacter,
        UnexpectedEnd,
    };
    for (text, kind, offset) in [
        ("", UnexpectedEnd, 0),
        (" ", UnexpectedEnd, 1),
        ("{", UnexpectedEnd, 1),
        ("[1", UnexpectedEnd, 2),
        ("[1,]", UnexpectedCharacter, 3),
        ("{\"a\"}", UnexpectedCharacter, 4),
        ("{\"a\":1,}", UnexpectedCharacter, 7),
        ("{a:1}", UnexpectedCharacter, 1),
        ("nul", UnexpectedCharacter, 0),
        ("NaN", UnexpectedCharacter, 0),
        ("Infinity", UnexpectedCharacter, 0),
        ("'a'", UnexpectedCharacter, 0),
        ("// c\n1", UnexpectedCharacter, 0),
        ("\u{feff}1", UnexpectedCharacter, 0),
        ("\u{a0}1", UnexpectedCharacter, 0),
        ("1 2", Trailing, 2),
        ("nullx", Trailing, 4),
        ("{}\0", Trailing, 2),
        ("01", MalformedNumber, 1),
        ("-", MalformedNumber, 1),
        ("-01", MalformedNumber, 2),
        ("1.", MalformedNumber, 2),
        (".5", UnexpectedCharacter, 0),
        ("+1", UnexpectedCharacter, 0),
        ("1e", MalformedNumber, 2),
        ("1e+", MalformedNumber, 3),
        ("1.e1", MalformedNumber, 2),
        ("0x10", MalformedNumber, 1),
        ("1_000", Trailing, 1),
        ("\"", UnexpectedEnd, 1),
        ("\"\\", UnexpectedEnd, 2),
        ("\"\\x\"", MalformedEscape, 1),
        ("\"\\u12\"", MalformedEscape, 1),
        ("\"\\u+123\"", MalformedEscape, 1),
        ("\"a\nb\"", ControlCharacter, 2),
        ("\"\\ud800\"", LoneSurrogate, 1),
        ("\"\\udc00\"", LoneSurrogate, 1),
        ("\"\\ud800\\ud800\"", LoneSurrogate, 1),
        ("\"\\ud800x\"", LoneSurrogate, 1),
    ] {
        let error = parse(text.as_bytes(), &Limits::MESSAGE).expect_err(text);
        assert_eq!((error.kind(), error.offset()), (&kind, Some(offset)), "{text}");
    }
}

#[test]
fn invalid_utf_8() {
    for (bytes, offset) in [
        (&b"\"\xff\""[..], 1),
        (b"\"\xc0\xaf\"", 1),         // overlong
        (b"\"a\xed\xa0\x80\"", 2),    // surrogate
        (b"\"\xf4\x90\x80\x80\"", 1), // beyond U+10FFFF
    ] {
        check(bytes, &ErrorKind::Utf8, offset, "");
    }
}

#[test]
fn strings_are_unescaped() {
    let value = parse(br#""\"\\\/\b\f\n\r\t\u00e9\ud834\udd1e\u0000""#, &Limits::MESSAGE).unwrap();
    assert_eq!(value.as_str(), Some("\"\\/\u{8}\u{c}\n\r\té𝄞\0"));
    assert_eq!(value.to_string(), r#""\"\\/\b\f\n\r\té𝄞\u0000""#);
}

#[test]
fn ops_4_depth_is_bounded() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(parse(nested(64).as_bytes(), &Limits::MESSAGE).is_ok());
    let path = "/0".repeat(64);
    check(nested(65), &ErrorKind::TooDeep, 64, &path);
    check("[".repeat(100_000), &ErrorKind::TooDeep, 64, &path);
    // The caller's limit cannot undo the reader's own.
    let unlimited = Limits { bytes: usize::MAX, depth: usize::MAX, members: usize::MAX };
    assert!(parse(nested(MAX_DEPTH).as_bytes(), &unlimited).is_ok());
    assert!(parse(nested(100_000).as_bytes(), &unlimited).is_err());

    let mut deep = Value::Null;
    for _ in 0..=MAX_DEPTH {
        deep = Value::Array(vec![deep]);
    }
    assert_eq!(deep.canonical().unwrap_err().kind(), &ErrorKind::TooDeep);
}

#[test]
fn ops_4_size_is_bounded() {
    let limits = Limits { bytes: 10, depth: 2, members: 2 };
    assert!(parse(b"\"12345678\"", &limits).is_ok());
    assert_eq!(parse(b"\"123456789\"", &limits).unwrap_err().kind(), &ErrorKind::TooLong);

    let limits = Limits { bytes: 100, depth: 2, members: 2 };
    assert!(parse(br#"[{"a":1,"b":2},{"c":3,"d":4}]"#, &limits).is_ok());
    let error = parse(br#"[0,{"a":1,"b":2,"c":3}]"#, &limits).unwrap_err();
    assert_eq!((error.kind(), error.path()), (&ErrorKind::TooManyMembers, "/1"));

    let elements = format!("[{}0]", "0,".repeat(MAX_VALUES));
    let error = parse(elements.as_bytes(), &Limits::RESULT).unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::TooManyValues);
}

#[test]
fn a_path_is_safe_to_print() {
    let name = "x".repeat(1000);
    let text = format!(r#"{{"{name}":{{"\u001b[31m/~":[tru]}}}}"#);
    let error = parse(text.as_bytes(), &Limits::MESSAGE).unwrap_err();
    assert_eq!(error.path(), format!("/{}/\u{fffd}[31m~1~0/0", "x".repeat(64)));
    assert!(error.to_string().starts_with("unexpected character at byte "));
}

#[test]
fn canonical_form_v1() {
    let text = r#" { "b" : [ 1.0 , -0 , 1e2 ] , "a" : "\u00e9\/\u001F\u007f" , "" : null , "𝄞":1, "\uffff": true } "#;
    let canonical = parse(text.as_bytes(), &Limits::MESSAGE).unwrap().canonical().unwrap();
    // U+FFFF before U+1D11E: by code point, not by UTF-16 unit.
    assert_eq!(
        canonical.as_str(),
        "{\"\":null,\"a\":\"é/\\u001f\u{7f}\",\"b\":[1,0,100],\"\u{ffff}\":true,\"𝄞\":1}"
    );

    let error = parse(br#"{"a":[1,1e400]}"#, &Limits::MESSAGE).unwrap().canonical().unwrap_err();
    assert_eq!((error.offset(), error.path()), (None, "/a/1"));
    assert!(matches!(error.kind(), ErrorKind::Number(_)));
}

#[test]
fn the_digest_is_sha_256_of_the_bytes() {
    let canonical = parse(b"{ }", &Limits::MESSAGE).unwrap().canonical().unwrap();
    assert_eq!(
        format!("{:02x?}", canonical.digest()).replace(['[', ']', ',', ' '], ""),
        "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    );
}

#[test]
fn only_canonical_bytes_are_taken_as_canonical() {
    for text in
        ["{\"a\": 1}", "{\"b\":1,\"a\":2}", "1.0", "-0", "\"\\u0041\"", "\"\\/\"", "\"\\u001F\"", "1 ", "1e1"]
    {
        let error = Canonical::parse(text.as_bytes(), &Limits::MESSAGE).unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::NotCanonical, "{text}");
    }
    assert!(Canonical::parse(b"{\"a\":2,\"b\":1.5}", &Limits::MESSAGE).is_ok());
}
