"""What the library's own source never does, read from the source; and what is installed is pinned by its bytes."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import colbert_zero_lib

LIBRARY = Path(colbert_zero_lib.__file__).parent
ROOT = LIBRARY.parent
# Calls that run, unpickle or serve what came as data.
NEVER = {
    *(
        "eval",
        "exec",
        "compile",
        "__import__",
        "os.system",
        "os.popen",
        "pickle.load",
        "pickle.loads",
        "torch.load",
    ),
    *("marshal.loads", "shelve.open", "joblib.load", "yaml.load", "numpy.load", "np.load", "runpy.run_path"),
    *(
        "socketserver.TCPServer",
        "http.server.HTTPServer",
        "socket.socket",
        "zipfile.extractall",
        "shutil.unpack_archive",
    ),
}
# What is read of the environment; the whole of it goes to child processes only.
READ = {
    *("COLBERT_ZERO_HOME", "COLBERT_ZERO_FIGURES", "CI", "JUPYTER_PATH", "PYTHONPATH"),
    *("WORLD_SIZE", "LOCAL_WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "ACCELERATE_USE_CPU"),
    *("HF_HUB_OFFLINE", "OMP_NUM_THREADS"),
    *("LAUNCHER_TELLS", "_PLACE"),  # marks for child processes
    "name",  # what is set for a kernel is put back afterwards
}


@cache
def nodes() -> list[tuple[str, ast.AST]]:
    """All nodes of the library's source, each with its file."""
    files = sorted(LIBRARY.rglob("*.py"))
    return [
        (file.name, node) for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    ]


def calls() -> list[tuple[str, ast.Call, str]]:
    """File, call and what is called."""
    return [(file, node, ast.unparse(node.func)) for file, node in nodes() if isinstance(node, ast.Call)]


def test_nothing_is_evaluated_unpickled_or_served() -> None:
    assert len(calls()) > 1000
    found = [
        (file, name, call) for file, call, name in calls() if name in NEVER or name.endswith(".extractall")
    ]
    # Kernels are asked for through a Unix socket in a private folder (test_kernels): no network reaches it.
    local = {
        ("kernels.py", "socket.socket(socket.AF_UNIX)"),
        ("kernels.py", "socket.socket(fileno=int(sys.argv[1]))"),
    }
    assert {(file, ast.unparse(call)) for file, _, call in found} == local


def test_the_search_server_alone_listens_and_on_the_loopback_address() -> None:
    listening = (
        "listen",
        "bind",
        "bind_sockets",
        "add_sockets",
        "bind_unix_socket",
        "start_server",
        "create_server",
    )
    found = {
        (file, ast.unparse(call)) for file, call, name in calls() if name.rpartition(".")[2] in listening
    }
    kernels = {each for each in found if each[0] == "kernels.py"}  # the Unix socket of above
    calls_of_it = {"bind_sockets(port, address=ADDRESS)", "server.add_sockets(sockets)"}
    assert found - kernels == {("serve.py", call) for call in calls_of_it}
    from colbert_zero_lib.searching import serve

    assert serve.ADDRESS == "127.0.0.1"


def test_processes_get_lists_of_words_and_never_a_shell() -> None:
    found = [
        (file, ast.unparse(keyword))
        for file, call, name in calls()
        if name.startswith("subprocess.")
        for keyword in call.keywords
        if keyword.arg == "shell"
    ]
    assert found == []


def test_remote_code_is_trusted_nowhere() -> None:
    assert not [
        file for file, call, _ in calls() for each in call.keywords if each.arg == "trust_remote_code"
    ]


def test_no_variable_of_the_environment_is_read_but_these() -> None:
    named = {ast.unparse(c.args[0]) for _, c, name in calls() if name in ("os.environ.get", "os.getenv")}
    for _, node in nodes():
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            named |= {ast.unparse(node.slice)} if ast.unparse(node.value) == "os.environ" else set()
        elif isinstance(node, ast.Compare) and ast.unparse(node.comparators[0]) == "os.environ":
            named.add(ast.unparse(node.left))
    assert {name.strip("'") for name in named} == READ


def test_every_requirement_of_the_lock_has_hashes() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8").replace("\\\n", " ")
    rows = [row for row in text.splitlines() if row.strip() and not row.startswith("#")]
    assert len(rows) > 100
    for row in rows:
        assert re.match(r"[a-z0-9._-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", row), row[:80]
    assert "--require-hashes -r requirements.lock" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_every_claim_of_the_security_page_has_its_test() -> None:
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\((tests/\S+?\.py)\)", page)
    assert linked and all((ROOT / file).is_file() for file in linked)
    for file in (ROOT / "tests" / "security").glob("test_*.py"):
        assert f"tests/security/{file.name}" in linked, file.name
    named = re.findall(r"`(test_\w+)`", page)
    known = "\n".join((ROOT / file).read_text(encoding="utf-8") for file in set(linked))
    assert named and not [name for name in named if f"def {name}(" not in known]
