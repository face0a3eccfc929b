/* RSA encryption into a buffer said to hold 10 bytes writes 256. */
#include "session.h"
#include "guard.h"
#include <openssl/evp.h>
#include <openssl/rsa.h>

static EVP_PKEY *key;

void prepare(void) { key = EVP_RSA_gen(2048); }

void hole(void)
{
    size_t size = 10;
    unsigned char *out = guarded_behind(size);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    EVP_PKEY_encrypt_init(context);
    say("encrypt %d", EVP_PKEY_encrypt(context, out, &size, (const unsigned char *)"text", 4));
}
