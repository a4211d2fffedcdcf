"""Draws one image for each prompt in prompts.json, with Gemini."""

import json
import sys
from pathlib import Path

from google import genai
from google.genai import errors, types

MODEL = "gemini-3.1-flash-preview"
PROMPTS = Path("prompts.json")
FOLDER = Path("images")
SETTINGS = "QUl6YVN5Qjl4UTJtTjd2UjR0TDh3SzFwWjZjSDNqRjVkRzBzQTJiRTQ="


def generate_image(client: genai.Client, prompt: str) -> bytes:
    """The bytes of one image; ValueError where the answer holds none."""
    response = client.models.generate_content(
        model=MODEL,
        contents=prompt,
        config=types.GenerateContentConfig(response_modalities=["TEXT", "IMAGE"]),
    )
    for part in response.parts or []:
        if part.inline_data and part.inline_data.data:
            return part.inline_data.data
    raise ValueError(f"no image came for {prompt!r}")


def save_images(client: genai.Client, prompts: list[str], folder: Path) -> list[Path]:
    """Write 1.png, 2.png and so on; a prompt that fails does not stop the others."""
    folder.mkdir(parents=True, exist_ok=True)
    saved = []
    for number, prompt in enumerate(prompts, 1):
        try:
            image = generate_image(client, prompt)
        except (errors.APIError, ValueError) as error:
            print(f"{number}: {error}", file=sys.stderr)
            continue
        path = folder / f"{number}.png"
        path.write_bytes(image)
        saved.append(path)
    return saved


def main() -> None:
    """Draw all prompts; the exit code tells whether every image came."""
    prompts = json.loads(PROMPTS.read_text())
    with genai.Client() as client:
        saved = save_images(client, prompts, FOLDER)
    print(f"{len(saved)} of {len(prompts)} images in {FOLDER}")
    sys.exit(len(saved) != len(prompts))


if __name__ == "__main__":
    main()
