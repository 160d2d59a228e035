# SPDX-License-Identifier: Apache-2.0
mm_unit_test(protocol LINK mm_hsm_protocol)
mm_unit_test(sentence LINK mm_hsm_module)

mm_unit_test(module SOURCES ${PROJECT_SOURCE_DIR}/tests/support/softhsm.c LINK mm_hsm_module)
target_include_directories(test_module PRIVATE ${P11KIT_INCLUDE_DIRS})

mm_unit_test(worker SOURCES ${PROJECT_SOURCE_DIR}/tests/support/softhsm.c LINK mm_hsm_module)
target_compile_definitions(test_worker PRIVATE MM_WORKER_PROGRAM="$<TARGET_FILE:mintmark-hsm>")
add_dependencies(test_worker mintmark-hsm)

# Each test has an HSM token made for it; sanitizers and a busy machine make that slow.
set_tests_properties(unit.module unit.worker PROPERTIES TIMEOUT 300)
