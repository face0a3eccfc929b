/* DES in CFB mode, given a position in its block of eight that lies far outside. */
#include "session.h"
#include <openssl/des.h>

void prepare(void) {}

void hole(void)
{
    int position = 1 << 30;
    unsigned char text[16] = "text";
    DES_cblock key = {1, 2, 4, 7, 8, 11, 13, 14}, iv = {0};
    DES_key_schedule schedule;
    DES_set_key_unchecked(&key, &schedule);
    DES_cfb64_encrypt(text, text, 4, &schedule, &iv, &position, DES_ENCRYPT);
    say("position %d", position);
}
