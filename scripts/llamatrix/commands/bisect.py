"""`invoke bisect`: which commit of a range made it slow, or broke it."""

import hashlib
import statistics
import time
from dataclasses import dataclass, field, fields

import msgspec

from llamatrix.clock import utc_now
from llamatrix.commands.bisect_step import Builds, CheckJudge, Judge, SpeedJudge
from llamatrix.commands.flags import BisectFlags, RegressFlags, parsed
from llamatrix.commands.regress import require_writable, speed_context, write_text
from llamatrix.commands.verdict import parse_margin
from llamatrix.compare.speed import SPEED_METRICS, parse_metrics
from llamatrix.config.cell import digest_fields, sha256_of
from llamatrix.config.complaint import nearest
from llamatrix.config.context import Context
from llamatrix.config.lock import locked_template
from llamatrix.config.matrix import Measurement, WeightsKind
from llamatrix.errors import MatrixError
from llamatrix.host import this_host
from llamatrix.progress import say
from llamatrix.provision.commit_range import CommitRange, git_range, known_range
from llamatrix.provision.resolve_weights import with_known_weights
from llamatrix.records.bisect_record import BISECT, BisectStep
from llamatrix.records.store import Store, stamp
from llamatrix.redaction import without_folders
from llamatrix.report.views.bisect import (
    Bisection,
    bisection_json,
    bisection_markdown,
    bisection_text,
    bisections,
    step_text,
)
from llamatrix.stats.bisection import STEP, Mark, Search
from llamatrix.stats.verdict import Metric
from llamatrix.units import duration_text, parse_duration_s

_CHECKS = ("output", "template")
SPEED = "speed"


def bisect(flags: BisectFlags) -> int:
    """Search, print, write the file; return the exit code of the verdict."""
    if flags.markdown:
        require_writable(flags.markdown)
    result = search(flags)
    if result is None:
        return 0
    if flags.markdown:
        write_text(flags.markdown, bisection_markdown(result))
    print(bisection_json(result) if flags.json else bisection_text(result).rstrip())
    return result.verdict.exit_code


def search(flags: BisectFlags) -> Bisection | None:
    """Try commits until the first bad one is known or the budget ends.

    Each step is on disk when it ends. None after a dry run.
    """
    begin = time.monotonic()
    budget_s = parsed("--budget", flags.budget, parse_duration_s)
    if flags.check and flags.check not in _CHECKS:
        hint = nearest(flags.check, _CHECKS)
        raise MatrixError(f"--check {flags.check!r}: not known{hint}")
    margin = parse_margin(flags.margin) or Metric.GENERATION.margin
    regress = _regress_flags(flags)
    parse_metrics(regress.metric, SPEED_METRICS)
    context = speed_context(regress)
    commits = _range(flags, context)
    model = context.plan(flags.cells).speed[0].model_key if flags.check else ""
    running = _Running(
        flags=flags, context=context, range=commits, margin=margin, model=model
    )
    running.say_plan()
    if flags.dry_run:
        return None
    running.store.require_room(this_host().slug)
    good, builds = commits.commits[0], Builds(builds=context.project.cache / "builds")
    judge: Judge = SpeedJudge(
        context=context, good=good, flags=regress, margin=margin, builds=builds
    )
    if flags.check:
        judge = CheckJudge(
            context=context, good=good, what=flags.check, model=model, builds=builds
        )
    running.run(judge, builds, deadline=begin + budget_s)
    if not running.steps:
        kept = "its pairs are kept, and the same command goes on from there"
        if flags.again:
            kept = "with --again the same command starts over: give it more time"
        raise MatrixError(
            f"--budget {flags.budget}: too short for the first comparison; {kept}"
        )
    (result,) = bisections(running.steps.values())
    return result


def _regress_flags(flags: BisectFlags) -> RegressFlags:
    own = {"budget", "margin", "dry_run", "json", "markdown"}
    same = {field.name for field in fields(RegressFlags)} - own
    names = [field.name for field in fields(flags) if field.name in same]
    return RegressFlags(**{name: getattr(flags, name) for name in names})


def _range(flags: BisectFlags, context: Context) -> CommitRange:
    for name, word in (("good", flags.good), ("bad", flags.bad)):
        if not word:
            raise MatrixError(
                f"--{name}: missing; name both ends of the range, for example --good "
                "april --bad current"
            )
    if flags.repo:
        return git_range(
            context, flags.repo, flags.good, flags.bad, first_parent=flags.first_parent
        )
    if flags.first_parent:
        raise MatrixError("--first-parent: the provable commits have no branches")
    return known_range(context, flags.good, flags.bad)


@dataclass(kw_only=True, slots=True)
class _Running:
    """One search: what is asked, and the steps that are known of it."""

    flags: BisectFlags
    context: Context
    range: CommitRange
    margin: float
    model: str
    """The one that a check serves; empty for a search by speed."""
    store: Store[BisectStep] = field(init=False)
    search: str = field(init=False)
    series: int = 1
    steps: dict[int, BisectStep] = field(default_factory=dict)
    """By position."""

    def __post_init__(self) -> None:
        """Read what an earlier run left."""
        asked = self.flags
        parts = [
            *(asked.check or SPEED, self.context.profile, asked.cells, asked.metric),
            f"{self.margin:g}",
            self._inputs(),
            *(commit.sha for commit in self.range.commits),
        ]
        self.search = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
        self.store = Store(reports=self.context.project.reports, kind=BISECT)
        host = this_host().slug
        record_id = f"{BISECT.folder}/{self.search}"
        known = self.store.read(host_slug=host, record_id=record_id)
        last = max((step.series for step in known), default=0)
        self.series = last + 1 if asked.again else max(1, last)
        self.steps = {
            step.position: step for step in known if step.series == self.series
        }
        if not known:
            self._say_moved(host)

    def _inputs(self) -> str:
        """Return a digest of the models, builds and flags that commits are judged by.

        Of published weights it has the name: the first step resolves their bytes.
        """
        own = {"models": (self.model,)} if self.model else {}
        context = self.context.narrowed(measure=(Measurement.SPEED,), **own)
        cells = context.plan().speed
        local = [cell for cell in cells if cell.weights is WeightsKind.LOCAL]
        context = with_known_weights(context, local, ask_hub=False)
        judged: set[str] = set()
        for cell in context.plan().speed:
            weights, model = cell.weights_identity, cell.model
            if cell.weights is WeightsKind.HUB:
                weights = (model.repository, model.file)
            inputs = (cell.weights_key, weights, cell.build, cell.sweep_fields)
            if not self.model:
                judged.add(sha256_of(inputs))
                continue
            server = context.matrix.servers[context.server_key]
            template = locked_template(context.matrix, context.lock, cell.model_key)
            judged.add(sha256_of((*inputs, model, digest_fields(server), template)))
        return sha256_of(sorted(judged))

    def _say_moved(self, host: str) -> None:
        """Say which end was another commit in the newest search of the same words."""
        words, ends = (self.flags.good, self.flags.bad), self.range.commits
        asked = (*words, host, self.range.repository)
        same = [
            (step.measured_at, step.good_commit, step.bad_commit)
            for step in self.store.read_all()
            if (step.good, step.bad, step.host.slug, step.repository) == asked
        ]
        before = max(same)[1:] if same else ()
        for word, old, now in zip(words, before, (ends[0], ends[-1]), strict=False):
            if old != now.sha:
                say(
                    f"{word} has moved from {old[:12]} to {now.sha[:12]}: this is another "
                    f"search; name the commit {old[:12]} to go on with the earlier one"
                )

    @property
    def state(self) -> Search:
        return Search(
            last=len(self.range.commits) - 1,
            marks={place: step.mark for place, step in self.steps.items()},
        )

    def say_plan(self) -> None:
        """Say how many steps and builds are left at most, and how long earlier ones took."""
        commits, state = self.range.commits, self.state
        first, last = commits[0], commits[-1]
        say(
            f"{self.range.repository}: {state.last} commits after {first.key} "
            f"({first.about}) up to {last.key} ({last.about})"
        )
        if state.marks:
            say(f"{len(state.marks)} of them are known from an earlier run")
        if state.next_position() is None:
            say("plan: nothing is left to try; --again begins another search")
            return
        what = self.flags.check or SPEED
        checked = f"{what} of {self.model}, " if self.model else ""
        pairs = "" if self.model else f" and {STEP.looks[0]} to {STEP.looks[-1]} pairs"
        say(
            f"plan: {checked}at most {state.most_left} steps, each with one build unless "
            f"the cache has it{pairs}; the good end is one more build"
        )
        slug = this_host().slug
        took = [
            step.seconds
            for step in self.store.read_all()
            if (step.host.slug, step.what) == (slug, what)
            and step.mark is not Mark.SKIPPED
        ]
        if not took:
            say(
                "plan: no such step was timed on this host yet, so its time is not known"
            )
            return
        each_s = statistics.median(took)
        say(
            f"plan: {duration_text(state.most_left * each_s)} at most, at "
            f"{duration_text(each_s)} a step, the median of {len(took)} on this host"
        )

    def run(self, judge: Judge, builds: Builds, *, deadline: float) -> None:
        """Take steps until the search ends, the budget does, or a step stays undecided."""
        longest_s = 0.0
        while (position := self.state.next_position()) is not None:
            started = time.monotonic()
            if started + longest_s >= deadline:
                say(f"the budget of {self.flags.budget} ends; the same command goes on")
                return
            commit = self.range.commits[position]
            say(f"step {len(self.steps) + 1}: {commit.key} ({commit.about})")
            builds.count, builds.seconds = 0, 0.0
            end = self.steps.get(self.state.last)
            step = judge.judge(
                self._blank(position), commit, end, left_s=deadline - started
            )
            if isinstance(step, str):
                say(f"{commit.key}: not decided yet: {step}")
                return
            seconds = time.monotonic() - started
            step = msgspec.structs.replace(
                step,
                reason=without_folders(step.reason),
                builds=builds.count,
                build_s=builds.seconds,
                seconds=seconds,
                measured_at=utc_now(),
            )
            self.store.append(step)
            self.steps[position] = step
            longest_s = max(longest_s, seconds)
            say(step_text(step))

    def _blank(self, position: int) -> BisectStep:
        """Return the step of a commit of which nothing is known."""
        commits = self.range.commits
        return BisectStep(
            search=self.search,
            series=self.series,
            repository=self.range.repository,
            good=self.flags.good,
            bad=self.flags.bad,
            good_commit=commits[0].sha,
            bad_commit=commits[-1].sha,
            last=len(commits) - 1,
            position=position,
            commit=commits[position].sha,
            about=commits[position].about,
            what=self.flags.check or SPEED,
            **stamp(),
        )
