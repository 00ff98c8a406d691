"""Tools: Python functions and tools of MCP servers, with the JSON schema of their arguments."""
