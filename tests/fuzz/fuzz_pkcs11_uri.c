/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PKCS#11 URI. What is taken is written again as the same, and p11-kit, which other tools read theirs with, takes
 * it, too, and reads the same in it: a URI that named another key there would be a trap.
 */
#include "fuzz.h"

#include <string.h>

#include <p11-kit/uri.h>

#include "config/pkcs11_uri.h"
#include "util/base64url.h"

/* A fixed-width field of PKCS#11's, padded with blanks, or unset (all zero). */
static void check_field(const char *ours, const unsigned char *theirs, size_t size)
{
    size_t length = strlen(ours);
    if (!length) {
        assert(theirs[0] == '\0');
        return;
    }
    assert(length <= size && memcmp(theirs, ours, length) == 0);
    for (size_t i = length; i < size; i++)
        assert(theirs[i] == ' ');
}

static void check_attribute(P11KitUri *theirs, CK_ATTRIBUTE_TYPE type, const void *ours, size_t length)
{
    const CK_ATTRIBUTE *attribute = p11_kit_uri_get_attribute(theirs, type);
    assert((attribute != NULL) == (length > 0));
    assert(!attribute || (attribute->ulValueLen == length && memcmp(attribute->pValue, ours, length) == 0));
}

static void check_theirs(const char *text, const struct mm_pkcs11_uri *ours)
{
    uint8_t id[MM_PKCS11_OBJECT_MAX];
    size_t id_length = strlen(ours->id) / 2;
    P11KitUri *theirs = p11_kit_uri_new();
    assert(theirs && p11_kit_uri_parse(text, P11_KIT_URI_FOR_ANY, theirs) == P11_KIT_URI_OK);
    assert(!p11_kit_uri_any_unrecognized(theirs) && !p11_kit_uri_get_pin_value(theirs) &&
           !p11_kit_uri_get_pin_source(theirs) && !p11_kit_uri_get_module_path(theirs));
    const CK_TOKEN_INFO *token = p11_kit_uri_get_token_info(theirs);
    check_field(ours->token, token->label, sizeof token->label);
    check_field(ours->manufacturer, token->manufacturerID, sizeof token->manufacturerID);
    check_field(ours->model, token->model, sizeof token->model);
    check_field(ours->serial, token->serialNumber, sizeof token->serialNumber);
    assert(mm_hex_decode(ours->id, id, id_length));
    check_attribute(theirs, CKA_ID, id, id_length);
    check_attribute(theirs, CKA_LABEL, ours->object, strlen(ours->object));
    p11_kit_uri_free(theirs);
}

static void check(const char *text, enum mm_pkcs11_uri_subject subject)
{
    struct mm_error err = {0};
    struct mm_pkcs11_uri uri;
    struct mm_pkcs11_uri again;
    bool is_taken = mm_pkcs11_uri_parse(text, subject, &uri, &err);
    assert(is_taken == (err.code == MM_OK) && (is_taken || err.code == MM_USAGE));
    if (!is_taken)
        return;
    bool names_object = uri.object[0] || uri.id[0];
    assert(names_object == (subject == MM_PKCS11_URI_OF_KEY));
    check_theirs(text, &uri);
    mm_cleanup(mm_buffer_clear) struct mm_buffer written = mm_buffer_make(MM_PKCS11_URI_MAX);
    assert(mm_pkcs11_uri_format(&uri, &written, NULL));
    assert(mm_pkcs11_uri_parse((char *)written.data, subject, &again, NULL) && memcmp(&uri, &again, sizeof uri) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[MM_PKCS11_URI_MAX + 2] = "";
    if (size >= sizeof text)
        return 0;
    memcpy(text, data, size);
    check(text, MM_PKCS11_URI_OF_TOKEN);
    check(text, MM_PKCS11_URI_OF_KEY);
    return 0;
}
