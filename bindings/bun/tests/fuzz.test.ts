/**
 * Whatever JavaScript calls, in whatever order, with whatever arguments, from several threads at once: errors, never a crash
 * or a hang. Seeded: TWILLDB_FUZZ_SEED repeats a run, TWILLDB_FUZZ_STEPS makes it longer.
 */
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const directory = mkdtempSync(join(tmpdir(), "twilldb-fuzz-"));
process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
const module = new URL("../src/index.ts", import.meta.url).pathname;
const seed = Number(process.env.TWILLDB_FUZZ_SEED ?? Date.now() % 1_000_000);
const steps = Number(process.env.TWILLDB_FUZZ_STEPS ?? 4000);

const program = `
import { connect, Database } from ${JSON.stringify(module)};
self.onmessage = async ({ data: { seed, steps, path } }) => {
  let state = seed >>> 0;
  const draw = (n) => { state = (Math.imul(state, 1664525) + 1013904223) >>> 0; return Math.floor((state / 2 ** 32) * n); };
  const pick = (list) => list[draw(list.length)];
  const values = [null, undefined, 0, -0, 1.5, NaN, 2n ** 70n, "text", "a\\0b", "x".repeat(100000), new Uint8Array(3), new ArrayBuffer(0), {}, [], [1, 2], { a: 1 },
    new Date(), Symbol("s"), () => 1, true, new DataView(new ArrayBuffer(9))];
  const texts = ["SELECT 1", "SELECT ?, $a", "INSERT INTO t(b) VALUES (?) RETURNING a", "SELECT * FROM t", "BEGIN", "COMMIT", "ROLLBACK", "SELECT f(a) FROM t", "SELECT g(a) FROM t",
    "SELECT w(a) OVER (ROWS 1 PRECEDING) FROM t", "nonsense", "", ";", "DELETE FROM t WHERE a % 7 = 0", "CREATE TABLE IF NOT EXISTS t(a INTEGER PRIMARY KEY, b)", "PRAGMA user_version",
    "ALTER TABLE t ADD COLUMN c" + draw(1000), "SELECT zeroblob(700000), ?", "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3000) SELECT i, hex(i) FROM n"];
  let databases = [], statements = [], iterators = [], connections = [];
  const acts = [
    () => databases.push(new Database(pick([":memory:", path, "memory://fuzz"]), pick([undefined, { strict: true }, { safeIntegers: true }, 6, 3]))),
    () => statements.push(pick(databases).prepare(pick(texts), pick(values))),
    () => statements.push(pick(databases).query(pick(texts))),
    () => pick(databases).run(pick(texts), pick(values)),
    () => pick(statements)[pick(["get", "all", "values", "raw", "run"])](pick(values), pick(values)),
    () => pick(statements)[pick(["columnNames", "columnTypes", "declaredTypes", "paramsCount", "reader", "isFinalized", "native"])],
    () => iterators.push(pick(statements).iterate(pick(values))),
    () => pick(iterators).next(),
    () => pick(iterators).return(),
    () => pick(statements).finalize(),
    () => pick(databases).close(pick([true, false])),
    () => pick(databases).transaction(() => { acts[draw(acts.length)](); if (draw(3) === 0) throw new Error("x"); })(),
    () => pick(databases).function("f", (a) => { if (draw(3) === 0) acts[draw(acts.length)](); return pick(values); }),
    () => pick(databases).aggregate("g", { step: (s, a) => pick(values), result: () => pick(values) }),
    () => pick(databases).aggregate("w", { start: 0, step: (s, a) => s + 1, inverse: (s) => s - 1 }),
    () => { pick(databases).onInsert = pick([null, () => { acts[draw(acts.length)](); }]); },
    () => databases.push(Database.deserialize(pick([pick(databases).serialize(), new Uint8Array(100), new Uint8Array(4096)]))),
    () => pick(statements).as(pick([undefined, Map, class { x = 1; }])),
    () => pick(statements).safeIntegers(pick([true, false])),
    () => String(pick(statements)),
    () => pick(databases).fileControl(draw(60), pick(values)),
    () => pick(connections).query(pick(texts), pick([[], [1], [1, 2], { a: 1 }])).catch(() => {}),
    () => pick(connections).transaction(async (tx) => { await tx.query(pick(texts)); if (draw(2)) throw new Error("x"); }).catch(() => {}),
    () => { const i = pick(connections).iterate(pick(texts)); i.next().then(() => draw(2) && i.return(), () => {}).catch(() => {}); },
    () => pick(connections).query(texts.at(-1), [], { signal: AbortSignal.timeout(draw(3)) }).catch(() => {}),
    () => pick(connections).close().catch(() => {}),
    () => { if (databases.length > 12) databases = databases.slice(6); if (statements.length > 60) statements = statements.slice(30); iterators = iterators.slice(-20); },
    () => draw(20) === 0 && Bun.gc(true),
  ];
  self.addEventListener("error", (event) => event.preventDefault());
  process.on("uncaughtException", () => {});
  const db = new Database(path);
  db.run("CREATE TABLE IF NOT EXISTS t(a INTEGER PRIMARY KEY, b)");
  databases.push(db);
  for (let step = 0; step < steps; step++) {
    if (connections.length < 3 && draw(50) === 0) connections.push(await connect(pick([path, ":memory:", "memory://fuzz"]), { busyTimeout: 50 }));
    try { pick(acts)(); } catch {}
    if (draw(40) === 0) await Bun.sleep(0);
  }
  for (const each of databases) try { each.close(true); } catch {}
  await Promise.race([Promise.all(connections.map((each) => each.close().catch(() => {}))), Bun.sleep(3000)]);
  postMessage("done");
};`;

test(`random calls from three threads (seed ${seed})`, async () => {
  const runner = `
    const url = URL.createObjectURL(new Blob([${JSON.stringify(program)}], { type: "text/javascript" }));
    const done = [0, 1, 2].map((n) => new Promise((resolve) => {
      const worker = new Worker(url);
      worker.onerror = (event) => event.preventDefault?.();
      worker.onmessage = resolve;
      worker.postMessage({ seed: ${seed} + n, steps: ${steps}, path: ${JSON.stringify(join(directory, "fuzz.db"))} });
    }));
    await Promise.all(done);
    const { Database } = await import(${JSON.stringify(module)});
    console.log(new Database(${JSON.stringify(join(directory, "fuzz.db"))}).query("PRAGMA integrity_check").get().integrity_check);
    process.exit(0);`;
  const { stdout, stderr, exitCode } = Bun.spawnSync([process.execPath, "-e", runner], { env: process.env, timeout: 50_000 });
  if (exitCode !== 0) console.log(stderr.toString().slice(-3000));
  expect([exitCode, stdout.toString().trim().split("\n").at(-1)]).toEqual([0, "ok"]);
}, 60_000);
