"""Playing mutated command lines in processes that may hang or take too much memory, and judging the answers.

Whatever is typed, the answer is one clear sentence that leaves nothing behind, or a run that works.
"""

import csv
import math
import multiprocessing
import os
import re
import resource
import shutil
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from unittest import mock

from configurations import SMALL
from mutations import Case

SECONDS = 30.0  # after which a run that nobody asked to be long counts as a hang; compiling takes half of it
SECONDS_ENDLESS = 4.0  # after which one that may be long, and has begun, is stopped as a user would
MEMORY = 8 << 30  # bytes of address space
LONGEST = 1000  # characters of a sentence
# What only a programmer understands.
INTERNALS = re.compile(
    r"Traceback|Error\(|[Ee]rrno|object at 0x|<class |full_key|NoneType|AnyNode|\b\w+(Config|Node)\b|(?<!main)\.py\b"
    r"|numpy|object_type|override at index|OmegaConf"
)
FINISHED = ("env=two_step", "logger=[]", *SMALL, "hydra.run.dir=run")


@dataclass(frozen=True)
class Answer:
    """What a user sees, and what is wrong with it: nothing, or the first line says it."""

    case: Case
    outcome: str
    faults: tuple[str, ...]
    text: str = ""

    def __str__(self) -> str:
        lines = self.text.strip().splitlines()
        shown = lines if len(lines) <= 6 else [*lines[:2], "...", *lines[-4:]]
        text = "\n".join(f"    {line[:400]}" for line in shown)
        files = "".join(f"\n    {path}: {data[:200]!r}" for path, data in self.case.files.items())
        return f"{'; '.join(self.faults) or 'fine'} ({self.case.kind})\n  {self.case.command}{files}\n{text}"


def answer(call: Callable, directory: Path, case: Case, finished: Path | None = None) -> Answer:
    """Type a case in an empty directory."""
    here = directory / "here"  # so that what is written to ../ is seen too
    here.mkdir()
    if case.needs_run:
        shutil.copytree(finished, here / "run")
    for path, content in case.files.items():
        (here / path).parent.mkdir(parents=True)
        (here / path).write_bytes(content)
    before = contents(directory)
    with mock.patch.dict(os.environ, {"WANDB_BASE_URL": "http://127.0.0.1:9"}):  # nothing leaves this machine
        outcome = call(here, *case.arguments)
    faults = []
    match outcome.code:
        case 0:
            faults += ["accepted"] * case.wrong
            faults += unreadable(here, outcome.out)
        case 2:
            faults += unclear(outcome.err, case)
            after = contents(directory)
            changed = sorted(path for path in {*before, *after} if before.get(path) != after.get(path))
            faults += [f"left behind {path}" for path in changed[:1]]
        case 130 if case.endless:
            faults += ["nothing for long"] * (not outcome.out.strip() and contents(directory) == before)
        case code:
            faults += [f"exit code {code}"]
    if "Traceback (most" in outcome.err:
        faults.append(f"traceback of {raised(outcome.err)}")
    kind = {0: "ran", 2: "refused", 130: "stopped"}.get(outcome.code, "failed")
    return Answer(case, kind, tuple(faults), outcome.err)


def raised(text: str) -> str:
    """The exception at the end of a traceback."""
    names = re.findall(r"(?m)^([A-Za-z][\w.]*)(?::.*)?$", text)
    return names[-1].rpartition(".")[2] if names else "something"


def contents(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in directory.rglob("*")
    }


def unclear(text: str, case: Case) -> Iterator[str]:
    """What is wrong with the sentence that refuses a case."""
    if not text.strip():
        yield "says nothing"
        return
    if text.strip().count("\n"):
        yield "several lines"
    if len(text) > LONGEST + sum(map(len, case.about)):
        yield "very long"
    words = [word for word in case.about if word.strip()]
    if not any(word in text or (bare(word) and bare(word) in bare(text)) for word in words):
        yield "does not say where"
    own = text
    for word in sorted([*words, *case.arguments], key=len, reverse=True):
        own = own.replace(word, "…")
    internal = INTERNALS.search(own)
    if internal:
        yield f"says {internal[0]!r}"
    if re.search(r"'([^']+)'; did you mean '\1'", text):
        yield "did you mean the same"


def bare(text: str) -> str:
    """Text without what differs between what is typed and what is shown of it: 1e308 and 1e+308, a_b and a b."""
    return re.sub(r"[\s'\"+_]", "", text)


def unreadable(directory: Path, out: str) -> Iterator[str]:
    """What is wrong with the files of a run that ended well."""
    runs = [path.parent for path in directory.rglob("status.json")]
    for run in runs:
        if '"finished"' not in (run / "status.json").read_text():
            yield "not finished"
        for name in ("metrics.csv", "evaluations.csv"):
            with (run / name).open(encoding="utf-8", newline="") as file:
                rows = list(csv.reader(file))
            if len({len(row) for row in rows}) != 1:
                yield f"{name} is ragged"
            elif name == "evaluations.csv":
                column = rows[0].index("return")
                if len(rows) == 1 or not all(math.isfinite(float(row[column])) for row in rows[1:]):
                    yield f"{name} without returns"
    if not runs and not any(directory.rglob("comparison.csv")) and not out.strip():
        yield "ran without a result"


# In processes of their own


class Hang(BaseException):
    """A run did not end when Ctrl-C was pressed twice."""


class Limit:
    """Presses Ctrl-C when a case takes too long, again five seconds later, and after five more raises `Hang`."""

    def __init__(self, directory: Path, case: Case) -> None:
        self._directory, self._case, self._start, self.presses = directory, case, 0.0, 0

    def __enter__(self) -> "Limit":
        self._start = time.monotonic()
        signal.signal(signal.SIGALRM, self._ring)
        signal.setitimer(signal.ITIMER_REAL, 2, 1)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _ring(self, *_: object) -> None:
        begun = self._case.endless and any(self._directory.rglob("status.json"))
        limit = (SECONDS_ENDLESS if begun else SECONDS) + 5 * self.presses
        if time.monotonic() - self._start < limit:
            return
        if self.presses == 2:
            raise Hang
        self.presses += 1
        signal.raise_signal(signal.SIGINT)


def play(cases: Sequence[Case]) -> Iterator[Answer]:
    """The answers to cases, played one after the other in a process that is replaced when it hangs or dies."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hymarl.app.launch", "hymarl.main"])
    left = list(cases)
    while left:
        ours, theirs = context.Pipe()
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            process = context.Process(target=_serve, args=(theirs, left, folder))
            process.start()
            theirs.close()
            yield from _received(ours, left)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its workers too
            process.join()


def _received(connection: Connection, left: list[Case]) -> Iterator[Answer]:
    """Answers until the process that gives them has to be replaced; their cases are taken from what is left."""
    try:
        connection.recv()  # it is ready
        while left:
            if not connection.poll(SECONDS + 30):
                yield Answer(left.pop(0), "hung", ("hang, which only SIGKILL ends",))
                return
            answer = connection.recv()
            left.pop(0)
            yield answer
            if answer.outcome == "hung":
                return
    except EOFError:
        yield Answer(left.pop(0), "died", ("the process died",))


def _serve(connection: Connection, cases: Sequence[Case], folder: str) -> None:
    os.setsid()
    from conftest import hymarl  # settles the number of threads as well

    call, first = hymarl.__wrapped__(), Path(folder) / "finished"
    first.mkdir()
    assert call(first, *FINISHED).code == 0
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    connection.send("ready")
    for number, case in enumerate(cases):
        directory = Path(folder) / str(number)
        directory.mkdir()
        connection.send(_limited(call, directory, case, first / "run"))
        shutil.rmtree(directory, ignore_errors=True)


def _limited(call: Callable, directory: Path, case: Case, finished: Path) -> Answer:
    limit = Limit(directory, case)
    try:
        with limit:
            given = answer(call, directory, case, finished)
    except Hang:
        return Answer(case, "hung", ("hang",))
    except BaseException as error:
        text = "".join(traceback.format_exception(error))
        return Answer(case, "raised", (f"traceback of {type(error).__name__}, raised on the way out",), text)
    if limit.presses and not case.endless:
        return replace(given, outcome="hung", faults=("hang, which Ctrl-C ends",))
    return given


def report(cases: Sequence[Case]) -> None:
    """Play cases and print a table of what came of them, how often what is wrong, and all bad answers."""
    outcomes, faults, bad = Counter(), Counter(), []
    for given in play(cases):
        kind = given.case.kind.partition(":")[0]
        columns = (given.outcome, "all", *(["bad"] if given.faults else []))
        outcomes.update((row, column) for row in (kind, "all") for column in columns)
        faults.update(re.sub(r"left behind .*", "left behind", fault) for fault in given.faults)
        bad += [given] if given.faults else []
    columns = [*sorted({column for _, column in outcomes} - {"all", "bad"}), "bad", "all"]
    print(f"{'':16}" + "".join(f"{column:>9}" for column in columns))
    for kind in [*sorted({kind for kind, _ in outcomes} - {"all"}), "all"]:
        print(f"{kind:16}" + "".join(f"{outcomes[kind, column]:9}" for column in columns))
    print("", *(f"{n:5}  {fault}" for fault, n in faults.most_common()), sep="\n")
    for given in sorted(bad, key=lambda given: (given.faults, given.case.kind)):
        print(f"\n{given}")
    print(f"\nSMALL='{' '.join(SMALL)}'")
