"""What a run without a control group uses, seen from outside: each way to hold memory or spend CPU time that its processes do
not show is counted or refused. Each of them passed a limit of 256 MB by gigabytes, or any limit of CPU time."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from preflab.sandbox import usage
from preflab.sandbox.bubblewrap import Bubblewrap
from preflab.sandbox.limits import MEGABYTE, Limits
from preflab.sandbox.process import open_box
from preflab.sandbox.usage import Tree
from preflab.sandbox.walls import RUN_SCRIPT

from .conftest import Ran

LIMITS = Limits(cpu_s=20.0, wall_s=60.0, memory_mb=96)
HOLD = "\nprint('held', flush=True)\nimport time; time.sleep(60)"
CALLS = (
    "import ctypes, os\nc = ctypes.CDLL(None); c.mmap.restype = ctypes.c_void_p\n"
    "c.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]\n"
    "c.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]\n"
)


def measure_outside(walls: Bubblewrap, source: str, limits: Limits = LIMITS) -> Ran:
    with open_box(walls, RUN_SCRIPT, source.encode(), limits, group=None, stdin=b"") as box:
        box.finish()
    return Ran(box.over, box.code, box.output.decode(), box.errors.decode())


MEMORY = {
    "page tables": CALLS + "n = 200 << 30\np = c.mmap(None, n, 1, 0x4022, -1, 0)\n"
    "for at in range(0, n, 2 << 20): ctypes.c_char.from_address(p + at).value",
    "inodes": "import os\nfor i in range(400000): os.symlink('x' * 120, f'/tmp/{i:0200}')",
    "mappings": CALLS + "import time\nn = 60000\np = c.mmap(None, n * 4096, 1, 0x22, -1, 0)\n"
    "for at in range(0, n, 2): c.mprotect(p + at * 4096, 4096, 0)\nfor _ in range(8):\n"
    "    if os.fork() == 0: time.sleep(60)",
    "sockets": "import os, socket, time\nfor _ in range(4):\n    if os.fork() == 0:\n"
    "        pairs = [socket.socketpair() for _ in range(110)]; time.sleep(60)",
}  # fmt: skip


@pytest.mark.parametrize("kind", MEMORY)
def test_memory_that_processes_do_not_show_is_counted(kind: str, walls: Bubblewrap) -> None:
    """Protects the machine's memory: what the kernel holds for a program is the program's."""
    assert measure_outside(walls, MEMORY[kind] + HOLD).over == "memory"


@pytest.mark.parametrize("pages", ["own", "shared"])
def test_memory_of_a_process_whose_first_thread_has_ended(pages: str, walls: Bubblewrap) -> None:
    """Protects the machine's memory: /proc showed none for such a process, which could then hold all that the machine has."""
    source = CALLS + (
        "import threading, time\nx = b'1' * (60 << 20)\ndef hold():\n    time.sleep(.3)\n    y = b'1' * (SIZE << 20)\n"
        "    os.write(1, b'held')\n    time.sleep(2)\n    os._exit(0)\nFORK\nthreading.Thread(target=hold).start()\n"
        "c.syscall(60 if os.uname().machine == 'x86_64' else 93, 0)"
    ).replace("SIZE", "200" if pages == "own" else "1").replace("FORK", "" if pages == "own" else "os.fork()")
    result = measure_outside(walls, source)
    assert (result.over, "held" in result.output) == (("memory", False) if pages == "own" else ("", True))


def test_a_process_that_ends_while_memory_is_summed_is_not_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects programs that fork near their limit: the first process is read while it shares 60 MB with the second (30 MB
    each), and ends before the second is read, which then holds all 60 MB: 90 MB are more than the limit of 80. The second
    look finds 60."""
    reads = iter([30 * MEGABYTE, 60 * MEGABYTE, 0, 60 * MEGABYTE])
    monkeypatch.setattr(usage, "_list_descendants", lambda root: iter([1, 2]))
    monkeypatch.setattr(usage, "_find_holder", lambda pid: (pid, 60 * MEGABYTE))
    monkeypatch.setattr(usage, "_read_proportional_memory", lambda pid: next(reads))
    assert Tree(1, 80 * MEGABYTE).usage().memory == 60 * MEGABYTE


def test_mappings_count_with_their_chains(walls: Bubblewrap) -> None:
    """Protects the machine's memory: a mapping of a child's child's child is chained to each of its ancestors', which held five
    times the limit."""
    source = CALLS + (
        "import time\nn = 3000\np = c.mmap(None, n * 8192, 3, 0x22, -1, 0)\nfor at in range(p, p + n * 8192, 8192):\n"
        "    ctypes.c_char.from_address(at).value = b'x'\n    c.mprotect(at + 4096, 4096, 0)\n"
        "for _ in range(50):\n    if os.fork():\n        time.sleep(15)\n        os._exit(0)"
    )
    assert measure_outside(walls, source, LIMITS._replace(memory_mb=256)).over == "memory"


def test_timers_are_counted(walls: Bubblewrap) -> None:
    """Protects the machine's memory: a user may have a hundred thousand timers, or more, and no process shows them."""
    source = CALLS + "t = ctypes.c_int()\nwhile c.timer_create(0, None, ctypes.byref(t)) == 0: pass"
    assert measure_outside(walls, source + HOLD, LIMITS._replace(memory_mb=20)).over == "memory"


def test_a_socket_keeps_the_buffer_with_which_it_is_counted(walls: Bubblewrap) -> None:
    """Protects the machine's memory: where large buffers are allowed, each socket held 8 MB and counted as 0.5 MB."""
    source = (
        "import socket\na, _ = socket.socketpair()\nbefore = a.getsockopt(1, 7)\na.setsockopt(1, 7, 1 << 30)\n"
        "a.setsockopt(1, 9, 1)\nprint(a.getsockopt(1, 7) == before, a.getsockopt(1, 9))"
    )
    assert measure_outside(walls, source).output == "True 1\n"


REFUSED = {
    "shared memory of no file": "import mmap\nm = mmap.mmap(-1, 1 << 20)",
    "the same by a device": "import mmap, os\nm = mmap.mmap(os.open('/dev/zero', os.O_RDWR), 1 << 20)",
    "pages given to a pipe": "import ctypes, os\nif ctypes.CDLL(None).vmsplice(os.pipe()[1], 0, 0, 0): raise OSError",
    "watches of descriptors": "import asyncio, select\nasyncio.run(asyncio.sleep(0))\nselect.epoll()",
    "watches of files": "import ctypes\nif ctypes.CDLL(None).inotify_init() < 0: raise OSError",
    "sockets of the internet": "import socket\ns = socket.socket(socket.AF_INET)",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_memory_that_nobody_can_count_is_refused(kind: str, walls: Bubblewrap) -> None:
    """Protects the machine's memory: such pages outlive every mapping of them, in none of the kernel's counts of a process."""
    result = measure_outside(walls, REFUSED[kind])
    assert (result.over, result.code) == ("", 1) and "Error" in result.errors


_ANSWER = (
    "import ctypes, os, struct, sys\nc = ctypes.CDLL(None, use_errno=True)\nx86 = os.uname().machine == 'x86_64'\n"
)
_FILTER = (
    "f = ctypes.create_string_buffer(struct.pack('HHI', 6, 0, 0x7fff0000))\n"
    "p = struct.pack('HxxxxxxP', 1, ctypes.addressof(f))\n"
)
UNCOUNTED = {
    "access lists of files": ("os.setxattr('.', 'system.posix_acl_default', struct.pack('<I' + 'HHI' * 3, 2, *(1, 7, 1), "
    "*(4, 7, 1), *(32, 7, 1)))", 95),
    "attributes of the input": ("os.setxattr(0, 'user.a', b'x')", 95),
    "memory policies of files": ("c.syscall(237 if x86 else 235, 0, 0, 0, 0, 0, 0)", 38),
    "huge pages of the machine": ("c.mmap(None, 2 << 20, 3, 0x44022, -1, 0)", 12),
    "tables of futexes": ("c.prctl(78, 1, 4, 0, 0)", 22),
    "filters of system calls": (_FILTER + "c.prctl(22, 2, p)", 22),
    "filters of sockets": (_FILTER + "import socket; socket.socketpair()[0].setsockopt(1, 26, p)", 22),
    "filters that a descriptor holds": (_FILTER + "c.syscall(317 if x86 else 277, 1, 8, p)", 38),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNCOUNTED)
def test_memory_that_not_even_a_group_counts_is_refused(kind: str, run: Callable[..., Ran]) -> None:
    """Protects the machine's memory, which each of these calls took by gigabytes under a limit of 96 MB: neither a process's
    numbers nor, for most of them, a control group's include it."""
    call, number = UNCOUNTED[kind]
    source = (
        f"{_ANSWER}try:\n    {call.replace(chr(10), chr(10) + '    ')}\nexcept OSError as error: print(error.errno)\n"
    )
    assert run(f"{source}else: print(ctypes.get_errno())").output == f"{number}\n"


@pytest.mark.parametrize(
    "how", ["signal.signal(17, signal.SIG_IGN)", "c.sigaction(17, (ctypes.c_long * 40)(*[0] * 17, 2), 0)"]
)
def test_the_time_of_children_is_not_forgotten(how: str, walls: Bubblewrap) -> None:
    """Protects the limit of CPU time: a child that nobody waits for took its own with it, a tenth of a second each."""
    source = CALLS + (
        f"import signal, time\n{how}\nfor _ in range(40):\n    if os.fork() == 0:\n        end = time.process_time() + .1\n"
        "        while time.process_time() < end: pass\n        os._exit(0)\n    time.sleep(.15)\n"
        "    try: os.waitpid(-1, os.WNOHANG)\n    except OSError: pass\nprint('end')"
    )
    assert measure_outside(walls, source, LIMITS._replace(cpu_s=1.5)).over == "timeout"


def test_python_asks_about_signals_as_ever(walls: Bubblewrap) -> None:
    """Protects honest programs: what is done on SIGCHLD may be asked, and other signals have handlers."""
    source = (
        "import os, signal\nprint(signal.getsignal(17))\nsignal.signal(17, signal.SIG_IGN)\n"
        "signal.signal(10, lambda *_: print('caught'))\nos.kill(os.getpid(), 10)\nos.system('exit 3')"
    )
    assert measure_outside(walls, source).output == "0\ncaught\n"


def test_pages_that_are_shared_count_once() -> None:
    """Protects honest programs that fork: two measurings of this process, by what it holds and by its share of that."""
    one = Tree(os.getpid(), 1 << 50).usage().memory
    shared = Tree(os.getpid(), 0).usage().memory
    tables = 1024 * int(Path("/proc/self/status").read_text().partition("VmPTE:")[2].split()[0])
    assert MEGABYTE < shared <= one + MEGABYTE and tables < one


def test_what_a_status_leaves_out_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the limit of memory on machines of many cores: there a status may leave out a hundred megabytes a process."""
    monkeypatch.setattr("preflab.sandbox.usage._find_holder", lambda pid: (pid, 0))
    assert Tree(os.getpid(), 1 << 50).usage().memory == 0
    monkeypatch.setattr("preflab.sandbox.usage._LAG_BYTES", 1 << 51)
    assert Tree(os.getpid(), 1 << 50).usage().memory > MEGABYTE


def test_a_process_that_hides_its_memory_holds_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the limit of memory, for users: a program may close its own /proc to the judge (PR_SET_DUMPABLE), and what was
    shared with nobody then counted as nothing."""
    plain = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name in ("smaps_rollup", "maps"):
            raise PermissionError(path)
        return plain(path)

    held = Tree(os.getpid(), 1 << 50).usage().memory
    monkeypatch.setattr(Path, "read_bytes", refuse)
    monkeypatch.setattr(Path, "read_text", lambda path: refuse(path).decode())
    assert Tree(os.getpid(), 0).usage().memory > held - MEGABYTE


def test_the_machines_own_files_are_not_the_programs() -> None:
    """Protects right programs: while the walls are being built their /tmp is the machine's, whose inodes counted as memory."""
    assert Tree(os.getpid(), 1 << 50, os.getpid()).usage().memory - Tree(os.getpid(), 1 << 50).usage().memory < MEGABYTE
