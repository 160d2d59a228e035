/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is wrong with a set of files or a request body: every problem found, each with file, line and reason, up to a cap.
 */
#ifndef MM_UTIL_PROBLEMS_H
#define MM_UTIL_PROBLEMS_H

#include "util/base.h"

enum { MM_PROBLEMS_MAX = 200 };

struct mm_problem {
    char *file; /* NULL for a request body */
    int line;   /* 1-based; 0 if the problem has none */
    char *path; /* RFC 6901 pointer to the offending value; "" for the whole document */
    char *reason;
    enum { MM_PROBLEM_ERROR, MM_PROBLEM_WARNING } severity;
};

struct mm_problems {
    struct mm_problem *items;
    size_t n;
    size_t n_errors;       /* counts the dropped ones too */
    bool is_out_of_memory; /* something couldn't be checked or told for want of it */
};

/* Add one; the strings are copied. Past the cap only n_errors grows. */
void mm_problems_add(struct mm_problems *problems, const char *file, int line, const char *path, const char *format,
                     ...) __attribute__((format(printf, 5, 6)));
void mm_problems_warn(struct mm_problems *problems, const char *file, int line, const char *path, const char *format,
                      ...) __attribute__((format(printf, 5, 6)));

/* `file:line: reason` of the i-th, into `out`. Returns out. */
const char *mm_problem_format(const struct mm_problem *problem, char *out, size_t size);

void mm_problems_clear(struct mm_problems *problems);
static inline void mm_problems_clear_cleanup(struct mm_problems *problems)
{
    mm_problems_clear(problems);
}

#endif
