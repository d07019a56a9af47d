"""Memory that is freed stays with the process: seen by what glibc has at hand after large blocks were freed."""

import ctypes
import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not hasattr(ctypes.CDLL(None), "mallinfo2"),
    reason="needs glibc from 2.33: it alone has the setting, and tells what it keeps",
)

PROGRAM = """
import ctypes, torch
{first}
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"  # malloc.h
libc.mallinfo2.restype = type("Kept", (ctypes.Structure,), dict(_fields_=[(n, ctypes.c_size_t) for n in names.split()]))
for _ in range(3):
    blocks = [libc.malloc(24 * 2**20) for _ in range(6)]
    for block in reversed(blocks):
        libc.free(block)
print(libc.mallinfo2().keepcost // 2**20)  # free at the end of the heap: what can be given back
"""

SETTINGS = {
    "MALLOC_TRIM_THRESHOLD_": "1048576",
    "MALLOC_MMAP_THRESHOLD_": "1048576",
    "GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=1048576",
}


def kept(first: str, **environment: str) -> int:
    """MiB that a fresh process keeps of 144 that it took and freed, after the lines `first`."""
    inherited = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    command = [sys.executable, "-c", PROGRAM.format(first=first)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=inherited | environment)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_otherwise_it_is_given_back():
    assert kept("") < 50


@pytest.mark.parametrize(
    "first",
    [
        "from offseg_viz.models.memory import keep_freed_memory; assert keep_freed_memory()",
        "import offseg_viz; offseg_viz.load_model('nano', num_classes=3)",
        "from offseg_viz.extract.extract import reading_of; reading_of(torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1)))",
    ],
    ids=["by itself", "a network of ours", "extraction from any model"],
)
def test_memory_is_kept(first):
    assert 130 < kept(first) <= 256


@pytest.mark.parametrize("name", SETTINGS)
def test_what_the_environment_says_holds(name):
    first = "from offseg_viz.models.memory import keep_freed_memory; assert not keep_freed_memory()"
    assert kept(first, **{name: SETTINGS[name]}) < 50
