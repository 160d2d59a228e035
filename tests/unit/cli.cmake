# SPDX-License-Identifier: Apache-2.0
mm_unit_test(client LINK mm_client)
target_compile_definitions(test_client PRIVATE MM_TEST_SUPPORT="${PROJECT_SOURCE_DIR}/tests/support")

mm_unit_test(cli_judge LINK mm_cli)
mm_unit_test(cli_options LINK mm_cli)
mm_unit_test(cli_output LINK mm_cli)
mm_unit_test(cli_pin LINK mm_cli)
