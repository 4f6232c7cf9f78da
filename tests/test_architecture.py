"""The rules that keep the system legible, checked on the source text."""

import ast
import os
import re
from collections.abc import Callable, Iterable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
OTHERS = [*ROOT.glob("main.py"), *sorted(ROOT.glob("benchmarks/*.py")), *sorted(ROOT.glob("examples/*.py"))]
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in [*SOURCES, *OTHERS]}

# The parts directly under src/ from the ground up: each may import those before it, and itself.
ORDER = (
    "portable",
    "ranges",
    "registry",
    "components",
    "envs",
    "agent",
    "modules",
    "controllers",
    "policies",
    "learners",
    "runners",
    "training",
    "reports",
    "reproduce",
    "testbed",
    "app",
    "main",
    "__main__",
)
KNOW_OMEGACONF = {
    *("src/registry.py", "src/main.py", "src/app/command_line.py", "src/app/config.py", "src/app/directories.py"),
    *("src/app/launch.py", "src/app/mistakes.py", "src/app/names.py", "src/app/options.py", "src/app/saved.py"),
    *("src/app/composing.py", "src/app/hydra_state.py", "src/app/when_chosen.py", "src/app/sweep.py"),
    *("src/app/changes.py", "src/app/jobs.py", "src/app/search_space.py", "src/app/search_settings.py"),
    "src/app/reproduction.py",
}
READ_ONLY = {"Mapping", "Sequence", "Set", "Collection", "Iterable"}
CONTAINERS = {"list", "dict", "set", "bytearray", "defaultdict", "deque", "Counter", "OrderedDict"}
LIMIT_FILE, LIMIT_FUNCTION, LIMIT_MAIN = 400, 60, 60  # lines
MACHINE_PATH = re.compile(r"(?<![\w.})])/(?:home|root|Users|work|opt/venvs)/")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def part_of(path: Path) -> str:
    """The folder or module directly under src/ that a source file belongs to."""
    return path.relative_to(ROOT / "src").parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything imported, also inside functions; ``hymarl.x.y`` for relative ones."""
    package = ["hymarl", *path.relative_to(ROOT).parts[1:-1]]
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def offences(paths: Iterable[Path], find: Callable[[ast.Module], Iterable[int]]) -> list[str]:
    """``file:line`` of everything that ``find`` finds."""
    return [f"{name(path)}:{line}" for path in paths for line in find(TREES[path])]


def test_every_part_has_its_place_in_the_order() -> None:
    assert {part_of(path) for path in SOURCES} - {"__init__"} == set(ORDER)


def test_imports_point_towards_the_ground() -> None:
    wrong = []
    for path in SOURCES:
        own = part_of(path)
        below = ORDER if own == "__init__" else ORDER[: ORDER.index(own) + 1]  # which offers the public names, lazily
        allowed = {*below, "__version__"}
        used = [(line, full.split(".")[1]) for line, full in imports(path) if full.startswith("hymarl.")]
        wrong += [f"{name(path)}:{line} imports {part}" for line, part in used if part not in allowed]
    assert not wrong


def modules_imported(path: Path) -> set[str]:
    """Modules of the package that a source file imports when it is imported, by their dotted names."""
    late = {child for f in ast.walk(TREES[path]) if isinstance(f, ast.FunctionDef) for child in ast.walk(f)}
    typing = {
        child
        for test in ast.walk(TREES[path])
        if isinstance(test, ast.If) and isinstance(test.test, ast.Name) and test.test.id == "TYPE_CHECKING"
        for child in ast.walk(test)
    }
    lines = {n.lineno for n in ast.walk(TREES[path]) if isinstance(n, ast.Import | ast.ImportFrom)} - {
        n.lineno for n in late | typing if isinstance(n, ast.Import | ast.ImportFrom)
    }
    names = {full for line, full in imports(path) if line in lines}
    return {module for full in names for module in (full, full.rpartition(".")[0]) if module in MODULES} - {
        dotted(path)
    }


def dotted(path: Path) -> str:
    """``hymarl.envs.board`` for ``src/envs/board.py``."""
    parts = path.relative_to(ROOT / "src").with_suffix("").parts
    return ".".join(["hymarl", *(part for part in parts if part != "__init__")])


MODULES = {dotted(path) for path in SOURCES}


def test_no_modules_import_each_other_in_a_circle() -> None:
    packages = {dotted(path) for path in SOURCES if path.name == "__init__.py"}
    graph = {dotted(path): modules_imported(path) - packages for path in SOURCES}
    assert len(list(TopologicalSorter(graph).static_order())) == len(graph)


def test_imports_inside_the_package_are_relative() -> None:
    def absolute(tree: ast.Module) -> Iterator[int]:
        for node in ast.walk(tree):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if any(module.split(".")[0] == "hymarl" for module in modules):
                yield node.lineno

    found = offences(SOURCES, absolute)
    assert not found


def test_only_the_configuration_knows_omegaconf_and_hydra() -> None:
    knowing = {name(p) for p in SOURCES for _, full in imports(p) if full.split(".")[0] in {"omegaconf", "hydra"}}
    assert knowing <= KNOW_OMEGACONF


def test_no_getattr_with_default() -> None:
    def find(tree: ast.Module) -> Iterator[int]:
        for node in ast.walk(tree):
            match node:
                case ast.Call(ast.Name("getattr"), [_, ast.Constant(), _, *_]):
                    yield node.lineno

    found = offences(TREES, find)
    assert not found


def test_no_bare_except() -> None:
    def find(tree: ast.Module) -> Iterator[int]:
        return (n.lineno for n in ast.walk(tree) if isinstance(n, ast.ExceptHandler) and n.type is None)

    found = offences(TREES, find)
    assert not found


def mutable_globals(tree: ast.Module) -> Iterator[int]:
    """Lines of module-level names bound to a container that someone could change, and of ``global``.

    A container annotated with a read-only type passes: the type checker sees to it that nobody changes it.
    """
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation).split("[")[0] in READ_ONLY:
            continue
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            continue
        value = node.value
        literal = isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp)
        called = isinstance(value, ast.Call) and ast.unparse(value.func).split("[")[0].split(".")[-1] in CONTAINERS
        if literal or called:
            yield node.lineno
    yield from (node.lineno for node in ast.walk(tree) if isinstance(node, ast.Global))


def test_no_mutable_module_state() -> None:
    found = offences(TREES, mutable_globals)
    assert not found


def test_mutable_module_state_is_recognized() -> None:
    bad = "A = []", "B: dict[str, int] = {}", "C = {1}", "D = collections.defaultdict(list)", "E = [x for x in y]"
    good = "F = (1, 2)", "G: Mapping[str, int] = {}", "H = frozenset({1})", "__all__ = ['A']", "I: list[int]"
    assert list(mutable_globals(ast.parse("\n".join([*bad, *good])))) == [1, 2, 3, 4, 5]


def test_files_and_functions_are_short() -> None:
    lines = {name(path): path.read_text(encoding="utf-8").count("\n") for path in TREES}
    assert not {path: n for path, n in lines.items() if n > LIMIT_FILE}

    def length(function: ast.AST) -> int:
        """Lines from the first to the last, without those of functions inside, which are counted themselves."""
        inner = [node for node in ast.walk(function) if isinstance(node, ast.FunctionDef) and node is not function]
        own = set(range(function.lineno, function.end_lineno + 1))  # type: ignore[attr-defined]
        return len(own.difference(*(range(f.lineno, (f.end_lineno or 0) + 1) for f in inner)))

    def find(tree: ast.Module) -> Iterator[int]:
        functions = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
        return (f.lineno for f in functions if length(f) > LIMIT_FUNCTION)

    found = offences(TREES, find)
    assert not found
    assert lines["src/main.py"] <= LIMIT_MAIN


def test_public_names_have_a_docstring() -> None:
    def undocumented(tree: ast.Module) -> Iterator[int]:
        """The module, its public classes and functions, and the public methods of its public classes."""
        if ast.get_docstring(tree) is None:
            yield 1
        classes = [n for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]
        for node in (n for scope in [tree, *classes] for n in scope.body):
            named = isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            if named and not node.name.startswith("_") and ast.get_docstring(node) is None:
                yield node.lineno

    found = offences(SOURCES, undocumented)
    assert not found


def test_nothing_names_the_path_of_one_machine() -> None:
    skipped = {"build", "dist", "results", "multirun", "outputs", "__pycache__"}
    texts = {"", ".py", ".md", ".yaml", ".toml", ".txt", ".csv", ".json", ".svg"}
    found = []
    for folder, subfolders, files in os.walk(ROOT):
        subfolders[:] = {s for s in subfolders if s[0] != "." and not s.endswith(".egg-info")} - skipped
        for file in (Path(folder, f) for f in files if Path(f).suffix in texts and f != ".git"):
            text = file.read_text(encoding="utf-8", errors="replace")
            found += [f"{file.relative_to(ROOT)}: {m.group()}" for m in MACHINE_PATH.finditer(text)]
    assert not found
