import subprocess
import sys
from pathlib import Path

import pytest

import sparsecycle

WITH_OUR_IMPORT = "from sparsecycle.data.torchvision_import import import_torchvision\n"


def run_python(source: str, *folders: Path) -> subprocess.CompletedProcess[str]:
    """Run the source in a fresh interpreter, where torchvision has not been imported."""
    paths = [str(folder) for folder in (*folders, Path(sparsecycle.__file__).parents[1])]
    source = f"import sys\nsys.path[:0] = {paths!r}\n{source}"
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)


def test_transforms_work_after_the_import():
    # Also after a plain import that failed, where torch and torchvision do not fit, and when asked for twice.
    done = run_python(
        "try:\n    import torchvision\nexcept RuntimeError as error:\n    assert 'nms' in str(error)\n"
        + WITH_OUR_IMPORT
        + "torchvision = import_torchvision()\n"
        "assert import_torchvision() is torchvision is sys.modules['torchvision']\n"
        "import torch\n"
        "from torchvision.transforms import v2\n"
        "assert v2 is torchvision.transforms.v2\n"
        "assert torchvision.extension is sys.modules['torchvision.extension']\n"
        "image = torch.zeros(3, 32, 32, dtype=torch.uint8)\n"
        "assert v2.RandomCrop(32, padding=4)(image).shape == (3, 32, 32)\n"
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def fake_torchvision(tmp_path):
    """A package called torchvision that, like the real one, describes operators which nobody has declared."""
    package = tmp_path / "torchvision"
    (package / "transforms").mkdir(parents=True)
    (package / "transforms" / "__init__.py").write_text("")
    (package / "transforms" / "v2.py").write_text("")
    (package / "extension.py").write_text("")
    (package / "__init__.py").write_text(
        "import torch\nfrom . import extension, transforms\n"
        "for operator in ('nms', 'qnms'):\n"
        "    torch.library.register_fake(f'torchvision::{operator}')(lambda *given: None)\n"
    )
    return package


def test_undeclared_operators_are_declared_and_nothing_half_imported_stays(fake_torchvision):
    plain = run_python("import torchvision", fake_torchvision.parent)
    assert "RuntimeError: operator torchvision::nms does not exist" in plain.stderr
    ours = run_python(
        WITH_OUR_IMPORT + "torchvision = import_torchvision()\n"
        "assert torchvision.extension is sys.modules['torchvision.extension']\n"
        "assert torchvision.transforms.v2 is sys.modules['torchvision.transforms.v2']\n",
        fake_torchvision.parent,
    )
    assert ours.returncode == 0, ours.stderr


def test_any_other_error_is_passed_on(fake_torchvision):
    (fake_torchvision / "__init__.py").write_text("raise RuntimeError('something else')")
    done = run_python(WITH_OUR_IMPORT + "import_torchvision()", fake_torchvision.parent)
    assert "RuntimeError: something else" in done.stderr
