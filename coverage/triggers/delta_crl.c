/* A delta revocation list without a CRL number. */
#include "session.h"
#include "issuing.h"
#include <openssl/x509_vfy.h>

static X509 *leaf;
static X509_STORE *store;
static STACK_OF(X509_CRL) *lists;

static X509_CRL *list(X509 *issuer, EVP_PKEY *key, int nid, int number)
{
    X509_CRL *made = X509_CRL_new();
    ASN1_TIME *time = ASN1_TIME_new();
    X509_CRL_set_version(made, X509_CRL_VERSION_2);
    X509_CRL_set_issuer_name(made, X509_get_subject_name(issuer));
    X509_CRL_set1_lastUpdate(made, X509_gmtime_adj(time, -3600));
    X509_CRL_set1_nextUpdate(made, X509_gmtime_adj(time, 3600));
    ASN1_INTEGER *value = ASN1_INTEGER_new();
    ASN1_INTEGER_set(value, number);
    X509_CRL_add1_ext_i2d(made, nid, value, nid == NID_delta_crl, 0);
    X509_CRL_sign(made, key, EVP_sha256());
    /* Parsed again, as it would arrive. */
    unsigned char *bytes = NULL;
    int size = i2d_X509_CRL(made, &bytes);
    const unsigned char *at = bytes;
    return d2i_X509_CRL(NULL, &at, size);
}

void prepare(void)
{
    EVP_PKEY *authority_key = EVP_EC_gen("P-256"), *leaf_key = EVP_EC_gen("P-256");
    X509 *authority = issuing_new("authority", authority_key, NULL);
    issuing_extend(authority, authority, NID_basic_constraints, "critical,CA:TRUE");
    issuing_extend(authority, authority, NID_key_usage, "critical,keyCertSign,cRLSign");
    issuing_sign(authority, authority_key);
    leaf = issuing_new("leaf", leaf_key, authority);
    issuing_extend(leaf, authority, NID_freshest_crl, "URI:http://localhost/delta");
    issuing_sign(leaf, authority_key);
    store = X509_STORE_new();
    X509_STORE_add_cert(store, authority);
    lists = sk_X509_CRL_new_null();
    sk_X509_CRL_push(lists, list(authority, authority_key, NID_crl_number, 1));
    sk_X509_CRL_push(lists, list(authority, authority_key, NID_delta_crl, 1));
}

void hole(void)
{
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    X509_STORE_CTX_init(context, store, leaf, NULL);
    X509_STORE_CTX_set0_crls(context, lists);
    X509_STORE_CTX_set_flags(context, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_USE_DELTAS);
    say("verified %d", X509_verify_cert(context));
}
