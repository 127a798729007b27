//! MCP: headers that say something else than the body, browsers, and other people's sessions.

use placet_testing::{Stage, Want, Watch};

const NOTE: &str = r#"{"text":"hello"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn mcp_1_headers_say_what_the_body_says() {
    let stage = Stage::start().await;
    let agent = stage.seven().await;
    let note = || agent.modern("desk__note", NOTE);
    let place = || agent.modern("desk__place", r#"{"region":"north"}"#);
    let good = place().add("mcp-param-region", "north").send(stage.address).await;
    assert_eq!((good.status, good.code().as_str()), (200, ""), "{}", good.text());
    for (what, request) in [
        ("another name", note().set("mcp-name", "billing__refund")),
        ("no name", note().without("mcp-name")),
        ("two names", note().add("mcp-name", "desk__note")),
        ("two different names", note().add("mcp-name", "billing__refund")),
        ("another method", note().set("mcp-method", "tools/list")),
        ("no method", note().without("mcp-method")),
        ("a method in other case", note().set("mcp-method", "Tools/Call")),
        ("no version", note().without("mcp-protocol-version")),
        ("another version", note().set("mcp-protocol-version", "2025-11-25")),
        ("two versions", note().add("mcp-protocol-version", "2025-11-25")),
        ("no mirrored argument", place()),
        ("another mirrored argument", place().add("mcp-param-region", "south")),
        ("two mirrored arguments", place().add("mcp-param-region", "north").add("mcp-param-region", "south")),
    ] {
        let watch = Watch::on(&stage).await;
        let answer = request.send(stage.address).await;
        assert_eq!((answer.status, answer.rpc_code()), (400, -32020), "{what}: {}", answer.text());
        watch
            .assert(
                &stage,
                what,
                Want { ledger: &["deny message_invalid"], refused: &[("message_invalid", 1)], calls: 0 },
            )
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_2_a_browser_that_was_led_here() {
    let stage = Stage::start().await;
    let agent = stage.seven().await;
    let ours = stage.address.to_string();
    for (host, expected) in [
        ("evil.example", 421),
        ("localhost", 421),
        ("127.0.0.1", 421),
        ("x/health?", 421),
        ("127.0.0.1:1", 421),
        ("", 421),
        ("user@127.0.0.1", 421),
    ] {
        let watch = Watch::on(&stage).await;
        let answer = agent.modern("desk__note", NOTE).set("host", host).send(stage.address).await;
        assert!([expected, 400].contains(&answer.status), "{host}: {}", answer.status);
        let want = if answer.status == 421 {
            Want { refused: &[("host", 1)], ..Want::default() }
        } else {
            Want::default()
        };
        watch.assert(&stage, host, want).await;
    }
    let watch = Watch::on(&stage).await;
    assert_eq!(
        agent.modern("desk__note", NOTE).add("host", &ours).send(stage.address).await.status,
        421,
        "two hosts"
    );
    watch.assert(&stage, "two hosts", Want { refused: &[("host", 1)], ..Want::default() }).await;
    for origin in [
        "http://evil.example",
        "null",
        "",
        &format!("http://{ours}.evil.example"),
        "file://",
        &format!("http://{ours}@evil.example"),
    ] {
        let watch = Watch::on(&stage).await;
        let answer = agent.modern("desk__note", NOTE).add("origin", origin).send(stage.address).await;
        assert_eq!(answer.status, 403, "{origin}");
        watch.assert(&stage, origin, Want { refused: &[("origin", 1)], ..Want::default() }).await;
    }
    // The same on every other face of both listeners.
    for path in ["/oauth/token", "/oauth/jwks", "/oauth/enrol", "/.well-known/oauth-authorization-server"] {
        for (method, headers) in [("GET", "host: evil.example"), ("POST", "host: evil.example")] {
            let answer = placet_testing::exchange(
                stage.address,
                format!(
                    "{method} {path} HTTP/1.1\r\n{headers}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                )
                .as_bytes(),
            )
            .await;
            assert!([421, 405].contains(&answer.status), "{method} {path}: {}", answer.status);
        }
    }
    let admin = stage.admin.address();
    for path in ["/healthz", "/readyz", "/metrics", "/v1/status", "/v1/openapi.json"] {
        for headers in [
            "host: evil.example".to_owned(),
            format!("host: {admin}\r\norigin: http://evil.example"),
            format!("host: {admin}\r\nhost: {admin}"),
        ] {
            let answer = placet_testing::exchange(
                admin,
                format!("GET {path} HTTP/1.1\r\n{headers}\r\nconnection: close\r\n\r\n").as_bytes(),
            )
            .await;
            assert!([421, 400].contains(&answer.status), "{path} {headers}: {}", answer.status);
        }
    }
    let absolute = placet_testing::exchange(
        admin,
        format!("GET http://evil.example/healthz HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n")
            .as_bytes(),
    )
    .await;
    assert_eq!(absolute.status, 421, "a target of another host");
    assert!(stage.desk.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_3_a_session_is_its_owner_s() {
    let stage = Stage::start().await;
    let (victim, thief) = (stage.seven().await, stage.agent("agent-8", "acme", "wf-9", "dg-8").await);
    let same_key = stage.agent("agent-7", "acme", "wf-10", "dg-2").await;
    let session = victim.initialize().await;
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"desk__note","arguments":{"text":"hello"}}}"#;
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    let held = stage.desk.hold("tools/call");
    let running = {
        let (request, address) = (victim.legacy(&session, call), stage.address);
        tokio::spawn(async move { request.send(address).await })
    };
    stage.desk.beyond("tools/call", 0).await;
    for agent in [&thief, &same_key] {
        for (what, request) in [
            ("call", agent.legacy(&session, call)),
            ("cancel", agent.legacy(&session, cancel)),
            ("end", agent.http("DELETE", "/mcp").set("mcp-session-id", &session)),
        ] {
            let watch = Watch::on(&stage).await;
            let answer = request.send(stage.address).await;
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (404, r#"{"error":"session_unknown"}"#),
                "{what}"
            );
            watch.assert(&stage, what, Want { refused: &[("session_unknown", 1)], ..Want::default() }).await;
        }
        let answer = agent
            .http("GET", "/mcp")
            .set("mcp-session-id", &session)
            .set("accept", "text/event-stream")
            .send(stage.address)
            .await;
        assert!([404, 405].contains(&answer.status), "a second stream: {}", answer.status);
    }
    held.send_replace(true);
    let answer = running.await.unwrap();
    assert!(answer.text().contains("done"), "the victim's call lives: {}", answer.text());
    for altered in
        [format!("{session}x"), session.replace('.', "_"), session.to_ascii_uppercase(), String::new()]
    {
        let answer = victim.legacy(&altered, call).send(stage.address).await;
        assert_eq!(answer.status, 404, "{altered}");
    }
    assert_eq!(stage.desk.calls().len(), 1);
    assert_eq!(
        victim.http("DELETE", "/mcp").set("mcp-session-id", &session).send(stage.address).await.status,
        204
    );
    assert_eq!(victim.legacy(&session, call).send(stage.address).await.status, 404, "it has ended");
}
