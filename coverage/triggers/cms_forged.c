/* A CMS message said to be authenticated, under a cipher that authenticates nothing. */
#include "session.h"
#include "auth_enveloped.h"

static CMS_ContentInfo *message;

void prepare(void)
{
    message = auth_enveloped(der_of(DER_SEQUENCE, 2, DER_AES128(2), der_raw(DER_OCTETS, "iviviviviviviviv", 16)));
}

void hole(void) { say("unauthenticated content %s", CMS_dataInit(message, NULL) ? "opened" : "rejected"); }
