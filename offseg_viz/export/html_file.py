"""One HTML file that loads nothing: its frame, and how it is written."""

import os
from collections.abc import Callable
from contextlib import suppress
from html import escape
from pathlib import Path

from offseg_viz.errors import DataError

_POLICY = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def html_page(title: str, *, style: str, body: str, script: str = "") -> str:
    """A page with its style and script inside, which no browser lets load anything.

    Parameters
    ----------
    title : escaped here.
    style, body, script : CSS, HTML and JavaScript, as they are.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n{body}\n"
        + (f'<script>"use strict";\n{script}</script>\n' if script else "")
        + "</body>\n</html>\n"
    )


def write_html(path: str | Path, make: Callable[[], str], *, what: str) -> Path:
    """Write what `make` returns to `path`, whole or not at all; an older file there is replaced.

    Raises
    ------
    DataError
        If `path` is a folder, before anything is made, or cannot be written; it says so of `what`.
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder; name a file to write the {what} to, such as {path / f'{what}.html'}")
    text = make()
    try:
        write_whole(path, text.encode("utf-8"))
    except OSError as cause:
        raise DataError(f"the {what} cannot be written to {path} ({cause}); choose another folder") from cause
    return path


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; its folder is made where it is missing. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        with suppress(OSError):  # gone once it was moved into place
            partial.unlink()
