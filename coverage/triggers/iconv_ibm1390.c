/* A pair of characters from one IBM-1390 code, and room for the first only. */
#include "session.h"
#include <errno.h>
#include <iconv.h>

static iconv_t conversion;

void prepare(void)
{
    conversion = iconv_open("UCS-4LE", "IBM1390");
    if (conversion == (iconv_t)-1)
        exit(71);
}

void hole(void)
{
    char in[] = "\x0e\xec\xb5", *from = in; /* shift out, KATAKANA LETTER KA with a half-voiced mark */
    char out[12], *to = out;
    size_t in_left = 3, out_left = 4;
    size_t done = iconv(conversion, &from, &in_left, &to, &out_left);
    int failed = done == (size_t)-1;
    say("%s, ", failed && errno == E2BIG ? "more room wanted" : failed ? "failed" : "done");
    out_left += 8;
    done = iconv(conversion, &from, &in_left, &to, &out_left);
    done += iconv(conversion, NULL, NULL, &to, &out_left);
    say("%d characters in all", (int)(to - out) / 4);
}
