"""FastMCP as a client: modern and legacy revisions, negotiated as the scenario's mode says."""

import os
import sys
from contextlib import AsyncExitStack
from importlib.metadata import version

import anyio
from fastmcp import Client
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from mcp import MCPError
from mcp_types import REQUEST_TIMEOUT

from scenario import MODERN, CallCancelled, ProtocolError, fail, read_arguments, run


class Peer:
    def __init__(self, client):
        self.client = client
        self.name = f"fastmcp {version('fastmcp')}"
        self.protocol_version = client.protocol_version
        self.server = client.server_info.model_dump(exclude_none=True) if client.server_info else None

    async def list_tools(self):
        return [tool.name for tool in await self._asked(self.client.list_tools())]

    async def ping(self):
        await self._asked(self.client.ping())

    async def call(self, step, progress):
        call = self.client.call_tool_mcp(
            step["tool"], step.get("args") or {}, progress_handler=progress, meta=step.get("meta")
        )
        if (after := step.get("cancel_after_ms")) is None:
            return await self._asked(call)
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
    if scenario.url:
        transport = StreamableHttpTransport(scenario.url, headers=scenario.headers)
    else:
        command, *args = scenario.command
        transport = StdioTransport(command=command, args=args, env=dict(os.environ), keep_alive=False)
    async with AsyncExitStack() as stack:
        try:
            # The cache would answer a listing that the gateway should answer.
            client = Client(transport, mode=mode, timeout=scenario.timeout, cache=False)
            await stack.enter_async_context(client)
        except Exception as why:
            fail(f"connect: {why}")
        return await run(Peer(client), scenario)


if __name__ == "__main__":
    sys.exit(0 if anyio.run(main) else 1)
