#!/usr/bin/env python3
"""Prints every MCP method that PyPI `mcp-types` knows, as JSON:

    [{"method": "tools/call", "version": "2026-07-28", "direction": "client-to-server", "kind": "request"}, …]

Run it with the interpreter of the set that has the package: .peers/mcp2/bin/python peers/methods.py
"""

import json

from mcp_types import methods

MAPS = [
    ("client-to-server", "request", methods.CLIENT_REQUESTS),
    ("client-to-server", "notification", methods.CLIENT_NOTIFICATIONS),
    ("server-to-client", "request", methods.SERVER_REQUESTS),
    ("server-to-client", "notification", methods.SERVER_NOTIFICATIONS),
]

known = [
    {"method": method, "version": version, "direction": direction, "kind": kind}
    for direction, kind, surface in MAPS
    for method, version in sorted(surface, key=lambda key: (key[1], key[0]))
]
assert len(known) > 100, "mcp-types has changed its shape"
print(json.dumps(known, indent=1))
