"""A tools' server as people have them: MCP over standard input and output, a token of its own, three tools."""

import json
import os
import sys

if os.environ.get("NOTES_TOKEN") != "canary-variable" or "canary-argument" not in sys.argv:
    sys.exit("notes: it wants its token in NOTES_TOKEN, and its key among its arguments")

PATH = {"type": "string", "maxLength": 200}
TOOLS = [
    {
        "name": "readNote",
        "description": "Reads a note.",
        "inputSchema": {"type": "object", "required": ["path"], "properties": {"path": PATH}},
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    },
    {
        "name": "writeNote",
        "description": "Writes a note.",
        "inputSchema": {
            "type": "object",
            "required": ["path", "text"],
            "properties": {
                "path": PATH,
                "text": {"type": "string", "maxLength": 2000},
                "stars": {"type": "integer", "minimum": 0, "maximum": 5},
            },
        },
        "annotations": {"destructiveHint": False},
    },
    {
        "name": "deleteNote",
        "description": "Deletes a note. For good.",
        "inputSchema": {"type": "object", "required": ["path"], "properties": {"path": PATH}},
    },
]


def answer(request):
    method, params = request["method"], request.get("params", {})
    if method == "initialize":
        return {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "notes", "version": "1"},
        }
    if method == "tools/list":
        return {"tools": TOOLS}
    if method == "tools/call":
        return {"content": [{"type": "text", "text": params["name"] + " " + params["arguments"]["path"]}]}
    if method == "ping":
        return {}
    return None


for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request:
        continue
    result = answer(request)
    message = {"jsonrpc": "2.0", "id": request["id"]}
    if result is None:
        message["error"] = {"code": -32601, "message": "no such method"}
    else:
        message["result"] = result
    print(json.dumps(message), flush=True)
