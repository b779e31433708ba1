"""Copy the tables of results/ into README.md: ``python results/readme.py`` (``make results``)."""

from pathlib import Path

START = "<!-- results: copied from results/*/leaderboard.md by `make results`; a test compares them -->\n"
END = "<!-- end of results -->\n"


def with_tables(readme: str, boards: list[str]) -> str:
    """Return the README with the text of leaderboards between the two marks.

    Raises:
        ValueError: if a mark is missing.
    """
    if START not in readme or END not in readme:
        raise ValueError(f"the README must hold the marks {START.strip()} and {END.strip()}")
    head, _, rest = readme.partition(START)
    tail = rest.partition(END)[2]
    note = boards[0].split("\n\n")[1]  # all of them have it
    tables = [
        board.replace(f"{note}\n\n", "", 1).strip().replace("# ", "### ", 1) for board in boards
    ]
    body = "\n\n".join([note, *tables])
    return f"{head}{START}\n{body}\n\n{END}{tail}"


def main() -> None:
    """Rewrite README.md."""
    root = Path(__file__).parents[1]
    boards = [path.read_text() for path in sorted(root.glob("results/*/leaderboard.md"))]
    readme = root / "README.md"
    readme.write_text(with_tables(readme.read_text(), boards))


if __name__ == "__main__":
    main()
