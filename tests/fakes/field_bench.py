#!/usr/bin/env python3
"""A fake llama-bench with a fault reported by users; the file `way` beside it names it.

Its rows echo the request as the real program does, except for the fault: `banner`
(ggml-org/llama.cpp#15554), `cold` (#21282), `null` (#22854), `graphs` (#28404), and the
impossible rows of `with_fault`.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

WAY = Path(__file__).with_name("way").read_text().strip()
SPEED = 52.1 if "GGML_CUDA_DISABLE_GRAPHS" in os.environ else 58.5


def given(flag: str) -> str:
    return sys.argv[sys.argv.index(flag) + 1]


def sizes(flag: str) -> list[int]:
    return [int(size) for size in given(flag).split(",") if int(size)]


def row(n_prompt: int, n_gen: int) -> dict[str, Any]:
    tokens = n_prompt or n_gen
    speeds = [SPEED * (10 if n_prompt else 1)] * int(given("-r"))
    if WAY == "cold":
        speeds[0] *= 0.06
    return {
        "build_commit": "0c1e57098",
        "build_number": 0,
        "cpu_info": "some CPU",
        "gpu_info": "",
        "backends": "CPU",
        "model_filename": given("-m"),
        "model_type": "qwen35 27B Q4_K - Medium",
        "model_size": 17612029952,
        "model_n_params": 26895998464,
        "n_batch": int(given("-b")),
        "n_ubatch": int(given("-ub")),
        "n_threads": 2,
        "type_k": given("-ctk"),
        "type_v": given("-ctv"),
        "flash_attn": int(given("-fa")),
        "n_gpu_layers": -1,
        "n_prompt": n_prompt,
        "n_gen": n_gen,
        "n_depth": 0,
        "avg_ts": sum(speeds) / len(speeds),
        "stddev_ts": 0.1,
        "samples_ns": [round(tokens * 1e9 / speed) for speed in speeds],
        "samples_ts": speeds,
    }


def with_fault(good: dict[str, Any]) -> dict[str, Any]:
    """Return the row of the first test with the fault."""
    faults: dict[str, dict[str, Any]] = {
        "null": {"avg_ts": None, "stddev_ts": None, "samples_ns": [], "samples_ts": []},
        "zero": {"samples_ns": [0] * 4, "samples_ts": [0.0] * 4},
        "negative": {"samples_ns": [-5] * 3, "samples_ts": [-1.0] * 3},
        "few": {key: good[key][:1] for key in ("samples_ns", "samples_ts")},
        "uneven": {"samples_ns": good["samples_ns"][:2]},
        "many": {key: good[key] * 2 for key in ("samples_ns", "samples_ts")},
        "slow": {"samples_ts": [one / 2 for one in good["samples_ts"]]},
        "mean": {"avg_ts": good["avg_ts"] * 2},
        "model": {"model_filename": "another.gguf"},
        "cache": {"type_k": "f16"},
        "values": {"type_v": "q4_0"},
        "batch": {"n_batch": 512},
        "ubatch": {"n_ubatch": 64},
        "attention": {"flash_attn": 0},
        "depth": {"n_depth": 4096},
        "card": {"backends": "CUDA", "gpu_info": "NVIDIA H200"},
        "vulkan": {"backends": "Vulkan"},
    }
    return good | faults.get(WAY, {})


def main() -> None:
    if WAY == "banner":
        print("ggml_vulkan: Found 1 Vulkan devices:", flush=True)
        print("ggml_vulkan: 0 = AMD Radeon RX 580 Series (RADV POLARIS10)", flush=True)
    tests = [(size, 0) for size in sizes("-p")] + [(0, size) for size in sizes("-n")]
    for number, (n_prompt, n_gen) in enumerate(tests):
        made = row(n_prompt, n_gen)
        if WAY == "skips" and number == 1:
            continue
        if WAY == "twice" and number == 0:
            print(json.dumps(made), flush=True)
        if WAY == "strange" and number == 0:
            made = row(n_prompt + 1, n_gen)
        if WAY == "infinite" and number == 0:
            print(json.dumps(made).replace("[585", "[1e400, 585", 1), flush=True)
        else:
            print(json.dumps(with_fault(made) if number == 0 else made), flush=True)
    if WAY == "crash-at-the-end":
        print("CUDA error: an illegal memory access was encountered", file=sys.stderr)
        sys.stderr.flush()
        os.abort()


main()
