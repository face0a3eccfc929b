/* A CMS message whose AES-GCM parameters hold an IV of 400 bytes, copied into 16 bytes of stack. */
#include "session.h"
#include "auth_enveloped.h"

static CMS_ContentInfo *message;

void prepare(void)
{
    unsigned char iv[400];
    memset(iv, 'A', sizeof iv);
    struct der parameters = der_of(DER_SEQUENCE, 2, der_raw(DER_OCTETS, iv, sizeof iv), der_integer(16));
    message = auth_enveloped(der_of(DER_SEQUENCE, 2, DER_AES128(6), parameters));
}

void hole(void) { say("content %s", CMS_dataInit(message, NULL) ? "opened" : "rejected"); }
