/* A PKCS#12 safe that says it is encrypted but holds nothing. */
#include "session.h"
#include <openssl/pkcs12.h>

void prepare(void) {}

void hole(void)
{
    PKCS7 *safe = PKCS7_new();
    PKCS7_set_type(safe, NID_pkcs7_encrypted);
    ASN1_OCTET_STRING_free(safe->d.encrypted->enc_data->enc_data);
    safe->d.encrypted->enc_data->enc_data = NULL;
    X509_ALGOR_free(safe->d.encrypted->enc_data->algorithm);
    safe->d.encrypted->enc_data->algorithm = PKCS5_pbe2_set(EVP_aes_256_cbc(), 1000, NULL, 0);
    say("%s", PKCS12_unpack_p7encdata(safe, "password", 8) ? "unpacked" : "rejected");
}
