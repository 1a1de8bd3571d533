"""Lay out what a rented GPU needs, for machines that are reached by calls which copy a folder there.

    python workflow/rental.py INTO --minutes 15

INTO gets a folder a call, each below 60 MB: the library as committed, the studies, and in the first two calls one half
of CIFAR-10 each, because all of it is too large for one. Wheels in INTO/wheels, if there are any, go along with each.
The calls are printed in order, with the seconds after which each should be over. On the machine everything lies in
/tmp/rental, which has to last from one call to the next; what is to be carried back lies in the folder OUT.
"""

import argparse
import math
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from cifar10_from_npm import write_halves

from sparsecycle.errors import InputError
from sparsecycle.runs.source import CHECKOUT

TREE = ("src/sparsecycle", "workflow/studies.yaml", "requirements.lock", "pyproject.toml")
MOST_BYTES = 60 * 10**6
STARTING_SECONDS = 170  # of the rented time: before the first command runs, and between calls
LOOK_SECONDS = 200
LEAST_SECONDS = 150  # for both calls that train: the command takes no less than 40 seconds for the shorter one
SLACK_SECONDS = 25  # of each call: packages are installed and imported before the command's own time begins
PLACE = "/tmp/rental"
PIP = f"python3 -m pip install -q --no-index --no-deps --upgrade --target {PLACE}/site wheels/*.whl"
WHEELS = f"{{ [ -e {PLACE}/installed ] || {{ {PIP} && touch {PLACE}/installed; }}; }}"


def lay_out(into: Path, minutes: float, study: str, data_dir: str | None) -> list[tuple[str, int, str]]:
    """Write the folders of the calls; return of each its name, its limit in seconds, and its command.

    Raises:
        InputError: uncommitted changes, a folder that is too large, too few minutes, or images that are not there.
    """
    left = 60 * minutes - STARTING_SECONDS - LOOK_SECONDS
    if not LEAST_SECONDS <= left < math.inf:
        least = (LEAST_SECONDS + STARTING_SECONDS + LOOK_SECONDS) / 60
        raise InputError(f"minutes is {minutes:g}, but must be a number of at least {least:.1f}")
    if _git("status", "--porcelain", "--", *TREE):
        raise InputError("the source has changes that are not committed: a record would not say what made it")
    revision = _git("rev-parse", "HEAD")
    write_halves(into / "images", data_dir)
    first, second = int(left * 0.55), int(left * 0.45)
    calls = [("call-1", LOOK_SECONDS, "1"), ("call-2", first, "2"), ("call-3", second, "")]
    commands = []
    for name, limit, half in calls:
        folder = into / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        archive = subprocess.run(["git", "archive", "HEAD", *TREE], cwd=CHECKOUT, capture_output=True, check=True)
        subprocess.run(["tar", "x", "-C", folder], input=archive.stdout, check=True)
        if half:
            shutil.move(into / "images" / half, folder / "images")
        if (into / "wheels").is_dir():
            shutil.copytree(into / "wheels", folder / "wheels")
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if size > MOST_BYTES:
            raise InputError(f"{folder} has {size / 1e6:.0f} MB, but at most {MOST_BYTES / 1e6:.0f} may travel")
        commands.append((name, limit, _command(limit, study, revision, half, (into / "wheels").is_dir())))
    shutil.rmtree(into / "images")
    return commands


def _command(limit: int, study: str, revision: str, half: str, wheels: bool) -> str:
    """Return the command of a call, which is run in its folder."""
    work = [
        "sparsecycle.cli",
        "gpu",
        "--study",
        study,
        "--minutes",
        f"{(limit - SLACK_SECONDS) / 60:.2f}",
        "--into",
        "OUT",
    ]
    work += ["--data-dir", PLACE, "--output-dir", f"{PLACE}/runs"]
    if half == "1":
        work.append("--look")
    python = shlex.join(["python3", "-m", *work]).replace("OUT", '"$OUT"')
    steps = ["export OUT=${OUT:-$PWD/out}", f"mkdir -p {PLACE}/cifar10"]
    steps += [f"cp images/* {PLACE}/cifar10/"] if half else []
    steps += [WHEELS] if wheels else []
    path = f"src:{PLACE}/site" if wheels else "src"
    return " && ".join([*steps, f"PYTHONPATH={path} SPARSECYCLE_GIT_REVISION={revision} {python}"])


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(f"git {arguments[0]} failed in {CHECKOUT}: a rental needs a checkout") from error
    return done.stdout.strip()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Lay out what a rented GPU needs, and print its calls.")
    parser.add_argument("into", type=Path, help="folder for the folders of the calls")
    parser.add_argument("--minutes", type=float, default=15.0, help="rented in all, starting included (default: 15)")
    parser.add_argument("--study", default="paper100", help="a name in workflow/studies.yaml (default: paper100)")
    parser.add_argument("--data-dir", help="folder of the images (default: SPARSECYCLE_DATA_DIR, else data/)")
    options = parser.parse_args(arguments)
    try:
        for name, limit, command in lay_out(options.into, options.minutes, options.study, options.data_dir):
            print(f"{name}, at most {limit} s, in {options.into / name}:\n{command}\n")
    except InputError as error:
        print(f"rental: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
