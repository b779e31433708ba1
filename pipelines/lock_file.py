"""``dvc.lock`` read and written stage by stage: with hundreds of stages DVC spends seconds in it.

A stage is parsed when it is asked for, and one that does not change is written as it was read.
"""

import os
import re
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines import fast_yaml

_SCHEMA = {"schema": "2.0"}
_TOP = "schema: '2.0'\nstages:\n"
_STAGE = re.compile(r"^(?=  \S)", re.MULTILINE)
_HEAD = re.compile(r"  ([A-Za-z_][\w@./+-]*):\n")
_OTHER_KEY = re.compile(r"^\S", re.MULTILINE)


class Stages(MutableMapping[str, Any]):
    """The entries of a lock file by stage; each is text until it is asked for."""

    def __init__(self, texts: dict[str, str]) -> None:
        self._texts = texts
        self._values: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            self._values[name] = fast_yaml.loads(self._texts[name])[name]
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._values[name] = value
        self._texts[name] = fast_yaml.dumps({"stages": {name: value}}).partition("\n")[2]

    def __delitem__(self, name: str) -> None:
        del self._texts[name]
        self._values.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)

    def text(self) -> str:
        """Return the whole file."""
        return _TOP + "".join(self._texts.values())


def read(path: str | Path) -> dict[str, Any]:
    """Return what a lock file holds; the stages are parsed later if it has the usual form.

    Raises:
        OSError: There is no such file.
        yaml.YAMLError: It is no YAML.
    """
    text = Path(path).read_text("utf-8")
    stages = _split(text)
    return dict(fast_yaml.loads(text) or {}) if stages is None else {**_SCHEMA, "stages": stages}


def _split(text: str) -> Stages | None:
    """The stages of a file of the form that DVC gives it; None for any other."""
    if not text.startswith(_TOP):
        return None
    body = text[len(_TOP) :]
    before, *blocks = _STAGE.split(body)
    heads = [_HEAD.match(block) for block in blocks]
    if before or not all(heads) or _OTHER_KEY.search(body):
        return None
    return Stages({head[1]: block for head, block in zip(heads, blocks, strict=True) if head})


@contextmanager
def modify(path: str, fs: object = None) -> Iterator[dict[str, Any]]:
    """Change a lock file in place; DVC's own way keeps comments, which this file has none of.

    Args:
        path: The file; it need not exist.
        fs: DVC's file system, always the local one.
    """
    file = Path(path)
    data = read(file) if file.exists() else {}
    yield data
    stages = data.get("stages")
    whole = {**_SCHEMA, "stages": stages}
    text = stages.text() if isinstance(stages, Stages) and data == whole else fast_yaml.dumps(data)
    new = file.with_name(file.name + ".new")
    new.write_text(text, "utf-8")
    os.replace(new, file)  # whoever is killed here leaves a whole file


def install() -> None:
    """Let DVC read and write lock files this way in this process."""
    from dvc import dvcfile

    slow = dvcfile.Lockfile._load_yaml

    def load(self: Any, **options: Any) -> tuple[Any, str]:
        text = "" if options else Path(self.path).read_text("utf-8")
        stages = _split(text)
        if stages is None:  # not the usual form: DVC checks it, and says what is wrong
            return slow(self, **options)
        return {**_SCHEMA, "stages": stages}, text

    dvcfile.Lockfile._load_yaml = load
    dvcfile.modify_yaml = modify
