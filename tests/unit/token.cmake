# SPDX-License-Identifier: Apache-2.0
mm_unit_test(jws SOURCES ${PROJECT_SOURCE_DIR}/tests/support/sign.c LINK mm_token)
mm_unit_test(jwks SOURCES ${PROJECT_SOURCE_DIR}/tests/support/sign.c LINK mm_token)
mm_unit_test(claims LINK mm_token)
