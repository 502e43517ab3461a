"""What a process costs: time of the processor, which hardly depends on what else the machine does, and memory."""

from pathlib import Path

import psutil


def processor_s(pid: int) -> float:
    """Processor time of a process and of all that it started (the portal's and the decoders), also those that ended."""
    try:
        process = psutil.Process(pid)
        times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    except psutil.NoSuchProcess:
        return 0.0
    return sum(each.user + each.system + each.children_user + each.children_system for each in times)


def rss_mb(pid: int) -> float | None:
    """Resident memory of a process; None when it is gone."""
    try:
        return psutil.Process(pid).memory_info().rss / 2**20
    except psutil.NoSuchProcess:
        return None


def peak_mb(pid: int) -> float | None:
    """The most memory that a process ever held; None where the system does not tell.

    `getrusage` counts what the process that started it held, too.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    return int(status.split("VmHWM:")[1].split()[0]) / 2**10
