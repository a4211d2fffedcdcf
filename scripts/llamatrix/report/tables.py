"""A table, and its two written forms: Markdown for people, CSV for programs."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[int, ...] = ()
    """Columns to align to the right: those with numbers."""

    def markdown(self) -> str:
        from tabulate import tabulate

        align = [
            "right" if column in self.right else "left"
            for column in range(len(self.header))
        ]
        body = tabulate(
            [[_cell(text) for text in row] for row in self.rows],
            headers=list(self.header),
            tablefmt="github",
            colalign=align if self.rows else None,
            disable_numparse=True,
        )
        return f"### {self.title}\n\n{body}\n"


def _cell(text: str) -> str:
    """Words out of a record can neither end a cell nor a row."""
    return " ".join(text.replace("|", "\\|").splitlines())
