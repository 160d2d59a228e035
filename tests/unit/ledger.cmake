# SPDX-License-Identifier: Apache-2.0
mm_unit_test(chain LINK mm_ledger)
mm_unit_test(ledger LINK mm_ledger)
mm_unit_test(ledger_reader LINK mm_ledger)
