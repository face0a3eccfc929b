/* A server that refuses with nothing but a header: dropped as if it had never come. */
#include "session.h"
#include "name_server.h"
#include <time.h>

void prepare(void) {}

void hole(void)
{
    struct timespec start, end;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    struct sockaddr_in here;
    int server = name_server_socket(&here);
    name_server_use(&here);
    if (fork() == 0) {
        unsigned char packet[1024];
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(said);
        alarm(LONGEST);
        for (;;) {
            socklen_t length = sizeof here;
            if (recvfrom(server, packet, sizeof packet, 0, (struct sockaddr *)&here, &length) < 12)
                continue;
            packet[2] |= 0x80; /* a response, REFUSED, without the question (RFC 1035, 4.1.1) */
            packet[3] = 0x85;
            packet[5] = 0;
            sendto(server, packet, 12, 0, (struct sockaddr *)&here, length);
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &start);
    getaddrinfo("host.example", "80", &hints, &found);
    clock_gettime(CLOCK_MONOTONIC, &end);
    long milliseconds = (end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000;
    say("%s", milliseconds > 500 ? "waits for an answer that came" : "refusal seen at once");
}
