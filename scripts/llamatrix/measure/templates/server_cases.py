"""Cases that only a server can answer: its switches, its refusals, its parser."""

from collections.abc import Iterator, Mapping

from llamatrix.measure.templates.conversation import (
    Conversation,
    Image,
    ImageUrl,
    Json,
    Message,
    Text,
    answer,
    user,
)
from llamatrix.measure.templates.parser import (
    PARSER_TRIALS,
    CannotTellError,
    ForcedCall,
)
from llamatrix.measure.templates.reading import Family
from llamatrix.measure.templates.render import RenderError, ServerRenderer
from llamatrix.measure.templates.result import CaseResult
from llamatrix.web import NoAnswerError, Site, WrongAnswerError

_PIXEL = "data:image/png;base64,iVBORw0KGgo="
_TIMEOUT_S = 60.0


def server_cases(
    family: Family, site: Site, kwargs: Mapping[str, Json]
) -> Iterator[CaseResult]:
    """`kwargs` are the model's own switches, tried as they stand."""
    yield _result("switches", switches_complaint(site, kwargs), essential=True)
    yield _result("answer-begun", _begun_complaint(site), essential=False, bug="T4")
    yield _result("image-refused", _image_complaint(site), essential=False)
    yield from _parser_cases(family, site)


def switches_complaint(site: Site, kwargs: Mapping[str, Json]) -> str | None:
    """A switch of the wrong type is told; servers and templates may take it wrongly."""
    thinking = kwargs.get("enable_thinking", True)
    if not isinstance(thinking, bool):
        return f"enable_thinking is {thinking!r}, not true or false"
    asked = Conversation(messages=(user("Hello."),), kwargs=dict(kwargs))
    return _refusal(site, asked)


def _begun_complaint(site: Site) -> str | None:
    return _refusal(site, Conversation(messages=(user("Hello."), answer("Well,"))))


def _image_complaint(site: Site) -> str | None:
    """Without a projector an image must not be dropped in silence."""
    picture = Image(image_url=ImageUrl(url=_PIXEL))
    said = Message(role="user", content=(Text(text="What is this?"), picture))
    reply = site.post(
        "/v1/chat/completions",
        {**Conversation(messages=(said,)).body(), "max_tokens": 1},
        timeout_s=_TIMEOUT_S,
    )
    if reply.ok:
        return "an image was taken although nothing can see it"
    return None if "image" in reply.text else f"refused, but not clearly: {reply.text}"


def _refusal(site: Site, conversation: Conversation) -> str | None:
    try:
        ServerRenderer(site).render(conversation)
    except RenderError as error:
        return str(error)
    return None


def _parser_cases(family: Family, site: Site) -> Iterator[CaseResult]:
    """A case that this server offers no way to try is left out."""
    untold = False
    for name, trial in PARSER_TRIALS:
        try:
            complaint = trial.complaint(family, site)
        except CannotTellError:
            untold = True
            continue
        except (NoAnswerError, WrongAnswerError) as error:
            complaint = str(error)
        yield _result(name, complaint, essential=False)
    if untold:
        complaint = ForcedCall().complaint(site)
        yield _result("parser-forced-call", complaint, essential=False)


def _result(
    name: str, complaint: str | None, *, essential: bool, bug: str = ""
) -> CaseResult:
    return CaseResult(
        id=name,
        essential=essential,
        passed=complaint is None,
        reason=complaint or "",
        bug=bug,
    )
