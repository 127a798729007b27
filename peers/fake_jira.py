#!/usr/bin/env python3
"""A Jira Server that lives as long as the process: what mcp-atlassian needs to read, search and comment.

    python3 fake_jira.py --token TOKEN [--port PORT] [--log FILE]

Every request needs `Authorization: Bearer TOKEN`, so an injected credential shows. The first line on stdout is
the address. Each request becomes a line of JSON in the log: {"method", "path", "authorized", "status"}; the
token itself is never written.
"""

import argparse
import hmac
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

MAYA = {"name": "maya", "key": "maya", "displayName": "Maya", "emailAddress": "maya@example.com", "active": True}
PROJECT = {"id": "10000", "key": "SUP", "name": "Support"}
WHEN = "2026-03-01T09:00:00.000+0000"


def issue(number: int, summary: str, description: str) -> dict:
    return {
        "id": str(20000 + number),
        "key": f"SUP-{number}",
        "fields": {
            "summary": summary,
            "description": description,
            "status": {"name": "Open", "statusCategory": {"key": "new", "name": "To Do"}},
            "issuetype": {"name": "Task", "subtask": False},
            "priority": {"name": "Medium"},
            "project": PROJECT,
            "assignee": MAYA,
            "reporter": MAYA,
            "created": WHEN,
            "updated": WHEN,
            "labels": [],
            "comment": {"comments": [], "total": 0, "maxResults": 50, "startAt": 0},
        },
    }


class Desk:
    """The data, shared by all connections."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.issues = {
            i["key"]: i
            for i in (
                issue(1, "Charged twice for order 5521", "See CASE-1837."),
                issue(2, "Parcel arrived damaged", "See CASE-2001."),
            )
        }

    def answer(self, method: str, path: str, query: dict, body: dict) -> tuple[int, object]:
        path = re.sub(r"^/rest/api/(2|3|latest)", "", path)
        with self.lock:
            match method, path.strip("/").split("/"):
                case "GET", ["myself"]:
                    return 200, MAYA
                case "GET", ["user"]:
                    return 200, MAYA
                case "GET", ["serverInfo"]:
                    return 200, {"baseUrl": "http://jira.invalid", "version": "9.12.0", "deploymentType": "Server"}
                case "GET", ["field"]:
                    return 200, [{"id": "summary", "name": "Summary", "custom": False, "schema": {"type": "string"}}]
                case "GET", ["project"]:
                    return 200, [PROJECT]
                case "GET", ["project", key]:
                    return (200, PROJECT) if key == PROJECT["key"] else missing("project")
                case "GET" | "POST", ["search"]:
                    return 200, self.search(query.get("jql", [body.get("jql", "")])[0])
                case "GET", ["issue", key]:
                    return (200, self.issues[key]) if key in self.issues else missing("issue")
                case "GET", ["issue", key, "comment"] if key in self.issues:
                    return 200, self.issues[key]["fields"]["comment"]
                case "POST", ["issue", key, "comment"] if key in self.issues:
                    comments = self.issues[key]["fields"]["comment"]
                    comment = {"id": str(30000 + comments["total"]), "body": body.get("body", ""), "author": MAYA}
                    comment |= {"created": WHEN, "updated": WHEN}
                    comments["comments"].append(comment)
                    comments["total"] += 1
                    return 201, comment
                case _:
                    return missing("resource")

    def search(self, jql: str) -> dict:
        keys = re.findall(r"SUP-\d+", jql)
        found = [i for key, i in self.issues.items() if not keys or key in keys]
        return {"startAt": 0, "maxResults": 50, "total": len(found), "issues": found}


def missing(what: str) -> tuple[int, object]:
    return 404, {"errorMessages": [f"no such {what}"], "errors": {}}


def handler(desk: Desk, token: str, log) -> type[BaseHTTPRequestHandler]:
    expected = f"Bearer {token}".encode()
    writing = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(length)
            authorized = hmac.compare_digest(self.headers.get("Authorization", "").encode(), expected)
            url = urlsplit(self.path)
            if not authorized:
                status, answer = 401, {"errorMessages": ["a token is needed"], "errors": {}}
            else:
                try:
                    body = json.loads(raw) if raw else {}
                    status, answer = desk.answer(self.command, url.path, parse_qs(url.query), body)
                except ValueError:
                    status, answer = 400, {"errorMessages": ["not JSON"], "errors": {}}
            if log:
                line = {"method": self.command, "path": url.path, "authorized": authorized, "status": status}
                with writing:
                    print(json.dumps(line), file=log, flush=True)
            payload = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_PUT = do_DELETE = serve

        def log_message(self, *_) -> None:
            """The log above is enough."""

    return Handler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--token", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log")
    given = parser.parse_args()
    log = open(given.log, "a", encoding="utf-8") if given.log else None
    server = ThreadingHTTPServer(("127.0.0.1", given.port), handler(Desk(), given.token, log))
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
