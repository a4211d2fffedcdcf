"""A fake llama-server: its port, its answers and its failures.

`LLAMATRIX_FAKE_LLAMA_SERVER` selects a failure mode; without it the server works.
`FAKE_COMMIT` is the build it claims. `LLAMATRIX_FAKE_REPLAY` is a JSON object for
completions: `speed` is a factor on its speeds, `forgets` disables the prompt cache, `fail`
maps the number of a completion to a failure (`die`, `refuse`, `hang`, `short`), `starts`
is whether it starts at all, `mode` is a failure mode, `writes` is what each token is, and
`day` ends every prompt. `pins` has the same keys for the program with that name in
`FAKE_PIN`; its speeds vary by 0.05 % between processes.
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

MODE = os.environ.get("LLAMATRIX_FAKE_LLAMA_SERVER", "")
COMMIT = os.environ.get("FAKE_COMMIT", "f49e91787")
STATE = Path(os.environ.get("LLAMATRIX_FAKE_LLAMA_STATE", "/nonexistent"))
WISHES = json.loads(os.environ.get("LLAMATRIX_FAKE_REPLAY", "{}"))
WISHES |= WISHES.get("pins", {}).get(os.environ.get("FAKE_PIN"), {})
PREFILL_TPS, DECODE_TPS = 1000.0, 50.0
MOST_UNDRAFTED = 2
if "FAKE_PIN" in os.environ:
    PREFILL_TPS *= random.uniform(0.9995, 1.0005)
    DECODE_TPS *= random.uniform(0.9995, 1.0005)
HELP = """\
--port PORT     port to listen on
--fit [on|off]  whether to adjust unset arguments
--no-webui      leave out the web page
-lv N, --log-verbosity N
    - 3: info
    - 4: trace (more info)
"""


PORT_TAKEN = "couldn't bind HTTP server socket, exiting"


class Model:
    """The model and settings that the command line requests."""

    def __init__(self, argv: list[str]) -> None:
        self.argv = argv
        self.asked_health = 0
        self.requests = 0
        self.too_short = False
        self.completions = 0
        self.cached: list[int] = []

    def flag(self, name: str, default: str = "") -> str:
        if name not in self.argv:
            return default
        return self.argv[self.argv.index(name) + 1]

    def cache_type(self) -> str:
        return "f16" if MODE == "other-cache" else self.flag("--cache-type-k")

    def template(self) -> str:
        file = self.flag("--chat-template-file")
        text = Path(file).read_text() if file else "embedded"
        return "another" if MODE == "other-template" else text.removesuffix("\n")

    def props(self) -> dict[str, object]:
        slots = int(self.flag("--parallel"))
        context = int(self.flag("--ctx-size", "4096")) // slots
        if MODE == "smaller-context":
            context //= 2
        return {
            "default_generation_settings": {"n_ctx": -(-context // 256) * 256},
            "total_slots": slots + (MODE == "more-slots"),
            "model_alias": "x" if MODE == "other-alias" else self.flag("--alias"),
            "chat_template": self.template(),
            "build_info": f"b8643-{COMMIT}",
            "some_new_key": True,
        }

    def complete(self, asked: dict[str, object]) -> tuple[int, object]:
        """Prompts are numbers; the prefix shared with the last prompt is cached."""
        self.completions += 1
        way = WISHES.get("fail", {}).get(str(self.completions))
        if way == "die":
            log("GGML_ASSERT(false) failed")
            os._exit(134)
        if way == "refuse":
            return 500, {"error": {"message": "cannot", "code": 500}}
        if way == "hang":
            time.sleep(3600)
        prompt, n_predict = asked["prompt"], asked["n_predict"]
        if isinstance(prompt, str):
            prompt = list(prompt.encode())
        assert isinstance(prompt, list)
        assert isinstance(n_predict, int)
        cached = asked.get("cache_prompt", True) and not WISHES.get("forgets")
        known = common(self.cached, prompt) if cached else 0
        self.cached = prompt
        prompt_n, speed = max(1, len(prompt) - known), WISHES.get("speed", 1.0)
        self.too_short = n_predict <= MOST_UNDRAFTED  # the budget leaves no draft
        predicted_n = n_predict - (way == "short")
        timings = {
            "cache_n": len(prompt) - prompt_n,
            "prompt_n": prompt_n,
            "prompt_ms": 1000 * prompt_n / PREFILL_TPS / speed,
            "predicted_n": predicted_n,
            "predicted_ms": 1000 * predicted_n / DECODE_TPS / speed,
        }
        content = WISHES.get("writes", "x") * predicted_n
        return 200, {"content": content, "timings": timings}

    def facts(self, path: str) -> object:
        if path == "/slots":
            return [{"id": 0, "speculative": self.drafts()}]
        return {"data": [{"meta": {"n_params": 4000, "size": 2000}}]}

    def drafts(self) -> bool:
        return "--spec-type" in self.argv and MODE != "silent-draft"

    def metrics(self) -> str:
        done = self.requests
        counters = {
            "prompt_tokens_total": 100 * done,
            "prompt_seconds_total": 0.5 * done,
            "tokens_predicted_total": 20 * done,
            "tokens_predicted_seconds_total": 2 * done,
        }
        if self.drafts() and not self.too_short:
            counters |= {
                "n_decode_total": 8 * done,
                "spec_decode_num_drafts_total": 5 * done,
                "spec_decode_num_draft_tokens_total": 10 * done,
                "spec_decode_num_accepted_tokens_total": 7 * done,
                'spec_decode_num_accepted_tokens_per_pos_total{position="0"}': 4 * done,
                'spec_decode_num_accepted_tokens_per_pos_total{position="1"}': 3 * done,
            }
        gauges = {"prompt_tokens_seconds": 1e9, "predicted_tokens_seconds": 1e9}
        lines = []
        for kind, values in (("counter", counters), ("gauge", gauges)):
            for name, value in values.items():
                family = name.partition("{")[0]
                lines.append(f"# HELP llamacpp:{family} one of the {kind}s")
                lines.append(f"# TYPE llamacpp:{family} {kind}")
                lines.append(f"llamacpp:{name} {value}")
        return "\n".join(lines) + "\n"


def common(one: list[int], other: list[int]) -> int:
    """Return the length of the common prefix."""
    pairs = zip(one, other, strict=False)
    return next(
        (i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other))
    )


def log(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def die(*lines: str, code: int = 1) -> NoReturn:
    for line in lines:
        log(line)
    sys.exit(code)


def handler(model: Model) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self, status: int, body: object) -> None:
            text = body if isinstance(body, str) else json.dumps(body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def do_GET(self) -> None:
            status, body = got(model, self.path)
            self.answer(status, body)

        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            status, body = posted(model, self.path, json.loads(self.rfile.read(size)))
            self.answer(status, body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def got(model: Model, path: str) -> tuple[int, object]:
    match path:
        case "/health":
            model.asked_health += 1
            if MODE == "never-ready" or model.asked_health == 1:
                return 503, {"error": {"message": "Loading model", "code": 503}}
            return 200, {"status": "ok"}
        case "/props":
            return 200, "not JSON" if MODE == "odd-props" else model.props()
        case "/slots" | "/v1/models":
            return 200, model.facts(path)
        case "/metrics" if "--metrics" in model.argv:
            return 200, model.metrics()
        case _:
            return 501, {"error": {"message": "not supported", "code": 501}}


def posted(model: Model, path: str, request: dict[str, Any]) -> tuple[int, object]:
    model.requests += 1
    if MODE == "dies-on-request":
        os._exit(1)
    if MODE == "slow-answer":
        (STATE / "asked").touch()
        time.sleep(3600)
    if path == "/apply-template":
        digest = hashlib.sha256(json.dumps(request).encode()).hexdigest()
        said = "".join(str(one.get("content")) for one in request.get("messages", ()))
        template = hashlib.sha256(model.template().encode()).hexdigest()
        end = f"{template[:4]}{WISHES.get('day', '')}"
        return 200, {"prompt": f"{said}<{digest[:8]}>{end}"}
    if path == "/tokenize":
        return 200, {"tokens": list(request["content"].encode())}
    if path == "/completion" and "prompt" in request:
        status, body = model.complete(request)
        streamed = request.get("stream") and status == 200
        return status, f"data: {json.dumps(body)}\n\n" if streamed else body
    message = {"role": "assistant", "content": "x"}
    return 200, {"choices": [{"message": message, "finish_reason": "stop"}]}


LAST_WORDS = {
    "weights-missing": ["common_init_from_params: failed to load model 'x.gguf'"],
    "weights-cut": [
        "data is not within the file bounds, model is corrupted or incomplete"
    ],
    "template-broken": [
        "common_chat_templates_init: failed to initialize chat template"
    ],
    "template-refused": [
        "error: the supplied chat template is not supported: {% if %}",
        "",
        "{% endif %}",
    ],
    "context-refused": ["failed to create context with model 'x.gguf'"],
    "silent-death": ["some last words"],
    "port-taken": [PORT_TAKEN],
}
"""What real servers printed before they died."""


def start_or_die() -> None:
    if not WISHES.get("starts", True):
        die("some last words")
    mode = WISHES.get("mode", MODE)
    if mode in LAST_WORDS:
        die(*LAST_WORDS[mode])
    match mode:
        case "context-crash":
            log("llama_init_from_model: failed to allocate buffer for kv cache")
            os.kill(os.getpid(), signal.SIGSEGV)
        case "port-taken-once" if not (STATE / "tried").exists():
            (STATE / "tried").touch()
            die(PORT_TAKEN)
        case "hungry":
            hoard = bytearray(256 * 2**20)
            hoard[::4096] = b"x" * len(hoard[::4096])
            time.sleep(3600)
        case _:
            return


def main() -> None:
    model = Model(sys.argv[1:])
    if "--help" in model.argv:
        sys.stdout.write(HELP)
        return
    if variables := [key for key in os.environ if key.startswith("LLAMA_")]:
        die(f"error: acts on its environment: {variables}")
    start_or_die()
    address = (model.flag("--host"), int(model.flag("--port")))
    try:
        server = ThreadingHTTPServer(address, handler(model))
    except OSError:
        die(PORT_TAKEN)
    server.daemon_threads = True
    log(
        "llama_kv_cache: size =    1.06 MiB (  4096 cells,   1 layers,  1/1 seqs), "
        f"K ({model.cache_type()}):    0.53 MiB, V ({model.cache_type()}):    0.53 MiB"
    )
    if MODE == "silent-draft":
        log("loading draft model '/home/someone/models/draft.gguf'")
        log("the target and draft vocabs are not compatible")
    for token, text in ((2, "</s>"), (7, "<eot>"), (2, "</s>")):
        log(f"print_info: EOG token             = {token} '{text}'")
    if MODE == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(3600)"]
        )
        (STATE / "child").write_text(str(child.pid))
    elif MODE == "second-term":
        left = iter([False, True])

        def on_term(*_: object) -> None:
            if next(left):
                time.sleep(0.6)  # it exits by itself
                log("asked a second time")
                os._exit(1)

        signal.signal(signal.SIGTERM, on_term)
    else:
        signal.signal(
            signal.SIGTERM,
            lambda *_: threading.Thread(target=server.shutdown).start(),
        )
    server.serve_forever(poll_interval=0.01)
    log("cleaning up before exit...")


if __name__ == "__main__":
    main()
