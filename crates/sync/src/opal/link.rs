//! The connection to an OPAL server: every request is answered at once, then handed on.

use std::{sync::Arc, time::Duration};

use futures::{SinkExt as _, StreamExt as _};
use placet_json::{Object, Value, object};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Error as WsError, Message, client::IntoClientRequest as _, protocol::WebSocketConfig},
};

use super::{
    http::{Caller, told},
    wire::{Frame, MAX_BYTES, plain_topic},
};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How often the server is asked whether it is ready, and how many times at most.
const READY: (Duration, usize) = (Duration::from_secs(1), 5);
/// How often the server is asked for a sign of life.
const ALIVE: Duration = Duration::from_secs(3);
/// After this long without any message the connection is given up.
const SILENCE: Duration = Duration::from_secs(10);
/// Backoff of connecting and of fetching: the first and the longest wait.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(20));

/// What happens on the connection.
#[derive(Debug)]
pub(crate) enum Event {
    /// Subscribed: everything that is published from now on arrives.
    Connected,
    /// A sign of life.
    Alive,
    /// A message on a topic.
    Message { topic: String, data: Value },
    /// There is no connection any more, or still none.
    Lost(String),
    /// The server refuses our token.
    Refused(String),
}

/// Keeps a connection until the token is refused or nobody listens to `events`.
pub(crate) async fn keep(caller: Arc<Caller>, topics: Vec<String>, events: mpsc::Sender<Event>) {
    let mut backoff = Backoff::default();
    loop {
        let end = match open(&caller).await {
            Ok(socket) => {
                let began = Instant::now();
                let end = speak(socket, &topics, &events).await;
                if began.elapsed() > SILENCE {
                    backoff = Backoff::default();
                }
                end
            }
            Err(end) => end,
        };
        let event = match end {
            End::Lost(why) => Event::Lost(why),
            End::Refused(why) => {
                drop(events.send(Event::Refused(why)).await);
                return;
            }
        };
        if events.send(event).await.is_err() {
            return;
        }
        sleep(backoff.next()).await;
    }
}

/// Waits that grow, with jitter: a fleet doesn't come back in step.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(BACKOFF.0)
    }
}

impl Backoff {
    /// The next wait: between half of it and all of it.
    pub(crate) fn next(&mut self) -> Duration {
        let whole = self.0;
        self.0 = whole.saturating_mul(2).min(BACKOFF.1);
        let mut byte = [0_u8; 1];
        // Without randomness it is the longest.
        let share = if getrandom::fill(&mut byte).is_ok() { u32::from(byte[0]) } else { 255 };
        whole.saturating_mul(share.saturating_add(256)).checked_div(512).unwrap_or(whole)
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}
type Socket = WebSocketStream<Box<dyn Stream>>;

enum End {
    Lost(String),
    Refused(String),
}

async fn open(caller: &Caller) -> Result<Socket, End> {
    let http = caller.at("/ws", &[]);
    let lost = |why: String| End::Lost(format!("{}: {why}", told(&http)));
    let connect = async {
        let host = http.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = http.port_or_known_default().unwrap_or(80);
        let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(|error| lost(error.to_string()))?;
        drop(tcp.set_nodelay(true));
        let secure = http.scheme() == "https";
        let stream: Box<dyn Stream> = if secure {
            let name =
                rustls::pki_types::ServerName::try_from(host).map_err(|error| lost(error.to_string()))?;
            let connector = tokio_rustls::TlsConnector::from(caller.tls());
            Box::new(connector.connect(name, tcp).await.map_err(|error| lost(error.to_string()))?)
        } else {
            Box::new(tcp)
        };
        let mut url = http.clone();
        url.set_scheme(if secure { "wss" } else { "ws" }).map_err(|()| lost("no such scheme".to_owned()))?;
        let mut request = url.as_str().into_client_request().map_err(|error| lost(error.to_string()))?;
        for (name, value) in caller.credentials().map_err(|error| lost(error.to_string()))? {
            request.headers_mut().insert(name, value);
        }
        let config =
            WebSocketConfig::default().max_message_size(Some(MAX_BYTES)).max_frame_size(Some(MAX_BYTES));
        match client_async_with_config(request, stream, Some(config)).await {
            Ok((socket, _)) => Ok(socket),
            Err(WsError::Http(response)) if matches!(response.status().as_u16(), 401 | 403) => {
                Err(End::Refused(format!("{} refuses the token ({})", told(&http), response.status())))
            }
            Err(error) => Err(lost(error.to_string())),
        }
    };
    timeout(CONNECT, connect).await.unwrap_or_else(|_| Err(lost("it doesn't answer".to_owned())))
}

/// Speaks the protocol until the connection ends.
async fn speak(mut socket: Socket, topics: &[String], events: &mpsc::Sender<Event>) -> End {
    let end = match subscribe(&mut socket, topics, events).await {
        Ok(()) => follow(&mut socket, events).await,
        Err(end) => end,
    };
    drop(timeout(Duration::from_secs(1), socket.close(None)).await);
    end
}

/// Asks until the server is ready, then subscribes. What arrives meanwhile is answered and handed on as ever.
async fn subscribe(socket: &mut Socket, topics: &[String], events: &mpsc::Sender<Event>) -> Result<(), End> {
    let mut ready = false;
    for attempt in 0..READY.1 {
        let id = format!("ping-{attempt}");
        send(socket, Frame::request("_ping_", Object::new(), &id)).await?;
        if let Ok(answer) = timeout(READY.0, answered(socket, &id, events)).await {
            answer?;
            ready = true;
            break;
        }
    }
    if !ready {
        return Err(End::Lost("the server doesn't answer pings".to_owned()));
    }
    let list: Vec<Value> = topics.iter().map(|topic| Value::from(topic.as_str())).collect();
    send(socket, Frame::request("subscribe", object! { "topics" => Value::Array(list) }, "subscribe"))
        .await?;
    match timeout(CONNECT, answered(socket, "subscribe", events)).await {
        Ok(Ok(Value::Bool(true))) => {}
        Ok(Err(end)) => return Err(end),
        Ok(Ok(_)) | Err(_) => return Err(End::Lost("the server doesn't let us subscribe".to_owned())),
    }
    events.send(Event::Connected).await.map_err(|_| End::Lost(String::new()))
}

async fn follow(socket: &mut Socket, events: &mpsc::Sender<Event>) -> End {
    let mut tick = interval(ALIVE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut heard, mut pings) = (Instant::now(), 0_u64);
    loop {
        tokio::select! {
            message = socket.next() => {
                heard = Instant::now();
                match frames(message) {
                    Err(end) => return end,
                    Ok(frames) => {
                        for frame in frames {
                            match frame {
                                // The answer to a ping: all is well.
                                Frame::Response { .. } => drop(events.try_send(Event::Alive)),
                                request @ Frame::Request { .. } => if let Err(end) = serve(socket, request, events).await { return end },
                            }
                        }
                    }
                }
            }
            _ = tick.tick() => {
                if heard.elapsed() > SILENCE {
                    return End::Lost(format!("nothing was heard for {} s", SILENCE.as_secs()));
                }
                pings = pings.saturating_add(1);
                if let Err(end) = send(socket, Frame::request("_ping_", Object::new(), &format!("alive-{pings}"))).await {
                    return end;
                }
            }
        }
    }
}

/// The answer to one call; requests of the server are served meanwhile.
async fn answered(socket: &mut Socket, id: &str, events: &mpsc::Sender<Event>) -> Result<Value, End> {
    loop {
        let message = socket.next().await;
        for frame in frames(message)? {
            match frame {
                Frame::Response { call_id, result } if call_id.as_deref() == Some(id) => return Ok(result),
                Frame::Response { .. } => {}
                request @ Frame::Request { .. } => serve(socket, request, events).await?,
            }
        }
    }
}

/// Answers a request at once, and hands a message on. A full queue ends the connection: the next one fetches all.
async fn serve(socket: &mut Socket, frame: Frame, events: &mpsc::Sender<Event>) -> Result<(), End> {
    let Frame::Request { method, mut arguments, call_id } = frame else { return Ok(()) };
    let call_id = call_id.as_deref();
    match method.as_str() {
        "_ping_" | "ping" => send(socket, Frame::response(call_id, "pong", "str")).await,
        "_get_channel_id_" => send(socket, Frame::response(call_id, "placet", "str")).await,
        "notify" => {
            send(socket, Frame::response(call_id, "None", "str")).await?;
            let subscription = arguments.remove("subscription").unwrap_or(Value::Null);
            let topic = subscription.get("topic").and_then(Value::as_str).unwrap_or_default();
            let topic = plain_topic(topic).to_owned();
            let data = arguments.remove("data").unwrap_or(Value::Null);
            events
                .try_send(Event::Message { topic, data })
                .map_err(|_| End::Lost("messages come faster than they can be worked off".to_owned()))
        }
        // What isn't known isn't answered.
        _ => Ok(()),
    }
}

fn frames(message: Option<Result<Message, WsError>>) -> Result<Vec<Frame>, End> {
    match message {
        None | Some(Ok(Message::Close(_))) => Err(End::Lost("the server closed the connection".to_owned())),
        Some(Err(error)) => Err(End::Lost(error.to_string())),
        Some(Ok(Message::Text(text))) => Frame::read(&text).map_err(|error| End::Lost(error.to_string())),
        Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {
            Ok(Vec::new())
        }
    }
}

async fn send(socket: &mut Socket, text: String) -> Result<(), End> {
    match timeout(CONNECT, socket.send(Message::text(text))).await {
        Ok(sent) => sent.map_err(|error| End::Lost(error.to_string())),
        Err(_) => Err(End::Lost("the server doesn't read".to_owned())),
    }
}
