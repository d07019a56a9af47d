"""How the records of a store were made, written into it, so that all of them are made the same way."""

import json
import os
from pathlib import Path
from socket import gethostname

from offseg_viz.errors import RecordError

FILE = "extraction.json"


def agree_on(settings: dict, folder: Path) -> None:
    """Write `settings` into the store `folder`, or compare them with those that are there.

    Of several processes that come at once, with the same settings or others, one writes the file, whole, and all
    compare theirs with it.

    Raises
    ------
    RecordError
        If the store was begun with others, naming both, or holds records but no settings.
    """
    file = folder / FILE
    if not file.exists():
        if any(entry.is_dir() and not entry.name.startswith(".") for entry in folder.iterdir()) and not file.exists():
            raise RecordError(f"{folder} holds records but no {FILE} that says how they were made; choose another path")
        mine = folder / f".{FILE}.{gethostname()}-{os.getpid()}"
        mine.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        try:
            os.link(mine, file)  # unlike a renaming, it fails where another process was first
        except FileExistsError:
            pass
        except OSError:  # no hard links on this file system
            mine.replace(file)
        finally:
            mine.unlink(missing_ok=True)
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as cause:
        raise RecordError(f"{file} cannot be read ({cause}); choose another path") from cause
    settings = json.loads(json.dumps(settings))  # tuples become lists, as in the file
    differing = [name for name in settings if found.get(name) != settings[name]]
    if differing:
        theirs, ours = (", ".join(f"{name} {side.get(name)}" for name in differing) for side in (found, settings))
        raise RecordError(f"{folder} holds records of {theirs}, not of {ours}; choose another path")
