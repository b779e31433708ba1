"""What all commands share: a quick start, one line for an error, exit codes, completion."""

import subprocess
import sys
import tomllib

import pytest
import typer

from pipelines.cli import app, errors, options
from tests.pipelines.toy import ROOT

COMMANDS = ["run", "status", "plan", "report", "query", "compare", "doctor"]
HEAVY = {
    "torch",
    "numpy",
    "dvc",
    "prefect",
    "headwater",
    "stages",
    "yaml",
    "matplotlib",
}
HELP = """
import sys
sys.argv = ["headwater", *{arguments!r}]
from pipelines.cli import app
try:
    app()
finally:
    print(*sorted({{name.partition(".")[0] for name in sys.modules}}), file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [["--help"], ["query", "--help"]])
def test_help_imports_nothing_that_takes_long(arguments):
    done = subprocess.run(
        [sys.executable, "-c", HELP.format(arguments=arguments)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "Exit codes" in done.stdout
    loaded = set(done.stderr.split())
    assert "typer" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_json_and_debug_and_says_its_exit_codes(ask, command, monkeypatch):
    found = ask(command, "--help", folder=ROOT)
    assert found.code == 0
    for words in ("--json", "--debug", "Exit codes"):
        assert words in found.out


def test_the_script_is_this_app():
    project = tomllib.loads((ROOT / "pipelines/pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"headwater": "pipelines.cli:app"}


def test_no_arguments_show_the_help_and_a_version_is_said(ask):
    assert "Commands" in ask(folder=ROOT).out
    assert ask("--version", folder=ROOT).out.startswith("headwater 0.")


@pytest.mark.parametrize(
    "arguments",
    [["run"], ["status"], ["plan"], ["report"], ["doctor"], ["compare", "a", "b"],
     ["query", "mnist-lr", "0"]],
    ids=lambda arguments: arguments[0],
)  # fmt: skip
def test_outside_a_project_it_says_where_to_go(refused, arguments, tmp_path):
    line = refused(*arguments, folder=tmp_path)
    assert "the current folder must be a project" in line and "headwater -C FOLDER" in line


def test_a_project_is_named_from_anywhere(ask, made, tmp_path):
    found = ask("-C", made.folder, "report", "mnist-lr", "--json", folder=tmp_path)
    assert (found.code, list(found.record)) == (0, ["mnist-lr"])


def test_an_unknown_command_or_option_is_exit_code_2(ask):
    assert ask("rum").code == 2
    assert ask("report", "--jsn").code == 2


def test_debug_shows_the_error_itself(ask, tmp_path):
    found = ask("report", "--debug", folder=tmp_path)
    assert isinstance(found.error, errors.CliError)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\nline"), "headwater: one line\n"),
        (
            RuntimeError("odd"),
            "headwater: RuntimeError: odd (run it again with --debug for more)\n",
        ),
        (KeyError("x"), "headwater: KeyError: 'x' (run it again with --debug for more)\n"),
        (ValueError(), "headwater: ValueError: no message (run it again with --debug for more)\n"),
    ],
)
def test_every_error_is_one_line(capsys, error, line):
    def fails(debug):
        raise error

    with pytest.raises(typer.Exit) as ended:
        errors.in_one_line(fails)(debug=False)
    assert ended.value.exit_code == errors.WRONG
    assert capsys.readouterr().err == line
    with pytest.raises(type(error)):
        errors.in_one_line(fails)(debug=True)


def test_an_interrupt_is_exit_code_130(capsys):
    def interrupted(debug):
        raise KeyboardInterrupt

    with pytest.raises(typer.Exit) as ended:
        errors.in_one_line(interrupted)(debug=False)
    assert ended.value.exit_code == 130
    assert capsys.readouterr().err == "headwater: Interrupted.\n"


def test_the_shell_completes_settings_methods_and_folders(made, monkeypatch):
    monkeypatch.chdir(made.folder)
    assert options.complete_setting("m") == ["mnist-lr"]
    assert options.complete_method("g") == ["grad-dot", "gauss-newton-2"]
    assert options.complete_any("s") == ["settings", "stages"]
    assert options.targets(["mnist-lr", "code"]) == ["settings/mnist-lr/dvc.yaml", "code"]


def test_without_a_project_the_shell_completes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert options.complete_setting("") == []
    (tmp_path / "params.yaml").write_text("settings: [")
    assert options.complete_method("") == []


def test_completion_is_typers_own(ask):
    assert {"--install-completion", "--show-completion"} <= set(
        ask("--help", folder=ROOT).out.split()
    )
    assert app.info.name == "headwater"
