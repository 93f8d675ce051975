"""Notebooks in JupyterLab, as a reader meets them: run from top to bottom, every widget moved, pictures taken.

`python -m tests.browser JUPYTER PICTURES 01 06 ...` prints what is wrong; JUPYTER is of the notebooks' environment.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[1]
MINUTES, PATIENCE = 30, 60.0  # for a notebook, where much else runs as well; seconds for a widget's answer
BOX, IDLE = ".widget-interact", ".jp-StatusBar-Widget :text('| Idle')"
RUNNING = "document.querySelector('.jp-Notebook').innerText.includes('[*]:')"


@contextmanager
def lab(jupyter: str, folder: Path) -> Iterator[str]:
    """JupyterLab on a copy of the notebooks without outputs; the address of its page."""
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    for file in (folder / "notebooks").glob("*.ipynb"):
        notebook = json.loads(file.read_text())
        for cell in notebook["cells"]:
            cell.update({"outputs": [], "execution_count": None} if cell["cell_type"] == "code" else {})
        file.write_text(json.dumps(notebook))
    # Cells that are out of sight would not be in the page, and an offer of news would lie over it.
    settings = {"notebook-extension/tracker": '{"windowingMode": "none"}'}
    settings["apputils-extension/notification"] = '{"fetchNews": "false"}'
    for name, text in settings.items():
        file = folder / f"settings/@jupyterlab/{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(text)
    own = {"JUPYTERLAB_SETTINGS_DIR": folder / "settings", "COLBERT_ZERO_FIGURES": folder / "figures"}
    own |= {"PYTHONPATH": ROOT, "HF_HUB_OFFLINE": "1"}
    words, said = [str(Path(jupyter).absolute()), "lab", "--no-browser", "--allow-root"], folder / "said.txt"
    with said.open("w") as log:
        env = os.environ | {name: str(value) for name, value in own.items()}
        server = subprocess.Popen(words, cwd=folder / "notebooks", env=env, stderr=log)
    try:
        while not (address := re.search(r"http://127\S+", said.read_text())):
            if server.poll() is not None:
                sys.exit(f"JupyterLab did not start: {said.read_text()[-500:]}")
            time.sleep(1)
        yield address[0]
    finally:
        server.terminate()
        server.wait()


def run(tab: Any, file: Path, address: str) -> Iterator[str]:
    """Run all cells of a notebook and save it; what went wrong, as the file says."""
    tab.goto(address.replace("/lab?", f"/lab/tree/{file.name}?reset&"))
    tab.wait_for_selector(IDLE, timeout=120_000)
    tab.click(".lm-MenuBar-itemLabel:text-is('Run')")
    tab.click(".lm-Menu-itemLabel:text-is('Run All Cells')")
    tab.wait_for_function(RUNNING)
    tab.wait_for_function(f"!{RUNNING}", timeout=MINUTES * 60_000)
    tab.keyboard.press("Control+s")
    tab.wait_for_selector(".jp-mod-dirty", state="detached", timeout=60_000)
    for cell in json.loads(file.read_text())["cells"]:
        if cell["source"] and cell.get("execution_count", 0) is None:
            yield f"cell {cell['id']} never ran"
        failed = (output for output in cell.get("outputs", []) if output["output_type"] == "error")
        yield from (f"cell {cell['id']} ends in {error['ename']}: {error['evalue']}" for error in failed)


def move(box: Any) -> Iterator[str]:
    """Type another text, push each slider on by one; what a widget did not answer."""
    for control in box.locator("input[type=text], .noUi-handle").all():
        shown = box.locator(".jp-OutputArea-output")
        before, start = shown.inner_html(), time.perf_counter()
        typed = control.evaluate("one => one.tagName") == "INPUT"
        if typed:
            control.fill("swollen skin below the eye")
        control.press("Enter" if typed else "ArrowRight")
        while (took := time.perf_counter() - start) < PATIENCE:
            with suppress(Exception):  # between two pictures there is none
                if shown.inner_html(timeout=200) != before:
                    break
        print(f"    answered after {took:.2f} s", flush=True)
        if took >= PATIENCE:
            yield "a widget was moved and its picture stayed as it was"


def main() -> str:
    """Run the notebooks that were asked for; what is wrong."""
    jupyter, pictures, *numbers = sys.argv[1:]
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        return "No Chromium or Chrome is installed, so no notebook was opened: install one."
    from playwright.sync_api import sync_playwright

    wrong = []
    with TemporaryDirectory() as place, lab(jupyter, Path(place)) as address, sync_playwright() as play:
        tab = play.chromium.launch(executable_path=program).new_page(viewport={"width": 1280, "height": 900})
        for file in (next(Path(place, "notebooks").glob(f"{number}_*")) for number in numbers):
            print(file.stem, flush=True)
            found, cells = [*run(tab, file, address)], tab.locator(".jp-CodeCell", has=tab.locator(BOX))
            for number, cell in enumerate(cells.all()):
                found += move(cell.locator(BOX))
                cell.screenshot(path=Path(pictures, f"{file.stem}-{number}.png"))
            tab.screenshot(path=Path(pictures, f"{file.stem}.png"))
            traces = tab.locator("[data-mime-type='application/vnd.jupyter.error']").count()
            found += ["a traceback is on the page"] * bool(traces)
            wrong += [f"{file.stem}: {what}" for what in found]
    return "\n".join(wrong)


if __name__ == "__main__":
    sys.exit(main() or None)
