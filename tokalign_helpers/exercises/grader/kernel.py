"""What the kernel refuses the process of a learner's code, for good: there is no way back for it or what it starts.

* Landlock (Linux 5.13): no file is read but those of Python, the packages and the model; none is written but in one
  folder.
* seccomp: no new processes and programs, no sockets, no signals and no limits of other processes, no shared memory, no
  change of modes, owners and times, no mounts, namespaces, keys or tracing.
* Resource limits: address space, processor time, size of a file, number of open files.
* Capabilities are dropped, so that root is nobody special either.

Python's audit hook refuses some of the same, only to say in words what was refused: code can switch the hook off, and
gains nothing by it. Where the kernel has no Landlock or no seccomp, :func:`is_confining` says so, and the grader
does not start.
"""

import ctypes
import os
import platform
import resource
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

REFUSED: list[str] = []  # what the hook refused, in order
OPEN_FILES = 256
LARGEST_FILE = 64 * 2**20  # bytes

# --- the filter of system calls -------------------------------------------------------------------------------------

# By name: the number on x86_64 and on aarch64; -1 where the machine has no such call.
_DENIED = {
    "fork": (57, -1), "vfork": (58, -1), "execve": (59, 221), "execveat": (322, 281),
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438), "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "kcmp": (312, 272), "setsid": (112, 157),
    "setpgid": (109, 154), "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119), "sched_setattr": (314, 274), "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "socket": (41, 198), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "shmctl": (31, 195),
    "shmat": (30, 196), "semget": (64, 190), "semctl": (66, 191), "semop": (65, 193), "semtimedop": (220, 192),
    "msgget": (68, 186), "msgctl": (71, 187), "msgrcv": (70, 188), "msgsnd": (69, 189), "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, -1),
    "fchown": (93, 55), "lchown": (94, -1), "fchownat": (260, 54), "utime": (132, -1), "utimes": (235, -1),
    "futimesat": (261, -1), "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "setxattrat": (463, 463),
    "removexattrat": (466, 466), "mknod": (133, -1), "mknodat": (259, 33),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "open_by_handle_at": (304, 265), "open_tree": (428, 428), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "fanotify_init": (300, 262), "quotactl": (179, 60), "swapon": (167, 224),
    "swapoff": (168, 225),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "add_key": (248, 217),
    "request_key": (249, 218), "keyctl": (250, 219), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142),
    "sethostname": (170, 161), "setdomainname": (171, 162), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "adjtimex": (159, 171), "clock_adjtime": (305, 266), "syslog": (103, 116), "acct": (163, 89), "iopl": (172, -1),
    "ioperm": (173, -1), "personality": (135, 92), "vhangup": (153, 58),
    "setuid": (105, 146), "setgid": (106, 144), "setreuid": (113, 145), "setregid": (114, 143),
    "setgroups": (116, 159), "setresuid": (117, 147), "setresgid": (119, 149), "setfsuid": (122, 151),
    "setfsgid": (123, 152), "capset": (126, 91), "seccomp": (317, 277),
}  # fmt: skip
# By name: both numbers, which argument is looked at, and which values of it are refused; for "only" the values allowed.
_BY_ARGUMENT = {
    "prctl": ((157, 167), 0, "deny", (1, 8, 22)),  # signal at the parent's death, keeping capabilities, seccomp
    "fcntl": ((72, 25), 1, "deny", (8, 10, 15)),  # who gets a signal about a file, and which
    "ioctl": ((16, 29), 1, "deny", (0x5412, 0x8901, 0x8902)),  # typing into a terminal; who gets a signal
    "prlimit64": ((302, 261), 0, "only", (0,)),  # its own limits alone
}
_CLONE, _CLONE3, _THREAD = (56, 220), (435, 435), 0x10000
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column of the tables, what the kernel calls it
_LOAD, _EQUAL, _ABOVE, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # instructions of the filter's machine
_ALLOW, _KILL, _EPERM, _ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026


def system_call_filter(machine: str) -> bytes:
    """Write the seccomp filter: a program for the kernel's classic BPF machine.

    Parameters
    ----------
    machine : str
        As :func:`platform.machine` names it.

    Returns
    -------
    bytes
        8 bytes for each instruction: code, jumps where true and where false, operand.
    """
    column, architecture = _MACHINES[machine]
    program = [
        (_LOAD, 0, 0, 4), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _KILL),  # another calling convention
        (_LOAD, 0, 0, 0), (_ABOVE, 0, 1, 0x40000000), (_RETURN, 0, 0, _EPERM),  # x86's x32 numbers
    ]  # fmt: skip
    for number in (numbers[column] for numbers in _DENIED.values() if numbers[column] >= 0):
        program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _EPERM)]
    program += [(_EQUAL, 0, 1, _CLONE3[column]), (_RETURN, 0, 0, _ENOSYS)]  # the C library then takes clone
    program += [(_EQUAL, 0, 4, _CLONE[column]), *_argument(0), (_ANY_BIT, 1, 0, _THREAD), (_RETURN, 0, 0, _EPERM),
                (_RETURN, 0, 0, _ALLOW)]  # fmt: skip
    for numbers, place, rule, values in _BY_ARGUMENT.values():
        tests: list[tuple[int, int, int, int]] = list(_argument(place))
        for value in values:
            tests += [(_EQUAL, 0, 1, value), (_RETURN, 0, 0, _EPERM if rule == "deny" else _ALLOW)]
        tests.append((_RETURN, 0, 0, _ALLOW if rule == "deny" else _EPERM))
        program += [(_EQUAL, 0, len(tests), numbers[column]), *tests]
    program.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *line) for line in program)


def _argument(place: int) -> list[tuple[int, int, int, int]]:
    """Load the lower half of an argument; every value that is asked for fits into it."""
    return [(_LOAD, 0, 0, 16 + 8 * place)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("lines", ctypes.c_void_p)]


def restrict_calls() -> bool:
    """Let the kernel refuse this process, and all its threads to come, the calls above.

    Returns
    -------
    bool
        False where the kernel or the machine has no such filter.
    """
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        return False
    written = system_call_filter(platform.machine())
    lines = ctypes.create_string_buffer(written, len(written))
    program = _Program(len(written) // 8, ctypes.addressof(lines))
    libc = _libc()
    libc.prctl(38, 1, 0, 0, 0)  # no new privileges: without it only root may go on
    return libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0


# --- files ----------------------------------------------------------------------------------------------------------

_READ, _READ_FOLDER, _WRITE_FILE, _TRUNCATE = 1 << 2, 1 << 3, 1 << 1, 1 << 14
_EVERYWHERE = (
    "/usr", "/lib", "/lib64", "/opt", "/etc/ld.so.cache", "/etc/localtime", "/etc/passwd", "/etc/nsswitch.conf",
    "/etc/fonts", "/etc/mime.types", "/etc/os-release", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/self",
    "/proc/filesystems", "/proc/sys/vm", "/sys/devices/system", "/sys/fs/cgroup", "/dev/urandom", "/dev/random", "/dev/zero",
)  # fmt: skip


class _Ruleset(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32)]


def landlock_version() -> int:
    """Return the kernel's version of Landlock; 0 where there is none."""
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        return 0
    return max(0, _libc().syscall(444, None, ctypes.c_size_t(0), 1))


def restrict_files(folder: Path, readable: Iterable[Path] = ()) -> bool:
    """Let the kernel refuse this process every write outside a folder, and every file that it need not read.

    Parameters
    ----------
    folder : Path
        May be written to.
    readable : iterable of Path
        May be read, beside the system's libraries and where Python's own modules lie.

    Returns
    -------
    bool
        False where the kernel has no Landlock.
    """
    version = landlock_version()
    if not version:
        return False
    # Bits 0 to 12 of the first version: run, write, read, remove and make files of every kind; the others came later.
    files = 0x1FFF | (1 << 13 if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    files |= 1 << 15 if version >= 5 else 0
    rules = _Ruleset(files, 0b11 if version >= 4 else 0, 0b11 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _libc().syscall(444, ctypes.byref(rules), ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return False
    package = str(Path(__file__).parents[2])  # an editable install is on no path
    modules = {Path(place) for place in (*sys.path, sys.prefix, sys.base_prefix, package) if place}
    for place in {*modules, *readable, *map(Path, _EVERYWHERE)}:
        _allow(ruleset, place, (_READ | _READ_FOLDER) & files)
    _allow(ruleset, folder, files)
    _allow(ruleset, Path(os.devnull), (_READ | _WRITE_FILE | _TRUNCATE) & files)
    _libc().prctl(38, 1, 0, 0, 0)  # no new privileges
    done = _libc().syscall(446, ruleset, 0) == 0
    os.close(ruleset)
    return done


def _allow(ruleset: int, place: Path, rights: int) -> None:
    try:
        handle = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # not on this machine
        return
    if not place.is_dir():
        rights &= _READ | _WRITE_FILE | _TRUNCATE
    _libc().syscall(445, ruleset, 1, ctypes.byref(_Beneath(rights, handle)), 0)
    os.close(handle)


# --- all of it ------------------------------------------------------------------------------------------------------


def confine(folder: Path, readable: Iterable[Path] = (), *, seconds: int, gigabytes: float) -> bool:
    """Confine this process and all that it starts.

    Parameters
    ----------
    folder : Path
        The one place it may write to.
    readable : iterable of Path
        May be read beside Python's own modules.
    seconds : int
        Processor time.
    gigabytes : float
        Address space.

    Returns
    -------
    bool
        Whether the kernel holds it: both Landlock and seccomp are in force.
    """
    limit_resources(seconds=seconds, gigabytes=gigabytes)
    _drop_capabilities()
    held = restrict_files(folder, readable)
    _hook(folder.resolve())
    return restrict_calls() and held


def limit_resources(*, seconds: int, gigabytes: float) -> None:
    """Lower this process's own limits.

    Parameters
    ----------
    seconds : int
        Processor time.
    gigabytes : float
        Address space.
    """
    for kind, value in (
        (resource.RLIMIT_AS, int(gigabytes * 2**30)),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, LARGEST_FILE),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
    ):
        _lower(kind, value)


def is_confining() -> bool:
    """Try, in a process of its own, whether this kernel can confine one."""
    if sys.platform != "linux":
        return False
    child = os.fork()
    if child == 0:
        os._exit(0 if restrict_files(Path("/nonexistent")) and restrict_calls() else 1)
    return os.waitpid(child, 0)[1] == 0


def end_with_the_parent(parent: int) -> None:
    """Have this process killed when its parent dies, whatever it is doing.

    Parameters
    ----------
    parent : int
        The parent's number, as it was when this process began.
    """
    if sys.platform == "linux":
        _libc().prctl(1, 9, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def forbid_tracing() -> None:
    """Let no other process of the same user look into this one or trace it."""
    if sys.platform == "linux":
        _libc().prctl(4, 0, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of what a child leaves behind, so that it is found."""
    if sys.platform == "linux":
        _libc().prctl(36, 1, 0, 0, 0)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _drop_capabilities() -> None:
    if sys.platform == "linux":
        header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        _libc().capset(ctypes.byref(header), ctypes.byref(none))


def _lower(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    try:
        resource.setrlimit(kind, (value, value))
    except (OSError, ValueError):  # macOS has no limit of the address space
        return


# --- words for what was refused -------------------------------------------------------------------------------------

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PATHS = {  # event: which of its arguments are paths that change
    "os.remove": (0,), "os.rename": (0, 1), "os.mkdir": (0,), "os.rmdir": (0,), "os.link": (0, 1),
    "os.symlink": (1,), "os.truncate": (0,), "os.chmod": (0,), "os.chown": (0,), "os.utime": (0,),
    "os.setxattr": (0,), "os.removexattr": (0,), "sqlite3.connect": (0,),
}  # fmt: skip
_NEVER = (
    "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system", "os.spawn", "os.kill", "os.killpg",
    "subprocess.Popen", "pty.spawn", "socket.connect", "socket.bind", "socket.getaddrinfo", "webbrowser.open",
)  # fmt: skip


def _hook(folder: Path) -> None:
    def hook(event: str, arguments: tuple) -> None:
        problem = _problem(folder, event, arguments)
        if problem:
            REFUSED.append(problem)
            raise PermissionError(f"refused: {problem}")

    sys.addaudithook(hook)


def _problem(folder: Path, event: str, arguments: tuple) -> str:
    if event in _NEVER:
        return event
    if event == "open":
        path, mode, flags = arguments
        writes = (isinstance(flags, int) and flags & _WRITES) or set(mode or "") & set("wax+")
        return f"writing to {os.fsdecode(path)}" if writes and _is_outside(folder, path) else ""
    changed = [arguments[number] for number in _PATHS.get(event, ())]
    outside = [path for path in changed if path != ":memory:" and _is_outside(folder, path)]
    return f"{event} {os.fsdecode(outside[0])}" if outside else ""


def _is_outside(folder: Path, path: Any) -> bool:
    if isinstance(path, int) or path is None:  # a file that is open already
        return False
    try:
        real = os.path.realpath(os.fsdecode(path))
    except OSError:  # deeper than a path can say; the kernel knows all the same
        return False
    return real not in (str(folder), os.devnull) and not real.startswith(f"{folder}{os.sep}")
