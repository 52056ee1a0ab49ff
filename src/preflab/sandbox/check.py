"""Implements `preflab sandbox check`: describes the sandbox that this machine can build, and attacks this sandbox."""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
from collections.abc import Iterator
from typing import NamedTuple

from preflab.sandbox.bubblewrap import Bubblewrap
from preflab.sandbox.groups import find_groups, make_group
from preflab.sandbox.limits import Limits
from preflab.sandbox.process import open_box
from preflab.sandbox.verdict import ProgramTask, Worker
from preflab.sandbox.walls import RUN_SCRIPT
from preflab.types import Test

QUICK_LIMITS = Limits(cpu_s=1.0, wall_s=4.0, memory_mb=128, output_mb=1, disk_mb=8)
_REACHED = "reached"
_HOSTS = ("127.0.0.1", "10.0.0.1", "1.1.1.1")


_MEASURED_FROM_OUTSIDE = (
    "measured from outside, fifty times a second: all processes with their page tables and mappings, the inodes of "
    "files, timers, and sockets. The sandbox refuses operations that cannot be measured from outside: shared memory that "
    "belongs to no file, epoll, and ignoring SIGCHLD. The kernel's memory for pipes (some 250 MB), for file locks, and for "
    "huge pages that were given back in part is not measured. Control groups measure this memory too. To use control "
    "groups, run preflab as root, in a container that delegates control groups, or by `systemd-run --user --scope -p "
    "Delegate=yes preflab ...`"
)


class Attack(NamedTuple):
    """`source`: a program that prints `_REACHED` if the attack succeeds. `over`: the limit that must stop the program
    (empty: no limit). `code`: the exit status with which the program must end (None: any status)."""

    name: str
    source: str
    over: str = ""
    code: int | None = None


class AttackResult(NamedTuple):
    """`held`: whether the sandbox stopped the attack; `end`: how the program ended."""

    attack: str
    held: bool
    end: str


def _write_attempts(*tries: str) -> str:
    """Returns a program that runs each of the lines `tries` and prints the lines that raise no error."""
    attempt = "try:\n    {0}\n    print('reached', {0!r})\nexcept (OSError, AttributeError): pass\n"
    return "import os, socket, sys\n" + "".join(map(attempt.format, tries))


_CALL = "import ctypes\nctypes.CDLL(None).{}\nprint('reached')"
_FORKS = "import os, time\nfor _ in range(500):\n    if os.fork() == 0: time.sleep(9)\nprint('reached')"
_TABLES = (
    "import mmap\nsize = 200 << 30\nm = mmap.mmap(-1, size, 0x4022, mmap.PROT_READ)\n"  # 0x4022: private, anonymous, noreserve
    "for at in range(0, size, 2 << 20): m[at]\nprint('reached')"
)
_MARK = (
    f"import os, time\nos.utime('/dev/null')\nif os.stat('/dev/null').st_mtime > time.time() - 60: print({_REACHED!r})"
)
_LEFT_FILES = ("/tmp/kept", "/dev/shm/kept")
_ATTEMPTS = {
    "reads files of the machine": ("open('/etc/passwd')", "os.listdir('/home')", "os.listdir('/sys')"),
    "writes outside its folder": ("open('/x', 'w')", "open('/python/x', 'w')", "open('/dev/x', 'w')"),
    "sees other processes": ("os.kill(3, 0)", "os.stat('/proc/3')"),
    "reaches a network": [f"socket.create_connection(('{host}', 53), 1)" for host in _HOSTS],
    "speaks to the kernel's sockets": ("socket.socket(16, 3)", "socket.socket(17, 3)", "socket.socket(40, 1)"),
}
ATTACKS = (
    *(Attack(name, _write_attempts(*tries)) for name, tries in _ATTEMPTS.items()),
    Attack("mounts", _CALL.format("mount(b'x', b'/tmp', b'tmpfs', 0, None)"), code=-31),
    Attack("makes a namespace", _CALL.format("unshare(0x10000000)"), code=-31),
    Attack("traces a process", _CALL.format("ptrace(16, 1, 0, 0)"), code=-31),
    Attack("fills the memory", "x = [bytearray(b'1') * (16 << 20) for _ in range(64)]\nprint('reached')", "memory"),
    Attack("hides memory in page tables", _TABLES, "memory"),
    Attack("leaves a mark on a device", _MARK),
    Attack("fills the disk", "open('/tmp/x', 'wb').write(bytes(32 << 20))\nprint('reached')", code=1),
    Attack("fills the output", "import os\nwhile True: os.write(1, b'x' * 65536)", "output-limit"),
    Attack("never ends", "while True: pass", "timeout"),
    Attack("sleeps for ever", "import time\nwhile True: time.sleep(9)", "timeout"),
    Attack("forks without end", _FORKS, code=1),
    Attack("leaves a file", f"for path in {_LEFT_FILES}: open(path, 'w').close()", code=0),
    Attack("finds what the last one left", _write_attempts(*(f"os.stat({path!r})" for path in _LEFT_FILES))),
)
EXPECTED_MARK = "preflab-expects-"
"""The beginning of the random value that the tests below expect, and that the programs cannot know."""
_FORGERY = """
import os, sys
def f():
    for descriptor in range(64):
        for text in (b'passed\\n', b'["passed"]\\n', b'{"verdict": "passed"}\\n'):
            try: os.write(descriptor, text)
            except OSError: pass
    os._exit(0)
"""
_SEARCH = """
import os, re
def places():
    yield from map(str.encode, (*os.environ, *os.environ.values()))
    for folder, _, names in os.walk('/tmp'):
        yield from (open(os.path.join(folder, name), 'rb').read() for name in names)
    yield open('/proc/self/cmdline', 'rb').read()
    memory = open('/proc/self/mem', 'rb', 0)
    for line in open('/proc/self/maps'):
        start, end = (int(each, 16) for each in line.split()[0].split('-'))
        try:
            memory.seek(start)
            yield memory.read(end - start)
        except (OSError, OverflowError): pass
def f(*given):
    for place in places():
        match = re.search(rb'preflab-expects-[0-9a-f]{32}', place)
        if match: return match[0].decode()
"""
VERDICT_ATTACKS = {"forges a verdict": _FORGERY, "looks for what is expected": _SEARCH}


def describe_walls(walls: Bubblewrap) -> Iterator[tuple[str, str]]:
    """Yields the name and the description of each part of the sandbox. If a part is missing, its description explains
    how to add the part."""
    namespaces = "new user, process, mount, network, ipc and host-name namespaces for each run"
    yield "walls", f"bubblewrap {walls.version}: {namespaces}"
    yield "system calls", f"filtered ({platform.machine()})"
    own_user = (
        "your own, inside a namespace. The kernel's limits for each user (on processes, pipes) therefore also count everything "
        "else that you run. If preflab runs as root, each run has its own user id"
    )
    yield "user id", "a new user id for each run" if os.geteuid() == 0 else own_user
    groups = find_groups()
    exactly = "measured exactly by a control group: the memory of all processes, and the kernel's memory for them"
    yield "limits", f"{exactly} ({groups.bases[0]})" if groups else _MEASURED_FROM_OUTSIDE
    holes = "attacks on holes in the kernel itself: to stop them, run preflab in a virtual machine, or bubblewrap under gVisor"
    yield "not stopped", holes


def attack_walls(walls: Bubblewrap) -> Iterator[AttackResult]:
    """Makes every attack, one after the other, and yields the results."""
    group = make_group()
    with contextlib.closing(group) if group else contextlib.nullcontext():
        for attack in ATTACKS:
            with open_box(walls, RUN_SCRIPT, attack.source.encode(), QUICK_LIMITS, group=group, stdin=b"") as box:
                box.finish()
            text = box.output.decode(errors="replace")
            held = _REACHED not in text and box.over == attack.over and attack.code in (None, box.code)
            yield AttackResult(attack.name, held, box.over or f"status {box.code}")
        expected = EXPECTED_MARK + secrets.token_hex(16)
        for name, source in VERDICT_ATTACKS.items():  # these programs try to pass without knowing the random answer
            task = ProgramTask("call", [Test([], expected)], "f", QUICK_LIMITS)
            outcome = Worker(walls, (group, None)).judge(source, task).outcome
            yield AttackResult(name, outcome not in ("passed", "error"), outcome)
