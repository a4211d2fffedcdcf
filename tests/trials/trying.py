"""A whole trial, hermetic, with a scripted model and no llama-server behind it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.agents.opencode.playing import INTEGRITY, SOON, playing
from tests.shipped import ROOT

from llamatrix.agents.context7 import RULE, SKILL, SKILL_NAME, context7_server
from llamatrix.agents.opencode.agent import OpenCode
from llamatrix.agents.opencode.install import RIPGREP, opencode_of, provide_program
from llamatrix.agents.pi.agent import Pi
from llamatrix.agents.pi.install import install_pi
from llamatrix.agents.protocol import Agent
from llamatrix.agents.turn import Timeouts
from llamatrix.config.load import load_matrix
from llamatrix.config.lock import load_lock, locked_npm
from llamatrix.engines.protocol import Counters
from llamatrix.provision.npm import node_program
from llamatrix.provision.npm_tree import provide_pinned_tree
from llamatrix.provision.programs import find_bwrap, find_uv
from llamatrix.provision.python import provide_wheels
from llamatrix.trials.checks.finding import Judgement
from llamatrix.trials.checks.task import load_task
from llamatrix.trials.scripted import Player, Transcript
from llamatrix.trials.stubs.serving import services
from llamatrix.trials.stubs.wheel_index import LOCKED
from llamatrix.trials.trial import Trial, run_trial
from llamatrix.trials.trial_environment import (
    Tools,
    TrialEnvironment,
    hermetic_environment,
)
from llamatrix.trials.trial_result import TrialResult

PIN_OF = {"1.3.2": "april", "1.18.33": "current"}
CURRENT = "1.18.33"
NOTHING_DONE = Counters(
    prompt_tokens=0, prompt_s=0, generated_tokens=0, generation_s=0, cached_tokens=None
)


def pi_tools(cache: Path) -> Tools:
    lock = load_lock(ROOT / "matrix.lock")
    installed = install_pi("current", lock.pi["current"], root=ROOT, cache=cache)
    return replace(tools_of(CURRENT, cache), shown=installed.shown)


def tools_of(version: str, cache: Path) -> Tools:
    pin = PIN_OF[version]
    locked = locked_npm(
        load_matrix(ROOT / "matrix.toml"),
        load_lock(ROOT / "matrix.lock"),
        "context7",
        pin,
    )
    node = node_program()
    assert node
    return Tools(
        bwrap=find_bwrap(cache),
        programs={
            "opencode": provide_program(
                opencode_of(version, INTEGRITY[version]), cache
            ),
            "rg": provide_program(RIPGREP, cache),
            "node": node,
            "uv": find_uv(),
        },
        context7=provide_pinned_tree("context7", pin, locked, root=ROOT, cache=cache),
    )


@dataclass(kw_only=True)
class Arena:
    """Where one trial is made, and what it leaves."""

    cache: Path
    folder: Path
    task_id: str
    version: str = CURRENT
    """Of OpenCode."""
    pi: bool = False
    """Whether Pi works in its place."""
    max_turns: int = 3
    timeouts: Timeouts = SOON
    counters: Callable[[], Counters] = field(default=lambda: NOTHING_DONE)
    said: list[str] = field(default_factory=list)
    """The messages to `on_turn`."""
    key: str = ""
    """The stub's, once there is an environment."""

    @property
    def kept(self) -> Path:
        return self.folder / "kept"

    def play(self, transcript: Transcript) -> TrialResult:
        player = Player(transcript=transcript, agent=self.agent(context7_url=None))
        with playing(player) as url:
            return self.ask(url)

    def ask(self, url: str) -> TrialResult:
        with self._environment() as environment:
            (self.key,) = environment.secrets
            aside = self.folder / "turns"
            aside.mkdir()
            return run_trial(
                Trial(
                    task=load_task(self.task_id),
                    agent=self.agent(context7_url=environment.context7_url),
                    environment=environment,
                    upstream=url,
                    counters=self.counters,
                    count_tokens=lambda text: len(text) // 4,
                    folder=self.kept,
                    aside=aside,
                    timeouts=self.timeouts,
                    max_turns=self.max_turns,
                    on_turn=self.said.append,
                )
            )

    def agent(self, *, context7_url: str | None) -> Agent:
        if self.pi:
            return Pi(
                version="1.6.0",
                model="scripted",
                context_tokens=65_536,
                output_tokens=8_192,
                mcp=(context7_server(api_url=context7_url),),
                rules=RULE,
                skills={SKILL_NAME: SKILL},
            )
        return OpenCode(
            version=self.version,
            model="scripted",
            context_tokens=65_536,
            output_tokens=8_192,
            mcp=(context7_server(api_url=context7_url),),
            rules=RULE,
        )

    @contextmanager
    def _environment(self) -> Iterator[TrialEnvironment]:
        cache = self.cache
        tools = pi_tools(cache) if self.pi else tools_of(self.version, cache)
        wheels = provide_wheels(LOCKED, self.cache)
        own = self.folder / "environment"
        own.mkdir(parents=True)
        with ExitStack() as held:
            shared = held.enter_context(
                services(wheels=wheels, log=self.folder / "services.jsonl")
            )
            environment = hermetic_environment(
                load_task(self.task_id), tools, own, shared
            )
            yield held.enter_context(environment)


def states(judgement: Judgement | None) -> dict[str, str]:
    assert judgement
    return {finding.check: finding.state for finding in judgement.findings}


def files_with(secret: str, folder: Path) -> list[str]:
    """Names of the files below a folder in which the secret stands, or whose name it is in."""
    assert len(secret) > 10
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if secret in path.name
        or (path.is_file() and secret.encode() in path.read_bytes())
    ]
