/* A signature whose message digest is a BOOLEAN: its value is handed out as a pointer to a string. */
#include "session.h"
#include <openssl/pkcs7.h>
#include <openssl/x509.h>

void prepare(void) {}

void hole(void)
{
    STACK_OF(X509_ATTRIBUTE) *attributes = sk_X509_ATTRIBUTE_new_null();
    X509_ATTRIBUTE *attribute = X509_ATTRIBUTE_create(NID_pkcs9_messageDigest, V_ASN1_BOOLEAN, (void *)(long)0xff);
    sk_X509_ATTRIBUTE_push(attributes, attribute);
    ASN1_OCTET_STRING *digest = PKCS7_digest_from_attributes(attributes);
    say("digest %s", digest ? "at an address out of the message" : "rejected");
}
