"""Synthetic and captured recordings, and a fake server to replay them on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from tests.engines.llama_cpp.conftest import SOON
from tests.shipped import CAPTURED, ROOT

from llamatrix.config.load import load_matrix
from llamatrix.engines.llama_cpp.server import Serving, running
from llamatrix.engines.protocol import Launch
from llamatrix.proxy.call import Call, CallKind

SESSION = CAPTURED / "session" / "1.18.33"


def call(index: int, kind: CallKind = CallKind.MAIN, **known: object) -> Call:
    said = {
        "index": index,
        "kind": kind,
        "path": "/v1/chat/completions",
        "begun_s": float(index),
        "ended_s": index + 0.5,
        "request_bytes": 1,
        "request_sha256": "0",
        "answer_bytes": 1,
        "answer_sha256": "0",
        "generated_tokens": 5,
        **known,
    }
    return msgspec.convert(said, type=Call)


def record(folder: Path, *calls: Call, says: str = "word ") -> Path:
    """A recording in which the conversation grows from call to call."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [msgspec.json.encode(one) + b"\n" for one in calls]
    (folder / "calls.jsonl").write_bytes(b"".join(lines))
    for one in calls:
        message = {"role": "user", "content": says * one.index}
        body = msgspec.json.encode({"messages": [message]})
        (folder / f"{one.index:04}.request.json").write_bytes(body)
    return folder


@contextmanager
def fake_serving(
    fake_program: Callable[[str, str], Path], folder: Path, *, ctx_size: int = 16384
) -> Iterator[Serving]:
    matrix = load_matrix(ROOT / "matrix.toml")
    model = matrix.models["gemma4-31b"]
    launch = Launch(
        program=fake_program("llama-server", "llama_server.py"),
        weights=folder / "weights.gguf",
        alias="gemma4-31b",
        model=msgspec.structs.replace(model, ctx_size=ctx_size),
        server=matrix.servers["smoke"],
    )
    with running(launch, log=folder / "server.log", timeouts=SOON) as serving:
        yield serving
