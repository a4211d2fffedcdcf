"""matplotlib's SVG made fit to stand inside a page: its colours, ids and words."""

import html
import re

TEXT = "#a0000a"
GRID = "#a0000b"
BAND = "#a0000c"
SERIES = tuple(f"#a0000{number}" for number in range(6))
"""Stand-ins that plots are drawn with; the page's style sheet decides what they are."""

_VARIABLES = {
    TEXT: "currentColor",
    GRID: "var(--grid)",
    BAND: "var(--band)",
    **{colour: f"var(--s{number})" for number, colour in enumerate(SERIES)},
}


def inline_svg(text: str, *, id_: str, title: str, description: str) -> str:
    """One `<svg>` element: colours of the page, ids unique on it, told in words."""
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{id_}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{id_}-\1)", text)
    text = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{id_}-\1"', text)
    for stand_in, colour in _VARIABLES.items():
        text = text.replace(stand_in, colour)
    text = text.replace("'DejaVu Sans'", "system-ui")
    head, body = text.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    named = f'{head} role="img" aria-labelledby="{id_}-title {id_}-desc">'
    words = (
        f'<title id="{id_}-title">{html.escape(title)}</title>'
        f'<desc id="{id_}-desc">{html.escape(description)}</desc>'
    )
    return named + words + body
