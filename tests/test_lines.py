"""Lines of a stream: whole, bounded, and in linear time."""

from llamatrix.lines import LineSplitter


def fed(*chunks: bytes, longest_bytes: int = 100) -> tuple[list[bytes], bytes]:
    splitter = LineSplitter(longest_bytes=longest_bytes)
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    return lines, splitter.rest()


def test_lines_are_complete_wherever_chunks_are_cut() -> None:
    assert fed(b"a", b"b\nc\n\nd", b"e") == ([b"ab", b"c", b""], b"de")
    assert fed(b"a\nb", b"", b"c") == ([b"a", b"b"], b"c")


def test_long_line_is_truncated_and_the_next_is_complete() -> None:
    lines, rest = fed(b"123456", b"789\n1234567\nab\n", b"x" * 9, longest_bytes=4)
    assert lines == [b"1234", b"1234", b"ab"]
    assert rest == b"xxxx"


def test_stream_without_newlines_is_bounded() -> None:
    """In quadratic time this takes minutes, and the whole stream in memory."""
    chunk = bytes(1 << 16)
    lines, rest = fed(*(chunk for _ in range(1 << 15)), longest_bytes=1 << 20)
    assert lines == []
    assert len(rest) == 1 << 20
