# SPDX-License-Identifier: Apache-2.0
mm_unit_test(config SOURCES ${PROJECT_SOURCE_DIR}/tests/support/make_certificate.c LINK mm_config)
