/**
 * `Database`, as `bun:sqlite` has it, over TwillDB's storage.
 *
 * Invariants:
 * 1. Every member behaves as `bun:sqlite`'s; docs/guides/bun-differences.md lists what does not, and why. What cannot be
 *    supported throws an error that names it.
 * 2. A call that writes returns when its commit is durable in the medium of the connection string.
 * 3. A call never waits for something that only its own thread could do: it fails at once.
 */
import { toArrayBuffer, type Pointer } from "bun:ffi";
import { constants } from "./codes.ts";
import { Connection, tail, tailOffset } from "./connection.ts";
import { failureCode, failureOf, sqliteError } from "./errors.ts";
import {
  defineAggregate, defineFunction, quoted, setHooks, type AggregateOptions, type FunctionOptions, type Hooks, type SQLFunctionResult,
} from "./functions.ts";
import { engine } from "./library.ts";
import { answer, DONE, encodeName, encodeSql, isAnyArrayBuffer, outgoing } from "./memory.ts";
import { writeParameters, type Parameters, type SQLQueryBindings } from "./parameters.ts";
import { NativeStatement, Statement, type Changes } from "./statement.ts";
import { wrapTransaction, type Transaction } from "./transaction.ts";

/** Options of `new Database`. */
export interface DatabaseOptions {
  /** Only for reading; the database must exist. */
  readonly?: boolean | undefined;
  /** Create the database if it does not exist. Default: true, unless `readwrite` is given. */
  create?: boolean | undefined;
  /** For reading and writing. `false` is `readonly: true`. */
  readwrite?: boolean | undefined;
  /** INTEGERs are bigints, and a bigint parameter beyond 64 bits is a RangeError. Default: false. */
  safeIntegers?: boolean | undefined;
  /** A missing parameter is an error instead of NULL. Default: false. */
  strict?: boolean | undefined;
}

/** Hears of a changed row. Its database is busy meanwhile. */
export type UpdateHook = (
  this: Database,
  database: Database,
  tableName: string,
  rowid: number | bigint,
  schemaName: string,
) => void;

const EXECUTE_DISCARD = 2;
const PROPERTY_PARAMETERS = 1;

const INSERT = 18;
const UPDATE = 23;
const DELETE = 9;

const SQLITE_CANTOPEN = 14;
const SQLITE_MISUSE = 21;

/** SQL texts longer than this are not kept by `query()`. */
const CACHED_SQL_MAX = 65536;

let lastNumber = 0;

/**
 * A connection to a database. `filename` is a path or one of TwillDB's connection strings: `app.db`, `file:///srv/app.db`,
 * `memory://name`; `:memory:`, an empty text or nothing is a private database in memory.
 *
 * ```ts
 * import { Database } from "@twilldb/bun";
 *
 * using db = new Database("app.db");
 * db.run("CREATE TABLE IF NOT EXISTS note(body TEXT)");
 * db.run("INSERT INTO note VALUES (?)", ["durable when run() returns"]);
 * console.log(db.query("SELECT rowid, body FROM note").all());
 * ```
 */
export class Database implements Disposable {
  /** How many statements `query()` keeps for each database; the least recently used goes first. */
  static MAX_QUERY_CACHE_SIZE = 20;

  /** What was opened. */
  readonly filename: string;
  readonly #connection: Connection;
  readonly #number = ++lastNumber;
  readonly #cache = new Map<string, Statement<any, any>>();
  #hooks: Hooks = new Map();

  /** Opens a database; `options` may be SQLITE_OPEN_* flags. The image of a database may be given instead of a name. */
  constructor(filename?: string | NodeJS.TypedArray, options?: number | DatabaseOptions) {
    const settings: DatabaseOptions = typeof options === "object" && options !== null ? options : {};
    const strict = !!settings.strict;
    const safeIntegers = !!settings.safeIntegers;
    let handle: number;
    if (ArrayBuffer.isView(filename)) {
      handle = openImage(filename, !!settings.readonly);
      this.filename = ":memory:";
    } else {
      if (filename !== undefined && typeof filename !== "string") {
        throw new TypeError(`Expected 'filename' to be a string, got '${typeof filename}'`);
      }
      const name = filename === undefined ? ":memory:" : filename.trim();
      handle = openName(name, openFlags(options));
      this.filename = name;
    }
    this.#connection = new Connection(handle, strict, safeIntegers);
    // bun:sqlite's databases enforce foreign keys when they are asked to.
    this.#connection.execute("PRAGMA foreign_keys = OFF");
  }

  /** The same as `new Database()`. */
  static open(filename: string, options?: number | DatabaseOptions): Database {
    return new Database(filename, options);
  }

  /** A private database in memory with the content of `serialized`, an image from `serialize()` or a database file. */
  static deserialize(serialized: NodeJS.TypedArray | ArrayBufferLike, options: boolean | DatabaseOptions = false): Database {
    const image = isAnyArrayBuffer(serialized) ? new Uint8Array(serialized) : serialized;
    if (!ArrayBuffer.isView(image)) {
      throw new TypeError(`Expected 'serialized' to be a TypedArray or ArrayBuffer, got '${typeof serialized}'`);
    }
    return new Database(image, typeof options === "boolean" ? { readonly: options } : (options ?? {}));
  }

  /** Does nothing and returns false: TwillDB brings its own SQLite. */
  static setCustomSQLite(path: string): boolean {
    if (typeof path !== "string") throw new Error("Expected SQLite path");
    return false;
  }

  /** The connection, if statements can be made on it. */
  #open(): Connection {
    const connection = this.#connection;
    if (connection.busy !== 0) connection.enter();
    if (connection.closed !== 0) throw new Error("Database has closed");
    return connection;
  }

  /** A number that no other `Database` of this thread has. */
  get handle(): number {
    this.#connection.enter();
    return this.#number;
  }

  /** Whether a transaction is open. */
  get inTransaction(): boolean {
    return engine.engine_in_transaction(this.#open().handle) === 1;
  }

  /** Runs SQL, several statements if need be, and drops their rows. `params` are the first one's. */
  run<ParamsType extends SQLQueryBindings[]>(sql: string, ...params: ParamsType[] | ParamsType): Changes {
    const connection = this.#open();
    if (typeof sql !== "string") throw new Error("Expected SQL string");
    if (sql.length === 0) throw new Error("SQL string mustn't be blank");
    return runScript(connection, sql, params);
  }

  /** The same as `run()`. */
  declare exec: Database["run"];

  /** Compiles the first statement of `sql`. `params` are bound at once. */
  prepare<ReturnType = unknown, ParamsType extends SQLQueryBindings | SQLQueryBindings[] = any[]>(
    sql: string,
    params?: ParamsType,
    flags?: number,
  ): Statement<ReturnType, ParamsType extends any[] ? ParamsType : [ParamsType]> {
    void flags;
    const native = this.#compile(sql, false);
    if (params !== undefined && params !== null) native.bind([params]);
    return new Statement(native);
  }

  /** Compiles the first statement of `sql`, or gives the one that was compiled of the same text before. */
  query<ReturnType = unknown, ParamsType extends SQLQueryBindings | SQLQueryBindings[] = any[]>(
    sql: string,
  ): Statement<ReturnType, ParamsType extends any[] ? ParamsType : [ParamsType]> {
    if (typeof sql !== "string") throw new TypeError(`Expected 'query' to be a string, got '${typeof sql}'`);
    if (sql.length === 0) throw new Error("SQL query cannot be empty.");
    const cache = this.#cache;
    let statement = cache.get(sql);
    if (statement !== undefined) {
      cache.delete(sql);
      if (statement.isFinalized) statement = new Statement(this.#compile(sql, true));
      cache.set(sql, statement);
      return statement as never;
    }
    statement = new Statement(this.#compile(sql, true));
    const max = Database.MAX_QUERY_CACHE_SIZE;
    if (max > 0 && sql.length <= CACHED_SQL_MAX) {
      if (cache.size >= max) cache.delete(cache.keys().next().value as string);
      cache.set(sql, statement);
    }
    return statement as never;
  }

  #compile(sql: string, owned: boolean): NativeStatement {
    const connection = this.#connection;
    if (connection.busy !== 0) connection.enter();
    if (connection.closed !== 0) throw new RangeError("Cannot use a closed database");
    if (typeof sql !== "string") throw new Error("Expected SQL string");
    const { bytes, length } = encodeSql(sql);
    const handle = engine.engine_prepare(connection.handle, bytes, length, tail) as number;
    if (handle !== 0) return new NativeStatement(connection, handle, owned);
    if (failureCode(connection.handle) === 0) throw new RangeError("Invalid SQL statement");
    throw connection.failure();
  }

  /** Finalizes the statements that `query()` keeps. */
  clearQueryCache(): void {
    for (const statement of this.#cache.values()) statement.finalize();
    this.#cache.clear();
  }

  /** How many statements `query()` keeps. */
  get [Symbol.for("Bun.Database.cache.count") as any](): number {
    return this.#cache.size;
  }

  /**
   * A function that runs `body` in a transaction: committed when it returns, rolled back when it throws. Inside another
   * transaction it is a savepoint. `body` must be synchronous.
   */
  transaction<A extends any[], T>(body: (this: any, ...args: A) => T): Transaction<A, T> {
    if (typeof body !== "function") throw new TypeError("Expected first argument to be a function");
    return wrapTransaction(this, body, (sql) => new Statement(this.#compile(sql, true)), this.#connection);
  }

  /** Defines a SQL function that calls `call`, with as many arguments as it has parameters. */
  function(name: string, call: (...args: any[]) => SQLFunctionResult): this;
  function(name: string, options: FunctionOptions, call: (...args: any[]) => SQLFunctionResult): this;
  function(name: string, options: unknown, call?: unknown): this {
    const [settings, body] = typeof options === "function" ? [undefined, options] : [options, call];
    defineFunction(() => this.#open(), name, settings, body);
    return this;
  }

  /** Defines a SQL aggregate; with `inverse` it is a window function too. */
  aggregate<T = any>(name: string, options: AggregateOptions<T>): this {
    defineAggregate(() => this.#open(), name, options);
    return this;
  }

  /** Called for each row that this database inserts, while the statement runs; null for none. */
  get onInsert(): UpdateHook | null {
    return this.#hook(INSERT);
  }
  set onInsert(hook: UpdateHook | null | undefined) {
    this.#setHook(INSERT, hook);
  }

  /** Called for each row that this database updates, with the rowid it has then; null for none. */
  get onUpdate(): UpdateHook | null {
    return this.#hook(UPDATE);
  }
  set onUpdate(hook: UpdateHook | null | undefined) {
    this.#setHook(UPDATE, hook);
  }

  /** Called for each row that this database deletes; null for none. */
  get onDelete(): UpdateHook | null {
    return this.#hook(DELETE);
  }
  set onDelete(hook: UpdateHook | null | undefined) {
    this.#setHook(DELETE, hook);
  }

  #hook(action: number): UpdateHook | null {
    this.#connection.enter();
    return (this.#hooks.get(action) as UpdateHook | undefined) ?? null;
  }

  #setHook(action: number, hook: UpdateHook | null | undefined): void {
    const connection = this.#open();
    if (hook !== null && hook !== undefined && typeof hook !== "function") {
      throw new TypeError("Expected a function or null");
    }
    const hooks = new Map(this.#hooks);
    if (hook) hooks.set(action, hook);
    else hooks.delete(action);
    setHooks(connection, this, hooks);
    this.#hooks = hooks;
  }

  /** The database's image: the bytes of a file that any SQLite opens. */
  serialize(name?: string): Buffer {
    const connection = this.#connection;
    connection.enter();
    if (connection.closed !== 0) throw new Error("Can't do this on a closed database");
    const length = new BigUint64Array(1);
    const address = engine.engine_serialize(connection.handle, encodeName(String(name || "main")), new Uint8Array(length.buffer)) as Pointer | null;
    if (address === null) {
      // bun:sqlite's words for a schema that does not exist.
      if (failureCode(connection.handle) === SQLITE_ERROR) throw new Error("Out of memory");
      throw connection.failure();
    }
    return copyAndFree(address, Number(length[0]));
  }

  /** SQLite's file control, of what a storage can answer; the result code. */
  fileControl(op: number, arg?: NodeJS.ArrayBufferView | number | null): number;
  fileControl(schema: string, op: number, arg?: NodeJS.ArrayBufferView | number | null): number;
  fileControl(...given: unknown[]): number {
    const named = typeof given[0] === "string" || given.length > 2;
    const [schema, operation, argument] = named ? given : [null, given[0], given[1]];
    const connection = this.#connection;
    connection.enter();
    if (connection.closed !== 0) return undefined as unknown as number;
    if (typeof operation !== "number") throw new Error("Expected number");
    const bytes = controlArgument(argument);
    if (schema !== null && schema !== undefined && schema !== "main") {
      const schemas = this.prepare("PRAGMA database_list").values();
      // bun:sqlite's error for it has neither words nor a code.
      if (!schemas.some(([, name]) => name === schema)) throw sqliteError("not an error", 0);
    }
    return engine.engine_file_control(connection.handle, schema ? encodeName(String(schema)) : null, operation, bytes);
  }

  /** Always refused: TwillDB loads no extensions. */
  loadExtension(extension: string, entryPoint?: string): void {
    void entryPoint;
    const connection = this.#connection;
    connection.enter();
    if (connection.closed !== 0) throw new Error("Can't do this on a closed database");
    if (typeof extension !== "string") throw new TypeError("Expected string");
    throw new Error(`loadExtension is not supported by @twilldb/bun: ${extension} was not loaded`);
  }

  /**
   * Closes the database; an open transaction is rolled back. Statements of `prepare()` go on, and keep the database open,
   * until they are finalized or collected; with `throwOnError` all end now.
   */
  close(throwOnError = false): void {
    this.#connection.enter();
    this.#cache.clear();
    this.#connection.close(!!throwOnError);
  }

  [Symbol.dispose](): void {
    this.close(true);
  }
}

Object.defineProperty(Database.prototype, "exec", {
  value: Database.prototype.run, writable: true, enumerable: true, configurable: true,
});
// By this libraries tell a Database of bun:sqlite from one of node:sqlite.
(Database.prototype as any)[Symbol.for("sqlite-type")] = "bun:sqlite";

const SQLITE_ERROR = 1;

/** Runs every statement of a text; `params` are the first one's. Offsets of errors count from the text's start. */
function runScript(connection: Connection, sql: string, params: readonly unknown[]): Changes {
  const end = sql.indexOf("\0");
  // Memory of its own: a statement's functions may run SQL of another database before the next one is compiled.
  const script = Buffer.from(end < 0 ? sql : sql.slice(0, end), "utf8");
  let changes = 0;
  let ran = false;
  for (let from = 0; from < script.length; ) {
    const rest = from === 0 ? script : script.subarray(from);
    const statement = engine.engine_prepare(connection.handle, rest, rest.length, tail) as number;
    if (statement === 0) {
      if (failureCode(connection.handle) !== 0) throw connection.failure(connection.handle, from);
      break;
    }
    const next = from + tailOffset();
    try {
      const length = ran ? 0 : bindFirst(connection, statement, params);
      const block = length === 0 ? null : outgoing.bytes;
      const { bytes } = answer;
      const code = connection.wouldWaitForItself()
        ? connection.patiently(() => engine.engine_execute(statement, block, length, bytes, bytes.length, 0, EXECUTE_DISCARD))
        : engine.engine_execute(statement, block, length, bytes, bytes.length, 0, EXECUTE_DISCARD);
      if (code !== DONE) throw connection.errorOf(answer.resolve(), from);
      connection.note(answer.flags);
      changes += answer.changes;
    } finally {
      engine.engine_finalize(statement);
    }
    ran = true;
    from = next;
  }
  if (!ran) throw new Error("Query contained no valid SQL statement; likely empty query.");
  return changesOf(connection, changes);
}

function changesOf({ safeIntegers }: Connection, changes: number): Changes {
  return { changes, lastInsertRowid: safeIntegers ? answer.wideLastInsertRowid : answer.lastInsertRowid };
}

/** Writes the parameters of a script's first statement; the block's bytes, or 0 for none. */
function bindFirst(connection: Connection, handle: number, params: readonly unknown[]): number {
  if (params.length === 0) return 0;
  const first: Parameters = {
    count: engine.engine_statement_property(handle, PROPERTY_PARAMETERS),
    names: () => new NativeStatement(connection, handle, true).names(),
    strict: connection.strict,
    checkRange: connection.safeIntegers,
  };
  return writeParameters(outgoing, params, first) ? outgoing.length : 0;
}

/** The SQLITE_OPEN_* flags that `options` ask for. */
function openFlags(options: number | DatabaseOptions | undefined | null): number {
  const { SQLITE_OPEN_CREATE, SQLITE_OPEN_READONLY, SQLITE_OPEN_READWRITE } = constants;
  if (typeof options === "number") return options;
  if (typeof options !== "object" || options === null) return SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  if ("readOnly" in options) throw new TypeError('Misspelled option "readOnly" should be "readonly"');
  const { readonly, create, readwrite } = options;
  if (readonly || (readwrite !== undefined && !readwrite)) {
    if (create || readwrite) {
      throw new TypeError(
        'A read-only database ("readonly: true" or "readwrite: false") cannot have "create: true" or "readwrite: true"',
      );
    }
    return SQLITE_OPEN_READONLY;
  }
  if (!create && (create !== undefined || readwrite)) return SQLITE_OPEN_READWRITE;
  return SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
}

const ACCESS = constants.SQLITE_OPEN_READONLY | constants.SQLITE_OPEN_READWRITE | constants.SQLITE_OPEN_CREATE;

function openName(name: string, flags: number): number {
  const anonymous = name === "" || name === ":memory:";
  if (anonymous && (flags & constants.SQLITE_OPEN_READONLY) !== 0) {
    throw new Error("Cannot open an anonymous database in read-only mode.");
  }
  const access = flags & ACCESS;
  if (flags < 0 || ![1, 2, 6].includes(access)) throw sqliteError("bad parameter or other API misuse", SQLITE_MISUSE);
  if (name.includes("\0")) {
    throw new TypeError(`The argument 'filename' must be a string without null bytes. Received ${quoted(name)}`);
  }
  const inMemory = anonymous || (flags & constants.SQLITE_OPEN_MEMORY) !== 0;
  const url = Buffer.from(inMemory ? ":memory:" : name, "utf8");
  // A database in memory is created, whatever was asked.
  const handle = engine.engine_open_with(url, url.length, inMemory ? 0 : access) as number;
  if (handle === 0) throw openError(failureOf(0));
  return handle;
}

/** Where the file cannot be opened, SQLite's words; the engine's, with its reasons, are the cause. */
function openError(error: ReturnType<typeof failureOf>): Error {
  if ((error.errno & 0xff) !== SQLITE_CANTOPEN) return error;
  const plain = sqliteError("unable to open database file", SQLITE_CANTOPEN);
  plain.cause = error.message;
  return plain;
}

function openImage(image: NodeJS.ArrayBufferView, readonly: boolean): number {
  if (image.byteLength === 0) throw new Error("ArrayBuffer must not be empty");
  const bytes = new Uint8Array(image.buffer, image.byteOffset, image.byteLength);
  const flags = readonly ? constants.SQLITE_OPEN_READONLY : 0;
  const handle = engine.engine_deserialize(bytes, bytes.length, flags) as number;
  if (handle === 0) throw failureOf(0);
  return handle;
}

/** What a file control reads and writes: at least 8 bytes. */
function controlArgument(argument: unknown): Uint8Array {
  if (typeof argument === "number") return new Uint8Array(Int32Array.of(argument, 0).buffer);
  if (argument === null || argument === undefined) return new Uint8Array(Int32Array.of(-1, -1).buffer);
  if (!ArrayBuffer.isView(argument)) throw new Error("Expected result to be a number, null or a TypedArray");
  if (argument.byteLength < 8) throw new Error("TypedArray must be at least 8 bytes");
  return new Uint8Array(argument.buffer, argument.byteOffset, argument.byteLength);
}

/** Memory of the library as a buffer of JavaScript's. */
function copyAndFree(address: Pointer, length: number): Buffer {
  try {
    return length === 0 ? Buffer.alloc(0) : Buffer.from(new Uint8Array(toArrayBuffer(address, 0, length)));
  } finally {
    engine.engine_batch_free(address, null);
  }
}

