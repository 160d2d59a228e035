/* SPDX-License-Identifier: Apache-2.0 */
#include "config/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

static bool parse_port(const char *digits, uint16_t *ret_port)
{
    size_t length = strlen(digits);
    if (length == 0 || length > 5 || strspn(digits, "0123456789") != length || (digits[0] == '0' && length > 1))
        return false;
    unsigned long port = strtoul(digits, NULL, 10);
    if (port > UINT16_MAX)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

bool mm_listen_address_parse(const char *string, char *host, uint16_t *ret_port)
{
    bool is_ipv6 = string[0] == '[';
    const char *start = string + is_ipv6;
    const char *end = strstr(start, is_ipv6 ? "]:" : ":");
    if (!end || end - start >= MM_ADDRESS_MAX)
        return false;
    size_t length = (size_t)(end - start);
    char text[MM_ADDRESS_MAX];
    memcpy(text, start, length);
    text[length] = '\0';
    uint8_t binary[sizeof(struct in6_addr)];
    uint16_t port;
    if (inet_pton(is_ipv6 ? AF_INET6 : AF_INET, text, binary) != 1 || !parse_port(end + (is_ipv6 ? 2 : 1), &port))
        return false;
    memcpy(host, text, length + 1);
    *ret_port = port;
    return true;
}

bool mm_address_is_loopback(const char *host)
{
    struct in_addr in;
    struct in6_addr in6;
    if (inet_pton(AF_INET, host, &in) == 1)
        return (ntohl(in.s_addr) >> 24) == IN_LOOPBACKNET;
    return inet_pton(AF_INET6, host, &in6) == 1 && IN6_IS_ADDR_LOOPBACK(&in6);
}

const char *mm_check_listen_address(const char *string)
{
    char host[MM_ADDRESS_MAX];
    uint16_t port;
    if (!mm_listen_address_parse(string, host, &port))
        return "must be a numeric address and a port, such as 0.0.0.0:8443 or [::]:8443";
    return NULL;
}
