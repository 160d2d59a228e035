/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/removed.h"

#include "cli/output.h"

enum { SHOWN_MAX = 20 };

void mm_print_removed(const json_t *removed)
{
    size_t n = json_array_size(removed);
    if (n == 0)
        return;
    (void)fputs("Tokens of who is gone live on until they expire. To take them back, and get nobody of that name new "
                "ones:\n",
                stdout);
    for (size_t i = 0; i < n && i < SHOWN_MAX; i++) {
        const json_t *one = json_array_get(removed, i);
        (void)fputs("  mintmark revoke --", stdout);
        mm_print_value(stdout, json_object_get(one, "what"));
        (void)fputc(' ', stdout);
        mm_print_value(stdout, json_object_get(one, "name"));
        (void)fputs(" --reason …\n", stdout);
    }
    if (n > SHOWN_MAX)
        (void)printf("  … and %zu more\n", n - SHOWN_MAX);
}
