"""One trial put before a model: what is sent, and what is made of the answer."""

import hashlib
import re
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import Struct

from llamatrix.errors import MeasureError
from llamatrix.redaction import Redaction
from llamatrix.trials.checks.tdd import TddOrder
from llamatrix.trials.llm_judge.exhibit import exhibit
from llamatrix.trials.llm_judge.outcome import (
    Declined,
    Given,
    Grade,
    Opinion,
    Refused,
    Unparseable,
)
from llamatrix.trials.llm_judge.rubric import aspects_text, rubric
from llamatrix.web import NoAnswerError, Reply, Site, WrongAnswerError

_PATH = "chat/completions"
_TIMEOUT_S = 600.0
_ANSWER_TOKENS = 8192
_OF_THIS_REQUEST = {400, 413, 422}
"""What an endpoint answers where it is the request that it cannot do."""
_KEPT = 500
_THOUGHTS = re.compile(r"\A.*?</think>", re.DOTALL)


class Message(Struct, frozen=True):
    role: str
    content: str


class Request(Struct, frozen=True, kw_only=True):
    model: str
    messages: tuple[Message, ...]
    temperature: int = 0
    max_tokens: int = _ANSWER_TOKENS
    stream: bool = False


class _Said(Struct, frozen=True, kw_only=True):
    content: str | None = None
    refusal: str | None = None


class _Choice(Struct, frozen=True, kw_only=True):
    message: _Said
    finish_reason: str | None = None


class _Completion(Struct, frozen=True, kw_only=True):
    choices: tuple[_Choice, ...]
    model: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    request: Request
    cut: tuple[str, ...]
    """Files of the workspace that are not shown whole."""

    @property
    def sha256(self) -> str:
        """Of the request as it is sent."""
        return hashlib.sha256(msgspec.json.encode(self.request)).hexdigest()

    @property
    def characters(self) -> int:
        return sum(len(one.content) for one in self.request.messages)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reached:
    opinion: Opinion
    answered_by: str
    """The model's name as the endpoint tells it; may be empty."""
    calls: int
    seconds: float


def question(
    model: str,
    *,
    task: str,
    workspace: Path,
    tdd: TddOrder | None,
    redaction: Redaction,
) -> Question:
    """What is asked of one workspace; `task` is what the agent was told."""
    asked, shown = rubric(), exhibit(workspace, redaction)
    mark = hashlib.sha256(shown.text.encode()).hexdigest()[:12]
    words = "\n\n".join(
        [
            f"The task:\n{redaction.clean(task.encode()).decode().strip()}",
            f"The agent's log proves: {_tdd_text(tdd)}",
            f"<<<{mark}\n{shown.text}\n{mark}>>>",
            f"The aspects:\n\n{aspects_text(asked)}",
            asked.answer.strip(),
        ]
    )
    messages = (Message("system", asked.role.strip()), Message("user", words))
    return Question(request=Request(model=model, messages=messages), cut=shown.cut)


def ask(site: Site, question: Question, redaction: Redaction) -> Reached:
    """One call, and another where the answer is not the JSON that was asked for.

    MeasureError where the endpoint itself does not work: that is no opinion.
    """
    begun = time.monotonic()
    first, said, by = _once(site, question.request, redaction)
    last, calls = first, 1
    if isinstance(first, Unparseable):
        again = (
            Message("assistant", said),
            Message("user", rubric().again.format(why=first.why)),
        )
        messages = (*question.request.messages, *again)
        request = msgspec.structs.replace(question.request, messages=messages)
        last, _, by = _once(site, request, redaction)
        calls = 2
    return Reached(
        opinion=last,
        answered_by=by,
        calls=calls,
        seconds=time.monotonic() - begun,
    )


def _once(
    site: Site, request: Request, redaction: Redaction
) -> tuple[Opinion, str, str]:
    """The opinion, the words it was read from, and who said them."""
    try:
        reply = site.post(_PATH, request, timeout_s=_TIMEOUT_S)
    except NoAnswerError as error:
        raise _does_not_work(str(error), redaction) from error
    if reply.status in _OF_THIS_REQUEST:
        text = _clean(reply.text, redaction)[:_KEPT]
        return Declined(status=reply.status, text=text), "", ""
    try:
        completion = reply.read(_Completion)
    except WrongAnswerError as error:
        raise _does_not_work(f"{error}{_hint(reply)}", redaction) from error
    by = _clean(completion.model, redaction)
    if not completion.choices:
        return Unparseable(why="there is no choice in it", text=""), "", by
    choice = completion.choices[0]
    said = _clean(choice.message.content or "", redaction)
    if choice.message.refusal or choice.finish_reason == "content_filter":
        text = _clean(choice.message.refusal or said, redaction)
        return Refused(text=text[:_KEPT]), said, by
    return _read(said, cut=choice.finish_reason == "length"), said, by


def _read(said: str, *, cut: bool) -> Opinion:
    """Thoughts before the answer and a fence around it are borne, nothing else."""
    text = _THOUGHTS.sub("", said).strip()
    opening, line_end, fenced = text.partition("\n")
    if line_end and opening.rstrip() in {"```", "```json"}:
        text = fenced.removesuffix("\n```")
    aspects = rubric().aspects
    try:
        grades = msgspec.json.decode(text, type=dict[str, Grade])
    except (msgspec.MsgspecError, RecursionError) as error:
        why = "it was cut off at its token limit" if cut else str(error)
        return Unparseable(why=why, text=said[-_KEPT:])
    if grades.keys() != aspects.keys():
        why = f"its keys are not {', '.join(aspects)}"
        return Unparseable(why=why, text=said[-_KEPT:])
    return Given(grades={key: grades[key] for key in aspects})


def _tdd_text(tdd: TddOrder | None) -> str:
    if tdd is None:
        return "nothing about the order of tests and code."
    steps = (
        (tdd.test_first, "a test was written before any implementation"),
        (tdd.failed_before, "it was run and failed before there was any"),
        (tdd.passed_after, "tests were run and passed with the implementation there"),
    )
    return "; ".join(f"{'yes' if done else 'no'}: {what}" for done, what in steps) + "."


def _clean(text: str, redaction: Redaction) -> str:
    return redaction.clean(text.encode()).decode()


def _hint(reply: Reply) -> str:
    if reply.status in {401, 403}:
        return "; name the variable with the endpoint's key in `--key-env`"
    if reply.ok:
        return "; this is no OpenAI-compatible endpoint"
    return ""


def _does_not_work(what: str, redaction: Redaction) -> MeasureError:
    return MeasureError(
        f"{_clean(what, redaction)}; opinions already given are kept, the same command "
        "goes on from there"
    )
