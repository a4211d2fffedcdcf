"""Context7 as the published runs had it: MCP server, skill and rule, in our words."""

from pathlib import Path

from llamatrix.agents.protocol import McpServer
from llamatrix.sandbox.spec import TOOLS

FOLDER = Path("/opt/llamatrix/context7")
"""Where the installed package is mounted inside: the folder with `node_modules`."""
PAGE_TOOLS = ("query-docs", "get-library-docs")
"""The tools that return documentation; the second is that of versions before 2.0."""
TOOL_NAMES = ("resolve-library-id", *PAGE_TOOLS)
SKILL_NAME = "context7-mcp"

SKILL = """\
---
name: context7-mcp
description: Look up current documentation of a library, framework, SDK or API with Context7 before answering from memory or writing code against it.
---

# Looking documentation up

1. Call `resolve-library-id` with the library's name and the question, and choose the
   entry whose name fits best; among equals take the one with more snippets.
2. Call `query-docs` with that id and the question in full.
3. Write from what came back, not from memory. If it does not answer the question, ask
   once more with other words before going on.
"""

RULE = """\
When a task names a library, a framework, an SDK, an API or a command line tool, look its
documentation up with Context7 first: `resolve-library-id`, then `query-docs`. Do so even
for well-known ones. Plain programming questions and debugging of one's own code need no
look-up.
"""


def context7_server(*, api_url: str | None) -> McpServer:
    """Return the pinned package as a stdio server, run by the sandbox's node.

    `api_url` is a stub of its back end; None is the real service.
    """
    script = FOLDER / "node_modules" / "@upstash" / "context7-mcp" / "dist" / "index.js"
    environment = {"OTEL_SDK_DISABLED": "true"}
    if api_url is not None:
        environment["CONTEXT7_API_URL"] = api_url
    return McpServer(
        name="context7",
        argv=(str(TOOLS / "node"), str(script), "--transport", "stdio"),
        environment=environment,
        tools=("resolve-library-id", "query-docs"),
    )
