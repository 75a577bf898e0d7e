"""The rules of design.md that can be read off the source: who imports whom, and how long things may get."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_FILE_LINES, MAX_FUNCTION_LINES = 299, 100
PAGE = ("look", "turns", "limits", "parts", "batch", "tabs", "endpoints")
# Which files alone may import a library.
HOMES = {
    "gradio": {"app.py", *(f"denoiser/page/{name}.py" for name in PAGE)},
    "PIL": {f"denoiser/{name}.py" for name in ("metadata", "colour", "vips_io", "opening", "image_io")},
    "pyvips": {"denoiser/vips_io.py"},
    "pillow_heif": {"denoiser/opening.py"},
    "safetensors": {"denoiser/weights.py"},
    "huggingface_hub": {
        "denoiser/weights.py",
        "train/publish/push.py",
        "train/publish/card.py",
        "train/data/hub_dataset.py",
    },
    "datasets": {"train/data/hub_dataset.py"},
}
# app.py -> denoiser <- train
FORBIDDEN = {"app.py": {"train", "torch"}, "denoiser": {"app", "train"}, "train": {"app", "gradio"}}
# Inside denoiser a module imports from the rows above its own.
LAYERS = [
    {"errors"},
    {"model", "noise", "metrics", "tiling", "header_budget", "metadata", "colour", "replacing"},
    {"tiff_headers"},
    {"file_headers"},
    {"photo", "vips_io", "weights"},
    {"opening", "formats"},
    {"image_io"},
    {"inference"},
    {"cli", "__init__"},
    {"__main__", "look", "uploads", "shelf", "turns"},
    {"limits", "parts"},
    {"batch", "tabs", "endpoints"},
]

SOURCES = [path for pattern in ("app.py", "denoiser/**/*.py", "train/**/*.py") for path in sorted(ROOT.glob(pattern))]
every_source = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())


def imports_of(path: Path) -> set[str]:
    """Every module a file imports, functions included, as absolute dotted names; "from . import x" is package.x."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            module = ".".join([*parents, *([node.module] if node.module else [])])
            submodules = {f"{module}.{alias.name}" for alias in node.names}
            found |= {module} if node.module and module != "denoiser" else submodules
    return found


def libraries_of(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports_of(path)}


def test_there_is_something_to_check():
    assert {"denoiser/model.py", "train/fit/loop.py"} <= {path.relative_to(ROOT).as_posix() for path in SOURCES}
    assert "denoiser.errors" in imports_of(ROOT / "denoiser" / "model.py")
    assert "denoiser.noise" in imports_of(ROOT / "denoiser" / "inference.py")


@pytest.mark.parametrize("library", HOMES)
def test_a_library_stays_at_home(library):
    users = {path.relative_to(ROOT).as_posix() for path in SOURCES if library in libraries_of(path)}
    assert users <= HOMES[library]


@every_source
def test_the_parts_depend_on_denoiser_alone(path):
    part = path.relative_to(ROOT).parts[0]
    assert not libraries_of(path) & FORBIDDEN[part]


@pytest.mark.parametrize("path", sorted(ROOT.glob("denoiser/**/*.py")), ids=lambda path: path.stem)
def test_a_module_of_denoiser_imports_from_layers_below_its_own(path):
    depth = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    assert path.stem in depth, "a new module needs a place in LAYERS, and in design.md"
    own = {name.split(".")[-1] for name in imports_of(path) if name.split(".")[0] == "denoiser"}
    own = {name if name in depth else "__init__" for name in own}  # a public name comes from the package itself
    assert {name for name in own if depth[name] >= depth[path.stem]} == set()


@pytest.mark.slow
def test_the_library_does_without_gradio():
    subprocess.run([sys.executable, "-c", "import denoiser, sys; sys.exit('gradio' in sys.modules)"], check=True)


@every_source
def test_a_file_stays_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES


@every_source
def test_a_function_fits_a_screen_or_two(path):
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, functions)]
    assert [node.name for node in found if node.end_lineno - node.lineno >= MAX_FUNCTION_LINES] == []


@every_source
def test_a_file_says_what_it_is_for(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_nothing_is_called_utils():
    places = [ROOT, ROOT / "denoiser", ROOT / "train", ROOT / "tests"]
    assert [path for place in places for path in place.glob("util*")] == []
