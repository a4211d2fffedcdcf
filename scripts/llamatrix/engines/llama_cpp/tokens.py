"""Text to tokens by the served model's own vocabulary: llama-server's `/tokenize`."""

import msgspec

from llamatrix.web import Site


class _Tokens(msgspec.Struct, frozen=True):
    tokens: tuple[int, ...]


def tokenize(
    site: Site, text: str, *, timeout_s: float, add_special: bool = False
) -> tuple[int, ...]:
    """The numbers of a text's tokens; special ones written out in it are read as such.

    `add_special` puts the vocabulary's own beginning in front. NoAnswerError or
    WrongAnswerError where the server does not tell.
    """
    asked = {"content": text, "add_special": add_special, "parse_special": True}
    return site.post("/tokenize", asked, timeout_s=timeout_s).read(_Tokens).tokens
