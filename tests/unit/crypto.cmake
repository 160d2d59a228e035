# SPDX-License-Identifier: Apache-2.0
mm_unit_test(digest LINK mm_crypto)
mm_unit_test(pubkey SOURCES ${PROJECT_SOURCE_DIR}/tests/support/sign.c LINK mm_crypto)
mm_unit_test(certificate SOURCES ${PROJECT_SOURCE_DIR}/tests/support/make_certificate.c LINK mm_crypto)
