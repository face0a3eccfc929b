/* A name in UTF-16 whose last character needs three bytes of UTF-8 is written before its buffer. */
#include "session.h"
#include "guarded_openssl.h"
#include <openssl/pkcs12.h>

void prepare(void)
{
    guarded_start();
    OPENSSL_init_crypto(0, NULL);
}

void hole(void)
{
    static const unsigned char euro[2] = {0x20, 0xac};
    guarded_size = 4; /* three bytes and the zero */
    guarded_is_before = 1;
    char *name = OPENSSL_uni2utf8(euro, sizeof euro);
    say("name of %zu bytes", name ? strlen(name) : 0);
}
