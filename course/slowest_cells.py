"""How long the slowest cell of each lesson takes on this machine, all solved. Run by `make class-times`."""

from datetime import datetime

import nbformat
from make_forms import HERE, form
from nbclient import NotebookClient


def slowest(notebook: nbformat.NotebookNode) -> tuple[float, str]:
    """Of an executed notebook: the seconds of the cell that took longest, and its first line."""
    times = []
    for cell in notebook.cells:
        told = cell.metadata.get("execution", {})
        if "shell.execute_reply" in told:
            start, end = (datetime.fromisoformat(told[key]) for key in ("iopub.execute_input", "shell.execute_reply"))
            times.append(((end - start).total_seconds(), cell.source.partition("\n")[0]))
    return max(times)


def main() -> None:
    for path in sorted(HERE.glob("lesson*.ipynb")):
        lesson = form(nbformat.read(path, as_version=4), "teacher")
        NotebookClient(lesson, timeout=600, resources={"metadata": {"path": str(HERE)}}).execute()
        seconds, line = slowest(lesson)
        print(f"{path.stem}: {seconds:.1f} s, the cell that begins with {line!r}")


if __name__ == "__main__":
    main()
