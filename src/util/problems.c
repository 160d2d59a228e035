/* SPDX-License-Identifier: Apache-2.0 */
#include "util/problems.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { REASON_MAX = 512 };

/* Reasons quote keys and values from the outside; what reaches a terminal or a log must not steer it. */
static void make_printable(char *text)
{
    size_t length = strlen(text);
    if (length > REASON_MAX) {
        length = REASON_MAX;
        while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
            length--;
        text[length] = '\0';
    }
    for (unsigned char *c = (unsigned char *)text; *c; c++) {
        if (*c < 0x20 || *c == 0x7f)
            *c = '?';
        if (c[0] == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f) /* U+0080 to U+009F: control characters too */
            c[0] = c[1] = '?';
    }
}

static void clear_problem(struct mm_problem *problem)
{
    free(problem->file);
    free(problem->path);
    free(problem->reason);
    *problem = (struct mm_problem){0};
}

__attribute__((format(printf, 4, 0))) static bool fill(struct mm_problem *problem, const char *file, const char *path,
                                                       const char *format, va_list args)
{
    if (vasprintf(&problem->reason, format, args) < 0) {
        problem->reason = NULL;
        return false;
    }
    make_printable(problem->reason);
    problem->path = strdup(path);
    problem->file = file ? strdup(file) : NULL;
    return problem->path && (problem->file || !file);
}

__attribute__((format(printf, 5, 0))) static void append(struct mm_problems *problems, struct mm_problem problem,
                                                         const char *file, const char *path, const char *format,
                                                         va_list args)
{
    if (problems->n >= MM_PROBLEMS_MAX)
        return;
    if (!problems->items)
        problems->items = calloc(MM_PROBLEMS_MAX, sizeof *problems->items);
    if (problems->items && fill(&problem, file, path, format, args)) {
        problems->items[problems->n++] = problem;
    } else {
        problems->is_out_of_memory = true;
        clear_problem(&problem);
    }
}

void mm_problems_add(struct mm_problems *problems, const char *file, int line, const char *path, const char *format,
                     ...)
{
    /* Counted first: a problem that there is no memory to describe is still a problem. */
    problems->n_errors++;
    va_list args;
    va_start(args, format);
    append(problems, (struct mm_problem){.line = line, .severity = MM_PROBLEM_ERROR}, file, path, format, args);
    va_end(args);
}

void mm_problems_warn(struct mm_problems *problems, const char *file, int line, const char *path, const char *format,
                      ...)
{
    va_list args;
    va_start(args, format);
    append(problems, (struct mm_problem){.line = line, .severity = MM_PROBLEM_WARNING}, file, path, format, args);
    va_end(args);
}

const char *mm_problem_format(const struct mm_problem *problem, char *out, size_t size)
{
    const char *warning = problem->severity == MM_PROBLEM_WARNING ? "warning: " : "";
    const char *where = problem->file ? problem->file : problem->path;
    if (problem->file && problem->line > 0)
        (void)snprintf(out, size, "%s:%d: %s%s", where, problem->line, warning, problem->reason);
    else
        (void)snprintf(out, size, "%s%s%s%s", where, where[0] ? ": " : "", warning, problem->reason);
    return out;
}

void mm_problems_clear(struct mm_problems *problems)
{
    for (size_t i = 0; i < problems->n; i++)
        clear_problem(&problems->items[i]);
    free(problems->items);
    *problems = (struct mm_problems){0};
}
