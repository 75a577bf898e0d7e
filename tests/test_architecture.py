"""The rules of docs/design.md that the source has to keep: imports, and the length of files and functions."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_FILE_LINES, MAX_FUNCTION_LINES = 299, 60
PAGE = ("theme", "html_head", "scheduler", "limits", "callbacks", "display", "samples", "batch", "endpoints")
PAGE += ("noisy_tab", "many_tab", "clean_tab")
# The only files that may import each library.
HOMES = {
    "gradio": {"app.py", *(f"denoiser/page/{name}.py" for name in PAGE)},
    "PIL": {f"denoiser/{name}.py" for name in ("metadata", "colour", "png_tiff", "input_formats", "image_io")},
    "pyvips": {"denoiser/png_tiff.py"},
    "pillow_heif": {"denoiser/input_formats.py"},
    "safetensors": {"denoiser/weights.py"},
    "huggingface_hub": {
        "denoiser/weights.py",
        "train/publish/push.py",
        "train/publish/card.py",
        "train/data/hub_dataset.py",
    },
    "datasets": {"train/data/hub_dataset.py"},
    **{library: {"train/publish/export.py"} for library in ("onnx", "onnxruntime", "onnxscript")},
}
# app.py -> denoiser <- train
FORBIDDEN = {"app.py": {"train", "torch"}, "denoiser": {"app", "train"}, "train": {"app", "gradio"}}
# Inside denoiser a module imports from the rows above its own.
LAYERS = [
    {"errors", "version", "memory", "classic"},
    {"model", "noise", "metrics", "tiling", "header_budget", "metadata", "colour", "atomic_write"},
    {"tiff_headers"},
    {"file_headers"},
    {"photo", "png_tiff", "weights"},
    {"input_formats", "output_formats"},
    {"image_io"},
    {"inference"},
    {"cli", "__init__"},
    {"__main__", "theme", "html_head", "uploads", "result_cache", "scheduler"},
    {"limits", "callbacks", "display"},
    {"samples", "batch", "endpoints"},
    {"noisy_tab", "many_tab", "clean_tab"},
]

FOUND = [path for pattern in ("app.py", "denoiser/**/*.py", "train/**/*.py") for path in sorted(ROOT.glob(pattern))]
SOURCES = {path.relative_to(ROOT).as_posix(): path for path in FOUND}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, also inside functions, as dotted names; "from . import x" is package.x."""
    found = set()
    for node in ast.walk(tree_of(path)):
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


def test_the_sources_are_found():
    assert {"app.py", "denoiser/model.py", "train/fit/loop.py"} <= SOURCES.keys()
    assert "denoiser.errors" in imports_of(ROOT / "denoiser" / "model.py")
    assert "denoiser.noise" in imports_of(ROOT / "denoiser" / "inference.py")


def test_each_library_is_imported_only_where_it_belongs():
    for library, homes in HOMES.items():
        users = {name for name, path in SOURCES.items() if library in libraries_of(path)}
        assert users <= homes, library


def test_the_page_and_the_trainer_depend_only_on_denoiser():
    wrong = {name: libraries_of(path) & FORBIDDEN[name.split("/")[0]] for name, path in SOURCES.items()}
    assert {name: libraries for name, libraries in wrong.items() if libraries} == {}


def test_a_module_of_denoiser_imports_from_layers_below_its_own():
    depth = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    for path in ROOT.glob("denoiser/**/*.py"):
        assert path.stem in depth, f"{path.stem} is new: it needs a place in LAYERS, and in design.md"
        own = {name.split(".")[-1] for name in imports_of(path) if name.split(".")[0] == "denoiser"}
        own = {name if name in depth else "__init__" for name in own}  # a public name comes from the package itself
        assert {name for name in own if depth[name] >= depth[path.stem]} == set(), path.stem


@pytest.mark.slow
def test_the_library_imports_neither_gradio_nor_pytorch_s_compiler():
    """It loads the default weights without the seconds and the memory that either takes."""
    code = "import denoiser, sys; denoiser.load(); sys.exit(bool({'gradio', 'torch._dynamo'} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_files_stay_short():
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in SOURCES.items()}
    assert {name: count for name, count in lines.items() if count > MAX_FILE_LINES} == {}


def test_functions_fit_a_screen_or_two():
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    for name, path in SOURCES.items():
        found = [node for node in ast.walk(tree_of(path)) if isinstance(node, functions)]
        assert [node.name for node in found if node.end_lineno - node.lineno >= MAX_FUNCTION_LINES] == [], name


def test_every_file_has_a_docstring():
    assert [name for name, path in SOURCES.items() if not ast.get_docstring(tree_of(path))] == []


def test_the_tests_of_a_module_are_where_the_module_is():
    """tests/train/fit/test_loop.py, or test_loop_survival.py, is about train/fit/loop.py."""
    for path in sorted((ROOT / "tests").glob("*/**/test_*.py")):
        folder = path.parent.relative_to(ROOT / "tests").as_posix()
        home = ROOT / {"page": "denoiser/page", "helpers": "tests/helpers"}.get(folder, folder)
        modules = {file.stem for file in home.iterdir() if file.suffix in (".py", ".ipynb")}
        modules |= {"app"} if folder == "page" else set()
        about = path.stem.removeprefix("test_")
        assert any(about == module or about.startswith(f"{module}_") for module in modules), path


def test_nothing_is_called_utils():
    assert [path for place in ("denoiser", "train", "tests") for path in ROOT.glob(f"{place}/**/util*")] == []
    assert list(ROOT.glob("util*")) == []
