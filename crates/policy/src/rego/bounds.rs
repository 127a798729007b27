//! What one function may make of its arguments.
//!
//! The engine looks at time and memory between its steps, and in the loops of its functions. A few functions make
//! something huge of something small in one step: `replace` of each letter by a text, `numbers.range(1, 1e15)`, a text
//! of a value that holds the same part a thousand times. These are asked first what they would make, and are refused
//! where that is more than [`MAX_TEXT`] bytes, [`MAX_ITEMS`] items or [`MAX_BITS`] bits.

use std::{cell::Cell, sync::Arc};

use regorus::{
    Engine, LimitError, Value,
    unstable::{BUILTINS, Expr, Ref, Source, Span},
};

/// The longest text that a function makes, in bytes. No value of an input is as long.
const MAX_TEXT: usize = 4 << 20;
/// The most numbers of a range.
const MAX_ITEMS: f64 = 250_000.0;
/// The farthest shift of a number's bits.
const MAX_BITS: u64 = 4096;
/// The longest text that is read as a number, and the most digits of its exponent.
const MAX_NUMBER: (usize, usize) = (512, 3);
/// The widest field of a format.
const MAX_WIDTH: usize = 4;

thread_local! {
    /// Whether a function was refused, or stopped by a limit, since this was asked last. The engine hands its error on as a
    /// text.
    static REFUSED: Cell<bool> = const { Cell::new(false) };
}

/// How many bytes, items or bits a call would make at most; a call with other arguments than these is the function's own
/// to refuse.
type Measure = fn(&[Value]) -> Result<(), String>;

/// The functions that make much of little.
const BOUNDED: &[(&str, Measure)] = &[
    ("bits.lsh", shift),
    ("concat", concat),
    ("format_int", render),
    ("json.marshal", render),
    ("json.match_schema", render),
    ("json.verify_schema", render),
    ("numbers.range", range),
    ("numbers.range_step", range),
    ("regex.replace", replace_pattern),
    ("replace", replace),
    ("sprintf", format),
    ("to_number", number),
    ("units.parse", number),
    ("units.parse_bytes", number),
];

/// Whether a function was refused on this thread since the last question.
pub(super) fn refused() -> bool {
    REFUSED.replace(false)
}

/// Puts its bound before each of the functions that policies call; one that none calls costs nothing.
pub(super) fn install(engine: &mut Engine, called: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    for (name, measure) in BOUNDED.iter().filter(|(name, _)| called(name)) {
        let Some((function, arity)) = BUILTINS.get(name).copied() else { continue };
        let (span, parameters) = place(name, arity)?;
        let place = Arc::new((span, parameters));
        let bounded = move |arguments: Vec<Value>| {
            if let Err(why) = measure(&arguments) {
                REFUSED.set(true);
                anyhow::bail!("`{name}` {why}");
            }
            function(&place.0, &place.1, &arguments, true).inspect_err(|error| {
                if error.downcast_ref::<LimitError>().is_some() {
                    REFUSED.set(true);
                }
            })
        };
        engine.add_extension((*name).to_owned(), arity, Box::new(bounded))?;
    }
    Ok(())
}

/// Where a function says that it was called: the engine adds the policy's own line.
fn place(name: &str, arity: u8) -> anyhow::Result<(Span, Vec<Ref<Expr>>)> {
    let source = Source::from_contents(name.to_owned(), name.to_owned())?;
    let end = u32::try_from(name.len())?;
    let span = Span { source, line: 1, col: 1, start: 0, end };
    let parameter = || Ref::new(Expr::Null { span: span.clone(), value: Value::Null, eidx: 0 });
    Ok((span.clone(), (0..arity).map(|_| parameter()).collect()))
}

fn at_most_text(bytes: Option<usize>) -> Result<(), String> {
    match bytes {
        Some(bytes) if bytes <= MAX_TEXT => Ok(()),
        Some(_) | None => Err(format!("would make a text of more than {MAX_TEXT} bytes")),
    }
}

/// The bytes of a value as text, each part as often as it stands in it; none for more than `left`.
pub(super) fn weight(value: &Value, left: usize) -> Option<usize> {
    let mut stack = vec![value];
    let mut sum = 0_usize;
    while let Some(value) = stack.pop() {
        sum = sum.checked_add(2)?;
        match value {
            Value::String(text) => sum = sum.checked_add(text.len())?,
            // Of a number some twenty digits; a longer one is of an arithmetic that the memory's own bound ends.
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Undefined => {
                sum = sum.checked_add(20)?
            }
            Value::Array(items) => stack.extend(items.iter()),
            Value::Set(items) => stack.extend(items.iter()),
            Value::Object(members) => stack.extend(members.iter().flat_map(|(name, member)| [name, member])),
        }
        if sum.checked_add(stack.len())? > left {
            return None;
        }
    }
    Some(sum)
}

fn text(arguments: &[Value], index: usize) -> Option<&str> {
    match arguments.get(index) {
        Some(Value::String(text)) => Some(text.as_ref()),
        Some(_) | None => None,
    }
}

fn render(arguments: &[Value]) -> Result<(), String> {
    at_most_text(arguments.iter().try_fold(0_usize, |sum, value| sum.checked_add(weight(value, MAX_TEXT)?)))
}

fn concat(arguments: &[Value]) -> Result<(), String> {
    let Some(delimiter) = text(arguments, 0) else { return render(arguments) };
    let items = match arguments.get(1) {
        Some(Value::Array(items)) => items.len(),
        Some(Value::Set(items)) => items.len(),
        Some(_) | None => 0,
    };
    render(arguments)?;
    at_most_text(items.checked_mul(delimiter.len()))
}

fn replace(arguments: &[Value]) -> Result<(), String> {
    let (Some(whole), Some(old), Some(new)) = (text(arguments, 0), text(arguments, 1), text(arguments, 2))
    else {
        return render(arguments);
    };
    let times = if old.is_empty() { whole.len().saturating_add(1) } else { whole.matches(old).count() };
    at_most_text(times.checked_mul(new.len()).and_then(|made| made.checked_add(whole.len())))
}

/// Each match is replaced by a text that may hold the match several times; all matches together are no longer than the
/// whole.
fn replace_pattern(arguments: &[Value]) -> Result<(), String> {
    let (Some(whole), Some(new)) = (text(arguments, 0), text(arguments, 2)) else { return render(arguments) };
    let times = whole.len().saturating_add(1);
    let again = new.matches('$').count().checked_mul(whole.len());
    let made = times.checked_mul(new.len()).zip(again).and_then(|(plain, again)| plain.checked_add(again));
    at_most_text(made.and_then(|made| made.checked_add(whole.len())))
}

fn format(arguments: &[Value]) -> Result<(), String> {
    render(arguments)?;
    let Some(format) = text(arguments, 0) else { return Ok(()) };
    for verb in format.split('%').skip(1) {
        let digits = verb.trim_start_matches('.').chars().take_while(|c| c.is_numeric()).count();
        if digits > MAX_WIDTH {
            return Err(format!("has a field of more than {MAX_WIDTH} digits"));
        }
    }
    at_most_text(format.matches('%').count().checked_mul(9_999))
}

fn range(arguments: &[Value]) -> Result<(), String> {
    let number = |index: usize| arguments.get(index).and_then(|value| value.as_f64().ok());
    let (Some(from), Some(to)) = (number(0), number(1)) else { return render(arguments) };
    let step = number(2).unwrap_or(1.0).abs().max(1.0);
    if ((to - from).abs() / step) < MAX_ITEMS {
        Ok(())
    } else {
        Err(format!("would make more than {MAX_ITEMS} numbers"))
    }
}

fn shift(arguments: &[Value]) -> Result<(), String> {
    match arguments.get(1).map(|by| by.as_u64()) {
        Some(Ok(by)) if by > MAX_BITS => Err(format!("would shift by more than {MAX_BITS} bits")),
        Some(_) | None => render(arguments),
    }
}

fn number(arguments: &[Value]) -> Result<(), String> {
    render(arguments)?;
    let Some(text) = text(arguments, 0) else { return Ok(()) };
    let exponent = text.rfind(['e', 'E']).and_then(|at| text.get(at.saturating_add(1)..)).unwrap_or_default();
    let digits = exponent.chars().filter(char::is_ascii_digit).count();
    let (longest, most) = MAX_NUMBER;
    if text.len() > longest || digits > most {
        return Err(format!(
            "reads no number of more than {longest} characters or {most} digits of exponent"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a call of a bounded function comes to; an error with whether it was its bound's.
    fn call(expression: &str) -> Result<String, (bool, String)> {
        let mut engine = Engine::new();
        engine.set_strict_builtin_errors(true);
        install(&mut engine, |_| true).unwrap();
        engine.add_policy("p.rego".into(), format!("package p\nx := {expression}\n")).unwrap();
        engine
            .eval_rule("data.p.x".into())
            .map(|value| value.to_json_str().unwrap().split_whitespace().collect::<Vec<_>>().join(" "))
            .map_err(|error| (refused(), error.to_string()))
    }

    #[test]
    fn what_fits_is_what_the_function_makes() {
        for (expression, made) in [
            ("replace(\"aba\", \"a\", \"xy\")", "\"xybxy\""),
            ("replace(\"ab\", \"\", \"-\")", "\"-a-b-\""),
            ("concat(\",\", [\"a\", \"b\"])", "\"a,b\""),
            ("regex.replace(\"abc\", \"[ac]\", \"<$0>\")", "\"<a>b<c>\""),
            ("count(numbers.range(1, 250000))", "250000"),
            ("numbers.range_step(1, 10, 4)", "[ 1, 5, 9 ]"),
            ("sprintf(\"%v %5d\", [[1, 2], 3])", "\"[1, 2] 3\""),
            ("bits.lsh(1, 10)", "1024"),
            ("to_number(\"1e3\")", "1000"),
            ("json.marshal({\"a\": [1]})", "\"{\\\"a\\\":[1]}\""),
        ] {
            assert_eq!(call(expression).as_deref(), Ok(made), "{expression}");
        }
    }

    #[test]
    fn pol_4_what_would_be_huge_is_refused_before_it_is_made() {
        let long = "x".repeat(300);
        let doubled = |rendered: &str| {
            use std::fmt::Write as _;
            let mut rules = String::from("0\n\ny0 := [1, 2]\n");
            for n in 1..=40 {
                let before = n - 1;
                writeln!(rules, "y{n} := [y{before}, y{before}]").unwrap();
            }
            format!("{rules}\nz := {rendered}")
        };
        for expression in [
            "numbers.range(1, 1000000000000)".to_owned(),
            "numbers.range(1, -1000000000000)".to_owned(),
            "numbers.range_step(1, 1000000000000, 2)".to_owned(),
            "bits.lsh(1, 4000000000)".to_owned(),
            "to_number(\"1e2000000000\")".to_owned(),
            "sprintf(\"%4000000000d\", [1])".to_owned(),
            format!("replace(replace(\"{long}\", \"x\", \"{long}\"), \"x\", \"{long}\")"),
            format!("regex.replace(regex.replace(\"{long}\", \"x\", \"{long}\"), \"x\", \"$0{long}\")"),
            format!(
                "concat(concat(\"\", [\"{long}\" | numbers.range(1, 4000)[_]]), [\"{long}\" | numbers.range(1, 20)[_]])"
            ),
        ] {
            let (bound, error) = call(&expression).unwrap_err();
            assert!(bound, "{error}");
        }
        for rendered in
            ["json.marshal(y40)", "sprintf(\"%v\", [y40])", "sprintf(\"%d\", [y40])", "concat(y40, [])"]
        {
            let mut engine = Engine::new();
            install(&mut engine, |_| true).unwrap();
            engine.add_policy("p.rego".into(), format!("package p\nx := {}\n", doubled(rendered))).unwrap();
            let error = engine.eval_rule("data.p.z".into()).unwrap_err();
            assert!(refused(), "{rendered}: {error}");
        }
    }

    #[test]
    fn what_a_function_refuses_itself_is_no_bound() {
        let (bound, error) = call("bits.lsh(1, -1)").unwrap_err();
        assert!(!bound && error.contains("bits.lsh"), "{error}");
        assert!(!call("concat(1, [])").unwrap_err().0);
    }

    #[test]
    fn every_bounded_function_is_one_that_policies_may_call() {
        for (name, _) in BOUNDED {
            assert!(super::super::builtins::admitted(name) && BUILTINS.contains_key(name), "{name}");
        }
    }
}
