"""The sizes at which a context is filled and looked at."""

from collections.abc import Iterator

SMALLEST_TOKENS = 512
"""The small context that all others are held against."""
GENERATED_TOKENS = 128
"""Generated at each rung, the last of its tokens."""
_ENDLESS = 2**40
_NEAR = 0.9
"""A rung that fills more of the largest than this would say what that one says."""


def rungs(largest_tokens: int) -> tuple[int, ...]:
    """512, 768, 1024, 1536 … and the largest itself.

    Between powers of two lies one more: with a cached prompt it costs its generation.
    """
    below = [one for one in _steps() if one <= _NEAR * largest_tokens]
    return (*below, largest_tokens)


def _steps() -> Iterator[int]:
    size = SMALLEST_TOKENS
    while size < _ENDLESS:
        yield size
        yield size * 3 // 2
        size *= 2
