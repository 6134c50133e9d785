/*
 * TwillDB's C ABI. A program that was built against one ENGINE_ABI_VERSION runs with every library
 * that answers the same engine_abi_version().
 *
 * Threads: every function may be called from any thread at any time. A handle is one connection, and
 * runs one call at a time: a call that finds it running another one is refused with an error answer.
 * For concurrency, open one handle for each thread; handles of the same URL share one database.
 *
 * Misuse (NULL, invalid UTF-8, a handle that was closed or never opened) is an error answer, never a
 * crash. A panic inside the library never crosses into C. A handle belongs to the process that opened
 * it: in a child made by fork() it is refused. The library stays loaded until the process ends.
 */

#ifndef TWILL_ENGINE_H
#define TWILL_ENGINE_H

/* Made by cbindgen from bindings/c/src/lib.rs: change it there. */

#include <stdint.h>

/*
 The version of this header's functions and of the JSON they answer. It grows only when a program
 that was built against an older one could break.
 */
#define ENGINE_ABI_VERSION 1

/*
 One connection to a database, or 0 for none. It is not an address: a number that was never returned
 by engine_open, or whose handle was closed, is recognised and refused. Numbers are not used again.
 It fits a double without loss, so a JavaScript number can hold it.
 */
typedef uintptr_t engine_handle;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 Opens a database and connects to it.

 `url` is UTF-8: `file:///abs/app.db`, `file://./app.db`, a bare path, `:memory:`, `memory://name`, with
 parameters such as `?mode=ro|rw|rwc&synchronous=full|normal|off`.

 Returns a handle for engine_close, or 0: then engine_last_error(0), on the same thread, says why.

 # Safety
 `url` is NULL or points to a NUL-terminated string.
 */
engine_handle engine_open(const char *url);

/*
 Runs SQL: one statement, or several separated by semicolons, of which the last one's result is answered
 and the first error stops the rest. BEGIN ... COMMIT may span calls.

 Returns JSON, never NULL; docs/format/json.md describes it:

     {"columns":["n"],"types":["INTEGER"],"rows":[[1]],"changes":0,"last_insert_rowid":0}
     {"error":{"code":1,"extended_code":1,"message":"no such table: t"}}

 The text belongs to the library. It stays readable until the next engine_query or engine_close on this
 handle; and, whatever other threads do, until the calling thread's own next engine_query or engine_close
 if that is later. An answer about a handle that is not open, or is running another call, belongs to the
 calling thread alone.

 # Safety
 `sql` is NULL or points to a NUL-terminated string.
 */
const char *engine_query(engine_handle handle,
                         const char *sql);

/*
 Closes a handle and frees its answer. An open transaction is rolled back.

 If another thread is inside a call on this handle, that call is interrupted and awaited: it returns an
 error, or its result if it was already past interrupting, which stays readable for that thread. 0 and a
 handle that is not open are ignored. What closing itself could not do, and what was ignored, is told by
 engine_last_error(0).
 */
void engine_close(engine_handle handle);

/*
 The message of the last call on this handle if it failed, else NULL. With 0: the message of this thread's
 last engine_open or engine_close, or of its last call that was refused because the handle was not open or
 was running another call, if that failed, else NULL.

 For a handle that is not open, or is running another thread's call, the text says so.

 The text stays readable until the calling thread's next engine_last_error.
 */
const char *engine_last_error(engine_handle handle);

/*
 The library's version, such as `0.1.0`. The text is static.
 */
const char *engine_version(void);

/*
 ENGINE_ABI_VERSION as the library was built with it: compare it with the header's.
 */
uint32_t engine_abi_version(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TWILL_ENGINE_H */
