/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options that name an attestation's files, and what a verb says of an attestation that verified.
 */
#ifndef MM_CLI_ATTESTATION_H
#define MM_CLI_ATTESTATION_H

#include "cli/options.h"
#include "crypto/attestation.h"
#include "keyring/attested.h"

/* As given; NULL: not given. */
struct mm_cli_attestation_options {
    const char *statement;   /* --attestation */
    const char *ca;          /* --attestation-ca */
    const char *key;         /* --attestation-key */
    const char *signature;   /* --attestation-signature */
    const char *public_area; /* --attestation-public */
    const char *nonce;       /* --attestation-nonce: hex */
    enum { MM_CLI_ATTESTATION_KEEP, MM_CLI_ATTESTATION_VERIFY_ONLY } fate;
};

enum {
    MM_OPTION_ATTESTATION = 2048,
    MM_OPTION_ATTESTATION_CA,
    MM_OPTION_ATTESTATION_KEY,
    MM_OPTION_ATTESTATION_SIGNATURE,
    MM_OPTION_ATTESTATION_PUBLIC,
    MM_OPTION_ATTESTATION_NONCE,
    MM_OPTION_VERIFY_ONLY,
};

#define MM_ATTESTATION_OPTIONS \
    {"attestation", required_argument, NULL, MM_OPTION_ATTESTATION}, \
        {"attestation-ca", required_argument, NULL, MM_OPTION_ATTESTATION_CA}, \
        {"attestation-key", required_argument, NULL, MM_OPTION_ATTESTATION_KEY}, \
        {"attestation-signature", required_argument, NULL, MM_OPTION_ATTESTATION_SIGNATURE}, \
        {"attestation-public", required_argument, NULL, MM_OPTION_ATTESTATION_PUBLIC}, \
        {"attestation-nonce", required_argument, NULL, MM_OPTION_ATTESTATION_NONCE}, \
    { \
        "verify-only", no_argument, NULL, MM_OPTION_VERIFY_ONLY \
    }

#define MM_ATTESTATION_HELP \
    "  --attestation FILE     the device's attestation of the key: for a YubiHSM 2 a PEM file, the key's certificate " \
    "first, then\n" \
    "                         the device's and Yubico's; for a TPM 2.0 the TPMS_ATTEST that TPM2_Certify made\n" \
    "  --attestation-ca FILE  YubiHSM 2: the CA certificates that you believe (PEM)\n" \
    "  --attestation-key FILE       TPM 2.0: the attestation key that you believe (TPM2B_PUBLIC, or PEM)\n" \
    "  --attestation-signature FILE TPM 2.0: its signature (TPMT_SIGNATURE)\n" \
    "  --attestation-public FILE    TPM 2.0: the key's public area (TPM2B_PUBLIC)\n" \
    "  --attestation-nonce HEX      TPM 2.0: the qualifying data that it must have been made with\n" \
    "  --verify-only          don't have the service keep it\n"

/* Take one of these options (its argument is in optarg); false if it is another. */
MM_MUST_USE bool mm_cli_attestation_take_option(struct mm_cli_attestation_options *options, int option);

/* Whether there is an attestation. MM_USAGE for options that don't make one kind whole. */
MM_MUST_USE bool mm_cli_attestation_is_given(const struct mm_cli_attestation_options *options, bool *ret_is_given,
                                             struct mm_error *err);

/*
 * Read the files. MM_FILE, also for one that is too large; MM_ATTESTATION_INVALID for an empty one; MM_USAGE for a
 * nonce that isn't hex.
 */
MM_MUST_USE bool mm_cli_attestation_read(const struct mm_cli_attestation_options *options,
                                         struct mm_attestation *ret_attestation, struct mm_error *err);

/*
 * What `key evidence` says of it: the fields of mm_attested_entry() or of such an entry in the ledger. NULL:
 * MM_NO_MEMORY. `why` says why an entry doesn't verify any more; all zero: it does.
 */
MM_MUST_USE json_t *mm_cli_attestation_describe(const json_t *fields, const struct mm_error *why, struct mm_error *err);

#endif
