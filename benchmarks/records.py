"""Results on disk: one JSON file a benchmark, written after every case, so that an interrupted run goes on.

Nothing is measured here; figures are drawn from these files by `colbert_zero_lib.figures.benchmarks`.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from colbert_zero_lib.errors import DataError
from colbert_zero_lib.runs.passport import environment_versions, git_commit, write_json
from colbert_zero_lib.training.devices import native_bfloat16

ROW_FIELDS = ("case", "peer", "ratio", "ratio_low", "ratio_high")


def machine(device: str = "cpu") -> dict[str, Any]:
    """What the figures depend on besides the code: processor, cores, memory in bytes, threads, device."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        memory = None
    cuda = device.startswith("cuda")
    return {
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "memory_bytes": memory,
        "torch_threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if cuda else "cpu",
        "device_memory_bytes": torch.cuda.get_device_properties(device).total_memory if cuda else None,
        "bfloat16_instructions": torch.cuda.is_bf16_supported() if cuda else native_bfloat16("cpu"),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def check(content: Any, source: str) -> dict[str, Any]:
    """``content`` if it keeps the contract of a results file; DataError names ``source`` and the field."""
    if not isinstance(content, dict):
        raise DataError(f"{source} holds no object: delete it and run the benchmark again.")
    for field, kind in (("machine", dict), ("versions", dict), ("rows", list), ("git_commit", object)):
        if field not in content or not isinstance(content[field], kind):
            raise DataError(f"{source} has no {field!r}: delete it and run the benchmark again.")
    for number, row in enumerate(content["rows"]):
        missing = [field for field in ROW_FIELDS if field not in row]
        if missing:
            raise DataError(
                f"{source}, row {number}, has no {missing[0]!r}: delete it and run the benchmark again."
            )
        if not 0 < row["ratio_low"] <= row["ratio"] <= row["ratio_high"]:
            raise DataError(
                f"{source}, row {number} ({row['case']!r}): its ratio is not within its interval;"
                " delete the file and run the benchmark again."
            )
    return content


def read(file: Path) -> dict[str, Any]:
    """A results file; DataError if it is missing, no JSON, or lacks a field."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"{file} cannot be read ({error.strerror}): run 'python -m benchmarks' first."
        ) from None
    except ValueError:
        raise DataError(f"{file} is not JSON: delete it and run the benchmark again.") from None
    return check(content, str(file))


class Record:
    """The rows of one benchmark, kept in ``file``.

    Rows that are there already are kept and not measured again, as long as they come from the same machine, versions,
    commit and ``settings``; rows from elsewhere would not compare with new ones and are dropped. ``fresh`` drops all.
    """

    def __init__(
        self,
        file: Path,
        settings: Mapping[str, Any],
        device: str = "cpu",
        fresh: bool = False,
        say: Callable[[str], object] = print,
    ) -> None:
        self.file = file
        self._head = {
            "machine": machine(device),
            "versions": environment_versions(),
            "git_commit": git_commit(),
            "settings": dict(settings),
        }
        self.rows: list[dict[str, Any]] = []
        if fresh or not file.is_file():
            return
        try:
            before = read(file)
        except DataError as error:
            say(f"{error} It is measured anew.")
            return
        # Through JSON, since that is what the file's numbers went through.
        head = json.loads(json.dumps(self._head))
        changed = [field for field, value in head.items() if before.get(field) != value]
        if changed:
            say(f"{file.name}: measured anew, since its {' and '.join(changed)} differ")
        else:
            self.rows = before["rows"]

    def has(self, case: str) -> bool:
        """Whether any row of ``case`` is there."""
        return any(row["case"] == case for row in self.rows)

    def add(self, *rows: Mapping[str, Any]) -> None:
        """Append rows and write the file, whole, before the next case begins."""
        self.rows.extend(dict(row) for row in rows)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_json(check(self.content(), str(self.file)), self.file)

    def content(self) -> dict[str, Any]:
        """What the file holds."""
        return {**self._head, "rows": self.rows}
