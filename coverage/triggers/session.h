/* How a trigger talks: one process, one outcome line for each line of input.

   The holes end processes, so each is entered in a fork of this process: a fork has the same code, live patches
   included. Asked by a line that begins with h, the fork is held once it is through: the answer is "held" and its pid,
   and the next line lets it go. A line is the pid of this process, what the fork said, and how it ended. Between lines the process is
   blocked in read(2), outside of everything that a patch may replace. */
#ifndef SESSION_H
#define SESSION_H

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SECONDS
#define SECONDS 3 /* of the processor: a hole that takes more has no end, whatever else the machine does */
#endif
#define LONGEST (10 * SECONDS) /* of the clock, for one that waits */

void prepare(void); /* once, before the first line: what has to be loaded when the patch is applied */
void hole(void);    /* once for each line, in a fork */

static int said = -1;

/* Adds to the outcome of this line. */
static inline void __attribute__((format(printf, 1, 2))) say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vdprintf(said, format, arguments);
    va_end(arguments);
}

/* A readable file with this text, and its path; it lives as long as the process. */
static inline const char *file_of(const char *text, size_t length)
{
    static char paths[4096][32];
    static int used;
    int file = memfd_create("trigger", 0);
    if (file < 0 || write(file, text, length) != (ssize_t)length)
        abort();
    snprintf(paths[used], sizeof paths[used], "/proc/self/fd/%d", file);
    return paths[used++];
}

/* Waits until the fork stops behind its hole, and for a line; whether it ended instead. */
static inline int hold(pid_t child, int *status)
{
    char letter;
    if (waitpid(child, status, WUNTRACED) != child)
        exit(70);
    if (!WIFSTOPPED(*status))
        return 1;
    dprintf(1, "%d held %d\n", getpid(), child);
    while (read(0, &letter, 1) == 1 && letter != '\n')
        ;
    kill(child, SIGCONT);
    return 0;
}

static inline void ask(int held)
{
    char text[4000];
    size_t length = 0;
    int ends[2], status, ended, quiet = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (quiet < 0 || pipe(ends) < 0)
        exit(70);
    pid_t child = fork();
    if (child == 0) {
        const struct rlimit none = {0, 0};
        const struct itimerval most = {{0, 0}, {SECONDS, 0}};
        setrlimit(RLIMIT_CORE, &none);
        dup2(quiet, 2);
        close(ends[0]);
        said = ends[1];
        setitimer(ITIMER_PROF, &most, NULL);
        alarm(LONGEST);
        hole();
        if (held)
            raise(SIGSTOP);
        _exit(0);
    }
    close(ends[1]);
    close(quiet);
    ended = held && child > 0 && hold(child, &status);
    for (ssize_t n; length < sizeof text && (n = read(ends[0], text + length, sizeof text - length)) > 0;)
        length += (size_t)n;
    close(ends[0]);
    if (child < 0 || (!ended && waitpid(child, &status, 0) != child))
        exit(70);
    for (size_t i = 0; i < length; i++)
        if (text[i] == '\n')
            text[i] = ' ';
    dprintf(1, "%d %.*s", getpid(), (int)length, text);
    if (WIFSIGNALED(status)) {
        if (WTERMSIG(status) == SIGPROF || WTERMSIG(status) == SIGALRM)
            dprintf(1, "%sno end after %d s", length ? ", " : "", WTERMSIG(status) == SIGPROF ? SECONDS : LONGEST);
        else
            dprintf(1, "%sends by SIG%s", length ? ", " : "", sigabbrev_np(WTERMSIG(status)));
    }
    dprintf(1, "\n");
}

int main(void)
{
    char letter;
    int held = 0;
    prepare();
    dprintf(1, "%d ready\n", getpid());
    while (read(0, &letter, 1) == 1) {
        if (letter == '\n')
            ask(held);
        held = letter == 'h';
    }
    return 0;
}

#endif
