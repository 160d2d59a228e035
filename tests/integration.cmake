# SPDX-License-Identifier: Apache-2.0
# Tests of the real programs: one ctest test a file, run by pytest with the packages of the system's own Python.
set(MM_PYTHON /usr/bin/python3 CACHE FILEPATH "The Python that has pytest, cryptography and PyJWT")

# mm_python_tests(label test_x.py ...): tests/<label>/test_x.py becomes the test <label>.x.
function(mm_python_tests label)
    foreach(file ${ARGN})
        string(REGEX REPLACE "^test_(.*)\\.py$" "\\1" name ${file})
        add_test(NAME ${label}.${name}
            COMMAND ${MM_PYTHON} -B -m pytest -q -p no:cacheprovider ${CMAKE_CURRENT_SOURCE_DIR}/${label}/${file})
        set_tests_properties(${label}.${name} PROPERTIES
            LABELS ${label} TIMEOUT 900 ENVIRONMENT "MM_BUILD=${CMAKE_BINARY_DIR}")
    endforeach()
endfunction()

mm_python_tests(integration
    test_algorithms.py test_bad_requests.py test_callers.py test_cli.py test_connections.py test_crash_and_drain.py
    test_issuance.py test_ledger.py test_public_documents.py test_reload.py test_secrets.py test_startup.py
    test_storage_faults.py test_worker_faults.py)
mm_python_tests(interop test_lore.py test_verifiers.py)
