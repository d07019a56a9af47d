"""What the benchmarks say of the machine."""

import platform
from pathlib import Path


def processor() -> str:
    """The model of the CPU, in words."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
