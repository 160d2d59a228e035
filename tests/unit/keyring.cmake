# SPDX-License-Identifier: Apache-2.0
mm_unit_test(keyring LINK mm_keyring)
