"""What notebooks ask and show: a prediction beside what was found, and a picture that a reader can move."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from types import EllipsisType
from typing import Any

Answer = float | str


def compare(
    said: Answer | EllipsisType, found: Answer, unit: str = "", interval: tuple[float, float] | None = None
) -> None:
    """Print ``said``, a prediction (``...`` if none was made), beside ``found``, in ``unit``.

    ``interval`` is the 95% interval of a number that was found: a prediction inside it cannot be told from it.
    """
    digits = ("+" if interval else "") + (".2f" if unit.startswith("point") else ",.4g")

    def told(value: Answer) -> str:
        return f"{value if isinstance(value, str) else format(value, digits)} {unit}".strip()

    answer = told(found) + (f" [{interval[0]:{digits}}, {interval[1]:{digits}}]" if interval else "")
    if isinstance(said, EllipsisType):
        print(f"found: {answer}")
        return
    near = " (inside the interval)" if interval and interval[0] <= float(said) <= interval[1] else ""
    right = " (right)" if said == found else ""
    print(f"you said {told(said)}; it was {answer}{near or right}")


def explore(draw: Callable[..., Any], **choices: Iterable[float]) -> Any:
    """``draw()``, the picture at its arguments' defaults; where somebody can move them, with a slider for each.

    To be the last line of a cell. ``choices`` names the values of a slider; an argument without them, whose default is
    a text, gets a line to type into. Papermill and a front end without ipywidgets show the picture alone, as does a
    page that was saved with both.
    """
    from ipykernel.kernelapp import IPKernelApp

    kernel = IPKernelApp.instance().kernel if IPKernelApp.initialized() else None
    try:
        import ipywidgets
    except ImportError:
        kernel = None
    # Whoever may be asked for a line of input sits before the notebook.
    if kernel is None or not kernel.get_parent()["content"].get("allow_stdin"):
        return draw()
    first = {name: given.default for name, given in inspect.signature(draw).parameters.items()}
    sliders = {
        name: ipywidgets.SelectionSlider(options=sorted({*values, first[name]}), value=first[name])
        for name, values in choices.items()
    }
    box = ipywidgets.interactive(draw, {"auto_display": True}, **sliders)
    for control in box.kwargs_widgets:
        control.continuous_update, control.layout.width = False, "40rem"
    still, metadata = kernel.shell.display_formatter.format(box.result)
    kernel.shell.display_pub.publish({**box._repr_mimebundle_(), **still}, metadata)
    return None
