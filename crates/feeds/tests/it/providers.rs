//! Requests as Okta and Entra ID send them, in order, from a file; and those that nobody should send.

use std::collections::BTreeMap;

use placet_json::Value;

use crate::desk::{Desk, json};

#[test]
fn providers_are_understood_in_the_shapes_that_they_send() {
    let vectors = json(include_str!("../data/providers.json"));
    let vectors = vectors.as_array().unwrap();
    assert!(vectors.len() > 40);
    let mut desk = Desk::new();
    let mut saved: BTreeMap<String, String> = BTreeMap::new();
    for vector in vectors {
        let text = |name: &str| vector.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let what = format!("{}: {}", text("provider"), text("what"));
        let fill = |text: String| {
            saved.iter().fold(text, |text, (name, id)| text.replace(&format!("{{{name}}}"), id))
        };
        let body = fill(vector.get("body").map(ToString::to_string).unwrap_or_default());
        let reply = desk.ask(&text("method"), &fill(text("path")), &body, None);
        let expect = json(&fill(vector.get("expect").unwrap().to_string()));
        let shown = reply.body.clone().unwrap_or(Value::Null);
        assert_eq!(
            Some(u64::from(reply.status)),
            expect.get("status").and_then(Value::as_u64),
            "{what}: {shown}"
        );
        let part = |name: &str| expect.get(name).and_then(Value::as_object).into_iter().flatten();
        for (pointer, wanted) in part("at") {
            // A schema's name has dots, not slashes: one step.
            assert_eq!(shown.pointer(pointer), Some(wanted), "{what}, {pointer}: {shown}");
        }
        for (pointer, wanted) in part("count") {
            let count = shown.pointer(pointer).and_then(Value::as_array).map(<[Value]>::len);
            assert_eq!(
                count,
                wanted.as_u64().map(|n| usize::try_from(n).unwrap()),
                "{what}, {pointer}: {shown}"
            );
        }
        for lack in expect.get("lacks").and_then(Value::as_array).into_iter().flatten() {
            assert!(shown.get(lack.as_str().unwrap()).is_none(), "{what}: {shown}");
        }
        for (human, standing) in part("standing") {
            assert_eq!(Some(desk.standing(human).as_str()), standing.as_str(), "{what}: {human}");
        }
        for (human, roles) in part("roles") {
            let wanted: Vec<&str> = roles.as_array().unwrap().iter().filter_map(Value::as_str).collect();
            assert_eq!(desk.roles(human), wanted, "{what}: {human}");
        }
        if reply.status >= 400 {
            assert!(desk.last.is_empty(), "{what}: nothing is applied");
        }
        if let Some(name) = expect.get("save").and_then(Value::as_str) {
            let id = shown.get("id").and_then(Value::as_str).unwrap();
            saved.insert(name.to_owned(), id.to_owned());
        }
    }
}
