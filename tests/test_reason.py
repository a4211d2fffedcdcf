"""The reason shown is the first error, not the last line."""

import pytest

from llamatrix.reason import first_error, telling_lines


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", ""),
        ("},\n", ""),
        ("INFO starting\nall is well\n}", "all is well"),
        (
            'NotFoundError: NotFoundError\n data: {\n  message: "Not found: x",\n},',
            "NotFoundError: NotFoundError Not found: x",
        ),
        (
            "INFO loading\nERROR service=x failed\n    at run (file:1:2)\n    at y (z:3)",
            "ERROR service=x failed",
        ),
        (
            'Traceback (most recent call last):\n  File "error.py", line 1\nE1Error: no',
            "E1Error: no",
        ),
        (
            "\x1b[31mCUDA error: out of memory\x1b[0m\n#1 0x00 in ggml_abort\n#2 0x01",
            "CUDA error: out of memory",
        ),
        ("0 errors\nfatal: not a repository", "fatal: not a repository"),
        ('Error: x {\n  message: "x",\n}', "Error: x {"),
        ("GGML_ASSERT(false) failed\nerror: later", "GGML_ASSERT(false) failed"),
    ],
)
def test_the_first_error_is_found(text: str, reason: str) -> None:
    assert first_error(text.splitlines()) == reason


def test_error_before_the_last_lines_is_put_in_front() -> None:
    lines = ["TypeError: the cause", *(f"    at frame ({n}:1)" for n in range(50))]
    kept = telling_lines(lines, most=20)
    assert len(kept) == 20
    assert kept[0] == "TypeError: the cause"
    assert kept[-1] == lines[-1]
