"""The Python SDK 2.x as a client: modern and legacy revisions, negotiated as the scenario's mode says."""

import os
import sys
from contextlib import AsyncExitStack
from importlib.metadata import version

import anyio
import httpx2
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp_types import REQUEST_TIMEOUT

from scenario import MODERN, CallCancelled, ProtocolError, fail, read_arguments, run


class Peer:
    def __init__(self, client):
        self.client = client
        self.name = f"mcp {version('mcp')}"
        self.protocol_version = client.protocol_version
        self.server = client.server_info.model_dump(exclude_none=True) if client.server_info else None

    async def list_tools(self):
        names, cursor = [], None
        while True:
            page = await self._asked(self.client.list_tools(cursor=cursor, cache_mode="refresh"))
            names += [tool.name for tool in page.tools]
            if (cursor := page.next_cursor) is None:
                return names

    async def ping(self):
        await self._asked(self.client.send_ping())

    async def call(self, step, progress):
        call = self.client.call_tool(
            step["tool"], step.get("args") or {}, progress_callback=progress, meta=step.get("meta")
        )
        if (after := step.get("cancel_after_ms")) is None:
            return await self._asked(call)
        # Leaving the scope cancels: a notification, or the closing of the call's own stream.
        with anyio.move_on_after(after / 1000):
            return await self._asked(call)
        raise CallCancelled

    async def _asked(self, answer):
        try:
            return await answer
        except MCPError as why:
            if why.code == REQUEST_TIMEOUT:
                raise
            raise ProtocolError(why.code, why.message, why.data) from why


async def main():
    scenario = read_arguments()
    mode = {"auto": "auto", "legacy": "legacy", "modern": MODERN}.get(scenario.mode)
    if mode is None:
        fail(f"scenario: unknown mode {scenario.mode}")
    async with AsyncExitStack() as stack:
        try:
            if scenario.url:
                http = await stack.enter_async_context(
                    httpx2.AsyncClient(headers=scenario.headers, timeout=scenario.timeout)
                )
                server = streamable_http_client(scenario.url, http_client=http)
            else:
                command, *args = scenario.command
                server = StdioServerParameters(command=command, args=args, env=dict(os.environ))
            client = Client(server, mode=mode, read_timeout_seconds=scenario.timeout)
            await stack.enter_async_context(client)
        except Exception as why:
            fail(f"connect: {why}")
        return await run(Peer(client), scenario)


if __name__ == "__main__":
    sys.exit(0 if anyio.run(main) else 1)
