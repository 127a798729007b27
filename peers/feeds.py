#!/usr/bin/env python3
"""Identity feeds against a running `placet serve`, with nothing of Placet's: scim2-tester as the provider, joserfc as the
signer of security events and as the judge of those that Placet signs.

    .peers/feeds/bin/python peers/feeds.py PLACET     exit status 0: all as expected; the last line is a JSON report
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

from joserfc import jws
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey, OctKey

CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
RISC = "https://schemas.openid.net/secevent/risc/event-type/"
SSF = "https://schemas.openid.net/secevent/ssf/event-type/"
IDP = "https://idp.example"

checks = []


def check(what, ok, detail=""):
    checks.append((what, bool(ok)))
    if not ok:
        print(f"FAIL {what}: {detail}", flush=True)


def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def http(method, url, body=None, headers=None):
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def sign(key, kid, alg, claims, typ="secevent+jwt"):
    header = {"typ": typ, "alg": alg, "kid": kid}
    registry = jws.JWSRegistry(algorithms=["ES256", "RS256", "HS256", "EdDSA", "none"])
    return jws.serialize_compact(header, json.dumps(claims).encode(), key, registry=registry)


class Polled:
    """A transmitter that is fetched from (RFC 8936): holds events until they are acknowledged."""

    def __init__(self, jwks):
        self.sets, self.acked, self.errors, self.verified = {}, [], {}, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def answer(self, status, document):
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                self.answer(200, jwks)

            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path == "/verify":
                    outer.verified.append(asked)
                    self.send_response(204)
                    self.end_headers()
                    return
                for jti in asked.get("ack", []):
                    outer.acked.append(jti)
                    outer.sets.pop(jti, None)
                for jti, error in asked.get("setErrs", {}).items():
                    outer.errors[jti] = error
                    outer.sets.pop(jti, None)
                self.answer(200, {"sets": dict(outer.sets), "moreAvailable": False})

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()


class Receiver:
    """A receiver that is pushed to (RFC 8935), and answers by a script before it takes everything."""

    def __init__(self, script):
        self.script, self.got = list(script), []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_POST(self):
                set = self.rfile.read(int(self.headers["Content-Length"])).decode()
                status = outer.script.pop(0) if outer.script else 202
                jti = json.loads(jws.extract_compact(set.encode()).payload)["jti"]
                outer.got.append((status, jti, set, self.headers["Content-Type"]))
                body = b'{"err":"invalid_request","description":"no"}' if status == 400 else b""
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()


class Server:
    def __init__(self, placet, dir, settings, url):
        self.placet, self.dir, self.url = placet, dir, url
        Path(dir, "placet.toml").write_text(settings)
        self.process = None

    def start(self):
        log = open(Path(self.dir, "log"), "a")
        self.process = subprocess.Popen([self.placet, "serve"], cwd=self.dir, stdout=log, stderr=log)
        for _ in range(600):
            if self.process.poll() is not None:
                sys.exit("placet serve has ended: " + Path(self.dir, "log").read_text()[-2000:])
            try:
                if http("GET", self.url + "/healthz")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        sys.exit("placet serve isn't ready")

    def stop(self):
        self.process.terminate()
        self.process.wait(30)

    def run(self, *args):
        done = subprocess.run([self.placet, *args], cwd=self.dir, capture_output=True, text=True,
                              env={**os.environ, "PLACET_SERVER": self.url})
        if done.returncode != 0:
            sys.exit(f"placet {' '.join(args)}: {done.stderr}")
        return done.stdout

    def human(self, id):
        people = json.loads(self.run("facts", "get", "--format", "json"))
        return next(one for one in people["humans"] if one["id"] == id)


def main():
    placet = str(Path(sys.argv[1]).resolve())
    dir = tempfile.mkdtemp(prefix="placet-feeds-")
    agents, admin = port(), port()
    url = f"http://127.0.0.1:{admin}"

    def token():
        made = json.loads(subprocess.run([placet, "scim", "token", "--format", "json"], check=True,
                                         capture_output=True, text=True).stdout)
        return made["token"], made["token_hash"]

    (scim, scim_hash), (push, push_hash), (hear, hear_hash), (_, pushed_hash) = token(), token(), token(), token()
    ec, rsa, stranger = ECKey.generate_key("P-256"), RSAKey.generate_key(2048), ECKey.generate_key("P-256")
    public = {"keys": [{**ec.as_dict(private=False), "kid": "ec"}, {**rsa.as_dict(private=False), "kid": "rsa"}]}
    Path(dir, "idp.jwks").write_text(json.dumps(public))
    polled = Polled(public)
    receiver = Receiver([503, 429, 202, 400])
    audience = f"{url}/ssf/push/idp"
    settings = f"""
[server]
organisation = "feeds"
listen = "127.0.0.1:{agents}"
admin_listen = "127.0.0.1:{admin}"
public_url = "http://127.0.0.1:{agents}"
admin_url = "{url}"
data = "data"

[[scim]]
name = "okta"
home = "acme"
token_hash = "{scim_hash}"

[[scim.group]]
name = "Support"
tenant = "acme"
role = "support"

[[ssf.transmitter]]
name = "idp"
issuer = "{IDP}"
jwks = "idp.jwks"
scim = "okta"
push_token_hash = "{push_hash}"

[[ssf.transmitter]]
name = "polled"
issuer = "https://polled.example"
audience = "placet"
subject_issuer = "{IDP}"
jwks_url = "{polled.url}/jwks"
allow_private = true
poll_url = "{polled.url}/poll"
poll_ms = 100
verify_url = "{polled.url}/verify"
stream_id = "st-1"
verify_s = 10

[[ssf.receiver]]
name = "siem"
audience = "https://siem.example"
token_hash = "{hear_hash}"

[[ssf.receiver]]
name = "pushed"
audience = "https://siem.example"
token_hash = "{pushed_hash}"
push_url = "{receiver.url}/events"
allow_private = true
"""
    server = Server(placet, dir, settings, url)
    server.start()
    try:
        server.run("tenant", "create", "acme")
        scim_tester(server, url, scim)
        leavers(server, url, scim)
        pushed(server, url, (push, audience), (ec, rsa, stranger))
        fetched(server, polled, ec)
        told(server, url, hear)
        pushed_out(url, receiver)
        server.stop()
        server.start()
        after_restart(server, url, (push, audience), ec, hear)
    finally:
        server.stop()
    done = sum(ok for _, ok in checks)
    print(json.dumps({"passed": done, "failed": len(checks) - done}))
    sys.exit(0 if done == len(checks) else 1)


def scim_tester(server, url, token):
    scim2 = str(Path(sys.executable).parent / "scim2")
    env = {**os.environ, "SCIM_CLI_HEADERS": f"Authorization: Bearer {token}"}
    done = subprocess.run([scim2, "-u", f"{url}/scim/v2", "test", "--verbose"], env=env, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    green = [line for line in lines if line.startswith("SUCCESS")]
    red = [line for line in lines if line.split(" ")[0] in ("ERROR", "CRITICAL", "SKIPPED", "DEVIATION")]
    print(f"scim2-tester: {len(green)} green, {len(red)} not")
    for i, line in enumerate(lines):
        if line in red:
            print("  " + line + " |" + " ".join(lines[i + 1:i + 3])[:600])
    check("scim2-tester in full", done.returncode == 0 and len(green) >= 100, done.stdout[-500:] + done.stderr[-2000:])


USER = "urn:ietf:params:scim:schemas:core:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


def leavers(server, url, token):
    bearer = {"Authorization": f"Bearer {token}", "Content-Type": "application/scim+json"}
    base = f"{url}/scim/v2"
    for name in ["maya", "omar", "lena", "noor"]:
        body = {"schemas": [USER], "userName": name, "emails": [{"value": f"{name}@acme.example", "type": "work"}],
                "externalId": f"00u{name}"}
        status, headers, answer = http("POST", f"{base}/Users", body, bearer)
        check(f"{name} is made", status == 201, answer)
    status, _, answer = http("GET", f"{base}/Users?filter=userName%20eq%20%22MAYA%22", None, bearer)
    maya = json.loads(answer)["Resources"][0]["id"]
    okta = {"schemas": [PATCH], "Operations": [{"op": "replace", "value": {"active": False}}]}
    status, _, answer = http("PATCH", f"{base}/Users/{maya}", okta, bearer)
    check("Okta's leaver", status == 200 and json.loads(answer)["active"] is False, answer)
    check("the leaver is deactivated", server.human("maya")["standing"] == "deactivated")
    entra = {"schemas": [PATCH], "Operations": [{"op": "Replace", "path": "active", "value": "True"}]}
    http("PATCH", f"{base}/Users/{maya}", entra, bearer)
    check("and is back", server.human("maya")["standing"] == "active")
    status, _, answer = http("GET", f"{base}/Users", None, {"Authorization": "Bearer " + "x" * 40})
    check("no token, no answer", status == 401, answer)


def event(kind, subject, jti=None, **more):
    now = int(time.time())
    claims = {"iss": IDP, "iat": now, "jti": jti or secrets.token_hex(8),
              "events": {kind: {"event_timestamp": now, **more.pop("event", {})}}, "sub_id": subject}
    return {**claims, **more}


def send(url, token, set):
    return http("POST", f"{url}/ssf/push/idp", set.encode(),
                {"Content-Type": "application/secevent+jwt", "Authorization": f"Bearer {token}"})


def pushed(server, url, to, keys):
    (push, audience), (ec, rsa, stranger) = to, keys
    maya = {"format": "iss_sub", "iss": IDP, "sub": "00umaya"}
    good = event(CAEP + "session-revoked", maya, aud=audience)
    status, _, answer = send(url, push, sign(ec, "ec", "ES256", good))
    check("ES256: session-revoked", status == 202 and answer == b"", answer)
    check("a session's end leaves the standing", server.human("maya")["standing"] == "active")
    status, _, answer = send(url, push, sign(ec, "ec", "ES256", good))
    check("the same event again", status == 202, answer)
    mail = {"format": "email", "email": "OMAR@acme.example"}
    status, _, answer = send(url, push, sign(rsa, "rsa", "RS256", event(RISC + "account-disabled", mail, aud=audience)))
    check("RS256: account-disabled", status == 202, answer)
    check("omar is suspended", server.human("omar")["standing"] == "suspended")
    status, _, answer = send(url, push, sign(ec, "ec", "ES256", event(RISC + "account-enabled", mail, aud=audience)))
    check("account-enabled is taken", status == 202, answer)
    check("and enables nobody", server.human("omar")["standing"] == "suspended")
    nobody = {"format": "email", "email": "nobody@acme.example"}
    status, _, answer = send(url, push, sign(ec, "ec", "ES256", event(RISC + "account-disabled", nobody, aud=audience)))
    check("nobody is no oracle", status == 202 and answer == b"", answer)
    refused = [
        ("another issuer", sign(ec, "ec", "ES256", event(CAEP + "session-revoked", maya, aud=audience, iss="https://evil.example")), "invalid_issuer"),
        ("another audience", sign(ec, "ec", "ES256", event(CAEP + "session-revoked", maya, aud="https://other.example")), "invalid_audience"),
        ("two audiences", sign(ec, "ec", "ES256", event(CAEP + "session-revoked", maya, aud=[audience, "x"])), "invalid_audience"),
        ("another type", sign(ec, "ec", "ES256", event(CAEP + "session-revoked", maya, aud=audience), typ="JWT"), "invalid_request"),
        ("a stranger's key", sign(stranger, "ec", "ES256", event(CAEP + "session-revoked", maya, aud=audience)), "invalid_key"),
        ("an unknown key", sign(stranger, "other", "ES256", event(CAEP + "session-revoked", maya, aud=audience)), "invalid_key"),
        ("a symmetric key", sign(OctKey.import_key(b"k" * 32), "ec", "HS256", event(CAEP + "session-revoked", maya, aud=audience)), "invalid_key"),
        ("an end", sign(ec, "ec", "ES256", event(CAEP + "session-revoked", maya, aud=audience, exp=9999999999)), "invalid_request"),
        ("a sub", sign(ec, "ec", "ES256", event(CAEP + "session-revoked", maya, aud=audience, sub="maya")), "invalid_request"),
        ("two events", sign(ec, "ec", "ES256", {**event(CAEP + "session-revoked", maya, aud=audience),
                                                "events": {CAEP + "session-revoked": {}, RISC + "account-disabled": {}}}), "invalid_request"),
        ("an old event", sign(ec, "ec", "ES256", event(CAEP + "session-revoked", maya, aud=audience, iat=1700000000)), "invalid_request"),
        ("no token", "garbage", "invalid_request"),
    ]
    head, body, _ = sign(ec, "ec", "ES256", event(RISC + "account-disabled", maya, aud=audience)).split(".")
    import base64
    none = base64.urlsafe_b64encode(b'{"typ":"secevent+jwt","alg":"none","kid":"ec"}').decode().rstrip("=")
    refused.append(("alg none", f"{none}.{body}.", "invalid_key"))
    for what, set, err in refused:
        status, _, answer = send(url, push, set)
        said = json.loads(answer or b"{}").get("err")
        check(f"{what} is refused", status == 400 and said == err, (status, answer))
    status, _, answer = send(url, "x" * 40, sign(ec, "ec", "ES256", good))
    check("a foreign bearer", status == 401, answer)
    check("nothing of that reached maya", server.human("maya")["standing"] == "active")


def fetched(server, polled, ec):
    def put(kind, subject, **more):
        claims = event(kind, subject, aud="placet", **more)
        claims["iss"] = "https://polled.example"
        polled.sets[claims["jti"]] = sign(ec, "ec", "ES256", claims)
        return claims["jti"]

    lena = {"format": "complex", "user": {"format": "iss_sub", "iss": IDP, "sub": "lena"},
            "session": {"format": "opaque", "id": "s-1"}}
    one = put(RISC + "credential-compromise", lena, event={"credential_type": "password"})
    bad = put(RISC + "account-disabled", lena, exp=9999999999)
    aliases = {"format": "aliases", "identifiers": [{"format": "email", "email": "x@x.example"}, {"format": "opaque", "id": "noor"}]}
    two = put(RISC + "account-purged", aliases)
    state = polled.verified[0]["state"] if polled.verified else ""
    three = put(SSF + "verification", {"format": "opaque", "id": "st-1"}, event={"state": state})
    for _ in range(100):
        if {one, two, three} <= set(polled.acked) and bad in polled.errors:
            break
        time.sleep(0.1)
    check("fetched events are acknowledged", {one, two, three} <= set(polled.acked), (polled.acked, polled.errors))
    check("a bad one is refused by its jti", polled.errors.get(bad, {}).get("err") == "invalid_request", polled.errors)
    check("lena is suspended", server.human("lena")["standing"] == "suspended")
    check("noor is deactivated", server.human("noor")["standing"] == "deactivated")
    check("the stream was asked whether it lives", polled.verified and polled.verified[0]["stream_id"] == "st-1", polled.verified)


def hear(url, token, **asked):
    body = {"maxEvents": 100, "returnImmediately": True, **asked}
    status, _, answer = http("POST", f"{url}/ssf/poll/siem", body, {"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
    assert status == 200, (status, answer)
    return json.loads(answer)["sets"]


def judged(url, sets):
    configuration = json.loads(http("GET", f"{url}/.well-known/ssf-configuration")[2])
    keys = KeySet.import_key_set(json.loads(http("GET", configuration["jwks_uri"])[2]))
    registry = jws.JWSRegistry(algorithms=["EdDSA", "Ed25519", "ES256"])
    events = []
    for jti, set in sets.items():
        token = jws.deserialize_compact(set, keys, registry=registry)
        claims = json.loads(token.payload)
        check("our event is one by the book", token.headers()["typ"] == "secevent+jwt" and claims["jti"] == jti
              and claims["iss"] == configuration["issuer"] and claims["aud"] == "https://siem.example"
              and len(claims["events"]) == 1 and "exp" not in claims and "sub" not in claims, claims)
        events.append((next(iter(claims["events"])), claims["sub_id"]))
    return events


def told(server, url, token):
    # What scim2-tester did to its own people is told as well: through it first.
    while True:
        sets = hear(url, token)
        if not sets:
            break
        events = judged(url, sets)
        told.all += events
        hear(url, token, ack=list(sets), maxEvents=0)
    people = {(kind.rsplit("/", 1)[1], subject.get("sub")) for kind, subject in told.all}
    for one in [("session-revoked", "maya"), ("account-disabled", "omar"), ("account-disabled", "lena"), ("account-disabled", "noor")]:
        check(f"{one} was told", one in people, people)
    status, _, answer = http("POST", f"{url}/ssf/verify", {"stream_id": "siem", "state": "s-7"},
                             {"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
    check("a verification may be asked for", status == 204, answer)
    sets = hear(url, token)
    events = [json.loads(jws.extract_compact(one.encode()).payload)["events"] for one in sets.values()]
    check("and comes with its state", events == [{SSF + "verification": {"state": "s-7"}}], events)
    hear(url, token, ack=list(sets), maxEvents=0)
    status, _, _ = http("POST", f"{url}/ssf/poll/siem", {}, {"Authorization": "Bearer " + "x" * 40})
    check("nobody else hears", status == 401, status)


told.all = []


def pushed_out(url, receiver):
    def people():
        sets = {jti: set for status, jti, set, _ in receiver.got if status == 202}
        return {(next(iter(claims["events"])).rsplit("/", 1)[1], claims["sub_id"].get("sub"))
                for claims in (json.loads(jws.extract_compact(set.encode()).payload) for set in sets.values())}

    last = ("account-disabled", "noor")
    for _ in range(300):
        if last in people():
            break
        time.sleep(0.1)
    check("what was told is pushed as well", last in people(), receiver.got[-3:])
    first = [status for status, jti, _, _ in receiver.got if jti == receiver.got[0][1]]
    check("an event is sent until it is taken", first == [503, 429, 202], first)
    refused = [jti for status, jti, _, _ in receiver.got if status == 400]
    check("one that is refused isn't sent again", [jti for _, jti, _, _ in receiver.got].count(refused[0]) == 1, refused)
    taken = [jti for status, jti, _, _ in receiver.got if status == 202]
    check("nothing is pushed twice once it was taken", len(taken) == len(set(taken)), taken)
    check("by its media type", all(kind == "application/secevent+jwt" for _, _, _, kind in receiver.got), receiver.got[:1])
    judged(url, {jti: one for status, jti, one, _ in receiver.got if status == 202})


def after_restart(server, url, to, ec, token):
    push, audience = to
    check("nothing is told twice", hear(url, token) == {}, "")
    subject = {"format": "iss_sub", "iss": IDP, "sub": "maya"}
    claims = event(RISC + "account-disabled", subject, aud=audience)
    set = sign(ec, "ec", "ES256", claims)
    send(url, push, set)
    check("maya is suspended", server.human("maya")["standing"] == "suspended")
    server.run("facts", "apply", write(server, {"place": "organisation", "changes": [{"human_standing": {"human": "maya", "standing": "active"}}]}), "--why", "back")
    server.stop()
    server.start()
    send(url, push, set)
    check("an event counts once, also after a restart", server.human("maya")["standing"] == "active")
    sets = hear(url, token)
    kinds = sorted(kind.rsplit("/", 1)[1] for kind, _ in judged(url, sets))
    check("what wasn't acknowledged comes again", kinds == ["account-disabled", "session-revoked"], kinds)
    again = hear(url, token)
    check("under the same jti", set_of(sets) == set_of(again), (sets, again))


def set_of(sets):
    return sorted(sets)


def write(server, document):
    path = Path(server.dir, "change.json")
    path.write_text(json.dumps(document))
    return str(path)


if __name__ == "__main__":
    main()
