/* DER, built inside out: each call returns a new element made of the given parts. */
#ifndef DER_H
#define DER_H

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct der {
    unsigned char *bytes;
    size_t size;
};

static inline struct der der_raw(int tag, const void *content, size_t size)
{
    struct der made = {malloc(size + 6), 0};
    made.bytes[made.size++] = (unsigned char)tag;
    if (size >= 256) {
        made.bytes[made.size++] = 0x82;
        made.bytes[made.size++] = (unsigned char)(size >> 8);
    } else if (size >= 128)
        made.bytes[made.size++] = 0x81;
    made.bytes[made.size++] = (unsigned char)size;
    if (size)
        memcpy(made.bytes + made.size, content, size);
    made.size += size;
    return made;
}

/* An element of `count` parts, each a struct der. */
static inline struct der der_of(int tag, int count, ...)
{
    unsigned char content[8192];
    size_t size = 0;
    va_list parts;
    va_start(parts, count);
    for (int i = 0; i < count; i++) {
        struct der part = va_arg(parts, struct der);
        memcpy(content + size, part.bytes, part.size);
        size += part.size;
    }
    va_end(parts);
    return der_raw(tag, content, size);
}

static inline struct der der_integer(int value)
{
    unsigned char byte = (unsigned char)value;
    return der_raw(0x02, &byte, 1);
}

#define DER_OID(...) der_raw(0x06, (const unsigned char[]){__VA_ARGS__}, sizeof((const unsigned char[]){__VA_ARGS__}))
#define DER_SEQUENCE 0x30
#define DER_SET 0x31
#define DER_OCTETS 0x04
#define DER_PKCS(...) DER_OID(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, __VA_ARGS__)
#define DER_DATA DER_PKCS(7, 1)                   /* pkcs7-data */
#define DER_ENVELOPED DER_PKCS(7, 3)              /* pkcs7-envelopedData */
#define DER_AUTH_ENVELOPED DER_PKCS(9, 16, 1, 23) /* id-smime-ct-authEnvelopedData */
#define DER_PBKDF2 DER_PKCS(5, 12)
#define DER_PWRI_KEK DER_PKCS(9, 16, 3, 9)
#define DER_AES128(mode) DER_OID(0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, mode) /* 2 CBC, 4 CFB, 6 GCM */

#endif
