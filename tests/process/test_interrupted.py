"""Threads blocked in system calls of every restart class: neither a stop, nor borrowing, nor a killed borrower makes
one return."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suture.patch.file import PatchFile
from suture.process import x86_64
from suture.process.change.apply import apply
from suture.process.change.revert import revert
from suture.process.error import NotStopped
from suture.process.memory.maps import read_maps
from suture.process.stop import borrow as borrowing
from suture.process.stop.stop import Seizure
from suture.process.tracee import Tracee

BLOCKED = r"""
#define _GNU_SOURCE
#include <aio.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <stddef.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
__attribute__((noinline)) int f(int x) { __asm__ volatile(""); return x * 3 + 1; }
static struct timespec minute = {60, 0};
static struct timeval minute_v = {60, 0};
static sigset_t usr;
static long until(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + 60; }
static int pipe_end(void) { int p[2]; pipe(p); return p[0]; }
static int quiet_socket(void) {
  int s[2];
  socketpair(AF_UNIX, SOCK_STREAM, 0, s);
  setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &minute_v, sizeof minute_v);
  setsockopt(s[0], SOL_SOCKET, SO_SNDTIMEO, &minute_v, sizeof minute_v);
  return s[0];
}
static int udp(void) {
  int s = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  bind(s, (void *)&a, sizeof a);
  setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &minute_v, sizeof minute_v);
  return s;
}
static int listening(void) {
  int s = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  bind(s, (void *)&a, sizeof a);
  listen(s, 1);
  setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &minute_v, sizeof minute_v);
  return s;
}
static int full_socket(void) {
  int s = quiet_socket();
  char junk[4096] = {0};
  while (send(s, junk, sizeof junk, MSG_DONTWAIT) > 0) ;
  return s;
}
static int epfd(void) { int e = epoll_create1(0); struct epoll_event v = {.events = EPOLLIN};
    epoll_ctl(e, EPOLL_CTL_ADD, pipe_end(), &v); return e; }
static struct epoll_event ev;
static char buf[64], big[60000];
static struct pollfd pfd(void) { struct pollfd p = {.fd = pipe_end(), .events = POLLIN}; return p; }
static long c_nanosleep(void) { return nanosleep(&minute, 0); }
static long c_clock_absolute(void) { struct timespec t = {until(), 0};
    return -clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, 0); }
static long c_pause(void) { return pause(); }
static long c_poll(void) { struct pollfd p = pfd(); return poll(&p, 1, 60000); }
static long c_ppoll(void) { struct pollfd p = pfd(); return ppoll(&p, 1, &minute, &usr); }
static long c_select(void) { fd_set s; FD_ZERO(&s); int p = pipe_end(); FD_SET(p, &s); struct timeval t = minute_v;
    return select(p + 1, &s, 0, 0, &t); }
static long c_pselect(void) { fd_set s; FD_ZERO(&s); int p = pipe_end(); FD_SET(p, &s);
    return pselect(p + 1, &s, 0, 0, &minute, &usr); }
static long c_epoll_wait(void) { return epoll_wait(epfd(), &ev, 1, 60000); }
static long c_epoll_pwait(void) { return epoll_pwait(epfd(), &ev, 1, 60000, &usr); }
static long c_epoll_pwait2(void) { return syscall(441, epfd(), &ev, 1, &minute, &usr, 8); }
static long c_read_pipe(void) { return read(pipe_end(), buf, 1); }
static long c_read_socket(void) { return read(quiet_socket(), buf, 1); }
static long c_recv(void) { return recv(quiet_socket(), buf, 1, 0); }
static long c_recvmsg(void) { struct iovec v = {buf, 1}; struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    return recvmsg(udp(), &m, 0); }
static long c_recvmmsg(void) { struct iovec v = {buf, 1};
    struct mmsghdr m = {.msg_hdr = {.msg_iov = &v, .msg_iovlen = 1}}; return recvmmsg(udp(), &m, 1, 0, 0); }
static long c_send(void) { return send(full_socket(), buf, 64, 0); }
static long c_write_socket(void) { return write(full_socket(), buf, 64); }
static long c_accept(void) { return accept(listening(), 0, 0); }
static long c_semop(void) { struct sembuf b = {0, -1, 0}; int id = semget(IPC_PRIVATE, 1, 0600);
    long r = semop(id, &b, 1); return r; }
static long c_semtimedop(void) { struct sembuf b = {0, -1, 0}; int id = semget(IPC_PRIVATE, 1, 0600);
    return semtimedop(id, &b, 1, &minute); }
static long c_msgrcv(void) { struct { long t; char c[8]; } m; return msgrcv(msgget(IPC_PRIVATE, 0600), &m, 8, 0, 0); }
static long c_mq(void) { struct mq_attr a = {.mq_maxmsg = 1, .mq_msgsize = 8};
    mqd_t q = mq_open("/suture_test", O_RDWR | O_CREAT, 0600, &a); mq_unlink("/suture_test");
    struct timespec t = {time(0) + 60, 0}; return q < 0 ? pause() : mq_timedreceive(q, buf, 8, 0, &t); }
static long c_sigtimedwait(void) { return sigtimedwait(&usr, 0, &minute); }
static long c_sigwaitinfo(void) { return sigwaitinfo(&usr, 0); }
static long c_sigsuspend(void) { return sigsuspend(&usr); }
static long c_wait(void) { int s; pid_t p = fork(); if (!p) { for (;;) pause(); } return waitpid(p, &s, 0); }
static long c_eventfd(void) { return read(eventfd(0, 0), buf, 8); }
static long c_timerfd(void) { int t = timerfd_create(CLOCK_MONOTONIC, 0);
    struct itimerspec s = {.it_value = {60, 0}}; timerfd_settime(t, 0, &s, 0); return read(t, buf, 8); }
static long c_inotify(void) { int i = inotify_init(); inotify_add_watch(i, "/proc", IN_CREATE);
    return read(i, buf, 64); }
static long c_futex(void) { static int word; return syscall(SYS_futex, &word, FUTEX_WAIT, 0, &minute, 0, 0); }
static long c_cond(void) { pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t c = PTHREAD_COND_INITIALIZER; pthread_mutex_lock(&m); return pthread_cond_wait(&c, &m); }
static long c_lock(void) { char n[] = "/tmp/suture_lock_XXXXXX"; int a = mkstemp(n), b = open(n, O_RDWR); unlink(n);
    flock(a, LOCK_EX); return flock(b, LOCK_EX); }
static long c_io_getevents(void) { aio_context_t c = 0; syscall(SYS_io_setup, 4, &c); struct io_event e;
    return syscall(SYS_io_getevents, c, 1, 1, &e, &minute); }
static struct iovec one = {buf, 1}, many = {big, sizeof big};
static struct msghdr out = {.msg_iov = &many, .msg_iovlen = 1};
static long c_readv(void) { return readv(quiet_socket(), &one, 1); }
static long c_writev(void) { return writev(full_socket(), &many, 1); }
static long c_preadv2(void) { return preadv2(quiet_socket(), &one, 1, -1, 0); }
static long c_pwritev2(void) { return pwritev2(full_socket(), &many, 1, -1, 0); }
static long c_sendmsg(void) { return sendmsg(full_socket(), &out, 0); }
static long c_sendmmsg(void) { struct mmsghdr m = {.msg_hdr = out}; return sendmmsg(full_socket(), &m, 1, 0); }
static long c_sendfile(void) { off_t o = 0; return sendfile(full_socket(), open("/proc/self/exe",
    O_RDONLY), &o, 9000); }
static long c_splice_in(void) { int p[2]; pipe(p); return splice(quiet_socket(), 0, p[1], 0, 100, 0); }
static long c_splice_out(void) { int p[2]; pipe(p); write(p[1], big, 4096);
    return splice(p[0], 0, full_socket(), 0, 4096, 0); }
static long c_tee(void) { int p[2], q[2]; pipe(p); pipe(q); return tee(p[0], q[1], 100, 0); }
static long c_accept4(void) { return accept4(listening(), 0, 0, 0); }
static long c_connect(void) {
  struct sockaddr_un a = {AF_UNIX};
  int l = socket(AF_UNIX, SOCK_STREAM, 0), s;
  bind(l, (void *)&a, sizeof(sa_family_t));
  socklen_t n = sizeof a;
  getsockname(l, (void *)&a, &n);
  listen(l, 0);
  while (1) {
    s = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (connect(s, (void *)&a, n)) break;
  }
  s = socket(AF_UNIX, SOCK_STREAM, 0);
  setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &minute_v, sizeof minute_v);
  return connect(s, (void *)&a, n);
}
static long c_io_pgetevents(void) { aio_context_t c = 0; syscall(SYS_io_setup, 4, &c); struct io_event e;
    return syscall(333, c, 1, 1, &e, &minute, 0); }
static long c_io_uring_enter(void) { struct io_uring_params p = {0}; int d = syscall(425, 4, &p);
    return d < 0 ? pause() : syscall(426, d, 0, 1, IORING_ENTER_GETEVENTS, 0, 0); }
static long c_futex_waitv(void) { static unsigned word; struct { unsigned long val, addr; unsigned flags, res; }
    w = {0, (unsigned long)&word, 2, 0}; return syscall(449, &w, 1, 0, 0, 0) < 0 && errno == ENOSYS ? pause() : -1; }
static long c_futex_pi(void) { static int word; word = getpid(); return syscall(SYS_futex, &word, FUTEX_LOCK_PI, 0,
    0, 0, 0); }
static long c_record_lock(void) { char n[] = "/tmp/suture_lock_XXXXXX"; int a = mkstemp(n), b = open(n, O_RDWR);
    unlink(n); struct flock k = {F_WRLCK, SEEK_SET, 0, 0, 0}; fcntl(a, F_OFD_SETLK, &k);
    return fcntl(b, F_OFD_SETLKW, &k); }
static long c_open_fifo(void) { char n[4200]; sprintf(n + readlink("/proc/self/exe", n, 4000), "_%d", getpid());
    mkfifo(n, 0600);
    return open(n, O_RDONLY); }
static long c_waitid(void) { siginfo_t i; pid_t p = fork(); if (!p) { for (;;) pause(); }
    return waitid(P_PID, p, &i, WEXITED); }
static long c_clock_relative(void) { return -clock_nanosleep(CLOCK_MONOTONIC, 0, &minute, 0); }
static long c_supervisor(void) {
  struct sock_filter f[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1000, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  struct sock_fprog p = {4, f};
  struct seccomp_notif n = {0};
  int d = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &p);
  return ioctl(d, SECCOMP_IOCTL_NOTIF_RECV, &n);
}
static long c_spin(void) { for (volatile long i = 0;; i++) f(3); }
struct { const char *name; long (*run)(void); volatile long tid, result, error; } calls[] = {
#define C(n) {#n, c_##n, 0, 777, 0}
  C(nanosleep), C(clock_absolute), C(pause), C(poll), C(ppoll), C(select), C(pselect), C(epoll_wait), C(epoll_pwait),
  C(epoll_pwait2), C(read_pipe), C(read_socket), C(recv), C(recvmsg), C(recvmmsg), C(send), C(write_socket), C(accept),
  C(semop), C(semtimedop), C(msgrcv), C(mq), C(sigtimedwait), C(sigwaitinfo), C(sigsuspend), C(wait), C(eventfd),
  C(timerfd), C(inotify), C(futex), C(cond), C(lock), C(io_getevents), C(readv), C(writev), C(preadv2),
  C(pwritev2), C(sendmsg), C(sendmmsg), C(sendfile), C(splice_in), C(splice_out), C(tee), C(accept4), C(connect),
  C(io_pgetevents), C(io_uring_enter), C(futex_waitv), C(futex_pi), C(record_lock), C(open_fifo), C(waitid),
  C(clock_relative), C(supervisor), C(spin)};
enum { N = sizeof calls / sizeof *calls };
static void *thread(void *a) {
  long i = (long)a;
  calls[i].tid = syscall(SYS_gettid);
  long r = calls[i].run();
  calls[i].error = errno;
  calls[i].result = r;
  return 0;
}
int main(void) {
  char line[64];
  pthread_t t;
  setvbuf(stdout, 0, _IOLBF, 0);
  sigemptyset(&usr);
  sigaddset(&usr, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &usr, 0);
  for (long i = 0; i < N; i++) pthread_create(&t, 0, thread, (void *)i);
  while (fgets(line, sizeof line, stdin)) {
    if (line[0] == 't') for (int i = 0; i < N; i++) printf("%s=%ld ", calls[i].name, calls[i].tid);
    printf("%d:", f(7));
    for (int i = 0; i < N; i++) if (calls[i].result != 777) printf(" %s returned %ld errno %ld",
        calls[i].name, calls[i].result, calls[i].error);
    puts("");
  }
}
"""


@pytest.fixture(scope="module")
def blocked(gcc: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gcc(tmp_path_factory.mktemp("blocked") / "blocked", BLOCKED, "-pthread", "-lrt", "-w")


def threads_of(target: Any) -> dict[str, int]:
    time.sleep(0.1)
    words = target.ask("t").split()
    return {name: int(tid) for name, _, tid in (w.partition("=") for w in words) if tid}


def test_stops_make_no_blocked_call_return(
    start: Callable[..., Any], blocked: Path, make_patch: Callable[..., PatchFile], tmp_path: Path
) -> None:
    target = start(blocked)
    threads_of(target)
    patch = make_patch(tmp_path, blocked, "int f(int x) { return 1000; }", {"f": ["f"]})
    for _ in range(15):
        apply(target.pid, patch)
        assert target.ask() == "1000:"
        revert(target.pid, patch.id)
        assert target.ask() == "22:"


def test_a_stop_that_is_not_had_makes_no_blocked_call_return(
    start: Any, blocked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some have stopped by the time that one is found that does not."""

    def fail(seizure: Seizure, _: object) -> None:
        raise NotStopped(seizure.tracee.pid, "has threads that are born faster than they can be stopped")

    target = start(blocked)
    threads_of(target)
    monkeypatch.setattr(Seizure, "_join_newborn", fail)
    with Tracee(target.pid) as tracee, Seizure(tracee) as seizure, pytest.raises(NotStopped):
        seizure.stop()
    assert target.ask() == "22:"
    time.sleep(0.05)
    assert target.ask() == "22:"


def calls_in(
    pid: int, tid: int, monkeypatch: pytest.MonkeyPatch, on_step: Callable[[str], None] = lambda _: None
) -> int:
    monkeypatch.setattr(borrowing, "_candidates", lambda *_: [tid])
    with Tracee(pid) as tracee, borrowing.borrow(tracee, read_maps(pid), on_step) as thread:
        return thread.call("gettid", x86_64.SYS_GETTID)


def test_a_borrowed_thread_goes_back_to_its_call(
    start: Callable[..., Any], blocked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = start(blocked)
    for name, tid in threads_of(target).items():
        for _ in range(3):
            assert calls_in(target.pid, tid, monkeypatch) == tid, name
        assert target.ask() == "22:", name


@pytest.mark.parametrize("at", ["borrow: at rest", "borrow: signals blocked", "gettid: entered", "gettid: done"])
def test_a_thread_whose_borrower_is_killed_goes_back_to_its_call(
    start: Callable[..., Any], blocked: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    target = start(blocked)
    for name, tid in threads_of(target).items():
        child = os.fork()
        if child == 0:
            calls_in(target.pid, tid, monkeypatch, lambda step: os.kill(os.getpid(), 9) if step == at else None)
            os._exit(0)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), name
        assert target.ask() == "22:", name
    time.sleep(0.1)
    assert target.ask() == "22:"
    own_mask = {"ppoll", "pselect", "epoll_pwait", "epoll_pwait2", "sigsuspend", "sigtimedwait", "sigwaitinfo"}
    for name, tid in threads_of(target).items():
        state = Path(f"/proc/{target.pid}/task/{tid}/status").read_text()
        assert "SigBlk:\t0000000000000800" in state or name in own_mask, (name, state)
        assert int(state.split("SigBlk:\t")[1].split()[0], 16) in (0x800, 0), name
