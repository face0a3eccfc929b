/* Encapsulation for a public key that RSA rejects is reported as done: what is sent is memory as it was. */
#include "session.h"
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

static EVP_PKEY *key;

void prepare(void)
{
    unsigned char modulus[256], exponent[256];
    memset(modulus, 0x81, sizeof modulus);
    memset(exponent, 0x91, sizeof exponent); /* greater than the modulus */
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, BN_bin2bn(modulus, sizeof modulus, NULL));
    OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, BN_bin2bn(exponent, sizeof exponent, NULL));
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    EVP_PKEY_fromdata_init(context);
    if (EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, OSSL_PARAM_BLD_to_param(builder)) != 1)
        abort();
}

void hole(void)
{
    unsigned char sent[256], secret[256];
    size_t sent_size = sizeof sent, secret_size = sizeof secret;
    memset(sent, 'M', sizeof sent);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    EVP_PKEY_encapsulate_init(context, NULL);
    EVP_PKEY_CTX_set_kem_op(context, "RSASVE");
    int done = EVP_PKEY_encapsulate(context, sent, &sent_size, secret, &secret_size) == 1;
    int untouched = sent[0] == 'M' && sent[255] == 'M';
    say("%s, %s", done ? "done" : "refused", untouched ? "nothing written" : "ciphertext written");
}
