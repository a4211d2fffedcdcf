"""The largest contexts as a page: the published columns, the curves, what was tried."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import assert_never

from llamatrix.config.matrix import Backend
from llamatrix.engines.outcome import Crashed, OutOfMemory, TimedOut
from llamatrix.measure.context.result import (
    Attempt,
    ContextStep,
    Failure,
    Footprint,
    Limit,
    OverBudget,
    SearchResult,
    Spilled,
    Unanswered,
    UsableContext,
    usable_context,
)
from llamatrix.records.context_record import ContextRecord
from llamatrix.report.formats import speed_text, whole
from llamatrix.report.render.markdown import markdown, warning_box, write_page
from llamatrix.report.speed import synthetic_warning
from llamatrix.report.table import Cell, Row, Table, count, number, numbers
from llamatrix.units import bytes_text, duration_text

_ODD = 1.1
"""Of the first step's speed: more than noise."""
_LIMITS = {
    Limit.MEMORY: "memory",
    Limit.TRAINING: "what it was trained for",
    Limit.ASKED: "what was asked (`--max-context`)",
    Limit.SPEED: "generation speed",
    Limit.RECALL: "recall",
    Limit.DEATH: "the server failed",
    Limit.TIME: "time (`--budget`)",
    Limit.INTERRUPTED: "interrupted",
}


def write_context_page(records: Iterable[ContextRecord], reports: Path) -> Path | None:
    """`context.md`, of the newest search of each cell and question; None without any."""
    kept = newest(records)
    return write_page(reports / "context.md", context_page(kept)) if kept else None


def newest(records: Iterable[ContextRecord]) -> list[ContextRecord]:
    """One of each host, cell and question, in an order of names alone.

    A settled one before all that were broken off, as the command takes it.
    """
    latest = {
        (record.host.slug, record.cell.id, repr(record.limits)): record
        for record in sorted(
            records, key=lambda record: (record.settled, record.measured_at)
        )
    }
    return [latest[key] for key in sorted(latest)]


def context_page(records: Sequence[ContextRecord]) -> str:
    parts = ["# Largest context, validated", ""]
    for slug in dict.fromkeys(record.host.slug for record in records):
        of_host = [record for record in records if record.host.slug == slug]
        parts += [
            *(f"## {of_host[0].host.summary}", ""),
            *warning_box(context_warning(of_host)),
            markdown(fit_table(of_host)),
        ]
        for record in of_host:
            curve = curve_table(record)
            heading = markdown(curve) if curve.rows else f"### {curve.caption}\n"
            parts += [heading, *context_notes(record), ""]
    return "\n".join(parts)


def context_name(record: ContextRecord) -> str:
    return record.weights.kind.shown_name(record.cell.model_name)


def context_warning(records: Iterable[ContextRecord]) -> str:
    """Return the warnings of all synthetic weights among the records."""
    kinds = {record.weights.kind for record in records}
    return " ".join(filter(None, map(synthetic_warning, sorted(kinds))))


def fit_table(records: Sequence[ContextRecord]) -> Table:
    rows: list[Row] = []
    for record in records:
        answer = _answer(record)
        budget = number(
            record.result.ceiling.budget_bytes,
            lambda size: bytes_text(round(size)),
            "bytes",
            note="--vram" if record.limits.vram_bytes else "",
        )
        largest = number(
            answer.step.tokens if answer.step else None,
            whole,
            "tokens",
            records=(record,),
            missing="none",
        )
        rows.append(
            (
                *(context_name(record), _usage(record, answer.step), budget, largest),
                *(_limit_text(answer), _recall_text(record)),
                number(record.limits.min_speed_ratio, _percent),
                *(record.weights.kind.label, _engine(record)),
            )
        )
    return Table(
        "Hardware Fit",
        (
            "Model",
            *numbers("VRAM Usage", "of", "Max Context"),
            *("limited by", "recall"),
            *numbers("keeps speed"),
            *("weights", "engine"),
        ),
        rows,
    )


def _engine(record: ContextRecord) -> str:
    return f"{record.locked.marked(record.cell.pin)}/{record.cell.build}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.0f} %"


def curve_table(record: ContextRecord) -> Table:
    steps = record.result.steps
    return Table(
        f"{context_name(record)} at {_engine(record)}",
        numbers(
            *("Tokens", "Generation (tokens/s)", "of the first"),
            *("Prefill of the added (tokens/s)", "added", "Memory", "answers"),
        ),
        [
            (
                number(step.tokens, whole, "tokens"),
                number(step.generation_tps, speed_text, "tokens/s"),
                number(step.generation_tps / steps[0].generation_tps, _percent),
                number(step.prefill_tps, speed_text, "tokens/s"),
                number(step.answers[0].prompt_n, whole, "tokens"),
                *(_usage(record, step), count(len(step.answers))),
            )
            for step in steps
        ],
    )


def context_notes(record: ContextRecord) -> list[str]:
    result = record.result
    footprints = [
        *(attempt.loaded for attempt in result.attempts),
        *(step.footprint for step in result.steps),
    ]
    known = [footprint for footprint in footprints if footprint]
    heard = dict.fromkeys(word for one in known for word in one.disturbances)
    return [
        f"- limit: {_limit_text(_answer(record))}",
        f"- measured: {record.measured_at[:10]}, llama.cpp {record.build.commit[:9]}",
        *_memory_notes(record, known),
        *_attempt_notes(result),
        *_recall_notes(record),
        *(f"- disturbed: {word}" for word in (*heard, *_odd(result.steps))),
    ]


def _odd(steps: Sequence[ContextStep]) -> Iterator[str]:
    """A larger context is never faster, but for a machine that was busy before."""
    fastest = max(steps, key=lambda step: step.generation_tps, default=None)
    if fastest and fastest.generation_tps > _ODD * steps[0].generation_tps:
        yield (
            f"{fastest.tokens:,} tokens were faster than {steps[0].tokens:,}; the "
            "machine was busy, `--again` on an idle one says more"
        )


def _memory_notes(
    record: ContextRecord, footprints: Sequence[Footprint]
) -> Iterator[str]:
    ceiling = record.result.ceiling
    where = "card" if _on_card(record) else "host"
    others = ceiling.others_bytes
    taken = f" (others held {bytes_text(others)})" if others else ""
    yield f"- memory: {bytes_text(ceiling.budget_bytes)} of the {where} to use{taken}"
    if footprints:
        yield (
            f"- the process on the host: {bytes_text(footprints[0].rss_bytes)} after "
            f"loading, {bytes_text(footprints[-1].peak_rss_bytes)} at its peak"
        )


def _attempt_notes(result: SearchResult) -> Iterator[str]:
    for place, attempt in enumerate(result.attempts, start=1):
        yield f"- start {place}: {_attempt_text(attempt)}"
    if result.attempts[-1].failure and not result.steps:
        many = "s" if len(result.attempts) > 1 else ""
        yield f"- given up after {len(result.attempts)} start{many}"


def _attempt_text(attempt: Attempt) -> str:
    words = [
        f"{attempt.context_tokens:,} tokens",
        f"{bytes_text(attempt.predicted_bytes)} by prediction",
    ]
    if attempt.ready_s is not None:
        words.append(f"ready in {duration_text(attempt.ready_s)}")
    if attempt.loaded:
        words.append(f"{bytes_text(attempt.loaded.held_bytes)} held then")
    words += [f"doubtful: {word}" for word in attempt.warnings]
    if attempt.failure:
        at = attempt.failed_at_tokens
        where = f" at {at:,} tokens" if at else ""
        words.append(f"{_failure_text(attempt.failure)}{where}")
    return ", ".join(words)


def _failure_text(failure: Failure) -> str:
    match failure:
        case OutOfMemory(stage=stage):
            return f"out of memory ({stage})" if stage else "out of memory"
        case Crashed(exit_code=exit_code):
            return f"the server ended (exit code {exit_code})"
        case Unanswered(said=said):
            return f"the server went on, but did not answer ({said})"
        case TimedOut(after_s=after_s):
            return f"no answer within {duration_text(after_s)}"
        case Spilled(signs=signs):
            return f"spilled out of VRAM ({'; '.join(signs)})"
        case OverBudget(held_bytes=held_bytes):
            return f"held {bytes_text(held_bytes)}, more than allowed"
        case _:
            assert_never(failure)


def _recall_notes(record: ContextRecord) -> Iterator[str]:
    for answer in record.result.recalled:
        words = ", ".join(
            f"{fact.depth_percent} %: {'yes' if fact.exact else 'no'}"
            for fact in answer.facts
        )
        size = (
            "no answer" if answer.prompt_tokens is None else f"{answer.prompt_tokens:,}"
        )
        yield f"- recall at {answer.context_tokens:,} ({size} prompt tokens): {words}"
    if record.result.not_recalled:
        yield f"- recall: n/a, {record.result.not_recalled}"


def _recall_text(record: ContextRecord) -> str:
    if record.weights.kind.synthetic:
        return "n/a (synthetic weights)"
    if not record.result.recalled:
        return "n/a"
    exact = [answer for answer in record.result.recalled if answer.all_exact]
    last = (exact or record.result.recalled)[-1]
    hits = sum(fact.exact for fact in last.facts)
    return f"{hits} of {len(last.facts)}"


def _limit_text(answer: UsableContext) -> str:
    words = _LIMITS[answer.limit]
    if answer.beyond_tokens is None:
        return words
    if answer.step is None:
        return f"{words}, {answer.beyond_tokens:,} is too large"
    return f"{words}, between {answer.step.tokens:,} and {answer.beyond_tokens:,}"


def _usage(record: ContextRecord, step: ContextStep | None) -> Cell:
    held_bytes = step.footprint.held_bytes if step and step.footprint else None
    unit = "" if _on_card(record) else " RAM"
    return number(held_bytes, lambda size: f"{bytes_text(round(size))}{unit}", "bytes")


def _on_card(record: ContextRecord) -> bool:
    return record.build.backend == Backend.CUDA


def _answer(record: ContextRecord) -> UsableContext:
    return usable_context(record.result, min_speed_ratio=record.limits.min_speed_ratio)
