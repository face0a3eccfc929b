/* A parameter without a name. */
#include "session.h"
#include <openssl/param_build.h>

void prepare(void) {}

void hole(void)
{
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    say("pushed %d", OSSL_PARAM_BLD_push_utf8_string(builder, NULL, "text", 4));
}
