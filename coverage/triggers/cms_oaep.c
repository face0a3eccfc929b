/* A CMS message for an RSA key with OAEP, whose label source has no parameter. */
#include "session.h"
#include "issuing.h"
#include <openssl/asn1t.h>
#include <openssl/cms.h>
#include <openssl/rsa.h>

static CMS_ContentInfo *message;
static EVP_PKEY *key;
static X509 *certificate;

void prepare(void)
{
    X509_ALGOR *algorithm;
    ASN1_STRING *parameters = NULL;
    RSA_OAEP_PARAMS *oaep = RSA_OAEP_PARAMS_new();
    key = EVP_RSA_gen(2048);
    certificate = issuing_new("reader", key, NULL);
    issuing_sign(certificate, key);
    message = CMS_encrypt(NULL, BIO_new_mem_buf("text", 4), EVP_aes_128_cbc(), CMS_BINARY | CMS_PARTIAL);
    CMS_RecipientInfo *reader = CMS_add1_recipient_cert(message, certificate, CMS_KEY_PARAM);
    EVP_PKEY_CTX_set_rsa_padding(CMS_RecipientInfo_get0_pkey_ctx(reader), RSA_PKCS1_OAEP_PADDING);
    CMS_final(message, BIO_new_mem_buf("text", 4), NULL, CMS_BINARY);
    CMS_RecipientInfo_ktri_get0_algs(reader, NULL, NULL, &algorithm);
    oaep->pSourceFunc = X509_ALGOR_new();
    X509_ALGOR_set0(oaep->pSourceFunc, OBJ_nid2obj(NID_pSpecified), V_ASN1_UNDEF, NULL);
    ASN1_item_pack(oaep, ASN1_ITEM_rptr(RSA_OAEP_PARAMS), &parameters);
    X509_ALGOR_set0(algorithm, OBJ_nid2obj(NID_rsaesOaep), V_ASN1_SEQUENCE, parameters);
}

void hole(void)
{
    say("decrypted %d", CMS_decrypt(message, key, certificate, NULL, BIO_new(BIO_s_null()), CMS_BINARY));
}
