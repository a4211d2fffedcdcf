"""OpenCode's configuration for a served model: provider, limits, nothing else."""

import json

_MAX_OUTPUT_TOKENS = 32_000
"""OpenCode's own limit on one answer."""


def opencode_config(*, url: str, key: str, name: str, context_tokens: int) -> str:
    """Return an `opencode.json`, known to work with OpenCode 1.3.2 and 1.18.33.

    Sampling is left to the server's own flags: `temperature` false keeps OpenCode
    from sending its own.
    """
    model = {
        "name": name,
        "tool_call": True,
        "reasoning": True,
        "temperature": False,
        "limit": {
            "context": context_tokens,
            "output": min(_MAX_OUTPUT_TOKENS, context_tokens // 2),
        },
    }
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "llamatrix",
        "options": {"baseURL": f"{url}/v1", "apiKey": "none"},
        "models": {key: model},
    }
    config = {
        "provider": {"llamatrix": provider},
        "model": f"llamatrix/{key}",
        "small_model": f"llamatrix/{key}",
    }
    return json.dumps(config, indent=2, ensure_ascii=False)
