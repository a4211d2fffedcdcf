"""The Gemini stub's answers and errors, in the shapes of the public reference."""

import base64

import httpx
import msgspec
import pytest

from llamatrix.trials.stubs.request_log import GivenKey, read_requests
from llamatrix.trials.stubs.serving import Stubs

MODEL = "gemini-3.1-flash-preview"
URL = "https://generativelanguage.googleapis.com/v1beta/models"


def ask(prompt: str, *modalities: str) -> dict[str, object]:
    body: dict[str, object] = {"contents": [{"parts": [{"text": prompt}]}]}
    if modalities:
        body["generationConfig"] = {"responseModalities": modalities}
    return body


def post(
    client: httpx.Client, key: str, call: str, body: dict[str, object]
) -> httpx.Response:
    return client.post(f"{URL}/{call}", json=body, headers={"x-goog-api-key": key})


def parts(answer: httpx.Response) -> list[dict[str, object]]:
    found: list[dict[str, object]] = answer.json()["candidates"][0]["content"]["parts"]
    return found


def image_in(answer: httpx.Response) -> bytes:
    (part,) = (part for part in parts(answer) if "inlineData" in part)
    data = msgspec.convert(part["inlineData"], type=dict[str, str])
    assert data["mimeType"] == "image/png"
    return base64.b64decode(data["data"])


def test_image_answer_has_text_unless_only_images_are_requested(
    client: httpx.Client, stubs: Stubs
) -> None:
    both = post(client, stubs.key, f"{MODEL}:generateContent", ask("a fox"))
    assert [next(iter(part)) for part in parts(both)] == ["text", "inlineData"]
    assert image_in(both).startswith(b"\x89PNG")
    alone = ask("a fox", "IMAGE")
    image = post(client, stubs.key, f"{MODEL}:generateContent", alone)
    assert [next(iter(part)) for part in parts(image)] == ["inlineData"]


def test_text_request_is_answered_without_image(
    client: httpx.Client, stubs: Stubs
) -> None:
    text = ask("a fox", "TEXT")
    answer = post(client, stubs.key, f"{MODEL}:generateContent", text)
    assert [next(iter(part)) for part in parts(answer)] == ["text"]


def test_two_answers_to_one_prompt_are_two_images(
    client: httpx.Client, stubs: Stubs
) -> None:
    twice = [
        image_in(post(client, stubs.key, f"{MODEL}:generateContent", ask("a fox")))
        for _ in range(2)
    ]
    assert twice[0] != twice[1]


def test_a_streamed_answer_is_one_event_with_the_same_content(
    client: httpx.Client, stubs: Stubs
) -> None:
    call = f"{MODEL}:streamGenerateContent?alt=sse"
    answer = post(client, stubs.key, call, ask("a fox"))
    assert answer.headers["content-type"].startswith("text/event-stream")
    (event,) = answer.text.strip().split("\r\n\r\n")
    assert '"inlineData"' in event.removeprefix("data: ")


def test_the_models_are_listed_and_described(
    client: httpx.Client, stubs: Stubs
) -> None:
    listed = client.get(f"{URL}?key={stubs.key}").json()["models"]
    assert [each["name"] for each in listed] == [
        "models/gemini-3.1-flash-preview",
        "models/gemini-2.5-flash-image",
    ]
    one = client.get(f"{URL}/{MODEL}?key={stubs.key}")
    assert one.json()["name"] == f"models/{MODEL}"


def test_body_without_end_is_refused(client: httpx.Client, stubs: Stubs) -> None:
    url, headers = f"{URL}/{MODEL}:generateContent", {"x-goog-api-key": stubs.key}
    parts = iter([b"x" * (1 << 20)] * 9)
    answer = client.post(url, content=parts, headers=headers)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("key", "call", "body", "status", "word"),
    [
        ("", f"{MODEL}:generateContent", ask("a"), 403, "PERMISSION_DENIED"),
        ("wrong", f"{MODEL}:generateContent", ask("a"), 400, "INVALID_ARGUMENT"),
        (None, "gemini-9:generateContent", ask("a"), 404, "NOT_FOUND"),
        (None, f"{MODEL}:generateContent", ask(" "), 400, "INVALID_ARGUMENT"),
        (None, f"{MODEL}:generateContent", {"contents": 3}, 400, "INVALID_ARGUMENT"),
        (None, f"{MODEL}:predict", ask("a"), 404, "NOT_FOUND"),
    ],
)
def test_a_wrong_call_is_refused_in_googles_own_form(
    client: httpx.Client,
    stubs: Stubs,
    key: str | None,
    call: str,
    body: dict[str, object],
    status: int,
    word: str,
) -> None:
    used = stubs.key if key is None else key
    answer = post(client, used, call, body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["status"]) == (
        status,
        status,
        word,
    )
    assert error["message"]


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("invalid-key", GivenKey.BAD),
        ("garbage", GivenKey.BAD),
        ("foobar", GivenKey.BAD),
        ("12345", GivenKey.BAD),
        ("this-key-does-not-exist", GivenKey.BAD),
        ("a1b2c3d4e5f6g7h8i9", GivenKey.UNKNOWN),
        (f"AIza{'b' * 35}", GivenKey.UNKNOWN),
    ],
)
def test_only_a_key_that_looks_real_is_recorded_as_unknown(
    client: httpx.Client, stubs: Stubs, key: str, kind: GivenKey
) -> None:
    post(client, key, f"{MODEL}:generateContent", ask("a"))
    (request,) = read_requests(stubs.log)
    assert request.served.key is kind
