/* AES-SIV, one context for two messages: the second, empty one is forged. */
#include "session.h"
#include <openssl/evp.h>

static unsigned char tag[16], cipher[9];

void prepare(void)
{
    int length;
    EVP_CIPHER *siv = EVP_CIPHER_fetch(NULL, "AES-128-SIV", NULL);
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    EVP_EncryptInit_ex2(context, siv, (const unsigned char *)"0123456789abcdef0123456789ABCDEF", NULL, NULL);
    EVP_EncryptUpdate(context, cipher, &length, (const unsigned char *)"genuine..", 9);
    EVP_EncryptFinal_ex(context, cipher, &length);
    EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, tag);
}

void hole(void)
{
    int length;
    unsigned char out[16], forged[16] = {0};
    EVP_CIPHER *siv = EVP_CIPHER_fetch(NULL, "AES-128-SIV", NULL);
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    EVP_DecryptInit_ex2(context, siv, (const unsigned char *)"0123456789abcdef0123456789ABCDEF", NULL, NULL);
    EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, 16, tag);
    EVP_DecryptUpdate(context, out, &length, cipher, 9);
    say("genuine message %s, ", EVP_DecryptFinal_ex(context, out, &length) == 1 ? "accepted" : "rejected");
    EVP_DecryptInit_ex2(context, NULL, NULL, NULL, NULL);
    EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, 16, forged);
    EVP_DecryptUpdate(context, NULL, &length, (const unsigned char *)"forged header", 13);
    say("forged one %s", EVP_DecryptFinal_ex(context, out, &length) == 1 ? "accepted" : "rejected");
}
