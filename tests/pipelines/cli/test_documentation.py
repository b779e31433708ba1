"""What docs/cli.md shows can be typed, and says all that there is."""

import re
import shlex

import pytest
from typer.main import get_command

from pipelines.cli import app
from pipelines.cli.errors import EXIT_CODES
from tests.pipelines.toy import ROOT

PAGE = (ROOT / "docs/cli.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
LINES = [line for block in BLOCKS for line in block.splitlines()]
GROUP = get_command(app)


@pytest.mark.parametrize("line", LINES)
def test_every_line_can_be_typed(line):
    program, name, *arguments = shlex.split(line, comments=True)
    assert program == "headwater"
    GROUP.commands[name].make_context(name, arguments)


def test_every_command_is_shown_and_listed():
    assert {shlex.split(line)[1] for line in LINES} == set(GROUP.commands)
    for name in GROUP.commands:
        assert f"| `headwater {name}" in PAGE


def test_the_exit_codes_are_those_that_the_help_says():
    codes = re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)
    assert codes == ["0", "1", "2", "130"]
    assert all(re.search(rf"\b{code} ", EXIT_CODES) for code in codes)
