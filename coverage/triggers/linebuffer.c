/* A line-buffering filter before a sink that takes one byte at a time is given more than its buffer holds. */
#include "session.h"
#include "guarded_openssl.h"
#include <openssl/bio.h>

static int one_byte(BIO *bio, const char *bytes, int size)
{
    (void)bio, (void)bytes;
    return size > 0;
}

static int created(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

void prepare(void)
{
    guarded_start();
    OPENSSL_init_crypto(0, NULL);
}

void hole(void)
{
    static char text[30000];
    memset(text, 'x', sizeof text);
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "one byte");
    BIO_meth_set_write(method, one_byte);
    BIO_meth_set_create(method, created);
    BIO *sink = BIO_new(method);
    guarded_size = 10 * 1024; /* the filter's buffer */
    BIO *filter = BIO_new(BIO_f_linebuffer());
    BIO_push(filter, sink);
    say("wrote %d", BIO_write(filter, text, sizeof text));
}
