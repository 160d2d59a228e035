/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every fuzz target has: one function that takes whatever outsiders could send and asserts what must hold of the
 * result. libFuzzer calls it with clang (scripts/fuzz); replay.c calls it with the corpus in every other build.
 */
#ifndef MM_TESTS_FUZZ_H
#define MM_TESTS_FUZZ_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
