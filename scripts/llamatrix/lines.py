"""Cuts what a program writes into lines, whatever it writes."""

LONGEST_LINE_BYTES = 8 << 20


class LineSplitter:
    """Cuts a byte stream into lines, in linear time and bounded memory.

    Of a line longer than `longest_bytes` the rest is dropped.
    """

    def __init__(self, *, longest_bytes: int = LONGEST_LINE_BYTES) -> None:
        self._longest_bytes = longest_bytes
        self._parts: list[bytes] = []
        self._bytes = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes; return the lines that they end.

        No bytes are the stream's end, which ends the last line as well.
        """
        if not chunk:
            return [rest] if (rest := self.rest()) else []
        first, *others = chunk.split(b"\n")
        self._add(first)
        if not others:
            return []
        whole = [self.rest(), *(line[: self._longest_bytes] for line in others[:-1])]
        self._add(others[-1])
        return whole

    def rest(self) -> bytes:
        """Take what came after the last line end."""
        line = b"".join(self._parts)
        self._parts, self._bytes = [], 0
        return line

    def _add(self, part: bytes) -> None:
        kept = part[: self._longest_bytes - self._bytes]
        if kept:
            self._parts.append(kept)
            self._bytes += len(kept)
