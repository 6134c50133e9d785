/**
 * The asynchronous API: a connection whose SQL runs on a native thread of its own.
 *
 * ```text
 *  query() ──► gate ──► request ──► native thread ──► mailbox ──► rows
 *              │ a transaction holds the gate while it runs: everything else of its session waits behind it
 * ```
 *
 * Invariants:
 * 1. Nothing here waits on the JavaScript thread: not for the writer slot, not for a disk, not for a network.
 * 2. The requests of a session run in the order in which they were made. While a transaction is open on it only what goes
 *    through the transaction runs; the rest waits, in order.
 * 3. A query of the connection from inside its own transaction's body would wait for itself: it fails at once.
 * 4. A promise of something that writes is fulfilled when the commit is durable. An aborted one is rejected only when the
 *    library has said that it did not happen.
 * 5. A connection that nobody reaches any more is closed by the garbage collector, and so it is when its Worker dies; an
 *    open transaction is rolled back, and its writer slot given back.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import type { Pointer } from "bun:ffi";
import { anchorOf } from "../connection.ts";
import { constants } from "../codes.ts";
import { failureOf, sqliteError } from "../errors.ts";
import { addressOf, engine } from "../library.ts";
import {
  answer, Block, cell, DONE, encodeSql, FLAG_ELSEWHERE, losslessCell, readArrays, ROW, rowShape, wideCell, type Batch, type ReadCell, type Value,
} from "../memory.ts";
import { writeParameters } from "../parameters.ts";
import type { Changes } from "../statement.ts";
import { threadMailbox, type Mailbox } from "./mailbox.ts";
import { parse } from "./parse.ts";
import { tagOf, type IterateOptions, type Params, type Queryable, type QueryOptions, type SqlTag } from "./query.ts";

/** How a connection is opened. */
export interface ConnectOptions {
  /** Only for reading; the database must exist. Default: false. */
  readonly?: boolean | undefined;
  /** Create the database if it does not exist. Default: true. */
  create?: boolean | undefined;
  /** How long a writer waits for its turn, in milliseconds. Default: the connection string's, or 5000. */
  busyTimeout?: number | undefined;
  /** Tell every INTEGER as a bigint. Default: numbers, and bigints beyond 2^53 - 1. */
  safeIntegers?: boolean | undefined;
}

/** How a transaction runs. */
export interface TransactionOptions extends QueryOptions {
  /**
   * `immediate` takes the writer slot at the start, so that what was read cannot be outdated when it is written;
   * `deferred` takes it at the first write, which then may fail with SQLITE_BUSY_SNAPSHOT. Default: `immediate`, on a
   * read-only connection `deferred`.
   */
  mode?: "deferred" | "immediate" | undefined;
}

const EXECUTE_RESET = 1;
const EXECUTE_DISCARD = 2;
const EXECUTE_NAMES = 4;

/** The largest answer of `query()`; more than fits is for `iterate()`. */
const ANSWER_BYTES_MAX = 2 ** 31;
const STREAM_BYTES = 64 * 1024;
const SQLITE_INTERRUPT = 9;

const block = new Block();

/** The native connection, and how a request is made on it. */
class Native {
  closed = false;
  anchor: ArrayBuffer | undefined;

  constructor(
    readonly handle: number,
    readonly mailbox: Mailbox,
  ) {
    this.anchor = anchorOf(handle, addressOf("engine_connection_drop"));
  }

  /**
   * Makes a request, and reads its answer with `read` when it is complete. `make` gives the request's number, or 0. With
   * a `signal` the request is cancelled when it is aborted; what was past cancelling is fulfilled all the same.
   */
  request<T>(make: () => number, read: (batch: Batch) => T, signal?: AbortSignal): Promise<T> {
    const { handle, mailbox } = this;
    const request = make();
    if (request === 0) return Promise.reject(failureOf(handle));
    return new Promise<T>((resolve, reject) => {
      const cancel = (): void => void engine.engine_async_cancel(handle, request);
      signal?.addEventListener("abort", cancel);
      mailbox.expect(handle, request, () => {
        signal?.removeEventListener("abort", cancel);
        try {
          resolve(this.#take(request, read, signal));
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  #take<T>(request: number, read: (batch: Batch) => T, signal: AbortSignal | undefined): T {
    const code = engine.engine_async_take(this.handle, request, answer.bytes, answer.bytes.length);
    const elsewhere: Pointer | null = answer.flags & FLAG_ELSEWHERE ? answer.address : null;
    const batch = answer.resolve();
    try {
      if (code === DONE || code === ROW) return read(batch);
      if (signal?.aborted && (code & 0xff) === SQLITE_INTERRUPT) throw signal.reason;
      throw sqliteError(batch.message, batch.code, batch.changes);
    } finally {
      if (elsewhere !== null) engine.engine_batch_free(elsewhere, null);
    }
  }

  close(): void {
    this.closed = true;
    this.anchor = undefined;
    this.mailbox.forget(this.handle);
    engine.engine_close(this.handle);
  }
}

/** Transactions whose body is running in this asynchronous context, innermost first. */
const bodies = new AsyncLocalStorage<{ session: Session; outer: unknown } | undefined>();

interface Waiter {
  start: () => void;
  signal: AbortSignal | undefined;
}

/** What SQL can be run on: a connection, or a transaction on it. */
abstract class Session implements Queryable {
  /** The tag of templates whose values are bound: ``db.sql`SELECT * FROM users WHERE id = ${id}` ``. */
  readonly sql: SqlTag = tagOf(this);
  /** @internal */
  protected readonly native: Native;
  protected readonly read: ReadCell;
  protected readonly readOnly: boolean;
  /** Open iterators, which end with their session. */
  protected readonly streams = new Set<() => void>();
  #transaction = false;
  readonly #waiting: Waiter[] = [];
  protected readonly signal: AbortSignal | undefined;

  /** @internal */
  constructor(native: Native, read: ReadCell, readOnly: boolean, signal?: AbortSignal) {
    this.native = native;
    this.read = read;
    this.readOnly = readOnly;
    this.signal = signal;
  }

  /** Refuses to go on when the session has ended, or is ending. */
  protected abstract check(): void;
  /** Refuses to go on when the session has ended. */
  protected abstract checkEnd(): void;

  // -- the gate ----------------------------------------------------------------------------------------------------

  /** Runs `start` when it is this session's turn; at once unless a transaction runs. */
  #inTurn<T>(start: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    try {
      this.check();
      signal?.throwIfAborted();
      this.refuseOwnBody();
    } catch (error) {
      return Promise.reject(error);
    }
    if (!this.#transaction && this.#waiting.length === 0) return start();
    return new Promise<T>((resolve, reject) => {
      const leave = (): void => {
        const at = this.#waiting.indexOf(waiter);
        if (at >= 0) this.#waiting.splice(at, 1);
        reject(signal?.reason);
      };
      const waiter: Waiter = {
        signal,
        start: () => {
          signal?.removeEventListener("abort", leave);
          try {
            this.checkEnd();
            start().then(resolve, reject);
          } catch (error) {
            reject(error);
          }
        },
      };
      signal?.addEventListener("abort", leave);
      this.#waiting.push(waiter);
    });
  }

  /** A body that used this session instead of its transaction would wait for itself. */
  protected refuseOwnBody(): void {
    if (!this.#transaction) return;
    for (let body = bodies.getStore(); body !== undefined; body = body.outer as typeof body) {
      if (body.session === this) {
        throw new Error(
          "this would wait for the transaction it is called from: inside transaction(async (tx) => ...) use tx, not the connection",
        );
      }
    }
  }

  #next(): void {
    while (!this.#transaction) {
      const waiter = this.#waiting.shift();
      if (waiter === undefined) return;
      waiter.start();
    }
  }

  // -- queries -----------------------------------------------------------------------------------------------------

  /** All rows, as objects. `sql` is one statement; `params` a list, or values by name. */
  query<Row = Record<string, Value>>(sql: string, params: Params = [], options: QueryOptions = {}): Promise<Row[]> {
    return this.#ask(sql, params, options, 0, EXECUTE_NAMES | EXECUTE_RESET, (batch) => {
      const rows: object[] = [];
      if (batch.columns !== 0) rowShape(namesOf(batch), this.read, undefined).all(batch, rows, 1);
      return rows as Row[];
    });
  }

  /** The first row, as an object, or null. Later rows are not computed. */
  first<Row = Record<string, Value>>(sql: string, params: Params = [], options: QueryOptions = {}): Promise<Row | null> {
    return this.#ask(sql, params, options, 1, EXECUTE_NAMES | EXECUTE_RESET, (batch) => {
      if (batch.columns === 0 || batch.rows < 2) return null;
      const rows: object[] = [];
      rowShape(namesOf(batch), this.read, undefined).all(batch, rows, 1);
      return rows[0] as Row;
    });
  }

  /** All rows, as arrays. */
  values(sql: string, params: Params = [], options: QueryOptions = {}): Promise<Value[][]> {
    return this.#ask(sql, params, options, 0, EXECUTE_RESET, (batch) => {
      const rows: Value[][] = [];
      if (batch.columns !== 0) readArrays(batch, rows, this.read);
      return rows;
    });
  }

  /** Runs to the end, and tells what changed. Outside a transaction that is durable then. */
  run(sql: string, params: Params = [], options: QueryOptions = {}): Promise<Changes> {
    return this.#ask(sql, params, options, 0, EXECUTE_DISCARD, (batch) => this.#changes(batch));
  }

  /** Runs a text of any number of statements, up to the first that fails, and drops their rows. */
  exec(sql: string, options: QueryOptions = {}): Promise<void> {
    const signal = options.signal ?? this.signal;
    return this.#inTurn(
      () =>
        this.native.request(
          () => {
            const { bytes, length } = encodeSql(sql);
            return engine.engine_async_script(this.native.handle, bytes, length, 0) as number;
          },
          () => undefined,
          signal,
        ),
      signal,
    );
  }

  #changes(batch: Batch): Changes {
    const rowid = batch.wideLastInsertRowid;
    const exact = this.read === wideCell || BigInt.asIntN(54, rowid) !== rowid;
    return { changes: batch.changes, lastInsertRowid: exact ? rowid : Number(rowid) };
  }

  #ask<T>(
    sql: string,
    params: Params,
    options: QueryOptions,
    rowsMax: number,
    flags: number,
    read: (batch: Batch) => T,
  ): Promise<T> {
    const signal = options.signal ?? this.signal;
    return this.#inTurn(async () => {
      const make = (): number => this.#submit(sql, params, ANSWER_BYTES_MAX, rowsMax, flags);
      return this.native.request(
        make,
        (batch) => {
          if (rowsMax === 0 && batch.code === ROW && batch.statement !== 0) {
            engine.engine_finalize(batch.statement);
            throw new RangeError("the result is larger than 2 GiB: use iterate()");
          }
          if (batch.statement !== 0) engine.engine_finalize(batch.statement);
          return read(batch);
        },
        signal,
      );
    }, signal);
  }

  /** Sends a query; its request's number. Reads `params` before it returns. */
  #submit(sql: string, params: Params, bytesMax: number, rowsMax: number, flags: number): number {
    if (typeof sql !== "string") throw new TypeError(`Expected 'sql' to be a string, got '${typeof sql}'`);
    const { count, names, several } = parse(sql);
    if (several) throw new Error("more than one statement: use exec(), which runs a text of several");
    let length = 0;
    if (count !== 0 || !isEmpty(params)) {
      writeParameters(block, [params], { count, names: () => names, strict: true, checkRange: true });
      length = block.length;
    }
    const text = encodeSql(sql);
    return engine.engine_async_query(
      this.native.handle, text.bytes, text.length, length === 0 ? null : block.bytes, length, bytesMax, rowsMax, flags, 0,
    ) as number;
  }

  /**
   * The rows one by one. A batch of them is fetched when the last one is used up, so they are never all in memory. Until
   * the end the connection keeps the snapshot it reads; leaving the loop early lets it go.
   */
  async *iterate<Row = Record<string, Value>>(
    sql: string,
    params: Params = [],
    options: IterateOptions = {},
  ): AsyncGenerator<Row, void, void> {
    const { native } = this;
    const signal = options.signal ?? this.signal;
    const rowsMax = options.batch ?? 0;
    if (!Number.isInteger(rowsMax) || rowsMax < 0) throw new RangeError("batch is a number of rows");
    let statement = 0;
    let ended = false;
    let columns: string[] = [];
    const end = (): void => {
      ended = true;
      this.streams.delete(end);
      if (statement !== 0 && !native.closed) engine.engine_finalize(statement);
      statement = 0;
    };
    const read = (first: boolean) => (batch: Batch): Row[] => {
      statement = batch.statement;
      if (first && batch.columns !== 0) columns = namesOf(batch);
      const rows: object[] = [];
      if (batch.columns !== 0) rowShape(columns, this.read, undefined).all(batch, rows, first ? 1 : 0);
      if (batch.code === DONE) {
        // Finalized by the library, or by us: there is no more to come.
        if (statement !== 0) engine.engine_finalize(statement);
        statement = 0;
      }
      return rows as Row[];
    };
    this.streams.add(end);
    try {
      let rows = await this.#inTurn(
        async () => native.request(() => this.#submit(sql, params, STREAM_BYTES, rowsMax, EXECUTE_NAMES), read(true), signal),
        signal,
      );
      for (;;) {
        yield* rows;
        if (ended) this.check();
        if (statement === 0) return;
        const following = (): number => engine.engine_async_next(statement, STREAM_BYTES, rowsMax, 0, 0) as number;
        rows = await this.#inTurn(async () => native.request(following, read(false), signal), signal);
      }
    } finally {
      end();
    }
  }

  // -- transactions ------------------------------------------------------------------------------------------------

  /**
   * Runs `body` in a transaction: committed when its promise is fulfilled, rolled back when it is rejected. What is asked
   * of the connection meanwhile waits until the transaction has ended. Inside a transaction this is a savepoint.
   */
  transaction<T>(body: (tx: Transaction) => T | Promise<T>, options: TransactionOptions = {}): Promise<T> {
    const signal = options.signal ?? this.signal;
    return this.#inTurn(() => this.#transact(body, options, signal), signal);
  }

  protected abstract readonly begin: (mode: "deferred" | "immediate") => string;
  protected abstract readonly commit: string;
  protected abstract readonly rollback: string[];

  async #transact<T>(
    body: (tx: Transaction) => T | Promise<T>,
    options: TransactionOptions,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    this.#transaction = true;
    const mode = options.mode ?? (this.readOnly ? "deferred" : "immediate");
    try {
      await this.#command(this.begin(mode), signal);
      const tx = new Transaction(this.native, this.read, this.readOnly, signal);
      try {
        const result = await bodies.run({ session: this, outer: bodies.getStore() }, async () => body(tx));
        await tx.end();
        signal?.throwIfAborted();
        await this.#command(this.commit);
        return result;
      } catch (error) {
        await tx.end();
        for (const sql of this.rollback) {
          // The engine may have rolled back already; the first error says why.
          await this.#command(sql).catch(() => undefined);
        }
        throw error;
      }
    } finally {
      this.#transaction = false;
      this.#next();
    }
  }

  #command(sql: string, signal?: AbortSignal): Promise<void> {
    return this.native.request(() => this.#submit(sql, [], 0, 0, EXECUTE_DISCARD), () => undefined, signal);
  }

  /** Waits for what holds the gate, and lets nothing more in after `last`. */
  protected lastInTurn(last: () => Promise<void>): Promise<void> {
    return this.#inTurn(last, undefined);
  }
}

/** A transaction; it ends with the body that it was given to. */
export class Transaction extends Session {
  #ended = false;

  protected override check(): void {
    if (this.native.closed) throw new Error("Database has closed");
    if (this.#ended) throw new Error("the transaction has ended");
  }

  protected override checkEnd(): void {
    this.check();
  }

  protected override readonly begin = (): string => 'SAVEPOINT "twilldb transaction"';
  protected override readonly commit = 'RELEASE "twilldb transaction"';
  protected override readonly rollback = ['ROLLBACK TO "twilldb transaction"', 'RELEASE "twilldb transaction"'];

  /** @internal Ends the session once what was asked of it is done. */
  async end(): Promise<void> {
    if (this.#ended) return;
    await this.lastInTurn(async () => {
      this.#ended = true;
      for (const stream of this.streams) stream();
    });
  }
}

/**
 * A connection of the asynchronous API, from `connect()`.
 *
 * ```ts
 * import { connect } from "@twilldb/bun";
 *
 * await using db = await connect("file://./app.db");
 * await db.exec("CREATE TABLE IF NOT EXISTS note(body TEXT)");
 * await db.sql`INSERT INTO note VALUES (${"bound, not spliced"})`;
 * for await (const row of db.sql`SELECT rowid, body FROM note`) console.log(row);
 * ```
 */
export class AsyncDatabase extends Session implements AsyncDisposable {
  /** The connection string. Send it to a Worker, and `connect` there: the storage is shared. */
  readonly url: string;
  #closing: Promise<void> | undefined;

  /** @internal */
  constructor(native: Native, read: ReadCell, readOnly: boolean, url: string) {
    super(native, read, readOnly);
    this.url = url;
  }

  protected override check(): void {
    if (this.#closing !== undefined) throw new Error("Database has closed");
    this.checkEnd();
  }

  protected override checkEnd(): void {
    if (this.native.closed) throw new Error("Database has closed");
  }

  protected override readonly begin = (mode: string): string => `BEGIN ${mode.toUpperCase()}`;
  protected override readonly commit = "COMMIT";
  protected override readonly rollback = ["ROLLBACK"];

  /** Closes the connection when everything that was asked of it is done. */
  async close(): Promise<void> {
    if (this.#closing === undefined) {
      this.refuseOwnBody();
      this.#closing = this.lastInTurn(() => this.#close());
    }
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { native } = this;
    for (const stream of this.streams) stream();
    try {
      await native.request(() => engine.engine_async_close(native.handle) as number, () => undefined);
    } finally {
      native.close();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Opens a database without blocking: a path, or one of TwillDB's connection strings. */
export async function connect(url: string, options: ConnectOptions = {}): Promise<AsyncDatabase> {
  if (typeof url !== "string") throw new TypeError(`Expected 'url' to be a string, got '${typeof url}'`);
  if (url.includes("\0")) throw new TypeError("a connection string has no NUL characters");
  const { SQLITE_OPEN_CREATE, SQLITE_OPEN_READONLY, SQLITE_OPEN_READWRITE } = constants;
  const flags = options.readonly
    ? SQLITE_OPEN_READONLY
    : options.create === false
      ? SQLITE_OPEN_READWRITE
      : options.create
        ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
        : 0;
  const mailbox = await threadMailbox();
  const name = Buffer.from(url === "" ? ":memory:" : url, "utf8");
  const handle = engine.engine_async_open_mailbox(name, name.length, flags, mailbox.handle) as number;
  if (handle === 0) throw failureOf(0);
  const native = new Native(handle, mailbox);
  try {
    // Opening is a connection's first request.
    await native.request(() => 1, () => undefined);
    if (options.busyTimeout !== undefined) engine.engine_set_busy_timeout(handle, options.busyTimeout);
  } catch (error) {
    native.close();
    throw error;
  }
  const read = options.safeIntegers ? wideCell : losslessCell;
  return new AsyncDatabase(native, read, !!options.readonly, url);
}

/** The columns' names, which are the first row of a batch that was asked for with them. */
function namesOf(batch: Batch): string[] {
  const names: Value[][] = [];
  readArrays(batch, names, cell, 0, 1);
  return names[0] as string[];
}

function isEmpty(params: Params): boolean {
  return Array.isArray(params) && params.length === 0;
}
