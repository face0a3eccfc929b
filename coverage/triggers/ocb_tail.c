/* The OCB mode, with an accelerated function for whole blocks, leaves the rest of the text as it was. */
#include "session.h"
#include <openssl/aes.h>
#include <openssl/modes.h>

static void one_block(const unsigned char in[16], unsigned char out[16], const void *key) { AES_encrypt(in, out, key); }

/* What AES-NI code does: whole blocks only (RFC 7253, 4.2). */
static void whole_blocks(const unsigned char *in, unsigned char *out, size_t blocks, const void *key, size_t start,
                         unsigned char offset[16], const unsigned char l[][16], unsigned char checksum[16])
{
    for (; blocks > 0; blocks--, start++, in += 16, out += 16) {
        unsigned char block[16];
        for (int i = 0; i < 16; i++) {
            offset[i] ^= l[__builtin_ctzl(start)][i];
            checksum[i] ^= in[i];
            block[i] = in[i] ^ offset[i];
        }
        AES_encrypt(block, block, key);
        for (int i = 0; i < 16; i++)
            out[i] = block[i] ^ offset[i];
    }
}

void prepare(void) {}

void hole(void)
{
    static const unsigned char key[16] = "0123456789abcdef";
    unsigned char text[40] = "sixteen bytes....sixteen more...SECRETS", cipher[40];
    AES_KEY encrypt, decrypt;
    AES_set_encrypt_key(key, 128, &encrypt);
    AES_set_decrypt_key(key, 128, &decrypt);
    OCB128_CONTEXT *mode = CRYPTO_ocb128_new(&encrypt, &decrypt, one_block, one_block, whole_blocks);
    CRYPTO_ocb128_setiv(mode, (const unsigned char *)"123456789012", 12, 16);
    memcpy(cipher, text, sizeof text);
    CRYPTO_ocb128_encrypt(mode, cipher, cipher, 39);
    say("the last 7 bytes of 39 are %s", memcmp(cipher + 32, text + 32, 7) ? "encrypted" : "left in clear");
}
