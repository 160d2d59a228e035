/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loses memory, so that a test can see that leaks are still reported where all the other tests run.
 */
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    for (int i = 0; i < 16; i++)
        (void)printf("%p\n", malloc(1000)); /* more than one, should a register remember the last */
    return 0;
}
