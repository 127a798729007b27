//! What lookups had for a call, as a part of its record. Records without it are of calls that no lookup was for.

use placet_core::{Found, LookedUp, ResourceRef};
use placet_json::Object;

use crate::{
    read::{BadRecord, bad, list, name, object, text, time},
    writer::Writer,
};

/// Writes the member `lookups`, unless there are none.
pub(crate) fn write(w: &mut Writer, lookups: &[LookedUp]) {
    if lookups.is_empty() {
        return;
    }
    w.parts(
        "lookups",
        lookups.iter().map(|looked| {
            let mut one = Writer::new(192);
            if let Some(age) = looked.age() {
                one.number("age_ms", age);
            }
            one.shown("asked", &looked.asked);
            match &looked.found {
                Found::Read(at) => {
                    one.text("found", "read").text("lookup", looked.lookup.as_str()).shown("observed", at)
                }
                Found::Kept(at) => {
                    one.text("found", "kept").text("lookup", looked.lookup.as_str()).shown("observed", at)
                }
                Found::Nothing(_) => one.text("found", "nothing").text("lookup", looked.lookup.as_str()),
            };
            let resource = Writer::new(64)
                .text("id", looked.resource.id.as_str())
                .text("type", looked.resource.kind.as_str())
                .end();
            one.part("resource", &resource);
            if let Found::Nothing(why) = &looked.found {
                one.text("why", why);
            }
            one.end()
        }),
    );
}

/// Reads it back from the object that holds it.
pub(crate) fn read(of: &Object) -> Result<Vec<LookedUp>, BadRecord> {
    if !of.contains_key("lookups") {
        return Ok(Vec::new());
    }
    list(of, "lookups")?.iter().map(|value| one(object(value, "lookups")?)).collect()
}

fn one(of: &Object) -> Result<LookedUp, BadRecord> {
    let resource = object(crate::read::member(of, "resource")?, "lookups.resource")?;
    Ok(LookedUp {
        lookup: name(of, "lookup")?,
        resource: ResourceRef { kind: name(resource, "type")?, id: name(resource, "id")? },
        asked: time(of, "asked")?,
        found: match text(of, "found")? {
            "read" => Found::Read(time(of, "observed")?),
            "kept" => Found::Kept(time(of, "observed")?),
            "nothing" => Found::Nothing(text(of, "why")?.to_owned()),
            _ => return Err(bad("lookups.found", "is none of `read`, `kept`, `nothing`")),
        },
    })
}

#[cfg(test)]
mod tests {
    use placet_core::{Name, Timestamp};
    use placet_json::{Limits, Value};

    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_canonical() {
        let name = |text: &str| Name::new(text).unwrap();
        let resource = ResourceRef { kind: name("support_case"), id: name("CASE-1") };
        let (asked, at) = (Timestamp::from_millis(7_250), Timestamp::from_millis(5_000));
        let found = [Found::Read(at), Found::Kept(at), Found::Nothing("no \"answer\"".to_owned())];
        let all = found.map(|found| LookedUp {
            lookup: name("crm_case"),
            resource: resource.clone(),
            asked,
            found,
        });
        let mut w = Writer::new(0);
        write(&mut w, &all);
        let text = w.end();
        let value = placet_json::parse(text.as_bytes(), &Limits::RESULT).unwrap();
        assert_eq!(value.canonical().unwrap().as_str(), text);
        assert_eq!(value.pointer("/lookups/0/age_ms").and_then(Value::as_u64), Some(2_250));
        assert_eq!(read(value.as_object().unwrap()).unwrap(), all);
        assert_eq!(read(&Object::new()).unwrap(), []);
    }
}
