/* CMS messages for a password recipient, with a wrapped key of one's own making. */
#ifndef KEK_H
#define KEK_H

#include "der.h"
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#define KEK_PASSWORD "password"
#define KEK_IV "iviviviviviviviv"

static inline struct der kek_algorithm(int mode)
{
    return der_of(DER_SEQUENCE, 2, DER_AES128(mode), der_raw(DER_OCTETS, KEK_IV, 16));
}

/* The message; without_derivation leaves out the optional keyDerivationAlgorithm (RFC 3211, 2.1). */
static inline CMS_ContentInfo *kek_message(int mode, const void *wrapped, size_t size, int without_derivation)
{
    struct der version = der_integer(0), nothing = {NULL, 0};
    struct der salt = der_of(DER_SEQUENCE, 2, der_raw(DER_OCTETS, "saltsalt", 8), der_integer(9));
    struct der derivation = without_derivation ? nothing : der_of(0xa0, 2, DER_PBKDF2, salt);
    struct der encryption = der_of(DER_SEQUENCE, 2, DER_PWRI_KEK, kek_algorithm(mode));
    struct der recipient = der_of(0xa3, 4, version, derivation, encryption, der_raw(DER_OCTETS, wrapped, size));
    struct der content = der_of(DER_SEQUENCE, 3, DER_DATA, kek_algorithm(2), der_raw(0x80, "0123456789abcdef", 16));
    struct der enveloped = der_of(DER_SEQUENCE, 3, der_integer(3), der_of(DER_SET, 1, recipient), content);
    struct der message = der_of(DER_SEQUENCE, 2, DER_ENVELOPED, der_of(0xa0, 1, enveloped));
    const unsigned char *bytes = message.bytes;
    CMS_ContentInfo *parsed = d2i_CMS_ContentInfo(NULL, &bytes, (long)message.size);
    if (parsed == NULL)
        abort();
    return parsed;
}

/* Wraps as RFC 3211, 2.3.1 does, but whatever the bytes say: CBC over the text, and once more over the result. */
static inline void kek_wrap(unsigned char *text, int size)
{
    unsigned char key[16];
    int length;
    PKCS5_PBKDF2_HMAC_SHA1(KEK_PASSWORD, 8, (const unsigned char *)"saltsalt", 8, 9, 16, key);
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    EVP_EncryptInit_ex(context, EVP_aes_128_cbc(), NULL, key, (const unsigned char *)KEK_IV);
    EVP_CIPHER_CTX_set_padding(context, 0);
    EVP_EncryptUpdate(context, text, &length, text, size);
    EVP_EncryptUpdate(context, text, &length, text, size);
    EVP_CIPHER_CTX_free(context);
}

static inline void kek_decrypt(CMS_ContentInfo *message)
{
    CMS_RecipientInfo *recipient = sk_CMS_RecipientInfo_value(CMS_get0_RecipientInfos(message), 0);
    CMS_RecipientInfo_set0_password(recipient, (unsigned char *)KEK_PASSWORD, 8);
    int verdict = CMS_RecipientInfo_decrypt(message, recipient);
    say("decrypt %d, error %s", verdict, ERR_reason_error_string(ERR_peek_error()));
}

#endif
