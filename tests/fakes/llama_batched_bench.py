"""A fake llama-batched-bench: rows like the real one's, 1000 and 50 tokens/s a sequence.

`LLAMATRIX_FAKE_BATCHED` is a way to fail: `lost` and `lost-two` leave out the last rows
and end well, `shared` shares the prompt, `memory` ends without memory.
"""

import json
import os
import sys


def numbers(flag: str) -> list[int]:
    return [int(part) for part in value(flag).split(",")]


def value(flag: str) -> str:
    return sys.argv[sys.argv.index(flag) + 1]


def main() -> None:
    way = os.environ.get("LLAMATRIX_FAKE_BATCHED", "")
    if "--version" in sys.argv:
        print("version: 8643 (f49e91787)", file=sys.stderr)
        return
    if way == "memory":
        sys.exit("ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer")
    rows = [
        {
            "n_kv_max": int(value("--ctx-size")),
            "n_batch": int(value("--batch-size")),
            "n_ubatch": int(value("--ubatch-size")),
            "flash_attn": int(value("--flash-attn") == "on"),
            "is_pp_shared": int(way == "shared"),
            "n_gpu_layers": -1,
            "n_threads": 2,
            "n_threads_batch": 2,
            "pp": prompt,
            "tg": answer,
            "pl": sequences,
            "n_kv": sequences * (prompt + answer),
            "t_pp": prompt / 1000,
            "speed_pp": 1000.0 * sequences,
            "t_tg": answer / 50,
            "speed_tg": 50.0 * sequences,
        }
        for prompt in numbers("-npp")
        for answer in numbers("-ntg")
        for sequences in numbers("-npl")
    ]
    lost = {"lost": 1, "lost-two": 2}.get(way, 0)
    for row in rows[: len(rows) - lost]:
        print(json.dumps(row))


main()
