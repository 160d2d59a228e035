/* SPDX-License-Identifier: Apache-2.0 */
#include "util/origin.h"

#include <string.h>

#define LOWER  "abcdefghijklmnopqrstuvwxyz"
#define UPPER  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

enum { DNS_NAME_MAX = 253, DNS_LABEL_MAX = 63, PORT_DIGITS_MAX = 5 };

static const char HTTPS[] = "https://";
static const char HTTPS_PORT[] = ":443";

bool mm_is_dns_name(const char *string, size_t length)
{
    if (length == 0 || length > DNS_NAME_MAX)
        return false;
    for (size_t start = 0; start <= length;) {
        size_t label = 0;
        while (start + label < length && string[start + label] != '.')
            label++;
        if (label == 0 || label > DNS_LABEL_MAX || string[start] == '-' || string[start + label - 1] == '-' ||
            strspn(string + start, LOWER UPPER DIGITS "-") < label)
            return false;
        start += label + 1;
    }
    return true;
}

size_t mm_authority_length(const char *string)
{
    size_t host = strcspn(string, "/:?#@[]\\");
    if (string[0] == '[') {
        host = 1 + strspn(string + 1, "abcdef" DIGITS ":.");
        if (host < 3 || host >= DNS_NAME_MAX || string[host++] != ']')
            return 0;
    } else if (!mm_is_dns_name(string, host) || strspn(string, LOWER DIGITS ".-") < host) {
        return 0;
    }
    if (string[host] != ':')
        return host;
    size_t digits = strspn(string + host + 1, DIGITS);
    if (digits == 0 || digits > PORT_DIGITS_MAX || string[host + 1] == '0' ||
        strtol(string + host + 1, NULL, 10) > UINT16_MAX)
        return 0;
    return host + 1 + digits;
}

/* Without the port that goes without saying. */
static size_t spelled_length(const char *string, size_t length)
{
    size_t port = sizeof HTTPS_PORT - 1;
    return length > port && memcmp(string + length - port, HTTPS_PORT, port) == 0 ? length - port : length;
}

const char *mm_check_host(const char *string)
{
    size_t length = mm_authority_length(string);
    if (length == 0 || string[length])
        return "must be host[:port] in lower case, and no more";
    return spelled_length(string, length) < length ? "leaves the port 443 out" : NULL;
}

bool mm_url_host(const char *url, char ret_host[MM_HOST_MAX])
{
    const char *authority = url + sizeof HTTPS - 1;
    if (strnlen(url, MM_URL_MAX + 1) > MM_URL_MAX || strncmp(url, HTTPS, sizeof HTTPS - 1) != 0)
        return false;
    size_t length = mm_authority_length(authority);
    const char *rest = authority + length;
    if (length == 0 || (*rest && *rest != '/' && *rest != '?'))
        return false;
    for (const char *c = rest; *c; c++)
        if (*c <= ' ' || *c > '~' || *c == '\\' || *c == '#')
            return false;
    size_t spelled = spelled_length(authority, length);
    memcpy(ret_host, authority, spelled);
    ret_host[spelled] = '\0';
    return true;
}

const char *mm_check_url(const char *string)
{
    char host[MM_HOST_MAX];
    return mm_url_host(string, host) ? NULL
                                     : "must be a https URL, its host in lower case, without a user and a fragment";
}
