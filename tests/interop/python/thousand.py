"""A thousand calls at a faulty weather server, by the official Python SDK.

Prints one line of JSON, and ends with 1 and a sentence for each promise that the server did not keep.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from importlib.metadata import version

import anyio
from mcp import Client, MCPError
from mcp.types import TextResourceContents

from answers import Answer, Form
from ledger import Ledger
from workload import OBSERVATIONS, PROMPT, Call, Kind, plan

# How the SDK is told which revision to speak: "legacy" shakes hands, "auto" asks `server/discover` first. Since that
# one falls back, what was agreed on is looked at afterwards.
MODES = {"2025-11-25": "legacy", "2026-07-28": "auto"}

TOOLS = {"get_weather", "get_forecast", "report_observation"}

# The agents share that many connections (or sessions): each carries calls of several at once.
CONNECTIONS = 4

# Far above the server's own deadline: who hits this was forgotten by the server.
PATIENCE_SECONDS = 60.0


class Unfit(Exception):
    """The server is not the one that the calls are meant for."""


async def run(url: str, era: str, calls: int, at_once: int, seed: int) -> Ledger:
    ledger = Ledger()
    todo = plan(calls, seed)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connection(url, era)) for _ in range(CONNECTIONS)]
        for client in clients:
            await expect_weather_server(client, era)
        async with anyio.create_task_group() as agents:
            for number in range(at_once):
                agents.start_soon(agent, clients[number % CONNECTIONS], todo, ledger)
        ledger.close(await notes_on_record(clients[0]))
    return ledger


def connection(url: str, era: str) -> Client:
    # Without the cache, which would answer reads by itself.
    return Client(url, mode=MODES[era], cache=None, read_timeout_seconds=PATIENCE_SECONDS)


async def expect_weather_server(client: Client, era: str) -> None:
    if client.protocol_version != era:
        raise Unfit(f"The server speaks {client.protocol_version} where {era} was wanted.")
    tools = {tool.name for tool in (await client.list_tools()).tools}
    resources = {str(resource.uri) for resource in (await client.list_resources()).resources}
    prompts = {prompt.name for prompt in (await client.list_prompts()).prompts}
    if (tools, resources, prompts) != (TOOLS, {OBSERVATIONS}, {PROMPT}):
        raise Unfit(f"The server lists {sorted(tools)}, {sorted(resources)} and {sorted(prompts)}.")


async def agent(client: Client, todo: Iterator[Call], ledger: Ledger) -> None:
    """Makes calls until none is left, one after the other."""
    for call in todo:
        ledger.enter(call, await make(client, call))


async def make(client: Client, call: Call) -> Answer:
    try:
        match call.kind:
            case Kind.READ_TOOL | Kind.WRITE_TOOL:
                return Answer.of_tool(await client.call_tool(call.name, call.arguments))
            case Kind.RESOURCE:
                await client.read_resource(call.name)
            case Kind.PROMPT:
                await client.get_prompt(call.name, {key: str(value) for key, value in call.arguments.items()})
        return Answer(Form.RESULT)
    except MCPError as error:
        return Answer.of_error(error)
    except Exception as error:  # Whatever the SDK throws: the call has no answer, and the run goes on.
        return Answer.missing(error)


async def notes_on_record(client: Client) -> Counter[str]:
    result = await client.read_resource(OBSERVATIONS)
    text = "".join(part.text for part in result.contents if isinstance(part, TextResourceContents))
    return Counter(observation["note"] for observation in json.loads(text))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="the MCP endpoint")
    parser.add_argument("--era", choices=MODES, required=True, help="the revision of MCP to speak")
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1, help="decides what is asked")
    asked = parser.parse_args()

    started = time.monotonic()
    try:
        ledger = anyio.run(run, asked.url, asked.era, asked.calls, asked.at_once, asked.seed)
    except Unfit as unfit:
        print(unfit, file=sys.stderr)
        return 1
    seconds = round(time.monotonic() - started, 1)
    print(json.dumps({"sdk": f"mcp {version('mcp')}", "era": asked.era, "seconds": seconds, **ledger.summary()}))
    for violation in ledger.violations:
        print(violation, file=sys.stderr)
    return 1 if ledger.violations else 0


if __name__ == "__main__":
    sys.exit(main())
