/**
 * TwillDB for Bun.
 *
 * - `Database`, `Statement`, `SQLiteError` and `constants` are those of `bun:sqlite`, over TwillDB's storage: to move in,
 *   change the import.
 * - `connect` gives the asynchronous API, which never blocks the event loop.
 */
import { constants } from "./codes.ts";
import { Database } from "./database.ts";
import { SQLiteError } from "./errors.ts";
import { Statement } from "./statement.ts";

export { constants, Database, SQLiteError, Statement };
export type { DatabaseOptions, UpdateHook } from "./database.ts";
export type { AggregateOptions, FunctionOptions, SQLFunctionResult } from "./functions.ts";
export type { Value } from "./memory.ts";
export type { SQLQueryBindings } from "./parameters.ts";
export type { Changes } from "./statement.ts";
export type { Transaction } from "./transaction.ts";
export default Database;
