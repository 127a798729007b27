#!/usr/bin/env python3
"""Runs every peer client against every peer server directly, with no gateway between them.

    peers/check.py [--client NAME] [--upstream NAME] [--mode MODE] [--verbose]

What passes here and fails through Placet is Placet's. Needs peers/install.sh, and the samples built
(cargo build -p placet-samples) for the peers on rmcp. Exits 0 if everything came out as expected.
"""

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPO = HERE.parent
TOKEN = "peer-token"
PATIENCE = 60


def filled(value, names):
    """The value with every {name} in its strings replaced."""
    if isinstance(value, str):
        for name, text in names.items():
            value = value.replace("{" + name + "}", text)
        return value
    if isinstance(value, list):
        return [filled(item, names) for item in value]
    if isinstance(value, dict):
        return {filled(key, names): filled(item, names) for key, item in value.items()}
    return value


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def reachable(port, process):
    for _ in range(200):
        if process.poll() is not None:
            return False
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        time.sleep(0.05)
    return False


@contextlib.contextmanager
def started(command, env, stdout=subprocess.DEVNULL):
    process = subprocess.Popen(
        command, env=os.environ | env, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def run(client, upstream, mode, http):
    """One client against a fresh instance of one server; gives (revision, what went wrong)."""
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peers-")))
        target = os.environ.get("CARGO_TARGET_DIR", str(REPO / "target"))
        port = free_port()
        names = {"peers": str(REPO / ".peers"), "repo": str(REPO), "target": target}
        names |= {"work": str(work), "token": TOKEN, "port": str(port)}
        for path, text in upstream.get("files", {}).items():
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            (work / path).write_text(text)
        for command in upstream.get("setup", []):
            subprocess.run(filled(command, names), check=True)
        if beside := upstream.get("beside"):
            helper = stack.enter_context(started(filled(beside["command"], names), {}, subprocess.PIPE))
            names[beside["url_as"]] = helper.stdout.readline().strip()
        env = filled(upstream.get("env", {}), names)
        if http:
            server = upstream["http"]
            process = stack.enter_context(
                started(filled(server["command"], names), env | filled(server.get("env", {}), names))
            )
            if not reachable(port, process):
                return "", "the server did not listen"
            where = [filled(server["url"], names)]
        else:
            where = ["--", *filled(upstream["command"], names)]
        scenario = json.dumps({"mode": mode, "steps": filled(upstream["steps"], names)})
        done = subprocess.run(
            filled(client["command"], names) + where,
            input=scenario, capture_output=True, text=True, env=os.environ | env, timeout=PATIENCE,
        )  # fmt: skip
        try:
            report = json.loads(done.stdout)
        except ValueError:
            return "", f"exit {done.returncode}: {done.stderr.strip()[-400:]}"
        wrong = [f"{r.get('tool', r['op'])}: {r['unexpected']}" for r in report["results"] if not r["as_expected"]]
        both = set(client["revisions"]) & set(upstream["revisions"])
        agreed = {"legacy": "2025-11-25", "modern": "2026-07-28", "auto": max(both)}[mode]
        if report["protocol_version"] != agreed:
            wrong.append(f"revision {report['protocol_version']}, not {agreed}")
        if upstream.get("tools_are_all", True) and sorted(report["tools"]) != sorted(upstream["tools"]):
            wrong.append(f"tools {report['tools']}")
        return report["protocol_version"], "; ".join(wrong)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--client")
    parser.add_argument("--upstream")
    parser.add_argument("--mode", choices=["auto", "modern", "legacy"])
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args()
    clients = json.loads((HERE / "clients.json").read_text())
    upstreams = json.loads((HERE / "upstreams.json").read_text())

    runs = []
    for client in clients if given.client is None else [given.client]:
        for upstream in upstreams if given.upstream is None else [given.upstream]:
            speaks = set(clients[client]["revisions"]) & set(upstreams[upstream]["revisions"])
            for mode in clients[client]["modes"]:
                if given.mode not in (None, mode) or (mode == "modern" and "2026-07-28" not in speaks):
                    continue
                for http in (False, True) if "http" in upstreams[upstream] else (False,):
                    runs.append((client, upstream, mode, http))

    def attempt(which):
        client, upstream, mode, http = which
        began = time.monotonic()
        try:
            revision, wrong = run(clients[client], upstreams[upstream], mode, http)
        except (OSError, subprocess.SubprocessError) as why:
            revision, wrong = "", str(why)
        return which, revision, wrong, time.monotonic() - began

    failed = 0
    with ThreadPoolExecutor(max_workers=min(4, 2 * (os.cpu_count() or 1))) as pool:
        for (client, upstream, mode, http), revision, wrong, took in pool.map(attempt, runs):
            failed += bool(wrong)
            if wrong or given.verbose:
                way = "http" if http else "stdio"
                verdict = f"FAILED {wrong}" if wrong else "ok"
                print(f"{client:8} {upstream:11} {mode:7} {way:5} {revision:11} {took:5.1f} s  {verdict}", flush=True)
    print(f"{len(runs) - failed} passed, {failed} failed")
    return 1 if failed or not runs else 0


if __name__ == "__main__":
    sys.exit(main())
