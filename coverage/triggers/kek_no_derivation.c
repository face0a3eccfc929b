/* A password recipient without a key derivation algorithm, which the standard leaves optional. */
#include "session.h"
#include "kek.h"

static CMS_ContentInfo *message;

void prepare(void) { message = kek_message(2, "0123456789abcdef0123456789abcdef", 32, 1); }

void hole(void) { kek_decrypt(message); }
