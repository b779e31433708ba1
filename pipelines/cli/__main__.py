"""``python -m pipelines.cli``: the command line where the script `headwater` is not installed."""

from pipelines.cli import app

if __name__ == "__main__":
    app(prog_name="headwater")
