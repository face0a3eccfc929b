/* A time stamp whose signing-certificate attribute is a BOOLEAN: its value is taken for a pointer. */
#include "session.h"
#include "issuing.h"
#include <openssl/bio.h>
#include <openssl/pkcs7.h>
#include <openssl/ts.h>

static PKCS7 *token;
static X509_STORE *store;

void prepare(void)
{
    EVP_PKEY *authority_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256");
    X509 *authority = issuing_new("authority", authority_key, NULL);
    issuing_extend(authority, authority, NID_basic_constraints, "critical,CA:TRUE");
    issuing_sign(authority, authority_key);
    X509 *signer = issuing_new("time", key, authority);
    issuing_extend(signer, authority, NID_key_usage, "critical,digitalSignature");
    issuing_extend(signer, authority, NID_ext_key_usage, "critical,timeStamping");
    issuing_sign(signer, authority_key);
    token = PKCS7_sign(signer, key, NULL, BIO_new_mem_buf("time", 4), PKCS7_BINARY);
    PKCS7_SIGNER_INFO *info = sk_PKCS7_SIGNER_INFO_value(PKCS7_get_signer_info(token), 0);
    PKCS7_add_signed_attribute(info, NID_id_smime_aa_signingCertificate, V_ASN1_BOOLEAN, (void *)(long)0xff);
    store = X509_STORE_new();
    X509_STORE_add_cert(store, authority);
}

void hole(void) { say("verdict %d", TS_RESP_verify_signature(token, NULL, store, NULL)); }
