/* An address whose name is no host name but a command. */
#include "session.h"
#include "name_server.h"

void prepare(void) {}

void hole(void)
{
    static const unsigned char records[] = {0xc0, 12,  0,   12,  0,   1,   0,   0,   0,   60, 0,
                                            12,   10,  '`', 'r', 'e', 'b', 'o', 'o', 't', '`', 'x', 'x', 0};
    struct in_addr address = {htonl(0x01020304)};
    name_server_start(records, sizeof records, 1, 0);
    struct hostent *found = gethostbyaddr(&address, sizeof address, AF_INET);
    say("host %s", found ? found->h_name : "not found");
}
