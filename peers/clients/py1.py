"""The Python SDK 1.x as a client: 2025-11-25 and older."""

import os
import sys
from contextlib import AsyncExitStack
from datetime import timedelta
from importlib.metadata import version

import anyio
from mcp import ClientSession, McpError, StdioServerParameters, types
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client

from scenario import CallCancelled, ProtocolError, fail, read_arguments, run

# What the SDK itself makes of a time-out.
TIMED_OUT = 408


class Peer:
    def __init__(self, session, hello, scenario):
        self.session, self.scenario = session, scenario
        self.name = f"mcp {version('mcp')}"
        self.protocol_version = hello.protocolVersion
        self.server = hello.serverInfo.model_dump(exclude_none=True)

    async def list_tools(self):
        names, cursor = [], None
        while True:
            page = await self._asked(self.session.list_tools(cursor))
            names += [tool.name for tool in page.tools]
            if (cursor := page.nextCursor) is None:
                return names

    async def ping(self):
        await self._asked(self.session.send_ping())

    async def call(self, step, progress):
        call = self.session.call_tool(
            step["tool"],
            step.get("args") or {},
            read_timeout_seconds=timedelta(seconds=self.scenario.timeout),
            progress_callback=progress,
            meta=step.get("meta"),
        )
        if (after := step.get("cancel_after_ms")) is None:
            return await self._asked(call)
        # This SDK drops a cancelled call without a word; applications that care tell the server themselves.
        request = self.session._request_id
        with anyio.move_on_after(after / 1000):
            return await self._asked(call)
        cancelled = types.CancelledNotificationParams(requestId=request, reason="no longer needed")
        await self.session.send_notification(
            types.ClientNotification(types.CancelledNotification(params=cancelled))
        )
        raise CallCancelled

    async def _asked(self, answer):
        try:
            return await answer
        except McpError as why:
            if why.error.code == TIMED_OUT:
                raise
            raise ProtocolError(why.error.code, why.error.message, why.error.data) from why


async def main():
    scenario = read_arguments()
    if scenario.mode == "modern":
        fail("the SDK 1.x speaks no modern revision")
    async with AsyncExitStack() as stack:
        try:
            if scenario.url:
                transport = streamablehttp_client(scenario.url, headers=scenario.headers)
            else:
                command, *args = scenario.command
                transport = stdio_client(StdioServerParameters(command=command, args=args, env=dict(os.environ)))
            read, write, *_ = await stack.enter_async_context(transport)
            timeout = timedelta(seconds=scenario.timeout)
            session = await stack.enter_async_context(ClientSession(read, write, read_timeout_seconds=timeout))
            hello = await session.initialize()
        except Exception as why:
            fail(f"connect: {why}")
        return await run(Peer(session, hello, scenario), scenario)


if __name__ == "__main__":
    sys.exit(0 if anyio.run(main) else 1)
