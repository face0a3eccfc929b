/* A CMS AuthEnvelopedData without recipients (RFC 5083), with content parameters of one's choice. */
#ifndef AUTH_ENVELOPED_H
#define AUTH_ENVELOPED_H

#include "der.h"
#include <openssl/bio.h>
#include <openssl/cms.h>
#include <openssl/err.h>

static inline CMS_ContentInfo *auth_enveloped(struct der algorithm)
{
    struct der content = der_of(DER_SEQUENCE, 3, DER_DATA, algorithm, der_raw(0x80, "0123456789abcdef", 16));
    struct der tag = der_raw(DER_OCTETS, "tagtagtagtagtagt", 16);
    struct der body = der_of(DER_SEQUENCE, 4, der_integer(0), der_raw(DER_SET, "", 0), content, tag);
    struct der message = der_of(DER_SEQUENCE, 2, DER_AUTH_ENVELOPED, der_of(0xa0, 1, body));
    const unsigned char *bytes = message.bytes;
    CMS_ContentInfo *parsed = d2i_CMS_ContentInfo(NULL, &bytes, (long)message.size);
    if (parsed == NULL)
        abort();
    return parsed;
}

#endif
