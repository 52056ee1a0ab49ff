"""What a program can reach, use and leave behind: the walls attacked, by both ways of measuring."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import require_feature

from preflab.sandbox import process, seccomp
from preflab.sandbox.bare import Bare
from preflab.sandbox.bubblewrap import Bubblewrap
from preflab.sandbox.image import copy_with_libraries
from preflab.sandbox.limits import Limits
from preflab.sandbox.process import NotStarted, open_box
from preflab.sandbox.verdict import ProgramTask, Worker
from preflab.sandbox.walls import Walls
from preflab.types import Test

from .conftest import QUICK, Ran

Run = Callable[..., Ran]
PROCESSES = ProgramTask("stdin", [Test("", str(QUICK.processes))], limits=QUICK)
LIMIT = "import resource; print(resource.getrlimit(resource.RLIMIT_NPROC)[0])"


def test_input_output_and_status(run: Run) -> None:
    """Protects the plain case: bytes in, bytes out, the program's own status."""
    result = run("import sys\nprint(input()[::-1]); print('e', file=sys.stderr); sys.exit(3)", "été\n")
    assert result == ("", 3, "été\n", "e\n")


@pytest.mark.parametrize("backend", [Bubblewrap, Bare])
def test_a_crash_starts_nothing_on_the_machine(backend: type[Walls]) -> None:
    """Protects the machine: with a limit of 0 the kernel starts the machine's own program for crashes, as root and outside the
    walls, for each process that crashes; with a limit of 1 it does not."""
    source = "import resource; print(*resource.getrlimit(resource.RLIMIT_CORE))"
    assert Worker(backend()).judge(source, ProgramTask("stdin", [Test("", "1 1")])).correct


def test_a_judge_without_core_dumps_judges(walls: Bubblewrap) -> None:
    """Protects machines whose own limit is 0, which no program can raise to 1."""
    code = (
        "import resource\nresource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        "from preflab.sandbox.judging import *\nfrom preflab.types import Test\n"
        "source = 'import resource; print(*resource.getrlimit(resource.RLIMIT_CORE))'\n"
        "print(Worker(open_backend('bubblewrap')).judge(source, ProgramTask('stdin', [Test('', '0 0')])).outcome)"
    )
    judged = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert judged.stdout == "passed\n", judged.stderr


def test_the_environment_is_fixed(run: Run) -> None:
    """Protects determinism and secrets: hash seed, zone, locale and encoding are fixed, and nothing of ours is there."""
    os.environ["PREFLAB_SECRET"] = "seen"
    try:
        result = run(
            "import os, time; print(sorted(os.environ), hash('a'), time.tzname[0], open('/dev/stdin').encoding)"
        )
    finally:
        del os.environ["PREFLAB_SECRET"]
    names = {
        "HOME",
        "LANG",
        "LOGNAME",
        "OPENBLAS_NUM_THREADS",
        "PATH",
        "PWD",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONHASHSEED",
        "PYTHONINTMAXSTRDIGITS",
    }
    assert result.output.startswith(str(sorted({*names, "PYTHONIOENCODING", "TZ"}))) and result.output.endswith(
        "UTC utf-8\n"
    )
    assert run("print(hash('a'))").output == run("print(hash('a'))").output


def test_nothing_of_the_machine_is_in_sight(run: Run) -> None:
    """Protects files, processes, descriptors and users: an image, two processes, the three standard descriptors, nobody."""
    result = run(
        "import os\nprint(sorted(os.listdir('/')))\nprint([p for p in os.listdir('/proc') if p.isdigit()])\n"
        "print(sorted(int(f) for f in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + f)))\n"
        "print(os.getuid(), os.getgid(), os.uname().nodename)"
    )
    root, processes, descriptors, user = result.output.splitlines()
    assert {"home", "etc", "var", "work", "sys", "run"}.isdisjoint(eval(root))
    assert processes == "['1', '2']" and eval(descriptors)[:3] == [0, 1, 2] and len(eval(descriptors)) <= 4
    assert user == "65534 65534 sandbox"


def test_only_tmp_can_be_written(run: Run) -> None:
    """Protects the image, which every run shares, and the bound of what is written."""
    result = run(
        "import os\nfor d, _, files in os.walk('/'):\n"
        "    if d.startswith('/proc'): continue\n"
        "    try: open(d + '/x', 'w').close(); print(d)\n"
        "    except OSError: pass\n"
        "for f in ('/bin/sh', '/python/lib/python3.11/os.py'):\n"
        "    try: open(f, 'r+'); print(f)\n"
        "    except OSError: pass"
    )
    assert result.output.split() == ["/tmp"]
    assert "No space left" in run("open('/tmp/x', 'wb').write(bytes(40 << 20))").errors
    assert "OSError" in run("for n in range(10):\n    open(f'/tmp/{n}', 'wb').write(bytes(8 << 20))").errors


def test_runs_share_nothing(run: Run) -> None:
    """Protects from memory between runs: files and abstract sockets of one are not there for the next, queues for none."""
    leave = (
        "import ctypes, os, socket\nopen('/tmp/kept', 'w').write('1')\ns = socket.socket(socket.AF_UNIX)\n"
        "s.bind('\\0kept'); s.listen()\nprint(ctypes.CDLL(None).msgget(4711, 0o1666))\n"
        "if os.fork() == 0:\n    os.setsid()\n    import time; time.sleep(20)\n"
    )
    assert run(leave).output == "-1\n"
    seek = (
        "import ctypes, os, socket\nprint(os.listdir('/tmp'))\ns = socket.socket(socket.AF_UNIX)\n"
        "print(s.connect_ex('\\0kept') != 0, ctypes.CDLL(None).msgget(4711, 0o666))"
    )
    assert run(seek).output == "['main.py']\nTrue -1\n"


def test_there_is_no_network(run: Run) -> None:
    """Protects the host's services, and memory that no process holds: there are local sockets alone."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = run(
            "import socket\nfor host in ('127.0.0.1', '10.0.0.1', '8.8.8.8'):\n"
            f"    try: socket.create_connection((host, {port}), 1); print('reached')\n"
            "    except OSError as e: print(type(e).__name__)\n"
            "for family in (16, 17, 38, 40):\n"
            "    try: socket.socket(family, socket.SOCK_DGRAM); print('made')\n"
            "    except OSError: pass"
        )
    assert result.output.split() == ["OSError"] * 3


KILLED = {
    "mount": "l.mount(b'none', b'/tmp', b'tmpfs', 0, None)",
    "unshare": "l.unshare(0x10000000)",
    "chroot": "l.chroot(b'/tmp')",
    "ptrace": "l.ptrace(0, 0, 0, 0)",
    "keyctl": "l.syscall(250 if x86 else 219, 0, -3, 0)",
    "bpf": "l.syscall(321 if x86 else 280, 0, 0, 0)",
    "setns": "l.setns(0, 0)",
    "a new user namespace by clone": "l.syscall(56 if x86 else 220, 0x10000000 | 17, 0, 0, 0, 0)",
    "another's memory": "l.process_vm_readv(1, 0, 0, 0, 0, 0)",
}


@pytest.mark.parametrize("call", KILLED)
def test_hostile_system_calls_end_the_program(call: str, run: Run) -> None:
    """Protects the kernel: status 31 is the signal of the filter, whatever a handler would say."""
    source = "import ctypes, platform, signal\nx86 = platform.machine() == 'x86_64'\nl = ctypes.CDLL(None)\n"
    source += f"signal.signal(31, signal.SIG_IGN)\n{KILLED[call]}\nprint('went on')"
    result = run(source)
    assert (result.code, result.output) == (-31, "")


def test_calls_that_libraries_do_without_are_absent(run: Run) -> None:
    """Protects honest programs: clone3, io_uring and what is newer than the filter fail as on an old kernel."""
    result = run(
        "import ctypes\nl = ctypes.CDLL(None, use_errno=True)\nfor n in (435, 425, 463, 1 << 30 | 1):\n"
        "    print(l.syscall(n, 0, 0, 0), ctypes.get_errno())"
    )
    assert result.output.split("\n")[:4] == ["-1 38"] * 4


def test_threads_processes_and_pools_work(run: Run) -> None:
    """Protects honest programs that use what the standard library offers."""
    result = run(
        "import subprocess, sys, threading\nfrom concurrent.futures import ProcessPoolExecutor\nimport math\n"
        "t = threading.Thread(target=print, args=('thread',)); t.start(); t.join()\n"
        "print(subprocess.run([sys.executable, '-c', 'print(7)'], capture_output=True, text=True).stdout.strip(), flush=True)\n"
        "if __name__ == '__main__':\n    with ProcessPoolExecutor(2) as pool: print(sum(pool.map(math.sqrt, [4, 9])))"
    )
    assert result.output.split() == ["thread", "7", "5.0"], result.errors


LIMITS = {
    "spinning": ("while True: pass", "timeout"),
    "spinning in children": (
        "import os\nfor _ in range(3):\n    if os.fork() == 0:\n        while True: pass\nimport time; time.sleep(30)",
        "timeout",
    ),
    "sleeping": ("import time; time.sleep(60)", "timeout"),
    "deaf to signals": (
        "import signal, time\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\n"
        "while True: time.sleep(1)",
        "timeout",
    ),
    "a balloon": ("x = [bytearray(b'1') * (32 << 20) for _ in range(64)]", "memory"),
    "a balloon of children": (
        "import os, time\nfor _ in range(8):\n    if os.fork() == 0: x = bytearray(b'1') * (80 << 20); time.sleep(20)\n"
        "time.sleep(20)",
        "memory",
    ),
    "a flood": ("import os\nwhile True: os.write(1, b'x' * 65536)", "output-limit"),
}


@pytest.mark.parametrize("case", LIMITS)
def test_limits_hold_over_all_processes(case: str, run: Run) -> None:
    """Protects the machine: what a program uses is summed over its processes, and a limit ends all of them."""
    source, over = LIMITS[case]
    assert run(source, limits=QUICK._replace(cpu_s=1.0, wall_s=3.0)).over == over


def test_shared_pages_are_counted_once(run: Run) -> None:
    """Protects honest programs that fork: six processes share 60 MB and do not have 360."""
    source = (
        "import os, time\nx = bytearray(b'1') * (60 << 20)\nfor _ in range(6):\n    if os.fork() == 0:\n"
        "        time.sleep(.3); os._exit(0)\ntime.sleep(.5); print('done')"
    )
    assert run(source).output == "done\n"


def test_a_fork_bomb_stays_small(run: Run) -> None:
    """Protects the process table: some sixty processes at most."""
    result = run(
        "import os, time\nn = 0\ntry:\n    while True:\n        if os.fork() == 0: time.sleep(20); os._exit(0)\n"
        "        n += 1\n"
        "except OSError: print(n)"
    )
    assert 20 < int(result.output) <= 64


def test_what_is_left_behind_dies(run: Run) -> None:
    """Protects later runs: a daemon that left its session and closed its descriptors ends with the program."""
    token = f"left{time.time_ns()}"
    source = (
        "import ctypes, os, sys, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        f"        ctypes.CDLL(None).prctl(15, b'{token[:15]}', 0, 0, 0)\n"
        "        for fd in range(64):\n            try: os.close(fd)\n            except OSError: pass\n"
        "        time.sleep(60)\n    os._exit(0)\ntime.sleep(.2); print('done')"
    )
    assert run(source).output == "done\n"
    names = [path.read_text().strip() for path in Path("/proc").glob("[0-9]*/comm") if path.exists()]
    assert token[:15] not in names


def test_a_descriptor_of_the_judge_is_not_handed_on(walls: Bubblewrap, tmp_path: Path) -> None:
    """Protects the judge's files: one that is open, and inheritable, while programs start is not theirs."""
    with (tmp_path / "verdicts").open("wb") as file:
        os.set_inheritable(file.fileno(), True)
        source = b"import os\nfor fd in range(3, 200):\n    try: os.write(fd, b'forged')\n    except OSError: pass"
        with open_box(walls, ("/python/bin/python3", "/tmp/main.py"), source, QUICK, group=None, stdin=b"") as box:
            box.finish()
    assert (tmp_path / "verdicts").read_bytes() == b"" and box.code == 0


def test_walls_that_cannot_stand_are_no_verdict(walls: Bubblewrap, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects from the machine's failures counted as wrong answers: bubblewrap is told of an image that is not there."""
    monkeypatch.setattr(walls, "image", Path("/nowhere"))
    with (
        pytest.raises(NotStarted, match="nowhere"),
        open_box(walls, ("/bin/sh",), b"", Limits(), group=None, stdin=b"") as box,
    ):
        box.finish()


def test_a_program_cannot_pretend_that_the_walls_fell(run: Run) -> None:
    """Protects the study from a policy that asks for another try: what bubblewrap would say, said by the program."""
    result = run("import sys; print('bwrap: Can\\'t mount proc', file=sys.stderr); sys.exit(1)")
    assert (result.over, result.code) == ("", 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may take another user's id")
def test_root_gives_each_run_a_user_of_its_own(walls: Bubblewrap) -> None:
    """Protects what belongs to a user, such as kernel keyrings: two runs are two users outside, neither of them root."""
    users: set[int] = set()
    for _ in range(2):
        with open_box(walls, ("/bin/sh", "-c", "read x"), b"", QUICK, group=None, stdin=None) as box:
            time.sleep(0.1)
            children = subprocess.run(
                ["ps", "-o", "uid=", "--ppid", str(box.process.pid)], capture_output=True, text=True
            )
            users.add(int(children.stdout))
    assert len(users) == 2 and min(users) >= 0x40000000


@pytest.mark.parametrize("machine", seccomp._MACHINES)
@pytest.mark.parametrize("counted", [True, False])
def test_the_filter_is_well_formed(machine: str, counted: bool) -> None:
    """Protects the jumps: every instruction has 8 bytes, none leads beyond the end, the last one answers."""
    code = seccomp.build_filter(machine, counted=counted)
    lines = [code[start : start + 8] for start in range(0, len(code), 8)]
    assert len(code) % 8 == 0 and lines[-1][0] == seccomp._RETURN
    assert all(
        index + 1 + max(line[2], line[3]) < len(lines) for index, line in enumerate(lines[:-1]) if line[0] & 7 == 5
    )


def test_a_shell_that_is_bash_sets_the_limits_too(walls: Bubblewrap, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects Fedora, Arch and others, whose `/bin/sh` is bash: there `ulimit -p` is the size of pipes."""
    bash = Path(shutil.which("bash") or "")
    require_feature("sandbox", bash.is_file(), "bash is not installed")
    with tempfile.TemporaryDirectory(dir=walls.image.parent) as folder:  # where the user that it drops to may look
        Path(folder).chmod(0o755)
        root = Path(shutil.copytree(walls.image, Path(folder) / "image", symlinks=True))
        copy_with_libraries(root, {"/bin/sh": bash})
        monkeypatch.setattr(walls, "image", root)
        verdict = Worker(walls).judge(LIMIT, PROCESSES)
    assert verdict.correct, verdict.detail


def test_the_user_is_changed_with_and_without_setpriv(walls: Bubblewrap, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects both ways to a user of its own: by another program, which is quick, and by this process."""
    for able in (True, False):
        monkeypatch.setattr(process, "_can_set_user", lambda able=able: able)
        assert Worker(walls).judge(LIMIT, PROCESSES).correct


def test_without_descriptors_there_is_no_verdict(walls: Bubblewrap) -> None:
    """Protects a batch from this process's own want of descriptors: it is the machine's failure, whatever wanted one, and none
    is lost on the way."""
    worker, before = Worker(walls), len(os.listdir("/proc/self/fd"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for more in range(1, 16):
        resource.setrlimit(resource.RLIMIT_NOFILE, (before + more, hard))
        try:
            assert worker.judge("print(64)", PROCESSES).outcome in ("error", "passed")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert len(os.listdir("/proc/self/fd")) == before
    assert worker.judge("print(64)", PROCESSES).correct
