/*
 * TwillDB's C ABI. A program that was built against one ENGINE_ABI_VERSION runs with every library
 * that answers the same engine_abi_version().
 *
 * Threads: every function may be called from any thread at any time. A handle is one connection, and
 * runs one call at a time: a call that finds it running another one is refused with an error answer.
 * For concurrency, open one handle for each thread; handles of the same URL share one database.
 *
 * Functions that return int32_t answer ENGINE_OK, ENGINE_ROW or ENGINE_DONE (or ENGINE_PENDING) or an
 * error code: SQLite's extended result code, of which the low byte is the primary one. Those that return
 * a handle or pointer answer 0 or NULL on failure. engine_failure_of then tells why.
 *
 * Misuse (NULL, invalid UTF-8, a handle that was closed or never opened) is an error answer, never a
 * crash. A panic inside the library never crosses into C. A handle belongs to the process that opened
 * it: in a child made by fork() it is refused. The library stays loaded until the process ends.
 */

#ifndef TWILL_ENGINE_H
#define TWILL_ENGINE_H

/* Made by cbindgen from the doc comments of bindings/c/src: change it there. */

#include <stdint.h>

/*
 The version of this header's functions and of the JSON they answer. It grows only when a program
 that was built against an older one could break.
 */
#define ENGINE_ABI_VERSION 1

/*
 Success.
 */
#define ENGINE_OK 0

/*
 A row is ready, or more rows follow.
 */
#define ENGINE_ROW 100

/*
 The statement is done: there are no more rows, and what it wrote outside a transaction is durable.
 */
#define ENGINE_DONE 101

/*
 The request is not complete yet. Not an error.
 */
#define ENGINE_PENDING 102

/*
 SQLITE_MISUSE: a rule of this header was broken: a handle that is not open, of another kind, or in use by another
 thread; NULL; a bad block. Every other code is SQLite's extended result code.
 */
#define ENGINE_MISUSE 21

/*
 A call that would wait for asynchronous work was made instead of a request: a request of this connection is in
 flight, or a transaction that requests began is open on it; or a transaction that this thread's requests began, on
 another connection, holds the writer slot that the call needs. Waiting could be for ever, so nothing is waited
 for. The primary code is SQLITE_MISUSE.
 */
#define ENGINE_BUSY_ASYNC 277

/*
 engine_open_with: read only; the database must exist.
 */
#define ENGINE_OPEN_READONLY 1

/*
 engine_open_with: read and write; the database must exist.
 */
#define ENGINE_OPEN_READWRITE 2

/*
 engine_open_with: with ENGINE_OPEN_READWRITE, create the database if it does not exist.
 */
#define ENGINE_OPEN_CREATE 4

/*
 engine_open_with, engine_async_open and engine_deserialize: close the handle when the calling thread ends, if it is
 still open then.
 */
#define ENGINE_OPEN_THREAD 8

/*
 The types of a cell, in the low four bits of its tag; the numbers are SQLite's.
 */
#define ENGINE_INTEGER 1

/*
 See ENGINE_INTEGER.
 */
#define ENGINE_REAL 2

/*
 See ENGINE_INTEGER. In a parameter's cell: text inside the block.
 */
#define ENGINE_TEXT 3

/*
 See ENGINE_INTEGER. In a parameter's cell: bytes inside the block.
 */
#define ENGINE_BLOB 4

/*
 See ENGINE_INTEGER.
 */
#define ENGINE_NULL 5

/*
 The tag of an INTEGER from -(2^53 - 1) to 2^53 - 1, whose payload is that number as a double.
 */
#define ENGINE_INTEGER_AS_DOUBLE 17

/*
 The tag of a TEXT of ASCII characters only.
 */
#define ENGINE_TEXT_ASCII 19

/*
 In a parameter's cell: text elsewhere, the payload is its address.
 */
#define ENGINE_TEXT_AT 35

/*
 In a parameter's cell: bytes elsewhere, the payload is their address.
 */
#define ENGINE_BLOB_AT 36

/*
 engine_execute: after the batch reset the statement, also if rows remain.
 */
#define ENGINE_EXECUTE_RESET 1

/*
 engine_execute: run to the end, drop the rows, tell the counts alone.
 */
#define ENGINE_EXECUTE_DISCARD 2

/*
 engine_execute: the batch's first row is the columns' names.
 */
#define ENGINE_EXECUTE_NAMES 4

/*
 Bytes of a batch's header.
 */
#define ENGINE_BATCH_HEADER 88

/*
 A batch's flag: rows remain; engine_next gives them.
 */
#define ENGINE_BATCH_MORE 1

/*
 A batch's flag: every byte of the heap is ASCII.
 */
#define ENGINE_BATCH_ASCII 2

/*
 A batch's flag: some INTEGER is beyond 2^53 - 1, so tagged ENGINE_INTEGER.
 */
#define ENGINE_BATCH_WIDE 4

/*
 A batch's flag: only the header is here; the batch is at the header's address.
 */
#define ENGINE_BATCH_ELSEWHERE 8

/*
 A batch's flag: the first row is the columns' names.
 */
#define ENGINE_BATCH_NAMES 16

/*
 A batch's flag: a transaction is open on the connection.
 */
#define ENGINE_BATCH_IN_TRANSACTION 32

/*
 A user function or hook: the same arguments always give the same result.
 */
#define ENGINE_FUNCTION_DETERMINISTIC 1

/*
 A user function: not from views, triggers, CHECK constraints, indexes and generated columns.
 */
#define ENGINE_FUNCTION_DIRECTONLY 2

/*
 A user function: it has no side effects and tells nothing but its arguments.
 */
#define ENGINE_FUNCTION_INNOCUOUS 4

/*
 A user function or hook: any thread may call it, so it also works in asynchronous requests. Without this flag
 only the thread that registered it may.
 */
#define ENGINE_ANY_THREAD 8

/*
 engine_statement_property: how many parameters there are.
 */
#define ENGINE_PARAMETERS 1

/*
 engine_statement_property: how many columns there are.
 */
#define ENGINE_COLUMNS 2

/*
 engine_statement_property: 1 if it surely writes nothing to a database.
 */
#define ENGINE_READONLY 3

/*
 engine_statement_property: 1 for EXPLAIN, 2 for EXPLAIN QUERY PLAN, else 0.
 */
#define ENGINE_EXPLAIN 4

/*
 engine_statement_property: 1 while rows remain to be stepped through, else 0.
 */
#define ENGINE_ACTIVE 5

/*
 One connection to a database, or 0 for none. It is not an address: a number that was never returned
 by engine_open, or whose handle was closed, is recognised and refused. Numbers are not used again.
 It fits a double without loss, so a JavaScript number can hold it.
 */
typedef uintptr_t engine_handle;

/*
 One asynchronous request of a connection, or 0 for none. Requests of one connection are numbered from 1, upwards.
 */
typedef uintptr_t engine_request;

/*
 Told that a request is complete, on the connection's own thread, in the order in which requests complete. It must
 not call back into the library except for engine_async_take, engine_async_poll and engine_batch_free, and must not
 wait for a thread that is closing the connection.
 */
typedef void (*engine_completion)(void *context, engine_request request);

/*
 A cancellation token, or 0 for none. Numbers are as those of engine_handle.
 */
typedef uintptr_t engine_token;

/*
 One compiled statement of a connection, or 0 for none. Numbers are as those of engine_handle.
 */
typedef uintptr_t engine_statement;

/*
 Told how far a backup is; any answer but 0 ends it, with SQLITE_INTERRUPT.
 */
typedef int32_t (*engine_progress)(void *context, int32_t pages_left, int32_t pages);

/*
 One call of a user function, valid until that function returns.
 */
typedef uintptr_t engine_call;

/*
 A user function. `arguments` is a row batch of one row, `length` bytes long. It answers by engine_call_result or
 engine_call_error on `call`; without either, NULL.
 */
typedef void (*engine_function)(void *context,
                                engine_call call,
                                const uint8_t *arguments,
                                uintptr_t length);

/*
 Hears that a context is not needed any more.
 */
typedef void (*engine_release)(void *context);

/*
 One more row of a group. Groups have numbers; a number that is new starts a group. It may answer engine_call_error.
 */
typedef void (*engine_aggregate_step)(void *context,
                                      uintptr_t group,
                                      engine_call call,
                                      const uint8_t *arguments,
                                      uintptr_t length);

/*
 The end of a group, exactly once for each number that a step was called with, also if the statement failed; then what
 it answers is dropped. A group without rows ends without a step, under a number of its own.
 */
typedef void (*engine_aggregate_final)(void *context, uintptr_t group, engine_call call);

/*
 Hears of a changed row: `action` is SQLite's 18 for INSERT, 23 for UPDATE, 9 for DELETE. Not of rows of WITHOUT ROWID
 tables, nor of a DELETE without WHERE, as in SQLite.
 */
typedef void (*engine_update_hook)(void *context,
                                   int32_t action,
                                   const char *schema,
                                   const char *table,
                                   int64_t rowid);

/*
 Asked before each commit of a write; any answer but 0 turns it into a rollback, and the statement fails.
 */
typedef int32_t (*engine_commit_hook)(void *context);

/*
 Hears of every rollback.
 */
typedef void (*engine_rollback_hook)(void *context);

/*
 A mailbox, or 0 for none. Numbers are as those of engine_handle.
 */
typedef uintptr_t engine_mailbox;

/*
 What went wrong last.
 */
typedef struct {
  /*
   SQLite's primary result code; 0 if the last call went well.
   */
  int32_t code;
  /*
   SQLite's extended result code, or ENGINE_BUSY_ASYNC.
   */
  int32_t extended_code;
  /*
   Byte offset of the offending token in the SQL, or -1.
   */
  int64_t offset;
  /*
   For people: UTF-8, NUL-terminated; NULL if the last call went well. Readable until the calling thread's next
   engine_failure_of or engine_last_error.
   */
  const char *message;
  /*
   Bytes of the message.
   */
  uintptr_t message_bytes;
} engine_failure;

/*
 A connection's counts.
 */
typedef struct {
  /*
   Rows changed by the last INSERT, UPDATE, DELETE or REPLACE.
   */
  int64_t changes;
  /*
   Rows changed since the connection was opened, by triggers and foreign keys too.
   */
  int64_t total_changes;
  /*
   The rowid of the last row inserted; 0 before the first.
   */
  int64_t last_insert_rowid;
  /*
   1 inside a transaction, else 0.
   */
  int32_t in_transaction;
  /*
   Requests that are not complete yet.
   */
  uint32_t in_flight;
  /*
   How long a writer waits for its turn, in milliseconds.
   */
  uint32_t busy_timeout_ms;
  /*
   Statements that are not finalized.
   */
  uint32_t statements;
} engine_status;

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

/*
 Opens a database as engine_open_with does, on a thread of the new connection's own: returns its handle at once, and
 request 1 completes when the database is open or could not be opened. The handle must be closed either way.
 Returns 0 if there is no thread or no handle left.

 # Safety
 `url` points to `length` readable bytes; `callback` may be called with `context` until the handle is closed.
 */
engine_handle engine_async_open(const char *url,
                                uintptr_t length,
                                uint32_t flags,
                                engine_completion callback,
                                void *context);

/*
 Starts an open connection's own thread, so that it takes requests. `callback` may be NULL: then completions are learnt
 from engine_async_wait or engine_async_poll. Called again it replaces the callback; the old one is not running
 any more when this returns. Returns ENGINE_OK or a code.

 # Safety
 `callback` may be called with `context` until it is replaced or the handle is closed.
 */
int32_t engine_async_start(engine_handle handle,
                           engine_completion callback,
                           void *context);

/*
 Requests what engine_prepare, engine_execute and engine_finalize do: runs the first statement of `sql` with the values
 of `block` (NULL: none; copied, also what its addresses lead to). If rows remain, the batch's header names the
 statement, for engine_async_next, and the caller finalizes it; otherwise it is finalized already. With `rows_max`
 0 a batch ends at `bytes_max`, or 0: at 256 KiB; one that is longer holds one row.

 Returns the request, or 0: engine_failure_of says why. `flags` as for engine_execute; `token` may be 0.

 # Safety
 `sql` and `block` point to as many readable bytes as said, and addresses in the cells to what they say.
 */
engine_request engine_async_query(engine_handle handle,
                                  const char *sql,
                                  uintptr_t sql_length,
                                  const uint8_t *block,
                                  uintptr_t block_length,
                                  uintptr_t bytes_max,
                                  uint32_t rows_max,
                                  uint32_t flags,
                                  engine_token token);

/*
 Requests what engine_prepare does: the result's header names the statement (0 if there is nothing to run), and the
 batch is that of engine_describe. `tail` as for engine_prepare is the header's `changes`.

 # Safety
 `sql` points to `length` readable bytes.
 */
engine_request engine_async_prepare(engine_handle handle,
                                    const char *sql,
                                    uintptr_t length,
                                    engine_token token);

/*
 Requests what engine_execute does. The block is copied, also what its addresses lead to.

 # Safety
 `block` is NULL or points to `length` readable bytes, and addresses in its cells to what they say.
 */
engine_request engine_async_execute(engine_statement statement,
                                    const uint8_t *block,
                                    uintptr_t length,
                                    uintptr_t bytes_max,
                                    uint32_t rows_max,
                                    uint32_t flags,
                                    engine_token token);

/*
 Requests what engine_next does.
 */
engine_request engine_async_next(engine_statement statement,
                                 uintptr_t bytes_max,
                                 uint32_t rows_max,
                                 uint32_t flags,
                                 engine_token token);

/*
 Requests to run every statement of a text, dropping rows, up to the first that fails. The batch tells the counts.

 # Safety
 `sql` points to `length` readable bytes.
 */
engine_request engine_async_script(engine_handle handle,
                                   const char *sql,
                                   uintptr_t length,
                                   engine_token token);

/*
 Requests what engine_backup_to_url does. `progress` is called on the connection's thread.

 # Safety
 `url` points to `length` readable bytes; `progress` may be called with `context` until the request is complete.
 */
engine_request engine_async_backup(engine_handle handle,
                                   const char *url,
                                   uintptr_t length,
                                   int32_t pages_per_step,
                                   engine_progress progress,
                                   void *context,
                                   engine_token token);

/*
 Requests what engine_serialize does: the image is the one BLOB cell of the result's one row.

 # Safety
 `schema` is NULL (`main`) or points to a NUL-terminated string.
 */
engine_request engine_async_serialize(engine_handle handle, const char *schema, engine_token token);

/*
 Requests that the connection be closed when all requests before this one are complete. Until engine_close the handle
 only answers engine_async_take, engine_async_wait and engine_async_poll.
 */
engine_request engine_async_close(engine_handle handle);

/*
 Cancels one request: it completes with SQLITE_INTERRUPT if it is still queued, or running and not past interrupting;
 a commit on its way to the medium is awaited. Returns ENGINE_OK, also when it is complete, or ENGINE_MISUSE.
 */
int32_t engine_async_cancel(engine_handle handle,
                            engine_request request);

/*
 Waits until a request is complete, at most `timeout_ms`, or without end if that is negative. Returns ENGINE_OK,
 ENGINE_PENDING, or ENGINE_MISUSE when there is no such request, or it was taken.
 */
int32_t engine_async_wait(engine_handle handle,
                          engine_request request,
                          int64_t timeout_ms);

/*
 A request that is complete and was not taken, the one that was complete first; 0 if there is none.
 */
engine_request engine_async_poll(engine_handle handle);

/*
 Takes a complete request's result: a row batch, or an error batch. It is copied into `out` if it fits; if not, the
 header there says where it is, and the caller frees it with engine_batch_free. Returns what the function that was
 requested would have returned; ENGINE_PENDING if the request is not complete; ENGINE_MISUSE if there is no such
 request, or it was taken.

 # Safety
 `out` points to `capacity` writable bytes, at least ENGINE_BATCH_HEADER of them.
 */
int32_t engine_async_take(engine_handle handle,
                          engine_request request,
                          uint8_t *out,
                          uintptr_t capacity);

/*
 A new cancellation token, for any number of requests of any connections; 0 if there are too many handles.
 */
engine_token engine_token_new(void);

/*
 Cancels every request that was made with the token, and every one that will be. Returns ENGINE_OK or ENGINE_MISUSE.
 */
int32_t engine_token_cancel(engine_token token);

/*
 Frees a token. Requests that were made with it go on. Returns ENGINE_OK or ENGINE_MISUSE.
 */
int32_t engine_token_free(engine_token token);

/*
 Adds a SQL function, or replaces one of the same name and number of arguments; `arguments` of -1 takes any number.

 `flags`: ENGINE_FUNCTION_DETERMINISTIC, _DIRECTONLY, _INNOCUOUS, ENGINE_ANY_THREAD. The arguments of a call are written
 into `place` (`place_bytes` long) if they fit there, else into memory of the library; `place` may be NULL.
 `release`, which may be NULL, is called with `context` when the function was replaced or removed, or its connection
 closed, on whatever thread does that; also if this fails. Returns ENGINE_OK or a code.

 # Safety
 `name` is NULL or points to a NUL-terminated string. `function` may be called with `context`, and `place` may be
 written, until `release` is called.
 */
int32_t engine_create_function(engine_handle handle,
                               const char *name,
                               int32_t arguments,
                               uint32_t flags,
                               engine_function function,
                               void *context,
                               engine_release release,
                               uint8_t *place,
                               uintptr_t place_bytes);

/*
 Adds an aggregate function; see engine_create_function.

 # Safety
 As for engine_create_function, of `step` and `last`.
 */
int32_t engine_create_aggregate(engine_handle handle,
                                const char *name,
                                int32_t arguments,
                                uint32_t flags,
                                engine_aggregate_step step,
                                engine_aggregate_final last,
                                void *context,
                                engine_release release,
                                uint8_t *place,
                                uintptr_t place_bytes);

/*
 Adds a window function, which is an aggregate function too. `inverse` is a step of a row that leaves the window;
 `value` answers for the window as it is, which goes on. See engine_create_aggregate.

 # Safety
 As for engine_create_function, of `step`, `inverse`, `value` and `last`.
 */
int32_t engine_create_window(engine_handle handle,
                             const char *name,
                             int32_t arguments,
                             uint32_t flags,
                             engine_aggregate_step step,
                             engine_aggregate_step inverse,
                             engine_aggregate_final value,
                             engine_aggregate_final last,
                             void *context,
                             engine_release release,
                             uint8_t *place,
                             uintptr_t place_bytes);

/*
 Removes a function that was added with this number of arguments. Returns ENGINE_OK or a code.

 # Safety
 `name` is NULL or points to a NUL-terminated string.
 */
int32_t engine_remove_function(engine_handle handle, const char *name, int32_t arguments);

/*
 Answers a call of a user function with the one value of a parameter block, which is copied. Returns ENGINE_OK, or
 ENGINE_MISUSE for a call that is not running on this thread or a bad block.

 # Safety
 `block` points to `length` readable bytes, and an address in its cell to what it says.
 */
int32_t engine_call_result(engine_call call,
                           const uint8_t *block,
                           uintptr_t length);

/*
 Answers a call of a user function with an error: the statement fails with this (extended) code, 0 for SQLITE_ERROR,
 and this message. Returns ENGINE_OK, or ENGINE_MISUSE for a call that is not running on this thread.

 # Safety
 `message` points to `length` readable bytes of UTF-8.
 */
int32_t engine_call_error(engine_call call,
                          int32_t code,
                          const char *message,
                          uintptr_t length);

/*
 Sets, replaces or (with a NULL `hook`) removes the connection's update hook. `flags`: ENGINE_ANY_THREAD or 0. While a
 hook without that flag is set, requests of the connection are refused. Returns ENGINE_OK or a code.

 # Safety
 `hook` may be called with `context` until `release` is called.
 */
int32_t engine_set_update_hook(engine_handle handle,
                               uint32_t flags,
                               engine_update_hook hook,
                               void *context,
                               engine_release release);

/*
 Sets, replaces or removes the connection's commit hook; see engine_set_update_hook.

 # Safety
 `hook` may be called with `context` until `release` is called.
 */
int32_t engine_set_commit_hook(engine_handle handle,
                               uint32_t flags,
                               engine_commit_hook hook,
                               void *context,
                               engine_release release);

/*
 Sets, replaces or removes the connection's rollback hook; see engine_set_update_hook.

 # Safety
 `hook` may be called with `context` until `release` is called.
 */
int32_t engine_set_rollback_hook(engine_handle handle,
                                 uint32_t flags,
                                 engine_rollback_hook hook,
                                 void *context,
                                 engine_release release);

/*
 Copies the database of `from` over that of `to`, both handles' `main`, `pages_per_step` pages (-1: all) at a
 time. `progress`, which may be NULL, is called after each step and may end the copy. Both handles are in use
 meanwhile. Returns ENGINE_OK or a code; `to` then keeps its old content.

 # Safety
 `progress` may be called with `context` until this returns.
 */
int32_t engine_backup(engine_handle from,
                      engine_handle to,
                      int32_t pages_per_step,
                      engine_progress progress,
                      void *context);

/*
 As engine_backup, to the database behind a URL, which is created if it does not exist, and closed after.

 # Safety
 `url` points to `length` readable bytes; `progress` may be called with `context` until this returns.
 */
int32_t engine_backup_to_url(engine_handle from,
                             const char *url,
                             uintptr_t length,
                             int32_t pages_per_step,
                             engine_progress progress,
                             void *context);

/*
 The image of a database, as the connection sees it now: the bytes of a database file in rollback-journal mode, which
 any SQLite opens or deserializes. `schema` NULL is `main`. Returns memory of `*length` bytes that the caller
 frees with engine_batch_free, or NULL. An empty database has an empty image: a pointer, and 0 bytes.

 # Safety
 `schema` is NULL or points to a NUL-terminated string, `length` to a size_t.
 */
uint8_t *engine_serialize(engine_handle handle,
                          const char *schema,
                          uintptr_t *length);

/*
 Opens a private database in memory with the content of an image, which is copied. `flags`: ENGINE_OPEN_READONLY or 0.
 Returns a handle, or 0: engine_failure_of(0, ...) says why.

 # Safety
 `image` points to `length` readable bytes.
 */
engine_handle engine_deserialize(const uint8_t *image,
                                 uintptr_t length,
                                 uint32_t flags);

/*
 Makes a mailbox: completions of requests wait in it for one reader, who is woken by a byte on a socket. `*reader`
 becomes the socket's descriptor (non-blocking, closed on exec), which is the caller's, to be read from and closed. After
 each byte take completions until there are none. Returns 0 on failure: engine_failure_of(0, ...) says why.

 # Safety
 `reader` points to an int.
 */
engine_mailbox engine_mailbox_new(int32_t *reader);

/*
 Takes at most `pairs` completions: for each the connection's handle and the request. Returns how many, 0 if there are
 none, -1 on failure.

 # Safety
 `out` points to `2 * pairs` writable numbers of 64 bits.
 */
int32_t engine_mailbox_take(engine_mailbox mailbox,
                            uint64_t *out,
                            uintptr_t pairs);

/*
 As engine_async_open, with completions that go to a mailbox. Several connections may share one.

 # Safety
 `url` points to `length` readable bytes.
 */
engine_handle engine_async_open_mailbox(const char *url,
                                        uintptr_t length,
                                        uint32_t flags,
                                        engine_mailbox mailbox);

/*
 As engine_async_start, with completions that go to a mailbox.
 */
int32_t engine_async_start_mailbox(engine_handle handle, engine_mailbox mailbox);

/*
 Ends a mailbox. As the other `_drop` functions it has the signature of a deallocator of JavaScriptCore, and may be
 called from any thread at any moment; `number` is the number of what ends, and one that names nothing is ignored.
 */
void engine_mailbox_drop(void *_unused,
                         void *number);

/*
 Lets a statement go: its connection's next call frees it, or its close.
 */
void engine_statement_drop(void *_unused, void *number);

/*
 Closes a connection on a thread of the library: what runs is interrupted, and an open transaction rolled back.
 */
void engine_connection_drop(void *_unused,
                            void *number);

/*
 65536 bytes that stay as long as the process and that nobody uses: buffers over them, with a `_drop` function as their
 deallocator, let a collector end connections and statements.
 */
void *engine_anchor(void);

/*
 Opens a database as engine_open does. `url` is `length` bytes of UTF-8. `flags`: 0, which leaves it to the URL and
 creates what does not exist; or ENGINE_OPEN_READONLY; or ENGINE_OPEN_READWRITE, possibly with ENGINE_OPEN_CREATE.
 They override the URL's own `mode`. With ENGINE_OPEN_THREAD the handle is closed when the calling thread ends.

 # Safety
 `url` points to `length` readable bytes.
 */
engine_handle engine_open_with(const char *url,
                               uintptr_t length,
                               uint32_t flags);

/*
 Tells of the last call on a handle, which may be a connection or a statement (then of its connection's last call), or
 0: of this thread's last call that no handle owns, as engine_last_error(0). Returns the extended code it writes.

 # Safety
 `out` points to a struct engine_failure.
 */
int32_t engine_failure_of(uintptr_t handle,
                          engine_failure *out);

/*
 Writes a connection's counts. Returns ENGINE_OK or a code.

 # Safety
 `out` points to a struct engine_status.
 */
int32_t engine_status_of(engine_handle handle, engine_status *out);

/*
 1 if a transaction is open on the connection, 0 if not, -1 on failure. While another call runs it tells how things
 were before.
 */
int32_t engine_in_transaction(engine_handle handle);

/*
 Ends the call or request that runs on this connection now, with SQLITE_INTERRUPT; a commit on its way to the medium is
 awaited. If none runs, nothing happens. Returns ENGINE_OK or ENGINE_MISUSE.
 */
int32_t engine_interrupt(engine_handle handle);

/*
 Sets how long a writer waits for its turn, in milliseconds; 0 does not wait. Returns ENGINE_OK or a code.
 */
int32_t engine_set_busy_timeout(engine_handle handle,
                                uint32_t milliseconds);

/*
 Rolls a transaction that holds the writer slot back when no call came for this long; 0 never does. Returns ENGINE_OK or
 a code.
 */
int32_t engine_set_idle_timeout(engine_handle handle,
                                uint32_t milliseconds);

/*
 Sets one of SQLite's limits (SQLITE_LIMIT_*, by number) and returns what it was; a negative value changes nothing. Returns
 -1 on failure.
 */
int32_t engine_limit(engine_handle handle,
                     int32_t limit,
                     int32_t value);

/*
 SQLite's sqlite3_file_control, of what a storage can answer: SQLITE_FCNTL_PERSIST_WAL (10; reads 0, and setting it
 to anything else is refused), SQLITE_FCNTL_POWERSAFE_OVERWRITE (13), SQLITE_FCNTL_HAS_MOVED (20), SQLITE_FCNTL_DATA_VERSION
 (35), SQLITE_FCNTL_RESERVE_BYTES (38). `argument` points to an int. Anything else is refused by name with
 SQLITE_NOTFOUND. `schema` NULL is `main`.

 # Safety
 `schema` is NULL or points to a NUL-terminated string; `argument` is NULL or points to an int.
 */
int32_t engine_file_control(engine_handle handle,
                            const char *schema,
                            int32_t operation,
                            void *argument);

/*
 Always refused: this library loads no extensions. The message names the path.

 # Safety
 `path` is NULL or points to a NUL-terminated string.
 */
int32_t engine_load_extension(engine_handle handle, const char *path);

/*
 What was counted since the database was opened, over all its connections in this process, as one JSON object. NULL on
 failure. Readable until the calling thread's next engine_metrics.
 */
const char *engine_metrics(engine_handle handle);

/*
 The canonical URL of the connection's database, without parameters. NULL on failure. Readable until the calling thread's
 next engine_url.
 */
const char *engine_url(engine_handle handle);

/*
 Compiles the first statement of a text. `sql` is UTF-8, `length` bytes long, without a NUL byte inside.

 Returns the statement, or 0: an error, which engine_failure_of tells; or, if that tells none, nothing to run in the
 text. `*tail` becomes the offset of the first byte that was not read, if `tail` is not NULL: a text of several
 statements is run by preparing what follows until 0.

 A statement belongs to its connection, may be used from any thread, one call of the connection at a time, and
 is finalized with it.

 # Safety
 `sql` points to `length` readable bytes; `tail` is NULL or points to a size_t.
 */
engine_statement engine_prepare(engine_handle handle,
                                const char *sql,
                                uintptr_t length,
                                uintptr_t *tail);

/*
 Frees a statement. While a request of it is in flight, the request is ended and the statement freed after it.
 Returns ENGINE_OK, or ENGINE_MISUSE when there is no such statement.
 */
int32_t engine_finalize(engine_statement statement);

/*
 A property of a statement, by number: ENGINE_PARAMETERS, ENGINE_COLUMNS, ENGINE_READONLY, ENGINE_EXPLAIN,
 ENGINE_ACTIVE. Returns -1 on failure.
 */
int32_t engine_statement_property(engine_statement statement,
                                  int32_t property);

/*
 The SQL of a statement: as it was prepared, or, if `expanded` is not 0, with its parameters' values written in.
 NULL on failure. Readable until the next call on this statement.
 */
const char *engine_sql(engine_statement statement,
                       int32_t expanded);

/*
 The name of a column, counted from 0; NULL if there is none. Readable until the next call on this statement.
 */
const char *engine_column_name(engine_statement statement,
                               int32_t column);

/*
 The type that the table declares for a column, as it was written there; NULL for an expression or an undeclared
 column. Readable until the next call on this statement.
 */
const char *engine_column_declared_type(engine_statement statement,
                                        int32_t column);

/*
 The name of a parameter, counted from 1, with its prefix; NULL for a nameless one. Readable until the next call
 on this statement.
 */
const char *engine_parameter_name(engine_statement statement,
                                  int32_t parameter);

/*
 The number of a parameter by its name with the prefix, such as `:id`; 0 if there is none, -1 on failure.

 # Safety
 `name` is NULL or points to a NUL-terminated string.
 */
int32_t engine_parameter_index(engine_statement statement,
                               const char *name);

/*
 Writes all of a statement's columns and parameters as one row batch into `out`: rows of three cells: 1 for a column
 or 2 for a parameter, in order; its name or NULL; a column's declared type or NULL. Returns ENGINE_DONE or a code.

 # Safety
 `out` points to `capacity` writable bytes.
 */
int32_t engine_describe(engine_statement statement,
                        uint8_t *out,
                        uintptr_t capacity);

/*
 Binds values from a parameter block (docs/format/row-batch.md): to the parameters whose numbers its cells give, or by
 position where they give 0. Parameters that the block does not name keep their values. A statement that was stepped
 is reset first. Returns ENGINE_OK or a code.

 # Safety
 `block` points to `length` readable bytes, and addresses in its cells to what they say.
 */
int32_t engine_bind(engine_statement statement,
                    const uint8_t *block,
                    uintptr_t length);

/*
 Binds NULL to a parameter, counted from 1. A statement that was stepped is reset first, as by all bind functions.
 Returns ENGINE_OK or a code.
 */
int32_t engine_bind_null(engine_statement statement,
                         int32_t parameter);

/*
 Binds an INTEGER.
 */
int32_t engine_bind_integer(engine_statement statement, int32_t parameter, int64_t value);

/*
 Binds a REAL; NaN becomes NULL.
 */
int32_t engine_bind_real(engine_statement statement, int32_t parameter, double value);

/*
 Binds a TEXT of `length` bytes of UTF-8, which is copied.

 # Safety
 `text` points to `length` readable bytes.
 */
int32_t engine_bind_text(engine_statement statement,
                         int32_t parameter,
                         const char *text,
                         uintptr_t length);

/*
 Binds a BLOB of `length` bytes, which are copied.

 # Safety
 `bytes` points to `length` readable bytes.
 */
int32_t engine_bind_blob(engine_statement statement,
                         int32_t parameter,
                         const void *bytes,
                         uintptr_t length);

/*
 Makes every parameter NULL again. A statement that was stepped is reset first. Returns ENGINE_OK or a code.
 */
int32_t engine_clear_bindings(engine_statement statement);

/*
 Resets a statement, binds a parameter block (NULL: keeps what is bound), runs it, and writes a row batch into `out`:
 as many rows as fit, at most `rows_max` of them if that is not 0.

 Returns ENGINE_ROW if rows remain, which engine_next gives; ENGINE_DONE if not; else a code. `out` then holds an
 error batch, which tells what engine_failure_of would.

 A statement that reads runs as far as its rows are asked for, and holds its snapshot until it is done or reset. A
 statement that writes runs to its end, and outside a transaction until its commit is durable, before the first row
 of a RETURNING is told.

 If not even one row fits into `out`, or `out` is NULL, the batch is written to memory of the library, of 256 KiB
 or the size of its one row, and the header in `out` says where. That memory is good until the next call on this statement;
 engine_batch_take keeps it.

 `flags`: ENGINE_EXECUTE_RESET, ENGINE_EXECUTE_DISCARD, ENGINE_EXECUTE_NAMES, or 0.

 # Safety
 `block` is NULL or points to `length` readable bytes, and addresses in its cells to what they say; `out` points to
 `capacity` writable bytes, at least ENGINE_BATCH_HEADER of them.
 */
int32_t engine_execute(engine_statement statement,
                       const uint8_t *block,
                       uintptr_t length,
                       uint8_t *out,
                       uintptr_t capacity,
                       uint32_t rows_max,
                       uint32_t flags);

/*
 The next batch of a statement that engine_execute or engine_next answered ENGINE_ROW for; see engine_execute.
 `flags`: ENGINE_EXECUTE_RESET or 0. ENGINE_DONE with no rows if none remain.

 # Safety
 `out` points to `capacity` writable bytes, at least ENGINE_BATCH_HEADER of them.
 */
int32_t engine_next(engine_statement statement,
                    uint8_t *out,
                    uintptr_t capacity,
                    uint32_t rows_max,
                    uint32_t flags);

/*
 Makes the batch that the last call on this statement left in the library's memory the caller's, who frees it with
 engine_batch_free. Returns it, or NULL if there is none.
 */
uint8_t *engine_batch_take(engine_statement statement);

/*
 Frees memory that engine_batch_take, engine_async_take or engine_serialize gave. Anything else, NULL and what was
 freed already included, is left alone. `unused` lets it serve as a deallocator of JavaScriptCore.
 */
void engine_batch_free(void *batch,
                       void *unused);

/*
 Steps a statement by one row: ENGINE_ROW, and the engine_column functions read the row; ENGINE_DONE at the end, and
 the next step begins again; else a code.
 */
int32_t engine_step(engine_statement statement);

/*
 Resets a statement, so that it begins anew; its parameters keep their values. Returns ENGINE_OK or a code.
 */
int32_t engine_reset(engine_statement statement);

/*
 The type of a column's value in the current row: ENGINE_INTEGER, ENGINE_REAL, ENGINE_TEXT, ENGINE_BLOB or ENGINE_NULL;
 -1 if there is no row or no such column.
 */
int32_t engine_column_type(engine_statement statement,
                           int32_t column);

/*
 The value of an INTEGER or, cut towards zero, a REAL column of the current row; 0 for any other.
 */
int64_t engine_column_integer(engine_statement statement, int32_t column);

/*
 The value of a REAL or INTEGER column of the current row; 0 for any other.
 */
double engine_column_real(engine_statement statement, int32_t column);

/*
 The bytes of a TEXT or BLOB column of the current row, followed by a NUL byte; NULL for any other. `*length`
 becomes how many they are, if `length` is not NULL. Readable until the next step, execute, reset or finalize of this
 statement. TEXT is as stored: SQLite does not see to it that it is UTF-8.

 # Safety
 `length` is NULL or points to a size_t.
 */
const uint8_t *engine_column_bytes(engine_statement statement,
                                   int32_t column,
                                   uintptr_t *length);

/*
 Opens a database as engine_open does. `url` is `length` bytes of UTF-8. `flags`: 0, which leaves it to the URL and
 creates what does not exist; or ENGINE_OPEN_READONLY; or ENGINE_OPEN_READWRITE, possibly with ENGINE_OPEN_CREATE.
 They override the URL's own `mode`. With ENGINE_OPEN_THREAD the handle is closed when the calling thread ends.

 # Safety
 `url` points to `length` readable bytes.
 */
engine_handle engine_open_with(const char *url,
                               uintptr_t length,
                               uint32_t flags);

/*
 Tells of the last call on a handle, which may be a connection or a statement (then of its connection's last call), or
 0: of this thread's last call that no handle owns, as engine_last_error(0). Returns the extended code it writes.

 # Safety
 `out` points to a struct engine_failure.
 */
int32_t engine_failure_of(uintptr_t handle,
                          engine_failure *out);

/*
 Writes a connection's counts. Returns ENGINE_OK or a code.

 # Safety
 `out` points to a struct engine_status.
 */
int32_t engine_status_of(engine_handle handle, engine_status *out);

/*
 1 if a transaction is open on the connection, 0 if not, -1 on failure. While another call runs it tells how things
 were before.
 */
int32_t engine_in_transaction(engine_handle handle);

/*
 Ends the call or request that runs on this connection now, with SQLITE_INTERRUPT; a commit on its way to the medium is
 awaited. If none runs, nothing happens. Returns ENGINE_OK or ENGINE_MISUSE.
 */
int32_t engine_interrupt(engine_handle handle);

/*
 Sets how long a writer waits for its turn, in milliseconds; 0 does not wait. Returns ENGINE_OK or a code.
 */
int32_t engine_set_busy_timeout(engine_handle handle,
                                uint32_t milliseconds);

/*
 Rolls a transaction that holds the writer slot back when no call came for this long; 0 never does. Returns ENGINE_OK or
 a code.
 */
int32_t engine_set_idle_timeout(engine_handle handle,
                                uint32_t milliseconds);

/*
 Sets one of SQLite's limits (SQLITE_LIMIT_*, by number) and returns what it was; a negative value changes nothing. Returns
 -1 on failure.
 */
int32_t engine_limit(engine_handle handle,
                     int32_t limit,
                     int32_t value);

/*
 SQLite's sqlite3_file_control, of what a storage can answer: SQLITE_FCNTL_PERSIST_WAL (10; reads 0, and setting it
 to anything else is refused), SQLITE_FCNTL_POWERSAFE_OVERWRITE (13), SQLITE_FCNTL_HAS_MOVED (20), SQLITE_FCNTL_DATA_VERSION
 (35), SQLITE_FCNTL_RESERVE_BYTES (38). `argument` points to an int. Anything else is refused by name with
 SQLITE_NOTFOUND. `schema` NULL is `main`.

 # Safety
 `schema` is NULL or points to a NUL-terminated string; `argument` is NULL or points to an int.
 */
int32_t engine_file_control(engine_handle handle,
                            const char *schema,
                            int32_t operation,
                            void *argument);

/*
 Always refused: this library loads no extensions. The message names the path.

 # Safety
 `path` is NULL or points to a NUL-terminated string.
 */
int32_t engine_load_extension(engine_handle handle, const char *path);

/*
 What was counted since the database was opened, over all its connections in this process, as one JSON object. NULL on
 failure. Readable until the calling thread's next engine_metrics.
 */
const char *engine_metrics(engine_handle handle);

/*
 The canonical URL of the connection's database, without parameters. NULL on failure. Readable until the calling thread's
 next engine_url.
 */
const char *engine_url(engine_handle handle);

/*
 Compiles the first statement of a text. `sql` is UTF-8, `length` bytes long, without a NUL byte inside.

 Returns the statement, or 0: an error, which engine_failure_of tells; or, if that tells none, nothing to run in the
 text. `*tail` becomes the offset of the first byte that was not read, if `tail` is not NULL: a text of several
 statements is run by preparing what follows until 0.

 A statement belongs to its connection, may be used from any thread, one call of the connection at a time, and
 is finalized with it.

 # Safety
 `sql` points to `length` readable bytes; `tail` is NULL or points to a size_t.
 */
engine_statement engine_prepare(engine_handle handle,
                                const char *sql,
                                uintptr_t length,
                                uintptr_t *tail);

/*
 Frees a statement. While a request of it is in flight, the request is ended and the statement freed after it.
 Returns ENGINE_OK, or ENGINE_MISUSE when there is no such statement.
 */
int32_t engine_finalize(engine_statement statement);

/*
 A property of a statement, by number: ENGINE_PARAMETERS, ENGINE_COLUMNS, ENGINE_READONLY, ENGINE_EXPLAIN,
 ENGINE_ACTIVE. Returns -1 on failure.
 */
int32_t engine_statement_property(engine_statement statement,
                                  int32_t property);

/*
 The SQL of a statement: as it was prepared, or, if `expanded` is not 0, with its parameters' values written in.
 NULL on failure. Readable until the next call on this statement.
 */
const char *engine_sql(engine_statement statement,
                       int32_t expanded);

/*
 The name of a column, counted from 0; NULL if there is none. Readable until the next call on this statement.
 */
const char *engine_column_name(engine_statement statement,
                               int32_t column);

/*
 The type that the table declares for a column, as it was written there; NULL for an expression or an undeclared
 column. Readable until the next call on this statement.
 */
const char *engine_column_declared_type(engine_statement statement,
                                        int32_t column);

/*
 The name of a parameter, counted from 1, with its prefix; NULL for a nameless one. Readable until the next call
 on this statement.
 */
const char *engine_parameter_name(engine_statement statement,
                                  int32_t parameter);

/*
 The number of a parameter by its name with the prefix, such as `:id`; 0 if there is none, -1 on failure.

 # Safety
 `name` is NULL or points to a NUL-terminated string.
 */
int32_t engine_parameter_index(engine_statement statement,
                               const char *name);

/*
 Writes all of a statement's columns and parameters as one row batch into `out`: rows of three cells: 1 for a column
 or 2 for a parameter, in order; its name or NULL; a column's declared type or NULL. Returns ENGINE_DONE or a code.

 # Safety
 `out` points to `capacity` writable bytes.
 */
int32_t engine_describe(engine_statement statement,
                        uint8_t *out,
                        uintptr_t capacity);

/*
 Binds values from a parameter block (docs/format/row-batch.md): to the parameters whose numbers its cells give, or by
 position where they give 0. Parameters that the block does not name keep their values. A statement that was stepped
 is reset first. Returns ENGINE_OK or a code.

 # Safety
 `block` points to `length` readable bytes, and addresses in its cells to what they say.
 */
int32_t engine_bind(engine_statement statement,
                    const uint8_t *block,
                    uintptr_t length);

/*
 Binds NULL to a parameter, counted from 1. A statement that was stepped is reset first, as by all bind functions.
 Returns ENGINE_OK or a code.
 */
int32_t engine_bind_null(engine_statement statement,
                         int32_t parameter);

/*
 Binds an INTEGER.
 */
int32_t engine_bind_integer(engine_statement statement, int32_t parameter, int64_t value);

/*
 Binds a REAL; NaN becomes NULL.
 */
int32_t engine_bind_real(engine_statement statement, int32_t parameter, double value);

/*
 Binds a TEXT of `length` bytes of UTF-8, which is copied.

 # Safety
 `text` points to `length` readable bytes.
 */
int32_t engine_bind_text(engine_statement statement,
                         int32_t parameter,
                         const char *text,
                         uintptr_t length);

/*
 Binds a BLOB of `length` bytes, which are copied.

 # Safety
 `bytes` points to `length` readable bytes.
 */
int32_t engine_bind_blob(engine_statement statement,
                         int32_t parameter,
                         const void *bytes,
                         uintptr_t length);

/*
 Makes every parameter NULL again. A statement that was stepped is reset first. Returns ENGINE_OK or a code.
 */
int32_t engine_clear_bindings(engine_statement statement);

/*
 Resets a statement, binds a parameter block (NULL: keeps what is bound), runs it, and writes a row batch into `out`:
 as many rows as fit, at most `rows_max` of them if that is not 0.

 Returns ENGINE_ROW if rows remain, which engine_next gives; ENGINE_DONE if not; else a code. `out` then holds an
 error batch, which tells what engine_failure_of would.

 A statement that reads runs as far as its rows are asked for, and holds its snapshot until it is done or reset. A
 statement that writes runs to its end, and outside a transaction until its commit is durable, before the first row
 of a RETURNING is told.

 If not even one row fits into `out`, or `out` is NULL, the batch is written to memory of the library, of 256 KiB
 or the size of its one row, and the header in `out` says where. That memory is good until the next call on this statement;
 engine_batch_take keeps it.

 `flags`: ENGINE_EXECUTE_RESET, ENGINE_EXECUTE_DISCARD, ENGINE_EXECUTE_NAMES, or 0.

 # Safety
 `block` is NULL or points to `length` readable bytes, and addresses in its cells to what they say; `out` points to
 `capacity` writable bytes, at least ENGINE_BATCH_HEADER of them.
 */
int32_t engine_execute(engine_statement statement,
                       const uint8_t *block,
                       uintptr_t length,
                       uint8_t *out,
                       uintptr_t capacity,
                       uint32_t rows_max,
                       uint32_t flags);

/*
 The next batch of a statement that engine_execute or engine_next answered ENGINE_ROW for; see engine_execute.
 `flags`: ENGINE_EXECUTE_RESET or 0. ENGINE_DONE with no rows if none remain.

 # Safety
 `out` points to `capacity` writable bytes, at least ENGINE_BATCH_HEADER of them.
 */
int32_t engine_next(engine_statement statement,
                    uint8_t *out,
                    uintptr_t capacity,
                    uint32_t rows_max,
                    uint32_t flags);

/*
 Makes the batch that the last call on this statement left in the library's memory the caller's, who frees it with
 engine_batch_free. Returns it, or NULL if there is none.
 */
uint8_t *engine_batch_take(engine_statement statement);

/*
 Frees memory that engine_batch_take, engine_async_take or engine_serialize gave. Anything else, NULL and what was
 freed already included, is left alone. `unused` lets it serve as a deallocator of JavaScriptCore.
 */
void engine_batch_free(void *batch,
                       void *unused);

/*
 Steps a statement by one row: ENGINE_ROW, and the engine_column functions read the row; ENGINE_DONE at the end, and
 the next step begins again; else a code.
 */
int32_t engine_step(engine_statement statement);

/*
 Resets a statement, so that it begins anew; its parameters keep their values. Returns ENGINE_OK or a code.
 */
int32_t engine_reset(engine_statement statement);

/*
 The type of a column's value in the current row: ENGINE_INTEGER, ENGINE_REAL, ENGINE_TEXT, ENGINE_BLOB or ENGINE_NULL;
 -1 if there is no row or no such column.
 */
int32_t engine_column_type(engine_statement statement,
                           int32_t column);

/*
 The value of an INTEGER or, cut towards zero, a REAL column of the current row; 0 for any other.
 */
int64_t engine_column_integer(engine_statement statement, int32_t column);

/*
 The value of a REAL or INTEGER column of the current row; 0 for any other.
 */
double engine_column_real(engine_statement statement, int32_t column);

/*
 The bytes of a TEXT or BLOB column of the current row, followed by a NUL byte; NULL for any other. `*length`
 becomes how many they are, if `length` is not NULL. Readable until the next step, execute, reset or finalize of this
 statement. TEXT is as stored: SQLite does not see to it that it is UTF-8.

 # Safety
 `length` is NULL or points to a size_t.
 */
const uint8_t *engine_column_bytes(engine_statement statement,
                                   int32_t column,
                                   uintptr_t *length);

/*
 Opens a database as engine_open_with does, on a thread of the new connection's own: returns its handle at once, and
 request 1 completes when the database is open or could not be opened. The handle must be closed either way.
 Returns 0 if there is no thread or no handle left.

 # Safety
 `url` points to `length` readable bytes; `callback` may be called with `context` until the handle is closed.
 */
engine_handle engine_async_open(const char *url,
                                uintptr_t length,
                                uint32_t flags,
                                engine_completion callback,
                                void *context);

/*
 Starts an open connection's own thread, so that it takes requests. `callback` may be NULL: then completions are learnt
 from engine_async_wait or engine_async_poll. Called again it replaces the callback; the old one is not running
 any more when this returns. Returns ENGINE_OK or a code.

 # Safety
 `callback` may be called with `context` until it is replaced or the handle is closed.
 */
int32_t engine_async_start(engine_handle handle,
                           engine_completion callback,
                           void *context);

/*
 Requests what engine_prepare, engine_execute and engine_finalize do: runs the first statement of `sql` with the values
 of `block` (NULL: none; copied, also what its addresses lead to). If rows remain, the batch's header names the
 statement, for engine_async_next, and the caller finalizes it; otherwise it is finalized already. With `rows_max`
 0 a batch ends at `bytes_max`, or 0: at 256 KiB; one that is longer holds one row.

 Returns the request, or 0: engine_failure_of says why. `flags` as for engine_execute; `token` may be 0.

 # Safety
 `sql` and `block` point to as many readable bytes as said, and addresses in the cells to what they say.
 */
engine_request engine_async_query(engine_handle handle,
                                  const char *sql,
                                  uintptr_t sql_length,
                                  const uint8_t *block,
                                  uintptr_t block_length,
                                  uintptr_t bytes_max,
                                  uint32_t rows_max,
                                  uint32_t flags,
                                  engine_token token);

/*
 Requests what engine_prepare does: the result's header names the statement (0 if there is nothing to run), and the
 batch is that of engine_describe. `tail` as for engine_prepare is the header's `changes`.

 # Safety
 `sql` points to `length` readable bytes.
 */
engine_request engine_async_prepare(engine_handle handle,
                                    const char *sql,
                                    uintptr_t length,
                                    engine_token token);

/*
 Requests what engine_execute does. The block is copied, also what its addresses lead to.

 # Safety
 `block` is NULL or points to `length` readable bytes, and addresses in its cells to what they say.
 */
engine_request engine_async_execute(engine_statement statement,
                                    const uint8_t *block,
                                    uintptr_t length,
                                    uintptr_t bytes_max,
                                    uint32_t rows_max,
                                    uint32_t flags,
                                    engine_token token);

/*
 Requests what engine_next does.
 */
engine_request engine_async_next(engine_statement statement,
                                 uintptr_t bytes_max,
                                 uint32_t rows_max,
                                 uint32_t flags,
                                 engine_token token);

/*
 Requests to run every statement of a text, dropping rows, up to the first that fails. The batch tells the counts.

 # Safety
 `sql` points to `length` readable bytes.
 */
engine_request engine_async_script(engine_handle handle,
                                   const char *sql,
                                   uintptr_t length,
                                   engine_token token);

/*
 Requests what engine_backup_to_url does. `progress` is called on the connection's thread.

 # Safety
 `url` points to `length` readable bytes; `progress` may be called with `context` until the request is complete.
 */
engine_request engine_async_backup(engine_handle handle,
                                   const char *url,
                                   uintptr_t length,
                                   int32_t pages_per_step,
                                   engine_progress progress,
                                   void *context,
                                   engine_token token);

/*
 Requests what engine_serialize does: the image is the one BLOB cell of the result's one row.

 # Safety
 `schema` is NULL (`main`) or points to a NUL-terminated string.
 */
engine_request engine_async_serialize(engine_handle handle, const char *schema, engine_token token);

/*
 Requests that the connection be closed when all requests before this one are complete. Until engine_close the handle
 only answers engine_async_take, engine_async_wait and engine_async_poll.
 */
engine_request engine_async_close(engine_handle handle);

/*
 Cancels one request: it completes with SQLITE_INTERRUPT if it is still queued, or running and not past interrupting;
 a commit on its way to the medium is awaited. Returns ENGINE_OK, also when it is complete, or ENGINE_MISUSE.
 */
int32_t engine_async_cancel(engine_handle handle,
                            engine_request request);

/*
 Waits until a request is complete, at most `timeout_ms`, or without end if that is negative. Returns ENGINE_OK,
 ENGINE_PENDING, or ENGINE_MISUSE when there is no such request, or it was taken.
 */
int32_t engine_async_wait(engine_handle handle,
                          engine_request request,
                          int64_t timeout_ms);

/*
 A request that is complete and was not taken, the one that was complete first; 0 if there is none.
 */
engine_request engine_async_poll(engine_handle handle);

/*
 Takes a complete request's result: a row batch, or an error batch. It is copied into `out` if it fits; if not, the
 header there says where it is, and the caller frees it with engine_batch_free. Returns what the function that was
 requested would have returned; ENGINE_PENDING if the request is not complete; ENGINE_MISUSE if there is no such
 request, or it was taken.

 # Safety
 `out` points to `capacity` writable bytes, at least ENGINE_BATCH_HEADER of them.
 */
int32_t engine_async_take(engine_handle handle,
                          engine_request request,
                          uint8_t *out,
                          uintptr_t capacity);

/*
 A new cancellation token, for any number of requests of any connections; 0 if there are too many handles.
 */
engine_token engine_token_new(void);

/*
 Cancels every request that was made with the token, and every one that will be. Returns ENGINE_OK or ENGINE_MISUSE.
 */
int32_t engine_token_cancel(engine_token token);

/*
 Frees a token. Requests that were made with it go on. Returns ENGINE_OK or ENGINE_MISUSE.
 */
int32_t engine_token_free(engine_token token);

/*
 Makes a mailbox: completions of requests wait in it for one reader, who is woken by a byte on a socket. `*reader`
 becomes the socket's descriptor (non-blocking, closed on exec), which is the caller's, to be read from and closed. After
 each byte take completions until there are none. Returns 0 on failure: engine_failure_of(0, ...) says why.

 # Safety
 `reader` points to an int.
 */
engine_mailbox engine_mailbox_new(int32_t *reader);

/*
 Takes at most `pairs` completions: for each the connection's handle and the request. Returns how many, 0 if there are
 none, -1 on failure.

 # Safety
 `out` points to `2 * pairs` writable numbers of 64 bits.
 */
int32_t engine_mailbox_take(engine_mailbox mailbox,
                            uint64_t *out,
                            uintptr_t pairs);

/*
 As engine_async_open, with completions that go to a mailbox. Several connections may share one.

 # Safety
 `url` points to `length` readable bytes.
 */
engine_handle engine_async_open_mailbox(const char *url,
                                        uintptr_t length,
                                        uint32_t flags,
                                        engine_mailbox mailbox);

/*
 As engine_async_start, with completions that go to a mailbox.
 */
int32_t engine_async_start_mailbox(engine_handle handle, engine_mailbox mailbox);

/*
 Ends a mailbox. As the other `_drop` functions it has the signature of a deallocator of JavaScriptCore, and may be
 called from any thread at any moment; `number` is the number of what ends, and one that names nothing is ignored.
 */
void engine_mailbox_drop(void *_unused,
                         void *number);

/*
 Lets a statement go: its connection's next call frees it, or its close.
 */
void engine_statement_drop(void *_unused, void *number);

/*
 Closes a connection on a thread of the library: what runs is interrupted, and an open transaction rolled back.
 */
void engine_connection_drop(void *_unused,
                            void *number);

/*
 65536 bytes that stay as long as the process and that nobody uses: buffers over them, with a `_drop` function as their
 deallocator, let a collector end connections and statements.
 */
void *engine_anchor(void);

/*
 Adds a SQL function, or replaces one of the same name and number of arguments; `arguments` of -1 takes any number.

 `flags`: ENGINE_FUNCTION_DETERMINISTIC, _DIRECTONLY, _INNOCUOUS, ENGINE_ANY_THREAD. The arguments of a call are written
 into `place` (`place_bytes` long) if they fit there, else into memory of the library; `place` may be NULL.
 `release`, which may be NULL, is called with `context` when the function was replaced or removed, or its connection
 closed, on whatever thread does that; also if this fails. Returns ENGINE_OK or a code.

 # Safety
 `name` is NULL or points to a NUL-terminated string. `function` may be called with `context`, and `place` may be
 written, until `release` is called.
 */
int32_t engine_create_function(engine_handle handle,
                               const char *name,
                               int32_t arguments,
                               uint32_t flags,
                               engine_function function,
                               void *context,
                               engine_release release,
                               uint8_t *place,
                               uintptr_t place_bytes);

/*
 Adds an aggregate function; see engine_create_function.

 # Safety
 As for engine_create_function, of `step` and `last`.
 */
int32_t engine_create_aggregate(engine_handle handle,
                                const char *name,
                                int32_t arguments,
                                uint32_t flags,
                                engine_aggregate_step step,
                                engine_aggregate_final last,
                                void *context,
                                engine_release release,
                                uint8_t *place,
                                uintptr_t place_bytes);

/*
 Adds a window function, which is an aggregate function too. `inverse` is a step of a row that leaves the window;
 `value` answers for the window as it is, which goes on. See engine_create_aggregate.

 # Safety
 As for engine_create_function, of `step`, `inverse`, `value` and `last`.
 */
int32_t engine_create_window(engine_handle handle,
                             const char *name,
                             int32_t arguments,
                             uint32_t flags,
                             engine_aggregate_step step,
                             engine_aggregate_step inverse,
                             engine_aggregate_final value,
                             engine_aggregate_final last,
                             void *context,
                             engine_release release,
                             uint8_t *place,
                             uintptr_t place_bytes);

/*
 Removes a function that was added with this number of arguments. Returns ENGINE_OK or a code.

 # Safety
 `name` is NULL or points to a NUL-terminated string.
 */
int32_t engine_remove_function(engine_handle handle, const char *name, int32_t arguments);

/*
 Answers a call of a user function with the one value of a parameter block, which is copied. Returns ENGINE_OK, or
 ENGINE_MISUSE for a call that is not running on this thread or a bad block.

 # Safety
 `block` points to `length` readable bytes, and an address in its cell to what it says.
 */
int32_t engine_call_result(engine_call call,
                           const uint8_t *block,
                           uintptr_t length);

/*
 Answers a call of a user function with an error: the statement fails with this (extended) code, 0 for SQLITE_ERROR,
 and this message. Returns ENGINE_OK, or ENGINE_MISUSE for a call that is not running on this thread.

 # Safety
 `message` points to `length` readable bytes of UTF-8.
 */
int32_t engine_call_error(engine_call call,
                          int32_t code,
                          const char *message,
                          uintptr_t length);

/*
 Sets, replaces or (with a NULL `hook`) removes the connection's update hook. `flags`: ENGINE_ANY_THREAD or 0. While a
 hook without that flag is set, requests of the connection are refused. Returns ENGINE_OK or a code.

 # Safety
 `hook` may be called with `context` until `release` is called.
 */
int32_t engine_set_update_hook(engine_handle handle,
                               uint32_t flags,
                               engine_update_hook hook,
                               void *context,
                               engine_release release);

/*
 Sets, replaces or removes the connection's commit hook; see engine_set_update_hook.

 # Safety
 `hook` may be called with `context` until `release` is called.
 */
int32_t engine_set_commit_hook(engine_handle handle,
                               uint32_t flags,
                               engine_commit_hook hook,
                               void *context,
                               engine_release release);

/*
 Sets, replaces or removes the connection's rollback hook; see engine_set_update_hook.

 # Safety
 `hook` may be called with `context` until `release` is called.
 */
int32_t engine_set_rollback_hook(engine_handle handle,
                                 uint32_t flags,
                                 engine_rollback_hook hook,
                                 void *context,
                                 engine_release release);

/*
 Copies the database of `from` over that of `to`, both handles' `main`, `pages_per_step` pages (-1: all) at a
 time. `progress`, which may be NULL, is called after each step and may end the copy. Both handles are in use
 meanwhile. Returns ENGINE_OK or a code; `to` then keeps its old content.

 # Safety
 `progress` may be called with `context` until this returns.
 */
int32_t engine_backup(engine_handle from,
                      engine_handle to,
                      int32_t pages_per_step,
                      engine_progress progress,
                      void *context);

/*
 As engine_backup, to the database behind a URL, which is created if it does not exist, and closed after.

 # Safety
 `url` points to `length` readable bytes; `progress` may be called with `context` until this returns.
 */
int32_t engine_backup_to_url(engine_handle from,
                             const char *url,
                             uintptr_t length,
                             int32_t pages_per_step,
                             engine_progress progress,
                             void *context);

/*
 The image of a database, as the connection sees it now: the bytes of a database file in rollback-journal mode, which
 any SQLite opens or deserializes. `schema` NULL is `main`. Returns memory of `*length` bytes that the caller
 frees with engine_batch_free, or NULL. An empty database has an empty image: a pointer, and 0 bytes.

 # Safety
 `schema` is NULL or points to a NUL-terminated string, `length` to a size_t.
 */
uint8_t *engine_serialize(engine_handle handle,
                          const char *schema,
                          uintptr_t *length);

/*
 Opens a private database in memory with the content of an image, which is copied. `flags`: ENGINE_OPEN_READONLY or 0.
 Returns a handle, or 0: engine_failure_of(0, ...) says why.

 # Safety
 `image` points to `length` readable bytes.
 */
engine_handle engine_deserialize(const uint8_t *image,
                                 uintptr_t length,
                                 uint32_t flags);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TWILL_ENGINE_H */
