/**
 * Values on their way to and from the library: parameter blocks and row batches, as docs/format/row-batch.md draws them.
 *
 * Invariants:
 * 1. Nothing that is given to JavaScript points into memory that the library could free or write again: texts and blobs
 *    are copied out of a batch while it is read.
 * 2. `outgoing` is read by the library before it runs any SQL, so one block serves every call of the thread. A batch is
 *    written *while* SQL runs, and a user function may run SQL of another database meanwhile: there is one `incoming`
 *    for each depth of such calls.
 * 3. A buffer that had to grow for one huge value is let go with the next call.
 */
import { toArrayBuffer, type Pointer } from "bun:ffi";

export const ROW = 100;
export const DONE = 101;

export const FLAG_ELSEWHERE = 8;
export const FLAG_IN_TRANSACTION = 32;

/** Bytes of a batch's header. */
export const HEADER_BYTES = 88;
const TAG_WIDE = 0x01;
const TAG_REAL = 0x02;
const TAG_TEXT = 0x03;
const TAG_BLOB = 0x04;
const TAG_NULL = 0x05;
const TAG_INTEGER = 0x11;
const TAG_ASCII = 0x13;

/** What SQLite stores, as JavaScript sees it. */
export type Value = null | number | bigint | string | Uint8Array;

/** A buffer of Bun's with the methods that decode and encode without a detour. */
type Bytes = Buffer & {
  latin1Slice(from: number, to: number): string;
  utf8Slice(from: number, to: number): string;
  utf8Write(text: string, at: number, length: number): number;
};

// ---------------------------------------------------------------------------------------------------------------------
// Row batches

/** Memory that holds a row batch, under the views that read it. */
export class Batch {
  readonly bytes: Bytes;
  readonly u8: Uint8Array;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly f64: Float64Array;
  readonly i64: BigInt64Array;

  constructor(memory: ArrayBuffer) {
    this.bytes = Buffer.from(memory) as Bytes;
    this.u8 = new Uint8Array(memory);
    this.u32 = new Uint32Array(memory, 0, memory.byteLength >>> 2);
    this.i32 = new Int32Array(memory, 0, memory.byteLength >>> 2);
    this.f64 = new Float64Array(memory, 0, memory.byteLength >>> 3);
    this.i64 = new BigInt64Array(memory, 0, memory.byteLength >>> 3);
  }

  get flags(): number {
    return this.u32[1];
  }
  get rows(): number {
    return this.u32[2];
  }
  get columns(): number {
    return this.u32[3];
  }
  get code(): number {
    return this.i32[7];
  }
  get changes(): number {
    return this.i32[9] * 4294967296 + this.u32[8];
  }
  get lastInsertRowid(): number {
    return this.i32[13] * 4294967296 + this.u32[12];
  }
  get wideLastInsertRowid(): bigint {
    return this.i64[6];
  }
  /** Where the batch is, with FLAG_ELSEWHERE. */
  get address(): Pointer {
    return (this.u32[15] * 4294967296 + this.u32[14]) as Pointer;
  }
  get length(): number {
    return this.u32[17] * 4294967296 + this.u32[16];
  }
  get statement(): number {
    return this.u32[19] * 4294967296 + this.u32[18];
  }
  /** Grows when the statement's columns may have become others. */
  get compiled(): number {
    return this.u32[20];
  }

  /** The batch itself: this one, or the one in the library's memory that this header tells of. */
  resolve(): Batch {
    return this.flags & FLAG_ELSEWHERE ? new Batch(toArrayBuffer(this.address, 0, this.length)) : this;
  }

  /** An error batch's message. */
  get message(): string {
    const from = this.u32[5];
    return this.bytes.utf8Slice(from, from + Math.max(0, this.u32[6] - 1));
  }
}

const BATCH_BYTES = 256 * 1024;
const incoming: Batch[] = [];
let depth = 0;

/** The batch that the library writes into at this depth of calls. */
export let answer = enter(0);

function enter(at: number): Batch {
  return (incoming[at] ??= new Batch(new ArrayBuffer(BATCH_BYTES)));
}

/** Runs a callback that C called in the middle of a call, with a batch of its own. */
export function nested(body: () => void): void {
  depth++;
  answer = enter(depth);
  try {
    body();
  } finally {
    depth--;
    answer = enter(depth);
  }
}

/** Reads one cell: `tag` is its tag's place, `slot` its payload's in units of 8 bytes. */
export function cell(batch: Batch, tag: number, slot: number, heap: number): Value {
  switch (batch.u8[tag]) {
    case TAG_INTEGER:
    case TAG_REAL:
      return batch.f64[slot];
    case TAG_ASCII: {
      const from = heap + batch.u32[2 * slot];
      return batch.bytes.latin1Slice(from, from + batch.u32[2 * slot + 1]);
    }
    case TAG_TEXT: {
      const from = heap + batch.u32[2 * slot];
      return batch.bytes.utf8Slice(from, from + batch.u32[2 * slot + 1]);
    }
    case TAG_NULL:
      return null;
    case TAG_BLOB: {
      const from = heap + batch.u32[2 * slot];
      return batch.u8.slice(from, from + batch.u32[2 * slot + 1]);
    }
    default:
      return Number(batch.i64[slot]);
  }
}

/** Reads one cell, every INTEGER as a bigint. */
export function wideCell(batch: Batch, tag: number, slot: number, heap: number): Value {
  switch (batch.u8[tag]) {
    case TAG_INTEGER:
      return BigInt(batch.f64[slot]);
    case TAG_WIDE:
      return batch.i64[slot];
    default:
      return cell(batch, tag, slot, heap);
  }
}

/** Reads one cell; an INTEGER that a number cannot hold is a bigint. */
export function losslessCell(batch: Batch, tag: number, slot: number, heap: number): Value {
  return batch.u8[tag] === TAG_WIDE ? batch.i64[slot] : cell(batch, tag, slot, heap);
}

/** Reads one cell as the bytes that SQLite keeps of it: 8 of an INTEGER or REAL, little-endian. */
export function byteCell(batch: Batch, tag: number, slot: number, heap: number): Uint8Array | null {
  switch (batch.u8[tag]) {
    case TAG_NULL:
      return null;
    case TAG_INTEGER:
      return new Uint8Array(BigInt64Array.of(BigInt(batch.f64[slot])).buffer);
    case TAG_WIDE:
    case TAG_REAL:
      return batch.u8.slice(8 * slot, 8 * slot + 8);
    default: {
      const from = heap + batch.u32[2 * slot];
      return batch.u8.slice(from, from + batch.u32[2 * slot + 1]);
    }
  }
}

/** How a value is read: `cell`, `wideCell` or `losslessCell`. */
export type ReadCell = typeof cell;

/** Appends the rows of a batch, from row `from` to before row `rows`, to `into` as arrays. */
export function readArrays<Cell>(
  batch: Batch,
  into: Cell[][],
  read: (batch: Batch, tag: number, slot: number, heap: number) => Cell,
  from = 0,
  rows = batch.rows,
): void {
  const { columns } = batch;
  const stride = batch.u32[4];
  const heap = batch.u32[5];
  for (let row = from, at = HEADER_BYTES + from * stride; row < rows; row++, at += stride) {
    const slot = at >>> 3;
    const tag = at + 8 * columns;
    const values: Cell[] = new Array(columns);
    for (let column = 0; column < columns; column++) values[column] = read(batch, tag + column, slot + column, heap);
    into.push(values);
  }
}

const TYPE_NAMES = [null, "INTEGER", "FLOAT", "TEXT", "BLOB", "NULL"] as const;

/** The storage classes of a batch's first row; all NULL if it has none. */
export function readTypes(batch: Batch, columns: number): ("INTEGER" | "FLOAT" | "TEXT" | "BLOB" | "NULL" | null)[] {
  if (batch.rows === 0) return new Array(columns).fill("NULL");
  const tags = HEADER_BYTES + 8 * columns;
  return Array.from(batch.u8.subarray(tags, tags + columns), (tag) => TYPE_NAMES[tag & 15] ?? null);
}

/** Makes objects of rows. */
export interface RowShape {
  /** Appends the rows of a batch, from row `from` on. */
  all(batch: Batch, into: object[], from?: number): void;
  /** The first row of a batch that has one. */
  first(batch: Batch): object;
}

const shapes = new Map<string, RowShape>();
const SHAPES_MAX = 500;

/**
 * The shape of rows with these columns: objects whose own properties are the columns, of the prototype `prototype`
 * (undefined for Object's). Of columns with one name the last one's value is told.
 */
export function rowShape(columns: string[], read: ReadCell, prototype: object | undefined): RowShape {
  if (prototype !== undefined) return new CompiledShape(columns, read, prototype);
  const key = `${read.name}\0${columns.join("\0")}`;
  let shape = shapes.get(key);
  if (shape === undefined) {
    shape = new CompiledShape(columns, read, undefined);
    if (shapes.size >= SHAPES_MAX) shapes.delete(shapes.keys().next().value as string);
    shapes.set(key, shape);
  }
  return shape;
}

/** Rows read before a shape is worth a function of its own, and columns beyond which it is not. */
const COMPILE_ROWS = 16;
const COMPILE_COLUMNS_MAX = 400;

type MakeRow = (batch: Batch, tag: number, slot: number, heap: number) => object;

/** A shape that compiles its object literal once enough rows were read, so that the rows share one hidden class. */
class CompiledShape implements RowShape {
  #rowsRead = 0;
  #make: MakeRow;

  constructor(
    readonly columns: string[],
    readonly read: ReadCell,
    readonly prototype: object | undefined,
  ) {
    this.#make = this.#slowly;
  }

  all(batch: Batch, into: object[], from = 0): void {
    const { rows } = batch;
    if ((this.#rowsRead += rows) >= COMPILE_ROWS && this.#make === this.#slowly) this.#compile();
    const make = this.#make;
    const stride = batch.u32[4];
    const heap = batch.u32[5];
    const tags = 8 * this.columns.length;
    for (let row = from, at = HEADER_BYTES + from * stride; row < rows; row++, at += stride) {
      into.push(make(batch, at + tags, at >>> 3, heap));
    }
  }

  first(batch: Batch): object {
    if (++this.#rowsRead >= COMPILE_ROWS && this.#make === this.#slowly) this.#compile();
    return this.#make(batch, HEADER_BYTES + 8 * this.columns.length, HEADER_BYTES >>> 3, batch.u32[5]);
  }

  #slowly: MakeRow = (batch, tag, slot, heap) => {
    const row = this.prototype === undefined ? {} : Object.create(this.prototype);
    for (let column = 0; column < this.columns.length; column++) {
      const value = this.read(batch, tag + column, slot + column, heap);
      // Not by assignment, which would run a setter of the prototype, or set it.
      Object.defineProperty(row, this.columns[column], { value, writable: true, enumerable: true, configurable: true });
    }
    return row;
  };

  #compile(): void {
    if (this.columns.length > COMPILE_COLUMNS_MAX) return;
    const members = this.columns.map((name, at) => {
      // Computed, or the literal would set the row's prototype instead of a property.
      const key = name === "__proto__" ? '["__proto__"]' : JSON.stringify(name);
      return `${key}: read(batch, tag + ${at}, slot + ${at}, heap)`;
    });
    if (this.prototype !== undefined) members.unshift("__proto__: prototype");
    const body = `return (batch, tag, slot, heap) => ({ ${members.join(", ")} });`;
    this.#make = new Function("read", "prototype", body)(this.read, this.prototype) as MakeRow;
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Parameter blocks

const BLOCK_BYTES = 64 * 1024;
const CELL_BYTES = 16;
const CELLS_AT = 8;

/** A parameter block being written. */
export class Block {
  bytes!: Bytes;
  #u32!: Uint32Array;
  #f64!: Float64Array;
  #i64!: BigInt64Array;
  /** Bytes of the block so far. */
  length = 0;
  #cells = 0;

  constructor() {
    this.#adopt(new ArrayBuffer(BLOCK_BYTES));
  }

  #adopt(memory: ArrayBuffer): void {
    this.bytes = Buffer.from(memory) as Bytes;
    this.#u32 = new Uint32Array(memory);
    this.#f64 = new Float64Array(memory);
    this.#i64 = new BigInt64Array(memory);
  }

  /** Starts a block of `cells` cells, all NULL. */
  begin(cells: number): void {
    if (this.bytes.length > 16 * BLOCK_BYTES) this.#adopt(new ArrayBuffer(BLOCK_BYTES));
    this.length = CELLS_AT + CELL_BYTES * cells;
    if (this.length > this.bytes.length) this.#reserve(0);
    const u32 = this.#u32;
    u32[0] = cells;
    u32[1] = 0;
    this.#cells = cells;
    for (let at = CELLS_AT >>> 2, end = this.length >>> 2; at < end; at += 4) {
      u32[at] = TAG_NULL;
      u32[at + 1] = 0;
    }
  }

  get cells(): number {
    return this.#cells;
  }

  /** Writes `value` into the cell at `index`. Says what no parameter can be with a TypeError; `strict` range for bigints. */
  put(index: number, value: unknown, checkRange: boolean): void {
    switch (typeof value) {
      case "number": {
        const integral = Number.isSafeInteger(value) && !Object.is(value, -0);
        this.#u32[(CELLS_AT >>> 2) + 4 * index] = integral ? TAG_INTEGER : TAG_REAL;
        this.#f64[(CELLS_AT >>> 3) + 2 * index + 1] = value;
        return;
      }
      case "string":
        this.#text(index, value);
        return;
      case "bigint":
        if (checkRange && BigInt.asIntN(64, value) !== value) {
          throw new RangeError(`BigInt value '${value}' is out of range`);
        }
        this.#u32[(CELLS_AT >>> 2) + 4 * index] = TAG_WIDE;
        this.#i64[(CELLS_AT >>> 3) + 2 * index + 1] = BigInt.asIntN(64, value);
        return;
      case "boolean":
        this.#u32[(CELLS_AT >>> 2) + 4 * index] = TAG_INTEGER;
        this.#f64[(CELLS_AT >>> 3) + 2 * index + 1] = value ? 1 : 0;
        return;
      case "undefined":
        return;
      case "object":
        if (value === null) return;
        if (ArrayBuffer.isView(value)) {
          this.#blob(index, new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
          return;
        }
        if (isAnyArrayBuffer(value)) {
          this.#blob(index, new Uint8Array(value));
          return;
        }
    }
    throw new TypeError("Binding expected string, TypedArray, boolean, number, bigint or null");
  }

  #text(index: number, text: string): void {
    const from = this.length;
    // No UTF-16 unit becomes more than three bytes.
    if (from + 3 * text.length > this.bytes.length) this.#reserve(3 * text.length);
    const written = this.bytes.utf8Write(text, from, 3 * text.length);
    this.#place(index, TAG_TEXT, from, written);
  }

  #blob(index: number, blob: Uint8Array): void {
    const from = this.length;
    if (from + blob.length > this.bytes.length) this.#reserve(blob.length);
    this.bytes.set(blob, from);
    this.#place(index, TAG_BLOB, from, blob.length);
  }

  #place(index: number, tag: number, from: number, length: number): void {
    const at = (CELLS_AT >>> 2) + 4 * index;
    this.#u32[at] = tag;
    this.#u32[at + 1] = length;
    this.#u32[at + 2] = from;
    this.#u32[at + 3] = 0;
    this.length = from + length;
  }

  #reserve(more: number): void {
    const old = this.bytes;
    let size = old.length;
    while (size < this.length + more) size *= 2;
    this.#adopt(new ArrayBuffer(size));
    this.bytes.set(old);
  }
}

export function isAnyArrayBuffer(value: unknown): value is ArrayBuffer {
  return value instanceof ArrayBuffer || value instanceof SharedArrayBuffer;
}

/** The block of this thread. */
export const outgoing = new Block();

// ---------------------------------------------------------------------------------------------------------------------
// Text

let sqlBytes = Buffer.from(new ArrayBuffer(BLOCK_BYTES)) as Bytes;

/** SQL as the library reads it: `length` bytes from `bytes`' start. SQL ends at its first NUL character, as in SQLite. */
export function encodeSql(sql: string): { bytes: Buffer; length: number } {
  const end = sql.indexOf("\0");
  const text = end < 0 ? sql : sql.slice(0, end);
  if (3 * text.length > sqlBytes.length) {
    const bytes = Buffer.from(text, "utf8");
    return { bytes: bytes.length > 0 ? bytes : sqlBytes, length: bytes.length };
  }
  return { bytes: sqlBytes, length: sqlBytes.utf8Write(text, 0, 3 * text.length) };
}

/** A name as C reads it, with its NUL. */
export function encodeName(name: string): Buffer {
  return Buffer.from(`${name}\0`, "utf8");
}
