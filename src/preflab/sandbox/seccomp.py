"""Builds the filter (classic BPF) with which the kernel refuses system calls of a program.

Some calls are never made by an honest program: calls on namespaces, mounts, keyrings, kernel modules, or the memory of
other processes. Such a call kills the program, and the outcome is `forbidden`. The calls in `_ABSENT` fail with ENOSYS,
because libraries try them but also work without them. Every call with a number above `_NEWEST` fails with ENOSYS too.
Only local sockets are allowed. Netlink, packet, vsock and alg sockets are refused because they reach the kernel or the
host. Internet sockets are refused because there is no network, and because their memory could not be measured.

Neither /proc nor a control group counts all of the kernel's memory. Memory that is not counted includes attributes and
access lists of files, memory policies of files, and filters and tables that a program installs. The filter always
refuses the calls that allocate such memory.

If no control group measures a run (`counted` is False), the run's processes are measured from outside. The filter then
also refuses shared memory that belongs to no file, `epoll`, and ignoring `SIGCHLD` (which would hide the CPU time of
children), because they cannot be measured from outside. Every socket is counted with the usual size of its buffer. The
filter therefore prevents a program from changing this size.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Sequence

from preflab.errors import UserError

_Instruction = tuple[int, int, int, int]  # (code, instructions to skip if true, instructions to skip if false, operand)
_EQUAL, _ABOVE, _ANY_BIT, _RETURN = 0x15, 0x25, 0x45, 0x06
_LOAD_NUMBER, _LOAD_ARCHITECTURE = (0x20, 0, 0, 0), (0x20, 0, 0, 4)
_LOAD_FIRST, _LOAD_SECOND, _LOAD_THIRD, _LOAD_FOURTH = (
    (0x20, 0, 0, 16),
    (0x20, 0, 0, 24),
    (0x20, 0, 0, 32),
    (0x20, 0, 0, 40),
)  # the lower halves of the arguments
_LOAD_SECOND_UPPER = (0x20, 0, 0, 28)
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_ERRNO = 0x00050000
_PRETEND = _ERRNO  # error number 0: the call is not executed but seems to succeed
_EPERM, _ENOMEM, _EINVAL, _ENOSYS, _EOPNOTSUPP, _EAFNOSUPPORT = 1, 12, 22, 38, 95, 97
_NAMESPACES = 0x7E020080  # CLONE_NEW* : cgroup, uts, ipc, user, pid, net, ns, time
_LOCAL_FAMILY = 1  # AF_UNIX
_MAP_SHARED, _MAP_ANONYMOUS, _MAP_HUGETLB = 0x01, 0x20, 0x40000
_SIGCHLD = 17
_MADV_COLD, _MADV_PAGEOUT = 20, 21
_HINTS = range(1035, 1039)  # F_GET_RW_HINT to F_SET_FILE_RW_HINT; a hint on a device or the image outlives the run
_SOL_SOCKET, _SO_SNDBUF, _SO_ATTACH_FILTER, _SO_ATTACH_BPF, _SO_ATTACH_REUSEPORT_CBPF = 1, 7, 26, 50, 51
_PR_SET_SECCOMP = 22
_NEWEST = 462
_NEWEST_PR = 66  # PR_GET_MDWE; newer operations are refused, because one of them allocates futex tables of any size


_COMMON = {
    "pidfd_open": 434, "pidfd_getfd": 438, "clone3": 435, "io_uring_setup": 425, "io_uring_enter": 426,
    "io_uring_register": 427, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432,
    "fspick": 433, "set_mempolicy_home_node": 450, "cachestat": 451,
    "process_madvise": 440, "mount_setattr": 442, "landlock_create_ruleset": 444,
    "landlock_add_rule": 445, "landlock_restrict_self": 446, "memfd_secret": 447, "process_mrelease": 448,
}  # fmt: skip
_MACHINES = {  # the audit number of each architecture, and the numbers of its calls by name
    "x86_64": (0xC000003E, _COMMON | {
        "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "unshare": 272, "setns": 308,
        "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "swapon": 167, "swapoff": 168, "reboot": 169,
        "sethostname": 170, "setdomainname": 171, "iopl": 172, "ioperm": 173, "init_module": 175, "delete_module": 176,
        "finit_module": 313, "kexec_load": 246, "kexec_file_load": 320, "add_key": 248, "request_key": 249, "keyctl": 250,
        "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "open_by_handle_at": 304, "name_to_handle_at": 303,
        "quotactl": 179, "acct": 163, "syslog": 103, "settimeofday": 164, "clock_settime": 227, "adjtimex": 159,
        "clock_adjtime": 305, "lookup_dcookie": 212, "move_pages": 279, "migrate_pages": 256, "fanotify_init": 300,
        "vhangup": 153, "modify_ldt": 154, "uselib": 134, "personality": 135, "clone": 56, "socket": 41,
        "socketpair": 53, "memfd_create": 319, "shmget": 29, "semget": 64, "msgget": 68, "sync": 162, "syncfs": 306,
        "utime": 132, "utimes": 235, "futimesat": 261, "utimensat": 280, "vmsplice": 278, "mmap": 9, "rt_sigaction": 13,
        "inotify_init": 253, "inotify_init1": 294, "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "mbind": 237,
        "set_mempolicy": 238, "seccomp": 317, "prctl": 157,
        "setsockopt": 54, "fsync": 74, "fdatasync": 75, "sync_file_range": 277, "msync": 26, "fadvise64": 221,
        "madvise": 28, "mincore": 27, "preadv2": 327, "io_setup": 206, "fcntl": 72,
        "epoll_create": 213, "epoll_create1": 291,
    }),
    "aarch64": (0xC00000B7, _COMMON | {
        "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272, "unshare": 97, "setns": 268,
        "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51, "swapon": 224, "swapoff": 225, "reboot": 142,
        "sethostname": 161, "setdomainname": 162, "init_module": 105, "delete_module": 106, "finit_module": 273,
        "kexec_load": 104, "kexec_file_load": 294, "add_key": 217, "request_key": 218, "keyctl": 219, "bpf": 280,
        "perf_event_open": 241, "userfaultfd": 282, "open_by_handle_at": 265, "name_to_handle_at": 264,
        "quotactl": 60, "acct": 89, "syslog": 116, "settimeofday": 170, "clock_settime": 112, "adjtimex": 171,
        "clock_adjtime": 266, "lookup_dcookie": 18, "move_pages": 239, "migrate_pages": 238, "fanotify_init": 262,
        "vhangup": 58, "personality": 92, "clone": 220, "socket": 198, "socketpair": 199,
        "memfd_create": 279, "shmget": 194, "semget": 190, "msgget": 186, "sync": 81, "syncfs": 267,
        "utimensat": 88, "vmsplice": 75, "mmap": 222, "rt_sigaction": 134, "inotify_init1": 26,
        "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "mbind": 235, "set_mempolicy": 237, "seccomp": 277, "prctl": 167,
        "setsockopt": 208, "fsync": 82, "fdatasync": 83, "sync_file_range": 84, "msync": 227, "fadvise64": 223,
        "madvise": 233, "mincore": 232, "preadv2": 286, "io_setup": 0, "fcntl": 25,
        "epoll_create1": 20,
    }),
}  # fmt: skip
_ABSENT = (
    "clone3", "io_uring_setup", "io_uring_enter", "io_uring_register", "userfaultfd", "perf_event_open", "pidfd_getfd",
    "process_madvise", "process_mrelease", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self",
    "personality", "syslog", "move_pages", "migrate_pages", "name_to_handle_at", "kcmp", "memfd_create", "memfd_secret",
    "shmget", "semget", "msgget", "sync", "syncfs", "vmsplice", "inotify_init", "inotify_init1", "mbind", "set_mempolicy",
    "set_mempolicy_home_node", "seccomp", "mincore", "cachestat", "preadv2", "io_setup",
)  # fmt: skip
"""These calls fail with ENOSYS. The filter cannot see the flags of `clone3`; without `clone3`, the C library uses
`clone`. Some of the other calls use memory that could not be measured: shared memory that no process has mapped
(Python's own shared memory is in files), pages that are moved into a pipe, the queued events of watched files, the
memory policies of a file's parts, and seccomp filters that an open descriptor keeps alive. `mincore`, `cachestat`,
`preadv2` and `io_setup` show which parts of the image are in the kernel's cache. This would tell a program which parts
an earlier program has read."""
_REFUSED = ("utime", "utimes", "futimesat", "utimensat")
"""These calls, which set the times of a file, fail with EPERM. Otherwise a program could set the times of one of the
machine's devices, and a later program could read them."""
_PRETENDED = ("fsync", "fdatasync", "sync_file_range", "msync", "fadvise64")
"""These calls do nothing and succeed. A program does not need these calls for its own files. On a file of the image,
the calls would slow down this machine's disk, or would remove the file from the kernel's cache. A later program could
notice these effects."""
_UNSUPPORTED = ("setxattr", "lsetxattr", "fsetxattr")
"""These calls fail with EOPNOTSUPP, as on a file system without attributes. The kernel does not count the memory for
access lists of files, or for the attributes of a file in memory, such as standard input."""
_UNMEASURED = ("epoll_create", "epoll_create1")
"""These calls fail with ENOSYS if no control group measures the run. Libraries then watch descriptors with `poll`."""
_INSPECTED = (
    "clone",
    "socket",
    "socketpair",
    "mmap",
    "rt_sigaction",
    "pidfd_open",
    "prctl",
    "setsockopt",
    "madvise",
    "fcntl",
)
"""Programs may make these calls if the filter allows the arguments of the call. `pidfd_open` is always allowed."""


def build_filter(machine: str = platform.machine(), *, counted: bool) -> bytes:
    """Returns the filter as `struct sock_filter[]`. `counted`: whether a control group measures the run. Raises `UserError`
    if this file does not know the calls of the architecture."""
    if machine not in _MACHINES:
        raise UserError(f"There is no filter of system calls for {machine}, only for {', '.join(_MACHINES)}.")
    audit, calls = _MACHINES[machine]
    answers = {_ABSENT: _ERRNO | _ENOSYS, _REFUSED: _ERRNO | _EPERM, _UNSUPPORTED: _ERRNO | _EOPNOTSUPP}
    answers |= {_PRETENDED: _PRETEND}
    if not counted:
        answers |= {_UNMEASURED: _ERRNO | _ENOSYS}
    known = {*_INSPECTED, *_UNMEASURED}.union(*answers)
    code = [_LOAD_ARCHITECTURE, (_EQUAL, 1, 0, audit), (_RETURN, 0, 0, _KILL), _LOAD_NUMBER]
    code += _when(_ABOVE, _NEWEST, _ERRNO | _ENOSYS)  # also stops x32's calls, whose numbers begin at 2^30
    for names, answer in ((sorted({*calls} - known), _KILL), *answers.items()):
        code += [line for name in names if name in calls for line in _when(_EQUAL, calls[name], answer)]
    code += _inspect_call(calls["clone"], [_LOAD_FIRST, *_when(_ANY_BIT, _NAMESPACES, _KILL)])
    others = [(_EQUAL, 1, 0, _LOCAL_FAMILY), (_RETURN, 0, 0, _ERRNO | _EAFNOSUPPORT)]
    for name in ("socket", "socketpair"):
        code += _inspect_call(calls[name], [_LOAD_FIRST, *others])
    code += _inspect_call(calls["prctl"], _REFUSE_FILTERS_AND_TABLES)
    code += _inspect_call(calls["mmap"], _REFUSE_RESERVED_PAGES)
    code += _inspect_call(calls["madvise"], _KEEP_CACHE)
    code += _inspect_call(calls["fcntl"], _KEEP_HINTS)
    code += _inspect_call(calls["setsockopt"], _REFUSE_SOCKET_FILTERS)
    if not counted:
        code += _inspect_call(calls["mmap"], _REFUSE_SHARED_MEMORY)
        code += _inspect_call(calls["rt_sigaction"], _KEEP_CHILD_SIGNAL)
        code += _inspect_call(calls["setsockopt"], _KEEP_BUFFER_SIZE)
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *line) for line in code)


def _when(test: int, operand: int, answer: int) -> list[_Instruction]:
    return [(test, 0, 1, operand), (_RETURN, 0, 0, answer)]


def _inspect_call(number: int, lines: Sequence[_Instruction]) -> list[_Instruction]:
    """Returns the instructions that check one call's arguments. If these instructions make no decision, the last one
    loads the call's number again for the next check."""
    return [(_EQUAL, 0, len(lines) + 1, number), *lines, _LOAD_NUMBER]


_REFUSE_FILTERS_AND_TABLES = [
    _LOAD_FIRST,  # the operation of prctl
    *_when(_EQUAL, _PR_SET_SECCOMP, _ERRNO | _EINVAL),
    *_when(_ABOVE, _NEWEST_PR, _ERRNO | _EINVAL),
]
_KEEP_CACHE = [
    _LOAD_THIRD,  # the advice
    *_when(_EQUAL, _MADV_COLD, _PRETEND),
    *_when(_EQUAL, _MADV_PAGEOUT, _PRETEND),
]
_KEEP_HINTS = [
    _LOAD_SECOND,  # the operation of fcntl
    *(line for hint in _HINTS for line in _when(_EQUAL, hint, _ERRNO | _EINVAL)),
]
_REFUSE_RESERVED_PAGES = [  # huge pages: the machine reserves them for other programs, and no measurement includes them
    _LOAD_FOURTH,  # the flags of mmap
    *_when(_ANY_BIT, _MAP_HUGETLB, _ERRNO | _ENOMEM),
]
_REFUSE_SHARED_MEMORY = [
    _LOAD_FOURTH,  # the flags of mmap
    (_ANY_BIT, 0, 2, _MAP_ANONYMOUS),
    *_when(_ANY_BIT, _MAP_SHARED, _ERRNO | _ENOMEM),
]
_REFUSE_SOCKET_FILTERS = [  # the kernel's memory for compiled filters is limited, and the sandbox's filter needs it
    _LOAD_THIRD,  # the option of setsockopt
    *_when(_EQUAL, _SO_ATTACH_FILTER, _ERRNO | _EINVAL),
    *_when(_EQUAL, _SO_ATTACH_BPF, _ERRNO | _EINVAL),
    *_when(_EQUAL, _SO_ATTACH_REUSEPORT_CBPF, _ERRNO | _EINVAL),
]
_KEEP_BUFFER_SIZE = [
    _LOAD_SECOND,  # the level of setsockopt
    (_EQUAL, 0, 3, _SOL_SOCKET),
    _LOAD_THIRD,  # the option
    *_when(_EQUAL, _SO_SNDBUF, _PRETEND),
]
_KEEP_CHILD_SIGNAL = [
    _LOAD_FIRST,  # the signal of rt_sigaction
    (_EQUAL, 0, 5, _SIGCHLD),
    _LOAD_SECOND,  # the address of the new action; 0 if the call only reads the old action
    (_EQUAL, 0, 2, 0),
    _LOAD_SECOND_UPPER,
    (_EQUAL, 1, 0, 0),
    (_RETURN, 0, 0, _PRETEND),
]
