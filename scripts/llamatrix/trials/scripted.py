"""The scripted model: an authored transcript, played over real serving.

A transcript says what the model answers, call by call, as actions that each agent
translates into its own tool calls. With an upstream every request is forwarded to a real
llama-server, whose text is thrown away and whose counts and timings are passed on: they
are real, the words are authored.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import httpx
import msgspec
from msgspec import Struct
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from llamatrix.agents.protocol import Action, Agent
from llamatrix.config.complaint import nearest
from llamatrix.errors import MeasureError
from llamatrix.proxy.call import CallKind
from llamatrix.proxy.chat_completions import PATH, read_request
from llamatrix.proxy.wire_api import ModelRequest
from llamatrix.trials.checks.task import Task

SOLUTION = "solution"
_STALL_S = 3600.0


class Fault(StrEnum):
    """How a call goes wrong before the step is played."""

    HTTP_500 = "http-500"
    HTTP_400 = "http-400"
    CUT = "cut"
    """The answer breaks off after its first words."""
    STALL = "stall"
    """The answer stops after its first words, and the connection stays open."""


_FAULT_STATUS = {Fault.HTTP_500: 500, Fault.HTTP_400: 400}


class OwnCall(Struct, frozen=True, kw_only=True, tag="call", tag_field="do"):
    """A call of one agent's own tool, or one that is wrong on purpose."""

    tool: str
    arguments: dict[str, object] = {}
    raw_arguments: str | None = None
    """Sent in place of `arguments`, unchanged."""


class Step(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reasoning: str = ""
    text: str = ""
    actions: tuple[Action | OwnCall, ...] = ()
    faults: tuple[Fault, ...] = ()
    """One for each attempt at this step, in order; then it is played."""
    always: Fault | None = None
    """A fault for every attempt."""


class Transcript(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    steps: tuple[Step, ...]
    """In order over all turns of a trial; the history selects the next one."""


def load_transcript(path: Path) -> Transcript:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Transcript)
    except OSError as error:
        raise MeasureError(f"{path.name}: cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise MeasureError(f"{path.name}: not a transcript: {error}") from error


def script_of(task: Task, name: str) -> Transcript:
    """Return a task's transcript: `solution`, or one that ends a turn too early.

    Those are in the task's `scripts`: the checks then find what is missing, and the next
    turn continues with the rest.
    """
    solution = load_transcript(task.folder / "solution" / "transcript.json")
    if name == SOLUTION:
        return solution
    script = task.scripts.get(name)
    if script is None:
        known = (SOLUTION, *task.scripts)
        raise MeasureError(f"{task.id}: no transcript {name!r}{nearest(name, known)}")
    before, after = solution.steps[: script.after], solution.steps[script.after :]
    if not after:
        raise MeasureError(
            f"{task.id}/task.toml: scripts.{name}.after: {script.after} is not below "
            f"the {len(solution.steps)} steps of the solution"
        )
    return Transcript(steps=(*before, Step(text=script.says), *after))


_Counts = dict[str, object]
"""The `usage` and `timings` that the real server reports of the call it did."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Answer:
    """A step in the words of one agent."""

    text: str
    reasoning: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    """Tools and their arguments as JSON."""

    @property
    def length_tokens(self) -> int:
        """About how long it is: four characters to a token, at least one."""
        texts = (self.reasoning, self.text, *(arguments for _, arguments in self.calls))
        return max(1, sum(map(len, texts)) // 4)


_OF_KIND = {
    CallKind.TITLE: _Answer(text="A scripted session"),
    CallKind.COMPACTION: _Answer(text="The work so far is in the files."),
}


@dataclass(kw_only=True, slots=True)
class Player:
    transcript: Transcript
    agent: Agent
    upstream: str | None = None
    """A real llama-server's address; None plays without one, and without timings."""
    bearer: str = field(default="", repr=False)
    """A key that the real server wants."""
    transport: httpx.AsyncBaseTransport | None = None
    refusals: list[str] = field(default_factory=list)
    """What the real server answered instead of a completion: with random weights
    its parser refuses some texts. The work was done, the counts are lost."""
    _attempts: "Counter[int]" = field(default_factory=Counter)

    def app(self) -> Starlette:
        client = httpx.AsyncClient(
            base_url=self.upstream or "http://none.invalid",
            transport=self.transport,
            headers={"Authorization": f"Bearer {self.bearer}"} if self.bearer else {},
            trust_env=False,
            timeout=None,  # noqa: S113  a slow prefill takes what it takes
        )

        @asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncIterator[None]:
            async with client:
                yield

        async def answer(request: Request) -> Response:
            return await self._answer(client, request)

        route = Route(PATH, answer, methods=["POST"])
        return Starlette(routes=[route], lifespan=lifespan)

    async def _answer(self, client: httpx.AsyncClient, request: Request) -> Response:
        body = await request.body()
        read = read_request(body)
        if read is None:
            return _error(400, "not a chat completion request")
        kind = self.agent.classify_request(dict(request.headers), read)
        fault = None
        if (answer := _OF_KIND.get(kind)) is None:
            if read.answers_given >= len(self.transcript.steps):
                number = read.answers_given + 1
                return _error(400, f"the transcript has no step {number}")
            step = self.transcript.steps[read.answers_given]
            answer = self._in_words(step)
            if kind is CallKind.MAIN:
                fault = self._fault(step, read.answers_given)
        if fault in _FAULT_STATUS:
            return _error(_FAULT_STATUS[fault], f"scripted {fault}")
        counts = await self._work(client, body, answer)
        parts = _stream(answer, read, counts, fault)
        return StreamingResponse(parts, media_type="text/event-stream")

    def _in_words(self, step: Step) -> _Answer:
        calls = []
        for action in step.actions:
            if isinstance(action, OwnCall):
                tool, arguments = action.tool, action.arguments
                text = action.raw_arguments
            else:
                tool, arguments = self.agent.tool_call(action)
                text = None
            if text is None:
                text = json.dumps(arguments, ensure_ascii=False)
            calls.append((tool, text))
        return _Answer(text=step.text, reasoning=step.reasoning, calls=tuple(calls))

    def _fault(self, step: Step, number: int) -> Fault | None:
        attempt = self._attempts[number]
        self._attempts[number] += 1
        if attempt < len(step.faults):
            return step.faults[attempt]
        return step.always

    async def _work(
        self, client: httpx.AsyncClient, body: bytes, answer: _Answer
    ) -> _Counts:
        """Have the real server do the call: all of the prompt, as many tokens out."""
        if self.upstream is None:
            return {}
        request = json.loads(body)
        request |= {"stream": False, "max_tokens": answer.length_tokens}
        request.pop("stream_options", None)
        try:
            got = await client.post(PATH, json=request)
        except httpx.HTTPError as error:
            self.refusals.append(f"{type(error).__name__}: {error}")
            return {}
        if got.status_code != httpx.codes.OK:
            self.refusals.append(f"HTTP {got.status_code}: {got.text[:300]}")
            return {}
        reply = msgspec.json.decode(got.content, type=_Counts)
        return {name: reply[name] for name in ("usage", "timings") if name in reply}


def _error(status: int, message: str) -> Response:
    body = {"error": {"message": message, "type": "scripted", "code": status}}
    return JSONResponse(body, status_code=status)


async def _stream(
    answer: _Answer, read: ModelRequest, counts: _Counts, fault: Fault | None
) -> AsyncIterator[bytes]:
    """The answer as server-sent events, broken off or held up where a fault says so."""
    for number, event in enumerate(_events(answer, read, counts)):
        yield event
        if fault and number == 1:
            if fault is Fault.STALL:
                await asyncio.sleep(_STALL_S)
            raise ConnectionAbortedError


def _events(answer: _Answer, read: ModelRequest, counts: _Counts) -> Iterator[bytes]:
    def chunk(delta: dict[str, object], finish: str | None = None) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        kind = "chat.completion.chunk"
        return _event({"object": kind, "model": read.model, "choices": choices})

    yield chunk({"role": "assistant", "content": None})
    if answer.reasoning:
        yield chunk({"reasoning_content": answer.reasoning})
    if answer.text:
        yield chunk({"content": answer.text})
    for index, (tool, arguments) in enumerate(answer.calls):
        called = {
            "index": index,
            "id": f"call_{read.answers_given}_{index}",
            "type": "function",
            "function": {"name": tool, "arguments": arguments},
        }
        yield chunk({"tool_calls": [called]})
    yield chunk({}, "tool_calls" if answer.calls else "stop")
    prompt_tokens = read.text_length // 4  # agents want numbers, nobody reads these
    estimate = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": answer.length_tokens,
        "total_tokens": prompt_tokens + answer.length_tokens,
    }
    yield _event({"choices": [], "model": read.model, "usage": estimate, **counts})
    yield b"data: [DONE]\n\n"


def _event(content: dict[str, object]) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"
