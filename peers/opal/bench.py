"""Puts opal-server 0.9.9 and Placet through the same measurements and writes a markdown table.

    bench.py PLACET_BINARY OUTPUT.md NOTE

Both get the same driver, subscribers, data sources and loads, one after the other on this machine. Delivery compares
the two servers; order and dead URLs compare what follows an opal-server: opal-client with a store, or Placet with its
facts.
"""

import asyncio, json, os, pathlib, socket, statistics, subprocess, sys, tempfile, time, uuid

import aiohttp
from aiohttp import web
import websockets

HERE = pathlib.Path(sys.executable).parent
MASTER = "bench-master-token-0123456789"
MAPPING = """
[[map]]
path = "/users/{id}"
resource = { type = "user", id = "{id}", attributes = { ok = "/ok" } }
[[map]]
path = "/ord2"
resource = { type = "counter", id = "ord2", attributes = { v = "/v" } }
[[map]]
path = "/seq"
resource = { type = "counter", id = "seq", attributes = { v = "/v" } }
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port, child, log):
    for _ in range(1200):
        if child.poll() is not None:
            raise SystemExit(f"a peer ended:\n{pathlib.Path(log).read_text()[-3000:]}")
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("a peer doesn't listen")


def uvicorn(app, port, env, dir):
    log = f"{dir}/{app.split('.')[0]}.log"
    full = {"PATH": os.environ["PATH"], "HOME": dir, "OPAL_LOG_COLORIZE": "false", "OPAL_LOG_LEVEL": "WARNING",
            "OPAL_POLICY_REPO_CLONE_PATH": f"{dir}/clone", "OPAL_LEADER_LOCK_FILE_PATH": f"{dir}/leader", **env}
    child = subprocess.Popen([sys.executable, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"],
                             env=full, cwd=dir, stdout=open(log, "w"), stderr=subprocess.STDOUT)
    wait_for(port, child, log)
    return child


class Server:
    """An OPAL server, theirs or ours, as a driver sees it."""

    def __init__(self, name, base, client, publisher):
        self.name, self.base, self.client, self.publisher = name, base, client, publisher

    def headers(self, token):
        return {"Authorization": f"Bearer {token}"} if token else {}

    async def subscribe(self, topic="policy_data/bench"):
        ws = await websockets.connect(self.base.replace("http", "ws") + "/ws", additional_headers=self.headers(self.client), max_size=None, ping_interval=None)
        await ws.send(json.dumps({"request": {"method": "subscribe", "arguments": {"topics": [topic]}, "call_id": "s"}}))
        while True:
            message = json.loads(await ws.recv())
            if (message.get("response") or {}).get("call_id") == "s":
                assert message["response"]["result"] is True
                return ws

    async def publish(self, session, entries, update=None):
        body = {"id": update or uuid.uuid4().hex, "entries": entries, "reason": "bench"}
        async with session.post(self.base + "/data/config", json=body, headers=self.headers(self.publisher)) as answer:
            assert answer.status == 200, await answer.text()


def entry(path="/bench", data=None, url="", topic="policy_data/bench"):
    return {"url": url, "topics": [topic], "dst_path": path, "save_method": "PUT", "data": data}


async def acknowledge(ws, call):
    await ws.send(json.dumps({"response": {"call_id": call, "result": "None", "result_type": "str"}}))


async def reader(ws, got, delay=0.0):
    try:
        async for text in ws:
            request = json.loads(text).get("request")
            if request and request["method"] == "notify":
                got(request["arguments"]["data"]["id"], time.perf_counter())
                if delay:
                    await asyncio.sleep(delay)
                await acknowledge(ws, request["call_id"])
    except websockets.ConnectionClosed:
        pass


async def delivery(server, subscribers, rounds, delay=0.0):
    """From the POST until the last subscriber has it, in ms."""
    seen, took = {}, []
    sockets = [await server.subscribe() for _ in range(subscribers)]
    def got(id, at):
        seen.setdefault(id, []).append(at)
    tasks = [asyncio.create_task(reader(ws, got, delay)) for ws in sockets]
    async with aiohttp.ClientSession() as session:
        for _ in range(rounds):
            id, began = uuid.uuid4().hex, time.perf_counter()
            await server.publish(session, [entry(data={"x": 1})], id)
            while len(seen.get(id, [])) < subscribers and time.perf_counter() - began < 30:
                await asyncio.sleep(0.0005)
            took.append((max(seen[id]) - began) * 1000)
    for task in tasks:
        task.cancel()
    for ws in sockets:
        await ws.close()
    took.sort()
    return statistics.median(took), took[min(len(took) - 1, int(len(took) * 0.99))]


async def mute(server, patience=20.0):
    """A subscriber that never acknowledges comes first; how long until the next one gets three messages, in s."""
    silent, lively, count, done = await server.subscribe(), await server.subscribe(), 0, asyncio.Event()
    def got(_, __):
        nonlocal count
        count += 1
        if count == 3:
            done.set()
    async def pings():
        while True:
            await asyncio.sleep(2)
            await silent.send(json.dumps({"request": {"method": "_ping_", "arguments": {}, "call_id": "p"}}))
    async def swallow():
        async for _ in silent:
            pass
    tasks = [asyncio.create_task(c) for c in (reader(lively, got), swallow(), pings())]
    began = time.perf_counter()
    async with aiohttp.ClientSession() as session:
        for _ in range(3):
            post = asyncio.create_task(server.publish(session, [entry(data={"x": 1})]))
            await asyncio.wait([post], timeout=1)
        try:
            await asyncio.wait_for(done.wait(), patience)
            took = f"{(time.perf_counter() - began) * 1000:.0f} ms"
        except asyncio.TimeoutError:
            took = f"not within {patience:.0f} s"
    for task in tasks:
        task.cancel()
    await silent.close()
    await lively.close()
    return took


class Source:
    """Answers as late as its path says."""

    async def start(self):
        async def slow(request):
            await asyncio.sleep(float(request.match_info["ms"]) / 1000)
            return web.json_response({"v": int(request.match_info["v"])})
        app = web.Application()
        app.router.add_get("/{ms}/{v}", slow)
        runner = web.AppRunner(app)
        await runner.setup()
        self.port = free_port()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        return self


class Store:
    """OPA's data API, for opal-client."""

    async def start(self):
        self.data, self.history = {}, []
        async def put(request):
            path, value = request.match_info["path"].strip("/"), await request.json()
            self.data[path] = value
            self.history.append((path, value))
            return web.Response(status=204)
        async def ok(_):
            return web.json_response({"result": []})
        app = web.Application(client_max_size=1 << 26)
        app.router.add_put("/v1/data{path:.*}", put)
        app.router.add_route("*", "/{rest:.*}", ok)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        self.port = free_port()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        return self

    async def value(self, path, field):
        return self.data.get(path, {}).get(field)

    async def values(self, path, field):
        return [value.get(field) for at, value in self.history if at == path]


class Facts:
    """A tenant's facts, read as a fleet reads them."""

    def __init__(self, base, token):
        self.base, self.headers = base, {"Authorization": f"Bearer {token}"}
        self.session = aiohttp.ClientSession()

    async def value(self, path, field):
        kind, id = {"ord2": ("counter", "ord2"), "seq": ("counter", "seq")}.get(path) or ("user", path.split("/")[1])
        async with self.session.get(f"{self.base}/data/facts/acme", headers=self.headers) as answer:
            return ((await answer.json())["resources"].get(kind, {}).get(id, {})).get(field)


async def until(store, path, field, value, patience):
    began = time.perf_counter()
    while time.perf_counter() - began < patience:
        if await store.value(path, field) == value:
            return time.perf_counter() - began
        await asyncio.sleep(0.002)
    return None


async def aliases(server, store, source, rounds=10):
    """`ord2` and `/ord2`, delays falling: in how many rounds is the last value wrong?"""
    wrong = 0
    async with aiohttp.ClientSession() as session:
        for round in range(rounds):
            for i in range(1, 11):
                v = round * 10 + i
                url = f"http://127.0.0.1:{source.port}/{(10 - i) * 30}/{v}"
                await server.publish(session, [entry("ord2" if i % 2 else "/ord2", url=url, topic="policy_data")])
            await asyncio.sleep(1.5)
            wrong += await store.value("ord2", "v") != round * 10 + 10
    return f"{wrong}/{rounds}"


async def end_to_end(server, store, rounds=100):
    took = []
    async with aiohttp.ClientSession() as session:
        for i in range(rounds):
            began = time.perf_counter()
            await server.publish(session, [entry("/seq", data={"v": i + 1}, topic="policy_data")])
            if await until(store, "seq", "v", i + 1, 10) is not None:
                took.append((time.perf_counter() - began) * 1000)
    took.sort()
    return f"{statistics.median(took):.1f} / {took[int(len(took) * 0.99) - 1]:.1f} ms"


async def dead(server, store):
    async with aiohttp.ClientSession() as session:
        await server.publish(session, [entry("/users/maya", data={"ok": "yes"}, topic="policy_data")])
        assert await until(store, "users/maya", "ok", "yes", 20) is not None
        await server.publish(session, [entry("/", url=f"http://127.0.0.1:{free_port()}/dead", topic="policy_data")])
        await asyncio.sleep(0.05)
        began = time.perf_counter()
        await server.publish(session, [entry("/users/maya", data={"ok": "no"}, topic="policy_data")])
        took = await until(store, "users/maya", "ok", "no", 40)
        return "not within 40 s" if took is None else f"{(time.perf_counter() - began) * 1000:.0f} ms"


async def measure(name, server, rows):
    print(f"delivery: {name}", flush=True)
    for subscribers, rounds in ((1, 200), (10, 100), (50, 50)):
        p50, p99 = await delivery(server, subscribers, rounds)
        rows.setdefault(f"POST to the last of {subscribers} subscriber{'s' if subscribers > 1 else ''}, p50 / p99", {})[name] = f"{p50:.1f} / {p99:.1f} ms"
    p50, _ = await delivery(server, 50, 3, 0.02)
    rows.setdefault("50 subscribers that acknowledge after 20 ms: until the last has it", {})[name] = f"{p50:.0f} ms"
    rows.setdefault("a mute subscriber came first: until the next one has three updates", {})[name] = await mute(server)


async def follow(name, server, store, source, rows):
    print(f"following: {name}", flush=True)
    rows.setdefault("POST to store or fact (durable), inline, 100 in a row, p50 / p99", {})[name] = await end_to_end(server, store)
    rows.setdefault("`ord2` and `/ord2`, delays falling: wrong last value", {})[name] = await aliases(server, store, source)
    rows.setdefault("dead URL for `/`, then a revocation elsewhere: until it counts", {})[name] = await dead(server, store)


def placet(binary, dir, source_port, opal_port):
    """A project that serves OPAL clients and follows an opal-server."""
    project = f"{dir}/project"
    run = lambda *words: subprocess.run([binary, *words], check=True, cwd=project if os.path.isdir(project) else dir, capture_output=True, text=True)
    run("init", project)
    agents, admin, fleet = free_port(), free_port(), free_port()
    os.makedirs(f"{project}/sync", exist_ok=True)
    pathlib.Path(f"{project}/sync/opal.toml").write_text(MAPPING)
    for name, secret in (("master", MASTER),):
        path = pathlib.Path(f"{project}/{name}.token")
        path.write_text(secret)
        path.chmod(0o600)
    pathlib.Path(f"{project}/bench.toml").write_text(f"""
[server]
listen = "127.0.0.1:{agents}"
admin_listen = "127.0.0.1:{admin}"
[release]
dir = "release"
[opal_server]
listen = "127.0.0.1:{fleet}"
master_token = {{ file = "master.token" }}
[[opal]]
name = "bench"
url = "http://127.0.0.1:{opal_port}"
tenant = "acme"
fetch_from = ["http://127.0.0.1:{source_port}"]
report = false
""")
    log = f"{dir}/placet.log"
    child = subprocess.Popen([binary, "serve", "--config", "bench.toml"], cwd=project, stdout=open(log, "w"), stderr=subprocess.STDOUT)
    wait_for(fleet, child, log)
    subprocess.run([binary, "tenant", "create", "acme", "--server", f"http://127.0.0.1:{admin}", "--key", "data/keys/operator.pem"], cwd=project, check=False, capture_output=True)
    return child, f"http://127.0.0.1:{fleet}/opal"


async def token(base, kind, topics, scopes=()):
    async with aiohttp.ClientSession() as session:
        body = {"type": kind, "ttl": 3600, "claims": {"permitted_topics": list(topics), "allowed_scopes": list(scopes)}}
        async with session.post(f"{base}/token", json=body, headers={"Authorization": f"Bearer {MASTER}"}) as answer:
            assert answer.status == 200, await answer.text()
            return (await answer.json())["token"]


async def main(binary, output, note):
    rows, children = {}, []
    source = await Source().start()
    with tempfile.TemporaryDirectory() as dir:
        try:
            port = free_port()
            children.append(uvicorn("opal_server.main:app", port, {
                "OPAL_REPO_WATCHER_ENABLED": "false", "OPAL_DATA_CONFIG_SOURCES": json.dumps({"config": {"entries": []}}),
                "OPAL_WS_LOCAL_URL": f"ws://127.0.0.1:{port}/ws"}, dir))
            theirs = Server("opal 0.9.9", f"http://127.0.0.1:{port}", None, None)
            child, base = placet(binary, dir, source.port, port)
            children.append(child)
            client = await token(base, "client", ["policy_data/bench"], ["acme"])
            publisher = await token(base, "datasource", ["policy_data"])
            ours = Server("Placet", base, client, publisher)
            for server in (theirs, ours):
                await measure(server.name, server, rows)
            facts = Facts(base, client)
            await follow("Placet", theirs, facts, source, rows)
            await facts.session.close()
            children.pop().kill()
            store = await Store().start()
            children.append(uvicorn("opal_client.main:app", free_port(), {
                "OPAL_SERVER_URL": theirs.base, "OPAL_POLICY_STORE_URL": f"http://127.0.0.1:{store.port}",
                "OPAL_INLINE_OPA_ENABLED": "false", "OPAL_POLICY_UPDATER_ENABLED": "false"}, dir))
            await asyncio.sleep(5)
            await follow("opal 0.9.9", theirs, store, source, rows)
        finally:
            for child in children:
                child.kill()
                child.wait()
    columns = ["opal 0.9.9", "Placet"]
    lines = ["| measurement | opal-server, opal-client 0.9.9 | Placet |", "|---|---|---|"]
    lines += [f"| {name} | {row.get(columns[0], '–')} | {row.get(columns[1], '–')} |" for name, row in rows.items()]
    text = pathlib.Path(output).read_text() if os.path.exists(output) else "<!-- table -->\n<!-- /table -->\n"
    before, rest = text.split("<!-- table -->", 1)
    after = rest.split("<!-- /table -->", 1)[1]
    pathlib.Path(output).write_text(f"{before}<!-- table -->\n{note}\n\n" + "\n".join(lines) + f"\n<!-- /table -->{after}")
    print("\n".join(lines))


asyncio.run(main(os.path.abspath(sys.argv[1]), *sys.argv[2:4]))
