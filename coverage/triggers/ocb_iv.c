/* AES-OCB through EVP_Cipher: two messages under two IVs come out the same. */
#include "session.h"
#include <openssl/evp.h>

static void encrypt(const char *iv, unsigned char out[32])
{
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "AES-128-OCB", NULL);
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    EVP_EncryptInit_ex(context, cipher, NULL, (const unsigned char *)"0123456789abcdef", (const unsigned char *)iv);
    EVP_Cipher(context, out, (const unsigned char *)"sixteen bytes...", 16);
}

void prepare(void) {}

void hole(void)
{
    unsigned char one[32] = {0}, two[32] = {0};
    encrypt("first iv....", one);
    encrypt("second iv...", two);
    say("ciphertexts %s", memcmp(one, two, 16) ? "differ" : "are equal");
}
