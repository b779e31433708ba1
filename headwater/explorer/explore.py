"""Write the explorer of some scores: one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from headwater.explorer.contents import Contents
from headwater.explorer.evidence import Evidence, Suspects, TokenScores
from headwater.explorer.lists import Lists
from headwater.explorer.split import Split, class_names
from headwater.explorer.viewer import save_viewer_lines
from headwater.pages import assemble
from headwater.scores import Scores, Similarity

__all__ = ["explore"]

ASSETS = Path(__file__).parent / "assets"
KEEP = (100, 50, 25, 10)
LIMIT = 8_000_000


def explore(
    scores: Scores | Sequence[Scores],
    train: Any,
    test: Any,
    path: str | Path,
    *,
    title: str = "",
    classes: Sequence[str] | None = None,
    similarity: Similarity | ArrayLike | None = None,
    evidence: Mapping[str, Evidence] | None = None,
    per_model: Mapping[str, Sequence[ArrayLike]] | None = None,
    suspects: Suspects | None = None,
    tokens: Mapping[str, TokenScores] | None = None,
    lines: str | Path | None = None,
    limit: int = LIMIT,
) -> Path:
    """Write one HTML file that shows which training samples the predictions flow from; return its path.

    The page needs no server and no network. It holds the strongest samples of each list, 100 of each side
    or as many as fit.

    Args:
        scores: of one method, or of several with different names, the one to show first first.
        train: a `Split` of the training samples, or (samples, labels, predictions, losses), of which
            samples are enough.
        test: the same of the test samples.
        path: of the page.
        title: of the page; default: the setting of the scores.
        classes: their names, where labels are numbers.
        similarity: of training samples, from which follow diverse lists and which samples are
            interchangeable: a `Similarity`, or the Gram matrix of their gradients; default: by the rows
            of the first method's scores.
        evidence: method -> what it is worth.
        per_model: method -> scores (n_train, n_test) of each model of its ensemble: the page says how
            stable ranks are.
        suspects: training samples that may have a wrong label.
        tokens: method -> scores of single tokens, by which texts are linked.
        lines: where to write the lists of the first method for Google's viewer, as JSON lines.
        limit: the most bytes of the page.

    Raises:
        ValueError: If shapes do not match, names of methods are not different, or the page does not fit.

    Example:
        >>> import tempfile
        >>> scores = Scores([[0.5], [-1.0]], method="grad-dot")
        >>> folder = tempfile.mkdtemp()
        >>> page = explore(scores, (["to be", "not to be"],), (["or not"],), folder + "/page.html")
        >>> "not to be" in page.read_text()  # it is packed
        False
    """
    methods = [scores] if isinstance(scores, Scores) else list(scores)
    for method in methods:
        if not isinstance(method, Scores):
            raise ValueError(
                f"scores must be headwater.Scores, got {type(scores).__name__}: wrap what attribute "
                'returns, Scores(scores, method="grad-dot")'
            )
    _check_methods(methods, {"evidence": evidence, "per_model": per_model, "tokens": tokens})
    splits = Split.of(train), Split.of(test)
    for split, n, what in zip(splits, methods[0].shape, ("train", "test"), strict=True):
        split.check(n, what)
    alike = methods[0].similarity(similarity)
    names = class_names(splits, classes)
    page = Path(path)
    for keep in KEEP:
        lists = [Lists.of(method, keep, alike) for method in methods]
        contents = Contents(lists, *splits, names, alike, evidence or {}, suspects)
        found = contents.pack(title or methods[0].setting, per_model or {}, tokens or {})
        text = assemble(f"{title or methods[0].setting} - influence explorer", [ASSETS], found)
        if len(text) <= limit:
            break
    else:
        raise ValueError(
            f"the page must have at most {limit:,} bytes, got {len(text):,} with {KEEP[-1]} samples a "
            "list: pass fewer methods or test samples"
        )
    page.write_text(text, encoding="utf-8")
    if lines is not None:
        save_viewer_lines(Path(lines), lists[0], *splits, names)
    return page


def _check_methods(methods: list[Scores], named: Mapping[str, Mapping[str, Any] | None]) -> None:
    names = [method.method for method in methods]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"scores must be of different methods, got {names}: rename one")
    shapes = {method.shape for method in methods}
    if len(shapes) > 1 or 0 in methods[0].shape:
        raise ValueError(
            f"scores of all methods must be of the same samples, got {sorted(shapes)}: cut them"
        )
    for what, given in named.items():
        unknown = sorted(set(given or {}) - set(names))
        if unknown:
            raise ValueError(
                f"{what} must name methods of the scores, got {unknown[0]!r}: rename it"
            )
