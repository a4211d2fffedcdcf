"""The conditions of our records in the words of reference sets."""

import itertools
from collections.abc import Mapping

from llamatrix.measure.llama_bench import parse_row
from llamatrix.measure.outcome import Done
from llamatrix.plan.matrix import Backend, WeightsKind
from llamatrix.record.record import Record
from llamatrix.report.reference.conditions import Conditions
from llamatrix.report.reference.gpu import Gpu, gpu_key

NO_GPU = "none"
"""The `gpu` of a CPU build, so that it is never taken for a card that nobody named."""
_ALL_LAYERS = 99


def conditions_of(record: Record, gpus: Mapping[str, Gpu]) -> Conditions:
    """All that a record says of how it was measured; `gpus` are those of `gpus.toml`."""
    argv = record.process.argv
    cards = record.host.gpus if record.build.backend == Backend.CUDA else ()
    card = cards[0] if cards else None
    published = record.weights.kind is WeightsKind.HUB
    return Conditions(
        program="llama-bench",
        prompt_tokens=record.test.n_prompt or None,
        gen_tokens=record.test.n_gen or None,
        depth_tokens=0,
        streams=1,
        speculative=False,
        gpu=gpu_key(card.name, gpus) if card else NO_GPU,
        gpu_count=len(cards) or None,
        engine="llama.cpp",
        quant=record.cell.quant if published else None,
        weights=record.weights.kind.value,
        cache_type_k=_after(argv, "-ctk"),
        cache_type_v=_after(argv, "-ctv"),
        flash_attn={"1": True, "0": False}.get(_after(argv, "-fa") or ""),
        batch_size=_number(argv, "-b"),
        ubatch_size=_number(argv, "-ub"),
        offload=_offload(argv) if cards else None,
        engine_version=_engine_version(record),
        build_flags=" ".join(
            f"-D{key}={value}"
            for key, value in record.build.cmake.items()
            if key.startswith("GGML_")
        ),
        flags=" ".join(_without_file(argv)),
        file=record.weights.file,
        file_sha256=record.weights.sha256,
        power_cap_w=card.power_cap_w if card else None,
        driver=card.driver if card else None,
        os=record.host.kernel,
        host=f"{record.host.cpu_model}, {record.host.physical_cores} cores",
        measured_on=record.measured_at[:10],
        repetitions=_repetitions(record),
    )


def _after(argv: tuple[str, ...], flag: str) -> str | None:
    found = (value for key, value in itertools.pairwise(argv) if key == flag)
    return next(found, None)


def _without_file(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The flags alone; `file` says what was measured."""
    return argv[3:] if argv[1:2] == ("-m",) else argv[1:]


def _number(argv: tuple[str, ...], flag: str) -> int | None:
    value = _after(argv, flag)
    return int(value) if value else None


def _offload(argv: tuple[str, ...]) -> str:
    """llama-bench puts every layer on the GPU unless told otherwise."""
    layers = _number(argv, "-ngl")
    if layers is None or not 0 <= layers < _ALL_LAYERS:
        return "full"
    return f"{layers} layers on the GPU"


def _engine_version(record: Record) -> str:
    number = record.build.build_number
    return record.build.commit[:9] + (f" (b{number})" if number else "")


def _repetitions(record: Record) -> int | None:
    if not isinstance(record.outcome, Done):
        return None
    return len(parse_row(bytes(record.outcome.result.row)).samples_ts)
