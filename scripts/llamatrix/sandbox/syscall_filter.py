"""The system calls that a sandbox refuses, as a program for the kernel's seccomp.

It applies before the kernel's own checks. What an agent needs for code and tests is
allowed; refused are calls that administrate a machine, that bypass a network namespace,
and that take memory which no limit counts.
"""

import errno
import platform
import struct

_INSTRUCTION = struct.Struct("=HBBI")
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_IF_EQUAL, _IF_AT_LEAST = 0x15, 0x35
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_X32 = 0x40000000
_NEW_NAMESPACES = 0x7E020000
_TERMINAL_INPUT = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX insert input into the terminal of the harness."""
_FAMILIES = (1, 2, 10, 16)
"""Unix, IPv4, IPv6 and netlink; others (vsock) ignore network namespaces."""

_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def _table(text: str) -> dict[str, int]:
    """Read `name number, name number, …`."""
    return {name: int(number) for name, number in map(str.split, text.split(","))}


_SAME = _table("""
    io_uring_setup 425, io_uring_enter 426, io_uring_register 427, open_tree 428,
    move_mount 429, fsopen 430, fsconfig 431, fsmount 432, fspick 433, clone3 435,
    pidfd_getfd 438, mount_setattr 442, quotactl_fd 443, memfd_secret 447,
    open_tree_attr 467
""")
"""By number on every architecture since Linux 5.1."""
_NUMBERS = {
    "x86_64": _table("""
        ioctl 16, shmget 29, socket 41, clone 56, msgget 68, ptrace 101, syslog 103,
        uselib 134, vhangup 153, pivot_root 155, adjtimex 159, chroot 161, acct 163,
        settimeofday 164, mount 165, umount2 166, swapon 167, swapoff 168, reboot 169,
        sethostname 170, setdomainname 171, iopl 172, ioperm 173, init_module 175,
        delete_module 176, quotactl 179, lookup_dcookie 212, clock_settime 227,
        kexec_load 246, add_key 248, request_key 249, keyctl 250, unshare 272,
        perf_event_open 298, fanotify_init 300, open_by_handle_at 304,
        clock_adjtime 305, setns 308, process_vm_readv 310, process_vm_writev 311,
        finit_module 313, memfd_create 319, kexec_file_load 320, bpf 321, userfaultfd 323
    """),
    "aarch64": _table("""
        lookup_dcookie 18, ioctl 29, umount2 39, mount 40, pivot_root 41, chroot 51,
        vhangup 58, quotactl 60, acct 89, unshare 97, kexec_load 104, init_module 105,
        delete_module 106, clock_settime 112, syslog 116, ptrace 117, reboot 142,
        sethostname 161, setdomainname 162, settimeofday 170, adjtimex 171, msgget 186,
        shmget 194, socket 198, add_key 217, request_key 218, keyctl 219, clone 220,
        swapon 224, swapoff 225, perf_event_open 241, fanotify_init 262,
        open_by_handle_at 265, clock_adjtime 266, setns 268, process_vm_readv 270,
        process_vm_writev 271, finit_module 273, memfd_create 279, bpf 280,
        userfaultfd 282, kexec_file_load 294
    """),
}
_MISSING = {  # programs have a fallback for kernels that lack these
    *("clone3", "memfd_create", "memfd_secret", "shmget", "msgget"),
    *("io_uring_setup", "io_uring_enter", "io_uring_register"),
}
_BY_ARGUMENT = {"clone", "ioctl", "socket"}


def syscall_filter(machine: str = "") -> bytes | None:
    """Return the filter for `bwrap --seccomp`; None for an unknown architecture."""
    machine = machine or platform.machine()
    if machine not in _AUDIT:
        return None
    numbers = _NUMBERS[machine] | _SAME
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IF_EQUAL, 1, 0, _AUDIT[machine]),
        _refuse(errno.ENOSYS),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":
        program += [(_IF_AT_LEAST, 0, 1, _X32), _refuse(errno.ENOSYS)]
    for name, number in sorted(numbers.items()):
        if name not in _BY_ARGUMENT:
            why = errno.ENOSYS if name in _MISSING else errno.EPERM
            program += [(_IF_EQUAL, 0, 1, number), _refuse(why)]
    checks = {
        "clone": [
            _argument(0),
            (_AND, 0, 0, _NEW_NAMESPACES),
            (_IF_EQUAL, 1, 0, 0),
            _refuse(errno.EPERM),
        ],
        "ioctl": [
            _argument(1),
            (_IF_EQUAL, 1, 0, _TERMINAL_INPUT[0]),
            (_IF_EQUAL, 0, 1, _TERMINAL_INPUT[1]),
            _refuse(errno.EPERM),
        ],
        "socket": [
            _argument(0),
            *((_IF_EQUAL, 4 - n, 0, family) for n, family in enumerate(_FAMILIES)),
            _refuse(errno.EAFNOSUPPORT),
        ],
    }
    for name, check in checks.items():
        whole = [*check, _allow()]
        program += [(_IF_EQUAL, 0, len(whole), numbers[name]), *whole]
    program.append(_allow())
    return b"".join(_INSTRUCTION.pack(*each) for each in program)


_Instruction = tuple[int, int, int, int]


def _refuse(number: int) -> _Instruction:
    return (_RETURN, 0, 0, _ERRNO | number)


def _allow() -> _Instruction:
    return (_RETURN, 0, 0, _ALLOW)


def _argument(index: int) -> _Instruction:
    """Load the lower half of an argument: both architectures are little-endian."""
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * index)
