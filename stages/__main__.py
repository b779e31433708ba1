"""``python -m stages NAME ...``: run one stage in this process, as dvc.yaml says."""

import sys

from stages.contract import StageError, call

if __name__ == "__main__":
    try:
        call(sys.argv[1:])
    except StageError as error:
        sys.exit(str(error))
