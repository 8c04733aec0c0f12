// SPDX-License-Identifier: GPL-2.0

/*
 * The orchestrator exports nothing to modules: all of its users are built in.
 * The test of modules needs these.
 */

#include <linux/export.h>
#include <linux/liveupdate.h>

EXPORT_SYMBOL_FOR_MODULES(liveupdate_register_file_handler, "luo_test_module");
EXPORT_SYMBOL_FOR_MODULES(liveupdate_unregister_file_handler, "luo_test_module");
