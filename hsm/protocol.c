/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/protocol.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

enum { VERSION = 2 };

/* How a packet begins; `length` bytes of data follow and nothing else. */
struct packet_header {
    uint8_t version;
    uint8_t kind;
    uint16_t sentence;
    uint32_t code;
    uint64_t id;
    int64_t deadline_ns;
    uint32_t length;
    uint32_t zero;
};

_Static_assert(sizeof(struct packet_header) == 32, "the header has no padding");

/* What a worker may say of a signature: nothing that would tell a caller something about its own request. */
static bool is_signing_code(enum mm_code code)
{
    return code == MM_OK || code == MM_SENTENCE_REFUSED || code == MM_DEADLINE_EXCEEDED || code == MM_OVERLOADED ||
           code == MM_HSM_UNAVAILABLE;
}

/* What each kind of message may carry; all else must be zero. */
static bool is_valid(const struct mm_message *message)
{
    bool is_failure = message->code != MM_OK;
    bool has_sentence = message->sentence != 0;
    switch (message->kind) {
    case MM_MESSAGE_START:
        return !is_failure && !has_sentence && !message->id && !message->deadline_ns && message->length;
    case MM_MESSAGE_READY:
        return !has_sentence && !message->id && !message->deadline_ns && message->length &&
               (!is_failure || message->length < MM_ERROR_MESSAGE_MAX);
    case MM_MESSAGE_SIGN:
        return !is_failure && message->length && message->length <= MM_PAYLOAD_MAX;
    case MM_MESSAGE_SIGNED:
        return !has_sentence && !message->deadline_ns && is_signing_code(message->code) && message->length &&
               message->length <= (is_failure ? (size_t)MM_ERROR_MESSAGE_MAX - 1 : (size_t)MM_SIGNATURE_MAX);
    case MM_MESSAGE_LOGGED_IN:
        return !is_failure && !has_sentence && !message->id && !message->deadline_ns && !message->length;
    }
    return false;
}

bool mm_message_encode(const struct mm_message *message, uint8_t *packet, size_t *ret_length, struct mm_error *err)
{
    if (message->length > MM_PACKET_MAX - sizeof(struct packet_header) ||
        (message->kind == MM_MESSAGE_SIGN && message->length > MM_PAYLOAD_MAX))
        return mm_fail(err, MM_BODY_TOO_LARGE, "%zu bytes don't fit into a packet", message->length);
    if (!is_valid(message) || message->sentence > UINT16_MAX || !mm_code_is_known((int)message->code))
        return mm_fail(err, MM_INTERNAL, "a message of kind %d can't hold that", (int)message->kind);
    struct packet_header header = {
        .version = VERSION,
        .kind = (uint8_t)message->kind,
        .sentence = (uint16_t)message->sentence,
        .code = (uint32_t)message->code,
        .id = message->id,
        .deadline_ns = message->deadline_ns,
        .length = (uint32_t)message->length,
    };
    memcpy(packet, &header, sizeof header);
    if (message->length > 0)
        memcpy(packet + sizeof header, message->data, message->length);
    *ret_length = sizeof header + message->length;
    return true;
}

bool mm_message_decode(const uint8_t *packet, size_t length, struct mm_message *ret_message, struct mm_error *err)
{
    struct packet_header header;
    if (length < sizeof header || length > MM_PACKET_MAX)
        return mm_fail(err, MM_INTERNAL, "a packet of %zu bytes", length);
    memcpy(&header, packet, sizeof header);
    if (header.version != VERSION || header.zero || header.length != length - sizeof header ||
        header.code > INT32_MAX || !mm_code_is_known((int)header.code))
        return mm_fail(err, MM_INTERNAL, "a packet with a malformed header");
    struct mm_message message = {
        .kind = (enum mm_message_kind)header.kind,
        .id = header.id,
        .sentence = (enum mm_sentence)header.sentence,
        .code = (enum mm_code)header.code,
        .deadline_ns = header.deadline_ns,
        .data = packet + sizeof header,
        .length = header.length,
    };
    if (!is_valid(&message))
        return mm_fail(err, MM_INTERNAL, "a packet that no message of kind %d has", (int)message.kind);
    *ret_message = message;
    return true;
}

enum mm_received mm_messages_receive(int fd, uint8_t *packets, size_t size, size_t most, struct mm_messages *ret,
                                     struct mm_error *err)
{
    struct iovec buffers[MM_MESSAGES_MAX];
    struct mmsghdr headers[MM_MESSAGES_MAX] = {0};
    for (size_t i = 0; i < most; i++) {
        buffers[i] = (struct iovec){.iov_base = packets + i * size, .iov_len = size};
        headers[i].msg_hdr = (struct msghdr){.msg_iov = &buffers[i], .msg_iovlen = 1};
    }
    ret->n = 0;
    int n;
    do
        n = recvmmsg(fd, headers, (unsigned)most, MSG_WAITFORONE, NULL);
    while (n < 0 && errno == EINTR);
    for (int i = 0; i < n; i++) {
        if (headers[i].msg_len == 0)
            return MM_RECEIVED_HUNG_UP;
        if (headers[i].msg_hdr.msg_flags & MSG_TRUNC) {
            (void)mm_fail(err, MM_INTERNAL, "a packet of more than %zu bytes", size);
            return MM_RECEIVED_GARBAGE;
        }
        if (!mm_message_decode(buffers[i].iov_base, headers[i].msg_len, &ret->items[ret->n], err))
            return MM_RECEIVED_GARBAGE;
        ret->n++;
    }
    return n > 0 ? MM_RECEIVED : MM_RECEIVED_HUNG_UP;
}

void mm_probe_input(const uint8_t nonce[MM_PROBE_NONCE], uint8_t input[MM_PROBE_INPUT])
{
    static const char PREFIX[] = "\0mintmark-hsm probe"; /* its final NUL isn't part of it */
    _Static_assert(sizeof PREFIX - 1 + MM_PROBE_NONCE == MM_PROBE_INPUT, "prefix and nonce");
    memcpy(input, PREFIX, sizeof PREFIX - 1);
    memcpy(input + sizeof PREFIX - 1, nonce, MM_PROBE_NONCE);
}
