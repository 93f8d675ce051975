"""``python -m colbert_zero_lib``: the ``colbert-zero`` command for launchers that start a module, such as torchrun."""

from .cli import app

app(prog_name="colbert-zero")
