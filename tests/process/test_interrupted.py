"""Threads blocked in system calls of every restart class: neither a stop, nor borrowing, nor a killed borrower makes one return."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suture.patch.file import PatchFile
from suture.process import borrow as borrowing
from suture.process import x86_64
from suture.process.apply import apply, revert
from suture.process.maps import read_maps
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
#include <sys/wait.h>
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
static int epfd(void) { int e = epoll_create1(0); struct epoll_event v = {.events = EPOLLIN}; epoll_ctl(e, EPOLL_CTL_ADD, pipe_end(), &v); return e; }
static struct epoll_event ev;
static char buf[64];
static struct pollfd pfd(void) { struct pollfd p = {.fd = pipe_end(), .events = POLLIN}; return p; }
static long c_nanosleep(void) { return nanosleep(&minute, 0); }
static long c_clock_absolute(void) { struct timespec t = {until(), 0}; return -clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, 0); }
static long c_pause(void) { return pause(); }
static long c_poll(void) { struct pollfd p = pfd(); return poll(&p, 1, 60000); }
static long c_ppoll(void) { struct pollfd p = pfd(); return ppoll(&p, 1, &minute, &usr); }
static long c_select(void) { fd_set s; FD_ZERO(&s); int p = pipe_end(); FD_SET(p, &s); struct timeval t = minute_v; return select(p + 1, &s, 0, 0, &t); }
static long c_pselect(void) { fd_set s; FD_ZERO(&s); int p = pipe_end(); FD_SET(p, &s); return pselect(p + 1, &s, 0, 0, &minute, &usr); }
static long c_epoll_wait(void) { return epoll_wait(epfd(), &ev, 1, 60000); }
static long c_epoll_pwait(void) { return epoll_pwait(epfd(), &ev, 1, 60000, &usr); }
static long c_epoll_pwait2(void) { return syscall(441, epfd(), &ev, 1, &minute, &usr, 8); }
static long c_read_pipe(void) { return read(pipe_end(), buf, 1); }
static long c_read_socket(void) { return read(quiet_socket(), buf, 1); }
static long c_recv(void) { return recv(quiet_socket(), buf, 1, 0); }
static long c_recvmsg(void) { struct iovec v = {buf, 1}; struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1}; return recvmsg(udp(), &m, 0); }
static long c_recvmmsg(void) { struct iovec v = {buf, 1}; struct mmsghdr m = {.msg_hdr = {.msg_iov = &v, .msg_iovlen = 1}}; return recvmmsg(udp(), &m, 1, 0, 0); }
static long c_send(void) { return send(full_socket(), buf, 64, 0); }
static long c_write_socket(void) { return write(full_socket(), buf, 64); }
static long c_accept(void) { return accept(listening(), 0, 0); }
static long c_semop(void) { struct sembuf b = {0, -1, 0}; int id = semget(IPC_PRIVATE, 1, 0600); long r = semop(id, &b, 1); return r; }
static long c_semtimedop(void) { struct sembuf b = {0, -1, 0}; int id = semget(IPC_PRIVATE, 1, 0600); return semtimedop(id, &b, 1, &minute); }
static long c_msgrcv(void) { struct { long t; char c[8]; } m; return msgrcv(msgget(IPC_PRIVATE, 0600), &m, 8, 0, 0); }
static long c_mq(void) { struct mq_attr a = {.mq_maxmsg = 1, .mq_msgsize = 8}; mqd_t q = mq_open("/suture_test", O_RDWR | O_CREAT, 0600, &a); mq_unlink("/suture_test"); struct timespec t = {time(0) + 60, 0}; return q < 0 ? pause() : mq_timedreceive(q, buf, 8, 0, &t); }
static long c_sigtimedwait(void) { return sigtimedwait(&usr, 0, &minute); }
static long c_sigwaitinfo(void) { return sigwaitinfo(&usr, 0); }
static long c_sigsuspend(void) { return sigsuspend(&usr); }
static long c_wait(void) { int s; pid_t p = fork(); if (!p) { for (;;) pause(); } return waitpid(p, &s, 0); }
static long c_eventfd(void) { return read(eventfd(0, 0), buf, 8); }
static long c_timerfd(void) { int t = timerfd_create(CLOCK_MONOTONIC, 0); struct itimerspec s = {.it_value = {60, 0}}; timerfd_settime(t, 0, &s, 0); return read(t, buf, 8); }
static long c_inotify(void) { int i = inotify_init(); inotify_add_watch(i, "/proc", IN_CREATE); return read(i, buf, 64); }
static long c_futex(void) { static int word; return syscall(SYS_futex, &word, FUTEX_WAIT, 0, &minute, 0, 0); }
static long c_cond(void) { pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER; pthread_cond_t c = PTHREAD_COND_INITIALIZER; pthread_mutex_lock(&m); return pthread_cond_wait(&c, &m); }
static long c_lock(void) { char n[] = "/tmp/suture_lock_XXXXXX"; int a = mkstemp(n), b = open(n, O_RDWR); unlink(n); flock(a, LOCK_EX); return flock(b, LOCK_EX); }
static long c_io_getevents(void) { aio_context_t c = 0; syscall(SYS_io_setup, 4, &c); struct io_event e; return syscall(SYS_io_getevents, c, 1, 1, &e, &minute); }
static long c_spin(void) { for (volatile long i = 0;; i++) f(3); }
struct { const char *name; long (*run)(void); volatile long tid, result, error; } calls[] = {
#define C(n) {#n, c_##n, 0, 777, 0}
  C(nanosleep), C(clock_absolute), C(pause), C(poll), C(ppoll), C(select), C(pselect), C(epoll_wait), C(epoll_pwait),
  C(epoll_pwait2), C(read_pipe), C(read_socket), C(recv), C(recvmsg), C(recvmmsg), C(send), C(write_socket), C(accept),
  C(semop), C(semtimedop), C(msgrcv), C(mq), C(sigtimedwait), C(sigwaitinfo), C(sigsuspend), C(wait), C(eventfd),
  C(timerfd), C(inotify), C(futex), C(cond), C(lock), C(io_getevents), C(spin)};
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
    for (int i = 0; i < N; i++) if (calls[i].result != 777) printf(" %s returned %ld errno %ld", calls[i].name, calls[i].result, calls[i].error);
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
    for name, tid in threads_of(target).items():
        state = Path(f"/proc/{target.pid}/task/{tid}/status").read_text()
        assert "SigBlk:\t0000000000000800" in state or name in ("ppoll", "pselect", "epoll_pwait", "epoll_pwait2", "sigsuspend",
                                                               "sigtimedwait", "sigwaitinfo"), (name, state)  # fmt: skip
        assert int(state.split("SigBlk:\t")[1].split()[0], 16) in (0x800, 0), name
