/* A wrapped key of two bytes, under a stream cipher: seven bytes of it are checked. */
#include "session.h"
#include "guarded_openssl.h"
#include "kek.h"

static CMS_ContentInfo *message;

void prepare(void)
{
    guarded_start();
    message = kek_message(4, "xy", 2, 0);
}

void hole(void)
{
    guarded_size = 2;
    kek_decrypt(message);
}
