/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzz target's main without libFuzzer: runs each file of the folders named, so that what was found once is tested for
 * ever, by any compiler.
 */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "util/file.h"

enum { INPUT_MAX = 1 << 20 };

static void replay_file(const char *path)
{
    struct mm_error err = {0};
    mm_cleanup(mm_buffer_clear) struct mm_buffer input = mm_buffer_make(INPUT_MAX);
    if (!mm_file_read(path, &input, &err)) {
        (void)fprintf(stderr, "%s\n", err.message);
        abort();
    }
    /* A copy of exactly its size, or reading past its end would go unseen. */
    mm_cleanup(free) uint8_t *exact = malloc(input.length ? input.length : 1);
    assert(exact);
    if (input.length)
        memcpy(exact, input.data, input.length);
    (void)fprintf(stderr, "%s\n", path); /* the last one shown is the one that failed */
    (void)LLVMFuzzerTestOneInput(exact, input.length);
}

static size_t replay_folder(const char *folder)
{
    size_t n = 0;
    DIR *entries = opendir(folder);
    for (const struct dirent *entry; entries && (entry = readdir(entries));) {
        char path[4096];
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        replay_file(path);
        n++;
    }
    if (entries)
        (void)closedir(entries);
    return n;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        size_t n = replay_folder(argv[i]);
        (void)fprintf(stderr, "%s: %zu inputs\n", argv[i], n);
        if (n == 0)
            return 1;
    }
    return argc > 1 ? 0 : 2;
}
