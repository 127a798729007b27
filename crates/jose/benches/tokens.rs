//! What a call pays for its credentials: opening the agent's token and proof (first time and from the cache), and
//! making the call token and its proof.
#![expect(clippy::unwrap_used, reason = "a measurement that can't start has no result")]

use criterion::{Criterion, criterion_group, criterion_main};
use placet_jose::access::Access;
use placet_jose::digest::ContentDigest;
use placet_jose::dpop::prove;
use placet_jose::guard::{Guard, Request, verify_call};
use placet_jose::htu::Htu;
use placet_jose::replay::MemoryWindow;
use placet_jose::tokens::{
    Actor, ActorChain, CallDetail, CallToken, SignedRequest, WorkflowDetail, WorkflowToken,
};
use placet_jose::{Algorithm, KeySet, SigningKey, Stamp, mint};
use placet_json::Object;

const NOW: u64 = 1_790_000_000;
const ISSUER: &str = "https://gw.example";
const GATEWAY: &str = "https://gw.example/mcp";
const TOOL: &str = "https://billing.example/mcp";

fn chain() -> ActorChain {
    ActorChain::new(vec![Actor { sub: "agent-7".to_owned(), sub_profile: None }]).unwrap()
}

fn workflow(agent: &SigningKey) -> WorkflowToken {
    WorkflowToken {
        sub: "maya".to_owned(),
        client_id: "agent-7".to_owned(),
        jti: "wt_1".to_owned(),
        key: agent.public().thumbprint(),
        act: chain(),
        detail: WorkflowDetail {
            tenant: "acme".to_owned(),
            delegation: "dl_42".to_owned(),
            authority_hash: "sha-256:abc".to_owned(),
            workflow: "wf-9".to_owned(),
            workflow_type: "support_case".to_owned(),
            intents: vec!["support_case_resolution".to_owned()],
            actions: vec!["read_case".to_owned(), "issue_refund".to_owned()],
            resource: None,
            constraints: Object::new(),
            max_depth: 1,
        },
    }
}

fn call(sender: &SigningKey, body: &[u8]) -> CallToken {
    CallToken {
        sub: "maya".to_owned(),
        act: chain(),
        jti: "wr_1".to_owned(),
        txn: "dc_1".to_owned(),
        key: sender.public().thumbprint(),
        req: SignedRequest {
            htm: "POST".to_owned(),
            htu: Htu::parse(TOOL).unwrap(),
            query: None,
            digest: ContentDigest::of(body),
        },
        detail: CallDetail {
            tenant: "acme".to_owned(),
            action: "issue_refund".to_owned(),
            resource: None,
            amount: Some("80.00".to_owned()),
        },
    }
}

fn open(c: &mut Criterion) {
    let issuer = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let url = Htu::parse(GATEWAY).unwrap();
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
        let agent = SigningKey::generate(algorithm).unwrap();
        let stamp = Stamp { issuer: ISSUER, audience: GATEWAY, issued_at: NOW, expires_at: NOW + 300 };
        let token = mint(&issuer, &stamp, &workflow(&agent)).unwrap();
        let proof = prove(&agent, "j", "POST", &url, NOW, Some(&token), None).unwrap();
        let authorization = format!("DPoP {token}");
        let headers = [("authorization", authorization.as_bytes()), ("dpop", proof.as_bytes())];
        for (name, capacity) in [("first", 0), ("cached", 8)] {
            let access = Access::new(ISSUER, GATEWAY, KeySet::of(issuer.public()), capacity);
            c.bench_function(&format!("open token and {} proof, {name}", algorithm.name()), |b| {
                b.iter(|| access.open("POST", &url, &headers, NOW).unwrap());
            });
        }
    }
}

fn issue(c: &mut Criterion) {
    let (issuer, sender) =
        (SigningKey::generate(Algorithm::EdDsa).unwrap(), SigningKey::generate(Algorithm::EdDsa).unwrap());
    let body = vec![b'x'; 1024];
    let (url, claims) = (Htu::parse(TOOL).unwrap(), call(&sender, &body));
    let stamp = Stamp { issuer: ISSUER, audience: TOOL, issued_at: NOW, expires_at: NOW + 30 };
    c.bench_function("mint call token", |b| b.iter(|| mint(&issuer, &stamp, &claims).unwrap()));
    let token = mint(&issuer, &stamp, &claims).unwrap();
    c.bench_function("make EdDSA proof", |b| {
        b.iter(|| prove(&sender, "j", "POST", &url, NOW, Some(&token), None).unwrap());
    });
    let proof = prove(&sender, "j", "POST", &url, NOW, Some(&token), None).unwrap();
    let (authorization, digest) = (format!("DPoP {token}"), ContentDigest::of(&body).to_string());
    let headers = [
        ("authorization", authorization.as_bytes()),
        ("dpop", proof.as_bytes()),
        ("content-digest", digest.as_bytes()),
    ];
    let guard = Guard {
        issuer: ISSUER.to_owned(),
        keys: KeySet::of(issuer.public()),
        audience: TOOL.to_owned(),
        url,
        reach: placet_jose::guard::Reach::Endpoint,
        not_before: 0,
    };
    c.bench_function("verify call in front of a tool", |b| {
        b.iter(|| {
            let request = Request { method: "POST", target: "/mcp", headers: &headers, body: &body };
            verify_call(&request, &guard, &mut MemoryWindow::new(1), NOW).unwrap()
        });
    });
}

criterion_group!(benches, open, issue);
criterion_main!(benches);
