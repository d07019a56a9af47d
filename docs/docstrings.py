"""From the package's docstrings to what Sphinx reads: numpydoc in which an argument may be told in a running line."""

import re

ARGUMENT = re.compile(r"([\w*]+(?:, [\w*]+)*) : (.+)")
TYPE = re.compile(r'[{"]|(?:str|int|float|bool|dict|tuple|list|path|callable|array|figure|model|module)\b', re.I)
SECTIONS = ("Parameters", "Attributes")


def readable(lines: list[str]) -> list[str]:
    """The docstring with running descriptions of arguments below their names, and no markup where none was meant."""
    lines = [re.sub(r"^(\s*)([A-Za-z]\.)$", r"\1\\\2", line) for line in lines]  # "K." alone would begin a list
    return [_with_plain_bars(line) for line in _with_descriptions(lines)]


def _with_descriptions(lines: list[str]) -> list[str]:
    """``name : what it is, told in one go`` becomes a name and a description; ``name : type`` stays."""
    found, inside, at = [], False, 0
    while at < len(lines):
        line = lines[at]
        if at + 1 < len(lines) and set(lines[at + 1]) == {"-"}:
            inside = line.strip() in SECTIONS
        argument = ARGUMENT.fullmatch(line) if inside else None
        at += 1
        if argument is None:
            found.append(line)
            continue
        below = at
        while below < len(lines) and lines[below].startswith("    "):
            below += 1
        name, told = argument.groups()
        if _is_type(told, lines[at:below]):
            found.append(line)
        else:
            found += [name, f"    {told}"]
    return found


def _is_type(told: str, below: list[str]) -> bool:
    """Whether a description of its own follows a type, or a type stands alone."""
    if below:
        return below[0].strip()[0].isupper() and not told.endswith((",", ";"))
    return bool(TYPE.match(told)) and len(told) < 60 and not told.endswith(".") and ";" not in told


def _with_plain_bars(line: str) -> str:
    """The length |dE| is no substitution of reStructuredText: bars outside literals lose that meaning."""
    if "|" not in line or line.lstrip().startswith((">>>", "...")):
        return line
    parts = re.split(r"(``.*?``)", line)
    return "".join(part if part.startswith("``") else part.replace("|", r"\|") for part in parts)


def summary(docstring: str) -> str:
    """The first paragraph on one line."""
    first = docstring.strip().split("\n\n")[0]
    return _with_plain_bars(" ".join(line.strip() for line in first.splitlines()))
