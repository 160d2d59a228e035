# SPDX-License-Identifier: Apache-2.0
foreach(module base64url buffer clock error file json secret)
    mm_unit_test(${module} LINK mm_util)
endforeach()
