/**
 * `@twilldb/bun` beside `bun:sqlite`, in one run, on the same file, at the same durability (WAL, synchronous=FULL).
 *
 *     TWILLDB_LIBRARY=…/libengine.so bun bench/bun/bench.ts [--out bench/results] [--quick]
 *
 * - The two take turns, round by round, each with the file to itself; a line's figure is the median of the rounds'.
 * - The slow medium is this machine's disk with 50 ms added to each fdatasync and fsync, by a library of ten lines that is
 *   compiled here (`slow-sync.c`) and preloaded into a process of its own.
 * - Prints the page, and writes `bun.json` and `bun.md`. Ends with 1 if a bar is missed.
 */
import { Database as Bunsqlite } from "bun:sqlite";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir, totalmem } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { connect, Database as Twilldb } from "../../bindings/bun/src/index.ts";

const { values: options } = parseArgs({
  options: { out: { type: "string" }, quick: { type: "boolean", default: false }, "slow-medium": { type: "string" } },
});

const ROWS = 10_000;
const ROUNDS = options.quick ? 3 : 11;
const scale = options.quick ? 0.1 : 1;

interface Line {
  name: string;
  unit: string;
  /** Medians; smaller is better. */
  bun: number;
  twill: number;
  /** The largest ratio of ours to theirs that is accepted. */
  bar: number;
}

const median = (values: number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!;
const quantile = (values: number[], q: number) => values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))]!;

if (options["slow-medium"]) {
  await slowMedium(options["slow-medium"]);
  process.exit(0);
}

const directory = mkdtempSync(join(tmpdir(), "twilldb-bench-"));
const path = join(directory, "bench.db");
{
  using db = new Bunsqlite(path);
  db.run("PRAGMA journal_mode = WAL");
  db.run("CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, email TEXT, score REAL, n INTEGER); CREATE TABLE w(id INTEGER PRIMARY KEY, v TEXT)");
  const insert = db.prepare("INSERT INTO t VALUES (?, ?, ?, ?, ?)");
  db.transaction(() => { for (let i = 1; i <= ROWS; i++) insert.run(i, `name ${i}`, `user${i}@example.com`, i * 1.25, i * 7); })();
}

type Db = Bunsqlite;
/** A line: what one round does on an open database, and gives the time of one operation. */
const work: { name: string; unit: string; bar: number; round: (db: Db) => number }[] = [
  { name: ".all() of 10,000 rows of 5 columns", unit: "ms", bar: 1.5, round: (db) => each(db.query("SELECT * FROM t"), 30, (s) => s.all()) / 1e3 },
  { name: ".values() of 10,000 rows of 5 columns", unit: "ms", bar: 1.5, round: (db) => each(db.query("SELECT * FROM t"), 30, (s) => s.values()) / 1e3 },
  { name: "iterate over 10,000 rows", unit: "ms", bar: 3, round: (db) => each(db.query("SELECT * FROM t"), 20, (s) => { for (const _ of s.iterate()) void _; }) / 1e3 },
  { name: "point read, .get()", unit: "us", bar: 1.5, round: (db) => { let i = 0; return each(db.query("SELECT * FROM t WHERE id = ?"), 40_000, (s) => s.get((i = (i * 7 + 1) % ROWS) + 1)); } },
  { name: "single insert, durable", unit: "us", bar: 1, round: (db) => each(db.query("INSERT INTO w(v) VALUES (?)"), 200, (s) => s.run("some text")) },
  { name: "insert inside a transaction of 10,000", unit: "us", bar: 1, round: (db) => {
    const insert = db.query("INSERT INTO w(v) VALUES (?)");
    const start = performance.now();
    db.transaction(() => { for (let i = 0; i < ROWS; i++) insert.run("some text"); })();
    return ((performance.now() - start) * 1e3) / ROWS;
  } },
];

/** Microseconds of one call of `run`. */
function each<S>(statement: S, count: number, run: (statement: S) => unknown): number {
  const times = Math.max(1, Math.round(count * scale));
  const start = performance.now();
  for (let at = 0; at < times; at++) run(statement);
  return ((performance.now() - start) * 1e3) / times;
}

function opened(Class: typeof Bunsqlite): Db {
  const db = new Class(path);
  db.run("PRAGMA journal_mode = WAL");
  db.run("PRAGMA synchronous = FULL");
  return db;
}

const sides = { bun: Bunsqlite, twill: Twilldb as unknown as typeof Bunsqlite };
const lines: Line[] = [];
for (const { name, unit, bar, round } of work) {
  const found = { bun: [] as number[], twill: [] as number[] };
  for (let at = -1; at < ROUNDS; at++) {
    for (const side of at % 2 ? (["bun", "twill"] as const) : (["twill", "bun"] as const)) {
      const db = opened(sides[side]);
      round(db);
      const took = round(db);
      if (at >= 0) found[side].push(took);
      db.run("DELETE FROM w");
      db.close(true);
    }
  }
  lines.push({ name, unit, bun: median(found.bun), twill: median(found.twill), bar });
}
{
  const found = { bun: [] as number[], twill: [] as number[] };
  for (let at = 0; at < ROUNDS * 8; at++) {
    for (const side of ["bun", "twill"] as const) {
      const start = performance.now();
      const db = new sides[side](path);
      db.query("SELECT * FROM t WHERE id = 1").get();
      found[side].push((performance.now() - start) * 1e3);
      db.close(true);
    }
  }
  // The open takes locks, reads the log and starts the storage's thread; no bar is set for it.
  lines.push({ name: "open and first query", unit: "us", bun: median(found.bun), twill: median(found.twill), bar: Number.POSITIVE_INFINITY });
}

const asynchronous = await pointReads();
const slow = slowSync();
rmSync(directory, { recursive: true, force: true });

/** What a point read costs by either API, one after the other. */
async function pointReads(): Promise<{ sync: number; async: number; added: number }> {
  using db = new Twilldb(path);
  await using connection = await connect(path);
  const sql = "SELECT * FROM t WHERE id = ?";
  const sync: number[] = [];
  const async: number[] = [];
  for (let at = 0; at < 20_000 * scale; at++) {
    const id = ((at * 7) % ROWS) + 1;
    let start = performance.now();
    db.query(sql).get(id);
    sync.push((performance.now() - start) * 1e3);
    start = performance.now();
    await connection.first(sql, [id]);
    async.push((performance.now() - start) * 1e3);
  }
  return { sync: median(sync), async: median(async), added: median(async) - median(sync) };
}

interface Delays { commits: number; p50: number; p99: number; max: number; commitMedian: number }

/** Runs `slowMedium` in a process whose syncs take 50 ms more. */
function slowSync(): Delays {
  const shim = join(directory, "slow-sync.so");
  const compiled = Bun.spawnSync(["cc", "-shared", "-fPIC", "-O2", "-o", shim, join(import.meta.dir, "slow-sync.c"), "-ldl"]);
  if (!compiled.success) throw new Error(compiled.stderr.toString());
  const { stdout, stderr, success } = Bun.spawnSync([process.execPath, import.meta.path, "--slow-medium", join(directory, "slow.db"), ...(options.quick ? ["--quick"] : [])], {
    env: { ...process.env, LD_PRELOAD: shim },
  });
  if (!success) throw new Error(stderr.toString());
  return JSON.parse(stdout.toString());
}

/** The event loop's delay while 64 commits are in flight: how late a timer of 1 ms is. */
async function slowMedium(file: string): Promise<void> {
  const connections = await Promise.all(Array.from({ length: 64 }, () => connect(file)));
  await connections[0]!.exec("CREATE TABLE w(id INTEGER PRIMARY KEY, v TEXT)");
  const commits: number[] = [];
  let running = true;
  const writers = connections.map(async (db) => {
    while (running) {
      const start = performance.now();
      await db.run("INSERT INTO w(v) VALUES (?)", ["some text"]);
      commits.push(performance.now() - start);
    }
  });
  const delays: number[] = [];
  const end = performance.now() + 10_000 * scale;
  while (performance.now() < end) {
    const start = performance.now();
    await new Promise((resolve) => setTimeout(resolve, 1));
    delays.push(Math.max(0, performance.now() - start - 1));
  }
  running = false;
  await Promise.all(writers);
  await Promise.all(connections.map((db) => db.close()));
  console.log(JSON.stringify({ commits: commits.length, p50: quantile(delays, 0.5), p99: quantile(delays, 0.99), max: Math.max(...delays), commitMedian: median(commits) }));
}

// -- the page -------------------------------------------------------------------------------------------------------

const figure = (value: number) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2));
const missed: string[] = [];
const table = lines.map(({ name, unit, bun, twill, bar }) => {
  const ratio = twill / bun;
  if (ratio > bar) missed.push(`${name}: ${ratio.toFixed(2)} x, the bar is ${bar} x`);
  return `| ${name} | ${figure(bun)} ${unit} | ${figure(twill)} ${unit} | ${ratio.toFixed(2)} x | ${Number.isFinite(bar) ? `${bar} x` : ""} |`;
});
if (asynchronous.added > 50) missed.push(`an asynchronous point read adds ${asynchronous.added.toFixed(0)} us, the bar is 50 us`);
if (slow.p99 > 5) missed.push(`the event loop is ${slow.p99.toFixed(1)} ms late at p99, the bar is 5 ms`);
const machine = `${cpus().length} x ${cpus()[0]!.model.trim()}, ${(totalmem() / 2 ** 30).toFixed(0)} GiB; Bun ${Bun.version}`;
const page = `# @twilldb/bun beside bun:sqlite

Made by \`bun bench/bun/bench.ts\`, whose first lines say how. Medians of ${ROUNDS} rounds, on the same file, WAL and synchronous=FULL for both.

${machine}

| | bun:sqlite | @twilldb/bun | ratio | bar |
|---|---:|---:|---:|---:|
${table.join("\n")}

An asynchronous point read takes ${figure(asynchronous.async)} us at the median, a synchronous one ${figure(asynchronous.sync)} us: ${figure(asynchronous.added)} us more (bar: 50 us).

With 64 asynchronous commits in flight on a medium whose syncs take 50 ms longer (${slow.commits} commits, ${figure(slow.commitMedian)} ms each at the median), a timer of
1 ms is late by ${figure(slow.p50)} ms at the median, ${figure(slow.p99)} ms at p99 (bar: 5 ms), ${figure(slow.max)} ms at worst.

${missed.length === 0 ? "Every bar is met." : `Missed:\n\n${missed.map((line) => `- ${line}`).join("\n")}`}
`;
console.log(page);
if (options.out) {
  writeFileSync(resolve(options.out, "bun.json"), `${JSON.stringify({ machine, rounds: ROUNDS, lines: lines.map((line) => ({ ...line, bar: Number.isFinite(line.bar) ? line.bar : null })), asynchronous, slow, missed }, null, 2)}\n`);
  writeFileSync(resolve(options.out, "bun.md"), page);
}
process.exit(missed.length === 0 ? 0 : 1);
