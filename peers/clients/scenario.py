"""What the Python clients have in common: reading a scenario, judging its results, printing the report.

The format is described in ../README.md; scenario.mjs and crates/samples/src/scenario.rs read the same one.
"""

import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

USAGE = "usage: CLIENT [--scenario FILE] (URL | -- COMMAND ARGS…)      the scenario comes from stdin otherwise"
MODERN = "2026-07-28"


def fail(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(2)


@dataclass
class Scenario:
    """One run: where to, how to negotiate, which steps."""

    url: str | None
    command: list[str]
    mode: str = "auto"
    headers: dict[str, str] = field(default_factory=dict)
    timeout_ms: int = 20_000
    steps: list[dict[str, Any]] = field(default_factory=list)

    @property
    def timeout(self) -> float:
        return self.timeout_ms / 1000


def read_arguments() -> Scenario:
    rest = sys.argv[1:]
    file = None
    if rest[:1] == ["--scenario"] and len(rest) > 1:
        file, rest = rest[1], rest[2:]
    if rest[:1] == ["--"] and len(rest) > 1:
        url, command = None, rest[1:]
    elif len(rest) == 1 and rest[0].startswith(("http://", "https://")):
        url, command = rest[0], []
    else:
        fail(USAGE)
    try:
        if file is None:
            given = json.load(sys.stdin)
        else:
            with open(file, encoding="utf-8") as opened:
                given = json.load(opened)
        return Scenario(url, command, **given)
    except (OSError, ValueError, TypeError) as why:
        fail(f"scenario: {why}")


class CallCancelled(Exception):
    """The scenario took the call back before its answer came."""


class ProtocolError(Exception):
    """The server answered with a JSON-RPC error."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


class Peer(Protocol):
    """A connected client."""

    name: str
    protocol_version: str
    server: dict[str, Any] | None

    async def list_tools(self) -> list[str]: ...
    async def ping(self) -> None: ...
    async def call(self, step: dict[str, Any], progress: Callable[..., Awaitable[None]] | None) -> Any:
        """Gives a CallToolResult; raises ProtocolError, CallCancelled or what the client raises."""


async def run(peer: Peer, scenario: Scenario) -> bool:
    """Runs the steps one after the other, prints the report, tells whether all came out as expected."""
    report: dict[str, Any] = {
        "client": peer.name,
        "protocol_version": peer.protocol_version,
        "server": peer.server,
        "tools": [],
        "results": [],
        "as_expected": True,
    }
    for step in scenario.steps:
        started = time.monotonic()
        result = await _perform(peer, step, report)
        result["ms"] = round((time.monotonic() - started) * 1000)
        unexpected = _judge(step, result)
        if unexpected:
            result["unexpected"] = unexpected
        result["as_expected"] = not unexpected
        report["as_expected"] &= not unexpected
        report["results"].append(result)
    print(json.dumps(report, ensure_ascii=False), flush=True)
    return report["as_expected"]


async def _perform(peer: Peer, step: dict[str, Any], report: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {"op": step.get("op")}
    try:
        match step.get("op"):
            case "list_tools":
                report["tools"] = result["tools"] = await peer.list_tools()
                result["outcome"] = "ok"
            case "ping" if peer.protocol_version >= MODERN:
                # The modern revision has no ping.
                result["outcome"] = "skipped"
            case "ping":
                await peer.ping()
                result["outcome"] = "ok"
            case "call":
                result["tool"] = step["tool"]
                progress = None
                if step.get("progress"):
                    seen = result["progress"] = []

                    async def progress(progress: float, total: float | None = None, message: str | None = None) -> None:
                        seen.append({"progress": progress, "total": total, "message": message})

                answer = (await peer.call(step, progress)).model_dump(mode="json", by_alias=True)
                result["outcome"] = "tool_error" if answer.get("isError") else "ok"
                result["text"] = "\n".join(b["text"] for b in answer.get("content", []) if b.get("type") == "text")
                result["structured"] = answer.get("structuredContent")
            case op:
                fail(f"scenario: unknown op {op}")
    except CallCancelled:
        result["outcome"] = "cancelled"
    except ProtocolError as why:
        result["outcome"] = "protocol_error"
        result["error"] = {"code": why.code, "message": why.message, "data": why.data}
    except Exception as why:  # noqa: BLE001 - whatever a client raises is a result of the scenario
        result["outcome"] = "failed"
        result["error"] = {"code": None, "message": f"{type(why).__name__}: {why}", "data": None}
    return result


def _judge(step: dict[str, Any], result: dict[str, Any]) -> str | None:
    """Why the result is not what the step expects."""
    outcome, expect = result["outcome"], step.get("expect", "ok")
    if outcome == "skipped":
        return None
    if expect != "any" and outcome != expect:
        return f"outcome {outcome}, not {expect}"
    listed = result.get("tools") or []
    if missing := [name for name in step.get("contains", []) if name not in listed]:
        return f"not listed: {', '.join(missing)}"
    if shown := [name for name in step.get("lacks", []) if name in listed]:
        return f"listed: {', '.join(shown)}"
    error, structured = result.get("error") or {}, result.get("structured")
    if "code" in step:
        placet = structured.get("placet") if isinstance(structured, dict) else None
        code = placet.get("code") if isinstance(placet, dict) else error.get("code")
        if code != step["code"]:
            return f"code {code}, not {step['code']}"
    if "text" in step and step["text"] not in (result.get("text") or error.get("message") or ""):
        return f"text lacks {step['text']!r}"
    if "structured" in step and not _within(step["structured"], structured):
        return "structured content differs"
    seen = len(result.get("progress") or [])
    if step.get("progress_at_least", 0) > seen:
        return f"progress only {seen} times"
    return None


def _within(part: Any, whole: Any) -> bool:
    """Is every member of part also in whole, equal? Arrays as a whole."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(n in whole and _within(v, whole[n]) for n, v in part.items())
    if isinstance(part, list):
        return (
            isinstance(whole, list) and len(part) == len(whole) and all(map(_within, part, whole))
        )
    return type(part) is type(whole) and part == whole or (
        not isinstance(part, bool) and isinstance(part, int | float) and isinstance(whole, int | float) and part == whole
    )
