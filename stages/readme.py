"""Copy the tables of results/leaderboard.md into README.md: ``python -m stages.readme``."""

from __future__ import annotations

from pathlib import Path

START = (
    "<!-- results: copied from results/leaderboard.md by `make results`; a test compares them -->\n"
)
END = "<!-- end of results -->\n"


def with_tables(readme: str, leaderboard: str) -> str:
    """Return the README with the leaderboard's text, below its title, between the two marks.

    Raises:
        ValueError: if a mark is missing.
    """
    if START not in readme or END not in readme:
        raise ValueError(f"the README must hold the marks {START.strip()} and {END.strip()}")
    head, _, rest = readme.partition(START)
    tail = rest.partition(END)[2]
    body = leaderboard.partition("\n")[2].strip().replace("\n## ", "\n### ")
    return f"{head}{START}\n{body}\n\n{END}{tail}"


def main() -> None:
    """Rewrite README.md."""
    readme = Path("README.md")
    readme.write_text(with_tables(readme.read_text(), Path("results/leaderboard.md").read_text()))


if __name__ == "__main__":
    main()
