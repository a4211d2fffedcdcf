"""A fake llama-bench: it prints rows like the real one, and fails on demand.

`LLAMATRIX_FAKE_BENCH` is a JSON object: `fail` maps a prompt size to a failure (`crash`,
`memory`, `loading-memory`, `buried-memory`, `silent-memory`, `context`, `hang`,
`garbage`), `commit` is the build it claims, `child` starts a process that would outlive
it, `delay_s` delays every test, `speed` is a factor on every speed, `noise` varies it by
0.05 % between processes, and `slow_while` is a file whose presence halves it. `pins` has
the same keys for single pins: their programs have the pin's name in `FAKE_PIN`, and their
speed varies by 0.05 % between processes.
"""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path


def numbers(flag: str) -> list[int]:
    text = sys.argv[sys.argv.index(flag) + 1]
    return [int(part) for part in text.split(",") if int(part)]


def row(n_prompt: int, n_gen: int, commit: str, speed: float = 1.0) -> str:
    repetitions = int(sys.argv[sys.argv.index("-r") + 1])
    tokens = n_prompt or n_gen
    each_ns = round(tokens * 1_000_000 / speed)
    samples_ns = [each_ns + 1000 * i for i in range(repetitions)]
    samples_ts = [tokens * 1e9 / ns for ns in samples_ns]
    return json.dumps(
        {
            "build_commit": commit,
            "build_number": 1,
            "backends": json.loads(os.environ.get("LLAMATRIX_FAKE_BENCH", "{}")).get(
                "backends", "CPU"
            ),
            "model_filename": sys.argv[sys.argv.index("-m") + 1],
            "model_type": "qwen35 27B Q4_K - Medium",
            "model_size": 17612029952,
            "model_n_params": 26895998464,
            "n_threads": 2,
            "n_prompt": n_prompt,
            "n_gen": n_gen,
            "avg_ts": sum(samples_ts) / repetitions,
            "stddev_ts": 0.5,
            "samples_ns": samples_ns,
            "samples_ts": samples_ts,
        }
    )


def fail(way: str) -> None:
    if way == "crash":
        print("GGML_ASSERT(false) failed", file=sys.stderr)
        os.abort()
    if way == "memory":
        sys.exit("ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer")
    if way == "buried-memory":
        print("CUDA error: out of memory", file=sys.stderr)
        for frame in range(40):
            print(f"#{frame} 0x00 in ggml_abort", file=sys.stderr)
        os.abort()
    if way == "context":
        sys.exit("main: error: failed to create context with model 'weights.gguf'")
    if way == "silent-memory":
        if "-v" in sys.argv:
            print("failed to initialize the context: std::bad_alloc", file=sys.stderr)
        sys.exit("main: error: failed to create context with model 'weights.gguf'")
    if way == "hang":
        time.sleep(600)
    if way == "garbage":
        print('{"build_commit": "half a li', flush=True)


def say(step: str) -> None:
    print(f"llama-bench: {step}", file=sys.stderr, flush=True)


def main() -> None:
    wishes = json.loads(os.environ.get("LLAMATRIX_FAKE_BENCH", "{}"))
    wishes |= wishes.get("pins", {}).get(os.environ.get("FAKE_PIN"), {})
    commit = wishes.get("commit", os.environ.get("FAKE_COMMIT", "0c1e57098"))
    speed = wishes.get("speed", 1.0)
    if "FAKE_PIN" in os.environ or wishes.get("noise"):
        speed *= random.uniform(0.9995, 1.0005)
    if Path(wishes.get("slow_while", "/dev/null/nowhere")).exists():
        speed /= 2
    if wishes.get("child"):
        subprocess.Popen(["sleep", "600"])
    tests = [(size, 0) for size in numbers("-p")] + [
        (0, size) for size in numbers("-n")
    ]
    for number, (n_prompt, n_gen) in enumerate(tests, start=1):
        way = wishes.get("fail", {}).get(str(n_prompt or n_gen))
        say(f"benchmark {number}/{len(tests)}: starting")
        if way == "loading-memory":
            sys.exit("cudaMalloc failed: out of memory")
        kind = "prompt" if n_prompt else "generation"
        say(f"benchmark {number}/{len(tests)}: {kind} run 1/3")
        time.sleep(wishes.get("delay_s", 0))
        if wishes.get("busy") and "100000" in sys.argv:
            time.sleep(600)
        if way:
            fail(way)
        else:
            print(row(n_prompt, n_gen, commit, speed), flush=True)


main()
