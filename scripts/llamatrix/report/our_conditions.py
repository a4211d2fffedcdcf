"""The conditions of our records in the words of reference sets."""

import itertools
from collections.abc import Mapping

from llamatrix.config.matrix import Backend
from llamatrix.engines.outcome import Done
from llamatrix.nvml import Gpu as Card
from llamatrix.provision.weights.provide import WeightsFacts
from llamatrix.records.speed_record import SpeedRecord
from llamatrix.records.trial_record import TrialRecord
from llamatrix.reference.conditions import Conditions, merge_conditions
from llamatrix.reference.gpu import Gpu, gpu_key

NO_GPU = "none"
"""The `gpu` of a CPU build, so that it is never taken for a card that nobody named."""
_ALL_LAYERS = 99


def conditions_of(record: SpeedRecord, gpus: Mapping[str, Gpu]) -> Conditions:
    """All that a record says of how it was measured; `gpus` are those of `gpus.toml`."""
    argv = record.process.argv
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
        offload=(offload_text(number_after(argv, "-ngl")) if _cards(record) else None),
        flags=" ".join(_without_file(argv)),
        repetitions=_repetitions(record),
    )
    return merge_conditions(common_conditions(record, gpus), conditions)


def common_conditions(
    record: SpeedRecord | TrialRecord, gpus: Mapping[str, Gpu]
) -> Conditions:
    """Machine, engine and weights, whatever was measured with them."""
    cards = _cards(record)
    card = cards[0] if cards else None
    weights = _weights(record)
    real = weights is None or not weights.kind.synthetic
    return Conditions(
        gpu=gpu_key(card.name, gpus) if card else NO_GPU,
        gpu_count=len(cards) or None,
        engine="llama.cpp",
        quant=record.cell.quant if real else None,
        weights=weights.kind.value if weights else None,
        engine_version=_engine_version(record),
        build_flags=" ".join(
            f"-D{key}={value}"
            for key, value in record.build.cmake.items()
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


def _weights(record: SpeedRecord | TrialRecord) -> WeightsFacts | None:
    """None where no server was started."""
    if isinstance(record, SpeedRecord):
        return record.weights
    return record.served.weights if record.served else None


def _cards(record: SpeedRecord | TrialRecord) -> tuple[Card, ...]:
    return record.host.gpus if record.build.backend == Backend.CUDA else ()


def after(argv: tuple[str, ...], flag: str) -> str | None:
    values = (value for key, value in itertools.pairwise(argv) if key == flag)
    return next(values, None)


def _without_file(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The flags alone; `file` says what was measured."""
    return argv[3:] if argv[1:2] == ("-m",) else argv[1:]


def number_after(argv: tuple[str, ...], flag: str) -> int | None:
    value = after(argv, flag)
    return int(value) if value else None


def offload_text(layers: int | None) -> str:
    """llama.cpp's programs put every layer on the GPU unless told otherwise."""
    if layers is None or not 0 <= layers < _ALL_LAYERS:
        return "full"
    return f"{layers} layers on the GPU"


def _engine_version(record: SpeedRecord | TrialRecord) -> str:
    number = record.build.build_number
    return record.build.commit[:9] + (f" (b{number})" if number else "")


def _repetitions(record: SpeedRecord) -> int | None:
    if not isinstance(record.outcome, Done):
        return None
    return record.outcome.result.repetitions
