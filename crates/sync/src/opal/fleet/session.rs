//! One client's connection: its own task, its own queue, its own time.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    extract::{
        State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code},
    },
    response::{IntoResponse as _, Response},
};
use futures::{StreamExt as _, stream::FuturesUnordered};
use http::{HeaderMap, StatusCode};
use placet_core::{Revision, TenantId};
use placet_json::{Object, Value, object};
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{
    Client, Fleet, Outgoing, data,
    rest::subscriber,
    token::{FleetToken, PeerType},
};
use crate::opal::wire::{Frame, MAX_BYTES, expanded};

/// How often acknowledgements that are due are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// How long after its acknowledgement an update counts as done at a client that doesn't report.
const SETTLED: Duration = Duration::from_millis(50);
/// How long a report is waited for at a client that reports.
const REPORTED: Duration = Duration::from_secs(10);
/// Topics of one client at most.
const MAX_TOPICS: usize = 256;
/// The longest frame of a client.
const MAX_FRAME: usize = 1 << 20;

/// `GET /opal/ws`
pub(super) async fn upgrade(
    State(fleet): State<Arc<Fleet>>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let (token, text) = match subscriber(&fleet, &headers) {
        Ok(both) => both,
        Err(response) => return response,
    };
    if fleet.connected() >= fleet.settings.clients {
        fleet.host.counted("opal_clients");
        return (StatusCode::SERVICE_UNAVAILABLE, "too many clients").into_response();
    }
    upgrade
        .max_message_size(MAX_FRAME)
        .max_frame_size(MAX_FRAME)
        .max_write_buffer_size(MAX_BYTES.saturating_mul(2))
        .on_upgrade(move |socket| serve(fleet, token, text, socket))
}

/// Serves a client until it goes, or must go.
async fn serve(fleet: Arc<Fleet>, (token, ends): (FleetToken, u64), bearer: String, socket: WebSocket) {
    let (outbox, outgoing) = mpsc::channel(fleet.settings.queue);
    let (reports, reported) = mpsc::channel(16);
    let (subject, topics, close) = (token.sub.clone(), Mutex::default(), Notify::new());
    let client = Arc::new(Client { subject, topics, outbox, reports, close });
    let id = fleet.next_id();
    fleet.clients().insert(id, Arc::clone(&client));
    let mut session = Session {
        fleet: Arc::clone(&fleet),
        client,
        id,
        token,
        ends,
        bearer,
        socket,
        unanswered: VecDeque::new(),
        calls: 0,
        tenants: BTreeMap::new(),
        reporting: false,
    };
    let why = session.run(outgoing, reported).await;
    fleet.clients().remove(&id);
    tracing::info!(client = id, subject = session.token.sub, why, "an OPAL client is gone");
    let frame = CloseFrame { code: close_code::NORMAL, reason: "".into() };
    // A client that doesn't read doesn't read this either.
    drop(timeout(LOOK, session.socket.send(Message::Close(Some(frame)))).await);
}

struct Session {
    fleet: Arc<Fleet>,
    client: Arc<Client>,
    id: u64,
    token: FleetToken,
    /// When the token ends, in Unix seconds, and the connection with it.
    ends: u64,
    bearer: String,
    socket: WebSocket,
    /// Notifications that aren't acknowledged yet, oldest first.
    unanswered: VecDeque<(String, Instant)>,
    calls: u64,
    tenants: BTreeMap<TenantId, Told>,
    /// Whether the client ever reported: from then on its reports are waited for.
    reporting: bool,
}

/// What a client was told of a tenant.
struct Told {
    topic: String,
    document: Value,
    revision: Revision,
    flight: Option<Flight>,
}

/// An update on its way.
struct Flight {
    update: u64,
    call: String,
    acknowledged: Option<Instant>,
    document: Value,
    revision: Revision,
}

type End = &'static str;

impl Session {
    async fn run(
        &mut self,
        mut outgoing: mpsc::Receiver<Outgoing>,
        mut reported: mpsc::Receiver<(u64, bool)>,
    ) -> End {
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let client = Arc::clone(&self.client);
        let fleet = Arc::clone(&self.fleet);
        loop {
            // Tenants with nothing on its way are waited for.
            let waits: Vec<(TenantId, Revision)> = self
                .tenants
                .iter()
                .filter(|(_, told)| told.flight.is_none())
                .map(|(tenant, told)| (tenant.clone(), told.revision))
                .collect();
            let moved = async {
                let mut waits: FuturesUnordered<_> = waits
                    .iter()
                    .map(|(tenant, since)| async {
                        fleet.host.moved(tenant, *since).await;
                        tenant.clone()
                    })
                    .collect();
                match waits.next().await {
                    Some(tenant) => tenant,
                    None => std::future::pending().await,
                }
            };
            let settled = self.next_settled();
            let step = tokio::select! {
                message = self.socket.recv() => match message {
                    None | Some(Err(_) | Ok(Message::Close(_))) => Err("it left"),
                    Some(Ok(Message::Text(text))) => self.frames(&text).await,
                    Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => Ok(()),
                },
                Some(message) = outgoing.recv() => self.notify(&message).await.map(drop),
                Some((update, saved)) = reported.recv() => self.reported(update, saved).await,
                tenant = moved => self.tell(&tenant).await,
                () = sleep_until(settled) => { self.settle(); Ok(()) }
                () = client.close.notified() => Err("its queue is full"),
                _ = tick.tick() => self.overdue(),
            };
            if let Err(why) = step {
                return why;
            }
        }
    }

    async fn frames(&mut self, text: &str) -> Result<(), End> {
        for frame in Frame::read(text).map_err(|_| "it doesn't speak the protocol")? {
            match frame {
                Frame::Response { call_id, .. } => {
                    let Some(call_id) = call_id else { continue };
                    self.unanswered.retain(|(call, _)| *call != call_id);
                    for told in self.tenants.values_mut() {
                        if let Some(flight) = told.flight.as_mut().filter(|flight| flight.call == call_id) {
                            flight.acknowledged = Some(Instant::now());
                        }
                    }
                }
                Frame::Request { method, arguments, call_id } => {
                    self.request(&method, &arguments, call_id.as_deref()).await?;
                }
            }
        }
        Ok(())
    }

    async fn request(&mut self, method: &str, arguments: &Object, call_id: Option<&str>) -> Result<(), End> {
        let topics = || -> Vec<String> {
            let list = arguments.get("topics").and_then(Value::as_array).unwrap_or_default();
            list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        match method {
            "_ping_" | "ping" => self.send(Frame::response(call_id, "pong", "str")).await,
            "_get_channel_id_" => {
                let id = self.id.to_string();
                self.send(Frame::response(call_id, id, "str")).await
            }
            "subscribe" => {
                let topics = topics();
                if let Some(topic) = topics.iter().find(|topic| !self.token.allowed.allows(topic)) {
                    self.fleet.host.counted("opal_denied");
                    tracing::warn!(client = self.id, subject = self.token.sub, topic, "a topic is denied");
                    return Err("a topic is denied");
                }
                {
                    let mut all = self.client.topics();
                    let known: BTreeSet<String> = all.iter().cloned().collect();
                    all.extend(topics.iter().filter(|topic| !known.contains(*topic)).cloned());
                    if all.len() > MAX_TOPICS {
                        return Err("it has too many topics");
                    }
                }
                self.begin_tenants();
                self.send(Frame::response(call_id, true, "bool")).await
            }
            "unsubscribe" => {
                let gone = topics();
                self.client.topics().retain(|topic| !gone.contains(topic));
                self.tenants.retain(|_, told| !gone.contains(&told.topic));
                self.send(Frame::response(call_id, true, "bool")).await
            }
            "publish" => {
                let allowed = self.token.peer_type == PeerType::Datasource
                    && topics().iter().all(|topic| self.token.allowed.allows(topic));
                if !allowed {
                    self.fleet.host.counted("opal_publish");
                    return Err("it may not publish");
                }
                // REST normalises paths and guards our own; this way in doesn't.
                Err("publish by `POST /opal/data/config`")
            }
            _ => Err("an unknown method"),
        }
    }

    /// From now on the client is told what changes in the tenants of its data topics.
    fn begin_tenants(&mut self) {
        let world = self.fleet.host.world();
        let topics = self.client.topics().clone();
        for tenant in world.tenants().map(|tenant| tenant.id()) {
            if self.tenants.contains_key(tenant) || !self.token.allowed.tenant(tenant) {
                continue;
            }
            let mut names = expanded(&format!("policy_data/{tenant}"));
            names.push(format!("{tenant}:data:policy_data"));
            let Some(topic) = topics.iter().find(|topic| names.contains(topic)) else { continue };
            let Some(document) = data::document(&world, tenant) else { continue };
            let revision = revision(&world, tenant);
            self.tenants
                .insert(tenant.clone(), Told { topic: topic.clone(), document, revision, flight: None });
        }
    }

    /// Tells what changed since the last time; what changes meanwhile is told the next time.
    async fn tell(&mut self, tenant: &TenantId) -> Result<(), End> {
        let world = self.fleet.host.world();
        let Some(document) = data::document(&world, tenant) else { return Ok(()) };
        let revision = revision(&world, tenant);
        let Some(told) = self.tenants.get_mut(tenant) else { return Ok(()) };
        let puts = data::puts(&told.document, &document);
        let same = puts.iter().all(|(path, _)| path.first().is_some_and(|first| first == "meta"));
        if same {
            (told.document, told.revision) = (document, revision);
            return Ok(());
        }
        let topic = told.topic.clone();
        let (update, call) = self.update(tenant, &topic, &puts).await?;
        if let Some(told) = self.tenants.get_mut(tenant) {
            told.flight = Some(Flight { update, call, acknowledged: None, document, revision });
        }
        Ok(())
    }

    async fn update(
        &mut self,
        tenant: &TenantId,
        topic: &str,
        puts: &[(Vec<String>, Value)],
    ) -> Result<(u64, String), End> {
        let root = data::path(tenant);
        let entries = puts.iter().map(|(path, value)| {
            let place = path.iter().fold(root.clone(), |place, part| format!("{place}/{part}"));
            Value::from(object! {
                "url" => format!("{}/data/facts/{tenant}", self.fleet.settings.url), "config" => Value::Null,
                "topics" => Value::Array(vec![topic.into()]), "dst_path" => place, "save_method" => "PUT", "data" => value.clone(),
            })
        });
        let entries = Value::Array(entries.collect());
        let update = self.fleet.next_id();
        let callback = Value::Array(vec![
            format!("{}/data/callback_report", self.fleet.settings.url).into(),
            object! {
                "method" => "post",
                "headers" => object! { "Authorization" => format!("Bearer {}", self.bearer), "Content-Type" => "application/json" },
            }
            .into(),
        ]);
        let message = object! {
            "id" => format!("placet-{}-{update}", self.id), "entries" => entries, "reason" => "facts changed",
            "callback" => object! { "callbacks" => Value::Array(vec![callback]) },
        };
        let outgoing = Outgoing { topic: topic.to_owned(), data: Arc::new(message.into()) };
        self.notify(&outgoing).await.map(|call| (update, call))
    }

    async fn notify(&mut self, message: &Outgoing) -> Result<String, End> {
        self.calls = self.calls.saturating_add(1);
        let call = format!("{}-{}", self.id, self.calls);
        let frame = message.frame(&self.id.to_string(), &call);
        self.unanswered.push_back((call.clone(), Instant::now()));
        self.send(frame).await?;
        Ok(call)
    }

    async fn send(&mut self, text: String) -> Result<(), End> {
        match timeout(self.fleet.settings.acknowledge, self.socket.send(Message::Text(text.into()))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("it left"),
            Err(_) => {
                self.fleet.host.counted("opal_client_slow");
                Err("it doesn't read")
            }
        }
    }

    /// A report: the update is in force there, or everything is to be put again.
    async fn reported(&mut self, update: u64, saved: bool) -> Result<(), End> {
        self.reporting = true;
        let mut failed = None;
        for (tenant, told) in &mut self.tenants {
            let Some(flight) = told.flight.take_if(|flight| flight.update == update) else { continue };
            if saved {
                (told.document, told.revision) = (flight.document, flight.revision);
            } else {
                failed = Some((tenant.clone(), told.topic.clone()));
            }
        }
        let Some((tenant, topic)) = failed else { return Ok(()) };
        tracing::warn!(client = self.id, %tenant, "an update couldn't be saved there; everything is put again");
        tokio::time::sleep(SETTLED).await;
        let world = self.fleet.host.world();
        let Some(document) = data::document(&world, &tenant) else { return Ok(()) };
        let revision = revision(&world, &tenant);
        let (update, call) = self.update(&tenant, &topic, &[(Vec::new(), document.clone())]).await?;
        if let Some(told) = self.tenants.get_mut(&tenant) {
            told.flight = Some(Flight { update, call, acknowledged: None, document, revision });
        }
        Ok(())
    }

    fn patience(&self) -> Duration {
        if self.reporting { REPORTED } else { SETTLED }
    }
    fn next_settled(&self) -> Option<Instant> {
        let flights = self.tenants.values().filter_map(|told| told.flight.as_ref()?.acknowledged);
        flights.min().and_then(|at| at.checked_add(self.patience()))
    }
    /// Updates that were acknowledged long enough ago count as done.
    fn settle(&mut self) {
        let patience = self.patience();
        for told in self.tenants.values_mut() {
            let done = |flight: &mut Flight| flight.acknowledged.is_some_and(|at| at.elapsed() >= patience);
            if let Some(flight) = told.flight.take_if(done) {
                (told.document, told.revision) = (flight.document, flight.revision);
            }
        }
    }

    fn overdue(&mut self) -> Result<(), End> {
        if self.fleet.host.now() >= self.ends {
            return Err("its token has ended");
        }
        let patience = self.fleet.settings.acknowledge;
        if self.unanswered.front().is_some_and(|(_, since)| since.elapsed() > patience) {
            self.fleet.host.counted("opal_client_slow");
            return Err("it doesn't acknowledge");
        }
        Ok(())
    }
}

fn revision(world: &placet_facts::World, tenant: &TenantId) -> Revision {
    let organisation = world.organisation().revision();
    world.tenant(tenant).map_or(organisation, |facts| facts.revision().max(organisation))
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
