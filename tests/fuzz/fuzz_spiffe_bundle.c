/* SPDX-License-Identifier: Apache-2.0 */
/* A trust domain's bundle: roots come of it whole, or not at all; who isn't certified by one of them is nobody. */
#include "fuzz.h"

#include "tests/support/make_certificate.h"
#include "token/spiffe_bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct test_certificate *stranger;
    struct mm_error err = {0};
    mm_cleanup(mm_trust_free) struct mm_trust *roots = NULL;
    if (!stranger)
        stranger = make_ca("Stranger", NULL);
    if (!mm_spiffe_bundle_roots(data, size, &roots, &err)) {
        assert(!roots && err.code == MM_CONFIG_INVALID);
        return 0;
    }
    if (!roots)
        return 0;
    mm_cleanup(test_certificate_free) struct test_certificate *leaf = make_client(stranger, "URI:spiffe://a.example/x");
    const struct mm_bytes der = test_certificate_der(leaf);
    mm_cleanup(mm_certificate_unref) struct mm_certificate *certificate = mm_certificate_parse(&der, 1, NULL);
    int64_t not_after;
    assert(certificate && !mm_trust_verify(roots, certificate, TEST_NOW, &not_after, &err));
    assert(err.code == MM_ACCESS_DENIED);
    return 0;
}
