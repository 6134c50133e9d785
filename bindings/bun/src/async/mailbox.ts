/**
 * How completions of asynchronous requests reach a JavaScript thread.
 *
 * The library sends one byte to a socket when the thread's empty mailbox gets its first completion; the event loop wakes,
 * and the thread empties the mailbox. There is no callback from native threads: one that arrives at a Worker which is gone
 * crashes Bun, while a byte for a closed socket is dropped by the kernel.
 *
 * Invariants:
 * 1. Each request that was accepted settles its promise exactly once.
 * 2. While requests are in flight the event loop is kept alive; while none is, the socket does not keep it.
 * 3. A thread has one mailbox, which ends with the thread: the deallocator of `anchor` tells the library.
 */
import type { Socket, UnixSocketOptions } from "bun";
import { anchorOf } from "../connection.ts";
import { failureOf } from "../errors.ts";
import { addressOf, engine } from "../library.ts";

/** What a request's completion calls. It takes the result. */
type Taker = () => void;

/** Completions read at once. */
const PAIRS_MAX = 256;

/** Requests of all connections, by the two numbers that name one: connections' and requests' numbers are exact. */
type Waiting = Map<number, Map<number, Taker>>;

export class Mailbox {
  readonly #waiting: Waiting = new Map();
  readonly #pairs = new Float64Array(2 * PAIRS_MAX);
  readonly #numbers = new BigUint64Array(this.#pairs.buffer);
  readonly #bytes = new Uint8Array(this.#pairs.buffer);
  #inFlight = 0;
  #socket!: Socket<undefined>;
  anchor: ArrayBuffer;

  private constructor(readonly handle: number) {
    this.anchor = anchorOf(handle, addressOf("engine_mailbox_drop"));
  }

  static async open(): Promise<Mailbox> {
    const fd = new Int32Array(2);
    const handle = engine.engine_mailbox_new(fd) as number;
    if (handle === 0) throw failureOf(0);
    const mailbox = new Mailbox(handle);
    // `fd` is documented (FdSocketOptions), and missing from the overloads.
    const options = { fd: fd[0], socket: { data: () => mailbox.#empty() } };
    mailbox.#socket = await Bun.connect(options as unknown as UnixSocketOptions<undefined>);
    mailbox.#socket.unref();
    return mailbox;
  }

  /** Has `take` called when `request` of `connection` is complete. */
  expect(connection: number, request: number, take: Taker): void {
    let requests = this.#waiting.get(connection);
    if (requests === undefined) this.#waiting.set(connection, (requests = new Map()));
    requests.set(request, take);
    if (this.#inFlight++ === 0) this.#socket.ref();
  }

  /** A connection is gone; nothing of it will come. */
  forget(connection: number): void {
    const requests = this.#waiting.get(connection);
    if (requests === undefined) return;
    this.#waiting.delete(connection);
    this.#release(requests.size);
  }

  #release(count: number): void {
    if (count !== 0 && (this.#inFlight -= count) === 0) this.#socket.unref();
  }

  #empty(): void {
    for (;;) {
      const count = engine.engine_mailbox_take(this.handle, this.#bytes, PAIRS_MAX);
      if (count <= 0) return;
      // Taken out before anything runs: what settles a promise may make requests.
      const takers: Taker[] = [];
      for (let at = 0; at < count; at++) {
        const connection = Number(this.#numbers[2 * at]);
        const request = Number(this.#numbers[2 * at + 1]);
        const requests = this.#waiting.get(connection);
        const take = requests?.get(request);
        if (take === undefined) continue;
        requests?.delete(request);
        takers.push(take);
      }
      for (const take of takers) take();
      this.#release(takers.length);
    }
  }
}

let mailbox: Promise<Mailbox> | undefined;

/** The thread's mailbox. */
export function threadMailbox(): Promise<Mailbox> {
  return (mailbox ??= Mailbox.open());
}
