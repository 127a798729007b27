//! What one gateway of several does for all: following an OPAL server.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use placet_store::{Commons, Postgres};
use placet_testing::{Cluster, Second, StageBuilder, on_postgres, url_file};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// A server that turns everybody away, and remembers by which token they came.
async fn turning_away() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let came = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&came);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut head = vec![0; 8192];
                let read = stream.read(&mut head).await.unwrap_or_default();
                let text = String::from_utf8_lossy(&head[..read]).to_ascii_lowercase();
                if let Some(token) = text.split("bearer ").nth(1).and_then(|rest| rest.lines().next()) {
                    seen.lock().unwrap().push(token.trim().to_owned());
                }
                let _gone = stream
                    .write_all(
                        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                    )
                    .await;
            });
        }
    });
    (url, came)
}

fn token(dir: &std::path::Path, name: &str) -> String {
    let path = dir.join(format!("{name}.token"));
    std::fs::write(&path, format!("token-of-{name}")).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path.display().to_string()
}

fn by(came: &Mutex<Vec<String>>, name: &str) -> usize {
    came.lock().unwrap().iter().filter(|token| **token == format!("token-of-{name}")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn syn_2_one_gateway_of_two_follows_an_opal_server_and_the_other_takes_over() {
    let (url, came) = turning_away().await;
    let cluster = Cluster::start();
    let secret = tempfile::tempdir().unwrap();
    let file = url_file(secret.path(), &cluster.database("placet"));
    let mapping = secret.path().join("opal.toml");
    std::fs::write(
        &mapping,
        "[[map]]\npath = \"/users/{id}\"\nperson = { id = \"{id}\", standing = \"/active\" }\n",
    )
    .unwrap();
    let (one, two) = (token(secret.path(), "one"), token(secret.path(), "two"));
    let opal = format!(
        "[[opal]]\nname = \"hr\"\nurl = \"{url}\"\ntoken = {{ file = \"{one}\" }}\ntenant = \"acme\"\nmapping = \"{}\"\n",
        mapping.display()
    );
    let settings = format!("{}{opal}", on_postgres(&file, "first", 2_000));
    let mut stage = StageBuilder::default().settings(&settings).start().await;
    let began = Instant::now();
    while by(&came, "one") == 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "nobody follows");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut second = Second::of(&stage).change(&one, &two).start(&stage).await.unwrap();
    // Several turns of asking who leads.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(by(&came, "two"), 0, "both follow");
    stage.stop().await;
    let before = by(&came, "one");
    let began = Instant::now();
    while by(&came, "two") == 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "nobody took it over");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(by(&came, "one"), before);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_one_gateways_while_its_lease_lives_and_what_it_knows_goes_on() {
    let cluster = Cluster::start();
    let url = cluster.database("tasks");
    let open = async |name: &'static str| {
        let url = url.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let mut database = Postgres::new(&url, name, None, true).unwrap();
            database.lease = Duration::from_secs(1);
            Commons::open(database).unwrap()
        });
        opened.await.unwrap()
    };
    let (one, two) = (open("one").await, open("two").await);
    assert!(one.lead("opal:hr").await.unwrap() && one.lead("opal:hr").await.unwrap());
    assert!(!two.lead("opal:hr").await.unwrap(), "it is the first one's");
    assert!(two.lead("opal:crm").await.unwrap(), "another task is nobody's");
    assert!(one.keep("opal:hr", b"known").await.unwrap());
    assert!(!two.keep("opal:hr", b"undone").await.unwrap(), "only whoever does it keeps");
    assert_eq!(two.kept("opal:hr").await.unwrap().as_deref(), Some(b"known".as_slice()));
    assert_eq!(two.kept("opal:crm").await.unwrap(), None);
    // Held beyond one lease by its signs of life; free after the last one.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(!two.lead("opal:hr").await.unwrap());
    drop(one);
    let began = Instant::now();
    while !two.lead("opal:hr").await.unwrap() {
        assert!(began.elapsed() < Duration::from_secs(20), "the lease never ends");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(two.kept("opal:hr").await.unwrap().as_deref(), Some(b"known".as_slice()));
}
