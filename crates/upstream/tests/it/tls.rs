//! HTTPS: whom an upstream's connection trusts.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use placet_core::authority::{Answer, Ending};
use placet_json::{Limits, Value};
use placet_upstream::{Transport, Trust, UpstreamError};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::world::{World, at, call};

struct Served {
    url: String,
    certificate: CertificateDer<'static>,
}

/// A modern server with a certificate of its own for `name`.
async fn serve(name: &str) -> Served {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/mcp", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that doesn't trust us hangs up here.
                let Ok(stream) = acceptor.accept(socket).await else { return };
                let service = service_fn(answer);
                drop(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await,
                );
            });
        }
    });
    Served { url, certificate }
}

async fn answer(request: http::Request<hyper::body::Incoming>) -> http::Result<http::Response<Full<Bytes>>> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let message = placet_json::parse(&body, &Limits::MESSAGE).unwrap();
    let id = message.get("id").unwrap();
    let result = match message.get("method").and_then(Value::as_str) {
        Some("server/discover") => crate::script::DISCOVERED,
        _ => crate::script::DONE,
    };
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
    http::Response::builder().header("content-type", "application/json").body(Full::new(answer.into()))
}

fn world(served: &Served, trust: Trust) -> World {
    let mut config = at("billing", &served.url);
    let Transport::Http(http) = &mut config.transport else { panic!("not over HTTP") };
    http.trust = trust;
    World::new(vec![config])
}

#[tokio::test]
async fn a_server_that_the_settings_trust_is_called() {
    let served = serve("localhost").await;
    let world = world(&served, Trust::Only(vec![served.certificate.clone()]));
    for _ in 0..2 {
        let outcome = world.run(call("billing", "refund", "{}")).await.unwrap();
        assert_eq!(outcome.ending, Ending::Done, "{}", outcome.detail);
        assert!(matches!(outcome.answer, Answer::Result(_)) && outcome.sent > 0);
    }
}

#[tokio::test]
async fn a_server_of_another_authority_or_name_gets_nothing() {
    let (served, other) = (serve("localhost").await, serve("elsewhere.example").await);
    let stranger = world(&served, Trust::Only(vec![other.certificate.clone()]));
    let misnamed = world(&other, Trust::Only(vec![other.certificate.clone()]));
    for world in [stranger, misnamed] {
        let refused = world.run(call("billing", "refund", "{}")).await.unwrap_err();
        assert!(matches!(refused, UpstreamError::Io(_)), "{refused}");
    }
}
