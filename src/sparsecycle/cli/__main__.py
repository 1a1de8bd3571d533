"""`python -m sparsecycle.cli`: the command line where no script is installed, and perhaps not all that it needs."""

import importlib.util
import sys

NEEDED = {"pydantic": "pydantic", "yaml": "pyyaml", "safetensors": "safetensors", "filelock": "filelock"}
NEEDED |= {name: name for name in ("numpy", "pandas", "pyarrow", "torch", "tqdm")} | {"PIL": "pillow"}

if __name__ == "__main__":
    if missing := [package for name, package in NEEDED.items() if importlib.util.find_spec(name) is None]:
        sys.exit(f"sparsecycle needs {', '.join(missing)}, not installed here: pip install {' '.join(missing)}")
    from sparsecycle.cli import main

    sys.exit(main())
