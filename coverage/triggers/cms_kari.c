/* A CMS message for an elliptic curve key, whose key encryption algorithm has no parameters. */
#include "session.h"
#include "issuing.h"
#include <openssl/cms.h>

static CMS_ContentInfo *message;
static EVP_PKEY *key;
static X509 *certificate;

void prepare(void)
{
    X509_ALGOR *algorithm;
    ASN1_OCTET_STRING *material;
    const ASN1_OBJECT *name;
    key = EVP_EC_gen("P-256");
    certificate = issuing_new("reader", key, NULL);
    issuing_sign(certificate, key);
    STACK_OF(X509) *readers = sk_X509_new_null();
    sk_X509_push(readers, certificate);
    message = CMS_encrypt(readers, BIO_new_mem_buf("text", 4), EVP_aes_128_cbc(), CMS_BINARY);
    CMS_RecipientInfo *reader = sk_CMS_RecipientInfo_value(CMS_get0_RecipientInfos(message), 0);
    CMS_RecipientInfo_kari_get0_alg(reader, &algorithm, &material);
    X509_ALGOR_get0(&name, NULL, NULL, algorithm);
    X509_ALGOR_set0(algorithm, OBJ_dup(name), V_ASN1_UNDEF, NULL);
}

void hole(void)
{
    say("decrypted %d", CMS_decrypt(message, key, certificate, NULL, BIO_new(BIO_s_null()), CMS_BINARY));
}
