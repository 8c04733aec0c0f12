// SPDX-License-Identifier: GPL-2.0

/* Boot parameters and initcalls of the Live Update Orchestrator in Rust. */

#include <linux/init.h>

#include "luo_rust.h"

early_param("liveupdate", luo_liveupdate_param);
early_param("liveupdate_restore", luo_restore_param);
early_initcall(luo_early_init);
late_initcall(luo_late_init);
