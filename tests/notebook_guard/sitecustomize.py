"""Notebooks under test reach no network and leave no files behind: refuse what would, and say where.

With this folder on PYTHONPATH every Python loads this file as it starts; it acts in the kernels of notebooks and in the
processes they start, and nowhere else. Refused are connections beyond this machine, and files or folders made, changed,
renamed or removed elsewhere than in temporary folders, the runtime folders of Jupyter and IPython, the user's cache
folders and ``__pycache__``. It sees what Python does, not what a library does in C.
"""

import os
import socket
import sys
import tempfile
from pathlib import Path

MARK = "OFFSEG_VIZ_NOTEBOOK_GUARD"
REPOSITORY = Path(__file__).resolve().parents[2]
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
LOCAL = {"", "localhost", "localhost.localdomain", "ip6-localhost", "0.0.0.0", "::", "::1"}


def allowed_folders(environment=os.environ) -> set[Path]:
    """Where a notebook may write."""
    home = Path(os.path.expanduser("~"))
    named = (
        "XDG_CACHE_HOME",
        "JUPYTER_RUNTIME_DIR",
        "JUPYTER_DATA_DIR",
        "IPYTHONDIR",
        "MPLCONFIGDIR",
        "NUMBA_CACHE_DIR",
    )
    folders = {
        tempfile.gettempdir(),
        "/dev",
        home / ".cache",
        home / "Library" / "Caches",
        home / ".ipython",
        home / ".jupyter",
        home / ".local" / "share" / "jupyter",
        home / "Library" / "Jupyter",
        home / ".config" / "matplotlib",
        *(environment[name] for name in (*named, "LOCALAPPDATA") if environment.get(name)),
    }
    return {Path(os.path.realpath(folder)) for folder in folders}


def may_write(path: Path, allowed: set[Path], refused: Path = REPOSITORY) -> bool:
    """Whether a path lies in an allowed folder; inside `refused` only if the allowed one lies inside it as well."""
    if "__pycache__" in path.parts:
        return True
    inside = [folder for folder in allowed if path == folder or folder in path.parents]
    if path == refused or refused in path.parents:
        inside = [folder for folder in inside if refused in folder.parents]
    return bool(inside)


def is_local(host) -> bool:
    """Whether a host is this machine, by its name or number alone."""
    host = host.decode(errors="replace") if isinstance(host, bytes) else host
    return host is None or host in LOCAL or host.startswith(("127.", "::ffff:127.")) or host == socket.gethostname()


def guard(allowed: set[Path]):
    """The audit hook."""

    def check_path(path, what):
        if isinstance(path, int):  # a file that is open already
            return
        real = Path(os.path.realpath(os.fsdecode(path)))
        if not may_write(real, allowed):
            raise PermissionError(f"a notebook {what} {real}; it may write to a temporary folder only")

    def check_host(host):
        if not is_local(host):
            raise ConnectionRefusedError(f"a notebook asks the network for {host!r}; it must run without one")

    def hook(event, arguments):
        if event == "open":
            path, mode, flags = arguments
            if (flags or 0) & WRITING or (isinstance(mode, str) and set(mode) & set("wax+")):
                check_path(path, "writes to")
        elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.truncate"):
            path, where = arguments[0], arguments[-1]
            if event == "os.truncate" or where == -1:  # else relative to an open folder, as `shutil.rmtree` does it
                check_path(path, {"os.mkdir": "makes the folder", "os.truncate": "cuts"}.get(event, "removes"))
        elif event in ("os.rename", "os.link", "os.symlink"):
            if event == "os.rename":
                check_path(arguments[0], "moves")
            check_path(arguments[1], "writes to")
        elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
            check_host(arguments[1][0])
        elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
            check_host(arguments[0])

    return hook


if "ipykernel_launcher" in sys.orig_argv or os.environ.get(MARK):
    os.environ[MARK] = "on"
    sys.addaudithook(guard(allowed_folders()))
