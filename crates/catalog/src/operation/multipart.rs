//! `multipart/form-data` (RFC 7578): bodies as they are sent, and those of an agent's own HTTP client, read strictly.

use std::{borrow::Cow, collections::BTreeMap};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_core::Digest;
use placet_json::{Object, Value};

use super::{File, Part, Sent, Unfit, flat, scalar, unfit};

/// The longest name of a file, in bytes.
const MAX_FILE_NAME: usize = 255;
/// The most parts that are read.
const MAX_FIELDS: usize = 256;
/// The longest head of a part, in bytes.
const MAX_HEAD: usize = 4096;

/// A part of a body as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    /// The name of the file that it says it is.
    pub(super) file: Option<String>,
    pub(super) content: Vec<u8>,
}

/// Whether a text can stand as the name of a file and lead nowhere.
pub(crate) fn is_file_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_FILE_NAME
        && !matches!(text, "." | "..")
        && !text.chars().any(|c| c.is_control() || matches!(c, '/' | '\\' | '"'))
}

/// A body of these arguments. The line between its parts is a digest of them, so that the same call has the same body.
pub(super) fn write(
    rest: &Object,
    files: &BTreeMap<String, File>,
    arguments: &Object,
) -> Result<Sent, Unfit> {
    let whole =
        Value::Object(rest.clone()).canonical().map_err(|_| unfit("body", "has no canonical form"))?;
    let digest = Digest::of(whole.as_bytes()).to_string();
    let digits: String = digest.rsplit(':').next().unwrap_or_default().chars().take(40).collect();
    let boundary = format!("placet-{digits}");
    let mut body = Vec::new();
    for (name, value) in rest {
        match files.get(name) {
            Some(file) => {
                let text = scalar(value).ok_or_else(|| unfit(name, "must be a text to be a file"))?;
                let content = if file.base64 {
                    STANDARD.decode(&text).map_err(|_| unfit(name, "must be base64 (RFC 4648 §4)"))?
                } else {
                    text.into_bytes()
                };
                let named = file_name(file, arguments)?;
                let head = format!("; filename=\"{named}\"\r\nContent-Type: {}", file.kind);
                part(&mut body, &boundary, name, &head, &content)?;
            }
            None => {
                for (_, text) in flat(name, name, rest)? {
                    part(&mut body, &boundary, name, "", text.as_bytes())?;
                }
            }
        }
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Ok((Some(Cow::Owned(format!("multipart/form-data; boundary={boundary}"))), body))
}

fn file_name(file: &File, arguments: &Object) -> Result<String, Unfit> {
    match &file.name {
        Part::Fixed(text) => Ok(text.clone()),
        Part::Argument(argument) => {
            let text = arguments.get(argument).and_then(scalar);
            let text = text.ok_or_else(|| unfit(argument, "is missing"))?;
            if is_file_name(&text) {
                Ok(text)
            } else {
                let demand =
                    "must be the name of a file: 1 to 255 bytes without slash, quote or control character";
                Err(unfit(argument, demand))
            }
        }
    }
}

fn part(body: &mut Vec<u8>, boundary: &str, name: &str, head: &str, content: &[u8]) -> Result<(), Unfit> {
    // No text holds a digest of itself; but the line must not be left to that.
    if content.windows(boundary.len()).any(|window| window == boundary.as_bytes()) {
        return Err(unfit(name, "holds the line that ends a part"));
    }
    let name = name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A");
    let head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"{head}\r\n\r\n");
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(content);
    body.extend_from_slice(b"\r\n");
    Ok(())
}

/// The text of the argument that a part is.
pub(super) fn text(field: &Field, file: Option<&File>) -> Result<String, &'static str> {
    if file.is_some_and(|file| file.base64) {
        return Ok(STANDARD.encode(&field.content));
    }
    String::from_utf8(field.content.clone()).map_err(|_| "is no UTF-8")
}

/// The parts of a body of this `content-type`. Nothing is repaired: what a server might take for something else is an
/// error.
pub(super) fn read(kind: &str, body: &[u8]) -> Result<Vec<Field>, &'static str> {
    let mut boundary = None;
    for parameter in kind.split(';').skip(1) {
        let (name, value) = parameter.split_once('=').ok_or("its type is malformed")?;
        if name.trim().eq_ignore_ascii_case("boundary") {
            let value = value.trim();
            let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
            let fits = !value.is_empty()
                && value.len() <= 70
                && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte));
            if !fits || boundary.replace(value).is_some() {
                return Err("its boundary is malformed");
            }
        }
    }
    let boundary = boundary.ok_or("it has no boundary")?;
    let mut rest =
        body.strip_prefix(format!("--{boundary}").as_bytes()).ok_or("it doesn't begin with its boundary")?;
    let line = format!("\r\n--{boundary}");
    let mut fields = Vec::new();
    loop {
        if let Some(end) = rest.strip_prefix(b"--") {
            return if matches!(end, b"" | b"\r\n") { Ok(fields) } else { Err("something follows its end") };
        }
        if fields.len() >= MAX_FIELDS {
            return Err("it has too many parts");
        }
        let (part, after) = rest
            .strip_prefix(b"\r\n")
            .and_then(|part| cut(part, line.as_bytes()))
            .ok_or("a part doesn't end")?;
        let (head, content) = cut(part, b"\r\n\r\n").ok_or("a part has no head")?;
        let (name, file) = head_of(head)?;
        fields.push(Field { name, file, content: content.to_vec() });
        rest = after;
    }
}

/// What stands before and after the first occurrence.
fn cut<'b>(bytes: &'b [u8], at: &[u8]) -> Option<(&'b [u8], &'b [u8])> {
    let found = bytes.windows(at.len()).position(|window| window == at)?;
    Some((bytes.get(..found)?, bytes.get(found.checked_add(at.len())?..)?))
}

/// Name and file name of a part.
fn head_of(head: &[u8]) -> Result<(String, Option<String>), &'static str> {
    let head = std::str::from_utf8(head).ok().filter(|head| head.len() <= MAX_HEAD);
    let head = head.ok_or("the head of a part is malformed")?;
    let mut said = None;
    for line in head.split("\r\n") {
        let (name, value) = line.split_once(':').ok_or("a header of a part is malformed")?;
        match name.to_ascii_lowercase().as_str() {
            "content-disposition" if said.is_none() => said = Some(disposition(value)?),
            // Which type a part has is the catalog's to say.
            "content-type" => {}
            _ => return Err("a part has a header that it can't have"),
        }
    }
    said.ok_or("a part has no name")
}

fn disposition(value: &str) -> Result<(String, Option<String>), &'static str> {
    let malformed = "the disposition of a part is malformed";
    let mut rest = value.trim().strip_prefix("form-data").ok_or(malformed)?;
    let (mut name, mut file) = (None, None);
    while !rest.is_empty() {
        let parameter = rest.strip_prefix(';').ok_or(malformed)?.trim_start();
        let (key, quoted) = parameter.split_once("=\"").ok_or(malformed)?;
        let (text, after) = quoted.split_once('"').ok_or(malformed)?;
        // A backslash is an escape to some and none to others.
        if text.contains(['\\', '\r', '\n']) {
            return Err(malformed);
        }
        let text = text.replace("%22", "\"").replace("%0D", "\r").replace("%0A", "\n");
        let twice = match key {
            "name" => name.replace(text).is_some(),
            "filename" => file.replace(text).is_some(),
            _ => true,
        };
        if twice {
            return Err(malformed);
        }
        rest = after.trim_start();
    }
    Ok((name.ok_or("a part has no name")?, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: &str = "multipart/form-data; boundary=x";

    fn fields(body: &str) -> Result<Vec<(String, Option<String>, String)>, &'static str> {
        let fields = read(KIND, body.as_bytes())?;
        Ok(fields
            .into_iter()
            .map(|field| (field.name, field.file, String::from_utf8(field.content).unwrap()))
            .collect())
    }

    #[test]
    fn what_is_written_is_read() {
        let rest = placet_json::parse(
            br#"{"data":"YWJj","note":"a\r\nb","tags":["x","y"]}"#,
            &placet_json::Limits::MESSAGE,
        )
        .unwrap();
        let rest = rest.as_object().unwrap();
        let file =
            File { name: Part::Fixed("a.bin".into()), kind: "application/octet-stream".into(), base64: true };
        let files = BTreeMap::from([("data".to_owned(), file.clone())]);
        let (kind, body) = write(rest, &files, rest).unwrap();
        let again = write(rest, &files, rest).unwrap();
        assert_eq!(body, again.1, "the same call is the same body");
        let read = read(&kind.unwrap(), &body).unwrap();
        let seen: Vec<(&str, Option<&str>, &[u8])> =
            read.iter().map(|f| (f.name.as_str(), f.file.as_deref(), f.content.as_slice())).collect();
        assert_eq!(
            seen,
            [
                ("data", Some("a.bin"), b"abc".as_slice()),
                ("note", None, b"a\r\nb"),
                ("tags", None, b"x"),
                ("tags", None, b"y")
            ]
        );
        assert_eq!(text(&read[0], Some(&file)).unwrap(), "YWJj");
    }

    #[test]
    fn arg_6_what_could_be_read_in_two_ways_is_refused() {
        let one = "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x--\r\n";
        assert_eq!(fields(one).unwrap(), [("a".to_owned(), None, "1".to_owned())]);
        for bad in [
            "",
            "preamble\r\n--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x--",
            "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x--\r\nepilogue",
            "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1",
            "--x\nContent-Disposition: form-data; name=\"a\"\n\n1\n--x--",
            "--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--x--",
            "--x\r\nContent-Disposition: form-data; name=\"a\"; name=\"b\"\r\n\r\n1\r\n--x--",
            "--x\r\nContent-Disposition: form-data; name=\"a\"; filename*=UTF-8''b\r\n\r\n1\r\n--x--",
            "--x\r\nContent-Disposition: form-data; name=\"a\\\"b\"\r\n\r\n1\r\n--x--",
            "--x\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: base64\r\n\r\n1\r\n--x--",
            "--x\r\nContent-Type: text/plain\r\n\r\n1\r\n--x--",
        ] {
            assert!(fields(bad).is_err(), "{bad}");
        }
        for kind in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=x; boundary=y",
        ] {
            assert!(read(kind, one.as_bytes()).is_err(), "{kind}");
        }
    }

    #[test]
    fn names_of_files_lead_nowhere() {
        assert!(is_file_name("notes 1.csv") && is_file_name("ü.txt"));
        for bad in ["", ".", "..", "a/b", "a\\b", "a\"b", "a\nb", &"x".repeat(256)] {
            assert!(!is_file_name(bad), "{bad}");
        }
    }
}
