/* A wrapped key that says it is longer than it is: the rest is read from behind the buffer. */
#include "session.h"
#include "guarded_openssl.h"
#include "kek.h"

#define SIZE 48

static CMS_ContentInfo *message;

void prepare(void)
{
    unsigned char text[SIZE] = {SIZE + 4, 0, 1, 2, 0xff, 0xfe, 0xfd};
    guarded_start();
    kek_wrap(text, SIZE);
    message = kek_message(2, text, SIZE, 0);
}

void hole(void)
{
    guarded_size = SIZE;
    kek_decrypt(message);
}
