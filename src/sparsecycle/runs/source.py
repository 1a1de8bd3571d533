"""The identity of the source that decides a run's numbers: its syntax trees, without what cannot change a number.

Docstrings, comments, layout, imports, annotations and the words of errors may be tidied without orphaning a record. A
constant, an operator or a name that is changed makes another source. Configuration, images and the path of `replay` are
part of a run's identity on their own, so the modules that make them are not among the training sources.
"""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
CHECKOUT = PACKAGE.parents[1]
TRAINING = (
    *("topk", "layer", "network", "variants", "controllers", "trainer", "captured", "kernels"),
    "evaluation/accuracy",
)
# Sets of digests that give the same numbers, each proved by golden runs, byte for byte, old source against new.
EQUIVALENT: tuple[frozenset[str], ...] = (
    # 29 November 2026: in float16, in which no run was recorded, the step of the optimizer is fused no more; checks of
    # parameters and shapes came. Nine runs of 16 steps in float32 and bfloat16, over methods, scopes, clipping, decay,
    # dropout and width, are the same. Then came recorded steps and one kernel for a layer on a GPU, on which no run was
    # recorded, and in bfloat16 on a CPU, in which none was either; the eight runs in float32 are the same. Then came
    # ablations that are off unless asked for: no bias in the norms, another shortcut, warm-up, augmentation; the nine
    # runs are the same.
    frozenset(
        {
            "6fa43a5197071e05dc7fb27e5746b1709d4f9ccfcc31e1917fb06665a0970783",
            "e389ca9bd2500d2b12766645f5eeb486d996f14f4e589701fbd27a0f30a26688",
            "80cf88dc498a712a962b1cb5ca29ec5223ab56bb96ec06cd9fe2571cb56c34bf",
            "6f5308ddf34414aadbb68f58e70230dfbae4bdb0ce05e20a702cd06ea6739dd2",
            "643737098e358e1704bba64647a643351f39c28f17a25f4d0dd2348067af86df",
            "3c85b1f9375276bf9c13b5ade6736081e5c6dcad9c34fbda2e03bd5d6a668377",
        }
    ),
)


@cache
def source_digest(names: tuple[str, ...] = TRAINING) -> str:
    """Return the SHA-256 of the syntax trees of modules and packages, named by their place in `sparsecycle`."""
    digest = hashlib.sha256()
    for name in names:
        folder = PACKAGE / name
        for path in sorted(folder.glob("*.py")) if folder.is_dir() else [PACKAGE / f"{name}.py"]:
            digest.update(tree_of(path.read_text(encoding="utf-8")).encode())
    return digest.hexdigest()


def same_source(first: str, second: str) -> bool:
    """Return whether two digests stand for sources that give the same numbers."""
    return first == second or any({first, second} <= group for group in EQUIVALENT)


def tree_of(text: str) -> str:
    """Return what of a module's syntax tree can change a number, as text, the same for every version of Python."""
    return "\n".join(_told(ast.parse(text), ""))


def _told(node: ast.AST, indent: str) -> Iterator[str]:
    """Yield the lines of a node: its kind, then its fields that are not empty, in the order of their names."""
    yield f"{indent}{type(node).__name__}"
    for name, value in sorted(ast.iter_fields(node)):
        if name in _WORDLESS or value is None or value == []:
            continue
        if isinstance(node, ast.Raise) and isinstance(value, ast.Call):
            value = value.func  # the words of an error change no number
        yield f"{indent} {name}"
        if isinstance(value, ast.AST):
            yield from _told(value, indent + "  ")
        elif isinstance(value, list):
            for one in value if name != "body" else _statements(value):
                if isinstance(one, ast.AST):
                    yield from _told(one, indent + "  ")
                else:
                    yield f"{indent}  {one!r}"
        else:
            yield f"{indent}  {value!r}"


_WORDLESS = frozenset({"annotation", "returns", "type_comment", "type_ignores", "type_params", "ctx", "kind", "simple"})


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a body that do something."""
    for one in body:
        is_text = isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) and isinstance(one.value.value, str)
        is_for_types = isinstance(one, ast.If) and isinstance(one.test, ast.Name) and one.test.id == "TYPE_CHECKING"
        if not (is_text or is_for_types or isinstance(one, ast.Import | ast.ImportFrom | ast.Pass)):
            yield one
