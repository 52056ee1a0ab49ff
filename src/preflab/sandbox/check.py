"""`preflab sandbox check`: what the walls of this machine are made of, and an attack on each of them."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from typing import NamedTuple

from preflab.sandbox.bubblewrap import Bubblewrap
from preflab.sandbox.groups import available, new_group
from preflab.sandbox.limits import Limits
from preflab.sandbox.process import opened
from preflab.sandbox.walls import SCRIPT

QUICK = Limits(cpu_s=1.0, wall_s=4.0, memory_mb=128, output_mb=1, disk_mb=8)
REACHED = "reached"
HOSTS = ("127.0.0.1", "10.0.0.1", "1.1.1.1")


class Attack(NamedTuple):
    """`source` prints `REACHED` where it gets through; `over` and `code`: how it must end, if that matters."""

    name: str
    source: str
    over: str = ""
    code: int | None = None


class Held(NamedTuple):
    attack: str
    held: bool
    seen: str


def attempt(*tries: str) -> str:
    """A program that tries each line and reports the ones that work."""
    return "import os, socket, sys\n" + "".join(
        f"try:\n    {line}\n    print('{REACHED}', {line!r})\nexcept (OSError, AttributeError): pass\n"
        for line in tries
    )


CALL = "import ctypes\nctypes.CDLL(None).{}\nprint('reached')"
FORKS = "import os, time\nfor _ in range(500):\n    if os.fork() == 0: time.sleep(9)\nprint('reached')"
KEPT = ("/tmp/kept", "/dev/shm/kept")
ATTACKS = (
    Attack("reads files of the machine", attempt("open('/etc/passwd')", "os.listdir('/home')", "os.listdir('/sys')")),
    Attack("writes outside its folder", attempt("open('/x', 'w')", "open('/python/x', 'w')", "open('/dev/x', 'w')")),
    Attack("sees other processes", attempt("os.kill(3, 0)", "os.stat('/proc/3')")),
    Attack("reaches a network", attempt(*(f"socket.create_connection(('{host}', 53), 1)" for host in HOSTS))),
    Attack(
        "speaks to the kernel's sockets",
        attempt("socket.socket(16, 3)", "socket.socket(17, 3)", "socket.socket(40, 1)"),
    ),
    Attack("mounts", CALL.format("mount(b'x', b'/tmp', b'tmpfs', 0, None)"), code=-31),
    Attack("makes a namespace", CALL.format("unshare(0x10000000)"), code=-31),
    Attack("traces a process", CALL.format("ptrace(16, 1, 0, 0)"), code=-31),
    Attack("fills the memory", "x = [bytearray(b'1') * (16 << 20) for _ in range(64)]\nprint('reached')", "memory"),
    Attack("fills the disk", "open('/tmp/x', 'wb').write(bytes(32 << 20))\nprint('reached')", code=1),
    Attack("fills the output", "import os\nwhile True: os.write(1, b'x' * 65536)", "output-limit"),
    Attack("never ends", "while True: pass", "timeout"),
    Attack("sleeps for ever", "import time\nwhile True: time.sleep(9)", "timeout"),
    Attack("forks without end", FORKS, code=1),
    Attack("leaves a file", f"for path in {KEPT}: open(path, 'w').close()", code=0),
    Attack("finds what the last one left", attempt(*(f"os.stat({path!r})" for path in KEPT))),
)


def describe(walls: Bubblewrap) -> Iterator[tuple[str, str]]:
    """What there is, and how to get what there is not."""
    root = os.geteuid() == 0
    yield (
        "walls",
        f"bubblewrap {walls.version}: fresh user, process, mount, network, ipc and host-name namespaces for each run",
    )
    yield "system calls", f"filtered ({platform.machine()})"
    yield (
        "user id",
        "a fresh one for each run" if root else "yours, inside a namespace; as root each run would have its own",
    )
    yield (
        "limits",
        "measured by a control group: memory of all processes, exactly"
        if available()
        else "measured from outside, fifty times a second; root that may make control groups measures exactly",
    )
    yield (
        "not stopped",
        "holes in the kernel itself: for those run preflab in a virtual machine, or bubblewrap under gVisor",
    )


def attack(walls: Bubblewrap) -> Iterator[Held]:
    """Every attack, one after the other."""
    group = new_group()
    try:
        for one in ATTACKS:
            with opened(walls, SCRIPT, one.source.encode(), QUICK, group=group, stdin=b"") as box:
                box.finish()
            text = box.output.decode(errors="replace")
            held = REACHED not in text and box.over == one.over and one.code in (None, box.code)
            yield Held(one.name, held, box.over or f"status {box.code}")
    finally:
        if group is not None:
            group.close()
