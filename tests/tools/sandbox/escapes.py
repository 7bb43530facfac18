"""Ways out of a sandbox, one function each. The test runs every one inside and expects a refusal.

usage: escapes.py --list            the names; those that `free` marks with a star
       escapes.py NAME              tries; prints "escaped", or "refused: WHY"

A function that returns has escaped; one that raises was refused. Those marked `free` are harmless and
work outside of a sandbox: the test runs them there too, to see that they can succeed.
What a function needs to know of the host is in PONDER_TEST, as JSON: secret (a file that must not
be read), outside (a folder that must not be written to), work (the writable folder), port (of a
TCP listener on loopback), unix_path and unix_abstract (of listeners), host_pid, shm_key, shm_id,
sem_id and msg_id (System V's numbers of a segment, a semaphore of value 1 and a queue with a
message), posix_shm, secret_name (of an environment variable).
"""
import ctypes
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time

HOST = json.loads(os.environ.get("PONDER_TEST", "{}"))
libc = ctypes.CDLL(None, use_errno=True)
ESCAPES = {}
FREE = set()


def escape(function):
    ESCAPES[function.__name__] = function
    return function


def free(function):
    FREE.add(function.__name__)
    return escape(function)


def syscall(number, *arguments):
    """A system call by its x86-64 number; raises what it failed with."""
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def read(path):
    with open(path, "rb") as file:
        return file.read(4096)


def write(path, text="escaped"):
    with open(path, "w") as file:
        file.write(text)


def expect(is_escape, why="no effect"):
    if not is_escape:
        raise RuntimeError(why)


# Files ---------------------------------------------------------------------------------------------


@free
def read_a_file_outside():
    expect(b"secret" in read(HOST["secret"]))


@free
def list_a_folder_outside():
    expect(os.listdir(HOST["outside"]))


@free
def write_a_file_outside():
    write(HOST["outside"] + "/new")


@free
def read_through_a_symlink():
    link = HOST["work"] + "/link"
    os.symlink(HOST["secret"], link)
    expect(b"secret" in read(link))


@free
def write_through_a_symlinked_folder():
    link = HOST["work"] + "/folder"
    os.symlink(HOST["outside"], link)
    write(link + "/new")


@free
def climb_up_by_dots():
    expect(b"secret" in read(HOST["work"] + "/" + "../" * 40 + HOST["secret"]))


@free
def hard_link_to_a_file_outside():
    os.link(HOST["secret"], HOST["work"] + "/hard")
    expect(b"secret" in read(HOST["work"] + "/hard"))


@free
def move_a_file_outside():
    source = HOST["work"] + "/mine"
    write(source)
    os.rename(source, HOST["outside"] + "/moved")


@free
def truncate_a_file_outside():
    os.truncate(HOST["outside"] + "/keep", 0)


@free
def open_with_truncation_outside():
    os.close(os.open(HOST["outside"] + "/keep", os.O_RDONLY | os.O_TRUNC))


@free
def remove_a_file_outside():
    os.unlink(HOST["outside"] + "/victim")


@free
def race_a_symlink_against_itself():
    """A thread swaps a folder and a link to the outside while we write through the name."""
    import threading

    name = HOST["work"] + "/raced"
    os.makedirs(name)
    os.symlink(HOST["outside"], name + ".link")
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            exchange = 2
            libc.renameat2(-100, (name + ".link").encode(), -100, name.encode(), exchange)

    thread = threading.Thread(target=swap)
    thread.start()
    done = False
    end = time.monotonic() + 0.3
    while time.monotonic() < end and not done:
        try:
            write(name + "/raced_in")
            done = os.path.exists(HOST["outside"] + "/raced_in")
        except OSError:
            pass
    stop.set()
    thread.join()
    expect(done)


@escape
def append_to_the_user_list():
    with open("/etc/passwd", "a") as file:
        file.write("x::0:0::/:/bin/sh\n")


@escape
def plant_a_program():
    write("/usr/local/bin/ponder-planted")


@escape
def change_the_owner_of_a_file_outside():
    os.chown(HOST["outside"] + "/keep", 12345, 12345)


@free
def let_everybody_write_to_a_file_outside():
    os.chmod(HOST["outside"] + "/keep", 0o666)


@free
def take_a_file_outside_from_its_owner():
    os.chmod(HOST["outside"] + "/keep", 0)


@free
def have_a_file_outside_run_as_its_owner():
    syscall(268, -100, ctypes.c_char_p((HOST["outside"] + "/keep").encode()), 0o4755)


@escape
def let_everybody_write_by_the_newest_call():
    syscall(452, -100, ctypes.c_char_p((HOST["outside"] + "/keep").encode()), 0o666, 0)


@escape
def change_the_mode_of_a_readable_file():
    file = os.open(__file__, os.O_RDONLY)
    os.fchmod(file, 0o666)


@escape
def change_the_owner_of_a_readable_file():
    os.fchown(os.open(__file__, os.O_RDONLY), -1, os.getgid())


@escape
def set_an_attribute_of_a_file_outside():
    os.setxattr(HOST["outside"] + "/keep", "user.ponder", b"x")


@escape
def make_a_block_device():
    """The disk's own device, read past the file system."""
    path = HOST["work"] + "/disk"
    os.mknod(path, 0o60666, os.makedev(254, 0))
    read(path)


@escape
def read_physical_memory():
    read("/dev/mem")


@escape
def open_by_handle():
    syscall(304, -100, ctypes.create_string_buffer(128), os.O_RDONLY)


# /proc ---------------------------------------------------------------------------------------------


@free
def read_the_environment_of_the_host_process():
    environment = read("/proc/%d/environ" % HOST["host_pid"])
    expect(environment)


@escape
def read_the_memory_of_the_host_process():
    os.close(os.open("/proc/%d/mem" % HOST["host_pid"], os.O_RDWR))


@free
def go_through_the_root_of_the_host_process():
    expect(b"secret" in read("/proc/%d/root%s" % (HOST["host_pid"], HOST["secret"])))


@escape
def go_through_the_root_of_init():
    expect(b"secret" in read("/proc/1/root" + HOST["secret"]))


@escape
def name_a_program_for_core_dumps():
    write("/proc/sys/kernel/core_pattern", read("/proc/sys/kernel/core_pattern").decode())


@escape
def press_the_magic_key():
    write("/proc/sysrq-trigger", "h")


@escape
def read_kernel_messages():
    os.close(os.open("/proc/kmsg", os.O_RDONLY | os.O_NONBLOCK))


@escape
def read_kernel_memory():
    read("/proc/kcore")


# Mounts and namespaces -----------------------------------------------------------------------------


@escape
def mount_a_file_system():
    expect(libc.mount(b"none", HOST["work"].encode(), b"tmpfs", 0, None) == 0)


@escape
def make_a_read_only_mount_writable():
    expect(libc.mount(b"none", b"/usr", None, 32 | 4096, None) == 0)


@escape
def unmount_what_hides():
    expect(libc.umount2(b"/proc", 2) == 0)


@escape
def use_the_new_mount_interface():
    syscall(430, b"tmpfs", 0)


@escape
def make_a_user_namespace():
    expect(libc.unshare(0x10000000) == 0)


@escape
def clone_into_a_user_namespace():
    pid = syscall(56, 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


@escape
def clone3_into_a_user_namespace():
    arguments = struct.pack("11Q", 0x10000000, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, 0)
    pid = syscall(435, ctypes.create_string_buffer(arguments), len(arguments))
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


@escape
def enter_the_namespaces_of_init():
    fd = os.open("/proc/1/ns/mnt", os.O_RDONLY)
    expect(libc.setns(fd, 0) == 0)


@escape
def change_the_root():
    os.chroot(HOST["work"])


@escape
def pivot_the_root():
    syscall(155, b".", b".")


# Other processes -----------------------------------------------------------------------------------


@escape
def kill_the_host_process():
    """Signal 0 says whether a real one would be delivered."""
    os.kill(HOST["host_pid"], 0)


@escape
def trace_the_parent():
    expect(libc.ptrace(16, os.getppid(), None, None) == 0)


@escape
def read_the_memory_of_another():
    buffer = ctypes.create_string_buffer(8)
    iov = struct.pack("2Q", ctypes.addressof(buffer), 8)
    vector = ctypes.create_string_buffer(iov)
    syscall(310, HOST["host_pid"], vector, 1, vector, 1, 0)


@escape
def steal_a_descriptor():
    pidfd = syscall(434, HOST["host_pid"], 0)
    syscall(438, pidfd, 0, 0)


@escape
def change_the_limits_of_another():
    syscall(302, HOST["host_pid"], 7, 0, ctypes.create_string_buffer(16))


@free
def bind_the_host_process_to_processors():
    pid = HOST["host_pid"]
    os.sched_setaffinity(pid, os.sched_getaffinity(pid))


@free
def schedule_the_host_process():
    pid = HOST["host_pid"]
    os.sched_setscheduler(pid, os.sched_getscheduler(pid), os.sched_param(0))


@free
def change_the_scheduling_parameters_of_the_host_process():
    os.sched_setparam(HOST["host_pid"], os.sched_param(0))


@free
def change_the_scheduling_attributes_of_the_host_process():
    attributes = ctypes.create_string_buffer(56)
    syscall(315, HOST["host_pid"], attributes, len(attributes), 0)
    syscall(314, HOST["host_pid"], attributes, 0)


@free
def change_the_priority_of_the_host_process():
    pid = HOST["host_pid"]
    os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid))


@free
def change_the_priority_of_the_host_group():
    pid = HOST["host_pid"]
    os.setpriority(os.PRIO_PGRP, os.getpgid(pid), os.getpriority(os.PRIO_PROCESS, pid))


@escape
def change_the_priority_of_all_of_the_user():
    os.setpriority(os.PRIO_USER, os.getuid(), os.getpriority(os.PRIO_PROCESS, HOST["host_pid"]))


@free
def change_the_input_priority_of_the_host_process():
    syscall(251, 1, HOST["host_pid"], syscall(252, 1, HOST["host_pid"]))


@escape
def reap_the_memory_of_the_host_process():
    syscall(448, syscall(434, HOST["host_pid"], 0), 0)


@escape
def type_into_the_terminal():
    import fcntl

    fcntl.ioctl(0, 0x5412, b"x")


@free
def find_an_inherited_descriptor():
    for fd in range(5, 1024):
        try:
            os.lseek(fd, 0, os.SEEK_SET)
            if b"secret" in os.read(fd, 100):
                return
        except OSError:
            pass
    expect(False, "no open descriptor")


@free
def read_a_secret_from_the_environment():
    expect(os.environ.get(HOST["secret_name"]))


# Network and other ways to talk --------------------------------------------------------------------


@free
def connect_to_the_host_by_tcp():
    socket.create_connection(("127.0.0.1", HOST["port"]), timeout=2).close()


@free
def connect_to_an_abstract_socket():
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + HOST["unix_abstract"])


@free
def connect_to_a_socket_file():
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(HOST["unix_path"])


@escape
def send_a_datagram_out():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"x", ("192.0.2.1", 9))


@escape
def open_a_vsock():
    socket.socket(40, socket.SOCK_STREAM).close()


@escape
def open_a_packet_socket():
    socket.socket(17, socket.SOCK_RAW).close()


@escape
def open_a_kernel_crypto_socket():
    socket.socket(38, socket.SOCK_SEQPACKET).close()


@escape
def open_a_family_with_high_bits():
    syscall(41, (1 << 32) | 40, 1, 0)


@free
def attach_shared_memory_of_the_host():
    syscall(29, HOST["shm_key"], 1, 0)


@free
def look_at_shared_memory_of_the_host_by_its_number():
    syscall(31, HOST["shm_id"], 2, ctypes.create_string_buffer(256))


@free
def look_at_a_semaphore_of_the_host():
    expect(syscall(66, HOST["sem_id"], 0, 12, 0) == 1)


@free
def use_a_semaphore_of_the_host():
    """Up, then down again without waiting."""
    up, down = struct.pack("Hhh", 0, 1, 0), struct.pack("Hhh", 0, -1, 0o4000)
    syscall(65, HOST["sem_id"], ctypes.create_string_buffer(up + down), 2)


@free
def use_a_semaphore_of_the_host_with_a_time_limit():
    up, down = struct.pack("Hhh", 0, 1, 0), struct.pack("Hhh", 0, -1, 0o4000)
    syscall(220, HOST["sem_id"], ctypes.create_string_buffer(up + down), 2, 0)


@free
def look_at_a_queue_of_the_host():
    syscall(71, HOST["msg_id"], 2, ctypes.create_string_buffer(256))


@free
def take_from_a_queue_of_the_host_and_put_back():
    message = ctypes.create_string_buffer(16)
    size = syscall(70, HOST["msg_id"], message, 8, 0, 0o4000)
    syscall(69, HOST["msg_id"], message, size, 0o4000)


@free
def put_into_a_queue_of_the_host():
    message = ctypes.create_string_buffer(struct.pack("q", 1) + b"x" * 8)
    syscall(69, HOST["msg_id"], message, 8, 0o4000)


@free
def open_posix_shared_memory_of_the_host():
    read("/dev/shm/" + HOST["posix_shm"])


# The kernel ----------------------------------------------------------------------------------------


@escape
def set_up_io_uring():
    syscall(425, 4, ctypes.create_string_buffer(120))


@escape
def load_a_bpf_program():
    syscall(321, 0, ctypes.create_string_buffer(struct.pack("4I", 1, 4, 4, 1) + b"\0" * 56), 72)


@escape
def use_a_keyring():
    syscall(250, 0, -3, 1, 0, 0)


@escape
def handle_page_faults():
    syscall(323, 1)


@escape
def count_performance_events():
    syscall(298, ctypes.create_string_buffer(struct.pack("2I", 1, 64) + b"\0" * 112), 0, -1, -1, 0)


@escape
def load_a_kernel_module():
    syscall(175, b"", 0, b"")


@escape
def turn_off_address_randomisation():
    syscall(135, 0x0040000)


@escape
def set_the_clock():
    time.clock_settime(time.CLOCK_REALTIME, time.time() + 1)


@escape
def rename_the_host():
    expect(libc.sethostname(b"mine", 4) == 0)


@escape
def turn_off_swap():
    expect(libc.swapoff(b"/dev/none") == 0)


@escape
def become_root_again():
    """Mounting needs what a set-uid program would give back."""
    expect(subprocess.run(["/bin/mount", "-t", "tmpfs", "none", HOST["work"]],
                          capture_output=True).returncode == 0)


@escape
def raise_a_limit():
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)


@escape
def gain_capabilities():
    header = struct.pack("Ii", 0x20080522, 0)
    syscall(126, ctypes.create_string_buffer(header),
            ctypes.create_string_buffer(struct.pack("6I", *[0xFFFFFFFF, 0xFFFFFFFF, 0] * 2)))


def main():
    if sys.argv[1] == "--list":
        for name in ESCAPES:
            print(name + ("*" if name in FREE else ""))
        return
    try:
        ESCAPES[sys.argv[1]]()
    except Exception as error:  # the refusal itself is what is looked for
        print("refused: %s: %s" % (type(error).__name__, error))
        return
    print("escaped")


main()
