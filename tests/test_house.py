"""The rules of the house: who may import whom, how long a file may be, what may not be in the repository."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "spikeport"
MAY_IMPORT = {  # one way only: snn <- convert, snn <- targets, snn <- loop; cli and the rest of the top see all
    "snn": {"snn"},
    "convert": {"snn", "convert"},
    "targets": {"snn", "targets"},
    "loop": {"snn", "loop"},
}
HEAVY = ("numba", "llvmlite", "scipy", "h5py", "joblib", "torch", "dask", "typer", "rich", "safetensors")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
EXCUSE = re.compile(r"# long: \S")
CODE_FOLDERS = ("src", "tests", "examples", "benchmarks", "docs")
TEXT = {".py", ".md", ".toml", ".txt", ".yml", ".yaml", ".json", ".cfg", ".sh", ""}


def files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted(p for p in (ROOT / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts)


def python_files(*folders: str) -> list[Path]:
    return [path for path in files(*folders) if path.suffix == ".py"]


def text_files() -> list[Path]:
    top = [p for p in sorted(ROOT.iterdir()) if p.is_file()]
    return [p for p in (*top, *files(*CODE_FOLDERS, ".ci")) if p.suffix in TEXT]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import of ours, also inside functions; `package` resolves relative ones."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            # `from spikeport import convert` names a part of ours only in its second half
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)


def forbidden(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """Imports that the part of `module` may not make, as 'line: name'."""
    part = module.split(".")[1] if "." in module else ""
    allowed = MAY_IMPORT.get(part)
    if allowed is None:
        return []
    package = module if is_package else module.rpartition(".")[0]
    found = [(line, name) for line, name in imports(ast.parse(source), package) if name.split(".")[0] == "spikeport"]
    return [f"{line}: {name}" for line, name in found if name.split(".")[1:2] and name.split(".")[1] not in allowed]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", python_files("src"), ids=relative)
def test_imports_go_one_way(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    wrong = forbidden(source, module_name(path), is_package=path.name == "__init__.py")
    assert not wrong, f"{relative(path)} may import only {MAY_IMPORT[module_name(path).split('.')[1]]}"


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("spikeport.snn.rate", "import spikeport.convert.search", ["1: spikeport.convert.search"]),
        ("spikeport.snn.rate", "from spikeport import convert", ["1: spikeport.convert"]),
        ("spikeport.snn.rate", "from spikeport.cli import main", ["1: spikeport.cli.main"]),
        ("spikeport.snn.tasks.base", "def f():\n    from ...targets import base", ["2: spikeport.targets.base"]),
        ("spikeport.snn.tasks.base", "from .. import rate", []),
        ("spikeport.convert.search", "from spikeport.snn import engine", []),
        ("spikeport.convert.search", "from .transfer import transfer", []),
        ("spikeport.convert.search", "import spikeport.targets as t", ["1: spikeport.targets"]),
        ("spikeport.targets.base", "from ..convert import transfer", ["1: spikeport.convert.transfer"]),
        ("spikeport.loop.clock", "import spikeport.targets.base", ["1: spikeport.targets.base"]),
        ("spikeport.cli", "from spikeport.convert import search", []),
    ],
)
def test_the_import_check_sees_every_form_of_import(module: str, source: str, wrong: list[str]) -> None:
    assert forbidden(source, module) == wrong


def too_long(source: str) -> list[str]:
    """What is longer than it may be and does not say why, as 'line: what'."""
    lines = source.splitlines()
    found = []
    functions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    for node in functions:
        body = lines[node.lineno - 1 : node.end_lineno]
        if len(body) > MAX_FUNCTION_LINES and not any(EXCUSE.search(line) for line in body):
            found.append(f"{node.lineno}: {node.name} has {len(body)} lines, limit {MAX_FUNCTION_LINES}")
    # an excuse inside a function is that function's, not the file's
    if len(lines) > MAX_FILE_LINES and not any(re.match(EXCUSE, line) for line in lines):
        found.append(f"1: the file has {len(lines)} lines, limit {MAX_FILE_LINES}")
    return found


@pytest.mark.parametrize("path", python_files(*CODE_FOLDERS), ids=relative)
def test_long_files_and_functions_say_why(path: Path) -> None:
    assert not too_long(path.read_text(encoding="utf-8")), "split it, or say why: `# long: reason`"


def test_the_length_check_wants_a_reason() -> None:
    body = "    pass\n" * MAX_FUNCTION_LINES
    assert too_long("def f():\n" + body) == [f"1: f has {MAX_FUNCTION_LINES + 1} lines, limit {MAX_FUNCTION_LINES}"]
    assert not too_long("def f():  # long: one table\n" + body)
    assert too_long("def f():  # long:\n" + body)
    assert too_long("x = 1\n" * (MAX_FILE_LINES + 1))
    assert not too_long("# long: one table\n" + "x = 1\n" * MAX_FILE_LINES)


def test_importing_spikeport_loads_no_heavy_module() -> None:
    code = "import sys, spikeport; print(*(sorted({name.partition('.')[0] for name in sys.modules})))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "spikeport" in loaded
    assert not set(HEAVY) & set(loaded)


@pytest.mark.parametrize("name", ["snn", "convert", "targets"])
def test_a_link_at_the_root_points_to_the_part(name: str) -> None:
    link = ROOT / name
    assert link.is_symlink()
    assert link.readlink() == Path("src", "spikeport", name)  # relative: it survives a move of the checkout
    assert (link / "__init__.py").is_file()


PRIVATE = re.compile(  # folders of one machine; a path in a checkout is relative
    r"(?<![\w.~$}/-])/(?:work|root|home|Users|mnt)/\w|[A-Z]:\\\\?Users"
)
REGISTRIES = re.compile("|".join(re.escape(f"{name}.org") for name in ("pypi", "pythonhosted", "npmjs", "debian")))


@pytest.mark.parametrize("path", text_files(), ids=relative)
def test_no_file_names_a_private_path_or_a_registry(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = [match.group() for rule in (PRIVATE, REGISTRIES) for match in rule.finditer(text)]
    assert not found


def skips(source: str) -> list[str]:
    """Skips that do not go through require.py, as 'line: name'."""
    names = {"skip", "skipif", "importorskip", "SkipTest", "skipTest", "skipUnless", "skipIf"}
    found = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Attribute | ast.Name)]
    used = [(n.lineno, n.attr if isinstance(n, ast.Attribute) else n.id) for n in found]
    return [f"{line}: {name}" for line, name in sorted(used) if name in names]


@pytest.mark.parametrize("path", python_files("tests"), ids=relative)
def test_no_test_is_skipped_past_the_list_of_resources(path: Path) -> None:
    allowed = {"require.py"}
    assert path.name in allowed or not skips(path.read_text(encoding="utf-8")), "use need() or missing() of require.py"


def test_the_skip_check_sees_every_form_of_skip() -> None:
    assert skips("@pytest.mark.skipif(True, reason='')\ndef test(): pytest.skip('')") == ["1: skipif", "2: skip"]
    assert skips("torch = pytest.importorskip('torch')") == ["1: importorskip"]
    assert not skips("from require import need\nneed('torch', resource='train')")
