/* The name of an address, taken from a record behind the answers, which no resolver vouches for. */
#include "session.h"
#include "name_server.h"

void prepare(void) {}

void hole(void)
{
    static const unsigned char records[] = {
        0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60, 0, 2, 1, 'x',                                   /* the answer: TXT */
        0xc0, 12, 0, 12, 0, 1, 0, 0, 0, 60, 0, 6, 4, 'e', 'v', 'i', 'l', 0,                 /* additional: PTR evil */
    };
    struct in_addr address = {htonl(0x01020304)};
    name_server_start(records, sizeof records, 1, 1);
    struct hostent *found = gethostbyaddr(&address, sizeof address, AF_INET);
    say("host %s", found ? found->h_name : "not found");
}
