"""Many records in one Zarr store: one group a record, read one at a time. No torch here, so that reading is quick."""

import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import xarray as xr

from offseg_viz.errors import RecordError, UnknownNameError
from offseg_viz.record import load_record

MARKER = ".zgroup"
WINDOW = re.compile(r"@\d+-\d+$")
"""What the name of a window has behind that of its image."""


def image_of(name: str) -> str:
    """The id of the image that the record of this id shows, the whole or a window of."""
    return WINDOW.sub("", name)


class RecordStore(Sequence):
    """The records of a store by number, id or slice, in the order of their ids; each is read when it is asked for.

    Parameters
    ----------
    path : folder of the store, as written by `extract_many`.
    ids : those of its records to see; by default all.

    Raises
    ------
    RecordError
        If `path` is no store; when a record is read, if it is damaged.
    """

    def __init__(self, path: str | Path, *, ids: Iterable[str] | None = None):
        self.path = Path(path)
        if not (self.path / MARKER).is_file():
            raise RecordError(f"no record store at {path}; needed a folder written by extract_many()")
        if ids is None:
            ids = (entry.name for entry in self.path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        self.ids = tuple(sorted(ids))

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Ids of half-written records: being written now, or left by an extraction that was stopped."""
        return tuple(sorted(path.name[1:].removesuffix(".partial") for path in self.path.glob(".*.partial")))

    def path_of(self, name: str) -> Path:
        """Folder of the record `name`; a name that is no plain file name is refused."""
        if name != Path(name).name or name.startswith("."):
            raise RecordError(f"{name!r} cannot name a record: needed a plain name without slashes or a leading dot")
        return self.path / name

    def of_image(self, name: str) -> "RecordStore":
        """The records of one image: of all its windows, ``"{name}@{top}-{left}"``, or of the whole.

        Raises
        ------
        UnknownNameError
            If there is none.
        """
        images = {number: image_of(number) for number in self.ids}
        ids = [number for number in self.ids if name in (number, images[number])]
        if not ids:
            raise UnknownNameError(f"image of {self.path.name}", name, sorted(set(images.values())))
        return RecordStore(self.path, ids=ids)

    def only(self, *names: str | None) -> "RecordStore":
        """The records of these ids; None stands for no record."""
        return RecordStore(self.path, ids=[name for name in names if name is not None])

    def load(self, name: str, *, leave_out: Iterable[str] = ()) -> xr.Dataset:
        """The record `name` without the variables of `leave_out`, which are not read.

        Raises
        ------
        UnknownNameError
            If there is none of that name.
        RecordError
            If it is damaged.
        """
        if name not in self.ids:
            raise UnknownNameError(f"record of {self.path.name}", name, self.ids)
        return load_record(self.path_of(name), leave_out=leave_out)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, key: int | str | slice) -> "xr.Dataset | RecordStore":
        if isinstance(key, slice):
            return RecordStore(self.path, ids=self.ids[key])
        return self.load(key if isinstance(key, str) else self.ids[key])

    def __repr__(self) -> str:
        return f"<RecordStore {self.path.name}: {len(self)} records>"


def open_store(path: str | Path, *, skip_damaged: bool = False) -> RecordStore:
    """Open a store of `extract_many` for reading; records are read when they are asked for.

    Parameters
    ----------
    path : folder of the store.
    skip_damaged : read every record once, and leave out those that are damaged or half-written, with a warning that
        names them. Without it a half-written one is an error here, a damaged one when it is read.

    Raises
    ------
    RecordError
        If `path` is no store, or holds half-written records.
    """
    store = RecordStore(path)
    if not skip_damaged:
        if store.unfinished:
            raise RecordError(
                f"{path} holds half-written records: {', '.join(store.unfinished)}; finish it by the same "
                "extract_many() that began it, or open it with skip_damaged=True"
            )
        return store
    left_out, sound = [f"{name} (half-written)" for name in store.unfinished], []
    for name in store.ids:
        try:
            store.load(name)
            sound.append(name)
        except RecordError as cause:
            left_out.append(f"{name} ({cause})")
    if left_out:
        warnings.warn(f"{path}: left out {len(left_out)} records: {'; '.join(left_out)}", stacklevel=2)
    return RecordStore(path, ids=sound)


def create_store(path: str | Path) -> RecordStore:
    """The store at `path`, an empty one where there is nothing; several processes may make it at once."""
    path = Path(path)
    if not path.exists() or path.is_dir() and not any(path.iterdir()):
        path.mkdir(parents=True, exist_ok=True)
        (path / MARKER).write_text('{"zarr_format": 2}\n')
    return RecordStore(path)
