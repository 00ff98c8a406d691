"""Tools of MCP servers: real servers, over stdio and over HTTP on loopback, started here and bounded in time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lampc
from lampc.runtime.eager import EagerRun
from lampc.runtime.mcp import MCPError, MCPServer
from lampc.runtime.types import Cell, Row
from tests.python.twins import in_turn, ours

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import dspy

pytest.importorskip("mcp")
COMMAND = [sys.executable, str(Path(__file__).with_name("mcp_server.py"))]
pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def server() -> Iterator[MCPServer]:
    with MCPServer(COMMAND, timeout=30) as opened:
        yield opened


@pytest.fixture(scope="module")
def tools(server: MCPServer) -> dict[str, lampc.Tool]:
    return {t.name: t for t in server.tools()}


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone(pid: int) -> bool:
    until = time.monotonic() + 10
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not alive(pid)


def test_tools_of_a_server_over_stdio(server: MCPServer, tools: dict[str, lampc.Tool]) -> None:
    assert list(tools) == ["add", "where", "fail", "sleep", "die", "pid"]
    add = tools["add"]
    assert (add.desc, add.arg_types, add.blocking) == ("Add two numbers.", {"a": int, "b": int}, True)
    assert add.args["b"] == {"default": 1, "description": "what to add", "title": "B", "type": "integer"}
    assert add.arg_desc == {"a": "No description provided. (Required)", "b": "what to add"}
    assert (add(a=1, b=2), add(3), server.call("add", {"a": 4})) == ("3", "4", "5")
    assert '"at": "Ulm 9"' in tools["where"](place={"city": "Ulm", "zip": 9})
    assert (tools["where"].effect, add.effect) == ("unordered", "effect")
    assert [t.name for t in server.tools(["pid", "add"])] == ["pid", "add"]
    with pytest.raises(KeyError, match="has no tool `multiply`; it has add, where"):
        server.tools(["multiply"])


def test_what_goes_wrong_is_said(tools: dict[str, lampc.Tool]) -> None:
    with pytest.raises(RuntimeError, match="Failed to call a MCP tool: Error executing tool fail"):
        tools["fail"](why="no")
    with pytest.raises(ValueError, match="Arg a is invalid: 'x' is not of type 'integer'"):
        tools["add"](a="x")
    with pytest.raises(RuntimeError, match="Field required"):
        tools["add"](b=1)


def test_structured_results() -> None:
    with MCPServer(COMMAND, result_mode="structured", timeout=30) as server:
        assert server.call("where", {"place": {"city": "Ulm"}}) == {"at": "Ulm 0"}
        assert server.tools(["add"])[0](a=1) == {"result": 2}


def test_a_session_of_the_library_gives_the_tools_that_dspy_makes_of_it() -> None:
    from mcp import Client, StdioServerParameters

    calls: list[tuple[str, dict[str, Any]]] = [
        ("add", {"a": 1, "b": 2}),
        ("add", {"a": "x"}),
        ("add", {"z": 1}),
        ("where", {"place": {"city": "Ulm"}}),
        ("fail", {"why": "no"}),
    ]

    async def outcome(tool: Any, arguments: dict[str, Any]) -> str:
        try:
            return repr(await tool.acall(**arguments))
        except Exception as e:
            return f"{type(e).__name__}: {e}"

    async def compare() -> None:
        process = StdioServerParameters(command=COMMAND[0], args=COMMAND[1:])
        async with Client(process, read_timeout_seconds=30) as session:
            listed = {t.name: t for t in (await session.list_tools()).tools}
            for mode in ("text", "structured"):
                for name, arguments in calls:
                    ours = lampc.Tool.from_mcp_tool(session, listed[name], result_mode=mode)
                    theirs = dspy.Tool.from_mcp_tool(session, listed[name], result_mode=mode)
                    assert (str(ours), ours.arg_desc) == (str(theirs), theirs.arg_desc)
                    assert await outcome(ours, arguments) == await outcome(theirs, arguments)
            made = lampc.Tool.from_mcp_tool(session, listed["add"])
            # a call from another thread is taken to the session's own loop
            assert await asyncio.to_thread(lambda: made(a=2, b=3)) == "5"
            with pytest.raises(ValueError, match=r"await tool.acall"):
                made(a=1)
        with pytest.raises(ValueError, match="Unsupported MCP result mode: 'other'"):
            lampc.Tool.from_mcp_tool(session, listed["add"], result_mode="other")  # type: ignore[arg-type]
        left.append(made)

    left: list[lampc.Tool] = []
    asyncio.run(compare())
    with pytest.raises(RuntimeError, match="the event loop of its MCP session runs no more"):
        left[0](a=1)


def test_a_server_over_http() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    process = subprocess.Popen([*COMMAND, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        with MCPServer(f"http://127.0.0.1:{port}/mcp", headers={"X-Test": "1"}, timeout=20) as server:
            add = server.tools(["add"])[0]
            assert add(a=1, b=2) == "3"
            assert asyncio.run(add.acall(a=2, b=2)) == "4"
    finally:
        process.kill()
        process.wait(10)


def test_a_call_is_bounded_in_time_and_the_server_goes_on() -> None:
    with MCPServer(COMMAND, timeout=0.5) as server:
        began = time.monotonic()
        with pytest.raises(MCPError, match=r"tool `sleep` of .* timed out"):
            server.call("sleep", {"seconds": 3})
        assert time.monotonic() - began < 2.5


def test_a_server_that_dies_says_its_last_words_and_a_closed_one_is_gone() -> None:
    with MCPServer(COMMAND, timeout=20) as server:
        tools = {t.name: t for t in server.tools()}
        pid = int(tools["pid"]())
        with pytest.raises(MCPError, match=r"tool `die` .*[Cc]losed; it said: that was it"):
            tools["die"]()
    assert gone(pid)
    with pytest.raises(MCPError, match="is closed"):
        tools["add"](a=1)
    server.open()
    pid = int(server.call("pid", {}))
    assert alive(pid)
    server.close()
    assert gone(pid)


def test_servers_that_cannot_be_reached() -> None:
    with pytest.raises(MCPError, match=r"could not be reached: FileNotFoundError: .*'no-such-program'"):
        MCPServer(["no-such-program"]).open()
    with pytest.raises(MCPError, match=r"could not be reached: .*it said: boom"):
        MCPServer([sys.executable, "-c", "import sys; print('boom', file=sys.stderr); sys.exit(2)"]).open()
    with pytest.raises(MCPError, match="could not be reached: ConnectError"):
        MCPServer("http://127.0.0.1:9/mcp", timeout=5).tools()
    with pytest.raises(MCPError, match=r"did not answer within 0.3 s"):
        MCPServer([sys.executable, "-c", "import time; time.sleep(60)"], start_timeout=0.3).open()
    with pytest.raises(ValueError, match="is no URL; a command is given as a list"):
        MCPServer("python server.py")
    with pytest.raises(ValueError, match="not nothing"):
        MCPServer([])


def test_a_process_that_ends_takes_its_servers_with_it() -> None:
    code = (
        "import sys, threading\n"
        "from lampc.runtime.mcp import MCPServer\n"
        f"server = MCPServer({COMMAND!r}, timeout=30)\n"
        "print(server.call('pid', {}), flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=40)
    assert done.returncode == 0, done.stderr
    assert gone(int(done.stdout))


def test_rows_of_a_batch_wait_for_tools_together(tools: dict[str, lampc.Tool]) -> None:
    seen: set[str] = set()

    def entry(n: int) -> dict[str, Any]:
        seen.add(threading.current_thread().name)
        return {"sum": tools["add"](a=n, b=n)}

    cells = [Cell(Row(str(n), {"n": n})) for n in range(8)]
    outcomes = EagerRun(entry, None).run(cells)  # type: ignore[arg-type]
    assert [o.value for o in outcomes] == [{"sum": str(2 * n)} for n in range(8)]
    assert len(seen) == 1


def test_an_agent_with_tools_of_a_server(tools: dict[str, lampc.Tool]) -> None:
    def step(tool: str, **args: Any) -> dict[str, Any]:
        return {"next_thought": "t", "next_tool_name": tool, "next_tool_args": args}

    answers = [
        step("add", a=2, b=3),
        step("fail", why="x"),
        step("add", a="two"),
        step("finish"),
        {"reasoning": "r", "answer": "5"},
    ]
    with ours(in_turn(*answers)) as side:
        made = side.d.ReAct("question -> answer", tools=[tools["add"], tools["fail"]])(question="2 + 3?")
    assert made.answer == "5"
    assert [made.trajectory[f"observation_{i}"] for i in range(3)] == [
        "5",
        "Execution error in fail: RuntimeError: Failed to call a MCP tool: Error executing tool fail",
        "Execution error in add: ValueError: Arg a is invalid: 'two' is not of type 'integer'",
    ]
