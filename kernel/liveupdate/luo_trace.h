/* SPDX-License-Identifier: GPL-2.0 */

#undef TRACE_SYSTEM
#define TRACE_SYSTEM liveupdate
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE luo_trace
#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH ../../kernel/liveupdate

#if !defined(_LUO_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _LUO_TRACE_H

#include <linux/tracepoint.h>

/*
 * Each event has the result of an operation (0 or a negative error number) and
 * its duration in nanoseconds. Times are taken only while the event is enabled.
 */

/* Operations on a session, by its name. */
DECLARE_EVENT_CLASS(luo_session,
	TP_PROTO(const char *session, int error, u64 duration_ns),
	TP_ARGS(session, error, duration_ns),
	TP_STRUCT__entry(
		__string(session, session)
		__field(int, error)
		__field(u64, duration_ns)
	),
	TP_fast_assign(
		__assign_str(session);
		__entry->error = error;
		__entry->duration_ns = duration_ns;
	),
	TP_printk("session=%s error=%d duration_ns=%llu", __get_str(session),
		  __entry->error, __entry->duration_ns)
);

DEFINE_EVENT(luo_session, luo_create,
	TP_PROTO(const char *session, int error, u64 duration_ns),
	TP_ARGS(session, error, duration_ns));

DEFINE_EVENT(luo_session, luo_retrieve_session,
	TP_PROTO(const char *session, int error, u64 duration_ns),
	TP_ARGS(session, error, duration_ns));

DEFINE_EVENT(luo_session, luo_finish,
	TP_PROTO(const char *session, int error, u64 duration_ns),
	TP_ARGS(session, error, duration_ns));

/* Operations on a file of a session, by its token. */
DECLARE_EVENT_CLASS(luo_file,
	TP_PROTO(const char *session, u64 token, int error, u64 duration_ns),
	TP_ARGS(session, token, error, duration_ns),
	TP_STRUCT__entry(
		__string(session, session)
		__field(u64, token)
		__field(int, error)
		__field(u64, duration_ns)
	),
	TP_fast_assign(
		__assign_str(session);
		__entry->token = token;
		__entry->error = error;
		__entry->duration_ns = duration_ns;
	),
	TP_printk("session=%s token=%#llx error=%d duration_ns=%llu",
		  __get_str(session), __entry->token, __entry->error,
		  __entry->duration_ns)
);

DEFINE_EVENT(luo_file, luo_preserve,
	TP_PROTO(const char *session, u64 token, int error, u64 duration_ns),
	TP_ARGS(session, token, error, duration_ns));

DEFINE_EVENT(luo_file, luo_retrieve,
	TP_PROTO(const char *session, u64 token, int error, u64 duration_ns),
	TP_ARGS(session, token, error, duration_ns));

/* Operations on all sessions at once. */
DECLARE_EVENT_CLASS(luo_all,
	TP_PROTO(u64 sessions, int error, u64 duration_ns),
	TP_ARGS(sessions, error, duration_ns),
	TP_STRUCT__entry(
		__field(u64, sessions)
		__field(int, error)
		__field(u64, duration_ns)
	),
	TP_fast_assign(
		__entry->sessions = sessions;
		__entry->error = error;
		__entry->duration_ns = duration_ns;
	),
	TP_printk("sessions=%llu error=%d duration_ns=%llu",
		  __entry->sessions, __entry->error, __entry->duration_ns)
);

DEFINE_EVENT(luo_all, luo_freeze,
	TP_PROTO(u64 sessions, int error, u64 duration_ns),
	TP_ARGS(sessions, error, duration_ns));

DEFINE_EVENT(luo_all, luo_serialize,
	TP_PROTO(u64 sessions, int error, u64 duration_ns),
	TP_ARGS(sessions, error, duration_ns));

DEFINE_EVENT(luo_all, luo_deserialize,
	TP_PROTO(u64 sessions, int error, u64 duration_ns),
	TP_ARGS(sessions, error, duration_ns));

#endif /* _LUO_TRACE_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
