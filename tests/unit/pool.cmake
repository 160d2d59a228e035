# SPDX-License-Identifier: Apache-2.0
add_executable(fake_worker ${PROJECT_SOURCE_DIR}/tests/support/fake_worker.c)
target_link_libraries(fake_worker PRIVATE mm_flags mm_hsm_protocol mm_util PkgConfig::CRYPTO)
set_target_properties(fake_worker PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)

mm_unit_test(pool_queue LINK mm_hsm_pool)
mm_unit_test(latch LINK mm_hsm_pool)
foreach(part pool pool_faults pool_start)
    mm_unit_test(${part} SOURCES ${PROJECT_SOURCE_DIR}/tests/support/pool_fixture.c
        LINK mm_hsm_pool mm_token PkgConfig::CRYPTO)
    target_include_directories(test_${part} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
    target_compile_definitions(test_${part} PRIVATE FAKE_WORKER="$<TARGET_FILE:fake_worker>")
    add_dependencies(test_${part} fake_worker)
endforeach()
