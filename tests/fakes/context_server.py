"""A fake llama-server whose speed and memory depend on its context.

`LLAMATRIX_FAKE_CONTEXT` is a JSON object: `slow_ms` (extra time of each generated token
for a thousand tokens of context), `load_most`, `prefill_most`, `generation_most` (most
tokens before memory is refused, by stage), `dies_at` (tokens), `hangs_at`, `breaks_at`,
`stutters_at`, `hoards_at`, `spills_at` (a context size), `splits` (of the graph),
`forgets` (code words), `silent_from` (number of the question, from 1) and `commit`.
"""

import json
import os
import re
import sys
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fakes import llama_server
from tests.fakes.llama_server import Model, die, log

WISHES = json.loads(os.environ.get("LLAMATRIX_FAKE_CONTEXT", "{}"))
NEVER = 10**9
OUT_OF_MEMORY = "ggml_cuda_host_malloc: CUDA error: out of memory"
_POST = llama_server.posted
_HANDLER = llama_server.handler


def wish(name: str) -> int:
    return int(WISHES.get(name, NEVER))


class Cache:
    tokens = 0
    hoard = b""
    questions = 0


def timings(prompt: int, generated: int) -> dict[str, object]:
    cached = min(Cache.tokens, prompt - 1)
    Cache.tokens = prompt
    each_ms = 10 + WISHES.get("slow_ms", 0) * prompt / 1000
    if prompt + generated == wish("stutters_at"):
        each_ms *= 5
    return {
        "cache_n": cached,
        "prompt_n": prompt - cached,
        "prompt_ms": (prompt - cached) * 0.5,
        "predicted_n": generated,
        "predicted_ms": (generated - 1) * each_ms,
    }


def stream(handler: BaseHTTPRequestHandler, request: dict[str, object]) -> None:
    prompt = request["prompt"]
    assert isinstance(prompt, list)
    assert request["logit_bias"] == [[2, False], [7, False]]
    generated = int(str(request["n_predict"]))
    filled = len(prompt) + generated
    if filled >= wish("prefill_most"):
        log(OUT_OF_MEMORY)
        os._exit(1)
    if filled >= wish("hoards_at"):
        Cache.hoard = b"x" * 2**28
    if filled >= wish("dies_at"):
        log("some last words")
        os._exit(3)
    if filled >= wish("hangs_at"):
        llama_server.STATE.joinpath("asked").write_text(str(os.getpid()))
        time.sleep(3600)
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(b'data: {"content": "a", "stop": false}\n\n')
    handler.wfile.flush()
    if filled >= wish("breaks_at"):
        return
    if filled >= wish("generation_most"):
        log(OUT_OF_MEMORY)
        os._exit(1)
    last = {"content": "", "stop": True, "timings": timings(len(prompt), generated)}
    handler.wfile.write(f"data: {json.dumps(last)}\n\n".encode())


def posted(model: Model, path: str, request: object) -> tuple[int, object]:
    assert isinstance(request, dict)
    match path:
        case "/tokenize":
            return 200, {"tokens": [ord(letter) for letter in request["content"]]}
        case "/v1/chat/completions":
            Cache.questions += 1
            if Cache.questions >= wish("silent_from"):
                return 500, {"error": {"code": 500}}
            return 200, recalled(str(request["messages"][0]["content"]))
        case _:
            return _POST(model, path, request)


def recalled(text: str) -> dict[str, object]:
    """Return the answer of a model that recalls everything but `forgets`."""
    found = re.findall(r"the code word of the (\S+) is (\S+)\.", text)
    lines = [
        f"{name}: {'something' if word in WISHES.get('forgets', []) else word}"
        for name, word in found
    ]
    message = {"role": "assistant", "content": "\n".join(lines)}
    return {"choices": [{"message": message}], "usage": {"prompt_tokens": len(text)}}


class Props(Model):
    def props(self) -> dict[str, object]:
        commit = WISHES.get("commit", "f49e91787")
        return {**super().props(), "build_info": f"b8643-{commit}"}


def handler(model: Model) -> type[BaseHTTPRequestHandler]:
    base = _HANDLER(model)
    others = vars(base)["do_POST"]

    def do_post(self: BaseHTTPRequestHandler) -> None:
        if self.path != "/completion":
            others(self)
            return
        size = int(self.headers["Content-Length"])
        stream(self, json.loads(self.rfile.read(size)))

    return type("Handler", (base,), {"do_POST": do_post})


def main() -> None:
    model = Props(sys.argv[1:])
    context = int(model.flag("--ctx-size", "0"))
    if context >= wish("load_most"):
        log("llama_init_from_model: failed to allocate buffer for kv cache")
        weights = model.flag("--model", "")
        die(f"failed to create context with model '{weights}'")
    if context >= wish("spills_at"):
        log("load_tensors: offloaded 12/65 layers to GPU")
    if "splits" in WISHES:
        log(f"llama_context: graph splits = {WISHES['splits']}")
    llama_server.Model = Props  # type: ignore[misc]
    llama_server.posted = posted
    llama_server.handler = handler
    llama_server.main()


if __name__ == "__main__":
    main()
