"""The page as one HTML file that needs nothing but itself."""

from pathlib import Path

from llamatrix.report.html.view import Page

_HERE = Path(__file__).parent


def render(page: Page) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("index.html.j2").render(
        page=page,
        style=(_HERE / "style.css").read_text(),
        script=(_HERE / "page.js").read_text(),
    )
