"""An LLM judge: what a model says of a trial's finished work, by a fixed rubric.

It is asked once for each trial and never affects a verdict. The rubric is data beside
this file. What came of asking is data too; nothing of it is raised.
"""

import hashlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from llamatrix.errors import MeasureError
from llamatrix.redaction import GONE, Redaction
from llamatrix.trials.checks.keys import literal_key_lines
from llamatrix.trials.checks.sources import Source, files, text_of
from llamatrix.trials.checks.tdd import TddOrder
from llamatrix.web import NoAnswerError, Reply, Site, WrongAnswerError

_RUBRIC = Path(__file__).with_name("llm_judge_rubric.toml")
_PATH = "chat/completions"
_TIMEOUT_S = 600.0
_ANSWER_TOKENS = 8192
_REQUEST_REFUSED = {400, 413, 422}
"""HTTP status codes for a request that the endpoint cannot serve."""
_KEPT = 500
_THOUGHTS = re.compile(r"\A.*?</think>", re.DOTALL)
_SHOWN = {".py": 0, ".toml": 1, ".md": 2, ".json": 2, ".txt": 2, ".cfg": 2, ".sh": 2}
"""Suffixes of files whose text is shown, the most important ones first."""
_MAX_FILE_CHARACTERS = 20_000
_MAX_CHARACTERS = 60_000
_MAX_NAMES = 200
_LITERAL = re.compile(r"(['\"])[^'\"\s]{16,}\1")
"""The shortest literal that `literal_key_lines` takes for a key."""


class Grade(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    score: Annotated[int, Meta(ge=1, le=5)]
    sentence: Annotated[str, Meta(min_length=1, max_length=600)]


class Given(Struct, frozen=True, kw_only=True, tag="given"):
    grades: dict[str, Grade]
    """One for each aspect of the rubric, in its order."""


class Refused(Struct, frozen=True, kw_only=True, tag="refused"):
    """The model, or a content filter, refused to answer."""

    text: str


class Unparseable(Struct, frozen=True, kw_only=True, tag="nonsense"):
    """Neither of two answers was the JSON that was asked for."""

    why: str
    text: str
    """The end of the last answer."""


class Declined(Struct, frozen=True, kw_only=True, tag="declined"):
    """The endpoint refused this request, usually because it is too long."""

    status: int
    text: str


JudgeAnswer = Given | Refused | Unparseable | Declined


class Aspect(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    title: str
    """As in the published Code Quality table."""
    asks: str
    one: str
    three: str
    five: str


class Rubric(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    version: int
    role: str
    answer: str
    again: str
    """The reply to an answer that cannot be parsed; `{why}` is the reason."""
    aspects: dict[str, Aspect]


@cache
def rubric() -> Rubric:
    return msgspec.toml.decode(_RUBRIC.read_bytes(), type=Rubric)


@cache
def rubric_sha256() -> str:
    return hashlib.sha256(_RUBRIC.read_bytes()).hexdigest()


class Message(Struct, frozen=True):
    role: str
    content: str


class ChatRequest(Struct, frozen=True, kw_only=True):
    model: str
    messages: tuple[Message, ...]
    temperature: int = 0
    max_tokens: int = _ANSWER_TOKENS
    stream: bool = False


class _AnswerMessage(Struct, frozen=True, kw_only=True):
    content: str | None = None
    refusal: str | None = None


class _Choice(Struct, frozen=True, kw_only=True):
    message: _AnswerMessage
    finish_reason: str | None = None


class _Completion(Struct, frozen=True, kw_only=True):
    choices: tuple[_Choice, ...]
    model: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeQuestion:
    request: ChatRequest
    cut: tuple[str, ...]
    """Files of the workspace that are not shown whole."""

    @property
    def sha256(self) -> str:
        """Of the request as it is sent."""
        return hashlib.sha256(msgspec.json.encode(self.request)).hexdigest()

    @property
    def characters(self) -> int:
        return sum(len(message.content) for message in self.request.messages)


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeReply:
    answer: JudgeAnswer
    answered_by: str
    """The model's name as the endpoint gives it; may be empty."""
    calls: int
    seconds: float


def judge_question(
    model: str,
    *,
    task: str,
    workspace: Path,
    tdd: TddOrder | None,
    redaction: Redaction,
) -> JudgeQuestion:
    """Return the question about one workspace; `task` is the prompt of the agent."""
    rules, (shown, cut) = rubric(), workspace_text(workspace, redaction)
    mark = hashlib.sha256(shown.encode()).hexdigest()[:12]
    aspects = (
        f"{key}: {aspect.asks}\n  1: {aspect.one}\n  3: {aspect.three}\n  5: {aspect.five}"
        for key, aspect in rules.aspects.items()
    )
    text = "\n\n".join(
        [
            f"The task:\n{_clean(task, redaction).strip()}",
            f"The agent's log proves: {_tdd_text(tdd)}",
            f"<<<{mark}\n{shown}\n{mark}>>>",
            "The aspects:\n\n" + "\n\n".join(aspects),
            rules.answer.strip(),
        ]
    )
    messages = (Message("system", rules.role.strip()), Message("user", text))
    request = ChatRequest(model=model, messages=messages)
    return JudgeQuestion(request=request, cut=cut)


def _tdd_text(tdd: TddOrder | None) -> str:
    if tdd is None:
        return "nothing about the order of tests and code."
    steps = (
        (tdd.test_first, "a test was written before any implementation"),
        (tdd.failed_before, "it was run and failed before there was any"),
        (tdd.passed_after, "tests were run and passed with the implementation there"),
    )
    return "; ".join(f"{'yes' if done else 'no'}: {what}" for done, what in steps) + "."


def ask_judge(site: Site, question: JudgeQuestion, redaction: Redaction) -> JudgeReply:
    """Call the model, and once more where its answer is not the JSON asked for.

    MeasureError where the endpoint itself does not work.
    """
    begun = time.monotonic()
    answer, text, model = _call(site, question.request, redaction)
    calls = 1
    if isinstance(answer, Unparseable):
        again = (
            Message("assistant", text),
            Message("user", rubric().again.format(why=answer.why)),
        )
        messages = (*question.request.messages, *again)
        request = msgspec.structs.replace(question.request, messages=messages)
        answer, _, model = _call(site, request, redaction)
        calls = 2
    return JudgeReply(
        answer=answer,
        answered_by=model,
        calls=calls,
        seconds=time.monotonic() - begun,
    )


def _call(
    site: Site, request: ChatRequest, redaction: Redaction
) -> tuple[JudgeAnswer, str, str]:
    """Return the answer, the text it was parsed from, and the model's name."""
    try:
        reply = site.post(_PATH, request, timeout_s=_TIMEOUT_S)
    except NoAnswerError as error:
        raise _does_not_work(str(error), redaction) from error
    if reply.status in _REQUEST_REFUSED:
        text = _clean(reply.text, redaction)[:_KEPT]
        return Declined(status=reply.status, text=text), "", ""
    try:
        completion = reply.read(_Completion)
    except WrongAnswerError as error:
        raise _does_not_work(f"{error}{_hint(reply)}", redaction) from error
    model = _clean(completion.model, redaction)
    if not completion.choices:
        return Unparseable(why="there is no choice in it", text=""), "", model
    choice = completion.choices[0]
    content = _clean(choice.message.content or "", redaction)
    if choice.message.refusal or choice.finish_reason == "content_filter":
        text = _clean(choice.message.refusal or content, redaction)
        return Refused(text=text[:_KEPT]), content, model
    grades = _parse(content, cut=choice.finish_reason == "length")
    if isinstance(grades, dict):
        return Given(grades=grades), content, model
    return Unparseable(why=grades, text=content[-_KEPT:]), content, model


def _parse(content: str, *, cut: bool) -> dict[str, Grade] | str:
    """Read the grades; thoughts before them and a fence around them are allowed.

    Where the content is not what was asked for, return why.
    """
    text = _THOUGHTS.sub("", content).strip()
    opening, line_end, fenced = text.partition("\n")
    if line_end and opening.rstrip() in {"```", "```json"}:
        text = fenced.removesuffix("\n```")
    aspects = rubric().aspects
    try:
        grades = msgspec.json.decode(text, type=dict[str, Grade])
    except (msgspec.MsgspecError, RecursionError) as error:
        return "it was cut off at its token limit" if cut else str(error)
    if grades.keys() != aspects.keys():
        return f"its keys are not {', '.join(aspects)}"
    return {key: grades[key] for key in aspects}


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
        f"{_clean(what, redaction)}; answers so far are kept, and the same command "
        "continues with the next trial"
    )


def workspace_text(
    workspace: Path, redaction: Redaction
) -> tuple[str, tuple[str, ...]]:
    """Return the names of all files, then their texts without keys, code first.

    It has about 60,000 characters at most. Also return the files that are not shown to
    their end, or only named.
    """
    paths = files(workspace)
    names = [_name(path, workspace) for path in paths]
    listed = "\n".join(names[:_MAX_NAMES])
    more = len(names) - _MAX_NAMES
    parts = [f"Files:\n{listed}" + (f"\nand {more} more" if more > 0 else "")]
    room = _MAX_CHARACTERS - len(parts[0])
    cut = []
    unshown = 0
    for name, text in _texts(workspace, paths):
        if room <= 0:
            cut.append(name)
            unshown += 1
            continue
        clean = _clean(_without_literal_keys(name, text), redaction)
        most = min(_MAX_FILE_CHARACTERS, room)
        if len(clean) > most:
            cut.append(name)
            clean = f"{clean[:most]}\n[{len(clean) - most} characters are left out]"
        parts.append(f"--- {name} ---\n{clean}")
        room -= len(parts[-1])
    if unshown:
        parts.append(f"[{unshown} more files are left out]")
    return _clean("\n\n".join(parts), redaction), tuple(cut)


def _texts(workspace: Path, paths: tuple[Path, ...]) -> Iterator[tuple[str, str]]:
    """Yield names and texts of files, but not of hidden ones: `.env` may hold a key."""
    shown = [
        path
        for path in paths
        if path.suffix in _SHOWN and not path.name.startswith(".")
    ]
    for path in sorted(shown, key=lambda path: _SHOWN[path.suffix]):
        yield _name(path, workspace), text_of(path)


def _name(path: Path, workspace: Path) -> str:
    """Return the file's name as UTF-8: an agent's file names are any bytes."""
    inner = os.fsencode(path.relative_to(workspace).as_posix())
    return inner.decode(errors="replace")


def _without_literal_keys(name: str, text: str) -> str:
    """Replace literals that are bound to a name like `api_key`, whatever their shape."""
    if not name.endswith(".py"):
        return text
    lines = text.split("\n")
    for number in literal_key_lines(Source(name=name, text=text)):
        lines[number - 1] = _LITERAL.sub(rf"\1{GONE}\1", lines[number - 1])
    return "\n".join(lines)
