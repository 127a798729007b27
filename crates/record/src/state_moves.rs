//! How a workflow moves by the effect of a call, as a decision's record holds it. Records of calls that move nothing don't
//! have the member.

use placet_core::StateMove;
use placet_json::Object;

use crate::{
    read::{BadRecord, bad, list, member, name, object},
    writer::Writer,
};

/// Writes the member `moves`, unless there are none.
pub(crate) fn write(w: &mut Writer, moves: &[StateMove]) {
    if moves.is_empty() {
        return;
    }
    w.parts(
        "moves",
        moves.iter().map(|StateMove { from, to, initial, closes }| {
            Writer::new(96)
                .truth("closes", *closes)
                .text("from", from.as_str())
                .truth("initial", *initial)
                .text("to", to.as_str())
                .end()
        }),
    );
}

/// Reads it back from the object that holds it.
pub(crate) fn read(of: &Object) -> Result<Vec<StateMove>, BadRecord> {
    if !of.contains_key("moves") {
        return Ok(Vec::new());
    }
    list(of, "moves")?.iter().map(|value| one(object(value, "moves")?)).collect()
}

fn one(of: &Object) -> Result<StateMove, BadRecord> {
    let truth = |name: &str| {
        member(of, name)?.as_bool().ok_or_else(|| bad(&format!("moves.{name}"), "isn't a truth value"))
    };
    Ok(StateMove {
        from: name(of, "from")?,
        to: name(of, "to")?,
        initial: truth("initial")?,
        closes: truth("closes")?,
    })
}

#[cfg(test)]
mod tests {
    use placet_core::Name;
    use placet_json::Limits;

    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_canonical() {
        let name = |text: &str| Name::new(text).unwrap();
        let moves = [
            StateMove { from: name("draft"), to: name("paid"), initial: true, closes: false },
            StateMove { from: name("checked"), to: name("done"), initial: false, closes: true },
        ];
        let mut w = Writer::new(0);
        write(&mut w, &moves);
        let text = w.end();
        let value = placet_json::parse(text.as_bytes(), &Limits::RESULT).unwrap();
        assert_eq!(value.canonical().unwrap().as_str(), text);
        assert_eq!(read(value.as_object().unwrap()).unwrap(), moves);
        assert_eq!(read(&Object::new()).unwrap(), []);
    }
}
