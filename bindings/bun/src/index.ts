/**
 * TwillDB for Bun.
 *
 * - `Database`, `Statement`, `SQLiteError` and `constants` are those of `bun:sqlite`, over TwillDB's storage: to move in,
 *   change the import.
 * - `connect` gives the asynchronous API, which never blocks the event loop.
 */
import { constants } from "./codes.ts";
import { Database } from "./database.ts";
import { AsyncDatabase, connect, Transaction as AsyncTransaction } from "./async/connection.ts";
import { Query, sql } from "./async/query.ts";
import { identifier, join, raw } from "./async/sql.ts";
import { SQLiteError } from "./errors.ts";
import { Statement } from "./statement.ts";

export { AsyncDatabase, AsyncTransaction, connect, constants, Database, identifier, join, Query, raw, sql, SQLiteError, Statement };
export type { ConnectOptions, TransactionOptions } from "./async/connection.ts";
export type { IterateOptions, Params, Queryable, QueryOptions, SqlTag } from "./async/query.ts";
export type { Fragment, SqlValue } from "./async/sql.ts";
export type { DatabaseOptions, UpdateHook } from "./database.ts";
export type { AggregateOptions, FunctionOptions, SQLFunctionResult } from "./functions.ts";
export type { Value } from "./memory.ts";
export type { SQLQueryBindings } from "./parameters.ts";
export type { Changes } from "./statement.ts";
export type { Transaction } from "./transaction.ts";
export default Database;
