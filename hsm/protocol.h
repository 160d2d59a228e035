/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What mintmarkd and a worker say to each other over a SOCK_SEQPACKET socketpair: one packet, one message. Both sides treat
 * the other's packets as outside input: every field is bounded, anything unexpected ends the connection.
 *
 *     mintmarkd -> worker   START  once, first: the key to load, as JSON
 *     worker -> mintmarkd   LOGGED_IN  of one that generates a key: its login is over, what takes time now is the key
 *     worker -> mintmarkd   READY  the key's protected headers, or why the worker can't serve (then it exits)
 *     mintmarkd -> worker   SIGN   a sentence to sign
 *     worker -> mintmarkd   SIGNED its signature, or why not
 *
 * Integers are in host byte order: both ends are one machine and one build.
 */
#ifndef MM_HSM_PROTOCOL_H
#define MM_HSM_PROTOCOL_H

#include "crypto/algorithm.h"
#include "util/base.h"
#include "util/json.h"

enum {
    MM_PACKET_MAX = 32768,
    MM_PAYLOAD_MAX = 16384,
    MM_HEADER_MAX = 512,
    MM_MESSAGES_MAX = 16, /* received in one go */
    MM_WORKER_FD = 3,     /* the worker's end of the socketpair */
    MM_PROBE_NONCE = 32,
    MM_PROBE_INPUT = 19 + MM_PROBE_NONCE,
};

/* What a worker can be asked to sign. Each has its own checks (sentence.h), and those that leave as a JWS their own `typ`. */
enum mm_sentence {
    MM_SENTENCE_ACCESS_TOKEN = 1,
    MM_SENTENCE_PROBE, /* MM_PROBE_NONCE bytes: does the HSM still sign? */
};

enum mm_message_kind {
    MM_MESSAGE_START = 1,
    MM_MESSAGE_READY,
    MM_MESSAGE_SIGN,
    MM_MESSAGE_SIGNED,
    MM_MESSAGE_LOGGED_IN, /* says nothing more */
};

/* A message as taken from a packet; `data` points into the packet. */
struct mm_message {
    enum mm_message_kind kind;
    uint64_t id;               /* SIGN, SIGNED: which request */
    enum mm_sentence sentence; /* SIGN */
    enum mm_code code;         /* READY, SIGNED: MM_OK, or what went wrong */
    int64_t deadline_ns; /* SIGN: not to be signed any more from then on; CLOCK_MONOTONIC, which both sides share */
    const uint8_t
        *data; /* START, READY: JSON; SIGN: payload; SIGNED: signature, or a reason as text; LOGGED_IN: none */
    size_t length;
};

/*
 * Write `message` as a packet into `packet` of MM_PACKET_MAX bytes. MM_BODY_TOO_LARGE if it doesn't fit; MM_INTERNAL for fields that
 * its kind doesn't have (they must be zero), for no data where there must be some, or for a reason of MM_ERROR_MESSAGE_MAX bytes or more.
 */
MM_MUST_USE bool mm_message_encode(const struct mm_message *message, uint8_t *packet, size_t *ret_length,
                                   struct mm_error *err);

/* Take a packet apart; MM_INTERNAL for anything that mm_message_encode() wouldn't have written. */
MM_MUST_USE bool mm_message_decode(const uint8_t *packet, size_t length, struct mm_message *ret_message,
                                   struct mm_error *err);

/* What the other side has said in one go; the messages point into the packets they came in. */
struct mm_messages {
    size_t n;
    struct mm_message items[MM_MESSAGES_MAX];
};

enum mm_received { MM_RECEIVED, MM_RECEIVED_HUNG_UP, MM_RECEIVED_GARBAGE };

/*
 * Wait for a packet and take up to `most` that are there, one into each `size` bytes of `packets`. What came before the end of the
 * input, or before a packet that makes no sense or doesn't fit (`err` says why), is in `ret` all the same.
 */
MM_MUST_USE enum mm_received mm_messages_receive(int fd, uint8_t *packets, size_t size, size_t most,
                                                 struct mm_messages *ret, struct mm_error *err);

/* What is signed for a probe: the nonce after bytes that can't be taken for a JWS, since they start with a NUL. */
void mm_probe_input(const uint8_t nonce[MM_PROBE_NONCE], uint8_t input[MM_PROBE_INPUT]);

/*
 * START's JSON: {"kid","alg","id" (CKA_ID, hex),"label","jwk","config"}: the key to use, and mm_config_worker_digest() of
 * what mintmarkd read in mintmark.yaml when it started, for the worker to compare with what it reads there itself.
 *
 * Or {"purpose": "generate", "alg", "config"}: to generate a key for that algorithm, say LOGGED_IN, then READY, and end. One that can't
 * log in says READY alone, with the reason.
 *
 * READY's JSON: {"kid", "signing": "engine"|"direct", "threads": ‹how many it signs at once, by the sessions it got›,
 * "headers": {"access_token": ‹protected header, base64url›}}; of a key that was generated {"kid", "id", "label", "jwk"}. On failure the data is a
 * reason as text.
 */

#endif
