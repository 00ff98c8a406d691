"""A small MCP server, for tests: `python mcp_server.py` speaks over stdio, `python mcp_server.py PORT` over HTTP."""

from __future__ import annotations

import os
import sys
import time

from mcp.server import MCPServer
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field

server = MCPServer("test")


class Place(BaseModel):
    city: str
    zip: int = 0


@server.tool()
def add(a: int, b: int = Field(default=1, description="what to add")) -> int:
    """Add two numbers."""
    return a + b


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def where(place: Place) -> dict[str, str]:
    """Say where a place is."""
    return {"at": f"{place.city} {place.zip}"}


@server.tool()
def fail(why: str) -> str:
    raise ValueError(why)


@server.tool()
def sleep(seconds: float) -> str:
    time.sleep(seconds)
    return "awake"


@server.tool()
def die() -> str:
    print("that was it", file=sys.stderr, flush=True)
    os._exit(3)


@server.tool()
def pid() -> int:
    return os.getpid()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run()
