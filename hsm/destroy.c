/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/destroy.h"

#include <string.h>

#include "hsm/cryptoki.h"
#include "util/base64url.h"

enum { PUBLIC_OBJECTS_MAX = 16 };

static void destroy_public(const struct mm_module *module, const struct mm_hsm_key_info *info)
{
    CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
    uint8_t id[MM_KEY_ID_MAX];
    size_t id_length = strlen(info->id) / 2;
    char label[MM_KEY_LABEL_MAX + 1];
    memcpy(label, info->label, sizeof label);
    if (!mm_hex_decode(info->id, id, id_length))
        return;
    CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class},
                               {CKA_ID, id, (CK_ULONG)id_length},
                               {CKA_LABEL, label, (CK_ULONG)strlen(label)}};
    mm_cleanup(free) CK_OBJECT_HANDLE *objects = NULL;
    size_t n = 0;
    if (!mm_objects_find(module, template, MM_ARRAY_SIZE(template), PUBLIC_OBJECTS_MAX, &objects, &n, NULL))
        return;
    for (size_t i = 0; i < n; i++)
        (void)mm_module_functions(module)->C_DestroyObject(mm_module_session(module), objects[i]);
}

bool mm_hsm_key_destroy(const struct mm_module *module, const struct mm_hsm_key *key, struct mm_error *err)
{
    CK_RV rv = mm_module_functions(module)->C_DestroyObject(mm_module_session(module), mm_hsm_key_handle(key));
    if (rv != CKR_OK)
        return mm_module_fail(module, err, rv, "C_DestroyObject");
    destroy_public(module, mm_hsm_key_info(key));
    return true;
}
