"""The conditions of our records in the words of reference sets."""

import itertools
from collections.abc import Mapping, Sequence

import msgspec

from llamatrix.agents import NAMES
from llamatrix.engines.outcome import Done
from llamatrix.records.speed_record import SpeedRecord
from llamatrix.records.trial_record import TrialRecord
from llamatrix.reference.conditions import Conditions, merge_conditions
from llamatrix.reference.gpu import Gpu, gpu_key
from llamatrix.report.metrics import cards_of, on_a_card, served_argv

CORRECTNESS = "the task's checks"
NO_GPU = "none"
"""The `gpu` of a CPU build, so that it is never taken for a card that nobody named."""
_ALL_LAYERS = 99


def conditions_of(record: SpeedRecord, gpus: Mapping[str, Gpu]) -> Conditions:
    """All that a record says of how it was measured; `gpus` are those of `gpus.toml`."""
    argv, outcome = record.process.argv, record.outcome
    flags = argv[3:] if argv[1:2] == ("-m",) else argv[1:]
    conditions = Conditions(
        program="llama-bench",
        prompt_tokens=record.test.n_prompt or None,
        gen_tokens=record.test.n_gen or None,
        depth_tokens=record.test.n_depth,
        streams=record.test.concurrency,
        speculative=False,
        cache_type_k=after(argv, "-ctk"),
        cache_type_v=after(argv, "-ctv"),
        flash_attn={"1": True, "0": False}.get(after(argv, "-fa") or ""),
        batch_size=number_after(argv, "-b"),
        ubatch_size=number_after(argv, "-ub"),
        offload=_offload_text(argv) if on_a_card(record) else None,
        flags=" ".join(flags),
        repetitions=outcome.result.repetitions if isinstance(outcome, Done) else None,
    )
    return merge_conditions(_common_conditions(record, gpus), conditions)


def trial_conditions(record: TrialRecord, gpus: Mapping[str, Gpu]) -> Conditions:
    """All that a trial's record says of how it was measured, its task apart."""
    argv, served = served_argv(record), record.served
    offload = None
    if on_a_card(record):
        offload = _offload_text(argv)
        if served and served.spilled:
            offload = "not full"
    template = served.template if served else None
    wishes = msgspec.json.decode(
        after(argv, "--chat-template-kwargs") or "{}", type=dict[str, object]
    )
    thinking = wishes.get("enable_thinking")
    conditions = Conditions(
        program="llama-server",
        streams=1,
        speculative=False,
        cache_type_k=after(argv, "--cache-type-k"),
        cache_type_v=after(argv, "--cache-type-v"),
        flash_attn={"on": True, "off": False}.get(after(argv, "--flash-attn") or ""),
        batch_size=number_after(argv, "--batch-size"),
        ubatch_size=number_after(argv, "--ubatch-size"),
        ctx_size=record.cell.context_tokens,
        offload=offload,
        flags=" ".join(argv[1:]),
        slots=number_after(argv, "--parallel"),
        client=f"{NAMES[record.agent_kind]} {record.agent_version} with Context7 "
        f"{record.context7}",
        chat_template=template.template if template else None,
        correctness=CORRECTNESS,
        context_shift=_switch(argv, "--context-shift", "--no-context-shift"),
        thinking=thinking if isinstance(thinking, bool) else None,
        temp=_fraction_after(argv, "--temp"),
        top_k=number_after(argv, "--top-k"),
        top_p=_fraction_after(argv, "--top-p"),
        min_p=_fraction_after(argv, "--min-p"),
    )
    return merge_conditions(_common_conditions(record, gpus), conditions)


def _common_conditions(
    record: SpeedRecord | TrialRecord, gpus: Mapping[str, Gpu]
) -> Conditions:
    """Machine, engine and weights, whatever was measured with them."""
    cards = cards_of(record)
    card = cards[0] if cards else None
    measured = record if isinstance(record, SpeedRecord) else record.served
    weights = measured.weights if measured else None
    real = weights is None or not weights.kind.synthetic
    build = record.build
    number = f" (b{build.build_number})" if build.build_number else ""
    return Conditions(
        gpu=gpu_key(card.name, gpus) if card else NO_GPU,
        gpu_count=len(cards) or None,
        engine="llama.cpp",
        quant=record.cell.quant if real else None,
        weights=weights.kind.value if weights else None,
        engine_version=f"{build.commit[:9]}{number}",
        build_flags=" ".join(
            f"-D{key}={value}"
            for key, value in build.cmake.items()
            if key.startswith("GGML_")
        ),
        file=weights.file if weights else None,
        file_sha256=weights.sha256 if weights else None,
        power_cap_w=card.power_cap_w if card else None,
        driver=card.driver if card else None,
        os=record.host.kernel,
        host=f"{record.host.cpu_model}, {record.host.physical_cores} cores",
        measured_on=record.measured_at[:10],
    )


def after(argv: tuple[str, ...], *flags: str) -> str | None:
    """Return the value behind the first of the flags, which are names of one setting."""
    values = (value for key, value in itertools.pairwise(argv) if key in flags)
    return next(values, None)


def number_after(argv: tuple[str, ...], *flags: str) -> int | None:
    value = after(argv, *flags)
    return int(value) if value else None


def _fraction_after(argv: tuple[str, ...], flag: str) -> float | None:
    value = after(argv, flag)
    return float(value) if value else None


def _switch(argv: Sequence[str], on: str, off: str) -> bool | None:
    return True if on in argv else False if off in argv else None


def _offload_text(argv: tuple[str, ...]) -> str:
    """llama.cpp's programs keep everything on the GPU unless told otherwise."""
    layers = number_after(argv, "-ngl", "--n-gpu-layers")
    experts = number_after(argv, "-ncmoe", "--n-cpu-moe")
    tensors = after(argv, "-ot", "--override-tensor") or ""
    parts = {
        f"{layers} layers on the GPU": layers is not None and 0 <= layers < _ALL_LAYERS,
        f"experts of {experts} layers on the CPU": experts,
        f"tensors on the CPU ({tensors})": "CPU" in tensors,
        "KV cache in host memory": not {"-nkvo", "--no-kv-offload"}.isdisjoint(argv),
    }
    return ", ".join(text for text, holds in parts.items() if holds) or "full"
