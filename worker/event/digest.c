/* SHA-256 by libcrypto. It cannot fail but for want of memory, and then the process ends: a wrong digest
 * would hide a changed event. */
#include "digest.h"

#include <openssl/evp.h>
#include <stdlib.h>

static EVP_MD *sha256;
static EVP_MD_CTX *context; /* one thread reads events: one context, used again and again */

static void require(int ok)
{
    if (ok != 1)
        abort();
}

void digest_prepare(void)
{
    if (context)
        return;
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    context = EVP_MD_CTX_new();
    require(sha256 && context);
}

void digest_parts(const struct slice *parts, size_t count, uint8_t out[SIGNUP_DIGEST_BYTES])
{
    digest_prepare();
    require(EVP_DigestInit_ex2(context, sha256, NULL));
    for (size_t i = 0; i < count; i++) {
        if (parts[i].len)
            require(EVP_DigestUpdate(context, parts[i].ptr, parts[i].len));
    }
    require(EVP_DigestFinal_ex(context, out, NULL));
}
