/**
 * One native connection, as the classes of `bun:sqlite` share it: its handle, who may use it, and when it goes.
 *
 * Invariants:
 * 1. While a callback of this connection runs (`busy`), every other use of it is refused: SQLite is in the middle of a
 *    statement.
 * 2. What a callback threw is thrown, the same value, by the call that ran the SQL.
 * 3. A connection that nobody reaches any more is dropped by the garbage collector, and so it is when its thread, a
 *    Worker, dies at whatever moment: the library is told by the deallocator of `anchor`, which JavaScriptCore runs in
 *    both cases. Its open transaction is rolled back.
 * 4. After `close(false)` prepared statements keep working, and the native connection lives until the last one is
 *    finalized or collected; after `close(true)` nothing works.
 */
import { CString, toArrayBuffer, type Pointer } from "bun:ffi";
import { failureOf, sqliteError } from "./errors.ts";
import { addressOf, engine } from "./library.ts";
import { answer, DONE, encodeSql, FLAG_IN_TRANSACTION, type Batch } from "./memory.ts";

/** Memory that counts as used with each connection and statement, so that the collector comes by for them. */
const CONNECTION_BYTES = 65536;
const STATEMENT_BYTES = 4096;

const anchorAddress = engine.engine_anchor() as Pointer;
const dropConnection = addressOf("engine_connection_drop");
const dropStatement = addressOf("engine_statement_drop");

/** `toArrayBuffer`, with the deallocator that its declaration leaves out. */
const view = toArrayBuffer as (at: Pointer, from: number, bytes: number, context: number, drop: Pointer) => ArrayBuffer;

/** What keeps a statement alive: once it is collected, the statement is finalized. */
export function anchorStatement(handle: number): ArrayBuffer {
  return view(anchorAddress, 0, STATEMENT_BYTES, handle, dropStatement);
}

/** What keeps something else alive; the same, for a function of the library that lets it go. */
export function anchorOf(handle: number, drop: Pointer): ArrayBuffer {
  return view(anchorAddress, 0, CONNECTION_BYTES, handle, drop);
}

const NOTHING = Symbol("nothing was thrown");

const EXECUTE_DISCARD = 2;

/** Connections of this thread that are inside a transaction: those whose writer slot a sibling would wait for in vain. */
const inTransaction = new Set<Connection>();

export class Connection {
  /** How many callbacks of this connection are running. */
  busy = 0;
  /** 0: open. 1: closed, prepared statements go on. 2: closed. */
  closed: 0 | 1 | 2 = 0;
  /** Statements of `prepare()` that were not finalized; collected ones are still counted. */
  prepared = 0;
  /** Whether the last answer told of an open transaction. */
  transaction = false;
  /** See invariant 3. */
  anchor: ArrayBuffer | undefined;
  #thrown: unknown = NOTHING;
  #url: string | undefined;

  constructor(
    readonly handle: number,
    readonly strict: boolean,
    readonly safeIntegers: boolean,
  ) {
    this.anchor = anchorOf(handle, dropConnection);
  }

  /** Refuses to go on from inside a callback. */
  enter(): void {
    if (this.busy !== 0) throw new TypeError("This database connection is busy executing a query");
  }

  /** The URL of the storage, the same for every connection of the process that shares it. */
  get url(): string {
    if (this.#url === undefined) {
      const url = engine.engine_url(this.handle) as Pointer | null;
      this.#url = url === null ? "" : String(new CString(url));
    }
    return this.#url;
  }

  /** Notes what a callback threw. The first one counts. */
  fail(thrown: unknown): void {
    if (this.#thrown === NOTHING) this.#thrown = thrown;
  }

  get failed(): boolean {
    return this.#thrown !== NOTHING;
  }

  /** What to throw for `batch`, an error batch: what a callback threw, or SQLite's error. */
  errorOf(batch: Batch, base = 0): unknown {
    if (this.#thrown !== NOTHING) return this.#take();
    const offset = batch.changes;
    return sqliteError(batch.message, batch.code, offset < 0 ? -1 : base + offset);
  }

  /** What to throw after a call that answers no batch failed. */
  failure(handle = this.handle, base = 0): unknown {
    return this.#thrown === NOTHING ? failureOf(handle, base) : this.#take();
  }

  #take(): unknown {
    const thrown = this.#thrown;
    this.#thrown = NOTHING;
    return thrown;
  }

  /** Keeps `transaction` current; to be called with the flags of every batch. */
  note(flags: number): void {
    const open = (flags & FLAG_IN_TRANSACTION) !== 0;
    if (open !== this.transaction) {
      this.transaction = open;
      if (open) inTransaction.add(this);
      else inTransaction.delete(this);
    }
  }

  /**
   * Whether waiting for the writer slot might be waiting for this very thread: another connection of it is inside a
   * transaction of the same database. Such a call must not wait.
   */
  wouldWaitForItself(): boolean {
    if (inTransaction.size === 0 || this.transaction) return false;
    for (const other of inTransaction) if (other.url === this.url) return true;
    return false;
  }

  /** Runs `call` without waiting for the writer slot if that could be for ever. */
  patiently(call: () => number): number {
    if (!this.wouldWaitForItself()) return call();
    const milliseconds = busyTimeout(this.handle);
    engine.engine_set_busy_timeout(this.handle, 0);
    try {
      return call();
    } finally {
      engine.engine_set_busy_timeout(this.handle, milliseconds);
    }
  }

  /** Runs one statement without parameters. */
  execute(sql: string): void {
    const { bytes, length } = encodeSql(sql);
    const statement = engine.engine_prepare(this.handle, bytes, length, tail) as number;
    if (statement === 0) throw this.failure();
    try {
      const code = engine.engine_execute(statement, null, 0, answer.bytes, answer.bytes.length, 0, EXECUTE_DISCARD);
      this.note(answer.flags);
      if (code !== DONE) throw this.errorOf(answer);
    } finally {
      engine.engine_finalize(statement);
    }
  }

  /** A prepared statement was finalized. */
  released(): void {
    this.prepared--;
    if (this.closed === 1 && this.prepared === 0) this.#release();
  }

  close(finalizeAll: boolean): void {
    if (this.closed === 2) return;
    if (finalizeAll || this.prepared === 0) this.#release();
    else this.closed = 1;
  }

  #release(): void {
    this.closed = 2;
    this.transaction = false;
    inTransaction.delete(this);
    this.anchor = undefined;
    engine.engine_close(this.handle);
  }
}

/** Where prepare says how much of a text it read. */
export const tail = new Uint8Array(8);
const tailNumber = new DataView(tail.buffer);
export function tailOffset(): number {
  return tailNumber.getUint32(0, true);
}

const status = new DataView(new ArrayBuffer(40));

/** How long a writer waits for its turn, in milliseconds. */
function busyTimeout(handle: number): number {
  return engine.engine_status_of(handle, status) === 0 ? status.getUint32(32, true) : 0;
}
