"""Attempts to get out of a sandbox, each with what it attacks.

Every attempt is Python that runs inside. It ends in an OSError or calls `refused` where
the attack fails, and calls `escaped` where it works; anything else is a mistake of ours.
`facts` holds what the host has planted: a secret file, sockets, a process.
"""

from typing import NamedTuple


class Attack(NamedTuple):
    name: str
    on: str
    """What it attacks."""
    code: str


HELPERS = '''
import ctypes, errno, fcntl, json, os, pathlib, resource, signal, socket, subprocess, sys, time
libc = ctypes.CDLL(None, use_errno=True)
arch = os.uname().machine
facts = json.loads(pathlib.Path("/trial/work/facts.json").read_text())

class Escaped(Exception): pass
class Refused(Exception): pass

def escaped(what=""): raise Escaped(what)
def refused(what=""): raise Refused(what)

def call(name, *words):
    """A system call by its name; OSError where it fails."""
    number = NUMBERS[name][0 if arch == "x86_64" else 1]
    got = libc.syscall(number, *(ctypes.c_long(w) if isinstance(w, int) else w for w in words))
    if got < 0:
        raise OSError(ctypes.get_errno(), name + ": " + os.strerror(ctypes.get_errno()))
    return got

def shell(command):
    ended = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=10)
    if ended.returncode:
        refused(ended.stderr.strip()[-200:])
    escaped(command)

def write(path, text="1"):
    with open(path, "w") as file:
        file.write(text)
    escaped("wrote " + path)

def read(path):
    with open(path, "rb") as file:
        if file.read(64):
            escaped("read " + path)
    refused("empty")

NUMBERS = {
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "ptrace": (101, 117), "setns": (308, 268), "unshare": (272, 97), "init_module": (175, 105),
    "finit_module": (313, 273), "kexec_load": (246, 104), "bpf": (321, 280),
    "perf_event_open": (298, 241), "open_by_handle_at": (304, 265), "add_key": (248, 217),
    "keyctl": (250, 219), "memfd_create": (319, 279), "shmget": (29, 194),
    "msgget": (68, 186), "io_uring_setup": (425, 425), "userfaultfd": (323, 282),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "process_vm_writev": (311, 271),
    "process_vm_readv": (310, 270), "swapon": (167, 224), "reboot": (169, 142), "acct": (163, 89),
    "sethostname": (170, 161), "settimeofday": (164, 170), "clone3": (435, 435),
    "fsopen": (430, 430), "open_tree": (428, 428), "move_mount": (429, 429),
    "mount_setattr": (442, 442), "syslog": (103, 116), "capset": (126, 91), "clone": (56, 220),
    "quotactl": (179, 60), "fanotify_init": (300, 262), "memfd_secret": (447, 447),
}
'''

ATTACKS = (
    Attack(
        "remount a system folder writable",
        "read-only mounts",
        "call('mount', 0, b'/usr', 0, 0x20 | 0x1000, 0); escaped()",
    ),
    Attack(
        "mount -o remount,bind,rw",
        "read-only mounts",
        "shell('mount -o remount,bind,rw /usr && touch /usr/planted')",
    ),
    Attack(
        "mount_setattr clears read-only",
        "read-only mounts",
        "call('mount_setattr', -100, b'/usr', 0, (ctypes.c_uint64 * 4)(0, 1, 0, 0), 32); escaped()",
    ),
    Attack(
        "mount a new tmpfs over /usr",
        "mounts",
        "call('mount', b't', b'/usr', b'tmpfs', 0, 0); escaped()",
    ),
    Attack(
        "mount by the new interface",
        "mounts",
        "call('fsopen', b'tmpfs', 0); escaped()",
    ),
    Attack(
        "clone the mount tree",
        "mounts",
        "call('open_tree', -100, b'/', 1 | 0x8000); escaped()",
    ),
    Attack(
        "uncover what mounts hide", "mounts", "call('umount2', b'/proc', 2); escaped()"
    ),
    Attack(
        "mount a second /proc",
        "mounts",
        "call('mount', b'p', b'/trial/work', b'proc', 0, 0); escaped()",
    ),
    Attack(
        "mount the cgroup tree",
        "cgroups",
        "call('mount', b'c', b'/trial/work', b'cgroup2', 0, 0); escaped()",
    ),
    Attack(
        "write to the cgroup files",
        "cgroups",
        "write('/sys/fs/cgroup/cgroup.procs')",
    ),
    Attack(
        "make the disk's device",
        "devices",
        "os.mknod('/trial/work/disk', 0o60666, os.makedev(254, 0)); read('/trial/work/disk')",
    ),
    Attack(
        "make a device of the kernel's memory",
        "devices",
        "os.mknod('/trial/work/mem', 0o20666, os.makedev(1, 1)); read('/trial/work/mem')",
    ),
    Attack("read the kernel's log", "kernel", "read('/dev/kmsg')"),
    Attack("read the kernel's memory", "kernel", "read('/proc/kcore')"),
    Attack(
        "chroot and climb out",
        "root folder",
        "os.chroot('/trial/work'); [os.chdir('..') for _ in range(9)]; os.chroot('.'); escaped()",
    ),
    Attack(
        "pivot to another root",
        "root folder",
        "call('pivot_root', b'/trial/work', b'/trial/work'); escaped()",
    ),
    Attack(
        "trace the supervisor",
        "supervisor",
        "call('ptrace', 16, 1, 0, 0); escaped()",
    ),
    Attack(
        "seize the supervisor",
        "supervisor",
        "call('ptrace', 0x4206, 1, 0, 0); escaped()",
    ),
    Attack(
        "read the supervisor's memory",
        "supervisor",
        "read('/proc/1/mem')",
    ),
    Attack(
        "read the supervisor's memory by system call",
        "supervisor",
        "b = ctypes.create_string_buffer(8); v = (ctypes.c_void_p * 2)(ctypes.addressof(b), 8)\n"
        "r = (ctypes.c_void_p * 2)(0x400000, 8); call('process_vm_readv', 1, v, 1, r, 1, 0); escaped()",
    ),
    Attack(
        "read the supervisor's environment", "supervisor", "read('/proc/1/environ')"
    ),
    Attack(
        "open the supervisor's line to the harness",
        "supervisor",
        "os.listdir('/proc/1/fd'); escaped()",
    ),
    Attack(
        "take a file of the supervisor's",
        "supervisor",
        "call('pidfd_getfd', call('pidfd_open', 1, 0), 3, 0); escaped()",
    ),
    Attack(
        "go through the supervisor's root",
        "supervisor",
        "os.listdir('/proc/1/root/'); escaped()",
    ),
    Attack(
        "offer the supervisor to the OOM killer",
        "supervisor",
        "write('/proc/1/oom_score_adj', '1000')",
    ),
    *(
        Attack(
            f"send the supervisor signal {number}",
            "supervisor",
            f"os.kill(1, {number}); time.sleep(0.1)\n"
            "state = open('/proc/1/stat').read().rpartition(')')[2].split()[0]\n"
            "refused('it runs') if state in 'RS' else escaped(state)",
        )
        for number in (2, 9, 15, 19)
    ),
    Attack(
        "enter the supervisor's mount namespace",
        "namespaces",
        "call('setns', os.open('/proc/1/ns/mnt', os.O_RDONLY), 0); escaped()",
    ),
    Attack(
        "become root of a user namespace",
        "namespaces",
        "call('unshare', 0x10000000); escaped()",
    ),
    Attack(
        "a child in a user namespace",
        "namespaces",
        "pid = call('clone', 0x10000000 | 17, 0, 0, 0, 0)\n"
        "os._exit(0) if pid == 0 else escaped()",
    ),
    Attack(
        "unshare -r mount", "namespaces", "shell('unshare -rm mount -t tmpfs t /usr')"
    ),
    Attack(
        "load a kernel module",
        "kernel",
        "call('init_module', b'x' * 64, 64, b''); escaped()",
    ),
    Attack(
        "load a kernel module from a file",
        "kernel",
        "call('finit_module', 0, b'', 0); escaped()",
    ),
    Attack(
        "load another kernel", "kernel", "call('kexec_load', 0, 0, 0, 0); escaped()"
    ),
    Attack(
        "load a BPF program", "kernel", "call('bpf', 0, b'\\0' * 64, 64); escaped()"
    ),
    Attack(
        "count events of the whole machine",
        "kernel",
        "a = (ctypes.c_uint32 * 32)(0, 128); call('perf_event_open', a, -1, 0, -1, 0); escaped()",
    ),
    Attack("userfaultfd", "kernel", "call('userfaultfd', 0); escaped()"),
    Attack("io_uring", "kernel", "call('io_uring_setup', 8, b'\\0' * 120); escaped()"),
    Attack("fanotify", "kernel", "call('fanotify_init', 0, 0); escaped()"),
    Attack(
        "open a file by its inode",
        "kernel",
        "call('open_by_handle_at', -100, b'\\0' * 64, 0); escaped()",
    ),
    Attack(
        "sysctl core_pattern",
        "sysctl",
        "write('/proc/sys/kernel/core_pattern', '|/bin/sh')",
    ),
    Attack("sysctl of the network", "sysctl", "write('/proc/sys/net/ipv4/ip_forward')"),
    Attack("sysrq", "kernel", "write('/proc/sysrq-trigger', 'h')"),
    Attack(
        "set the clock", "kernel", "call('settimeofday', b'\\0' * 16, 0); escaped()"
    ),
    Attack("set the host's name", "kernel", "call('sethostname', b'x', 1); escaped()"),
    Attack(
        "reboot", "kernel", "call('reboot', 0xfee1dead, 672274793, 0, 0); escaped()"
    ),
    Attack(
        "swap on a file", "kernel", "call('swapon', b'/trial/work/x', 0); escaped()"
    ),
    Attack("account processes", "kernel", "call('acct', b'/trial/work/x'); escaped()"),
    Attack(
        "freeze a file system",
        "kernel",
        "f = os.open('/usr', 0); fcntl.ioctl(f, 0xC0045877, 0); escaped()",
    ),
    Attack(
        "become root",
        "user",
        "os.setuid(0); escaped()",
    ),
    Attack(
        "take every capability",
        "user",
        "call('capset', b'\\x22\\x05\\x08\\x20' + b'\\0' * 4, b'\\xff' * 24); escaped()",
    ),
    Attack(
        "capabilities that are left",
        "user",
        "text = open('/proc/self/status').read(); left = [l for l in text.splitlines() "
        "if l.startswith(('CapEff', 'CapPrm', 'CapAmb')) and int(l.split()[1], 16)]\n"
        "escaped(str(left)) if left else refused('none')",
    ),
    Attack(
        "be root inside",
        "user",
        "escaped(str(os.getresuid())) if 0 in (*os.getresuid(), *os.getresgid()) else refused()",
    ),
    Attack(
        "a set-user-id program",
        "user",
        "r = subprocess.run(['/bin/su', '-c', 'id -u'], capture_output=True, text=True, "
        "stdin=subprocess.DEVNULL, timeout=9)\n"
        "escaped() if r.stdout.strip() == '0' else refused(r.stderr)",
    ),
    Attack(
        "raise the limit of processes",
        "limits",
        "resource.setrlimit(resource.RLIMIT_NPROC, (10**6, 10**6)); escaped()",
    ),
    Attack(
        "run before everybody else", "limits", "os.setpriority(0, 0, -20); escaped()"
    ),
    Attack(
        "memory that no process has",
        "limits",
        "call('memfd_create', b'x', 0); escaped()",
    ),
    Attack(
        "shared memory of System V",
        "limits",
        "call('shmget', 0, 1 << 30, 0o1666); escaped()",
    ),
    Attack("message queues", "limits", "call('msgget', 0, 0o1666); escaped()"),
    Attack(
        "write a host file",
        "host files",
        "write(facts['secret'], 'overwritten')",
    ),
    Attack("read a host file", "host files", "read(facts['secret'])"),
    Attack("read the password hashes", "host files", "read('/etc/shadow')"),
    Attack(
        "read the machine's TLS keys",
        "host files",
        "os.listdir('/etc/ssl/private'); escaped()",
    ),
    Attack("list root's home", "host files", "os.listdir('/root'); escaped()"),
    Attack(
        "change a program of the system's",
        "host files",
        "write('/usr/bin/python3')",
    ),
    Attack(
        "plant a file beside our tools", "host files", "write('/opt/llamatrix/bin/uv')"
    ),
    Attack("change the host names", "host files", "write('/etc/hosts')"),
    Attack(
        "a second name for a host file",
        "host files",
        "os.link('/usr/bin/env', '/trial/work/env'); escaped()",
    ),
    Attack(
        "type into the harness's terminal",
        "terminal",
        "for fd in (0, 1, 2, os.open('/dev/tty', os.O_RDWR)): fcntl.ioctl(fd, 0x5412, b'x')\nescaped()",
    ),
    Attack(
        "type into a terminal of one's own",
        "terminal",
        "import pty; _, fd = pty.openpty(); fcntl.ioctl(fd, 0x5412, b'x'); escaped()",
    ),
    Attack(
        "an abstract socket of the host",
        "network",
        "s = socket.socket(socket.AF_UNIX); s.connect('\\0' + facts['abstract']); escaped()",
    ),
    Attack(
        "a socket of the host's in a folder",
        "network",
        "s = socket.socket(socket.AF_UNIX); s.connect(facts['socket']); escaped()",
    ),
    Attack(
        "the host's loopback",
        "network",
        "socket.create_connection(('127.0.0.1', facts['port']), 2); escaped()",
    ),
    Attack(
        "an address outside",
        "network",
        "socket.create_connection(('1.1.1.1', 80), 2); escaped()",
    ),
    Attack(
        "a name outside",
        "network",
        "socket.getaddrinfo('example.com', 443); escaped()",
    ),
    Attack(
        "the hypervisor by vsock",
        "network",
        "s = socket.socket(40, socket.SOCK_STREAM); escaped()",
    ),
    Attack(
        "raw packets",
        "network",
        "socket.socket(socket.AF_PACKET, socket.SOCK_RAW); escaped()",
    ),
    Attack(
        "leave a key in the keyring",
        "keyring",
        "call('add_key', b'user', b'x', b'y', 1, -4); escaped()",
    ),
    Attack("read the keyring", "keyring", "call('keyctl', 0, -4, 0); escaped()"),
    Attack(
        "the harness's environment",
        "secrets",
        "for name in os.listdir('/proc'):\n"
        " if name.isdigit():\n"
        "  try: text = open(f'/proc/{name}/environ', 'rb').read()\n"
        "  except OSError: continue\n"
        "  if facts['marker'].encode() in text: escaped(name)\n"
        "refused()",
    ),
    Attack(
        "files that the harness has open",
        "secrets",
        "open_ = {n: os.readlink(f'/proc/self/fd/{n}') for n in facts_fds}\n"
        "escaped(str(open_)) if set(open_) - {0, 1, 2} else refused()",
    ),
    Attack(
        "processes of the host",
        "processes",
        "escaped() if len([n for n in os.listdir('/proc') if n.isdigit()]) > 9 else refused()",
    ),
    Attack(
        "signal a process of the host",
        "processes",
        "os.kill(facts['pid'], 0); escaped()",
    ),
    Attack(
        "fill /tmp",
        "limits",
        "with open('/tmp/full', 'wb') as f:\n for _ in range(64): f.write(bytes(1 << 20))\nescaped()",
    ),
    Attack(
        "fill /dev/shm",
        "limits",
        "with open('/dev/shm/full', 'wb') as f:\n for _ in range(64): f.write(bytes(1 << 20))\nescaped()",
    ),
    Attack("write to /dev", "host files", "write('/dev/planted')"),
    Attack("write to /", "host files", "write('/planted')"),
)

SESSION = (
    HELPERS
    + """
import traceback
facts_fds = [int(n) for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}")]
for name, code in json.loads(pathlib.Path("/trial/work/attacks.json").read_text()):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(15)
        try:
            exec(code)
            said = "mistake: it ended without a word"
        except Escaped as error:
            said = f"escaped: {error}"
        except (OSError, Refused, ValueError if "setrlimit" in code else OSError) as error:
            said = f"refused: {type(error).__name__}: {error}"
        except BaseException:
            said = f"mistake: {traceback.format_exc()[-300:]}"
        os.write(writer, said.encode(errors="replace")[:500])
        os._exit(0)
    os.close(writer)
    said = b""
    while part := os.read(reader, 1000):
        said += part
    os.close(reader)
    os.waitpid(pid, 0)
    print(json.dumps([name, said.decode() or "mistake: killed"]), flush=True)
    for name in ("/tmp/full", "/dev/shm/full"):
        pathlib.Path(name).unlink(missing_ok=True)
"""
)
