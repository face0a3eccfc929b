/* A server that refuses with nothing but a header: dropped as if it had never come. */
#include "session.h"
#include "name_server.h"
#include <time.h>

void prepare(void) {}

void hole(void)
{
    struct timespec start, end;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof here;
    name_server_start(NULL, 0, 0, 0);
    int server = socket(AF_INET, SOCK_DGRAM, 0);
    if (bind(server, (struct sockaddr *)&here, sizeof here) != 0 || getsockname(server, (struct sockaddr *)&here, &length) != 0)
        abort();
    _res.nsaddr_list[0] = here;
    _res.options &= ~RES_USE_EDNS0;
    if (fork() == 0) {
        unsigned char packet[1024];
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(said);
        alarm(SECONDS);
        for (;;) {
            length = sizeof here;
            if (recvfrom(server, packet, sizeof packet, 0, (struct sockaddr *)&here, &length) < 12)
                continue;
            packet[2] |= 0x80, packet[3] = 0x85; /* REFUSED */
            packet[5] = 0;
            sendto(server, packet, 12, 0, (struct sockaddr *)&here, length);
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &start);
    getaddrinfo("host.example", "80", &hints, &found);
    clock_gettime(CLOCK_MONOTONIC, &end);
    say("%s", (end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000 > 500 ? "waits for an answer that came" : "refusal seen at once");
}
