"""For maintainers: execute the chapters and store in them only the outputs that nbval compares.

Figures and tables stay out of the repository; the book executes every chapter afresh.
"""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
MARK = "NBVAL_CHECK_OUTPUT"


def store(path: Path) -> None:
    """Execute one notebook in its folder and write it back."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code" and MARK not in cell.source:
            cell.execution_count, cell.outputs = None, []
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for name in sorted(HERE.glob("*.ipynb")):
        if name.stem not in ("run", "set"):
            print(f"executing {name.name}")
            store(name)
