"""OpenCode's configuration for a served model: provider, limits, nothing else."""

import json

from llamatrix.engines.llama_cpp.server import Serving

_MOST_OUTPUT_TOKENS = 32_000
"""OpenCode's own limit on what one answer may take."""


def opencode_config(serving: Serving) -> str:
    """JSON for `opencode.json`: known to work with OpenCode 1.3.2 and 1.18.33.

    Sampling is left to the server's own flags: `temperature` false keeps OpenCode
    from sending its own.
    """
    key = serving.launch.alias
    context_tokens = serving.props.context_tokens
    model = {
        "name": serving.launch.model.name,
        "tool_call": True,
        "reasoning": True,
        "temperature": False,
        "limit": {
            "context": context_tokens,
            "output": min(_MOST_OUTPUT_TOKENS, context_tokens // 2),
        },
    }
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "llamatrix",
        "options": {"baseURL": f"{serving.url}/v1", "apiKey": "none"},
        "models": {key: model},
    }
    config = {
        "provider": {"llamatrix": provider},
        "model": f"llamatrix/{key}",
        "small_model": f"llamatrix/{key}",
    }
    return json.dumps(config, indent=2, ensure_ascii=False)
