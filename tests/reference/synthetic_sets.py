"""A published set that nobody published: nothing in it is wrong."""

from pathlib import Path

from llamatrix.reference.audit import audit
from llamatrix.reference.gpu import load_gpus
from llamatrix.reference.reference_set import ReferenceSet, load_set
from llamatrix.reference.rules.rule import Finding

MODELS = ("qwen35-27b", "small")
"""One whose hyper-parameters are known and one that only this file knows."""

CLEAN = """
schema_version = 1

[source]
title = "synthetic"
where = "nowhere"
date = "2026-01-01"
grade = "A"

[conditions]
gpu = "rtx-4090"
gpu_count = 1
engine = "llama.cpp"
ubatch_size = 512

[models]
qwen35-27b = { name = "Qwen", conditions = { quant = "Q4_K_XL" } }
small = { name = "Small", conditions = { quant = "Q8_0" } }

[setups.bench]
conditions = { program = "llama-bench" }

[setups.server]
conditions = { program = "llama-server" }
models = { small = { ctx_size = 4096 }, qwen35-27b = { ctx_size = 130560 } }

[tables.models]
title = "Models"
columns = [
  { id = "size", quantity = "model-size", unit = "GiB", step = 0.01 },
  { id = "total-params", quantity = "total-params", unit = "billions", step = 0.01 },
  { id = "active-params", quantity = "active-params", unit = "billions", step = 0.01 },
]
[tables.models.rows]
qwen35-27b = [16.40, 26.90, 26.90]
small = [6.93, 7.00, 7.00]

[tables.prefill]
title = "Prefill"
setup = "bench"
columns = [
  { id = "512", quantity = "prefill-rate", unit = "tokens/s", step = 1, conditions = { prompt_tokens = 512 } },
  { id = "2048", quantity = "prefill-rate", unit = "tokens/s", step = 1, conditions = { prompt_tokens = 2048 } },
]
[tables.prefill.rows]
qwen35-27b = [3000, 2950]
small = [9000, 8900]

[tables.generation]
title = "Generation"
setup = "bench"
columns = [{ id = "tg128", quantity = "generation-rate", unit = "tokens/s", step = 0.01, conditions = { gen_tokens = 128 } }]
[tables.generation.rows]
qwen35-27b = [45.88]
small = [110.00]

[tables.agent]
title = "Agent"
setup = "server"
columns = [
  { id = "p1/prefill-rate", quantity = "prefill-rate", unit = "tokens/s", step = 1, conditions = { task = "p1" } },
  { id = "p1/prompt-tokens", quantity = "prompt-tokens", unit = "tokens", step = 1, conditions = { task = "p1" } },
  { id = "p1/prompt-time", quantity = "prompt-time", unit = "ms", step = 10, conditions = { task = "p1" } },
  { id = "p1/generation-rate", quantity = "generation-rate", unit = "tokens/s", step = 0.1, conditions = { task = "p1" } },
  { id = "p1/generated-tokens", quantity = "generated-tokens", unit = "tokens", step = 1, conditions = { task = "p1" } },
  { id = "p1/generation-time", quantity = "generation-time", unit = "s", step = 0.01, conditions = { task = "p1" } },
  { id = "p1/reasoning-tokens", quantity = "reasoning-tokens", unit = "tokens", step = 1, conditions = { task = "p1" } },
  { id = "p1/api-calls", quantity = "api-calls", unit = "calls", step = 1, conditions = { task = "p1" } },
  { id = "p1/tool-calls", quantity = "tool-calls", unit = "calls", step = 1, conditions = { task = "p1" } },
  { id = "p1/correct-turn", quantity = "correct-turn", unit = "turns", step = 1, conditions = { task = "p1" } },
]
[tables.agent.rows]
qwen35-27b = [2474, 15043, 6080, 44.9, 2867, 63.91, 1000, 9, 7, 1]
small = [5000, 10000, 2000, 100.0, 2000, 20.00, 500, 5, 4, 2]

[tables.speed]
title = "Speed"
setup = "server"
columns = [{ id = "p1/prefill-rate", quantity = "prefill-rate", unit = "tokens/s", step = 10, conditions = { task = "p1" } }]
[tables.speed.rows]
qwen35-27b = [2470]

[tables.summary]
title = "Summary"
setup = "server"
columns = [
  { id = "generation-rate", quantity = "generation-rate", unit = "tokens/s", step = 1, rounding = "about" },
  { id = "vram", quantity = "vram", unit = "GB", step = 1, rounding = "about" },
  { id = "max-context", quantity = "max-context", unit = "tokens", step = 1000, rounding = "cut" },
]
[tables.summary.rows]
qwen35-27b = [45, 21, 130000]
small = [99, 9, 4000]

[tables.fit]
title = "Fit"
setup = "server"
columns = [{ id = "max-context", quantity = "max-context", unit = "tokens", step = 1 }]
[tables.fit.rows]
qwen35-27b = [130560]

[tables.tasks]
title = "Tasks"
columns = [
  { id = "solved", quantity = "tasks-solved", unit = "tasks", step = 1 },
  { id = "total", quantity = "tasks-total", unit = "tasks", step = 1 },
]
[tables.tasks.rows]
small = [19, 20]
"""


def changed(old: str, new: str) -> str:
    """The clean text with one place changed."""
    assert CLEAN.count(old) == 1
    return CLEAN.replace(old, new)


def loaded(text: str, folder: Path) -> ReferenceSet:
    path = folder / "synthetic.toml"
    path.write_text(text)
    return load_set(path, models=MODELS)


def audited(text: str, folder: Path) -> tuple[Finding, ...]:
    return audit(loaded(text, folder), load_gpus())
