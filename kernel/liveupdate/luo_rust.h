/* SPDX-License-Identifier: GPL-2.0 */

/* Functions of the Live Update Orchestrator in Rust that luo_init.c calls. */

#ifndef _LUO_RUST_H
#define _LUO_RUST_H

int luo_liveupdate_param(char *value);
int luo_restore_param(char *value);
int luo_early_init(void);
int luo_late_init(void);

#endif /* _LUO_RUST_H */
