//! Servers on standard streams, played by this test binary when it is started again.

use std::io::Write;

use placet_json::{Limits, Value};
use rmcp::ServiceExt;

use crate::peer::Echo;

/// Not a test of its own: other tests start this binary with this name and a role.
#[test]
#[ignore = "plays a server for other tests"]
fn plays_a_server() {
    let Some(role) = std::env::var_os("PLACET_TEST_ROLE") else { return };
    // The harness has begun a line of its own.
    say("");
    match role.to_str().unwrap() {
        "rmcp" => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let running = Echo.serve(rmcp::transport::stdio()).await.unwrap();
                running.waiting().await.unwrap();
            });
        }
        role => play(role),
    }
    std::process::exit(0);
}

fn play(role: &str) {
    let mut cancelled = Value::Null;
    while let Some(line) = hear() {
        let message = placet_json::parse(line.as_bytes(), &Limits::MESSAGE).unwrap();
        let method = message.get("method").and_then(Value::as_str).unwrap_or("").to_owned();
        let id = message.get("id").map(ToString::to_string).unwrap_or_default();
        let result = |result: &str| say(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#));
        match (method.as_str(), role) {
            ("server/discover", "silent") => {}
            ("server/discover", "moody") => return,
            ("server/discover", "legacy") => {
                say(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32602,"message":"?"}}}}"#));
            }
            ("server/discover", _) => result(crate::script::DISCOVERED),
            ("initialize", _) => result(crate::script::INITIALIZED),
            ("tools/call", _) => called(role, &message, &id, &cancelled),
            ("logging/setLevel", _) => result("{}"),
            ("notifications/cancelled", _) => {
                cancelled = message.pointer("/params/requestId").unwrap().clone();
            }
            _ => {}
        }
    }
}

fn called(role: &str, message: &Value, id: &str, cancelled: &Value) {
    let text = message.pointer("/params/arguments/do").and_then(Value::as_str).unwrap_or("");
    let result = |result: &str| say(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#));
    match text {
        "die" => std::process::exit(3),
        "hang" => {}
        "cancelled" => result(&format!(r#"{{"content":[],"structuredContent":{cancelled}}}"#)),
        "env" => {
            let names: Vec<Value> = std::env::vars().map(|(name, _)| Value::from(name)).collect();
            result(&format!(r#"{{"content":[],"structuredContent":{}}}"#, Value::Array(names)));
        }
        "pid" => result(&format!(r#"{{"content":[],"structuredContent":{}}}"#, std::process::id())),
        "garbage" => say("{\"jsonrpc\": oops"),
        "long" => {
            say(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"x":"{}"}}}}"#, "x".repeat(9 << 20)));
        }
        "ask" => {
            say(r#"{"jsonrpc":"2.0","id":"q","method":"sampling/createMessage","params":{}}"#);
            let answer = hear().unwrap();
            result(&format!(r#"{{"content":[],"structuredContent":{}}}"#, answer.trim()));
        }
        "noise" => {
            say("a line that is no message");
            say(r#"{"jsonrpc":"2.0","id":999999,"result":{}}"#);
            say(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":1}}"#);
            say(&format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{id},"progress":1}}}}"#
            ));
            say(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
            result(crate::script::DONE);
        }
        _ => result(&format!(
            r#"{{"content":[],"structuredContent":{{"role":"{role}","meta":{},"echo":{}}}}}"#,
            message.pointer("/params/_meta").map_or("null".to_owned(), ToString::to_string),
            message.pointer("/params/arguments").unwrap(),
        )),
    }
}

fn hear() -> Option<String> {
    let mut line = String::new();
    (std::io::stdin().read_line(&mut line).unwrap() > 0).then_some(line)
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).unwrap();
    out.write_all(b"\n").unwrap();
    out.flush().unwrap();
}
