"""Option files with a mistake in them, made of those that ship with the package."""

import random
import re

PACKAGES = ("nope", "env", "_group_", "_global_", "", "a.b", "[]")
NAMES = ("nope", "../x", ".x", "3", "null", "[]", "a.b")
DEFAULTS = ("[mine]", "[nope]", "3", "[{a: b, c: d}]", "[_self_, 3]", "[3]", "[null]", "{}", "[override mine]")
WHOLE = ("", "3", "[]", "null", "a: &a [*a]", "null: 1", "1: 2", "[", "{", "a: b: c", "? [1]", "---\n---", "x: 1e999")
LINES = ("x: ${x}", "x: !!python/object:os.x {}", "<<: 3", "2020-01-01: 1", "x: *y", "name: {a: 1}", "true: 1", "x: ${")


def mutated(rng: random.Random, text: str) -> tuple[str, bytes]:
    """What was done to the text of an option file, in a word, and what came of it."""
    changes = {
        "no name": re.sub(r"(?m)^name:.*$", "", text),
        "no package": re.sub(r"(?m)^# @package.*$", "", text),
        "other package": f"# @package {rng.choice(PACKAGES)}\n{text}",
        "other name": re.sub(r"(?m)^name:.*$", f"name: {rng.choice(NAMES)}", text),
        "unknown key": f"{text}\nnope: 3\n",
        "defaults": f"defaults: {rng.choice(DEFAULTS)}\n",
        "whole": rng.choice(WHOLE),
        "line more": f"{text}\n{rng.choice(LINES)}\n",
        "brackets": "x: " + "[" * 3000 + "]" * 3000,
        "nested": "x: " + "{a: " * 300 + "1" + "}" * 300,
        "long number": f"{text}\nx: {'9' * 5000}\n",
        "byte order mark": f"\ufeff{text}",
        "NUL": f"{text}\nx: \0",
    }
    lines = [line for line in text.splitlines() if line.strip()]
    i = rng.randrange(len(lines))
    line, before, after = lines[i], lines[:i], lines[i + 1 :]
    for what, instead in {
        "line lost": [],
        "line cut": [line[: len(line) // 2]],
        "line indented": [f"  {line}"],
        "line twice": [line, line],
        "tab": [f"\t{line}"],
    }.items():
        changes[what] = "\n".join([*before, *instead, *after])
    encoded = {"not UTF-8": b"\xff\xfe\xfa" + text.encode(), "UTF-16": text.encode("utf-16")}
    what = rng.choice([*changes, "defaults", "whole", "line more", *encoded])
    return what, encoded[what] if what in encoded else changes[what].encode()
