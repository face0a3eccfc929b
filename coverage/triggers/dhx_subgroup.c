/* A peer's Diffie-Hellman parameters with a subgroup of its own choice. */
#include "session.h"
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

static EVP_PKEY *own, *peer;

void prepare(void)
{
    BIGNUM *p = NULL, *g = NULL, *public = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "DHX", NULL);
    char group[] = "dh_2048_256";
    OSSL_PARAM choice[] = {OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0), OSSL_PARAM_END};
    EVP_PKEY_keygen_init(context);
    EVP_PKEY_CTX_set_params(context, choice);
    if (EVP_PKEY_generate(context, &own) != 1)
        abort();
    EVP_PKEY_get_bn_param(own, OSSL_PKEY_PARAM_FFC_P, &p);
    EVP_PKEY_get_bn_param(own, OSSL_PKEY_PARAM_FFC_G, &g);
    BIGNUM *q = BN_new();
    BN_set_word(q, 65537);
    public = BN_dup(p);
    BN_sub_word(public, 1); /* of order two */
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_FFC_P, p);
    OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_FFC_G, g);
    OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_FFC_Q, q);
    OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_PUB_KEY, public);
    context = EVP_PKEY_CTX_new_from_name(NULL, "DHX", NULL);
    EVP_PKEY_fromdata_init(context);
    if (EVP_PKEY_fromdata(context, &peer, EVP_PKEY_PUBLIC_KEY, OSSL_PARAM_BLD_to_param(builder)) != 1)
        abort();
}

void hole(void)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, own, NULL);
    EVP_PKEY_derive_init(context);
    say("peer %s", EVP_PKEY_derive_set_peer_ex(context, peer, 0) == 1 ? "accepted" : "rejected");
}
