/* A signature without digest algorithms: the caller's content is freed under its hands. */
#include "session.h"
#include "issuing.h"
#include <openssl/bio.h>
#include <openssl/pkcs7.h>

static PKCS7 *message;
static int freed;

static long watch(BIO *bio, int operation, const char *in, size_t size, int i, long l, int result, size_t *done)
{
    (void)bio, (void)in, (void)size, (void)i, (void)l, (void)done;
    if (operation == BIO_CB_FREE)
        freed = 1;
    return result;
}

void prepare(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = issuing_new("signer", key, NULL);
    issuing_sign(certificate, key);
    message = PKCS7_sign(certificate, key, NULL, BIO_new_mem_buf("text", 4), PKCS7_BINARY | PKCS7_DETACHED);
    while (sk_X509_ALGOR_num(message->d.sign->md_algs) > 0)
        X509_ALGOR_free(sk_X509_ALGOR_pop(message->d.sign->md_algs));
}

void hole(void)
{
    BIO *content = BIO_new(BIO_s_null());
    BIO_set_callback_ex(content, watch);
    int verdict = PKCS7_verify(message, NULL, NULL, content, NULL, PKCS7_NOVERIFY | PKCS7_BINARY);
    say("verdict %d, content of the caller %s", verdict, freed ? "freed" : "kept");
}
