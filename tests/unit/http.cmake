# SPDX-License-Identifier: Apache-2.0
mm_unit_test(guard LINK mm_http)
mm_unit_test(admission LINK mm_http)
mm_unit_test(watchdog LINK mm_http)
mm_unit_test(reply LINK mm_http)
mm_unit_test(token_request LINK mm_http)

# The server as a whole, over a stand-in for what issues tokens.
set(http_support
    ${PROJECT_SOURCE_DIR}/tests/support/fake_mint.c
    ${PROJECT_SOURCE_DIR}/tests/support/make_certificate.c
    ${PROJECT_SOURCE_DIR}/tests/support/tls_client.c)
foreach(name routes server http_requests http_documents)
    mm_unit_test(${name} SOURCES ${http_support} LINK mm_http)
    target_include_directories(test_${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests/support)
endforeach()
