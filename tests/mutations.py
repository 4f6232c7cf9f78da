"""Command lines and YAML files that nobody should type, made from those that run, and what is wrong with an answer.

A case is drawn from a seed and its number alone. What can be mutated is read from ``conf/`` and the registry.
``python tests/mutations.py 300 7`` plays the first 300 cases of seed 7, shows a table of the outcomes, and every bad
answer with its command line.
"""

import random
import re
import shlex
import string
import sys
from dataclasses import dataclass, field

from hydra._internal.utils import get_args_parser

import mutated_files
from configurations import CONF, SMALL, bases, composed, is_number, leaves, options, settings, short
from hymarl.registry import PACKAGES

SEARCH = "hydra.searchpath=[file://own]"  # where the user's option files are

NUMBERS = (
    *("-1", "0", "0.5", "1e308", "inf", "-inf", "nan", "-0.0", "1e-308", "", "null"),
    *(str(10**5), str(10**12), str(2**63), str(10**30)),
)
TEXTS = (
    *("abc", "'x y'", "ä", "'1'", "''", "???", "null", "true", "%s", "a:b", "'a,b'"),
    *(".", "..", "../x", "/dev/null/x", "x.pt", ".x", "..:x", "a.b"),
)
NESTED = ("[]", "[1]", "[[1]]", "[[1,2],[3]]", "[null]", "[abc]", "{}", "{a:1}", "{a:{b:[1]}}", "[inf,nan]", "[1,-1]")
LOST = (
    *("${nope}", "${seed}", "${train}", "${", "${}", "${nope:1}", "${oc.env:NOPE}", "${hydra:nope}", "${now:%d}", "$"),
    *("${.nope}", "${..seed}", "x${seed}y", "${hydra:runtime.cwd}", "${oc.create:{a:1}}", "\\${seed}", "${${seed}}"),
)
LARGE = 10**5  # a finite number from here on may ask for a run that never ends


@dataclass(frozen=True)
class Case:
    """What is typed.

    Attributes:
        kind: of mutation.
        arguments: after ``python main.py``.
        about: words of which a refusal has to name one.
        wrong: whether it can mean nothing, so that it has to be refused.
        files: contents of the user's files by their path.
        needs_run: whether the directory holds a finished run, ``run``.
    """

    kind: str
    arguments: tuple[str, ...]
    about: tuple[str, ...]
    wrong: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    needs_run: bool = False

    @property
    def command(self) -> str:
        """What to type in a shell where ``SMALL`` holds those settings."""
        others = [argument for argument in self.arguments if argument not in SMALL]
        return shlex.join(["python", "main.py", *others]) + " $SMALL" * (len(others) < len(self.arguments))

    @property
    def endless(self) -> bool:
        """Whether it may ask for a run without an end, which Ctrl-C stops."""
        numbers = re.findall(r"(?<![\w.])\d[\d.]*(?:e\d+)?", " ".join(self.arguments))
        return any(LARGE <= float(number) < float("inf") for number in numbers if number.count(".") < 2)


# The kinds of mutations. Each takes the generator and a command line that runs, and returns a case.


def choose(rng: random.Random, arguments: tuple[str, ...]) -> tuple[str, object]:
    """A setting and its value: any, or one of any section, for some sections are much larger than others."""
    found = list(settings(arguments).items())
    if rng.random() < 0.5:
        section = rng.choice(sorted({key.partition(".")[0] for key, _ in found}))
        found = [(key, value) for key, value in found if key.partition(".")[0] == section]
    return rng.choice(found)


def is_wrong(key: str, old: object, value: str) -> bool:
    """Whether a setting that is a number, or a list of numbers, cannot be meant to be this."""
    if key.startswith("when_chosen."):  # it may be of an option that is not chosen
        return False
    if isinstance(old, list) and old and is_number(old[0]):
        return re.search(r"nan|abc|null|\[\[", value) is not None  # a list may say infinity for never
    if not is_number(old):
        return False
    no_integers = ("0.5", "1e308", "1e-308") if isinstance(old, int) else ()
    return value in ("", "inf", "-inf", "nan", "abc", "ä", *no_integers) or value[0] in "[{./"


def about(key: str, *values: str) -> tuple[str, ...]:
    """What names a setting: its last part, and for the name of a component its group."""
    group, _, last = key.rpartition(".")
    return (last, *values, *([group.rpartition(".")[2]] if last == "name" else []))


def plain(value: object) -> str:
    """A value as one types it."""
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case str():
            return f"'{value}'"
        case list():
            return f"[{','.join(map(plain, value))}]"
    return str(value)


def misspelt(rng: random.Random, word: str) -> str:
    """A word with one letter lost, doubled, replaced, or two swapped."""
    while True:
        i, letter = rng.randrange(len(word)), rng.choice(string.ascii_lowercase)
        before, this, after = word[:i], word[i], word[i + 1 :]
        other = before + rng.choice([after, 2 * this + after, after[:1] + this + after[1:], letter + after])
        if other != word and re.fullmatch(r"[A-Za-z]\w*", other):
            return other


def misspelt_key(rng: random.Random, base: tuple[str, ...]) -> Case:
    key, value = choose(rng, base)
    parts = key.split(".")
    i = rng.randrange(len(parts))
    parts[i] = misspelt(rng, parts[i])
    known = {name for other in settings(base) for name in (other, *other.split("."))} | set(options())
    wrong = parts[i] not in known and "kwargs" not in key
    sign = rng.choice(["", "+", "++"])
    return Case("misspelt key", (*base, f"{sign}{'.'.join(parts)}={plain(value)}"), (parts[i],), wrong)


def misspelt_group(rng: random.Random, base: tuple[str, ...]) -> Case:
    group = rng.choice(list(options()))
    other = misspelt(rng, group)
    argument = f"{rng.choice(['', '+', '++'])}{other}={rng.choice(options()[group])}"
    return Case("misspelt group", (*base, argument), (other,), other not in options())


def misspelt_option(rng: random.Random, base: tuple[str, ...]) -> Case:
    group = rng.choice(list(options()))
    other = misspelt(rng, rng.choice(options()[group]))
    return Case("misspelt option", (*base, f"{group}={other}"), (other, group), other not in options()[group])


def hostile_key(rng: random.Random, base: tuple[str, ...]) -> Case:
    key, value = choose(rng, base)
    group, _, last = key.rpartition(".")
    other = rng.choice(
        [
            *(
                f"{key}.{last}",
                f"{key}.x",
                f"{key}.0",
                f"{key}[0]",
                f"{key}.",
                f".{key}",
                f"{group}..{last}",
                f"{key} ",
            ),
            *(f"{group}.{group}", f"{group}.{last.upper()}", f"{group}.__class__", f"{group}.ключ", f"{group}.1"),
            *(
                f"{group}.name",
                f"{group}._target_",
                f"{group}._self_",
                f"{key}@x",
                f"{group}@",
                f"@{key}",
                f"{group}/x",
            ),
            *(f"{group}.{'x' * 200}", f"{key}:x", "_name_", "defaults", "_global_", "1", "null", "", "-", "a b"),
        ]
    )
    argument = f"{rng.choice(['', '+', '++', '~', '+++', '~~'])}{other}={plain(value)}"
    return Case("hostile key", (*base, argument), (*other.split("."), last, group, argument))


def hostile_option(rng: random.Random, base: tuple[str, ...]) -> Case:
    group, stranger = rng.choice(list(options())), rng.choice(list(options()))
    name, other = rng.choice(options()[group]), rng.choice(options()[stranger])
    wrong = [
        *(f"../{group}/{name}", f"{name}.yaml", f"./{name}", f"/{name}", f"{name}/", f"{name}.yml", f"../{group}"),
        *(
            f"../../conf/{group}/{name}",
            f"{name}.{name}",
            f"{name}@x",
            name.upper(),
            f"[{name},{name}x]",
            f"{{{name}:1}}",
        ),
        *(
            f"{group}/{name}",
            "../config",
            "../../main.py",
            "'*'",
            "'?'",
            "3",
            "1.5",
            "true",
            f"'{name} '",
            "ä",
            "~",
            ".",
        ),
    ]
    value = rng.choice([*wrong, *wrong, other, "null", "", "[]", f"[{name}]", f"[{name},{name}]", "???", "${seed}"])
    sign = rng.choice(["", "", "+", "++"])
    known = options()[group] if group != "logger" else [*options()[group], f"[{name}]"]
    wanted = (group, name, value)
    return Case("hostile option", (*base, f"{sign}{group}={value}"), wanted, value in wrong and value not in known)


def deleted(rng: random.Random, base: tuple[str, ...]) -> Case:
    key, value = choose(rng, base)
    section = rng.choice([key, key, key.rpartition(".")[0] or key, key.partition(".")[0], rng.choice(list(options()))])
    argument = f"~{section}" + rng.choice(["", "", f"={plain(value)}", "=nope"])
    return Case("deleted", (*base, argument), (section, section.rpartition(".")[2], argument))


def added(rng: random.Random, base: tuple[str, ...]) -> Case:
    key, value = choose(rng, base)
    key = rng.choice([key, f"{key}.x", f"when_chosen.{key}", f"when_chosen.{rng.choice(list(options()))}.x.y"])
    last = key.rpartition(".")[2]
    return Case("added", (*base, f"{rng.choice(['+', '++'])}{key}={plain(value)}"), (*key.split("."), last))


def other_type(rng: random.Random, base: tuple[str, ...]) -> Case:
    key, old = choose(rng, base)
    value = rng.choice([*TEXTS, *NESTED, *NUMBERS])
    return Case("other type", (*base, f"{key}={value}"), about(key, value), is_wrong(key, old, value))


def number(rng: random.Random, base: tuple[str, ...]) -> tuple[str, str, object]:
    """A setting that is a number or a list of numbers and a number that may be out of its range."""
    while True:
        key, old = choose(rng, base)
        text = rng.choice(NUMBERS)
        if isinstance(old, list) and old and is_number(old[0]):
            changed = list(old)
            changed[rng.randrange(len(old))] = text
            return key, f"[{','.join(map(str, changed))}]", old
        if is_number(old) or (old is None and rng.random() < 0.3):
            return key, text, old


def out_of_range(rng: random.Random, base: tuple[str, ...]) -> Case:
    key, value, old = number(rng, base)
    return Case("out of range", (*base, f"{key}={value}"), about(key, value), is_wrong(key, old, value))


def two_settings(rng: random.Random, base: tuple[str, ...]) -> Case:
    (a, x, _), (b, y, _) = number(rng, base), number(rng, base)
    group = rng.choice([group for group in PACKAGES if group != "env"])
    first = rng.choice([f"{a}={x}", f"{group}={rng.choice(options()[group])}"])
    return Case("two settings", (*base, first, f"{b}={y}"), (*about(a, x), *about(b, y), *first.split("=")))


def root_setting(rng: random.Random, base: tuple[str, ...]) -> Case:
    key = rng.choice([key for key in settings(base) if "." not in key])
    value = rng.choice([*TEXTS, *NESTED, *NUMBERS, "own", "cuda", "cuda:99", "run"])
    return Case("root setting", (*base, f"{key}={value}"), (key, value))


def other_option(rng: random.Random, base: tuple[str, ...]) -> Case:
    """A mutated setting of any option of any group."""
    group = rng.choice([*PACKAGES, "env", "env", "experiment", "algo"])
    option = rng.choice(options()[group])
    line = (*base, f"{group}={option}", *(short(option) if group == "env" else ()))
    section = group if group in PACKAGES else "train"
    found = [(key, old) for key, old in settings((f"{group}={option}",)).items() if key.partition(".")[0] == section]
    key, old = rng.choice(found or [("seed", 1)])
    value = rng.choice([*NUMBERS, *NUMBERS, *TEXTS, *NESTED])
    unfit = [argument.partition("=")[0].rpartition(".")[2] for argument in base if "." in argument.partition("=")[0]]
    words = (option, group, *about(key, value), *unfit)  # the option may not have what the line sets
    return Case("other option", (*line, f"{key}={value}"), words, is_wrong(key, old, value))


def hydra_key(rng: random.Random, base: tuple[str, ...]) -> Case:
    key = "hydra." + rng.choice([key for key, _ in leaves(composed(base)["hydra"])])
    value = rng.choice([*TEXTS, *NESTED, "0", "-1", "inf", "", *LOST])
    return Case("hydra", (*base, f"{rng.choice(['', '', '+', '++'])}{key}={value}"), (*key.split("."), value))


def hydra_flag(rng: random.Random, base: tuple[str, ...]) -> Case:
    flag = rng.choice([flag for action in get_args_parser()._actions for flag in action.option_strings])
    value = rng.choice([*TEXTS, "job", "all", "env", "config", "seed=1,2", "mixer/qmix", "", "--", "-x"])
    flag = rng.choice([flag, flag, flag, f"{flag}x", flag.upper()])
    extra = rng.choice([(flag,), (flag, value), (f"{flag}={value}",)])
    return Case("flag", (*base, *extra), (flag, flag[:2], value.partition("=")[2] or value, value.partition("=")[0]))


def section(rng: random.Random, base: tuple[str, ...]) -> Case:
    names = [key for key, value in composed(base).items() if isinstance(value, dict)]
    name = rng.choice([*names, *(f"when_chosen.{group}" for group in PACKAGES), "logger.console"])
    value = rng.choice([*NESTED, "3", "null", "abc", "", "true", "{total_steps:3}", "{name:x}", "{a:{b:{c:1}}}"])
    return Case("section", (*base, f"{rng.choice(['', '', '++'])}{name}={value}"), (*name.split("."), value))


def interpolation(rng: random.Random, base: tuple[str, ...]) -> Case:
    key, _ = choose(rng, base)
    value = rng.choice([*LOST, f"${{{key}}}", f"${{.{key.rpartition('.')[2]}}}", f"[${{{key}}}]"])
    inner = value.strip("${}[].\\")
    return Case("interpolation", (*base, f"{key}={value}"), about(key, value, *filter(None, [inner])))


def earlier_run(rng: random.Random, base: tuple[str, ...]) -> Case:
    """Continue, evaluate, export or begin from a finished run, and something else."""
    verb = rng.choice(["resume", "evaluate", "export", "init_from"])
    path = rng.choice(["run", "run", "run/", "./run", "run/checkpoints", "run/config.yaml", "runs", "run/../run"])
    key, value, _ = number(rng, base)
    other = rng.choice([(), (f"{key}={value}",), (rng.choice(base),), (f"{verb}={path}",), ("render=gif",)])
    begin = base if verb == "init_from" else rng.choice([(), base[:1], ("train.total_steps=31",)])
    words = [word for argument in (*begin, *other) for word in re.split("[.=]", argument) if len(word) > 2]
    wanted = (verb, path, path.strip("./"), "the weights", *words)
    return Case("earlier run", (*begin, f"{verb}={path}", *other), wanted, path == "runs", needs_run=True)


def own_file(rng: random.Random, base: tuple[str, ...]) -> Case:
    """An option file of the user's own, made of one that ships with the package, with a mistake in it."""
    group = rng.choice(list(options()))
    option = rng.choice(options()[group])
    text = (CONF / group / f"{option}.yaml").read_text(encoding="utf-8")
    what, content = mutated_files.mutated(rng, text)
    line = (*base, SEARCH, f"{group}=mine", *(short(option) if group == "env" else ()))
    words = ("mine", group, *re.findall(r"(\w+):", text))
    return Case(f"own file: {what}", line, words, files={f"own/{group}/mine.yaml": content})


KINDS = (
    *(misspelt_key, misspelt_group, misspelt_option, hostile_key, hostile_option, deleted, added, other_type),
    *(out_of_range, out_of_range, out_of_range, out_of_range, two_settings, two_settings, root_setting),
    *(other_option, other_option, hydra_key, hydra_flag, section, interpolation, earlier_run, own_file, own_file),
)


def case(seed: int, number: int) -> Case:
    """One case; the kinds take turns."""
    rng = random.Random(f"{seed} {number}")
    return KINDS[number % len(KINDS)](rng, rng.choice(bases()))


def wrong_case(seed: int, number: int) -> Case:
    """One case that can mean nothing, so that it is refused early."""
    rng = random.Random(f"{seed} {number}")
    while True:
        found = rng.choice(KINDS)(rng, rng.choice(bases()))
        if found.wrong and not found.needs_run:
            return found


if __name__ == "__main__":
    import answers

    amount, seed = map(int, sys.argv[1:])
    answers.report([case(seed, number) for number in range(amount)])
