/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where jansson's memory comes from, for json.c alone. jansson doesn't always notice that it got none: its json_dumps() leaves
 * characters out, its json_pack() and json_object_update_recursive() members, and its parser runs past the end of a string whose
 * closing quote it could not keep. So failures are counted, that what was made meanwhile isn't believed; and while the parser
 * runs none reaches it: a reserve stands in.
 */
#ifndef MM_UTIL_JSON_MEMORY_H
#define MM_UTIL_JSON_MEMORY_H

/* How many of jansson's allocations have failed on this thread. The first call of a process puts this module in place. */
unsigned long mm_json_memory_failures(void);

/*
 * Around the parser, on one thread. An allocation that fails in between is counted, but the parser gets memory of the reserve
 * (which goes back as its values are freed). Once the reserve is used up, too, the process is aborted: nothing else is safe.
 */
void mm_json_memory_guard(void);
void mm_json_memory_unguard(void);

#endif
