"""A real OpenCode, a scripted model, and everything between them, in a few words."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from llamatrix.agents.opencode.agent import OpenCode
from llamatrix.agents.opencode.install import RIPGREP, opencode_of, provide_program
from llamatrix.agents.protocol import Agent, Run, Write
from llamatrix.agents.turn import (
    Timeouts,
    Turn,
    TurnRun,
    run_trial_turn,
)
from llamatrix.project import find_project
from llamatrix.provision.programs import find_bwrap
from llamatrix.proxy.serving import address, loopback_listener, serving
from llamatrix.sandbox.spec import SandboxSpec
from llamatrix.trials.scripted import Player, Step, Transcript
from llamatrix.trials.workspace import begin_files

INTEGRITY = {
    "1.3.2": "sha512-/+OtuHr2O0/QKpBrZBnutr0ZLe+LmOx003Z99b21BgG9wsVo7gFuNpfLPVXnqcEY"
    "6D5DuWl4aEJW4+w+K0urYw==",
    "1.18.33": "sha512-q/t/3p2CTxOT9y2kvjesb/LZab2+1eqlhhWA02Be6mjTtmYtNBcBsrI5yDo4Fw7"
    "ZSPBW2oyMIGMNRqiKQjiAWw==",
}
SOON = Timeouts(total_s=120, silence_s=60)


def wrote(name: str, content: str) -> Write:
    return Write(path=f"/trial/work/{name}", content=content)


def ran(command: str) -> Run:
    return Run(command=command)


def script(*steps: Step) -> Transcript:
    return Transcript(steps=steps)


def commands(*lines: str) -> Transcript:
    """A step for each command line, then the last word."""
    return script(*(Step(actions=(ran(line),)) for line in lines), DONE)


DONE = Step(text="Done.")
WRITES_A_FILE = script(
    Step(reasoning="A file.", text="Now.", actions=(wrote("a.txt", "one\n"),)), DONE
)


@dataclass(kw_only=True)
class Stage:
    """Where turns are played; each goes on with what the last one left."""

    folder: Path
    agent: Agent
    sandbox: SandboxSpec
    secrets: tuple[str, ...] = ()
    files: Path
    session: str | None = None
    timeouts: Timeouts = SOON
    turns: int = field(default=0)

    def play(
        self, prompt: str, transcript: Transcript, *, upstream: str | None = None
    ) -> TurnRun:
        player = Player(transcript=transcript, agent=self.agent, upstream=upstream)
        with playing(player) as url:
            return self.ask(prompt, url)

    def ask(self, prompt: str, url: str) -> TurnRun:
        self.turns += 1
        turn = Turn(
            agent=self.agent,
            sandbox=self.sandbox,
            secrets=self.secrets,
            upstream=url,
            prompt=prompt,
            session=self.session,
            files=self.files,
            files_out=self.folder / f"files-{self.turns}.tar",
            folder=self.folder / f"turn-{self.turns}",
            timeouts=self.timeouts,
        )
        run = run_trial_turn(turn)
        self.files = run.files or self.files
        self.session = run.events.session_id
        return run

    @property
    def calls(self) -> Path:
        """The recording of the last turn."""
        return self.folder / f"turn-{self.turns}" / "calls"


@contextmanager
def playing(player: Player) -> Iterator[str]:
    with loopback_listener() as listener, serving(player.app(), [listener]):
        yield address(listener)


def stage_for(version: str, folder: Path, **agent: object) -> Stage:
    """A stage with the real OpenCode of a version, a git work tree and one file."""
    cache = find_project().cache
    opencode = provide_program(opencode_of(version, INTEGRITY[version]), cache)
    tools = {"opencode": opencode, "rg": provide_program(RIPGREP, cache)}
    seed = folder / "seed"
    seed.mkdir(parents=True)
    (seed / "seed.txt").write_text("seed\n")
    setup = replace(
        OpenCode(
            version=version,
            model="scripted",
            context_tokens=65_536,
            output_tokens=8_192,
        ),
        **agent,  # type: ignore[arg-type]
    )
    return Stage(
        folder=folder,
        agent=setup,
        sandbox=SandboxSpec(bwrap=find_bwrap(cache), tools=tools),
        files=begin_files(seed, folder / "start.tar"),
    )
