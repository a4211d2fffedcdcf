"""`serve-speed.md`: what drafts cost and bring on llama-server, and several clients."""

import math
from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from statistics import fmean, median

import msgspec

from llamatrix.config.cell import SpeedTest
from llamatrix.config.matrix import BATCHED, NO_DRAFT
from llamatrix.engines.outcome import Done, Drafting
from llamatrix.records.speed_record import SpeedRecord
from llamatrix.report.formats import hundredths, mib_text
from llamatrix.report.render.markdown import markdown, warning_box, write_page
from llamatrix.report.speed import KIND_NOTES, Group, Result, groups, synthetic_warning
from llamatrix.report.table import Cell, Row, Table, number, numbers
from llamatrix.report.views.cards import card_notes
from llamatrix.report.views.speed import speed_cell
from llamatrix.stats.intervals import Estimate, estimate

_POSITIONS = 6
"""Shown of a draft; those from earlier text have dozens."""
_NOTES = (
    (
        "tokens/s are steady means after the first request of each server. A server "
        "counts from the end of the prompt, so the first token is left out"
    ),
    "mean length: tokens that one step with a draft yields, the verified one included",
    (
        "step cost: time of a step with drafts ÷ without, the break-even: drafting "
        "pays where the mean length is above it. None for drafts from earlier text: most "
        "steps have none"
    ),
    (
        "of several clients tokens/s are the sum over the time that they share: until "
        "each has its first token, or from the first of these to the end of all "
        "answers"
    ),
    "intervals: 95 %, Student's t over processes",
)
_BATCHED_NOTE = (
    "sequences in one batch: llama-batched-bench, the engine without a server, reads and "
    "generates random tokens; each is the sum divided by the number of sequences"
)


def write_draft_page(
    records: Iterable[SpeedRecord], reports: Path, *, current: frozenset[str]
) -> Path | None:
    text = draft_page(records, current=current)
    return write_page(reports / "serve-speed.md", text) if text else None


def draft_page(
    records: Iterable[SpeedRecord], *, current: frozenset[str] = frozenset()
) -> str:
    """One table for each host, sweep, pin, build and kind of weights; empty for none."""
    facing = draft_groups(records, current=current)
    names = {name for _, drafts in facing for name in drafts}
    notes = "".join(f"- {note}\n" for note in draft_notes(names))
    parts = ["# Speed of llama-server", "", notes] if facing else []
    for (_, title), drafts in facing:
        group = drafts.get(NO_DRAFT) or next(iter(drafts.values()))
        first = group.records[0]
        parts += [
            f"## {title[0].upper()}{title[1:]}",
            "",
            *warning_box(synthetic_warning(first.weights.kind)),
            f"- weights: {KIND_NOTES[first.weights.kind]}",
            f"- host: {first.host.summary}",
            f"- engine: llama.cpp {first.build.commit[:9]}",
            *(f"- {line}" for line in card_notes(group)),
            "",
            *map(markdown, draft_tables(drafts)),
        ]
    return "\n".join(parts)


def of_draft(name: str) -> str:
    return "llama-batched-bench" if name == BATCHED else f"draft {name}"


def draft_notes(names: Container[str]) -> tuple[str, ...]:
    return (*_NOTES, *((_BATCHED_NOTE,) if BATCHED in names else ()))


def draft_groups(
    records: Iterable[SpeedRecord], *, current: frozenset[str]
) -> list[tuple[tuple[str, str], dict[str, Group]]]:
    """Return, by host class and title, the group of each draft."""
    by_draft: dict[str, list[SpeedRecord]] = {}
    for record in records:
        by_draft.setdefault(record.cell.draft, []).append(record)
    facing: dict[tuple[str, str], dict[str, Group]] = {}
    for draft, own in by_draft.items():
        for group in groups(own, current=current):
            facing.setdefault((group.host_slug, group.title), {})[draft] = group
    return sorted(facing.items())


def draft_tables(drafts: dict[str, Group]) -> tuple[Table, ...]:
    served = {name: group for name, group in drafts.items() if name != BATCHED}
    every = (step_cost_table(served), streams_table(served), batched_table(drafts))
    return tuple(table for table in every if table.rows)


def step_cost_table(drafts: dict[str, Group]) -> Table:
    """By model and generation, each draft against none."""
    return Table(
        "Step cost and break-even",
        (
            *("Model", "Test", "Draft"),
            *numbers("Mean length", "Accepted by position", "tokens/s", "÷ none"),
            *numbers("Step cost"),
            "Drafting",
            *numbers("Prompt ÷ none", "Decodes per token", "Request, s"),
            *numbers("Memory (MiB)", "n (processes×repetitions)"),
        ),
        [_row(model, test, name, drafts) for model, test, name in _places(drafts)],
    )


def streams_table(drafts: dict[str, Group]) -> Table:
    """What several clients get together and each; no rows where there was only one."""
    places = list(_places(drafts))
    several = any(test.concurrency > 1 for _, test, _ in places)
    return Table(
        "Clients at the same time",
        (
            *("Model", "Test", "Draft"),
            *numbers("Clients", "All, tokens/s", "÷ one client", "Each, tokens/s"),
            *numbers("First token p50, s", "p95, s", "Prompts, tokens/s"),
            *numbers("n (processes×repetitions)"),
        ),
        [
            _streams_row(model, test, drafts[name], name)
            for model, test, name in places
            if several
        ],
    )


def _streams_row(model: str, test: SpeedTest, group: Group, name: str) -> Row:
    result, alone, prompt = _related(group, model, test)
    streams = [row.streams for row in result.rows if row.streams]
    waits = sorted(ns / 1e9 for one in streams for ns in one.first_token_ns)
    each = [tps for one in streams for tps in one.tokens_per_second]
    used = result.used if streams else ()
    return (
        *(group.shown_name(model), test.name, name),
        number(test.concurrency, "{}".format),
        speed_cell(result, hundredths),
        number(_quotient(result, alone), hundredths, records=used),
        number(median(each) if each else None, hundredths, "tokens/s", records=used),
        number(_at(waits, 0.5), hundredths, "s", records=used),
        number(_at(waits, 0.95), hundredths, "s", records=used),
        speed_cell(prompt, hundredths),
        _count_cell(result),
    )


def _related(
    group: Group, model: str, test: SpeedTest
) -> tuple[Result, Result | None, Result | None]:
    alone = msgspec.structs.replace(test, concurrency=1)
    results = group.results
    return (
        results[model, test],
        results.get((model, alone)),
        results.get((model, _prompt_of(test))),
    )


def _quotient(result: Result | None, other: Result | None) -> float | None:
    if result and other and result.mean and other.mean:
        return result.mean / other.mean
    return None


def _count_cell(result: Result) -> Cell:
    return number(len(result.rows), result.count if result.rows else "0")


def batched_table(drafts: dict[str, Group]) -> Table:
    """What llama-batched-bench gets, and the clients of a server beside it."""
    batched = {name: group for name, group in drafts.items() if name == BATCHED}
    return Table(
        "Sequences in one batch",
        (
            *("Model", "Test"),
            *numbers("Sequences", "All, tokens/s", "÷ one sequence", "Each, tokens/s"),
            *numbers("Prompts, tokens/s", "Each prompt, tokens/s", "Clients ÷ these"),
            *numbers("n (processes×repetitions)"),
        ),
        [
            _batched_row(model, test, batched[name], drafts.get(NO_DRAFT))
            for model, test, name in _places(batched)
        ],
    )


def _batched_row(model: str, test: SpeedTest, group: Group, bare: Group | None) -> Row:
    result, alone, prompt = _related(group, model, test)
    clients = bare.results.get((model, test)) if bare else None
    both = (*result.used, *(clients.used if clients else ()))
    return (
        *(group.shown_name(model), test.name),
        number(test.concurrency, "{}".format),
        speed_cell(result, hundredths),
        number(_quotient(result, alone), hundredths, records=result.used),
        _each(result, test.concurrency),
        speed_cell(prompt, hundredths),
        _each(prompt, test.concurrency),
        number(_quotient(clients, result), hundredths, records=both),
        _count_cell(result),
    )


def _each(result: Result | None, sequences: int) -> Cell:
    mean = result.mean if result else None
    return number(
        mean / sequences if mean else None,
        hundredths,
        "tokens/s",
        records=result.used if result else (),
    )


def _prompt_of(test: SpeedTest) -> SpeedTest:
    return msgspec.structs.replace(test, n_prompt=test.n_depth, n_gen=0, n_depth=0)


def _at(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that this share of all values does not exceed."""
    place = math.ceil(share * len(ordered)) - 1
    return ordered[max(0, place)] if ordered else None


def _places(drafts: dict[str, Group]) -> Iterator[tuple[str, SpeedTest, str]]:
    """Each model and generation with each draft, in the tables' order."""
    keys = {key for group in drafts.values() for key in group.results if key[1].n_gen}
    names = sorted(drafts, key=lambda name: (name != NO_DRAFT, *_order(drafts[name])))
    for model, test in sorted(
        keys,
        key=lambda key: (
            *(key[0], key[1].prompt, key[1].n_depth),
            *(key[1].n_gen, key[1].concurrency),
        ),
    ):
        for name in names:
            if (model, test) in drafts[name].results:
                yield model, test, name


def _order(group: Group) -> tuple[float, float]:
    counts = _counts(group.records)
    draft = counts[0].draft if counts else None
    return (draft.n_max or 3, draft.synth_len or 0.0) if draft else (0.0, 0.0)


def _counts(records: Sequence[SpeedRecord]) -> list[Drafting]:
    done = (one.outcome.result for one in records if isinstance(one.outcome, Done))
    return [sample.drafting for sample in done if sample.drafting]


def _row(model: str, test: SpeedTest, name: str, drafts: dict[str, Group]) -> Row:
    group, bare = drafts[name], drafts.get(NO_DRAFT)
    result, prompt = group.results[model, test], _prompt_of(test)
    base = bare.results if bare else {}
    counts = _counts(result.used)
    drafted = name != NO_DRAFT and bool(counts)
    used = result.used if counts else ()
    clocks = [
        client_ns / 1e9
        for row in result.rows
        for client_ns in row.client_ns[row.warmup_repetitions :]
    ]
    length = decodes = memory = ratio = cost = prompt_ratio = None
    if counts:
        decodes = fmean(one.decode_calls / one.tokens for one in counts)
        memory = max(one.memory_bytes or 0 for one in result.rows)
        memory = memory or max(one.own_bytes for one in counts)
    if drafted:
        length = fmean(one.mean_length for one in counts)
        ratio = _ratio(result, base.get((model, test)))
        cost = _step_cost(result, base.get((model, test)))
        prompt_ratio = _ratio(
            group.results.get((model, prompt)), base.get((model, prompt))
        )
    return (
        *(group.shown_name(model), test.name, name),
        number(length, hundredths, records=used),
        Cell(value=_positions(counts), missing="n/a", records=used),
        speed_cell(result, hundredths),
        _ratio_cell(ratio, result),
        _ratio_cell(cost, result),
        _verdict(ratio) if drafted else "–",
        _ratio_cell(prompt_ratio, result),
        number(decodes, hundredths, records=used),
        number(fmean(clocks) if clocks else None, hundredths, "s", records=used),
        number(memory, mib_text, "bytes", records=used),
        _count_cell(result),
    )


def _positions(counts: Sequence[Drafting]) -> str | None:
    """Of all drafts, the share in which each position was accepted."""
    drafts = sum(one.drafts for one in counts)
    if not drafts:
        return None
    by_position = zip_longest(
        *(one.accepted_by_position for one in counts), fillvalue=0
    )
    shares = [f"{100 * sum(accepted) / drafts:.0f} %" for accepted in by_position]
    return " ".join((*shares[:_POSITIONS], *(["…"] if shares[_POSITIONS:] else [])))


def _ratio(result: Result | None, bare: Result | None) -> Estimate | None:
    """Of the speeds, over as many processes as both have."""
    if result is None or bare is None:
        return None
    pairs = zip(result.steady_means, bare.steady_means, strict=False)
    ratios = [math.log(own / base) for own, base in pairs]
    return estimate(ratios) if ratios else None


def _step_cost(result: Result, bare: Result | None) -> Estimate | None:
    """Mean length over the ratio of the speeds, process by process."""
    if bare is None:
        return None
    costs = [
        math.log(sample.drafting.mean_length * base / own)
        for sample, base in zip(result.rows, bare.steady_means, strict=False)
        if sample.drafting
        and sample.drafting.draft
        and sample.drafting.draft.type.has_weights
        and (own := sample.steady_tps)
    ]
    return estimate(costs) if costs else None


def _ratio_cell(ratio: Estimate | None, result: Result) -> Cell:
    interval = ratio.interval() if ratio else None
    note = f"{interval.low:.2f}–{interval.high:.2f}" if interval else ""
    return number(
        ratio.ratio if ratio else None, hundredths, records=result.used, note=note
    )


def _verdict(ratio: Estimate | None) -> str:
    interval = ratio.interval() if ratio else None
    if interval is None or interval.low <= 1 <= interval.high:
        return "undecided"
    return "pays" if interval.low > 1 else "costs"
